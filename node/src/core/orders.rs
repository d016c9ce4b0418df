//! Orders from the main and the control thread to a core.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::configuration::LiveSettings;
use crate::metrics::CoreSnapshot;

/// What a core is told to do.
pub(crate) enum Order {
    /// Say what has been counted.
    Report(tokio::sync::oneshot::Sender<CoreSnapshot>),
    /// Keep to this from now on.
    Configure(Arc<LiveSettings>),
    /// Say that you are there.
    Live(tokio::sync::oneshot::Sender<()>),
    /// Take no new work, answer what was accepted, and say so.
    Drain {
        /// Gets the core's number.
        done: Sender<u16>,
        /// How long clients have to take their answers before they are cut.
        client_patience: Duration,
        /// After what time a core that still waits says for what.
        report_after: Duration,
    },
    /// Make everything durable, close the shards, and end.
    Finish,
}
