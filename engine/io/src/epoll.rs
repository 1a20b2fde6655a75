//! The driver on epoll: edge-triggered, each socket armed once for its whole life.
//!
//! Costs of one small message, in and out: one `epoll_wait` for the whole turn, one `recv`,
//! one `send`. An idle socket costs one entry of 16 bytes here, and no buffer: what is
//! received lies in one scratch of the driver's.
//!
//! ```text
//!  epoll_wait ─▶ events ─┬─ EPOLLOUT and a batch is under way ─▶ writev the rest ─▶ Sent
//!                        └─ EPOLLIN, HUP, ERR ─▶ recv ─▶ Received / Filled / Ended / Gone
//!  the buffer came back full ─▶ `again`: received from in the next turn, without an event
//! ```
//!
//! A `recv` that returns less than was asked for has emptied the socket (epoll(7)), so the
//! next edge is certain and no second `recv` is needed to see `EAGAIN`.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use crate::driver::Handle;
use crate::waker::Ring;
use crate::{Completion, Driver, Listener, Op, Socket, Submitted, Timeout, Waker};

mod accept;
mod alarm;
mod receive;
mod send;

use crate::link::{Entry, Flags};
use alarm::Alarm;

/// One scratch for each driver, so that a quiet connection holds no buffer.
pub const SCRATCH_SIZE: usize = 64 * 1024;

/// How many events one turn takes from the kernel.
const EVENTS_MAX: usize = 256;

/// How many sockets without a new edge one turn receives from: those that may hold more, and those
/// whose stream has an end. When a crowd leaves at once, the others wait no longer than this takes.
const AGAINS_MAX: usize = 64;

/// The same while the kernel has more events than one turn takes, among which are those of the
/// others: it hands them out in the order in which they came.
const AGAINS_MAX_CROWDED: usize = 8;

/// How many peers one turn accepts, so that a storm of connects does not starve the others.
const ACCEPTS_MAX: usize = 64;

/// The stream has an end, or has broken.
const ENDING: EventFlags = EventFlags::RDHUP
    .union(EventFlags::HUP)
    .union(EventFlags::ERR);

/// The event of the listener; sockets have 32-bit numbers.
const TOKEN_LISTENER: u64 = u64::MAX;
/// The event of the doorbell.
const TOKEN_WAKER: u64 = u64::MAX - 1;
/// The event of the alarm.
const TOKEN_ALARM: u64 = u64::MAX - 2;

/// A [`Driver`] on epoll.
pub struct EpollDriver {
    epoll: OwnedFd,
    bell: Doorbell,
    alarm: Alarm,
    listener: Option<Listener>,
    /// Accept in this turn: so many more.
    accepts_left: usize,
    /// By socket number.
    entries: Vec<Entry>,
    scratch: Box<[u8]>,
    events: Vec<epoll::Event>,
    /// Invariant: `event_index <= events.len()`; those before it have been dealt with.
    event_index: usize,
    /// Sockets that may hold more bytes, and give no new edge for them.
    again: VecDeque<Socket>,
    /// How many of `again` belong to this turn.
    again_left: usize,
    /// Completions that are known already, such as a send that failed at once.
    known: VecDeque<Completion<'static>>,
}

/// A completion whose bytes, if any, still lie in the scratch.
enum Step {
    Received(Socket, usize),
    Other(Completion<'static>),
}

/// What ends a driver's wait. A clone is the same bell.
///
/// It can be made before its driver, on another thread: one whose driver lives on a thread
/// with a table of descriptors of its own ([`crate::files::own_table`]) must have been.
#[derive(Debug, Clone)]
pub struct Doorbell(Arc<OwnedFd>);

impl Doorbell {
    /// A bell that nobody hears yet.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(bell)))
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Ring for Doorbell {
    fn ring(&self) {
        // The counter can only overflow after 2^64 rings, and a full counter rings as well.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl EpollDriver {
    /// A driver with this listener, or with none for a driver that only connects.
    ///
    /// Peers are accepted after the first [`Op::Listen`].
    ///
    /// # Errors
    /// When the process has no descriptors left for the epoll instance and the doorbell.
    pub fn new(listener: Option<Listener>) -> io::Result<Self> {
        Self::with_bell(listener, Doorbell::new()?)
    }

    /// As [`Self::new`], with a bell that is there already.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_bell(listener: Option<Listener>, bell: Doorbell) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // Edge-triggered: each ring is an edge, so no counter ever has to be read.
        let edge = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &bell, EventData::new_u64(TOKEN_WAKER), edge)?;
        let alarm = Alarm::new()?;
        epoll::add(&epoll, &alarm.fd, EventData::new_u64(TOKEN_ALARM), edge)?;
        if let Some(listener) = &listener {
            let data = EventData::new_u64(TOKEN_LISTENER);
            epoll::add(&epoll, &listener.fd, data, EventFlags::empty())?;
        }
        Ok(Self {
            epoll,
            bell,
            alarm,
            listener,
            accepts_left: 0,
            entries: Vec::new(),
            scratch: vec![0; SCRATCH_SIZE].into_boxed_slice(),
            events: Vec::with_capacity(EVENTS_MAX),
            event_index: 0,
            again: VecDeque::new(),
            again_left: 0,
            known: VecDeque::new(),
        })
    }

    /// Makes room for so many sockets. Memory that is never touched is never resident.
    pub fn reserve(&mut self, socket_count: usize) {
        self.entries
            .reserve_exact(socket_count.saturating_sub(self.entries.len()));
    }

