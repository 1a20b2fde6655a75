//! The bytes that all are given.

use tidegate_proto::frame::{Header, Opcode};
use tidegate_proto::{Message, frame, mask};

/// Any key without a zero in it.
pub(crate) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A payload lies behind a header of 6, 8 or 14 bytes, so hardly ever at the start of a word.
pub(crate) const HEADER_SIZE: usize = 6;

/// What a text is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// Only ASCII, as in JSON.
    Ascii,
    /// ASCII with a letter of two, three or four bytes now and then.
    Mixed,
}

/// A text of `size` bytes.
pub(crate) fn text(script: Script, size: usize) -> String {
    let line = match script {
        Script::Ascii => {
            "ebb and flow, in and out, all day long and all night too, each day anew. "
        }
        Script::Mixed => {
            "flöde och ebb, in och ut, hela dagen lång, 潮の満ち引き, 🌊 åter var dag. "
        }
    };
    let mut text = String::with_capacity(size);
    for character in line.chars().cycle() {
        if text.len() + character.len_utf8() > size {
            break;
        }
        text.push(character);
    }
    text.extend(std::iter::repeat_n('.', size - text.len()));
    text
}

/// A JSON message of `size` bytes, as a feed of prices would send them; no two are alike.
pub(crate) fn json(size: usize, serial: usize) -> String {
    let mut text = format!(r#"{{"channel":"ticker","serial":{serial},"prices":["#);
    let mut state = (serial as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while text.len() < size {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (symbol, whole, cents) = (state >> 61, state >> 54 & 0x7f, state >> 48 & 0x3f);
        text.push_str(&format!(
            r#"{{"symbol":"SYM{symbol}","bid":{whole}.{cents},"ask":{whole}.{}}},"#,
            cents + 1
        ));
    }
    text.truncate(size - 2);
    text.push_str("]}");
    text
}

/// `count` masked text messages, each in one frame.
pub(crate) fn wire(text: &str, count: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for _ in 0..count {
        frame::encode_message_masked(Message::Text(text), KEY, &mut wire);
    }
    wire
}

/// One masked text message in frames of `piece` bytes.
pub(crate) fn wire_in_pieces(text: &str, piece: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    let pieces: Vec<&[u8]> = text.as_bytes().chunks(piece).collect();
    for (index, bytes) in pieces.iter().enumerate() {
        let opcode = if index == 0 {
            Opcode::Text
        } else {
            Opcode::Continuation
        };
        let header = Header {
            fin: index + 1 == pieces.len(),
            rsv1: false,
            opcode,
            mask: Some(KEY),
            payload_size: bytes.len() as u64,
        };
        header.encode(&mut wire);
        let start = wire.len();
        wire.extend_from_slice(bytes);
        mask(&mut wire[start..], KEY, 0);
    }
    wire
}

/// The bytes with room before them, which begin half a page away from where `destination` does.
///
/// On some processors a copy takes twenty times as long when source and destination lie in nearly the same
/// place of their pages (`rep movsb` on Zen 4). Whom that hits is chance, so it is kept away from all.
pub(crate) fn placed(bytes: &[u8], destination: &[u8]) -> (Vec<u8>, usize) {
    const PAGE_SIZE: usize = 4096;
    let mut room: Vec<u8> = Vec::with_capacity(bytes.len() + 2 * PAGE_SIZE);
    let wanted = destination.as_ptr().addr() + PAGE_SIZE / 2;
    let start = wanted.wrapping_sub(room.as_ptr().addr()) % PAGE_SIZE;
    room.resize(start, 0);
    room.extend_from_slice(bytes);
    (room, start)
}
