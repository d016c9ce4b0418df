//! Volumes: made from devices and files, and shown. Everything that touches a device goes through
//! `corelith_io`, everything that is written through `corelith_store`.

mod create;
mod edges;
mod identity;
mod show;
pub mod signature;

pub use create::create;
pub(crate) use identity::random_identity;
pub use show::show;

use corelith_io::{BufferPool, BufferPoolConfig, Device, OpenDevice, Ring, RingConfig};

use crate::failure::Failure;

/// A ring and its memory, for a command that does a few reads and writes.
struct Workbench {
    ring: Ring,
    pool: BufferPool,
}

impl Workbench {
    fn new() -> Result<Self, Failure> {
        let memory = BufferPoolConfig {
            arena_bytes: 0,
            ..BufferPoolConfig::default()
        };
        let pool = BufferPool::new(memory).map_err(Failure::from_text)?;
        let config = RingConfig {
            receive_buffer_count: 0,
            spin_ns: 0,
            ..RingConfig::default()
        };
        let ring = Ring::new(config, &pool).map_err(Failure::from_text)?;
        Ok(Self { ring, pool })
    }

    fn attach(&self, device: &OpenDevice) -> Result<Device, Failure> {
        let attached = device.attach(&self.ring);
        attached.map_err(|error| Failure::new(format!("{}: {error}", device.name()), ""))
    }

    /// Runs a future on this thread.
    fn run<T>(&self, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        self.ring.block_on(future).map_err(Failure::from_text)?
    }
}
