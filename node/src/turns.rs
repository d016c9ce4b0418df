//! Who is served next on a core: namespaces take turns, and in each of them its connections, by deficit round robin.
//!
//! A connection with requests to dispatch has a turn of a quantum, dispatches what that pays for, and goes to the
//! end of the line of the namespace that its next request is about; the lines are gone round, a turn from each, so a namespace
//! with more connections has no more of the core. Between two turns all other tasks of the core run. What a turn pays with comes from a window of
//! the core and returns when a request has done its work, so that no line forms behind the ring either: not in the
//! core's run queue, and not in the device's. Costs are in units: a request is one, and one more for every
//! 4 KiB of it.
//!
//! A connection that had nothing to dispatch has its next turn at once, out of a reserve beyond the window: so a lone request does
//! not wait for the requests of a flood, and a flood, which never rests, has no part in the reserve.
//!
//! Invariant: what is free, what connections hold in their turns and what requests hold make the window; the
//! reserve, a turn that is begun with the last of either, and requests that had to wait for others overdraw it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use corelith_wire::limits::NAMESPACES_MAX;
use corelith_wire::{FrameHeader, MessageKind, NamespaceId};

use crate::limits::{
    BATCH_ROW_BYTES_MIN, RESERVE_UNITS, TURN_UNIT_BYTES, TURN_UNITS, WINDOW_UNITS,
};

/// The turns of one core.
pub(crate) struct Turns {
    /// Below zero while it is overdrawn.
    free_units: Cell<i64>,
    lines: RefCell<Lines>,
}

/// Who waits, by namespace. All turns are of one quantum, so a turn from each line in its turn is fair among them.
#[derive(Default)]
struct Lines {
    /// By number; 0 is of requests about none.
    by_namespace: Vec<VecDeque<Waiting>>,
    /// Those in which somebody waits, the next one first.
    rotation: VecDeque<usize>,
}

impl Lines {
    fn push(&mut self, namespace: usize, waiting: Waiting) {
        if self.by_namespace.len() <= namespace {
            self.by_namespace.resize_with(namespace + 1, VecDeque::new);
        }
        if let Some(line) = self.by_namespace.get_mut(namespace) {
            if line.is_empty() {
                self.rotation.push_back(namespace);
            }
            line.push_back(waiting);
        }
    }

    fn pop(&mut self) -> Option<Waiting> {
        let namespace = self.rotation.pop_front()?;
        let line = self.by_namespace.get_mut(namespace)?;
        let first = line.pop_front();
        if !line.is_empty() {
            self.rotation.push_back(namespace);
        }
        first
    }
}

/// One that waits for its turn.
struct Waiting {
    share: Rc<Share>,
    waker: Waker,
}

/// The part of one connection.
#[derive(Default)]
pub(crate) struct Share {
    /// What is left of its turn.
    left_units: Cell<u32>,
    /// What was left of the last one, too little for the next request.
    deficit_units: Cell<u32>,
    state: Cell<State>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// It had nothing to dispatch when it was looked at last.
    #[default]
    Resting,
    /// It has a turn.
    Serving,
    /// It is in the line.
    Waiting,
}

/// What a request costs by its kind and the length of its frame: never more than a turn pays for. A page of a scan reads
/// hundreds of records, whatever its length; a batch costs as many units as it can have rows.
pub(crate) fn cost_units(header: &FrameHeader, frame_bytes: usize) -> u32 {
    let is_of = |kind| header.kind() == Some(kind);
    if is_of(MessageKind::Scan) {
        TURN_UNITS
    } else if is_of(MessageKind::Batch) {
        cost_of_length(frame_bytes, BATCH_ROW_BYTES_MIN)
    } else {
        cost_of_length(frame_bytes, TURN_UNIT_BYTES)
    }
}

