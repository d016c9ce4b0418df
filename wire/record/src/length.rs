//! The length of a key or value as it stands in a content: one byte up to 254, else the byte 255
//! and 32 bits. Only the short form may say a short length, so that equal contents are equal bytes.

/// The byte that says: the length follows in 32 bits.
pub(crate) const LONG_FORM: u8 = 255;

/// Bytes of the long form, its leading byte included.
pub(crate) const LONG_FORM_BYTES: usize = 5;

/// Why a length could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LengthError {
    /// The bytes end inside it.
    Truncated { needed: usize, available: usize },
    /// A short length in the long form.
    LongForm { found: u32 },
}

/// Reads the length at the head of `rest` and moves `rest` behind it.
#[inline]
pub(crate) fn read_length(rest: &mut &[u8]) -> Result<usize, LengthError> {
    let Some((first, tail)) = rest.split_first() else {
        return Err(LengthError::Truncated {
            needed: 1,
            available: 0,
        });
    };
    if *first != LONG_FORM {
        *rest = tail;
        return Ok(usize::from(*first));
    }
    let Some((bytes, tail)) = tail.split_first_chunk::<4>() else {
        return Err(LengthError::Truncated {
            needed: 4,
            available: tail.len(),
        });
    };
    let found = u32::from_le_bytes(*bytes);
    if found < u32::from(LONG_FORM) {
        return Err(LengthError::LongForm { found });
    }
    *rest = tail;
    Ok(usize_from_u32(found))
}

/// Writes `length`. The caller has checked that it fits a content, hence 32 bits.
pub(crate) fn write_length(length: usize, out: &mut Vec<u8>) {
    match u8::try_from(length) {
        Ok(short) if short != LONG_FORM => out.push(short),
        Ok(_) | Err(_) => {
            out.push(LONG_FORM);
            out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
}

/// How many bytes [`write_length`] takes for `length`.
pub(crate) const fn length_of_length(length: usize) -> usize {
    // 255 itself needs the long form: the byte 255 is its mark.
    if length < 255 { 1 } else { LONG_FORM_BYTES }
}

/// A 32-bit length as one of this machine. On a machine too small for it, longer than anything,
/// so that the check against what is there refuses it.
#[inline]
pub(crate) fn usize_from_u32(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(length: usize, bytes: &[u8]) {
        let mut out = Vec::new();
        write_length(length, &mut out);
        assert_eq!(out, bytes);
        assert_eq!(length_of_length(length), bytes.len());
        let mut rest = bytes;
        assert_eq!(read_length(&mut rest), Ok(length));
        assert!(rest.is_empty());
        for shorter in 0..bytes.len() {
            assert!(read_length(&mut &bytes[..shorter]).is_err());
        }
    }

    #[test]
    fn both_forms_at_their_edges() {
        check(0, &[0]);
        check(254, &[254]);
        check(255, &[255, 255, 0, 0, 0]);
        check(256, &[255, 0, 1, 0, 0]);
        check(8_388_608, &[255, 0, 0, 128, 0]);
    }

    #[test]
    fn a_short_length_in_the_long_form_is_refused() {
        assert_eq!(
            read_length(&mut &[255, 254, 0, 0, 0][..]),
            Err(LengthError::LongForm { found: 254 })
        );
    }
}
