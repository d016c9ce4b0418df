//! Moments in backups: milliseconds since 2010, as records have them.

use std::time::{Duration, SystemTime};

use corelith_client::ExpirySeconds;
use corelith_io::Clock;

use crate::time_text::display_time;

const OFFSET_MS: u64 = ExpirySeconds::UNIX_OFFSET_SECONDS * 1000;

/// Now, by this machine's clock.
#[must_use]
pub fn ms_since_2010(clock: &Clock) -> u64 {
    clock.wall_ms().saturating_sub(OFFSET_MS)
}

/// As people read it.
pub(super) fn display_moment(ms: u64) -> String {
    let since_1970 = Duration::from_millis(ms.saturating_add(OFFSET_MS));
    // What no calendar holds stands in a file that somebody made by hand.
    match SystemTime::UNIX_EPOCH.checked_add(since_1970) {
        Some(time) => display_time(time),
        None => format!("{ms} ms after 2010"),
    }
}
