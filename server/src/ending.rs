//! How the server ends: first it is not ready, then nobody else gets in, then each client is told
//! at a moment of its own.
//!
//! ```text
//!  TERM, POST /drain ─▶ not ready ─▶ drain delay ─▶ accepts no more ─▶ drain spread ─▶ all have left
//!  USR2, when the next one is ready ─────────────▶      │                 1001, 503     │ or drain
//!                                                       └ grace, if others take over    ▼ timeout
//!                                                                                      exit 0
//! ```

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::Duration;

use tidegate_engine::{Farewell, Handle, Parting};

use crate::config::Configuration;
use crate::phase::{Phase, PhaseCell};
use crate::reload::Reloader;
use crate::supervisor;
use crate::units::show_span;
use crate::voice::Voice;

/// When others take over, so long whoever has connected here before is still let in; half of it
/// is for connects under way on a port that is shared. A client's system sends a first packet that
/// was not answered again after a second, which must find it over.
const GRACE: Duration = Duration::from_secs(1);

/// By default a close for each of these: whoever serves few has no crowd to spread.
const SPREAD_STEP: Duration = Duration::from_millis(1);

/// The first line that says how many are left comes so long after the drain has begun; each
/// further one after twice the time.
const PROGRESS_FIRST: Duration = Duration::from_secs(1);
const PROGRESS_MAX: Duration = Duration::from_secs(60);

/// A supervisor is asked to be so much more patient than the server.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who else has the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// Nobody.
    Alone,
    /// Others may listen on it with sockets of their own (`server.share-port`).
    Shared,
    /// A supervisor holds the very sockets, and will give them to whoever comes next.
    Handed,
}

impl Ownership {
    pub(crate) fn of(is_supervised: bool, shares_port: bool) -> Self {
        match (is_supervised, shares_port) {
            (true, _) => Self::Handed,
            (_, true) => Self::Shared,
            _ => Self::Alone,
        }
    }
}

/// Ends the server, once.
#[derive(Debug, Clone)]
pub(crate) struct Ending(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    handle: Handle,
    phase: Arc<PhaseCell>,
    reloader: Arc<Reloader>,
    voice: Voice,
    ownership: Ownership,
    begun: AtomicBool,
}

impl Ending {
    pub(crate) fn new(
        handle: Handle,
        phase: Arc<PhaseCell>,
        reloader: Arc<Reloader>,
        voice: Voice,
        ownership: Ownership,
    ) -> Self {
        Self(Arc::new(Inner {
            handle,
            phase,
            reloader,
            voice,
            ownership,
            begun: AtomicBool::new(false),
        }))
    }

    /// Has it begun?
    pub(crate) fn has_begun(&self) -> bool {
        self.0.begun.load(Ordering::Acquire)
    }

    /// Begins to end politely, and waits for nothing. `false`: that has begun before.
    pub(crate) fn drain(&self) -> bool {
        self.begin(None)
    }

    /// The same when another process serves already, with the same sockets.
    pub(crate) fn hand_on(&self) -> bool {
        self.begin(Some(Parting::HandOn))
    }

    /// Ends without waiting for anybody.
    pub(crate) fn stop(&self) {
        self.0.begun.store(true, Ordering::Release);
        self.0.phase.enter(Phase::Draining);
        supervisor::stopping(Duration::ZERO);
        self.0.voice.say("stopping now");
        self.0.handle.stop();
    }

    fn begin(&self, heir: Option<Parting>) -> bool {
        if self.0.begun.swap(true, Ordering::AcqRel) {
            return false;
        }
        self.0.phase.enter(Phase::Draining);
        let inner = Arc::clone(&self.0);
        let spawned = Builder::new()
            .name("tidegate-drain".to_owned())
            .spawn(move || inner.take_leave(heir));
        if spawned.is_err() {
            // Without a thread there is no delay, and nobody tells how it goes.
            let configuration = self.0.reloader.live().configuration();
            let farewell = self.0.farewell(&configuration, heir);
            self.0.handle.drain(farewell);
        }
        true
    }
}

impl Inner {
    fn take_leave(&self, heir: Option<Parting>) {
        let configuration = self.reloader.live().configuration();
        let timeout = configuration.drain_timeout();
        let delay = match heir {
            Some(_) => Duration::ZERO,
            None => configuration.drain_delay(),
        };
        if heir.is_none() {
            supervisor::stopping(delay + timeout + PATIENCE);
        }
        if !delay.is_zero() {
            let delay_shown = show_span(delay);
            self.tell(&format!(
                "not ready any more, and still accepting for {delay_shown}"
            ));
            wait(delay);
        }
        let farewell = self.farewell(&configuration, heir);
        let (count, spread) = (self.connections(), farewell.spread);
        let within = show_span(timeout);
        self.tell(&match spread.is_zero() {
            true => format!("draining: {}, at most {within}", show_count(count)),
            false => format!(
                "draining: {}, told over {}, at most {within}",
                show_count(count),
                show_span(spread)
            ),
        });
        self.handle.drain(farewell);
        let mut pause = PROGRESS_FIRST;
        // The end of the process ends this.
        loop {
            wait(pause);
            self.tell(&format!(
                "draining: {} left",
                show_count(self.connections())
            ));
            pause = PROGRESS_MAX.min(pause * 2);
        }
    }

    fn tell(&self, line: &str) {
        self.voice.say(line);
        supervisor::status(line);
    }

    fn connections(&self) -> u64 {
        let counters = self.handle.counters();
        counters.iter().map(|shard| shard.connections).sum()
    }

    fn farewell(&self, configuration: &Configuration, heir: Option<Parting>) -> Farewell {
        let within = configuration.drain_timeout();
        let count = u32::try_from(self.connections()).unwrap_or(u32::MAX);
        let spread = configuration.drain_spread();
        let spread = spread.unwrap_or_else(|| SPREAD_STEP.saturating_mul(count).min(within / 2));
        let (listeners, grace) = match (heir, self.ownership) {
            (Some(parting), _) => (parting, GRACE),
            (None, Ownership::Handed) => (Parting::HandOn, GRACE),
            // The kernel gives the others whoever waits here.
            (None, Ownership::Shared) if migrates() => (Parting::Close, GRACE),
            (None, Ownership::Shared) => (Parting::Hush, GRACE),
            (None, Ownership::Alone) => (Parting::Close, Duration::ZERO),
        };
        Farewell {
            listeners,
            // Whoever is told needs time to answer.
            grace: grace.min(within / 4),
            spread: spread.min(within),
            within,
            retry_after: configuration.retry_after(),
        }
    }
}

/// Whether the kernel moves connects under way from a listener that is closed to another one of
/// its port (Linux 5.14).
fn migrates() -> bool {
    let file = "/proc/sys/net/ipv4/tcp_migrate_req";
    fs::read_to_string(file).is_ok_and(|text| text.trim() == "1")
}

fn show_count(count: u64) -> String {
    let noun = if count == 1 {
        "connection"
    } else {
        "connections"
    };
    format!("{count} {noun}")
}

/// Lets time pass.
fn wait(span: Duration) {
    let (_kept, never) = channel::<()>();
    let waited = never.recv_timeout(span);
    debug_assert_eq!(waited, Err(RecvTimeoutError::Timeout));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one_and_none_are_many() {
        assert_eq!(show_count(0), "0 connections");
        assert_eq!(show_count(1), "1 connection");
        assert_eq!(show_count(2), "2 connections");
    }
}
