//! Work in pieces: the same results and errors as at once, and no more than a piece between pauses.
//!
//! Nothing is timed: pauses are counted, and a future that waits for anything else is not polled again.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use corelith_record::limits::{BIN_COUNT_MAX, CONTENT_LENGTH_BYTES_MAX, PIECE_COST};
use corelith_record::{
    Content, ContentBuilder, Effect, Pace, Reads, Steps, StepsBuilder, Update, Value, is_long,
    merge, merge_in_pieces, operate, operate_in_pieces, project, project_in_pieces, replace,
    replace_in_pieces,
};
use proptest::prelude::*;

use crate::samples::{Model, bin_values, builder_of, many_bins, models, scattered_name};

/// Runs work that pauses, and counts how often it did.
struct Runner {
    pauses: Cell<u32>,
}

impl Runner {
    const fn new() -> Self {
        Self {
            pauses: Cell::new(0),
        }
    }

    /// A pause is one round in which nothing is done.
    async fn pause(&self) {
        let mut rounds = 0;
        poll_fn(|_| {
            rounds += 1;
            if rounds > 1 {
                return Poll::Ready(());
            }
            self.pauses.set(self.pauses.get() + 1);
            Poll::Pending
        })
        .await;
    }

    /// The result of `work`, and its pauses: as many as times that it was not ready.
    fn run<T>(&self, work: impl Future<Output = T>) -> (T, u32) {
        self.pauses.set(0);
        let mut work = pin!(work);
        let mut context = Context::from_waker(Waker::noop());
        for waits in 0.. {
            if let Poll::Ready(result) = work.as_mut().poll(&mut context) {
                assert_eq!(self.pauses.get(), waits);
                return (result, waits);
            }
            assert_eq!(self.pauses.get(), waits + 1, "it waits for pauses only");
        }
        unreachable!()
    }
}

macro_rules! in_pieces {
    ($piece:expr, |$pace:ident| $work:expr) => {{
        let runner = Runner::new();
        let mut pace = Pace::with_piece($piece, async || runner.pause().await);
        let $pace = &mut pace;
        runner.run(async { $work.await })
    }};
}

/// Two updates, merged and replaced both ways.
#[track_caller]
fn check_merge(old: &[u8], update: &[u8], piece: usize) {
    let (old, _) = in_pieces!(piece, |pace| Content::from_stored_in_pieces(old, pace));
    let (update, _) = in_pieces!(piece, |pace| Update::parse_in_pieces(update, pace));
    let (old, update) = (old.unwrap(), update.unwrap());
    let mut expected = b"before".to_vec();
    let bin_count = merge(&old, &update, &mut expected);
    let mut out = b"before".to_vec();
    let (merged, _) = in_pieces!(piece, |pace| merge_in_pieces(&old, &update, &mut out, pace));
    assert_eq!(merged, bin_count);
    assert_eq!(out, expected);

    let mut expected = b"before".to_vec();
    let bin_count = replace(&update, &mut expected);
    let mut out = b"before".to_vec();
    let (replaced, _) = in_pieces!(piece, |pace| replace_in_pieces(&update, &mut out, pace));
    assert_eq!(replaced, bin_count);
    assert_eq!(out, expected);
}

fn changes() -> impl Strategy<Value = Model> {
    let change = prop_oneof![3 => bin_values(), 1 => Just(Value::Nil)];
    let bins = prop_oneof![
        prop::collection::vec(("[a-h]{1,2}", change.clone()), 0..10),
        prop::collection::vec(("[a-z]{1,3}", change), 50..90),
    ];
    bins.prop_map(|mut changes| {
        let mut seen = std::collections::HashSet::new();
        changes.retain(|(name, _)| seen.insert(name.clone()));
        changes
    })
}

fn steps_of(changes: &Model) -> StepsBuilder {
    let mut steps = StepsBuilder::new();
    for (ordinal, (name, value)) in changes.iter().enumerate() {
        steps = match ordinal % 5 {
            0 => steps.write(name, value.clone()).read(name),
            1 => steps
                .append(name, "xy")
                .prepend(name, "w")
                .append(name, "z"),
            2 => steps.read(name).remove(name),
            3 => steps.read_metadata().touch(),
            _ => steps.add(name, 1),
        };
    }
    steps.read_all()
}

