//! Fuzz target: a session, either half, for every cut of its input.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::inbound(bytes));
