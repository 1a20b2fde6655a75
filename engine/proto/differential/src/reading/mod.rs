//! A second reading of a conversation, in one piece and frame by frame, once as we read and once with the
//! habits of an oracle: a difference is explained only if this predicts both verdicts to the last byte.
//!
//! It shares no code with any implementation. It knows no cut but where an oracle's verdict depends on it.

mod head;
mod inflate;
mod messages;
mod squeezed;

use head::{Check, Finding, Head, Held, STRICT};
use squeezed::{Stream, Strict};

use crate::conversation::{Compression, Conversation};
use crate::deviation::Deviation;
use crate::verdict::Verdict;

/// Whose habits are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Ours: the RFCs, with what docs/protocol.md decides where they leave it open.
    Tidegate,
    /// Those of tungstenite.
    Tungstenite,
    /// Those of sockudo-ws.
    Sockudo,
    /// Those of Python's websockets.
    Websockets,
}

/// How many bytes a compressed message may have as it comes (docs/protocol.md, Limits).
#[must_use]
pub(crate) const fn compressed_size_max(size_max: usize) -> usize {
    let eighth = size_max / 8;
    size_max
        + 64
        + if eighth < 64 * 1024 {
            eighth
        } else {
            64 * 1024
        }
}

/// What this reader makes of the conversation, and where it first leaves our ways.
#[must_use]
pub fn read(reader: Reader, conversation: &Conversation) -> (Verdict, Option<Deviation>) {
    let mut machine = Machine {
        reader,
        conversation,
        position: 0,
        held: None,
        strict: Strict::default(),
        stream: Stream::default(),
        verdict: Verdict::new(),
        deviation: None,
        unnamed: false,
    };
    while machine.position < conversation.bytes.len() && machine.step() {}
    (machine.verdict, machine.deviation)
}

/// A message that is under way.
#[derive(Debug)]
struct Message {
    is_text: bool,
    squeezed: bool,
    /// As it came.
    raw: Vec<u8>,
    /// As this reader has inflated it so far, if it does so frame by frame.
    inflated: Vec<u8>,
}

struct Machine<'c> {
    reader: Reader,
    conversation: &'c Conversation,
    position: usize,
    held: Option<Message>,
    /// Our way of inflating.
    strict: Strict,
    /// This reader's way, if it is another.
    stream: Stream,
    verdict: Verdict,
    /// The first one.
    deviation: Option<Deviation>,
    /// Whether the first difference has no name, and none that follows may give it one.
    unnamed: bool,
}

impl<'c> Machine<'c> {
    /// Reads one frame; whether there may be another.
    fn step(&mut self) -> bool {
        let head = Head::new(
            &self.conversation.bytes[self.position..],
            self.conversation,
            self.held_size(),
        );
        let strict = head.judge(STRICT, self.reader);
        let mut found = head.judge(self.reader.head_checks(), self.reader);
        if found != Finding::Pass {
            return self.end(&head, strict, found);
        }
        let (mut payload, whole) = head.payload();
        if let Some(prefix) = self.text_seen_early(&head, &payload, whole)
            && self.is_bad_text(&head, &payload[..prefix], false)
        {
            if strict == Finding::Fault(Check::Size) {
                self.differ(Some(Deviation::SizeAfterText));
            }
            return self.fail(1007);
        }
        if !whole {
            return self.end_cut(&head, strict, &payload);
        }
        let raw = payload.clone();
        if self.reader == Reader::Websockets && !self.inflate_frame(&head, strict, &mut payload) {
            return false;
        }
        let checks = self.reader.frame_checks(self.conversation.compression);
        if let Some(check) = checks
            .iter()
            .find(|check| head.is_faulty(**check, self.reader))
        {
            found = Finding::Fault(*check);
        }
        if found != Finding::Pass || matches!(strict, Finding::Fault(_)) {
            let goes_on = self.end(&head, strict, found);
            if !goes_on {
                return false;
            }
        }
        self.position += head.size().unwrap_or(0) + raw.len();
        if head.is_control() {
            self.control(head.opcode(), &payload)
        } else {
            self.data(&head, raw, payload)
        }
    }

