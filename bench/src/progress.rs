//! How far the run has come, for whoever watches: one line on a terminal, or nothing.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

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
        let counters = &self.0[worker as usize];
        counters.opened.store(connections.opened, Relaxed);
        counters.received.store(received, Relaxed);
    }

    fn opened(&self) -> u64 {
        self.0
            .iter()
            .map(|counters| counters.opened.load(Relaxed))
            .sum()
    }

    fn received(&self) -> u64 {
        self.0
            .iter()
            .map(|counters| counters.received.load(Relaxed))
            .sum()
    }
}

/// The line on the terminal.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// On stderr if it is a terminal and `wanted`; else it is never seen.
    pub(crate) fn new(wanted: bool) -> Self {
        let target = if wanted {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{elapsed_precise} {msg}");
        Self(bar.with_style(style.expect("the template is well-formed")))
    }

    pub(crate) fn show(&self, phase: &str, progress: &Progress) {
        let (opened, received) = (progress.opened(), progress.received());
        self.0.set_message(format!(
            "{phase}: {opened} connections, {received} messages"
        ));
        self.0.tick();
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl fmt::Debug for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bar")
    }
}
