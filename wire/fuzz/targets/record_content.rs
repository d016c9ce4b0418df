//! The bins of a record, as a peer or a device has them.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| corelith_record::fuzzing::fuzz_content(bytes));
