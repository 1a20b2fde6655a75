//! The plain host: a thread that is pinned, whose tasks run on a small executor.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use async_executor::LocalExecutor;

use super::{Core, Executor, Seat};

/// Runs `body` here and now.
pub(super) fn host<T, F: Future<Output = io::Result<T>>>(
    core: Option<Core>,
    body: impl FnOnce(Seat) -> F,
) -> io::Result<T> {
    let pinned = pin(core);
    let executor = Executor::here();
    run(body(Seat {
        pinned,
        thread_id: thread_id(),
        executor,
    }))
}

/// The number by which the system knows this thread.
pub(super) fn thread_id() -> u32 {
    rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs()
}

/// Pins this thread, if there is a core for it; says whether that holds.
pub(super) fn pin(core: Option<Core>) -> bool {
    core.is_some_and(|core| core_affinity::set_for_current(core_affinity::CoreId { id: core.0 }))
}

/// Runs a future that awaits nothing but [`super::Tasks::run`] of tasks on
/// [`Executor::here`], which is never pending.
///
/// # Panics
/// When it awaits something else.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("what runs on a plain thread waits in its driver only"),
    }
}

/// Runs all that is scheduled, each once unless it schedules itself again.
pub(super) fn run_scheduled(executor: &LocalExecutor<'static>) {
    while executor.try_tick() {}
}

#[cfg(test)]
mod tests {
    use super::super::{Host, Place, cores, launch, spawn};
    use super::*;

    #[test]
    fn a_pinned_thread_sees_its_one_core() {
        let core = cores()[0];
        let seen = spawn("pinned".to_owned(), Some(core), |pinned| (pinned, cores()));
        assert_eq!(seen.unwrap().join().unwrap(), (true, vec![core]));
        let place = Place {
            name: "pinned".to_owned(),
            core: Some(core),
        };
        let body = |seat: Seat| async move { Ok((seat.pinned, cores())) };
        let thread = launch(Host::Thread, place, || Ok(()), body).unwrap();
        assert_eq!(thread.join().unwrap().unwrap(), (true, vec![core]));
    }

    #[test]
    fn what_fails_before_the_body_is_the_outcome() {
        let place = Place {
            name: "fails".to_owned(),
            core: None,
        };
        let prepare = || Err(io::ErrorKind::Unsupported.into());
        let body = |_| async { unreachable!("it was not prepared") };
        let thread = launch::<(), _>(Host::Thread, place, prepare, body).unwrap();
        let outcome = thread.join().unwrap();
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    #[should_panic(expected = "waits in its driver only")]
    fn a_body_that_awaits_something_else_is_found_out() {
        run(std::future::pending::<()>());
    }
}
