//! Sizes in bytes on the command line and in what the commands print: "16M" is 16 MiB.

/// Reads "4G", "16M", "64k", "1048576". Powers of 1024; a trailing "iB" or "B" is taken as well.
///
/// # Errors
/// A sentence for the command line's own message.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits_end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Some(0),
        "k" | "kib" => Some(10),
        "m" | "mib" => Some(20),
        "g" | "gib" => Some(30),
        "t" | "tib" => Some(40),
        _ => None,
    };
    digits
        .parse::<u64>()
        .ok()
        .zip(shift)
        .and_then(|(number, shift): (u64, u32)| number.checked_mul(1 << shift))
        .filter(|size| *size > 0)
        .ok_or_else(|| {
            "write a number of bytes above zero, or one with K, M, G or T (powers of 1024)"
                .to_owned()
        })
}

/// "16 MiB" where it is a whole number of some unit, else one decimal of the largest unit.
#[must_use]
pub fn display_size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (name, shift) in UNITS {
        let unit = 1_u64 << shift;
        if bytes < unit {
            continue;
        }
        if bytes.is_multiple_of(unit) {
            return format!("{} {name}", bytes / unit);
        }
        let tenths = u128::from(bytes) * 10 / u128::from(unit);
        return format!("{}.{} {name}", tenths / 10, tenths % 10);
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("1", 1),
            ("1048576", 1 << 20),
            ("64k", 64 << 10),
            ("16M", 16 << 20),
            ("16MiB", 16 << 20),
            ("4G", 4 << 30),
            ("2T", 2 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "M",
            "0",
            "-1",
            "1.5G",
            "4 G",
            "4X",
            "99999999999T",
            "4MM",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1 KiB"),
            (16 << 20, "16 MiB"),
            (3 << 29, "1.5 GiB"),
            ((4 << 30) - 1, "3.9 GiB"),
            (2 << 40, "2 TiB"),
        ] {
            assert_eq!(display_size(bytes), text);
        }
    }
}
