//! Speaks to the shards from other threads.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use compact_str::CompactString;
use crossbeam_channel::{
    Receiver, RecvTimeoutError, Sender, after, bounded, select_biased, unbounded,
};
use tidegate_proto::{CloseCode, Message};

use crate::compression::Budget;
use crate::counters::Shared;
use crate::listing::Part;
use crate::mailbox::{Address, Letter};
use crate::survey::listing::{Disconnecting, Listing, Recalling, Who};
use crate::survey::{Memory, Task};
use crate::{
    Busy, Closed, ConnectionFilter, ConnectionId, ConnectionInfo, Farewell, Key, Ports, Snapshot,
};

/// A shard that is alive takes a letter within this; it is never waited for by a shard.
pub(crate) const LETTER_TIMEOUT: Duration = Duration::from_secs(5);

/// Speaks to a running server from any thread.
#[derive(Clone)]
pub struct Handle {
    pub(crate) doors: Arc<[Box<dyn Door>]>,
    pub(crate) counters: Arc<[Arc<Shared>]>,
    pub(crate) budget: Arc<Budget>,
    /// Until the server takes leave: as long as they are here, no listener is closed.
    pub(crate) ports: Arc<Mutex<Ports>>,
}

/// A shard's address, whatever its handlers tell each other.
pub(crate) trait Door: Send + Sync {
    fn publish(&self, topic: &str, key: u64, message: Message<'_>) -> Result<(), Busy>;
    fn ask_topics(&self, parts: Sender<Part>) -> bool;
    fn survey(&self, task: Task) -> bool;
    fn drain(&self, farewell: Farewell);
    fn nudge(&self);
    fn stop(&self);
}

/// The same shard for the same topic, whoever asks.
pub(crate) fn home_of(topic: &str, shard_count: usize) -> usize {
    // FNV-1a: any fixed hash will do, since nothing is looked up by it.
    let hash = topic.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash % shard_count as u64).unwrap_or(0)
}

/// A part of a shard's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// What it is for.
    pub name: &'static str,
    /// How many things share it.
    pub count: usize,
    /// What they hold together, in bytes, as it was asked of the allocator.
    pub bytes: usize,
}

/// What the shards have answered to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered<T> {
    /// What those have said that have answered in time.
    pub value: T,
    /// Whether all have that were asked. If not, the others may still do what they were told.
    pub complete: bool,
}

impl<T> Answered<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Answered<U> {
        Answered {
            value: change(self.value),
            complete: self.complete,
        }
    }
}

impl<T> Answered<Vec<T>> {
    /// Of each shard that was asked, what it has answered.
    pub(crate) fn of(parts: Vec<Option<T>>) -> Self {
        Self {
            complete: parts.iter().all(Option::is_some),
            value: parts.into_iter().flatten().collect(),
        }
    }
}

/// How many hear a topic, over all shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicCount {
    /// The topic.
    pub name: String,
    /// Connections that hear it.
    pub subscribers: usize,
}

impl<N: Send> Door for Address<N> {
    fn publish(&self, topic: &str, key: u64, message: Message<'_>) -> Result<(), Busy> {
        let kind = message.kind();
        let payload = message.as_bytes().to_vec();
        self.try_send(Letter::Publish {
            topic: topic.into(),
            kind,
            payload,
            key,
        })
        .map_err(|_| Busy)
    }

    fn ask_topics(&self, parts: Sender<Part>) -> bool {
        self.send(Letter::Topics(parts), LETTER_TIMEOUT)
    }

    fn survey(&self, task: Task) -> bool {
        self.send(Letter::Survey(Box::new(task)), LETTER_TIMEOUT)
    }

    fn drain(&self, farewell: Farewell) {
        self.send(Letter::Drain(Box::new(farewell)), LETTER_TIMEOUT);
    }

    fn nudge(&self) {
        // Whoever has a full mailbox turns for that.
        let _ = self.try_send(Letter::Turn);
    }

    fn stop(&self) {
        self.send(Letter::Stop, LETTER_TIMEOUT);
    }
}

