//! Messages to compressed messages (RFC 7692, 7.2.1).

use std::fmt;

use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Method, Status, Strategy};

use super::{TAIL, WINDOW_BITS_MAX, WINDOW_BITS_MIN};

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
    ///
    /// Smaller windows save little, for most of its memory does not depend on them (see [`super`]).
    pub const TAKEOVER: Self = Self {
        level: 1,
        window_bits: 11,
        mem_level: 3,
    };

    /// Heap bytes that a deflater with these settings holds, at all times.
    #[must_use]
    pub const fn memory(&self) -> usize {
        let window = 1 << self.window_bits;
        let symbols = 1 << (self.mem_level + 6);
        // The window twice, and a link for each of its bytes; then pending output and symbols.
        STATE_SIZE + HASH_SIZE + 2 * window + 2 * window + 4 * symbols + 3 * symbols
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
pub struct Deflater {
    deflate: Deflate,
    settings: DeflaterSettings,
    /// Whether nothing has been compressed since the start or the last reset, which costs microseconds.
    fresh: bool,
}

impl Deflater {
    /// A deflater that has seen nothing.
    ///
    /// # Panics
    /// When a setting is out of its range.
    #[must_use]
    pub fn new(settings: DeflaterSettings) -> Self {
        let DeflaterSettings {
            level,
            window_bits,
            mem_level,
        } = settings;
        assert!((1..=9).contains(&level), "a level is 1 to 9, not {level}");
        assert!(
            (1..=9).contains(&mem_level),
            "a memory level is 1 to 9, not {mem_level}"
        );
        let possible = (WINDOW_BITS_MIN..=WINDOW_BITS_MAX).contains(&window_bits);
        assert!(possible, "a window has 9 to 15 bits, not {window_bits}");
        let deflate = Deflate::new_with_config(DeflateConfig {
            level: level.into(),
            method: Method::Deflated,
            // Negative: a raw stream, without the header and checksum of zlib.
            window_bits: -i32::from(window_bits),
            mem_level: mem_level.into(),
            strategy: Strategy::Default,
        });
        Self {
            deflate,
            settings,
            fresh: true,
        }
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
            self.deflate.reset();
            self.fresh = true;
        }
    }

    /// Heap bytes held, the same at all times.
    #[must_use]
    pub const fn memory(&self) -> usize {
        self.settings.memory()
    }

    fn deflate_blocks(&mut self, mut payload: &[u8], out: &mut Vec<u8>) {
        let mut filled = 0;
        // What does not compress grows by little; what does leaves some of this unused.
        let usual = payload.len() + payload.len() / 8 + FLUSH_SIZE_MAX;
        out.resize(usual.min(OUTPUT_SIZE_MAX), 0);
        loop {
            let (taken, made) = (self.deflate.total_in(), self.deflate.total_out());
            let status =
                self.deflate
                    .compress(payload, &mut out[filled..], DeflateFlush::SyncFlush);
            let status = status.expect("its settings are right and the stream has not ended");
            payload = &payload[difference(taken, self.deflate.total_in())..];
            filled += difference(made, self.deflate.total_out());
            // Room was left, so nothing is pending; or nothing was, and the room was just enough.
            if payload.is_empty() && (filled < out.len() || status == Status::BufError) {
                break;
            }
            if out.len() - filled < FLUSH_SIZE_MAX {
                out.resize(out.len() * 2 + FLUSH_SIZE_MAX, 0);
            }
        }
        out.truncate(filled);
    }
}

/// How far a counter of the deflater has moved during one call; it fits, for slices do.
fn difference(before: u64, after: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}

impl fmt::Debug for Deflater {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Deflater");
        debug
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// With less room than this a flush may be cut and put a second end behind the first, in bytes.
const FLUSH_SIZE_MAX: usize = 16;

/// How much room is made before anything has been produced, in bytes.
const OUTPUT_SIZE_MAX: usize = 64 * 1024;

/// The heads of the chains of equal strings: zlib-rs has 65,536 of them for any window.
const HASH_SIZE: usize = 2 * 65_536;

/// Codes, counters and alignment, measured on x86-64.
const STATE_SIZE: usize = 3_200;
