//! Phase 5: one vectored send for each connection; then those that are done are shut.

use smallvec::SmallVec;
use tidegate_io::{Driver, Piece};

use super::secure::submit;
use super::{Flags, Handler, NONE, Op, Shard, Socket, Stage, Submitted};
use crate::ChannelFailure;
use crate::outbox::Outbox;
#[cfg(test)]
use crate::planted::Bug;
use crate::turn::Bytes;

impl<D: Driver, H: Handler> Shard<D, H> {
    pub(super) fn flush(&mut self) {
        // An end that phase 4 or this one has brought may have been published by the handler.
        loop {
            if !self.core.touched.is_empty() {
                self.deliver_publications();
            }
            self.answer();
            if self.core.touched.is_empty() {
                break;
            }
        }
        self.core.counted.mail_sent += self.core.post.dispatch();
        self.core.turn.clear();
        self.core.bytes_queued = 0;
    }

    /// Sends all that is pending: at the end of the turn, and the replies to one read before
    /// more is received.
    #[inline]
    pub(super) fn answer(&mut self) {
        if let Some((slot, bytes)) = self.core.turn.only_replies() {
            let size = bytes.len();
            let whose = (slot, self.core.connections[slot as usize].flags);
            let submitted = submit(
                &mut self.driver,
                &mut self.core.secure,
                &mut self.core.counted,
                whose,
                &[Piece::Lent(bytes)],
            );
            self.core.turn.forget_wire();
            self.after_submit(slot, size, submitted);
            if !self.core.finishing.is_empty() {
                self.shut_finished();
            }
            self.run_operations();
        } else if self.core.turn.has_pending() || !self.core.finishing.is_empty() {
            self.send_all();
        } else {
            self.core.turn.replied = NONE;
        }
    }

    #[inline(never)]
    fn send_all(&mut self) {
        self.core.claim_replies();
        for pending in 0..self.core.turn.pending_count() {
            self.send_pending(pending);
        }
        self.core.turn.clear_replies();
        self.shut_finished();
        self.run_operations();
    }

    /// Sends all that is pending, and keeps the runs, which more connections are to get.
    pub(super) fn send_crowd(&mut self) {
        for pending in 0..self.core.turn.pending_count() {
            self.send_pending(pending);
        }
        self.core.turn.forget_pendings();
    }

    /// Hands one connection's batch to the driver.
    pub(super) fn send_pending(&mut self, index: usize) {
        let pending = self.core.turn.pending(index);
        if pending.slot == NONE {
            return;
        }
        let slot = pending.slot;
        #[cfg(test)]
        if Bug::ForgottenFlush.is_planted() && self.core.counted.turns.is_multiple_of(64) {
            let connection = &mut self.core.connections[slot as usize];
            self.core.turn.cancel(&mut connection.pending);
            return;
        }
        let core = &mut self.core;
        let whose = (slot, core.connections[slot as usize].flags);
        let (secure, counted) = (&mut core.secure, &mut core.counted);
        let submitted = match core.turn.only_piece(pending) {
            Some(piece) => submit(&mut self.driver, secure, counted, whose, &[piece]),
            None => {
                let pieces = core.turn.pieces(pending);
                submit(&mut self.driver, secure, counted, whose, &pieces)
            }
        };
        let connection = &mut self.core.connections[slot as usize];
        self.core.turn.cancel(&mut connection.pending);
        self.after_submit(slot, pending.byte_count as usize, submitted);
    }

    /// The driver has taken a batch of this size, or it could not be encrypted.
    #[inline]
    fn after_submit(
        &mut self,
        slot: u32,
        size: usize,
        submitted: Result<Submitted, ChannelFailure>,
    ) {
        match submitted {
            Ok(submitted) => self.after_send(slot, size, submitted),
            Err(failure) => self.on_exhausted(slot, failure),
        }
    }

    /// The driver has taken a batch of this size.
    #[inline]
    pub(super) fn after_send(&mut self, slot: u32, size: usize, submitted: Submitted) {
        self.core.counted.bytes_out += size as u64;
        let connection = &mut self.core.connections[slot as usize];
        if let Stage::Open(open) = &mut connection.stage {
            open.sent = self.core.tick;
        }
        let paused = connection.flags.has(Flags::PAUSED);
        if submitted == Submitted::Pending || paused {
            self.keep_pace(slot, size, submitted);
        }
    }

    /// Receives from this peer no faster than it takes what it is sent.
    #[inline(never)]
    fn keep_pace(&mut self, slot: u32, size: usize, submitted: Submitted) {
        let profile = self.core.connections[slot as usize].profile;
        let policy = self.core.profiles.get(profile).slow;
        let connection = &mut self.core.connections[slot as usize];
        match submitted {
            Submitted::Done => {
                self.core.resume(slot);
            }
            Submitted::Pending => {
                connection.flags.set(Flags::SENDING);
                let outbox = self.core.outboxes.insert(Outbox::behind(size, policy));
                connection.outbox = u32::try_from(outbox).expect("no more than connections");
                self.core.pause_if_full(slot);
                // In a close handshake, its own deadline stays.
                if self.core.connection(slot).talking().is_some() {
                    self.core.watch_send(slot);
                }
            }
        }
    }

