//! What waits for a peer that may miss something: whole frames, in order, some of which may be dropped.
//!
//! ```text
//!  push ─▶ [ reply ][ a:1 ][  gap  ][ b:7 ][ a:2 ]  ─▶ the next batch, from the front
//!            kept                            │
//!                      the place of key a ◀──┘   a newer a leaves a gap here, and goes to the end
//! ```

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use tidegate_io::Parcel;

use super::PARCEL_COST;

/// A value that was replaced so often keeps its place at last, so that a key that changes all the
/// time is heard now and then.
const REPLACED_MAX: u8 = 16;

/// So much goes to the driver at once, a larger frame alone: what it holds cannot be dropped.
const BATCH_SIZE: usize = 16 * 1024;

/// Gaps are closed when there are more of them than this, and more than frames.
const GAP_COUNT_MIN: usize = 32;

/// The frames, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    queue: VecDeque<Option<Frame>>,
    /// The number of the one at the front; each has the next number.
    first: u64,
    /// Nothing before this number may be dropped.
    droppable_from: u64,
    /// Nothing from this number on may be dropped.
    droppable_to: u64,
    /// The number of the last one of each key, as long as it may be replaced.
    places: HashMap<u64, u64, FixedState>,
    /// How many in the queue are gaps, which cost nothing: never many more than there are frames.
    gap_count: usize,
    /// Invariant: the bytes of all, and what keeping them costs.
    cost: usize,
    /// Invariant: the same of those that may not be dropped.
    kept_cost: usize,
}

#[derive(Debug)]
struct Frame {
    parcel: Parcel,
    /// 0 is none.
    key: u64,
    /// How many have been replaced by it, or by those.
    replaced: u8,
    is_droppable: bool,
}

/// What goes to the driver next.
pub(crate) struct Batch {
    pub(crate) parcels: SmallVec<[Parcel; 8]>,
    /// How many of them are publications.
    pub(crate) publication_count: u32,
    pub(crate) size: usize,
}

impl Frames {
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// What would be left if all were dropped that may be.
    pub(crate) fn kept_cost(&self) -> usize {
        self.kept_cost
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.len() == self.gap_count
    }

    /// Queues what must not be dropped.
    pub(crate) fn push(&mut self, parcel: Parcel) {
        self.kept_cost += cost_of(&parcel);
        self.push_frame(Frame {
            parcel,
            key: 0,
            replaced: 0,
            is_droppable: false,
        });
    }

    /// Queues a publication, which has replaced so many.
    pub(crate) fn push_publication(&mut self, parcel: Parcel, key: u64, replaced: u8) {
        let number = self.first + self.queue.len() as u64;
        if key != 0 {
            self.places.insert(key, number);
        }
        self.droppable_to = number + 1;
        self.push_frame(Frame {
            parcel,
            key,
            replaced,
            is_droppable: true,
        });
    }

    fn push_frame(&mut self, frame: Frame) {
        self.cost += cost_of(&frame.parcel);
        self.queue.push_back(Some(frame));
    }

    /// Drops the one of this key that waits. Returns how many it and its like have replaced;
    /// `None` if there is none, or if it has been replaced often enough.
    pub(crate) fn withdraw(&mut self, key: u64) -> Option<u8> {
        let number = self.places.remove(&key)?;
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let replaced = self.queue.get(index)?.as_ref()?.replaced;
        if replaced >= REPLACED_MAX {
            return None;
        }
        self.take_out(index);
        Some(replaced)
    }

    /// Drops the oldest one that may be. `false`: there is none.
    pub(crate) fn drop_oldest(&mut self) -> bool {
        let from = self.droppable_from.saturating_sub(self.first);
        let mut index = usize::try_from(from).unwrap_or(usize::MAX);
        while index < self.queue.len() && !self.is_droppable(index) {
            index += 1;
        }
        self.droppable_from = self.first + index.min(self.queue.len()) as u64;
        if index >= self.queue.len() {
            return false;
        }
        self.take_out(index);
        true
    }

