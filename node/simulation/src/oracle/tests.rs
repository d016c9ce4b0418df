//! Histories made by hand, right and wrong, and random small ones against a checker that tries every order.

use corelith_io::SeededRandom;

use super::*;
use crate::subject::Stored;

const KEY: Key = Key(1);

/// A history being told to an oracle.
#[derive(Clone, Default)]
struct Tale {
    oracle: Oracle,
}

fn stored(value: u64, generation: u16) -> Answer {
    Answer::Found(Some(Stored {
        value: ValueId(value),
        generation,
    }))
}

const NOTHING: Answer = Answer::Found(None);

fn put(value: u64) -> Operation {
    Operation::Put(ValueId(value))
}

impl Tale {
    fn begin(&mut self, operation: Operation) -> Ticket {
        self.oracle.begin(KEY, operation)
    }

    fn end(&mut self, ticket: Ticket, answer: Answer) -> bool {
        self.oracle.end(KEY, ticket, answer).is_ok()
    }

    /// An operation on its own.
    fn tell(&mut self, operation: Operation, answer: Answer) -> bool {
        let ticket = self.begin(operation);
        self.end(ticket, answer)
    }

    /// Whether a get may be answered so now. Changes nothing.
    fn may_read(&self, answer: Answer) -> bool {
        let mut fork = Self {
            oracle: self.oracle.clone(),
        };
        fork.tell(Operation::Get, answer)
    }

    fn may_read_only(&self, answer: &Answer) -> bool {
        let all = [
            NOTHING,
            stored(1, 1),
            stored(2, 2),
            stored(2, 1),
            stored(3, 3),
            stored(3, 2),
        ];
        all.into_iter()
            .all(|other| self.may_read(other.clone()) == (other == *answer))
    }
}

#[test]
fn a_truncation_goes_before_or_after_what_was_under_way_with_it() {
    let mut tale = Tale::default();
    let (written, truncation) = (tale.begin(put(1)), tale.begin(Operation::Truncate));
    assert!(tale.end(written, Answer::Written(1)));
    assert!(tale.end(truncation, Answer::Truncated));
    assert!(tale.may_read(NOTHING) && tale.may_read(stored(1, 1)));
    // Of what had been acknowledged before, nothing is left.
    assert!(tale.tell(Operation::Truncate, Answer::Truncated));
    assert!(tale.may_read(NOTHING) && !tale.may_read(stored(1, 1)));
    assert!(tale.tell(put(2), Answer::Written(1)));
    tale.oracle.restart();
    assert!(tale.may_read(stored(2, 1)) && !tale.may_read(NOTHING));
}

#[test]
fn without_concurrency_it_is_a_plain_map() {
    let mut tale = Tale::default();
    assert!(tale.may_read_only(&NOTHING));
    assert!(tale.tell(put(1), Answer::Written(1)));
    assert!(tale.may_read_only(&stored(1, 1)));
    assert!(tale.tell(put(2), Answer::Written(2)));
    assert!(tale.may_read_only(&stored(2, 2)));
    assert!(tale.tell(Operation::Look, Answer::Seen(Some(2))));
    assert!(tale.tell(Operation::Delete, Answer::Deleted(true)));
    assert!(tale.may_read_only(&NOTHING));
    assert!(tale.tell(Operation::Delete, Answer::Deleted(false)));
    assert!(tale.tell(Operation::Look, Answer::Seen(None)));
}

#[test]
fn wrong_answers_without_concurrency_are_violations() {
    let told = |operation, answer| {
        let mut tale = Tale::default();
        assert!(tale.tell(put(1), Answer::Written(1)));
        tale.tell(operation, answer)
    };
    assert!(!told(Operation::Get, NOTHING));
    assert!(!told(Operation::Get, stored(9, 1)));
    assert!(!told(Operation::Get, Answer::Mangled("noise".into())));
    assert!(!told(Operation::Get, Answer::Unreadable("error".into())));
    assert!(!told(Operation::Look, Answer::Seen(None)));
    assert!(!told(put(2), Answer::Written(1)), "a generation twice");
    assert!(!told(Operation::Delete, Answer::Deleted(false)));
    assert!(!told(Operation::Create(ValueId(2)), Answer::Written(2)));
    assert!(told(Operation::Create(ValueId(2)), Answer::Refused));
    let put_if = |generation| Operation::PutIf {
        generation,
        value: ValueId(2),
    };
    assert!(told(put_if(1), Answer::Written(2)));
    assert!(!told(put_if(1), Answer::Refused));
    assert!(!told(put_if(2), Answer::Written(2)));
    assert!(told(put_if(2), Answer::Refused));
    assert!(told(put(2), Answer::NotDone("full".into())));
}

