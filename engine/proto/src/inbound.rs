//! What the peer says: bytes to frames, frames to events, and the answers the protocol demands.

use ascii::AsciiStr;

use crate::close::{self, CloseBody, CloseCode};
use crate::event::{CloseReason, ControlPayload, DeflatedMessage, Event, ReceivedMessage};
use crate::frame::{self, FirstByte, Header, Opcode};
use crate::input::Input;
use crate::limits::received_size_max;
use crate::mask::mask;
use crate::message::{Message, MessageKind};
use crate::partial::{Assembly, CutHead, Frame};
use crate::session::{Role, Session, State, append_control};
use crate::utf8::VECTORS_SIZE_MIN;
use crate::violation::Violation;

/// What became of a frame with the bytes at hand.
enum Progress<'a> {
    /// It ended, and this is what it said.
    Event(Event<'a>),
    /// It ended, and said nothing yet: a fragment, or data after our close frame.
    Ended,
    /// It needs more bytes than there are.
    Starved,
}

impl Session {
    /// Takes the next event out of `input`; `None` when the chunk is used up.
    ///
    /// What the protocol itself demands of a server half, pong and close, is appended to `wire`. After
    /// a close frame has arrived or a violation has happened, all input is ignored. After this side has
    /// sent a close frame, messages are discarded and control frames still count.
    ///
    /// # Errors
    /// The [`Violation`] with which the peer broke the protocol. A server half has then appended the
    /// close frame with its code and reason, if none was sent before. The connection is to be closed.
    ///
    /// # Panics
    /// While the buffer is given out by [`Self::take_buffer`].
    #[inline]
    pub fn receive<'a>(
        &mut self,
        input: &mut Input<'a>,
        wire: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, Violation> {
        let received = match self.receive_small(input) {
            Some(Ok(message)) => return Ok(Some(Event::Message(ReceivedMessage::Lent(message)))),
            Some(Err(violation)) => Err(violation),
            // The end of nearly every chunk.
            None if input.is_empty() => return Ok(None),
            None => self.receive_any(input, wire),
        };
        if let Err(violation) = received {
            input.discard();
            self.fail(violation, wire);
        }
        received
    }

    /// Takes back a buffer that [`Self::take_buffer`] gave out. What was appended to it are the next
    /// payload bytes; they are unmasked and validated where they lie.
    ///
    /// # Errors
    /// As [`Self::receive`].
    ///
    /// # Panics
    /// When no buffer is given out, or this one is shorter than it was, or more bytes were appended
    /// than were wanted.
    pub fn give_buffer(
        &mut self,
        buffer: Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Option<Event<'static>>, Violation> {
        let received = self.receive_buffer(buffer);
        if let Err(violation) = received {
            self.fail(violation, wire);
        }
        received
    }

