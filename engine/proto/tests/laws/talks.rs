//! A server half and a client half talk: each hears what the other said, and both end together.

use std::collections::VecDeque;

use tidegate_proto::deflate::{
    DeflateAgreement, DeflatePolicy, Deflater, DeflaterSettings, Inflater,
};
use tidegate_proto::frame::{Header, Opcode};
use tidegate_proto::{CloseCode, Message, MessageKind, Session, Settings, mask};

use super::choices::Choices;
use super::offers::both_halves_agree;
use crate::common::{Seen, feed, feed_directly};

/// Larger than anything that is said here.
const MESSAGE_SIZE_MAX: usize = 4 << 20;

/// No conversation has more steps, so that none takes long.
const STEPS_MAX: usize = 400;

/// One side of the conversation.
#[derive(Debug)]
struct Side {
    server: bool,
    session: Session,
    /// What is on its way to the other side.
    wire: Vec<u8>,
    /// What was said, in the order in which it was complete.
    said: Vec<Seen>,
    heard: Vec<Seen>,
    /// How much had been heard when this side started to close: messages after that are discarded.
    closed_after: Option<usize>,
    /// The fragments of a message that are still to be sent, and what they say together.
    fragments: VecDeque<(Header, Vec<u8>)>,
    fragmented: Option<Seen>,
    /// A close came before the last fragment: this side has no message to say any more.
    interrupted: bool,
    deflate: Option<Filters>,
}

/// What compresses this side's messages and inflates those of the other.
#[derive(Debug)]
struct Filters {
    deflater: Deflater,
    takeover: bool,
    inflater: Inflater,
    peer_takeover: bool,
}

impl Side {
    fn new(server: bool, agreement: Option<DeflateAgreement>) -> Self {
        let settings = Settings {
            message_size_max: MESSAGE_SIZE_MAX,
        };
        let mut session = if server {
            Session::server(settings)
        } else {
            Session::client(settings)
        };
        if agreement.is_some() {
            session = session.with_deflate();
        }
        Self {
            server,
            session,
            wire: Vec::new(),
            said: Vec::new(),
            heard: Vec::new(),
            closed_after: None,
            fragments: VecDeque::new(),
            fragmented: None,
            interrupted: false,
            deflate: agreement.map(|agreement| Filters::new(server, agreement)),
        }
    }

    /// Says a whole message, or begins one in fragments.
    fn say(&mut self, choices: &mut Choices<'_>) {
        let bits = choices.byte();
        let payload = choices.payload();
        let text = String::from_utf8_lossy(&payload).into_owned();
        let (kind, payload, said) = if bits & 1 == 0 {
            (MessageKind::Text, text.as_bytes(), Seen::Text(text.clone()))
        } else {
            (
                MessageKind::Binary,
                &payload[..],
                Seen::Binary(payload.clone()),
            )
        };
        let key = choices.array();
        if !self.session.is_open() {
            let may = !self.session.close_sent() && !self.session.is_closed();
            let silent = self.send(kind, payload, key, false);
            assert_eq!(silent, may, "no message after a close frame");
            self.said.extend(silent.then_some(said));
            return;
        }
        let compressed = bits & 2 != 0 && self.deflate.is_some();
        let mut compressed_payload = Vec::new();
        let payload = match &mut self.deflate {
            Some(filters) if compressed => {
                let takeover = filters.takeover;
                filters
                    .deflater
                    .deflate(payload, takeover, &mut compressed_payload);
                &compressed_payload[..]
            }
            _ => payload,
        };
        if bits & 4 == 0 {
            assert!(self.send(kind, payload, key, compressed));
            self.said.push(said);
            return;
        }
        let size = choices.size().max(1);
        let count = payload.len().div_ceil(size).max(1);
        for index in 0..count {
            let piece = payload.chunks(size).nth(index).unwrap_or_default();
            let header = Header {
                fin: index + 1 == count,
                rsv1: compressed && index == 0,
                opcode: if index == 0 {
                    kind.into()
                } else {
                    Opcode::Continuation
                },
                mask: (!self.server).then_some(key),
                payload_size: piece.len() as u64,
            };
            self.fragments.push_back((header, piece.to_vec()));
        }
        self.fragmented = Some(said);
    }

