//! Fuzz target: heads of requests, as a server reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidegate_fuzz::request(bytes));
