//! The tasks of one shard: futures that share its thread with its loop, without ever delaying
//! the loop by more than a bounded time.
//!
//! Every wake of a task, by whomever, goes one way: into the queue of woken tasks, and to the
//! doorbell of the shard. The shard, between two turns, lets some of them run:
//!
//! ```text
//!  any thread                        the shard's thread
//!  ──────────                        ──────────────────
//!  wake ─▶ woken (a queue) ─────────▶ run: takes one ─▶ admits it ─▶ the host's executor ─▶ poll
//!       └▶ the doorbell               until none is left, or POLLS_MAX, or TIME_MAX
//! ```
//!
//! The executor of the host (glommio's, or async-executor's) holds a shell of each task; a shell
//! polls its task only when it has been admitted. So the bound holds on every host, and no
//! other thread touches an executor.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{self, Context, Poll, Wake};
use std::time::{Duration, Instant};

use async_executor::LocalExecutor;
use concurrent_queue::ConcurrentQueue;
use slab::Slab;

use super::timers::Timers;
use super::{Sleep, glommio, thread};
use crate::Waker;

/// Between two turns of the loop, so many tasks are polled at most.
const POLLS_MAX: usize = 64;

/// Between two turns of the loop, no further task is polled after this: about what a turn with
/// a hundred messages takes. A single poll cannot be cut short.
const TIME_MAX: Duration = Duration::from_micros(500);

/// The tasks of one shard, and their clock. A clone is the same.
#[derive(Clone)]
pub struct Tasks(Rc<Inner>);

struct Inner {
    executor: Executor,
    woken: Arc<Woken>,
    slots: RefCell<Slab<Rc<Slot>>>,
    count_max: usize,
    now: Cell<Instant>,
    timers: RefCell<Timers>,
    /// What a task has panicked with: executors would keep it to themselves.
    panic: Cell<Option<Box<dyn Any + Send>>>,
}

/// What runs the shells of tasks.
pub struct Executor(pub(super) Kind);

pub(super) enum Kind {
    Thread(LocalExecutor<'static>),
    Glommio(glommio::Queue),
}

/// A shard has as many tasks as it may: the task was not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a shard runs at most {count_max} tasks")]
pub struct TooManyTasks {
    /// How many there may be.
    pub count_max: usize,
}

/// Tasks that are to be polled, each at most once, so that it needs no limit of its own.
struct Woken {
    queue: ConcurrentQueue<Arc<TaskWaker>>,
    bell: Waker,
}

/// Puts its task among the woken: all that other threads have of it.
struct TaskWaker {
    woken: Arc<Woken>,
    /// It stands in the queue.
    queued: AtomicBool,
    /// Where its slot is, if that is still its own.
    key: usize,
}

/// One task.
struct Slot {
    waker: Arc<TaskWaker>,
    /// The shell may poll it.
    admitted: Cell<bool>,
    /// What makes the executor poll the shell; there is none before that polls it first.
    shell: RefCell<Option<task::Waker>>,
    /// `None` while it is polled, and when it is over.
    future: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
}

/// What the executor sees of a task.
struct Shell {
    slot: Rc<Slot>,
    /// They own the executor.
    tasks: Weak<Inner>,
}

impl Executor {
    /// One for tasks that run wherever [`Tasks::run`] is called.
    #[must_use]
    pub fn here() -> Self {
        Self(Kind::Thread(LocalExecutor::new()))
    }

    fn spawn(&self, shell: Shell) {
        match &self.0 {
            Kind::Thread(executor) => executor.spawn(shell).detach(),
            Kind::Glommio(queue) => queue.spawn(shell),
        }
    }

