//! Time: lets it pass in leaps, sets the wall clock now and then as daemons and dead batteries do, and gives the store its ticks. After
//! a step that no daemon makes, nothing may be removed for an hour.

use corelith_io::SeededRandom;

use crate::client::Desk;
use crate::subject::{Key, Subject};

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// What small steps may come to: a store that allows ten minutes takes no notice.
const SMALL_MS: i64 = 9 * 60_000;
/// How long a store must not remove anything after a large step.
const DOUBT_MS: u64 = HOUR_MS;

/// What is known of the clock.
struct Time {
    /// What small steps have come to since the store had a reason to accept them.
    drift_ms: i64,
    /// What large steps have come to: how far the wall clock is off.
    error_ms: i64,
    /// Until when by the monotonic clock nothing may be removed, and how much had been when that began.
    doubt: Option<(u64, u64)>,
}

/// Lets time pass until enough has, or a violation was found.
pub async fn run_time<S: Subject>(
    subject: S,
    desk: Desk,
    keys: Vec<Key>,
    mut random: SeededRandom,
) {
    let mut time = Time {
        drift_ms: 0,
        error_ms: 0,
        doubt: None,
    };
    for _ in 0..random.below(40) {
        desk.machine().sleep_ns(random.below(3_000_000)).await;
        if desk.violation.borrow().is_some() {
            return;
        }
        time.check(&subject, &desk);
        desk.note_clocks(&subject, &keys);
        match random.below(16) {
            0..=4 => time.pass(&desk, random.between(1, 5 * MINUTE_MS)),
            5..=8 => time.pass(&desk, random.between(10 * MINUTE_MS, 3 * HOUR_MS)),
            9 => time.pass(&desk, random.between(HOUR_MS, 40 * HOUR_MS)),
            10 | 11 => time.drift(&desk, &mut random),
            12 => time.step(&subject, &desk, &mut random),
            _ => {}
        }
        desk.note_clocks(&subject, &keys);
        if random.below(4) > 0 {
            subject.tick();
        }
        desk.note_clocks(&subject, &keys);
    }
    time.check(&subject, &desk);
}

impl Time {
    /// Nothing may have been removed since the clock became doubtful.
    fn check<S: Subject>(&mut self, subject: &S, desk: &Desk) {
        let Some((until_ms, removed)) = self.doubt else {
            return;
        };
        if monotonic_ms(desk) >= until_ms {
            self.doubt = None;
        } else if subject.expired_records() != removed {
            desk.note_removal_in_doubt();
        }
    }

    fn pass(&mut self, desk: &Desk, duration_ms: u64) {
        desk.machine()
            .note(|| format!("{} s pass", duration_ms / SECOND_MS));
        desk.machine().let_pass_ns(duration_ms * 1_000_000);
    }

    /// A small step, as a time daemon makes. All of them together stay small, since none of them has been told.
    fn drift(&mut self, desk: &Desk, random: &mut SeededRandom) {
        let target = i64::try_from(random.below(SMALL_MS.unsigned_abs())).unwrap_or(0);
        let by_ms = target - self.drift_ms;
        self.drift_ms = target;
        self.set(desk, by_ms);
    }

    /// A step that is none: by an hour at least, or back to what is right.
    fn step<S: Subject>(&mut self, subject: &S, desk: &Desk, random: &mut SeededRandom) {
        let size_ms = random.between(HOUR_MS, 100 * HOUR_MS);
        let size_ms = i64::try_from(size_ms).unwrap_or(0);
        let by_ms = match (self.error_ms, random.coin()) {
            (0, true) => size_ms,
            (0, false) => -size_ms,
            (error_ms, _) => -error_ms,
        };
        self.error_ms += by_ms;
        self.set(desk, by_ms);
        // Of what is on its way nothing is removed from here on: the store looks before each step.
        self.doubt = Some((monotonic_ms(desk) + DOUBT_MS, subject.expired_records()));
    }

    fn set(&self, desk: &Desk, by_ms: i64) {
        let wall_ms = desk.machine().clock().wall_ms();
        desk.machine()
            .note(|| format!("the clock is set by {} s", by_ms / 1000));
        desk.machine()
            .set_wall_ms(wall_ms.saturating_add_signed(by_ms));
    }
}

fn monotonic_ms(desk: &Desk) -> u64 {
    desk.machine().clock().monotonic_ns() / 1_000_000
}
