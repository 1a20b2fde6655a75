//! A whole run: leads the workers from phase to phase, and takes the readings of the server's
//! process between the phases.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use tidegate_io::epoll::EpollDriver;
use tidegate_io::{Driver, Waker};

use crate::crew::{self, Threads};
use crate::load::Load;
use crate::options::Common;
use crate::process::Process;
use crate::processes::Processes;
use crate::progress::{Bar, Progress};
use crate::tally::{Connections, Messages, Window};
use crate::wire::Epoch;
use crate::worker::{Command, Place, Report};

/// How long the traffic is, and what comes before it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plan {
    /// Before counting begins.
    pub(crate) warmup: Duration,
    /// `None` where a number of messages decides.
    pub(crate) counted: Option<Duration>,
    /// The load has something to do before the traffic.
    pub(crate) prepare: bool,
    /// A line tells when the traffic begins.
    pub(crate) announce: bool,
    /// The traffic may end before its time.
    pub(crate) may_end_early: bool,
}

/// What a run has found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) connections: Connections,
    pub(crate) messages: Messages,
    /// From the first connect to the last 101.
    pub(crate) connecting: Duration,
    /// How long what comes before the traffic took.
    pub(crate) preparing: Duration,
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

/// How often the line on the terminal changes.
const BLINK: Duration = Duration::from_millis(100);
/// How long a server may take to come to rest before its memory is read.
const SETTLE: Duration = Duration::from_millis(200);
/// Closing goes on for the drain's time, and a second for so many connections.
const CLOSES_PER_SECOND: u32 = 10_000;

/// Leads a run from its first connect to its last close.
pub(crate) fn run(
    common: &Common,
    plan: Plan,
    make: &dyn Fn(&Place) -> Box<dyn Load>,
    know_wakers: impl FnOnce(Vec<Waker>),
) -> anyhow::Result<Outcome> {
    crew::check_limit(common)?;
    let process = common.pid.map(Process::open).transpose().context("--pid")?;
    let mut run = Run::start(common, process, make)?;
    run.await_ready(know_wakers)?;
    run.connect(common)?;
    if run.open > 0 {
        run.prepare(plan)?;
        run.carry_load(plan)?;
    }
    run.close(common)?;
    Ok(run.outcome)
}

#[derive(Debug)]
enum Crew {
    Threads(Threads),
    Processes(Processes),
}

struct Run {
    clock: EpollDriver,
    bar: Bar,
    progress: Arc<Progress>,
    crew: Crew,
    /// How many there are in all processes.
    workers: u32,
    reports: Receiver<(u32, Report)>,
    process: Option<Process>,
    open: u32,
    outcome: Outcome,
}

impl Run {
    fn start(
        common: &Common,
        process: Option<Process>,
        make: &dyn Fn(&Place) -> Box<dyn Load>,
    ) -> anyhow::Result<Self> {
        let (sender, reports) = mpsc::channel();
        let workers = crew::worker_count(common);
        let progress = Arc::new(Progress::new(workers));
        let clock = EpollDriver::new(None)?;
        let crew = if common.processes > 1 {
            let epoch = Epoch::read(&clock);
            Crew::Processes(Processes::start(common, epoch, &progress, &sender)?)
        } else {
            Crew::Threads(Threads::start(common, 0, &progress, &sender, make)?)
        };
        let bar = Bar::new(u64::from(common.connections));
        Ok(Self {
            clock,
            bar,
            progress,
            crew,
            workers,
            reports,
            process,
            open: 0,
            outcome: Outcome::default(),
        })
    }

    fn await_ready(&mut self, know_wakers: impl FnOnce(Vec<Waker>)) -> anyhow::Result<()> {
        if let Crew::Threads(threads) = &mut self.crew {
            know_wakers(threads.await_ready(&self.reports)?);
            return Ok(());
        }
        for _ in 0..self.workers {
            let (index, report) = self.next("starting")?;
            let Report::Ready(_) = report else {
                bail!("worker {index} is out of step")
            };
        }
        Ok(())
    }

