//! The connections of one worker: what completions mean to them, and what they send.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use tidegate_io::{Completion, Driver, Op, Piece, Socket, Submitted};
use tidegate_proto::handshake::client::ClientKey;
use tidegate_proto::{CloseCode, Event, HeadLimits, Input, Session, Settings};

use crate::connection::{Connection, State};
use crate::load::{Load, Outgoing};
use crate::options::{Common, Sources};
use crate::random::Random;
use crate::tally::{Connections, count_cause};
use crate::tls::Tls;
use crate::worker::Place;

/// The connections of one worker, and their load.
#[derive(Debug)]
pub(crate) struct Client {
    common: Arc<Common>,
    /// The number of the first connection; numbers run through all workers.
    first: u32,
    sources: Sources,
    tls: Option<Tls>,
    connections: Vec<Connection>,
    pub(crate) load: Box<dyn Load>,
    random: Random,
    /// What is about to be sent, to one connection after the other.
    wire: Vec<u8>,
    /// What came by TLS, of one connection after the other.
    plain: Vec<u8>,
    pub(crate) counts: Connections,
    /// Connections that wait for their 101.
    pub(crate) dialing: u32,
    /// Connections that may send.
    pub(crate) open: u32,
    /// Connections that have sent a close frame.
    pub(crate) closing: u32,
    /// Something was sent or received since this was last set to false.
    pub(crate) active: bool,
    /// Connects count as those that the user has asked for; later ones are the load's.
    pub(crate) opening: bool,
}

/// What a completion asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    /// Let the connection send.
    Attend(u32),
    /// Give its socket up.
    Drop(u32),
}

/// The largest message a server may send; far above what any load sends.
const MESSAGE_SIZE_MAX: usize = 32 * 1024 * 1024;

impl Client {
    pub(crate) fn new(place: &Place, load: Box<dyn Load>) -> Self {
        let (first, count) = (place.first, place.count);
        let common = Arc::clone(&place.common);
        let connections = (0..count).map(|_| Connection::default()).collect();
        let random = Random::new(common.seed, u64::from(first));
        Self {
            common,
            first,
            sources: place.sources,
            tls: place.tls.clone(),
            connections,
            load,
            random,
            wire: Vec::new(),
            plain: Vec::new(),
            counts: Connections::default(),
            dialing: 0,
            open: 0,
            closing: 0,
            active: false,
            opening: true,
        }
    }

    /// The connections that are open.
    pub(crate) fn open_indices(&self) -> Vec<u32> {
        let open = |connection: &Connection| matches!(connection.state, State::Open(_));
        let pairs = (0..).zip(&self.connections);
        pairs
            .filter(|(_, connection)| open(connection))
            .map(|(index, _)| index)
            .collect()
    }

    /// Starts to connect.
    pub(crate) fn dial(&mut self, index: u32, driver: &mut impl Driver) {
        let from = self.sources.of(self.first, index);
        let connection = &mut self.connections[index as usize];
        connection.tls = self.tls.as_ref().map(Tls::connection);
        connection.state = State::Connecting {
            since: driver.now(),
        };
        self.dialing += 1;
        let to = self.common.target.address;
        // It always ends in a completion.
        let _ = driver.submit(Op::Connect {
            socket: Socket(index),
            to,
            from,
        });
    }

    /// Takes one completion.
    pub(crate) fn take(&mut self, completion: Completion<'_>, now: Instant) -> Next {
        match completion {
            Completion::Received { socket, bytes } => self.open_and_receive(socket.0, bytes, now),
            Completion::Connected { socket } => self.request(socket.0),
            Completion::Sent { socket } => {
                self.connections[socket.0 as usize].sending = false;
                Next::Attend(socket.0)
            }
            Completion::Ended { socket } => self.end(socket.0, "closed without a close frame", now),
            Completion::Gone { socket, error } => self.end(socket.0, &name_of(&error), now),
            Completion::Accepted { .. }
            | Completion::Refused { .. }
            | Completion::Filled { .. }
            | Completion::Closed { .. } => Next::Nothing,
        }
    }

