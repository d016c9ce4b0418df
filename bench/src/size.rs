//! Sizes on the command line: bytes, or with K, M, G as powers of 1024.

/// Reads "4K", "1M", "4096".
pub fn parse(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.chars().last() {
        Some('K' | 'k') => (&text[..text.len() - 1], 10),
        Some('M' | 'm') => (&text[..text.len() - 1], 20),
        Some('G' | 'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|size| *size > 0)
        .ok_or_else(|| format!("{text:?} is no size: write bytes, or a number with K, M or G"))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes() {
        assert_eq!(parse("4K"), Ok(4096));
        assert_eq!(parse("7"), Ok(7));
        for wrong in ["", "K", "0", "x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
