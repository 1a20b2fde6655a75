//! The codec that this crate brings along: zlib-rs, through its safe interface.

use std::fmt;

use zlib_rs::{
    Deflate, DeflateConfig, DeflateFlush, Inflate, InflateFlush, Method, Status, Strategy,
};

use super::codec::{Corrupt, DeflateCodec, InflateCodec, Inflated, Stop, Used};
use super::{DeflaterSettings, WINDOW_BITS_MAX};

/// zlib-rs, compressing.
pub struct RustDeflate {
    deflate: Deflate,
    settings: DeflaterSettings,
}

impl RustDeflate {
    /// A codec that has seen nothing.
    ///
    /// # Panics
    /// When a setting is out of its range.
    #[must_use]
    pub fn new(settings: DeflaterSettings) -> Self {
        settings.check();
        let deflate = Deflate::new_with_config(DeflateConfig {
            level: settings.level.into(),
            method: Method::Deflated,
            // Negative: a raw stream, without the header and checksum of zlib.
            window_bits: -i32::from(settings.window_bits),
            mem_level: settings.mem_level.into(),
            strategy: Strategy::Default,
        });
        Self { deflate, settings }
    }

    /// Heap bytes held, the same at all times.
    #[must_use]
    pub const fn memory(&self) -> usize {
        let window = 1 << self.settings.window_bits;
        let symbols = 1 << (self.settings.mem_level + 6);
        // The window twice, and a link for each of its bytes; then pending output and symbols.
        STATE_SIZE + HASH_SIZE + 2 * window + 2 * window + 4 * symbols + 3 * symbols
    }
}

impl DeflateCodec for RustDeflate {
    fn deflate(&mut self, input: &[u8], output: &mut [u8]) -> Used {
        let before = (self.deflate.total_in(), self.deflate.total_out());
        let status = self
            .deflate
            .compress(input, output, DeflateFlush::SyncFlush);
        status.expect("its settings are right and the stream has not ended");
        used(before, (self.deflate.total_in(), self.deflate.total_out()))
    }

    fn reset(&mut self) {
        self.deflate.reset();
    }
}

impl fmt::Debug for RustDeflate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("RustDeflate");
        debug
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// zlib-rs, inflating, with the largest window: it can have no smaller one.
pub struct RustInflate {
    inflate: Inflate,
}

impl RustInflate {
    /// Heap bytes that one of them holds, at all times.
    pub const SIZE: usize = INFLATE_SIZE;

    /// A codec that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        let inflate = Inflate::new(false, WINDOW_BITS_MAX);
        Self { inflate }
    }
}

impl Default for RustInflate {
    fn default() -> Self {
        Self::new()
    }
}

impl InflateCodec for RustInflate {
    fn inflate(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        stop: Stop,
    ) -> Result<Inflated, Corrupt> {
        let flush = match stop {
            Stop::StreamEnd => InflateFlush::NoFlush,
            Stop::Block => InflateFlush::Block,
        };
        let before = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(input, output, flush);
        let ended = status.map_err(|_| Corrupt)? == Status::StreamEnd;
        let after = (self.inflate.total_in(), self.inflate.total_out());
        Ok(Inflated {
            used: used(before, after),
            ended,
        })
    }

    fn reset(&mut self) {
        self.inflate.reset(false);
    }
}

impl fmt::Debug for RustInflate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RustInflate")
            .finish_non_exhaustive()
    }
}

/// How far the counters of a stream have moved during one call; it fits, for slices do.
fn used(before: (u64, u64), after: (u64, u64)) -> Used {
    let difference = |before: u64, after: u64| {
        usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
    };
    Used {
        taken: difference(before.0, after.0),
        made: difference(before.1, after.1),
    }
}

/// The heads of the chains of equal strings: zlib-rs has 65,536 of them for any window.
const HASH_SIZE: usize = 2 * 65_536;

/// Codes, counters and alignment, measured on x86-64.
const STATE_SIZE: usize = 3_200;

/// What one inflating codec holds, measured: its state, and the largest window whatever it was asked for.
const INFLATE_SIZE: usize = 47_552;
