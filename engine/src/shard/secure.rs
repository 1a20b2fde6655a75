//! Encrypted connections, in a shard: what comes is decrypted before anything else looks at it, and
//! what is sent is encrypted when nothing can come between it and the driver.

use tidegate_io::{Driver, Op, Piece, Socket, Submitted};

use super::receive::{Half, Next};
use super::{EndReason, Flags, Handler, Shard, Stage};
use crate::core::secure::{Secure, Told};
use crate::counters::Snapshot;
use crate::{ChannelFailure, ChannelPhase};

/// The peer ended its stream in the middle of the handshake.
const TRUNCATED: &str = "tls_truncated";

/// The handshake took too long.
const TIMEOUT: &str = "tls_timeout";

/// Hands pieces to the driver, encrypted if the connection is.
///
/// # Errors
/// [`ChannelFailure`]: nothing was sent, and nothing can be.
#[inline]
pub(super) fn submit<D: Driver>(
    driver: &mut D,
    secure: &mut Option<Box<Secure>>,
    counted: &mut Snapshot,
    (slot, flags): (u32, Flags),
    pieces: &[Piece<'_>],
) -> Result<Submitted, ChannelFailure> {
    match secure {
        Some(secure) if flags.has(Flags::SECURE) => {
            let plain_size: usize = pieces.iter().map(|piece| piece.bytes().len()).sum();
            let (size, submitted) = secure.submit(driver, slot, pieces)?;
            // Whoever calls this counts the plain bytes.
            counted.bytes_out += size.saturating_sub(plain_size) as u64;
            Ok(submitted)
        }
        _ => Ok(driver.submit(Op::Send {
            socket: Socket(slot),
            pieces,
        })),
    }
}

impl<H: Handler> Half<'_, H> {
    /// Bytes of an encrypted connection, which are lent.
    #[inline(never)]
    pub(super) fn on_sealed(&mut self, slot: u32, bytes: &mut [u8]) -> Next {
        let connection = &self.core.connections[slot as usize];
        if matches!(connection.stage, Stage::Lingering | Stage::Released) {
            // It would be discarded.
            return Next::Nothing;
        }
        let Some(secure) = &mut self.core.secure else {
            return Next::Nothing;
        };
        let mut plain = secure.receive(slot, bytes);
        let next = if plain.is_empty() {
            Next::Nothing
        } else {
            self.on_plain(slot, &mut plain)
        };
        if let Some(secure) = &mut self.core.secure {
            secure.give_back(plain);
        }
        next
    }
}

impl<D: Driver, H: Handler> Shard<D, H> {
    /// Sends what a channel has said by itself, or keeps it until the batch under way has gone.
    pub(super) fn send_said(&mut self) {
        let Some(secure) = &mut self.core.secure else {
            return;
        };
        let Some(slot) = secure.said_of() else { return };
        let connection = &self.core.connections[slot as usize];
        if connection.flags.has(Flags::SENDING) {
            if !secure.hold_said() {
                let lost = (slot, connection.generation, EndReason::SlowConsumer);
                self.core.lost.push(lost);
            }
            return;
        }
        let (size, submitted) = secure.submit_said(&mut self.driver);
        self.after_send(slot, size, submitted);
    }

    /// A batch has gone: what a channel has said meanwhile goes next. `true`: that is under way now.
    pub(super) fn send_waiting(&mut self, slot: u32) -> bool {
        let Some(secure) = &mut self.core.secure else {
            return false;
        };
        let Some((size, submitted)) = secure.submit_waiting(&mut self.driver, slot) else {
            return false;
        };
        self.core.counted.bytes_out += size as u64;
        if let Stage::Open(open) = &mut self.core.connections[slot as usize].stage {
            open.sent = self.core.tick;
        }
        submitted == Submitted::Pending
    }

    /// Says on an encrypted connection that nothing more will be sent. `true`: that is under way, and
    /// the rest comes behind it.
    pub(super) fn send_end(&mut self, slot: u32) -> bool {
        let Some(secure) = &mut self.core.secure else {
            return false;
        };
        let (size, submitted) = secure.submit_end(&mut self.driver, slot);
        self.after_send(slot, size, submitted);
        submitted == Submitted::Pending
    }

    /// Sees to what the last bytes have told beside what they said.
    pub(super) fn heed_told(&mut self) {
        let Some(secure) = &mut self.core.secure else {
            return;
        };
        let Some((slot, told)) = secure.take_told() else {
            return;
        };
        let Some(connection) = self.core.connections.get(slot as usize) else {
            return;
        };
        match told {
            Told::Broken(cause) => self.on_broken(slot, cause),
            // What it said before is still to be read; the end of its stream comes behind that.
            Told::Ended if connection.flags.has(Flags::PAUSED) => {}
            Told::Ended => self.on_ended(slot),
        }
    }

    /// The channel is over: what it had to say of that has been sent, and the rest is an end.
    fn on_broken(&mut self, slot: u32, cause: &'static str) {
        match self.core.connections[slot as usize].stage {
            Stage::Handshake { .. } | Stage::Undecided { .. } => {
                self.core.record_failure(slot, cause);
            }
            Stage::Open(_) => self.end(slot, EndReason::TlsFailure, None, None),
            Stage::Lingering | Stage::Released => return,
        }
        self.core.shared.refuse(cause);
        self.core.finish(slot);
    }

    /// Nothing can be encrypted any more for this peer.
    #[cold]
    pub(super) fn on_exhausted(&mut self, slot: u32, failure: ChannelFailure) {
        self.core.shared.refuse(failure.cause);
        let generation = self.core.connections[slot as usize].generation;
        self.core
            .lost
            .push((slot, generation, EndReason::TlsFailure));
    }

    /// The stream of an encrypted connection has ended. `true`: in the middle of its handshake,
    /// which is seen to.
    pub(super) fn is_truncated(&mut self, slot: u32) -> bool {
        let Some(secure) = &self.core.secure else {
            return false;
        };
        let phase = secure.phase(slot);
        match (&self.core.connections[slot as usize].stage, phase) {
            (Stage::Handshake { .. }, Some(ChannelPhase::Handshake)) => {
                self.core.record_failure(slot, TRUNCATED);
                self.core.shared.refuse(TRUNCATED);
                self.core.release(slot, false);
                return true;
            }
            (Stage::Open(_), Some(ChannelPhase::Open)) => self.core.counted.tls_truncations += 1,
            _ => {}
        }
        false
    }

    /// The request is late. `true`: even the handshake before it is, which is seen to.
    pub(super) fn is_handshake_late(&mut self, slot: u32) -> bool {
        let secure = self.core.secure.as_ref();
        let phase = secure.and_then(|secure| secure.phase(slot));
        let late = matches!(phase, Some(ChannelPhase::New | ChannelPhase::Handshake));
        if late {
            self.core.record_failure(slot, TIMEOUT);
            self.core.shared.refuse(TIMEOUT);
            self.core.release(slot, true);
        }
        late
    }
}