    /// Runs what is scheduled, until this task has been polled.
    async fn run_until_polled(&self, slot: &Slot) {
        match &self.0 {
            Kind::Thread(executor) => thread::run_scheduled(executor),
            Kind::Glommio(queue) => queue.run_until(|| !slot.admitted.get()).await,
        }
    }
}

impl Tasks {
    /// Room for `count_max` tasks. `bell` wakes the shard, if it sleeps, so that it calls
    /// [`Self::run`]; `now` is the time on the shard's clock.
    #[must_use]
    pub fn new(executor: Executor, count_max: usize, bell: Waker, now: Instant) -> Self {
        Self(Rc::new(Inner {
            executor,
            woken: Arc::new(Woken {
                queue: ConcurrentQueue::unbounded(),
                bell,
            }),
            slots: RefCell::new(Slab::new()),
            count_max,
            now: Cell::new(now),
            timers: RefCell::default(),
            panic: Cell::new(None),
        }))
    }

    /// Begins a task: it is polled the first time after this turn. What it panics with ends the
    /// shard as any other fault of ours.
    ///
    /// # Errors
    /// [`TooManyTasks`].
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) -> Result<(), TooManyTasks> {
        let inner = &self.0;
        let mut slots = inner.slots.borrow_mut();
        if slots.len() >= inner.count_max {
            let count_max = inner.count_max;
            return Err(TooManyTasks { count_max });
        }
        let entry = slots.vacant_entry();
        let waker = Arc::new(TaskWaker {
            woken: Arc::clone(&inner.woken),
            queued: AtomicBool::new(false),
            key: entry.key(),
        });
        let slot = Rc::new(Slot {
            waker: Arc::clone(&waker),
            admitted: Cell::new(false),
            shell: RefCell::default(),
            future: RefCell::new(Some(Box::pin(task))),
        });
        entry.insert(Rc::clone(&slot));
        drop(slots);
        let tasks = Rc::downgrade(inner);
        inner.executor.spawn(Shell { slot, tasks });
        waker.wake();
        Ok(())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.slots.borrow().len()
    }

    /// Is there a reason to call [`Self::run`]? To be asked after the bell was armed.
    #[inline]
    #[must_use]
    pub fn any_woken(&self) -> bool {
        !self.0.woken.queue.is_empty()
    }

    /// Polls tasks that have been woken: some, so that the loop is not delayed for long. `clock`
    /// is the shard's.
    ///
    /// # Panics
    /// When a task does, with the same.
    pub async fn run(&self, clock: impl Fn() -> Instant) {
        let inner = &self.0;
        let start = clock();
        let mut now = start;
        for _ in 0..POLLS_MAX {
            let Ok(task) = inner.woken.queue.pop() else {
                break;
            };
            // Whatever wakes it from here on wakes it for another time.
            task.queued.store(false, Ordering::Release);
            let Some(slot) = inner.slot_of(&task) else {
                continue;
            };
            inner.now.set(now);
            slot.admit();
            inner.executor.run_until_polled(&slot).await;
            if let Some(panic) = inner.panic.take() {
                resume_unwind(panic);
            }
            now = clock();
            if now.saturating_duration_since(start) >= TIME_MAX {
                break;
            }
        }
    }

    /// The time on the shard's clock, a little ago.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.0.now.get()
    }

    /// When the next one that sleeps is to be woken.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.0.timers.borrow().next_due()
    }

    /// Wakes whoever has slept until `now`.
    pub fn expire(&self, now: Instant) {
        self.0.now.set(now);
        while let Some(waker) = self.take_due(now) {
            waker.wake();
        }
    }

    fn take_due(&self, now: Instant) -> Option<task::Waker> {
        self.0.timers.borrow_mut().take_due(now)
    }

    /// A future that is ready at this moment.
    pub fn sleep_until(&self, until: Instant) -> Sleep {
        Sleep::new(self.clone(), until)
    }

    pub(super) fn timers(&self) -> &RefCell<Timers> {
        &self.0.timers
    }

    /// Drops all tasks, and those which they spawn while they are dropped. None runs after this.
    pub fn clear(&self) {
        // A waker that somebody keeps would put itself into a queue that it keeps alive.
        self.0.woken.queue.close();
        while let Some(slot) = self.take_any() {
            slot.future.take();
            // Its shell finds that there is nothing left.
            slot.admit();
            slot.shell.take();
        }
        while self.0.woken.queue.pop().is_ok() {}
    }

    fn take_any(&self) -> Option<Rc<Slot>> {
        let mut slots = self.0.slots.borrow_mut();
        let (key, _) = slots.iter().next()?;
        Some(slots.remove(key))
    }
}

