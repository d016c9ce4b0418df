//! What streams receive and send, and what becomes of them when a side stops, breaks or is slow.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use corelith_io::{FeatureMask, LocalTasks, RingConfig, SendBuffer, Stream, StreamError, to_usize};

use crate::rig::{byte_at, configurations, pair, ring};

/// Echoes until the peer ends its side; the number of bytes.
async fn echo(stream: &Stream) -> usize {
    let mut total = 0;
    while let Some(received) = stream.receive().await.unwrap() {
        total += received.len();
        let bytes = received.to_vec();
        let length = bytes.len();
        drop(received);
        let (_, outcome) = stream.send(bytes, 0..length).await;
        outcome.unwrap();
    }
    total
}

#[test]
fn bytes_come_back_in_order() {
    const LENGTH: usize = 4 << 20;
    for config in configurations() {
        let (ring, _pool) = ring(config);
        let (stream, client) = pair(&ring);
        let mut writer = client.try_clone().unwrap();
        let writing = thread::spawn(move || {
            let bytes: Vec<u8> = (0..LENGTH).map(byte_at).collect();
            let mut start = 0;
            // Pieces of all sizes.
            while start < LENGTH {
                let end = (start + 1 + (start * 7919) % 100_000).min(LENGTH);
                writer.write_all(&bytes[start..end]).unwrap();
                start = end;
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut reader = client;
        let reading = thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let served = async {
            let total = echo(&stream).await;
            stream.shutdown().await.unwrap();
            total
        };
        assert_eq!(ring.block_on(served).unwrap(), LENGTH);
        writing.join().unwrap();
        let bytes = reading.join().unwrap();
        assert_eq!(bytes.len(), LENGTH);
        let wrong = bytes
            .iter()
            .enumerate()
            .position(|(position, byte)| *byte != byte_at(position));
        assert_eq!(wrong, None);
    }
}

#[test]
fn many_connections_at_once() {
    for config in configurations() {
        let (ring, _pool) = ring(config);
        let tasks = LocalTasks::new(&ring);
        let mut clients = Vec::new();
        let mut servers = Vec::new();
        for number in 0..64_u8 {
            let (stream, mut client) = pair(&ring);
            servers.push(tasks.spawn(async move { echo(&stream).await }).unwrap());
            clients.push(thread::spawn(move || {
                for round in 0..50_u8 {
                    let message = [number, round, number ^ round];
                    client.write_all(&message).unwrap();
                    let mut answer = [0; 3];
                    client.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, message);
                }
            }));
        }
        let all = async {
            let mut total = 0;
            for server in servers {
                total += server.await;
            }
            total
        };
        assert_eq!(tasks.block_on(all).unwrap(), 64 * 50 * 3);
        for client in clients {
            client.join().unwrap();
        }
    }
}

/// A peer that sends far more than anybody takes is held back by TCP, takes no buffers from others
/// meanwhile, and everything is there when it is taken at last.
fn check_unread_connection(config: RingConfig, waiting_bytes_max: usize) {
    const LENGTH: usize = 64 << 20;
    let config = RingConfig {
        receive_buffer_bytes: 4096,
        receive_buffer_count: 32,
        ..config
    };
    let (ring, _pool) = ring(config);
    let (stream, mut client) = pair(&ring);
    let writing = thread::spawn(move || {
        let block: Vec<u8> = vec![7; 1 << 20];
        for _ in 0..LENGTH >> 20 {
            client.write_all(&block).unwrap();
        }
    });
    // Turns without anybody who reads, until nothing more comes.
    let mut quiet_count = 0;
    while quiet_count < 1000 {
        let completed_count = ring.turn().unwrap();
        quiet_count = if completed_count == 0 {
            quiet_count + 1
        } else {
            0
        };
        thread::sleep(Duration::from_micros(50));
    }
    assert!(!writing.is_finished(), "the sender was not held back");
    let (other, mut other_client) = pair(&ring);
    for _ in 0..100 {
        other_client.write_all(b"still there?").unwrap();
        let received = ring.block_on(other.receive()).unwrap().unwrap().unwrap();
        assert_eq!(&*received, b"still there?");
    }
    let mut total = 0;
    while let Some(received) = stream.try_receive() {
        total += received.unwrap().unwrap().len();
    }
    assert!(total <= waiting_bytes_max, "{total} bytes waited");
    let rest = async {
        let mut rest = 0;
        while let Some(received) = stream.receive().await.unwrap() {
            assert!(received.iter().all(|byte| *byte == 7));
            rest += received.len();
        }
        rest
    };
    total += ring.block_on(rest).unwrap();
    assert_eq!(total, LENGTH);
    writing.join().unwrap();
}

#[test]
fn an_unread_connection_holds_back_its_sender() {
    // Find out whether this kernel bounds receives.
    let (ring, _pool) = ring(RingConfig::default());
    let (stream, mut client) = pair(&ring);
    client.write_all(b"x").unwrap();
    assert!(ring.block_on(stream.receive()).unwrap().is_ok());
    // Eight pieces may wait when the last receive is armed, which brings sixteen buffers full.
    let bounded = ring.features().has_receive_limit();
    let waiting_bytes_max = if bounded { 24 * 4096 } else { usize::MAX };
    check_unread_connection(RingConfig::default(), waiting_bytes_max);
}

#[test]
fn an_unread_connection_starves_nobody_on_older_kernels() {
    let without = FeatureMask {
        receive_limit: true,
        ..FeatureMask::default()
    };
    let config = RingConfig {
        without,
        ..RingConfig::default()
    };
    check_unread_connection(config, usize::MAX);
}

/// More connections than buffers: those that find none wait their turn, and nobody starves.
#[test]
fn connections_share_too_few_buffers() {
    const CONNECTIONS: usize = 24;
    const LENGTH: usize = 300_000;
    let config = RingConfig {
        receive_buffer_count: 4,
        receive_buffer_bytes: 4096,
        ..RingConfig::default()
    };
    let (ring, _pool) = ring(config);
    let tasks = LocalTasks::new(&ring);
    let mut clients = Vec::new();
    let mut servers = Vec::new();
    for _ in 0..CONNECTIONS {
        let (stream, mut client) = pair(&ring);
        let server = async move {
            let mut total = 0;
            while let Some(received) = stream.receive().await.unwrap() {
                total += received.len();
            }
            total
        };
        servers.push(tasks.spawn(server).unwrap());
        clients.push(thread::spawn(move || {
            client.write_all(&vec![1; LENGTH]).unwrap()
        }));
    }
    let all = async {
        for server in servers {
            assert_eq!(server.await, LENGTH);
        }
    };
    tasks.block_on(all).unwrap();
    assert!(
        ring.statistics().starved_count > 0,
        "buffers never ran out: the test tests nothing"
    );
    for client in clients {
        client.join().unwrap();
    }
}

/// Received bytes that are held take their buffers from everybody, and give them back.
#[test]
fn held_bytes_starve_a_connection_until_they_are_dropped() {
    let config = RingConfig {
        receive_buffer_count: 2,
        receive_buffer_bytes: 4096,
        ..RingConfig::default()
    };
    let (ring, _pool) = ring(config);
    let (stream, mut client) = pair(&ring);
    client.write_all(&[5; 3 * 4096]).unwrap();
    let first = ring.block_on(stream.receive()).unwrap().unwrap().unwrap();
    let second = ring.block_on(stream.receive()).unwrap().unwrap().unwrap();
    for _ in 0..1000 {
        ring.turn().unwrap();
    }
    assert!(stream.try_receive().is_none());
    drop((first, second));
    let mut rest = 3 * 4096 - 2 * 4096;
    while rest > 0 {
        let third = ring.block_on(stream.receive()).unwrap().unwrap().unwrap();
        assert!(third.iter().all(|byte| *byte == 5));
        rest -= third.len();
    }
}

#[test]
fn the_peers_end_is_told_after_its_bytes() {
    for config in configurations() {
        let (ring, _pool) = ring(config);
        let (stream, mut client) = pair(&ring);
        client.write_all(b"last words").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        let listening = async {
            while let Some(received) = stream.receive().await.unwrap() {
                heard.extend_from_slice(&received);
            }
        };
        ring.block_on(listening).unwrap();
        assert_eq!(heard, b"last words");
        assert!(
            matches!(ring.block_on(stream.receive()).unwrap(), Ok(None)),
            "told again"
        );
        // The other direction still works.
        let (_, sent) = ring
            .block_on(stream.send(b"answer".to_vec(), 0..6))
            .unwrap();
        sent.unwrap();
        let mut answer = [0; 6];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
    }
}

#[test]
fn a_reset_connection_is_an_error() {
    for config in configurations() {
        let (ring, _pool) = ring(config);
        let (stream, client) = pair(&ring);
        // Closing with unread bytes resets the connection.
        let (_, sent) = ring.block_on(stream.send(vec![0; 100], 0..100)).unwrap();
        sent.unwrap();
        while client.peek(&mut [0; 100]).unwrap() < 100 {}
        drop(client);
        let outcome = ring.block_on(stream.receive()).unwrap();
        assert!(
            matches!(outcome, Err(StreamError::Receive { .. })),
            "{outcome:?}"
        );
        let (bytes, sent) = ring.block_on(stream.send(vec![1; 10], 0..10)).unwrap();
        assert!(matches!(sent, Err(StreamError::Send { .. })), "{sent:?}");
        assert_eq!(bytes.into_bytes(), Some(vec![1; 10]), "the bytes come back");
    }
}

#[test]
fn a_send_is_whole_although_the_peer_is_slow() {
    const LENGTH: usize = 16 << 20;
    let (ring, pool) = ring(RingConfig::default());
    let (stream, mut client) = pair(&ring);
    let reading = thread::spawn(move || {
        let mut total = 0;
        let mut bytes = vec![0; 100_000];
        let mut wrong_count = 0;
        while total < LENGTH {
            let count = client.read(&mut bytes).unwrap();
            assert!(count > 0);
            wrong_count += bytes[..count].iter().filter(|byte| **byte != 9).count();
            total += count;
        }
        wrong_count
    });
    let mut buffer = pool.take(LENGTH + 8192).unwrap();
    buffer.as_mut_slice()[4096..4096 + LENGTH].fill(9);
    let sending = stream.send(buffer.freeze(), 4096..4096 + LENGTH);
    let (bytes, outcome) = ring.block_on(sending).unwrap();
    outcome.unwrap();
    assert!(matches!(bytes, SendBuffer::Frozen(_)));
    assert_eq!(reading.join().unwrap(), 0);
}

#[test]
fn mistaken_sends_are_refused_with_their_bytes() {
    let (ring, _pool) = ring(RingConfig::default());
    let (stream, mut client) = pair(&ring);
    let (bytes, outcome) = ring.block_on(stream.send(vec![1; 10], 5..11)).unwrap();
    assert_eq!(
        outcome,
        Err(StreamError::OutsideBuffer {
            end: 11,
            length_bytes: 10
        })
    );
    assert_eq!(bytes.as_slice().len(), 10);
    let (_, outcome) = ring.block_on(stream.send(vec![1; 10], 3..3)).unwrap();
    assert_eq!(outcome, Ok(()), "nothing is sent at once");

    // Nobody reads: this send stays in flight.
    let endless = stream.send(vec![2; 64 << 20], 0..64 << 20);
    let (_, outcome) = ring.block_on(stream.send(vec![3; 10], 0..10)).unwrap();
    assert_eq!(outcome, Err(StreamError::SendInFlight));
    // Dropping the stream aborts it, and the peer sees the end.
    drop(stream);
    let (_, outcome) = ring.block_on(endless).unwrap();
    assert!(
        matches!(outcome, Err(StreamError::Send { .. })),
        "{outcome:?}"
    );
    let reading = thread::spawn(move || {
        let mut bytes = Vec::new();
        // The end or a reset, depending on what was under way.
        drop(client.read_to_end(&mut bytes));
        bytes.len()
    });
    while !reading.is_finished() {
        ring.turn().unwrap();
    }
    assert!(reading.join().unwrap() < 64 << 20);
}

#[test]
fn a_dropped_send_goes_on() {
    let (ring, _pool) = ring(RingConfig::default());
    let (stream, mut client) = pair(&ring);
    drop(stream.send(b"unawaited".to_vec(), 0..9));
    let reading = thread::spawn(move || {
        let mut bytes = [0; 9];
        client.read_exact(&mut bytes).unwrap();
        bytes
    });
    while !reading.is_finished() {
        ring.turn().unwrap();
    }
    assert_eq!(&reading.join().unwrap(), b"unawaited");
}

#[test]
fn receives_take_no_memory_once_they_are_over() {
    let single = configurations()[1].clone();
    let (ring, pool) = ring(single);
    let (stream, mut client) = pair(&ring);
    client.write_all(&[1; 10]).unwrap();
    let received = ring.block_on(stream.receive()).unwrap().unwrap().unwrap();
    assert_eq!(received.len(), 10);
    let held = pool.statistics().arena_lent_bytes;
    assert!(held >= to_usize(10));
    drop(received);
    drop(stream);
    while ring.statistics().in_flight_count > 1 {
        ring.turn().unwrap();
    }
    assert_eq!(pool.statistics().arena_lent_bytes, 0);
}
