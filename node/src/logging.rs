//! The log: where it goes, how much of it, in which form. Its level changes while the node runs, unless RUST_LOG
//! says it.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogLevel {
    /// Only what someone must look at.
    Error,
    /// And what someone should know.
    Warn,
    /// And what happens in the life of a node.
    Info,
    /// And what a developer wants to see.
    Debug,
}

impl LogLevel {
    /// For messages: what a level is.
    pub(crate) const WANTED: &'static str = "\"error\", \"warn\", \"info\" or \"debug\"";

    /// Its name in files and filters.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = [Self::Error, Self::Warn, Self::Info, Self::Debug];
        all.into_iter().find(|level| level.name() == name)
    }
}

/// Form of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

impl LogFormat {
    /// For messages: what a form is.
    pub(crate) const WANTED: &'static str = "\"text\" or \"json\"";

    /// Its name in files.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let all = [Self::Text, Self::Json];
        all.into_iter().find(|format| format.name() == name)
    }
}

/// Changes the level of the log that was started.
pub(crate) struct LogControl(Box<dyn Fn(EnvFilter) -> bool>);

impl LogControl {
    /// Sets the level; false if RUST_LOG has said it.
    pub(crate) fn set_level(&self, level: LogLevel) -> bool {
        match EnvFilter::try_from_default_env() {
            Ok(_) => false,
            Err(_) => (self.0)(EnvFilter::new(level.name())),
        }
    }
}

/// Sends the log to standard error in the form asked for.
pub(crate) fn start(level: LogLevel, format: LogFormat) -> LogControl {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level.name()));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let builder = builder.with_ansi(false).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            LogControl(Box::new(move |filter| handle.reload(filter).is_ok()))
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            LogControl(Box::new(move |filter| handle.reload(filter).is_ok()))
        }
    }
}
