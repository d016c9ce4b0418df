//! SIGHUP: the file is read again, what can change while the node runs is changed, and of the rest it is said that
//! it needs a restart. A file with a fault changes nothing. And an operator's change of one key.

use std::sync::Arc;

use corelith_io::MailboxSender;

use crate::configuration::{Changed, Configuration, Reload, Unchanged};
use crate::core::Order;
use crate::logging::LogControl;
use crate::options::Options;

/// The configuration of the running node, and what it came from.
pub(crate) struct Settings {
    pub(crate) options: Options,
    pub(crate) current: Configuration,
    pub(crate) log: LogControl,
}

impl Settings {
    /// Reads the sources again and tells the cores.
    pub(super) fn reload(&mut self, cores: &mut [MailboxSender<Order>]) {
        if self.options.config.is_none() {
            tracing::warn!(
                "SIGHUP: the node was started without --config, so there is nothing to read again"
            );
            return;
        }
        let reload = match self.current.reload(&self.options) {
            Ok(reload) => reload,
            Err(error) => {
                tracing::error!("SIGHUP: nothing was changed: {error}");
                return;
            }
        };
        self.tell(cores);
        self.say(&reload);
    }

    /// Sets one live key and tells the cores.
    pub(super) fn change(
        &mut self,
        (key, value): (&str, &str),
        cores: &mut [MailboxSender<Order>],
    ) -> Result<Changed, Unchanged> {
        let changed = self.current.change(key, value)?;
        if key == "log.level" && !self.log.set_level(self.current.log_level) {
            let key = key.to_owned();
            return Err(Unchanged::Overruled { key });
        }
        self.tell(cores);
        let (path, value) = (&changed.setting.path, &changed.setting.value);
        tracing::info!("an operator has set {path} = {value}");
        Ok(changed)
    }

    fn tell(&self, cores: &mut [MailboxSender<Order>]) {
        let live = Arc::new(self.current.live());
        for core in cores {
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
