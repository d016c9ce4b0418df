//! What must be there: which batches count, up to where all of them were durable for certain, and which of those a segment
//! without a usable summary must therefore hold.

use std::collections::HashMap;

use super::headers::Vouched;
use super::replay::last_lsn;
use super::{LogSegment, ScannedSegment};
use crate::Lsn;
use crate::format::segment_header::SegmentHeader;
use crate::format::summary::{Footer, SummaryRow};
use crate::place::SegmentNumber;
use crate::planted::{PlantedBug, is_planted};

/// What a scan of a segment must find.
pub(super) enum Expected<'a> {
    /// As many batches as the footer says.
    Count(&'a Footer),
    /// Every batch up to `proven`, but for void ones. Where the device refuses to return something, any
    /// up to `last` may be missed, if that is known.
    UpTo { proven: Lsn, last: Option<Lsn> },
}

impl<'a> Expected<'a> {
    /// `next` is the header of the segment behind it in the log, as far as there is one.
    pub(super) fn of(
        segment: &'a LogSegment,
        next: Option<&SegmentHeader>,
        found: &ScannedSegment,
        (watermark, vouched): (Lsn, &[Vouched]),
    ) -> Self {
        match (&segment.footer, next) {
            (Some(footer), _) => Self::Count(footer),
            (None, Some(next)) if next.previous_first_lsn == segment.header.first_lsn => {
                Self::UpTo {
                    proven: next.predecessor.min(watermark),
                    last: Some(next.predecessor),
                }
            }
            // The newest, or its neighbour was freed: only what lies between its own batches can be missed,
            // and what a header says that it held.
            (None, _) => Self::UpTo {
                proven: last_lsn(&found.rows)
                    .min(watermark)
                    .max(vouched_for(segment, vouched)),
                last: None,
            },
        }
    }
}

/// The highest position that anything vouches for: footers, batches, and headers, those of freed segments
/// too. A segment may have been freed because a batch had taken its place that a drive then turns out not to
/// have: nothing else may tell of it.
pub(super) fn watermark(
    log: &[LogSegment],
    scanned: &HashMap<SegmentNumber, ScannedSegment>,
    vouched: &[Vouched],
) -> Lsn {
    let footers = log
        .iter()
        .filter_map(|segment| Some(segment.footer.as_ref()?.last_lsn));
    let batches = scanned
        .values()
        .flat_map(|found| &found.rows)
        .filter_map(|row| match row {
            SummaryRow::Batch(batch) => Some(batch.durable),
            SummaryRow::Record(_) => None,
        });
    let headers = vouched.iter().map(|vouched| vouched.durable);
    let all = footers.chain(batches).chain(headers);
    all.max().unwrap_or(Lsn::NONE)
}

/// The last batch that headers say `segment` held durably.
fn vouched_for(segment: &LogSegment, vouched: &[Vouched]) -> Lsn {
    let its_own = vouched
        .iter()
        .filter(|vouched| vouched.first_lsn == segment.header.first_lsn);
    let durable = its_own.map(|vouched| vouched.durable);
    durable.max().unwrap_or(Lsn::NONE)
}

/// Positions that segment headers declare void: given once, never counted.
pub(super) struct VoidRanges(Vec<(Lsn, Lsn)>);

impl VoidRanges {
    pub(super) fn of(log: &[LogSegment]) -> Self {
        Self(
            log.iter()
                .map(|segment| (segment.header.predecessor, segment.header.first_lsn))
                .collect(),
        )
    }

    /// True between a predecessor and the first position after it, both excluded.
    pub(super) fn contains(&self, lsn: Lsn) -> bool {
        !is_planted(PlantedBug::IgnoreVoid)
            && self
                .0
                .iter()
                .any(|(before, after)| *before < lsn && lsn < *after)
    }
}
