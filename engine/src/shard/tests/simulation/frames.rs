//! What clients put on the wire: messages that say whose they are, and frames, good and bad.

use std::fmt::Write as _;

use tidegate_proto::{CloseCode, MessageKind};

use crate::EndReason;

/// So many bytes of a message say who said it and which of its messages it is.
pub(super) const LABEL_SIZE: usize = 16;

/// The mask of every frame; its value means nothing.
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2: u8 = 0x20;

/// What stands in texts: characters of one to four bytes.
const WORDS: &str = "the tide comes in, größer als «ever», 潮が満ちる, 🌊 ";

/// Whoever says a number gets this: the same bytes for the same arguments.
pub(super) fn payload(caller: usize, number: u32, size: usize, kind: MessageKind) -> Vec<u8> {
    let mut text = String::with_capacity(LABEL_SIZE + size + WORDS.len());
    write!(text, "{caller:08x}{number:08x}").expect("a String takes everything");
    if kind == MessageKind::Text {
        while text.len() < size {
            text.push_str(WORDS);
        }
        let mut end = size;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.extend(std::iter::repeat_n('x', size - end));
        return text.into_bytes();
    }
    let mut bytes = text.into_bytes();
    let mut noise = u64::from(number) << 32 | 0x9E37_79B9;
    while bytes.len() < size {
        noise = noise.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        bytes.extend_from_slice(&(noise ^ noise >> 29).to_be_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Who said this, and which of its messages it is. The largest numbers if nobody did.
pub(super) fn label(bytes: &[u8]) -> (usize, u32) {
    let digits = bytes.get(..LABEL_SIZE).map(std::str::from_utf8);
    let parse = |text: &str| {
        let caller = usize::from_str_radix(text.get(..8)?, 16).ok()?;
        Some((caller, u32::from_str_radix(text.get(8..)?, 16).ok()?))
    };
    let found = digits.and_then(Result::ok).and_then(parse);
    found.unwrap_or((usize::MAX, u32::MAX))
}

/// A masked frame whose first byte is this.
fn frame(first: u8, payload: &[u8], wire: &mut Vec<u8>) {
    header(first, payload.len() as u64, wire);
    let mask = KEY.iter().cycle();
    wire.extend(payload.iter().zip(mask).map(|(byte, key)| byte ^ key));
}

fn header(first: u8, size: u64, wire: &mut Vec<u8>) {
    wire.push(first);
    match (u8::try_from(size), u16::try_from(size)) {
        (Ok(size @ 0..=125), _) => wire.push(0x80 | size),
        (_, Ok(size)) => {
            wire.push(0x80 | 126);
            wire.extend_from_slice(&size.to_be_bytes());
        }
        _ => {
            wire.push(0x80 | 127);
            wire.extend_from_slice(&size.to_be_bytes());
        }
    }
    wire.extend_from_slice(&KEY);
}

/// A message in so many frames, with a ping between them if there is one. With `unfinished`,
/// the last frame is missing.
pub(super) struct Fragments<'a> {
    pub(super) opcode: u8,
    pub(super) deflated: bool,
    pub(super) count: usize,
    pub(super) ping: Option<u32>,
    pub(super) unfinished: bool,
    pub(super) bytes: &'a [u8],
}

impl Fragments<'_> {
    pub(super) fn write(&self, wire: &mut Vec<u8>) {
        let count = self.count.max(1);
        let part = self.bytes.len() / count;
        for index in 0..count {
            let is_last = index + 1 == count;
            let end = if is_last {
                self.bytes.len()
            } else {
                part * (index + 1)
            };
            if is_last && self.unfinished {
                return;
            }
            let opcode = if index == 0 { self.opcode } else { 0 };
            let rsv = if index == 0 && self.deflated { RSV1 } else { 0 };
            let fin = if is_last { FIN } else { 0 };
            frame(opcode | rsv | fin, &self.bytes[part * index..end], wire);
            if let Some(number) = self.ping.filter(|_| index == 0) {
                ping(number, wire);
            }
        }
    }
}

pub(super) fn ping(number: u32, wire: &mut Vec<u8>) {
    frame(FIN | PING, &number.to_be_bytes(), wire);
}

pub(super) fn pong(payload: &[u8], wire: &mut Vec<u8>) {
    frame(FIN | PONG, payload, wire);
}

pub(super) fn close(code: CloseCode, wire: &mut Vec<u8>) {
    let mut body = code.value().to_be_bytes().to_vec();
    body.extend_from_slice(b"bye");
    frame(FIN | CLOSE, &body, wire);
}

/// A way to break the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breach {
    Unmasked,
    ReservedOpcode,
    ReservedBit,
    Continuation,
    LongPing,
    CloseOfOneByte,
    BadText,
    TooBig,
    /// Compressed, as agreed, but no deflate data; for others a reserved bit.
    BadDeflate,
}

impl Breach {
    pub(super) const ALL: [Self; 9] = [
        Self::Unmasked,
        Self::ReservedOpcode,
        Self::ReservedBit,
        Self::Continuation,
        Self::LongPing,
        Self::CloseOfOneByte,
        Self::BadText,
        Self::TooBig,
        Self::BadDeflate,
    ];

    pub(super) fn write(self, message_size_max: usize, wire: &mut Vec<u8>) {
        match self {
            Self::Unmasked => wire.extend_from_slice(&[FIN | BINARY, 2, 1, 2]),
            Self::ReservedOpcode => frame(FIN | 3, b"three", wire),
            Self::ReservedBit => frame(FIN | RSV2 | BINARY, b"rsv2", wire),
            Self::Continuation => frame(FIN, b"of nothing", wire),
            Self::LongPing => frame(FIN | PING, &[7; 126], wire),
            Self::CloseOfOneByte => frame(FIN | CLOSE, &[3], wire),
            Self::BadText => frame(FIN | TEXT, b"sound, then \xFF\xFE", wire),
            Self::TooBig => header(FIN | BINARY, message_size_max as u64 + 1, wire),
            Self::BadDeflate => frame(FIN | RSV1 | BINARY, &[0xFF; 40], wire),
        }
    }

    /// The code that the peer is told, and how the server calls that end.
    pub(super) fn answer(self, deflates: bool) -> (CloseCode, EndReason) {
        match self {
            Self::BadText => (CloseCode::INVALID_PAYLOAD, EndReason::InvalidUtf8),
            Self::TooBig => (CloseCode::TOO_BIG, EndReason::TooBig),
            Self::BadDeflate if deflates => (CloseCode::INVALID_PAYLOAD, EndReason::InvalidDeflate),
            _ => (CloseCode::PROTOCOL_ERROR, EndReason::ProtocolError),
        }
    }
}
