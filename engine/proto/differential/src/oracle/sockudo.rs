//! The verdict of sockudo-ws: its protocol handlers, which know no socket.

use bytes::BytesMut;
use sockudo_ws::protocol::{Protocol, Role};
use sockudo_ws::{CompressedProtocol, DeflateConfig, Error, Message};

use crate::conversation::{Compression, Conversation, Half};
use crate::reading::compressed_size_max;
use crate::verdict::Verdict;

/// Reads conversations, with buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct Sockudo {
    buffer: BytesMut,
    messages: Vec<Message>,
}

impl Sockudo {
    /// Reads the conversation into `verdict`.
    pub(crate) fn judge(&mut self, conversation: &Conversation, verdict: &mut Verdict) {
        let size_max = conversation.size_max;
        if conversation.compression == Compression::None {
            let role = match conversation.half {
                Half::Server => Role::Server,
                Half::Client => Role::Client,
            };
            let mut protocol = Protocol::new(role, size_max, size_max);
            self.read(conversation, verdict, |buffer, messages| {
                protocol.process_into(buffer, messages)
            });
            return;
        }
        let shared = conversation.compression == Compression::Shared;
        let config = DeflateConfig {
            server_no_context_takeover: shared,
            client_no_context_takeover: shared,
            ..DeflateConfig::default()
        };
        let frame_size_max = compressed_size_max(size_max);
        let mut protocol = match conversation.half {
            Half::Server => CompressedProtocol::server(frame_size_max, size_max, config),
            Half::Client => CompressedProtocol::client(frame_size_max, size_max, config),
        };
        self.read(conversation, verdict, |buffer, messages| {
            protocol.process_into(buffer, messages)
        });
    }

    fn read(
        &mut self,
        conversation: &Conversation,
        verdict: &mut Verdict,
        mut process: impl FnMut(&mut BytesMut, &mut Vec<Message>) -> Result<(), Error>,
    ) {
        verdict.clear();
        self.buffer.clear();
        for chunk in conversation.chunks() {
            self.buffer.extend_from_slice(chunk);
            let processed = process(&mut self.buffer, &mut self.messages);
            for message in self.messages.drain(..) {
                if !verdict.is_over() {
                    take(&message, verdict);
                }
            }
            if verdict.is_over() {
                return;
            }
            if let Err(error) = processed {
                verdict.fail(code_of(&error));
                return;
            }
        }
    }
}

fn take(message: &Message, verdict: &mut Verdict) {
    match message {
        Message::Text(bytes) => verdict.message(true, bytes),
        Message::Binary(bytes) => verdict.message(false, bytes),
        Message::Ping(bytes) => verdict.ping(bytes),
        Message::Pong(bytes) => verdict.pong(bytes),
        Message::Close(reason) => {
            let body = reason.as_ref();
            verdict.close(body.map(|body| (body.code, body.reason.as_bytes())));
        }
    }
}

/// The class of the error; 1011 for one that no conversation should cause.
const fn code_of(error: &Error) -> u16 {
    match error {
        Error::Protocol(_) | Error::InvalidFrame(_) | Error::InvalidCloseCode(_) => 1002,
        // It names no code for data that cannot be inflated; RFC 7692 names none either.
        Error::InvalidUtf8 | Error::Compression(_) => 1007,
        Error::MessageTooLarge | Error::FrameTooLarge => 1009,
        _ => 1011,
    }
}
