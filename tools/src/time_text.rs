//! Moments as people and programs read them: RFC 3339 in UTC, to the millisecond.

use std::time::{Duration, SystemTime};

/// "1.250 ms", "87 us", "2.031 s".
#[must_use]
pub fn display_latency(latency_us: u64) -> String {
    match latency_us {
        0..1_000 => format!("{latency_us} us"),
        1_000..1_000_000 => format!("{}.{:03} ms", latency_us / 1000, latency_us % 1000),
        _ => format!(
            "{}.{:03} s",
            latency_us / 1_000_000,
            latency_us / 1000 % 1000
        ),
    }
}

/// "0.250 s", "59 s", "2 h 14 min", "9 d 3 h": two units at most.
#[must_use]
pub fn display_span(span_ms: u64) -> String {
    let seconds = span_ms / 1000;
    match seconds {
        0 => format!("0.{span_ms:03} s"),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// "2026-11-22T23:10:01.250Z". Moments before 1970 are shown as 1970.
#[must_use]
pub fn display_time(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let (days, second_of_day) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    let millisecond = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// Year, month and day of a number of days since 1970-01-01. Counts in years that begin in March,
/// so that the leap day is the last, and in cycles of 400 years, which all have 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    /// Days from 0000-03-01 to 1970-01-01.
    const TO_1970: u64 = 719_468;
    let shifted = days + TO_1970;
    let (cycle, day_of_cycle) = (shifted / 146_097, shifted % 146_097);
    let leap_days = day_of_cycle / 1460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, and again: 153 days in five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (
        cycle * 400 + year_of_cycle + u64::from(month <= 2),
        month,
        day,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_latencies() {
        for (latency_us, text) in [(87, "87 us"), (1250, "1.250 ms"), (2_031_700, "2.031 s")] {
            assert_eq!(display_latency(latency_us), text);
        }
        for (seconds, text) in [
            (59, "59 s"),
            (61, "1 min 1 s"),
            (8060, "2 h 14 min"),
            (788_400, "9 d 3 h"),
        ] {
            assert_eq!(display_span(seconds * 1000), text);
        }
        assert_eq!(display_span(250), "0.250 s");
    }

    #[test]
    fn known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, "2000-02-28T23:59:59.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_262_304_000, "2010-01-01T00:00:00.000Z"),
            (1_709_164_800, "2024-02-29T00:00:00.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(display_time(time), text);
        }
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_234_567_890_123);
        assert_eq!(display_time(time), "2009-02-13T23:31:30.123Z");
    }

    #[test]
    fn each_day_follows_the_one_before() {
        let mut before = civil(0);
        for days in 1..200_000 {
            let (year, month, day) = civil(days);
            let is_next = match before {
                (y, m, d) if d < 28 => (year, month, day) == (y, m, d + 1),
                (y, 12, 31) => (year, month, day) == (y + 1, 1, 1),
                (y, m, d) => {
                    let leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
                    let last = match m {
                        2 => 28 + u64::from(leap),
                        4 | 6 | 9 | 11 => 30,
                        _ => 31,
                    };
                    if d == last {
                        (year, month, day) == (y, m + 1, 1)
                    } else {
                        (year, month, day) == (y, m, d + 1)
                    }
                }
            };
            assert!(is_next, "{before:?} {year} {month} {day}");
            before = (year, month, day);
        }
    }
}
