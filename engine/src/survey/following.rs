//! The ends of a shard's connections in order, for whoever writes them down: each is told once.

use std::time::Duration;

use crossbeam_channel::Sender;

use super::Task;
use super::listing::RECORDS_STEP;
use crate::Handle;
use crate::closed::{Closed, Ring};

/// How some connections of a shard ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// The oldest first.
    pub records: Vec<Closed>,
    /// What to ask with the next time.
    pub next: u64,
    /// How many have been forgotten before anybody has asked.
    pub missed: u64,
}

impl Handle {
    /// How those connections of each shard ended that have ended since `after` told, in order:
    /// [`Ends::next`] of the time before, or 0 for all. A shard that does not answer within
    /// `timeout` has none, and may be asked for the same again.
    #[must_use]
    pub fn ends(&self, after: &[u64], timeout: Duration) -> Vec<Option<Ends>> {
        self.ask(timeout, |answer, shard| {
            let after = after.get(shard).copied().unwrap_or_default();
            Some(Task::Follow(Following::new(answer, after)))
        })
    }
}

/// Ends that are being copied.
#[derive(Debug)]
pub(crate) struct Following {
    answer: Sender<Ends>,
    /// The number of the next one.
    next: u64,
    /// The number behind the last one that had ended when the shard was asked; `None` before the
    /// first step. So a storm cannot make an answer endless.
    end: Option<u64>,
    ends: Ends,
}

impl Following {
    pub(crate) fn new(answer: Sender<Ends>, after: u64) -> Self {
        Self {
            answer,
            next: after,
            end: None,
            ends: Ends {
                records: Vec::new(),
                next: after,
                missed: 0,
            },
        }
    }

    /// `false`: complete, and answered.
    pub(super) fn step(&mut self, ring: &Ring) -> bool {
        let end = *self.end.get_or_insert_with(|| ring.end());
        let first = ring.first().min(end);
        if self.next < first {
            self.ends.missed += first - self.next;
            self.next = first;
        }
        let until = end.min(self.next + RECORDS_STEP);
        let records = (self.next..until).filter_map(|number| ring.get(number).cloned());
        self.ends.records.extend(records);
        self.next = self.next.max(until);
        if self.next < end {
            return true;
        }
        self.ends.next = self.next;
        let nothing = Ends {
            records: Vec::new(),
            next: self.next,
            missed: 0,
        };
        // Whoever asked may have gone.
        let _ = self
            .answer
            .try_send(std::mem::replace(&mut self.ends, nothing));
        false
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::*;
    use crate::closed::tests::record;

    /// The answer, and how many steps it took.
    fn ask(ring: &Ring, after: u64) -> (Ends, usize) {
        let (answer, answers) = bounded(1);
        let mut following = Following::new(answer, after);
        let mut steps = 1;
        while following.step(ring) {
            steps += 1;
        }
        (answers.try_recv().unwrap(), steps)
    }

    #[test]
    fn each_end_is_told_once_and_in_order() {
        let mut ring = Ring::default();
        assert_eq!(ask(&ring, 0).0.records, []);
        for number in 0..1_300 {
            ring.push(record(number));
        }
        let (ends, steps) = ask(&ring, 0);
        assert_eq!(
            (ends.records.len(), ends.next, ends.missed),
            (1_300, 1_300, 0)
        );
        assert_eq!(steps, 3);
        let ids: Vec<_> = ends.records.iter().map(|closed| closed.id).collect();
        assert!(ids.is_sorted());
        ring.push(record(1_300));
        let (ends, _) = ask(&ring, ends.next);
        assert_eq!((ends.records.len(), ends.next), (1, 1_301));
        assert_eq!(ends.records[0].id, record(1_300).id);
        assert_eq!(ask(&ring, ends.next).0.records, []);
    }

    #[test]
    fn what_was_forgotten_is_counted() {
        let mut ring = Ring::default();
        for number in 0..5_000 {
            ring.push(record(number));
        }
        let (ends, _) = ask(&ring, 100);
        assert_eq!(ends.missed, 5_000 - 4_096 - 100);
        assert_eq!((ends.records.len(), ends.next), (4_096, 5_000));
        // A number that never was is no reason to fail.
        assert_eq!(ask(&ring, 9_999).0.next, 9_999);
    }
}
