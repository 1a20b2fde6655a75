//! One thread of the client: a driver, a client, and the phase it is told to be in.
//!
//! ```text
//!   loop   wait ─▶ completions ─▶ commands ─▶ what the phase does by the clock
//! ```

use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use tidegate_io::epoll::EpollDriver;
use tidegate_io::{Driver, Timeout, Waker};

use crate::client::{Client, Next};
use crate::load::Load;
use crate::options::Common;
use crate::progress::Progress;
use crate::tally::{Connections, Messages, Window, count_cause};

/// What a worker is told to do. It answers each with one [`Report`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command {
    /// Connect until this many per mille of its connections have been tried.
    Connect { permille: u32, deadline: Instant },
    /// Carry the load.
    Run(Window),
    /// Close every connection and end.
    Close { deadline: Instant },
}

/// What a worker has to say.
#[derive(Debug)]
pub(crate) enum Report {
    /// It is there, and is woken by this.
    Ready(Waker),
    /// The connects have ended; so many connections are open.
    Connected { open: u32 },
    /// The load has ended.
    Finished,
    /// All is over.
    Over(Box<(Connections, Messages)>),
    /// The system has failed it.
    Failed(io::Error),
}

/// A worker's place among the others.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) index: u32,
    /// The number of its first connection.
    pub(crate) first: u32,
    /// How many connections it has.
    pub(crate) count: u32,
    pub(crate) common: Arc<Common>,
    pub(crate) progress: Arc<Progress>,
}

/// One thread of the client.
#[derive(Debug)]
pub(crate) struct Worker<L> {
    place: Place,
    driver: EpollDriver,
    client: Client<L>,
    phase: Phase,
    /// Those before it have been tried.
    next_index: u32,
    ready: Vec<u32>,
    commands: Receiver<Command>,
    reports: Sender<(u32, Report)>,
}

#[derive(Debug)]
enum Phase {
    Resting,
    Connecting {
        end: u32,
        since: Instant,
        since_index: u32,
        deadline: Instant,
    },
    Running {
        window: Window,
        active_at: Instant,
        give_up_at: Option<Instant>,
    },
    Closing {
        next: u32,
        deadline: Instant,
    },
}

/// When the worker has to look again.
enum Look {
    At(Option<Instant>),
    Never,
}

/// How many close frames may wait for their answer, so that no end of a run is a flood.
const CLOSING_MAX: u32 = 1024;

/// How much longer than the drain's time the drain may last while messages still come.
const DRAINS_MAX: u32 = 10;

/// Runs a worker to its end, and says what became of it.
pub(crate) fn run<L: Load>(
    place: Place,
    load: L,
    commands: Receiver<Command>,
    reports: Sender<(u32, Report)>,
) {
    let index = place.index;
    let outcome = Worker::new(place, load, commands, reports.clone()).and_then(Worker::work);
    let report = match outcome {
        Ok(counts) => Report::Over(Box::new(counts)),
        Err(error) => Report::Failed(error),
    };
    // Nobody listens only if the whole run has been given up.
    let _ = reports.send((index, report));
}

impl<L: Load> Worker<L> {
    fn new(
        place: Place,
        load: L,
        commands: Receiver<Command>,
        reports: Sender<(u32, Report)>,
    ) -> io::Result<Self> {
        let mut driver = EpollDriver::new(None)?;
        driver.reserve(place.count as usize);
        let client = Client::new(Arc::clone(&place.common), place.first, place.count, load);
        let phase = Phase::Resting;
        Ok(Self {
            place,
            driver,
            client,
            phase,
            next_index: 0,
            ready: Vec::new(),
            commands,
            reports,
        })
    }

    fn work(mut self) -> io::Result<(Connections, Messages)> {
        // By default the kernel may wake a sleeper 50 us late, which an open loop would
        // count as latency. Without the right to change that, it does.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        self.report(Report::Ready(self.driver.waker()));
        let mut look = Look::At(None);
        while let Look::At(deadline) = look {
            self.driver
                .wait(deadline.map_or(Timeout::Never, Timeout::At))?;
            self.take_completions();
            look = if self.take_commands() {
                self.step()
            } else {
                Look::Never
            };
        }
        Ok((self.client.counts, self.client.load.into_messages()))
    }

    fn report(&self, report: Report) {
        // Nobody listens only if the whole run has been given up.
        let _ = self.reports.send((self.place.index, report));
    }

    fn take_completions(&mut self) {
        loop {
            let now = self.driver.now();
            let Some(completion) = self.driver.reap() else {
                return;
            };
            match self.client.take(completion, now) {
                Next::Nothing => {}
                Next::Attend(index) => self.client.attend(index, &mut self.driver),
                Next::Drop(index) => self.client.drop_socket(index, false, &mut self.driver),
            }
        }
    }

