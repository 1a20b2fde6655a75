//! What permessage-deflate makes of messages, done by zlib itself and not by the engine's use of it.

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Method, Strategy};

use super::wire::{self, FIN};

/// The bit of a compressed message's first frame.
pub(crate) const RSV1: u8 = 0x40;

/// What every browser offers.
pub(crate) const OFFER: &str =
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits";

/// RFC 7692, 7.2.1: a flush ends in this, which is not sent.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Both windows of a client, kept from message to message.
pub(crate) struct Contexts {
    deflate: Deflate,
    inflate: Inflate,
}

impl std::fmt::Debug for Contexts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contexts").finish_non_exhaustive()
    }
}

impl Contexts {
    /// Windows that have seen nothing: of 32 KiB to receive with, and of 4 KiB to send with, which
    /// is the smallest that the server binds a client to.
    pub(crate) fn new() -> Self {
        let deflate = Deflate::new_with_config(DeflateConfig {
            level: 9,
            method: Method::Deflated,
            window_bits: -12,
            mem_level: 8,
            strategy: Strategy::Default,
        });
        let inflate = Inflate::new(false, 15);
        Self { deflate, inflate }
    }

    /// Compresses a message, which may refer to those before it.
    pub(crate) fn deflate(&mut self, payload: &[u8]) -> Vec<u8> {
        if payload.is_empty() {
            // RFC 7692, 7.2.3.6: what is left of an empty stored block.
            return vec![0x00];
        }
        let mut out = vec![0; payload.len() + payload.len() / 8 + 1024];
        let before = self.deflate.total_out();
        let flush = DeflateFlush::SyncFlush;
        let status = self.deflate.compress(payload, &mut out, flush);
        status.expect("its settings are right");
        let made = usize::try_from(self.deflate.total_out() - before).expect("small");
        assert!(made < out.len(), "there was room");
        out.truncate(made);
        assert!(out.ends_with(&TAIL));
        out.truncate(made - TAIL.len());
        out
    }

    /// Refers no more to what was sent, as a sender may at any message.
    pub(crate) fn forget_sent(&mut self) {
        self.deflate.reset();
    }

    /// Inflates a message of at most so many bytes.
    #[track_caller]
    pub(crate) fn inflate(&mut self, compressed: &[u8], size_max: usize) -> Vec<u8> {
        let mut input = compressed.to_vec();
        input.extend(TAIL);
        let mut out = vec![0; size_max + 64];
        let (taken, made) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self
            .inflate
            .decompress(&input, &mut out, InflateFlush::SyncFlush);
        status.expect("what the server compressed can be inflated");
        let taken = usize::try_from(self.inflate.total_in() - taken).expect("small");
        assert_eq!(taken, input.len(), "all of it");
        let made = usize::try_from(self.inflate.total_out() - made).expect("small");
        assert!(made <= size_max, "{made} bytes");
        out.truncate(made);
        out
    }
}

/// Compresses a message on its own.
pub(crate) fn deflated(payload: &[u8]) -> Vec<u8> {
    Contexts::new().deflate(payload)
}

/// A compressed message in one frame; `first` says which kind.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    wire::frame(first | RSV1, &deflated(payload))
}

/// The same bytes in frames of `size` bytes of a message that `first` begins.
pub(crate) fn fragments(first: u8, compressed: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let count = compressed.len().div_ceil(size).max(1);
    for (index, piece) in compressed.chunks(size).enumerate() {
        let head = if index == 0 {
            (first & !FIN) | RSV1
        } else {
            wire::CONTINUATION
        };
        let fin = if index + 1 == count { FIN } else { 0 };
        bytes.extend(wire::frame(head | fin, piece));
    }
    bytes
}

/// So many bytes that no compressor makes shorter, the same for the same seed.
pub(crate) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        // xorshift64*: enough for what only has to look random.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
