//! A whole run: starts the workers, leads them from phase to phase, and takes the readings of
//! the server's process between the phases.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use tidegate_io::epoll::EpollDriver;
use tidegate_io::{Driver, Waker, files, host};

use crate::load::Load;
use crate::options::Common;
use crate::process::Process;
use crate::progress::{Bar, Progress};
use crate::tally::{Connections, Messages, Window};
use crate::worker::{self, Command, Place, Report};

/// How long the traffic is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Before counting begins.
    pub(crate) warmup: Duration,
    /// `None` where a number of messages decides.
    pub(crate) counted: Option<Duration>,
}

/// What a run has found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) connections: Connections,
    pub(crate) messages: Messages,
    /// From the first connect to the last 101.
    pub(crate) connecting: Duration,
    /// How long was counted.
    pub(crate) counted: Duration,
    /// CPU time of this program while it was counted.
    pub(crate) client_cpu: Duration,
    pub(crate) server: Option<Server>,
}

/// What the server's process has used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Server {
    /// CPU time while it was counted.
    pub(crate) cpu: Duration,
    pub(crate) rss_before: u64,
    /// With a tenth of the connections open; how many, and the memory.
    pub(crate) rss_tenth: Option<(u32, u64)>,
    /// With all connections open.
    pub(crate) rss_open: u64,
    /// At the end of the traffic.
    pub(crate) rss_end: u64,
    /// After the connections have been closed.
    pub(crate) rss_closed: u64,
    /// How many were open.
    pub(crate) open: u32,
}

/// Descriptors beside the connections: standard streams, epoll, doorbells, the library's own.
const SPARE_FILES: u64 = 32;
/// How often the line on the terminal changes.
const BLINK: Duration = Duration::from_millis(100);
/// How long a server may take to come to rest before its memory is read.
const SETTLE: Duration = Duration::from_millis(200);
/// Closing goes on for the drain's time, and a second for so many connections.
const CLOSES_PER_SECOND: u32 = 10_000;

/// Leads a run from its first connect to its last close.
pub(crate) fn run<L: Load + 'static>(
    common: &Common,
    plan: Plan,
    make: impl Fn(&Place) -> L,
    know_wakers: impl FnOnce(Vec<Waker>),
) -> anyhow::Result<Outcome> {
    check_limit(common)?;
    let process = common.pid.map(Process::open).transpose().context("--pid")?;
    let mut run = Run::start(common, process, make)?;
    let wakers = run.ready()?;
    know_wakers(wakers.clone());
    run.wakers = wakers;
    run.connect(common)?;
    if run.open > 0 {
        run.carry_load(plan)?;
    }
    run.close(common)?;
    Ok(run.outcome)
}

fn check_limit(common: &Common) -> anyhow::Result<()> {
    let limit = files::raise_limit().context("cannot raise the limit of open files")?;
    let needed = u64::from(common.connections) + SPARE_FILES;
    if needed > limit {
        bail!(
            "{} connections need {needed} open files, but the limit is {limit}; raise it with ulimit -n",
            common.connections
        );
    }
    Ok(())
}

struct Run {
    clock: EpollDriver,
    bar: Bar,
    progress: Arc<Progress>,
    commands: Vec<Sender<Command>>,
    threads: Vec<Option<JoinHandle<()>>>,
    wakers: Vec<Waker>,
    reports: Receiver<(u32, Report)>,
    process: Option<Process>,
    open: u32,
    outcome: Outcome,
}

