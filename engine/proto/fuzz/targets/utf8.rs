//! Fuzz target: text in pieces, held against the standard library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::utf8(bytes));
