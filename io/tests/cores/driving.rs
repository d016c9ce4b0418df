//! The driver: it carries operations out, parks when there is nothing to do, and is woken by completions,
//! by other threads, and by tasks that submit while it is parked.

use std::cell::Cell;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use corelith_io::{
    BufferPool, BufferPoolConfig, DeviceOffset, FeatureMask, Listener, OpenDevice, PortUse, Ring,
    RingConfig, Stream, mailbox,
};

use crate::executor::run;

fn ring(config: RingConfig) -> (Ring, BufferPool) {
    let pool = BufferPool::new(BufferPoolConfig {
        arena_bytes: 4 << 20,
        limit_bytes: 16 << 20,
    });
    let pool = pool.unwrap();
    (Ring::new(config, &pool).unwrap(), pool)
}

/// Runs one future beside the driver, and stops that when it is over.
fn drive(
    ring: &Ring,
    future: impl Future<Output = ()> + 'static,
) -> Rc<crate::executor::IdleCounts> {
    let stopping = ring.clone();
    let task = async move {
        future.await;
        stopping.stop();
    };
    run(ring, vec![Box::pin(task)])
}

/// Set-ups whose completions arrive in different ways.
fn configurations() -> [RingConfig; 2] {
    let interrupting = FeatureMask {
        deferred_completions: true,
        ..FeatureMask::default()
    };
    [
        RingConfig::default(),
        RingConfig {
            without: interrupting,
            ..RingConfig::default()
        },
    ]
}

#[test]
fn device_operations_complete_under_the_driver() {
    for config in configurations() {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = path.join(format!("driven-{}", std::process::id()));
        let opened = OpenDevice::create_file(&path, 1 << 20).unwrap();
        std::fs::remove_file(&path).unwrap();
        // Without spinning, every operation finds the driver parked or about to park.
        let (ring, pool) = ring(RingConfig {
            spin_ns: 0,
            ..config
        });
        let device = opened.attach(&ring).unwrap();
        let work = async move {
            for number in 0..200_u64 {
                let offset = DeviceOffset::new(number * 4096);
                let mut buffer = pool.take(4096).unwrap();
                buffer
                    .as_mut_slice()
                    .fill(number.to_le_bytes().first().copied().unwrap());
                let bytes = buffer.freeze();
                device
                    .write_durable(offset, bytes.clone(), 0..4096)
                    .await
                    .unwrap();
                let (buffer, outcome) = device.read(offset, pool.take(4096).unwrap(), 4096).await;
                outcome.unwrap();
                assert_eq!(buffer.as_slice(), &*bytes);
            }
        };
        let counts = drive(&ring, work);
        assert!(counts.parks.get() > 0, "it never parked");
    }
}

#[test]
fn sockets_are_served_by_a_core_that_parks() {
    for config in configurations() {
        let (ring, _pool) = ring(RingConfig {
            spin_ns: 20_000,
            ..config
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Listener::bind(&ring, address, PortUse::Exclusive).unwrap();
        let address = listener.local_address();
        let client = thread::spawn(move || {
            let mut client = TcpStream::connect(address).unwrap();
            for round in 0..200_u8 {
                // Long enough for the core to park in between, sometimes.
                if round % 4 == 0 {
                    thread::sleep(Duration::from_millis(1));
                }
                client.write_all(&[round]).unwrap();
                let mut answer = [0];
                client.read_exact(&mut answer).unwrap();
                assert_eq!(answer, [round]);
            }
        });
        let core = ring.clone();
        let work = async move {
            let accepted = listener.accept().await.unwrap();
            let stream = Stream::adopt(&core, accepted).unwrap();
            while let Some(received) = stream.receive().await.unwrap() {
                let bytes = received.to_vec();
                let length = bytes.len();
                let (_, sent) = stream.send(bytes, 0..length).await;
                sent.unwrap();
            }
        };
        let counts = drive(&ring, work);
        client.join().unwrap();
        assert!(counts.parks.get() > 0, "it never parked");
    }
}

/// A task that becomes ready by other means than the ring (here another thread) submits while the driver is
/// parked: the driver has to be woken, or the operation would stay unsubmitted.
#[test]
fn a_submission_wakes_a_parked_driver() {
    let (ring, pool) = ring(RingConfig {
        spin_ns: 0,
        ..RingConfig::default()
    });
    let device = {
        let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let path = path.join(format!("submitted-{}", std::process::id()));
        let opened = OpenDevice::create_file(&path, 1 << 20).unwrap();
        std::fs::remove_file(&path).unwrap();
        opened.attach(&ring).unwrap()
    };
    let polled_count = Rc::new(Cell::new(0));
    let late = {
        let polled_count = Rc::clone(&polled_count);
        async move {
            // Yields by waking itself until the driver, polled before this task, has parked.
            std::future::poll_fn(|context| {
                polled_count.set(polled_count.get() + 1);
                if polled_count.get() > 100 {
                    return std::task::Poll::Ready(());
                }
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            })
            .await;
            let (_, outcome) = device
                .read(DeviceOffset::START, pool.take(4096).unwrap(), 4096)
                .await;
            outcome.unwrap();
        }
    };
    let counts = drive(&ring, late);
    assert!(counts.parks.get() > 0);
}

#[test]
fn mail_wakes_a_parked_driver() {
    const MESSAGES: u32 = 2000;
    let (ring, _pool) = ring(RingConfig {
        spin_ns: 0,
        ..RingConfig::default()
    });
    let (mut sender, receiver) = mailbox(4, &ring.waker());
    let mailbox = receiver.attach(&ring);
    let sending = thread::spawn(move || {
        for number in 0..MESSAGES {
            if number % 64 == 0 {
                thread::sleep(Duration::from_micros(200));
            }
            let mut message = number;
            while let Err(refused) = sender.try_send(message) {
                message = refused;
                std::hint::spin_loop();
            }
        }
    });
    let reading = async move {
        for number in 0..MESSAGES {
            assert_eq!(mailbox.receive().await, Some(number));
        }
        assert_eq!(mailbox.receive().await, None, "the sender is gone");
    };
    let counts = drive(&ring, reading);
    sending.join().unwrap();
    assert!(counts.parks.get() > 0, "it never parked");
}

/// A core that is busy all the time lets its executor look at timers and channels all the same.
#[test]
fn a_busy_core_makes_reactor_passes() {
    let (ring, _pool) = ring(RingConfig {
        spin_ns: u64::MAX,
        ..RingConfig::default()
    });
    let started = corelith_io::Clock::real();
    let end_ns = started.monotonic_ns() + 20_000_000;
    let busy = std::future::poll_fn(move |context| {
        context.waker().wake_by_ref();
        if started.monotonic_ns() >= end_ns {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    });
    let counts = drive(&ring, busy);
    assert!(counts.passes.get() >= 2, "{} passes", counts.passes.get());
    assert!(counts.yields.get() > counts.passes.get());
    assert_eq!(counts.parks.get(), 0);
}