impl Run {
    fn start<L: Load + 'static>(
        common: &Common,
        process: Option<Process>,
        make: impl Fn(&Place) -> L,
    ) -> anyhow::Result<Self> {
        let (sender, reports) = mpsc::channel();
        let progress = Arc::new(Progress::new(common.threads));
        let mut commands = Vec::new();
        let mut threads = Vec::new();
        let shared = Arc::new(common.clone());
        for index in 0..common.threads {
            let (first, count) = share_of(common, index);
            let progress = Arc::clone(&progress);
            let place = Place {
                index,
                first,
                count,
                common: Arc::clone(&shared),
                progress,
            };
            let load = make(&place);
            let (command_sender, command_receiver) = mpsc::channel();
            let sender = sender.clone();
            let core = common.core.map(|core| host::Core(core + index as usize));
            let thread = host::spawn(format!("bench-{index}"), core, move |pinned| {
                if core.is_some() && !pinned {
                    let error = io::Error::other("this process may not run on the core of --core");
                    // Nobody listens only if the whole run has been given up.
                    let _ = sender.send((index, Report::Failed(error)));
                    return;
                }
                worker::run(place, load, command_receiver, sender);
            })
            .context("cannot start a thread")?;
            commands.push(command_sender);
            threads.push(Some(thread));
        }
        let clock = EpollDriver::new(None)?;
        let bar = Bar::new(!common.json);
        let (wakers, outcome) = (Vec::new(), Outcome::default());
        Ok(Self {
            clock,
            bar,
            progress,
            commands,
            threads,
            wakers,
            reports,
            process,
            open: 0,
            outcome,
        })
    }

    fn ready(&mut self) -> anyhow::Result<Vec<Waker>> {
        let mut wakers = vec![None; self.commands.len()];
        for _ in 0..wakers.len() {
            let (index, report) = self.next("starting")?;
            let Report::Ready(waker) = report else {
                bail!("worker {index} is out of step")
            };
            wakers[index as usize] = Some(waker);
        }
        wakers
            .into_iter()
            .collect::<Option<_>>()
            .context("a worker has said so twice")
    }

    /// Opens the connections; with a process to watch, in two steps with a reading each.
    fn connect(&mut self, common: &Common) -> anyhow::Result<()> {
        let mut server = Server::default();
        if let Some(process) = self.process {
            server.rss_before = process.rss()?;
            if common.connections >= 10 * common.threads {
                self.connect_to(common, 100)?;
                server.rss_tenth = Some((self.open, self.settled_rss(process)?));
            }
        }
        self.connect_to(common, 1000)?;
        if let Some(process) = self.process {
            server.rss_open = self.settled_rss(process)?;
            server.open = self.open;
            self.outcome.server = Some(server);
        }
        Ok(())
    }

    fn connect_to(&mut self, common: &Common, permille: u32) -> anyhow::Result<()> {
        let start = self.clock.now();
        let ramp = match common.ramp {
            0 => Duration::ZERO,
            ramp => Duration::from_secs(1) * common.connections / ramp,
        };
        let deadline = start + common.connect_timeout + ramp;
        self.command(Command::Connect { permille, deadline });
        self.open = 0;
        for _ in 0..self.commands.len() {
            let (index, report) = self.next("connecting")?;
            let Report::Connected { open } = report else {
                bail!("worker {index} is out of step")
            };
            self.open += open;
        }
        self.outcome.connecting += self.clock.now() - start;
        Ok(())
    }

    fn settled_rss(&mut self, process: Process) -> anyhow::Result<u64> {
        self.pause_until(self.clock.now() + SETTLE, "settling", &mut 0)?;
        Ok(process.rss()?)
    }

    fn carry_load(&mut self, plan: Plan) -> anyhow::Result<()> {
        let start = self.clock.now();
        let from = start + plan.warmup;
        let until = plan.counted.map(|counted| from + counted);
        self.command(Command::Run(Window { start, from, until }));
        let mut finished = 0;
        self.pause_until(from, "warming up", &mut finished)?;
        let before = self.cpu_times()?;
        match until {
            Some(until) => self.pause_until(until, "counting", &mut finished)?,
            None => self.await_finished("counting", &mut finished)?,
        }
        let after = self.cpu_times()?;
        self.outcome.client_cpu = after.0.saturating_sub(before.0);
        self.outcome.counted = plan.counted.unwrap_or_default();
        self.outcome.server = self.outcome.server.and_then(|server| {
            let cpu = after.1?.saturating_sub(before.1?);
            Some(Server {
                cpu,
                rss_end: self.process?.rss().ok()?,
                ..server
            })
        });
        self.await_finished("draining", &mut finished)
    }

    /// Of this process, and of the server's unless it has ended; then its connections are
    /// lost, and the report of those matters more.
    fn cpu_times(&self) -> io::Result<(Duration, Option<Duration>)> {
        let server = self.process.and_then(|process| process.cpu_time().ok());
        Ok((Process::myself().cpu_time()?, server))
    }

    fn close(&mut self, common: &Common) -> anyhow::Result<()> {
        let extra = Duration::from_secs(1) * common.connections / CLOSES_PER_SECOND;
        let deadline = self.clock.now() + common.drain + extra;
        self.command(Command::Close { deadline });
        for _ in 0..self.commands.len() {
            let (index, report) = self.next("closing")?;
            let Report::Over(counts) = report else {
                bail!("worker {index} is out of step")
            };
            let (connections, messages) = *counts;
            self.outcome.connections.add(connections);
            self.outcome.messages.add(&messages);
            if let Some(thread) = self.threads[index as usize].take() {
                thread
                    .join()
                    .map_err(|_| anyhow!("worker {index} has panicked"))?;
            }
        }
        if self.outcome.counted.is_zero() {
            self.outcome.counted = self.outcome.messages.taken;
        }
        if let Some(process) = self.process {
            let rss = self.process_rss_after_close(process);
            if let Some(server) = &mut self.outcome.server {
                server.rss_closed = rss;
            }
        }
        Ok(())
    }

    /// By now the server may have ended, which is no fault.
    fn process_rss_after_close(&self, process: Process) -> u64 {
        // The workers are gone, so this waits for the whole time.
        let _ = self.reports.recv_timeout(SETTLE);
        process.rss().unwrap_or(0)
    }

    fn command(&self, command: Command) {
        for (sender, waker) in self.commands.iter().zip(&self.wakers) {
            // A worker that is gone has said why, or is found to have panicked.
            let _ = sender.send(command);
            waker.wake();
        }
    }

    fn await_finished(&mut self, phase: &str, finished: &mut usize) -> anyhow::Result<()> {
        while *finished < self.commands.len() {
            let (index, report) = self.next(phase)?;
            let Report::Finished = report else {
                bail!("worker {index} is out of step")
            };
            *finished += 1;
        }
        Ok(())
    }

    /// Returns at `end`, or when every worker has finished before.
    fn pause_until(
        &mut self,
        end: Instant,
        phase: &str,
        finished: &mut usize,
    ) -> anyhow::Result<()> {
        while *finished < self.commands.len() && self.clock.now() < end {
            match self.next_before(Some(end), phase)? {
                Some((_, Report::Finished)) => *finished += 1,
                Some((index, _)) => bail!("worker {index} is out of step"),
                None => {}
            }
        }
        Ok(())
    }

    fn next(&mut self, phase: &str) -> anyhow::Result<(u32, Report)> {
        loop {
            if let Some(report) = self.next_before(None, phase)? {
                return Ok(report);
            }
        }
    }

    /// The next report, if it comes before `end` and before the next blink of the bar. Every
    /// phase of a worker has a deadline, so there is always a next report.
    fn next_before(
        &mut self,
        end: Option<Instant>,
        phase: &str,
    ) -> anyhow::Result<Option<(u32, Report)>> {
        let left = end.map(|end| end.saturating_duration_since(self.clock.now()));
        match self
            .reports
            .recv_timeout(left.map_or(BLINK, |left| left.min(BLINK)))
        {
            Ok((_, Report::Failed(error))) => Err(error.into()),
            Ok(report) => Ok(Some(report)),
            Err(RecvTimeoutError::Timeout) => {
                self.bar.show(phase, &self.progress);
                if self.threads.iter().flatten().any(JoinHandle::is_finished) {
                    // It may have said why in the meantime.
                    return match self.reports.try_recv() {
                        Ok((_, Report::Failed(error))) => Err(error.into()),
                        Ok(report) => Ok(Some(report)),
                        Err(_) => Err(anyhow!("a worker has panicked")),
                    };
                }
                Ok(None)
            }
            Err(RecvTimeoutError::Disconnected) => Err(anyhow!("a worker has panicked")),
        }
    }
}

/// The first connection of a worker, and how many it has.
pub(crate) fn share_of(common: &Common, worker: u32) -> (u32, u32) {
    let (each, more) = (
        common.connections / common.threads,
        common.connections % common.threads,
    );
    (
        worker * each + worker.min(more),
        each + u32::from(worker < more),
    )
}
