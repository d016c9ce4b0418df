//! Orders from the main and the control thread to a core.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::configuration::LiveSettings;
use crate::metrics::CoreSnapshot;

/// What a core is told to do.
pub(crate) enum Order {
    /// Say what has been counted.
    Report(tokio::sync::oneshot::Sender<CoreSnapshot>),
    /// Keep to this from now on.
    Configure(Arc<LiveSettings>),
    /// Take no new work, answer what was accepted, and say so.
    Drain(Sender<()>),
    /// Make everything durable, close the shards, and end.
    Finish,
}