#[test]
fn an_acknowledged_write_survives_every_crash() {
    let mut tale = Tale::default();
    assert!(tale.tell(put(1), Answer::Written(1)));
    for _ in 0..3 {
        tale.oracle.restart();
        assert!(tale.may_read_only(&stored(1, 1)));
    }
    assert!(tale.tell(Operation::Delete, Answer::Deleted(true)));
    tale.oracle.restart();
    assert!(tale.may_read_only(&NOTHING), "no resurrection");
}

#[test]
fn a_write_cut_off_happened_or_did_not_and_the_first_reader_settles_it() {
    let mut tale = Tale::default();
    assert!(tale.tell(put(1), Answer::Written(1)));
    tale.begin(put(2));
    assert!(tale.may_read(stored(1, 1)) && tale.may_read(stored(2, 2)));
    tale.oracle.restart();
    assert!(tale.may_read(stored(1, 1)) && tale.may_read(stored(2, 2)));
    assert!(!tale.may_read(NOTHING));
    for seen in [stored(1, 1), stored(2, 2)] {
        let mut tale = Tale {
            oracle: tale.oracle.clone(),
        };
        assert!(tale.tell(Operation::Get, seen.clone()));
        assert!(tale.may_read_only(&seen));
        tale.oracle.restart();
        assert!(tale.may_read_only(&seen), "settled for good");
    }
}

#[test]
fn what_a_reader_has_seen_stays() {
    let mut tale = Tale::default();
    tale.begin(put(1));
    assert!(tale.tell(Operation::Get, stored(1, 1)));
    assert!(tale.may_read_only(&stored(1, 1)));
    tale.oracle.restart();
    assert!(
        tale.may_read_only(&stored(1, 1)),
        "no reader sees what a power cut takes back"
    );
}

#[test]
fn an_answer_that_rests_on_a_pending_write_makes_it_stay() {
    let mut tale = Tale::default();
    tale.begin(put(1));
    assert!(tale.tell(Operation::Create(ValueId(2)), Answer::Refused));
    tale.oracle.restart();
    assert!(tale.may_read_only(&stored(1, 1)));
    let mut tale = Tale::default();
    tale.begin(put(1));
    assert!(tale.tell(Operation::Delete, Answer::Deleted(true)));
    assert!(tale.may_read_only(&NOTHING));
}

#[test]
fn a_definite_error_never_takes_effect() {
    let mut tale = Tale::default();
    assert!(tale.tell(put(1), Answer::NotDone("full".into())));
    assert!(tale.may_read_only(&NOTHING));
    tale.oracle.restart();
    assert!(tale.may_read_only(&NOTHING));
    // Seen first, denied later.
    let mut tale = Tale::default();
    let denied = tale.begin(put(1));
    assert!(tale.tell(Operation::Get, stored(1, 1)));
    assert!(!tale.end(denied, Answer::NotDone("full".into())));
}

#[test]
fn a_doubtful_write_may_surface_until_something_newer_is_acknowledged() {
    let mut tale = Tale::default();
    assert!(tale.tell(put(1), Answer::Written(1)));
    assert!(tale.tell(put(2), Answer::InDoubt));
    assert!(tale.tell(Operation::Get, stored(1, 1)));
    assert!(tale.may_read(stored(2, 2)) && tale.may_read(stored(1, 1)));
    let mut surfaced = Tale {
        oracle: tale.oracle.clone(),
    };
    surfaced.oracle.restart();
    assert!(surfaced.tell(Operation::Get, stored(2, 2)));
    assert!(surfaced.may_read_only(&stored(2, 2)));
    let mut superseded = Tale {
        oracle: tale.oracle.clone(),
    };
    assert!(superseded.tell(put(3), Answer::Written(2)));
    assert!(superseded.may_read_only(&stored(3, 2)));
    superseded.oracle.restart();
    assert!(superseded.may_read_only(&stored(3, 2)));
    assert!(superseded.oracle.keys[&KEY].open.is_empty());
    let mut built_on = Tale {
        oracle: tale.oracle.clone(),
    };
    assert!(
        built_on.tell(put(3), Answer::Written(3)),
        "it happened, and this write knew"
    );
    assert!(built_on.may_read_only(&stored(3, 3)));
}

