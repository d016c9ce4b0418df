//! A ring with sockets, and plain blocking clients on threads of their own.

use std::net::{SocketAddr, TcpStream};

use corelith_io::{
    BufferPool, BufferPoolConfig, FeatureMask, Listener, PortUse, Ring, RingConfig, Stream,
};

/// A pool and a ring for the calling thread.
pub(crate) fn ring(config: RingConfig) -> (Ring, BufferPool) {
    let pool = BufferPool::new(BufferPoolConfig {
        arena_bytes: 8 << 20,
        limit_bytes: 64 << 20,
    });
    let pool = pool.unwrap();
    (Ring::new(config, &pool).unwrap(), pool)
}

/// The configurations that every check of streams runs with.
pub(crate) fn configurations() -> [RingConfig; 3] {
    let single = FeatureMask {
        multishot: true,
        ..FeatureMask::default()
    };
    let nothing = FeatureMask {
        deferred_completions: true,
        registered_files: true,
        registered_buffers: true,
        multishot: true,
        receive_limit: true,
    };
    [
        RingConfig::default(),
        RingConfig {
            without: single,
            ..RingConfig::default()
        },
        RingConfig {
            without: nothing,
            ..RingConfig::default()
        },
    ]
}

pub(crate) fn listen(ring: &Ring) -> Listener {
    Listener::bind(ring, loopback(), PortUse::Exclusive).unwrap()
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A stream of the ring and the client at its other end.
pub(crate) fn pair(ring: &Ring) -> (Stream, TcpStream) {
    let listener = listen(ring);
    let client = TcpStream::connect(listener.local_address()).unwrap();
    let accepted = ring.block_on(listener.accept()).unwrap().unwrap();
    (Stream::adopt(ring, accepted).unwrap(), client)
}

/// Descriptors that this process has open.
pub(crate) fn descriptor_count() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Bytes that tell where in the stream they are.
pub(crate) fn byte_at(position: usize) -> u8 {
    (position.wrapping_mul(0x9E37_79B9) >> 13) as u8
}
