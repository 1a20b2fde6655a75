//! The doorbell of a mailbox: whoever puts a letter in rings only if the owner sleeps, and only
//! the first does.
//!
//! ```text
//!  sender                          owner
//!  ──────                          ─────
//!  put the letter in               asleep = true
//!  fence                           fence
//!  asleep? ─ yes: take the flag,   mail? ─ yes: do not sleep
//!            and ring              sleep … until the bell or the deadline
//!                                  asleep? ─ no: somebody rang, so there is mail
//!                                  asleep = false
//! ```
//!
//! Either the sender sees the flag or the owner sees the letter; both fences together forbid
//! that neither does. So the owner looks into the mailbox only if it saw mail before the sleep
//! or the flag was taken during it; a letter that came otherwise is seen before the next. The
//! code below is what runs, and also what loom tries every order of (see `loom_model.rs`).

use tidegate_io::Waker;

#[cfg(all(test, tidegate_loom))]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(all(test, tidegate_loom)))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The doorbell of one mailbox.
#[derive(Debug)]
pub(super) struct Doorbell {
    asleep: AtomicBool,
    waker: Waker,
}

impl Doorbell {
    pub(super) fn new(waker: Waker) -> Self {
        Self {
            asleep: AtomicBool::new(false),
            waker,
        }
    }

    /// Says that the owner is about to sleep. It has to look for mail after this.
    pub(super) fn arm(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence_of(Side::Owner);
    }

    /// Says that the owner is awake: nobody needs to ring. `true`: somebody has rung since
    /// [`Self::arm`].
    pub(super) fn disarm(&self) -> bool {
        // Whoever rings between these two lines wakes the owner from its next sleep.
        let rung = !self.asleep.load(Ordering::Relaxed);
        self.asleep.store(false, Ordering::Relaxed);
        rung
    }

    /// Wakes the owner if it sleeps. A letter has been put in before this.
    pub(super) fn ring(&self) {
        fence_of(Side::Sender);
        // The first look spares the write while the owner is awake, which is the usual case.
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            #[cfg(test)]
            if crate::planted::Bug::SilentDoorbell.is_planted() {
                return;
            }
            self.waker.wake();
        }
    }
}

/// Who draws a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Between the flag and the look for mail.
    Owner,
    /// Between the letter and the look at the flag.
    Sender,
}

/// Of both sides' fences one is drawn first, and whoever draws the other sees what the first
/// has written before it.
#[inline]
fn fence_of(side: Side) {
    #[cfg(all(test, tidegate_loom))]
    if let Some(order) = super::loom_model::fence_of(side) {
        fence(order);
    }
    #[cfg(not(all(test, tidegate_loom)))]
    {
        let _ = side;
        fence(Ordering::SeqCst);
    }
}