impl Inner {
    fn slot_of(&self, task: &Arc<TaskWaker>) -> Option<Rc<Slot>> {
        let slots = self.slots.borrow();
        let slot = slots.get(task.key)?;
        Arc::ptr_eq(&slot.waker, task).then(|| Rc::clone(slot))
    }
}

impl Slot {
    /// Makes the executor poll the task, once.
    fn admit(&self) {
        self.admitted.set(true);
        if let Some(shell) = &*self.shell.borrow() {
            shell.wake_by_ref();
        }
    }
}

impl Shell {
    /// Whoever polls the tasks hears of it, and this one is over.
    fn fail(&self, panic: Box<dyn Any + Send>) -> Poll<()> {
        if let Some(tasks) = self.tasks.upgrade() {
            tasks.panic.set(Some(panic));
        }
        Poll::Ready(())
    }

    fn end(&self) {
        let slot = &self.slot;
        // It holds the executor's task, which holds this.
        slot.shell.take();
        if let Some(tasks) = self.tasks.upgrade()
            && tasks.slot_of(&slot.waker).is_some()
        {
            tasks.slots.borrow_mut().remove(slot.waker.key);
        }
    }
}

impl Future for Shell {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let slot = &self.slot;
        let shell = || context.waker().clone();
        slot.shell.borrow_mut().get_or_insert_with(shell);
        if !slot.admitted.take() {
            return Poll::Pending;
        }
        let Some(mut future) = slot.future.take() else {
            self.end();
            return Poll::Ready(());
        };
        let waker = task::Waker::from(Arc::clone(&slot.waker));
        let mut context = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
        match polled.unwrap_or_else(|panic| self.fail(panic)) {
            Poll::Pending => {
                *slot.future.borrow_mut() = Some(future);
                Poll::Pending
            }
            Poll::Ready(()) => {
                self.end();
                Poll::Ready(())
            }
        }
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            // Refused when closed: the shard has ended.
            let _ = self.woken.queue.push(Arc::clone(self));
            self.woken.bell.wake();
        }
    }
}

/// Lets the others have their turn, and the loop too; see [`Tasks::yield_now`].
#[derive(Debug)]
#[must_use = "it does nothing unless it is awaited"]
pub struct YieldNow(bool);

impl Tasks {
    /// A future that is ready the second time: whoever awaits it is polled again after the
    /// others who are ready, and when its time is up, after a turn of the loop.
    pub fn yield_now() -> YieldNow {
        YieldNow(false)
    }
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Thread(_) => "Executor(thread)",
            Kind::Glommio(_) => "Executor(glommio)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Driver;
    use crate::sim::World;

    /// Whoever has been given a waker may keep it for longer than its shard lives.
    #[test]
    fn a_waker_that_outlives_its_shard_keeps_nothing_alive() {
        let driver = World::new(1).driver();
        let tasks = Tasks::new(Executor::here(), 1, driver.waker(), driver.now());
        let kept = Rc::new(RefCell::new(None));
        let keeps = Rc::clone(&kept);
        let task = std::future::poll_fn(move |context| {
            *keeps.borrow_mut() = Some(context.waker().clone());
            Poll::<()>::Pending
        });
        tasks.spawn(task).expect("it is the first");
        super::super::run_here(tasks.run(|| driver.now()));
        let woken = Arc::downgrade(&tasks.0.woken);
        tasks.clear();
        drop(tasks);
        let waker = kept.take().expect("it has been polled");
        waker.wake();
        assert!(woken.upgrade().is_none());
    }
}
