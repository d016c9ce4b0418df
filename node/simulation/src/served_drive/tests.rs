//! Drives that are driven from outside, their power cuts, and journals that tell it again.

use super::journal::{JournalError, RecordedDrive, replay};
use super::*;

const BLOCK: usize = 4096;

fn config(seed: u64) -> ServedConfig {
    ServedConfig {
        seed,
        size_bytes: 1 << 20,
        logical_block_bytes: 4096,
    }
}

fn write(block: u64, byte: u8) -> Input {
    Input::Request(Request::Write {
        offset: block * 4096,
        bytes: vec![byte; BLOCK],
    })
}

fn read(block: u64) -> Input {
    Input::Request(Request::Read {
        offset: block * 4096,
        length_bytes: 4096,
    })
}

/// Takes an input and steps until everything is answered.
fn settle(drive: &mut ServedDrive, input: Input) -> Vec<Answered> {
    let mut answered = drive.take(input);
    while drive.pending_count() > 0 {
        answered.extend(drive.take(Input::Step));
    }
    answered
}

fn answer_of(drive: &mut ServedDrive, input: Input) -> Answer {
    let mut answered = settle(drive, input);
    assert_eq!(answered.len(), 1, "{answered:?}");
    answered.remove(0).1
}

/// The first byte of a block after a power cut and a new start.
fn byte_after_cut(drive: &mut ServedDrive, block: u64) -> u8 {
    drive.take(Input::PowerCut);
    drive.take(Input::PowerOn);
    match answer_of(drive, read(block)) {
        Answer::Bytes(bytes) => bytes[0],
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_flushed_survives_every_cut_and_what_was_not_some() {
    let mut unflushed = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let mut drive = ServedDrive::new(config(seed)).unwrap();
        assert_eq!(answer_of(&mut drive, write(1, 11)), Answer::Done);
        assert_eq!(
            answer_of(&mut drive, Input::Request(Request::Flush)),
            Answer::Done
        );
        assert_eq!(byte_after_cut(&mut drive, 1), 11, "seed {seed}");
        answer_of(&mut drive, write(1, 12));
        unflushed.insert(byte_after_cut(&mut drive, 1));
    }
    assert_eq!(unflushed.into_iter().collect::<Vec<_>>(), [11, 12]);
}

#[test]
fn a_forgetful_drive_loses_what_it_said_was_durable() {
    let lost = (0..40).filter(|&seed| {
        let mut drive = ServedDrive::new(config(seed)).unwrap();
        drive.take(Input::Honesty(Honesty::Forgetful));
        answer_of(&mut drive, write(1, 11));
        let flushed = answer_of(&mut drive, Input::Request(Request::Flush));
        assert_eq!(flushed, Answer::Done);
        byte_after_cut(&mut drive, 1) == 0
    });
    assert!(lost.count() > 5);
}

#[test]
fn nothing_works_without_power_and_what_was_under_way_fails() {
    let mut drive = ServedDrive::new(config(1)).unwrap();
    assert_eq!(drive.take(write(3, 1)), []);
    let cut = drive.take(Input::PowerCut);
    assert_eq!(cut, [(1, Answer::Failed(Errno::EIO))]);
    assert_eq!(drive.last_cut().unwrap().in_flight, 1);
    for (number, input) in [
        (2, read(0)),
        (3, write(0, 1)),
        (4, Input::Request(Request::Flush)),
    ] {
        assert_eq!(drive.take(input), [(number, Answer::Failed(Errno::EIO))]);
    }
    drive.take(Input::PowerOn);
    assert!(matches!(answer_of(&mut drive, read(0)), Answer::Bytes(_)));
}

#[test]
fn what_no_device_takes_is_refused() {
    let mut drive = ServedDrive::new(config(1)).unwrap();
    let odd = Request::Read {
        offset: 512,
        length_bytes: 4096,
    };
    let outside = Request::Read {
        offset: 1 << 20,
        length_bytes: 4096,
    };
    let long = Request::Read {
        offset: 0,
        length_bytes: 2 << 20,
    };
    for request in [odd, outside, long] {
        let answer = answer_of(&mut drive, Input::Request(request));
        assert_eq!(answer, Answer::Failed(Errno::EINVAL));
    }
    for wrong in [
        ServedConfig {
            size_bytes: 4097,
            ..config(1)
        },
        ServedConfig {
            logical_block_bytes: 1024,
            ..config(1)
        },
    ] {
        assert!(matches!(
            ServedDrive::new(wrong),
            Err(JournalError::Config(_))
        ));
    }
}

#[test]
fn faults_strike_once() {
    let mut drive = ServedDrive::new(config(1)).unwrap();
    drive.take(Input::Fault(Fault::ReadError));
    assert!(matches!(answer_of(&mut drive, read(0)), Answer::Failed(_)));
    assert!(matches!(answer_of(&mut drive, read(0)), Answer::Bytes(_)));
}

/// A run with every kind of input, and its journal.
fn recorded(seed: u64, cuts: u8) -> (Vec<u8>, u64, Vec<u8>) {
    let mut journal = Vec::new();
    let mut drive = RecordedDrive::new(config(seed), &mut journal).unwrap();
    for cut in 0..cuts {
        let inputs = [
            Input::Mark(format!("cycle {cut}")),
            write(1, cut),
            write(2, cut),
            Input::Request(Request::Flush),
            Input::Step,
            Input::Step,
            Input::Step,
            Input::Request(Request::Discard {
                offset: 8192,
                length_bytes: 4096,
            }),
            Input::Honesty(Honesty::Forgetful),
            Input::Fault(Fault::WriteError),
            write(1, 100 + cut),
            write(3, cut),
            Input::Step,
            read(3),
            Input::Step,
            Input::Honesty(Honesty::Honest),
            Input::PowerCut,
            write(4, 1),
            Input::PowerOn,
        ];
        for input in inputs {
            drive.take(input).unwrap();
        }
    }
    let (fingerprint, image) = (drive.drive().fingerprint(), image(drive.drive()));
    drop(drive);
    (journal, fingerprint, image)
}

fn image(drive: &ServedDrive) -> Vec<u8> {
    let mut image = vec![0; 1 << 20];
    drive.inspect(DeviceOffset::new(0), &mut image);
    image
}

#[test]
fn a_replay_is_the_run() {
    for seed in 0..20 {
        let (journal, fingerprint, expected) = recorded(seed, 3);
        let mut marks = Vec::new();
        let (found, drive) = replay(&mut journal.as_slice(), None, |cut, input| {
            if let Input::Mark(text) = input {
                marks.push((cut, text.clone()));
            }
        })
        .unwrap();
        assert_eq!(found, config(seed));
        assert_eq!(drive.fingerprint(), fingerprint);
        assert!(image(&drive) == expected, "seed {seed}: another image");
        let named = |cut: u64| (cut, format!("cycle {cut}"));
        assert_eq!(marks, [named(0), named(1), named(2)]);
    }
}

#[test]
fn a_replay_stops_at_the_cut_that_is_asked_for() {
    let (journal, ..) = recorded(5, 3);
    let (once, fingerprint, _) = recorded(5, 1);
    // The shorter run goes on with one more write, which finds no power, and the power's return.
    let (_, short) = replay(&mut once.as_slice(), Some(1), |_, _| {}).unwrap();
    let (_, long) = replay(&mut journal.as_slice(), Some(1), |_, _| {}).unwrap();
    assert!(image(&short) == image(&long));
    assert_eq!(short.fingerprint(), long.fingerprint());
    assert_eq!(long.fingerprint(), fingerprint);
}

#[test]
fn a_journal_that_ends_early_is_replayed_as_far_as_it_goes() {
    let (journal, ..) = recorded(7, 2);
    for length in (28..journal.len()).step_by(997) {
        replay(&mut &journal[..length], None, |_, _| {}).unwrap();
    }
}

#[test]
fn another_run_and_damage_are_told() {
    let (journal, ..) = recorded(7, 1);
    let mut other_seed = journal.clone();
    other_seed[8] ^= 1;
    let replayed = replay(&mut other_seed.as_slice(), None, |_, _| {});
    assert!(matches!(
        replayed,
        Err(JournalError::Diverged { cut: 1, .. })
    ));
    let mut no_journal = journal.clone();
    no_journal[0] ^= 1;
    let replayed = replay(&mut no_journal.as_slice(), None, |_, _| {});
    assert!(matches!(replayed, Err(JournalError::Magic)));
    let mut unknown = journal;
    unknown[28] = 200;
    let replayed = replay(&mut unknown.as_slice(), None, |_, _| {});
    assert!(matches!(replayed, Err(JournalError::Tag(200))));
}
