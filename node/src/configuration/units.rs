//! Values with units: sizes in powers of 1024, times. Written as people write them, "16 MiB" and "5 s", with or
//! without the blank. Written out again in the largest unit that is exact.
//!
//! Of our own: the crates for sizes take "K" and "KB" for 1000, and none says which units a message may offer.

use std::fmt;
use std::time::Duration;

use crate::limits::{
    FLUSH_INTERVAL_MAX_MS, SLOW_LOG_DEFAULT_US, STOP_TIMEOUT_MAX, STOP_TIMEOUT_MIN,
};

/// Sizes, largest first; the second name is the short form of command lines.
const SIZES: [(&str, &str, u64); 5] = [
    ("TiB", "T", 1 << 40),
    ("GiB", "G", 1 << 30),
    ("MiB", "M", 1 << 20),
    ("KiB", "K", 1 << 10),
    ("B", "", 1),
];

/// Times in milliseconds, largest first.
const TIMES: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("min", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads "16 MiB", "4G", "512 B". Zero and a number without a unit are `None`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let (_, _, factor) = SIZES.into_iter().find(|(long, short, _)| {
        unit.eq_ignore_ascii_case(long) || (!short.is_empty() && unit.eq_ignore_ascii_case(short))
    })?;
    number.checked_mul(factor).filter(|bytes| *bytes > 0)
}

/// A size of the command line, where a number alone is bytes.
///
/// # Errors
/// What to write instead.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let bare = text.parse::<u64>().ok().filter(|bytes| *bytes > 0);
    bare.or_else(|| parse_size(text)).ok_or_else(|| {
        format!("{text:?} is no size: write a number of bytes, or one with a unit such as 512M or \"4 GiB\"")
    })
}

/// Reads "5 s", "100ms", "1 d" as milliseconds. Zero and a number without a unit are `None`.
pub(super) fn parse_ms(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let (_, factor) = TIMES
        .into_iter()
        .find(|(name, _)| unit.eq_ignore_ascii_case(name))?;
    number.checked_mul(factor).filter(|time_ms| *time_ms > 0)
}

/// A time of the command line in whole seconds, where a number alone is seconds.
///
/// # Errors
/// What to write instead.
pub(crate) fn parse_seconds(text: &str) -> Result<u64, String> {
    let bare = text.parse::<u64>().ok().filter(|seconds| *seconds > 0);
    let with_unit = parse_ms(text).filter(|time_ms| time_ms.is_multiple_of(1000));
    bare.or(with_unit.map(|time_ms| time_ms / 1000))
        .ok_or_else(|| {
            format!(
                "{text:?} is no time: write whole seconds, or a unit too, such as \"12 h\" or 30d"
            )
        })
}

/// The time that a stop may take.
///
/// # Errors
/// What to write instead.
pub(crate) fn parse_stop_timeout(text: &str) -> Result<Duration, String> {
    parse_ms(text)
        .map(Duration::from_millis)
        .filter(|timeout| (STOP_TIMEOUT_MIN..=STOP_TIMEOUT_MAX).contains(timeout))
        .ok_or_else(|| format!("{text:?} is not from 100ms to 1h: write a time such as 10s"))
}

/// From what time on an operation is slow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SlowThreshold {
    /// Never.
    Off,
    /// From so many microseconds on.
    From { latency_us: u64 },
}

impl SlowThreshold {
    /// Unless it is said.
    pub(crate) const DEFAULT: Self = Self::From {
        latency_us: SLOW_LOG_DEFAULT_US,
    };

    /// The least latency that is slow, in ns.
    pub(crate) const fn latency_ns(self) -> u64 {
        match self {
            Self::Off => u64::MAX,
            Self::From { latency_us } => latency_us.saturating_mul(1000),
        }
    }
}

/// As it can be read again.
impl fmt::Display for SlowThreshold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => formatter.write_str("off"),
            Self::From { latency_us } if latency_us.is_multiple_of(1000) => {
                formatter.write_str(&show_ms(latency_us / 1000))
            }
            Self::From { latency_us } => write!(formatter, "{latency_us} us"),
        }
    }
}

/// From what time on an operation is slow.
///
/// # Errors
/// What to write instead.
pub(crate) fn parse_slow_log(text: &str) -> Result<SlowThreshold, String> {
    if text == "off" {
        return Ok(SlowThreshold::Off);
    }
    let in_us = match split(text) {
        Some((number, "us")) => Some(number).filter(|latency_us| *latency_us > 0),
        _ => parse_ms(text).and_then(|time_ms| time_ms.checked_mul(1000)),
    };
    in_us
        .map(|latency_us| SlowThreshold::From { latency_us })
        .ok_or_else(|| format!("{text:?} is no time: write one such as 10ms, 500us or 1s, or off"))
}

