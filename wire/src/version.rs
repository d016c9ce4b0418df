//! The versions of the native protocol. A version changes only when a peer that knows just the older one
//! could misread the newer; everything smaller is a feature bit or a new field.

/// A version of the protocol, each with what it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProtocolVersion {
    /// The first: everything in `PROTOCOL.md`.
    V1,
}

impl ProtocolVersion {
    /// The oldest version that this code speaks.
    pub const OLDEST: ProtocolVersion = ProtocolVersion::V1;
    /// The newest version that this code speaks.
    pub const NEWEST: ProtocolVersion = ProtocolVersion::V1;

    /// The number as it travels. Zero is no version.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            ProtocolVersion::V1 => 1,
        }
    }

    /// The version of this number, if this code speaks it.
    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(ProtocolVersion::V1),
            _ => None,
        }
    }

    /// The newest version within a peer's range that this code speaks.
    #[must_use]
    pub fn agree(peer_min: u16, peer_max: u16) -> Option<Self> {
        let number = peer_max.min(ProtocolVersion::NEWEST.number());
        if number < peer_min {
            None
        } else {
            ProtocolVersion::from_number(number)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_takes_the_newest_common_version() {
        assert_eq!(ProtocolVersion::agree(1, 1), Some(ProtocolVersion::V1));
        assert_eq!(ProtocolVersion::agree(1, 900), Some(ProtocolVersion::V1));
        assert_eq!(ProtocolVersion::agree(2, 900), None);
        assert_eq!(ProtocolVersion::agree(0, 0), None);
        assert_eq!(ProtocolVersion::agree(3, 1), None);
    }
}
