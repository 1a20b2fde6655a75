//! Frames on the wire (RFC 6455, 5.2): headers read and written, nothing about their order.

use crate::mask::append_masked;
use crate::message::{Message, MessageKind};
use crate::violation::Violation;

/// The largest frame header in bytes: two, eight of length, four of mask (RFC 6455, 5.2).
pub const HEADER_SIZE_MAX: usize = 14;

/// The largest payload of a control frame in bytes (RFC 6455, 5.5).
pub const CONTROL_SIZE_MAX: usize = 125;

/// A header without its key, in bytes.
const START_SIZE_MAX: usize = 10;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_OR_RSV3: u8 = 0x30;
const MASKED: u8 = 0x80;
/// 7-bit lengths that announce a longer field.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// What a frame is for (RFC 6455, 5.2 and 11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// 0: the next fragment of the message under way.
    Continuation,
    /// 1: a text message, or its first fragment.
    Text,
    /// 2: a binary message, or its first fragment.
    Binary,
    /// 8: the close handshake.
    Close,
    /// 9: asks for a pong.
    Ping,
    /// 10: answers a ping, or a sign of life.
    Pong,
}

impl Opcode {
    /// The opcode with this number; `None` when it is reserved.
    #[must_use]
    pub const fn new(value: u8) -> Option<Self> {
        match value {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xA => Some(Self::Pong),
            _ => None,
        }
    }

    /// The four bits on the wire.
    #[must_use]
    pub const fn value(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// Close, ping and pong are control frames (RFC 6455, 5.5).
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

impl From<MessageKind> for Opcode {
    fn from(kind: MessageKind) -> Self {
        match kind {
            MessageKind::Text => Self::Text,
            MessageKind::Binary => Self::Binary,
        }
    }
}

/// The header of one frame.
///
/// ```text
///  byte 0                       byte 1                  then
///  FIN RSV1 RSV2 RSV3 opcode×4  MASK length×7           length 16 or 64 bits, key 32 bits
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The last frame of its message.
    pub fin: bool,
    /// Set only where an extension gave it a meaning.
    pub rsv1: bool,
    /// What the frame is for.
    pub opcode: Opcode,
    /// The key, when the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// The declared size of the payload in bytes, below 2^63. Declared, not arrived.
    pub payload_size: u64,
}

impl Header {
    /// Reads a header from the front of `bytes`, and says how many bytes it took.
    ///
    /// `None` when more bytes are needed. No extension is assumed, so no reserved bit may be set.
    ///
    /// # Errors
    /// A [`Violation`] as soon as the bytes that are there prove it, in the order of the bytes, so that
    /// the same bytes give the same violation however they are cut: a reserved bit or opcode or a
    /// fragmented control frame with the first byte; a control frame that is too long with the second;
    /// a length that is not minimal or has its top bit set with the byte that shows it.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        Self::parse_first_and_rest(bytes, false)
    }

    /// As [`Self::parse`], with RSV1 allowed on data frames, for an extension that uses it.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_extended(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        Self::parse_first_and_rest(bytes, true)
    }

    /// Appends the header in its shortest form.
    ///
    /// # Panics
    /// When `payload_size` is 2^63 or more, or a control frame is fragmented or over 125 bytes: such
    /// a frame cannot be said.
    pub fn encode(&self, wire: &mut Vec<u8>) {
        assert!(self.payload_size < 1 << 63, "a length has 63 bits");
        if self.opcode.is_control() {
            assert!(self.fin, "a control frame is not fragmented");
            let small = self.payload_size <= CONTROL_SIZE_MAX as u64;
            assert!(small, "a control frame has at most 125 bytes");
        }
        let rsv1 = if self.rsv1 { RSV1 } else { 0 };
        let fin = if self.fin { FIN } else { 0 };
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        encode_start(
            fin | rsv1 | self.opcode.value(),
            masked,
            self.payload_size,
            wire,
        );
        if let Some(key) = self.mask {
            wire.extend_from_slice(&key);
        }
    }

    fn parse_first_and_rest(
        bytes: &[u8],
        rsv1_allowed: bool,
    ) -> Result<Option<(Self, usize)>, Violation> {
        match bytes.first() {
            None => Ok(None),
            Some(first) => FirstByte::parse(*first, rsv1_allowed)?.parse_rest(bytes),
        }
    }
}

/// What the first byte of a frame says; enough to refuse most that is wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstByte {
    fin: bool,
    pub(crate) rsv1: bool,
    pub(crate) opcode: Opcode,
}