#[test]
fn doubtful_writes_settle_at_a_restart() {
    let mut tale = Tale::default();
    assert!(tale.tell(put(1), Answer::InDoubt));
    assert!(tale.tell(put(2), Answer::InDoubt));
    tale.oracle.restart();
    for answer in [NOTHING, stored(1, 1), stored(2, 1), stored(2, 2)] {
        assert!(tale.may_read(answer.clone()), "{answer}");
    }
    assert!(tale.tell(Operation::Get, NOTHING));
    tale.oracle.restart();
    assert!(tale.may_read_only(&NOTHING));
}

#[test]
fn the_number_of_open_writes_is_bounded_and_their_possibilities_can_be_followed() {
    let mut tale = Tale::default();
    for value in 1..=8 {
        assert!(tale.oracle.may_write(KEY));
        let ticket = tale.begin(put(value));
        if value % 2 == 0 {
            assert!(tale.end(ticket, Answer::InDoubt));
        }
    }
    assert!(!tale.oracle.may_write(KEY) && tale.oracle.may_write(Key(2)));
    for _ in 0..3 {
        tale.begin(Operation::Get);
    }
    assert!(tale.tell(Operation::Get, stored(7, 3)));
    tale.oracle.restart();
    assert!(tale.oracle.may_write(KEY));
    assert!(tale.may_read(stored(7, 3)) && tale.may_read(stored(8, 4)) && !tale.may_read(NOTHING));
}

/// Eight clients of one key, all with a write under way when the power failed, were 109,601 orders to the
/// oracle, more than it has room for; seed 678 of healthy drives met that. Their answers never come, so
/// all that counts is which have happened and which of them was the last.
#[test]
fn as_many_writes_as_may_be_open_can_be_cut_off_at_once() {
    let mut tale = Tale::default();
    for value in 1..=8 {
        tale.begin(put(value));
    }
    assert!(!tale.oracle.may_write(KEY));
    tale.oracle.restart();
    assert_eq!(tale.oracle.keys[&KEY].possible.len(), 1 + 8 * 8);
    assert!(tale.may_read(NOTHING) && tale.may_read(stored(1, 8)) && tale.may_read(stored(8, 1)));
    assert!(!tale.may_read(stored(1, 9)) && !tale.may_read(stored(9, 1)));
}

#[test]
fn readers_never_go_back() {
    let mut tale = Tale::default();
    assert!(tale.tell(put(1), Answer::Written(1)));
    let write = tale.begin(put(2));
    let slow = tale.begin(Operation::Get);
    assert!(tale.tell(Operation::Get, stored(1, 1)));
    assert!(tale.tell(Operation::Get, stored(2, 2)));
    assert!(
        !tale.may_read(stored(1, 1)),
        "a newer value was seen before this read began"
    );
    assert!(tale.end(write, Answer::Written(2)));
    assert!(
        tale.end(slow, stored(1, 1)),
        "it began before anyone saw the newer one"
    );
}

#[test]
fn concurrent_writes_take_either_order_and_generations_tell_which() {
    let both = || {
        let mut tale = Tale::default();
        let (first, second) = (tale.begin(put(1)), tale.begin(put(2)));
        (tale, first, second)
    };
    let (mut tale, first, second) = both();
    assert!(tale.end(first, Answer::Written(2)));
    assert!(tale.end(second, Answer::Written(1)));
    assert!(tale.may_read(stored(1, 2)) && !tale.may_read(stored(2, 1)));
    let (mut tale, first, second) = both();
    assert!(tale.end(first, Answer::Written(1)));
    assert!(!tale.end(second, Answer::Written(1)), "two firsts");
}

#[test]
fn only_one_of_two_conditional_writes_succeeds() {
    let mut tale = Tale::default();
    assert!(tale.tell(put(1), Answer::Written(1)));
    let put_if = |value| Operation::PutIf {
        generation: 1,
        value: ValueId(value),
    };
    let (first, second) = (tale.begin(put_if(2)), tale.begin(put_if(3)));
    assert!(tale.end(first, Answer::Written(2)));
    let mut other = Tale {
        oracle: tale.oracle.clone(),
    };
    assert!(tale.end(second, Answer::Refused));
    assert!(!other.end(second, Answer::Written(3)));
}

