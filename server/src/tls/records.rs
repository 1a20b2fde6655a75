//! The records of an open connection, on the keys that rustls has agreed upon.
//!
//! ```text
//!  record ─▶ decrypted where it lies ─┬─ data ──────▶ plain
//!                                     ├─ KeyUpdate ─▶ the next key to read with; if asked for,
//!                                     │               our own ▶ wire, the next key to write with
//!                                     ├─ hello ─────▶ TLS 1.2: no_renegotiation ▶ wire, once
//!                                     └─ alert ─────▶ the goodbye, or a failure
//! ```
//!
//! After the handshake rustls' own connection still holds what handshakes need, some 1.5 KB. Here is
//! what is left to do without it: to number records, to change keys, to answer what is no data, and
//! to end with the alert that RFC 8446 and RFC 5246 have for it. Ciphers, nonces and padding are
//! those of rustls. What a peer may ask for without saying anything is limited as there.

use std::fmt;
use std::mem::take;

use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::{AlertDescription, ContentType, Error, HandshakeType, SupportedCipherSuite};
use tidegate_engine::ChannelFailure;

use super::causes::{self, cause_of, failure};
use super::keys::{HEADER_SIZE, Opening, Sealing, sealed_max};

/// RFC 8446, 5.2, and RFC 5246, 6.2.3: a record holds no more than 2^14 bytes and 2,048 for what
/// encryption adds, behind its header.
pub(super) const RECORD_SIZE_MAX: usize = 18_437;
const _: () = assert!(
    RECORD_SIZE_MAX == HEADER_SIZE + (1 << 14) + 2048,
    "it is their sum"
);

/// RFC 8446, 5.1: what a record carries at most.
const CONTENT_SIZE_MAX: usize = 1 << 14;

/// RFC 8446, 4 and 4.6.3: a KeyUpdate is its type, its length in three bytes, and one byte.
const KEY_UPDATE_SIZE: usize = 5;

/// RFC 8446, 6, and RFC 5246, 7.2: the levels of alerts.
const WARNING: u8 = 1;
const FATAL: u8 = 2;

const KEYS_USED_UP: ChannelFailure = ChannelFailure {
    cause: "tls_keys_used_up",
};

/// So many updates of keys are followed until there is data again: as many as rustls and BoringSSL do.
const KEY_UPDATES_MAX: u8 = 32;

/// So many records without anything in them are taken until there is something in one.
const EMPTY_RECORDS_MAX: u8 = 32;

/// So many warnings are borne with.
const WARNINGS_MAX: u8 = 4;

/// So often a client of TLS 1.2 is told that there is no other handshake.
const RENEGOTIATIONS_MAX: u8 = 1;

/// How much of what is no data a peer may still send.
#[derive(Debug, Clone, Copy)]
struct Patience {
    key_updates: u8,
    empty_records: u8,
    warnings: u8,
    renegotiations: u8,
}

const PATIENCE: Patience = Patience {
    key_updates: KEY_UPDATES_MAX,
    empty_records: EMPTY_RECORDS_MAX,
    warnings: WARNINGS_MAX,
    renegotiations: RENEGOTIATIONS_MAX,
};

/// The beginning of a KeyUpdate that goes on in the next record.
#[derive(Debug, Clone, Copy, Default)]
struct Cut {
    bytes: [u8; KEY_UPDATE_SIZE],
    size: u8,
}

/// Both directions of an open connection.
pub(super) struct Records {
    pub(super) sealing: Sealing,
    opening: Opening,
    suite: SupportedCipherSuite,
    /// Makes the next keys. TLS 1.2 never changes them.
    schedule: Option<Box<KernelConnection<ServerConnectionData>>>,
    /// The beginning of a record.
    pending: Vec<u8>,
    cut: Cut,
    patience: Patience,
}

/// What has been heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Records, whole or cut, or nothing.
    Records,
    /// The peer has said that it will say no more.
    Goodbye,
}

