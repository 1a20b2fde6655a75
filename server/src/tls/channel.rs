//! One TLS connection on rustls' unbuffered API: all buffers but one are lent.
//!
//! ```text
//!  bytes ─▶ [ pending + what completes it ] ─▶ process ─┬─▶ plain
//!        └▶ the whole records behind that ──▶ process ──┤
//!        └▶ the cut one at the end ─▶ pending           └─▶ wire: flights, tickets, alerts
//! ```
//!
//! A record is decrypted where it lies. An idle connection keeps no buffer: `pending` holds a cut
//! record, or a handshake message that goes on in the next one, and is given back when that has
//! come. rustls itself bounds what a peer may ask for without saying anything: empty records, key
//! updates, warnings, renegotiations.

use std::fmt;
use std::mem::take;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus,
};
use tidegate_engine::{Channel, ChannelFailure, ChannelPhase};

use super::causes::cause_of;
use super::x509;

/// A record has 5 bytes before its content.
const HEADER_SIZE: usize = 5;

/// RFC 8446, 5.2, and RFC 5246, 6.2.3: a record holds no more than 2^14 bytes and 2,048 for what
/// encryption adds, behind its header.
const RECORD_SIZE_MAX: usize = 18_437;
const _: () = assert!(
    RECORD_SIZE_MAX == HEADER_SIZE + (1 << 14) + 2048,
    "it is their sum"
);

/// A handshake message that is cut may wait up to this: a client's certificates are a few KiB, and
/// an anonymous peer may have this memory for as long as a handshake may take.
const HANDSHAKE_SIZE_MAX: usize = 64 * 1024;

/// What one record adds to its content at most, and some more.
const RECORD_OVERHEAD: usize = 40;

/// Room for what rustls has to say before: an update of its keys.
const KEY_UPDATE_SIZE: usize = 64;

/// Most flights of a handshake fit.
const FLIGHT_SIZE: usize = 2048;

/// What somebody hears who speaks HTTP here without TLS.
const PLAIN_HTTP: &str = "HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 50\r\n\
    Connection: close\r\n\r\n\
    This port speaks TLS only: use https:// or wss://\n";

/// How requests begin. A record begins with a byte below 32.
const METHODS: [&[u8]; 9] = [
    b"GET ", b"HEAD", b"POST", b"PUT ", b"OPTI", b"CONN", b"DELE", b"PATC", b"TRAC",
];

/// RFC 5246, 7.2.2: the alert `protocol_version`. rustls would take offence at what else is missing.
const TOO_OLD: [u8; 7] = [21, 3, 1, 0, 2, 2, 70];

const KEYS_USED_UP: ChannelFailure = ChannelFailure {
    cause: "tls_keys_used_up",
};

const INTERNAL: ChannelFailure = ChannelFailure {
    cause: "tls_internal",
};

const TOO_LARGE: ChannelFailure = ChannelFailure {
    cause: "tls_too_large",
};

/// A TLS connection.
pub(super) struct TlsChannel {
    connection: UnbufferedServerConnection,
    /// A cut record, or the records of a cut handshake message.
    pending: Vec<u8>,
    phase: ChannelPhase,
    /// Who the client is by its certificate.
    user: Option<Box<str>>,
}

impl fmt::Debug for TlsChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsChannel")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl TlsChannel {
    pub(super) fn new(connection: UnbufferedServerConnection) -> Self {
        Self {
            connection,
            pending: Vec::new(),
            phase: ChannelPhase::New,
            user: None,
        }
    }

    /// Adds to what is pending, and takes it in once it is whole. Returns what is left of `bytes`.
    fn complete<'b>(
        &mut self,
        mut bytes: &'b mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<&'b mut [u8], ChannelFailure> {
        while !self.pending.is_empty() && !bytes.is_empty() {
            // With a message that is cut, records follow one another until it has ended.
            let wanted = missing(&self.pending).unwrap_or(bytes.len());
            let (part, rest) = bytes.split_at_mut(wanted.min(bytes.len()));
            self.pending.extend_from_slice(part);
            bytes = rest;
            if part.len() < wanted || self.pending.len() == HEADER_SIZE {
                // A header that is wrong is not waited for.
                if self.pending.len() >= HEADER_SIZE && !is_sound(&self.pending) {
                    let mut pending = take(&mut self.pending);
                    self.process(&mut pending, plain, wire)?;
                    return Err(TOO_LARGE);
                }
                continue;
            }
            let mut pending = take(&mut self.pending);
            let used = self.process(&mut pending, plain, wire)?;
            pending.drain(..used);
            if !pending.is_empty() {
                self.pending = pending;
            }
            self.check_pending()?;
        }
        Ok(bytes)
    }

    fn check_pending(&self) -> Result<(), ChannelFailure> {
        if self.pending.len() > HANDSHAKE_SIZE_MAX {
            return Err(TOO_LARGE);
        }
        Ok(())
    }

    /// Takes in the records that are whole. Returns how many bytes have been used.
    fn process(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<usize, ChannelFailure> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut bytes[used..]);
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.say_goodbye(&mut bytes[used + discard..], wire);
                    return Err(ChannelFailure {
                        cause: cause_of(&error),
                    });
                }
            };
            let mut blocked = false;
            match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(|error| ChannelFailure {
                            cause: cause_of(&error),
                        })?;
                        plain.extend_from_slice(record.payload);
                        used += record.discard;
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, wire)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.phase = ChannelPhase::Ended,
                ConnectionState::Closed
                | ConnectionState::BlockedHandshake
                | ConnectionState::WriteTraffic(_) => blocked = true,
                // Early data is never offered.
                _ => return Err(INTERNAL),
            }
            used += discard;
            if blocked {
                break;
            }
        }
        if self.phase == ChannelPhase::Handshake && !self.connection.is_handshaking() {
            self.phase = ChannelPhase::Open;
            let certificates = self.connection.peer_certificates();
            self.user = certificates.and_then(|all| x509::user(all.first()?));
        }
        // RFC 8446, 6.1: what comes behind the goodbye is ignored.
        if self.phase == ChannelPhase::Ended {
            used = bytes.len();
        }
        Ok(used)
    }

    /// After an error: the alert that says so, if there is one. What has come is not looked at any
    /// more, since what is to be sent comes first.
    fn say_goodbye(&mut self, bytes: &mut [u8], wire: &mut Vec<u8>) {
        let mut used = 0;
        while self.connection.wants_write() {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut bytes[used..]);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else {
                return;
            };
            if encode(&mut data, wire).is_err() {
                return;
            }
            used += discard;
        }
    }

    /// Writes with `with` as soon as the connection may be written to.
    fn write(
        &mut self,
        wire: &mut Vec<u8>,
        with: impl FnOnce(
            &mut rustls::unbuffered::WriteTraffic<'_, ServerConnectionData>,
            &mut Vec<u8>,
        ) -> Result<(), ChannelFailure>,
    ) -> Result<(), ChannelFailure> {
        let Self {
            connection,
            pending,
            ..
        } = self;
        loop {
            // Nothing in it is whole, so nothing of it is used.
            let UnbufferedStatus { discard, state } = connection.process_tls_records(pending);
            debug_assert_eq!(discard, 0, "it has been taken in as far as it could be");
            match state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => return with(&mut traffic, wire),
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, wire)?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => {}
                _ => return Err(INTERNAL),
            }
        }
    }
}

