//! What is unfinished: a cut header, a cut control frame, a message being put together.

use std::mem;
use std::ops::Range;

use crate::event::{DeflatedMessage, Event, OwnedMessage, ReceivedMessage};
use crate::frame::{CONTROL_SIZE_MAX, HEADER_SIZE_MAX, Header, Opcode};
use crate::mask::{append_masked, mask, unmask_is_ascii};
use crate::message::MessageKind;
use crate::utf8::Utf8;
use crate::violation::Violation;

/// How far a message's buffer may run ahead of what has arrived when that is little, in bytes.
///
/// One large receive. Beyond it a buffer at most doubles.
pub const GROWTH_SIZE: usize = 64 * 1024;

/// A buffer with less room than this is not given out to be received into, in bytes.
const ROOM_SIZE_MIN: usize = GROWTH_SIZE / 4;

/// For how many more fragments like the one that has arrived there is room, up to [`GROWTH_SIZE`].
const FRAGMENTS_AHEAD: usize = 63;

/// How many bytes are unmasked and then validated before the next are, while they lie in the nearest cache: half of
/// the usual one.
const BLOCK_SIZE: usize = 16 * 1024;

/// The memory of a session that is in the middle of something. A quiet session has none.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    /// The first bytes of a header that the end of a chunk has cut.
    pub(crate) head: CutHead,
    /// The frame whose payload is arriving.
    pub(crate) frame: Option<Frame>,
    /// The payload so far of a control frame that is cut.
    pub(crate) control: Vec<u8>,
    /// The message that is being put together.
    pub(crate) assembly: Option<Assembly>,
}

impl Partial {
    /// Whether nothing is unfinished any more.
    pub(crate) const fn is_idle(&self) -> bool {
        self.head.size == 0 && self.frame.is_none() && self.assembly.is_none()
    }

    /// Heap bytes, its own included.
    pub(crate) fn memory(&self) -> usize {
        let assembly = self.assembly.as_ref();
        size_of::<Self>() + self.control.capacity() + assembly.map_or(0, |a| a.bytes.capacity())
    }

    /// Takes the next bytes of the cut control frame; its whole payload once it is there.
    pub(crate) fn append_control(&mut self, mut frame: Frame, chunk: &[u8]) -> Option<Vec<u8>> {
        // A constant, not the declared size.
        self.control
            .reserve_exact(CONTROL_SIZE_MAX - self.control.len());
        let start = self.control.len();
        self.control.extend_from_slice(chunk);
        frame.unmask(&mut self.control[start..]);
        if frame.remaining() > 0 {
            self.frame = Some(frame);
            return None;
        }
        self.frame = None;
        Some(mem::take(&mut self.control))
    }
}

/// The beginning of a header.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CutHead {
    bytes: [u8; HEADER_SIZE_MAX],
    /// Invariant: `size < HEADER_SIZE_MAX` between chunks, for a longer one is whole.
    size: usize,
}

impl CutHead {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let mut head = Self::default();
        head.bytes[..bytes.len()].copy_from_slice(bytes);
        head.size = bytes.len();
        head
    }

    pub(crate) fn push(&mut self, byte: u8) {
        self.bytes[self.size] = byte;
        self.size += 1;
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.size]
    }

    pub(crate) const fn clear(&mut self) {
        self.size = 0;
    }
}

/// A frame whose header has been read and accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) fin: bool,
    /// RSV1: the first frame of a compressed message.
    pub(crate) deflated: bool,
    pub(crate) opcode: Opcode,
    key: Option<[u8; 4]>,
    /// Invariant: `arrived <= size`.
    arrived: usize,
    size: usize,
}

impl Frame {
    /// `size` is the header's payload size, once it has been held against the limits.
    #[inline]
    pub(crate) const fn new(header: &Header, size: usize) -> Self {
        Self {
            fin: header.fin,
            deflated: header.rsv1,
            opcode: header.opcode,
            key: header.mask,
            arrived: 0,
            size,
        }
    }

    /// Payload bytes that have not arrived.
    #[inline]
    pub(crate) const fn remaining(&self) -> usize {
        self.size - self.arrived
    }

    /// Takes the next payload bytes and unmasks them.
    #[inline]
    pub(crate) fn unmask(&mut self, payload: &mut [u8]) {
        if let Some(key) = self.key {
            mask(payload, key, self.arrived);
        }
        self.skip(payload.len());
    }

    /// Takes the next payload bytes, unmasks them and tells whether they are known to be ASCII.
    #[inline]
    pub(crate) fn unmask_is_ascii(&mut self, payload: &mut [u8]) -> bool {
        let arrived = self.arrived;
        self.skip(payload.len());
        self.key
            .is_some_and(|key| unmask_is_ascii(payload, key, arrived))
    }

    /// Takes the next payload bytes, appends them unmasked and tells whether they are known to be ASCII.
    #[inline]
    pub(crate) fn append_is_ascii(&mut self, payload: &[u8], message: &mut Vec<u8>) -> bool {
        let arrived = self.arrived;
        self.skip(payload.len());
        if let Some(key) = self.key {
            return append_masked(payload, key, arrived, message);
        }
        message.extend_from_slice(payload);
        false
    }

    /// Takes the next payload bytes without a look at them.
    #[inline]
    pub(crate) fn skip(&mut self, size: usize) {
        debug_assert!(size <= self.remaining());
        self.arrived += size;
    }
}

