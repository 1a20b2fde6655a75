//! The list of those who hear a topic, in pieces of a page.
//!
//! A list in one piece doubles when it is full: half of it may be empty, the copies that it has
//! outgrown stay with the allocator, as large together as the list itself, and whoever joins as
//! the millionth waits for eight megabytes to be copied. In pieces nothing is ever copied that is
//! larger than a page:
//!
//! ```text
//!  chunks: [ 512 full ][ 512 full ][ 37 of 512 ]      place 1030 ─▶ chunk 2, number 6
//! ```

use smallvec::SmallVec;

use super::Subscriber;

/// The subscribers of one chunk: 4 KiB.
pub(super) const CHUNK: usize = 512;

/// All who hear one topic, each at a place of its own.
///
/// Invariant: every chunk but the last is full, and the last is not empty unless it is the only one.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    /// The first chunk grows with its topic, for most topics are small.
    chunks: SmallVec<[Vec<Subscriber>; 1]>,
}

impl Subscribers {
    pub(crate) fn len(&self) -> usize {
        self.chunks
            .last()
            .map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.first().is_none_or(Vec::is_empty)
    }

    #[inline]
    pub(crate) fn get(&self, place: usize) -> Option<&Subscriber> {
        self.chunks.get(place / CHUNK)?.get(place % CHUNK)
    }

    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut Subscriber> {
        self.chunks.get_mut(place / CHUNK)?.get_mut(place % CHUNK)
    }

    /// Adds one at the place that is the length before.
    pub(super) fn push(&mut self, subscriber: Subscriber) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(subscriber),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(subscriber);
                self.chunks.push(chunk);
            }
            None => self.chunks.push(vec![subscriber]),
        }
    }

    /// Takes the one at `place` away; the last one moves there.
    ///
    /// # Panics
    /// When nobody is there.
    pub(super) fn swap_remove(&mut self, place: usize) {
        let last = self.chunks.last_mut().and_then(Vec::pop);
        let last = last.expect("whoever leaves is there");
        if self.chunks.len() > 1 && self.chunks.last().is_some_and(Vec::is_empty) {
            self.chunks.pop();
        }
        if let Some(left) = self.get_mut(place) {
            *left = last;
        } else {
            assert_eq!(place, self.len(), "whoever leaves is there");
        }
    }

    /// Bytes held apart from the table of topics.
    pub(super) fn memory(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Vec::capacity).sum();
        let list = if self.chunks.spilled() {
            self.chunks.capacity() * size_of::<Vec<Subscriber>>()
        } else {
            0
        };
        chunks * size_of::<Subscriber>() + list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber(slot: usize) -> Subscriber {
        let slot = u32::try_from(slot).unwrap();
        Subscriber { slot, back: slot }
    }

    fn many(count: usize) -> Subscribers {
        let mut subscribers = Subscribers::default();
        (0..count).for_each(|slot| subscribers.push(subscriber(slot)));
        subscribers
    }

    /// Is it the same as a list in one piece?
    #[track_caller]
    fn assert_same(subscribers: &Subscribers, model: &[Subscriber]) {
        assert_eq!(subscribers.len(), model.len());
        assert_eq!(subscribers.is_empty(), model.is_empty());
        let all: Vec<Subscriber> = (0..model.len())
            .map(|place| *subscribers.get(place).unwrap())
            .collect();
        assert_eq!(all, model);
        assert_eq!(subscribers.get(model.len()), None);
    }

    #[test]
    fn it_is_a_list_whatever_its_pieces_are() {
        for count in [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1] {
            let mut subscribers = many(count);
            let mut model: Vec<_> = (0..count).map(subscriber).collect();
            assert_same(&subscribers, &model);
            // The last, the first, and some between, until nobody is left.
            for step in 0..count {
                let place = [model.len() - 1, 0, model.len() / 2][step % 3];
                subscribers.swap_remove(place);
                model.swap_remove(place);
                assert_same(&subscribers, &model);
            }
            subscribers.push(subscriber(7));
            assert_same(&subscribers, &[subscriber(7)]);
        }
    }

    #[test]
    #[should_panic(expected = "whoever leaves is there")]
    fn nobody_leaves_twice() {
        many(3).swap_remove(3);
    }

    #[test]
    fn a_subscription_costs_its_eight_bytes_and_nothing_is_outgrown() {
        const COUNT: usize = 20_000;
        let mut subscribers = None;
        let made = allocation_counter::measure(|| subscribers = Some(many(COUNT)));
        // All that was ever asked for, with what has been given back: the chunks, a first one
        // that has doubled to its size, and a list of 40 chunks that has doubled as well.
        let asked = usize::try_from(made.bytes_total).unwrap();
        assert!(
            asked <= COUNT * size_of::<Subscriber>() + 12 * 1024,
            "{asked}"
        );
        let subscribers = subscribers.unwrap();
        let held = usize::try_from(made.bytes_current).unwrap();
        assert_eq!(subscribers.memory(), held);
    }

    #[test]
    fn what_a_crowd_held_is_given_back_while_one_still_listens() {
        let mut subscribers = many(20_000);
        (1..20_000)
            .rev()
            .for_each(|place| subscribers.swap_remove(place));
        assert_same(&subscribers, &[subscriber(0)]);
        assert!(subscribers.memory() < 6 * 1024, "{}", subscribers.memory());
    }
}
