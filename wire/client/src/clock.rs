//! Ends the requests of a connection whose time is up: one timer for all of them, asleep while there are
//! none.

use std::sync::Arc;
use std::task::Waker;

use crate::connection::Connection;
use crate::error::ConnectError;
use crate::limits::TICK;

/// Runs until the connection closes.
pub(crate) async fn run(connection: Arc<Connection>) {
    let mut wakers = Vec::new();
    loop {
        let found = connection.with_state(|state| {
            let found = state.slots.tick(&mut wakers);
            state.is_clock_waiting = found.in_flight_count == 0;
            found
        });
        wakers.drain(..).for_each(Waker::wake);
        if found.is_unresponsive {
            connection.close(ConnectError::Unresponsive {
                address: connection.address(),
            });
            return;
        }
        if found.in_flight_count == 0 {
            connection.has_requests.notified().await;
        }
        tokio::time::sleep(TICK).await;
    }
}
