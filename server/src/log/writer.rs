//! The thread that writes: it alone waits for disks and for those who read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use tracing::Level;

use super::format::Format;
use super::record::Record;
use super::sink::Sink;
use super::{Entry, LEVELS, Shared};

/// So many pieces of news are written at once, if so many wait.
const BATCH_MAX: usize = 64;

/// What the thread knows.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    format: Format,
    sink: Sink,
    /// How many dropped lines it has told of.
    dropped_told: u64,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, format: Format, sink: Sink) -> Self {
        Self {
            shared,
            format,
            sink,
            dropped_told: 0,
        }
    }

    /// Writes until nobody has anything to say any more.
    pub(super) fn run(mut self, arriving: &Receiver<Entry>) {
        while let Ok(first) = arriving.recv() {
            let mut records = Vec::new();
            let further = arriving.try_iter().take(BATCH_MAX);
            for entry in std::iter::once(first).chain(further) {
                if self.shared.reopen.swap(false, Ordering::AcqRel) {
                    self.write(&mut records);
                    self.reopen();
                }
                match entry {
                    Entry::Records(new) => records.extend(new),
                    Entry::Wake => {}
                    Entry::Write(format, sink) => {
                        self.write(&mut records);
                        self.format = format;
                        self.sink = sink;
                    }
                    Entry::Done(done) => {
                        self.write(&mut records);
                        // Whoever has waited for too long has gone.
                        let _ = done.try_send(());
                    }
                }
            }
            self.write(&mut records);
        }
    }

    fn write(&mut self, records: &mut Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let unknown = dropped.saturating_sub(self.dropped_told);
        if unknown > 0 {
            self.dropped_told = dropped;
            let line = "lines were dropped, since they came faster than they could be written";
            records.push(Record::new(Level::WARN, "log", line).with("lines", unknown));
        }
        let lost = self.sink.write(self.format, records);
        if lost == 0 {
            for record in records.iter() {
                if let Some(index) = LEVELS.iter().position(|level| *level == record.level) {
                    self.shared.written[index].fetch_add(1, Ordering::Relaxed);
                }
            }
        } else {
            // Where nobody takes them, nobody is to be told.
            self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
            self.dropped_told += lost;
        }
        records.clear();
    }

    fn reopen(&mut self) {
        let record = match self.sink.reopen() {
            Ok(()) => Record::new(Level::INFO, "log", "the log is open again"),
            Err(error) => {
                let line = "the log cannot be opened again, and goes on where it was";
                Record::new(Level::ERROR, "log", line).with("error", error.to_string())
            }
        };
        self.write(&mut vec![record]);
    }
}
