//! What an operator wants to know of all connections, or do to them, while a shard goes on serving.
//!
//! It is done over some turns, a step of slots in each, so that nobody waits for a million. What
//! the memory goes to is added up so: what is in one piece is asked for its capacity, what
//! connections and topics hold each for themselves is counted slot by slot.

use std::mem::size_of;
use std::ops::Range;

use crossbeam_channel::Sender;
use tidegate_io::Driver;

use crate::connection::{Connection, NONE, Stage};
use crate::core::Core;
use crate::shard::Shard;
use crate::topics::Subscription;
use crate::{Handler, MemoryUse};

pub(crate) mod following;
pub(crate) mod listing;
pub(crate) mod ranking;

use following::Following;
use listing::{Disconnecting, Listing, Recalling};
use ranking::Ranking;

/// How many slots one turn looks at: some tens of microseconds.
const STEP: usize = 4096;

/// A survey under way.
#[derive(Debug)]
pub(crate) struct Survey {
    task: Task,
    /// The next slot to be looked at; with [`Task::Memory`], first of the connections, then of the
    /// topics.
    next: usize,
}

/// What is wanted, with what has come of it.
#[derive(Debug)]
pub(crate) enum Task {
    /// What does the memory go to?
    Memory(Memory),
    /// Which connections are there?
    List(Listing),
    /// Which connections have most of something?
    Rank(Ranking),
    /// How did the last ones end?
    Recall(Recalling),
    /// How did those end that nobody has been told of yet?
    Follow(Following),
    /// Close some.
    Disconnect(Disconnecting),
}

/// What the memory goes to.
#[derive(Debug)]
pub(crate) struct Memory {
    answer: Sender<Vec<MemoryUse>>,
    sums: Sums,
}

/// What is held apart from the tables.
#[derive(Debug, Default)]
struct Sums {
    heads: Sum,
    messages: Sum,
    subscriptions: Sum,
    outboxes: Sum,
    topics: Sum,
}

#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    count: usize,
    bytes: usize,
}

impl Sum {
    fn add(&mut self, bytes: usize) {
        if bytes > 0 {
            self.count += 1;
            self.bytes += bytes;
        }
    }

    fn named(self, name: &'static str) -> MemoryUse {
        MemoryUse {
            name,
            count: self.count,
            bytes: self.bytes,
        }
    }
}

impl Survey {
    pub(crate) fn new(task: Task) -> Self {
        let next = match &task {
            Task::List(listing) => listing.first(),
            Task::Memory(_)
            | Task::Rank(_)
            | Task::Recall(_)
            | Task::Follow(_)
            | Task::Disconnect(_) => 0,
        };
        Self { task, next }
    }
}

impl<D: Driver, H: Handler> Shard<D, H> {
    /// One step of each survey that is under way; those that are complete are answered.
    pub(crate) fn go_on_surveying(&mut self) {
        let mut surveys = std::mem::take(&mut self.surveys);
        surveys.retain_mut(|survey| self.step(survey));
        self.surveys = surveys;
    }

    /// Looks at some more slots. `false`: it is complete, and has been answered.
    fn step(&mut self, survey: &mut Survey) -> bool {
        let slots = survey.next..survey.next + STEP;
        survey.next = slots.end;
        match &mut survey.task {
            Task::Memory(memory) => {
                if memory.step(&self.core, slots) {
                    return true;
                }
                // Whoever asked may have gone.
                let uses = memory.uses(&self.core, self.driver.memory());
                let _ = memory.answer.try_send(uses);
                false
            }
            Task::List(listing) => listing.step(&self.core, &self.handler, &self.driver, slots),
            Task::Rank(ranking) => ranking.step(&mut self.core, &self.handler, &self.driver, slots),
            Task::Recall(recalling) => recalling.step(&self.core.closed),
            Task::Follow(following) => following.step(&self.core.closed),
            Task::Disconnect(disconnecting) => {
                disconnecting.step(&mut self.core, &self.handler, slots)
            }
        }
    }
}

impl Memory {
    pub(crate) fn new(answer: Sender<Vec<MemoryUse>>) -> Self {
        Self {
            answer,
            sums: Sums::default(),
        }
    }

    /// Looks at some more slots. `false`: there are none.
    fn step<H: Handler>(&mut self, core: &Core<H>, slots: Range<usize>) -> bool {
        let connections = core.connections.capacity();
        let all = connections + core.topics.slot_count();
        for slot in slots.start..slots.end.min(all) {
            if slot >= connections {
                self.sums
                    .topics
                    .add(core.topics.memory_of(slot - connections));
            } else if let Some(connection) = core.connections.get(slot) {
                self.sums.add(core, connection);
            }
        }
        slots.end < all
    }

    fn uses<H: Handler>(&self, core: &Core<H>, driver: usize) -> Vec<MemoryUse> {
        let sums = &self.sums;
        let table = |name, count, bytes| MemoryUse { name, count, bytes };
        // A slot of a slab is a link of the list of free ones, or what it holds.
        let connection_size = size_of::<Option<Connection<H::State>>>();
        vec![
            table(
                "connections",
                core.connections.len(),
                core.connections.capacity() * connection_size,
            ),
            table(
                "addresses of peers",
                core.connections.len(),
                core.addresses.memory(),
            ),
            table(
                "messages of connections, counted",
                core.connections.len(),
                core.tallies.memory(),
            ),
            table(
                "sockets of the driver, and its buffers",
                core.connections.len(),
                driver,
            ),
            sums.heads.named("request heads under way"),
            sums.messages.named("messages under way"),
            sums.subscriptions.named("subscriptions beyond the first"),
            sums.outboxes.named("outboxes"),
            Sum {
                bytes: sums.topics.bytes + core.topics.memory(),
                ..sums.topics
            }
            .named("topics"),
            table("rates", core.meters.count(), core.meters.memory()),
            table(
                "encryption, but for what each connection has",
                1,
                core.secure.as_ref().map_or(0, |secure| secure.memory()),
            ),
            table("deadlines", core.timers.entry_count(), core.timers.memory()),
            table("how the last ones ended", 1, core.closed.memory()),
            table("the turn's arenas and lists", 1, core.turn.memory()),
        ]
    }
}

impl Sums {
    fn add<H: Handler>(&mut self, core: &Core<H>, connection: &Connection<H::State>) {
        match &connection.stage {
            Stage::Handshake { head } | Stage::Undecided { head } => {
                self.heads.add(head.capacity());
            }
            Stage::Open(open) => {
                self.messages.add(open.session.memory());
                if open.subscriptions.spilled() {
                    let bytes = open.subscriptions.capacity() * size_of::<Subscription>();
                    self.subscriptions.add(bytes);
                }
            }
            Stage::Lingering | Stage::Released => {}
        }
        if connection.outbox != NONE {
            self.outboxes
                .add(core.outboxes[connection.outbox as usize].bytes_used());
        }
    }
}

#[cfg(test)]
mod tests {
    use slab::Slab;

    use super::*;

    #[test]
    fn a_slot_of_a_table_is_as_large_as_is_said() {
        let counted = allocation_counter::measure(|| {
            drop(Slab::<Connection<[usize; 2]>>::with_capacity(1000));
        });
        let size = size_of::<Option<Connection<[usize; 2]>>>();
        assert_eq!(counted.bytes_total, 1000 * size as u64);
    }
}
