//! What the io_uring driver keeps of one socket.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{Shutdown, sockopt};

use crate::stream::Unsent;

/// Yes or no, sixteen times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags(u16);

impl Flags {
    /// The connect is under way.
    pub(super) const CONNECTING: Self = Self(1);
    /// Nothing is to be received.
    pub(super) const PAUSED: Self = Self(2);
    /// An event came while paused.
    pub(super) const UNREAD: Self = Self(4);
    /// It stands in the list of those to be received from again.
    pub(super) const AGAIN: Self = Self(8);
    /// The peer will send no more.
    pub(super) const ENDED: Self = Self(16);
    /// The peer is lost, and that has been said.
    pub(super) const GONE: Self = Self(32);
    /// An event told that the stream has an end. It may not be told again, so that whoever
    /// receives less than there may be has to go on until that end.
    pub(super) const ENDING: Self = Self(64);
    /// The end of our stream follows the batch under way.
    pub(super) const SHUT: Self = Self(128);
    /// The kernel has a request to tell of bytes.
    pub(super) const READABLE: Self = Self(256);
    /// The kernel has a request to tell of room.
    pub(super) const WRITABLE: Self = Self(512);
    /// It has been given up, and the number is free once the kernel has no request of it.
    pub(super) const CLOSING: Self = Self(1024);

    pub(super) const fn empty() -> Self {
        Self(0)
    }

    /// All of these, or some.
    pub(super) const fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    pub(super) const fn may_receive(self) -> bool {
        !self.has(
            Self::CONNECTING
                .or(Self::PAUSED)
                .or(Self::ENDED)
                .or(Self::GONE)
                .or(Self::CLOSING),
        )
    }

    /// Does the kernel hold a request of this socket?
    pub(super) const fn is_under_way(self) -> bool {
        self.has(Self::READABLE.or(Self::WRITABLE))
    }
}

/// One socket: 16 bytes while it is quiet.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) fd: Option<OwnedFd>,
    pub(super) flags: Flags,
    /// Tells apart those who had the number one after the other.
    pub(super) generation: u8,
    /// The last turn in which it was received from, or a multiple of 256 later, which only
    /// delays it.
    pub(super) turn: u8,
    /// What only a busy or a slow socket needs.
    pub(super) extra: Option<Box<Extra>>,
}

/// What a busy or a slow socket needs beside its [`Entry`].
#[derive(Debug, Default)]
pub(super) struct Extra {
    /// The rest of the batch under way; empty when none is.
    pub(super) unsent: Unsent,
    /// Where the next bytes go, and how many at most.
    pub(super) direct: Option<(Vec<u8>, usize)>,
}

impl Entry {
    /// Puts a descriptor under this number.
    pub(super) fn fill(&mut self, fd: OwnedFd, flags: Flags) {
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
    pub(super) fn clear(&mut self) {
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

    /// The descriptor, if nothing but receiving and sending at once is going on.
    #[inline]
    pub(super) fn plain(&self) -> Option<&OwnedFd> {
        let plain = self.flags == Flags::READABLE && self.extra.is_none();
        self.fd.as_ref().filter(|_| plain)
    }

    pub(super) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(super) fn has_batch(&self) -> bool {
        let extra = self.extra.as_ref();
        extra.is_some_and(|extra| !extra.unsent.is_empty())
    }

    /// Shows the peer the end of the stream, after the batch under way if there is one.
    pub(super) fn shutdown(&mut self) {
        if self.has_batch() {
            self.flags.insert(Flags::SHUT);
        } else if let Some(fd) = &self.fd {
            // ENOTCONN: the peer was faster.
            let _ = rustix::net::shutdown(fd, Shutdown::Write);
        }
    }

    /// The pending error of the socket, which asking for takes away.
    pub(super) fn socket_error(&self) -> Option<Errno> {
        match sockopt::socket_error(self.fd.as_ref()?) {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(error),
        }
    }
}
