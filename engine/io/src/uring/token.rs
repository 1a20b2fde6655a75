//! What a request is called: the number that its completions bring back.
//!
//! ```text
//!   63     56 55            40 39        32 31                         0
//!  ┌─────────┬────────────────┬────────────┬────────────────────────────┐
//!  │  kind   │ slot of a send │ generation │       socket number        │
//!  └─────────┴────────────────┴────────────┴────────────────────────────┘
//! ```
//!
//! A number is used again only when every request of its socket has come back, so the
//! generation is a second lock on a door that is shut: it has never been seen to differ.

use crate::Socket;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Something to be received, or an end.
    Readable,
    /// Room to send, or the end of a connect.
    Writable,
    /// A small batch, out of a slot.
    Send,
    /// A peer.
    Accept,
    /// A ring of the doorbell.
    Bell,
    /// The moment has come.
    Alarm,
    /// To move the alarm. It answers only if there was none.
    AlarmMoved,
    /// To cancel another request. It answers only if there was nothing to cancel.
    Cancel,
}

/// The name of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(pub(super) u64);

const KINDS: [Kind; 8] = [
    Kind::Readable,
    Kind::Writable,
    Kind::Send,
    Kind::Accept,
    Kind::Bell,
    Kind::Alarm,
    Kind::AlarmMoved,
    Kind::Cancel,
];

impl Token {
    /// A request that belongs to the driver itself.
    pub(super) const fn own(kind: Kind) -> Self {
        Self((kind as u64) << 56)
    }

    /// A request that belongs to a socket.
    #[inline]
    pub(super) const fn of(kind: Kind, socket: Socket, generation: u8) -> Self {
        Self((kind as u64) << 56 | (generation as u64) << 32 | socket.0 as u64)
    }

    /// A send of a socket's, out of this slot.
    #[inline]
    pub(super) const fn send(socket: Socket, generation: u8, slot: u16) -> Self {
        Self(Self::of(Kind::Send, socket, generation).0 | (slot as u64) << 40)
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        KINDS[usize::from(self.0.to_le_bytes()[7])]
    }

    #[inline]
    pub(super) const fn generation(self) -> u8 {
        self.0.to_le_bytes()[4]
    }

    #[inline]
    pub(super) const fn slot(self) -> u16 {
        let [.., low, high, _] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    #[inline]
    pub(super) const fn socket(self) -> Socket {
        let [a, b, c, d, ..] = self.0.to_le_bytes();
        Socket(u32::from_le_bytes([a, b, c, d]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_brings_back_what_it_was_made_of() {
        for kind in KINDS {
            assert_eq!(Token::own(kind).kind(), kind);
            for (number, generation) in [(0, 255), (u32::MAX, 0), (0x1234_5678, 0x9A)] {
                let token = Token::of(kind, Socket(number), generation);
                assert_eq!(token.kind(), kind);
                assert_eq!(token.socket(), Socket(number));
                assert_eq!(token.generation(), generation);
                assert_eq!(token.slot(), 0);
            }
        }
        for slot in [0, 1, 0x1234, u16::MAX] {
            let token = Token::send(Socket(7), 3, slot);
            let parts = (token.kind(), token.socket(), token.generation());
            assert_eq!(parts, (Kind::Send, Socket(7), 3));
            assert_eq!(token.slot(), slot);
        }
    }
}
