//! Messages to compressed messages (RFC 7692, 7.2.1).

use super::codec::DeflateCodec;
use super::{RustDeflate, TAIL, WINDOW_BITS_MAX, WINDOW_BITS_MIN};

/// Messages of fewer bytes are better sent as they are.
///
/// Without a context even a message of 16 bytes costs two microseconds, for the table of earlier
/// strings is cleared each time, and there is little in it to refer to: some tens of bytes are saved at
/// best, beside the 40 that TCP and IP spend on the segment.
pub const DEFLATE_SIZE_MIN: usize = 128;

/// How hard a [`Deflater`] tries, and with how much memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflaterSettings {
    /// 1, fastest, to 9, smallest.
    pub level: u8,
    /// How far back it may refer, as a power of two: 9 to 15, and no more than the agreement says.
    pub window_bits: u8,
    /// How much memory its queues get: 1, least, to 9, most.
    pub mem_level: u8,
}

impl DeflaterSettings {
    /// For the one deflater of a shard.
    pub const SHARED: Self = Self {
        level: 1,
        window_bits: WINDOW_BITS_MAX,
        mem_level: 8,
    };

    /// For a deflater of each connection that keeps its context: 2 KiB hold a few messages to refer to.
    pub const TAKEOVER: Self = Self {
        level: 3,
        window_bits: 11,
        mem_level: 2,
    };

    /// # Panics
    /// When a setting is out of its range.
    pub(super) fn check(self) {
        let Self {
            level,
            window_bits,
            mem_level,
        } = self;
        assert!((1..=9).contains(&level), "a level is 1 to 9, not {level}");
        assert!(
            (1..=9).contains(&mem_level),
            "a memory level is 1 to 9, not {mem_level}"
        );
        let possible = (WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&window_bits);
        assert!(possible, "a window has 9 to 15 bits, not {window_bits}");
    }
}

impl Default for DeflaterSettings {
    /// [`DeflaterSettings::SHARED`].
    fn default() -> Self {
        Self::SHARED
    }
}

/// Compresses messages, one after the other.
///
/// Whether a message is compressed must be decided before it comes here, by its size alone. What has
/// come here with takeover must be sent as it came out: the peer's window would lack it otherwise, and
/// every later message would inflate to something else. Whoever drops it nevertheless calls
/// [`Self::forget`].
///
/// ```
/// use tidegate_proto::deflate::{Deflater, DeflaterSettings, Inflater};
/// use tidegate_proto::{Message, MessageKind};
///
/// let (mut compressed, mut out) = (Vec::new(), Vec::new());
/// Deflater::new(DeflaterSettings::SHARED).deflate(b"to and fro", false, &mut compressed);
/// let kind = MessageKind::Text;
/// let message = Inflater::new().inflate(kind, &compressed, false, 1024, &mut out)?;
/// assert_eq!(message, Message::Text("to and fro"));
/// # Ok::<(), tidegate_proto::Violation>(())
/// ```
#[derive(Debug)]
pub struct Deflater<C = RustDeflate> {
    codec: C,
    /// Whether nothing has been compressed since the start or the last reset, which costs microseconds.
    fresh: bool,
}

impl Deflater<RustDeflate> {
    /// A deflater that has seen nothing, on the codec of this crate.
    ///
    /// # Panics
    /// When a setting is out of its range.
    #[must_use]
    pub fn new(settings: DeflaterSettings) -> Self {
        Self::with_codec(RustDeflate::new(settings))
    }

    /// Heap bytes held, the same at all times.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.codec.memory()
    }
}

impl<C: DeflateCodec> Deflater<C> {
    /// A deflater on this codec, which has seen nothing.
    pub const fn with_codec(codec: C) -> Self {
        Self { codec, fresh: true }
    }

    /// Compresses a whole message into `out`, whose former content is dropped.
    ///
    /// `takeover` says whether it may refer to the messages before it.
    pub fn deflate(&mut self, payload: &[u8], takeover: bool, out: &mut Vec<u8>) {
        if payload.is_empty() {
            // RFC 7692, 7.2.3.6: what is left of an empty stored block. zlib has nothing to flush.
            out.clear();
            out.push(0x00);
            return;
        }
        if !takeover {
            self.forget();
        }
        self.fresh = false;
        self.deflate_blocks(payload, out);
        // RFC 7692, 7.2.1: remove 00 00 ff ff, which a flush has put there.
        assert!(
            out.ends_with(&TAIL),
            "a flush ends in an empty stored block"
        );
        out.truncate(out.len() - TAIL.len());
    }

    /// Forgets all messages so far, so that the next refers to none of them. A sender may do so at any
    /// message.
    pub fn forget(&mut self) {
        if !self.fresh {
            self.codec.reset();
            self.fresh = true;
        }
    }

    fn deflate_blocks(&mut self, mut payload: &[u8], out: &mut Vec<u8>) {
        let mut filled = 0;
        // What does not compress grows by little; what does leaves some of this unused.
        let usual = payload.len() + payload.len() / 8 + FLUSH_SIZE_MAX;
        out.resize(usual.min(OUTPUT_SIZE_MAX), 0);
        loop {
            let used = self.codec.deflate(payload, &mut out[filled..]);
            payload = &payload[used.taken..];
            filled += used.made;
            // Room was left, so nothing is pending; or nothing was, and the room was just enough.
            if payload.is_empty() && (filled < out.len() || used.made == 0) {
                break;
            }
            if out.len() - filled < FLUSH_SIZE_MAX {
                out.resize(out.len() * 2 + FLUSH_SIZE_MAX, 0);
            }
        }
        out.truncate(filled);
    }
}

/// With less room than this a flush may be cut and put a second end behind the first, in bytes.
const FLUSH_SIZE_MAX: usize = 16;

/// How much room is made before anything has been produced, in bytes.
const OUTPUT_SIZE_MAX: usize = 64 * 1024;