/// What one record has said.
enum Said {
    /// Data, or nothing that changes anything.
    Data,
    /// The peer seals with its next key, and may ask for the same.
    KeyUpdate { asks: bool },
    /// It will say no more.
    Goodbye,
}

/// The peer's fault: what it is told, and how it is counted.
struct Fault {
    alert: Option<AlertDescription>,
    cause: &'static str,
}

impl Fault {
    /// It has broken the protocol, and hears so by this alert.
    fn told(alert: AlertDescription) -> Self {
        Self {
            alert: Some(alert),
            cause: causes::PROTOCOL,
        }
    }

    /// What rustls has found.
    fn of(error: &Error) -> Self {
        let alert = match error {
            Error::DecryptError => AlertDescription::BadRecordMac,
            Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
            // RFC 8446, 5.4: a record without a kind, or 5: with that of a change_cipher_spec.
            Error::PeerMisbehaved(_) => AlertDescription::UnexpectedMessage,
            _ => AlertDescription::InternalError,
        };
        Self {
            alert: Some(alert),
            cause: cause_of(error),
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No key is ever shown.
        f.debug_struct("Records")
            .field("suite", &self.suite.suite())
            .field("sealed", &self.sealing.number)
            .field("opened", &self.opening.number)
            .finish_non_exhaustive()
    }
}

impl Records {
    /// Goes on where a handshake has ended, which may have nothing left to send.
    ///
    /// # Errors
    /// What rustls has against it. It has none after the whole of a handshake.
    pub(super) fn new(connection: UnbufferedServerConnection) -> Result<Self, Error> {
        let (secrets, schedule) = connection.dangerous_into_kernel_connection()?;
        let suite = schedule.negotiated_cipher_suite();
        Ok(Self {
            sealing: Sealing::new(suite, secrets.tx)?,
            opening: Opening::new(suite, secrets.rx)?,
            suite,
            schedule: suite.tls13().map(|_| Box::new(schedule)),
            pending: Vec::new(),
            cut: Cut::default(),
            patience: PATIENCE,
        })
    }

    /// Takes in what came from the wire, and keeps what is cut. Appends what the records say to
    /// `plain`, and what is to be said to them to `wire`.
    ///
    /// # Errors
    /// [`ChannelFailure`]: it is over, and `wire` says why, if that is to be said.
    pub(super) fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Heard, ChannelFailure> {
        let mut rest = bytes;
        if !self.pending.is_empty() {
            rest = self.complete(rest);
            let mut pending = take(&mut self.pending);
            match self.receive_whole(&mut pending, plain, wire)? {
                Some(0) => self.pending = pending,
                Some(_) => {}
                None => return Ok(Heard::Goodbye),
            }
        }
        let Some(used) = self.receive_whole(rest, plain, wire)? else {
            return Ok(Heard::Goodbye);
        };
        if used < rest.len() {
            self.pending = rest[used..].to_vec();
        }
        Ok(Heard::Records)
    }

