//! What the server tells of itself: events, each with a level, a target and some fields, written by
//! a thread of their own, so that nobody who serves waits for whoever reads, or does not.
//!
//! ```text
//!  tracing's macros ─▶ Collector ─┐ (below the level: nothing)
//!  say, complain, Voice ──────────┼▶ queue ─▶ writer ─▶ format ─▶ stdout and stderr, a file,
//!  ends of connections ─▶ News ───┘   │                           or the journal
//!                                     └▶ full: dropped, and counted
//! ```
//!
//! Nothing here is on the path of a message. Tokens and payloads are never fields.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::thread::Builder;
use std::time::Duration;

use tracing::Level;

mod collector;
pub(crate) mod filter;
mod format;
mod journal;
pub(crate) mod news;
mod record;
pub(crate) mod sampler;
pub(crate) mod sink;
mod writer;

pub(crate) use filter::Filter;
pub(crate) use format::{Format, level_name};
pub(crate) use record::Record;
pub(crate) use sink::{Sink, Target};

/// So many pieces of news may wait for the writer; further ones are dropped, and counted.
const QUEUE_MAX: usize = 1024;

/// So long the end of the process waits for the last words to be written.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// The levels, the gravest first, as they are written and counted.
pub(crate) const LEVELS: [Level; 5] = [
    Level::ERROR,
    Level::WARN,
    Level::INFO,
    Level::DEBUG,
    Level::TRACE,
];

/// The log of this process, once it has begun.
static LOG: OnceLock<Log> = OnceLock::new();

/// Writes without waiting.
#[derive(Debug, Clone)]
pub(crate) struct Log(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: SyncSender<Entry>,
    shared: Arc<Shared>,
}

/// What the writer and those who write share.
#[derive(Debug, Default)]
struct Shared {
    filter: RwLock<Filter>,
    /// Lines that found the queue full, or could not be written.
    dropped: AtomicU64,
    /// Lines written, by [`LEVELS`].
    written: [AtomicU64; LEVELS.len()],
    /// Whether a file is to be opened again, which must not be lost where the queue is full.
    reopen: AtomicBool,
    /// Whether stderr is where it is written.
    is_on_stderr: AtomicBool,
}

/// What stands in the queue.
#[derive(Debug)]
enum Entry {
    /// They are written together, or not at all.
    Records(Vec<Record>),
    /// From now on it is written so.
    Write(Format, Sink),
    /// Look whether something is to be done.
    Wake,
    /// Everything before this has been written.
    Done(SyncSender<()>),
}

/// How many lines there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// By [`LEVELS`].
    pub(crate) written: [u64; LEVELS.len()],
    pub(crate) dropped: u64,
}

impl Log {
    /// Begins to write.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(crate) fn start(filter: Filter, format: Format, sink: Sink) -> io::Result<Self> {
        let (queue, arriving) = sync_channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            filter: RwLock::new(filter),
            is_on_stderr: AtomicBool::new(sink.shows_on_stderr()),
            ..Shared::default()
        });
        let writing = Arc::clone(&shared);
        Builder::new()
            .name("tidegate-log".to_owned())
            .spawn(move || writer::Writer::new(writing, format, sink).run(&arriving))?;
        Ok(Self(Arc::new(Inner { queue, shared })))
    }

    /// The same for the whole process: what is said from anywhere goes there.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn start_global(filter: Filter, format: Format, sink: Sink) -> io::Result<Self> {
        let log = Self::start(filter, format, sink)?;
        // A process has one server, so nothing has been set before.
        let _ = tracing::subscriber::set_global_default(collector::Collector(log.clone()));
        let _ = LOG.set(log.clone());
        Ok(log)
    }

    /// Writes these, one after another.
    pub(crate) fn write(&self, records: Vec<Record>) {
        let wanted: Vec<Record> = {
            let filter = self.0.shared.filter.read();
            let filter = filter.unwrap_or_else(PoisonError::into_inner);
            let mut records = records;
            for record in &mut records {
                record.is_unwanted = !filter.allows(record.level, record.target);
            }
            records.retain(|record| record.is_greeting || !record.is_unwanted);
            records
        };
        if wanted.is_empty() {
            return;
        }
        let count = wanted.len() as u64;
        if self.0.queue.try_send(Entry::Records(wanted)).is_err() {
            self.0.shared.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Would anything of this level and target be written?
    pub(crate) fn allows(&self, level: Level, target: &str) -> bool {
        let filter = self.0.shared.filter.read();
        let filter = filter.unwrap_or_else(PoisonError::into_inner);
        filter.allows(level, target)
    }

    /// Counts lines that were lost before they came here.
    pub(crate) fn count_dropped(&self, count: u64) {
        self.0.shared.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// From now on this is written, so, there. Waits for room in the queue, for a moment: it is for
    /// the thread that reloads.
    pub(crate) fn change(&self, filter: Filter, format: Format, sink: Sink) {
        let current = self.0.shared.filter.write();
        *current.unwrap_or_else(PoisonError::into_inner) = filter;
        let is_on_stderr = &self.0.shared.is_on_stderr;
        is_on_stderr.store(sink.shows_on_stderr(), Ordering::Relaxed);
        let mut entry = Entry::Write(format, sink);
        for _ in 0..100 {
            match self.0.queue.try_send(entry) {
                Err(TrySendError::Full(back)) => entry = back,
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
            }
            let (_kept, nothing) = std::sync::mpsc::channel::<()>();
            let _ = nothing.recv_timeout(Duration::from_millis(20));
        }
    }

    /// Opens the file again, if it is one: the old one has been moved away.
    pub(crate) fn reopen(&self) {
        self.0.shared.reopen.store(true, Ordering::Release);
        // Where the queue is full, the writer sees it with the next piece.
        let _ = self.0.queue.try_send(Entry::Wake);
    }

    /// Waits until all has been written, or nobody takes it.
    pub(crate) fn finish(&self) {
        let (done, waiting) = sync_channel(1);
        if self.0.queue.try_send(Entry::Done(done)).is_ok() {
            let _ = waiting.recv_timeout(LAST_WORDS_TIMEOUT);
        }
    }

    /// Whether whoever reads stderr sees errors.
    pub(crate) fn shows_on_stderr(&self) -> bool {
        self.0.shared.is_on_stderr.load(Ordering::Relaxed)
    }

    /// How many lines there were.
    pub(crate) fn counts(&self) -> Counts {
        let shared = &self.0.shared;
        Counts {
            written: std::array::from_fn(|level| shared.written[level].load(Ordering::Relaxed)),
            dropped: shared.dropped.load(Ordering::Relaxed),
        }
    }
}

/// The log of this process; `None` before it has begun, and for commands that keep none.
pub(crate) fn current() -> Option<&'static Log> {
    LOG.get()
}

/// What the log was told in this way, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogSettings {
    pub(crate) filter: Filter,
    pub(crate) format: Format,
    pub(crate) target: Target,
}

/// Which connections' ends are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Closes {
    None,
    Anomalies,
    All,
}
