//! What runs a shard's loop on its core: here, a plain thread that is pinned.

use std::io;
use std::thread::{Builder, JoinHandle};

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

/// Runs `body` on a thread of its own, pinned to `core` if there is one. `body` is told
/// whether the pin holds.
///
/// # Errors
/// When the system has no thread to give.
pub fn spawn<T: Send + 'static>(
    name: String,
    core: Option<Core>,
    body: impl FnOnce(bool) -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name).spawn(move || {
        let pinned = core.is_some_and(|core| {
            core_affinity::set_for_current(core_affinity::CoreId { id: core.0 })
        });
        body(pinned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_sees_its_one_core() {
        let core = cores()[0];
        let seen = spawn("pinned".to_owned(), Some(core), |pinned| (pinned, cores()));
        assert_eq!(seen.unwrap().join().unwrap(), (true, vec![core]));
    }
}
