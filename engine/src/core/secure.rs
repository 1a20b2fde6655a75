//! The channels of a shard, by slot; there are none unless there is a secure port.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tidegate_io::{Driver, Op, Piece, Socket, Submitted};

use crate::{Acceptor, Channel, ChannelFailure, ChannelPhase};

/// As much plaintext as one record holds. Small pieces are gathered up to this, so that they share
/// a record and its 22 bytes or more.
const GATHERED_SIZE: usize = 16 * 1024;

/// What a channel says by itself may wait, while a batch is under way, up to this: more than any
/// flight of a handshake. Whoever makes it say more without reading is lost.
const WAITING_SIZE_MAX: usize = 64 * 1024;

/// Beyond this, a buffer is given back after its use.
const KEPT_SIZE_MAX: usize = 256 * 1024;

/// All of a shard's channels.
pub(crate) struct Secure {
    acceptor: Arc<dyn Acceptor>,
    /// Who calls this listener of the driver's gets a channel.
    listener: usize,
    /// `None` for those that are not secure, or whose channel is over.
    channels: Vec<Option<Box<dyn Channel>>>,
    /// What channels have said while a batch was under way.
    waiting: HashMap<u32, Vec<u8>>,
    /// What peers have said; and pieces that are gathered. Lent, and empty between two uses.
    plain: Vec<u8>,
    /// What is to be sent, encrypted. Lent, and empty between two uses.
    wire: Vec<u8>,
    /// What a channel has said by itself with the last bytes. It goes before whatever is encrypted
    /// after it.
    said: Vec<u8>,
    /// Whose that is; `None` if it is empty.
    said_of: Option<u32>,
    /// What the last bytes have told beside plaintext.
    told: Option<(u32, Told)>,
}

/// What a channel has learned from the bytes of the peer, beside what they said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// The peer will say no more.
    Ended,
    /// The channel is over, for this cause.
    Broken(&'static str),
}

impl Secure {
    pub(crate) fn new(listener: usize, acceptor: Arc<dyn Acceptor>) -> Self {
        Self {
            acceptor,
            listener,
            channels: Vec::new(),
            waiting: HashMap::new(),
            plain: Vec::new(),
            wire: Vec::new(),
            said: Vec::new(),
            said_of: None,
            told: None,
        }
    }

    /// Whether whoever calls this listener is to have a channel.
    pub(crate) fn is_for(&self, listener: usize) -> bool {
        listener == self.listener
    }

    /// A peer that has called this listener is let in: it has a channel, if it is to have one.
    pub(crate) fn accept(&mut self, slot: u32, listener: usize) {
        if !self.is_for(listener) {
            return;
        }
        let index = slot as usize;
        if index >= self.channels.len() {
            self.channels.resize_with(index + 1, || None);
        }
        debug_assert!(self.channels[index].is_none(), "the former one was dropped");
        self.channels[index] = Some(self.acceptor.accept());
    }

    /// How far the channel has come; `None` if it is over.
    pub(crate) fn phase(&self, slot: u32) -> Option<ChannelPhase> {
        self.channel(slot).map(Channel::phase)
    }

    /// Who the peer is, if it has proven it.
    pub(crate) fn user(&self, slot: u32) -> Option<&str> {
        self.channel(slot)?.user()
    }

    fn channel(&self, slot: u32) -> Option<&dyn Channel> {
        self.channels.get(slot as usize)?.as_deref()
    }

    /// Drops the channel: nothing can be said or heard any more.
    pub(crate) fn drop_channel(&mut self, slot: u32) {
        if let Some(channel) = self.channels.get_mut(slot as usize) {
            *channel = None;
        }
    }

