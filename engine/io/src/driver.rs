//! The contract between a shard and its one door to the kernel.
//!
//! ```text
//!            submit(Op) ───────────────▶ Done: it has happened, nothing more will come
//!   shard ─▶                             Pending: a Completion will tell
//!            wait(timeout)               sleeps until something completed, or a bell rang
//!            reap() ───────────────────▶ Completion, one at a time, until None
//! ```
//!
//! The caller numbers its peers itself (the key of its slab), so that a completion finds its
//! connection without a second table. Rules that every driver keeps:
//!
//! 1. A socket's completions stop with the `Done` or the [`Completion::Closed`] that answers
//!    its [`Op::Close`]; only then may its number be used again. Before a `Closed`, others of
//!    the same socket may still come.
//! 2. At most one batch is under way for each socket. A driver never sends a part of a batch
//!    and forgets the rest: it is all sent, or the peer is [`Completion::Gone`].
//! 3. Bytes in [`Completion::Received`] are lent until the next call of the driver.
//! 4. After [`Completion::Ended`] nothing is received. After [`Completion::Gone`] only
//!    [`Op::Close`] is of use.
//! 5. Within a turn (one `wait`), a socket gets at most one [`Completion::Received`], so that
//!    a flood from one peer delays nobody; what remains comes in the next turn.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::{Parcel, Traffic, Waker};

/// One door to the kernel, owned by one thread.
pub trait Driver {
    /// Asks for an operation; see [`Op`] for what each one does.
    fn submit(&mut self, op: Op<'_>) -> Submitted;

    /// Sleeps until something completed, the waker was rung, or `timeout` has come.
    ///
    /// Returns at once while completions are still to be reaped, and may return early.
    ///
    /// # Errors
    /// When the kernel refuses to wait: a fault of ours or of the host, not of a peer.
    fn wait(&mut self, timeout: Timeout) -> io::Result<()>;

    /// Takes the next completion of this turn; `None` ends the turn.
    fn reap(&mut self) -> Option<Completion<'_>>;

    /// The monotonic clock: the system's, or the simulation's.
    fn now(&self) -> Instant;

    /// How many bytes have gone over a connection. `None`: the number is not in use, or the kernel
    /// does not tell. It may be asked for until the socket is closed, also after its end.
    fn traffic(&self, socket: Socket) -> Option<Traffic>;

    /// How many bytes of user memory it holds in its tables and buffers. What is under way, to
    /// be sent or being received into a caller's buffer, is not in it.
    fn memory(&self) -> usize;

    /// A handle by which any thread can end a `wait` of this driver.
    fn waker(&self) -> Waker;
}

/// How long a wait may last.
///
/// A moment, not a span: whoever waits for the same moment again, as a shard does turn after
/// turn, costs its driver no second timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// Not at all: what has completed already is taken.
    Now,
    /// Until this moment of [`Driver::now`]'s clock.
    At(Instant),
    /// As long as nothing happens.
    Never,
}

/// The number by which a driver and its caller know one peer. The caller chooses it; small,
/// dense numbers are best, since drivers keep tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Socket(pub u32);

/// Something to be done by the kernel.
#[derive(Debug)]
pub enum Op<'a> {
    /// Accept peers from all listeners, now and until [`Op::Deafen`]. After
    /// [`Completion::Refused`] it has to be asked for again.
    Listen,
    /// Take whoever already waits in the queues, then close the listeners.
    Deafen,
    /// Let no further connect begin; those under way are completed, and accepted. Then comes
    /// [`Op::Deafen`].
    Hush,
    /// Accept nobody any more, and let go of the listeners, whose sockets others hold as well: of
    /// those who wait in the queues, some are taken, and the others are left to them.
    HandOn,
    /// Take charge of an accepted peer under this number, and start to receive from it.
    Open {
        /// The number chosen by the caller; not in use.
        socket: Socket,
        /// What [`Completion::Accepted`] gave.
        peer: Peer,
    },
    /// Connect to `to`, from the address `from` if there is one. Ends in
    /// [`Completion::Connected`] or [`Completion::Gone`].
    Connect {
        /// The number chosen by the caller; not in use.
        socket: Socket,
        /// Where to.
        to: SocketAddr,
        /// The local address (a port of 0 lets the kernel choose).
        from: Option<SocketAddr>,
    },
    /// Send the pieces in order, as one batch. `Pending` ends in [`Completion::Sent`] or
    /// [`Completion::Gone`]; no other `Send` may be asked for until then.
    Send {
        /// To whom.
        socket: Socket,
        /// Lent bytes are copied if they cannot be sent at once; parcels are shared.
        pieces: &'a [Piece<'a>],
    },
    /// Receive the next bytes into this buffer, not into the scratch: at most `size`, behind
    /// what the buffer holds. Once; ends in [`Completion::Filled`], [`Completion::Ended`] or
    /// [`Completion::Gone`].
    ReceiveInto {
        /// From whom.
        socket: Socket,
        /// Holds a spare capacity of at least `size` bytes.
        buffer: Vec<u8>,
        /// At most so many bytes, at least 1.
        size: usize,
    },
    /// Receive nothing until [`Op::Resume`]; the peer feels it as a closed window.
    Pause {
        /// From whom.
        socket: Socket,
    },
    /// Receive again.
    Resume {
        /// From whom.
        socket: Socket,
    },
    /// Send no more: behind the batch under way, if there is one, the peer sees the end of
    /// the stream (`SHUT_WR`).
    Shutdown {
        /// To whom.
        socket: Socket,
    },
    /// Give up the socket. `Done` or [`Completion::Closed`] frees its number.
    Close {
        /// Which one.
        socket: Socket,
        /// With a reset, whatever was not sent is lost and the peer sees an error.
        reset: bool,
    },
}

