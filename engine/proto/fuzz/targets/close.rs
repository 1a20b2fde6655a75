//! Fuzz target: bodies of close frames, and both halves of the close handshake.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::close(bytes));