    /// `false` if whoever gives the commands is gone.
    fn take_commands(&mut self) -> bool {
        let command = match self.commands.try_recv() {
            Ok(command) => command,
            Err(TryRecvError::Empty) => return true,
            Err(TryRecvError::Disconnected) => return false,
        };
        let now = self.driver.now();
        self.phase = match command {
            Command::Connect { permille, deadline } => {
                let end = u64::from(self.place.count) * u64::from(permille) / 1000;
                let end = u32::try_from(end).expect("not more than the count");
                let since_index = self.next_index;
                Phase::Connecting {
                    end,
                    since: now,
                    since_index,
                    deadline,
                }
            }
            Command::Run(window) => {
                let open = self.client.open_indices();
                self.client.load.begin(window, &open);
                Phase::Running {
                    window,
                    active_at: now,
                    give_up_at: None,
                }
            }
            Command::Close { deadline } => Phase::Closing { next: 0, deadline },
        };
        true
    }

    /// What the phase does by the clock.
    fn step(&mut self) -> Look {
        let now = self.driver.now();
        let progress = &self.place.progress;
        progress.update(
            self.place.index,
            &self.client.counts,
            self.client.load.received(),
        );
        match self.phase {
            Phase::Resting => Look::At(None),
            Phase::Connecting {
                end,
                since,
                since_index,
                deadline,
            } => {
                let next = self.dial(now, end, since, since_index);
                let done = self.next_index >= end && self.client.dialing == 0;
                if !done && now >= deadline {
                    self.expire(end);
                } else if !done {
                    return Look::At(Some(next.map_or(deadline, |next| next.min(deadline))));
                }
                self.phase = Phase::Resting;
                self.report(Report::Connected {
                    open: self.client.open,
                });
                Look::At(None)
            }
            Phase::Running { .. } => self.step_running(now),
            Phase::Closing { next, deadline } => self.step_closing(now, next, deadline),
        }
    }

    /// Starts as many connects as the ramp and the limit allow; tells when the next may start.
    fn dial(
        &mut self,
        now: Instant,
        end: u32,
        since: Instant,
        since_index: u32,
    ) -> Option<Instant> {
        let threads = self.place.common.threads;
        let outstanding_max = self.place.common.outstanding.div_ceil(threads);
        while self.next_index < end && self.client.dialing < outstanding_max {
            let ramp = self.place.common.ramp;
            if ramp > 0 {
                let before = f64::from(self.next_index - since_index);
                let rate = f64::from(ramp) / f64::from(threads);
                let due = since + Duration::from_secs_f64(before / rate);
                if now < due {
                    return Some(due);
                }
            }
            self.client.dial(self.next_index, &mut self.driver);
            self.next_index += 1;
        }
        None
    }

    /// The time for connecting is over.
    fn expire(&mut self, end: u32) {
        for index in 0..self.next_index {
            self.client.expire_dialing(index, &mut self.driver);
        }
        for _ in self.next_index..end {
            count_cause(&mut self.client.counts.failures, "not tried in time");
        }
        self.next_index = end;
    }

    fn step_running(&mut self, now: Instant) -> Look {
        let mut next = self.client.load.tick(now, &mut self.ready);
        while let Some(index) = self.ready.pop() {
            self.client.attend(index, &mut self.driver);
        }
        let drain = self.place.common.drain;
        let Phase::Running {
            window,
            active_at,
            give_up_at,
        } = &mut self.phase
        else {
            return Look::At(None);
        };
        if std::mem::take(&mut self.client.active) {
            *active_at = now;
        }
        let mut finished = self.client.open == 0;
        if window.until.is_none() || window.is_past(now) {
            // Without an end, silence ends it; with one, so does a trickle.
            let trickle = now + drain.saturating_mul(DRAINS_MAX);
            let cap = *give_up_at.get_or_insert(trickle);
            let silence = *active_at + drain;
            let limit = if window.until.is_some() {
                silence.min(cap)
            } else {
                silence
            };
            finished |= now >= limit || self.client.load.outstanding() == 0;
            next = Some(next.map_or(limit, |next| next.min(limit)));
        } else if let Some(until) = window.until {
            next = Some(next.map_or(until, |next| next.min(until)));
        }
        if !finished {
            return Look::At(next);
        }
        self.phase = Phase::Resting;
        self.report(Report::Finished);
        Look::At(None)
    }

    fn step_closing(&mut self, now: Instant, next: u32, deadline: Instant) -> Look {
        let abort = self.place.common.abort;
        let mut next = next;
        while next < self.next_index && self.client.closing < CLOSING_MAX {
            self.client.close(next, abort, &mut self.driver);
            next += 1;
        }
        self.phase = Phase::Closing { next, deadline };
        if next == self.next_index && self.client.closing == 0 {
            return Look::Never;
        }
        if now >= deadline {
            for index in 0..self.next_index {
                self.client.expire(index, &mut self.driver);
            }
            return Look::Never;
        }
        Look::At(Some(deadline))
    }
}
