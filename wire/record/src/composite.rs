//! Several columns in one string key: joined by `|`, unambiguous, readable.
//!
//! In a column's text `|` becomes `\|` and `\` becomes `\\`; a column that is null is `\N`, which
//! no text becomes. So each list of columns gives another text, and parsing gives the list back.
//! `CONTENT.md` holds the rules.

use std::borrow::Cow;

use crate::error::CompositeError;
use crate::limits::{COMPOSITE_COLUMN_COUNT_MAX, KEY_LENGTH_BYTES_MAX};

/// Between columns.
const SEPARATOR: char = '|';

/// Before a separator, before itself, and before [`NULL`].
const ESCAPE: char = '\\';

/// Behind an escape: the column is null.
const NULL: char = 'N';

/// Joins columns, `None` for null, into the text of one string key.
///
/// ```
/// # use corelith_record::{join_columns, split_columns};
/// let key = join_columns(&[Some("UA"), Some("a|b"), None])?;
/// assert_eq!(key, r"UA|a\|b|\N");
/// assert_eq!(split_columns(&key)?, [Some("UA".into()), Some("a|b".into()), None]);
/// # Ok::<(), corelith_record::CompositeError>(())
/// ```
///
/// # Errors
/// [`CompositeError`] for no column, too many, or a text longer than a key may be.
pub fn join_columns(columns: &[Option<&str>]) -> Result<String, CompositeError> {
    if columns.is_empty() {
        return Err(CompositeError::NoColumn);
    }
    check_count(columns.len())?;
    let mut joined = String::new();
    for (index, column) in columns.iter().enumerate() {
        if index > 0 {
            joined.push(SEPARATOR);
        }
        match column {
            Some(text) => push_escaped(&mut joined, text),
            None => joined.extend([ESCAPE, NULL]),
        }
    }
    if joined.len() > KEY_LENGTH_BYTES_MAX {
        return Err(CompositeError::TooLong {
            length_bytes: joined.len(),
        });
    }
    Ok(joined)
}

/// Takes a text that [`join_columns`] made apart again.
///
/// # Errors
/// [`CompositeError`] for a text that it cannot have made.
pub fn split_columns(joined: &str) -> Result<Vec<Option<Cow<'_, str>>>, CompositeError> {
    if joined.len() > KEY_LENGTH_BYTES_MAX {
        return Err(CompositeError::TooLong {
            length_bytes: joined.len(),
        });
    }
    let mut columns = Vec::new();
    let mut start = 0;
    let mut is_escaped = false;
    for (offset, character) in joined.char_indices() {
        if is_escaped {
            is_escaped = false;
        } else if character == ESCAPE {
            is_escaped = true;
        } else if character == SEPARATOR {
            columns.push(unescape(joined, start, offset)?);
            start = offset + SEPARATOR.len_utf8();
        }
    }
    columns.push(unescape(joined, start, joined.len())?);
    check_count(columns.len())?;
    Ok(columns)
}

const fn check_count(count: usize) -> Result<(), CompositeError> {
    if count > COMPOSITE_COLUMN_COUNT_MAX {
        return Err(CompositeError::TooManyColumns { count });
    }
    Ok(())
}

fn push_escaped(joined: &mut String, text: &str) {
    for character in text.chars() {
        if character == SEPARATOR || character == ESCAPE {
            joined.push(ESCAPE);
        }
        joined.push(character);
    }
}

/// The column that stands between two offsets of `joined`.
fn unescape(
    joined: &str,
    start: usize,
    end: usize,
) -> Result<Option<Cow<'_, str>>, CompositeError> {
    let column = joined.get(start..end).unwrap_or_default();
    if !column.contains(ESCAPE) {
        return Ok(Some(Cow::Borrowed(column)));
    }
    let mut characters = column.char_indices();
    if column.len() == 2 && column.ends_with(NULL) {
        return Ok(None);
    }
    let mut text = String::with_capacity(column.len());
    while let Some((offset, character)) = characters.next() {
        if character != ESCAPE {
            text.push(character);
            continue;
        }
        match characters.next() {
            Some((_, escaped @ (SEPARATOR | ESCAPE))) => text.push(escaped),
            Some(_) | None => {
                return Err(CompositeError::Escape {
                    offset: start + offset,
                });
            }
        }
    }
    Ok(Some(Cow::Owned(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(columns: &[Option<&str>], joined: &str) {
        assert_eq!(join_columns(columns).unwrap(), joined);
        let split = split_columns(joined).unwrap();
        assert_eq!(
            split.iter().map(Option::as_deref).collect::<Vec<_>>(),
            columns
        );
    }

    #[test]
    fn golden() {
        check(
            &[Some("UA"), Some("1545"), Some("2013-01-01T10:00:00Z")],
            "UA|1545|2013-01-01T10:00:00Z",
        );
        check(&[Some("")], "");
        check(&[Some(""), Some("")], "|");
        check(&[None], r"\N");
        check(&[None, Some("N"), Some(r"\N")], r"\N|N|\\N");
        check(&[Some("a|b"), Some(r"c\")], r"a\|b|c\\");
        check(&[Some("|"), Some("\u{1f600}")], "\\||\u{1f600}");
    }

    #[test]
    fn texts_that_no_columns_give() {
        for (text, offset) in [
            (r"a\b", 1),
            (r"\", 0),
            (r"x|\Nx", 2),
            (r"x\N", 1),
            (r"a|b\", 3),
        ] {
            assert_eq!(
                split_columns(text),
                Err(CompositeError::Escape { offset }),
                "{text}"
            );
        }
        let many = "|".repeat(COMPOSITE_COLUMN_COUNT_MAX);
        let count = COMPOSITE_COLUMN_COUNT_MAX + 1;
        assert_eq!(
            split_columns(&many),
            Err(CompositeError::TooManyColumns { count })
        );
        assert_eq!(
            join_columns(&vec![None; count]),
            Err(CompositeError::TooManyColumns { count })
        );
        assert_eq!(join_columns(&[]), Err(CompositeError::NoColumn));
        let long = "x".repeat(KEY_LENGTH_BYTES_MAX + 1);
        let too_long = CompositeError::TooLong {
            length_bytes: KEY_LENGTH_BYTES_MAX + 1,
        };
        assert_eq!(join_columns(&[Some(&long)]), Err(too_long));
        assert_eq!(split_columns(&long), Err(too_long));
    }

    fn columns() -> impl Strategy<Value = Vec<Option<String>>> {
        prop::collection::vec(prop::option::of("[|\\\\Na-c\u{e9}]{0,6}"), 1..6)
    }

    proptest! {
        #[test]
        fn round_trip_and_no_two_alike(left in columns(), right in columns()) {
            let join = |columns: &[Option<String>]| {
                join_columns(&columns.iter().map(Option::as_deref).collect::<Vec<_>>()).unwrap()
            };
            let joined = join(&left);
            let split: Vec<Option<String>> = split_columns(&joined)
                .unwrap()
                .into_iter()
                .map(|column| column.map(Cow::into_owned))
                .collect();
            prop_assert_eq!(&split, &left);
            prop_assert_eq!(left == right, joined == join(&right));
        }

        #[test]
        fn any_text_is_refused_or_comes_back(text in "[|\\\\Na]{0,12}") {
            if let Ok(columns) = split_columns(&text) {
                let columns: Vec<Option<&str>> = columns.iter().map(Option::as_deref).collect();
                prop_assert_eq!(join_columns(&columns).unwrap(), text);
            }
        }
    }
}
