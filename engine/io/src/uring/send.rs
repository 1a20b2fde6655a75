//! Sending with io_uring: small batches together with the next wait, others directly, and the
//! rest of either when a poll tells of room.

use std::os::fd::AsFd;

use rustix::io::Errno;

use super::UringDriver;
use super::ring::Event;
use super::token::Token;
use crate::driver::{Completion, Piece, Socket, Submitted};
use crate::link::Flags;
use crate::stream::{SLICES_MAX, send_bytes, send_some};

impl UringDriver {
    #[inline]
    pub(super) fn send(&mut self, socket: Socket, pieces: &[Piece<'_>]) -> Submitted {
        // Whoever has company waits for it: one system call submits them all. A lone one would only
        // bring a second turn, for its completion.
        let alone = self.sends == 0 && self.events.is_empty();
        self.sends += 1;
        // One piece to a peer with nothing under way.
        let entry = self.sockets.entry(socket);
        if let [piece] = pieces
            && let Some(fd) = entry.plain(Flags::READABLE)
        {
            let bytes = piece.bytes();
            if !alone && let Some(slot) = self.ring.slots.fill(bytes) {
                let token = Token::send(socket, entry.generation, slot);
                self.ring.send(fd.as_fd(), token);
                entry.flags.insert(Flags::SENDING);
                return Submitted::Pending;
            }
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
        let entry = self.sockets.entry(socket);
        assert!(!entry.has_batch(), "a batch is under way");
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
                self.sockets.lose(socket, error);
                return Submitted::Pending;
            }
        };
        let extra = self.sockets.entry(socket).extra_mut();
        extra.unsent.keep(pieces, sent);
        self.arm_writable(socket);
        Submitted::Pending
    }

    pub(super) fn on_send_event(
        &mut self,
        socket: Socket,
        event: &Event,
    ) -> Option<Completion<'static>> {
        let completion = self.on_send(socket, event);
        self.ring.slots.give_back(event.token.slot());
        completion
    }

    /// The kernel has taken what it had room for out of a slot.
    fn on_send(&mut self, socket: Socket, event: &Event) -> Option<Completion<'static>> {
        self.sockets.entry(socket).flags.remove(Flags::SENDING);
        if self.is_closing(socket, event) {
            return self.closed(socket);
        }
        let sent = match event.error() {
            None => event.size(),
            Some(Errno::AGAIN | Errno::INTR) => 0,
            Some(error) => return self.sockets.gone(socket, error),
        };
        let entry = self.sockets.entry(socket);
        if entry.flags.has(Flags::GONE) {
            return None;
        }
        let bytes = self.ring.slots.bytes(event.token.slot());
        if sent < bytes.len() {
            entry.extra_mut().unsent.keep(&[Piece::Lent(bytes)], sent);
            self.arm_writable(socket);
            return None;
        }
        if entry.flags.has(Flags::SHUT) {
            entry.shutdown();
        }
        Some(Completion::Sent { socket })
    }

    pub(super) fn on_writable_event(
        &mut self,
        socket: Socket,
        event: &Event,
    ) -> Option<Completion<'static>> {
        // It was asked for once.
        self.sockets.entry(socket).flags.remove(Flags::WRITABLE);
        if self.is_closing(socket, event) {
            return self.closed(socket);
        }
        if let Some(error) = event.error() {
            return self.sockets.gone(socket, error);
        }
        self.on_writable(socket)
    }

    /// There is room again, or the connect has ended.
    fn on_writable(&mut self, socket: Socket) -> Option<Completion<'static>> {
        let entry = self.sockets.entry(socket);
        if entry.flags.has(Flags::GONE) {
            return None;
        }
        if entry.flags.has(Flags::CONNECTING) {
            if let Some(error) = entry.socket_error() {
                return self.sockets.gone(socket, error);
            }
            entry.flags.remove(Flags::CONNECTING);
            self.arm_readable(socket);
            return Some(Completion::Connected { socket });
        }
        let fd = entry.fd.as_ref()?;
        let extra = entry.extra.as_mut()?;
        match extra.unsent.send(fd) {
            Ok(true) => {}
            Ok(false) => {
                self.arm_writable(socket);
                return None;
            }
            Err(error) => return self.sockets.gone(socket, error),
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
