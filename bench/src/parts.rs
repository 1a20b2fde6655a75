//! Several loads on the connections of one worker, one behind the other.
//!
//! ```text
//!   connections of the worker   0 ........ | ........ | ........
//!   parts                          echo       churn      idle
//! ```

use std::borrow::Cow;
use std::time::Instant;

use tidegate_proto::MessageKind;

use crate::load::{Load, Orders, Outgoing};
use crate::tally::{Messages, Window};

/// The parts of one worker.
#[derive(Debug, Default)]
pub struct Parts {
    parts: Vec<Part>,
    count: u32,
}

#[derive(Debug)]
struct Part {
    first: u32,
    count: u32,
    load: Box<dyn Load>,
}

impl Parts {
    /// Adds a part for the next `count` connections.
    pub fn push(&mut self, count: u32, load: Box<dyn Load>) {
        if count > 0 {
            let first = self.count;
            self.parts.push(Part { first, count, load });
            self.count += count;
        }
    }

    /// The load of this connection, and its index there.
    fn find(&self, index: usize) -> (&dyn Load, usize) {
        let part = &self.parts[self.position(index)];
        (part.load.as_ref(), index - part.first as usize)
    }

    fn find_mut(&mut self, index: usize) -> (&mut dyn Load, usize) {
        let at = self.position(index);
        let part = &mut self.parts[at];
        (part.load.as_mut(), index - part.first as usize)
    }

    fn position(&self, index: usize) -> usize {
        let behind = |part: &Part| part.first as usize <= index;
        self.parts.partition_point(behind) - 1
    }
}

impl Load for Parts {
    fn path<'a>(&self, index: usize, path: &'a str) -> Cow<'a, str> {
        let (load, index) = self.find(index);
        load.path(index, path)
    }

    fn opened(&mut self, index: usize, now: Instant) {
        let (load, index) = self.find_mut(index);
        load.opened(index, now);
    }

    fn failed(&mut self, index: usize, now: Instant) -> bool {
        let (load, index) = self.find_mut(index);
        load.failed(index, now)
    }

    fn lost(&mut self, index: usize, now: Instant) -> bool {
        let (load, index) = self.find_mut(index);
        load.lost(index, now)
    }

    fn left(&mut self, index: usize, now: Instant) {
        let (load, index) = self.find_mut(index);
        load.left(index, now);
    }

    fn begin(&mut self, window: Window, open: &[u32]) {
        for Part { first, count, load } in &mut self.parts {
            let mine = |index: &&u32| (*first..*first + *count).contains(index);
            let open: Vec<_> = open
                .iter()
                .filter(mine)
                .map(|index| index - *first)
                .collect();
            load.begin(window, &open);
        }
    }

    fn receive(&mut self, index: usize, kind: MessageKind, bytes: &[u8]) {
        let (load, index) = self.find_mut(index);
        load.receive(index, kind, bytes);
    }

    fn pong(&mut self, index: usize, payload: &[u8]) {
        let (load, index) = self.find_mut(index);
        load.pong(index, payload);
    }

    fn settle(&mut self, index: usize, now: Instant) {
        let (load, index) = self.find_mut(index);
        load.settle(index, now);
    }

    fn write(&mut self, index: usize, now: Instant, out: &mut Outgoing<'_>) {
        let (load, index) = self.find_mut(index);
        load.write(index, now, out);
    }

    fn tick(&mut self, now: Instant, orders: &mut Orders) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for Part { first, load, .. } in &mut self.parts {
            let marks = orders.marks();
            let time = load.tick(now, orders);
            orders.shift(marks, *first);
            next = match (next, time) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        next
    }

    fn outstanding(&self) -> u64 {
        self.parts.iter().map(|part| part.load.outstanding()).sum()
    }

    fn is_over(&self, open: u32) -> bool {
        open == 0 && self.parts.iter().all(|part| part.load.is_over(0))
    }

    fn end(&mut self) {
        for part in &mut self.parts {
            part.load.end();
        }
    }

    fn received(&self) -> u64 {
        self.parts.iter().map(|part| part.load.received()).sum()
    }

    fn into_messages(self: Box<Self>) -> Messages {
        let mut sum = Messages::default();
        for part in self.parts {
            sum.add(&part.load.into_messages());
        }
        sum
    }
}

/// Splits a number by weights, which are not all 0, so that nothing is left over.
#[must_use]
pub fn split<const N: usize>(count: u32, weights: [u32; N]) -> [u32; N] {
    let sum: u64 = weights.into_iter().map(u64::from).sum();
    let (mut weight, mut given) = (0, 0);
    weights.map(|next| {
        weight += u64::from(next);
        let upto = u32::try_from(u64::from(count) * weight / sum).expect("not more than the count");
        let part = upto - given;
        given = upto;
        part
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_split_without_a_rest() {
        assert_eq!(split(1000, [90, 8, 2]), [900, 80, 20]);
        assert_eq!(split(7, [1, 1, 1]).iter().sum::<u32>(), 7);
        assert_eq!(split(5, [0, 1, 0]), [0, 5, 0]);
        assert_eq!(split(1, [1, 1, 1]).iter().sum::<u32>(), 1);
    }

    #[test]
    fn a_connection_belongs_to_one_part() {
        let idle = || {
            let share = crate::idle::Share {
                ping: false,
                echo: false,
                expected: 0,
                first: 0,
                count: 10,
            };
            Box::new(crate::idle::Idle::new(share))
        };
        let mut parts = Parts::default();
        parts.push(3, idle());
        parts.push(0, idle());
        parts.push(2, idle());
        let place = |index| (parts.position(index), parts.find(index).1);
        assert_eq!([0, 2, 3, 4].map(place), [(0, 0), (0, 2), (1, 0), (1, 1)]);
    }
}
