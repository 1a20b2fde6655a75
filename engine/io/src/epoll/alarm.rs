//! The one timer of an epoll driver: set once for a moment, however often that is waited for.
//!
//! A timeout of `epoll_wait` is set and taken back with every sleep, which costs a turn some
//! hundred nanoseconds, and more on a virtual machine. A shard waits for the same moment turn
//! after turn, so a timer of the kernel's is set when the moment changes, and rings as an event.
//! It also rings to the nanosecond, where `epoll_wait` knows whole milliseconds and rounds up.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

/// A timer that rings as an event of the epoll instance.
#[derive(Debug)]
pub(super) struct Alarm {
    pub(super) fd: OwnedFd,
    /// When it will ring, unless it has.
    at: Option<Instant>,
}

impl Alarm {
    pub(super) fn new() -> Result<Self, Errno> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { fd, at: None })
    }

    /// Does it ring at this moment already?
    pub(super) fn is_set(&self, at: Instant) -> bool {
        self.at == Some(at)
    }

    /// Sees to it that a wait ends at `at`. `Some`: so long that `epoll_wait` has to see to it.
    pub(super) fn set(&mut self, at: Instant, now: Instant) -> Option<Duration> {
        let rest = at.saturating_duration_since(now);
        if rest.is_zero() {
            return Some(rest);
        }
        let value = Timespec::try_from(rest).ok()?;
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: value,
        };
        match timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &once) {
            Ok(_) => {
                self.at = Some(at);
                None
            }
            Err(_) => Some(rest),
        }
    }

    /// It has rung.
    pub(super) fn rang(&mut self) {
        self.at = None;
    }
}
