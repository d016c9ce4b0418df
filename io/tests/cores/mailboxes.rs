//! Mailboxes between threads that run `block_on`.

use std::collections::VecDeque;
use std::thread;

use corelith_io::{BufferPool, BufferPoolConfig, CoreWaker, Ring, RingConfig, mailbox};

fn ring(waker: CoreWaker) -> Ring {
    let pool = BufferPool::new(BufferPoolConfig {
        arena_bytes: 0,
        limit_bytes: 1 << 30,
    })
    .unwrap();
    let config = RingConfig {
        waker: Some(waker),
        spin_ns: 0,
        receive_buffer_count: 0,
        ..RingConfig::default()
    };
    Ring::new(config, &pool).unwrap()
}

/// Two cores that play ping-pong, each asleep while the other has the ball: a lost wake-up hangs both.
#[test]
fn two_sleeping_cores_play_ping_pong() {
    const ROUNDS: u32 = 20_000;
    let (here, there) = (CoreWaker::new().unwrap(), CoreWaker::new().unwrap());
    let (mut to_there, from_here) = mailbox::<u32>(1, &there);
    let (mut to_here, from_there) = mailbox::<u32>(1, &here);
    let other = thread::spawn(move || {
        let ring = ring(there);
        let inbox = from_here.attach(&ring);
        let play = async {
            while let Some(ball) = inbox.receive().await {
                to_here.try_send(ball + 1).unwrap();
            }
        };
        ring.block_on(play).unwrap();
    });
    let ring = ring(here);
    let inbox = from_there.attach(&ring);
    let play = async {
        for round in 0..ROUNDS {
            to_there.try_send(round).unwrap();
            assert_eq!(inbox.receive().await, Some(round + 1));
        }
        drop(to_there);
    };
    ring.block_on(play).unwrap();
    other.join().unwrap();
}

#[test]
fn a_full_mailbox_gives_the_message_back() {
    let waker = CoreWaker::new().unwrap();
    let (mut sender, receiver) = mailbox(2, &waker);
    assert_eq!(sender.try_send(1), Ok(()));
    assert_eq!(sender.free_count(), 1);
    let mut more = VecDeque::from([2, 3, 4]);
    assert_eq!(sender.try_send_all(&mut more), 1);
    assert_eq!(more, [3, 4]);
    assert_eq!(sender.try_send(9), Err(9));
    let ring = ring(waker);
    let inbox = receiver.attach(&ring);
    assert_eq!(inbox.waiting_count(), 2);
    assert_eq!(inbox.try_receive(), Some(1));
    assert_eq!(sender.try_send_all(&mut more), 1);
    assert_eq!(
        [inbox.try_receive(), inbox.try_receive()],
        [Some(2), Some(3)]
    );
    assert_eq!(inbox.try_receive(), None);
    assert!(!sender.is_abandoned());
    drop(inbox);
    assert!(sender.is_abandoned());
}

/// Four cores send to one, in batches, through a mailbox each: all messages arrive, in order by sender.
#[test]
fn several_cores_send_to_one() {
    const MESSAGES: u64 = 20_000;
    let waker = CoreWaker::new().unwrap();
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..4 {
        let (mut sender, receiver) = mailbox::<u64>(32, &waker);
        receivers.push(receiver);
        senders.push(thread::spawn(move || {
            let mut messages: VecDeque<u64> = (0..MESSAGES).collect();
            while !messages.is_empty() {
                if sender.try_send_all(&mut messages) == 0 {
                    thread::yield_now();
                }
            }
        }));
    }
    let ring = ring(waker);
    let tasks = corelith_io::LocalTasks::new(&ring);
    let readers: Vec<_> = receivers
        .into_iter()
        .map(|receiver| {
            let inbox = receiver.attach(&ring);
            let reader = async move {
                let mut expected = 0;
                while let Some(message) = inbox.receive().await {
                    assert_eq!(message, expected);
                    expected += 1;
                }
                expected
            };
            tasks.spawn(reader).unwrap()
        })
        .collect();
    let all = async {
        for reader in readers {
            assert_eq!(reader.await, MESSAGES);
        }
    };
    tasks.block_on(all).unwrap();
    for sender in senders {
        sender.join().unwrap();
    }
}
