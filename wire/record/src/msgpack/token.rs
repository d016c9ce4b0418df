//! One token of msgpack: a scalar, or the head of a list or map. Reading and writing.
//!
//! Reading accepts every width; writing takes the shortest. A text or blob of this flavour is a
//! `str` (or `bin`) whose first byte is its kind; it is a [`Token::Typed`].

use crate::error::MsgpackError;
use crate::length::usize_from_u32;
use crate::msgpack::count_of;

/// One token. A [`Token::List`] or [`Token::Map`] is followed by its elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Token<'a> {
    Nil,
    Bool(bool),
    Integer(i64),
    /// Above `i64::MAX`; smaller ones are [`Token::Integer`].
    Unsigned(u64),
    Double(f64),
    /// A `str` or `bin` without even its kind byte.
    Untyped,
    /// A `str` or `bin`: its first byte, and what follows it.
    Typed {
        kind: u8,
        bytes: &'a [u8],
    },
    /// So many elements follow.
    List(u32),
    /// So many pairs follow.
    Map(u32),
    /// An extension. One without data at the head of a collection tells its order.
    Extension {
        kind: i8,
        data: &'a [u8],
    },
}

impl<'a> Token<'a> {
    /// Reads the token at the head of `rest` and moves `rest` behind it.
    #[inline]
    pub(crate) fn read(rest: &mut &'a [u8]) -> Result<Self, MsgpackError> {
        let [head] = take_array::<1>(rest)?;
        Ok(match head {
            0x00..=0x7f => Self::Integer(i64::from(head)),
            0x80..=0x8f => Self::Map(u32::from(head & 0x0f)),
            0x90..=0x9f => Self::List(u32::from(head & 0x0f)),
            0xa0..=0xbf => Self::typed(rest, u32::from(head & 0x1f))?,
            0xc0 => Self::Nil,
            0xc1 => return Err(MsgpackError::NeverUsed),
            0xc2 => Self::Bool(false),
            0xc3 => Self::Bool(true),
            0xc4 | 0xd9 => Self::read_typed8(rest)?,
            0xc5 | 0xda => Self::read_typed16(rest)?,
            0xc6 | 0xdb => Self::read_typed32(rest)?,
            0xc7 => {
                let [length] = take_array::<1>(rest)?;
                Self::extension(rest, u32::from(length))?
            }
            0xc8 => {
                let length = u16::from_be_bytes(take_array(rest)?);
                Self::extension(rest, u32::from(length))?
            }
            0xc9 => {
                let length = u32::from_be_bytes(take_array(rest)?);
                Self::extension(rest, length)?
            }
            0xca => Self::Double(f64::from(f32::from_be_bytes(take_array(rest)?))),
            0xcb => Self::Double(f64::from_be_bytes(take_array(rest)?)),
            0xcc => Self::Integer(i64::from(u8::from_be_bytes(take_array(rest)?))),
            0xcd => Self::Integer(i64::from(u16::from_be_bytes(take_array(rest)?))),
            0xce => Self::Integer(i64::from(u32::from_be_bytes(take_array(rest)?))),
            0xcf => Self::from_u64(u64::from_be_bytes(take_array(rest)?)),
            0xd0 => Self::Integer(i64::from(i8::from_be_bytes(take_array(rest)?))),
            0xd1 => Self::Integer(i64::from(i16::from_be_bytes(take_array(rest)?))),
            0xd2 => Self::Integer(i64::from(i32::from_be_bytes(take_array(rest)?))),
            0xd3 => Self::Integer(i64::from_be_bytes(take_array(rest)?)),
            0xd4 => Self::extension(rest, 1)?,
            0xd5 => Self::extension(rest, 2)?,
            0xd6 => Self::extension(rest, 4)?,
            0xd7 => Self::extension(rest, 8)?,
            0xd8 => Self::extension(rest, 16)?,
            0xdc => Self::List(u32::from(u16::from_be_bytes(take_array(rest)?))),
            0xdd => Self::List(u32::from_be_bytes(take_array(rest)?)),
            0xde => Self::Map(u32::from(u16::from_be_bytes(take_array(rest)?))),
            0xdf => Self::Map(u32::from_be_bytes(take_array(rest)?)),
            0xe0..=0xff => Self::Integer(i64::from(i8::from_be_bytes([head]))),
        })
    }

