//! The name of a set on the command line.

use corelith_wire::limits::SET_NAME_BYTES_MAX;

/// Takes a name that a set can have; the empty one is of records without a set.
///
/// # Errors
/// A sentence for the command line's own message.
pub fn parse_set(text: &str) -> Result<String, String> {
    if text.len() > SET_NAME_BYTES_MAX {
        return Err(format!(
            "a set's name has at most {SET_NAME_BYTES_MAX} bytes, and this one has {}",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

/// The same where a set must be named.
///
/// # Errors
/// As [`parse_set`].
pub fn parse_named_set(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("give the name of a set".to_owned());
    }
    parse_set(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_as_long_as_the_wire_carries() {
        let longest = "s".repeat(SET_NAME_BYTES_MAX);
        assert_eq!(parse_set(&longest), Ok(longest.clone()));
        assert_eq!(parse_set(""), Ok(String::new()));
        // Bytes count, not letters.
        for long in [format!("{longest}s"), "\u{fc}".repeat(32)] {
            let refused = parse_set(&long).unwrap_err();
            assert!(refused.contains("at most 63 bytes"), "{refused}");
            assert!(refused.contains("has 64"), "{refused}");
        }
        assert!(parse_named_set("").is_err());
        assert_eq!(parse_named_set("s"), Ok("s".to_owned()));
    }
}
