//! When connections have to go if they do not show another token: a heap for those alone that have
//! shown one, or are to.
//!
//! An entry whose connection has gone or has another due time stays until it comes up; when those
//! outnumber the others, all of them are thrown out. So what is kept is at most twice what is due, and
//! throwing out costs nothing worth counting for each that came.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use tidegate_engine::ConnectionId;

/// With fewer entries than this nothing is thrown out.
const ENTRIES_MIN: usize = 1024;

/// What is due on one shard.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    heap: BinaryHeap<Reverse<(Instant, ConnectionId)>>,
    /// How many connections have a due time.
    live: usize,
}

impl Expiries {
    /// A connection has another due time than before.
    pub(crate) fn change(
        &mut self,
        id: ConnectionId,
        before: Option<Instant>,
        after: Option<Instant>,
    ) {
        if let Some(at) = after {
            self.heap.push(Reverse((at, id)));
        }
        self.live += usize::from(after.is_some());
        self.live -= usize::from(before.is_some());
    }

    /// The next entry that is due by now.
    pub(crate) fn next_due(&mut self, now: Instant) -> Option<(Instant, ConnectionId)> {
        let Reverse(first) = *self.heap.peek()?;
        (first.0 <= now).then(|| {
            self.heap.pop();
            first
        })
    }

    /// When the first entry comes up.
    pub(crate) fn first(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Whether most entries are of no use any more.
    pub(crate) fn is_stale(&self) -> bool {
        self.heap.len() > ENTRIES_MIN + 2 * self.live
    }

    /// Keeps those for which this is the due time of the connection.
    pub(crate) fn retain(&mut self, mut is_due: impl FnMut(Instant, ConnectionId) -> bool) {
        self.heap.retain(|Reverse((at, id))| is_due(*at, *id));
        self.heap.shrink_to(2 * self.heap.len());
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;

    fn id(number: u64) -> ConnectionId {
        ConnectionId::parse(&format!("{number:016x}")).unwrap()
    }

    #[test]
    fn what_is_due_comes_in_order_and_not_before() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut expiries = Expiries::default();
        for seconds in [30, 10, 20] {
            expiries.change(id(seconds), None, Some(at(seconds)));
        }
        assert_eq!(expiries.first(), Some(at(10)));
        assert_eq!(expiries.next_due(at(9)), None);
        assert_eq!(expiries.next_due(at(20)), Some((at(10), id(10))));
        assert_eq!(expiries.next_due(at(20)), Some((at(20), id(20))));
        assert_eq!(expiries.next_due(at(20)), None);
    }

    #[test]
    fn what_has_gone_does_not_pile_up() {
        let start = Instant::now();
        let mut expiries = Expiries::default();
        let mut due: HashMap<ConnectionId, Instant> = HashMap::new();
        for number in 0..100_000 {
            let at = start + Duration::from_secs(3600 + number);
            expiries.change(id(number), None, Some(at));
            due.insert(id(number), at);
            // Only ten stay at a time.
            if number >= 10 {
                let gone = id(number - 10);
                expiries.change(gone, due.remove(&gone), None);
            }
            if expiries.is_stale() {
                expiries.retain(|at, id| due.get(&id) == Some(&at));
            }
            assert!(expiries.heap.len() <= ENTRIES_MIN + 2 * 11 + 1);
        }
        assert_eq!(expiries.live, 10);
    }
}
