//! Why a connection can do no more, or not now.

use crate::errno::Errno;

/// Why a connection can do no more, or not now.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection broke while receiving.
    #[error("receiving failed: {errno}")]
    Receive {
        /// What the kernel said.
        errno: Errno,
    },
    /// The connection broke while sending; some of the bytes may have arrived.
    #[error("sending {length_bytes} bytes failed: {errno}")]
    Send {
        /// How many bytes were to be sent.
        length_bytes: usize,
        /// What the kernel said.
        errno: Errno,
    },
    /// The caller's mistake: bytes of two sends at once would mix.
    #[error("a send is in flight on this connection already")]
    SendInFlight,
    /// The caller's mistake: the range passes the end of the bytes.
    #[error("bytes up to {end} of {length_bytes} were to be sent")]
    OutsideBuffer {
        /// End of the range asked for.
        end: usize,
        /// How many bytes there are.
        length_bytes: usize,
    },
    /// More operations at once than the ring was made for; try again when some have completed.
    #[error("all {slot_count} operation slots of the ring are in use")]
    Busy {
        /// The ring's bound.
        slot_count: u32,
    },
    /// A socket could not be prepared for the ring.
    #[error("the socket could not be set up ({what}): {errno}")]
    SetUp {
        /// Which step.
        what: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}
