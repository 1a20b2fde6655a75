//! What the peer did, borrowed from the bytes in which it arrived.

use std::fmt;

use crate::close::CloseCode;
use crate::message::{Message, MessageKind};

/// What a peer did. Borrows from the chunk, never from the session.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole message, unmasked, and valid UTF-8 if it is text.
    Message(ReceivedMessage<'a>),
    /// A whole compressed message, unmasked and as it came: neither inflated nor validated. Only a
    /// session [`crate::Session::with_deflate`] has them.
    Deflated(DeflatedMessage<'a>),
    /// A ping. The server half has already put the pong on the wire; a client half answers with
    /// [`crate::Session::pong_masked`].
    Ping(ControlPayload<'a>),
    /// A pong, asked for or not (RFC 6455, 5.5.3).
    Pong(ControlPayload<'a>),
    /// The peer's close frame. The server half has already put its answer on the wire, unless it had
    /// sent a close frame before; a client half answers with [`crate::Session::close_masked`].
    Close {
        /// The code, or `None` when the close frame had no body (which RFC 6455, 7.1.5 calls 1005).
        code: Option<CloseCode>,
        /// The reason, often empty.
        reason: CloseReason<'a>,
    },
}

/// A whole message: lent from the chunk when it lay there in one piece, owned when it had to be put
/// together.
///
/// Two of them are equal when kind and payload are, wherever they lie.
#[derive(Debug)]
pub enum ReceivedMessage<'a> {
    /// It lies in the chunk.
    Lent(Message<'a>),
    /// It was put together from several chunks or fragments; its memory is freed with it.
    Owned(OwnedMessage),
}

impl ReceivedMessage<'_> {
    /// The message.
    ///
    /// Free when lent. An owned text is looked through once more by vector instructions to be shown as
    /// `str` without unsafe code: whoever needs only the bytes asks [`Self::as_bytes`].
    #[inline]
    #[must_use]
    pub fn message(&self) -> Message<'_> {
        match self {
            Self::Lent(message) => *message,
            Self::Owned(message) => message.message(),
        }
    }

    /// The payload, whatever its kind. Always free.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Lent(message) => message.as_bytes(),
            Self::Owned(message) => &message.bytes,
        }
    }

    /// Text or bytes. Always free.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::Lent(message) => message.kind(),
            Self::Owned(message) => message.kind,
        }
    }

    /// How many frames it came in, without those that [`crate::Session::take_fragment_count`] has
    /// told of before; at least 1.
    #[must_use]
    pub const fn frame_count(&self) -> u32 {
        match self {
            Self::Lent(_) => 1,
            Self::Owned(message) => message.frame_count,
        }
    }
}

impl PartialEq for ReceivedMessage<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for ReceivedMessage<'_> {}

/// A message that owns its payload.
#[derive(Debug)]
pub struct OwnedMessage {
    /// Invariant: when `kind` is text, `bytes` is valid UTF-8.
    kind: MessageKind,
    /// Those that have not been told of before.
    frame_count: u32,
    bytes: Vec<u8>,
}

impl OwnedMessage {
    /// The caller has validated `bytes` if `kind` is text.
    pub(crate) const fn new(kind: MessageKind, frame_count: u32, bytes: Vec<u8>) -> Self {
        Self {
            kind,
            frame_count,
            bytes,
        }
    }

    /// The message. A text is looked through once more, see [`ReceivedMessage::message`].
    #[must_use]
    pub fn message(&self) -> Message<'_> {
        match self.kind {
            MessageKind::Text => Message::Text(
                simdutf8::basic::from_utf8(&self.bytes).expect("validated as it arrived"),
            ),
            MessageKind::Binary => Message::Binary(&self.bytes),
        }
    }

    /// The payload, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A whole compressed message (RFC 7692, 6.2), to be handed to [`crate::deflate::Inflater::inflate`].
///
/// Lent or owned as [`ReceivedMessage`] is.
pub struct DeflatedMessage<'a> {
    kind: MessageKind,
    frame_count: u32,
    payload: Payload<'a>,
}