    /// Lets the load and the connection send what they have to.
    pub(crate) fn attend(&mut self, index: u32, driver: &mut impl Driver) {
        let now = driver.now();
        self.load.settle(index as usize, now);
        loop {
            self.compose(index as usize, now);
            let connection = &mut self.connections[index as usize];
            if connection.sending {
                return;
            }
            if let Some(tls) = &mut connection.tls {
                tls.seal(&mut self.wire);
            }
            if self.wire.is_empty() {
                return;
            }
            self.active = true;
            let pieces = [Piece::Lent(&self.wire)];
            let sent = driver.submit(Op::Send {
                socket: Socket(index),
                pieces: &pieces,
            });
            self.wire.clear();
            if sent == Submitted::Pending {
                self.connections[index as usize].sending = true;
                return;
            }
        }
    }

    /// Gives the socket up; the number may be dialled again.
    pub(crate) fn drop_socket(&mut self, index: u32, reset: bool, driver: &mut impl Driver) {
        self.wire.clear();
        let connection = &mut self.connections[index as usize];
        (connection.sending, connection.late) = (false, Vec::new());
        connection.tls = None;
        // The drivers of this program close at once.
        let _ = driver.submit(Op::Close {
            socket: Socket(index),
            reset,
        });
    }

    /// Ends one that is still there: with a close frame, or at once.
    pub(crate) fn close(&mut self, index: u32, abort: bool, driver: &mut impl Driver) {
        let connection = &mut self.connections[index as usize];
        match mem::take(&mut connection.state) {
            State::Open(mut session) if !abort => {
                let mask = self.random.next_mask();
                session.close_masked(Some(CloseCode::NORMAL), "", mask, &mut self.wire);
                connection.state = State::Closing {
                    session,
                    answered: false,
                };
                self.open -= 1;
                self.closing += 1;
                self.attend(index, driver);
            }
            closing @ State::Closing { .. } if !abort => connection.state = closing,
            State::Away => {}
            State::Connecting { .. } | State::Handshaking { .. } => {
                self.dialing -= 1;
                self.drop_socket(index, true, driver);
                self.count_failure(index, "given up", driver.now());
            }
            State::Open(_) => {
                self.open -= 1;
                self.drop_socket(index, true, driver);
                self.load.left(index as usize, driver.now());
            }
            State::Closing { .. } => {
                self.closing -= 1;
                self.drop_socket(index, true, driver);
                self.load.left(index as usize, driver.now());
            }
        }
    }

    /// Receives nothing more from it.
    pub(crate) fn pause(&self, index: u32, driver: &mut impl Driver) {
        if let State::Open(_) = self.connections[index as usize].state {
            let socket = Socket(index);
            // It always happens at once.
            let _ = driver.submit(Op::Pause { socket });
        }
    }

    fn count_failure(&mut self, index: u32, cause: &str, now: Instant) {
        if self.load.failed(index as usize, now) {
            count_cause(&mut self.counts.failures, cause);
        } else {
            count_cause(&mut self.counts.failed_tries, cause);
        }
    }

    fn count_loss(&mut self, index: u32, cause: &str, now: Instant) {
        self.load.settle(index as usize, now);
        if self.load.lost(index as usize, now) {
            count_cause(&mut self.counts.losses, cause);
        } else {
            count_cause(&mut self.counts.expected_losses, cause);
        }
    }

    /// Gives up on one whose 101 has not come in time.
    pub(crate) fn expire_dialing(&mut self, index: u32, driver: &mut impl Driver) {
        let state = &self.connections[index as usize].state;
        if matches!(state, State::Connecting { .. } | State::Handshaking { .. }) {
            self.expire(index, driver);
        }
    }

