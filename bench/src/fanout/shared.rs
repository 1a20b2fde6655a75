//! What the threads of a fan-out know together. Publishers have the numbers of their
//! connections, which are the first ones of the run.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Counters of each publisher and each topic.
#[derive(Debug)]
pub struct Shared {
    publishers: Vec<Publisher>,
    /// Of each topic, how many subscribers live.
    subscribers: Vec<AtomicU32>,
    /// Messages that nobody has taken upon himself to send.
    unclaimed: AtomicU64,
    /// Messages that nobody has counted as sent. Invariant: at least `unclaimed`.
    unspoken: AtomicU64,
}

#[derive(Debug)]
struct Publisher {
    worker: u32,
    sent: AtomicU32,
    /// Deliveries to all subscribers on all threads.
    delivered: AtomicU64,
    /// How many there will have been when everybody has heard what was sent.
    goal: AtomicU64,
}

impl Shared {
    /// With publishers that belong to these workers, and a limit of messages in all.
    #[must_use]
    pub fn new(workers: Vec<u32>, topics: u32, quota: Option<u64>) -> Self {
        let publisher = |worker| Publisher {
            worker,
            sent: AtomicU32::new(0),
            delivered: AtomicU64::new(0),
            goal: AtomicU64::new(0),
        };
        Self {
            publishers: workers.into_iter().map(publisher).collect(),
            subscribers: (0..topics).map(|_| AtomicU32::new(0)).collect(),
            unclaimed: AtomicU64::new(quota.unwrap_or(u64::MAX)),
            unspoken: AtomicU64::new(quota.unwrap_or(u64::MAX)),
        }
    }

    /// How many publishers there are in all topics.
    #[must_use]
    pub fn publisher_count(&self) -> u32 {
        u32::try_from(self.publishers.len()).expect("fewer than connections")
    }

    pub(super) fn join(&self, topic: u32) {
        self.subscribers[topic as usize].fetch_add(1, AcqRel);
    }

    pub(super) fn leave(&self, topic: u32) {
        self.subscribers[topic as usize].fetch_sub(1, AcqRel);
    }

    /// How many messages the publisher has sent.
    pub(super) fn sent(&self, publisher: u32) -> u32 {
        self.publishers[publisher as usize].sent.load(Acquire)
    }

    /// Takes up to so many messages out of the limit.
    pub(super) fn claim(&self, count: u32) -> u32 {
        let count = u64::from(count);
        let take = |left: u64| Some(left - left.min(count));
        let before = self
            .unclaimed
            .fetch_update(AcqRel, Acquire, take)
            .expect("it always takes");
        u32::try_from(before.min(count)).expect("not more than was asked for")
    }

    /// Has the whole limit been taken?
    pub(super) fn is_claimed(&self) -> bool {
        self.unclaimed.load(Acquire) == 0
    }

    /// Messages of the limit that are not yet among those sent.
    pub(super) fn unspoken(&self) -> u64 {
        self.unspoken.load(Acquire)
    }

    /// Counts messages as sent; they are sent after this.
    pub(super) fn speak(&self, publisher: u32, count: u32) {
        let topic = publisher as usize % self.subscribers.len();
        let hearers = u64::from(self.subscribers[topic].load(Acquire));
        let publisher = &self.publishers[publisher as usize];
        publisher.goal.fetch_add(u64::from(count) * hearers, AcqRel);
        publisher.sent.fetch_add(count, AcqRel);
        // Last, so that who sees nothing left also sees everything sent.
        self.unspoken.fetch_sub(u64::from(count), Release);
    }

    /// Counts deliveries; names the publisher's worker if these were the last ones.
    pub(super) fn deliver(&self, publisher: u32, count: u32) -> Option<u32> {
        let publisher = &self.publishers[publisher as usize];
        let before = publisher.delivered.fetch_add(u64::from(count), AcqRel);
        let goal = publisher.goal.load(Acquire);
        (before < goal && before + u64::from(count) >= goal).then_some(publisher.worker)
    }

    /// Has everybody heard everything that the publisher has sent?
    pub(super) fn is_delivered(&self, publisher: u32) -> bool {
        let publisher = &self.publishers[publisher as usize];
        publisher.delivered.load(Acquire) >= publisher.goal.load(Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_delivery_names_the_publishers_worker() {
        let shared = Shared::new(vec![4, 5], 2, None);
        shared.join(1);
        shared.join(1);
        assert!(shared.is_delivered(1));
        shared.speak(1, 3);
        assert!(!shared.is_delivered(1));
        assert_eq!(shared.deliver(1, 5), None);
        assert_eq!(shared.deliver(1, 1), Some(5));
        assert!(shared.is_delivered(1));
        assert_eq!(shared.deliver(1, 1), None);
    }

    #[test]
    fn the_limit_is_dealt_out_to_its_last_message() {
        let shared = Shared::new(vec![0], 1, Some(10));
        assert_eq!(
            (shared.claim(8), shared.claim(8), shared.claim(8)),
            (8, 2, 0)
        );
        assert!(shared.is_claimed());
        assert_eq!(shared.unspoken(), 10);
        shared.speak(0, 10);
        assert_eq!((shared.unspoken(), shared.sent(0)), (0, 10));
    }
}
