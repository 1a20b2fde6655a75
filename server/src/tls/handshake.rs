//! The handshake of a TLS connection, on rustls' unbuffered API.
//!
//! ```text
//!  bytes ─▶ pending, until a record is whole ─▶ rustls ─┬─▶ wire: flights, tickets, alerts
//!                                                       └─▶ the keys, for records behind it
//! ```
//!
//! rustls gets one record at a time and none behind the handshake, so that it has nothing to answer
//! and holds nothing back when its keys are taken over.

use std::fmt;
use std::mem::take;

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use tidegate_engine::ChannelFailure;

use super::causes::{self, failure};
use super::keys::HEADER_SIZE;
use super::records::{RECORD_SIZE_MAX, Records, record_size};
use super::x509;

/// A handshake message that is cut may wait up to this: a client's certificates are a few KiB, and
/// an anonymous peer may have this memory for as long as a handshake may take.
const HANDSHAKE_SIZE_MAX: usize = 64 * 1024;

/// Most flights of a handshake fit.
const FLIGHT_SIZE: usize = 2048;

const INTERNAL: ChannelFailure = ChannelFailure {
    cause: causes::INTERNAL,
};

const TOO_LARGE: ChannelFailure = ChannelFailure {
    cause: causes::TOO_LARGE,
};

/// A handshake under way.
pub(super) struct Handshake {
    connection: UnbufferedServerConnection,
    /// The records of a message that goes on, and one that is cut.
    pending: Vec<u8>,
    /// Where the last of them begins. Invariant: those before it are whole.
    last: usize,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    UnderWay,
    /// Both sides may speak.
    Done,
    /// The peer has said goodbye.
    Ended,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

impl Handshake {
    pub(super) fn new(connection: UnbufferedServerConnection) -> Self {
        Self {
            connection,
            pending: Vec::new(),
            last: 0,
        }
    }

    /// Takes in as many records as belong to the handshake, and returns what comes behind them.
    ///
    /// # Errors
    /// [`ChannelFailure`]: it is over, and `wire` says why, if that is to be said.
    pub(super) fn receive<'b>(
        &mut self,
        mut bytes: &'b mut [u8],
        wire: &mut Vec<u8>,
    ) -> Result<(Progress, &'b mut [u8]), ChannelFailure> {
        while !bytes.is_empty() {
            let record = &self.pending[self.last..];
            let wanted = record_size(record).unwrap_or(HEADER_SIZE) - record.len();
            let (part, rest) = bytes.split_at_mut(wanted.min(bytes.len()));
            self.pending.extend_from_slice(part);
            bytes = rest;
            let Some(size) = record_size(&self.pending[self.last..]) else {
                continue;
            };
            // A header that is wrong is not waited for: rustls says what is wrong with it.
            if self.last + size > self.pending.len() && size <= RECORD_SIZE_MAX {
                continue;
            }
            let progress = self.process_pending(wire)?;
            if size > RECORD_SIZE_MAX || self.pending.len() > HANDSHAKE_SIZE_MAX {
                return Err(TOO_LARGE);
            }
            if progress != Progress::UnderWay {
                return Ok((progress, bytes));
            }
        }
        Ok((Progress::UnderWay, bytes))
    }

    /// The records that follow, on the keys that were agreed upon, and who the client is by its
    /// certificate.
    ///
    /// # Errors
    /// [`ChannelFailure`]: something came with the end of the handshake that does not belong there.
    pub(super) fn into_records(self) -> Result<(Records, Option<Box<str>>), ChannelFailure> {
        if !self.pending.is_empty() {
            return Err(ChannelFailure {
                cause: causes::PROTOCOL,
            });
        }
        let certificates = self.connection.peer_certificates();
        let user = certificates.and_then(|all| x509::user(all.first()?));
        let records = Records::new(self.connection).map_err(|error| failure(&error))?;
        Ok((records, user))
    }

    fn process_pending(&mut self, wire: &mut Vec<u8>) -> Result<Progress, ChannelFailure> {
        let mut pending = take(&mut self.pending);
        let (progress, used) = self.process(&mut pending, wire)?;
        pending.drain(..used);
        self.last = pending.len();
        self.pending = pending;
        Ok(progress)
    }

    /// Takes in the records, and returns how many bytes have been used.
    fn process(
        &mut self,
        bytes: &mut [u8],
        wire: &mut Vec<u8>,
    ) -> Result<(Progress, usize), ChannelFailure> {
        let mut used = 0;
        let mut progress = Progress::UnderWay;
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(&mut bytes[used..]);
            used += discard;
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.say_goodbye(&mut bytes[used..], wire);
                    return Err(failure(&error));
                }
            };
            match state {
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, wire)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => progress = Progress::Ended,
                ConnectionState::Closed
                | ConnectionState::BlockedHandshake
                | ConnectionState::WriteTraffic(_) => break,
                // Data comes behind the handshake, and early data is never offered.
                _ => return Err(INTERNAL),
            }
        }
        if progress == Progress::UnderWay && !self.connection.is_handshaking() {
            progress = Progress::Done;
        }
        Ok((progress, used))
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