/// How often buffered writes are sent to the devices.
///
/// # Errors
/// What to write instead.
pub(crate) fn parse_flush_interval(text: &str) -> Result<Duration, String> {
    parse_ms(text)
        .filter(|interval_ms| *interval_ms <= FLUSH_INTERVAL_MAX_MS)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not from 1ms to 1s: write a time such as 100ms"))
}

/// As it can be read again.
pub(super) fn show_size(size_bytes: u64) -> String {
    let exact = SIZES
        .into_iter()
        .find(|(_, _, factor)| size_bytes.is_multiple_of(*factor));
    exact.map_or_else(String::new, |(unit, _, factor)| {
        format!("{} {unit}", size_bytes / factor)
    })
}

/// For messages: in its largest unit, with a decimal where it is not a whole number of those.
pub(crate) fn about_size(size_bytes: u64) -> String {
    let fitting = SIZES
        .into_iter()
        .find(|(_, _, factor)| size_bytes >= *factor);
    let Some((unit, _, factor)) = fitting else {
        return format!("{size_bytes} B");
    };
    match (size_bytes / factor, size_bytes % factor) {
        (whole, 0) => format!("{whole} {unit}"),
        (whole, rest) => format!("{whole}.{} {unit}", rest * 10 / factor),
    }
}

/// As it can be read again.
pub(super) fn show_ms(time_ms: u64) -> String {
    let exact = TIMES
        .into_iter()
        .find(|(_, factor)| time_ms.is_multiple_of(*factor));
    exact.map_or_else(String::new, |(unit, factor)| {
        format!("{} {unit}", time_ms / factor)
    })
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("16 MiB", 16 << 20),
            ("16mib", 16 << 20),
            ("4G", 4 << 30),
            ("4 TiB", 4 << 40),
            ("512 B", 512),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
            assert_eq!(parse_size(&show_size(bytes)), Some(bytes), "{text}");
        }
        for wrong in [
            "",
            "G",
            "0 B",
            "-1 B",
            "4 GB",
            "16",
            "99999999999 TiB",
            "1.5 GiB",
        ] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
        assert_eq!(parse_bytes("1048576"), Ok(1 << 20));
        assert_eq!(show_size(1536), "1536 B");
        for (bytes, shown) in [
            (1536, "1.5 KiB"),
            (1 << 30, "1 GiB"),
            (0, "0 B"),
            ((1 << 20) - 1, "1023.9 KiB"),
        ] {
            assert_eq!(about_size(bytes), shown);
        }
        assert!(parse_bytes("0").is_err());
    }

    #[test]
    fn times() {
        for (text, time_ms) in [
            ("100ms", 100),
            ("5 s", 5000),
            ("2 min", 120_000),
            ("12 h", 43_200_000),
            ("1 d", 86_400_000),
        ] {
            assert_eq!(parse_ms(text), Some(time_ms), "{text}");
            assert_eq!(parse_ms(&show_ms(time_ms)), Some(time_ms), "{text}");
        }
        for wrong in ["", "s", "0 s", "5", "5 m", "1 y", "99999999999999999 d"] {
            assert_eq!(parse_ms(wrong), None, "{wrong}");
        }
        for (text, milliseconds) in [("100ms", 100), ("10 s", 10_000), ("1h", 3_600_000)] {
            let timeout = Duration::from_millis(milliseconds);
            assert_eq!(parse_stop_timeout(text), Ok(timeout));
        }
        for wrong in ["", "10", "99ms", "61min", "-1s", "s"] {
            assert!(parse_stop_timeout(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_seconds("90"), Ok(90));
        assert_eq!(parse_seconds("1d"), Ok(86_400));
        assert!(parse_seconds("100ms").is_err());
        assert_eq!(show_ms(1500), "1500 ms");
    }

    #[test]
    fn slow_logs() {
        assert_eq!(parse_slow_log("off"), Ok(SlowThreshold::Off));
        for (text, latency_us, shown) in [
            ("10ms", 10_000, "10 ms"),
            ("500 us", 500, "500 us"),
            ("2000us", 2000, "2 ms"),
            ("1 s", 1_000_000, "1 s"),
        ] {
            let threshold = SlowThreshold::From { latency_us };
            assert_eq!(parse_slow_log(text), Ok(threshold), "{text}");
            assert_eq!(threshold.to_string(), shown);
            assert_eq!(threshold.latency_ns(), latency_us * 1000);
        }
        for wrong in ["", "0s", "0us", "10", "on", "-1ms"] {
            assert!(parse_slow_log(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flush_intervals() {
        assert_eq!(
            parse_flush_interval("100ms"),
            Ok(Duration::from_millis(100))
        );
        assert_eq!(parse_flush_interval("1 s"), Ok(Duration::from_secs(1)));
        for wrong in ["", "0ms", "2s", "100", "ms", "1001ms", "-1s", "1m"] {
            assert!(parse_flush_interval(wrong).is_err(), "{wrong}");
        }
    }
}