impl FirstByte {
    #[inline]
    pub(crate) fn parse(byte: u8, rsv1_allowed: bool) -> Result<Self, Violation> {
        let opcode = Opcode::new(byte & 0x0F).ok_or(Violation::ReservedOpcode);
        let (fin, rsv1) = (byte & FIN != 0, byte & RSV1 != 0);
        // RFC 6455, 5.2: a reserved bit without an extension that defines it fails the connection.
        // RFC 7692, 6: RSV1 belongs to messages, never to control frames.
        let control = opcode.is_ok_and(Opcode::is_control);
        if byte & RSV2_OR_RSV3 != 0 || rsv1 && (control || !rsv1_allowed) {
            return Err(Violation::ReservedBit);
        }
        let opcode = opcode?;
        // RFC 6455, 5.5: control frames must not be fragmented.
        if control && !fin {
            return Err(Violation::ControlFragmented);
        }
        Ok(Self { fin, rsv1, opcode })
    }

    /// Reads the rest of the header; `bytes` starts with the first byte.
    #[inline]
    pub(crate) fn parse_rest(self, bytes: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        let Some(&second) = bytes.get(1) else {
            return Ok(None);
        };
        let short = second & !MASKED;
        // RFC 6455, 5.5: a control frame carries at most 125 bytes.
        if self.opcode.is_control() && usize::from(short) > CONTROL_SIZE_MAX {
            return Err(Violation::ControlTooLong);
        }
        let length = match short {
            LENGTH_16 => parse_length_16(&bytes[2..])?,
            LENGTH_64 => parse_length_64(&bytes[2..])?,
            _ => Some((u64::from(short), 2)),
        };
        let Some((payload_size, mut size)) = length else {
            return Ok(None);
        };
        let mut key = None;
        if second & MASKED != 0 {
            key = bytes[size..].first_chunk::<4>().copied();
            if key.is_none() {
                return Ok(None);
            }
            size += 4;
        }
        let header = Header {
            fin: self.fin,
            rsv1: self.rsv1,
            opcode: self.opcode,
            mask: key,
            payload_size,
        };
        Ok(Some((header, size)))
    }
}

/// Whether the second byte of a header announces a mask.
#[inline]
pub(crate) const fn is_masked(second: u8) -> bool {
    second & MASKED != 0
}

/// The length and the size of the header up to here.
fn parse_length_16(field: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    let Some(length) = field.first_chunk::<2>() else {
        return Ok(None);
    };
    let length = u16::from_be_bytes(*length);
    // RFC 6455, 5.2: the minimal number of bytes must be used to encode the length.
    if length < u16::from(LENGTH_16) {
        return Err(Violation::LengthNotMinimal);
    }
    Ok(Some((u64::from(length), 4)))
}

/// The length and the size of the header up to here.
fn parse_length_64(field: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    // RFC 6455, 5.2: the most significant bit must be 0.
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Err(Violation::LengthTopBit);
    }
    // Six zero bytes leave no more than 16 bits: the last two need not be waited for.
    if field.first_chunk::<6>() == Some(&[0; 6]) {
        return Err(Violation::LengthNotMinimal);
    }
    let length = field.first_chunk::<8>();
    Ok(length.map(|length| (u64::from_be_bytes(*length), 10)))
}

/// The size of the header of an unmasked frame with this payload, in bytes: 2, 4 or 10.
#[must_use]
pub const fn header_size(payload_size: usize) -> usize {
    match payload_size {
        0..126 => 2,
        126..65_536 => 4,
        _ => 10,
    }
}

/// Appends a message as one unmasked frame, as a server sends it (RFC 6455, 6.1).
#[inline]
pub fn encode_message(message: Message<'_>, wire: &mut Vec<u8>) {
    let payload = message.as_bytes();
    reserve(payload.len(), wire);
    encode_message_header(message.kind(), payload.len(), wire);
    wire.extend_from_slice(payload);
}

/// Appends only the header of such a frame, for a payload that is sent from where it lies.
#[inline]
pub fn encode_message_header(kind: MessageKind, payload_size: usize, wire: &mut Vec<u8>) {
    encode_start(
        FIN | Opcode::from(kind).value(),
        0,
        payload_size as u64,
        wire,
    );
}

/// Appends a message as one masked frame, as a client sends it (RFC 6455, 5.3 and 6.1).
pub fn encode_message_masked(message: Message<'_>, key: [u8; 4], wire: &mut Vec<u8>) {
    encode_payload(message.kind().into(), message.as_bytes(), Some(key), wire);
}

/// Appends a compressed message as one unmasked frame (RFC 7692, 6.1: RSV1 is set).
///
/// `compressed` is what [`crate::deflate::Deflater`] made of it.
#[inline]
pub fn encode_deflated_message(kind: MessageKind, compressed: &[u8], wire: &mut Vec<u8>) {
    reserve(compressed.len(), wire);
    encode_deflated_header(kind, compressed.len(), wire);
    wire.extend_from_slice(compressed);
}

