//! The order of a list or map: flags that stand at its head as an extension without data.
//!
//! The node carries them; whether the elements really stand in that order is not checked here.

use crate::msgpack::Token;

/// The flags of an ordered list or map, as the Aerospike protocol numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrderFlags(u8);

impl OrderFlags {
    /// A list whose elements are sorted.
    pub const LIST_ORDERED: Self = Self(0x01);
    /// A map whose pairs are sorted by key.
    pub const MAP_KEY_ORDERED: Self = Self(0x01);
    /// A map whose pairs are sorted by key and that keeps an order by value, too.
    pub const MAP_KEY_VALUE_ORDERED: Self = Self(0x03);
    /// A map whose pairs stand in an order that a reader shall keep.
    pub const MAP_PRESERVE_ORDER: Self = Self(0x08);

    /// Flags as they came; unknown bits are carried.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The bits as they travel.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    pub(crate) fn to_token(self) -> Token<'static> {
        let [kind] = self.0.to_be_bytes().map(|byte| i8::from_be_bytes([byte]));
        Token::Extension { kind, data: &[] }
    }

    fn from_kind(kind: i8) -> Self {
        let [bits] = kind.to_be_bytes();
        Self(bits)
    }
}

/// Takes the order off the head of a list's elements. Says how many elements are left.
pub(crate) fn take_list_order(rest: &mut &[u8], count: u32) -> (Option<OrderFlags>, u32) {
    let mut ahead = *rest;
    match (count.checked_sub(1), Token::read(&mut ahead)) {
        (Some(left), Ok(Token::Extension { kind, data: [] })) => {
            *rest = ahead;
            (Some(OrderFlags::from_kind(kind)), left)
        }
        _ => (None, count),
    }
}

/// Takes the order off the head of a map's pairs: it stands as a key whose value is nil. Says how
/// many pairs are left.
pub(crate) fn take_map_order(rest: &mut &[u8], count: u32) -> (Option<OrderFlags>, u32) {
    let mut ahead = *rest;
    match (
        count.checked_sub(1),
        Token::read(&mut ahead),
        Token::read(&mut ahead),
    ) {
        (Some(left), Ok(Token::Extension { kind, data: [] }), Ok(Token::Nil)) => {
            *rest = ahead;
            (Some(OrderFlags::from_kind(kind)), left)
        }
        _ => (None, count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_order_is_its_first_element() {
        let mut rest = &[0xc7, 0, 1, 5][..];
        assert_eq!(
            take_list_order(&mut rest, 2),
            (Some(OrderFlags::LIST_ORDERED), 1)
        );
        assert_eq!(rest, &[5]);
        assert_eq!(take_list_order(&mut rest, 1), (None, 1));
        assert_eq!(rest, &[5]);
        // What follows an empty list is not its own.
        let mut rest = &[0xc7, 0, 1][..];
        assert_eq!(take_list_order(&mut rest, 0), (None, 0));
        assert_eq!(rest.len(), 3);
    }

    #[test]
    fn map_order_is_its_first_key_with_nil() {
        let mut rest = &[0xc7, 0, 0x83, 0xc0, 1, 2][..];
        assert_eq!(
            take_map_order(&mut rest, 2),
            (Some(OrderFlags::from_bits(0x83)), 1)
        );
        assert_eq!(rest, &[1, 2]);
        let mut rest = &[0xc7, 0, 1, 7][..];
        assert_eq!(take_map_order(&mut rest, 1), (None, 1));
        assert_eq!(rest.len(), 4);
    }

    #[test]
    fn flags_travel_whole() {
        for bits in 0..=u8::MAX {
            let mut out = Vec::new();
            OrderFlags::from_bits(bits).to_token().write(&mut out);
            assert_eq!(out, [0xc7, 0, bits]);
            assert_eq!(
                take_list_order(&mut out.as_slice(), 1),
                (Some(OrderFlags(bits)), 0)
            );
        }
    }
}
