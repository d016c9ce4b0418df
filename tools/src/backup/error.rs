//! Why a backup cannot be read: what is wrong, where, and what to do.

use std::io;
use std::path::Path;

use crate::failure::Failure;

/// What a backup file has wrong. Places are offsets from the file's start, in bytes.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It does not begin as a backup does.
    #[error("this is not a backup of Corelith: its first 8 bytes are not CLBACKUP")]
    Foreign,
    /// A release after this one wrote it.
    #[error("it has version {found} of the backup format, and this corelith reads version 1")]
    Version {
        /// The version that it names.
        found: u16,
    },
    /// It uses what this release does not know.
    #[error("it uses features that this corelith does not know (bits {unknown:#x})")]
    Features {
        /// The bits that are not known.
        unknown: u64,
    },
    /// It ends before its end.
    #[error(
        "it ends at byte {offset_bytes}, before its end block: it is cut off, or its backup is not finished"
    )]
    Truncated {
        /// Where the part begins that is not whole.
        offset_bytes: u64,
    },
    /// Bytes are not what was written.
    #[error("it is damaged at byte {offset_bytes}: {what}")]
    Damaged {
        /// Where the damaged part begins.
        offset_bytes: u64,
        /// What disagrees.
        what: Disagreement,
    },
    /// Something stands behind its end.
    #[error("there are bytes behind its end, from byte {offset_bytes} on")]
    Trailing {
        /// Where they begin.
        offset_bytes: u64,
    },
    /// The system cannot read it.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// What disagrees in a damaged part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Disagreement {
    /// The file's header.
    #[error("the file's header fails its checksum")]
    HeaderSum,
    /// A field of the file's header.
    #[error("a field of the file's header is not as it must be")]
    HeaderField,
    /// A block's header.
    #[error("a block's header fails its checksum")]
    BlockSum,
    /// A field of a block's header.
    #[error("a field of a block's header is not as it must be")]
    BlockField,
    /// A block is missing, twice there, or of another file.
    #[error("a block does not follow the one before it")]
    Order,
    /// A block's body.
    #[error("a block's body fails its checksum")]
    BodySum,
    /// A block's body, unpacked.
    #[error("a block's body cannot be unpacked to the length that it names")]
    Packing,
    /// A record in a block.
    #[error("the records of a block do not fill it as they must")]
    Records,
    /// The end block.
    #[error("the counts at its end are not those of its blocks")]
    Totals,
}

impl BackupError {
    /// What to do.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Foreign => "give a file that `corelith backup` wrote",
            Self::Version { .. } | Self::Features { .. } => {
                "use a corelith of the release that wrote it, or a newer one"
            }
            Self::Truncated { .. } => {
                "run the same `corelith backup` again to finish it, or take another copy"
            }
            Self::Damaged { .. } | Self::Trailing { .. } => {
                "take another copy of the backup; blocks before the place are whole"
            }
            Self::Read(_) => "see that the file and its drive can be read",
        }
    }

    pub(super) const fn damaged(offset_bytes: u64, what: Disagreement) -> Self {
        Self::Damaged { offset_bytes, what }
    }
}

/// The failure that it is for whoever gave the file.
pub fn failure(path: &Path, error: &BackupError) -> Failure {
    Failure::new(format!("{}: {error}", path.display()), error.remedy())
}
