//! Fuzz target: compressed messages, held against zlib.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::inflate(bytes));
