//! Where readers part over compressed messages, frame by frame and as a whole.

use super::head::{Finding, Head};
use super::squeezed::Trouble;
use super::{Machine, Message, Reader};
use crate::conversation::Compression;
use crate::deviation::Deviation;

impl Machine<'_> {
    /// Inflates a frame by itself as websockets does, before it looks at anything else; whether to go on.
    pub(super) fn inflate_frame(
        &mut self,
        head: &Head<'_>,
        strict: Finding,
        payload: &mut Vec<u8>,
    ) -> bool {
        let held = self.held.as_ref();
        let continues = held.is_some_and(|message| message.squeezed) && head.opcode() == 0;
        let begins = head.begins_squeezed() && self.conversation.compression != Compression::None;
        let continues = continues && head.bytes[0] & 0x40 == 0;
        if !begins && !continues {
            return true;
        }
        if begins && self.conversation.compression == Compression::Shared {
            self.stream.forget();
        }
        let left = self
            .conversation
            .size_max
            .saturating_sub(self.held_size().counted);
        let inflated = self.inflate_piece(payload, head.is_final(), left);
        match inflated {
            Ok(inflated) => {
                *payload = inflated;
                true
            }
            Err(trouble) => {
                let code = if trouble == Trouble::TooBig {
                    1009
                } else {
                    1002
                };
                match strict {
                    Finding::Fault(check) if check.code() == code => {}
                    Finding::Fault(_) => self.differ(Some(Deviation::SizeFirst)),
                    _ if !head.is_final() => self.differ(Some(Deviation::InflatedByFrame)),
                    _ => {
                        let raw = held_raw(self.held.as_ref(), head);
                        self.name_refusal(&raw, code);
                    }
                }
                self.fail(code)
            }
        }
    }

    fn inflate_piece(
        &mut self,
        payload: &[u8],
        is_final: bool,
        left: usize,
    ) -> Result<Vec<u8>, Trouble> {
        const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
        if !is_final {
            return self.stream.piece(payload, left);
        }
        if payload.len() < 2044 {
            return self.stream.piece(&[payload, &TAIL].concat(), left);
        }
        let inflated = self.stream.piece(payload, left)?;
        if self.stream.piece(&TAIL, 1)?.is_empty() {
            Ok(inflated)
        } else {
            Err(Trouble::TooBig)
        }
    }

    /// Names why this reader refuses a whole compressed message with `code`.
    fn name_refusal(&mut self, raw: &[u8], code: u16) {
        let takeover = self.conversation.compression == Compression::Takeover;
        match self
            .strict
            .message(raw, takeover, self.conversation.size_max)
        {
            Err(trouble) if trouble.code() == code => {}
            Err(Trouble::TooBig) => self.differ(Some(Deviation::SizeOrCorrupt)),
            Err(_) if code == 1002 => self.differ(Some(Deviation::CorruptIs1002)),
            Err(_) => self.differ(Some(Deviation::SizeOrCorrupt)),
            Ok(_) => self.differ(None),
        }
    }

    /// A compressed message is whole: as we inflate it, and as this reader does.
    pub(super) fn finish_squeezed(&mut self, message: Message) -> bool {
        let size_max = self.conversation.size_max;
        let takeover = self.conversation.compression == Compression::Takeover;
        let ours = self.strict.message(&message.raw, takeover, size_max);
        let theirs = match self.reader {
            Reader::Sockudo => {
                if !takeover {
                    self.stream.forget();
                }
                self.stream.message_across_ends(&message.raw, size_max)
            }
            Reader::Websockets => Ok(message.inflated),
            Reader::Tidegate | Reader::Tungstenite => ours.clone(),
        };
        let same = match (&ours, &theirs) {
            (Err(a), Err(b)) => a.code() == b.code(),
            _ => ours == theirs,
        };
        if !same {
            let over = self.stream.is_over();
            self.differ(match (&ours, &theirs) {
                // Both refuse it, and not for the same.
                (Err(_), Err(_)) => Some(Deviation::SizeOrCorrupt),
                (Err(Trouble::TooBig), Ok(bytes))
                    if self.reader == Reader::Websockets && bytes.len() > size_max =>
                {
                    Some(Deviation::LimitLost)
                }
                _ if over => Some(Deviation::NothingAfterFinal),
                (Err(Trouble::NotEnded), _) => Some(Deviation::EndUnchecked),
                (Err(Trouble::TooFar), _) => Some(Deviation::WindowKeptOverFinal),
                _ => None,
            });
        }
        match theirs {
            Err(trouble) => self.fail(trouble.code()),
            Ok(bytes) if message.is_text && std::str::from_utf8(&bytes).is_err() => self.fail(1007),
            Ok(bytes) => {
                self.verdict.message(message.is_text, &bytes);
                true
            }
        }
    }
}

/// All of the message that this frame ends, as it came.
fn held_raw(held: Option<&Message>, head: &Head<'_>) -> Vec<u8> {
    let before = held.map_or(&[][..], |message| &message.raw);
    [before, &head.payload().0].concat()
}
