//! What a receive means: the sockets of a real driver, and whose turn it is to be received from.
//!
//! A driver learns from its own kernel interface that there may be bytes or an end, and asks here
//! what comes of it.
//!
//! ```text
//!  an event ─┬─ nothing else goes on ─▶ receive_plain ─▶ recv ─┬─ bytes ─▶ Received, Filled
//!            └─ anything else ────────▶ on_readable ──▶ recv ──┼─ FIN ───▶ Ended
//!                                          ▲                   ├─ error ─▶ Gone
//!  next_again, in a later turn ────────────┘                   └─ nothing yet
//!      ▲
//!      └─ receive_again: the buffer came back full, the stream has an end, or it was paused
//! ```
//!
//! A `recv` that returns less than was asked for has emptied the socket (epoll(7)), so the
//! next edge is certain and no second `recv` is needed to see `EAGAIN`.

use std::collections::VecDeque;
use std::mem::size_of;

use rustix::io::Errno;

use crate::link::{Entry, Flags};
use crate::stream::{receive, receive_behind};
use crate::traffic::{Traffic, traffic};
use crate::{Completion, Socket};

/// One scratch for each driver, so that a quiet connection holds no buffer.
pub const SCRATCH_SIZE: usize = 64 * 1024;

/// How many sockets without a new event one turn receives from: those that may hold more, and those
/// whose stream has an end. When a crowd leaves at once, the others wait no longer than this takes.
const AGAINS_MAX: usize = 64;

/// The same while the kernel has more events than one turn takes, among which are those of the
/// others: it hands them out in the order in which they came.
const AGAINS_MAX_CROWDED: usize = 8;

/// The sockets of one driver.
pub(crate) struct Sockets {
    /// By socket number.
    entries: Vec<Entry>,
    /// Where bytes lie that were received for no buffer of the caller's.
    scratch: Box<[u8]>,
    /// Sockets that may hold more bytes, and give no new event for them.
    again: VecDeque<Socket>,
    /// How many of `again` belong to this turn. Invariant: `again_left <= again.len()`.
    again_left: usize,
    /// Completions that are known already, such as a send that failed at once.
    known: VecDeque<Completion<'static>>,
}

