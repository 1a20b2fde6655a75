//! What may wait, such as reading a file: on a thread of a pool, so that the shard's never does.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Threads that wait for all shards together; further work waits for one of them.
const THREADS_MAX: usize = 8;

/// The cores of the process. A thread of the pool is a child of some shard's, and would have its
/// one core.
static CORES: OnceLock<Option<CpuSet>> = OnceLock::new();

/// Notes the cores of this thread, which is not a shard's yet.
pub(super) fn note_cores() {
    CORES.get_or_init(|| {
        let threads_max = NonZeroUsize::new(THREADS_MAX).expect("it is 8");
        blocking::set_max_blocking_threads(threads_max);
        sched_getaffinity(None).ok()
    });
}

/// Runs `work` on one of the 8 threads of a pool, each of which ends after half a second without
/// work. When the future is dropped, work that has not begun is not done.
///
/// # Panics
/// When `work` does.
pub fn blocking<T, F>(work: F) -> impl Future<Output = T> + use<T, F>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    blocking::unblock(|| {
        if let Some(Some(cores)) = CORES.get() {
            // Whoever may not choose stays on the core of the shard.
            let _ = sched_setaffinity(None, cores);
        }
        work()
    })
}

/// The whole file, read on a thread of the pool.
///
/// # Errors
/// As of [`std::fs::read`].
pub fn read_file(path: impl Into<PathBuf>) -> impl Future<Output = io::Result<Vec<u8>>> {
    let path = path.into();
    blocking(move || std::fs::read(path))
}