    /// Drops the newest one that may be. `false`: there is none.
    pub(crate) fn drop_newest(&mut self) -> bool {
        let to = self.droppable_to.saturating_sub(self.first);
        let mut count = usize::try_from(to).unwrap_or(usize::MAX);
        count = count.min(self.queue.len());
        while count > 0 && !self.is_droppable(count - 1) {
            count -= 1;
        }
        self.droppable_to = self.first + count as u64;
        if count == 0 {
            return false;
        }
        self.take_out(count - 1);
        true
    }

    fn is_droppable(&self, index: usize) -> bool {
        let frame = self.queue.get(index).and_then(Option::as_ref);
        frame.is_some_and(|frame| frame.is_droppable)
    }

    /// Leaves a gap, or closes them all when there are more gaps than frames; whoever holds an
    /// index holds it no longer.
    fn take_out(&mut self, index: usize) {
        let Some(frame) = self.queue[index].take() else {
            return;
        };
        self.cost -= cost_of(&frame.parcel);
        self.gap_count += 1;
        self.forget(frame.key, self.first + index as u64);
        self.skip_gaps();
        if self.gap_count > GAP_COUNT_MIN && self.gap_count > self.queue.len() / 2 {
            self.close_gaps();
        }
    }

    /// The frame of this number is no longer the last one of its key.
    fn forget(&mut self, key: u64, number: u64) {
        if key != 0 && self.places.get(&key) == Some(&number) {
            self.places.remove(&key);
        }
    }

    fn skip_gaps(&mut self) {
        while let Some(None) = self.queue.front() {
            self.queue.pop_front();
            self.first += 1;
            self.gap_count -= 1;
        }
    }

    fn close_gaps(&mut self) {
        self.queue.retain(Option::is_some);
        self.gap_count = 0;
        self.droppable_from = self.first;
        self.droppable_to = self.first + self.queue.len() as u64;
        self.places.clear();
        for (number, frame) in (self.first..).zip(&self.queue) {
            let frame = frame.as_ref().filter(|frame| frame.key != 0);
            if let Some(frame) = frame {
                // One that keeps its place is followed by a newer one, if there is one.
                self.places.insert(frame.key, number);
            }
        }
    }

    /// Takes the next few from the front; none if there are none.
    pub(crate) fn take_batch(&mut self) -> Batch {
        let mut batch = Batch {
            parcels: SmallVec::new(),
            publication_count: 0,
            size: 0,
        };
        self.skip_gaps();
        while let Some(Some(frame)) = self.queue.front() {
            let size = batch.size + frame.parcel.len();
            if size > BATCH_SIZE && batch.size > 0 {
                break;
            }
            batch.size = size;
            if let Some(Some(frame)) = self.queue.pop_front() {
                self.cost -= cost_of(&frame.parcel);
                if !frame.is_droppable {
                    self.kept_cost -= cost_of(&frame.parcel);
                }
                self.forget(frame.key, self.first);
                batch.publication_count += u32::from(frame.is_droppable);
                batch.parcels.push(frame.parcel);
            }
            self.first += 1;
            self.skip_gaps();
        }
        batch
    }
}

