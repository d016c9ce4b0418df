//! Several steps on one record: each by itself, together against a plain model, and what is refused.

use corelith_record::{
    BinList, Content, ContentBuilder, ContentError, EditError, Effect, Kind, Operation, Reads,
    StepError, StepKind, Steps, StepsBuilder, StepsError, Value, limits, operate,
};
use proptest::prelude::*;

type Bins = Vec<(String, Value)>;

fn content_of(bins: &Bins) -> Vec<u8> {
    let builder = bins
        .iter()
        .fold(ContentBuilder::new(), |builder, (name, value)| {
            builder.bin(name, value.clone())
        });
    builder.finish_content().unwrap()
}

fn bins_of(content: &Content<'_>) -> Bins {
    let bins = content.bins().iter();
    bins.map(|bin| (bin.name().to_string(), bin.value().decode().to_value()))
        .collect()
}

/// What a list of steps does to a record without key.
#[derive(Debug, PartialEq)]
struct Done {
    effect: Effect,
    /// What the record holds afterwards; empty where nothing was written.
    bins: Bins,
    /// What each reading step saw.
    reads: Vec<Bins>,
}

fn run(old: &Bins, steps: &StepsBuilder) -> Result<Done, StepError> {
    let old = content_of(old);
    let old = Content::parse(&old).unwrap();
    let encoded = steps.finish().unwrap();
    let steps = Steps::parse(&encoded.codes, &encoded.arguments).unwrap();
    let (mut out, mut reads) = (b"before".to_vec(), Reads::default());
    let result = operate(&old, steps.key(), steps, &mut out, &mut reads);
    let written = out.strip_prefix(b"before").unwrap();
    let effect = match result {
        Ok(effect) => effect,
        Err(error) => {
            assert!(written.is_empty() && reads == Reads::default());
            return Err(error);
        }
    };
    assert_eq!(steps.is_write(), effect != Effect::Nothing);
    let bins = match effect {
        Effect::Written(bin_count) => {
            let content = Content::parse(written).unwrap();
            assert_eq!(content.bins().len(), bin_count);
            bins_of(&content)
        }
        Effect::Nothing | Effect::Touched => {
            assert!(written.is_empty());
            Bins::new()
        }
    };
    let list = BinList::parse(&reads.bins).unwrap();
    let mut seen = list.iter().map(|bin| {
        let value = bin.value().decode().to_value();
        (bin.name().to_string(), value)
    });
    let reads = reads
        .bin_counts
        .iter()
        .map(|bin_count| seen.by_ref().take(usize::from(*bin_count)).collect())
        .collect();
    assert_eq!(seen.next(), None);
    Ok(Done {
        effect,
        bins,
        reads,
    })
}

