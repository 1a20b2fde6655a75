//! Sending with epoll: at once, in one call, and the rest when there is room.

use rustix::io::Errno;

use super::EpollDriver;
use crate::driver::{Completion, Piece, Socket, Submitted};
use crate::link::Flags;
use crate::stream::{SLICES_MAX, send_bytes, send_some};

impl EpollDriver {
    #[inline]
    pub(super) fn send(&mut self, socket: Socket, pieces: &[Piece<'_>]) -> Submitted {
        // One piece that the kernel takes at once, to a peer with nothing under way.
        if let [piece] = pieces
            && let Some(fd) = self.sockets.entry(socket).plain(Flags::empty())
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
        let entry = self.sockets.entry(socket);
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
            // Its buffer is full, and an edge will tell of room.
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(error) => {
                self.sockets.lose(socket, error);
                return Submitted::Pending;
            }
        };
        let extra = self.sockets.entry(socket).extra_mut();
        extra.unsent.keep(pieces, sent);
        Submitted::Pending
    }

    /// There is room again, or the connect has ended.
    pub(super) fn on_writable(&mut self, socket: Socket) -> Option<Completion<'static>> {
        let entry = self.sockets.entry(socket);
        if entry.flags.has(Flags::GONE) {
            return None;
        }
        if entry.flags.has(Flags::CONNECTING) {
            if let Some(error) = entry.socket_error() {
                return self.sockets.gone(socket, error);
            }
            entry.flags.remove(Flags::CONNECTING);
            return Some(Completion::Connected { socket });
        }
        let fd = entry.fd.as_ref()?;
        let extra = entry.extra.as_mut()?;
        match extra.unsent.send(fd) {
            Ok(true) => {}
            Ok(false) => return None,
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
