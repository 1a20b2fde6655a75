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
use crate::{Listener, Socket};

/// The request of a listener, by its index.
fn accept_token(index: usize) -> Token {
    let index = u32::try_from(index).expect("they are few");
    Token::of(Kind::Accept, Socket(index), 0)
}

impl UringDriver {
    pub(super) fn listen(&mut self) {
        self.listening = true;
        for (index, door) in self.doors.iter_mut().enumerate() {
            if let Some(listener) = &door.listener
                && !door.accepting
                && !self.deaf
            {
                self.ring.accept(listener.fd.as_fd(), accept_token(index));
                door.accepting = true;
            }
        }
    }

    /// The kernel has accepted somebody, or could not.
    pub(super) fn on_accept(&mut self, event: Event) -> Option<Completion<'static>> {
        let index = event.token.socket().0 as usize;
        let accepting = event.has_more();
        self.doors[index].accepting = accepting;
        let completion = match event.into_accepted() {
            Ok(fd) if self.accepts_left == 0 => {
                self.accepted.push_back((index, fd));
                None
            }
            Ok(fd) => {
                self.accepts_left -= 1;
                welcome(index, fd)
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
        if !accepting {
            if self.deaf {
                self.give_up(index);
            } else if self.listening {
                self.listen();
            }
        }
        completion
    }

    /// Those whom an earlier turn left for this one.
    pub(super) fn next_accepted(&mut self) -> Option<Completion<'static>> {
        while self.accepts_left > 0 {
            let (index, fd) = self.accepted.pop_front()?;
            self.accepts_left -= 1;
            if let Some(completion) = welcome(index, fd) {
                return Some(completion);
            }
        }
        None
    }

    pub(super) fn deafen(&mut self) {
        if self.deaf {
            return;
        }
        self.deaf = true;
        for index in 0..self.doors.len() {
            self.deafen_one(index);
        }
        self.accepts_left = self.accepts_left.max(ACCEPTS_MAX);
    }

    fn deafen_one(&mut self, index: usize) {
        self.take_queue(index);
        if let Some(listener) = &self.doors[index].listener {
            // The request under way holds the socket open, but nobody connects to it any more.
            listener.shut();
        }
        self.let_go(index);
    }

    /// Accepts whoever waits.
    fn take_queue(&mut self, index: usize) {
        let Some(listener) = &self.doors[index].listener else {
            return;
        };
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match accept_with(&listener.fd, flags) {
                Ok(fd) => self.accepted.push_back((index, fd)),
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                // It does not listen any more.
                Err(Errno::AGAIN | Errno::INVAL) => break,
                Err(error) => {
                    self.sockets.say(Completion::Refused {
                        error: error.into(),
                    });
                    break;
                }
            }
        }
    }

    pub(super) fn hush(&mut self) {
        let listeners = self.doors.iter().filter_map(|door| door.listener.as_ref());
        listeners.for_each(Listener::hush);
    }

    /// Whoever the kernel has accepted for us meanwhile is ours, too.
    pub(super) fn hand_on(&mut self) {
        if !self.deaf {
            self.deaf = true;
            (0..self.doors.len()).for_each(|index| self.let_go(index));
        }
    }

    fn let_go(&mut self, index: usize) {
        if self.doors[index].accepting {
            self.ring.cancel(accept_token(index));
        } else {
            self.give_up(index);
        }
    }

    /// The kernel wakes one of those who wait for the same socket. If that was our request, which
    /// has ended, nobody else knows of who has come: it is ours.
    fn give_up(&mut self, index: usize) {
        self.take_queue(index);
        self.doors[index].listener = None;
    }
}

/// The completion for a peer; `None` if it has left already, or has no IP address, which
/// cannot come from an IP listener.
fn welcome(listener: usize, fd: OwnedFd) -> Option<Completion<'static>> {
    let address = retry(|| getpeername(&fd)).ok()??;
    let address = SocketAddr::try_from(address).ok()?;
    Some(Completion::Accepted {
        peer: Peer {
            address,
            listener,
            handle: Handle::Fd(fd),
        },
    })
}
