//! Fuzz target: frame headers, read and written.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::header(bytes));
