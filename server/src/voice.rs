//! Says the news of a running server, to whomever the log goes to, so that nobody who serves waits for
//! whoever reads it, or does not.

use tracing::Level;

use crate::log::{Log, Record};

/// Speaks without waiting.
#[derive(Debug, Clone)]
pub(crate) struct Voice {
    log: Log,
}

/// One line of news.
#[derive(Debug)]
pub(crate) enum Line {
    /// It is as it was wanted.
    Said(String),
    /// Something is not.
    Complained(String),
}

impl Voice {
    /// Speaks through this log.
    pub(crate) fn of(log: Log) -> Self {
        Self { log }
    }

    /// The log that it speaks through.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Says a line.
    pub(crate) fn say(&self, line: &str) {
        self.tell(vec![Line::Said(line.to_owned())]);
    }

    /// Says these lines, one after another, or none of them.
    pub(crate) fn tell(&self, lines: Vec<Line>) {
        self.tell_of("server", lines);
    }

    /// The same for another part of the server: one of [`crate::log::filter::TARGETS`].
    pub(crate) fn tell_of(&self, target: &'static str, lines: Vec<Line>) {
        let records = lines.into_iter().map(|line| match line {
            Line::Said(line) => Record::new(Level::INFO, target, &line),
            Line::Complained(line) => Record::new(Level::WARN, target, &line),
        });
        self.log.write(records.collect());
    }

    /// Waits until all has been said, or nobody reads it.
    pub(crate) fn finish(&self) {
        self.log.finish();
    }
}
