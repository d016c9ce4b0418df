//! Times to live on the command line.

use corelith_client::Ttl;

/// Reads "3600", "60s", "10m", "24h", "30d", "never", "keep" or "default".
///
/// # Errors
/// A sentence for the command line's own message.
pub fn parse_ttl(text: &str) -> Result<Ttl, String> {
    match text {
        "never" => return Ok(Ttl::Never),
        "keep" => return Ok(Ttl::Keep),
        "default" => return Ok(Ttl::NamespaceDefault),
        _ => {}
    }
    let (digits, unit_s) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        Some(b'd') => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let seconds = digits.parse::<u32>().ok().filter(|_| is_number);
    seconds
        .and_then(|number| number.checked_mul(unit_s))
        .filter(|seconds| (1..=corelith_wire::limits::TTL_S_MAX).contains(seconds))
        .map(Ttl::Seconds)
        .ok_or_else(|| {
            "write a number of seconds, or one with s, m, h or d (90s, 10m, 24h, 30d), up to ten years; or never, keep or default"
                .to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, ttl) in [
            ("never", Ttl::Never),
            ("keep", Ttl::Keep),
            ("default", Ttl::NamespaceDefault),
            ("1", Ttl::Seconds(1)),
            ("90s", Ttl::Seconds(90)),
            ("10m", Ttl::Seconds(600)),
            ("24h", Ttl::Seconds(86_400)),
            ("3650d", Ttl::Seconds(315_360_000)),
        ] {
            assert_eq!(parse_ttl(text), Ok(ttl), "{text}");
        }
        for text in [
            "",
            "0",
            "-1",
            "+1",
            "m",
            "1.5h",
            "3651d",
            "1w",
            "99999999999",
            "Never",
            "1 s",
        ] {
            assert!(parse_ttl(text).is_err(), "{text}");
        }
    }
}
