//! What the epoll driver keeps of one socket.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{Shutdown, sockopt};

use crate::stream::Unsent;

/// Yes or no, eight times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags(u8);

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
    /// An event told that the stream has an end. Its edge does not come again, so that
    /// whoever receives less than there may be has to go on until that end.
    pub(super) const ENDING: Self = Self(64);
    /// The end of our stream follows the batch under way.
    pub(super) const SHUT: Self = Self(128);

    pub(super) const fn empty() -> Self {
        Self(0)
    }

    pub(super) const fn contains(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    pub(super) const fn may_receive(self) -> bool {
        self.0 & (Self::CONNECTING.0 | Self::PAUSED.0 | Self::ENDED.0 | Self::GONE.0) == 0
    }
}

impl std::ops::BitAnd for Flags {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// One socket: 16 bytes while it is quiet.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) fd: Option<OwnedFd>,
    pub(super) flags: Flags,
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
    pub(super) fn new(fd: OwnedFd, flags: Flags) -> Self {
        Self {
            fd: Some(fd),
            flags,
            extra: None,
        }
    }

    /// The descriptor, if nothing but receiving and sending at once is going on.
    #[inline]
    pub(super) fn plain(&self) -> Option<&OwnedFd> {
        let plain = self.flags == Flags::empty() && self.extra.is_none();
        self.fd.as_ref().filter(|_| plain)
    }

    pub(super) fn is_open(&self) -> bool {
        self.fd.is_some()
    }

    pub(super) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Does an event for writing mean anything?
    pub(super) fn awaits_room(&self) -> bool {
        self.flags.contains(Flags::CONNECTING)
            || self
                .extra
                .as_ref()
                .is_some_and(|extra| !extra.unsent.is_empty())
    }

    /// Shows the peer the end of the stream, after the batch under way if there is one.
    pub(super) fn shutdown(&mut self) {
        if self
            .extra
            .as_ref()
            .is_some_and(|extra| !extra.unsent.is_empty())
        {
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
