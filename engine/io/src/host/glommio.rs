//! The host of glommio's: each shard on a `LocalExecutor` that is pinned, its loop in the default
//! queue, its tasks in a queue beside it.
//!
//! The loop blocks in its own driver and never in glommio, since nothing in glommio has to be
//! waited for: timers are those of [`super::Tasks`], files are read by a pool, and every wake of
//! a task rings the shard's doorbell. It gives way when a task has been woken; then glommio has
//! its turn too, if its timer asks for one. That timer is not set again while the loop sleeps, so
//! that a shard that is idle is not woken by its host.

use std::future::Future;
use std::io;
use std::thread;
use std::time::Duration;

use ::glommio::{
    CpuSet, Latency, LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement, Shares,
    StallDetectionHandler, TaskQueueHandle, executor, spawn_local_into,
};
use io_uring::opcode::{
    Accept, Close, Connect, Fallocate, Fsync, LinkTimeout, Nop, OpenAt, PollAdd, PollRemove, Read,
    ReadFixed, Readv, Recv, RecvMsg, Send, SendMsg, Statx, Timeout, TimeoutRemove, Write,
    WriteFixed, Writev,
};
use io_uring::{IoUring, Probe};
use rustix::process::{Resource, getrlimit};

use super::tasks::Kind;
use super::{Core, Executor, Seat};

/// Glommio refuses to begin with less (`RLIMIT_MEMLOCK`), though kernels from 5.12 on do not
/// charge rings to it.
const MEMLOCK_MIN: u64 = 512 * 1024;

/// Requests of each of its three rings. The loop's own go through the driver.
const RING_DEPTH: usize = 8;

/// What it keeps for reading files directly, which nobody does: the least that it takes.
const IO_MEMORY: usize = 64 * 1024;

/// So long after its last turn glommio asks for the next (`need_preempt`). A task that does not come back for longer
/// is reported in debug builds.
const PREEMPT_AFTER: Duration = Duration::from_millis(100);

/// How often the loop gives way until one task has been polled; the queue of tasks comes first
/// nearly always, since it has used up less time than the loop's.
const GIVEN_WAY_MAX: usize = 64;

/// The queue of a shard's tasks.
#[derive(Debug)]
pub(super) struct Queue(TaskQueueHandle);

impl Queue {
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let task = spawn_local_into(task, self.0);
        task.expect("the queue lives as long as the executor")
            .detach();
    }

    /// Lets the tasks run that are scheduled; and glommio do what it has to, if it asks for that.
    async fn give_way(&self) {
        executor().yield_task_queue_now().await;
    }

    pub(super) async fn run_until(&self, done: impl Fn() -> bool) {
        for _ in 0..GIVEN_WAY_MAX {
            self.give_way().await;
            if done() {
                break;
            }
        }
    }
}

/// Runs `body` here and now.
pub(super) fn host<T, F: Future<Output = io::Result<T>>>(
    core: Option<Core>,
    body: impl FnOnce(Seat) -> F,
) -> io::Result<T> {
    let (local, pinned) = make(core)?;
    local.run(async {
        let queue = executor().create_task_queue(Shares::default(), Latency::NotImportant, "tasks");
        let executor = Executor(Kind::Glommio(Queue(queue)));
        let seat = Seat {
            pinned,
            thread_id: super::thread::thread_id(),
            executor,
        };
        let outcome = body(seat).await;
        // The shells of tasks that were dropped end now.
        Queue(queue).give_way().await;
        outcome
    })
}

/// An executor on this thread, and whether that has been pinned.
fn make(core: Option<Core>) -> io::Result<(LocalExecutor, bool)> {
    // Without this, the builder would panic.
    let online = CpuSet::online();
    let online = online.map_err(|error| {
        io::Error::other(format!(
            "glommio cannot read the topology of cores: {error}"
        ))
    })?;
    if let Some(Core(core)) = core
        && online.iter().any(|location| location.cpu == core)
        && let Ok(local) = builder(Placement::Fixed(core)).make()
    {
        return Ok((local, true));
    }
    match builder(Placement::Unbound).make().map_err(io::Error::from) {
        Ok(local) => Ok((local, false)),
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
            let line = "glommio's rings take more locked memory (`ulimit -l`): 256KiB a shard";
            Err(io::Error::other(line))
        }
        Err(error) => Err(io::Error::other(format!("glommio cannot begin: {error}"))),
    }
}

fn builder(placement: Placement) -> LocalExecutorBuilder {
    let stalls = cfg!(debug_assertions).then(|| Box::new(Stalls) as Box<dyn StallDetectionHandler>);
    LocalExecutorBuilder::new(placement)
        .io_memory(IO_MEMORY)
        .ring_depth(RING_DEPTH)
        .preempt_timer(PREEMPT_AFTER)
        .detect_stalls(stalls)
        // Its thread would share the shard's core and its table of descriptors.
        .blocking_thread_pool_placement(PoolPlacement::Custom(Vec::new()))
}

/// What is reported, to the `log` of the program, as a task that does not come back.
#[derive(Debug)]
struct Stalls;

impl StallDetectionHandler for Stalls {
    fn threshold(&self, queue: TaskQueueHandle, _expected: Duration) -> Option<Duration> {
        // The loop sleeps in its driver, which is no stall.
        (queue.index() != 0).then_some(Duration::ZERO)
    }
}

/// Whether such a host can be had, without a panic or a word of glommio's where it cannot.
pub(super) fn probe() -> io::Result<()> {
    if let Some(limit) = getrlimit(Resource::Memlock).current
        && limit < MEMLOCK_MIN
    {
        let line = format!("the limit of locked memory (`ulimit -l`) is {limit} bytes, not 512KiB");
        return Err(io::Error::other(line));
    }
    let refused = |error| io::Error::other(format!("io_uring is refused: {error}"));
    let ring = IoUring::new(2).map_err(refused)?;
    ring.submit().map_err(refused)?;
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(refused)?;
    if OPERATIONS.iter().any(|code| !probe.is_supported(*code)) {
        return Err(io::Error::other("io_uring is older than Linux 5.8"));
    }
    // Rings and descriptors belong to a thread, and go with it.
    let trial = thread::Builder::new().spawn(|| make(None).map(|(local, _)| local.run(async {})));
    let outcome = trial?.join();
    outcome.unwrap_or_else(|_| Err(io::Error::other("glommio cannot begin")))
}

/// What glommio asks of the kernel; without one of them it would end the process.
const OPERATIONS: [u8; 23] = [
    Nop::CODE,
    Readv::CODE,
    Writev::CODE,
    Fsync::CODE,
    ReadFixed::CODE,
    WriteFixed::CODE,
    PollAdd::CODE,
    PollRemove::CODE,
    SendMsg::CODE,
    RecvMsg::CODE,
    Timeout::CODE,
    TimeoutRemove::CODE,
    Accept::CODE,
    LinkTimeout::CODE,
    Connect::CODE,
    Fallocate::CODE,
    OpenAt::CODE,
    Close::CODE,
    Statx::CODE,
    Read::CODE,
    Write::CODE,
    Send::CODE,
    Recv::CODE,
];
