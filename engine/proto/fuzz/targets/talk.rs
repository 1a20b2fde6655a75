//! Fuzz target: a server half and a client half that talk to each other.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::talk(bytes));
