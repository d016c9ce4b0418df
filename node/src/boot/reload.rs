//! SIGHUP: the file is read again, what can change while the node runs is changed, and of the rest it is said that
//! it needs a restart. A file with a fault changes nothing. And an operator's change of one key.

use std::sync::Arc;

use corelith_io::MailboxSender;

use crate::configuration::{Changed, Configuration, Reload, Unchanged};
use crate::core::Order;
use crate::logging::LogControl;
use crate::memory_plan::MemoryPlan;
use crate::options::Options;

/// Who is told of a change, and what it must fit.
pub(super) struct Cores<'a> {
    pub(super) orders: &'a mut [MailboxSender<Order>],
    pub(super) memory: &'a MemoryPlan,
}

/// The configuration of the running node, and what it came from.
pub(crate) struct Settings {
    pub(crate) options: Options,
    pub(crate) current: Configuration,
    pub(crate) log: LogControl,
}

impl Settings {
    /// Reads the sources again and tells the cores.
    pub(super) fn reload(&mut self, cores: Cores<'_>) {
        if self.options.config.is_none() {
            tracing::warn!(
                "SIGHUP: the node was started without --config, so there is nothing to read again"
            );
            return;
        }
        let mut wanted = self.current.clone();
        let reload = match wanted.reload(&self.options) {
            Ok(reload) => reload,
            Err(error) => {
                tracing::error!("SIGHUP: nothing was changed: {error}");
                return;
            }
        };
        if let Err(no_room) = cores
            .memory
            .check_connections(wanted.connections_per_core_max)
        {
            let remedy = Unchanged::Memory(no_room).remedy();
            tracing::error!("SIGHUP: nothing was changed: {no_room}; {remedy}");
            return;
        }
        self.current = wanted;
        self.tell(cores);
        self.say(&reload);
    }

    /// Sets one live key and tells the cores.
    pub(super) fn change(
        &mut self,
        (key, value): (&str, &str),
        cores: Cores<'_>,
    ) -> Result<Changed, Unchanged> {
        let mut wanted = self.current.clone();
        let changed = wanted.change(key, value)?;
        let connections = wanted.connections_per_core_max;
        let checked = cores.memory.check_connections(connections);
        checked.map_err(Unchanged::Memory)?;
        self.current = wanted;
        if key == "log.level" && !self.log.set_level(self.current.log_level) {
            let key = key.to_owned();
            return Err(Unchanged::Overruled { key });
        }
        self.tell(cores);
        let (path, value) = (&changed.setting.path, &changed.setting.value);
        tracing::info!("an operator has set {path} = {value}");
        Ok(changed)
    }

    fn tell(&self, cores: Cores<'_>) {
        let live = Arc::new(self.current.live());
        for core in cores.orders {
            // A core whose mailbox is gone has failed, and the main thread is about to be told.
            if core.try_send(Order::Configure(Arc::clone(&live))).is_err() {
                tracing::error!(
                    "a core could not be told of a change; send SIGHUP, or set it again"
                );
            }
        }
    }

    fn say(&self, reload: &Reload) {
        for setting in &reload.changed {
            let (path, value) = (&setting.path, &setting.value);
            let is_level = path == "log.level";
            if is_level && !self.log.set_level(self.current.log_level) {
                tracing::warn!(
                    "SIGHUP: RUST_LOG says what is logged, so log.level changes nothing"
                );
                continue;
            }
            tracing::info!("SIGHUP: {path} = {value} from now on");
        }
        for setting in &reload.restart {
            let (path, value) = (&setting.path, &setting.value);
            tracing::warn!(
                "SIGHUP: {path} = {value} needs a restart; the old value holds until then"
            );
        }
        for setting in &reload.gone {
            let path = &setting.path;
            tracing::warn!("SIGHUP: {path} is not in the file any more, which needs a restart");
        }
        if reload == &Reload::default() {
            tracing::info!("SIGHUP: nothing has changed");
        }
    }
}
