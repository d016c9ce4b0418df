//! Orders from the main and the control thread to a core.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::configuration::LiveSettings;
use crate::connection::ConnectionReport;
use crate::metrics::CoreSnapshot;
use crate::namespaces::Trouble;
use crate::slow::SlowOperation;

/// What a core is told to do.
pub(crate) enum Order {
    /// Say what has been counted.
    Report(tokio::sync::oneshot::Sender<CoreSnapshot>),
    /// Say of each namespace what keeps your shards from taking writes.
    Troubles(tokio::sync::oneshot::Sender<Vec<Trouble>>),
    /// Keep to this from now on.
    Configure(Arc<LiveSettings>),
    /// Say which connections there are, some of them.
    Connections {
        /// The ones after that of this number.
        after: u64,
        /// None after the last.
        answer: tokio::sync::oneshot::Sender<Vec<ConnectionReport>>,
    },
    /// Say which operations were slow.
    Slow(tokio::sync::oneshot::Sender<Vec<SlowOperation>>),
    /// Close a connection; say whether it was there.
    Close {
        /// Its number on this core.
        number: u64,
        /// Gets the answer.
        answer: tokio::sync::oneshot::Sender<bool>,
    },
    /// Take no work, or take it again.
    Quiesce {
        /// Which of the two.
        is_quiesced: bool,
        /// Gets whether that is a change.
        answer: tokio::sync::oneshot::Sender<bool>,
    },
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
