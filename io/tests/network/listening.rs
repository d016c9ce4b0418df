//! Listening, accepting, closing, and connections that move to another core.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use corelith_io::{
    CoreWaker, ListenError, Listener, PortUse, RingConfig, Stream, StreamError, mailbox,
};

use crate::rig::{configurations, descriptor_count, listen, loopback, pair, ring};

#[test]
fn connections_come_and_go_without_leaking_descriptors() {
    for config in configurations() {
        let (ring, _pool) = ring(config);
        let listener = listen(&ring);
        let address = listener.local_address();
        let before = descriptor_count();
        for round in 0..20 {
            let clients: Vec<_> = (0..50)
                .map(|_| TcpStream::connect(address).unwrap())
                .collect();
            let serving = async {
                for _ in 0..50 {
                    let accepted = listener.accept().await.unwrap();
                    let stream = Stream::adopt(&ring, accepted).unwrap();
                    if round % 2 == 0 {
                        let (_, sent) = stream.send(b"hello".to_vec(), 0..5).await;
                        sent.unwrap();
                    }
                }
            };
            ring.block_on(serving).unwrap();
            drop(clients);
        }
        let mut waited_count = 0;
        while descriptor_count() > before {
            ring.turn().unwrap();
            thread::sleep(Duration::from_millis(1));
            waited_count += 1;
            assert!(
                waited_count < 10_000,
                "{} descriptors, {before} before",
                descriptor_count()
            );
        }
        // What is left in flight: the listener's accept, and the watch of block_on.
        while ring.statistics().in_flight_count > 2 {
            ring.turn().unwrap();
        }
    }
}

#[test]
fn the_peer_sees_the_end_when_a_stream_is_dropped() {
    for config in configurations() {
        let (ring, _pool) = ring(config);
        let (stream, mut client) = pair(&ring);
        assert_eq!(stream.peer_address(), Some(client.local_addr().unwrap()));
        drop(stream);
        let reading = thread::spawn(move || client.read(&mut [0; 1]).unwrap());
        while !reading.is_finished() {
            ring.turn().unwrap();
        }
        assert_eq!(reading.join().unwrap(), 0);
    }
}

#[test]
fn a_taken_address_is_refused_and_a_shared_one_is_not() {
    let (ring, _pool) = ring(RingConfig::default());
    let first = listen(&ring);
    let refused = Listener::bind(&ring, first.local_address(), PortUse::Exclusive);
    let Err(error) = refused else {
        panic!("two listeners on one address")
    };
    assert!(matches!(error, ListenError::Bind { step: "bind", .. }));
    assert!(
        error
            .to_string()
            .contains(&first.local_address().to_string()),
        "{error}"
    );
    let second = Listener::bind(&ring, loopback(), PortUse::Shared).unwrap();
    let third = Listener::bind(&ring, second.local_address(), PortUse::Shared).unwrap();
    assert_eq!(second.local_address(), third.local_address());
}

/// Connections that nobody accepts wait, and all of them are there when somebody does.
#[test]
fn more_connections_than_are_taken_wait() {
    for config in configurations() {
        let (ring, _pool) = ring(config);
        let listener = listen(&ring);
        let mut clients: Vec<_> = (0..300)
            .map(|_| TcpStream::connect(listener.local_address()).unwrap())
            .collect();
        for client in &mut clients {
            client.write_all(b"x").unwrap();
        }
        // The first accept arms; the others arrive while nobody takes them.
        let first = ring.block_on(listener.accept()).unwrap().unwrap();
        for _ in 0..2000 {
            ring.turn().unwrap();
        }
        let mut accepted = vec![first];
        let taking = async {
            while accepted.len() < 300 {
                accepted.push(listener.accept().await.unwrap());
            }
        };
        ring.block_on(taking).unwrap();
        assert_eq!(accepted.len(), 300);
    }
}

#[test]
fn what_is_no_connection_cannot_be_adopted() {
    let (ring, _pool) = ring(RingConfig::default());
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let refused = Stream::adopt(&ring, file.into());
    assert!(matches!(refused, Err(StreamError::SetUp { .. })));
}

/// One core accepts, another serves: the descriptor crosses through a mailbox before its first byte is read.
#[test]
fn an_acceptor_gives_connections_to_another_core() {
    const CONNECTIONS: usize = 40;
    let waker = CoreWaker::new().unwrap();
    let (mut sender, receiver) = mailbox(8, &waker);
    let serving = thread::spawn(move || {
        let config = RingConfig {
            waker: Some(waker),
            ..RingConfig::default()
        };
        let (ring, _pool) = ring(config);
        let mailbox = receiver.attach(&ring);
        let serving = async {
            let mut served_count = 0;
            while let Some(accepted) = mailbox.receive().await {
                let stream = Stream::adopt(&ring, accepted).unwrap();
                let received = stream.receive().await.unwrap().unwrap();
                let answer: Vec<u8> = received.iter().rev().copied().collect();
                let length = answer.len();
                let (_, sent) = stream.send(answer, 0..length).await;
                sent.unwrap();
                served_count += 1;
            }
            served_count
        };
        ring.block_on(serving).unwrap()
    });
    let (ring, _pool) = ring(RingConfig::default());
    let listener = listen(&ring);
    let address = listener.local_address();
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            thread::spawn(move || {
                let mut client = TcpStream::connect(address).unwrap();
                client.write_all(b"drawer").unwrap();
                let mut answer = [0; 6];
                client.read_exact(&mut answer).unwrap();
                assert_eq!(&answer, b"reward");
            })
        })
        .collect();
    let accepting = async {
        for _ in 0..CONNECTIONS {
            let mut accepted = listener.accept().await.unwrap();
            while let Err(refused) = sender.try_send(accepted) {
                accepted = refused;
                thread::yield_now();
            }
        }
    };
    ring.block_on(accepting).unwrap();
    for client in clients {
        client.join().unwrap();
    }
    drop(sender);
    assert_eq!(serving.join().unwrap(), CONNECTIONS);
}