/// Bytes to be sent.
#[derive(Debug, Clone, Copy)]
pub enum Piece<'a> {
    /// Valid during `submit` only.
    Lent(&'a [u8]),
    /// Kept by its count for as long as the driver needs it.
    Shared(&'a Parcel),
}

impl Piece<'_> {
    /// The bytes themselves.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Shared(parcel) => parcel,
        }
    }
}

/// What `submit` answers.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// It has happened; no completion will follow.
    Done,
    /// It is under way; a completion will follow.
    Pending,
}

/// Something done by the kernel, or by the peer.
#[derive(Debug)]
pub enum Completion<'a> {
    /// Somebody connected. Give it back with [`Op::Open`], or drop it to refuse.
    Accepted {
        /// The new peer.
        peer: Peer,
    },
    /// The kernel could not accept (file table full, no memory). Accepting has stopped until
    /// the next [`Op::Listen`], so that a full table does not spin; with several listeners, it
    /// has stopped at least on the one that could not.
    Refused {
        /// Why.
        error: io::Error,
    },
    /// The connect has succeeded.
    Connected {
        /// Which one.
        socket: Socket,
    },
    /// Bytes came, at least one.
    Received {
        /// From whom.
        socket: Socket,
        /// Lent until the next call of the driver; may be changed in place.
        bytes: &'a mut [u8],
    },
    /// Bytes came into the buffer of [`Op::ReceiveInto`], at least one.
    Filled {
        /// From whom.
        socket: Socket,
        /// Longer than it was.
        buffer: Vec<u8>,
    },
    /// The peer will send no more (FIN). One can still send to it.
    Ended {
        /// Who.
        socket: Socket,
    },
    /// The batch has been handed to the kernel to its last byte.
    Sent {
        /// To whom.
        socket: Socket,
    },
    /// The peer is lost: reset, unreachable, timed out, or it refused the connect.
    Gone {
        /// Who.
        socket: Socket,
        /// Why.
        error: io::Error,
    },
    /// The answer to a pending [`Op::Close`]: the number is free.
    Closed {
        /// Which one.
        socket: Socket,
    },
}

impl Completion<'_> {
    /// Whose completion it is.
    pub(crate) fn socket(&self) -> Option<Socket> {
        match self {
            Self::Accepted { .. } | Self::Refused { .. } => None,
            Self::Connected { socket }
            | Self::Received { socket, .. }
            | Self::Filled { socket, .. }
            | Self::Ended { socket }
            | Self::Sent { socket }
            | Self::Gone { socket, .. }
            | Self::Closed { socket } => Some(*socket),
        }
    }
}

/// An accepted peer that has no number yet. Dropping it closes the connection.
#[derive(Debug)]
pub struct Peer {
    /// Where it called from.
    pub address: SocketAddr,
    /// Which of the driver's listeners it called, in the order in which the driver got them.
    pub listener: usize,
    pub(crate) handle: Handle,
}

impl Peer {
    /// Closes the connection with a reset, before it has a number: nothing is answered, and
    /// nothing of it stays in the kernel.
    pub fn reset(self) {
        match self.handle {
            Handle::Fd(fd) => {
                // A failure leaves an ordinary close, which is all that can be done.
                let _ = set_socket_linger(&fd, Some(Duration::ZERO));
            }
            Handle::Sim(link) => link.reset(),
        }
    }
}

/// What a driver holds of a peer.
#[derive(Debug)]
pub(crate) enum Handle {
    /// A socket of the kernel's.
    Fd(OwnedFd),
    /// A link of the simulation's.
    Sim(crate::sim::Link),
}