    /// The path that nearly every message takes: masked, whole, under 64 KiB, nothing unfinished.
    ///
    /// `None` leaves `input` untouched for the general path, which would come to the same result.
    #[inline]
    fn receive_small<'a>(&self, input: &mut Input<'a>) -> Option<Result<Message<'a>, Violation>> {
        if self.partial.is_some() || self.state != State::Open || self.role != Role::Server {
            return None;
        }
        let header = SmallHeader::read(input.rest())?;
        let end = header.size + header.payload_size;
        if end > input.remaining() || header.payload_size > self.message_size_max() {
            return None;
        }
        let payload = &mut input.take(end)[header.size..];
        mask(payload, header.key, 0);
        Some(lend_message(header.kind, payload))
    }

    #[inline(never)]
    fn receive_any<'a>(
        &mut self,
        input: &mut Input<'a>,
        wire: &mut Vec<u8>,
    ) -> Result<Option<Event<'a>>, Violation> {
        while self.state.reads() {
            let Some(frame) = self.next_frame(input)? else {
                return Ok(None);
            };
            let progress = if frame.opcode.is_control() {
                self.receive_control(frame, input, wire)?
            } else if self.state == State::CloseSent {
                self.discard_data(frame, input)
            } else {
                self.receive_data(frame, input)?
            };
            match progress {
                Progress::Event(event) => return Ok(Some(event)),
                Progress::Ended => {}
                Progress::Starved => return Ok(None),
            }
        }
        input.discard();
        Ok(None)
    }

    /// The frame under way, or the next one if its header is whole.
    fn next_frame(&mut self, input: &mut Input<'_>) -> Result<Option<Frame>, Violation> {
        if let Some(partial) = self.partial.as_ref()
            && let Some(frame) = partial.frame
        {
            let given_out = |assembly: &Assembly| assembly.given_size.is_some();
            let given_out = partial.assembly.as_ref().is_some_and(given_out);
            assert!(!given_out, "the buffer of this frame is given out");
            return Ok(Some(frame));
        }
        match self.next_header(input)? {
            None => Ok(None),
            Some(header) => Ok(Some(Frame::new(&header, self.check_size(&header)?))),
        }
    }

    /// Reads a header, in one piece from the input or byte by byte after a cut.
    fn next_header(&mut self, input: &mut Input<'_>) -> Result<Option<Header>, Violation> {
        let cut = self
            .partial
            .as_ref()
            .is_some_and(|p| !p.head.as_slice().is_empty());
        if !cut {
            if let Some((header, size)) = self.parse_header(input.rest())? {
                input.take(size);
                return Ok(Some(header));
            }
            if !input.is_empty() {
                let rest = input.take(input.remaining());
                self.partial.get_or_insert_default().head = CutHead::new(rest);
            }
            return Ok(None);
        }
        while !input.is_empty() {
            let byte = input.take(1)[0];
            let head = &mut self.partial.get_or_insert_default().head;
            head.push(byte);
            let head = *head;
            if let Some((header, _)) = self.parse_header(head.as_slice())? {
                self.partial.get_or_insert_default().head.clear();
                self.release();
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Parses a header and holds it against the role and the message under way, in the order of the
    /// bytes, so that a cut header is refused as a whole one is.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let first = FirstByte::parse(first, self.deflate)?;
        // RFC 7692, 6.1: RSV1 is set on the first frame of a compressed message, and on no other.
        if first.rsv1 && first.opcode == Opcode::Continuation {
            return Err(Violation::ReservedBit);
        }
        let assembling = self.partial.as_ref().is_some_and(|p| p.assembly.is_some());
        // RFC 6455, 5.4: the fragments of one message must not be interleaved with those of another.
        match first.opcode {
            Opcode::Continuation if !assembling => return Err(Violation::ContinuationUnexpected),
            Opcode::Text | Opcode::Binary if assembling => {
                return Err(Violation::MessageInterrupted);
            }
            _ => {}
        }
        // RFC 6455, 5.1: a client masks every frame, a server none.
        if let Some(&second) = bytes.get(1) {
            match (self.role, frame::is_masked(second)) {
                (Role::Server, false) => return Err(Violation::Unmasked),
                (Role::Client, true) => return Err(Violation::Masked),
                (Role::Server, true) | (Role::Client, false) => {}
            }
        }
        first.parse_rest(bytes)
    }

    /// Holds a declared size, with what the message has already, against the limits.
    fn check_size(&self, header: &Header) -> Result<usize, Violation> {
        let size = usize::try_from(header.payload_size).map_err(|_| Violation::MessageTooBig)?;
        if header.opcode.is_control() {
            // RFC 6455, 5.5.1: a body holds a code of two bytes, or there is none.
            let body_cut = header.opcode == Opcode::Close && size == 1;
            return if body_cut {
                Err(Violation::CloseBodyCut)
            } else {
                Ok(size)
            };
        }
        let assembly = self.partial.as_ref().and_then(|p| p.assembly.as_ref());
        let held = assembly.map_or(0, |assembly| assembly.bytes.len());
        let deflated = assembly.map_or(header.rsv1, |assembly| assembly.deflated);
        match held.checked_add(size) {
            Some(total) if total <= received_size_max(self.message_size_max(), deflated) => {
                Ok(size)
            }
            _ => Err(Violation::MessageTooBig),
        }
    }

    fn receive_data<'a>(
        &mut self,
        mut frame: Frame,
        input: &mut Input<'a>,
    ) -> Result<Progress<'a>, Violation> {
        let available = frame.remaining().min(input.remaining());
        let whole = !self.is_payload_cut() && available == frame.remaining();
        let chunk = input.take(available);
        let kind = match frame.opcode {
            Opcode::Text => MessageKind::Text,
            _ => MessageKind::Binary,
        };
        if whole && frame.fin && frame.opcode != Opcode::Continuation {
            frame.unmask(chunk);
            let event = if frame.deflated {
                Event::Deflated(DeflatedMessage::lent(kind, chunk))
            } else {
                Event::Message(ReceivedMessage::Lent(lend_message(kind, chunk)?))
            };
            return Ok(Progress::Event(event));
        }
        let message_size_max = self.message_size_max();
        let partial = self.partial.get_or_insert_default();
        let new = || Assembly::new(kind, frame.deflated);
        let assembly = partial.assembly.get_or_insert_with(new);
        let size_max = received_size_max(message_size_max, assembly.deflated);
        assembly.append(&mut frame, chunk, size_max)?;
        self.end_data(frame)
    }

    /// Puts the frame away if it is unfinished, and the message together if it is done.
    fn end_data<'a>(&mut self, frame: Frame) -> Result<Progress<'a>, Violation> {
        let partial = self.partial.get_or_insert_default();
        if frame.remaining() > 0 {
            partial.frame = Some(frame);
            return Ok(Progress::Starved);
        }
        partial.frame = None;
        if !frame.fin {
            if let Some(assembly) = &mut partial.assembly {
                assembly.end_fragment();
            }
            return Ok(Progress::Ended);
        }
        let assembly = partial.assembly.take();
        self.release();
        let Some(assembly) = assembly else {
            return Ok(Progress::Ended);
        };
        assembly.finish().map(Progress::Event)
    }

    /// Data after our own close frame: followed, so that the peer's close frame is found, not kept.
    fn discard_data<'a>(&mut self, mut frame: Frame, input: &mut Input<'a>) -> Progress<'a> {
        let available = frame.remaining().min(input.remaining());
        input.take(available);
        frame.skip(available);
        let starved = frame.remaining() > 0;
        let partial = self.partial.get_or_insert_default();
        partial.frame = starved.then_some(frame);
        if starved || !frame.fin {
            // An empty assembly remembers that a message is under way.
            let assembly = || Assembly::new(MessageKind::Binary, false);
            partial.assembly.get_or_insert_with(assembly);
        } else {
            partial.assembly = None;
        }
        self.release();
        if starved {
            Progress::Starved
        } else {
            Progress::Ended
        }
    }

    fn receive_control<'a>(
        &mut self,
        mut frame: Frame,
        input: &mut Input<'a>,
        wire: &mut Vec<u8>,
    ) -> Result<Progress<'a>, Violation> {
        let available = frame.remaining().min(input.remaining());
        let whole = !self.is_payload_cut() && available == frame.remaining();
        let chunk = input.take(available);
        let payload = if whole {
            frame.unmask(chunk);
            ControlPayload::lent(chunk)
        } else {
            let partial = self.partial.get_or_insert_default();
            let Some(payload) = partial.append_control(frame, chunk) else {
                if frame.opcode == Opcode::Close {
                    close::check_beginning(&partial.control)?;
                }
                return Ok(Progress::Starved);
            };
            self.release();
            ControlPayload::owned(payload)
        };
        self.handle_control(frame.opcode, payload, wire)
            .map(Progress::Event)
    }

    /// Answers a whole control frame as the protocol demands, and tells what it said.
    fn handle_control<'a>(
        &mut self,
        opcode: Opcode,
        payload: ControlPayload<'a>,
        wire: &mut Vec<u8>,
    ) -> Result<Event<'a>, Violation> {
        match opcode {
            Opcode::Close => {
                let (code, _) = close::read_body(payload.as_slice())?;
                self.answer_close(code, wire);
                let reason = CloseReason::new(payload);
                Ok(Event::Close { code, reason })
            }
            Opcode::Ping => {
                // RFC 6455, 5.5.2 and 5.5.3: a pong with the same payload must answer.
                if self.role == Role::Server {
                    append_control(Opcode::Pong, payload.as_slice(), None, wire);
                }
                Ok(Event::Ping(payload))
            }
            _ => Ok(Event::Pong(payload)),
        }
    }

    /// RFC 6455, 5.5.1: whoever has not sent a close frame must answer with one, echoing the code.
    fn answer_close(&mut self, code: Option<CloseCode>, wire: &mut Vec<u8>) {
        self.partial = None;
        self.state = match (self.state, self.role) {
            (State::Open, Role::Server) => {
                let body = CloseBody::new(code, "");
                append_control(Opcode::Close, body.as_slice(), None, wire);
                State::Closed
            }
            (State::Open, Role::Client) => State::CloseReceived,
            _ => State::Closed,
        };
    }

    fn receive_buffer(&mut self, buffer: Vec<u8>) -> Result<Option<Event<'static>>, Violation> {
        let partial = self.partial.as_deref_mut().expect("a buffer is given out");
        let mut frame = partial.frame.expect("a buffer is given out for a frame");
        let assembly = partial
            .assembly
            .as_mut()
            .expect("a buffer is given out of it");
        let start = assembly.given_size.take().expect("a buffer is given out");
        assert!(start <= buffer.len(), "the buffer has become shorter");
        assert!(
            buffer.len() - start <= frame.remaining(),
            "more was received than wanted"
        );
        if self.state == State::CloseSent {
            // Closed by this side in the meantime: the message will not be delivered.
            frame.skip(buffer.len() - start);
            let mut nothing = Input::new(&mut []);
            self.discard_data(frame, &mut nothing);
            return Ok(None);
        }
        assembly.bytes = buffer;
        assembly.accept(&mut frame, start)?;
        match self.end_data(frame)? {
            Progress::Event(event) => Ok(Some(event)),
            Progress::Ended | Progress::Starved => Ok(None),
        }
    }

    /// Whether a chunk ended within the payload of this frame, or right before its first byte.
    fn is_payload_cut(&self) -> bool {
        self.partial
            .as_ref()
            .is_some_and(|partial| partial.frame.is_some())
    }

    /// Gives the memory back when nothing is unfinished any more.
    fn release(&mut self) {
        if self
            .partial
            .as_ref()
            .is_some_and(|partial| partial.is_idle())
        {
            self.partial = None;
        }
    }
}