#[test]
fn scans_are_compared_with_what_must_and_may_be_there() {
    let mut oracle = Oracle::default();
    let told = |oracle: &mut Oracle, key, operation, answer| {
        let ticket = oracle.begin(Key(key), operation);
        oracle.end(Key(key), ticket, answer).unwrap();
    };
    told(&mut oracle, 1, put(1), Answer::Written(1));
    told(&mut oracle, 2, put(2), Answer::InDoubt);
    told(&mut oracle, 3, Operation::Get, NOTHING);
    oracle.restart();
    assert_eq!(oracle.check_keys(&[Key(1)]), Ok(()));
    assert_eq!(oracle.check_keys(&[Key(2), Key(1)]), Ok(()));
    assert!(oracle.check_keys(&[Key(1), Key(1)]).is_err(), "twice");
    assert!(oracle.check_keys(&[Key(2)]).is_err(), "key 1 is missing");
    assert!(
        oracle.check_keys(&[Key(1), Key(3)]).is_err(),
        "key 3 cannot be there"
    );
    assert!(
        oracle.check_keys(&[Key(1), Key(9)]).is_err(),
        "nobody wrote key 9"
    );
}

/// A life in which a write of key 1 is the one that gets lost, with `later` writes after it: of key 2, one
/// after the other, unless they are `concurrent`.
fn lossy(batches_harmed: u64, later: u64, concurrent: bool) -> Tale {
    let mut tale = Tale::default();
    tale.oracle.note_harm(batches_harmed);
    assert!(tale.tell(put(1), Answer::Written(1)));
    tale.oracle.restart();
    assert!(tale.tell(Operation::Get, stored(1, 1)));
    let begin = |tale: &mut Tale| {
        let values = (0..later).map(|number| put(100 + number));
        values
            .map(|value| tale.oracle.begin(Key(2), value))
            .collect::<Vec<_>>()
    };
    let early = if concurrent {
        begin(&mut tale)
    } else {
        Vec::new()
    };
    assert!(tale.tell(put(2), Answer::Written(2)));
    for number in 0..later {
        let ticket = match early.get(usize::try_from(number).unwrap()) {
            Some(ticket) => *ticket,
            None => tale.oracle.begin(Key(2), put(100 + number)),
        };
        let answer = Answer::Written(u16::try_from(number + 1).unwrap());
        tale.oracle.end(Key(2), ticket, answer).unwrap();
    }
    tale
}

#[test]
fn a_tolerated_loss_is_counted_and_only_where_nothing_that_is_left_vouches() {
    for (harmed, later) in [(1, 0), (4, 3)] {
        let mut tale = lossy(harmed, later, false);
        assert!(
            !tale.may_read(stored(1, 1)),
            "never in the life that acknowledged it"
        );
        assert!(tale.tell(Operation::Get, stored(2, 2)));
        tale.oracle.restart();
        assert!(tale.tell(Operation::Get, stored(1, 1)));
        assert_eq!(tale.oracle.totals().stale, 1);
        assert!(tale.may_read_only(&stored(1, 1)), "and then it stays lost");
        assert!(
            !tale.may_read(NOTHING),
            "what an earlier life has confirmed is never lost"
        );
        assert!(!tale.may_read(stored(9, 1)), "nobody wrote that");
    }
    // What was under way when it was acknowledged may be in older batches.
    let mut tale = lossy(1, 3, true);
    tale.oracle.restart();
    assert!(tale.may_read(stored(1, 1)));
    for (harmed, later) in [(0, 0), (1, 1), (4, 4)] {
        let mut tale = lossy(harmed, later, false);
        tale.oracle.restart();
        assert!(!tale.may_read(stored(1, 1)), "one that vouches is left");
    }
    // Another log vouches for nothing.
    let mut tale = lossy(1, 0, false);
    tale.oracle.set_log(Key(2), 1);
    for generation in 1..9 {
        let ticket = tale.oracle.begin(Key(2), put(100 + u64::from(generation)));
        let answer = Answer::Written(generation);
        tale.oracle.end(Key(2), ticket, answer).unwrap();
    }
    tale.oracle.restart();
    assert!(tale.may_read(stored(1, 1)));
    let mut tale = lossy(1, 0, false);
    tale.oracle.restart();
    assert!(tale.tell(Operation::Get, stored(2, 2)));
    tale.oracle.restart();
    assert!(
        !tale.may_read(stored(1, 1)),
        "it was confirmed after the restart"
    );
}

/// Seed 1803 of drives that harm data silently, with truncations: what a truncation that was cut off had emptied
/// was written again, that write was lost, and the key was taken to owe what stood there before the truncation.
#[test]
fn a_loss_leads_back_to_what_an_unacknowledged_delete_had_left() {
    for empties in [Operation::Delete, Operation::Truncate] {
        let mut tale = Tale::default();
        tale.oracle.note_harm(1);
        assert!(tale.tell(put(1), Answer::Written(1)));
        tale.oracle.restart();
        assert!(tale.tell(Operation::Get, stored(1, 1)));
        let _cut_off = tale.begin(empties);
        tale.oracle.restart();
        assert!(tale.tell(Operation::Get, NOTHING));
        assert!(tale.tell(put(3), Answer::Written(1)));
        tale.oracle.restart();
        assert!(tale.may_read(NOTHING) && tale.may_read(stored(3, 1)));
        assert!(
            !tale.may_read(stored(1, 1)),
            "a read has told that it is gone"
        );
        // A second write vouches for the first: then it is no loss that may be.
        assert!(tale.tell(Operation::Get, stored(3, 1)));
        tale.oracle.restart();
        assert!(!tale.may_read(NOTHING), "it was confirmed");
    }
}

