//! What work on the widest and the longest records takes: at once, and its longest piece. Run it in release:
//!
//! ```sh
//! cargo run --release -p corelith-record --example pieces
//! ```

use std::cell::Cell;
use std::error::Error;
use std::fmt::Display;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use corelith_record::limits::{BIN_COUNT_MAX, CONTENT_LENGTH_BYTES_MAX};
use corelith_record::{
    Content, ContentBuilder, Pace, Reads, Steps, StepsBuilder, Update, Value, merge,
    merge_in_pieces, operate, operate_in_pieces, project, project_in_pieces, replace,
    replace_in_pieces,
};

/// Times that each measurement is taken. Of work at once the median is shown; of pieces the least of the
/// longest, since among hundreds of them one is always held up by somebody else on the CPU.
const ROUNDS: usize = 15;

#[expect(
    clippy::disallowed_methods,
    reason = "the crate measured has no clock of its own"
)]
fn now() -> Instant {
    Instant::now()
}

/// How long work takes that runs at once.
fn at_once<T>(work: impl FnOnce() -> T) -> Duration {
    let begin = now();
    drop(std::hint::black_box(work()));
    begin.elapsed()
}

/// The longest time between pauses of work in pieces.
fn longest_piece<T>(work: impl Future<Output = T>) -> Duration {
    let mut work = pin!(work);
    let mut context = Context::from_waker(Waker::noop());
    let mut longest = Duration::ZERO;
    loop {
        let begin = now();
        let polled = work.as_mut().poll(&mut context);
        longest = longest.max(begin.elapsed());
        if polled.is_ready() {
            return longest;
        }
    }
}

async fn pause() {
    let paused = Cell::new(false);
    poll_fn(|_| match paused.replace(true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

/// A pace that gives the hand back to [`longest_piece`].
fn pace() -> Pace<impl AsyncFnMut()> {
    Pace::new(pause)
}

fn median(mut take: impl FnMut() -> Duration) -> Duration {
    let mut taken: Vec<Duration> = std::iter::repeat_with(&mut take).take(ROUNDS).collect();
    taken.sort_unstable();
    taken.get(ROUNDS / 2).copied().unwrap_or_default()
}

fn least(take: impl FnMut() -> Duration) -> Duration {
    let taken = std::iter::repeat_with(take).take(ROUNDS);
    taken.min().unwrap_or_default()
}

#[expect(clippy::print_stdout, reason = "the measurement's result")]
fn show(what: impl Display, at_once: Duration, piece: Duration) {
    println!(
        "{what:44} {:>9.1} us at once {:>9.1} us the longest piece",
        at_once.as_secs_f64() * 1e6,
        piece.as_secs_f64() * 1e6
    );
}

fn name(index: u32) -> String {
    format!("n{:08x}", index.wrapping_mul(0x9e37_79b1))
}

fn wide(indices: impl Iterator<Item = u32>, value: &Value) -> ContentBuilder {
    indices.fold(ContentBuilder::new(), |builder, index| {
        builder.bin(name(index), value.clone())
    })
}

fn measure_merges(what: &str, old: &[u8], update: &[u8]) -> Result<(), Box<dyn Error>> {
    show(
        format!("{what}: parse"),
        median(|| at_once(|| Update::parse(update))),
        least(|| longest_piece(async { Update::parse_in_pieces(update, &mut pace()).await })),
    );
    show(
        format!("{what}: parse as stored"),
        median(|| at_once(|| Content::from_stored(old))),
        least(|| longest_piece(async { Content::from_stored_in_pieces(old, &mut pace()).await })),
    );
    let (old, update) = (Content::parse(old)?, Update::parse(update)?);
    show(
        format!("{what}: merge"),
        median(|| at_once(|| merge(&old, &update, &mut Vec::new()))),
        least(|| {
            longest_piece(async {
                merge_in_pieces(&old, &update, &mut Vec::new(), &mut pace()).await
            })
        }),
    );
    show(
        format!("{what}: replace"),
        median(|| at_once(|| replace(&update, &mut Vec::new()))),
        least(|| {
            longest_piece(async { replace_in_pieces(&update, &mut Vec::new(), &mut pace()).await })
        }),
    );
    let names: Vec<String> = (0..1024).map(name).collect();
    let names = || names.iter().map(String::as_str);
    show(
        format!("{what}: project 1,024 names"),
        median(|| at_once(|| project(&old, names(), &mut Vec::new()))),
        least(|| {
            longest_piece(async {
                project_in_pieces(&old, names(), &mut Vec::new(), &mut pace()).await
            })
        }),
    );
    let steps = (0..1023).fold(StepsBuilder::new(), |steps, index| {
        steps.write(name(index * 65), 1)
    });
    let encoded = steps.read_all().finish()?;
    let steps = Steps::parse(&encoded.codes, &encoded.arguments)?;
    show(
        format!("{what}: operate, 1,024 steps"),
        median(|| at_once(|| operate(&old, None, steps, &mut Vec::new(), &mut Reads::default()))),
        least(|| {
            longest_piece(async {
                let (mut out, mut reads) = (Vec::new(), Reads::default());
                let target = (&mut out, &mut reads);
                operate_in_pieces(&old, None, steps, target, &mut pace()).await
            })
        }),
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let count = u32::from(BIN_COUNT_MAX);
    let old = wide(0..count, &7.into());
    show(
        "32,767 names sorted: build",
        median(|| at_once(|| old.finish_content())),
        Duration::ZERO,
    );
    let old = old.finish_content()?;
    measure_merges("32,767 bins, in order", &old, &old)?;
    let backwards = wide((0..count).rev(), &8.into()).finish_update()?;
    measure_merges("32,767 bins, backwards", &old, &backwards)?;
    let some = wide((0..count).filter(|index| index % 2 == 0), &7.into()).finish_content()?;
    let changes = (0..count).rev().filter(|index| index % 3 != 0);
    let deletes = wide(changes, &Value::Nil).bin("one", 1).finish_update()?;
    measure_merges("16,384 bins, many deleted", &some, &deletes)?;

    let length = CONTENT_LENGTH_BYTES_MAX - 64;
    for (what, value) in [
        ("8 MiB of bytes", Value::from(vec![0; length])),
        ("8 MiB of ASCII", Value::from("x".repeat(length))),
        ("8 MiB of text", Value::from("\u{e4}".repeat(length / 2))),
        ("8 MiB of numbers", Value::list(vec![7.into(); length - 5])),
        (
            "8 MiB of empty lists",
            Value::list(vec![Value::list(Vec::new()); length - 5]),
        ),
    ] {
        let bytes = ContentBuilder::new().bin("a", value).finish_content()?;
        let small = ContentBuilder::new().bin("b", 1).finish_update()?;
        let (old, small) = (Content::parse(&bytes)?, Update::parse(&small)?);
        show(
            format!("{what}: parse"),
            median(|| at_once(|| Update::parse(&bytes))),
            least(|| longest_piece(async { Update::parse_in_pieces(&bytes, &mut pace()).await })),
        );
        show(
            format!("{what}: merge"),
            median(|| at_once(|| merge(&old, &small, &mut Vec::new()))),
            least(|| {
                longest_piece(async {
                    merge_in_pieces(&old, &small, &mut Vec::new(), &mut pace()).await
                })
            }),
        );
    }
    Ok(())
}
