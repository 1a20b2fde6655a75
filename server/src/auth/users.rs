//! How many connections each user has, over all shards.
//!
//! Only where there is a cap is anybody counted. A seat is given back when it is dropped, so that no
//! way out of a connection's life can forget it.

use std::sync::Arc;

use crate::tally::Tally;

/// The users who have connections.
#[derive(Debug, Default)]
pub(crate) struct Users(Tally<Arc<str>>);

/// A connection of a user, counted for as long as this exists.
#[derive(Debug)]
pub(crate) struct Seat {
    users: Arc<Users>,
    user: Arc<str>,
}

impl Users {
    /// One more connection of this user; `None` if it has `max` already.
    pub(crate) fn seat(self: &Arc<Self>, user: &Arc<str>, max: u32) -> Option<Seat> {
        self.0.add(user, max).ok()?;
        Some(Seat {
            users: Arc::clone(self),
            user: Arc::clone(user),
        })
    }

    /// How many users are counted.
    pub(crate) fn count(&self) -> usize {
        self.0.key_count()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.users.0.give_back(&self.user);
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
}
