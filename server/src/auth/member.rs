//! What is kept of a connection at an endpoint that asks for tokens: one block of the heap, which no
//! other connection has.

use std::sync::Arc;
use std::time::Instant;

use super::rights::Rights;
use super::users::Seat;
use crate::endpoints::Endpoint;
use crate::purpose::Hearing;

/// A connection at such an endpoint.
#[derive(Debug)]
pub(crate) struct Member {
    /// What it is here for.
    pub(crate) endpoint: Endpoint,
    pub(crate) stage: Stage,
    pub(crate) user: Option<Arc<str>>,
    /// Counts it for its user, where there is a cap.
    pub(crate) seat: Option<Seat>,
    /// When it has to go, unless it shows a token before.
    pub(crate) due: Option<Instant>,
    pub(crate) hears: bool,
    pub(crate) says: bool,
    /// It is subscribed, and counted in its topic.
    pub(crate) entered: bool,
    /// A token of its is being checked on another thread.
    pub(crate) checking: bool,
}

const _: () = assert!(size_of::<Member>() <= 80, "there may be a million");

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It has to show a token first.
    Waiting,
    /// It has shown none, and need not.
    Anonymous,
    /// It has shown a good one.
    Admitted,
}

/// Whether somebody with these rights may hear and say something at an endpoint; `None` if it has
/// no business there.
pub(crate) fn allowed(endpoint: &Endpoint, rights: &Rights) -> Option<(bool, bool)> {
    match endpoint {
        Endpoint::Echo => Some((true, true)),
        Endpoint::Room(topic) => {
            let (hears, says) = (rights.hear.include(topic), rights.say.include(topic));
            (hears || says).then_some((hears, says))
        }
        // It has its own answer to whoever says something there.
        Endpoint::Feed(topic) | Endpoint::Count(topic) => {
            rights.hear.include(topic).then_some((true, true))
        }
        Endpoint::Feeds(feeds) => {
            let mut all = feeds.0.iter();
            let hears =
                all.all(|Hearing::Topic(topic)| Hearing::Count(topic) | rights.hear.include(topic));
            hears.then_some((true, true))
        }
    }
}
