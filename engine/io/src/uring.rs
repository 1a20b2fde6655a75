//! The driver on io_uring: polls that stay, and one system call for a turn's requests, its
//! small batches and its wait.
//!
//! Bytes are received by plain system calls, as with epoll; the ring tells when. An idle socket
//! costs 16 bytes here and one request in the kernel (256 bytes; a receive that waits would cost
//! 864). Small batches are copied into slots, and leave together; see docs/decisions/0005 for
//! what else was measured.
//!
//! ```text
//!  submit ─▶ requests, queued ──┐                       ┌─ bytes, an end ─▶ recv ─▶ Received...
//!    │ └─▶ slots, small batches ┤                       ├─ taken from its slot ─▶ Sent
//!    └─▶ sendmsg, others        ▼                       ├─ room ─▶ sendmsg the rest ─▶ Sent
//!  wait ───────────▶ io_uring_enter ─▶ completions ─────┼─ a peer ─▶ Accepted
//!                                                       ├─ the bell, the alarm
//!                                                       └─ the last of a closed one ─▶ Closed
//! ```
//!
//! | request | of the kernel | since | without it |
//! |---|---|---|---|
//! | bytes, the bell | `POLL_ADD`, multishot, edge-triggered | 5.13 | none |
//! | room, a connect | `POLL_ADD`, once, while a batch is under way | 5.1 | none |
//! | a small batch | `SEND`, which does not wait for room | 5.6 | none; without a slot, `send` |
//! | peers | `ACCEPT`, multishot | 5.19 | none |
//! | the moment | `TIMEOUT`, moved by an update | 5.11 | none |
//! | a short wait | `IORING_ENTER_EXT_ARG` | 5.11 | none |
//! | a close | `ASYNC_CANCEL` of the socket's polls | 5.5 | none |
//! | silence of cancels that succeed | `IOSQE_CQE_SKIP_SUCCESS` | 5.17 | none |
//! | no interrupts for completions | `COOP_TASKRUN` | 5.19 | none: this is the least kernel |
//! | completions at the wait only | `SINGLE_ISSUER`, `DEFER_TASKRUN` | 6.1 | [`TaskRun::Cooperative`] |
//!
//! A request holds its socket open whatever becomes of the descriptor. So a close cancels the
//! socket's polls, is pending until the last of them has come back, and its send if there is one,
//! and only then are the descriptor closed and the number free.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::sockopt;

use crate::driver::Handle;
use crate::{
    Completion, Doorbell, Driver, Listener, Op, Socket, Submitted, Timeout, Traffic, Waker,
};

mod accept;
mod alarm;
mod receive;
mod ring;
mod send;
mod slots;
mod token;

use crate::link::Flags;
use crate::sockets::Sockets;
use alarm::Alarm;
use ring::{Event, Ring, Wait};
use token::{Kind, Token};

pub use crate::sockets::SCRATCH_SIZE;

/// How many events a turn takes at most while a crowd leaves; else, as many as one call brings.
const EVENTS_MAX: usize = 256;

/// How many peers one turn accepts, so that a storm of connects does not starve the others.
const ACCEPTS_MAX: usize = 64;

/// The stream has an end, or has broken.
const ENDING: PollFlags = PollFlags::RDHUP.union(PollFlags::HUP).union(PollFlags::ERR);

/// When the kernel does what completes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskRun {
    /// While the driver waits, and at no other time. Linux 6.1.
    Deferred,
    /// Whenever the thread is in the kernel. Linux 5.19.
    Cooperative,
}

/// How the rings are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// When the kernel does its part.
    pub task_run: TaskRun,
    /// How many requests one system call submits; more of them take several calls.
    pub submissions: u32,
    /// How many completions lie in the ring. Of more, the kernel keeps some elsewhere, and
    /// ends the requests that would complete again, which are then asked for anew.
    pub completions: u32,
}

impl Setup {
    /// The usual sizes. With 8,192 completions the kernel's table of polls, which is searched
    /// by whoever cancels one, has its largest size: 256 chains.
    #[must_use]
    pub fn new(task_run: TaskRun) -> Self {
        Self {
            task_run,
            submissions: 1024,
            completions: 8192,
        }
    }
}

/// A listener, until it is closed.
#[derive(Debug)]
struct Door {
    listener: Option<Listener>,
    /// The kernel has a request to accept.
    accepting: bool,
}

/// A [`Driver`] on io_uring. It stays on the thread that made it.
pub struct UringDriver {
    ring: Ring,
    bell: Doorbell,
    alarm: Alarm,
    doors: Vec<Door>,
    /// The caller wants to hear of peers.
    listening: bool,
    /// Each listener is to be closed when its request has ended.
    deaf: bool,
    /// Give out in this turn: so many more.
    accepts_left: usize,
    /// Peers that wait for the next turn, with the listener that each has called.
    accepted: VecDeque<(usize, OwnedFd)>,
    sockets: Sockets,
    /// The rest of this turn's.
    events: VecDeque<Event>,
    /// How many batches this turn has sent.
    sends: usize,
    /// Counts turns, from 0 again after 255.
    turn: u8,
    /// The kernel takes requests from one thread only.
    _here: PhantomData<*const ()>,
}

