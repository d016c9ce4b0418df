//! The entry point of the fuzzers: any bytes in, and the promises of this crate checked on them.
//!
//! Not for production: it allocates freely and asserts. It lives beside the code so that the fuzz
//! target, and the test that replays its corpus, are one line each.

use crate::bin_list::BinList;
use crate::bin_value::BinValue;
use crate::content::{Content, Update};
use crate::content_writer::ContentWriter;
use crate::edit::{Edit, edit};
use crate::limits::DISPLAY_LENGTH_BYTES_MAX;
use crate::merge::{merge, merged_length_bytes_max, replace};
use crate::operate::{Effect, Reads, operate};
use crate::project::project;
use crate::step::Steps;

/// Reads `bytes` as a content and as an update in every way that there is.
///
/// # Panics
/// When a promise is broken: a reader that does not stop, a result that is not valid, a merge that
/// loses a bin.
pub fn fuzz_content(bytes: &[u8]) {
    read_unchecked(bytes);
    if let Some((kind, value)) = bytes.split_first()
        && let Ok(value) = BinValue::parse(*kind, value)
    {
        read_value(value);
    }
    fuzz_steps(bytes);
    let Ok(update) = Update::parse(bytes) else {
        assert!(
            Content::parse(bytes).is_err(),
            "a content is an update, too"
        );
        return;
    };
    match Content::parse(bytes) {
        Ok(content) => {
            assert_eq!(update.as_content(), Some(content));
            read_content(&content);
            operate_on(&content);
        }
        Err(_) => assert!(
            update.as_content().is_none(),
            "only nil parts an update from a content"
        ),
    }

    let mut replaced = Vec::new();
    if replace(&update, &mut replaced).is_ok() {
        read_content(&reparse(&replaced));
    }
    let mut merged = Vec::new();
    if merge(&Content::empty(), &update, &mut merged).is_ok() {
        assert_eq!(merged, replaced, "a merge into nothing replaces");
    }
}

/// Reads `bytes` as steps (how many, their codes, their arguments) and carries them out on nothing and on
/// what they leave.
fn fuzz_steps(bytes: &[u8]) {
    let Some((count, rest)) = bytes.split_first() else {
        return;
    };
    let Some((codes, arguments)) = rest.split_at_checked(usize::from(*count)) else {
        return;
    };
    let Ok(steps) = Steps::parse(codes, arguments) else {
        return;
    };
    assert_eq!(steps.iter().count(), steps.len());
    let (mut out, mut again, mut reads) = (Vec::new(), Vec::new(), Reads::default());
    let empty = Content::empty();
    match operate(&empty, steps.key(), steps, &mut out, &mut reads) {
        Ok(Effect::Written(bin_count)) => {
            let written = reparse(&out);
            assert_eq!(written.bins().len(), bin_count);
            let second = operate(&written, steps.key(), steps, &mut again, &mut reads);
            if let Ok(Effect::Written(bin_count)) = second {
                assert_eq!(reparse(&again).bins().len(), bin_count);
            }
        }
        Ok(Effect::Nothing | Effect::Touched) => assert!(out.is_empty()),
        Err(_) => assert!(out.is_empty() && reads == Reads::default()),
    }
    let seen = BinList::parse(&reads.bins);
    let bin_count = reads.bin_counts.iter().map(|count| u32::from(*count)).sum();
    assert!(seen.is_ok_and(|seen| u32::from(seen.len()) == bin_count));
}

/// Bytes that nobody checked, read as if a checksum had vouched for them: nothing is promised
/// about what comes out, only that it ends.
fn read_unchecked(bytes: &[u8]) {
    let Ok(content) = Content::from_stored(bytes) else {
        return;
    };
    assert_eq!(
        content.bins().iter().count(),
        usize::from(content.bins().len())
    );
    let mut out = Vec::new();
    for bin in content.bins() {
        // What is not text or no list is nothing, and what is too deep is cut.
        let decoded = bin.value().decode();
        assert!(decoded.to_string().len() < 2 * DISPLAY_LENGTH_BYTES_MAX);
        assert!(decoded.to_value().to_string().len() < 2 * DISPLAY_LENGTH_BYTES_MAX);
        let names = [bin.name().as_str()];
        assert!(project(&content, names, &mut out).is_ok_and(|bin_count| bin_count <= 1));
    }
    let update = Update::from(content);
    assert!(merge(&content, &update, &mut out).is_ok_and(|count| count <= content.bins().len()));
}

fn read_value(value: BinValue<'_>) {
    let decoded = value.decode();
    assert!(value.to_string().len() < 2 * DISPLAY_LENGTH_BYTES_MAX);
    assert_eq!(decoded.kind(), Some(value.kind()));
    assert!(decoded.to_value().to_string().len() < 2 * DISPLAY_LENGTH_BYTES_MAX);
}

fn read_content(content: &Content<'_>) {
    assert_eq!(
        content.bins().iter().count(),
        usize::from(content.bins().len())
    );
    for bin in content.bins() {
        assert_eq!(content.get(bin.name().as_str()), Some(bin.value()));
        read_value(bin.value());
    }
    assert_eq!(Content::from_stored(content.as_bytes()), Ok(*content));

    // The encoding is canonical: what was read and is written again is the same bytes.
    let mut written = Vec::new();
    let mut writer = ContentWriter::new(&mut written, content.key());
    for bin in content.bins() {
        assert_eq!(writer.put(bin.name(), bin.value()), Ok(()));
    }
    assert_eq!(writer.finish_content(), Ok(content.bins().len()));
    assert_eq!(written, content.as_bytes());
}

fn operate_on(content: &Content<'_>) {
    let mut merged = Vec::new();
    let update = Update::from(*content);
    assert_eq!(
        merge(content, &update, &mut merged),
        Ok(content.bins().len())
    );
    assert_eq!(
        merged,
        content.as_bytes(),
        "a merge with itself changes nothing"
    );
    assert!(merged.len() <= merged_length_bytes_max(content, &update));

    let names: Vec<&str> = content
        .bins()
        .iter()
        .map(|bin| bin.name().as_str())
        .collect();
    let mut projected = Vec::new();
    assert_eq!(
        project(content, names, &mut projected),
        Ok(content.bins().len())
    );
    assert_eq!(projected, content.as_bytes(), "all bins are the content");

    let Some(first) = content.bins().iter().next() else {
        return;
    };
    for change in [
        Edit::Write(BinValue::NIL),
        Edit::Add(first.value()),
        Edit::Append(first.value()),
        Edit::Prepend(first.value()),
    ] {
        let mut edited = Vec::new();
        match edit(content, first.name(), change, &mut edited) {
            Ok(bin_count) => assert_eq!(reparse(&edited).bins().len(), bin_count),
            Err(_) => assert!(edited.is_empty(), "a failed edit leaves nothing"),
        }
    }
}

fn reparse(bytes: &[u8]) -> Content<'_> {
    let parsed = Content::parse(bytes);
    assert!(
        parsed.is_ok(),
        "an operation has written what cannot be read: {parsed:?}"
    );
    parsed.unwrap_or(Content::empty())
}
