//! What the supervisor of the server hears, if there is one that listens: the protocol of systemd,
//! datagrams to the socket that `NOTIFY_SOCKET` names (`man sd_notify`).
//!
//! Whether anybody hears it is of no concern to the server: nothing here fails.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::Duration;

use sd_notify::NotifyState;
use tidegate_engine::Handle;

/// The supervisor waits so many times as long as the server needs at most between two signs of
/// life: one may come late, and the next must still count.
const SIGNS_PER_PATIENCE: u32 = 4;

/// All shards take connections.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] ends that.
pub(crate) fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    tell(&states);
}

/// In one line, what the server does.
pub(crate) fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// The server ends, and may take so long for it.
pub(crate) fn stopping(patience: Duration) {
    let micros = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    if micros == 0 {
        return tell(&[NotifyState::Stopping]);
    }
    tell(&[
        NotifyState::Stopping,
        NotifyState::ExtendTimeoutUsec(micros),
    ]);
}

/// Another process is the server from now on.
pub(crate) fn succeeded_by(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

fn tell(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

/// Gives the supervisor signs of life, if it wants any, as long as every shard turns: a shard
/// that hangs lets the supervisor's watchdog bite.
///
/// ```text
///  each quarter of WATCHDOG_USEC:  nudge every shard ─▶ it turns, and shows that
///                                  have all turned since the last time? ─▶ WATCHDOG=1
/// ```
///
/// # Errors
/// When the system has no thread for it.
pub(crate) fn watch(handle: Handle) -> io::Result<()> {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return Ok(());
    };
    let body = move || {
        let (_kept, never) = channel::<()>();
        let mut pulse = Pulse::new(turns(&handle));
        handle.nudge();
        while never.recv_timeout(patience / SIGNS_PER_PATIENCE) == Err(RecvTimeoutError::Timeout) {
            if pulse.is_felt(turns(&handle)) {
                tell(&[NotifyState::Watchdog]);
            }
            handle.nudge();
        }
    };
    Builder::new()
        .name("tidegate-watchdog".to_owned())
        .spawn(body)?;
    Ok(())
}

fn turns(handle: &Handle) -> Vec<u64> {
    handle.counters().iter().map(|shard| shard.turns).collect()
}

/// Whether all shards have turned.
#[derive(Debug)]
struct Pulse {
    /// What each had counted when all had last turned.
    seen: Vec<u64>,
}

impl Pulse {
    fn new(seen: Vec<u64>) -> Self {
        Self { seen }
    }

    /// Has every shard turned since the last time that all had?
    fn is_felt(&mut self, now: Vec<u64>) -> bool {
        let all = now.iter().zip(&self.seen).all(|(now, seen)| now != seen);
        if all {
            self.seen = now;
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shard_that_stands_still_is_enough_for_silence() {
        let mut pulse = Pulse::new(vec![5, 5]);
        assert!(pulse.is_felt(vec![6, 7]));
        assert!(!pulse.is_felt(vec![6, 9]), "the first one stands still");
        assert!(!pulse.is_felt(vec![6, 12]));
        assert!(pulse.is_felt(vec![7, 12]), "it goes on");
        assert!(!pulse.is_felt(vec![8, 12]));
    }
}
