//! Keys as callers have them, and the digest that makes a record of one.

use corelith_index::Digest;
use corelith_record::{Key, KeyError, KeyRef};
use ripemd::{Digest as _, Ripemd160};

/// What can be a key: a number, text, bytes, or a [`Key`] of any kind. Nothing is copied.
pub trait AsKey {
    /// The key, borrowed and checked.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if it is too long.
    fn as_key(&self) -> Result<KeyRef<'_>, KeyError>;
}

impl AsKey for i64 {
    fn as_key(&self) -> Result<KeyRef<'_>, KeyError> {
        Ok(KeyRef::integer(*self))
    }
}

impl AsKey for i32 {
    fn as_key(&self) -> Result<KeyRef<'_>, KeyError> {
        Ok(KeyRef::integer(i64::from(*self)))
    }
}

impl AsKey for f64 {
    fn as_key(&self) -> Result<KeyRef<'_>, KeyError> {
        Ok(KeyRef::double(*self))
    }
}

impl AsKey for str {
    fn as_key(&self) -> Result<KeyRef<'_>, KeyError> {
        KeyRef::string(self)
    }
}

impl AsKey for String {
    fn as_key(&self) -> Result<KeyRef<'_>, KeyError> {
        KeyRef::string(self)
    }
}

impl AsKey for [u8] {
    fn as_key(&self) -> Result<KeyRef<'_>, KeyError> {
        KeyRef::bytes(self)
    }
}

impl AsKey for Key {
    fn as_key(&self) -> Result<KeyRef<'_>, KeyError> {
        self.as_key_ref()
    }
}

impl AsKey for KeyRef<'_> {
    fn as_key(&self) -> Result<KeyRef<'_>, KeyError> {
        Ok(*self)
    }
}

impl<K: AsKey + ?Sized> AsKey for &K {
    fn as_key(&self) -> Result<KeyRef<'_>, KeyError> {
        (**self).as_key()
    }
}

/// The digest of a key in a set (empty for none): RIPEMD-160 of the set's name, the byte of the key's kind
/// and the key's bytes, as every client of this data model computes it.
#[must_use]
pub fn digest_of(set: &str, key: &KeyRef<'_>) -> Digest {
    let mut hasher = Ripemd160::new();
    for part in key.digest_input(set).parts() {
        hasher.update(part);
    }
    Digest::from_bytes(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(set: &str, key: impl AsKey, digest: &str, partition: u16) {
        let found = digest_of(set, &key.as_key().unwrap());
        assert_eq!(found.to_string(), digest);
        assert_eq!(found.partition().get(), partition);
    }

    #[test]
    fn digests_are_those_of_other_clients() {
        check(
            "demo",
            "k1",
            "b747f5854d0b33259928d0cfab7fad81d6abfbf6",
            1975,
        );
        check("demo", 2, "ae6a515f37de4adacc4496e2da1fea848c3a9270", 2734);
        check(
            "demo",
            -1_i64,
            "e9d49a24c3debdc5a6d551d3e7087999a263bb97",
            1257,
        );
        check("", "k1", "50149955959c2fef0a83613ae80c78bb9c96b269", 1104);
        check(
            "demo",
            &[1_u8, 2, 3][..],
            "ff31c926fbef445648ce63ca72a698a5473425c1",
            511,
        );
        check(
            "demo",
            Key::from("k1"),
            "b747f5854d0b33259928d0cfab7fad81d6abfbf6",
            1975,
        );
    }
}