/// A message that is being put together in one contiguous buffer.
#[derive(Debug)]
pub(crate) struct Assembly {
    pub(crate) kind: MessageKind,
    /// Compressed: not looked into, so not validated.
    pub(crate) deflated: bool,
    /// Invariant: `bytes.len() <= received_size_max`, for each header was held against it.
    pub(crate) bytes: Vec<u8>,
    utf8: Utf8,
    /// The length of the buffer when it was given out to be received into.
    pub(crate) given_size: Option<usize>,
    /// How many fragments have ended, the message not, since somebody asked.
    fragment_count: u32,
}

impl Assembly {
    pub(crate) const fn new(kind: MessageKind, deflated: bool) -> Self {
        Self {
            kind,
            deflated,
            bytes: Vec::new(),
            utf8: Utf8::new(),
            given_size: None,
            fragment_count: 0,
        }
    }

    /// A fragment has ended, and the message goes on.
    pub(crate) const fn end_fragment(&mut self) {
        self.fragment_count = self.fragment_count.saturating_add(1);
    }

    /// How many have ended so since this was asked last.
    pub(crate) const fn take_fragment_count(&mut self) -> u32 {
        mem::replace(&mut self.fragment_count, 0)
    }

    /// Appends the next payload bytes of `frame`, unmasked and, if text, validated.
    pub(crate) fn append(
        &mut self,
        frame: &mut Frame,
        chunk: &[u8],
        size_max: usize,
    ) -> Result<(), Violation> {
        self.grow(frame, chunk.len(), size_max);
        for block in chunk.chunks(BLOCK_SIZE) {
            let start = self.bytes.len();
            let is_ascii = frame.append_is_ascii(block, &mut self.bytes);
            self.validate(start..start + block.len(), is_ascii)?;
        }
        Ok(())
    }

    /// Unmasks and validates what lies in the buffer from `start` on.
    pub(crate) fn accept(&mut self, frame: &mut Frame, mut start: usize) -> Result<(), Violation> {
        while start < self.bytes.len() {
            let end = self.bytes.len().min(start + BLOCK_SIZE);
            let is_ascii = frame.unmask_is_ascii(&mut self.bytes[start..end]);
            self.validate(start..end, is_ascii)?;
            start = end;
        }
        Ok(())
    }

    /// Looks at the next bytes of a text, unless they are known to be ASCII and finish no character.
    fn validate(&mut self, next: Range<usize>, is_ascii: bool) -> Result<(), Violation> {
        let is_text = self.kind == MessageKind::Text && !self.deflated;
        if !is_text || is_ascii && !self.utf8.is_cut() {
            return Ok(());
        }
        let valid = self.utf8.push(&self.bytes[next]);
        valid.map_err(|_| Violation::TextInvalid)
    }

    /// Ends the message.
    pub(crate) fn finish(self) -> Result<Event<'static>, Violation> {
        self.utf8.finish().map_err(|_| Violation::TextInvalid)?;
        let frame_count = self.fragment_count.saturating_add(1);
        if self.deflated {
            let message = DeflatedMessage::owned(self.kind, frame_count, self.bytes);
            return Ok(Event::Deflated(message));
        }
        let message = OwnedMessage::new(self.kind, frame_count, self.bytes);
        Ok(Event::Message(ReceivedMessage::Owned(message)))
    }

    /// Gives the buffer out with room for the next bytes of `frame`.
    pub(crate) fn give_out(&mut self, frame: &Frame) -> DirectBuffer {
        assert!(self.given_size.is_none(), "the buffer is given out already");
        let size = self.bytes.len();
        let remaining = frame.remaining();
        // Only when the room is nearly used up: a receive may bring little, and must not cost a copy of
        // everything before it.
        if self.bytes.capacity() - size < remaining.min(ROOM_SIZE_MIN) {
            self.bytes
                .reserve_exact(remaining.min(size.max(GROWTH_SIZE)));
        }
        let wanted = remaining.min(self.bytes.capacity() - size);
        self.given_size = Some(size);
        DirectBuffer {
            buffer: mem::take(&mut self.bytes),
            wanted,
        }
    }

    /// Makes room for `arriving` bytes of `frame`, and for more in proportion to what has arrived.
    ///
    /// A fragment may be the first of thousands, so its buffer doubles even if the frame itself ends: the
    /// work per byte stays constant, however small the fragments. And whoever sends one of a kilobyte
    /// sends more of them: room for those saves copies, a quarter of the time of a message in such pieces.
    fn grow(&mut self, frame: &Frame, arriving: usize, size_max: usize) {
        let arrived = self.bytes.len() + arriving;
        if arrived <= self.bytes.capacity() {
            return;
        }
        let ahead = (frame.remaining() - arriving).min(arrived.max(GROWTH_SIZE));
        let next = if frame.fin {
            0
        } else {
            let alike = (FRAGMENTS_AHEAD * arriving).min(GROWTH_SIZE);
            arrived.max(alike).min(size_max - arrived)
        };
        self.bytes.reserve_exact(arriving + ahead.max(next));
    }
}

/// A message's buffer, given out so that the driver can receive straight into it.
#[derive(Debug)]
pub struct DirectBuffer {
    /// The message so far, with spare capacity for at least `wanted` more bytes.
    pub buffer: Vec<u8>,
    /// How many bytes may be appended, at most; fewer are fine.
    pub wanted: usize,
}
