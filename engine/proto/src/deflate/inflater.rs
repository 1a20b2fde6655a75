//! Compressed messages to messages, never beyond a limit (RFC 7692, 7.2.2).

use super::codec::{Corrupt, InflateCodec, Inflated, Stop};
use super::{RustInflate, TAIL};
use crate::message::{Message, MessageKind};
use crate::violation::Violation;

/// Inflates messages, one after the other.
///
/// Without context takeover one of them serves any number of connections: each message starts afresh.
/// With takeover each connection needs its own, for the window is kept from message to message. How large
/// a window it follows is up to its codec: that of this crate always holds the largest.
///
/// ```
/// use tidegate_proto::deflate::Inflater;
/// use tidegate_proto::{Message, MessageKind};
///
/// let (mut inflater, mut out) = (Inflater::new(), Vec::new());
/// let compressed = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
/// let message = inflater.inflate(MessageKind::Text, &compressed, false, 1024, &mut out)?;
/// assert_eq!(message, Message::Text("Hello"));
/// # Ok::<(), tidegate_proto::Violation>(())
/// ```
#[derive(Debug, Default)]
pub struct Inflater<C = RustInflate> {
    codec: C,
}

impl Inflater<RustInflate> {
    /// An inflater that has seen nothing, on the codec of this crate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Heap bytes held, the same at all times.
    #[must_use]
    pub const fn memory(&self) -> usize {
        RustInflate::SIZE
    }
}

impl<C: InflateCodec> Inflater<C> {
    /// An inflater on this codec, which has seen nothing.
    pub const fn with_codec(codec: C) -> Self {
        Self { codec }
    }

    /// Inflates a whole message into `out`, whose former content is dropped.
    ///
    /// `takeover` says whether the message may refer to those before it. `out` grows with what is
    /// produced, and never beyond `size_max + 1` bytes, however much the message would inflate to; its
    /// capacity is kept for the next message.
    ///
    /// # Errors
    /// [`Violation::DeflateInvalid`] for data that is corrupt or ends too early,
    /// [`Violation::MessageTooBig`] as soon as there are more than `size_max` bytes, and
    /// [`Violation::TextInvalid`]. The inflater then forgets what it has seen and can be used again.
    pub fn inflate<'o>(
        &mut self,
        kind: MessageKind,
        compressed: &[u8],
        takeover: bool,
        size_max: usize,
        out: &'o mut Vec<u8>,
    ) -> Result<Message<'o>, Violation> {
        if !takeover {
            self.forget();
        }
        let mut output = Output::new(out, compressed.len(), size_max);
        let inflated = self.inflate_into(compressed, takeover, &mut output);
        let size = output.filled;
        out.truncate(size);
        let message = inflated.and_then(|()| match kind {
            MessageKind::Binary => Ok(Message::Binary(out)),
            MessageKind::Text => match simdutf8::basic::from_utf8(out) {
                Ok(text) => Ok(Message::Text(text)),
                Err(_) => Err(Violation::TextInvalid),
            },
        });
        if message.is_err() {
            self.forget();
        }
        message
    }

    /// Forgets all messages so far.
    pub fn forget(&mut self) {
        self.codec.reset();
    }

    fn inflate_into(
        &mut self,
        compressed: &[u8],
        takeover: bool,
        output: &mut Output<'_>,
    ) -> Result<(), Violation> {
        self.inflate_blocks(compressed, output)?;
        // RFC 7692, 7.2.2: append 00 00 ff ff to the tail. Whether the data ends there shows what
        // follows it: an empty final block where nothing is kept, or a stop before the next block.
        let (tail, stop): (&[u8], _) = if takeover {
            (&TAIL_AND_BLOCK, Stop::Block)
        } else {
            (&TAIL_AND_END, Stop::StreamEnd)
        };
        let Inflated { used, ended } = self.step(tail, stop, output)?;
        let whole = if ended && used.taken == tail.len() {
            !takeover
        } else {
            // RFC 7692, 7.2.1: the empty block whose end was cut off may be a final one itself.
            used.taken == TAIL.len()
        };
        if whole && used.made == 0 {
            Ok(())
        } else {
            Err(Violation::DeflateInvalid)
        }
    }

    /// Inflates all of `compressed`, of which each final block is followed by more.
    fn inflate_blocks(
        &mut self,
        mut compressed: &[u8],
        output: &mut Output<'_>,
    ) -> Result<(), Violation> {
        loop {
            output.make_room()?;
            let Inflated { used, ended } = self.step(compressed, Stop::StreamEnd, output)?;
            compressed = &compressed[used.taken..];
            if ended {
                // RFC 7692, 7.2.1: a final block is padded to a byte, and another may follow. No
                // sender that ends a stream refers back over its end.
                self.forget();
            }
            // Output that was left some room has nothing more to give.
            if compressed.is_empty() && output.room() > 0 {
                return Ok(());
            }
            if used.taken == 0 && used.made == 0 && !ended {
                return Err(Violation::DeflateInvalid);
            }
        }
    }

    /// One call of the codec, into what is free of the output.
    fn step(
        &mut self,
        input: &[u8],
        stop: Stop,
        output: &mut Output<'_>,
    ) -> Result<Inflated, Violation> {
        let inflated = self.codec.inflate(input, output.free(), stop);
        let inflated = inflated.map_err(|Corrupt| Violation::DeflateInvalid)?;
        output.filled += inflated.used.made;
        Ok(inflated)
    }
}

