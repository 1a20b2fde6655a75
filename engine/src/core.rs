//! What one shard owns, and what a handler can do to it: queue, nothing else.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;
use tidegate_io::host::Tasks;
use tidegate_io::{Parcel, Peer};
use tidegate_proto::frame::header_size;
use tidegate_proto::handshake::Refusal;
use tidegate_proto::{CloseCode, Message};

use crate::closed::{Addresses, Ring};
use crate::compression::Compressor;
use crate::connection::{Connection, Flags, NONE, Stage};
use crate::counters::{Shared, Snapshot};
use crate::mailbox::Post;
use crate::meters::Meters;
use crate::outbox::Outbox;
use crate::profile::Profiles;
use crate::tallies::Tallies;
use crate::tasks::Requests;
use crate::timers::{Tick, Timers, ticks_of};
use crate::topics::Topics;
use crate::turn::{Bytes, Turn};
use crate::{Answer, ConnectionId, EndReason, Farewell, Handler, Limits, SendError};

mod meter;
mod pace;
mod publish;
pub(crate) mod record;
pub(crate) mod secure;
mod slow;
mod subscribe;
mod watch;

use secure::Secure;

/// A larger frame is not copied into an arena; it becomes a parcel.
const PARCEL_SIZE_MIN: usize = 16 * 1024;

/// An end that takes longer than the close and the linger timeout together should, by default,
/// is not as it should be, and is counted.
const LATE_CLOSE: Duration = Duration::from_secs(10);

/// All of a shard but its driver, its handler and its mailbox.
pub(crate) struct Core<H: Handler> {
    /// This shard's index.
    pub(crate) shard: usize,
    /// When this turn began to receive.
    pub(crate) now: Instant,
    /// The same in ticks.
    pub(crate) tick: Tick,
    pub(crate) limits: Limits,
    pub(crate) profiles: Profiles,
    pub(crate) meters: Meters,
    pub(crate) connections: Slab<Connection<H::State>>,
    /// Where they called from.
    pub(crate) addresses: Addresses,
    /// What they have said and been told.
    pub(crate) tallies: Tallies,
    /// How the last of them ended.
    pub(crate) closed: Ring,
    pub(crate) outboxes: Slab<Outbox>,
    pub(crate) topics: Topics,
    pub(crate) timers: Timers,
    pub(crate) turn: Turn,
    pub(crate) compressor: Compressor,
    /// Connections that may have contexts of their own; with their generations.
    pub(crate) with_contexts: Vec<(u32, u32)>,
    /// What was published in this turn, in lists that start at the topics.
    pub(crate) publications: Vec<Publication>,
    /// The topics that something was published to in this turn.
    pub(crate) touched: Vec<u32>,
    pub(crate) post: Post<H::Note>,
    /// Notes of the handler to itself.
    pub(crate) notes: VecDeque<H::Note>,
    /// What the handler has said of requests that it had left undecided.
    pub(crate) decisions: VecDeque<(ConnectionId, Answer<H::State>)>,
    /// When the handler wants to be called.
    pub(crate) wake_at: Option<Instant>,
    /// Of the application.
    pub(crate) tasks: Tasks,
    /// What they want done.
    pub(crate) requests: Rc<Requests<H::Note>>,
    /// Bytes of large messages and of publications that have been queued since the last flush.
    pub(crate) bytes_queued: usize,
    /// Operations that could not be submitted while the driver's bytes were lent.
    pub(crate) operations: Vec<Operation>,
    /// Connections to be shut once all has been sent; with their generations.
    pub(crate) finishing: Vec<(u32, u32)>,
    /// Connections that a delivery has found to be lost; with their generations.
    pub(crate) lost: Vec<(u32, u32, EndReason)>,
    /// Connections that waited for tokens, and have been told to go; with their generations.
    pub(crate) hurried: Vec<(u32, u32)>,
    pub(crate) counted: Snapshot,
    /// Something was counted that most turns do not count.
    pub(crate) rare_changed: bool,
    /// The server is going away: whoever is not here yet is told so.
    pub(crate) draining: Option<Farewell>,
    pub(crate) shared: Arc<Shared>,
    /// Encrypted connections, if there is a port for them.
    pub(crate) secure: Option<Box<Secure>>,
    generation: u32,
}

/// One publication to a topic that has subscribers here.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) bytes: Bytes,
    /// See [`crate::Key`]; 0 is none.
    pub(crate) key: u64,
    /// The next one to the same topic, or [`NONE`].
    pub(crate) next: u32,
}

/// Something for the driver, a little later.
#[derive(Debug)]
pub(crate) enum Operation {
    Open {
        slot: u32,
        peer: Peer,
    },
    Pause {
        slot: u32,
    },
    Resume {
        slot: u32,
    },
    ReceiveInto {
        slot: u32,
        buffer: Vec<u8>,
        size: usize,
    },
    Close {
        slot: u32,
        reset: bool,
    },
}

