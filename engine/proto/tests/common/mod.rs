//! What the tests share: frames built byte by byte, and a session driven over any cut of its input.
#![allow(dead_code, reason = "each test file uses its own part of this")]
#![allow(
    clippy::unwrap_used,
    reason = "a helper of tests may fail as a test does"
)]

pub(crate) mod heads;

use tidegate_proto::{Event, Input, MessageKind, Session, Settings, Violation};

/// The key of every masked frame here: no two bytes alike.
pub(crate) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// An event that outlives its chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    /// Kind and compressed bytes.
    Deflated(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Violation(Violation),
}

pub(crate) fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message(message) => match message.kind() {
                MessageKind::Binary => Self::Binary(message.as_bytes().to_vec()),
                MessageKind::Text => {
                    Self::Text(String::from_utf8(message.message().as_bytes().to_vec()).unwrap())
                }
            },
            Event::Deflated(message) => Self::Deflated(message.kind(), message.as_bytes().to_vec()),
            Event::Ping(payload) => Self::Ping(payload.as_slice().to_vec()),
            Event::Pong(payload) => Self::Pong(payload.as_slice().to_vec()),
            Event::Close { code, reason } => {
                Self::Close(code.map(|code| code.value()), reason.as_str().to_owned())
            }
        }
    }
}

/// A frame as a client sends it: masked, in its shortest form.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, 0x80, payload.len());
    frame.extend_from_slice(&KEY);
    frame.extend(
        payload
            .iter()
            .zip(KEY.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

/// A frame as a server sends it: not masked, in its shortest form.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, 0, payload.len());
    frame.extend_from_slice(payload);
    frame
}

fn header(first: u8, mask: u8, size: usize) -> Vec<u8> {
    let mut frame = vec![first];
    match size {
        0..126 => frame.push(mask | u8::try_from(size).unwrap()),
        126..0x1_0000 => {
            frame.push(mask | 126);
            frame.extend_from_slice(&u16::try_from(size).unwrap().to_be_bytes());
        }
        _ => {
            frame.push(mask | 127);
            frame.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
    frame
}

/// The body of a close frame.
pub(crate) fn close_body(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

/// The close frame with which a server fails a connection.
pub(crate) fn failure(violation: Violation) -> Vec<u8> {
    let body = close_body(violation.code().value(), violation.to_string().as_bytes());
    unmasked(FIN | CLOSE, &body)
}

/// Hands one chunk to a session and collects what it says.
pub(crate) fn feed(session: &mut Session, chunk: &[u8], wire: &mut Vec<u8>, seen: &mut Vec<Seen>) {
    let mut chunk = chunk.to_vec();
    let mut input = Input::new(&mut chunk);
    loop {
        match session.receive(&mut input, wire) {
            Ok(Some(event)) => seen.push(event.into()),
            Ok(None) => break,
            Err(violation) => seen.push(Seen::Violation(violation)),
        }
    }
    assert!(
        input.is_empty(),
        "a chunk is used up when there is no event any more"
    );
}

/// As [`feed`], and what belongs to a large frame is received straight into its buffer.
pub(crate) fn feed_directly(
    session: &mut Session,
    mut chunk: &[u8],
    wire: &mut Vec<u8>,
    seen: &mut Vec<Seen>,
) {
    while !chunk.is_empty() {
        let Some(mut direct) = session.take_buffer(1) else {
            // One byte at a time, so that each frame is found in the middle.
            feed(session, &chunk[..1], wire, seen);
            chunk = &chunk[1..];
            continue;
        };
        let size = direct.wanted.min(chunk.len());
        assert!(direct.buffer.capacity() - direct.buffer.len() >= direct.wanted);
        direct.buffer.extend_from_slice(&chunk[..size]);
        chunk = &chunk[size..];
        match session.give_buffer(direct.buffer, wire) {
            Ok(Some(event)) => seen.push(event.into()),
            Ok(None) => {}
            Err(violation) => seen.push(Seen::Violation(violation)),
        }
    }
}

/// A whole conversation in these chunks: what was seen and what was said.
pub(crate) fn converse(mut session: Session, chunks: &[&[u8]]) -> (Vec<Seen>, Vec<u8>) {
    let (mut seen, mut wire) = (Vec::new(), Vec::new());
    for chunk in chunks {
        feed(&mut session, chunk, &mut wire, &mut seen);
    }
    if session.is_closed() {
        assert_eq!(session.memory(), 0, "a closed session holds nothing");
    }
    (seen, wire)
}

/// What a server half makes of these bytes in one chunk.
pub(crate) fn served(bytes: &[u8]) -> (Vec<Seen>, Vec<u8>) {
    converse(Session::server(Settings::default()), &[bytes])
}

/// Asserts that a server half fails the connection for this, however the bytes are cut.
pub(crate) fn assert_refused(bytes: &[u8], violation: Violation) {
    let expected = (vec![Seen::Violation(violation)], failure(violation));
    assert_eq!(served(bytes), expected);
    let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
    let session = Session::server(Settings::default());
    assert_eq!(converse(session, &bytewise), expected);
}

/// Asserts that the last of these bytes is the one that is refused, and none before it.
pub(crate) fn assert_refused_at_last_byte(bytes: &[u8], violation: Violation) {
    assert_refused(bytes, violation);
    let before = &bytes[..bytes.len() - 1];
    assert_eq!(
        served(before),
        (vec![], vec![]),
        "refused too early: {before:x?}"
    );
}