/// Appends only the header of such a frame, for a payload that is sent from where it lies.
#[inline]
pub fn encode_deflated_header(kind: MessageKind, compressed_size: usize, wire: &mut Vec<u8>) {
    let first = FIN | RSV1 | Opcode::from(kind).value();
    encode_start(first, 0, compressed_size as u64, wire);
}

/// Appends a compressed message as one masked frame (RFC 7692, 6.1: RSV1 is set).
pub fn encode_deflated_message_masked(
    kind: MessageKind,
    compressed: &[u8],
    key: [u8; 4],
    wire: &mut Vec<u8>,
) {
    let header = Header {
        fin: true,
        rsv1: true,
        opcode: kind.into(),
        mask: Some(key),
        payload_size: compressed.len() as u64,
    };
    encode_frame(&header, compressed, wire);
}

/// Appends one whole frame, masked when there is a key.
pub(crate) fn encode_payload(
    opcode: Opcode,
    payload: &[u8],
    key: Option<[u8; 4]>,
    wire: &mut Vec<u8>,
) {
    let header = Header {
        fin: true,
        rsv1: false,
        opcode,
        mask: key,
        payload_size: payload.len() as u64,
    };
    encode_frame(&header, payload, wire);
}

fn encode_frame(header: &Header, payload: &[u8], wire: &mut Vec<u8>) {
    wire.reserve(HEADER_SIZE_MAX + payload.len());
    header.encode(wire);
    match header.mask {
        Some(key) => {
            append_masked(payload, key, 0, wire);
        }
        None => wire.extend_from_slice(payload),
    }
}

/// Makes room for an unmasked frame: no more than it needs, but for the shortest.
#[inline]
fn reserve(payload_size: usize, wire: &mut Vec<u8>) {
    wire.reserve((header_size(payload_size) + payload_size).max(START_SIZE_MAX));
}

/// Appends everything of a header but the mask's key.
#[inline]
fn encode_start(first: u8, masked: u8, payload_size: u64, wire: &mut Vec<u8>) {
    let (short, field, size) = match payload_size {
        0..126 => (payload_size.to_le_bytes()[0], 0, 2),
        126..65_536 => (LENGTH_16, payload_size << 48, 4),
        _ => (LENGTH_64, payload_size, START_SIZE_MAX),
    };
    let [f0, f1, f2, f3, f4, f5, f6, f7] = field.to_be_bytes();
    // Written at its longest and then cut, so that there is one look at the capacity and no branch
    // on the length: a third of the time.
    let end = wire.len() + size;
    wire.extend_from_slice(&[first, masked | short, f0, f1, f2, f3, f4, f5, f6, f7]);
    wire.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(opcode: Opcode, payload_size: u64) -> Header {
        Header {
            fin: true,
            rsv1: false,
            opcode,
            mask: Some([1, 2, 3, 4]),
            payload_size,
        }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        for payload_size in [0, 125, 126, 65_535, 65_536, (1 << 63) - 1] {
            let written = header(Opcode::Binary, payload_size);
            let mut wire = Vec::new();
            written.encode(&mut wire);
            assert!(wire.len() <= HEADER_SIZE_MAX);
            for size in 0..wire.len() {
                assert_eq!(
                    Header::parse(&wire[..size]),
                    Ok(None),
                    "{payload_size} {size}"
                );
            }
            assert_eq!(Header::parse(&wire), Ok(Some((written, wire.len()))));
        }
    }

    #[test]
    fn rsv1_is_for_data_frames_of_an_extension() {
        let parsed = Header::parse_extended(&[0xc1, 0]).unwrap();
        assert!(parsed.is_some_and(|(header, _)| header.rsv1));
        assert_eq!(Header::parse(&[0xc1, 0]), Err(Violation::ReservedBit));
        for first in [0xc9, 0xa1, 0x91] {
            assert_eq!(
                Header::parse_extended(&[first]),
                Err(Violation::ReservedBit)
            );
        }
        let mut wire = Vec::new();
        let extended = Header {
            rsv1: true,
            ..header(Opcode::Text, 0)
        };
        extended.encode(&mut wire);
        assert_eq!(wire[0], 0xc1);
    }

    #[test]
    #[should_panic(expected = "125 bytes")]
    fn a_long_control_frame_cannot_be_written() {
        header(Opcode::Ping, 126).encode(&mut Vec::new());
    }

    #[test]
    #[should_panic(expected = "63 bits")]
    fn a_length_of_64_bits_cannot_be_written() {
        header(Opcode::Binary, 1 << 63).encode(&mut Vec::new());
    }
}