impl UringDriver {
    /// A driver with these listeners, or with none (`None` will do) for a driver that only connects.
    ///
    /// Peers are accepted after the first [`Op::Listen`].
    ///
    /// # Errors
    /// When the kernel has no io_uring, or none for this process (`kernel.io_uring_disabled`,
    /// a seccomp filter), or no memory or descriptors for it.
    pub fn new(listeners: impl IntoIterator<Item = Listener>) -> io::Result<Self> {
        Self::with_bell(listeners, Doorbell::new()?)
    }

    /// As [`Self::new`], with a bell that is there already.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_bell(
        listeners: impl IntoIterator<Item = Listener>,
        bell: Doorbell,
    ) -> io::Result<Self> {
        Ok(Self::with_ring(listeners, bell, Ring::newest()?))
    }

    /// Whether this kernel lets this process have such a driver.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn probe() -> io::Result<()> {
        Ring::newest()?.probe()
    }

    /// As [`Self::with_bell`], but with what an older kernel may offer, or other sizes.
    ///
    /// # Errors
    /// As [`Self::new`], or when this kernel does not offer it.
    pub fn with_setup(
        listeners: impl IntoIterator<Item = Listener>,
        bell: Doorbell,
        setup: Setup,
    ) -> io::Result<Self> {
        Ok(Self::with_ring(listeners, bell, Ring::new(setup)?))
    }

    fn with_ring(
        listeners: impl IntoIterator<Item = Listener>,
        bell: Doorbell,
        ring: Ring,
    ) -> Self {
        let door = |listener| Door {
            listener: Some(listener),
            accepting: false,
        };
        let mut driver = Self {
            ring,
            bell,
            alarm: Alarm::default(),
            doors: listeners.into_iter().map(door).collect(),
            listening: false,
            deaf: false,
            accepts_left: 0,
            accepted: VecDeque::new(),
            sockets: Sockets::new(),
            events: VecDeque::new(),
            sends: 0,
            turn: 0,
            _here: PhantomData,
        };
        driver.arm_bell();
        driver
    }

    /// Makes room for so many sockets. Memory that is never touched is never resident.
    pub fn reserve(&mut self, socket_count: usize) {
        self.sockets.reserve(socket_count);
    }

    /// Each ring is an edge, so no counter ever has to be read.
    fn arm_bell(&mut self) {
        let token = Token::own(Kind::Bell);
        self.ring
            .poll(self.bell.as_fd(), PollFlags::IN, true, token);
    }

    /// The ring was full, and the kernel gave up. Called before the wait has ended: whatever
    /// was rung by then is answered by that end, and a new poll would tell of it once more.
    #[cold]
    fn arm_bell_again(&mut self) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        self.arm_bell();
    }

    /// Asks to be told of bytes, and of ends, from now on.
    fn arm_readable(&mut self, socket: Socket) {
        let interest = PollFlags::IN | PollFlags::RDHUP;
        self.arm(socket, interest, Kind::Readable, Flags::READABLE);
    }

    /// Asks to be told of room, once.
    fn arm_writable(&mut self, socket: Socket) {
        self.arm(socket, PollFlags::OUT, Kind::Writable, Flags::WRITABLE);
    }

    fn arm(&mut self, socket: Socket, interest: PollFlags, kind: Kind, flag: Flags) {
        let entry = self.sockets.entry(socket);
        let Some(fd) = &entry.fd else { return };
        if !entry.flags.has(flag) {
            entry.flags.insert(flag);
            let token = Token::of(kind, socket, entry.generation);
            let multi = kind == Kind::Readable;
            self.ring.poll(fd.as_fd(), interest, multi, token);
        }
    }

    fn open(&mut self, socket: Socket, fd: OwnedFd) {
        self.sockets.make_room(socket).fill(fd, Flags::empty());
        self.arm_readable(socket);
    }

    fn connect(&mut self, socket: Socket, to: SocketAddr, from: Option<SocketAddr>) {
        match crate::stream::connect(to, from) {
            Ok(fd) => {
                self.sockets.make_room(socket).fill(fd, Flags::CONNECTING);
                self.arm_writable(socket);
            }
            Err(error) => {
                self.sockets.make_room(socket).flags.insert(Flags::GONE);
                self.sockets.say(Completion::Gone { socket, error });
            }
        }
    }

    fn close(&mut self, socket: Socket, reset: bool) -> Submitted {
        self.sockets.forget(socket);
        let entry = self.sockets.entry(socket);
        if reset && let Some(fd) = &entry.fd {
            // A failure leaves an ordinary close, which is all that can be done.
            let _ = sockopt::set_socket_linger(fd, Some(Duration::ZERO));
        }
        entry.extra = None;
        for (kind, flag) in [
            (Kind::Readable, Flags::READABLE),
            (Kind::Writable, Flags::WRITABLE),
        ] {
            if entry.flags.has(flag) {
                self.ring.cancel(Token::of(kind, socket, entry.generation));
            }
        }
        if entry.flags.is_under_way() {
            entry.flags.insert(Flags::CLOSING);
            return Submitted::Pending;
        }
        entry.clear();
        Submitted::Done
    }

    /// Is this the news of a socket that was given up?
    fn is_closing(&mut self, socket: Socket, event: &Event) -> bool {
        let entry = self.sockets.entry(socket);
        assert_eq!(
            entry.generation,
            event.token.generation(),
            "a number was used again before its time"
        );
        entry.flags.has(Flags::CLOSING)
    }

    /// A request of a socket that was given up has come back: was it the last?
    fn closed(&mut self, socket: Socket) -> Option<Completion<'static>> {
        let entry = self.sockets.entry(socket);
        if entry.flags.is_under_way() {
            return None;
        }
        entry.clear();
        Some(Completion::Closed { socket })
    }

    /// Whatever is not a send.
    #[inline(never)]
    fn submit_other(&mut self, op: Op<'_>) -> Submitted {
        match op {
            Op::Listen => self.listen(),
            Op::Deafen => self.deafen(),
            Op::Hush => self.hush(),
            Op::HandOn => self.hand_on(),
            Op::Open { socket, peer } => match peer.handle {
                Handle::Fd(fd) => self.open(socket, fd),
                Handle::Sim(_) => unreachable!("a simulated peer stays in its simulation"),
            },
            Op::Connect { socket, to, from } => {
                self.connect(socket, to, from);
                return Submitted::Pending;
            }
            Op::Send { .. } => unreachable!("it is never given to this"),
            Op::ReceiveInto {
                socket,
                buffer,
                size,
            } => {
                self.sockets.receive_into(socket, buffer, size);
                return Submitted::Pending;
            }
            Op::Pause { socket } => self.sockets.pause(socket),
            Op::Resume { socket } => self.sockets.resume(socket),
            Op::Shutdown { socket } => self.sockets.entry(socket).shutdown(),
            Op::Close { socket, reset } => return self.close(socket, reset),
        }
        Submitted::Done
    }
}