    /// Forgets all that is known of a peer that is given up.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.drop_channel(slot);
        self.waiting.remove(&slot);
        if self.said_of == Some(slot) {
            self.said_of = None;
            self.said.clear();
        }
    }

    /// Takes in bytes of the wire. What they said is given back, in a buffer that is to be returned.
    pub(crate) fn receive(&mut self, slot: u32, bytes: &mut [u8]) -> Vec<u8> {
        let mut plain = std::mem::take(&mut self.plain);
        debug_assert!(
            self.said.is_empty() && self.told.is_none(),
            "it has been seen to"
        );
        let Some(Some(channel)) = self.channels.get_mut(slot as usize) else {
            return plain;
        };
        let before = channel.phase();
        let outcome = channel.receive(bytes, &mut plain, &mut self.said);
        if !self.said.is_empty() {
            self.said_of = Some(slot);
        }
        self.told = match outcome {
            Err(ChannelFailure { cause }) => {
                // Nothing can be said or heard any more, but for its last words.
                self.drop_channel(slot);
                Some((slot, Told::Broken(cause)))
            }
            Ok(()) => {
                let ended = channel.phase() == ChannelPhase::Ended && before != ChannelPhase::Ended;
                ended.then_some((slot, Told::Ended))
            }
        };
        plain
    }

    /// Takes back the buffer that [`Self::receive`] has lent.
    pub(crate) fn give_back(&mut self, mut plain: Vec<u8>) {
        plain.clear();
        plain.shrink_to(KEPT_SIZE_MAX);
        self.plain = plain;
    }

    /// What the last bytes have told, and of whom.
    pub(crate) fn take_told(&mut self) -> Option<(u32, Told)> {
        self.told.take()
    }

    /// Whose channel has said something by itself that has not been sent.
    pub(crate) fn said_of(&self) -> Option<u32> {
        self.said_of
    }

    /// Sends what the channel has said by itself.
    pub(crate) fn submit_said(&mut self, driver: &mut impl Driver) -> (usize, Submitted) {
        let slot = self.said_of.expect("somebody has asked");
        self.begin_wire(slot);
        self.submit_wire(driver, slot)
    }

    /// Keeps what the channel has said by itself until the batch under way has gone. `false`: too
    /// much waits already.
    pub(crate) fn hold_said(&mut self) -> bool {
        let slot = self.said_of.take().expect("somebody has asked");
        let waiting = self.waiting.entry(slot).or_default();
        waiting.append(&mut self.said);
        waiting.len() <= WAITING_SIZE_MAX
    }

    /// A batch has gone: what has waited goes next. `None`: nothing has.
    pub(crate) fn submit_waiting(
        &mut self,
        driver: &mut impl Driver,
        slot: u32,
    ) -> Option<(usize, Submitted)> {
        let waiting = self.waiting.remove(&slot)?;
        let submitted = driver.submit(Op::Send {
            socket: Socket(slot),
            pieces: &[Piece::Lent(&waiting)],
        });
        Some((waiting.len(), submitted))
    }

    /// Encrypts the pieces, and hands them to the driver. Returns how many bytes were sent.
    ///
    /// # Errors
    /// [`ChannelFailure`]: nothing was sent.
    pub(crate) fn submit(
        &mut self,
        driver: &mut impl Driver,
        slot: u32,
        pieces: &[Piece<'_>],
    ) -> Result<(usize, Submitted), ChannelFailure> {
        self.begin_wire(slot);
        let Some(Some(channel)) = self.channels.get_mut(slot as usize) else {
            // Nobody can be told anything any more, but for the channel's own last words.
            return Ok(self.submit_wire(driver, slot));
        };
        match pieces {
            [piece] => channel.send(piece.bytes(), &mut self.wire)?,
            pieces => {
                let mut gathered = std::mem::take(&mut self.plain);
                for bytes in pieces.iter().map(Piece::bytes) {
                    let fits = gathered.len() + bytes.len() <= GATHERED_SIZE;
                    if !fits && !gathered.is_empty() {
                        channel.send(&gathered, &mut self.wire)?;
                        gathered.clear();
                    }
                    if bytes.len() >= GATHERED_SIZE {
                        channel.send(bytes, &mut self.wire)?;
                    } else {
                        gathered.extend_from_slice(bytes);
                    }
                }
                if !gathered.is_empty() {
                    channel.send(&gathered, &mut self.wire)?;
                }
                self.give_back(gathered);
            }
        }
        Ok(self.submit_wire(driver, slot))
    }

    /// Says that nothing more will be sent, if that has not been said, and drops the channel.
    pub(crate) fn submit_end(&mut self, driver: &mut impl Driver, slot: u32) -> (usize, Submitted) {
        self.begin_wire(slot);
        if let Some(Some(channel)) = self.channels.get_mut(slot as usize) {
            channel.end(&mut self.wire);
        }
        self.drop_channel(slot);
        self.submit_wire(driver, slot)
    }

    /// What goes first is what the channel has said by itself before.
    fn begin_wire(&mut self, slot: u32) {
        self.wire.clear();
        if self.said_of == Some(slot) {
            self.said_of = None;
            std::mem::swap(&mut self.wire, &mut self.said);
        }
    }

    fn submit_wire(&mut self, driver: &mut impl Driver, slot: u32) -> (usize, Submitted) {
        let size = self.wire.len();
        if size == 0 {
            return (0, Submitted::Done);
        }
        let submitted = driver.submit(Op::Send {
            socket: Socket(slot),
            pieces: &[Piece::Lent(&self.wire)],
        });
        self.wire.clear();
        self.wire.shrink_to(KEPT_SIZE_MAX);
        (size, submitted)
    }

    /// Bytes held, but for what is in the channels.
    pub(crate) fn memory(&self) -> usize {
        let waiting: usize = self.waiting.values().map(Vec::capacity).sum();
        self.channels.capacity() * size_of::<Option<Box<dyn Channel>>>()
            + waiting
            + self.plain.capacity()
            + self.wire.capacity()
            + self.said.capacity()
    }

    /// Is nothing kept for anybody?
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.channels.iter().all(Option::is_none) && self.waiting.is_empty() && self.said.is_empty()
    }
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}
