//! Accepting peers with io_uring: the kernel accepts whoever comes, until it cannot.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with, getpeername};

use super::ring::Event;
use super::token::{Kind, Token};
use super::{ACCEPTS_MAX, UringDriver};
use crate::driver::{Completion, Handle, Peer};
use crate::stream::retry;

const ACCEPT: Token = Token::own(Kind::Accept);

impl UringDriver {
    pub(super) fn listen(&mut self) {
        self.listening = true;
        if let Some(listener) = &self.listener
            && !self.accepting
            && !self.deaf
        {
            self.ring.accept(listener.fd.as_fd(), ACCEPT);
            self.accepting = true;
        }
    }

    /// The kernel has accepted somebody, or could not.
    pub(super) fn on_accept(&mut self, event: Event) -> Option<Completion<'static>> {
        if !event.has_more() {
            self.accepting = false;
        }
        let completion = match event.into_accepted() {
            Ok(fd) if self.accepts_left == 0 => {
                self.accepted.push_back(fd);
                None
            }
            Ok(fd) => {
                self.accepts_left -= 1;
                welcome(fd)
            }
            Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO | Errno::AGAIN) => None,
            // Only whoever does not listen any more cancels an accept.
            Err(_) if self.deaf => None,
            Err(error) => {
                self.listening = false;
                Some(Completion::Refused {
                    error: error.into(),
                })
            }
        };
        if !self.accepting {
            if self.deaf {
                self.listener = None;
            } else if self.listening {
                self.listen();
            }
        }
        completion
    }

    /// Those whom an earlier turn left for this one.
    pub(super) fn next_accepted(&mut self) -> Option<Completion<'static>> {
        while self.accepts_left > 0 {
            let fd = self.accepted.pop_front()?;
            self.accepts_left -= 1;
            if let Some(completion) = welcome(fd) {
                return Some(completion);
            }
        }
        None
    }

    pub(super) fn deafen(&mut self) {
        let Some(listener) = &self.listener else {
            return;
        };
        if self.deaf {
            return;
        }
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match accept_with(&listener.fd, flags) {
                Ok(fd) => self.accepted.push_back(fd),
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => {
                    self.sockets.say(Completion::Refused {
                        error: error.into(),
                    });
                    break;
                }
            }
        }
        // The request under way holds the socket open, but nobody connects to it any more.
        listener.shut();
        self.let_go();
    }

    pub(super) fn hush(&mut self) {
        if let Some(listener) = &self.listener {
            listener.hush();
        }
    }

    /// Whoever the kernel has accepted for us meanwhile is ours.
    pub(super) fn hand_on(&mut self) {
        if !self.deaf {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        self.deaf = true;
        if self.accepting {
            self.ring.cancel(ACCEPT);
        } else {
            self.listener = None;
        }
        self.accepts_left = self.accepts_left.max(ACCEPTS_MAX);
    }
}

/// The completion for a peer; `None` if it has left already, or has no IP address, which
/// cannot come from an IP listener.
fn welcome(fd: OwnedFd) -> Option<Completion<'static>> {
    let address = retry(|| getpeername(&fd)).ok()??;
    let address = SocketAddr::try_from(address).ok()?;
    Some(Completion::Accepted {
        peer: Peer {
            address,
            handle: Handle::Fd(fd),
        },
    })
}