fn bins(bins: &[(&str, Value)]) -> Bins {
    bins.iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

#[test]
fn reads_see_the_writes_before_them() {
    let old = bins(&[("a", 1.into()), ("s", "x".into()), ("gone", true.into())]);
    let steps = StepsBuilder::new()
        .read("a")
        .add("a", 2)
        .read("a")
        .append("s", "yz")
        .prepend("s", "w")
        .append("s", "!")
        .read("s")
        .remove("gone")
        .read("gone")
        .write("new", 1.5)
        .read_metadata()
        .read_all();
    let done = run(&old, &steps).unwrap();
    let after = bins(&[("a", 3.into()), ("s", "wxyz!".into()), ("new", 1.5.into())]);
    assert_eq!(done.effect, Effect::Written(3));
    assert_eq!(done.bins, after);
    let expected = [
        bins(&[("a", 1.into())]),
        bins(&[("a", 3.into())]),
        bins(&[("s", "wxyz!".into())]),
        bins(&[("gone", Value::Nil)]),
        Bins::new(),
        after,
    ];
    assert_eq!(done.reads, expected);
}

#[test]
fn reads_alone_make_no_version_and_a_touch_makes_one_of_the_same() {
    let old = bins(&[("a", 1.into())]);
    let reads = StepsBuilder::new().read_all().read("b").read_metadata();
    assert_eq!(run(&old, &reads).unwrap().effect, Effect::Nothing);
    let touch = reads.touch();
    assert_eq!(run(&old, &touch).unwrap().effect, Effect::Touched);
    let written = run(&old, &touch.write("a", 1)).unwrap();
    assert_eq!((written.effect, written.bins), (Effect::Written(1), old));
}

#[test]
fn after_a_delete_the_record_begins_with_nothing() {
    let old = bins(&[("a", 1.into()), ("b", 2.into())]);
    let steps = StepsBuilder::new().read("a").delete();
    assert_eq!(run(&old, &steps).unwrap().effect, Effect::Written(0));
    let done = run(&old, &steps.add("b", 5).read_all()).unwrap();
    assert_eq!(done.bins, bins(&[("b", 5.into())]));
    assert_eq!(
        done.reads,
        [bins(&[("a", 1.into())]), bins(&[("b", 5.into())])]
    );
}

#[test]
fn an_edit_that_cannot_be_done_undoes_all() {
    let old = bins(&[("n", 1.into()), ("s", "x".into())]);
    let begin = StepsBuilder::new().add("n", 1).read("n");
    for (steps, operation, bin, operand) in [
        (
            begin.clone().add("s", 1),
            Operation::Add,
            Kind::String,
            Kind::Integer,
        ),
        (
            begin.clone().add("n", 1.0),
            Operation::Add,
            Kind::Integer,
            Kind::Double,
        ),
        (
            begin.clone().append("n", "x"),
            Operation::Append,
            Kind::Integer,
            Kind::String,
        ),
        (
            begin.clone().prepend("new", 1),
            Operation::Prepend,
            Kind::Nil,
            Kind::Integer,
        ),
        // The kind that counts is the one that the steps before have left.
        (
            begin.clone().write("s", 1).append("s", "x"),
            Operation::Append,
            Kind::Integer,
            Kind::String,
        ),
    ] {
        let step = u16::try_from(steps.len() - 1).unwrap();
        let error = EditError::WrongKind {
            operation,
            bin,
            operand,
        };
        assert_eq!(run(&old, &steps), Err(StepError { step, error }));
    }
    let wraps = run(&old, &begin.write("n", i64::MAX).add("n", 1).read("n")).unwrap();
    assert_eq!(wraps.reads[1], bins(&[("n", i64::MIN.into())]));
}

#[test]
fn a_record_that_grows_too_large_stays_as_it_was() {
    let half = Value::Bytes(vec![7; limits::CONTENT_LENGTH_BYTES_MAX / 2]);
    let old = bins(&[("b", half.clone())]);
    let error = run(&old, &StepsBuilder::new().append("b", half.clone())).unwrap_err();
    assert!(matches!(
        error.error,
        EditError::Content(ContentError::TooLarge { .. })
    ));
    // So does what would be read.
    let error = run(&old, &StepsBuilder::new().read("b").read("b")).unwrap_err();
    assert_eq!(error.step, 1);
}

#[test]
fn a_key_is_kept_or_given() {
    let old = ContentBuilder::new().key("old").bin("a", 1);
    let old = old.finish_content().unwrap();
    let old = Content::parse(&old).unwrap();
    let key_after = |steps: StepsBuilder| {
        let encoded = steps.finish().unwrap();
        let steps = Steps::parse(&encoded.codes, &encoded.arguments).unwrap();
        let mut out = Vec::new();
        operate(&old, steps.key(), steps, &mut out, &mut Reads::default()).unwrap();
        let content = Content::parse(&out).unwrap();
        content.key().map(|key| key.to_string())
    };
    let add = StepsBuilder::new().add("a", 1);
    assert_eq!(key_after(add.clone()).as_deref(), Some("\"old\""));
    assert_eq!(key_after(add.key("new")).as_deref(), Some("\"new\""));
    assert_eq!(key_after(StepsBuilder::new().delete().write("a", 1)), None);
}

#[test]
fn steps_that_are_none() {
    let encoded = |steps: StepsBuilder| steps.finish().unwrap();
    let one = encoded(StepsBuilder::new().write("a", 1));
    let check = |codes: &[u8], arguments: &[u8], expected| {
        assert_eq!(Steps::parse(codes, arguments), Err(expected));
    };
    check(&[], &[], StepsError::None);
    let codes = [2; limits::STEP_COUNT_MAX + 1];
    check(&codes, &[], StepsError::TooMany { found: 1025 });
    assert!(Steps::parse(&codes[1..], &[]).is_ok());
    check(&[2, 99], &[], StepsError::Unknown { step: 1, found: 99 });
    check(&[2, 16], &[], StepsError::BinMissing { step: 1 });
    check(&[1], &one.arguments, StepsError::ReadWithValue { step: 0 });
    check(&[2], &one.arguments, StepsError::BinsLeft { left: 1 });
    let mut broken = one.arguments.clone();
    broken.push(0);
    let trailing = ContentError::TrailingBytes { length_bytes: 1 };
    check(&one.codes, &broken, StepsError::Arguments(trailing));
    for length in 1..one.arguments.len() {
        assert!(BinList::parse(&one.arguments[..length]).is_err());
    }
    for code in 0..=u8::MAX {
        let kind = StepKind::from_code(code);
        assert_eq!(kind.map(StepKind::code), kind.map(|_| code));
    }
    assert!(StepKind::ALL.is_sorted_by_key(|kind| kind.code()));
}

#[test]
fn what_steps_need() {
    let need = |steps: StepsBuilder| {
        let encoded = steps.finish().unwrap();
        let steps = Steps::parse(&encoded.codes, &encoded.arguments).unwrap();
        (steps.is_write(), steps.need_content())
    };
    let new = StepsBuilder::new;
    assert_eq!(need(new().read_metadata()), (false, false));
    assert_eq!(need(new().read_metadata().read("a")), (false, true));
    assert_eq!(need(new().delete()), (true, false));
    assert_eq!(
        need(new().touch().delete().write("a", 1).read_all()),
        (true, false)
    );
    assert_eq!(need(new().write("a", 1)), (true, true));
    assert_eq!(need(new().touch()), (true, true));
}

/// The plainest thing that could do the same; `None` for steps that cannot be carried out.
fn model(old: &Bins, steps: &[(u8, usize, Value)]) -> Option<(Bins, Vec<Bins>)> {
    let (mut bins, mut reads) = (old.clone(), Vec::new());
    let place = |bins: &Bins, name: &str| bins.iter().position(|(found, _)| found == name);
    for (code, name, value) in steps {
        let name = format!("b{name}");
        let at = place(&bins, &name);
        let old = at.map_or(Value::Nil, |at| bins[at].1.clone());
        let new = match (code % 8, &old, value) {
            (0, ..) => {
                reads.push(vec![(name, old)]);
                continue;
            }
            (1, ..) => {
                reads.push(bins.clone());
                continue;
            }
            (2, ..) => {
                bins.clear();
                continue;
            }
            (3, ..) => Value::Nil,
            (4, ..) => value.clone(),
            (5, Value::Nil, Value::Integer(_)) => value.clone(),
            (5, Value::Integer(old), Value::Integer(new)) => old.wrapping_add(*new).into(),
            (6 | 7, Value::Nil, Value::String(_)) => value.clone(),
            (6, Value::String(old), Value::String(new)) => format!("{old}{new}").into(),
            (7, Value::String(old), Value::String(new)) => format!("{new}{old}").into(),
            _ => return None,
        };
        match (at, new) {
            (Some(at), Value::Nil) => drop(bins.remove(at)),
            (None, Value::Nil) => {}
            (Some(at), new) => bins[at].1 = new,
            (None, new) => bins.push((name, new)),
        }
    }
    Some((bins, reads))
}

/// The same without the order, which differs where a bin goes and comes again.
fn sorted(mut bins: Bins) -> Bins {
    bins.sort_by(|(left, _), (right, _)| left.cmp(right));
    bins
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from)
    ]
}

