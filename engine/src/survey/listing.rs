//! The connections of a shard one by one: shown, remembered, closed.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use tidegate_io::{Driver, Socket, Traffic};
use tidegate_proto::CloseCode;

use crate::closed::{Closed, Phase, Ring};
use crate::connection::{Connection, Flags, Stage};
use crate::core::Core;
use crate::timers::span_of;
use crate::{ConnectionId, EndReason, Handler};

/// How many records of ends one turn copies.
pub(super) const RECORDS_STEP: u64 = 512;

/// One connection, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Which one.
    pub id: ConnectionId,
    /// Where it calls from.
    pub peer: SocketAddr,
    /// What its handler calls it; see [`Handler::label`]. Empty in the handshake.
    pub label: String,
    /// Whose it is; see [`Handler::user`].
    pub user: Option<Arc<str>>,
    /// What it is doing.
    pub phase: Phase,
    /// Since it was opened, or accepted if it is not open yet; to 128 ms.
    pub age: Duration,
    /// Since anything was received; to 128 ms.
    pub quiet: Duration,
    /// How long its last ping took.
    pub round_trip: Option<Duration>,
    /// Pings in a row after which nothing was received.
    pub pings_missed: u8,
    /// How many messages it has said, modulo 2^32.
    pub messages_received: u32,
    /// How many it has been told.
    pub messages_sent: u32,
    /// How many messages go both ways in 1,000 seconds: since rates were last ranked by, or since
    /// it was opened.
    pub message_rate: u64,
    /// The bytes of its stream, if its kernel tells.
    pub traffic: Option<Traffic>,
    /// What waits for it, in bytes.
    pub outbox_bytes: usize,
    /// How many publications it has missed.
    pub dropped: u32,
    /// How many topics it hears.
    pub subscription_count: usize,
    /// Whether it is not received from before it has read, or may say more by its rates.
    pub is_paused: bool,
}

/// Which connections are meant: those for which all that is given is true.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionFilter {
    /// This one.
    pub id: Option<ConnectionId>,
    /// They hear this topic.
    pub topic: Option<String>,
    /// Their label begins with this.
    pub label: Option<String>,
    /// They are this user's; see [`Handler::user`].
    pub user: Option<String>,
    /// They call from this address.
    pub address: Option<IpAddr>,
    /// Their ids are greater.
    pub after: Option<ConnectionId>,
}

/// Connections that are being looked for.
#[derive(Debug)]
pub(crate) struct Listing {
    answer: Sender<Vec<ConnectionInfo>>,
    filter: ConnectionFilter,
    shard: usize,
    count_max: usize,
    found: Vec<ConnectionInfo>,
}

/// The ends that are being copied, the newest first.
#[derive(Debug)]
pub(crate) struct Recalling {
    answer: Sender<Vec<Closed>>,
    count_max: usize,
    /// The number behind the next one; `None` before the first step.
    next: Option<u64>,
    found: Vec<Closed>,
}

/// Connections that are being closed.
#[derive(Debug)]
pub(crate) struct Disconnecting {
    answer: Sender<usize>,
    who: Who,
    code: CloseCode,
    reason: Box<str>,
    count: usize,
}

/// Whom to disconnect.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    One(ConnectionId),
    /// All who hear this.
    Topic(Box<str>),
    /// All that are this user's; see [`Handler::user`].
    User(Box<str>),
}

impl Listing {
    pub(crate) fn new(
        answer: Sender<Vec<ConnectionInfo>>,
        filter: ConnectionFilter,
        shard: usize,
        count_max: usize,
    ) -> Self {
        Self {
            answer,
            filter,
            shard,
            count_max,
            found: Vec::new(),
        }
    }

    /// The first slot to be looked at.
    pub(super) fn first(&self) -> usize {
        if let Some(id) = self.filter.id {
            return id.slot() as usize;
        }
        match self.filter.after {
            Some(after) if after.shard() == self.shard => after.slot() as usize + 1,
            _ => 0,
        }
    }

    /// `false`: complete, and answered.
    pub(super) fn step<H: Handler>(
        &mut self,
        core: &Core<H>,
        handler: &H,
        driver: &impl Driver,
        slots: Range<usize>,
    ) -> bool {
        let all = core.connections.capacity();
        let topic = self.topic(core);
        let last = match self.filter.id {
            Some(_) => slots.start + 1,
            None => slots.end,
        };
        for slot in slots.start..last.min(all) {
            let Some(connection) = core.connections.get(slot) else {
                continue;
            };
            let Ok(slot) = u32::try_from(slot) else {
                continue;
            };
            if let Some(mut info) = self.look(core, handler, slot, connection, topic) {
                info.traffic = driver.traffic(Socket(slot));
                self.found.push(info);
            }
            if self.found.len() >= self.count_max {
                break;
            }
        }
        if last == slots.end && slots.end < all && self.found.len() < self.count_max {
            return true;
        }
        // Whoever asked may have gone.
        let _ = self.answer.try_send(std::mem::take(&mut self.found));
        false
    }

    /// The topic that is meant, which may come and go between two steps.
    pub(super) fn topic<H: Handler>(&self, core: &Core<H>) -> Option<Option<u32>> {
        let name = self.filter.topic.as_deref();
        name.map(|name| core.topics.find(name))
    }

