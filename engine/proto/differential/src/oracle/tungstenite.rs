//! The verdict of tungstenite: its `WebSocket` over a stream in memory.

use std::io::{self, Read, Write};

use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

use crate::conversation::{Conversation, Half};
use crate::verdict::Verdict;

/// A stream that gives one chunk for each read, then would block; what is written is dropped.
struct Chunks<'c> {
    conversation: &'c Conversation,
    index: usize,
    taken: usize,
}

impl Read for Chunks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(&end) = self.conversation.cuts.get(self.index) else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let size = buffer.len().min(end - self.taken);
        buffer[..size].copy_from_slice(&self.conversation.bytes[self.taken..self.taken + size]);
        self.taken += size;
        if self.taken == end {
            self.index += 1;
        }
        Ok(size)
    }
}

impl Write for Chunks<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the conversation, which has no compression, into `verdict`.
pub(crate) fn judge(conversation: &Conversation, verdict: &mut Verdict) {
    verdict.clear();
    let role = match conversation.half {
        Half::Server => Role::Server,
        Half::Client => Role::Client,
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_SIZE)
        .write_buffer_size(0)
        .max_message_size(Some(conversation.size_max))
        .max_frame_size(Some(conversation.size_max));
    let chunks = Chunks {
        conversation,
        index: 0,
        taken: 0,
    };
    let mut socket = WebSocket::from_raw_socket(chunks, role, Some(config));
    while !verdict.is_over() {
        match socket.read() {
            Ok(Message::Text(text)) => verdict.message(true, text.as_bytes()),
            Ok(Message::Binary(bytes)) => verdict.message(false, &bytes),
            Ok(Message::Ping(bytes)) => verdict.ping(&bytes),
            Ok(Message::Pong(bytes)) => verdict.pong(&bytes),
            Ok(Message::Close(frame)) => {
                verdict.close(
                    frame
                        .as_ref()
                        .map(|frame| (frame.code.into(), frame.reason.as_bytes())),
                );
            }
            Ok(Message::Frame(_)) => unreachable!("reading gives no raw frames"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => verdict.fail(code_of(&error)),
        }
    }
}

/// The class of the error; 1011 for one that no conversation should cause.
const fn code_of(error: &Error) -> u16 {
    match error {
        Error::Protocol(_) => 1002,
        Error::Utf8(_) => 1007,
        Error::Capacity(_) => 1009,
        _ => 1011,
    }
}

/// Its default of 128 KiB would be cleared for each conversation.
const READ_SIZE: usize = 1024;
