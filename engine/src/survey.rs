//! What a shard's memory goes to, added up while it goes on serving.
//!
//! What is in one piece is asked for its capacity. What connections and topics hold each for
//! themselves is added up over some turns, a step of slots in each, so that nobody waits for
//! the sum of a million.

use std::mem::size_of;

use crossbeam_channel::Sender;
use tidegate_io::Driver;

use crate::connection::{Connection, NONE, Stage};
use crate::core::Core;
use crate::shard::Shard;
use crate::topics::Subscription;
use crate::{Handler, MemoryUse};

/// How many slots one turn looks at: some tens of microseconds.
const STEP: usize = 4096;

/// A survey under way.
#[derive(Debug)]
pub(crate) struct Survey {
    answer: Sender<Vec<MemoryUse>>,
    /// The next slot to be looked at: first of the connections, then of the topics.
    next: usize,
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
    pub(crate) fn new(answer: Sender<Vec<MemoryUse>>) -> Self {
        Self {
            answer,
            next: 0,
            sums: Sums::default(),
        }
    }
}

impl<D: Driver, H: Handler> Shard<D, H> {
    /// One step of each survey that is under way; those that are complete are answered.
    pub(crate) fn go_on_surveying(&mut self) {
        let core = &self.core;
        let driver = self.driver.memory();
        self.surveys.retain_mut(|survey| {
            if survey.step(core) {
                return true;
            }
            // Whoever asked may have gone.
            let _ = survey.answer.try_send(survey.uses(core, driver));
            false
        });
    }
}

impl Survey {
    /// Looks at some more slots. `false`: there are none.
    fn step<H: Handler>(&mut self, core: &Core<H>) -> bool {
        let connections = core.connections.capacity();
        let topics = core.topics.slot_count();
        for slot in self.next..(self.next + STEP).min(connections + topics) {
            if slot >= connections {
                self.sums
                    .topics
                    .add(core.topics.memory_of(slot - connections));
            } else if let Some(connection) = core.connections.get(slot) {
                self.sums.add(core, connection);
            }
        }
        self.next += STEP;
        self.next < connections + topics
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
            table("deadlines", core.timers.entry_count(), core.timers.memory()),
            table("the turn's arenas and lists", 1, core.turn.memory()),
        ]
    }
}

impl Sums {
    fn add<H: Handler>(&mut self, core: &Core<H>, connection: &Connection<H::State>) {
        match &connection.stage {
            Stage::Handshake { head } => self.heads.add(head.capacity()),
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
