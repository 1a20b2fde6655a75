//! How many are in a topic, over all shards, without a lock.
//!
//! Every topic has a home shard, the same one for all. Whoever joins or leaves a topic tells
//! its home, which alone keeps the total and publishes it for those who watch:
//!
//! ```text
//!  any shard                    home of the topic                  any shard
//!  ─────────                    ─────────────────                  ─────────
//!  joins, leaves ── Moved ────▶ members += by   ┐
//!  starts or stops                              ├─ Show, to itself
//!  to watch ─────── Watched ──▶ watchers += by  ┘      │
//!                                                      ▼
//!                                             publish "@topic": members ──▶ the watchers
//! ```
//!
//! A home publishes at most once a turn for each topic, and only if somebody watches, so a
//! hundred thousand who join at once do not make ten billion messages. Since every change is
//! followed by a `Show`, the last number heard is the true one.

use std::collections::HashMap;

use compact_str::CompactString;

/// The table gives its memory back when it is empty and was larger than this.
const TABLE_KEPT_MAX: usize = 1024;

/// What the handlers of the shards tell each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// The topic it is about.
    pub(crate) topic: CompactString,
    /// What about it.
    pub(crate) what: Change,
}

/// What has happened to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A member came or went.
    Moved(Step),
    /// A watcher came or went.
    Watched(Step),
    /// From the home to itself: the turn's changes are in, publish the total.
    Show,
}

/// One more or one less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// One more.
    Up,
    /// One less.
    Down,
}

/// What the home has to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing.
    Nothing,
    /// Send itself a [`Change::Show`] for the topic.
    ShowLater,
    /// Publish this total; and if that is refused, show it later.
    Publish(u64),
}

/// The totals of the topics that are at home on this shard.
#[derive(Debug, Default)]
pub(crate) struct Census {
    topics: HashMap<CompactString, Total>,
}

/// Invariant: an entry with neither members nor watchers exists only while `show_pending`.
#[derive(Debug, Default)]
struct Total {
    members: u64,
    watchers: u64,
    /// A `Show` is on its way.
    show_pending: bool,
    /// What was published last, if all who watch now have heard it.
    shown: Option<u64>,
}

impl Census {
    /// Takes a note in. The caller does what is returned.
    pub(crate) fn take(&mut self, note: &Note) -> Next {
        let total = match self.topics.get_mut(&note.topic) {
            Some(total) => total,
            None => self.topics.entry(note.topic.clone()).or_default(),
        };
        match note.what {
            Change::Moved(step) => step.apply(&mut total.members),
            Change::Watched(step) => {
                step.apply(&mut total.watchers);
                if step == Step::Up {
                    total.shown = None;
                }
            }
            Change::Show => total.show_pending = false,
        }
        let next = total.next(note.what);
        if total.is_over() {
            self.topics.remove(&note.topic);
            if self.topics.is_empty() && self.topics.capacity() > TABLE_KEPT_MAX {
                self.topics = HashMap::new();
            }
        }
        next
    }

    /// The publication was refused: nobody has heard the total. The caller tells itself to
    /// show it later.
    pub(crate) fn was_refused(&mut self, topic: &str) {
        if let Some(total) = self.topics.get_mut(topic) {
            total.shown = None;
            total.show_pending = true;
        }
    }
}

impl Total {
    fn next(&mut self, change: Change) -> Next {
        if self.watchers == 0 || self.shown == Some(self.members) || self.show_pending {
            return Next::Nothing;
        }
        if change == Change::Show {
            self.shown = Some(self.members);
            return Next::Publish(self.members);
        }
        self.show_pending = true;
        Next::ShowLater
    }

    fn is_over(&self) -> bool {
        self.members == 0 && self.watchers == 0 && !self.show_pending
    }
}

