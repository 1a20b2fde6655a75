//! What a real driver keeps of one socket.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{Shutdown, sockopt};

use crate::stream::Unsent;

/// Yes or no, sixteen times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u16);

impl Flags {
    /// The connect is under way.
    pub(crate) const CONNECTING: Self = Self(1);
    /// Nothing is to be received.
    pub(crate) const PAUSED: Self = Self(2);
    /// An event came while paused.
    pub(crate) const UNREAD: Self = Self(4);
    /// It stands in the list of those to be received from again.
    pub(crate) const AGAIN: Self = Self(8);
    /// The peer will send no more.
    pub(crate) const ENDED: Self = Self(16);
    /// The peer is lost, and that has been said.
    pub(crate) const GONE: Self = Self(32);
    /// An event told that the stream has an end. It may not be told again, so that whoever
    /// receives less than there may be has to go on until that end.
    pub(crate) const ENDING: Self = Self(64);
    /// The end of our stream follows the batch under way.
    pub(crate) const SHUT: Self = Self(128);
    /// The kernel has a request of io_uring to tell of bytes.
    pub(crate) const READABLE: Self = Self(256);
    /// The kernel has a request of io_uring to tell of room.
    pub(crate) const WRITABLE: Self = Self(512);
    /// It has been given up, and the number is free once the kernel has no request of it.
    pub(crate) const CLOSING: Self = Self(1024);
    /// The batch under way lies in a slot of io_uring's.
    pub(crate) const SENDING: Self = Self(2048);

    pub(crate) const fn empty() -> Self {
        Self(0)
    }

    /// All of these, or some.
    pub(crate) const fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    pub(crate) const fn may_receive(self) -> bool {
        !self.has(
            Self::CONNECTING
                .or(Self::PAUSED)
                .or(Self::ENDED)
                .or(Self::GONE)
                .or(Self::CLOSING),
        )
    }

    /// Does the kernel hold a request of this socket?
    pub(crate) const fn is_under_way(self) -> bool {
        self.has(Self::READABLE.or(Self::WRITABLE).or(Self::SENDING))
    }
}

/// One socket: 16 bytes while it is quiet.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) fd: Option<OwnedFd>,
    pub(crate) flags: Flags,
    /// Tells apart those who had the number one after the other.
    pub(crate) generation: u8,
    /// The last turn in which it was received from, or a multiple of 256 later, which only
    /// delays it.
    pub(crate) turn: u8,
    /// What only a busy or a slow socket needs.
    pub(crate) extra: Option<Box<Extra>>,
}

/// What a busy or a slow socket needs beside its [`Entry`].
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// The rest of the batch under way; empty when none is.
    pub(crate) unsent: Unsent,
    /// Where the next bytes go, and how many at most.
    pub(crate) direct: Option<(Vec<u8>, usize)>,
}

impl Entry {
    /// Puts a descriptor under this number.
    pub(crate) fn fill(&mut self, fd: OwnedFd, flags: Flags) {
        assert!(self.fd.is_none(), "the socket is in use");
        self.fd = Some(fd);
        // The list of those to be received from again may still hold it.
        let again = self.flags.has(Flags::AGAIN);
        self.flags = flags;
        if again {
            self.flags.insert(Flags::AGAIN);
        }
    }

    /// Makes the number free.
    pub(crate) fn clear(&mut self) {
        assert!(!self.flags.is_under_way(), "the kernel still uses it");
        let again = self.flags.has(Flags::AGAIN);
        *self = Self {
            generation: self.generation.wrapping_add(1),
            turn: self.turn,
            ..Self::default()
        };
        if again {
            self.flags.insert(Flags::AGAIN);
        }
    }

    /// The descriptor, if nothing but receiving and sending at once is going on; `quiet` is how a
    /// driver's flags stand then.
    #[inline]
    pub(crate) fn plain(&self, quiet: Flags) -> Option<&OwnedFd> {
        let plain = self.flags == quiet && self.extra.is_none();
        self.fd.as_ref().filter(|_| plain)
    }

    pub(crate) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(crate) fn has_batch(&self) -> bool {
        let extra = self.extra.as_ref();
        self.flags.has(Flags::SENDING) || extra.is_some_and(|extra| !extra.unsent.is_empty())
    }

    /// Shows the peer the end of the stream, after the batch under way if there is one.
    pub(crate) fn shutdown(&mut self) {
        if self.has_batch() {
            self.flags.insert(Flags::SHUT);
        } else if let Some(fd) = &self.fd {
            // ENOTCONN: the peer was faster.
            let _ = rustix::net::shutdown(fd, Shutdown::Write);
        }
    }

    /// The pending error of the socket, which asking for takes away.
    pub(crate) fn socket_error(&self) -> Option<Errno> {
        match sockopt::socket_error(self.fd.as_ref()?) {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(error),
        }
    }
}
