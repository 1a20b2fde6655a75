//! One connection, from the accept to the last byte. There may be a million: every byte counts.
//!
//! ```text
//!                    refused, plain HTTP
//!  accept ─▶ Handshake ─────────────────────────┐
//!               │ 101                           ▼
//!               ▼      close, violation, end    Lingering ─▶ Released ─▶ slot is free
//!             Open ────────────────────────────▶│  our side is shut; the    ▲
//!               │                                  rest is discarded       │
//!               └──── reset, slow consumer, timeout ───────────────────────┘
//! ```

use std::mem::size_of;

use smallvec::SmallVec;
use tidegate_proto::Session;

use crate::EndReason;
use crate::compression::Agreed;
use crate::timers::Tick;
use crate::topics::Subscription;

/// No index: nothing is pending, no outbox.
pub(crate) const NONE: u32 = u32::MAX;

/// All that the engine keeps of one peer.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    /// Tells this tenant of the slot from the ones before and after.
    pub(crate) generation: u32,
    /// When something happens if nothing else does; 0 is never.
    pub(crate) deadline: Tick,
    /// When the message that has begun to arrive must have ended; 0 while none has. No later
    /// than this is `deadline`, while the conversation is open.
    pub(crate) message_due: Tick,
    /// Where its foremost entry stands in the wheel; 0 is nowhere.
    pub(crate) armed: Tick,
    /// Its place in the turn's list of those that are sent to, or [`NONE`].
    pub(crate) pending: u32,
    /// Its outbox, which it has only while a batch is under way, or [`NONE`].
    pub(crate) outbox: u32,
    pub(crate) flags: Flags,
    pub(crate) stage: Stage<S>,
}

/// Where in its life a connection is.
#[derive(Debug)]
pub(crate) enum Stage<S> {
    /// The request head is still coming.
    Handshake {
        /// What came of it so far, unless it all came at once.
        head: Vec<u8>,
    },
    /// The WebSocket is open, or in its close handshake.
    Open(Open<S>),
    /// Nothing more is said; what still comes is discarded.
    Lingering,
    /// The driver has been told to close it, and has not yet said that it did.
    Released,
}

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct Open<S> {
    pub(crate) session: Session,
    /// What was agreed on compression, if anything was.
    pub(crate) deflate: Option<Agreed>,
    pub(crate) subscriptions: SmallVec<[Subscription; 1]>,
    /// Why we are closing it, if we are.
    pub(crate) closing: Option<EndReason>,
    pub(crate) state: S,
}

/// Yes or no, a few times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    /// A batch is under way: the driver will say `Sent`.
    pub(crate) const SENDING: Self = Self(1);
    /// The driver has been told not to receive.
    pub(crate) const PAUSED: Self = Self(2);
    /// The peer will send no more.
    pub(crate) const ENDED: Self = Self(4);
    /// When all is sent, our side is shut.
    pub(crate) const FINISHING: Self = Self(8);

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn clear(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

impl<S> Connection<S> {
    pub(crate) fn new(generation: u32) -> Self {
        Self {
            generation,
            deadline: 0,
            message_due: 0,
            armed: 0,
            pending: NONE,
            outbox: NONE,
            flags: Flags::default(),
            stage: Stage::Handshake { head: Vec::new() },
        }
    }

    /// The open WebSocket that still takes messages from us.
    pub(crate) fn talking(&mut self) -> Option<&mut Open<S>> {
        match &mut self.stage {
            Stage::Open(open) if open.closing.is_none() && !open.session.close_sent() => Some(open),
            Stage::Open(_) | Stage::Handshake { .. } | Stage::Lingering | Stage::Released => None,
        }
    }

    pub(crate) fn open(&mut self) -> Option<&mut Open<S>> {
        match &mut self.stage {
            Stage::Open(open) => Some(open),
            Stage::Handshake { .. } | Stage::Lingering | Stage::Released => None,
        }
    }
}

const _: () = assert!(
    size_of::<Connection<[usize; 2]>>() <= 128,
    "there are a million"
);