fn cost_of_length(frame_bytes: usize, unit_bytes: usize) -> u32 {
    let by_length = u32::try_from(frame_bytes / unit_bytes).unwrap_or(u32::MAX);
    by_length.saturating_add(1).min(TURN_UNITS)
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            free_units: Cell::new(WINDOW_UNITS.into()),
            lines: RefCell::default(),
        }
    }

    /// Pays for a request out of the connection's turn; waits for the next one, in the line of the request's namespace, if too
    /// little is left. The units are the request's then, until [`Turns::release`].
    pub(crate) fn poll_pay(
        &self,
        share: &Rc<Share>,
        (namespace, cost_units): (Option<NamespaceId>, u32),
        context: &Context<'_>,
    ) -> Poll<()> {
        let left_units = share.left_units.get();
        if left_units >= cost_units {
            share.left_units.set(left_units - cost_units);
            return Poll::Ready(());
        }
        match share.state.get() {
            // Whoever comes out of rest is served before those that have more and more.
            State::Resting if self.free_units.get() > -i64::from(RESERVE_UNITS) => {
                self.begin(share);
                return self.poll_pay(share, (namespace, cost_units), context);
            }
            State::Resting | State::Serving => {
                share.deficit_units.set(left_units);
                self.put_back(share);
                share.state.set(State::Waiting);
                let share = Rc::clone(share);
                let waker = context.waker().clone();
                let namespace = namespace.map_or(0, |id| usize::from(id.get()));
                // Any number may come from a peer: those of no namespace share a line.
                let namespace = if namespace > NAMESPACES_MAX {
                    0
                } else {
                    namespace
                };
                let mut lines = self.lines.borrow_mut();
                lines.push(namespace, Waiting { share, waker });
                drop(lines);
                self.grant();
            }
            // A waker of old that comes late.
            State::Waiting => {}
        }
        Poll::Pending
    }

    /// The connection has nothing to dispatch: what is left of its turn goes back.
    pub(crate) fn rest(&self, share: &Share) {
        if share.state.get() == State::Serving {
            share.deficit_units.set(0);
            self.put_back(share);
            share.state.set(State::Resting);
            self.grant();
        }
    }

    /// A request that had given back what was paid for it, because it had to wait, goes on: the window may be overdrawn for it.
    pub(crate) fn pay_late(&self, cost_units: u32) {
        self.free_units
            .set(self.free_units.get() - i64::from(cost_units));
    }

    /// A request has done its work.
    pub(crate) fn release(&self, cost_units: u32) {
        self.free_units
            .set(self.free_units.get() + i64::from(cost_units));
        self.grant();
    }

    fn put_back(&self, share: &Share) {
        let left_units = share.left_units.replace(0);
        self.free_units
            .set(self.free_units.get() + i64::from(left_units));
    }

    fn begin(&self, share: &Share) {
        let units = TURN_UNITS + share.deficit_units.replace(0);
        self.free_units
            .set(self.free_units.get() - i64::from(units));
        share.left_units.set(units);
        share.state.set(State::Serving);
    }

    /// Gives turns to the first in the line while the window has room.
    fn grant(&self) {
        while self.free_units.get() > 0 {
            let Some(first) = self.lines.borrow_mut().pop() else {
                return;
            };
            self.begin(&first.share);
            first.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// A connection with requests of one cost, as many as it is told.
    struct Client {
        name: char,
        share: Rc<Share>,
        woken: Arc<Woken>,
        cost_units: u32,
        backlog: u32,
        namespace: Option<NamespaceId>,
    }

    impl Client {
        fn new(name: char, cost_units: u32, backlog: u32) -> Self {
            let woken = Arc::new(Woken(AtomicBool::new(true)));
            Self {
                namespace: NamespaceId::new(1),
                name,
                share: Rc::default(),
                woken,
                cost_units,
                backlog,
            }
        }

        /// Runs its task once, if it was woken: dispatches what it may, and notes that.
        fn run(&mut self, turns: &Turns, served: &mut Vec<(char, u32)>) {
            if !self.woken.0.swap(false, Ordering::Relaxed) {
                return;
            }
            let waker = Waker::from(Arc::clone(&self.woken));
            let context = Context::from_waker(&waker);
            while self.backlog > 0 {
                let request = (self.namespace, self.cost_units);
                let paid = turns.poll_pay(&self.share, request, &context);
                if paid.is_pending() {
                    return;
                }
                self.backlog -= 1;
                served.push((self.name, self.cost_units));
            }
            turns.rest(&self.share);
        }
    }

    /// Rounds of a core, in each of which every woken task runs once and the oldest requests, up to so many units of
    /// them, are answered. The order of service.
    fn serve(clients: &mut [Client], rounds: usize, units_a_round: u32) -> Vec<char> {
        let turns = Turns::new();
        let (mut served, mut answered) = (Vec::new(), 0);
        for _ in 0..rounds {
            for client in clients.iter_mut() {
                client.run(&turns, &mut served);
            }
            let mut units = units_a_round;
            while let Some((_, cost_units)) = served.get(answered).filter(|_| units > 0) {
                turns.release(*cost_units);
                units = units.saturating_sub(*cost_units);
                answered += 1;
            }
            let in_flight: u32 = served[answered..].iter().map(|(_, units)| units).sum();
            let bound = WINDOW_UNITS + RESERVE_UNITS + TURN_UNITS;
            assert!(in_flight <= bound, "{in_flight} units in flight");
        }
        served.iter().map(|(name, _)| *name).collect()
    }

    fn count(order: &[char], name: char) -> usize {
        order.iter().filter(|served| **served == name).count()
    }

    /// Runs a client until it dispatches no more.
    fn exhaust(client: &mut Client, turns: &Turns, served: &mut Vec<(char, u32)>) {
        loop {
            let before = served.len();
            client.run(turns, served);
            if served.len() == before {
                return;
            }
        }
    }

    #[test]
    fn a_lone_request_does_not_wait_for_a_flood() {
        let turns = Turns::new();
        let mut served = Vec::new();
        let mut flood = Client::new('f', 1, 100_000);
        exhaust(&mut flood, &turns, &mut served);
        let most = usize::try_from(WINDOW_UNITS + TURN_UNITS).unwrap();
        assert!(served.len() <= most, "{} in flight", served.len());
        assert!(flood.backlog > 0);
        // The window is full of the flood's, and none of them is answered.
        let mut innocent = Client::new('i', 1, 0);
        for _ in 0..1000 {
            innocent.backlog = 1;
            innocent.woken.0.store(true, Ordering::Relaxed);
            innocent.run(&turns, &mut served);
            assert_eq!(innocent.backlog, 0);
            assert_eq!(served.last(), Some(&('i', 1)));
            turns.release(1);
            exhaust(&mut flood, &turns, &mut served);
        }
        assert!(
            served.len() <= most + 1000,
            "the reserve is not the flood's"
        );
    }

    #[test]
    fn beyond_the_reserve_floods_take_turns_in_their_order() {
        let turns = Turns::new();
        let mut served = Vec::new();
        let names: Vec<char> = ('a'..='z').collect();
        let mut floods: Vec<Client> = names
            .iter()
            .map(|name| Client::new(*name, 1, 100_000))
            .collect();
        for flood in &mut floods {
            exhaust(flood, &turns, &mut served);
        }
        let most = usize::try_from(WINDOW_UNITS + RESERVE_UNITS + TURN_UNITS).unwrap();
        assert!(served.len() <= most, "{} in flight", served.len());
        // Everything is answered one by one: each has a turn before any has two.
        let before = served.len();
        let turn = usize::try_from(TURN_UNITS).unwrap();
        while served.len() < before + names.len() * turn {
            turns.release(1);
            for flood in &mut floods {
                flood.run(&turns, &mut served);
            }
        }
        let mut order: Vec<char> = served[before..].iter().map(|(name, _)| *name).collect();
        order.dedup();
        order.sort_unstable();
        assert_eq!(order, names);
    }

    #[test]
    fn whoever_rests_is_served_at_once() {
        let mut clients = [Client::new('i', 1, 1)];
        assert_eq!(serve(&mut clients, 1, 1), ['i']);
    }

    #[test]
    fn floods_share_by_cost_and_not_by_count() {
        // One has requests that cost eight times as much.
        let mut clients = [Client::new('a', 1, 100_000), Client::new('b', 8, 100_000)];
        let order = serve(&mut clients, 400, TURN_UNITS);
        let (small, large) = (count(&order, 'a'), count(&order, 'b') * 8);
        assert!(
            small * 10 > large * 9 && large * 10 > small * 9,
            "{small} {large}"
        );
    }

    #[test]
    fn a_namespace_with_more_connections_has_no_more_of_the_core() {
        let mut clients: Vec<Client> = ('a'..='j')
            .map(|name| Client::new(name, 1, 100_000))
            .collect();
        clients[0].namespace = NamespaceId::new(2);
        clients[1].namespace = None;
        let order = serve(&mut clients, 400, TURN_UNITS);
        let counts: Vec<usize> = ('a'..='j').map(|name| count(&order, name)).collect();
        let alike = |one: usize, other: usize| one * 10 > other * 9 && other * 10 > one * 9;
        let of_many: usize = counts[2..].iter().sum();
        assert!(alike(counts[0], of_many), "{counts:?}");
        assert!(alike(counts[1], of_many), "{counts:?}");
        // Within the namespace they are served alike.
        let (least, most) = (counts[2..].iter().min(), counts[2..].iter().max());
        assert!(
            most.unwrap() - least.unwrap() <= 2 * usize::try_from(TURN_UNITS).unwrap(),
            "{counts:?}"
        );
    }

    #[test]
    fn a_deficit_is_made_up_for() {
        // Two of these do not fill a turn, and three are too many: the rest counts in the next turn.
        let odd = TURN_UNITS / 2 - 1;
        let mut clients = [Client::new('a', 1, 100_000), Client::new('b', odd, 100_000)];
        let order = serve(&mut clients, 400, TURN_UNITS);
        let (small, large) = (
            count(&order, 'a'),
            count(&order, 'b') * usize::try_from(odd).unwrap(),
        );
        assert!(
            small * 10 > large * 9 && large * 10 > small * 9,
            "{small} {large}"
        );
    }

    #[test]
    fn many_that_want_the_most_never_stop_each_other() {
        let mut clients: Vec<Client> = ('a'..='z')
            .map(|name| Client::new(name, TURN_UNITS, 20))
            .collect();
        let order = serve(&mut clients, 2000, TURN_UNITS);
        assert_eq!(order.len(), 26 * 20);
    }

    #[test]
    fn what_is_long_costs_more_up_to_a_turn() {
        assert_eq!(cost_of_length(100, TURN_UNIT_BYTES), 1);
        assert_eq!(cost_of_length(TURN_UNIT_BYTES, TURN_UNIT_BYTES), 2);
        assert_eq!(cost_of_length(8 << 20, TURN_UNIT_BYTES), TURN_UNITS);
        assert_eq!(cost_of_length(usize::MAX, TURN_UNIT_BYTES), TURN_UNITS);
    }

    #[test]
    fn pages_and_batches_cost_what_is_in_them() {
        let header = |kind: u8| {
            let mut bytes = [0; 32];
            bytes[..3].copy_from_slice(&[0xc0, 0x4c, kind]);
            FrameHeader::parse(&bytes).unwrap().unwrap()
        };
        let get = header(MessageKind::Get.number());
        assert_eq!(cost_units(&get, 100), 1);
        let scan = header(MessageKind::Scan.number());
        assert_eq!(cost_units(&scan, 100), TURN_UNITS);
        let batch = header(MessageKind::Batch.number());
        assert_eq!(cost_units(&batch, 32 + 5 * 80), 7);
        assert_eq!(cost_units(&batch, 8000), TURN_UNITS);
    }
}
