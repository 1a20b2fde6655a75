//! Who does the work: threads of this process, or processes with threads of their own.
//!
//! ```text
//!   run ─ Command ─▶ crew ─┬─▶ thread                         worker
//!       ◀─ Report ──       ├─▶ thread                         worker
//!                          └─▶ process ─ stdin, stdout ─▶ crew ─▶ thread ...
//! ```

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

use anyhow::{Context, anyhow, bail};
use tidegate_io::epoll::Doorbell;
use tidegate_io::{Waker, files, host};

use crate::load::Load;
use crate::options::{Common, Sources};
use crate::progress::Progress;
use crate::tls::Tls;
use crate::worker::{self, Command, Place, Report};

/// The threads of this process.
#[derive(Debug)]
pub(crate) struct Threads {
    /// The number of the first, among those of all processes.
    first: u32,
    commands: Vec<Sender<Command>>,
    wakers: Vec<Waker>,
    threads: Vec<Option<JoinHandle<()>>>,
}

/// Descriptors beside the connections: standard streams, epoll, doorbells, the library's own.
const SPARE_FILES: u64 = 32;

/// How many workers there are in all processes.
pub(crate) fn worker_count(common: &Common) -> u32 {
    common.threads * common.processes
}

/// The first connection of a worker, and how many it has.
pub(crate) fn share_of(common: &Common, worker: u32) -> (u32, u32) {
    let workers = worker_count(common);
    let (each, more) = (common.connections / workers, common.connections % workers);
    (
        worker * each + worker.min(more),
        each + u32::from(worker < more),
    )
}

/// A thread has a table of descriptors of its own if there are several; then whatever it opens
/// means nothing to the others.
fn has_own_table(common: &Common) -> bool {
    common.threads > 1
}

/// Raises the limit of open files, and holds it against what each worker needs.
pub(crate) fn check_limit(common: &Common) -> anyhow::Result<()> {
    let limit = files::raise_limit().context("cannot raise the limit of open files")?;
    let (_, most) = share_of(common, 0);
    let needed = u64::from(most) + SPARE_FILES;
    if needed > limit {
        let workers = worker_count(common);
        let each = if workers > 1 { " for each thread" } else { "" };
        bail!(
            "{most} connections{each} need {needed} open files, but the limit is {limit}; raise it \
             with ulimit -n, or take more --threads"
        );
    }
    Ok(())
}

impl Threads {
    /// Starts those of process number `process`.
    pub(crate) fn start(
        common: &Common,
        process: u32,
        progress: &Arc<Progress>,
        reports: &Sender<(u32, Report)>,
        make: &dyn Fn(&Place) -> Box<dyn Load>,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(common.clone());
        let tls = Tls::new(common)?;
        let first = process * common.threads;
        let mut crew = Self {
            first,
            commands: Vec::new(),
            wakers: Vec::new(),
            threads: Vec::new(),
        };
        // All are made before the threads, and are in the table of each: threads wake each other.
        let bells: Result<Vec<_>, _> = (0..common.threads).map(|_| Doorbell::new()).collect();
        let bells = Arc::new(bells.context("cannot open the doorbells")?);
        for index in first..first + common.threads {
            let (first, count) = share_of(common, index);
            let place = Place {
                index,
                first,
                count,
                sources: Sources::choose(common, process),
                tls: tls.clone(),
                common: Arc::clone(&shared),
                progress: Arc::clone(progress),
            };
            crew.add(place, make, &bells, reports.clone())?;
        }
        Ok(crew)
    }

    fn add(
        &mut self,
        place: Place,
        make: &dyn Fn(&Place) -> Box<dyn Load>,
        bells: &Arc<Vec<Doorbell>>,
        reports: Sender<(u32, Report)>,
    ) -> anyhow::Result<()> {
        let load = make(&place);
        let bells = Arc::clone(bells);
        let (sender, commands) = mpsc::channel();
        let (index, first) = (place.index, self.first);
        let core = place.common.core;
        let core = core.map(|core| host::Core(core + index as usize));
        let own_table = has_own_table(&place.common);
        let thread = host::spawn(format!("bench-{index}"), core, move |pinned| {
            let mut fault = None;
            if core.is_some() && !pinned {
                fault = Some(io::Error::other(
                    "this process may not run on the core of --core",
                ));
            } else if own_table {
                let kept: Vec<_> = bells.iter().map(Doorbell::as_fd).collect();
                fault = files::own_table(&kept, &[]).err();
            }
            let bell = bells[(index - first) as usize].clone();
            match fault {
                // Nobody listens only if the whole run has been given up.
                Some(error) => {
                    let _ = reports.send((index, Report::Failed(error)));
                }
                None => worker::run(place, load, bell, commands, reports),
            }
        })
        .context("cannot start a thread")?;
        self.commands.push(sender);
        self.threads.push(Some(thread));
        Ok(())
    }

    pub(crate) fn count(&self) -> usize {
        self.commands.len()
    }

    /// Waits until every thread is there, and learns how each is woken.
    pub(crate) fn await_ready(
        &mut self,
        reports: &Receiver<(u32, Report)>,
    ) -> anyhow::Result<Vec<Waker>> {
        let mut wakers = vec![None; self.count()];
        for _ in 0..wakers.len() {
            match reports.recv().context("a worker has panicked")? {
                (index, Report::Ready(waker)) => {
                    wakers[(index - self.first) as usize] = waker;
                }
                (_, Report::Failed(error)) => return Err(error.into()),
                (index, _) => bail!("worker {index} is out of step"),
            }
        }
        self.wakers = wakers
            .into_iter()
            .collect::<Option<_>>()
            .context("a worker has said so twice")?;
        Ok(self.wakers.clone())
    }

    pub(crate) fn command(&self, command: Command) {
        for (sender, waker) in self.commands.iter().zip(&self.wakers) {
            // A worker that is gone has said why, or is found to have panicked.
            let _ = sender.send(command);
            waker.wake();
        }
    }

    /// Has one ended that nobody has waited for?
    pub(crate) fn has_ended(&self) -> bool {
        self.threads.iter().flatten().any(JoinHandle::is_finished)
    }

    /// Waits for the end of the thread of a worker that is over.
    pub(crate) fn join(&mut self, worker: u32) -> anyhow::Result<()> {
        match self.threads[(worker - self.first) as usize].take() {
            Some(thread) => thread
                .join()
                .map_err(|_| anyhow!("worker {worker} has panicked")),
            None => Ok(()),
        }
    }
}