    /// A batch has gone to its last byte, and what may still be dropped waits behind it: hands it
    /// over in small batches, as long as they go. `false`: nothing such waits.
    fn send_frames(&mut self, slot: u32) -> bool {
        loop {
            let core = &mut self.core;
            let connection = &mut core.connections[slot as usize];
            if connection.outbox == NONE {
                return false;
            }
            let Some(batch) = core.outboxes[connection.outbox as usize].next_batch() else {
                return false;
            };
            core.counted.messages_out += u64::from(batch.publication_count);
            core.tallies.send(slot, batch.publication_count);
            core.counted.bytes_out += batch.size as u64;
            if let Stage::Open(open) = &mut connection.stage {
                open.sent = core.tick;
            }
            let pieces = batch.parcels.iter().map(Piece::Shared);
            let pieces: SmallVec<[Piece<'_>; 8]> = pieces.collect();
            let whose = (slot, connection.flags);
            let (secure, counted) = (&mut core.secure, &mut core.counted);
            match submit(&mut self.driver, secure, counted, whose, &pieces) {
                Ok(Submitted::Done) => {}
                Ok(Submitted::Pending) => {
                    if connection.talking().is_some() {
                        core.watch_send(slot);
                    }
                    return true;
                }
                Err(failure) => {
                    self.on_exhausted(slot, failure);
                    return false;
                }
            }
        }
    }

    /// A batch has gone to its last byte: what waited behind it is the next one.
    pub(super) fn on_sent(&mut self, slot: u32) {
        if self.core.secure.is_some() && self.send_waiting(slot) {
            return;
        }
        if self.send_frames(slot) {
            return self.resume(slot);
        }
        let core = &mut self.core;
        let connection = &mut core.connections[slot as usize];
        connection.flags.clear(Flags::SENDING);
        let outbox = std::mem::replace(&mut connection.outbox, NONE);
        if outbox == NONE {
            return;
        }
        let mut outbox = core.outboxes.remove(outbox as usize);
        let unread = outbox.take_unread();
        #[cfg(test)]
        if Bug::ForgottenOutbox.is_planted() {
            outbox = Outbox::default();
        }
        for parcel in outbox.take_batch() {
            let run = core.turn.add_run(Bytes::Shared(parcel), 0);
            let size = core.turn.run_size(run);
            core.turn.enqueue(&mut connection.pending, slot, run, size);
        }
        if connection.flags.has(Flags::FINISHING) {
            core.finishing.push((slot, connection.generation));
        } else {
            core.after_sent(slot);
        }
        if core.connections[slot as usize].pending == NONE {
            core.resume(slot);
        }
        if let Some(unread) = unread {
            self.read_on(slot, unread);
        }
    }

    /// More is under way, but no more replies wait than may: the peer is received from again.
    fn resume(&mut self, slot: u32) {
        let core = &mut self.core;
        if core.is_behind(slot) || !core.resume(slot) {
            return;
        }
        let outbox = core.connections[slot as usize].outbox;
        if let Some(unread) = core.outboxes[outbox as usize].take_unread() {
            self.read_on(slot, unread);
        }
    }

    /// Delivers and sends what has been queued so far, in the middle of a turn: what one read
    /// brings forth may be a thousand times its size, and must not pile up.
    pub(super) fn relieve(&mut self) {
        self.deliver();
        self.take_lost();
        self.flush();
    }

    /// Shuts our side of those that have nothing more to say.
    fn shut_finished(&mut self) {
        for _ in 0..self.core.finishing.len() {
            let Some((slot, generation)) = self.core.finishing.pop() else {
                break;
            };
            if !self.is_current(slot, generation) {
                continue;
            }
            let connection = self.core.connection(slot);
            let shut = !connection.flags.has(Flags::FINISHING);
            // While a batch is under way, `on_sent` comes back to this.
            if shut || connection.flags.has(Flags::SENDING) {
                continue;
            }
            debug_assert!(connection.pending == NONE, "it has just been flushed");
            let (ended, lingers) = (
                connection.flags.has(Flags::ENDED),
                matches!(connection.stage, Stage::Lingering),
            );
            // The goodbye of TLS goes before the end, and its batch comes back to this.
            if connection.flags.has(Flags::SECURE) && lingers && self.send_end(slot) {
                continue;
            }
            self.core.connection(slot).flags.clear(Flags::FINISHING);
            if ended {
                self.core.release(slot, false);
            } else if lingers {
                let _ = self.driver.submit(Op::Shutdown {
                    socket: Socket(slot),
                });
            }
        }
    }
}