proptest! {
    #[test]
    fn many_steps_are_the_steps_one_by_one(
        old in prop::collection::btree_map(0..90_usize, value(), 0..80),
        mut steps in prop::collection::vec((any::<u8>(), 0..90_usize, value()), 1..60),
        is_wide in any::<bool>(),
    ) {
        // Few names meet each other often; many fill the hashed part.
        let narrow = |name: usize| if is_wide { name } else { name % 8 };
        let old: std::collections::BTreeMap<_, _> =
            old.into_iter().map(|(name, value)| (narrow(name), value)).collect();
        let old: Bins = old.into_iter().map(|(name, value)| (format!("b{name}"), value)).collect();
        for (_, name, _) in &mut steps {
            *name = narrow(*name);
        }
        // Leaves out what cannot be done, so that the rest goes on.
        let mut possible = Vec::new();
        for step in steps {
            possible.push(step);
            if model(&old, &possible).is_none() {
                possible.pop();
            }
        }
        prop_assume!(!possible.is_empty());
        let mut builder = StepsBuilder::new();
        for (code, name, value) in &possible {
            let (name, value) = (format!("b{name}"), value.clone());
            builder = match code % 8 {
                0 => builder.read(name),
                1 => builder.read_all(),
                2 => builder.delete(),
                3 => builder.remove(name),
                4 => builder.write(name, value),
                5 => builder.add(name, value),
                6 => builder.append(name, value),
                _ => builder.prepend(name, value),
            };
        }
        let (bins, reads) = model(&old, &possible).unwrap();
        let done = run(&old, &builder).unwrap();
        if done.effect != Effect::Nothing {
            prop_assert_eq!(sorted(done.bins), sorted(bins));
        }
        let found: Vec<Bins> = done.reads.into_iter().map(sorted).collect();
        let expected: Vec<Bins> = reads.into_iter().map(sorted).collect();
        prop_assert_eq!(found, expected);
    }
}
