//! Fuzz target: what is deflated is inflated, by us and by zlib.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::deflate(bytes));
