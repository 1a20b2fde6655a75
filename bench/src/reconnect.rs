//! A client that comes back, as good clients do: with exponential back-off and jitter.
//!
//! ```text
//!   Init ── open ──▶ Open ── lost ──▶ Reconnecting { tries } ── the last try failed ──▶ Failed
//!                     ▲                 │        ▲     │
//!                     └────── open ─────┘        └─────┘ a try failed
//! ```
//!
//! Time and chance are arguments, so that a storm can be replayed.

use std::time::{Duration, Instant};

use crate::random::Random;

/// How a client comes back.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// The longest wait before the first try.
    pub first: Duration,
    /// No wait is longer.
    pub cap: Duration,
    /// After so many failed tries the client gives up.
    pub tries_max: u32,
    /// How long a try waits for its answer.
    pub try_timeout: Duration,
}

/// Where a client stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// Has never been open.
    #[default]
    Init,
    /// Is open.
    Open,
    /// Lost its connection, and tries to come back.
    Reconnecting {
        /// Tries that have begun since.
        tries: u32,
        /// Waits, or tries.
        step: Step,
    },
    /// Gave up.
    Failed,
}

/// What a client that comes back is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Waits for its next try.
    Waiting {
        /// When it begins.
        until: Instant,
    },
    /// Has been dialled.
    Trying {
        /// When that is given up.
        until: Instant,
    },
}

impl State {
    /// It has got its 101. Tells how many tries that took, if it had lost its connection before.
    pub fn open(&mut self) -> Option<u32> {
        let before = std::mem::replace(self, Self::Open);
        match before {
            Self::Reconnecting { tries, .. } => Some(tries),
            Self::Init | Self::Open | Self::Failed => None,
        }
    }

    /// It has lost its connection. Tells when it tries again.
    pub fn lose(
        &mut self,
        now: Instant,
        backoff: &Backoff,
        random: &mut Random,
    ) -> Option<Instant> {
        self.wait(0, now, backoff, random)
    }

    /// Its time to try has come. Tells until when the try lasts; `None` if it has not come.
    pub fn dial(&mut self, now: Instant, backoff: &Backoff) -> Option<Instant> {
        let Self::Reconnecting { tries, step } = self else {
            return None;
        };
        match *step {
            Step::Waiting { until } if now >= until => {
                let until = now + backoff.try_timeout;
                *tries += 1;
                *step = Step::Trying { until };
                Some(until)
            }
            Step::Waiting { .. } | Step::Trying { .. } => None,
        }
    }

    /// Has its try lasted too long?
    #[must_use]
    pub fn is_overdue(&self, now: Instant) -> bool {
        matches!(self, Self::Reconnecting { step: Step::Trying { until }, .. } if now >= *until)
    }

    /// Its try has failed. Tells when it tries again; `None` if it gives up.
    pub fn fail(
        &mut self,
        now: Instant,
        backoff: &Backoff,
        random: &mut Random,
    ) -> Option<Instant> {
        match *self {
            Self::Reconnecting { tries, .. } if tries < backoff.tries_max => {
                self.wait(tries, now, backoff, random)
            }
            Self::Reconnecting { .. } => {
                *self = Self::Failed;
                None
            }
            Self::Init | Self::Open | Self::Failed => None,
        }
    }

    fn wait(
        &mut self,
        tries: u32,
        now: Instant,
        backoff: &Backoff,
        random: &mut Random,
    ) -> Option<Instant> {
        let until = now + backoff.delay(tries, random);
        let step = Step::Waiting { until };
        *self = Self::Reconnecting { tries, step };
        Some(until)
    }
}

impl Backoff {
    /// The wait before the try number `tries`, from 0: the first wait doubled so many times, at
    /// most the cap, and of that a part between the half and the whole.
    pub fn delay(&self, tries: u32, random: &mut Random) -> Duration {
        let doubled = 2_u32
            .checked_pow(tries)
            .and_then(|factor| self.first.checked_mul(factor));
        let whole = doubled.map_or(self.cap, |doubled| doubled.min(self.cap));
        let half = whole / 2;
        half + random.next_duration(whole - half)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_io::Driver;
    use tidegate_io::epoll::EpollDriver;

    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(100),
        cap: Duration::from_secs(30),
        tries_max: 10,
        try_timeout: Duration::from_secs(5),
    };

    fn any_time() -> Instant {
        EpollDriver::new(None).unwrap().now()
    }

    #[test]
    fn waits_double_up_to_the_cap_and_jitter_fills_the_upper_half() {
        let mut random = Random::new(1, 1);
        for tries in [0, 1, 2, 7, 8, 9, 31, 32, 1000] {
            let whole = BACKOFF
                .cap
                .min(BACKOFF.first * 2_u32.saturating_pow(tries).min(1_000_000));
            let delays: Vec<_> = (0..1000)
                .map(|_| BACKOFF.delay(tries, &mut random))
                .collect();
            let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
            assert!(*least >= whole / 2 && *least < whole * 6 / 10, "{least:?}");
            assert!(*most <= whole && *most > whole * 9 / 10, "{most:?}");
        }
    }

    #[test]
    fn a_client_that_never_gets_through_fails_after_its_last_try() {
        let (mut now, mut random) = (any_time(), Random::new(7, 0));
        let start = now;
        let mut state = State::Init;
        assert_eq!(state.open(), None);
        let mut next = state.lose(now, &BACKOFF, &mut random);
        let mut tries = 0;
        while let Some(until) = next {
            assert_eq!(state.dial(until - Duration::from_nanos(1), &BACKOFF), None);
            now = until;
            assert!(state.dial(now, &BACKOFF).is_some());
            assert_eq!(state.dial(now, &BACKOFF), None, "it tries already");
            tries += 1;
            next = state.fail(now, &BACKOFF, &mut random);
        }
        assert_eq!((state, tries), (State::Failed, 10));
        // 100 ms * (2^0 + ... + 2^8) and one wait of 30 s at the cap, or half of all that.
        let most = Duration::from_millis(51_100 + 30_000);
        assert!(now - start <= most && now - start >= most / 2);
        assert_eq!(state.open(), None);
    }

    #[test]
    fn a_client_that_comes_back_starts_again_from_the_first_wait() {
        let (now, mut random) = (any_time(), Random::new(3, 3));
        let mut state = State::Open;
        let mut until = state.lose(now, &BACKOFF, &mut random).unwrap();
        for _ in 0..3 {
            state.dial(until, &BACKOFF).unwrap();
            until = state.fail(until, &BACKOFF, &mut random).unwrap();
        }
        state.dial(until, &BACKOFF).unwrap();
        assert_eq!(state.open(), Some(4));
        assert_eq!(state, State::Open);
        let again = state.lose(until, &BACKOFF, &mut random).unwrap();
        assert!(again - until <= BACKOFF.first);
    }

    #[test]
    fn a_try_without_an_answer_is_overdue_at_its_timeout() {
        let (now, mut random) = (any_time(), Random::new(3, 3));
        let mut state = State::Open;
        assert!(!state.is_overdue(now));
        let at = state.lose(now, &BACKOFF, &mut random).unwrap();
        assert!(!state.is_overdue(at), "it waits");
        let until = state.dial(at, &BACKOFF).unwrap();
        assert_eq!(until, at + BACKOFF.try_timeout);
        assert!(!state.is_overdue(until - Duration::from_nanos(1)));
        assert!(state.is_overdue(until));
    }
}
