//! How many connections each user has, over all shards, and what they may say together.
//!
//! Only where there is a cap is anybody counted, and only where there are rates has anybody a meter. A seat is given back when it is dropped, so that no
//! way out of a connection's life can forget it.

use std::sync::{Arc, Weak};
use std::time::Instant;

use tidegate_engine::{Rates, SharedMeter};

use crate::stripes::Stripes;
use crate::tally::Tally;

/// The users who have connections.
#[derive(Debug, Default)]
pub(crate) struct Users {
    seats: Tally<Arc<str>>,
    /// Those of users who have gone are found when a table would grow.
    meters: Stripes<Arc<str>, Weak<SharedMeter>>,
}

/// A connection of a user, counted for as long as this exists.
#[derive(Debug)]
pub(crate) struct Seat {
    users: Arc<Users>,
    user: Arc<str>,
}

impl Users {
    /// One more connection of this user; `None` if it has `max` already.
    pub(crate) fn seat(self: &Arc<Self>, user: &Arc<str>, max: u32) -> Option<Seat> {
        self.seats.add(user, max).ok()?;
        Some(Seat {
            users: Arc::clone(self),
            user: Arc::clone(user),
        })
    }

    /// What the connections of this user are counted by together; the first of them brings these rates.
    pub(crate) fn meter(&self, user: &Arc<str>, rates: &Rates, now: Instant) -> Arc<SharedMeter> {
        let mut table = self.meters.of(user);
        if let Some(meter) = table.get(user).and_then(Weak::upgrade) {
            return meter;
        }
        if table.len() == table.capacity() {
            table.retain(|_, meter| meter.strong_count() > 0);
        }
        let meter = Arc::new(SharedMeter::new(rates, now));
        table.insert(Arc::clone(user), Arc::downgrade(&meter));
        meter
    }

    /// How many users are counted.
    pub(crate) fn count(&self) -> usize {
        self.seats.key_count()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.users.seats.give_back(&self.user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_as_many_seats_as_it_may_and_gives_them_back() {
        let users = Arc::new(Users::default());
        let alice: Arc<str> = "alice".into();
        let seats: Vec<_> = (0..3).map(|_| users.seat(&alice, 3)).collect();
        assert!(seats.iter().all(Option::is_some));
        assert!(users.seat(&alice, 3).is_none());
        assert!(users.seat(&alice, 4).is_some(), "the cap was raised");
        assert!(users.seat(&"bob".into(), 3).is_some(), "and dropped");
        assert_eq!(users.count(), 1);
        drop(seats);
        assert_eq!(users.count(), 0);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn connections_of_a_user_share_a_meter_and_the_gone_are_forgotten() {
        let users = Users::default();
        let (rates, now) = (Rates::default(), Instant::now());
        let alice: Arc<str> = "alice".into();
        let first = users.meter(&alice, &rates, now);
        assert!(Arc::ptr_eq(&first, &users.meter(&alice, &rates, now)));
        for number in 0..100_000 {
            users.meter(&number.to_string().into(), &rates, now);
        }
        assert!(Arc::ptr_eq(&first, &users.meter(&alice, &rates, now)));
        let kept = users.meters.len();
        assert!(kept < 64 * 64, "{kept} of users who have gone");
    }
}