/// A completion whose bytes, if any, still lie in the scratch.
pub(crate) enum Step {
    Received(Socket, usize),
    Other(Completion<'static>),
}

impl Sockets {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            scratch: vec![0; SCRATCH_SIZE].into_boxed_slice(),
            again: VecDeque::new(),
            again_left: 0,
            known: VecDeque::new(),
        }
    }

    /// Makes room for so many sockets. Memory that is never touched is never resident.
    pub(crate) fn reserve(&mut self, socket_count: usize) {
        self.entries
            .reserve_exact(socket_count.saturating_sub(self.entries.len()));
    }

    /// The entry of a number that has been opened.
    #[inline]
    pub(crate) fn entry(&mut self, socket: Socket) -> &mut Entry {
        &mut self.entries[socket.0 as usize]
    }

    /// See [`crate::Driver::traffic`].
    pub(crate) fn traffic(&self, socket: Socket) -> Option<Traffic> {
        traffic(self.entries.get(socket.0 as usize)?.fd.as_ref()?)
    }

    /// The entry of a number that may be new.
    pub(crate) fn make_room(&mut self, socket: Socket) -> &mut Entry {
        let index = socket.0 as usize;
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, Entry::default);
        }
        &mut self.entries[index]
    }

    /// Begins a turn, in which some of those that wait by now are received from again; fewer if the
    /// kernel is `crowded`, which means that it has more to tell than this turn takes.
    pub(crate) fn begin_turn(&mut self, crowded: bool) {
        let most = if crowded {
            AGAINS_MAX_CROWDED
        } else {
            AGAINS_MAX
        };
        self.again_left = self.again.len().min(most);
    }

    /// Whether more wait than a turn serves while the kernel is crowded.
    pub(crate) fn is_crowded(&self) -> bool {
        self.again.len() > AGAINS_MAX_CROWDED
    }

    /// Whether this turn has still somebody to be received from again.
    pub(crate) fn is_in_turn(&self) -> bool {
        self.again_left > 0
    }

    /// Whether the next turn has something to say without the kernel.
    pub(crate) fn is_busy(&self) -> bool {
        !self.known.is_empty() || !self.again.is_empty()
    }

    /// What is known already, which comes first.
    #[inline]
    pub(crate) fn next_known(&mut self) -> Option<Step> {
        self.known.pop_front().map(Step::Other)
    }

    /// Who is to be received from again in this turn, which comes last.
    pub(crate) fn next_again(&mut self) -> Option<Socket> {
        if self.again_left == 0 {
            return None;
        }
        self.again_left -= 1;
        let socket = self.again.pop_front()?;
        self.entry(socket).flags.remove(Flags::AGAIN);
        Some(socket)
    }

    /// Has it received in the next turn, or in one after that, without an event.
    pub(crate) fn receive_again(&mut self, socket: Socket) {
        let entry = self.entry(socket);
        if !entry.flags.has(Flags::AGAIN) {
            entry.flags.insert(Flags::AGAIN);
            self.again.push_back(socket);
        }
    }

    /// The usual case of [`Self::on_readable`], no more than a special one of it: the entry is
    /// [`Entry::plain`].
    #[inline]
    pub(crate) fn receive_plain(&mut self, socket: Socket) -> Option<Step> {
        let fd = self.entries[socket.0 as usize].fd.as_ref()?;
        let outcome = receive(fd, &mut self.scratch);
        if let Ok(size) = outcome
            && size > 0
            && size < self.scratch.len()
        {
            return Some(Step::Received(socket, size));
        }
        let full = outcome == Ok(self.scratch.len());
        self.received(socket, outcome, full)
    }

    /// There may be bytes, or an end; `broken`: the kernel says that the stream has an error.
    #[inline(never)]
    pub(crate) fn on_readable(&mut self, socket: Socket, broken: bool) -> Option<Step> {
        let entry = &mut self.entries[socket.0 as usize];
        if !entry.flags.may_receive() {
            if entry.flags.has(Flags::PAUSED) {
                entry.flags.insert(Flags::UNREAD);
            }
            let told = Flags::PAUSED.or(Flags::CONNECTING);
            if broken && entry.flags.has(told) {
                let error = entry.socket_error()?;
                return self.gone(socket, error).map(Step::Other);
            }
            return None;
        }
        let fd = entry.fd.as_ref()?;
        let direct = entry.extra.as_mut().and_then(|extra| extra.direct.take());
        if let Some((mut buffer, size)) = direct {
            let before = buffer.len();
            let outcome = receive_behind(fd, &mut buffer, size);
            let full = buffer.len() - before == size;
            if let Err(Errno::AGAIN) = outcome {
                self.receive_into(socket, buffer, size);
                return None;
            }
            return match self.received(socket, outcome, full)? {
                Step::Received(..) => Some(Step::Other(Completion::Filled { socket, buffer })),
                other @ Step::Other(_) => Some(other),
            };
        }
        let outcome = receive(fd, &mut self.scratch);
        let full = outcome == Ok(self.scratch.len());
        self.received(socket, outcome, full)
    }

    /// What a `recv` means, and whether there must be another one.
    #[inline(never)]
    fn received(
        &mut self,
        socket: Socket,
        outcome: Result<usize, Errno>,
        full: bool,
    ) -> Option<Step> {
        match outcome {
            Ok(0) => {
                self.entry(socket).flags.insert(Flags::ENDED);
                Some(Step::Other(Completion::Ended { socket }))
            }
            Ok(size) => {
                // The end of the stream is already known, but comes after these bytes.
                if full || self.entry(socket).flags.has(Flags::ENDING) {
                    self.receive_again(socket);
                }
                Some(Step::Received(socket, size))
            }
            Err(Errno::AGAIN) => None,
            Err(error) => self.gone(socket, error).map(Step::Other),
        }
    }

    /// The next bytes go into this buffer, once.
    pub(crate) fn receive_into(&mut self, socket: Socket, buffer: Vec<u8>, size: usize) {
        assert!(
            buffer.capacity() - buffer.len() >= size && size > 0,
            "no room in the buffer"
        );
        self.entry(socket).extra_mut().direct = Some((buffer, size));
    }

    /// Receives nothing until [`Self::resume`].
    pub(crate) fn pause(&mut self, socket: Socket) {
        self.entry(socket).flags.insert(Flags::PAUSED);
    }

    /// Receives again, also what was told of meanwhile.
    pub(crate) fn resume(&mut self, socket: Socket) {
        let entry = self.entry(socket);
        entry.flags.remove(Flags::PAUSED);
        if entry.flags.has(Flags::UNREAD) {
            entry.flags.remove(Flags::UNREAD);
            self.receive_again(socket);
        }
    }

    /// Says this before anything else.
    pub(crate) fn say(&mut self, completion: Completion<'static>) {
        self.known.push_back(completion);
    }

    /// What is known of a peer that is given up is of use to nobody.
    pub(crate) fn forget(&mut self, socket: Socket) {
        self.known
            .retain(|completion| completion.socket() != Some(socket));
    }

    /// Reports the peer as gone, once.
    pub(crate) fn lose(&mut self, socket: Socket, error: Errno) {
        if let Some(completion) = self.gone(socket, error) {
            self.say(completion);
        }
    }

    /// The completion for a peer that is lost; `None` if that has been said.
    pub(crate) fn gone(&mut self, socket: Socket, error: Errno) -> Option<Completion<'static>> {
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

    /// The completion itself, which lends what lies in the scratch.
    #[inline]
    pub(crate) fn lend(&mut self, step: Step) -> Completion<'_> {
        match step {
            Step::Received(socket, size) => Completion::Received {
                socket,
                bytes: &mut self.scratch[..size],
            },
            Step::Other(completion) => completion,
        }
    }

    /// How many bytes the tables and the scratch take.
    pub(crate) fn memory(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.scratch.len()
            + self.again.capacity() * size_of::<Socket>()
            + self.known.capacity() * size_of::<Completion<'static>>()
    }
}

const _: () = assert!(
    size_of::<Entry>() == 16,
    "there is one for each idle connection"
);
