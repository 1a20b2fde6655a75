//! Our own verdict on a conversation.

use tidegate_proto::deflate::Inflater;
use tidegate_proto::{Event, Input, MessageKind, Session, Settings, Violation};

use crate::conversation::{Compression, Conversation, Half};
use crate::verdict::Verdict;

/// Drives a session as a server or a load client does.
#[derive(Debug, Default)]
pub struct Tidegate {
    inflater: Inflater,
    inflated: Vec<u8>,
    chunk: Vec<u8>,
    wire: Vec<u8>,
}

/// What belongs to one conversation.
struct Reader<'v> {
    session: Session,
    takeover: bool,
    verdict: &'v mut Verdict,
}

impl Tidegate {
    /// With empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the conversation into `verdict`, whose former content is dropped.
    pub fn judge(&mut self, conversation: &Conversation, verdict: &mut Verdict) {
        verdict.clear();
        self.wire.clear();
        self.inflater.forget();
        let settings = Settings {
            message_size_max: conversation.size_max,
        };
        let mut session = match conversation.half {
            Half::Server => Session::server(settings),
            Half::Client => Session::client(settings),
        };
        if conversation.compression != Compression::None {
            session = session.with_deflate();
        }
        let mut reader = Reader {
            session,
            takeover: conversation.compression == Compression::Takeover,
            verdict,
        };
        for chunk in conversation.chunks() {
            self.receive(&mut reader, chunk, conversation.direct);
            if reader.verdict.is_over() {
                return;
            }
        }
    }

    fn receive(&mut self, reader: &mut Reader<'_>, mut chunk: &[u8], direct: bool) {
        while direct && !chunk.is_empty() && !reader.verdict.is_over() {
            let Some(mut lent) = reader.session.take_buffer(1) else {
                break;
            };
            let (taken, rest) = chunk.split_at(lent.wanted.min(chunk.len()));
            lent.buffer.extend_from_slice(taken);
            chunk = rest;
            let received = reader.session.give_buffer(lent.buffer, &mut self.wire);
            self.take(reader, received);
        }
        let mut bytes = std::mem::take(&mut self.chunk);
        bytes.clear();
        bytes.extend_from_slice(chunk);
        let mut input = Input::new(&mut bytes);
        while !reader.verdict.is_over() {
            match reader.session.receive(&mut input, &mut self.wire) {
                Ok(None) => break,
                received => self.take(reader, received),
            }
        }
        self.chunk = bytes;
    }

    fn take(&mut self, reader: &mut Reader<'_>, received: Result<Option<Event<'_>>, Violation>) {
        let verdict = &mut *reader.verdict;
        match received {
            Ok(None) => {}
            Ok(Some(Event::Message(message))) => {
                let is_text = message.kind() == MessageKind::Text;
                // What is shown as text has been looked through once more, or this panics.
                verdict.message(is_text, message.message().as_bytes());
            }
            Ok(Some(Event::Deflated(message))) => {
                let (kind, bytes) = (message.kind(), message.as_bytes());
                let size_max = reader.session.message_size_max();
                let out = &mut self.inflated;
                match self
                    .inflater
                    .inflate(kind, bytes, reader.takeover, size_max, out)
                {
                    Ok(message) => verdict.message(kind == MessageKind::Text, message.as_bytes()),
                    Err(violation) => {
                        reader.session.fail_with(violation, &mut self.wire);
                        verdict.fail(violation.code().value());
                    }
                }
            }
            Ok(Some(Event::Ping(payload))) => verdict.ping(payload.as_slice()),
            Ok(Some(Event::Pong(payload))) => verdict.pong(payload.as_slice()),
            Ok(Some(Event::Close { code, reason })) => {
                verdict.close(code.map(|code| (code.value(), reason.as_str().as_bytes())));
            }
            Err(violation) => verdict.fail(violation.code().value()),
        }
    }
}