impl Handle {
    /// Says a message to all who have subscribed to the topic. Messages that one thread
    /// publishes to one topic arrive in order.
    ///
    /// # Errors
    /// [`Busy`] when the shard that is to publish it has a full mailbox; nobody hears it.
    pub fn publish(&self, topic: &str, message: Message<'_>) -> Result<(), Busy> {
        self.doors[home_of(topic, self.doors.len())].publish(topic, 0, message)
    }

    /// The same for what replaces whatever was said under this key before; see
    /// [`crate::ShardContext::publish_latest`].
    ///
    /// # Errors
    /// [`Busy`], as for [`Self::publish`].
    pub fn publish_latest(&self, topic: &str, key: Key, message: Message<'_>) -> Result<(), Busy> {
        let home = &self.doors[home_of(topic, self.doors.len())];
        home.publish(topic, Key::number(Some(key)), message)
    }

    /// What each shard has counted, as it showed at the end of its last turn.
    #[must_use]
    pub fn counters(&self) -> Vec<Snapshot> {
        self.counters.iter().map(|shared| shared.load()).collect()
    }

    /// How much of the memory for compression contexts is taken, in bytes; 0 unless the
    /// takeover tier was chosen.
    #[must_use]
    pub fn compression_bytes_used(&self) -> usize {
        self.budget.bytes_used()
    }

    /// All topics that somebody hears, sorted by name, listed while the shards go on serving:
    /// those that come or go meanwhile may be in the list or not. A shard that says nothing for
    /// `timeout` is left out.
    #[must_use]
    pub fn topics(&self, timeout: Duration) -> Vec<TopicCount> {
        let asked: Vec<_> = (self.doors.iter())
            .map(|door| {
                let (parts, listed) = unbounded();
                door.ask_topics(parts).then_some(listed)
            })
            .collect();
        let mut counts = BTreeMap::new();
        for listed in asked.into_iter().flatten() {
            for (name, subscribers) in all_parts(&listed, timeout).unwrap_or_default() {
                *counts.entry(name).or_insert(0) += subscribers;
            }
        }
        (counts.into_iter())
            .map(|(name, subscribers)| TopicCount {
                name: name.into(),
                subscribers,
            })
            .collect()
    }

    /// What the memory of each shard goes to, added up while it goes on serving. A shard that
    /// does not answer within `timeout` has none.
    #[must_use]
    pub fn memory(&self, timeout: Duration) -> Vec<Vec<MemoryUse>> {
        let task = |answer, _| Some(Task::Memory(Memory::new(answer)));
        let parts = self.ask(timeout, task).into_iter();
        parts.map(Option::unwrap_or_default).collect()
    }

    /// The first `count_max` connections that are meant, by id: for the next ones, ask with the id
    /// of the last one as [`ConnectionFilter::after`]. All shards together have `timeout`.
    #[must_use]
    pub fn connections(
        &self,
        filter: &ConnectionFilter,
        count_max: usize,
        timeout: Duration,
    ) -> Answered<Vec<ConnectionInfo>> {
        let parts: Vec<Option<Vec<ConnectionInfo>>> = self.ask(timeout, |answer, shard| {
            let here = filter.id.is_none_or(|id| id.shard() == shard)
                && filter.after.is_none_or(|after| after.shard() <= shard);
            let listing = Listing::new(answer, filter.clone(), shard, count_max);
            here.then_some(Task::List(listing))
        });
        Answered::of(parts).map(|parts| {
            let mut found: Vec<_> = parts.into_iter().flatten().collect();
            found.sort_by_key(|info| info.id);
            found.truncate(count_max);
            found
        })
    }

    /// How the last `count_max` connections ended, the newest first: at most 4,096 of each shard
    /// are remembered. All shards together have `timeout`.
    #[must_use]
    pub fn closed(&self, count_max: usize, timeout: Duration) -> Answered<Vec<Closed>> {
        let task = |answer, _| Some(Task::Recall(Recalling::new(answer, count_max)));
        let parts: Vec<Option<Vec<Closed>>> = self.ask(timeout, task);
        Answered::of(parts).map(|parts| {
            let mut found: Vec<_> = parts.into_iter().flatten().collect();
            found.sort_by_key(|closed| std::cmp::Reverse(closed.at));
            found.truncate(count_max);
            found
        })
    }

