//! The check that a peer's bytes are one well-formed list or map that may be stored.
//!
//! Iterative: its stack is an array of as many counts as nesting is allowed. Linear in the bytes.

use crate::error::{MsgpackError, ValueError};
use crate::kind::Kind;
use crate::limits::VALUE_DEPTH_MAX;
use crate::msgpack::token::{Token, skip_plain};
use crate::pace::{ELEMENT_COST, Pace, invalid_utf8};

/// Checks that `bytes` are exactly one collection of `kind` (list or map).
pub(crate) fn check_collection(kind: Kind, bytes: &[u8]) -> Result<(), ValueError> {
    check_outermost(kind, bytes)?;
    let mut rest = bytes;
    let mut open = OpenCollections::new();
    while open.take_element() {
        if skip_plain(&mut rest) {
            continue;
        }
        let at = rest;
        let checked = step(&mut rest, &mut open).and_then(|text| match std::str::from_utf8(text) {
            Ok(_) => Ok(()),
            Err(error) => Err(MsgpackError::NotUtf8 {
                valid_up_to: error.valid_up_to(),
            }),
        });
        checked.map_err(|error| in_element(bytes, at, error))?;
    }
    nothing_behind(rest)
}

/// [`check_collection`] of bytes that may be many.
pub(crate) async fn check_collection_in_pieces<P: AsyncFnMut()>(
    kind: Kind,
    bytes: &[u8],
    pace: &mut Pace<P>,
) -> Result<(), ValueError> {
    check_outermost(kind, bytes)?;
    let mut rest = bytes;
    let mut open = OpenCollections::new();
    while open.take_element() {
        pace.spend(ELEMENT_COST).await;
        if skip_plain(&mut rest) {
            continue;
        }
        let at = rest;
        let text = step(&mut rest, &mut open).map_err(|error| in_element(bytes, at, error))?;
        if let Some(valid_up_to) = invalid_utf8(text, pace).await {
            let error = MsgpackError::NotUtf8 { valid_up_to };
            return Err(in_element(bytes, at, error));
        }
    }
    nothing_behind(rest)
}

/// Checks that `bytes` begin with a collection of `kind`.
fn check_outermost(kind: Kind, bytes: &[u8]) -> Result<(), ValueError> {
    let found = match (kind, Token::read(&mut &*bytes)) {
        (Kind::List, Ok(Token::List(_))) | (Kind::Map, Ok(Token::Map(_))) => None,
        (_, Ok(_)) => bytes.first().copied(),
        // Said better by the walk below.
        (_, Err(_)) => None,
    };
    match found {
        Some(found) => Err(ValueError::NotThatCollection { kind, found }),
        None => Ok(()),
    }
}

/// An error in the element that begins where `at` does.
fn in_element(bytes: &[u8], at: &[u8], error: MsgpackError) -> ValueError {
    let offset = bytes.len().saturating_sub(at.len());
    ValueError::Msgpack { offset, error }
}

fn nothing_behind(rest: &[u8]) -> Result<(), ValueError> {
    match rest.len() {
        0 => Ok(()),
        length_bytes => Err(ValueError::TrailingBytes { length_bytes }),
    }
}

/// Reads one token and whatever belongs to it alone. Returns its text, of which the caller has yet to find that
/// it is UTF-8; empty for one that has none.
#[inline]
fn step<'a>(rest: &mut &'a [u8], open: &mut OpenCollections) -> Result<&'a [u8], MsgpackError> {
    let token = Token::read(rest)?;
    match token {
        Token::List(_) | Token::Map(_) => {
            let count = token.element_count();
            // Each element takes a byte at least: a lie is found before it is walked.
            if count > u64::try_from(rest.len()).unwrap_or(u64::MAX) {
                return Err(MsgpackError::Count {
                    count,
                    available: rest.len(),
                });
            }
            open.enter(count)?;
            Ok(&[])
        }
        Token::Typed { kind, bytes } => {
            let is_text = kind == Kind::String.to_byte() || kind == Kind::GeoJson.to_byte();
            Ok(if is_text { bytes } else { &[] })
        }
        // Wildcard and infinity: extensions of kind -1 with one byte.
        Token::Extension {
            kind: -1,
            data: [_],
        } => Err(MsgpackError::Special),
        Token::Nil
        | Token::Bool(_)
        | Token::Integer(_)
        | Token::Unsigned(_)
        | Token::Double(_)
        | Token::Untyped
        | Token::Extension { .. } => Ok(&[]),
    }
}

/// How many elements are still to come: of the innermost collection that is open, and of each
/// around it.
struct OpenCollections {
    pending: u64,
    outer: [u64; VALUE_DEPTH_MAX],
    depth: usize,
}

impl OpenCollections {
    /// Nothing is open; one element, the outermost collection, is to come.
    const fn new() -> Self {
        Self {
            pending: 1,
            outer: [0; VALUE_DEPTH_MAX],
            depth: 0,
        }
    }

    fn enter(&mut self, count: u64) -> Result<(), MsgpackError> {
        let Some(slot) = self.outer.get_mut(self.depth) else {
            return Err(MsgpackError::TooDeep);
        };
        *slot = self.pending;
        self.depth += 1;
        self.pending = count;
        Ok(())
    }

