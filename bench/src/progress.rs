//! How far the run has come, for whoever watches: one line on a terminal, or nothing.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::tally::Connections;

/// Counters that each worker sets once per turn.
#[derive(Debug)]
pub(crate) struct Progress(Vec<Counters>);

/// On a cache line of its own, so that workers do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counters {
    opened: AtomicU64,
    received: AtomicU64,
}

impl Progress {
    pub(crate) fn new(workers: u32) -> Self {
        Self((0..workers).map(|_| Counters::default()).collect())
    }

    pub(crate) fn update(&self, worker: u32, connections: &Connections, received: u64) {
        self.set(worker, connections.opened, received);
    }

    pub(crate) fn set(&self, worker: u32, opened: u64, received: u64) {
        let counters = &self.0[worker as usize];
        counters.opened.store(opened, Relaxed);
        counters.received.store(received, Relaxed);
    }

    pub(crate) fn opened(&self) -> u64 {
        self.0
            .iter()
            .map(|counters| counters.opened.load(Relaxed))
            .sum()
    }

    pub(crate) fn received(&self) -> u64 {
        self.0
            .iter()
            .map(|counters| counters.received.load(Relaxed))
            .sum()
    }
}

/// The line on the terminal: a bar while connections are opened, then a moving sign.
pub(crate) struct Bar {
    line: ProgressBar,
    connections: u64,
    opening: bool,
    /// The last two looks that lie a second apart, from which the rate follows.
    looks: [Option<(Instant, u64)>; 2],
}

/// Rates are told over at least so long a time.
const LOOK: Duration = Duration::from_secs(1);

impl Bar {
    /// On stderr if it is a terminal; else it is never seen.
    pub(crate) fn new(connections: u64) -> Self {
        let line = ProgressBar::with_draw_target(Some(connections), ProgressDrawTarget::stderr());
        let bar = "{elapsed_precise} connecting [{bar:40}] {pos} of {len}, {per_sec}";
        Self {
            line: line.with_style(style(bar)),
            connections,
            opening: true,
            looks: [None; 2],
        }
    }

    pub(crate) fn show(&mut self, phase: &str, progress: &Progress, now: Instant) {
        let (opened, received) = (progress.opened(), progress.received());
        if opened < self.connections && matches!(phase, "connecting" | "settling" | "starting") {
            self.line.set_position(opened);
            return;
        }
        if std::mem::replace(&mut self.opening, false) {
            self.line
                .set_style(style("{elapsed_precise} {spinner} {msg}"));
        }
        let rate = self.rate(received, now);
        self.line.set_message(format!(
            "{phase}: {opened} connections, {received} messages, {rate:.0} per second"
        ));
        self.line.tick();
    }

    fn rate(&mut self, received: u64, now: Instant) -> f64 {
        let is_due = |(at, _): (Instant, u64)| now.saturating_duration_since(at) >= LOOK;
        if self.looks[1].is_none_or(is_due) {
            self.looks = [self.looks[1], Some((now, received))];
        }
        let Some((at, before)) = self.looks[0] else {
            return 0.0;
        };
        #[expect(clippy::cast_precision_loss, reason = "it is shown in whole numbers")]
        let more = received.saturating_sub(before) as f64;
        more / now.saturating_duration_since(at).as_secs_f64().max(0.001)
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.line.finish_and_clear();
    }
}

impl fmt::Debug for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bar")
    }
}
