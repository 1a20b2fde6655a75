//! What a subscriber has heard of each publisher: everything once, and in order?

use std::collections::HashMap;
use std::ops::Range;

use crate::tally::Errors;

/// The next number of each pair of a subscriber and a publisher, and the gaps behind it.
#[derive(Debug)]
pub struct Heard {
    /// One for each publisher, subscriber after subscriber.
    next: Vec<u32>,
    publishers: usize,
    /// Only of those pairs of which something was left out.
    gaps: HashMap<usize, Vec<Range<u32>>>,
    gap_count: usize,
}

/// Beyond so many gaps, what comes late is counted as doubled and stays counted as lost.
const GAPS_MAX: usize = 100_000;

impl Heard {
    /// For so many subscribers, each of whom hears so many publishers.
    #[must_use]
    pub fn new(subscribers: usize, publishers: usize) -> Self {
        let next = vec![0; subscribers * publishers];
        Self {
            next,
            publishers,
            gaps: HashMap::new(),
            gap_count: 0,
        }
    }

    /// Takes note of a message; whatever is wrong with it is counted. Tells how many messages
    /// it has gone forward by, which is 1 if all is well.
    pub fn hear(
        &mut self,
        subscriber: usize,
        publisher: usize,
        number: u32,
        errors: &mut Errors,
    ) -> u32 {
        let pair = subscriber * self.publishers + publisher;
        let next = self.next[pair];
        if number < next {
            if self.fill_gap(pair, number) {
                errors.lost -= 1;
                errors.reordered += 1;
            } else {
                errors.doubled += 1;
            }
            return 0;
        }
        if number > next {
            errors.lost += u64::from(number - next);
            if self.gap_count < GAPS_MAX {
                self.gaps.entry(pair).or_default().push(next..number);
                self.gap_count += 1;
            }
        }
        self.next[pair] = number + 1;
        number + 1 - next
    }

    /// How many of `sent` messages are still to come, gaps aside.
    #[must_use]
    pub fn to_come(&self, subscriber: usize, publisher: usize, sent: u32) -> u32 {
        sent.saturating_sub(self.next[subscriber * self.publishers + publisher])
    }

    fn fill_gap(&mut self, pair: usize, number: u32) -> bool {
        let Some(gaps) = self.gaps.get_mut(&pair) else {
            return false;
        };
        let Some(index) = gaps.iter().position(|gap| gap.contains(&number)) else {
            return false;
        };
        let gap = gaps.swap_remove(index);
        let pieces = [gap.start..number, number + 1..gap.end];
        let before = gaps.len();
        gaps.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
        self.gap_count = self.gap_count + gaps.len() - before - 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors_of(numbers: &[u32], sent: u32) -> Errors {
        let mut errors = Errors::default();
        let mut heard = Heard::new(2, 2);
        for number in numbers {
            heard.hear(1, 1, *number, &mut errors);
        }
        errors.lost += u64::from(heard.to_come(1, 1, sent));
        errors
    }

    #[test]
    fn everything_once_and_in_order_is_no_error() {
        assert_eq!(errors_of(&[0, 1, 2, 3], 4), Errors::default());
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        let lost = |lost| Errors {
            lost,
            ..Errors::default()
        };
        assert_eq!(errors_of(&[0, 3, 4], 5), lost(2));
        assert_eq!(errors_of(&[0, 1], 5), lost(3));
        assert_eq!(
            errors_of(&[0, 1, 1, 0, 2], 3),
            Errors {
                doubled: 2,
                ..Errors::default()
            }
        );
        assert_eq!(
            errors_of(&[0, 2, 1, 3], 4),
            Errors {
                reordered: 1,
                ..Errors::default()
            }
        );
        assert_eq!(
            errors_of(&[0, 2, 1, 1], 3),
            Errors {
                reordered: 1,
                doubled: 1,
                ..Errors::default()
            }
        );
        let mixed = errors_of(&[5, 2, 4, 2], 6);
        assert_eq!(
            mixed,
            Errors {
                lost: 3,
                reordered: 2,
                doubled: 1,
                ..Errors::default()
            }
        );
    }

    #[test]
    fn what_is_skipped_counts_as_gone_by() {
        let mut errors = Errors::default();
        let mut heard = Heard::new(1, 1);
        let forward = [0, 1, 5, 3, 5, 6].map(|number| heard.hear(0, 0, number, &mut errors));
        assert_eq!(forward, [1, 1, 4, 0, 0, 1]);
    }

    #[test]
    fn pairs_do_not_mix() {
        let mut errors = Errors::default();
        let mut heard = Heard::new(2, 2);
        for (subscriber, publisher) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            heard.hear(subscriber, publisher, 0, &mut errors);
        }
        assert_eq!(errors, Errors::default());
    }
}
