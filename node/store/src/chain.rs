//! The chain: the newest segments of the log, one behind another, up to where one is missing. What is in it can be followed.
//!
//! Invariants: every batch that counts and whose LSN is not below [`LogChain::oldest`] stands in a segment of the chain; between
//! neighbours there is no such batch. A segment leaves the chain, with all before it, in the step in which it begins to be freed.
//! `docs/decisions/0027-log-following.md` shows why.

use std::collections::VecDeque;

use crate::Lsn;
use crate::place::SegmentNumber;

/// A segment of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Link {
    pub(crate) number: SegmentNumber,
    pub(crate) first_lsn: Lsn,
    /// The last position that counts before its first.
    pub(crate) predecessor: Lsn,
}

/// The chain of one shard.
#[derive(Default)]
pub(crate) struct LogChain {
    /// Oldest first.
    links: VecDeque<Link>,
    /// The last position that counts before the chain: it is gone, or there never was one.
    gone: Lsn,
}

impl LogChain {
    /// The chain that a start finds. `found` are the segments of the log, each with the first LSN of the one before it; `gone` is
    /// a position up to which nothing is to be followed whatever they say.
    pub(crate) fn recovered(found: &[(Link, Lsn)], gone: Lsn) -> Self {
        let newest = found.iter().max_by_key(|(link, _)| link.first_lsn);
        let mut links = VecDeque::new();
        let mut next = newest;
        while let Some((link, previous_first_lsn)) = next {
            links.push_front(*link);
            let is_previous = |(other, _): &&(Link, Lsn)| other.first_lsn == *previous_first_lsn;
            // A header that names itself or a later one is no header of ours.
            let previous = found.iter().find(is_previous);
            next = previous.filter(|(other, _)| other.first_lsn < link.first_lsn);
        }
        let before = links.front().map_or(Lsn::NONE, |link| link.predecessor);
        if gone > before {
            // What was lost, or freed, was behind the newest that is left.
            links.clear();
        }
        Self {
            links,
            gone: before.max(gone),
        }
    }

    /// The log goes on in another segment.
    pub(crate) fn open(&mut self, link: Link) {
        self.links.push_back(link);
    }

    /// Nothing of a segment counts: a write to it, or to one before it, failed.
    pub(crate) fn drop_lost(&mut self, number: SegmentNumber) {
        self.links.retain(|link| link.number != number);
    }

    /// A segment is about to be freed. `last_counted` is the last position of the log that counts.
    pub(crate) fn free(&mut self, number: SegmentNumber, last_counted: Lsn) {
        let Some(position) = self.links.iter().position(|link| link.number == number) else {
            return;
        };
        self.links.drain(..=position);
        let next = self.links.front();
        self.gone = next.map_or(last_counted, |next| next.predecessor);
    }

    /// The oldest position from which on everything that counts is there.
    pub(crate) fn oldest(&self) -> Lsn {
        self.gone.advanced(1)
    }

    /// The segment in which the first batch stands whose position is not below `from`, if there is one; unless that segment holds
    /// nothing from there on: then it is the next.
    pub(crate) fn find(&self, from: Lsn) -> Option<Link> {
        let behind = self.links.partition_point(|link| link.first_lsn <= from);
        let position = behind.saturating_sub(1);
        self.links.get(position).copied()
    }

    /// The segment behind the one that began at `first_lsn`.
    pub(crate) fn behind(&self, first_lsn: Lsn) -> Option<Link> {
        let behind = self
            .links
            .partition_point(|link| link.first_lsn <= first_lsn);
        self.links.get(behind).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(number: u32, predecessor: u64, first: u64) -> Link {
        Link {
            number: SegmentNumber::new(number),
            first_lsn: Lsn::new(first),
            predecessor: Lsn::new(predecessor),
        }
    }

    fn three() -> LogChain {
        let mut chain = LogChain::default();
        chain.open(link(7, 0, 1));
        chain.open(link(3, 10, 11));
        chain.open(link(5, 25, 40));
        chain
    }

    #[test]
    fn finds_the_segment_that_a_position_is_in_or_before() {
        let chain = three();
        let number = |lsn| chain.find(Lsn::new(lsn)).map(|link| link.number.get());
        assert_eq!(
            [1, 10, 11, 25, 39, 40, 99].map(number),
            [7, 7, 3, 3, 3, 5, 5].map(Some)
        );
        assert_eq!(chain.behind(Lsn::new(11)), Some(link(5, 25, 40)));
        assert_eq!(chain.behind(Lsn::new(40)), None);
        assert_eq!(LogChain::default().find(Lsn::new(1)), None);
    }

    #[test]
    fn what_is_freed_takes_all_before_it_along() {
        let mut chain = three();
        assert_eq!(chain.oldest(), Lsn::new(1));
        chain.free(SegmentNumber::new(3), Lsn::new(50));
        assert_eq!(
            chain.oldest(),
            Lsn::new(26),
            "the positions behind are void"
        );
        chain.free(SegmentNumber::new(7), Lsn::new(50));
        assert_eq!(chain.oldest(), Lsn::new(26), "it had left the chain");
        chain.free(SegmentNumber::new(5), Lsn::new(50));
        assert_eq!(chain.oldest(), Lsn::new(51));
        assert_eq!(chain.find(Lsn::new(51)), None);
    }

    #[test]
    fn a_start_finds_the_chain_up_to_the_first_that_is_missing() {
        let found = [
            (link(1, 0, 1), Lsn::NONE),
            (link(2, 10, 11), Lsn::new(1)),
            (link(3, 30, 31), Lsn::new(21)),
            (link(5, 45, 60), Lsn::new(31)),
            // Given up: its neighbour does not name it.
            (link(4, 40, 50), Lsn::new(31)),
        ];
        let chain = LogChain::recovered(&found, Lsn::NONE);
        assert_eq!(chain.oldest(), Lsn::new(31));
        assert_eq!(chain.find(Lsn::new(52)), Some(link(3, 30, 31)));
        assert_eq!(chain.behind(Lsn::new(31)), Some(link(5, 45, 60)));
        let whole = LogChain::recovered(&found[..2], Lsn::NONE);
        assert_eq!(whole.oldest(), Lsn::new(1));
    }

    #[test]
    fn what_is_gone_behind_the_newest_ends_the_chain() {
        let found = [(link(1, 0, 1), Lsn::NONE), (link(2, 10, 11), Lsn::new(1))];
        let chain = LogChain::recovered(&found, Lsn::new(30));
        assert_eq!(chain.oldest(), Lsn::new(31));
        assert_eq!(chain.find(Lsn::new(31)), None);
    }
}
