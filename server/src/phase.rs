//! Whether the server starts, serves or ends: one value that several threads read.

use std::sync::atomic::{AtomicU8, Ordering};

/// Where the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It does not take connections yet.
    Starting,
    /// It takes connections.
    Ready,
    /// It closes its connections and takes no more.
    Draining,
}

/// The present phase. A phase is never entered again once it has been left.
#[derive(Debug, Default)]
pub(crate) struct PhaseCell(AtomicU8);

impl PhaseCell {
    /// Enters a later phase; an earlier one is not entered.
    pub(crate) fn enter(&self, phase: Phase) {
        self.0.fetch_max(phase as u8, Ordering::Relaxed);
    }

    /// The present phase.
    pub(crate) fn now(&self) -> Phase {
        [Phase::Starting, Phase::Ready]
            .into_iter()
            .find(|phase| *phase as u8 == self.0.load(Ordering::Relaxed))
            .unwrap_or(Phase::Draining)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_only_go_forward() {
        let cell = PhaseCell::default();
        assert_eq!(cell.now(), Phase::Starting);
        cell.enter(Phase::Ready);
        assert_eq!(cell.now(), Phase::Ready);
        cell.enter(Phase::Draining);
        cell.enter(Phase::Ready);
        assert_eq!(cell.now(), Phase::Draining);
    }
}
