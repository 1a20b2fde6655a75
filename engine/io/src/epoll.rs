//! The driver on epoll: edge-triggered, each socket armed once for its whole life.
//!
//! Costs of one small message, in and out: one `epoll_wait` for the whole turn, one `recv`,
//! one `send`. An idle socket costs one entry of 16 bytes here, and no buffer: what is
//! received lies in one scratch of the driver's.
//!
//! ```text
//!  epoll_wait ─▶ events ─┬─ EPOLLOUT and a batch is under way ─▶ writev the rest ─▶ Sent
//!                        └─ EPOLLIN, HUP, ERR ─▶ recv ─▶ Received / Filled / Ended / Gone
//!  the buffer came back full ─▶ received from in a later turn, without an event
//! ```

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
use crate::{Completion, Driver, Listener, Op, Socket, Submitted, Timeout, Traffic, Waker};

mod accept;
mod alarm;
mod receive;
mod send;

use crate::link::Flags;
use crate::sockets::Sockets;
use alarm::Alarm;

pub use crate::sockets::SCRATCH_SIZE;

/// How many events one turn takes from the kernel.
const EVENTS_MAX: usize = 256;

/// How many peers one turn accepts from each listener, so that a storm of connects does not
/// starve the others.
const ACCEPTS_MAX: usize = 64;

/// The stream has an end, or has broken.
const ENDING: EventFlags = EventFlags::RDHUP
    .union(EventFlags::HUP)
    .union(EventFlags::ERR);

/// The event of the first listener, behind which the others follow; sockets have 32-bit numbers.
const TOKEN_LISTENER: u64 = 1 << 32;
/// The event of the doorbell.
const TOKEN_WAKER: u64 = u64::MAX - 1;
/// The event of the alarm.
const TOKEN_ALARM: u64 = u64::MAX - 2;

/// A [`Driver`] on epoll.
pub struct EpollDriver {
    epoll: OwnedFd,
    bell: Doorbell,
    alarm: Alarm,
    doors: Vec<Door>,
    sockets: Sockets,
    events: Vec<epoll::Event>,
    /// Invariant: `event_index <= events.len()`; those before it have been dealt with.
    event_index: usize,
}

/// A listener, and how many more it may accept in this turn.
#[derive(Debug)]
struct Door {
    listener: Listener,
    accepts_left: usize,
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
    /// A driver with these listeners, or with none (`None` will do) for a driver that only connects.
    ///
    /// Peers are accepted after the first [`Op::Listen`].
    ///
    /// # Errors
    /// When the process has no descriptors left for the epoll instance and the doorbell.
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
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        // Edge-triggered: each ring is an edge, so no counter ever has to be read.
        let edge = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &bell, EventData::new_u64(TOKEN_WAKER), edge)?;
        let alarm = Alarm::new()?;
        epoll::add(&epoll, &alarm.fd, EventData::new_u64(TOKEN_ALARM), edge)?;
        let door = |listener| Door {
            listener,
            accepts_left: 0,
        };
        let doors: Vec<Door> = listeners.into_iter().map(door).collect();
        for (index, door) in doors.iter().enumerate() {
            // One that other shards accept from as well is registered while it is listened to.
            if door.listener.is_crowded {
                continue;
            }
            let data = token_of_listener(index);
            epoll::add(&epoll, &door.listener.fd, data, EventFlags::empty())?;
        }
        Ok(Self {
            epoll,
            bell,
            alarm,
            doors,
            sockets: Sockets::new(),
            events: Vec::with_capacity(EVENTS_MAX),
            event_index: 0,
        })
    }

    /// Makes room for so many sockets. Memory that is never touched is never resident.
    pub fn reserve(&mut self, socket_count: usize) {
        self.sockets.reserve(socket_count);
    }

    /// Puts a descriptor under its number and arms it, once, for everything.
    fn arm(&mut self, socket: Socket, fd: OwnedFd, flags: Flags) {
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(u64::from(socket.0));
        let added = epoll::add(&self.epoll, &fd, data, interest);
        self.sockets.make_room(socket).fill(fd, flags);
        if let Err(error) = added {
            // ENOSPC: fs.epoll.max_user_watches. The peer cannot be served.
            self.sockets.lose(socket, error);
        }
    }

    fn connect(&mut self, socket: Socket, to: SocketAddr, from: Option<SocketAddr>) {
        match crate::stream::connect(to, from) {
            Ok(fd) => self.arm(socket, fd, Flags::CONNECTING),
            Err(error) => {
                self.sockets.make_room(socket).flags.insert(Flags::GONE);
                self.sockets.say(Completion::Gone { socket, error });
            }
        }
    }

    fn close(&mut self, socket: Socket, reset: bool) {
        let entry = self.sockets.entry(socket);
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
        // It may still be waiting to be received from again; the next one then gets a receive too
        // many, which finds nothing.
        self.sockets.entry(socket).clear();
        self.sockets.forget(socket);
    }

    /// Whatever is not a send.
    #[inline(never)]
    fn submit_other(&mut self, op: Op<'_>) -> Submitted {
        match op {
            Op::Listen => self.listen(true),
            Op::Deafen => self.deafen(),
            Op::Hush => self.hush(),
            Op::HandOn => self.hand_on(),
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
                self.sockets.receive_into(socket, buffer, size);
                return Submitted::Pending;
            }
            Op::Pause { socket } => self.sockets.pause(socket),
            Op::Resume { socket } => self.sockets.resume(socket),
            Op::Shutdown { socket } => self.sockets.entry(socket).shutdown(),
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
        if self.event_index < self.events.len() || self.sockets.is_in_turn() {
            // The rest of the turn is still to be reaped, and its edges do not come again.
            return Ok(());
        }
        let busy = self.sockets.is_busy();
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
        for door in &mut self.doors {
            door.accepts_left = ACCEPTS_MAX;
        }
        let waited = match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        };
        // What is found to have an end in this turn has its turn in the next.
        self.sockets.begin_turn(self.events.len() == EVENTS_MAX);
        waited
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
        self.sockets.memory() + self.events.capacity() * size_of::<epoll::Event>()
    }

    fn waker(&self) -> Waker {
        Waker::new(self.bell.clone())
    }
}

fn token_of_listener(index: usize) -> EventData {
    EventData::new_u64(TOKEN_LISTENER + index as u64)
}

impl fmt::Debug for EpollDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EpollDriver")
            .field("epoll", &self.epoll)
            .finish_non_exhaustive()
    }
}