    /// Closes one connection with this code and reason ([`crate::EndReason::Disconnected`]).
    /// Returns whether it was open; if its shard has not answered within `timeout`, it may be
    /// closed later.
    #[must_use]
    pub fn disconnect(
        &self,
        id: ConnectionId,
        code: CloseCode,
        reason: &str,
        timeout: Duration,
    ) -> Answered<bool> {
        let counts = self.ask(timeout, |answer, shard| {
            let who = Who::One(id);
            let task = Disconnecting::new(answer, who, code, reason);
            (id.shard() == shard).then_some(Task::Disconnect(task))
        });
        Answered::of(counts).map(|counts| counts.into_iter().sum::<usize>() > 0)
    }

    /// Closes all who hear the topic, some thousands in each turn of a shard. Returns how many,
    /// on those shards that have finished within `timeout`; the others go on.
    #[must_use]
    pub fn disconnect_topic(
        &self,
        topic: &str,
        code: CloseCode,
        reason: &str,
        timeout: Duration,
    ) -> Answered<usize> {
        let counts = self.ask(timeout, |answer, _| {
            let who = Who::Topic(topic.into());
            let task = Disconnecting::new(answer, who, code, reason);
            Some(Task::Disconnect(task))
        });
        Answered::of(counts).map(|counts| counts.into_iter().sum())
    }

    /// Closes all connections of a user ([`crate::Handler::user`]), as [`Self::disconnect_topic`]
    /// does with those of a topic.
    #[must_use]
    pub fn disconnect_user(
        &self,
        user: &str,
        code: CloseCode,
        reason: &str,
        timeout: Duration,
    ) -> Answered<usize> {
        let counts = self.ask(timeout, |answer, _| {
            let who = Who::User(user.into());
            let task = Disconnecting::new(answer, who, code, reason);
            Some(Task::Disconnect(task))
        });
        Answered::of(counts).map(|counts| counts.into_iter().sum())
    }

    /// Asks all shards for which there is a task, and waits for their answers until all have had
    /// `timeout`: `None` for each that has not answered.
    pub(crate) fn ask<T>(
        &self,
        timeout: Duration,
        task: impl Fn(Sender<T>, usize) -> Option<Task>,
    ) -> Vec<Option<T>> {
        let deadline = after(timeout);
        let asked: Vec<_> = (self.doors.iter().enumerate())
            .filter_map(|(shard, door)| {
                let (answer, answers) = bounded(1);
                let task = task(answer, shard)?;
                Some(door.survey(task).then_some(answers))
            })
            .collect();
        // The deadline comes once; what has been answered by then still counts.
        let mut is_over = false;
        let mut wait = |answers: Receiver<T>| {
            if is_over {
                return answers.try_recv().ok();
            }
            select_biased! {
                recv(answers) -> answer => answer.ok(),
                recv(deadline) -> _ => {
                    is_over = true;
                    None
                }
            }
        };
        (asked.into_iter())
            .map(|answers| answers.and_then(&mut wait))
            .collect()
    }

    /// Accepts no more, closes every WebSocket with 1001, and ends when all have answered or time
    /// is up. A second farewell changes only when that is.
    pub fn drain(&self, farewell: Farewell) {
        *self.lock_ports() = Ports::default();
        self.doors.iter().for_each(|door| door.drain(farewell));
    }

    /// Wakes every shard, and waits for nothing: one that is alive has turned soon afterwards
    /// ([`Snapshot::turns`]), also if nobody is connected.
    pub fn nudge(&self) {
        self.doors.iter().for_each(|door| door.nudge());
    }

    /// The sockets that the server listens on, for a process that goes on with them; none once it
    /// takes leave.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.lock_ports().clone()
    }

    /// Nothing is ever half written in there.
    fn lock_ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends without waiting for anybody.
    pub fn stop(&self) {
        *self.lock_ports() = Ports::default();
        self.doors.iter().for_each(|door| door.stop());
    }
}