#[track_caller]
fn check_operate(old: &Content<'_>, steps: &StepsBuilder, piece: usize) {
    let encoded = steps.finish().unwrap();
    let (steps, _) = in_pieces!(piece, |pace| Steps::parse_in_pieces(
        &encoded.codes,
        &encoded.arguments,
        pace
    ));
    let steps = steps.unwrap();
    assert_eq!(Steps::parse(&encoded.codes, &encoded.arguments), Ok(steps));
    let (mut expected, mut expected_reads) = (b"before".to_vec(), Reads::default());
    let effect = operate(old, steps.key(), steps, &mut expected, &mut expected_reads);
    let (mut out, mut reads) = (b"before".to_vec(), Reads::default());
    let target = (&mut out, &mut reads);
    let (found, _) = in_pieces!(piece, |pace| operate_in_pieces(
        old,
        steps.key(),
        steps,
        target,
        pace
    ));
    assert_eq!(found, effect);
    assert_eq!(out, expected);
    assert_eq!(reads, expected_reads);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn merges_and_replaces(model in models(), changes in changes()) {
        let old = builder_of(&model).key("k").finish_content().unwrap();
        let update = builder_of(&changes).finish_update().unwrap();
        check_merge(&old, &update, 64);
        check_merge(&old, &update, 4096);
    }

    #[test]
    fn projects(model in models(), names in prop::collection::vec("[a-h]{1,2}", 0..80)) {
        let content = builder_of(&model).finish_content().unwrap();
        let content = Content::parse(&content).unwrap();
        let names = || names.iter().map(String::as_str);
        let (mut expected, mut out) = (Vec::new(), Vec::new());
        let bin_count = project(&content, names(), &mut expected);
        let (found, _) = in_pieces!(64, |pace| project_in_pieces(&content, names(), &mut out, pace));
        prop_assert_eq!(found, bin_count);
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn operates(model in models(), changes in changes()) {
        let content = builder_of(&model).finish_content().unwrap();
        check_operate(&Content::parse(&content).unwrap(), &steps_of(&changes), 64);
    }

    /// Whatever is wrong with the bytes, it is said in the same words.
    #[test]
    fn refuses(model in models(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = builder_of(&model).key("k").finish_update().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let (found, _) = in_pieces!(64, |pace| Update::parse_in_pieces(&bytes, pace));
        prop_assert_eq!(found, Update::parse(&bytes));
        let (found, _) = in_pieces!(64, |pace| Content::from_stored_in_pieces(&bytes, pace));
        prop_assert_eq!(found, Content::from_stored(&bytes));
        let (found, _) = in_pieces!(64, |pace| Steps::parse_in_pieces(&[16], &bytes, pace));
        prop_assert_eq!(found, Steps::parse(&[16], &bytes));
    }

    #[test]
    fn text_is_cut_anywhere(text in "[a-z\u{e4}\u{20ac}\u{1f600}]{0,60}", bad in prop::option::of(0_usize..200)) {
        let builder = ContentBuilder::new().bin("a", text).bin("l", Value::list(vec!["x".into()]));
        let mut bytes = builder.finish_content().unwrap();
        if let Some(at) = bad {
            let at = at % bytes.len();
            bytes[at] = 0xff;
        }
        let (found, _) = in_pieces!(64, |pace| Update::parse_in_pieces(&bytes, pace));
        prop_assert_eq!(found, Update::parse(&bytes));
    }
}

/// Pauses of some work, of which each is to have cost no more than a piece: at least as many as its bins, its
/// bytes and its look-ups make.
#[track_caller]
fn check_pauses(what: &str, pauses: u32, cost: usize) {
    let least = u32::try_from(cost / PIECE_COST).unwrap();
    assert!(
        pauses >= least,
        "{what}: {pauses} pauses, {least} at least for {cost}"
    );
}

#[test]
fn the_widest_record_pauses_often_enough() {
    let count = u32::from(BIN_COUNT_MAX);
    let bytes = many_bins(count);
    assert!(is_long(&bytes));
    let bins = usize::from(BIN_COUNT_MAX);
    let (walk, look_up) = (bins * 128, bins * 2048);

    let (update, pauses) = in_pieces!(PIECE_COST, |pace| Update::parse_in_pieces(&bytes, pace));
    check_pauses("parse", pauses, walk + look_up);
    let (old, pauses) = in_pieces!(PIECE_COST, |pace| Content::from_stored_in_pieces(
        &bytes, pace
    ));
    check_pauses("parse as stored", pauses, walk);
    let (old, update) = (old.unwrap(), update.unwrap());

    let mut out = Vec::new();
    let (merged, pauses) = in_pieces!(PIECE_COST, |pace| merge_in_pieces(
        &old, &update, &mut out, pace
    ));
    assert_eq!(merged, Ok(BIN_COUNT_MAX));
    check_pauses("merge", pauses, look_up + 2 * walk + bytes.len());

    // Every other bin is new, and every fourth goes: the order is joined from two.
    let changes: Model = (0..count / 2)
        .rev()
        .map(|index| {
            let value = if index % 4 == 0 {
                Value::Nil
            } else {
                true.into()
            };
            (scattered_name(index * 2), value)
        })
        .collect();
    let half: Model = (0..count / 2)
        .map(|index| (scattered_name(index), 7.into()))
        .collect();
    let half = builder_of(&half).finish_content().unwrap();
    let changes = builder_of(&changes).finish_update().unwrap();
    check_merge(&half, &changes, PIECE_COST);
    let (half, changes) = (
        Content::parse(&half).unwrap(),
        Update::parse(&changes).unwrap(),
    );
    let mut out = Vec::new();
    let (merged, pauses) = in_pieces!(PIECE_COST, |pace| merge_in_pieces(
        &half, &changes, &mut out, pace
    ));
    Content::parse(&out).unwrap();
    check_pauses(
        "merge of two orders",
        pauses,
        usize::from(merged.unwrap()) * 2048,
    );
}

#[test]
fn many_names_and_steps_on_the_widest_record_pause_often_enough() {
    let bytes = many_bins(u32::from(BIN_COUNT_MAX));
    let old = Content::parse(&bytes).unwrap();
    let walk = usize::from(BIN_COUNT_MAX) * 128;
    let names: Vec<String> = (0..1024).map(scattered_name).collect();
    let names = || names.iter().map(String::as_str);
    let mut out = Vec::new();
    let (found, pauses) = in_pieces!(PIECE_COST, |pace| project_in_pieces(
        &old,
        names(),
        &mut out,
        pace
    ));
    assert_eq!(found, Ok(1024));
    check_pauses("project", pauses, 1024 * 2048 + walk);

    let steps = (0..1000).fold(StepsBuilder::new(), |steps, index| {
        steps.write(scattered_name(index * 32), true)
    });
    check_operate(&old, &steps.clone(), PIECE_COST);
    let encoded = steps.read("none").finish().unwrap();
    let steps = Steps::parse(&encoded.codes, &encoded.arguments).unwrap();
    let (mut out, mut reads) = (Vec::new(), Reads::default());
    let target = (&mut out, &mut reads);
    let (effect, pauses) = in_pieces!(PIECE_COST, |pace| operate_in_pieces(
        &old, None, steps, target, pace
    ));
    assert!(matches!(effect, Ok(Effect::Written(_))));
    check_pauses("operate", pauses, 1000 * 2048 + walk);
}

#[test]
fn the_longest_values_pause_often_enough() {
    let length = CONTENT_LENGTH_BYTES_MAX - 64;
    for (value, cost) in [
        (Value::from(vec![0; length]), 0),
        (Value::from("x".repeat(length)), length * 4),
        (Value::list(vec![7.into(); length - 5]), length * 32),
    ] {
        let bytes = ContentBuilder::new()
            .bin("a", value)
            .finish_content()
            .unwrap();
        let (update, pauses) = in_pieces!(PIECE_COST, |pace| Update::parse_in_pieces(&bytes, pace));
        check_pauses("parse", pauses, cost);
        let update = update.unwrap();
        let mut out = Vec::new();
        let (_, pauses) = in_pieces!(PIECE_COST, |pace| replace_in_pieces(
            &update, &mut out, pace
        ));
        check_pauses("replace", pauses, length);
        assert_eq!(out, bytes);

        let old = Content::parse(&bytes).unwrap();
        let encoded = StepsBuilder::new().read("a").read_all();
        let encoded = encoded.write("b", 1).finish().unwrap();
        let steps = Steps::parse(&encoded.codes, &encoded.arguments).unwrap();
        let (mut out, mut reads) = (Vec::new(), Reads::default());
        let target = (&mut out, &mut reads);
        let (_, pauses) = in_pieces!(PIECE_COST, |pace| operate_in_pieces(
            &old, None, steps, target, pace
        ));
        // What two of them would be is refused before it is copied.
        check_pauses("operate", pauses, length);
    }
}