impl Step {
    fn apply(self, count: &mut u64) {
        match self {
            Self::Up => *count += 1,
            // A shard tells of the coming before the going, and notes keep their order.
            Self::Down => {
                debug_assert!(*count > 0, "somebody left who had not come");
                *count = count.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Change = Change::Moved(Step::Up);
    const DOWN: Change = Change::Moved(Step::Down);
    const WATCH: Change = Change::Watched(Step::Up);
    const UNWATCH: Change = Change::Watched(Step::Down);

    fn take(census: &mut Census, what: Change) -> Next {
        census.take(&Note {
            topic: "room".into(),
            what,
        })
    }

    #[test]
    fn nothing_is_published_while_nobody_watches() {
        let mut census = Census::default();
        assert_eq!(take(&mut census, UP), Next::Nothing);
        assert_eq!(take(&mut census, UP), Next::Nothing);
        assert_eq!(take(&mut census, DOWN), Next::Nothing);
    }

    #[test]
    fn a_watcher_hears_the_total_and_each_change() {
        let mut census = Census::default();
        take(&mut census, UP);
        assert_eq!(take(&mut census, WATCH), Next::ShowLater);
        assert_eq!(take(&mut census, Change::Show), Next::Publish(1));
        assert_eq!(take(&mut census, UP), Next::ShowLater);
        assert_eq!(take(&mut census, Change::Show), Next::Publish(2));
        assert_eq!(take(&mut census, DOWN), Next::ShowLater);
        assert_eq!(take(&mut census, Change::Show), Next::Publish(1));
    }

    #[test]
    fn a_watcher_of_an_empty_topic_hears_zero() {
        let mut census = Census::default();
        assert_eq!(take(&mut census, WATCH), Next::ShowLater);
        assert_eq!(take(&mut census, Change::Show), Next::Publish(0));
    }

    #[test]
    fn changes_of_one_turn_are_shown_once() {
        let mut census = Census::default();
        assert_eq!(take(&mut census, WATCH), Next::ShowLater);
        for _ in 0..1000 {
            assert_eq!(take(&mut census, UP), Next::Nothing);
        }
        assert_eq!(take(&mut census, Change::Show), Next::Publish(1000));
        assert_eq!(take(&mut census, UP), Next::ShowLater);
        assert_eq!(take(&mut census, DOWN), Next::Nothing);
        // They have heard of a thousand, and a thousand it is.
        assert_eq!(take(&mut census, Change::Show), Next::Nothing);
    }

    #[test]
    fn a_second_watcher_hears_a_total_that_has_not_changed() {
        let mut census = Census::default();
        take(&mut census, UP);
        take(&mut census, WATCH);
        assert_eq!(take(&mut census, Change::Show), Next::Publish(1));
        assert_eq!(take(&mut census, WATCH), Next::ShowLater);
        assert_eq!(take(&mut census, Change::Show), Next::Publish(1));
    }

    #[test]
    fn a_refused_total_is_shown_again() {
        let mut census = Census::default();
        take(&mut census, WATCH);
        assert_eq!(take(&mut census, Change::Show), Next::Publish(0));
        census.was_refused("room");
        assert_eq!(take(&mut census, UP), Next::Nothing);
        assert_eq!(take(&mut census, Change::Show), Next::Publish(1));
    }

    #[test]
    fn a_topic_without_members_and_watchers_is_forgotten() {
        let mut census = Census::default();
        take(&mut census, UP);
        take(&mut census, WATCH);
        take(&mut census, Change::Show);
        take(&mut census, UNWATCH);
        assert_eq!(census.topics.len(), 1);
        take(&mut census, DOWN);
        assert!(census.topics.is_empty());
    }

    #[test]
    fn a_topic_left_before_it_was_shown_is_forgotten_too() {
        let mut census = Census::default();
        take(&mut census, WATCH);
        take(&mut census, UNWATCH);
        assert_eq!(take(&mut census, Change::Show), Next::Nothing);
        assert!(census.topics.is_empty());
        census.was_refused("room");
        assert!(census.topics.is_empty());
    }

    #[test]
    fn topics_do_not_mix() {
        let mut census = Census::default();
        take(&mut census, UP);
        let other = |what| Note {
            topic: "other".into(),
            what,
        };
        assert_eq!(census.take(&other(WATCH)), Next::ShowLater);
        assert_eq!(census.take(&other(Change::Show)), Next::Publish(0));
    }
}