    /// Writes the token in its shortest form.
    pub(crate) fn write(&self, out: &mut impl Sink) {
        match *self {
            Self::Nil => out.put(&[0xc0]),
            Self::Bool(false) => out.put(&[0xc2]),
            Self::Bool(true) => out.put(&[0xc3]),
            Self::Integer(number) => write_integer(number, out),
            Self::Unsigned(number) => write_head64(0xcf, number.to_be_bytes(), out),
            Self::Double(number) => write_head64(0xcb, number.to_be_bytes(), out),
            Self::Untyped => out.put(&[0xa0]),
            Self::Typed { kind, bytes } => {
                let length = count_of(bytes.len().saturating_add(1));
                write_length(
                    Widths {
                        short: Some((0xa0, 31)),
                        one: Some(0xd9),
                        two: 0xda,
                        four: 0xdb,
                    },
                    length,
                    out,
                );
                out.put(&[kind]);
                out.put(bytes);
            }
            Self::List(count) => {
                write_length(
                    Widths {
                        short: Some((0x90, 15)),
                        one: None,
                        two: 0xdc,
                        four: 0xdd,
                    },
                    count,
                    out,
                );
            }
            Self::Map(count) => {
                write_length(
                    Widths {
                        short: Some((0x80, 15)),
                        one: None,
                        two: 0xde,
                        four: 0xdf,
                    },
                    count,
                    out,
                );
            }
            Self::Extension { kind, data } => {
                match data.len() {
                    1 => out.put(&[0xd4]),
                    2 => out.put(&[0xd5]),
                    4 => out.put(&[0xd6]),
                    8 => out.put(&[0xd7]),
                    16 => out.put(&[0xd8]),
                    length => {
                        let widths = Widths {
                            short: None,
                            one: Some(0xc7),
                            two: 0xc8,
                            four: 0xc9,
                        };
                        write_length(widths, count_of(length), out);
                    }
                }
                out.put(&kind.to_be_bytes());
                out.put(data);
            }
        }
    }

    /// Elements that follow this token as its own; a pair of a map counts two.
    pub(crate) fn element_count(&self) -> u64 {
        match *self {
            Self::List(count) => u64::from(count),
            Self::Map(count) => u64::from(count).saturating_mul(2),
            Self::Nil
            | Self::Bool(_)
            | Self::Integer(_)
            | Self::Unsigned(_)
            | Self::Double(_)
            | Self::Untyped
            | Self::Typed { .. }
            | Self::Extension { .. } => 0,
        }
    }

    /// An integer that is signed wherever it fits.
    pub(crate) fn from_u64(number: u64) -> Self {
        match i64::try_from(number) {
            Ok(number) => Self::Integer(number),
            Err(_) => Self::Unsigned(number),
        }
    }

    fn read_typed8(rest: &mut &'a [u8]) -> Result<Self, MsgpackError> {
        let [length] = take_array::<1>(rest)?;
        Self::typed(rest, u32::from(length))
    }

    fn read_typed16(rest: &mut &'a [u8]) -> Result<Self, MsgpackError> {
        let length = u16::from_be_bytes(take_array(rest)?);
        Self::typed(rest, u32::from(length))
    }

    fn read_typed32(rest: &mut &'a [u8]) -> Result<Self, MsgpackError> {
        let length = u32::from_be_bytes(take_array(rest)?);
        Self::typed(rest, length)
    }

    fn typed(rest: &mut &'a [u8], length: u32) -> Result<Self, MsgpackError> {
        let payload = take(rest, usize_from_u32(length))?;
        Ok(match payload.split_first() {
            Some((kind, bytes)) => Self::Typed { kind: *kind, bytes },
            None => Self::Untyped,
        })
    }

    fn extension(rest: &mut &'a [u8], length: u32) -> Result<Self, MsgpackError> {
        let kind = i8::from_be_bytes(take_array(rest)?);
        let data = take(rest, usize_from_u32(length))?;
        Ok(Self::Extension { kind, data })
    }
}

/// Where tokens are written: bytes, or only their length.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A sink that counts what would be written, in bytes.
#[derive(Debug, Default)]
pub(crate) struct LengthCounter(pub(crate) usize);

