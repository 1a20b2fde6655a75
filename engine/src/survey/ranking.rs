//! The connections of a shard that have most of something, found in one round of all.
//!
//! No more than the best are kept, and only of them is more looked at than one number, so that a
//! million are ranked as cheaply as they are counted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem::take;
use std::ops::Range;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use tidegate_io::{Driver, Socket};

use super::Task;
use super::listing::Listing;
use crate::connection::{Connection, NONE};
use crate::core::Core;
use crate::tallies::Mark;
use crate::timers::span_of;
use crate::{Answered, ConnectionFilter, ConnectionInfo, Handle, Handler};

/// What they are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// What waits for them, in bytes.
    Outbox,
    /// How many publications they have missed.
    Dropped,
    /// How long their last ping took.
    RoundTrip,
    /// How many messages go both ways in a span of time, the one since this was last asked for.
    Rate,
}

impl Order {
    /// The number that a connection is ranked by; 0 is nothing.
    #[must_use]
    pub fn of(self, info: &ConnectionInfo) -> u64 {
        match self {
            Self::Outbox => info.outbox_bytes as u64,
            Self::Dropped => u64::from(info.dropped),
            Self::RoundTrip => info.round_trip.map_or(0, |span| {
                u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
            }),
            Self::Rate => info.message_rate,
        }
    }

    fn look<H: Handler>(self, core: &Core<H>, slot: u32, connection: &Connection<H::State>) -> u64 {
        let open = connection.as_open();
        match self {
            Self::Outbox if connection.outbox == NONE => 0,
            Self::Outbox => core.outbox_bytes(slot) as u64,
            Self::Dropped => open.map_or(0, |open| u64::from(open.dropped)),
            Self::RoundTrip => open
                .and_then(|open| open.round_trip.span())
                .map_or(0, |span| {
                    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
                }),
            Self::Rate => open.map_or(0, |open| {
                let age = span_of(core.tick.saturating_sub(open.opened));
                core.tallies.rate(slot, age, core.now)
            }),
        }
    }
}

impl Handle {
    /// Those `count_max` connections that are meant and have most of something, the most first;
    /// whoever has nothing of it is left out. All shards together have `timeout`.
    #[must_use]
    pub fn ranked(
        &self,
        filter: &ConnectionFilter,
        order: Order,
        count_max: usize,
        timeout: Duration,
    ) -> Answered<Vec<ConnectionInfo>> {
        let parts: Vec<Option<Vec<ConnectionInfo>>> = self.ask(timeout, |answer, shard| {
            let listing = Listing::new(bounded(0).0, filter.clone(), shard, count_max);
            Some(Task::Rank(Ranking::new(answer, listing, order, count_max)))
        });
        Answered::of(parts).map(|parts| {
            let mut found: Vec<_> = parts.into_iter().flatten().collect();
            found.sort_by_key(|info| (Reverse(order.of(info)), info.id));
            found.truncate(count_max);
            found
        })
    }
}

/// A ranking under way.
#[derive(Debug)]
pub(crate) struct Ranking {
    answer: Sender<Vec<ConnectionInfo>>,
    /// Who is meant.
    listing: Listing,
    order: Order,
    count_max: usize,
    /// The best so far, the least of them at the top: its number, and its slot.
    best: BinaryHeap<Reverse<(u64, Reverse<u32>)>>,
    /// What the next rates are told from.
    mark: Mark,
}

impl Ranking {
    pub(crate) fn new(
        answer: Sender<Vec<ConnectionInfo>>,
        listing: Listing,
        order: Order,
        count_max: usize,
    ) -> Self {
        Self {
            answer,
            listing,
            order,
            count_max,
            best: BinaryHeap::new(),
            mark: Mark::default(),
        }
    }

    /// `false`: complete, and answered.
    pub(super) fn step<H: Handler>(
        &mut self,
        core: &mut Core<H>,
        handler: &H,
        driver: &impl Driver,
        slots: Range<usize>,
    ) -> bool {
        let all = core.connections.capacity();
        let topic = self.listing.topic(core);
        for slot in slots.start..slots.end.min(all) {
            let Ok(slot) = u32::try_from(slot) else {
                continue;
            };
            if self.order == Order::Rate {
                self.mark.note(&core.tallies, slot, core.now);
            }
            let Some(connection) = core.connections.get(slot as usize) else {
                continue;
            };
            let number = self.order.look(core, slot, connection);
            if number == 0 || !self.has_room_for(number) {
                continue;
            }
            if self
                .listing
                .look(core, handler, slot, connection, topic)
                .is_none()
            {
                continue;
            }
            self.best.push(Reverse((number, Reverse(slot))));
            if self.best.len() > self.count_max {
                self.best.pop();
            }
        }
        if slots.end < all {
            return true;
        }
        // They are looked at again: some may have gone since.
        let best = take(&mut self.best).into_iter();
        let infos = best.filter_map(|Reverse((_, Reverse(slot)))| {
            let connection = core.connections.get(slot as usize)?;
            let mut info = self.listing.look(core, handler, slot, connection, topic)?;
            info.traffic = driver.traffic(Socket(slot));
            Some(info)
        });
        // Whoever asked may have gone.
        let _ = self.answer.try_send(infos.collect());
        if self.order == Order::Rate {
            core.tallies.mark(take(&mut self.mark));
        }
        false
    }

    fn has_room_for(&self, number: u64) -> bool {
        let least = self.best.peek();
        self.best.len() < self.count_max || least.is_some_and(|Reverse((least, _))| *least < number)
    }
}
