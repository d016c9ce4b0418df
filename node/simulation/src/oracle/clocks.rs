//! What the clock of each log of a store shows: which values have expired follows from it.

use super::possibility::{ClockSpan, State};
use super::{KeyRecord, LogNumber, Oracle};

/// What a log takes the time to be, and has taken it to be since a scan began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LogClock {
    pub(super) now: u32,
    recent: ClockSpan,
}

impl Oracle {
    /// A log takes the time to be `seconds` now. To be told before and after everything that sets a clock, and before each
    /// operation and behind it.
    pub fn note_clock(&mut self, log: LogNumber, seconds: u32) {
        let clock = self.clocks.entry(log).or_insert_with(|| LogClock {
            now: seconds,
            recent: ClockSpan::at(seconds),
        });
        if clock.now == seconds {
            return;
        }
        clock.now = seconds;
        clock.recent.add(seconds);
        let of_log = self.keys.values_mut().filter(|record| record.log == log);
        let open = of_log.flat_map(|record| record.open.values_mut());
        let under_way = open.filter(|open| open.doubted.is_none());
        under_way.for_each(|open| open.clock.add(seconds));
    }

    /// A scan begins: what it finds is what was there at some time from here on.
    pub fn begin_scan(&mut self) {
        for clock in self.clocks.values_mut() {
            clock.recent = ClockSpan::at(clock.now);
        }
    }

    /// What whoever has looked lately may have seen of a key that holds `state`.
    pub(super) fn seen(&self, record: &KeyRecord, state: State) -> impl Iterator<Item = State> {
        let clock = self.clocks.get(&record.log);
        clock
            .map(|clock| clock.recent)
            .unwrap_or_default()
            .seen(state)
    }
}
