//! What holds for the filters on every codec: this crate's tests try its own, the engine's tests another,
//! and each with the other.
#![allow(
    clippy::unwrap_used,
    reason = "a helper of tests may fail as a test does"
)]

pub(crate) mod codes;
pub(crate) mod memory;
pub(crate) mod series;

use proptest::prelude::*;
use tidegate_proto::MessageKind;
use tidegate_proto::deflate::codec::{DeflateCodec, InflateCodec};
use tidegate_proto::deflate::{Deflater, DeflaterSettings, Inflater, RustDeflate, RustInflate};

/// Two codecs, one that compresses for the other.
pub(crate) trait Pair {
    type Deflate: DeflateCodec;
    type Inflate: InflateCodec;

    fn deflate(settings: DeflaterSettings) -> Self::Deflate;

    /// Follows a sender with such a window.
    fn inflate(window_bits: u8) -> Self::Inflate;

    fn deflater(level: u8, window_bits: u8, mem_level: u8) -> Deflater<Self::Deflate> {
        Deflater::with_codec(Self::deflate(DeflaterSettings {
            level,
            window_bits,
            mem_level,
        }))
    }

    fn inflater(window_bits: u8) -> Inflater<Self::Inflate> {
        Inflater::with_codec(Self::inflate(window_bits))
    }
}

/// The codecs of this crate.
pub(crate) struct Rust;

impl Pair for Rust {
    type Deflate = RustDeflate;
    type Inflate = RustInflate;

    fn deflate(settings: DeflaterSettings) -> RustDeflate {
        RustDeflate::new(settings)
    }

    fn inflate(_window_bits: u8) -> RustInflate {
        RustInflate::new()
    }
}

const KIND: MessageKind = MessageKind::Binary;

/// RFC 7692, 7.2.3.1.
pub(crate) const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// Messages of which some repeat, some are random, some are empty or larger than any window.
pub(crate) fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let repeated = (prop::collection::vec(any::<u8>(), 1..30), 1usize..400);
    let payload = prop_oneof![
        4 => "[a-e \"{}:,0-9]{0,300}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..3000),
        2 => repeated.prop_map(|(bytes, count)| bytes.repeat(count)),
        1 => (any::<u64>(), 30_000usize..100_000).prop_map(|(seed, size)| noise(seed, size)),
    ];
    prop::collection::vec(payload, 1..8)
}

/// Bytes that do not compress.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(size).collect()
}
