//! A node in memory, for tests of programs that use the client and for this crate's own: it speaks the
//! native protocol on real sockets, keeps records in maps, and does harm on request. Nothing is durable and
//! nothing is fast; it never belongs into production.

mod records;
mod service;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corelith_index::Digest;
use corelith_wire::{Damage, MessageKind, Status};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::lock::Lock;
use records::Records;

/// What a mock node is like.
#[derive(Clone, Debug)]
pub struct MockOptions {
    /// Cores, each with a port of its own; 0 for a node with the shared port alone.
    pub core_count: u16,
    /// Shards of each namespace, 1 to 256.
    pub shard_count: u16,
    /// Names of the namespaces.
    pub namespaces: Vec<String>,
    /// Requests that one connection may have in flight.
    pub in_flight_max: u32,
    /// The version in its hello.
    pub version: u16,
    /// The incompatible feature bits in its hello.
    pub features_incompatible: u64,
    /// The feature bits in its hello that writes depend on.
    pub features_read_only: u64,
}

impl Default for MockOptions {
    fn default() -> Self {
        MockOptions {
            core_count: 2,
            shard_count: 8,
            namespaces: vec!["test".to_owned()],
            in_flight_max: 256,
            version: 1,
            features_incompatible: 0,
            features_read_only: 0,
        }
    }
}

/// Harm done to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection closes before the request is carried out.
    CloseBefore,
    /// The request is carried out and the connection closes without an answer.
    CloseAfter,
    /// The request is carried out and never answered.
    Silence,
    /// The request is carried out and answered so much later.
    Delay(Duration),
    /// The request is refused with this status and advice when to try again, in ms.
    Refuse(Status, u32),
    /// The answer's bytes are no frame.
    Garbage,
}

/// A running mock node. Dropped, it is gone with all its connections.
#[derive(Debug)]
pub struct MockNode {
    state: Arc<Lock<State>>,
    address: SocketAddr,
    core_ports: Vec<u16>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

/// What all connections share, and what outlives a restart.
#[derive(Debug)]
struct State {
    options: MockOptions,
    records: Records,
    faults: VecDeque<(MessageKind, Fault)>,
    map_generation: u64,
    shared_port: u16,
    core_ports: Vec<u16>,
    /// Requests served, by port.
    served: Vec<(u16, u64)>,
    connection_count: u64,
}

impl MockNode {
    /// Starts a node with the default options on free ports of the loopback interface.
    ///
    /// # Panics
    ///
    /// If no port can be had: a mock has no use for an error.
    #[must_use]
    pub fn start() -> MockNode {
        MockNode::start_with(MockOptions::default())
    }

    /// Starts a node on free ports of the loopback interface.
    ///
    /// # Panics
    ///
    /// If no port can be had: a mock has no use for an error.
    #[must_use]
    pub fn start_with(options: MockOptions) -> MockNode {
        let ports: Vec<std::net::TcpListener> =
            (0..=options.core_count).map(|_| listen(0)).collect();
        let numbers: Vec<u16> = ports
            .iter()
            .map(|port| {
                port.local_addr()
                    .expect("a bound socket has an address")
                    .port()
            })
            .collect();
        let state = Arc::new(Lock::new(State {
            options,
            records: Records::default(),
            faults: VecDeque::new(),
            map_generation: 1,
            shared_port: numbers[0],
            core_ports: numbers[1..].to_vec(),
            served: Vec::new(),
            connection_count: 0,
        }));
        let mut node = MockNode {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, numbers[0])),
            core_ports: numbers[1..].to_vec(),
            state,
            running: None,
        };
        node.run(ports);
        node
    }

    /// Where the shared port is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The ports of the cores.
    #[must_use]
    pub fn core_ports(&self) -> &[u16] {
        &self.core_ports
    }

    /// Does harm to the next request of this kind; several wait in line.
    pub fn inject(&self, kind: MessageKind, fault: Fault) {
        self.state
            .with(|state| state.faults.push_back((kind, fault)));
    }

    /// How many faults still wait for their request.
    #[must_use]
    pub fn pending_fault_count(&self) -> usize {
        self.state.with(|state| state.faults.len())
    }

    /// Requests about records that came in through this port.
    #[must_use]
    pub fn served_count(&self, port: u16) -> u64 {
        self.state.with(|state| {
            state
                .served
                .iter()
                .find(|(served, _)| *served == port)
                .map_or(0, |(_, count)| *count)
        })
    }

    /// Connections that were ever accepted.
    #[must_use]
    pub fn connection_count(&self) -> u64 {
        self.state.with(|state| state.connection_count)
    }

    /// Records in all namespaces.
    #[must_use]
    pub fn record_count(&self) -> usize {
        self.state.with(|state| state.records.len())
    }

    /// Lets a record decay: it is there and cannot be read, until a write repairs it. With
    /// [`Damage::Header`] only a part of its digest is known any more. False if there is no such record.
    pub fn damage(&self, namespace: &str, digest: Digest, damage: Damage) -> bool {
        self.state
            .with(|state| state.records.damage(namespace, digest, damage))
    }

    /// Ends all connections and stops listening; the records stay.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            drop(running.stop);
            // A panic of the node's thread is the test's to see, not to repeat while it unwinds.
            drop(running.thread.join());
        }
    }

    /// Listens again on the same ports after [`MockNode::stop`], with another map: a core more or less and
    /// other numbers for the namespaces, as after a node's restart.
    ///
    /// # Panics
    ///
    /// If the ports are taken by now.
    pub fn start_again(&mut self, core_count: u16) {
        let count = usize::from(core_count).min(self.core_ports.len());
        let core_ports = self.core_ports[..count].to_vec();
        let mut ports = vec![listen(self.address.port())];
        ports.extend(core_ports.iter().map(|port| listen(*port)));
        self.state.with(|state| {
            state.map_generation += 1;
            state.core_ports = core_ports;
        });
        self.run(ports);
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a stand-in for a process of its own"
    )]
    fn run(&mut self, ports: Vec<std::net::TcpListener>) {
        let state = Arc::clone(&self.state);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            runtime
                .expect("a runtime for the mock")
                .block_on(async move {
                    for port in ports {
                        let port = TcpListener::from_std(port).expect("a listening socket");
                        tokio::spawn(accept(Arc::clone(&state), port));
                    }
                    // Ends when the sender is dropped; the runtime then drops every connection.
                    drop(stopped.await);
                });
        });
        self.running = Some(Running { stop, thread });
    }
}

impl Drop for MockNode {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(port: u16) -> std::net::TcpListener {
    // A port that was just closed is free again only a moment later.
    let mut listening = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    for _ in 0..100 {
        if listening.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        listening = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    }
    let listening = listening.expect("a port for the mock");
    listening
        .set_nonblocking(true)
        .expect("a socket that does not block");
    listening
}

async fn accept(state: Arc<Lock<State>>, port: TcpListener) {
    let number = port.local_addr().map_or(0, |address| address.port());
    while let Ok((stream, _)) = port.accept().await {
        state.with(|state| state.connection_count += 1);
        tokio::spawn(service::serve(Arc::clone(&state), stream, number));
    }
}