    /// Adds to what is pending until its record is whole. Returns what comes behind it.
    fn complete<'b>(&mut self, mut bytes: &'b mut [u8]) -> &'b mut [u8] {
        loop {
            let wanted = record_size(&self.pending).unwrap_or(HEADER_SIZE) - self.pending.len();
            // What a wrong header announces is not waited for.
            if wanted == 0 || wanted > RECORD_SIZE_MAX || bytes.is_empty() {
                return bytes;
            }
            let (part, rest) = bytes.split_at_mut(wanted.min(bytes.len()));
            self.pending.extend_from_slice(part);
            bytes = rest;
        }
    }

    /// Takes in the records that are whole. Returns how many bytes they had, or nothing behind a
    /// goodbye.
    fn receive_whole(
        &mut self,
        bytes: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Option<usize>, ChannelFailure> {
        let mut used = 0;
        let mut asked = false;
        while let Some(size) = record_size(&bytes[used..]) {
            let said = match bytes[used..].get_mut(..size) {
                _ if size > RECORD_SIZE_MAX => Err(Fault::of(&Error::PeerSentOversizedRecord)),
                Some(record) => self.open(record, plain, wire),
                None => break,
            };
            match said {
                Ok(Said::Data) => {}
                Ok(Said::KeyUpdate { asks }) => asked |= asks,
                Ok(Said::Goodbye) => return Ok(None),
                Err(fault) => {
                    if let Some(alert) = fault.alert {
                        // Without a key left it ends without a word.
                        let _ = self.alert(FATAL, alert, wire);
                    }
                    return Err(ChannelFailure { cause: fault.cause });
                }
            }
            used += size;
        }
        // RFC 8446, 4.6.3: several that came together may be answered by one.
        if asked {
            self.update_sealing(wire)?;
        }
        Ok(Some(used))
    }

    /// Encrypts these bytes, in as many records as they need.
    ///
    /// # Errors
    /// [`ChannelFailure`]: the key may seal no more, and there is no next one.
    pub(super) fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), ChannelFailure> {
        for content in plain.chunks(CONTENT_SIZE_MAX) {
            self.seal(ContentType::ApplicationData, content, wire)?;
        }
        Ok(())
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// As [`Records::send`].
    pub(super) fn end(&mut self, wire: &mut Vec<u8>) -> Result<(), ChannelFailure> {
        self.alert(WARNING, AlertDescription::CloseNotify, wire)
    }

    fn open(
        &mut self,
        record: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<Said, Fault> {
        // RFC 8446, 5.2: whatever is encrypted looks like data.
        if self.schedule.is_some() && record[0] != u8::from(ContentType::ApplicationData) {
            return Err(Fault::told(AlertDescription::UnexpectedMessage));
        }
        let opened = self.opening.open(record);
        let (kind, content) = opened.map_err(|error| Fault::of(&error))?;
        if content.is_empty() {
            spend(&mut self.patience.empty_records)?;
        } else {
            self.patience.empty_records = EMPTY_RECORDS_MAX;
        }
        // RFC 8446, 5.1: nothing may come between the parts of a handshake message.
        if self.cut.size > 0 && kind != ContentType::Handshake {
            return Err(Fault::told(AlertDescription::UnexpectedMessage));
        }
        match kind {
            ContentType::ApplicationData => {
                if !content.is_empty() {
                    self.patience.key_updates = KEY_UPDATES_MAX;
                }
                plain.extend_from_slice(content);
                Ok(Said::Data)
            }
            ContentType::Handshake if self.schedule.is_some() => self.handshake(content),
            ContentType::Handshake => self.renegotiation(content, wire),
            ContentType::Alert => self.heed(content),
            _ => Err(Fault::told(AlertDescription::UnexpectedMessage)),
        }
    }

    /// TLS 1.3: a part of a KeyUpdate, which is the only message that a client may send now.
    fn handshake(&mut self, content: &[u8]) -> Result<Said, Fault> {
        let cut = &mut self.cut;
        let size = usize::from(cut.size);
        // RFC 8446, 5.1: no record holds an empty part, and behind a message that changes keys no
        // other one begins in its record.
        let part = cut.bytes[size..].get_mut(..content.len());
        let part = part.filter(|part| !part.is_empty());
        let part = part.ok_or(Fault::told(AlertDescription::UnexpectedMessage))?;
        part.copy_from_slice(content);
        let size = size + content.len();
        if cut.bytes[0] != u8::from(HandshakeType::KeyUpdate) {
            return Err(Fault::told(AlertDescription::UnexpectedMessage));
        }
        let [_, length @ .., request] = cut.bytes;
        if size == KEY_UPDATE_SIZE && length != [0, 0, 1] {
            return Err(Fault::told(AlertDescription::DecodeError));
        }
        if size < KEY_UPDATE_SIZE {
            cut.size = size.to_le_bytes()[0];
            return Ok(Said::Data);
        }
        *cut = Cut::default();
        // RFC 8446, 4.6.3: any other value is an illegal parameter.
        if request > 1 {
            return Err(Fault::told(AlertDescription::IllegalParameter));
        }
        spend(&mut self.patience.key_updates)?;
        self.update_opening().map_err(|error| Fault::of(&error))?;
        Ok(Said::KeyUpdate { asks: request == 1 })
    }

    /// TLS 1.2: a client that wants another handshake is told once that there is none (RFC 5246, 7.2.2).
    fn renegotiation(&mut self, content: &[u8], wire: &mut Vec<u8>) -> Result<Said, Fault> {
        if content.first() != Some(&u8::from(HandshakeType::ClientHello)) {
            return Err(Fault::told(AlertDescription::UnexpectedMessage));
        }
        spend(&mut self.patience.renegotiations)?;
        let told = self.alert(WARNING, AlertDescription::NoRenegotiation, wire);
        told.map_err(|failure| Fault {
            alert: None,
            cause: failure.cause,
        })?;
        Ok(Said::Data)
    }

    /// An alert of the peer's.
    fn heed(&mut self, content: &[u8]) -> Result<Said, Fault> {
        let &[level, alert] = content else {
            return Err(Fault::told(AlertDescription::DecodeError));
        };
        let alert = AlertDescription::from(alert);
        match (level, alert) {
            (WARNING | FATAL, AlertDescription::CloseNotify) => Ok(Said::Goodbye),
            (FATAL, _) => Err(Fault {
                alert: None,
                cause: cause_of(&Error::AlertReceived(alert)),
            }),
            // RFC 8446, 6: TLS 1.3 knows one warning besides the goodbye.
            (WARNING, _) if self.schedule.is_none() || alert == AlertDescription::UserCanceled => {
                spend(&mut self.patience.warnings)?;
                Ok(Said::Data)
            }
            (WARNING, _) => Err(Fault {
                alert: Some(AlertDescription::DecodeError),
                cause: cause_of(&Error::AlertReceived(alert)),
            }),
            _ => Err(Fault::told(AlertDescription::IllegalParameter)),
        }
    }

    fn update_opening(&mut self) -> Result<(), Error> {
        let schedule = self.schedule.as_mut().ok_or(Error::HandshakeNotComplete)?;
        self.opening = Opening::new(self.suite, schedule.update_rx_secret()?)?;
        Ok(())
    }

    /// Says that the next record is sealed with the next key.
    fn update_sealing(&mut self, wire: &mut Vec<u8>) -> Result<(), ChannelFailure> {
        let Some(schedule) = &mut self.schedule else {
            return Err(KEYS_USED_UP);
        };
        // RFC 8446, 4.6.3: nothing is asked of the peer.
        let update = [u8::from(HandshakeType::KeyUpdate), 0, 0, 1, 0];
        self.sealing.seal(ContentType::Handshake, &update, wire)?;
        let next = schedule.update_tx_secret();
        let next = next.and_then(|secret| Sealing::new(self.suite, secret));
        self.sealing = next.map_err(|error| failure(&error))?;
        Ok(())
    }

    fn alert(
        &mut self,
        level: u8,
        alert: AlertDescription,
        wire: &mut Vec<u8>,
    ) -> Result<(), ChannelFailure> {
        self.seal(ContentType::Alert, &[level, u8::from(alert)], wire)
    }

    /// Appends one record, with the next key where this one has sealed all that it may.
    fn seal(
        &mut self,
        kind: ContentType,
        content: &[u8],
        wire: &mut Vec<u8>,
    ) -> Result<(), ChannelFailure> {
        if self.sealing.number >= sealed_max(self.suite) {
            self.update_sealing(wire)?;
        }
        self.sealing.seal(kind, content, wire)
    }
}

/// Takes one of what is forgiven.
fn spend(left: &mut u8) -> Result<(), Fault> {
    *left = left
        .checked_sub(1)
        .ok_or(Fault::told(AlertDescription::UnexpectedMessage))?;
    Ok(())
}

/// The size of the record that begins here, once its header is there.
pub(super) fn record_size(bytes: &[u8]) -> Option<usize> {
    let &[_, _, _, high, low] = bytes.first_chunk::<HEADER_SIZE>()?;
    Some(HEADER_SIZE + usize::from(u16::from_be_bytes([high, low])))
}