impl Sink for LengthCounter {
    fn put(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

/// Takes one whole element, with all that it holds, off the head of `rest`.
///
/// Linear in the element's bytes, without a stack.
pub(crate) fn skip_element<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], MsgpackError> {
    let all = *rest;
    let mut ahead = all;
    let mut pending: u64 = 1;
    while pending > 0 {
        if skip_plain(&mut ahead) {
            pending -= 1;
            continue;
        }
        let token = Token::read(&mut ahead)?;
        // At most one more than the bytes read so far times 2^33: a content is below 2^24 bytes.
        pending = (pending - 1).saturating_add(token.element_count());
    }
    take(rest, all.len().saturating_sub(ahead.len()))
}

/// Takes a number, nil or bool off the head of `rest`, if there stands a whole one. These need no
/// look at their bytes, so stepping over them is worth a way of its own.
#[inline]
pub(crate) fn skip_plain(rest: &mut &[u8]) -> bool {
    let Some(head) = rest.first() else {
        return false;
    };
    let length = PLAIN_LENGTHS.get(usize::from(*head)).copied().unwrap_or(0);
    match rest.get(usize::from(length)..) {
        Some(tail) if length > 0 => {
            *rest = tail;
            true
        }
        Some(_) | None => false,
    }
}

/// Bytes of the number, nil or bool that begins with each byte; zero for what is neither.
const PLAIN_LENGTHS: [u8; 256] = {
    let mut lengths = [0; 256];
    let mut rest: &mut [u8] = &mut lengths;
    let mut head: u8 = 0;
    while let Some((length, tail)) = rest.split_first_mut() {
        *length = match head {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => 1,
            0xcc | 0xd0 => 2,
            0xcd | 0xd1 => 3,
            0xca | 0xce | 0xd2 => 5,
            0xcb | 0xcf | 0xd3 => 9,
            0x80..=0xbf | 0xc1 | 0xc4..=0xc9 | 0xd4..=0xdf => 0,
        };
        rest = tail;
        head = head.wrapping_add(1);
    }
    lengths
};

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], MsgpackError> {
    match rest.split_at_checked(length) {
        Some((head, tail)) => {
            *rest = tail;
            Ok(head)
        }
        None => Err(MsgpackError::Truncated {
            needed: length,
            available: rest.len(),
        }),
    }
}

fn take_array<const LENGTH: usize>(rest: &mut &[u8]) -> Result<[u8; LENGTH], MsgpackError> {
    match rest.split_first_chunk::<LENGTH>() {
        Some((head, tail)) => {
            *rest = tail;
            Ok(*head)
        }
        None => Err(MsgpackError::Truncated {
            needed: LENGTH,
            available: rest.len(),
        }),
    }
}

/// The head bytes that announce a length: within the byte itself, in 1, 2 or 4 bytes behind it.
struct Widths {
    short: Option<(u8, u8)>,
    one: Option<u8>,
    two: u8,
    four: u8,
}

fn write_length(widths: Widths, length: u32, out: &mut impl Sink) {
    if let (Some((base, length_max)), Ok(short)) = (widths.short, u8::try_from(length))
        && short <= length_max
    {
        out.put(&[base | short]);
    } else if let (Some(head), Ok(one)) = (widths.one, u8::try_from(length)) {
        out.put(&[head, one]);
    } else if let Ok(two) = u16::try_from(length) {
        out.put(&[widths.two]);
        out.put(&two.to_be_bytes());
    } else {
        out.put(&[widths.four]);
        out.put(&length.to_be_bytes());
    }
}

