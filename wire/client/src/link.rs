//! The way to one port of a node: the present connection, or the making of the next one, with pauses that
//! grow while the node cannot be reached. At most one connection is being made at a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::ConnectError;
use crate::lock::Lock;
use crate::options::ClientOptions;

/// One port.
#[derive(Debug)]
pub(crate) struct Link {
    address: SocketAddr,
    options: Arc<ClientOptions>,
    present: Lock<Option<Arc<Connection>>>,
    /// Held by whoever connects; the others wait for it to succeed or fail.
    attempts: tokio::sync::Mutex<Attempts>,
}

/// How connecting has gone of late.
#[derive(Debug)]
struct Attempts {
    pause: Duration,
    last: Option<Down>,
}

/// There is no connection, and none will be tried for before that time.
#[derive(Clone, Debug)]
pub(crate) struct Down {
    pub(crate) error: ConnectError,
    pub(crate) not_before: Instant,
}

impl Link {
    pub(crate) fn new(address: SocketAddr, options: Arc<ClientOptions>) -> Self {
        let pause = options.backoff_min;
        let attempts = Attempts { pause, last: None };
        Link {
            address,
            options,
            present: Lock::new(None),
            attempts: tokio::sync::Mutex::new(attempts),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The present connection if it is open.
    pub(crate) fn present(&self) -> Option<Arc<Connection>> {
        self.present
            .with(|present| present.clone())
            .filter(|connection| !connection.is_closed())
    }

    /// The present connection, or a new one. While the pause after a failure lasts, the answer is that
    /// failure again.
    pub(crate) async fn connection(&self, deadline: Instant) -> Result<Arc<Connection>, Down> {
        if let Some(connection) = self.present() {
            return Ok(connection);
        }
        let Ok(mut attempts) = tokio::time::timeout_at(deadline, self.attempts.lock()).await else {
            let error = ConnectError::TimedOut {
                address: self.address,
            };
            return Err(Down {
                error,
                not_before: deadline,
            });
        };
        if let Some(connection) = self.present() {
            return Ok(connection);
        }
        if let Some(down) = attempts
            .last
            .as_ref()
            .filter(|down| down.not_before > Instant::now())
        {
            return Err(down.clone());
        }
        match Connection::open(self.address, &self.options).await {
            Ok(connection) => {
                attempts.pause = self.options.backoff_min;
                attempts.last = None;
                self.present
                    .with(|present| *present = Some(Arc::clone(&connection)));
                Ok(connection)
            }
            Err(error) => {
                let down = Down {
                    error,
                    not_before: Instant::now() + attempts.pause,
                };
                attempts.pause = (attempts.pause * 2).min(self.options.backoff_max);
                attempts.last = Some(down.clone());
                Err(down)
            }
        }
    }

    /// As [`Link::connection`], but tries on until there is a connection or the next pause would pass the
    /// deadline.
    pub(crate) async fn connection_at_last(
        &self,
        deadline: Instant,
    ) -> Result<Arc<Connection>, ConnectError> {
        loop {
            match self.connection(deadline).await {
                Ok(connection) => return Ok(connection),
                Err(down) if down.not_before >= deadline || !down.error.may_pass() => {
                    return Err(down.error);
                }
                Err(down) => tokio::time::sleep_until(down.not_before).await,
            }
        }
    }

    /// Ends the present connection.
    pub(crate) fn close(&self) {
        let present = self.present.with(Option::take);
        if let Some(connection) = present {
            connection.close(ConnectError::Closed);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}
