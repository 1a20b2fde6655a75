//! Who sleeps until when: the shard waits in its driver until the first of them is due, so that
//! no timer is polled for.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use super::Tasks;

/// Wakers by their moments; the number tells apart those of the same moment, in order.
#[derive(Debug, Default)]
pub(super) struct Timers {
    sleepers: BTreeMap<(Instant, u64), Waker>,
    count: u64,
}

impl Timers {
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.sleepers.keys().next().map(|(moment, _)| *moment)
    }

    /// Takes one whose moment has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Waker> {
        let first = self.sleepers.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    fn insert(&mut self, until: Instant, waker: Waker) -> u64 {
        self.count += 1;
        self.sleepers.insert((until, self.count), waker);
        self.count
    }
}

/// Ready when its moment has come; made by [`Tasks::sleep_until`].
#[must_use = "it does nothing unless it is awaited"]
pub struct Sleep {
    tasks: Tasks,
    until: Instant,
    /// Where its waker is, if it is anywhere.
    number: Option<u64>,
}

impl Sleep {
    pub(super) fn new(tasks: Tasks, until: Instant) -> Self {
        Self {
            tasks,
            until,
            number: None,
        }
    }

    fn forget(&mut self) {
        if let Some(number) = self.number.take() {
            let mut timers = self.tasks.timers().borrow_mut();
            timers.sleepers.remove(&(self.until, number));
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.forget();
        if self.until <= self.tasks.now() {
            return Poll::Ready(());
        }
        let waker = context.waker().clone();
        let number = self.tasks.timers().borrow_mut().insert(self.until, waker);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}