impl Channel for TlsChannel {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), ChannelFailure> {
        match self.phase {
            ChannelPhase::New if METHODS.iter().any(|method| bytes.starts_with(method)) => {
                wire.extend_from_slice(PLAIN_HTTP.as_bytes());
                return Err(ChannelFailure {
                    cause: "tls_plain_http",
                });
            }
            ChannelPhase::New if is_too_old(bytes) => {
                wire.extend_from_slice(&TOO_OLD);
                return Err(ChannelFailure {
                    cause: "tls_version",
                });
            }
            ChannelPhase::New => self.phase = ChannelPhase::Handshake,
            ChannelPhase::Ended => return Ok(()),
            ChannelPhase::Handshake | ChannelPhase::Open => {}
        }
        let bytes = self.complete(bytes, plain, wire)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let used = self.process(bytes, plain, wire)?;
        if used < bytes.len() {
            self.pending = bytes[used..].to_vec();
        }
        self.check_pending()
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), ChannelFailure> {
        self.write(wire, |traffic, wire| {
            let records = plain.len() / (1 << 14) + 1;
            let room = plain.len() + records * RECORD_OVERHEAD + KEY_UPDATE_SIZE;
            fill(wire, room, |room| traffic.encrypt(plain, room))
        })
    }

    fn end(&mut self, wire: &mut Vec<u8>) {
        if self.connection.is_handshaking() {
            return;
        }
        // Who cannot be told any more sees the end of the stream all the same.
        let _ = self.write(wire, |traffic, wire| {
            let room = RECORD_OVERHEAD + KEY_UPDATE_SIZE;
            fill(wire, room, |room| traffic.queue_close_notify(room))
        });
    }

    fn phase(&self) -> ChannelPhase {
        self.phase
    }

    fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

/// Appends what `write` writes into so much room, or into as much as it says that it takes.
fn fill(
    wire: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), ChannelFailure> {
    let before = wire.len();
    loop {
        wire.resize(before + room, 0);
        match write(&mut wire[before..]) {
            Ok(size) => {
                wire.truncate(before + size);
                return Ok(());
            }
            Err(EncryptError::InsufficientSize(needed)) if needed.required_size > room => {
                room = needed.required_size;
            }
            Err(_) => {
                wire.truncate(before);
                return Err(KEYS_USED_UP);
            }
        }
    }
}

fn encode(
    data: &mut EncodeTlsData<'_, ServerConnectionData>,
    wire: &mut Vec<u8>,
) -> Result<(), ChannelFailure> {
    let before = wire.len();
    let mut room = FLIGHT_SIZE;
    loop {
        wire.resize(before + room, 0);
        match data.encode(&mut wire[before..]) {
            Ok(size) => {
                wire.truncate(before + size);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(needed)) if needed.required_size > room => {
                room = needed.required_size;
            }
            Err(_) => {
                wire.truncate(before);
                return Err(INTERNAL);
            }
        }
    }
}

/// Is this the hello of a client whose newest version is TLS 1.1 or older? RFC 5246, 7.4.1.2: it says
/// so behind the header of the record and that of the message.
fn is_too_old(bytes: &[u8]) -> bool {
    matches!(bytes, [22, 3, _, _, _, 1, _, _, _, major, minor, ..] if (*major, *minor) < (3, 3))
}

/// How many bytes the record lacks that begins here, or first its header. `None`: it is whole, and
/// so is what is pending a handshake message that goes on in the next one.
fn missing(pending: &[u8]) -> Option<usize> {
    let Some(size) = record_size(pending) else {
        return Some(HEADER_SIZE - pending.len());
    };
    size.checked_sub(pending.len()).filter(|&rest| rest > 0)
}

fn is_sound(pending: &[u8]) -> bool {
    record_size(pending).is_none_or(|size| size <= RECORD_SIZE_MAX)
}

/// The size of the record that begins here, once its header is there.
fn record_size(bytes: &[u8]) -> Option<usize> {
    let &[_, _, _, high, low] = bytes.first_chunk::<HEADER_SIZE>()?;
    Some(HEADER_SIZE + usize::from(u16::from_be_bytes([high, low])))
}
