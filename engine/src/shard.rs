//! A shard's life: one loop of five phases, each of which feeds only later ones.
//!
//! ```text
//!  1 wait      hand over queued operations; sleep until something completed or is due
//!  2 receive   completions → bytes → messages → Handler      (a handler can only queue)
//!  3 deliver   publications and mail → what each subscriber will be sent
//!  4 expire    deadlines that passed; connections that were lost; the drain
//!  5 flush     each connection with something to be sent: one vectored send; then the ends
//! ```
//!
//! A shard does no I/O of its own: its [`Driver`] does, and runs just as well on a simulation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_io::host::{Executor, Tasks};
use tidegate_io::{Driver, Op, Socket, Submitted, Timeout};
use tidegate_proto::CloseCode;

use crate::closed::Phase;
use crate::compression::Compressor;
use crate::connection::{Flags, NONE, Stage};
use crate::core::record::Ending;
use crate::core::secure::Secure;
use crate::core::{Core, Operation};
use crate::counters::Shared;
use crate::listing::Listing;
use crate::mailbox::{Letter, Mailbox, Post};
#[cfg(test)]
use crate::planted::Bug;
use crate::survey::Survey;
use crate::turn::RunIndex;
use crate::{Acceptor, Context, End, EndReason, Handler, Limits, RequestContext, ShardContext};
use drain::Drain;

mod accept;
#[cfg(feature = "bench")]
pub mod benched;
mod decide;
mod deliver;
mod drain;
mod expire;
mod flush;
mod receive;
mod request;
mod secure;
#[cfg(test)]
mod tests;
mod throttle;

/// With mail waiting for room in another shard's mailbox, a sleep lasts no longer.
const BACKLOG_RETRY: Duration = Duration::from_millis(1);

/// All that one core owns.
pub(crate) struct Shard<D, H: Handler> {
    pub(crate) driver: D,
    pub(crate) handler: H,
    pub(crate) core: Core<H>,
    mailbox: Mailbox<H::Note>,
    /// There was mail before the wait, or it came during it, and it has not all been taken.
    has_mail: bool,
    /// When to try accepting again, if the kernel could not.
    listen_at: Option<Instant>,
    /// When to look for unused compression contexts, if there are any.
    sweep_at: Instant,
    drain: Option<Drain>,
    /// Subscribers that a publication finds with a batch under way, and the run for each; empty
    /// between two runs.
    behind: Vec<(u32, RunIndex)>,
    /// What is being added up for whoever asked.
    pub(crate) surveys: Vec<Survey>,
    /// What is being listed for whoever asked.
    pub(crate) listings: Vec<Listing>,
    stopped: bool,
}

/// What a shard is made of.
pub(crate) struct Parts<H: Handler> {
    pub(crate) index: usize,
    pub(crate) limits: Limits,
    pub(crate) compressor: Compressor,
    /// Runs the tasks.
    pub(crate) executor: Executor,
    pub(crate) mailbox: Mailbox<H::Note>,
    pub(crate) post: Post<H::Note>,
    pub(crate) shared: Arc<Shared>,
    /// Keeps clients from choosing topic names that collide.
    pub(crate) seed: u64,
}

impl<D: Driver, H: Handler> Shard<D, H> {
    pub(crate) fn new(driver: D, handler: H, parts: Parts<H>) -> Self {
        let Parts {
            index,
            limits,
            compressor,
            executor,
            mailbox,
            post,
            shared,
            seed,
        } = parts;
        let now = driver.now();
        let tasks = Tasks::new(executor, limits.tasks_max, mailbox.waker(), now);
        let core = Core::new(index, limits, post, tasks, compressor, shared, seed);
        let sweep_at = now;
        let mut shard = Self {
            driver,
            handler,
            core,
            mailbox,
            has_mail: false,
            listen_at: None,
            sweep_at,
            drain: None,
            behind: Vec::new(),
            surveys: Vec::new(),
            listings: Vec::new(),
            stopped: false,
        };
        shard.handler.on_start(&mut ShardContext {
            core: &mut shard.core,
        });
        let _ = shard.driver.submit(Op::Listen);
        shard
    }

    /// Whoever calls this listener of the driver's is spoken to through a channel.
    pub(crate) fn secure(&mut self, listener: usize, acceptor: Arc<dyn Acceptor>) {
        self.core.secure = Some(Box::new(Secure::new(listener, acceptor)));
    }