/// Seed 2386 of drives that harm data silently, with truncations: the truncation of a key was lost, the older record
/// could not be read either, and a scan returned its key.
#[test]
fn a_scan_may_return_what_a_lost_delete_had_removed_if_it_cannot_be_read() {
    let key = Key(1);
    for (harmed, may) in [(0, false), (1, true)] {
        let mut tale = Tale::default();
        tale.oracle.note_harm(harmed);
        assert!(tale.tell(put(1), Answer::Written(1)));
        assert!(tale.tell(Operation::Truncate, Answer::Truncated));
        tale.oracle.restart();
        assert!(
            tale.oracle.check_keys(&[key]).is_err(),
            "no read has failed"
        );
        if harmed > 0 {
            assert!(tale.tell(Operation::Get, Answer::Unreadable("damaged".into())));
        }
        assert_eq!(tale.oracle.check_keys(&[key]).is_ok(), may);
        assert!(tale.oracle.check_keys(&[]).is_ok());
    }
    // One that vouches for the truncation is left.
    let mut tale = Tale::default();
    tale.oracle.note_harm(1);
    assert!(tale.tell(put(1), Answer::Written(1)));
    assert!(tale.tell(Operation::Truncate, Answer::Truncated));
    let other = tale.oracle.begin(Key(2), put(2));
    tale.oracle.end(Key(2), other, Answer::Written(1)).unwrap();
    tale.oracle.restart();
    assert!(tale.tell(Operation::Get, Answer::Unreadable("damaged".into())));
    assert!(tale.oracle.check_keys(&[key, Key(2)]).is_err());
}

/// Seed 3431 of drives that harm data silently: of two writes the later was answered first, and its loss
/// counted as the loss of the other too, which an earlier life had confirmed.
#[test]
fn concurrent_writes_are_lost_in_the_order_of_their_generations() {
    let mut tale = Tale::default();
    tale.oracle.note_harm(1);
    let (first, second) = (tale.begin(put(1)), tale.begin(put(2)));
    assert!(tale.end(second, Answer::Written(2)));
    assert!(tale.end(first, Answer::Written(1)));
    tale.oracle.restart();
    assert!(tale.tell(Operation::Get, stored(2, 2)));
    assert!(tale.tell(put(3), Answer::Written(3)));
    tale.oracle.restart();
    assert!(tale.may_read(stored(2, 2)) && !tale.may_read(stored(1, 1)));
}

/// Seed 6071 of drives that harm data silently: a put was answered after the delete that removed it, and
/// the later loss of another write counted as its loss too.
#[test]
fn a_delete_and_a_put_under_way_together_may_have_gone_either_way() {
    let mut tale = Tale::default();
    tale.oracle.note_harm(1);
    let (put_first, delete) = (tale.begin(put(1)), tale.begin(Operation::Delete));
    assert!(tale.end(delete, Answer::Deleted(true)));
    assert!(tale.end(put_first, Answer::Written(1)));
    tale.oracle.restart();
    assert!(tale.tell(Operation::Get, NOTHING));
    assert!(tale.tell(put(2), Answer::Written(1)));
    tale.oracle.restart();
    assert!(tale.may_read(NOTHING) && !tale.may_read(stored(1, 1)));
}

/// Seed 11580 of drives that harm data silently: a write that a cut had left torn was dropped by one start.
/// Then a fault took the footers that told so, and to the next start it was a damaged record.
#[test]
fn nobody_knows_which_generation_follows_a_damaged_one() {
    let damaged = || Answer::Unreadable("damaged".into());
    let told = |harmed, error: bool, answer| {
        let mut tale = Tale::default();
        tale.oracle.note_harm(harmed);
        tale.begin(put(1));
        tale.oracle.restart();
        assert!(tale.tell(Operation::Get, NOTHING));
        tale.oracle.restart();
        assert!(!error || tale.tell(Operation::Get, damaged()));
        (tale.tell(put(2), answer), tale)
    };
    let (is_right, healed) = told(1, true, Answer::Written(2));
    assert!(is_right && healed.may_read_only(&stored(2, 2)));
    assert_eq!(healed.oracle.totals().untold, 1);
    assert!(told(1, true, Answer::Written(1)).0);
    assert!(!told(1, false, Answer::Written(2)).0, "no error has told");
    assert!(!told(1, true, Answer::Refused).0, "a put is never refused");
    let (_, mut tale) = told(1, false, Answer::Written(1));
    assert!(tale.tell(Operation::Get, damaged()));
    assert!(!tale.may_read(NOTHING), "never an older version");
}

