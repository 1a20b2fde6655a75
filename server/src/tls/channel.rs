//! One TLS connection: a handshake, and then its records.
//!
//! ```text
//!           ┌─ Handshake, by rustls ─┐  keys   ┌─ Records, on rustls' ciphers ─┐
//!  bytes ─▶ │  flights, certificates │ ──────▶ │  data, key updates, alerts    │ ─▶ plain
//!           └───────────┬────────────┘         └───────────────┬───────────────┘
//!                       └──────────────▶ wire ◀────────────────┘
//! ```
//!
//! What a handshake needs is given back when it is over: an idle connection keeps two keys, what
//! makes the next ones, and no buffer.

use std::mem::replace;

use rustls::server::UnbufferedServerConnection;
use tidegate_engine::{Channel, ChannelFailure, ChannelPhase};

use super::causes;
use super::handshake::{Handshake, Progress};
use super::records::{Heard, Records};

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

/// A TLS connection.
#[derive(Debug)]
pub(super) struct TlsChannel {
    stage: Stage,
    phase: ChannelPhase,
    /// Who the client is by its certificate.
    user: Option<Box<str>>,
}

#[derive(Debug)]
enum Stage {
    Handshake(Box<Handshake>),
    Open(Records),
    /// The handshake has ended otherwise.
    Over,
}

const _: () = assert!(size_of::<TlsChannel>() <= 160, "there may be very many");

impl TlsChannel {
    pub(super) fn new(connection: UnbufferedServerConnection) -> Self {
        Self {
            stage: Stage::Handshake(Box::new(Handshake::new(connection))),
            phase: ChannelPhase::New,
            user: None,
        }
    }

    #[cfg(test)]
    pub(super) fn records(&mut self) -> &mut Records {
        match &mut self.stage {
            Stage::Open(records) => records,
            other => panic!("it is not open: {other:?}"),
        }
    }

    /// Takes in what belongs to the handshake, and returns what comes behind it.
    fn shake<'b>(
        &mut self,
        bytes: &'b mut [u8],
        wire: &mut Vec<u8>,
    ) -> Result<&'b mut [u8], ChannelFailure> {
        let Stage::Handshake(mut handshake) = replace(&mut self.stage, Stage::Over) else {
            return Ok(bytes);
        };
        let (progress, rest) = handshake.receive(bytes, wire)?;
        match progress {
            Progress::UnderWay => self.stage = Stage::Handshake(handshake),
            Progress::Ended => self.phase = ChannelPhase::Ended,
            Progress::Done => {
                let (records, user) = handshake.into_records()?;
                self.stage = Stage::Open(records);
                self.phase = ChannelPhase::Open;
                self.user = user;
            }
        }
        Ok(rest)
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
            ChannelPhase::New => {
                refuse_strangers(bytes, wire)?;
                self.phase = ChannelPhase::Handshake;
            }
            // RFC 8446, 6.1: what comes behind the goodbye is ignored.
            ChannelPhase::Ended => return Ok(()),
            ChannelPhase::Handshake | ChannelPhase::Open => {}
        }
        let bytes = match self.stage {
            Stage::Open(_) => bytes,
            Stage::Handshake(_) | Stage::Over => self.shake(bytes, wire)?,
        };
        if let Stage::Open(records) = &mut self.stage
            && records.receive(bytes, plain, wire)? == Heard::Goodbye
        {
            self.phase = ChannelPhase::Ended;
        }
        Ok(())
    }

    fn send(&mut self, plain: &[u8], wire: &mut Vec<u8>) -> Result<(), ChannelFailure> {
        match &mut self.stage {
            Stage::Open(records) => records.send(plain, wire),
            Stage::Handshake(_) | Stage::Over => Err(ChannelFailure {
                cause: causes::INTERNAL,
            }),
        }
    }

    fn end(&mut self, wire: &mut Vec<u8>) {
        if let Stage::Open(records) = &mut self.stage {
            // Who cannot be told any more sees the end of the stream all the same.
            let _ = records.end(wire);
        }
    }

    fn phase(&self) -> ChannelPhase {
        self.phase
    }

    fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

/// Tells those who speak no TLS, or one that is too old, in a language that they understand.
fn refuse_strangers(bytes: &[u8], wire: &mut Vec<u8>) -> Result<(), ChannelFailure> {
    let (answer, cause) = if METHODS.iter().any(|method| bytes.starts_with(method)) {
        (PLAIN_HTTP.as_bytes(), "tls_plain_http")
    } else if is_too_old(bytes) {
        (&TOO_OLD[..], "tls_version")
    } else {
        return Ok(());
    };
    wire.extend_from_slice(answer);
    Err(ChannelFailure { cause })
}

/// Is this the hello of a client whose newest version is TLS 1.1 or older? RFC 5246, 7.4.1.2: it says
/// so behind the header of the record and that of the message.
fn is_too_old(bytes: &[u8]) -> bool {
    matches!(bytes, [22, 3, _, _, _, 1, _, _, _, major, minor, ..] if (*major, *minor) < (3, 3))
}