    /// Turns until the shard has been stopped or has drained; between turns, tasks run.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub(crate) async fn run(&mut self) -> std::io::Result<()> {
        while self.turn()? {
            if self.core.tasks.any_woken() {
                self.run_tasks().await;
            }
        }
        Ok(())
    }

    /// Lets tasks run that have been woken: some, for a bounded time.
    async fn run_tasks(&self) {
        self.core.tasks.run(|| self.driver.now()).await;
    }

    /// One turn. `false`: it was the last.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub(crate) fn turn(&mut self) -> std::io::Result<bool> {
        let timeout = self.fall_asleep();
        self.driver.wait(timeout)?;
        Ok(self.wake_up())
    }

    /// How long nothing needs to be done. From here to [`Self::wake_up`], mail rings the bell.
    fn fall_asleep(&mut self) -> Timeout {
        self.has_mail = !self.mailbox.fall_asleep();
        // A task that is woken from now on rings the bell.
        let any_woken = self.core.tasks.any_woken();
        #[cfg(test)]
        let any_woken = any_woken && !Bug::ForgottenTask.is_planted();
        if self.has_mail || any_woken {
            Timeout::Now
        } else {
            self.timeout()
        }
    }

    /// The turn, from the end of the wait. `false`: it was the last.
    fn wake_up(&mut self) -> bool {
        self.has_mail |= self.mailbox.wake_up();
        self.core.now = self.driver.now();
        self.core.tick = self.core.timers.tick_at(self.core.now);
        self.core.tasks.expire(self.core.now);
        self.receive();
        self.deliver();
        self.expire();
        self.flush();
        self.core.topics.sweep();
        self.show_counters();
        !self.is_over()
    }

    fn timeout(&self) -> Timeout {
        let core = &self.core;
        let chores =
            !self.surveys.is_empty() || !self.listings.is_empty() || !core.decisions.is_empty();
        if core.has_work() || !core.operations.is_empty() || chores {
            return Timeout::Now;
        }
        // What cannot do anything until another shard has room waits for that.
        if !(core.notes.is_empty() && core.requests.is_empty()) && core.post.is_open() {
            return Timeout::Now;
        }
        let backlog = core.post.has_backlog().then(|| core.now + BACKLOG_RETRY);
        let drain = self.drain.as_ref().map(|drain| drain.next_due(core.now));
        let sweep = (!core.with_contexts.is_empty()).then_some(self.sweep_at);
        let sleeper = core.tasks.next_due();
        #[cfg(test)]
        let sleeper = sleeper.filter(|_| !Bug::ForgottenSleeper.is_planted());
        let mut next = core.timers.next_due();
        let wake = core.wake_at;
        #[cfg(test)]
        let wake = wake.filter(|_| !Bug::ForgottenWake.is_planted());
        for other in [backlog, self.listen_at, sweep, drain, sleeper, wake] {
            if let Some(at) = other
                && next.is_none_or(|next| at < next)
            {
                next = other;
            }
        }
        next.map_or(Timeout::Never, Timeout::At)
    }

    fn is_over(&self) -> bool {
        let drain = self.drain.as_ref();
        let settled = drain.is_some_and(|drain| drain.is_settled);
        self.stopped || (settled && self.core.connections.is_empty())
    }

    /// Submits what could not be submitted while the driver's bytes were lent.
    #[inline]
    fn run_operations(&mut self) {
        if !self.core.operations.is_empty() {
            self.run_all_operations();
        }
    }

    #[inline(never)]
    fn run_all_operations(&mut self) {
        let mut operations = std::mem::take(&mut self.core.operations);
        #[cfg(test)]
        if Bug::ForgottenResume.is_planted() {
            operations.retain(|operation| !matches!(operation, Operation::Resume { .. }));
        }
        for operation in operations.drain(..) {
            let done = match operation {
                Operation::Open { slot, peer } => self.driver.submit(Op::Open {
                    socket: Socket(slot),
                    peer,
                }),
                Operation::Pause { slot } => self.driver.submit(Op::Pause {
                    socket: Socket(slot),
                }),
                Operation::Resume { slot } => self.driver.submit(Op::Resume {
                    socket: Socket(slot),
                }),
                Operation::ReceiveInto { slot, buffer, size } => {
                    self.driver.submit(Op::ReceiveInto {
                        socket: Socket(slot),
                        buffer,
                        size,
                    })
                }
                Operation::Close { slot, reset } => {
                    let done = self.driver.submit(Op::Close {
                        socket: Socket(slot),
                        reset,
                    });
                    if done == Submitted::Done {
                        self.say_goodbye(slot);
                    }
                    continue;
                }
            };
            // Pausing, resuming and opening are done at once; the rest is answered later.
            let _ = done;
        }
        // The list keeps its capacity for the next time.
        self.core.operations = operations;
    }

    /// The conversation is over: tells the handler, and forgets the subscriptions. What is
    /// still to be sent stays queued.
    fn end(&mut self, slot: u32, reason: EndReason, code: Option<CloseCode>, errno: Option<i32>) {
        let Some(open) = self.core.connection(slot).open() else {
            return;
        };
        // A reason of ours goes before what the peer answered to it, be it a violation, whose code is not sent.
        let (reason, code) = match (open.closing, reason) {
            (Some(ours), EndReason::ClosedByPeer | EndReason::Ended) => (ours, code),
            (Some(ours), reason) if reason.is_violation() => (ours, None),
            _ => (reason, code),
        };
        // An end that we have begun has begun then.
        let (phase, since, code) = match open.closing.replace(reason) {
            Some(_) => (Phase::Closing, open.used, code.or(reason.code_sent())),
            None => (Phase::Open, self.core.tick, code),
        };
        let open = self.core.connections[slot as usize].as_open();
        let user = open.and_then(|open| self.handler.user(&open.state));
        let mut ending = Ending::new(phase, reason, code, errno);
        ending.user = user.cloned();
        ending.traffic = self.driver.traffic(Socket(slot));
        self.core.record(slot, ending);
        self.handler.on_close(
            &mut Context::new(&mut self.core, slot),
            End { reason, code },
        );
        self.core.unsubscribe_all(slot);
        let connection = self.core.connection(slot);
        connection.stage = Stage::Lingering;
        connection.heard = since;
        self.core.counted.sessions -= 1;
        #[cfg(test)]
        if Bug::CounterKept.is_planted() && reason == EndReason::Reset {
            self.core.counted.sessions += 1;
        }
        self.core.counted.closes[reason as usize] += 1;
        self.core.rare_changed = true;
    }

    /// Ends the conversation, if there is one, and gives the connection up at once.
    fn abandon(&mut self, slot: u32, reason: EndReason, reset: bool) {
        self.end(slot, reason, None, None);
        self.core.release(slot, reset);
    }

    fn show_counters(&mut self) {
        let core = &mut self.core;
        core.counted.turns += 1;
        core.counted.connections = core.connections.len() as u64;
        core.counted.topics = core.topics.len() as u64;
        core.counted.behind = core.outboxes.len() as u64;
        core.shared.store(&core.counted);
        if core.rare_changed {
            core.rare_changed = false;
            core.shared.store_rare(&core.counted);
        }
    }

    /// The connection, if it is still the one that was meant.
    fn is_current(&self, slot: u32, generation: u32) -> bool {
        self.core.is_same(slot, generation)
    }
}

impl<D, H: Handler> Drop for Shard<D, H> {
    /// The application hears of every end, this one too.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        #[cfg(test)]
        let tasks = (!Bug::KeptTasks.is_planted()).then(|| self.core.tasks.clone());
        #[cfg(not(test))]
        let tasks = Some(&self.core.tasks);
        if let Some(tasks) = tasks {
            tasks.clear();
        }
        let slots: Vec<usize> = self.core.connections.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let Ok(slot) = u32::try_from(slot) else {
                continue;
            };
            if let Some(open) = self.core.connection(slot).open() {
                open.closing = Some(EndReason::Stopped);
                let end = End {
                    reason: EndReason::Stopped,
                    code: None,
                };
                self.handler
                    .on_close(&mut Context::new(&mut self.core, slot), end);
            }
            // The slot stays: what is still said to it is said to nobody.
            self.handler
                .on_gone(&mut RequestContext::new(&mut self.core, slot));
        }
    }
}
