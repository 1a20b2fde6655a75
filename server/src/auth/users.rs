//! How many connections each user has, over all shards.
//!
//! Only where there is a cap is anybody counted. A seat is given back when it is dropped, so that no
//! way out of a connection's life can forget it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many locks, that shards seldom wait for each other.
const PARTS: usize = 64;

/// The users who have connections.
#[derive(Debug)]
pub(crate) struct Users {
    hasher: RandomState,
    parts: [Mutex<HashMap<Arc<str>, usize>>; PARTS],
}

/// A connection of a user, counted for as long as this exists.
#[derive(Debug)]
pub(crate) struct Seat {
    users: Arc<Users>,
    user: Arc<str>,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            parts: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Users {
    /// One more connection of this user; `None` if it has `max` already.
    pub(crate) fn seat(self: &Arc<Self>, user: &Arc<str>, max: usize) -> Option<Seat> {
        let mut part = self.part(user);
        let count = part.entry(Arc::clone(user)).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Seat {
            users: Arc::clone(self),
            user: Arc::clone(user),
        })
    }

    /// How many users there are.
    #[cfg(test)]
    fn count(&self) -> usize {
        let sizes = self.parts.iter().map(|part| part.lock().unwrap().len());
        sizes.sum()
    }

    fn part(&self, user: &str) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        let index = self.hasher.hash_one(user) % PARTS as u64;
        let part = &self.parts[usize::try_from(index).unwrap_or(0)];
        // Nothing is ever half written in there.
        part.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut part = self.users.part(&self.user);
        if let Some(count) = part.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                part.remove(&self.user);
            }
        }
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
    fn seats_taken_from_many_threads_are_never_too_many() {
        let users = Arc::new(Users::default());
        let alice: Arc<str> = "alice".into();
        let taken = std::thread::scope(|scope| {
            let take = || {
                (0..50)
                    .filter_map(|_| users.seat(&alice, 100))
                    .collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            let all = threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap());
            all.collect::<Vec<_>>()
        });
        assert_eq!(taken.len(), 100);
        drop(taken);
        assert_eq!(users.count(), 0);
    }
}
