//! Closes connections whose hello does not come, so that who only connects, or stops in the middle of a hello, does not
//! hold a descriptor and a place for ever.
//!
//! One task of a core looks at each connection once, when it is as old as a hello may be late: they are kept in the order
//! in which they came, so it goes on where it stopped, and neither an idle connection nor a request costs anything for it.

use std::cell::Cell;
use std::ops::Bound;
use std::rc::Rc;
use std::time::Duration;

use super::Core;
use crate::connection::{Connection, ConnectionKey};
use crate::limits::{CONNECTIONS_PER_STEP, HELLO_LOOK_EVERY};
use crate::metrics::bump;
use crate::pace::yield_now;

/// How long a hello may take, and how far connections were looked at.
pub(super) struct HelloWatch {
    timeout: Cell<Duration>,
    /// The last connection that needs no other look.
    seen: Cell<ConnectionKey>,
}

impl HelloWatch {
    pub(super) const fn new(timeout: Duration) -> Self {
        Self {
            timeout: Cell::new(timeout),
            seen: Cell::new(ConnectionKey::new(0)),
        }
    }

    /// Holds for the connections that were not looked at yet.
    pub(super) fn configure(&self, timeout: Duration) {
        self.timeout.set(timeout);
    }
}

/// Looks from time to time, as long as the core serves.
pub(super) async fn watch(core: Rc<Core>) {
    loop {
        let every = HELLO_LOOK_EVERY.min(core.hello_watch.timeout.get());
        let began_ns = core.clock.monotonic_ns();
        glommio::timer::sleep(every).await;
        let slept_ns = core.clock.monotonic_ns().saturating_sub(began_ns);
        // A process that was stopped has not read what came meanwhile: it does that first.
        if Duration::from_nanos(slept_ns) < every + HELLO_LOOK_EVERY {
            look(&core).await;
        }
    }
}

/// Ends the connections that are old enough to have said hello and have not.
async fn look(core: &Rc<Core>) {
    let watch = &core.hello_watch;
    loop {
        let now_ns = core.clock.monotonic_ns();
        let due = due(core, now_ns);
        let Some(last) = due.last() else {
            return;
        };
        watch.seen.set(last.key());
        for connection in due.iter().filter(|connection| connection.owes_hello()) {
            connection.miss_hello(core);
            bump(&core.metrics.hello_timeouts);
            tell(core, connection);
        }
        yield_now().await;
    }
}

/// The next connections that are as old as that, oldest first; no more than a core looks at in one step.
fn due(core: &Core, now_ns: u64) -> Vec<Rc<Connection>> {
    let watch = &core.hello_watch;
    let timeout = watch.timeout.get();
    let connections = core.connections.borrow();
    let unseen = connections.range((Bound::Excluded(watch.seen.get()), Bound::Unbounded));
    unseen
        .map(|(_, connection)| connection)
        .take_while(|connection| connection.age(now_ns) >= timeout)
        .take(CONNECTIONS_PER_STEP)
        .map(Rc::clone)
        .collect()
}

fn tell(core: &Core, connection: &Connection) {
    if let Some(unsaid) = core.messages.no_hello.due(core.ring.turn_ns()) {
        let peer = connection.peer().map(tracing::field::display);
        tracing::warn!(
            core = core.number,
            peer,
            after = ?core.hello_watch.timeout.get(),
            others = unsaid,
            "connections were closed, and others since the last message: no whole hello came on them within \
             hello_timeout; what connects there speaks no native protocol, or waits before it speaks"
        );
    }
}
