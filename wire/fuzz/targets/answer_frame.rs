//! A stream of answers, as a client reads it.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corelith_wire::fuzzing::answer_frames(bytes));
