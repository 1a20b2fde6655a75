//! What runs a shard's loop on its core: a plain thread that is pinned, or an executor of
//! glommio's. Both give the shard the same: a place to run at, and [`Tasks`].
//!
//! ```text
//!  launch(host, place, prepare, body)
//!     └─▶ a new thread: prepare() ─▶ pin ─▶ body(seat).await ─▶ the thread's outcome
//!                                               │
//!                         Seat: on which core, ─┘ and what runs tasks there
//! ```
//!
//! A body blocks in its own driver, whoever hosts it, and awaits nothing but [`Tasks::run`].

use std::fmt;
use std::future::Future;
use std::io;
use std::thread::{Builder, JoinHandle};

mod files;
mod glommio;
mod tasks;
mod thread;
mod timers;

pub use files::{blocking, read_file};
pub use tasks::{Executor, Tasks, TooManyTasks, YieldNow};
pub use thread::run as run_here;
pub use timers::Sleep;

/// A processor core, by the number that the system gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Core(pub usize);

/// The cores that this process may run on, in the system's order; empty if it does not tell.
#[must_use]
pub fn cores() -> Vec<Core> {
    core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .map(|core| Core(core.id))
        .collect()
}

/// Whose executor a shard runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// A plain thread, and a small executor for its tasks.
    Thread,
    /// A `LocalExecutor` of glommio's, which takes rings of io_uring.
    Glommio,
}

impl Host {
    /// Whether this process may have such a host here. Nothing is said to anybody but the
    /// caller, and nothing stays behind.
    ///
    /// # Errors
    /// What is missing.
    pub fn probe(self) -> io::Result<()> {
        match self {
            Self::Thread => Ok(()),
            Self::Glommio => glommio::probe(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Thread => "plain threads",
            Self::Glommio => "glommio",
        })
    }
}

/// Where a body is to run.
#[derive(Debug, Clone)]
pub struct Place {
    /// The name of its thread.
    pub name: String,
    /// The core that it is pinned to, if there is one.
    pub core: Option<Core>,
}

/// What a body is given by its host.
#[derive(Debug)]
pub struct Seat {
    /// Whether the thread has been pinned to its core.
    pub pinned: bool,
    /// The number by which the system knows the thread.
    pub thread_id: u32,
    /// What runs its tasks; for [`Tasks::new`].
    pub executor: Executor,
}

/// Runs `body` on a plain thread of its own, pinned to `core` if there is one. `body` is told
/// whether the pin holds.
///
/// # Errors
/// When the system has no thread to give.
pub fn spawn<T: Send + 'static>(
    name: String,
    core: Option<Core>,
    body: impl FnOnce(bool) -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new()
        .name(name)
        .spawn(move || body(thread::pin(core)))
}

/// Runs `body` on a thread of its own, after `prepare` has run there, with which nothing of the
/// host is there yet.
///
/// # Errors
/// When the system has no thread to give. What fails on the thread is its outcome.
pub fn launch<T, F>(
    host: Host,
    place: Place,
    prepare: impl FnOnce() -> io::Result<()> + Send + 'static,
    body: impl FnOnce(Seat) -> F + Send + 'static,
) -> io::Result<JoinHandle<io::Result<T>>>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + 'static,
{
    let Place { name, core } = place;
    files::note_cores();
    Builder::new().name(name).spawn(move || {
        prepare()?;
        match host {
            Host::Thread => thread::host(core, body),
            Host::Glommio => glommio::host(core, body),
        }
    })
}