/// What a piece of wire is, for a peer that does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WireKind {
    Pong,
    Other,
}

impl<H: Handler> Core<H> {
    pub(crate) fn new(
        shard: usize,
        limits: Limits,
        post: Post<H::Note>,
        tasks: Tasks,
        compressor: Compressor,
        shared: Arc<Shared>,
        seed: u64,
    ) -> Self {
        let now = tasks.now();
        let requests = Rc::new(Requests::new(shard, limits.task_bytes_max));
        let expected = limits.connections_expected;
        Self {
            shard,
            now,
            tick: 1,
            profiles: Profiles::new(&limits.profile),
            meters: Meters::default(),
            limits,
            connections: Slab::with_capacity(expected),
            addresses: Addresses::with_capacity(expected),
            tallies: Tallies::with_capacity(expected),
            closed: Ring::default(),
            outboxes: Slab::new(),
            topics: Topics::new(seed),
            timers: Timers::new(now),
            turn: Turn::default(),
            compressor,
            with_contexts: Vec::new(),
            publications: Vec::new(),
            touched: Vec::new(),
            post,
            notes: VecDeque::new(),
            decisions: VecDeque::new(),
            wake_at: None,
            tasks,
            requests,
            bytes_queued: 0,
            operations: Vec::new(),
            finishing: Vec::new(),
            lost: Vec::new(),
            hurried: Vec::new(),
            counted: Snapshot::default(),
            rare_changed: false,
            draining: None,
            shared,
            secure: None,
            generation: 0,
        }
    }

