//! What changes while a node runs: the live keys of another configuration are taken, of the others it is said that
//! they need a restart.

use std::time::Duration;

use super::keys::Setting;
use super::{Configuration, ConfigurationError, SlowThreshold};
use crate::namespaces::Policy;
use crate::options::Options;

/// What every core is told anew.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LiveSettings {
    /// Connections that a core takes.
    pub(crate) connections_per_core_max: usize,
    /// How long a connection may take for its hello.
    pub(crate) hello_timeout: Duration,
    /// How far the wall clock may step ahead before no write is taken, in ms.
    pub(crate) clock_jump_max_ms: u64,
    /// From what time on an operation is slow.
    pub(crate) slow_log: SlowThreshold,
    /// By the names of their namespaces; without a name, of all.
    pub(crate) policies: Vec<(Option<String>, Policy)>,
}

/// What came of another look at the sources.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Reload {
    /// Taken.
    pub(crate) changed: Vec<Setting>,
    /// As it stands in the file now, and holds only after a restart.
    pub(crate) restart: Vec<Setting>,
    /// Not in the file any more, with the value that holds until a restart.
    pub(crate) gone: Vec<Setting>,
}

impl Configuration {
    /// What cores need of it while they run.
    pub(crate) fn live(&self) -> LiveSettings {
        LiveSettings {
            connections_per_core_max: self.connections_per_core_max,
            hello_timeout: self.hello_timeout,
            clock_jump_max_ms: self.clock_jump_max_ms,
            slow_log: self.slow_log,
            policies: self
                .namespaces
                .iter()
                .map(|namespace| (namespace.name.clone(), Policy::of(namespace)))
                .collect(),
        }
    }

    /// Reads the sources again and takes their live keys.
    ///
    /// # Errors
    /// What is wrong with them; nothing is taken then.
    pub(crate) fn reload(&mut self, options: &Options) -> Result<Reload, ConfigurationError> {
        Ok(self.take(&Self::load(options)?))
    }

    /// Takes the live keys of another configuration.
    pub(super) fn take(&mut self, other: &Self) -> Reload {
        let (before, after) = (self.settings(), other.settings());
        let known = |path: &str| {
            self.namespaces.iter().any(|namespace| {
                let prefix = format!("namespace.{}.", namespace.name());
                path.starts_with(&prefix)
            })
        };
        let mut reload = Reload::default();
        for setting in &after {
            let of_new = setting.path.starts_with("namespace.") && !known(&setting.path);
            if before.contains(setting) {
                continue;
            }
            if setting.is_live && !of_new {
                reload.changed.push(setting.clone());
            } else {
                reload.restart.push(setting.clone());
            }
        }
        let gone = before
            .iter()
            .filter(|setting| !after.iter().any(|found| found.path == setting.path));
        reload.gone.extend(gone.cloned());
        self.connections_per_core_max = other.connections_per_core_max;
        self.hello_timeout = other.hello_timeout;
        self.clock_jump_max_ms = other.clock_jump_max_ms;
        self.slow_log = other.slow_log;
        self.log_level = other.log_level;
        for namespace in &mut self.namespaces {
            let found = other
                .namespaces
                .iter()
                .find(|found| found.name() == namespace.name());
            if let Some(found) = found {
                namespace.lifetimes = found.lifetimes;
                namespace.record_bytes_max = found.record_bytes_max;
                namespace.scrub_rate_bytes = found.scrub_rate_bytes;
            }
        }
        reload
    }
}
