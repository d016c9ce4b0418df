//! Feature bits: what one side of a connection uses beyond the version, in three classes that say what the
//! other side may do when it does not know a bit. Both sides send theirs in the hello.

use crate::generated::corelith::native as table;

/// The bits of one side. No bit is defined in version 1, so all three words are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Offers. A bit is in use when both sides have sent it; an unknown one is ignored.
    pub compatible: u64,
    /// Uses that only writes depend on. A side that does not know one may still read.
    pub read_only_compatible: u64,
    /// Uses that every message depends on. A side that does not know one closes the connection.
    pub incompatible: u64,
}

/// What a connection may do after both sides have shown their bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everything.
    ReadWrite,
    /// Reads alone: the peer uses a bit that writes depend on and that we do not know.
    ReadOnly,
}

/// Bits that every message depends on and that we do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer uses features {unknown:#x}; known are {known:#x}")]
pub struct UnknownFeatures {
    /// The bits that we do not know.
    pub unknown: u64,
    /// The bits that we know.
    pub known: u64,
}

impl Features {
    /// What this code knows, in each class.
    pub const KNOWN: Features = Features {
        compatible: 0,
        read_only_compatible: 0,
        incompatible: 0,
    };

    /// What may be done on a connection whose peer uses `self`, by a side that knows `known`.
    ///
    /// # Errors
    ///
    /// [`UnknownFeatures`] if the peer uses an incompatible bit that is not known: say so and close.
    pub const fn access(&self, known: &Features) -> Result<Access, UnknownFeatures> {
        let unknown = self.incompatible & !known.incompatible;
        if unknown != 0 {
            return Err(UnknownFeatures {
                unknown,
                known: known.incompatible,
            });
        }
        if self.read_only_compatible & !known.read_only_compatible != 0 {
            return Ok(Access::ReadOnly);
        }
        Ok(Access::ReadWrite)
    }

    pub(crate) fn decode(found: &table::Features) -> Self {
        Features {
            compatible: found.compatible(),
            read_only_compatible: found.read_only_compatible(),
            incompatible: found.incompatible(),
        }
    }

    pub(crate) fn encode(&self) -> table::Features {
        table::Features::new(
            self.compatible,
            self.read_only_compatible,
            self.incompatible,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_own_consequence() {
        let known = Features {
            compatible: 1,
            read_only_compatible: 1,
            incompatible: 1,
        };
        let ask = |compatible, read_only_compatible, incompatible| {
            Features {
                compatible,
                read_only_compatible,
                incompatible,
            }
            .access(&known)
        };
        assert_eq!(ask(1, 1, 1), Ok(Access::ReadWrite));
        assert_eq!(ask(0xFF, 0, 0), Ok(Access::ReadWrite));
        assert_eq!(ask(0, 3, 0), Ok(Access::ReadOnly));
        assert_eq!(
            ask(0, 0, 6),
            Err(UnknownFeatures {
                unknown: 6,
                known: 1
            })
        );
        assert_eq!(
            ask(0, 3, 4),
            Err(UnknownFeatures {
                unknown: 4,
                known: 1
            })
        );
    }
}