    /// Counts one more element off, leaving the collections that have all of theirs. Whether there
    /// was one.
    #[inline]
    fn take_element(&mut self) -> bool {
        while self.pending == 0 {
            let Some(depth) = self.depth.checked_sub(1) else {
                return false;
            };
            self.depth = depth;
            self.pending = self.outer.get(depth).copied().unwrap_or(0);
        }
        self.pending -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(kind: Kind, bytes: &[u8], expected: Result<(), ValueError>) {
        assert_eq!(check_collection(kind, bytes), expected);
    }

    fn broken(offset: usize, error: MsgpackError) -> Result<(), ValueError> {
        Err(ValueError::Msgpack { offset, error })
    }

    fn nested(depth: usize) -> Vec<u8> {
        let mut bytes = vec![0x91; depth - 1];
        bytes.push(0x90);
        bytes
    }

    #[test]
    fn what_the_flavour_holds() {
        check(Kind::List, &[0x90], Ok(()));
        check(Kind::Map, &[0x80], Ok(()));
        check(Kind::List, &[0x93, 0x01, 0xa2, 3, b'a', 0xc0], Ok(()));
        // Order of a list and of a map, as unmodified clients send them.
        check(Kind::List, &[0x92, 0xc7, 0, 1, 5], Ok(()));
        check(
            Kind::Map,
            &[0x82, 0xc7, 0, 1, 0xc0, 0xa2, 3, b'a', 1],
            Ok(()),
        );
        // Blobs with a language's kind, a kind that nobody knows, and an unknown extension.
        check(
            Kind::List,
            &[0x93, 0xa3, 7, 0xff, 0xfe, 0xa2, 99, 0xff, 0xd5, 9, 1, 2],
            Ok(()),
        );
        // Every closing at once.
        check(Kind::List, &[0x91, 0x81, 0x01, 0x91, 0x80], Ok(()));
    }

    #[test]
    fn other_collections_and_bytes_behind() {
        let not_that = |kind, found| Err(ValueError::NotThatCollection { kind, found });
        check(Kind::List, &[0x80], not_that(Kind::List, 0x80));
        check(Kind::Map, &[0x90], not_that(Kind::Map, 0x90));
        check(Kind::Map, &[0x05], not_that(Kind::Map, 0x05));
        check(
            Kind::List,
            &[0x90, 0],
            Err(ValueError::TrailingBytes { length_bytes: 1 }),
        );
    }

    #[test]
    fn broken_elements() {
        let text = MsgpackError::NotUtf8 { valid_up_to: 0 };
        for (bytes, offset, error) in [
            (
                &[][..],
                0,
                MsgpackError::Truncated {
                    needed: 1,
                    available: 0,
                },
            ),
            (&[0x91, 0xc1], 1, MsgpackError::NeverUsed),
            (
                &[0x92, 1],
                0,
                MsgpackError::Count {
                    count: 2,
                    available: 1,
                },
            ),
            (
                &[0x91, 0x81, 1],
                1,
                MsgpackError::Count {
                    count: 2,
                    available: 1,
                },
            ),
            (
                &[0x91, 0xcd, 1],
                1,
                MsgpackError::Truncated {
                    needed: 2,
                    available: 1,
                },
            ),
            (&[0x91, 0xa2, 3, 0xff], 1, text),
            (&[0x91, 0xa2, 23, 0xff], 1, text),
            // Wildcard and infinity, in the short spelling and in a long one.
            (&[0x91, 0xd4, 0xff, 0], 1, MsgpackError::Special),
            (&[0x91, 0xd4, 0xff, 1], 1, MsgpackError::Special),
            (&[0x91, 0xc7, 1, 0xff, 0], 1, MsgpackError::Special),
        ] {
            check(Kind::List, bytes, broken(offset, error));
        }
    }

    #[test]
    fn announced_counts_are_not_believed() {
        check(
            Kind::Map,
            &[0xdf, 0xff, 0xff, 0xff, 0xff],
            broken(
                0,
                MsgpackError::Count {
                    count: 8_589_934_590,
                    available: 0,
                },
            ),
        );
    }

    #[test]
    fn depth_has_an_end_and_costs_no_stack() {
        check(Kind::List, &nested(VALUE_DEPTH_MAX), Ok(()));
        check(
            Kind::List,
            &nested(VALUE_DEPTH_MAX + 1),
            broken(VALUE_DEPTH_MAX, MsgpackError::TooDeep),
        );
        check(
            Kind::List,
            &nested(8 * 1024 * 1024),
            broken(VALUE_DEPTH_MAX, MsgpackError::TooDeep),
        );
        // Siblings at full depth, twice.
        let mut twice = vec![0x92];
        twice.extend_from_slice(&nested(VALUE_DEPTH_MAX - 1));
        twice.extend_from_slice(&nested(VALUE_DEPTH_MAX - 1));
        check(Kind::List, &twice, Ok(()));
    }

    proptest! {
        #[test]
        fn agrees_with_skipping(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = bytes;
            bytes.insert(0, 0x92);
            if check_collection(Kind::List, &bytes).is_ok() {
                let mut rest = bytes.as_slice();
                prop_assert_eq!(crate::msgpack::skip_element(&mut rest).unwrap(), bytes.as_slice());
                prop_assert!(rest.is_empty());
            }
        }
    }
}
