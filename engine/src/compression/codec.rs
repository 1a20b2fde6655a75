//! The C library's streams as the codecs that the message rules work on: io has the library, and proto
//! the rules, and they do not know each other.

use tidegate_io::zlib;
use tidegate_proto::deflate::DeflaterSettings;
use tidegate_proto::deflate::codec::{Corrupt, DeflateCodec, InflateCodec, Inflated, Stop, Used};

/// zlib, compressing, in as little memory as the settings allow.
#[derive(Debug)]
pub(super) struct ZlibDeflate(zlib::Deflate);

impl ZlibDeflate {
    pub(super) fn new(settings: DeflaterSettings) -> Self {
        Self(zlib::Deflate::new(zlib_settings(settings)))
    }

    /// Heap bytes that such a codec holds, at all times.
    pub(super) const fn memory_with(settings: DeflaterSettings) -> usize {
        zlib_settings(settings).memory()
    }
}

const fn zlib_settings(settings: DeflaterSettings) -> zlib::DeflateSettings {
    zlib::DeflateSettings {
        level: settings.level,
        window_bits: settings.window_bits,
        mem_level: settings.mem_level,
    }
}

impl DeflateCodec for ZlibDeflate {
    fn deflate(&mut self, input: &[u8], output: &mut [u8]) -> Used {
        used(self.0.flush(input, output))
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

/// zlib, inflating, with a window as small as agreed.
#[derive(Debug)]
pub(super) struct ZlibInflate(zlib::Inflate);

impl ZlibInflate {
    pub(super) fn new(window_bits: u8) -> Self {
        Self(zlib::Inflate::new(window_bits))
    }

    /// Heap bytes that such a codec holds, at all times.
    pub(super) const fn memory_with(window_bits: u8) -> usize {
        zlib::Inflate::memory_with(window_bits)
    }
}

impl InflateCodec for ZlibInflate {
    fn inflate(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        stop: Stop,
    ) -> Result<Inflated, Corrupt> {
        let stop = match stop {
            Stop::StreamEnd => zlib::Stop::StreamEnd,
            Stop::Block => zlib::Stop::Block,
        };
        let inflated = self.0.inflate(input, output, stop);
        let inflated = inflated.map_err(|zlib::Corrupt| Corrupt)?;
        Ok(Inflated {
            used: used(inflated.used),
            ended: inflated.ended,
        })
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

const fn used(used: zlib::Used) -> Used {
    let zlib::Used { taken, made } = used;
    Used { taken, made }
}