    fn send(&mut self, kind: MessageKind, payload: &[u8], key: [u8; 4], compressed: bool) -> bool {
        let (session, wire) = (&mut self.session, &mut self.wire);
        let before = wire.len();
        let message = match kind {
            MessageKind::Text if !compressed => {
                Message::Text(std::str::from_utf8(payload).unwrap())
            }
            MessageKind::Text | MessageKind::Binary => Message::Binary(payload),
        };
        let sent = match (self.server, compressed) {
            (true, false) => session.send(message, wire),
            (false, false) => session.send_masked(message, key, wire),
            (true, true) => session.send_deflated(kind, payload, wire),
            (false, true) => session.send_deflated_masked(kind, payload, key, wire),
        };
        assert_eq!(sent, wire.len() > before);
        sent
    }

    /// Puts the next fragment on the wire, if there is one and it may still be said.
    fn continue_message(&mut self) {
        if !self.session.is_open() {
            self.interrupted |= !self.fragments.is_empty();
            self.fragments.clear();
        }
        let Some((header, mut piece)) = self.fragments.pop_front() else {
            return;
        };
        header.encode(&mut self.wire);
        if let Some(key) = header.mask {
            mask(&mut piece, key, 0);
        }
        self.wire.extend(piece);
        if header.fin {
            self.said.extend(self.fragmented.take());
        }
    }

    fn ping(&mut self, choices: &mut Choices<'_>) {
        let size = choices.size() % 126;
        let payload = choices.bytes(size);
        let open = self.session.is_open();
        let sent = if self.server {
            self.session.ping(payload, &mut self.wire)
        } else {
            let key = choices.array();
            self.session.ping_masked(payload, key, &mut self.wire)
        };
        assert_eq!(sent, open, "pings until a close frame has gone either way");
        self.said.extend(sent.then(|| Seen::Ping(payload.to_vec())));
    }

    fn close(&mut self, code: Option<CloseCode>, reason: &str) {
        let before = self.session.close_sent();
        let started = self.session.is_open();
        let sent = if self.server {
            self.session.close(code, reason, &mut self.wire)
        } else {
            self.session
                .close_masked(code, reason, [9, 8, 7, 6], &mut self.wire)
        };
        assert_eq!(sent, !before, "one close frame");
        assert!(self.session.close_sent());
        if started {
            self.closed_after = Some(self.heard.len());
        }
        if sent {
            let reason = if code.is_some() { reason } else { "" };
            let code = code.map(CloseCode::value);
            self.said.push(Seen::Close(code, reason.to_owned()));
        }
    }

    /// Receives one chunk, answers what a half answers, and remembers what it heard.
    fn hear(&mut self, chunk: &[u8], directly: bool) {
        let answered_close = self.session.close_sent();
        let mut seen = Vec::new();
        if directly {
            feed_directly(&mut self.session, chunk, &mut self.wire, &mut seen);
        } else {
            feed(&mut self.session, chunk, &mut self.wire, &mut seen);
        }
        for seen in seen {
            match &seen {
                Seen::Violation(violation) => panic!("{violation}, but nobody broke a rule"),
                Seen::Ping(payload) => {
                    let answered = self.server
                        || self
                            .session
                            .pong_masked(payload, [1, 2, 3, 4], &mut self.wire);
                    self.said
                        .extend(answered.then(|| Seen::Pong(payload.clone())));
                }
                Seen::Close(code, _) if self.server && !answered_close => {
                    self.said.push(Seen::Close(*code, String::new()));
                }
                _ => {}
            }
            let heard = self.inflate(seen);
            self.heard.push(heard);
        }
    }

    fn inflate(&mut self, seen: Seen) -> Seen {
        let Seen::Deflated(kind, compressed) = seen else {
            return seen;
        };
        let filters = self.deflate.as_mut().expect("compression was agreed upon");
        let (takeover, mut out) = (filters.peer_takeover, Vec::new());
        let inflater = &mut filters.inflater;
        let inflated = inflater.inflate(kind, &compressed, takeover, MESSAGE_SIZE_MAX, &mut out);
        match inflated.expect("the other side deflated it") {
            Message::Text(text) => Seen::Text(text.to_owned()),
            Message::Binary(bytes) => Seen::Binary(bytes.to_vec()),
        }
    }
}