/// The caller's buffer, filled from the front.
struct Output<'o> {
    /// Invariant: `filled <= bytes.len() <= size_max + 1`. What lies beyond `filled` is to be written.
    bytes: &'o mut Vec<u8>,
    filled: usize,
    size_max: usize,
}

impl<'o> Output<'o> {
    /// An empty output with room for what such a message usually inflates to.
    fn new(bytes: &'o mut Vec<u8>, compressed_size: usize, size_max: usize) -> Self {
        let usual = compressed_size
            .saturating_mul(USUAL_RATIO)
            .max(OUTPUT_SIZE_MIN);
        let mut output = Self {
            bytes,
            filled: 0,
            size_max,
        };
        // What is left of the message before is room already, and need not be cleared.
        output.resize(usual.max(output.bytes.len()).min(USUAL_SIZE_MAX));
        output
    }

    fn room(&self) -> usize {
        self.bytes.len() - self.filled
    }

    fn free(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// Doubles what is full, so that there is room for one byte at least.
    fn make_room(&mut self) -> Result<(), Violation> {
        if self.room() == 0 {
            if self.filled > self.size_max {
                return Err(Violation::MessageTooBig);
            }
            self.resize(self.bytes.len().saturating_mul(2));
        }
        Ok(())
    }

    /// One byte beyond the limit is enough to know that it is exceeded.
    fn resize(&mut self, size: usize) {
        let size = size.min(self.size_max.saturating_add(1));
        self.bytes
            .reserve_exact(size.saturating_sub(self.bytes.len()));
        self.bytes.resize(size, 0);
    }
}

/// JSON shrinks to about a quarter, so that most messages need no second call.
const USUAL_RATIO: usize = 4;

/// The least room worth a call, in bytes.
const OUTPUT_SIZE_MIN: usize = 256;

/// How much room is made before anything has been produced, in bytes: a size that no one minds.
const USUAL_SIZE_MAX: usize = 64 * 1024;

/// RFC 7692, 7.2.2: what its sender has cut off, then an empty block with fixed codes that ends a stream.
const TAIL_AND_END: [u8; 6] = [0x00, 0x00, 0xff, 0xff, 0x03, 0x00];

/// RFC 7692, 7.2.2: what its sender has cut off, then the first byte of a block that is not read.
const TAIL_AND_BLOCK: [u8; 5] = [0x00, 0x00, 0xff, 0xff, 0x00];

const _: () = assert!(TAIL_AND_END.first_chunk::<4>().is_some() && TAIL.len() == 4);
