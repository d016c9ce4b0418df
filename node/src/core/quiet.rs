//! What an operator does to connections: listing and closing them, and quiescing a core, which takes no work until
//! that is undone while what it had accepted is finished.

use std::ops::Bound;
use std::rc::Rc;
use std::time::Duration;

use super::Core;
use crate::connection::{Connection, ConnectionKey, ConnectionReport};
use crate::limits::{CLOSE_PATIENCE, CONNECTIONS_PER_STEP};

/// How often a quiesced core looks whether everything is answered.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Core {
    /// True if requests are refused.
    pub(crate) const fn takes_no_work(&self) -> bool {
        self.stopping.get() || self.quiesced.get()
    }

    /// The next connections after this one, by their numbers; none after the last. No more than a core looks at
    /// in one step.
    pub(crate) fn connections_after(&self, last: ConnectionKey) -> Vec<Rc<Connection>> {
        let connections = self.connections.borrow();
        let after = connections.range((Bound::Excluded(last), Bound::Unbounded));
        let step = after.take(CONNECTIONS_PER_STEP);
        step.map(|(_, connection)| Rc::clone(connection)).collect()
    }

    /// What is known of the next connections after the one of this number.
    pub(crate) fn connection_reports(&self, last_number: u64) -> Vec<ConnectionReport> {
        let now_ns = self.clock.monotonic_ns();
        let connections = self.connections_after(ConnectionKey::new(last_number));
        let reports = connections.iter();
        reports
            .map(|connection| connection.report(self.number, now_ns))
            .collect()
    }
}

/// Ends a connection when its requests are answered, and cuts it if its client does not take the answers.
/// False if there is none of this number.
pub(super) fn close(core: &Rc<Core>, number: u64) -> bool {
    let key = ConnectionKey::new(number);
    let Some(connection) = core.connections.borrow().get(&key).cloned() else {
        return false;
    };
    connection.end();
    let core = Rc::clone(core);
    glommio::spawn_local(async move {
        glommio::timer::sleep(CLOSE_PATIENCE).await;
        let connection = core.connections.borrow().get(&key).cloned();
        if let Some(connection) = connection {
            connection.cut();
        }
    })
    .detach();
    true
}

/// Quiesces the core, or undoes that. False if it was so already.
pub(super) fn set_quiesced(core: &Rc<Core>, is_quiesced: bool) -> bool {
    let is_new = core.quiesced.replace(is_quiesced) != is_quiesced;
    if !is_new || !is_quiesced {
        return is_new;
    }
    let core = Rc::clone(core);
    glommio::spawn_local(async move {
        let is_over = || !core.quiesced.get() || core.stopping.get();
        // Requests that arrive meanwhile are refused in words; those accepted are always answered.
        while core.unanswered.get() > 0 {
            if is_over() {
                return;
            }
            glommio::timer::sleep(LOOK_AGAIN).await;
        }
        let mut last = ConnectionKey::new(0);
        while !is_over() {
            let step = core.connections_after(last);
            let Some(end) = step.last() else {
                return;
            };
            last = end.key();
            for connection in &step {
                connection.end();
            }
            glommio::executor().yield_now().await;
        }
    })
    .detach();
    true
}
