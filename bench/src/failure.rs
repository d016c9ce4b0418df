//! Why a measurement could not be made: what happened, and what to do.

/// What ends a command.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An argument makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The client could not reach the node, or a request failed.
    #[error("{0}")]
    Client(#[from] corelith_client::Error),
    /// The device could not be opened.
    #[error(transparent)]
    Open(#[from] corelith_io::OpenError),
    /// The ring.
    #[error(transparent)]
    Ring(#[from] corelith_io::RingError),
    /// Memory for buffers.
    #[error(transparent)]
    Buffer(#[from] corelith_io::BufferError),
    /// The device failed during the measurement.
    #[error(transparent)]
    Device(#[from] corelith_io::DeviceError),
    /// The volume could not be formatted.
    #[error(transparent)]
    Volume(#[from] corelith_store::volume::VolumeError),
    /// A shard could not be opened.
    #[error(transparent)]
    Shard(#[from] corelith_store::OpenError),
    /// A record could not be read back.
    #[error(transparent)]
    Read(#[from] corelith_store::ReadError),
    /// A record could not be written.
    #[error("a record could not be written: {0}")]
    Write(String),
    /// The result is not one that may be reported.
    #[error("no result: {0}")]
    Invalid(String),
    /// A file or socket.
    #[error(transparent)]
    System(#[from] std::io::Error),
}