    fn held_size(&self) -> Held {
        let held = self.held.as_ref();
        Held {
            open: held.is_some(),
            squeezed: held.is_some_and(|message| message.squeezed),
            size: held.map_or(0, |message| message.raw.len()),
            counted: held.map_or(0, |message| match self.reader {
                Reader::Websockets => message.inflated.len(),
                _ => message.raw.len(),
            }),
        }
    }

    /// Takes up what was found: names the difference from what we find, and ends the reading or goes on.
    fn end(&mut self, head: &Head<'c>, strict: Finding, found: Finding) -> bool {
        let same = match (strict, found) {
            (Finding::Fault(a), Finding::Fault(b)) => a.code() == b.code(),
            (a, b) => !matches!(a, Finding::Fault(_)) && !matches!(b, Finding::Fault(_)),
        };
        if !same {
            self.differ(self.name_of(head, strict, found));
        }
        match found {
            Finding::Fault(check) => self.fail(check.code()),
            Finding::Starved => false,
            Finding::Pass => true,
        }
    }

    /// What it is called when we find one thing and this reader another.
    fn name_of(&self, head: &Head<'c>, strict: Finding, found: Finding) -> Option<Deviation> {
        let too_big = matches!(found, Finding::Fault(check) if check.code() == 1009);
        match (strict, found) {
            (Finding::Fault(_), Finding::Starved) => Some(Deviation::WaitsForFrame),
            (Finding::Fault(Check::TopBit), Finding::Fault(_)) => Some(Deviation::TopBitAsSize),
            (Finding::Fault(_), Finding::Fault(_)) if too_big => Some(Deviation::SizeFirst),
            (Finding::Fault(Check::Minimal | Check::ControlShort), Finding::Pass) => {
                Some(Deviation::NotMinimalAccepted)
            }
            (Finding::Fault(Check::Size), Finding::Pass)
                if self.reader == Reader::Websockets && self.is_squeezed(head) =>
            {
                Some(Deviation::OverheadAccepted)
            }
            (Finding::Starved, Finding::Fault(_)) if too_big => Some(Deviation::SizeBeforeKey),
            (Finding::Pass, Finding::Fault(Check::Budget)) if head.is_control() => {
                Some(Deviation::ControlCounted)
            }
            (Finding::Pass, Finding::Fault(Check::Budget | Check::SizeAsItComes))
                if self.is_squeezed(head) =>
            {
                Some(Deviation::CompressedCounted)
            }
            _ => None,
        }
    }

    /// The bytes end within the payload.
    fn end_cut(&mut self, head: &Head<'c>, strict: Finding, payload: &[u8]) -> bool {
        if matches!(strict, Finding::Fault(_)) {
            return self.end(head, strict, Finding::Starved);
        }
        let code = match head.opcode() {
            8 => close_beginning(payload),
            _ => self.is_bad_text(head, payload, false).then_some(1007),
        };
        if let Some(code) = code {
            if self.reader == Reader::Tidegate {
                self.fail(code);
            } else {
                self.differ(Some(Deviation::WaitsForFrame));
            }
        }
        false
    }

    fn is_squeezed(&self, head: &Head<'c>) -> bool {
        head.begins_squeezed() || self.held.as_ref().is_some_and(|message| message.squeezed)
    }

    /// How much of a text is judged before its frame is whole, if any: sockudo-ws looks at what it has at
    /// the end of each chunk.
    fn text_seen_early(&self, head: &Head<'c>, payload: &[u8], whole: bool) -> Option<usize> {
        if self.reader != Reader::Sockudo || self.conversation.compression != Compression::None {
            return None;
        }
        let fitting = match head.opcode() {
            0 => self.held.is_some(),
            1 => self.held.is_none(),
            _ => false,
        };
        if !fitting {
            return None;
        }
        if !whole {
            return Some(payload.len());
        }
        let start = self.position + head.size().unwrap_or(0);
        let cuts = &self.conversation.cuts;
        let before = cuts.partition_point(|&cut| cut < start + payload.len());
        let last = cuts[..before].last()?;
        last.checked_sub(start)
    }