#[test]
fn an_accepted_loss_lets_a_key_hold_anything_that_was_ever_written_to_it() {
    let mut tale = Tale::default();
    tale.oracle.note_harm(1);
    assert!(tale.tell(put(1), Answer::Written(1)));
    assert!(tale.tell(put(2), Answer::Written(2)));
    let ticket = tale.oracle.begin(Key(2), put(3));
    tale.oracle.end(Key(2), ticket, Answer::Written(1)).unwrap();
    tale.oracle.restart();
    tale.oracle.lose_track(KEY);
    assert!(tale.tell(Operation::Get, Answer::Unreadable("damaged".into())));
    assert!(tale.oracle.is_untold(KEY));
    assert_eq!(tale.oracle.check_keys(&[Key(2)]), Ok(()));
    assert_eq!(tale.oracle.check_keys(&[Key(1), Key(2)]), Ok(()));
    for answer in [NOTHING, stored(1, 1), stored(2, 2)] {
        let mut told = Tale {
            oracle: tale.oracle.clone(),
        };
        assert!(told.tell(Operation::Get, answer.clone()));
        assert!(told.may_read_only(&answer), "and from then on it is told");
        assert!(!told.oracle.is_untold(KEY));
    }
    assert!(!tale.may_read(stored(3, 1)), "a value of another key");
    assert!(!tale.may_read(Answer::Mangled("noise".into())));
    assert_eq!(tale.oracle.totals().untold, 1);
}

#[test]
fn a_tolerated_error_says_nothing() {
    let mut tale = Tale::default();
    tale.oracle.set_tolerance(Tolerance {
        unreadable: true,
        batches_harmed: 0,
    });
    assert!(tale.tell(put(1), Answer::Written(1)));
    assert!(tale.tell(Operation::Get, Answer::Unreadable("medium".into())));
    assert!(tale.may_read_only(&stored(1, 1)));
    assert!(!tale.tell(Operation::Get, Answer::Mangled("noise".into())));
}