impl Filters {
    fn new(server: bool, agreement: DeflateAgreement) -> Self {
        let takeover = [agreement.server_takeover(), agreement.client_takeover()];
        let bits = [
            agreement.server_window_bits(),
            agreement.client_window_bits(),
        ];
        let (own, peer) = if server { (0, 1) } else { (1, 0) };
        Self {
            deflater: Deflater::new(DeflaterSettings {
                level: 6,
                window_bits: bits[own],
                mem_level: 3,
            }),
            takeover: takeover[own],
            inflater: Inflater::new(),
            peer_takeover: takeover[peer],
        }
    }
}

fn policy(choices: &mut Choices<'_>) -> DeflatePolicy {
    DeflatePolicy {
        takeover: choices.flag(),
        server_window_bits: 9 + choices.byte() % 7,
        client_window_bits: 9 + choices.byte() % 7,
    }
}

/// Moves up to `size` bytes from one side to the other.
fn deliver(from: &mut Side, to: &mut Side, size: usize, directly: bool) {
    let size = size.min(from.wire.len());
    let chunk: Vec<u8> = from.wire.drain(..size).collect();
    to.hear(&chunk, directly);
}

/// What both sides do is chosen by bytes; what each hears must be what the other said.
pub(crate) fn both_sides_hear_what_was_said(choices: &mut Choices<'_>) {
    let compressed = choices.flag();
    let agreement = compressed.then(|| both_halves_agree(policy(choices), policy(choices)));
    let mut server = Side::new(true, agreement);
    let mut client = Side::new(false, agreement);
    for _ in 0..STEPS_MAX {
        if choices.is_empty() {
            break;
        }
        let step = choices.byte();
        let (side, other) = if step & 1 == 0 {
            (&mut server, &mut client)
        } else {
            (&mut client, &mut server)
        };
        match (step >> 1) % 8 {
            0 | 1 if side.fragments.is_empty() && !side.interrupted => side.say(choices),
            0..=2 => side.continue_message(),
            3 => side.ping(choices),
            4 | 5 => deliver(side, other, choices.size(), step & 0x10 != 0),
            6 => deliver(side, other, usize::MAX, false),
            _ => {
                let code = CloseCode::new(choices.u16());
                let size = choices.byte() % 41;
                let reason = String::from_utf8_lossy(choices.bytes(size.into())).into_owned();
                side.close(code, &reason);
            }
        }
    }
    loop {
        deliver(&mut server, &mut client, usize::MAX, false);
        if client.session.close_received() && !client.session.close_sent() {
            client.close(None, "");
        }
        deliver(&mut client, &mut server, usize::MAX, false);
        if server.wire.is_empty() && client.wire.is_empty() {
            break;
        }
    }
    assert_heard(&server, &client);
    assert_heard(&client, &server);
    let open = server.session.is_open();
    for side in [&server, &client] {
        assert_eq!(side.session.is_open(), open, "{side:?}");
        assert_eq!(side.session.is_closed(), !open, "{side:?}");
        assert!(open || side.session.memory() == 0);
    }
}

/// RFC 6455, 5.5.1: everything up to the close frame is heard, but for the messages that come after one's
/// own close frame.
fn assert_heard(from: &Side, to: &Side) {
    let close = from
        .said
        .iter()
        .position(|said| matches!(said, Seen::Close(..)));
    let said = &from.said[..close.map_or(from.said.len(), |close| close + 1)];
    let (before, after) = said.split_at(to.closed_after.unwrap_or(said.len()).min(said.len()));
    let control = |said: &&Seen| !matches!(said, Seen::Text(_) | Seen::Binary(_));
    let expected = before.iter().chain(after.iter().filter(control));
    assert!(
        to.heard.iter().eq(expected),
        "{:?}\n of {said:?}\n {to:?}",
        to.heard
    );
}
