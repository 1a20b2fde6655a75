//! What an implementation makes of a conversation, in one form for all.

use std::fmt;

use crate::conversation::hex;

/// How a conversation ended for its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It waits for more.
    Open,
    /// A close frame arrived and was accepted.
    Closed,
    /// It was failed with this code.
    Failed(u16),
    /// Its reader has panicked, which nothing explains.
    Panicked,
}

/// What was seen, in its order, up to a close frame or the first violation.
///
/// The events are kept as bytes, so that two verdicts are compared by one comparison of memory, and a
/// process in another language can write the same: a tag, the length in four bytes, the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    log: Vec<u8>,
    messages: u32,
    ending: Ending,
}

/// The tags of the events in a log.
pub mod tag {
    /// A text message.
    pub const TEXT: u8 = b'T';
    /// A binary message.
    pub const BINARY: u8 = b'B';
    /// A ping.
    pub const PING: u8 = b'P';
    /// A pong.
    pub const PONG: u8 = b'O';
    /// A close frame: nothing, or a code and a reason.
    pub const CLOSE: u8 = b'C';
}

impl Verdict {
    /// Nothing seen, and open.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            log: Vec::new(),
            messages: 0,
            ending: Ending::Open,
        }
    }

    /// What another process has written.
    #[must_use]
    pub const fn from_parts(log: Vec<u8>, messages: u32, ending: Ending) -> Self {
        Self {
            log,
            messages,
            ending,
        }
    }

    /// Forgets all, and keeps its memory.
    pub fn clear(&mut self) {
        self.log.clear();
        self.messages = 0;
        self.ending = Ending::Open;
    }

    /// A message has arrived.
    pub fn message(&mut self, is_text: bool, payload: &[u8]) {
        self.messages += 1;
        self.push(if is_text { tag::TEXT } else { tag::BINARY }, payload);
    }

    /// A ping has arrived.
    pub fn ping(&mut self, payload: &[u8]) {
        self.push(tag::PING, payload);
    }

    /// A pong has arrived.
    pub fn pong(&mut self, payload: &[u8]) {
        self.push(tag::PONG, payload);
    }

    /// A close frame has arrived; nothing more is read.
    pub fn close(&mut self, body: Option<(u16, &[u8])>) {
        let mut bytes = Vec::new();
        if let Some((code, reason)) = body {
            bytes.extend_from_slice(&code.to_be_bytes());
            bytes.extend_from_slice(reason);
        }
        self.push(tag::CLOSE, &bytes);
        self.ending = Ending::Closed;
    }

    /// The peer broke a rule; nothing more is read.
    pub const fn fail(&mut self, code: u16) {
        self.ending = Ending::Failed(code);
    }

    /// The reader panicked.
    pub const fn panic(&mut self) {
        self.ending = Ending::Panicked;
    }

    /// How it ended.
    #[must_use]
    pub const fn ending(&self) -> Ending {
        self.ending
    }

    /// Whether the conversation is over.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        !matches!(self.ending, Ending::Open)
    }

    /// How many messages arrived.
    #[must_use]
    pub const fn messages(&self) -> u32 {
        self.messages
    }

    fn push(&mut self, tag: u8, payload: &[u8]) {
        let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.log.push(tag);
        self.log.extend_from_slice(&size.to_le_bytes());
        self.log.extend_from_slice(payload);
    }
}

impl Default for Verdict {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.log.as_slice();
        while let Some((&[tag, a, b, c, d], after)) = rest.split_first_chunk::<5>() {
            let size = u32::from_le_bytes([a, b, c, d]) as usize;
            let (payload, after) = after.split_at(size.min(after.len()));
            rest = after;
            let name = match tag {
                tag::TEXT => "text",
                tag::BINARY => "binary",
                tag::PING => "ping",
                tag::PONG => "pong",
                _ => "close",
            };
            writeln!(formatter, "  {name} of {size}: {}", hex(payload))?;
        }
        write!(formatter, "  {:?}", self.ending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_differ_by_kind_payload_order_and_ending() {
        let make = |is_text, payload: &[u8], code| {
            let mut verdict = Verdict::new();
            verdict.message(is_text, payload);
            verdict.ping(b"");
            verdict.fail(code);
            verdict
        };
        let verdict = make(true, b"a", 1002);
        assert_eq!(verdict, make(true, b"a", 1002));
        assert_ne!(verdict, make(false, b"a", 1002));
        assert_ne!(verdict, make(true, b"b", 1002));
        assert_ne!(verdict, make(true, b"a", 1007));
        assert_eq!(
            verdict.to_string(),
            "  text of 1: 61\n  ping of 0: \n  Failed(1002)"
        );
    }
}