#[test]
fn a_violation_tells_its_story() {
    let mut tale = Tale::default();
    assert!(tale.tell(put(1), Answer::Written(1)));
    tale.oracle.restart();
    let ticket = tale.begin(Operation::Get);
    let violation = tale.oracle.end(KEY, ticket, NOTHING).unwrap_err();
    let text = violation.to_string();
    for part in [
        "key 1: get was answered: nothing there",
        "v1 g1",
        "put v1",
        "restart",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn totals_count_what_happened() {
    let mut tale = Tale::default();
    assert!(tale.tell(put(1), Answer::Written(1)));
    assert!(tale.tell(put(2), Answer::InDoubt));
    assert!(tale.tell(put(3), Answer::NotDone("full".into())));
    assert!(tale.tell(Operation::Create(ValueId(4)), Answer::Refused));
    tale.begin(put(5));
    tale.oracle.restart();
    assert!(tale.tell(Operation::Get, stored(5, 3)));
    assert!(tale.tell(Operation::Get, stored(5, 3)));
    let totals = tale.oracle.totals();
    let expected = Totals {
        reads: 2,
        writes: 1,
        refused: 1,
        not_done: 1,
        in_doubt: 1,
        cut_off: 1,
        surfaced: 1,
        ..Totals::default()
    };
    assert_eq!(totals, expected);
}

/// An answered operation of a history: when it began and ended.
#[derive(Clone, Debug)]
struct Call {
    begin: usize,
    end: usize,
    operation: Operation,
    answer: Answer,
}

/// Whether some order of the calls explains all answers: tries every one.
fn explainable(state: State, calls: &[Call]) -> bool {
    if calls.is_empty() {
        return true;
    }
    let first_end = calls.iter().map(|call| call.end).min().unwrap();
    (0..calls.len()).any(|next| {
        let call = &calls[next];
        let (state, answer) = possibility::meaning(call.operation, state);
        let mut rest = calls.to_vec();
        rest.remove(next);
        call.begin < first_end && answer == call.answer && explainable(state, &rest)
    })
}

fn random_answer(operation: Operation, random: &mut SeededRandom) -> Answer {
    let generation = u16::try_from(random.between(1, 3)).unwrap();
    let value = ValueId(random.between(1, 6));
    match operation {
        Operation::Get if random.below(5) == 0 => NOTHING,
        Operation::Get => Answer::Found(Some(Stored { value, generation })),
        Operation::Look => Answer::Seen((random.below(4) > 0).then_some(generation)),
        Operation::Put(_) => Answer::Written(generation),
        Operation::Delete => Answer::Deleted(random.coin()),
        Operation::Truncate => Answer::Truncated,
        Operation::Create(_) | Operation::PutIf { .. } => {
            if random.coin() {
                Answer::Refused
            } else {
                Answer::Written(generation)
            }
        }
    }
}

/// A history of six calls, up to three at once. Half are made by a real map, so that many are right.
fn random_history(random: &mut SeededRandom) -> Vec<Call> {
    let honest = random.coin();
    let mut state: State = None;
    let mut calls: Vec<Call> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut time = 0;
    while calls.len() < 6 || !open.is_empty() {
        time += 1;
        if calls.len() < 6 && open.len() < 3 && random.coin() {
            let value = ValueId(u64::try_from(calls.len()).unwrap() + 1);
            let generation = u16::try_from(random.between(1, 3)).unwrap();
            let operation = match random.below(7) {
                0 => Operation::Get,
                1 => Operation::Look,
                2 => Operation::Create(value),
                3 => Operation::PutIf { generation, value },
                4 => Operation::Delete,
                5 => Operation::Truncate,
                _ => Operation::Put(value),
            };
            let answer = if honest && random.below(8) > 0 {
                let (after, answer) = possibility::meaning(operation, state);
                state = after;
                answer
            } else {
                random_answer(operation, random)
            };
            open.push(calls.len());
            calls.push(Call {
                begin: time,
                end: usize::MAX,
                operation,
                answer,
            });
        } else if !open.is_empty() {
            let choice = usize::try_from(random.below(u64::try_from(open.len()).unwrap())).unwrap();
            calls[open.swap_remove(choice)].end = time;
        }
    }
    calls
}

#[test]
fn verdicts_agree_with_trying_every_order() {
    let mut random = SeededRandom::new(4, 1 << 40);
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..20_000 {
        let calls = random_history(&mut random);
        let mut oracle = Oracle::default();
        let mut tickets = vec![None; calls.len()];
        let last = calls.iter().map(|call| call.end).max().unwrap();
        let mut accepted = true;
        for time in 0..=last {
            for (number, call) in calls.iter().enumerate() {
                if call.begin == time {
                    tickets[number] = Some(oracle.begin(KEY, call.operation));
                }
                if call.end == time && accepted {
                    let ticket = tickets[number].unwrap();
                    accepted = oracle.end(KEY, ticket, call.answer.clone()).is_ok();
                }
            }
        }
        let expected = explainable(None, &calls);
        assert_eq!(accepted, expected, "{calls:#?}");
        if expected { right += 1 } else { wrong += 1 }
    }
    assert!(right > 2000 && wrong > 2000, "{right} right, {wrong} wrong");
}

/// A tale in which key 1 holds value 1, durably, and then value 2 by a buffered write.
fn buffered_tale() -> Tale {
    let mut tale = Tale::default();
    tale.oracle.expect_buffered();
    assert!(tale.tell(put(1), Answer::Written(1)));
    let ticket = tale.oracle.begin_as(KEY, (put(2), true));
    assert!(tale.end(ticket, Answer::Written(2)));
    tale
}

#[test]
fn a_crash_takes_a_buffered_write_back_or_does_not() {
    let mut tale = buffered_tale();
    // Until then it is there, for everybody.
    assert!(tale.may_read_only(&stored(2, 2)));
    tale.oracle.restart();
    assert!(tale.may_read(stored(1, 1)) && tale.may_read(stored(2, 2)));
    assert!(!tale.may_read(NOTHING));
    // What the first read found is what there is.
    assert!(tale.tell(Operation::Get, stored(1, 1)));
    assert!(tale.may_read_only(&stored(1, 1)));
    assert_eq!(tale.oracle.totals().taken_back, 1);
}

#[test]
fn what_vouches_for_a_buffered_write() {
    let vouchers: [fn(&mut Tale); 4] = [
        // A durable write of the same log, of another key even.
        |tale| {
            let ticket = tale.oracle.begin(Key(2), put(3));
            tale.oracle.end(Key(2), ticket, Answer::Written(1)).unwrap();
        },
        // A durable answer that rests on it.
        |tale| assert!(tale.tell(Operation::Create(ValueId(3)), Answer::Refused)),
        |tale| tale.oracle.note_settled(0),
        |tale| tale.oracle.note_all_settled(),
    ];
    for vouch in vouchers {
        let mut tale = buffered_tale();
        vouch(&mut tale);
        tale.oracle.restart();
        assert!(tale.may_read_only(&stored(2, 2)));
    }
    let strangers: [fn(&mut Tale); 3] = [
        // One of another log.
        |tale| {
            tale.oracle.set_log(Key(2), 7);
            let ticket = tale.oracle.begin(Key(2), put(3));
            tale.oracle.end(Key(2), ticket, Answer::Written(1)).unwrap();
        },
        // Another buffered one.
        |tale| {
            let ticket = tale.oracle.begin_as(Key(2), (put(3), true));
            tale.oracle.end(Key(2), ticket, Answer::Written(1)).unwrap();
        },
        // Whoever reads it.
        |tale| assert!(tale.tell(Operation::Get, stored(2, 2))),
    ];
    for look_on in strangers {
        let mut tale = buffered_tale();
        look_on(&mut tale);
        tale.oracle.restart();
        assert!(tale.may_read(stored(1, 1)) && tale.may_read(stored(2, 2)));
    }
}

#[test]
fn a_durable_write_that_was_under_way_does_not_vouch_for_a_later_one() {
    let mut tale = buffered_tale();
    let early = tale.oracle.begin(Key(2), put(3));
    let ticket = tale.oracle.begin_as(KEY, (put(4), true));
    assert!(tale.end(ticket, Answer::Written(3)));
    tale.oracle.end(Key(2), early, Answer::Written(1)).unwrap();
    tale.oracle.restart();
    assert!(tale.may_read(stored(2, 2)) && tale.may_read(stored(4, 3)));
    assert!(
        !tale.may_read(stored(1, 1)),
        "what came before it is durable"
    );
}

/// A value that expires at `expiry`.
fn put_until(value: u32, expiry: u32) -> Operation {
    Operation::Put(ValueId::new(value, expiry))
}

fn stored_until(value: u32, expiry: u32, generation: u16) -> Answer {
    Answer::Found(Some(Stored {
        value: ValueId::new(value, expiry),
        generation,
    }))
}

#[test]
fn a_value_is_there_until_it_expires_and_never_after() {
    let mut tale = Tale::default();
    tale.oracle.note_clock(0, 100);
    assert!(tale.tell(put_until(1, 200), Answer::Written(1)));
    tale.oracle.note_clock(0, 199);
    assert!(tale.may_read(stored_until(1, 200, 1)) && !tale.may_read(NOTHING));
    tale.oracle.note_clock(0, 200);
    assert!(!tale.may_read(stored_until(1, 200, 1)) && tale.may_read(NOTHING));
    assert!(tale.clone().tell(Operation::Delete, Answer::Deleted(false)));
    assert!(tale.tell(put(2), Answer::Written(1)), "it begins anew");
    assert!(tale.may_read(stored(2, 1)));
}

#[test]
fn what_was_hidden_by_a_wrong_clock_must_be_there_when_it_is_put_right() {
    let mut tale = Tale::default();
    tale.oracle.note_clock(0, 100);
    assert!(tale.tell(put(3), Answer::Written(1)));
    assert!(tale.tell(put_until(1, 200), Answer::Written(2)));
    tale.oracle.note_clock(0, 500);
    assert!(tale.may_read(NOTHING) && !tale.may_read(stored(3, 1)));
    tale.oracle.note_clock(0, 101);
    assert!(tale.may_read(stored_until(1, 200, 2)) && !tale.may_read(NOTHING));
}

#[test]
fn while_a_value_expires_an_operation_may_see_it_or_not() {
    let mut tale = Tale::default();
    tale.oracle.note_clock(0, 100);
    assert!(tale.tell(put_until(1, 200), Answer::Written(1)));
    let (get, write) = (tale.begin(Operation::Get), tale.begin(put(2)));
    tale.oracle.note_clock(0, 200);
    for generation in [1, 2] {
        let mut fork = tale.clone();
        assert!(fork.end(write, Answer::Written(generation)));
        assert!(fork.may_read(stored(2, generation)) && !fork.may_read(NOTHING));
        assert!(fork.end(get, NOTHING));
    }
    assert!(!tale.clone().end(write, Answer::Written(3)));
}
