//! Sending with io_uring: directly, in one call, and the rest when a poll tells of room.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use super::link::Flags;
use super::ring::Event;
use super::{UringDriver, retry};
use crate::Parcel;
use crate::driver::{Completion, Piece, Socket, Submitted};

/// How many pieces one system call takes; the kernel's own limit is 1,024 (`UIO_MAXIOV`).
const SLICES_MAX: usize = 64;

/// The rest of a batch: parcels, and how much of the first has been sent.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    parcels: VecDeque<Parcel>,
    /// Invariant: less than the length of the first parcel, or 0.
    sent: usize,
}

impl Unsent {
    pub(super) fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    /// Keeps what is left of these pieces after `skip` bytes.
    fn keep(&mut self, pieces: &[Piece<'_>], skip: usize) {
        let mut skip = skip;
        for piece in pieces {
            let size = piece.bytes().len();
            if skip >= size {
                skip -= size;
                continue;
            }
            match piece {
                Piece::Lent(bytes) => self.parcels.push_back(Parcel::copy_of(&bytes[skip..])),
                Piece::Shared(parcel) => {
                    debug_assert!(
                        skip == 0 || self.parcels.is_empty(),
                        "only the first is cut"
                    );
                    if self.parcels.is_empty() {
                        self.sent = skip;
                    }
                    self.parcels.push_back((*parcel).clone());
                }
            }
            skip = 0;
        }
    }

    fn advance(&mut self, size: usize) {
        self.sent += size;
        while let Some(first) = self.parcels.front()
            && self.sent >= first.len()
        {
            self.sent -= first.len();
            self.parcels.pop_front();
        }
    }
}

impl UringDriver {
    #[inline]
    pub(super) fn send(&mut self, socket: Socket, pieces: &[Piece<'_>]) -> Submitted {
        // One piece that the kernel takes at once, to a peer with nothing under way.
        if let [piece] = pieces
            && let Some(fd) = self.entries[socket.0 as usize].plain()
        {
            let bytes = piece.bytes();
            let outcome = send_bytes(fd, bytes);
            if outcome == Ok(bytes.len()) {
                return Submitted::Done;
            }
            return self.sent(socket, pieces, outcome);
        }
        self.send_pieces(socket, pieces)
    }

    #[inline(never)]
    fn send_pieces(&mut self, socket: Socket, pieces: &[Piece<'_>]) -> Submitted {
        let entry = &mut self.entries[socket.0 as usize];
        assert!(
            entry.extra.as_ref().is_none_or(|e| e.unsent.is_empty()),
            "a batch is under way"
        );
        let Some(fd) = entry.fd.as_ref().filter(|_| !entry.flags.has(Flags::GONE)) else {
            // That it is gone has been said, or will be.
            return Submitted::Pending;
        };
        let mut rest = pieces;
        loop {
            let some = &rest[..rest.len().min(SLICES_MAX)];
            let size: usize = some.iter().map(|piece| piece.bytes().len()).sum();
            let outcome = send_some(fd, some);
            if outcome != Ok(size) {
                return self.sent(socket, rest, outcome);
            }
            rest = &rest[some.len()..];
            if rest.is_empty() {
                return Submitted::Done;
            }
        }
    }

    /// The kernel did not take all of `pieces`: the rest is kept.
    #[inline(never)]
    fn sent(
        &mut self,
        socket: Socket,
        pieces: &[Piece<'_>],
        outcome: Result<usize, Errno>,
    ) -> Submitted {
        let sent = match outcome {
            // Its buffer is full, and a poll will tell of room.
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(error) => {
                self.lose(socket, error);
                return Submitted::Pending;
            }
        };
        let extra = self.entry(socket).extra_mut();
        extra.unsent.keep(pieces, sent);
        self.arm_writable(socket);
        Submitted::Pending
    }

    pub(super) fn on_writable_event(
        &mut self,
        socket: Socket,
        event: &Event,
    ) -> Option<Completion<'static>> {
        // It was asked for once.
        self.entry(socket).flags.remove(Flags::WRITABLE);
        if self.is_closing(socket, event) {
            return self.closed(socket);
        }
        if let Some(error) = event.error() {
            return self.gone(socket, error);
        }
        self.on_writable(socket)
    }

    /// There is room again, or the connect has ended.
    fn on_writable(&mut self, socket: Socket) -> Option<Completion<'static>> {
        let entry = &mut self.entries[socket.0 as usize];
        if entry.flags.has(Flags::GONE) {
            return None;
        }
        if entry.flags.has(Flags::CONNECTING) {
            if let Some(error) = entry.socket_error() {
                return self.gone(socket, error);
            }
            entry.flags.remove(Flags::CONNECTING);
            self.arm_readable(socket);
            return Some(Completion::Connected { socket });
        }
        let fd = entry.fd.as_ref()?;
        let extra = entry.extra.as_mut()?;
        while !extra.unsent.is_empty() {
            let unsent = &mut extra.unsent;
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut size = 0;
            let mut count = 0;
            for parcel in unsent.parcels.iter().take(SLICES_MAX) {
                let bytes = if count == 0 {
                    &parcel[unsent.sent..]
                } else {
                    &parcel[..]
                };
                slices[count] = IoSlice::new(bytes);
                size += bytes.len();
                count += 1;
            }
            match send_slices(fd, &slices[..count]) {
                Ok(sent) => {
                    unsent.advance(sent);
                    if sent < size {
                        self.arm_writable(socket);
                        return None;
                    }
                }
                Err(Errno::AGAIN) => {
                    self.arm_writable(socket);
                    return None;
                }
                Err(error) => return self.gone(socket, error),
            }
        }
        if extra.direct.is_none() {
            entry.extra = None;
        }
        if entry.flags.has(Flags::SHUT) {
            entry.shutdown();
        }
        Some(Completion::Sent { socket })
    }
}

#[inline]
fn send_bytes(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    retry(|| send(fd, bytes, SendFlags::NOSIGNAL))
}

fn send_some(fd: &OwnedFd, pieces: &[Piece<'_>]) -> Result<usize, Errno> {
    if let [piece] = pieces {
        return send_bytes(fd, piece.bytes());
    }
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    for (slice, piece) in slices.iter_mut().zip(pieces) {
        *slice = IoSlice::new(piece.bytes());
    }
    send_slices(fd, &slices[..pieces.len()])
}

fn send_slices(fd: &OwnedFd, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let mut control = SendAncillaryBuffer::default();
    retry(|| sendmsg(fd, slices, &mut control, SendFlags::NOSIGNAL))
}
