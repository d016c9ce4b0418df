//! The request path takes no memory: after a warm-up, thousands of operations allocate nothing. The
//! warm-up has the arena cut its first chunk and the queues grow to their lengths.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;

use super::{Ring, RingConfig};
use crate::buffer::{BufferPool, BufferPoolConfig};
use crate::device::Device;
use crate::geometry::{DeviceOffset, Durability};
use crate::listener::{Listener, PortUse};
use crate::open::OpenDevice;
use crate::stream::Stream;
use crate::sys::allocation_count::allocation_count;
use crate::tasks::LocalTasks;

const OPERATIONS: u64 = 10_000;

/// A device over a file that has no name any more.
fn device(ring: &Ring, name: &str) -> Device {
    let path: PathBuf =
        std::env::temp_dir().join(format!("corelith-{}-{name}", std::process::id()));
    let opened = OpenDevice::create_file(&path, 1 << 20).unwrap();
    std::fs::remove_file(&path).unwrap();
    opened.attach(ring).unwrap()
}

fn ring() -> (Ring, BufferPool) {
    let pool = BufferPool::new(BufferPoolConfig::default()).unwrap();
    (Ring::new(RingConfig::default(), &pool).unwrap(), pool)
}

/// Runs `round` as sixteen tasks, once to warm up and once to count.
fn check_allocations<F, R>(ring: &Ring, round: F)
where
    F: Fn(u64) -> R,
    R: Future<Output = ()> + 'static,
{
    let tasks = LocalTasks::new(ring);
    let mut counts = Vec::new();
    for operations in [OPERATIONS / 10, OPERATIONS] {
        let workers: Vec<_> = (0..16)
            .map(|_| tasks.spawn(round(operations / 16)).unwrap())
            .collect();
        let before = allocation_count();
        let all = async {
            for worker in workers {
                worker.await;
            }
        };
        tasks.block_on(all).unwrap();
        counts.push(allocation_count() - before);
    }
    // The waker of `block_on` itself, made anew for each.
    assert!(
        counts[1] <= 1,
        "{counts:?} allocations while warming up and in {OPERATIONS} turns of the loop"
    );
}

#[test]
fn reads_and_plain_writes_allocate_nothing() {
    let (ring, pool) = ring();
    let device = device(&ring, "reads");
    let core = ring.clone();
    check_allocations(&core, |operations| {
        let (device, pool) = (device.clone(), pool.clone());
        async move {
            for number in 0..operations {
                let offset = DeviceOffset::new(number % 200 * 4096);
                let frozen = pool.take(4096).unwrap().freeze();
                device.write(offset, frozen.clone(), 0..4096).await.unwrap();
                let buffer = frozen.try_thaw().unwrap();
                let (_, outcome) = device.read(offset, buffer, 4096).await;
                outcome.unwrap();
            }
        }
    });
}

#[test]
fn durable_writes_allocate_nothing() {
    let (ring, pool) = ring();
    let device = device(&ring, "durable");
    assert_eq!(device.geometry().durability, Durability::Flush);
    let core = ring.clone();
    check_allocations(&core, |operations| {
        let (device, pool) = (device.clone(), pool.clone());
        async move {
            // A tenth: each waits for a flush of a real device.
            for number in 0..operations / 10 {
                let offset = DeviceOffset::new(number % 200 * 4096);
                let frozen = pool.take(4096).unwrap().freeze();
                device.write_durable(offset, frozen, 0..4096).await.unwrap();
            }
        }
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the client is a thread")]
fn receives_and_sends_allocate_nothing() {
    let (ring, _pool) = ring();
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(&ring, address, PortUse::Exclusive).unwrap();
    let address = listener.local_address();
    let client = std::thread::spawn(move || {
        let mut client = TcpStream::connect(address).unwrap();
        let mut answer = [0; 100];
        for _ in 0..OPERATIONS {
            client.write_all(&[1; 100]).unwrap();
            client.read_exact(&mut answer).unwrap();
        }
    });
    let allocated_count = ring.block_on(async {
        let stream = Stream::adopt(&ring, listener.accept().await.unwrap()).unwrap();
        let mut answer = Vec::with_capacity(16 << 10);
        let mut before = None;
        let mut served_count = 0;
        while let Some(received) = stream.receive().await.unwrap() {
            answer.clear();
            answer.extend_from_slice(&received);
            drop(received);
            let length = answer.len();
            let (bytes, sent) = stream.send(answer, 0..length).await;
            sent.unwrap();
            answer = bytes.into_bytes().unwrap();
            served_count += 1;
            if served_count == OPERATIONS / 10 {
                before = Some(allocation_count());
            }
        }
        allocation_count() - before.unwrap()
    });
    client.join().unwrap();
    assert_eq!(allocated_count, Ok(0));
}
