//! Fuzz target: what a proxy says before anything else.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::proxy(bytes));
