//! Text messages from a server: header and payload in one buffer, ready to be sent.
//!
//! Each by the lowest function that makes a whole frame. tidegate's looks at the state of its session as
//! well. tungstenite must own a payload; a static one saves it the reference count.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use fastwebsockets::Payload;
use sockudo_ws::protocol::{self, Protocol};
use tidegate_proto::{Message, Session, Settings};
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding;

use crate::messages::{Script, placed, text};
use crate::{Case, size_name};

const SIZES: [usize; 5] = [16, 64, 512, 4096, 65_536];

pub(crate) fn add(cases: &mut Vec<Case>) {
    for size in SIZES {
        let message = || size_name(size);
        let prepare = move || tidegate(&text(Script::Ascii, size));
        cases.push(Case::new("outbound", message(), "tidegate", prepare));
        let prepare = move || tungstenite(&text(Script::Ascii, size));
        cases.push(Case::new("outbound", message(), "tungstenite", prepare));
        let prepare = move || fastwebsockets(&text(Script::Ascii, size));
        cases.push(Case::new("outbound", message(), "fastwebsockets", prepare));
        let prepare = move || sockudo(&text(Script::Ascii, size));
        cases.push(Case::new("outbound", message(), "sockudo-ws", prepare));
    }
}

fn tidegate(text: &str) -> impl FnMut() + use<> {
    let mut session = Session::server(Settings::default());
    let mut wire = Vec::with_capacity(text.len() + 16);
    let text = leaked(text, &wire);
    move || {
        wire.clear();
        session.send(Message::Text(black_box(text)), &mut wire);
        black_box(wire.as_slice());
    }
}

fn tungstenite(text: &str) -> impl FnMut() + use<> {
    let mut wire = Vec::with_capacity(text.len() + 16);
    let text = leaked(text, &wire);
    move || {
        wire.clear();
        let payload = Bytes::from_static(black_box(text).as_bytes());
        let frame = Frame::message(payload, coding::OpCode::Data(coding::Data::Text), true);
        frame.format(&mut wire).expect("a vector takes all");
        black_box(wire.as_slice());
    }
}

fn fastwebsockets(text: &str) -> impl FnMut() + use<> {
    let mut wire = Vec::with_capacity(text.len() + 16);
    let text = leaked(text, &wire);
    move || {
        let payload = Payload::Borrowed(black_box(text).as_bytes());
        let mut frame = fastwebsockets::Frame::text(payload);
        black_box(frame.write(&mut wire));
    }
}

fn sockudo(text: &str) -> impl FnMut() + use<> {
    let mut protocol = Protocol::new(protocol::Role::Server, usize::MAX, usize::MAX);
    let mut wire = BytesMut::with_capacity(text.len() + 16);
    let text = leaked(text, &wire);
    let message = protocol::Message::Text(Bytes::from_static(text.as_bytes()));
    move || {
        wire.clear();
        let encoded = protocol.encode_message(black_box(&message), &mut wire);
        encoded.expect("it is open");
        black_box(&wire[..]);
    }
}

/// The text for good, where it is copied to `wire` without a mishap.
fn leaked(text: &str, wire: &[u8]) -> &'static str {
    let (bytes, start) = placed(text.as_bytes(), wire);
    std::str::from_utf8(&bytes.leak()[start..]).expect("it was a text before")
}
