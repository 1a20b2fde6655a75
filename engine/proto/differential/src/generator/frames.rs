//! Frames byte by byte, well-formed or broken.

use crate::random::Random;

pub(super) const FIN: u8 = 0x80;
pub(super) const RSV1: u8 = 0x40;
pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// In how many bytes a length is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Shortest,
    Two,
    Eight,
}

/// Appends a frame, with one fault in its header if it is `broken`.
pub(super) fn put_frame(
    random: &mut Random,
    mut first: u8,
    mut masked: bool,
    broken: bool,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    let mut declared = payload.len() as u64;
    let mut form = Form::Shortest;
    if broken {
        match random.below(10) {
            0 => first ^= random.pick(&[0x40, 0x20, 0x10, 0x70]),
            1 => first = first & 0xf0 | random.byte() & 0x0f,
            2 | 3 => first ^= FIN,
            4 => masked = !masked,
            5 => form = Form::Two,
            6 => form = Form::Eight,
            7 if random.percent(30) => (form, declared) = (Form::Eight, 1 << 63 | declared),
            7 => (form, declared) = (Form::Eight, random.number() >> random.below(50)),
            8 => declared = declared.wrapping_add(random.number() % 9).saturating_sub(4),
            _ => (form, declared) = (Form::Two, random.number() % 0x1_0000),
        }
    }
    out.push(first);
    put_length(if masked { 0x80 } else { 0 }, declared, form, out);
    if !masked {
        out.extend_from_slice(payload);
        return;
    }
    let key = if random.percent(5) {
        [0; 4]
    } else {
        random.four()
    };
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    for piece in out[start..].chunks_mut(4) {
        for (byte, key) in piece.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
}

fn put_length(masked: u8, length: u64, form: Form, out: &mut Vec<u8>) {
    let bytes = length.to_be_bytes();
    match (form, length) {
        (Form::Shortest, 0..126) => out.push(masked | bytes[7]),
        (Form::Shortest, 126..0x1_0000) | (Form::Two, _) => {
            out.push(masked | 126);
            out.extend_from_slice(&bytes[6..]);
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&bytes);
        }
    }
}
