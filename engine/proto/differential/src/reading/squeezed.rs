//! Compressed messages as each reader inflates them.

use super::inflate::{Decoder, Stop};

/// Why a compressed message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No DEFLATE data.
    Corrupt,
    /// A match refers to what was before a final block, or to what never was.
    TooFar,
    /// The data does not end as RFC 7692, 7.2.1 says.
    NotEnded,
    /// More than the limit comes out.
    TooBig,
}

impl Trouble {
    pub(super) const fn code(self) -> u16 {
        match self {
            Self::TooBig => 1009,
            Self::Corrupt | Self::TooFar | Self::NotEnded => 1007,
        }
    }
}

/// RFC 7692, 7.2.2: what is appended to a message before it is inflated.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// RFC 1951, 2: nothing refers further back.
const WINDOW_SIZE: usize = 32_768;

/// As the RFC has it, with two decisions of ours: final blocks clear the window, and none may be the last.
#[derive(Debug, Default)]
pub(super) struct Strict {
    window: Vec<u8>,
}

impl Strict {
    pub(super) fn message(
        &mut self,
        payload: &[u8],
        takeover: bool,
        size_max: usize,
    ) -> Result<Vec<u8>, Trouble> {
        if !takeover {
            self.window.clear();
        }
        let mut message = Vec::new();
        let mut rest = payload;
        loop {
            let (stop, used) = self.decode(rest, &mut message, size_max);
            match stop {
                Stop::Full => return Err(Trouble::TooBig),
                Stop::Corrupt => return Err(Trouble::Corrupt),
                Stop::TooFar => return Err(Trouble::TooFar),
                _ if message.len() > size_max => return Err(Trouble::TooBig),
                Stop::Final(_) => {
                    self.window.clear();
                    rest = &rest[used..];
                    if rest.is_empty() {
                        return Err(Trouble::NotEnded);
                    }
                }
                Stop::Between(_) | Stop::Within => break,
            }
        }
        self.end(rest, &message)?;
        Ok(message)
    }

    /// Whether the data ends in the block whose end was cut off; it is then in the window.
    fn end(&mut self, rest: &[u8], message: &[u8]) -> Result<(), Trouble> {
        let ended = [rest, &TAIL].concat();
        let mut out = self.window.clone();
        let (stop, _) = Decoder::new(&ended, &mut out, usize::MAX).run();
        match stop {
            Stop::Between(Some(start)) if start == rest.len() => {}
            Stop::Final(Some(start)) if start == rest.len() => {
                self.window.clear();
                return Ok(());
            }
            _ => return Err(Trouble::NotEnded),
        }
        debug_assert!(out.ends_with(&message[message.len() - (out.len() - self.window.len())..]));
        keep_window(&mut out);
        self.window = out;
        Ok(())
    }

    fn decode(&self, rest: &[u8], message: &mut Vec<u8>, size_max: usize) -> (Stop, usize) {
        let mut out = self.window.clone();
        let room = out.len() + size_max + 1 - message.len();
        let result = Decoder::new(rest, &mut out, room).run();
        message.extend_from_slice(&out[self.window.len()..]);
        result
    }
}

/// As a stream of zlib that gets each message and its tail and is never asked whether it has ended.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// What may be referred to, up to the beginning of `input`.
    window: Vec<u8>,
    /// All since then: it is decoded again with each message.
    input: Vec<u8>,
    /// How much of what `input` decodes to has been given out.
    given: usize,
    /// Whether a final block has ended it for good.
    over: bool,
}

impl Stream {
    /// Begins afresh.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether a final block has ended it for good.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Goes on behind each final block, and keeps the window.
    pub(super) fn message_across_ends(
        &mut self,
        payload: &[u8],
        size_max: usize,
    ) -> Result<Vec<u8>, Trouble> {
        let mut message = Vec::new();
        let before = self.input.len();
        self.input.extend_from_slice(payload);
        // How much of `input` is not the tail.
        let mut own = before + payload.len();
        self.input.extend_from_slice(&TAIL);
        loop {
            let (stop, used, made) = self.decode(size_max + 1 - message.len());
            message.extend_from_slice(&made);
            match stop {
                Stop::Corrupt => return Err(Trouble::Corrupt),
                Stop::TooFar => return Err(Trouble::TooFar),
                Stop::Full => return Err(Trouble::TooBig),
                _ if message.len() > size_max => return Err(Trouble::TooBig),
                Stop::Final(_) => {
                    self.restart(used);
                    if used >= own {
                        // What is left of the tail is not looked at.
                        self.input.clear();
                        return Ok(message);
                    }
                    own -= used;
                }
                Stop::Between(_) | Stop::Within => return Ok(message),
            }
        }
    }

    /// Stops at the first final block, and gives nothing from then on.
    pub(super) fn piece(&mut self, bytes: &[u8], size_max: usize) -> Result<Vec<u8>, Trouble> {
        if self.over {
            return Ok(Vec::new());
        }
        self.input.extend_from_slice(bytes);
        // To this library, 0 means no limit.
        let limit = if size_max == 0 {
            usize::MAX / 2
        } else {
            size_max
        };
        let (stop, used, made) = self.decode(limit);
        match stop {
            Stop::Corrupt => return Err(Trouble::Corrupt),
            Stop::TooFar => return Err(Trouble::TooFar),
            Stop::Full if used < self.input.len() => return Err(Trouble::TooBig),
            Stop::Final(_) => self.over = true,
            Stop::Full | Stop::Between(_) | Stop::Within => {}
        }
        Ok(made)
    }

    /// What `input` decodes to beyond what has been given out, at most `limit` bytes of it.
    fn decode(&mut self, limit: usize) -> (Stop, usize, Vec<u8>) {
        let mut out = self.window.clone();
        let given = out.len() + self.given;
        let (stop, used) = Decoder::new(&self.input, &mut out, given + limit).run();
        let made = out.split_off(given.min(out.len()));
        self.given += made.len();
        (stop, used, made)
    }

    /// Begins again behind `used` bytes, with the window that there is.
    fn restart(&mut self, used: usize) {
        let mut out = std::mem::take(&mut self.window);
        let _ = Decoder::new(&self.input, &mut out, usize::MAX).run();
        keep_window(&mut out);
        self.window = out;
        self.input.drain(..used);
        self.given = 0;
    }
}

fn keep_window(out: &mut Vec<u8>) {
    let surplus = out.len().saturating_sub(WINDOW_SIZE);
    out.drain(..surplus);
}
