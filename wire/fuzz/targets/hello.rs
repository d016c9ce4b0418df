//! The first frame of a connection, from both sides.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corelith_wire::fuzzing::hello(bytes));
