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

use rustix::time::{ClockId, clock_gettime};
use tidegate_io::epoll::{Doorbell, EpollDriver};
use tidegate_io::{Driver, Timeout, Waker};

use crate::client::{Client, Next};
use crate::crew::worker_count;
use crate::load::{Load, Orders};
use crate::options::{Common, Sources};
use crate::progress::Progress;
use crate::tally::{Connections, Messages, Window, count_cause};
use crate::tls::Tls;

/// What a worker is told to do. It answers each with one [`Report`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command {
    /// Connect until this many per mille of its connections have been tried.
    Connect { permille: u32, deadline: Instant },
    /// Do what comes before the traffic.
    Prepare { start: Instant },
    /// Carry the load.
    Run(Window),
    /// Close every connection and end.
    Close { deadline: Instant },
}

/// What a worker has to say.
#[derive(Debug)]
pub(crate) enum Report {
    /// It is there, and is woken by this, unless it is in another process.
    Ready(Option<Waker>),
    /// The connects have ended; so many connections are open.
    Connected { open: u32 },
    /// What came before the traffic, or the load, has ended.
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
    pub(crate) sources: Sources,
    pub(crate) tls: Option<Tls>,
    pub(crate) common: Arc<Common>,
    pub(crate) progress: Arc<Progress>,
}

/// One thread of the client.
#[derive(Debug)]
pub(crate) struct Worker {
    place: Place,
    driver: EpollDriver,
    client: Client,
    phase: Phase,
    /// Those before it have been tried.
    next_index: u32,
    orders: Orders,
    cpu: CpuWatch,
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
pub(crate) fn run(
    place: Place,
    load: Box<dyn Load>,
    bell: Doorbell,
    commands: Receiver<Command>,
    reports: Sender<(u32, Report)>,
) {
    let index = place.index;
    let outcome = Worker::new(place, load, bell, commands, reports.clone()).and_then(Worker::work);
    let report = match outcome {
        Ok(counts) => Report::Over(Box::new(counts)),
        Err(error) => Report::Failed(error),
    };
    // Nobody listens only if the whole run has been given up.
    let _ = reports.send((index, report));
}

impl Worker {
    fn new(
        place: Place,
        load: Box<dyn Load>,
        bell: Doorbell,
        commands: Receiver<Command>,
        reports: Sender<(u32, Report)>,
    ) -> io::Result<Self> {
        let mut driver = EpollDriver::with_bell(None, bell)?;
        driver.reserve(place.count as usize);
        let client = Client::new(&place, load);
        let phase = Phase::Resting;
        Ok(Self {
            place,
            driver,
            client,
            phase,
            next_index: 0,
            orders: Orders::default(),
            cpu: CpuWatch::default(),
            commands,
            reports,
        })
    }

    fn work(mut self) -> io::Result<(Connections, Messages)> {
        // By default the kernel may wake a sleeper 50 us late, which an open loop would
        // count as latency. Without the right to change that, it does.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        self.report(Report::Ready(Some(self.driver.waker())));
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
        let mut counts = self.client.counts;
        counts.busiest = self.cpu.share;
        Ok((counts, self.client.load.into_messages()))
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
            Command::Prepare { start } => {
                let window = Window {
                    start,
                    from: start,
                    until: None,
                };
                self.client.load.prepare(start, &self.client.open_indices());
                Phase::Running {
                    window,
                    active_at: now,
                    give_up_at: None,
                }
            }
            Command::Run(window) => {
                let open = self.client.open_indices();
                self.client.opening = false;
                self.cpu = CpuWatch::default();
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
        let workers = worker_count(&self.place.common);
        let outstanding_max = self.place.common.outstanding.div_ceil(workers);
        while self.next_index < end && self.client.dialing < outstanding_max {
            let ramp = self.place.common.ramp;
            if ramp > 0 {
                let before = f64::from(self.next_index - since_index);
                let rate = f64::from(ramp) / f64::from(workers);
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
        let mut next = self.client.load.tick(now, &mut self.orders);
        let again = self.carry_out_orders();
        let drain = self.place.common.drain;
        let Phase::Running {
            window,
            active_at,
            give_up_at,
        } = &mut self.phase
        else {
            return Look::At(None);
        };
        self.cpu.look(*window, now);
        if std::mem::take(&mut self.client.active) {
            *active_at = now;
        }
        let mut finished = !again && self.client.load.is_over(self.client.open);
        let past = window.is_past(now);
        if window.until.is_none() || past {
            // Without an end, silence ends it; with one, so does a trickle.
            let trickle = now + drain.saturating_mul(DRAINS_MAX);
            let cap = *give_up_at.get_or_insert(trickle);
            let silence = *active_at + drain;
            let limit = if past { silence.min(cap) } else { silence };
            let done = !again && self.client.load.outstanding() == 0;
            finished |= now >= limit || done;
            next = earlier(next, limit);
        } else if let Some(until) = window.until {
            let mark = if now < window.from {
                window.from
            } else {
                until
            };
            next = earlier(next, mark);
        }
        if !finished {
            return Look::At(if again { Some(now) } else { next });
        }
        self.cpu.end(now);
        self.client.load.end();
        self.phase = Phase::Resting;
        self.report(Report::Finished);
        Look::At(None)
    }

    /// Does what the load wants; tells whether that may have changed what it wants next.
    fn carry_out_orders(&mut self) -> bool {
        let (client, driver) = (&mut self.client, &mut self.driver);
        let orders = &mut self.orders;
        for index in orders.pause.drain(..) {
            client.pause(index, driver);
        }
        while let Some(index) = orders.ready.pop() {
            client.attend(index, driver);
        }
        for index in orders.dial.drain(..) {
            client.dial(index, driver);
        }
        for index in orders.close.drain(..) {
            client.close(index, false, driver);
        }
        let again = !orders.reset.is_empty();
        for index in orders.reset.drain(..) {
            client.close(index, true, driver);
        }
        again
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

fn earlier(one: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// How busy this thread is while it is counted.
#[derive(Debug, Default)]
struct CpuWatch {
    /// When counting began, and the thread's CPU time at that moment.
    from: Option<(Instant, Duration)>,
    /// CPU time by wall-clock time, once counting has ended.
    share: f64,
    ended: bool,
}

/// A shorter time says nothing about how busy a thread is.
const WATCH_MIN: Duration = Duration::from_millis(100);

impl CpuWatch {
    fn look(&mut self, window: Window, now: Instant) {
        if self.from.is_none() && now >= window.from {
            self.from = Some((now, thread_cpu_time()));
        }
        if window.is_past(now) {
            self.end(now);
        }
    }

    fn end(&mut self, now: Instant) {
        if let Some((from, cpu)) = self.from
            && !std::mem::replace(&mut self.ended, true)
            && now - from >= WATCH_MIN
        {
            let used = thread_cpu_time().saturating_sub(cpu);
            self.share = used.as_secs_f64() / (now - from).as_secs_f64();
        }
    }
}

fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