fn cost_of(parcel: &Parcel) -> usize {
    parcel.len() + PARCEL_COST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(text: &str) -> Parcel {
        Parcel::copy_of(text.as_bytes())
    }

    fn rest(frames: &mut Frames) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let batch = frames.take_batch();
            if batch.parcels.is_empty() {
                assert_eq!((frames.cost(), frames.kept_cost()), (0, 0));
                assert!(frames.is_empty() && frames.places.is_empty());
                return all;
            }
            let texts = batch.parcels.iter();
            all.extend(texts.map(|parcel| String::from_utf8_lossy(parcel).into_owned()));
        }
    }

    #[test]
    fn the_oldest_that_may_be_dropped_is_dropped_first() {
        let mut frames = Frames::default();
        frames.push(parcel("reply"));
        for text in ["one", "two", "three"] {
            frames.push_publication(parcel(text), 0, 0);
        }
        frames.push(parcel("close"));
        assert!(frames.drop_oldest() && frames.drop_oldest());
        assert_eq!(rest(&mut frames), ["reply", "three", "close"]);
        frames.push(parcel("reply"));
        assert!(!frames.drop_oldest(), "a reply stays");
    }

    #[test]
    fn the_newest_that_may_be_dropped_is_dropped_first() {
        let mut frames = Frames::default();
        frames.push(parcel("reply"));
        for number in 0..200_u32 {
            frames.push_publication(parcel(&number.to_string()), 0, 0);
        }
        frames.push(parcel("another"));
        for _ in 0..197 {
            assert!(frames.drop_newest());
        }
        frames.push_publication(parcel("late"), 0, 0);
        assert!(frames.drop_newest(), "the late one");
        assert_eq!(frames.kept_cost(), 5 + 7 + 2 * PARCEL_COST);
        assert_eq!(rest(&mut frames), ["reply", "0", "1", "2", "another"]);
        frames.push(parcel("reply"));
        assert!(!frames.drop_newest(), "a reply stays");
    }

    #[test]
    fn a_newer_value_goes_to_the_end_and_the_older_one_is_gone() {
        let mut frames = Frames::default();
        for (text, key) in [("a1", 1), ("b1", 2), ("a2", 1), ("c1", 3), ("b2", 2)] {
            let replaced = frames.withdraw(key);
            frames.push_publication(parcel(text), key, replaced.map_or(0, |count| count + 1));
        }
        assert_eq!(rest(&mut frames), ["a2", "c1", "b2"]);
    }

    #[test]
    fn a_value_that_is_replaced_all_the_time_keeps_its_place_at_last() {
        let mut frames = Frames::default();
        frames.push_publication(parcel("a0"), 1, 0);
        for number in 1..=20_u8 {
            let replaced = frames.withdraw(1);
            let count = replaced.map_or(0, |count| count + 1);
            frames.push_publication(parcel(&format!("a{number}")), 1, count);
            frames.push_publication(parcel(&format!("b{number}")), 0, 0);
        }
        let all = rest(&mut frames);
        assert_eq!(all.iter().filter(|text| text.starts_with('a')).count(), 2);
        let kept = all.iter().position(|text| *text == "a16");
        assert_eq!(kept, Some(15), "behind b1 to b15: {all:?}");
        assert_eq!(&all[all.len() - 2..], ["a20", "b20"]);
    }

    #[test]
    fn gaps_do_not_pile_up() {
        let mut frames = Frames::default();
        frames.push(parcel("reply"));
        for number in 0..10_000_u32 {
            let key = u64::from(number % 5) + 1;
            let replaced = frames.withdraw(key).map_or(0, |count| count + 1);
            frames.push_publication(parcel(&number.to_string()), key, replaced);
            if number % 7 == 0 {
                frames.drop_oldest();
            }
        }
        let (length, gaps) = (frames.queue.len(), frames.gap_count);
        assert!(gaps <= 33 || gaps <= length / 2, "{gaps} of {length}");
        let all = rest(&mut frames);
        let numbers: Vec<u32> = all[1..].iter().map(|text| text.parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "{numbers:?}");
        assert_eq!(numbers.last(), Some(&9_999));
    }

    #[test]
    fn gaps_behind_a_reply_do_not_pile_up() {
        let mut frames = Frames::default();
        frames.push(parcel("reply"));
        for number in 0..10_000_u32 {
            frames.push_publication(parcel(&number.to_string()), 0, 0);
            if number >= 10 {
                assert!(frames.drop_oldest());
            }
            let (length, gaps) = (frames.queue.len(), frames.gap_count);
            assert!(gaps <= 33 || gaps <= length / 2, "{gaps} of {length}");
        }
        let all = rest(&mut frames);
        assert_eq!(all[..2], ["reply", "9990"]);
        assert_eq!((all.len(), all[10].as_str()), (11, "9999"));
    }

    #[test]
    fn a_batch_is_small_and_a_large_frame_goes_alone() {
        let mut frames = Frames::default();
        for size in [10_000, 5_000, 5_000, 90_000, 10] {
            frames.push_publication(Parcel::new(vec![0; size]), 0, 0);
        }
        let sizes: Vec<usize> = (0..4).map(|_| frames.take_batch().size).collect();
        assert_eq!(sizes, [15_000, 5_000, 90_000, 10]);
    }
}
