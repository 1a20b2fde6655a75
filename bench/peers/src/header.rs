//! Frame headers by themselves, read and written.
//!
//! Reading: tidegate checks opcode, reserved bits, the size of control frames and that the length is
//! minimal; tungstenite checks the opcode. The others read no header without its
//! payload. Writing: into a `Vec`, a `BytesMut` or an array, as each has it.

use std::hint::black_box;
use std::io::Cursor;

use bytes::BytesMut;
use fastwebsockets::{Frame, OpCode, Payload};
use tidegate_proto::MessageKind;
use tidegate_proto::frame::{self, Header};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding;

use crate::messages::{Script, text, wire};
use crate::{Case, size_name};

/// One of each form: 7, 16 and 64 bits of length.
const SIZES: [usize; 3] = [16, 512, 65_536];

/// The declared size of the payload.
type Read = fn(&[u8]) -> u64;

const READS: [(&str, Read); 2] = [
    ("tidegate", |bytes| {
        let (header, _) = Header::parse(bytes).expect("valid").expect("whole");
        header.payload_size
    }),
    ("tungstenite", |bytes| {
        let parsed = FrameHeader::parse(&mut Cursor::new(bytes));
        parsed.expect("valid").expect("whole").1
    }),
];

pub(crate) fn add(cases: &mut Vec<Case>) {
    for size in SIZES {
        for (name, read) in READS {
            let prepare = move || {
                let wire = wire(&text(Script::Ascii, size), 1);
                move || {
                    black_box(read(black_box(&wire)));
                }
            };
            cases.push(Case::new("read header", size_name(size), name, prepare));
        }
    }
    for size in SIZES {
        let (function, message) = ("write header", || size_name(size));
        let prepare = move || tidegate(size);
        cases.push(Case::new(function, message(), "tidegate", prepare));
        let prepare = move || tungstenite(size);
        cases.push(Case::new(function, message(), "tungstenite", prepare));
        let prepare = move || fastwebsockets(size);
        cases.push(Case::new(function, message(), "fastwebsockets", prepare));
        let prepare = move || sockudo(size);
        cases.push(Case::new(function, message(), "sockudo-ws", prepare));
    }
}

fn tidegate(size: usize) -> impl FnMut() {
    let mut wire = Vec::with_capacity(64);
    move || {
        wire.clear();
        frame::encode_message_header(MessageKind::Text, black_box(size), &mut wire);
        black_box(wire.as_slice());
    }
}

fn tungstenite(size: usize) -> impl FnMut() {
    let mut wire = Vec::with_capacity(64);
    let header = FrameHeader {
        opcode: coding::OpCode::Data(coding::Data::Text),
        ..FrameHeader::default()
    };
    move || {
        wire.clear();
        let written = header.format(black_box(size as u64), &mut wire);
        written.expect("a vector takes all");
        black_box(wire.as_slice());
    }
}

fn fastwebsockets(size: usize) -> impl FnMut() {
    let payload = vec![b'x'; size];
    let mut head = [0; 16];
    move || {
        let payload = Payload::Borrowed(black_box(&payload));
        let mut frame = Frame::new(true, OpCode::Text, None, payload);
        let size = frame.fmt_head(&mut head);
        black_box(&head[..size]);
    }
}

fn sockudo(size: usize) -> impl FnMut() {
    let mut wire = BytesMut::with_capacity(64);
    move || {
        wire.clear();
        let opcode = sockudo_ws::OpCode::Text;
        sockudo_ws::frame::encode_frame_header(&mut wire, opcode, black_box(size), true, None);
        black_box(&wire[..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_read_the_same() {
        for size in SIZES {
            let wire = wire(&text(Script::Ascii, size), 1);
            for (name, read) in READS {
                assert_eq!(read(&wire), size as u64, "{name}");
            }
        }
    }
}
