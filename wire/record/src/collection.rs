//! Lists and maps as they stand in their bytes: borrowed, walked in order, never decoded ahead.
//!
//! They are made from checked bytes only, so walking cannot fail. A nested collection costs one
//! pass over its bytes to be stepped over and none to be entered.

use crate::msgpack::{Token, skip_element};
use crate::order::{OrderFlags, take_list_order, take_map_order};
use crate::value_ref::ValueRef;

/// A list inside a content.
#[derive(Clone, Copy)]
pub struct ListRef<'a> {
    encoded: &'a [u8],
    order: Option<OrderFlags>,
    items: Items<'a>,
}

impl<'a> ListRef<'a> {
    /// `encoded` is one list and has been checked.
    pub(crate) fn from_checked(encoded: &'a [u8]) -> Option<Self> {
        let mut rest = encoded;
        let Ok(Token::List(count)) = Token::read(&mut rest) else {
            return None;
        };
        let (order, left) = take_list_order(&mut rest, count);
        Some(Self {
            encoded,
            order,
            items: Items { rest, left },
        })
    }

    /// How many elements it has; its order is not one.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.items.left
    }

    /// Whether it has no element.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items.left == 0
    }

    /// The order that its writer claimed.
    #[must_use]
    pub const fn order(&self) -> Option<OrderFlags> {
        self.order
    }

    /// Its elements in order.
    #[must_use]
    pub const fn iter(&self) -> Items<'a> {
        self.items
    }

    /// Its msgpack, byte for byte as it came.
    #[must_use]
    pub const fn as_msgpack(&self) -> &'a [u8] {
        self.encoded
    }
}

impl<'a> IntoIterator for ListRef<'a> {
    type Item = ValueRef<'a>;
    type IntoIter = Items<'a>;

    fn into_iter(self) -> Items<'a> {
        self.items
    }
}

/// Equal when the bytes are.
impl PartialEq for ListRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

/// A map inside a content: pairs in the order of the bytes, keys of any kind.
#[derive(Clone, Copy)]
pub struct MapRef<'a> {
    encoded: &'a [u8],
    order: Option<OrderFlags>,
    pairs: Pairs<'a>,
}

impl<'a> MapRef<'a> {
    /// `encoded` is one map and has been checked.
    pub(crate) fn from_checked(encoded: &'a [u8]) -> Option<Self> {
        let mut rest = encoded;
        let Ok(Token::Map(count)) = Token::read(&mut rest) else {
            return None;
        };
        let (order, left) = take_map_order(&mut rest, count);
        Some(Self {
            encoded,
            order,
            pairs: Pairs { rest, left },
        })
    }

    /// How many pairs it has; its order is not one.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.pairs.left
    }

    /// Whether it has no pair.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.pairs.left == 0
    }

    /// The order that its writer claimed.
    #[must_use]
    pub const fn order(&self) -> Option<OrderFlags> {
        self.order
    }

    /// Its pairs in order.
    #[must_use]
    pub const fn iter(&self) -> Pairs<'a> {
        self.pairs
    }

    /// Its msgpack, byte for byte as it came.
    #[must_use]
    pub const fn as_msgpack(&self) -> &'a [u8] {
        self.encoded
    }
}

impl<'a> IntoIterator for MapRef<'a> {
    type Item = (ValueRef<'a>, ValueRef<'a>);
    type IntoIter = Pairs<'a>;

    fn into_iter(self) -> Pairs<'a> {
        self.pairs
    }
}

/// Equal when the bytes are.
impl PartialEq for MapRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.encoded == other.encoded
    }
}

/// The elements of a list.
#[derive(Clone, Copy)]
pub struct Items<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Items<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<ValueRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        next_value(&mut self.rest)
    }
}

/// The pairs of a map.
#[derive(Clone, Copy)]
pub struct Pairs<'a> {
    rest: &'a [u8],
    left: u32,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (ValueRef<'a>, ValueRef<'a>);

    fn next(&mut self) -> Option<(ValueRef<'a>, ValueRef<'a>)> {
        self.left = self.left.checked_sub(1)?;
        Some((next_value(&mut self.rest)?, next_value(&mut self.rest)?))
    }
}

/// The element at the head of checked msgpack.
fn next_value<'a>(rest: &mut &'a [u8]) -> Option<ValueRef<'a>> {
    let encoded = skip_element(rest).ok()?;
    let token = Token::read(&mut &*encoded).ok()?;
    ValueRef::from_scalar(token)
        .or_else(|| ListRef::from_checked(encoded).map(ValueRef::List))
        .or_else(|| MapRef::from_checked(encoded).map(ValueRef::Map))
}

impl std::fmt::Debug for ListRef<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        ValueRef::List(*self).fmt(formatter)
    }
}

impl std::fmt::Debug for MapRef<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        ValueRef::Map(*self).fmt(formatter)
    }
}

impl std::fmt::Debug for Items<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Items")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Pairs<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Pairs")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordered_list_shows_its_elements_alone() {
        let list = ListRef::from_checked(&[0x93, 0xc7, 0, 1, 5, 0x91, 0xc3]).unwrap();
        assert_eq!(list.len(), 2);
        assert!(!list.is_empty());
        assert_eq!(list.order(), Some(OrderFlags::LIST_ORDERED));
        let items: Vec<ValueRef<'_>> = list.iter().collect();
        assert_eq!(items[0], ValueRef::Integer(5));
        let ValueRef::List(inner) = items[1] else {
            panic!("{items:?}")
        };
        assert_eq!(inner.iter().collect::<Vec<_>>(), [ValueRef::Bool(true)]);
        assert_eq!(inner.as_msgpack(), &[0x91, 0xc3]);
        assert_eq!(items.len(), 2);
    }

    #[test]
    fn an_ordered_map_shows_its_pairs_alone() {
        // As an unmodified client sends {"k": 9} ordered by key.
        let map = MapRef::from_checked(&[0x82, 0xc7, 0, 1, 0xc0, 0xa2, 3, b'k', 9]).unwrap();
        assert_eq!(
            (map.len(), map.order()),
            (1, Some(OrderFlags::MAP_KEY_ORDERED))
        );
        assert_eq!(
            map.iter().collect::<Vec<_>>(),
            [(ValueRef::String("k"), ValueRef::Integer(9))]
        );
        let empty = MapRef::from_checked(&[0x81, 0xc7, 0, 1, 0xc0]).unwrap();
        assert!(empty.is_empty());
        assert_eq!(empty.iter().next(), None);
    }

    #[test]
    fn other_bytes_are_no_collection() {
        assert_eq!(ListRef::from_checked(&[0x80]), None);
        assert_eq!(MapRef::from_checked(&[0x90]), None);
    }
}