fn write_integer(number: i64, out: &mut impl Sink) {
    if let Ok(byte) = i8::try_from(number)
        && byte >= -32
    {
        out.put(&byte.to_be_bytes());
    } else if let Ok(number) = u8::try_from(number) {
        out.put(&[0xcc, number]);
    } else if let Ok(number) = u16::try_from(number) {
        out.put(&[0xcd]);
        out.put(&number.to_be_bytes());
    } else if let Ok(number) = u32::try_from(number) {
        out.put(&[0xce]);
        out.put(&number.to_be_bytes());
    } else if number > 0 {
        write_head64(0xcf, number.to_be_bytes(), out);
    } else if let Ok(number) = i8::try_from(number) {
        out.put(&[0xd0]);
        out.put(&number.to_be_bytes());
    } else if let Ok(number) = i16::try_from(number) {
        out.put(&[0xd1]);
        out.put(&number.to_be_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        out.put(&[0xd2]);
        out.put(&number.to_be_bytes());
    } else {
        write_head64(0xd3, number.to_be_bytes(), out);
    }
}

fn write_head64(head: u8, bytes: [u8; 8], out: &mut impl Sink) {
    out.put(&[head]);
    out.put(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Token<'_>) {
        let mut rest = bytes;
        assert_eq!(Token::read(&mut rest), Ok(expected));
        assert!(rest.is_empty(), "{} bytes left", rest.len());
    }

    #[track_caller]
    fn check_shortest(bytes: &[u8], token: Token<'_>) {
        check(bytes, token);
        let mut out = Vec::new();
        token.write(&mut out);
        assert_eq!(out, bytes);
        let mut counter = LengthCounter::default();
        token.write(&mut counter);
        assert_eq!(counter.0, bytes.len());
    }

    #[test]
    fn integers_of_every_width() {
        for (bytes, number) in [
            (&[0x00][..], 0),
            (&[0x7f], 127),
            (&[0xcc, 0x80], 128),
            (&[0xcc, 0xff], 255),
            (&[0xcd, 0x01, 0x00], 256),
            (&[0xcd, 0xff, 0xff], 65_535),
            (&[0xce, 0, 1, 0, 0], 65_536),
            (&[0xce, 0xff, 0xff, 0xff, 0xff], 4_294_967_295),
            (&[0xcf, 0, 0, 0, 1, 0, 0, 0, 0], 4_294_967_296),
            (
                &[0xcf, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                i64::MAX,
            ),
            (&[0xff], -1),
            (&[0xe0], -32),
            (&[0xd0, 0xdf], -33),
            (&[0xd0, 0x80], -128),
            (&[0xd1, 0xff, 0x7f], -129),
            (&[0xd1, 0x80, 0x00], -32_768),
            (&[0xd2, 0xff, 0xff, 0x7f, 0xff], -32_769),
            (&[0xd2, 0x80, 0, 0, 0], -2_147_483_648),
            (
                &[0xd3, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff],
                -2_147_483_649,
            ),
            (&[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], i64::MIN),
        ] {
            check_shortest(bytes, Token::Integer(number));
        }
        check_shortest(&[0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0], Token::Unsigned(1 << 63));
        // Wider than needed is read, too.
        check(&[0xcf, 0, 0, 0, 0, 0, 0, 0, 5], Token::Integer(5));
        check(
            &[0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            Token::Integer(-1),
        );
    }

    #[test]
    fn scalars() {
        check_shortest(&[0xc0], Token::Nil);
        check_shortest(&[0xc2], Token::Bool(false));
        check_shortest(&[0xc3], Token::Bool(true));
        check_shortest(&[0xcb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0], Token::Double(1.5));
        check(&[0xca, 0x3f, 0xc0, 0, 0], Token::Double(1.5));
    }

    #[test]
    fn texts_and_blobs_begin_with_their_kind() {
        check_shortest(&[0xa0], Token::Untyped);
        check_shortest(
            &[0xa2, 3, b'k'],
            Token::Typed {
                kind: 3,
                bytes: b"k",
            },
        );
        check(
            &[0xc4, 2, 4, 9],
            Token::Typed {
                kind: 4,
                bytes: &[9],
            },
        );
        check(
            &[0xc5, 0, 2, 4, 9],
            Token::Typed {
                kind: 4,
                bytes: &[9],
            },
        );
        check(
            &[0xc6, 0, 0, 0, 2, 4, 9],
            Token::Typed {
                kind: 4,
                bytes: &[9],
            },
        );
        check(&[0xdb, 0, 0, 0, 0], Token::Untyped);
        for (length, head) in [
            (30, vec![0xbf]),
            (31, vec![0xd9, 32]),
            (255, vec![0xda, 1, 0]),
            (65_535, vec![0xdb, 0, 1, 0, 0]),
        ] {
            let payload = vec![b'x'; length];
            let mut bytes = head;
            bytes.push(3);
            bytes.extend_from_slice(&payload);
            check_shortest(
                &bytes,
                Token::Typed {
                    kind: 3,
                    bytes: &payload,
                },
            );
        }
    }

    #[test]
    fn collections_and_extensions() {
        check_shortest(&[0x90], Token::List(0));
        check_shortest(&[0x9f], Token::List(15));
        check_shortest(&[0xdc, 0, 16], Token::List(16));
        check_shortest(&[0xdd, 0, 1, 0, 0], Token::List(65_536));
        check_shortest(&[0x8f], Token::Map(15));
        check_shortest(&[0xde, 0xff, 0xff], Token::Map(65_535));
        check_shortest(&[0xdf, 0, 1, 0, 0], Token::Map(65_536));
        check_shortest(&[0xc7, 0, 1], Token::Extension { kind: 1, data: &[] });
        check(&[0xc8, 0, 0, 1], Token::Extension { kind: 1, data: &[] });
        check(
            &[0xc9, 0, 0, 0, 0, 1],
            Token::Extension { kind: 1, data: &[] },
        );
        for (head, length) in [(0xd4, 1), (0xd5, 2), (0xd6, 4), (0xd7, 8), (0xd8, 16)] {
            let mut bytes = vec![head, 0xfe];
            let data = vec![7; length];
            bytes.extend_from_slice(&data);
            check_shortest(
                &bytes,
                Token::Extension {
                    kind: -2,
                    data: &data,
                },
            );
        }
        check_shortest(
            &[0xc7, 3, 5, 1, 2, 3],
            Token::Extension {
                kind: 5,
                data: &[1, 2, 3],
            },
        );
    }

    #[test]
    fn the_unused_byte_and_every_truncation_are_errors() {
        assert_eq!(Token::read(&mut &[0xc1][..]), Err(MsgpackError::NeverUsed));
        assert_eq!(
            Token::read(&mut &[][..]),
            Err(MsgpackError::Truncated {
                needed: 1,
                available: 0
            })
        );
        assert_eq!(
            Token::read(&mut &[0xda, 0xff, 0xff, 1][..]),
            Err(MsgpackError::Truncated {
                needed: 65_535,
                available: 1
            })
        );
        let whole = [0xc9, 0, 0, 0, 2, 5, 1, 2];
        for length in 0..whole.len() {
            assert!(Token::read(&mut &whole[..length]).is_err());
        }
    }

    #[test]
    fn stepping_over_agrees_with_reading() {
        for head in 0..=u8::MAX {
            let bytes = [head, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let (mut skipped, mut read) = (&bytes[..], &bytes[..]);
            let is_plain = match Token::read(&mut read) {
                Ok(token) => matches!(
                    token,
                    Token::Nil
                        | Token::Bool(_)
                        | Token::Integer(_)
                        | Token::Unsigned(_)
                        | Token::Double(_)
                ),
                Err(_) => false,
            };
            assert_eq!(skip_plain(&mut skipped), is_plain, "{head:#x}");
            if is_plain {
                assert_eq!(skipped, read, "{head:#x}");
                assert!(!skip_plain(&mut &bytes[..bytes.len() - read.len() - 1]));
            }
        }
    }

    #[test]
    fn skip_takes_exactly_one_element() {
        // [1, {"a": [nil]}], then 7.
        let bytes = [0x92, 0x01, 0x81, 0xa2, 3, b'a', 0x91, 0xc0, 0x07];
        let mut rest = &bytes[..];
        assert_eq!(skip_element(&mut rest).unwrap(), &bytes[..8]);
        assert_eq!(rest, &[0x07]);
        assert!(skip_element(&mut &bytes[..7]).is_err());
    }

    proptest! {
        #[test]
        fn integers_round_trip(number: i64) {
            let mut out = Vec::new();
            Token::Integer(number).write(&mut out);
            prop_assert_eq!(Token::read(&mut out.as_slice()), Ok(Token::Integer(number)));
        }

        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            let mut rest = bytes.as_slice();
            while let Ok(token) = Token::read(&mut rest) {
                let mut out = Vec::new();
                token.write(&mut out);
                let again = Token::read(&mut out.as_slice());
                // NaN differs from itself.
                prop_assert_eq!(format!("{:?}", again), format!("{:?}", Ok::<_, MsgpackError>(token)));
            }
        }
    }
}