/// The header of a masked message in one frame, whose length takes at most 16 bits.
struct SmallHeader {
    kind: MessageKind,
    key: [u8; 4],
    /// Of the header itself, in bytes.
    size: usize,
    payload_size: usize,
}

impl SmallHeader {
    /// Such a header, or `None` for anything else, cut, longer or wrong.
    #[inline]
    fn read(bytes: &[u8]) -> Option<Self> {
        const TEXT: u8 = 0x81;
        const BINARY: u8 = 0x82;
        const MASKED: u8 = 0x80;
        const MASKED_126: u8 = 0xFE;
        let &[first @ (TEXT | BINARY), second, b2, b3, b4, b5] = bytes.first_chunk()? else {
            return None;
        };
        let kind = if first == TEXT {
            MessageKind::Text
        } else {
            MessageKind::Binary
        };
        let (size, payload_size, key) = match second {
            MASKED..MASKED_126 => (6, usize::from(second - MASKED), [b2, b3, b4, b5]),
            MASKED_126 => {
                let &[b6, b7] = bytes[6..].first_chunk()?;
                let length = u16::from_be_bytes([b2, b3]);
                // RFC 6455, 5.2: a length that fits into 7 bits is not minimal here.
                if length < 126 {
                    return None;
                }
                (8, usize::from(length), [b4, b5, b6, b7])
            }
            _ => return None,
        };
        Some(Self {
            kind,
            key,
            size,
            payload_size,
        })
    }
}

/// A whole message where it lies.
#[inline]
fn lend_message(kind: MessageKind, payload: &[u8]) -> Result<Message<'_>, Violation> {
    match kind {
        MessageKind::Binary => Ok(Message::Binary(payload)),
        // RFC 6455, 8.1: text that is not UTF-8 fails the connection.
        MessageKind::Text => match read_text(payload) {
            Some(text) => Ok(Message::Text(text)),
            None => Err(Violation::TextInvalid),
        },
    }
}

/// The bytes as text, if they are UTF-8.
#[inline]
fn read_text(bytes: &[u8]) -> Option<&str> {
    // What is too short for vectors goes byte by byte, unless it is ASCII: eight bytes a step.
    if bytes.len() < VECTORS_SIZE_MIN
        && let Ok(text) = AsciiStr::from_ascii(bytes)
    {
        return Some(text.as_str());
    }
    simdutf8::basic::from_utf8(bytes).ok()
}
