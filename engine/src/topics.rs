//! Who hears what, on one shard.
//!
//! A topic lives while somebody on this shard listens to it. Its subscribers stand in a
//! list, and each knows its place there, so that joining, leaving and a mass disconnect cost
//! the same for every subscriber, however many there are:
//!
//! ```text
//!  topic.subscribers[place]  = { slot, back }  ─▶ connection.subscriptions[back]
//!  connection.subscriptions[back] = { topic, place }  ─▶ topic.subscribers[place]
//! ```

use compact_str::CompactString;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use slab::Slab;
use std::hash::BuildHasher;

use crate::connection::NONE;

mod subscribers;

pub(crate) use subscribers::Subscribers;

/// Seen from a connection: one topic that it hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) topic: u32,
    /// Its index among the topic's subscribers.
    pub(crate) place: u32,
}

/// Seen from a topic: one connection that hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subscriber {
    pub(crate) slot: u32,
    /// Its index among the connection's subscriptions.
    pub(crate) back: u32,
}

/// One topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: CompactString,
    hash: u64,
    pub(crate) subscribers: Subscribers,
    /// The first and last publication of this turn, or [`NONE`].
    pub(crate) first: u32,
    pub(crate) last: u32,
    /// Stands in the list of those that may have lost their last subscriber.
    emptied: bool,
}

/// All topics of one shard.
#[derive(Debug)]
pub(crate) struct Topics {
    topics: Slab<Topic>,
    by_name: HashTable<u32>,
    hasher: FixedState,
    /// Topics without subscribers, to be forgotten at the end of the turn, when no
    /// publication can refer to them any more.
    emptied: Vec<u32>,
}

impl Topics {
    /// No topics. `seed` keeps clients from choosing names that collide.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            topics: Slab::new(),
            by_name: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            emptied: Vec::new(),
        }
    }

    /// How many there are, those included that are forgotten at the end of the turn.
    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }

    /// How many slots [`Self::memory_of`] and [`Self::heard_in`] know.
    pub(crate) fn slot_count(&self) -> usize {
        self.topics.capacity()
    }

    /// Bytes that one topic holds apart from the table; 0 for a free slot.
    pub(crate) fn memory_of(&self, slot: usize) -> usize {
        self.topics.get(slot).map_or(0, |topic| {
            let name = if topic.name.is_heap_allocated() {
                topic.name.capacity()
            } else {
                0
            };
            name + topic.subscribers.memory()
        })
    }

    /// Bytes of the tables.
    pub(crate) fn memory(&self) -> usize {
        self.topics.capacity() * size_of::<Option<Topic>>() + self.by_name.allocation_size()
    }

    /// The topic of a slot, if somebody hears it.
    pub(crate) fn heard_in(&self, slot: usize) -> Option<&Topic> {
        let topic = self.topics.get(slot);
        topic.filter(|topic| !topic.subscribers.is_empty())
    }

    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        self.by_name
            .find(hash, |&index| self.topics[index as usize].name == name)
            .copied()
    }

    pub(crate) fn find_or_insert(&mut self, name: &str) -> u32 {
        if let Some(index) = self.find(name) {
            return index;
        }
        let hash = self.hasher.hash_one(name);
        let index = u32::try_from(self.topics.insert(Topic {
            name: CompactString::from(name),
            hash,
            subscribers: Subscribers::default(),
            first: NONE,
            last: NONE,
            emptied: false,
        }))
        .expect("there are fewer topics than connections times subscriptions");
        let topics = &self.topics;
        self.by_name
            .insert_unique(hash, index, |&other| topics[other as usize].hash);
        index
    }

    pub(crate) fn get(&self, index: u32) -> &Topic {
        &self.topics[index as usize]
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> &mut Topic {
        &mut self.topics[index as usize]
    }

    /// Adds a subscriber, which will find itself at the place returned.
    pub(crate) fn add(&mut self, topic: u32, subscriber: Subscriber) -> u32 {
        let subscribers = &mut self.topics[topic as usize].subscribers;
        subscribers.push(subscriber);
        u32::try_from(subscribers.len() - 1).expect("a connection subscribes once")
    }

    /// Takes the subscriber at `place` away. The one returned, if any, has moved there, and
    /// its subscription must be told.
    pub(crate) fn remove(&mut self, topic: u32, place: u32) -> Option<Subscriber> {
        let entry = &mut self.topics[topic as usize];
        entry.subscribers.swap_remove(place as usize);
        if entry.subscribers.is_empty() && !entry.emptied {
            entry.emptied = true;
            self.emptied.push(topic);
        }
        entry.subscribers.get(place as usize).copied()
    }

    /// Forgets the topics that nobody hears any more.
    #[inline]
    pub(crate) fn sweep(&mut self) {
        if !self.emptied.is_empty() {
            self.sweep_emptied();
        }
    }

    fn sweep_emptied(&mut self) {
        while let Some(index) = self.emptied.pop() {
            let topic = &mut self.topics[index as usize];
            topic.emptied = false;
            if topic.subscribers.is_empty() {
                let hash = topic.hash;
                if let Ok(entry) = self.by_name.find_entry(hash, |&other| other == index) {
                    entry.remove();
                }
                self.topics.remove(index as usize);
            }
        }
        if self.topics.is_empty() && self.topics.capacity() > 1024 {
            self.topics = Slab::new();
            self.by_name = HashTable::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(slot: u32) -> Subscriber {
        Subscriber { slot, back: 0 }
    }

    #[test]
    fn the_last_subscriber_takes_the_place_of_the_one_that_left() {
        let mut topics = Topics::new(1);
        let room = topics.find_or_insert("room");
        for slot in 0..3 {
            assert_eq!(topics.add(room, subscriber(slot)), slot);
        }
        assert_eq!(topics.remove(room, 0), Some(subscriber(2)));
        assert_eq!(topics.remove(room, 1), None);
        assert_eq!(topics.get(room).subscribers.len(), 1);
        assert_eq!(topics.get(room).subscribers.get(0), Some(&subscriber(2)));
    }

    #[test]
    fn a_topic_without_subscribers_is_forgotten_at_the_end_of_the_turn() {
        let mut topics = Topics::new(1);
        let room = topics.find_or_insert("room");
        topics.add(room, subscriber(1));
        topics.remove(room, 0);
        assert_eq!(topics.find("room"), Some(room));
        topics.sweep();
        assert_eq!(topics.find("room"), None);
        assert_eq!(topics.len(), 0);
    }

    #[test]
    fn a_topic_that_is_joined_again_in_the_same_turn_stays() {
        let mut topics = Topics::new(1);
        let room = topics.find_or_insert("room");
        topics.add(room, subscriber(1));
        topics.remove(room, 0);
        topics.add(room, subscriber(2));
        topics.sweep();
        assert_eq!(topics.find("room"), Some(room));
        assert!(topics.heard_in(room as usize).is_some());
    }

    #[test]
    fn names_find_their_topics_among_many() {
        let mut topics = Topics::new(42);
        let all: Vec<u32> = (0..5000)
            .map(|i| topics.find_or_insert(&format!("t{i}")))
            .collect();
        for (i, index) in all.into_iter().enumerate() {
            assert_eq!(topics.find(&format!("t{i}")), Some(index));
            assert_eq!(topics.get(index).name, format!("t{i}"));
        }
    }
}