/// What one shard has listed, each topic once; `None` if it has said nothing for `timeout`.
fn all_parts(listed: &Receiver<Part>, timeout: Duration) -> Option<BTreeMap<CompactString, usize>> {
    let mut whole = BTreeMap::new();
    loop {
        match listed.recv_timeout(timeout) {
            // Whichever was seen last of a topic that went and came again.
            Ok(part) => whole.extend(part),
            Err(RecvTimeoutError::Disconnected) => return Some(whole),
            Err(RecvTimeoutError::Timeout) => return None,
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("shards", &self.doors.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[test]
    fn a_topic_that_moves_while_it_is_listed_counts_once() {
        let (parts, listed) = unbounded();
        parts.send(vec![("a".into(), 1), ("b".into(), 2)]).unwrap();
        parts.send(vec![("a".into(), 3)]).unwrap();
        drop(parts);
        let whole = all_parts(&listed, TIMEOUT).unwrap();
        assert_eq!(whole, BTreeMap::from([("a".into(), 3), ("b".into(), 2)]));
    }

    /// A shard that answers nothing: it has stopped, or keeps the question.
    struct Silent {
        kept: Option<Sender<Task>>,
    }

    impl Door for Silent {
        fn publish(&self, _: &str, _: u64, _: Message<'_>) -> Result<(), Busy> {
            Err(Busy)
        }

        fn ask_topics(&self, _: Sender<Part>) -> bool {
            false
        }

        fn survey(&self, task: Task) -> bool {
            self.kept
                .as_ref()
                .is_none_or(|kept| kept.send(task).is_ok())
        }

        fn drain(&self, _: Farewell) {}

        fn nudge(&self) {}

        fn stop(&self) {}
    }

    fn handle(doors: Vec<Silent>) -> Handle {
        Handle {
            doors: doors.into_iter().map(|door| Box::new(door) as _).collect(),
            counters: Arc::new([]),
            budget: Arc::new(Budget::new(crate::Compression::Off)),
            ports: Arc::default(),
        }
    }

    #[test]
    fn a_shard_that_does_not_answer_is_told_from_one_without_anybody() {
        let (kept, questions) = unbounded();
        let silent = || Silent {
            kept: Some(kept.clone()),
        };
        let all = handle(vec![silent(), silent(), Silent { kept: None }]);
        let timeout = Duration::from_millis(50);
        let id = ConnectionId::parse("0000000000000001").unwrap();
        let gone = all.disconnect(id, CloseCode::GOING_AWAY, "", timeout);
        assert_eq!((gone.value, gone.complete), (false, false));
        assert_eq!(questions.len(), 1, "only its shard was asked");
        let filter = ConnectionFilter::default();
        assert!(!all.connections(&filter, 9, timeout).complete);
        assert!(!all.closed(9, timeout).complete);
        let counted = all.disconnect_topic("a", CloseCode::GOING_AWAY, "", timeout);
        assert_eq!((counted.value, counted.complete), (0, false));
        assert_eq!(all.memory(timeout).len(), 3, "one place for each");
        // Nobody has to be asked: that is all there is.
        assert!(handle(Vec::new()).connections(&filter, 9, timeout).complete);
    }

    #[test]
    fn what_was_answered_counts_although_another_shard_was_late() {
        let (kept, _questions) = unbounded();
        let silent = || Silent {
            kept: Some(kept.clone()),
        };
        let all = handle(vec![silent(), silent(), silent()]);
        let parts = all.ask(Duration::from_millis(50), |answer: Sender<u8>, shard| {
            if shard == 2 {
                answer.send(7).unwrap();
            }
            let kept = Recalling::new(unbounded().0, 1);
            (shard != 1).then_some(Task::Recall(kept))
        });
        assert_eq!(parts, [None, Some(7)]);
    }

    #[test]
    fn a_list_without_an_end_is_none() {
        let (parts, listed) = unbounded();
        parts.send(vec![("a".into(), 1)]).unwrap();
        assert_eq!(all_parts(&listed, Duration::ZERO), None);
    }
}
