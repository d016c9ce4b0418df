//! A stream of requests, as a node reads it.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corelith_wire::fuzzing::request_frames(bytes));
