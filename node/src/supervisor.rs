//! The supervisor that started the node, if it wants to be told: systemd's notification protocol, which is
//! datagrams of lines to the socket that NOTIFY_SOCKET names. Without that variable all of this does nothing.
//!
//! A message that cannot be sent is a reason for a warning, never for a node to end.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Whoever wants to know how the node is.
pub(crate) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names.
    pub(crate) fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name);
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let socket = variable("NOTIFY_SOCKET").and_then(|name| match connect(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "the supervisor's socket {name:?} (NOTIFY_SOCKET) cannot be used: it is not told when the node \
                     is ready; unset the variable, or give the node access"
                );
                None
            }
        });
        let is_ours =
            number("WATCHDOG_PID").is_none_or(|process| process == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC")
            .filter(|interval_us| is_ours && *interval_us > 0)
            .map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// How often it wants a sign of life: half of the time after which it would act.
    pub(crate) fn sign_of_life_every(&self) -> Option<Duration> {
        self.socket.as_ref()?;
        self.watchdog.map(|interval| interval / 2)
    }

    /// The node serves.
    pub(crate) fn is_ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// The node is busy with something that may go on for another `patience`.
    pub(crate) fn is_busy(&self, status: &str, patience: Duration) {
        let patience_us = patience.as_micros();
        self.send(&format!(
            "STATUS={status}\nEXTEND_TIMEOUT_USEC={patience_us}"
        ));
    }

    /// The node stops, and needs no longer than `patience`.
    pub(crate) fn is_stopping(&self, patience: Duration) {
        let patience_us = patience.as_micros();
        self.send(&format!(
            "STOPPING=1\nSTATUS=finishing what was accepted\nEXTEND_TIMEOUT_USEC={patience_us}"
        ));
    }

    /// A sign of life.
    pub(crate) fn is_alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.socket else {
            return;
        };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::debug!(%error, message, "the supervisor could not be told");
        }
    }
}

/// A socket of our own, and the address of the supervisor's: a path, or a name in the abstract namespace
/// behind an `@`.
fn connect(name: &OsStr) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A supervisor that does not read must not hold the node up.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}
