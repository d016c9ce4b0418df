//! Ranges of pages: what a round consists of, what is not covered yet, and up to which LSN each point is.

use std::ops::Range;

use corelith_index::{Digest, ImagePosition, SetId, Shard as IndexShard};

use crate::Lsn;
use crate::format::checkpoint_page::{PageKind, PagePoint};

impl PagePoint {
    /// Where a round begins.
    pub(crate) const START: Self = Self::of_set(0);

    /// The item of set `number`.
    pub(crate) const fn of_set(number: u16) -> Self {
        Self {
            kind: PageKind::Sets,
            rank: number,
            position: 0,
        }
    }

    /// A place in the index.
    pub(crate) const fn of_index(position: ImagePosition) -> Self {
        let (rank, position) = position.numbers();
        Self {
            kind: PageKind::Index,
            rank,
            position,
        }
    }

    /// The place in the index.
    pub(crate) const fn image_position(self) -> ImagePosition {
        ImagePosition::from_numbers(self.rank, self.position)
    }
}

/// Where the entry of `digest` stands in a round.
pub(crate) fn point_of(shard: IndexShard, digest: &Digest) -> Option<PagePoint> {
    ImagePosition::of(shard, digest).map(PagePoint::of_index)
}

/// What a round goes through, in its order: sets, then the index.
pub(crate) const fn round_parts(shard: IndexShard) -> [Range<PagePoint>; 2] {
    let index = PagePoint::of_index(ImagePosition::START);
    [
        PagePoint::START..PagePoint::of_set(SetId::COUNT),
        index..PagePoint::of_index(ImagePosition::end(shard)),
    ]
}

/// What no page has covered yet.
pub(crate) struct Uncovered(Vec<Range<PagePoint>>);

impl Uncovered {
    /// A whole round.
    pub(crate) fn whole(shard: IndexShard) -> Self {
        Self(round_parts(shard).to_vec())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The parts of `range` that are not covered.
    pub(crate) fn parts_of(&self, range: &Range<PagePoint>) -> Vec<Range<PagePoint>> {
        let parts = self
            .0
            .iter()
            .map(|open| open.start.max(range.start)..open.end.min(range.end));
        parts.filter(|part| part.start < part.end).collect()
    }

    /// Covers `range`.
    pub(crate) fn cover(&mut self, range: &Range<PagePoint>) {
        let left = |open: &Range<PagePoint>| {
            let before = open.start..open.end.min(range.start);
            let behind = open.start.max(range.end)..open.end;
            [before, behind]
        };
        let rest = self.0.iter().flat_map(left);
        self.0 = rest.filter(|part| part.start < part.end).collect();
    }
}

/// Up to which LSN the page over each point is complete.
#[derive(Default)]
pub(crate) struct PageMap {
    /// Where each part begins, ascending once it is whole.
    parts: Vec<(PagePoint, Lsn)>,
    /// Of each rank of the index, the first part that does not begin before it.
    first_of_rank: Vec<usize>,
}

impl PageMap {
    /// Adds a part; parts do not overlap.
    pub(crate) fn add(&mut self, start: PagePoint, lsn: Lsn) {
        self.parts.push((start, lsn));
    }

    /// Puts the parts in order, when they cover everything.
    pub(crate) fn finish(&mut self) {
        self.parts.sort_unstable_by_key(|(start, _)| *start);
        let index = PagePoint::of_index(ImagePosition::START).kind;
        let last = self.parts.iter().filter(|(start, _)| start.kind == index);
        let ranks = 0..=last.map(|(start, _)| start.rank).max().unwrap_or(0);
        self.first_of_rank = ranks
            .map(|rank| {
                let begin = PagePoint::of_index(ImagePosition::from_numbers(rank, 0));
                self.parts.partition_point(|(start, _)| *start < begin)
            })
            .collect();
    }

    /// What the index and the set table hold at `point` is what batches up to here have made.
    pub(crate) fn lsn_of(&self, point: PagePoint) -> Lsn {
        let (first, last) = self.bounds_of(point);
        let near = self.parts.get(first..last).unwrap_or_default();
        let behind = first + near.partition_point(|(start, _)| *start <= point);
        let part = behind.checked_sub(1).and_then(|part| self.parts.get(part));
        part.map_or(Lsn::NONE, |(_, lsn)| *lsn)
    }

    /// Where in `parts` those lie of which one begins last at or before `point`, or the one before them does: a
    /// partition has one or two parts, and all of them together more than a cache holds.
    fn bounds_of(&self, point: PagePoint) -> (usize, usize) {
        if point.kind != PageKind::Index {
            return (0, self.parts.len());
        }
        let bound = |rank: usize| self.first_of_rank.get(rank).copied();
        let rank = usize::from(point.rank);
        let end = self.parts.len();
        let first = bound(rank).unwrap_or(end);
        (first, bound(rank + 1).unwrap_or(end))
    }

    /// Below this, inclusive, the log is not needed.
    pub(crate) fn floor(&self) -> Lsn {
        let lowest = self.parts.iter().map(|(_, lsn)| *lsn).min();
        lowest.unwrap_or(Lsn::NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(number: u16) -> PagePoint {
        PagePoint::of_set(number)
    }

    fn shard() -> IndexShard {
        IndexShard::new(0, 8).unwrap()
    }

    #[test]
    fn pages_cover_what_is_left() {
        let mut uncovered = Uncovered::whole(shard());
        let [sets, index] = round_parts(shard());
        assert_eq!(
            uncovered.parts_of(&index).as_slice(),
            std::slice::from_ref(&index)
        );
        uncovered.cover(&index);
        assert!(uncovered.parts_of(&index).is_empty());
        uncovered.cover(&(point(10)..point(20)));
        uncovered.cover(&(point(15)..point(15)));
        assert_eq!(
            uncovered.parts_of(&(point(5)..point(30))),
            [point(5)..point(10), point(20)..point(30)]
        );
        uncovered.cover(&(point(0)..point(12)));
        uncovered.cover(&(point(19)..point(4000)));
        assert!(!uncovered.is_empty());
        assert_eq!(uncovered.parts_of(&sets), [point(4000)..point(4096)]);
        uncovered.cover(&sets);
        assert!(uncovered.is_empty());
    }

    #[test]
    fn the_map_tells_the_lsn_of_each_point() {
        let mut map = PageMap::default();
        map.add(point(10), Lsn::new(7));
        map.add(point(0), Lsn::new(9));
        map.add(point(20), Lsn::new(8));
        map.finish();
        let found = [0, 9, 10, 19, 20, 4095].map(|number| map.lsn_of(point(number)).get());
        assert_eq!(found, [9, 9, 7, 7, 8, 8]);
        assert_eq!(map.floor(), Lsn::new(7));
    }
}