    /// Whether the text under way with these bytes is none: as far as it shows, or as a whole.
    fn is_bad_text(&self, head: &Head<'c>, payload: &[u8], is_end: bool) -> bool {
        let held = self.held.as_ref().filter(|_| head.opcode() == 0);
        let is_text = held.map_or(head.opcode() == 1, |message| message.is_text);
        if !is_text || self.is_squeezed(head) {
            return false;
        }
        let before = held.map_or(&[][..], |message| &message.raw);
        match std::str::from_utf8(&[before, payload].concat()) {
            Ok(_) => false,
            Err(error) => is_end || error.error_len().is_some(),
        }
    }

    fn control(&mut self, opcode: u8, payload: &[u8]) -> bool {
        match opcode {
            9 => self.verdict.ping(payload),
            10 => self.verdict.pong(payload),
            _ => return self.close(payload),
        }
        true
    }

    fn close(&mut self, body: &[u8]) -> bool {
        let Some((code, reason)) = body.split_first_chunk::<2>() else {
            if self.refuses_close() {
                return self.fail(1002);
            }
            self.verdict.close(None);
            return false;
        };
        let code = u16::from_be_bytes(*code);
        let (known, text) = (is_close_code(code), std::str::from_utf8(reason).is_ok());
        if !known && !text && matches!(self.reader, Reader::Tungstenite | Reader::Websockets) {
            self.differ(Some(Deviation::ReasonBeforeCode));
            return self.fail(1007);
        }
        if self.reader == Reader::Tungstenite && text && (!known || code == 1014) {
            let bad_gateway = Some(Deviation::BadGatewayUnknown).filter(|_| known);
            self.differ(bad_gateway.or(Some(Deviation::CloseCodeReplaced)));
            self.verdict.close(Some((1002, b"Protocol violation")));
            return false;
        }
        if !known {
            return self.fail(1002);
        }
        if !text {
            return self.fail(1007);
        }
        if self.refuses_close() {
            return self.fail(1002);
        }
        self.verdict.close(Some((code, reason)));
        false
    }

    fn refuses_close(&mut self) -> bool {
        let refuses = self.reader == Reader::Websockets && self.held.is_some();
        if refuses {
            self.differ(Some(Deviation::CloseInsideRefused));
        }
        refuses
    }

    /// A whole data frame in its place, as it came and as this reader has inflated it.
    fn data(&mut self, head: &Head<'c>, raw: Vec<u8>, inflated: Vec<u8>) -> bool {
        if self.is_bad_text(head, &raw, head.is_final()) {
            let waits = match self.reader {
                Reader::Tidegate | Reader::Tungstenite => false,
                Reader::Sockudo => {
                    self.conversation.compression != Compression::None && head.opcode() == 0
                }
                Reader::Websockets => true,
            };
            if !waits || head.is_final() {
                return self.fail(1007);
            }
            self.differ(Some(Deviation::TextAtEnd));
        }
        let squeezed = head.begins_squeezed();
        let is_text = head.opcode() == 1;
        let mut message = self.held.take().unwrap_or_else(|| Message {
            is_text,
            squeezed,
            raw: Vec::new(),
            inflated: Vec::new(),
        });
        message.raw.extend(raw);
        message.inflated.extend(inflated);
        if !head.is_final() {
            self.held = Some(message);
            return true;
        }
        if message.squeezed {
            return self.finish_squeezed(message);
        }
        self.verdict.message(message.is_text, &message.raw);
        true
    }
}

impl Machine<'_> {
    /// This reader leaves our ways here, if it has not before.
    const fn differ(&mut self, name: Option<Deviation>) {
        if self.deviation.is_none() && !self.unnamed {
            self.deviation = name;
            self.unnamed = name.is_none();
        }
    }

    const fn fail(&mut self, code: u16) -> bool {
        self.verdict.fail(code);
        false
    }
}

/// RFC 6455, 7.4, with 1012 to 1014 from the registry that 11.7 founded.
const fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// The code for what the beginning of a close body shows already.
fn close_beginning(body: &[u8]) -> Option<u16> {
    let (code, reason) = body.split_first_chunk::<2>()?;
    if !is_close_code(u16::from_be_bytes(*code)) {
        return Some(1002);
    }
    let error = std::str::from_utf8(reason).err()?;
    error.error_len().map(|_| 1007)
}