    /// What is to be told of it, but for what the kernel knows; `None` if it is not meant.
    pub(super) fn look<H: Handler>(
        &self,
        core: &Core<H>,
        handler: &H,
        slot: u32,
        connection: &Connection<H::State>,
        topic: Option<Option<u32>>,
    ) -> Option<ConnectionInfo> {
        let id = core.id_of(slot);
        let peer = core.addresses.get(slot);
        let (phase, since) = match &connection.stage {
            Stage::Handshake { .. } | Stage::Undecided { .. } => {
                (Phase::Handshake, connection.heard)
            }
            Stage::Open(open) if open.closing.is_some() => (Phase::Closing, open.opened),
            Stage::Open(open) => (Phase::Open, open.opened),
            Stage::Lingering => (Phase::Closing, connection.heard),
            Stage::Released => return None,
        };
        let open = connection.as_open();
        let hears = |topic: Option<u32>| {
            let mut all = open.iter().flat_map(|open| &open.subscriptions);
            all.any(|subscription| Some(subscription.topic) == topic)
        };
        let filter = &self.filter;
        let meant = filter.id.is_none_or(|wanted| wanted == id)
            && filter.address.is_none_or(|wanted| wanted == peer.ip())
            && topic.is_none_or(hears);
        if !meant {
            return None;
        }
        let user = open.and_then(|open| handler.user(&open.state));
        if filter.user.is_some() && filter.user.as_deref() != user.map(|user| &**user) {
            return None;
        }
        let label = open.map_or("".into(), |open| handler.label(&open.state));
        if filter
            .label
            .as_ref()
            .is_some_and(|wanted| !label.starts_with(wanted.as_str()))
        {
            return None;
        }
        let tally = core.tallies.get(slot);
        let age = span_of(core.tick.saturating_sub(since));
        Some(ConnectionInfo {
            id,
            peer,
            label: label.into_owned(),
            user: user.cloned(),
            phase,
            age,
            quiet: span_of(core.tick.saturating_sub(connection.heard)),
            round_trip: open.and_then(|open| open.round_trip.span()),
            pings_missed: connection.pings_missed,
            messages_received: tally.received,
            messages_sent: tally.sent,
            message_rate: core.tallies.rate(slot, age, core.now),
            traffic: None,
            outbox_bytes: core.outbox_bytes(slot),
            dropped: open.map_or(0, |open| open.dropped),
            subscription_count: open.map_or(0, |open| open.subscriptions.len()),
            is_paused: connection.flags.has(Flags::PAUSED),
        })
    }
}

impl Recalling {
    pub(crate) fn new(answer: Sender<Vec<Closed>>, count_max: usize) -> Self {
        Self {
            answer,
            count_max,
            next: None,
            found: Vec::new(),
        }
    }

    /// `false`: complete, and answered.
    pub(super) fn step(&mut self, ring: &Ring) -> bool {
        let mut next = self.next.unwrap_or_else(|| ring.end());
        for _ in 0..RECORDS_STEP {
            let record = next.checked_sub(1).and_then(|number| ring.get(number));
            let Some(record) = record.filter(|_| self.found.len() < self.count_max) else {
                let _ = self.answer.try_send(std::mem::take(&mut self.found));
                return false;
            };
            self.found.push(record.clone());
            next -= 1;
        }
        self.next = Some(next);
        true
    }
}

impl Disconnecting {
    pub(crate) fn new(answer: Sender<usize>, who: Who, code: CloseCode, reason: &str) -> Self {
        Self {
            answer,
            who,
            code,
            reason: reason.into(),
            count: 0,
        }
    }

    /// `false`: complete, and answered.
    pub(super) fn step<H: Handler>(
        &mut self,
        core: &mut Core<H>,
        handler: &H,
        slots: Range<usize>,
    ) -> bool {
        let all = core.connections.capacity();
        let more = match &self.who {
            Who::One(id) => {
                if let Some(slot) = core.slot_of(*id) {
                    self.close(core, slot);
                }
                false
            }
            Who::Topic(name) => {
                let Some(topic) = core.topics.find(name) else {
                    return self.finish();
                };
                for slot in slots.start..slots.end.min(all) {
                    let open = core.connections.get(slot).and_then(Connection::as_open);
                    let mut subscriptions = open.iter().flat_map(|open| &open.subscriptions);
                    let hears = subscriptions.any(|subscription| subscription.topic == topic);
                    if let Some(slot) = u32::try_from(slot).ok().filter(|_| hears) {
                        self.close(core, slot);
                    }
                }
                slots.end < all
            }
            Who::User(name) => {
                let name = name.clone();
                for slot in slots.start..slots.end.min(all) {
                    let open = core.connections.get(slot).and_then(Connection::as_open);
                    let user = open.and_then(|open| handler.user(&open.state));
                    let meant = user.is_some_and(|user| **user == *name);
                    if let Some(slot) = u32::try_from(slot).ok().filter(|_| meant) {
                        self.close(core, slot);
                    }
                }
                slots.end < all
            }
        };
        more || self.finish()
    }

    fn close<H: Handler>(&mut self, core: &mut Core<H>, slot: u32) {
        if core.connection(slot).talking().is_some() {
            core.close(slot, self.code, &self.reason, EndReason::Disconnected);
            self.count += 1;
        }
    }

    fn finish(&mut self) -> bool {
        let _ = self.answer.try_send(self.count);
        false
    }
}
