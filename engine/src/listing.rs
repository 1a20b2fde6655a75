//! Which topics a shard has, listed while it goes on serving.
//!
//! A turn looks at a step of slots and sends off what it found there, so that nobody waits for a
//! million names, nor for the list of them to be copied as it grows. A topic that comes or goes
//! meanwhile may be in the list or not; one that moves to another slot may be in it twice.

use compact_str::CompactString;
use crossbeam_channel::Sender;
use tidegate_io::Driver;

use crate::Handler;
use crate::shard::Shard;
use crate::topics::Topics;

/// How many slots one turn looks at: less than a hundred microseconds, if all names are long.
const STEP: usize = 1024;

/// Some of the topics of one shard, with the number of those who hear them there.
pub(crate) type Part = Vec<(CompactString, usize)>;

/// A list under way. It is complete when its end of the channel is dropped.
#[derive(Debug)]
pub(crate) struct Listing {
    parts: Sender<Part>,
    /// The next slot to be looked at.
    next: usize,
}

impl Listing {
    pub(crate) fn new(parts: Sender<Part>) -> Self {
        Self { parts, next: 0 }
    }

    /// Looks at some more slots. `false`: there are none, or nobody wants to know any more.
    fn step(&mut self, topics: &Topics) -> bool {
        let end = (self.next + STEP).min(topics.slot_count());
        let part: Part = (self.next..end)
            .filter_map(|slot| topics.heard_in(slot))
            .map(|topic| (topic.name.clone(), topic.subscribers.len()))
            .collect();
        self.next = end;
        (part.is_empty() || self.parts.send(part).is_ok()) && end < topics.slot_count()
    }
}

impl<D: Driver, H: Handler> Shard<D, H> {
    /// One step of each listing that is under way.
    pub(crate) fn go_on_listing(&mut self) {
        let topics = &self.core.topics;
        self.listings.retain_mut(|listing| listing.step(topics));
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;
    use crate::topics::Subscriber;

    fn topics(count: u32) -> Topics {
        let mut topics = Topics::new(1);
        for slot in 0..count {
            let topic = topics.find_or_insert(&format!("topic-{slot}"));
            topics.add(topic, Subscriber { slot, back: 0 });
        }
        topics
    }

    #[test]
    fn a_step_is_bounded_and_all_steps_are_the_whole() {
        let topics = topics(10_000);
        let (sender, parts) = unbounded();
        let mut listing = Listing::new(sender);
        let mut names = Vec::new();
        let mut goes_on = true;
        while goes_on {
            goes_on = listing.step(&topics);
            if let Ok(part) = parts.try_recv() {
                assert!((1..=STEP).contains(&part.len()), "{}", part.len());
                names.extend(part);
            }
        }
        names.sort_unstable();
        let mut expected: Vec<_> = (0..10_000)
            .map(|slot| (CompactString::from(format!("topic-{slot}")), 1))
            .collect();
        expected.sort_unstable();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_listing_that_nobody_waits_for_ends() {
        let topics = topics(10_000);
        let (sender, parts) = unbounded();
        let mut listing = Listing::new(sender);
        assert!(listing.step(&topics));
        drop(parts);
        assert!(!listing.step(&topics));
    }
}
