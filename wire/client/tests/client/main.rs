//! The client against a node in memory: operations, routing, harm, scans, plain threads.
#![expect(
    clippy::disallowed_methods,
    reason = "no core runs here: the clock is the machine's"
)]

mod batches;
mod blocking;
mod doubt;
mod handshake;
mod limits;
mod operations;
mod routing;
mod scans;

use std::future::Future;
use std::time::Duration;

use corelith_client::mock::MockNode;
use corelith_client::{Client, ClientOptions};

/// Runs a test on a runtime of one thread.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // Far beyond what any test takes: a client that hangs is a failure, not a wait.
    let limit = Duration::from_secs(60);
    runtime.block_on(async {
        tokio::time::timeout(limit, test)
            .await
            .expect("the test hangs")
    });
}

async fn connect(node: &MockNode) -> Client {
    connect_with(node, ClientOptions::default()).await
}

async fn connect_with(node: &MockNode, options: ClientOptions) -> Client {
    Client::connect(&node.address().to_string(), options)
        .await
        .unwrap()
}

/// Time for whatever the machine does meanwhile, and no retries that would hide a fault.
fn patient() -> ClientOptions {
    ClientOptions {
        timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(20),
        retry_count_max: 0,
        ..ClientOptions::default()
    }
}
