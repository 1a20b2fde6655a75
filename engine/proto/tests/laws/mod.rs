//! The laws of the protocol, each a function that panics when it is broken.
//!
//! The tests beside this folder call them with what proptest makes up, the fuzz targets in
//! `../../fuzz` with what libFuzzer does, and `seeds.rs` with each file that a fuzz target starts from.
#![allow(dead_code, reason = "each test file uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    reason = "a law may fail as a test does, for it is a part of one"
)]

pub(crate) mod choices;
pub(crate) mod closes;
pub(crate) mod cuts;
pub(crate) mod deflates;
pub(crate) mod frames;
pub(crate) mod inputs;
pub(crate) mod masks;
pub(crate) mod offers;
pub(crate) mod proxies;
pub(crate) mod requests;
pub(crate) mod responses;
pub(crate) mod talks;
pub(crate) mod texts;