    /// Opens the connections; with a process to watch, in two steps with a reading each.
    fn connect(&mut self, common: &Common) -> anyhow::Result<()> {
        let mut server = Server::default();
        if let Some(process) = self.process {
            server.rss_before = process.rss()?;
            if common.connections >= 10 * self.workers {
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
        for _ in 0..self.workers {
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

    fn prepare(&mut self, plan: Plan) -> anyhow::Result<()> {
        if plan.prepare {
            let start = self.clock.now();
            self.command(Command::Prepare { start });
            self.await_finished("verifying", &mut 0)?;
            self.outcome.preparing = self.clock.now() - start;
        }
        Ok(())
    }

    fn carry_load(&mut self, plan: Plan) -> anyhow::Result<()> {
        let start = self.clock.now();
        let from = start + plan.warmup;
        let until = plan.counted.map(|counted| from + counted);
        self.command(Command::Run(Window { start, from, until }));
        if plan.announce {
            // That stderr is closed cannot be told to anybody.
            let _ = writeln!(io::stderr(), "ready: {} connections are open", self.open);
        }
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
        if plan.may_end_early {
            let spent = self.clock.now().saturating_duration_since(from);
            self.outcome.counted = self.outcome.counted.min(spent);
        }
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

    /// Of this program, and of the server's process unless it has ended; then its connections are
    /// lost, and the report of those matters more.
    fn cpu_times(&self) -> io::Result<(Duration, Option<Duration>)> {
        let server = self.process.and_then(|process| process.cpu_time().ok());
        let mut own = Process::myself().cpu_time()?;
        if let Crew::Processes(processes) = &self.crew {
            own += processes.cpu_time()?;
        }
        Ok((own, server))
    }

    fn close(&mut self, common: &Common) -> anyhow::Result<()> {
        let extra = Duration::from_secs(1) * common.connections / CLOSES_PER_SECOND;
        let deadline = self.clock.now() + common.drain + extra;
        self.command(Command::Close { deadline });
        for _ in 0..self.workers {
            let (index, report) = self.next("closing")?;
            let Report::Over(counts) = report else {
                bail!("worker {index} is out of step")
            };
            let (connections, messages) = *counts;
            self.outcome.connections.add(connections);
            self.outcome.messages.add(&messages);
            if let Crew::Threads(threads) = &mut self.crew {
                threads.join(index)?;
            }
        }
        if let Crew::Processes(processes) = &mut self.crew {
            processes.join()?;
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
    fn process_rss_after_close(&mut self, process: Process) -> u64 {
        // The workers are gone, so only the clock ends this.
        let settled = self.clock.now() + SETTLE;
        loop {
            let left = settled.saturating_duration_since(self.clock.now());
            if left.is_zero() {
                return process.rss().unwrap_or(0);
            }
            let _ = self.clock.wait(tidegate_io::Timeout::At(settled));
            while self.clock.reap().is_some() {}
        }
    }

    fn command(&mut self, command: Command) {
        match &mut self.crew {
            Crew::Threads(threads) => threads.command(command),
            Crew::Processes(processes) => processes.command(command),
        }
    }

    fn await_finished(&mut self, phase: &str, finished: &mut u32) -> anyhow::Result<()> {
        while *finished < self.workers {
            let (index, report) = self.next(phase)?;
            let Report::Finished = report else {
                bail!("worker {index} is out of step")
            };
            *finished += 1;
        }
        Ok(())
    }

    /// Returns at `end`, or when every worker has finished before.
    fn pause_until(&mut self, end: Instant, phase: &str, finished: &mut u32) -> anyhow::Result<()> {
        while *finished < self.workers && self.clock.now() < end {
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
                self.bar.show(phase, &self.progress, self.clock.now());
                if matches!(&self.crew, Crew::Threads(threads) if threads.has_ended()) {
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
