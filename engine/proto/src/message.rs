//! A message: what one application sends to the other, text or bytes.

/// Whether a message is text or bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text (RFC 6455, 5.6).
    Text,
    /// Bytes, whose meaning is the application's (RFC 6455, 5.6).
    Binary,
}

/// A whole message, borrowed from wherever it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'m> {
    /// UTF-8 text.
    Text(&'m str),
    /// Bytes.
    Binary(&'m [u8]),
}

impl<'m> Message<'m> {
    /// The payload, whatever its kind.
    #[inline]
    #[must_use]
    pub const fn as_bytes(&self) -> &'m [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The size of the payload in bytes.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether the payload has no byte at all, which is a message nevertheless.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Text or bytes.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::Text(_) => MessageKind::Text,
            Self::Binary(_) => MessageKind::Binary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_know_their_bytes() {
        assert_eq!(Message::Text("ä").as_bytes(), [0xc3, 0xa4]);
        assert_eq!(Message::Text("ä").len(), 2);
        assert_eq!(Message::Text("").kind(), MessageKind::Text);
        assert!(Message::Text("").is_empty());
        assert_eq!(Message::Binary(&[1, 2]).as_bytes(), [1, 2]);
        assert_eq!(Message::Binary(&[1, 2]).kind(), MessageKind::Binary);
        assert!(!Message::Binary(&[1, 2]).is_empty());
    }
}