impl<'a> DeflatedMessage<'a> {
    pub(crate) const fn lent(kind: MessageKind, bytes: &'a [u8]) -> Self {
        Self {
            kind,
            frame_count: 1,
            payload: Payload::Lent(bytes),
        }
    }

    pub(crate) const fn owned(kind: MessageKind, frame_count: u32, bytes: Vec<u8>) -> Self {
        Self {
            kind,
            frame_count,
            payload: Payload::Owned(bytes),
        }
    }

    /// As [`ReceivedMessage::frame_count`].
    #[must_use]
    pub const fn frame_count(&self) -> u32 {
        self.frame_count
    }

    /// What it is once it is inflated.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The compressed payload, without the tail that its sender has cut off.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.payload.as_slice()
    }
}

impl fmt::Debug for DeflatedMessage<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("DeflatedMessage");
        debug.field("kind", &self.kind);
        debug.field("bytes", &self.as_bytes()).finish()
    }
}

impl PartialEq for DeflatedMessage<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for DeflatedMessage<'_> {}

/// The payload of a ping or pong: at most 125 bytes.
///
/// It lies in the chunk, or, when the end of a chunk cut it, in the memory that collected it.
pub struct ControlPayload<'a>(Payload<'a>);

enum Payload<'a> {
    Lent(&'a [u8]),
    Owned(Vec<u8>),
}

impl Payload<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl<'a> ControlPayload<'a> {
    pub(crate) const fn lent(bytes: &'a [u8]) -> Self {
        Self(Payload::Lent(bytes))
    }

    pub(crate) const fn owned(bytes: Vec<u8>) -> Self {
        Self(Payload::Owned(bytes))
    }

    /// The payload, unmasked.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl fmt::Debug for ControlPayload<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().fmt(formatter)
    }
}

impl PartialEq for ControlPayload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for ControlPayload<'_> {}

/// The reason in a close frame: UTF-8 of at most 123 bytes, not meant for end users (RFC 6455, 7.1.6).
///
/// It borrows as [`ControlPayload`] does.
pub struct CloseReason<'a> {
    /// Invariant: what follows the two bytes of the code is valid UTF-8.
    body: ControlPayload<'a>,
}

impl<'a> CloseReason<'a> {
    /// The caller has validated `body`, the whole body of a close frame.
    pub(crate) const fn new(body: ControlPayload<'a>) -> Self {
        Self { body }
    }

    /// The reason; empty when none was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let reason = self.body.as_slice().get(2..).unwrap_or_default();
        std::str::from_utf8(reason).expect("validated as it was received")
    }
}

impl fmt::Debug for CloseReason<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(formatter)
    }
}

impl PartialEq for CloseReason<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for CloseReason<'_> {}

// An event is moved through several returns for each message: a few words, never a payload.
const _: () = assert!(size_of::<Event<'_>>() <= 40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_does_not_ask_where_the_bytes_lie() {
        let owned = OwnedMessage::new(MessageKind::Text, 1, b"same".to_vec());
        let owned = ReceivedMessage::Owned(owned);
        assert_eq!(owned, ReceivedMessage::Lent(Message::Text("same")));
        assert_ne!(owned, ReceivedMessage::Lent(Message::Binary(b"same")));
        assert_eq!(ControlPayload::lent(&[1]), ControlPayload::owned(vec![1]));
        assert_eq!(
            CloseReason::new(ControlPayload::lent(b"\x03\xe8bye")),
            CloseReason::new(ControlPayload::owned(b"\x03\xe8bye".to_vec()))
        );
    }

    #[test]
    fn an_owned_message_gives_its_bytes_away() {
        let owned = OwnedMessage::new(MessageKind::Binary, 1, vec![0xff]);
        assert_eq!(owned.message(), Message::Binary(&[0xff]));
        assert_eq!(owned.into_bytes(), [0xff]);
    }
}