    /// Gives up on one that has taken too long.
    pub(crate) fn expire(&mut self, index: u32, driver: &mut impl Driver) {
        let cause = match self.connections[index as usize].state {
            State::Away | State::Open(_) => return,
            State::Connecting { .. } => "no answer to the connect",
            State::Handshaking { .. } => "no answer to the handshake",
            State::Closing { .. } => "no end after the close frames",
        };
        if self.end(index, cause, driver.now()) == Next::Drop(index) {
            self.drop_socket(index, true, driver);
        }
    }

    fn compose(&mut self, index: usize, now: Instant) {
        let connection = &mut self.connections[index];
        if connection.sending {
            connection.late.append(&mut self.wire);
            return;
        }
        if !connection.late.is_empty() {
            // Rare, so the copy does not matter.
            self.wire.splice(0..0, mem::take(&mut connection.late));
        }
        if let State::Open(session) = &mut connection.state {
            let (random, wire) = (&mut self.random, &mut self.wire);
            self.load.write(
                index,
                now,
                &mut Outgoing {
                    session,
                    random,
                    wire,
                },
            );
        }
    }

    fn request(&mut self, index: u32) -> Next {
        let connection = &mut self.connections[index as usize];
        let State::Connecting { since } = connection.state else {
            return Next::Nothing;
        };
        connection.state = State::Handshaking {
            since,
            head: Vec::new(),
        };
        let path = self.load.path(index as usize, &self.common.target.path);
        let host = &self.common.target.host;
        self.wire.clear();
        self.key(index)
            .write_request(host, &path, &[], &mut self.wire);
        Next::Attend(index)
    }

    /// The same one at the request and at the answer, without being remembered.
    fn key(&self, index: u32) -> ClientKey {
        let number = u64::from(self.first + index);
        ClientKey::new(Random::new(!self.common.seed, number).next_key())
    }

    /// Receives what came by TLS, or as it is.
    fn open_and_receive(&mut self, index: u32, bytes: &mut [u8], now: Instant) -> Next {
        let Some(tls) = &mut self.connections[index as usize].tls else {
            return self.receive(index, bytes, now);
        };
        let mut plain = mem::take(&mut self.plain);
        let opened = tls.open(bytes, &mut plain);
        let next = match opened {
            Err(error) => self.end(index, &format!("TLS: {error}"), now),
            // TLS itself may have something to say.
            Ok(()) if plain.is_empty() => {
                self.wire.clear();
                Next::Attend(index)
            }
            Ok(()) => match self.receive(index, &mut plain, now) {
                Next::Nothing => Next::Attend(index),
                next => next,
            },
        };
        plain.clear();
        self.plain = plain;
        next
    }

    fn receive(&mut self, index: u32, bytes: &mut [u8], now: Instant) -> Next {
        self.active = true;
        self.wire.clear();
        match &mut self.connections[index as usize].state {
            State::Away | State::Connecting { .. } => Next::Nothing,
            State::Handshaking { since, head } => {
                let (since, mut whole) = (*since, mem::take(head));
                if whole.is_empty() {
                    return self.answer(index, bytes, since, now);
                }
                whole.extend_from_slice(bytes);
                self.answer(index, &mut whole, since, now)
            }
            State::Open(_) | State::Closing { .. } => self.converse(index, bytes, now),
        }
    }

