//! One connection, from the accept to the last byte. There may be a million: every byte counts.
//!
//! ```text
//!                    refused, plain HTTP
//!  accept ─▶ Handshake ◀─▶ Undecided ───────────┐
//!               │ 101                           ▼
//!               ▼      close, violation, end    Lingering ─▶ Released ─▶ slot is free
//!             Open ────────────────────────────▶│  our side is shut; the    ▲
//!               │                                  rest is discarded       │
//!               └──── reset, slow consumer, timeout ───────────────────────┘
//! ```

use std::mem::size_of;
use std::time::Duration;

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
    /// When anything was received last; in the handshake, when it was accepted; while it
    /// lingers, when its end began.
    pub(crate) heard: Tick,
    pub(crate) flags: Flags,
    /// How it is watched, among the profiles of the shard.
    pub(crate) profile: u8,
    /// Pings in a row after which nothing was received.
    pub(crate) pings_missed: u8,
    /// The number of the last ping that was due and has been seen to.
    pub(crate) pinged: u8,
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
    /// The request is there, and the handler has not yet said what becomes of it.
    Undecided {
        /// The request head, whole, and what has come behind it.
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
    /// When it was opened.
    pub(crate) opened: Tick,
    /// When anything was sent last.
    pub(crate) sent: Tick,
    /// When a message went either way last; once we have closed it, when that was.
    pub(crate) used: Tick,
    /// The ping that has not been answered: its microseconds on the shard's clock; 0 is none.
    pub(crate) ping: u32,
    /// How many publications it has missed.
    pub(crate) dropped: u32,
    /// How long the last ping took that was answered.
    pub(crate) round_trip: RoundTrip,
    /// Why we are closing it, if we are.
    pub(crate) closing: Option<EndReason>,
    pub(crate) state: S,
}

/// A span of time in 16 bits: 12 of them are a number of microseconds, which the other 4 double
/// so often. 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RoundTrip(u16);

impl RoundTrip {
    pub(crate) fn from_micros(micros: u32) -> Self {
        let micros = micros.clamp(1, 0xFFF << 15);
        let doublings = (32 - micros.leading_zeros()).saturating_sub(12);
        let number = u16::try_from(micros >> doublings).expect("12 bits");
        Self(number << 4 | u16::try_from(doublings).expect("4 bits"))
    }

    pub(crate) fn span(self) -> Option<Duration> {
        let micros = u64::from(self.0 >> 4) << (self.0 & 15);
        (micros != 0).then(|| Duration::from_micros(micros))
    }
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
    /// What it says is counted against its rates.
    pub(crate) const METERED: Self = Self(16);
    /// It has used up its tokens, and is not received from until there are more: it is also paused.
    pub(crate) const THROTTLED: Self = Self(32);
    /// Before its request, a proxy says for whom it speaks.
    pub(crate) const PROXIED: Self = Self(128);
    /// It is encrypted: it has a channel, or had one.
    pub(crate) const SECURE: Self = Self(64);

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

impl<S> Open<S> {
    /// Does a pong with this payload answer our last ping?
    pub(crate) fn answers_ping(&self, payload: &[u8]) -> bool {
        self.ping != 0 && payload == self.ping.to_be_bytes()
    }

    /// A conversation that begins at this tick.
    pub(crate) fn new(session: Session, deflate: Option<Agreed>, state: S, now: Tick) -> Self {
        Self {
            session,
            deflate,
            subscriptions: SmallVec::new(),
            opened: now,
            sent: now,
            used: now,
            ping: 0,
            dropped: 0,
            round_trip: RoundTrip::default(),
            closing: None,
            state,
        }
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
            heard: 0,
            profile: 0,
            pings_missed: 0,
            pinged: 0,
            flags: Flags::default(),
            stage: Stage::Handshake { head: Vec::new() },
        }
    }

    /// The open WebSocket that still takes messages from us.
    pub(crate) fn talking(&mut self) -> Option<&mut Open<S>> {
        match &mut self.stage {
            Stage::Open(open) if open.closing.is_none() && !open.session.close_sent() => Some(open),
            Stage::Open(_)
            | Stage::Handshake { .. }
            | Stage::Undecided { .. }
            | Stage::Lingering
            | Stage::Released => None,
        }
    }

    pub(crate) fn as_open(&self) -> Option<&Open<S>> {
        match &self.stage {
            Stage::Open(open) => Some(open),
            Stage::Handshake { .. }
            | Stage::Undecided { .. }
            | Stage::Lingering
            | Stage::Released => None,
        }
    }

    pub(crate) fn open(&mut self) -> Option<&mut Open<S>> {
        match &mut self.stage {
            Stage::Open(open) => Some(open),
            Stage::Handshake { .. }
            | Stage::Undecided { .. }
            | Stage::Lingering
            | Stage::Released => None,
        }
    }
}

const _: () = assert!(
    size_of::<Connection<[usize; 2]>>() <= 128,
    "there are a million"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_kept_to_a_part_in_two_thousand() {
        for micros in [1, 2, 100, 4_095, 4_096, 45_678, 1_000_000, 134_000_000] {
            let span = RoundTrip::from_micros(micros).span().unwrap();
            let micros = Duration::from_micros(micros.into());
            assert!(
                span <= micros && micros - span <= micros / 2_000,
                "{span:?}"
            );
        }
        assert_eq!(RoundTrip::default().span(), None);
        let longest = RoundTrip::from_micros(u32::MAX).span().unwrap();
        assert_eq!(longest, Duration::from_micros(0xFFF << 15));
    }
}
