//! The mailboxes of a node: between every two cores, and from the main and control threads.

use corelith_io::{CoreWaker, MailboxReceiver, MailboxSender, mailbox};

use crate::core::{Order, PeerLinks};
use crate::limits::{HOPS_PER_PAIR_MAX, ORDERS_MAX};

/// All ends, by core.
pub(super) struct Wires {
    /// For each core: its links to every other one, by number.
    pub(super) links: Vec<Vec<Option<PeerLinks>>>,
    /// To each core, for the main thread.
    pub(super) orders: Vec<MailboxSender<Order>>,
    pub(super) order_readers: Vec<MailboxReceiver<Order>>,
    /// To each core, for the control thread.
    pub(super) reports: Vec<MailboxSender<Order>>,
    pub(super) report_readers: Vec<MailboxReceiver<Order>>,
}

/// Makes all mailboxes. A request mailbox has room for connections beside all requests that may be
/// out; an answer mailbox for exactly those requests.
pub(super) fn wire(wakers: &[CoreWaker]) -> Wires {
    let count = wakers.len();
    let mut links: Vec<Vec<Option<PeerLinks>>> = wakers
        .iter()
        .map(|_| (0..count).map(|_| None).collect())
        .collect();
    for (first, first_waker) in wakers.iter().enumerate() {
        for (second, second_waker) in wakers.iter().enumerate().skip(first + 1) {
            let (to_second, in_second) = mailbox(HOPS_PER_PAIR_MAX + ORDERS_MAX, second_waker);
            let (to_first, in_first) = mailbox(HOPS_PER_PAIR_MAX + ORDERS_MAX, first_waker);
            let (back_to_first, back_in_first) = mailbox(HOPS_PER_PAIR_MAX, first_waker);
            let (back_to_second, back_in_second) = mailbox(HOPS_PER_PAIR_MAX, second_waker);
            let of_first = PeerLinks {
                requests_out: to_second,
                answers_out: back_to_second,
                requests_in: in_first,
                answers_in: back_in_first,
            };
            let of_second = PeerLinks {
                requests_out: to_first,
                answers_out: back_to_first,
                requests_in: in_second,
                answers_in: back_in_second,
            };
            put(&mut links, (first, second), of_first);
            put(&mut links, (second, first), of_second);
        }
    }
    let (orders, order_readers) = wakers
        .iter()
        .map(|waker| mailbox(ORDERS_MAX, waker))
        .unzip();
    let (reports, report_readers) = wakers
        .iter()
        .map(|waker| mailbox(ORDERS_MAX, waker))
        .unzip();
    Wires {
        links,
        orders,
        order_readers,
        reports,
        report_readers,
    }
}

fn put(links: &mut [Vec<Option<PeerLinks>>], (of, to): (usize, usize), link: PeerLinks) {
    if let Some(slot) = links.get_mut(of).and_then(|row| row.get_mut(to)) {
        *slot = Some(link);
    }
}
