//! Fuzz target: offers of permessage-deflate, and answers to them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::offers(bytes));
