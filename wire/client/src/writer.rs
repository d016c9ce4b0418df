//! Sends what callers have put into a connection's buffer. While one send is under way the next buffer
//! fills, so under load many small frames share one system call.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;

use crate::connection::Connection;
use crate::error::ConnectError;
use crate::limits::BUFFER_KEPT_LENGTH_BYTES_MAX;

/// Runs until the connection closes.
pub(crate) async fn run(connection: Arc<Connection>, mut half: OwnedWriteHalf) {
    let mut sending = Vec::new();
    loop {
        connection.with_state(|state| {
            std::mem::swap(&mut sending, &mut state.outgoing);
            state.taken_bytes += sending.len() as u64;
            state.is_writer_waiting = sending.is_empty();
        });
        if sending.is_empty() {
            connection.has_outgoing.notified().await;
            continue;
        }
        if let Err(error) = half.write_all(&sending).await {
            let address = connection.address();
            connection.close(ConnectError::Io {
                address,
                error: Arc::new(error),
            });
            return;
        }
        sending.clear();
        if sending.capacity() > BUFFER_KEPT_LENGTH_BYTES_MAX {
            sending = Vec::new();
        }
        connection.has_sent.notify_waiters();
    }
}
