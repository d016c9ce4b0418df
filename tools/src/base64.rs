//! Base64 as RFC 4648 section 4 has it, with padding: how bytes stand in JSON, in CSV and on the
//! command line. Decoding takes exactly what encoding gives, and nothing else.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// A text that is not base64.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("this is not base64 (A-Z, a-z, 0-9, + and /, padded with = to a multiple of 4)")]
pub struct NotBase64;

/// The text that stands for `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(word);
        for place in 0..4 {
            if place > group.len() {
                text.push('=');
            } else {
                let six = (bits >> (18 - 6 * place)) & 63;
                text.push(char::from(ALPHABET[six as usize]));
            }
        }
    }
    text
}

/// The bytes that `text` stands for.
///
/// # Errors
/// [`NotBase64`] for any other character, missing padding, or bits set behind the last byte.
pub fn decode(text: &str) -> Result<Vec<u8>, NotBase64> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(4) {
        return Err(NotBase64);
    }
    let padding = bytes.iter().rev().take_while(|byte| **byte == b'=').count();
    if padding > 2 {
        return Err(NotBase64);
    }
    let digits = &bytes[..bytes.len() - padding];
    let mut decoded = Vec::with_capacity(bytes.len() / 4 * 3);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for digit in group {
            bits = (bits << 6) | u32::from(value_of(*digit)?);
        }
        let missing = 4 - group.len() as u32;
        let word = (bits << (6 * missing)).to_be_bytes();
        let kept = group.len() - 1;
        if word[1 + kept..].iter().any(|byte| *byte != 0) {
            return Err(NotBase64);
        }
        decoded.extend_from_slice(&word[1..=kept]);
    }
    Ok(decoded)
}

fn value_of(digit: u8) -> Result<u8, NotBase64> {
    match digit {
        b'A'..=b'Z' => Ok(digit - b'A'),
        b'a'..=b'z' => Ok(digit - b'a' + 26),
        b'0'..=b'9' => Ok(digit - b'0' + 52),
        b'+' => Ok(62),
        b'/' => Ok(63),
        _ => Err(NotBase64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text), Ok(bytes.as_bytes().to_vec()));
        }
    }

    #[test]
    fn every_byte_comes_back() {
        for length in 0..=600 {
            let bytes: Vec<u8> = (0..length).map(|place| (place * 7 % 256) as u8).collect();
            assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }
    }

    #[test]
    fn nothing_else_is_taken() {
        for text in [
            "Zg", "Zg=", "Zg===", "Z===", "====", "=", "Zm9v=", "Zm 9", "Zm-_", "Zh==", "Zm9=",
            "Zg==Zg==",
        ] {
            assert_eq!(decode(text), Err(NotBase64), "{text}");
        }
    }
}