    /// Reads the answer to the handshake, and what may have come behind it.
    fn answer(&mut self, index: u32, bytes: &mut [u8], since: Instant, now: Instant) -> Next {
        let answer = self.key(index).read_response(bytes, &HeadLimits::default());
        // Nothing was offered, so nothing may have been chosen.
        let answer = answer.and_then(|answer| match answer {
            Some((accepted, size)) => accepted.check(&[], &[]).map(|()| Some(size)),
            None => Ok(None),
        });
        match answer {
            Ok(None) => {
                let head = bytes.to_vec();
                self.connections[index as usize].state = State::Handshaking { since, head };
                Next::Nothing
            }
            Ok(Some(size)) => {
                let session = Session::client(Settings {
                    message_size_max: MESSAGE_SIZE_MAX,
                });
                self.connections[index as usize].state = State::Open(session);
                self.dialing -= 1;
                self.open += 1;
                self.counts.opened += u64::from(self.opening);
                self.counts
                    .latency
                    .record(now.saturating_duration_since(since));
                self.load.opened(index as usize, now);
                self.converse(index, &mut bytes[size..], now)
            }
            Err(refusal) => self.end(index, &format!("handshake: {refusal}"), now),
        }
    }

    fn converse(&mut self, index: u32, bytes: &mut [u8], now: Instant) -> Next {
        let state = &mut self.connections[index as usize].state;
        let (session, open) = match state {
            State::Open(session) => (session, true),
            State::Closing { session, .. } => (session, false),
            State::Away | State::Connecting { .. } | State::Handshaking { .. } => {
                return Next::Nothing;
            }
        };
        let mut input = Input::new(bytes);
        loop {
            match session.receive(&mut input, &mut self.wire) {
                Ok(None) => return Next::Attend(index),
                Ok(Some(Event::Message(message))) if open => {
                    self.load
                        .receive(index as usize, message.kind(), message.as_bytes());
                }
                Ok(Some(Event::Ping(payload))) => {
                    self.counts.pings += 1;
                    let mask = self.random.next_mask();
                    session.pong_masked(payload.as_slice(), mask, &mut self.wire);
                }
                Ok(Some(Event::Pong(payload))) if open => {
                    self.load.pong(index as usize, payload.as_slice());
                }
                Ok(Some(Event::Message(_) | Event::Deflated(_) | Event::Pong(_))) => {}
                Ok(Some(Event::Close { code, .. })) => {
                    // Nothing is appended if it is the answer to ours.
                    session.close_masked(code, "", self.random.next_mask(), &mut self.wire);
                    return self.hear_close(index, code, now);
                }
                Err(violation) => return self.end(index, &format!("protocol: {violation}"), now),
            }
        }
    }

    fn hear_close(&mut self, index: u32, code: Option<CloseCode>, now: Instant) -> Next {
        let connection = &mut self.connections[index as usize];
        match mem::take(&mut connection.state) {
            State::Open(session) => {
                connection.state = State::Closing {
                    session,
                    answered: true,
                };
                self.open -= 1;
                self.closing += 1;
                let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
                self.count_loss(index, &format!("closed by the server: {code}"), now);
            }
            State::Closing { session, .. } => {
                connection.state = State::Closing {
                    session,
                    answered: true,
                };
            }
            other => connection.state = other,
        }
        Next::Attend(index)
    }

    /// It is over: as it should be, or for this cause.
    fn end(&mut self, index: u32, cause: &str, now: Instant) -> Next {
        match mem::take(&mut self.connections[index as usize].state) {
            State::Away => return Next::Nothing,
            State::Connecting { .. } | State::Handshaking { .. } => {
                self.dialing -= 1;
                self.count_failure(index, cause, now);
            }
            State::Open(_) => {
                self.open -= 1;
                self.count_loss(index, cause, now);
                self.load.left(index as usize, now);
            }
            State::Closing { answered, .. } => {
                self.closing -= 1;
                self.counts.unanswered_closes += u64::from(!answered);
                self.load.left(index as usize, now);
            }
        }
        Next::Drop(index)
    }
}

/// A cause in few words, the same for the same error.
fn name_of(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "reset by the server".to_owned(),
        io::ErrorKind::BrokenPipe => "closed without a close frame".to_owned(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => {
            "out of local ports (see --sources)".to_owned()
        }
        io::ErrorKind::TimedOut => "timed out in the kernel".to_owned(),
        _ => error.to_string(),
    }
}