    /// A slot for a new peer.
    pub(crate) fn insert(&mut self, address: SocketAddr) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        #[cfg(test)]
        if crate::planted::Bug::OldGeneration.is_planted() {
            self.generation = 1;
        }
        let mut connection = Connection::new(self.generation);
        connection.heard = self.tick;
        let slot = self.connections.insert(connection);
        self.counted.accepted += 1;
        let slot = u32::try_from(slot).expect("the descriptors of a process end far below");
        self.addresses.set(slot, address);
        self.tallies.begin(slot);
        slot
    }

    pub(crate) fn connection(&mut self, slot: u32) -> &mut Connection<H::State> {
        &mut self.connections[slot as usize]
    }

    pub(crate) fn id_of(&self, slot: u32) -> ConnectionId {
        ConnectionId::new(self.shard, slot, self.connections[slot as usize].generation)
    }

    /// Is this still the tenant of the slot?
    pub(crate) fn is_same(&self, slot: u32, generation: u32) -> bool {
        self.connections
            .get(slot as usize)
            .is_some_and(|c| c.generation == generation)
    }

    #[inline]
    pub(crate) fn send(&mut self, slot: u32, message: Message<'_>) -> Result<(), SendError> {
        self.reply_to(slot);
        if self.connections[slot as usize].outbox != NONE && !self.has_room(slot, message.len()) {
            return Err(SendError::Full);
        }
        let connection = &mut self.connections[slot as usize];
        let Some(open) = connection.talking() else {
            return Err(SendError::Closed);
        };
        self.counted.messages_out += 1;
        self.tallies.send(slot, 1);
        open.used = self.tick;
        let start = self.turn.wire.len();
        if let Some(agreed) = &mut open.deflate
            && let Some(deflated) = self.compressor.deflate(agreed, message.as_bytes())
        {
            open.session
                .send_deflated(message.kind(), deflated, &mut self.turn.wire);
        } else if message.len() > PARCEL_SIZE_MIN {
            let mut bytes = Vec::with_capacity(message.len() + header_size(message.len()));
            open.session.send(message, &mut bytes);
            self.send_parcel(slot, Parcel::new(bytes));
            return Ok(());
        } else {
            open.session.send(message, &mut self.turn.wire);
        }
        if connection.outbox != NONE {
            self.hold_back(slot, start, WireKind::Other);
        }
        Ok(())
    }

    /// From now on, what is written to the turn's wire goes to this connection.
    #[inline]
    pub(crate) fn reply_to(&mut self, slot: u32) {
        if self.turn.replied != slot {
            if self.turn.replied != NONE {
                self.claim_replies();
            }
            self.turn.replied = slot;
        }
    }

    /// Puts what has been written to the wire into the list of whom it is for.
    #[inline(never)]
    pub(crate) fn claim_replies(&mut self) {
        let slot = self.turn.replied;
        if slot != NONE {
            let pending = &mut self.connections[slot as usize].pending;
            self.turn.claim(pending);
        }
    }

    /// What has been written to the wire from `start` on waits in the outbox if a batch is
    /// under way; else it stays where it is.
    #[inline(never)]
    pub(crate) fn hold_back(&mut self, slot: u32, start: usize, kind: WireKind) {
        let connection = &self.connections[slot as usize];
        if !connection.flags.has(Flags::SENDING) || self.turn.wire.len() == start {
            return;
        }
        let bytes = &self.turn.wire[start..];
        let outbox = &mut self.outboxes[connection.outbox as usize];
        match kind {
            WireKind::Pong => outbox.set_pong(Parcel::copy_of(bytes)),
            WireKind::Other => outbox.append(bytes),
        }
        self.turn.wire.truncate(start);
    }

    pub(crate) fn send_parcel(&mut self, slot: u32, parcel: Parcel) {
        // What has been written before goes before.
        self.claim_replies();
        // What is written behind it, such as a pong or a close, is for the same connection.
        self.turn.replied = slot;
        self.bytes_queued += parcel.len();
        let connection = &mut self.connections[slot as usize];
        if connection.flags.has(Flags::SENDING) {
            self.outboxes[connection.outbox as usize].push(parcel);
            return;
        }
        let run = self.turn.add_run(Bytes::Shared(parcel), 0);
        let size = self.turn.run_size(run);
        self.turn.enqueue(&mut connection.pending, slot, run, size);
    }

    /// Sends a close frame, and gives the peer some time to answer it.
    pub(crate) fn close(&mut self, slot: u32, code: CloseCode, reason: &str, why: EndReason) {
        self.reply_to(slot);
        let start = self.turn.wire.len();
        let Some(open) = self.connections[slot as usize].talking() else {
            return;
        };
        open.session.close(Some(code), reason, &mut self.turn.wire);
        open.closing = Some(why);
        open.used = self.tick;
        self.hold_back(slot, start, WireKind::Other);
        let profile = self.connections[slot as usize].profile;
        self.set_deadline(slot, self.profiles.get(profile).close_timeout);
        self.hurry(slot);
    }

    /// Answers a handshake that is not accepted; nothing else has been said to this peer.
    pub(crate) fn refuse(&mut self, slot: u32, refusal: &Refusal) {
        self.reply_to(slot);
        refusal.write(&mut self.turn.wire);
        self.count_refusal(slot, refusal);
        self.finish(slot);
    }

    /// Writes down that a handshake was refused.
    pub(crate) fn count_refusal(&mut self, slot: u32, refusal: &Refusal) {
        self.record_refusal(slot, refusal);
        self.shared.refuse(refusal.cause());
    }

    /// Everything that is to be said has been queued: shut our side when it is sent.
    pub(crate) fn finish(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        connection.flags.set(Flags::FINISHING);
        // That of a conversation has begun with its close frame, which its end has noted.
        if !matches!(connection.stage, Stage::Lingering) {
            connection.heard = self.tick;
            connection.stage = Stage::Lingering;
        }
        self.finishing.push((slot, connection.generation));
        self.forget_throttle(slot);
        self.resume(slot);
        self.set_deadline(slot, self.limits.linger_timeout);
    }

    /// Gives the connection up, with whatever was still to be sent.
    pub(crate) fn release(&mut self, slot: u32, reset: bool) {
        let connection = &mut self.connections[slot as usize];
        if matches!(connection.stage, Stage::Released) {
            return;
        }
        debug_assert!(
            !matches!(connection.stage, Stage::Open(_)),
            "its end has been told"
        );
        if matches!(connection.stage, Stage::Lingering)
            && self.tick.saturating_sub(connection.heard) > ticks_of(LATE_CLOSE)
        {
            self.counted.late_closes += 1;
        }
        if self.turn.replied == slot {
            self.turn.unsay();
        }
        self.turn.cancel(&mut connection.pending);
        if let Some(secure) = &mut self.secure {
            secure.forget(slot);
        }
        connection.stage = Stage::Released;
        connection.deadline = 0;
        let outbox = std::mem::replace(&mut connection.outbox, NONE);
        if outbox != NONE {
            self.outboxes.remove(outbox as usize);
        }
        self.release_meter(slot);
        self.operations.push(Operation::Close { slot, reset });
    }

    /// The driver has closed it: the slot is free.
    pub(crate) fn remove(&mut self, slot: u32) {
        self.connections.remove(slot as usize);
    }

    /// Is there something that a wait would delay?
    pub(crate) fn has_work(&self) -> bool {
        !self.touched.is_empty()
            || !self.lost.is_empty()
            || !self.hurried.is_empty()
            || !self.finishing.is_empty()
            || self.turn.has_pending()
    }
}

impl<H: Handler> std::fmt::Debug for Core<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("shard", &self.shard)
            .finish_non_exhaustive()
    }
}