impl Driver for UringDriver {
    #[inline]
    fn submit(&mut self, op: Op<'_>) -> Submitted {
        match op {
            Op::Send { socket, pieces } => self.send(socket, pieces),
            other => self.submit_other(other),
        }
    }

    fn wait(&mut self, timeout: Timeout) -> io::Result<()> {
        if !self.events.is_empty() || self.sockets.is_in_turn() {
            // The rest of the turn is still to be reaped.
            return Ok(());
        }
        let busy = self.sockets.is_busy() || !self.accepted.is_empty();
        let wait = match timeout {
            _ if busy => Wait::Not,
            Timeout::Now => Wait::Not,
            Timeout::At(at) => {
                let now = self.now();
                self.alarm.set(at, now, &mut self.ring)
            }
            Timeout::Never => Wait::Forever,
        };
        self.turn = self.turn.wrapping_add(1);
        self.sends = 0;
        self.accepts_left = ACCEPTS_MAX;
        self.ring.enter(wait)?;
        self.ring.take(&mut self.events);
        // The kernel hands out events in the order in which they came, a few with each call. While a
        // crowd leaves, those of the others are among the many that it still has.
        while self.ring.is_crowded() && self.sockets.is_crowded() && self.events.len() < EVENTS_MAX
        {
            self.ring.enter(Wait::Not)?;
            if self.ring.take(&mut self.events) == 0 {
                break;
            }
        }
        self.sockets.begin_turn(self.ring.is_crowded());
        let ends = |event: &Event| !event.has_more() && event.token.kind() == Kind::Bell;
        if self.events.iter().any(ends) {
            self.arm_bell_again();
        }
        Ok(())
    }

    #[inline]
    fn reap(&mut self) -> Option<Completion<'_>> {
        let step = self.step()?;
        Some(self.sockets.lend(step))
    }

    #[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn traffic(&self, socket: Socket) -> Option<Traffic> {
        self.sockets.traffic(socket)
    }

    fn memory(&self) -> usize {
        self.sockets.memory() + self.ring.memory() + self.events.capacity() * size_of::<Event>()
    }

    fn waker(&self) -> Waker {
        Waker::new(self.bell.clone())
    }
}

impl Drop for UringDriver {
    /// Requests keep sockets open until the kernel has put the ring away, which it does in
    /// its own time. So they are cancelled first, and the port is free at once.
    fn drop(&mut self) {
        for listener in self.doors.iter().filter_map(|door| door.listener.as_ref()) {
            listener.shut();
        }
        self.ring.cancel_all(&mut self.events);
        for event in self.events.drain(..) {
            if event.token.kind() == Kind::Accept {
                drop(event.into_accepted());
            }
        }
    }
}

impl fmt::Debug for UringDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringDriver").finish_non_exhaustive()
    }
}