    fn entry(&mut self, socket: Socket) -> &mut Entry {
        &mut self.entries[socket.0 as usize]
    }

    /// Puts a descriptor under its number and arms it, once, for everything.
    fn arm(&mut self, socket: Socket, fd: OwnedFd, flags: Flags) {
        let index = socket.0 as usize;
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, Entry::default);
        }
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(u64::from(socket.0));
        let added = epoll::add(&self.epoll, &fd, data, interest);
        self.entries[index].fill(fd, flags);
        if let Err(error) = added {
            // ENOSPC: fs.epoll.max_user_watches. The peer cannot be served.
            self.lose(socket, error);
        }
    }

    /// Reports the peer as gone, once.
    fn lose(&mut self, socket: Socket, error: Errno) {
        if let Some(completion) = self.gone(socket, error) {
            self.known.push_back(completion);
        }
    }

    fn gone(&mut self, socket: Socket, error: Errno) -> Option<Completion<'static>> {
        let entry = self.entry(socket);
        if entry.flags.has(Flags::GONE) {
            return None;
        }
        entry.flags.insert(Flags::GONE);
        entry.extra = None;
        Some(Completion::Gone {
            socket,
            error: error.into(),
        })
    }

    fn connect(&mut self, socket: Socket, to: SocketAddr, from: Option<SocketAddr>) {
        match crate::stream::connect(to, from) {
            Ok(fd) => self.arm(socket, fd, Flags::CONNECTING),
            Err(error) => {
                let index = socket.0 as usize;
                if index >= self.entries.len() {
                    self.entries.resize_with(index + 1, Entry::default);
                }
                self.entries[index].flags = Flags::GONE;
                self.known.push_back(Completion::Gone { socket, error });
            }
        }
    }

    fn close(&mut self, socket: Socket, reset: bool) {
        let entry = self.entry(socket);
        if reset && let Some(fd) = &entry.fd {
            // A failure leaves an ordinary close, which is all that can be done.
            let _ = rustix::net::sockopt::set_socket_linger(fd, Some(Duration::ZERO));
        }
        // The number may be used again at once, and what is known of this peer must not be
        // taken for news of the next.
        let token = u64::from(socket.0);
        for event in self.events.iter_mut().skip(self.event_index) {
            if event.data.u64() == token {
                event.flags = EventFlags::empty();
            }
        }
        // `again` may still hold it; the next one then gets a receive too many, which finds
        // nothing.
        self.entry(socket).clear();
        self.known
            .retain(|completion| completion.socket() != Some(socket));
    }

    /// Whatever is not a send.
    #[inline(never)]
    fn submit_other(&mut self, op: Op<'_>) -> Submitted {
        match op {
            Op::Listen => self.listen(true),
            Op::Deafen => self.deafen(),
            Op::Open { socket, peer } => match peer.handle {
                Handle::Fd(fd) => self.arm(socket, fd, Flags::empty()),
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
                self.receive_into(socket, buffer, size);
                return Submitted::Pending;
            }
            Op::Pause { socket } => self.entry(socket).flags.insert(Flags::PAUSED),
            Op::Resume { socket } => self.resume(socket),
            Op::Shutdown { socket } => self.entry(socket).shutdown(),
            Op::Close { socket, reset } => self.close(socket, reset),
        }
        Submitted::Done
    }
}

impl Driver for EpollDriver {
    #[inline]
    fn submit(&mut self, op: Op<'_>) -> Submitted {
        match op {
            Op::Send { socket, pieces } => self.send(socket, pieces),
            other => self.submit_other(other),
        }
    }

    fn wait(&mut self, timeout: Timeout) -> io::Result<()> {
        if self.event_index < self.events.len() || self.again_left > 0 {
            // The rest of the turn is still to be reaped, and its edges do not come again.
            return Ok(());
        }
        let busy = !self.known.is_empty() || !self.again.is_empty();
        let timeout = match timeout {
            _ if busy => Some(Timespec::default()),
            Timeout::Now => Some(Timespec::default()),
            Timeout::At(at) if self.alarm.is_set(at) => None,
            // What is too long for a timespec is too long for everybody.
            Timeout::At(at) => {
                let rest = self.alarm.set(at, self.now());
                rest.and_then(|rest| Timespec::try_from(rest).ok())
            }
            Timeout::Never => None,
        };
        self.events.clear();
        self.event_index = 0;
        self.accepts_left = ACCEPTS_MAX;
        // What is found to have an end in this turn has its turn in the next.
        let agains = self.again.len();
        let waited = match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        };
        let crowded = self.events.len() == EVENTS_MAX;
        let most = if crowded {
            AGAINS_MAX_CROWDED
        } else {
            AGAINS_MAX
        };
        self.again_left = agains.min(most);
        waited
    }

    #[inline]
    fn reap(&mut self) -> Option<Completion<'_>> {
        Some(match self.step()? {
            Step::Received(socket, size) => Completion::Received {
                socket,
                bytes: &mut self.scratch[..size],
            },
            Step::Other(completion) => completion,
        })
    }

    #[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.scratch.len()
            + self.events.capacity() * size_of::<epoll::Event>()
            + self.again.capacity() * size_of::<Socket>()
            + self.known.capacity() * size_of::<Completion<'static>>()
    }

    fn waker(&self) -> Waker {
        Waker::new(self.bell.clone())
    }
}

impl fmt::Debug for EpollDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpollDriver")
            .field("epoll", &self.epoll)
            .finish_non_exhaustive()
    }
}

const _: () = assert!(
    size_of::<Entry>() == 16,
    "there is one for each idle connection"
);
