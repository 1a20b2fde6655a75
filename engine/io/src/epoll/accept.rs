//! Accepting peers with epoll: some in each turn, and none while the file table is full.

use std::net::SocketAddr;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use super::{EpollDriver, TOKEN_LISTENER};
use crate::driver::{Completion, Handle, Peer};

impl EpollDriver {
    /// Accepts one peer; `None` when the queue is empty or the turn has had its share.
    pub(super) fn accept(&mut self) -> Option<Completion<'static>> {
        let listener = self.listener.as_ref()?;
        while self.accepts_left > 0 {
            self.accepts_left -= 1;
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match acceptfrom_with(&listener.fd, flags) {
                Ok((fd, address)) => {
                    // A peer without an IP address cannot come from an IP listener.
                    let Some(Ok(address)) = address.map(SocketAddr::try_from) else {
                        continue;
                    };
                    return Some(Completion::Accepted {
                        peer: Peer {
                            address,
                            handle: Handle::Fd(fd),
                        },
                    });
                }
                Err(Errno::AGAIN) => return None,
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(error) => {
                    self.listen(false);
                    self.accepts_left = 0;
                    return Some(Completion::Refused {
                        error: error.into(),
                    });
                }
            }
        }
        None
    }

    pub(super) fn listen(&mut self, on: bool) {
        if let Some(listener) = &self.listener {
            if listener.is_crowded {
                return self.listen_with_others(on);
            }
            let interest = if on {
                EventFlags::IN
            } else {
                EventFlags::empty()
            };
            let data = EventData::new_u64(TOKEN_LISTENER);
            // It was added by `new`, and changing an interest takes no memory.
            epoll::modify(&self.epoll, &listener.fd, data, interest)
                .expect("the listener is registered");
        }
    }

    /// Of all shards that wait for the same socket, one is woken for each connect. Such an interest
    /// cannot be changed, only added and taken away.
    fn listen_with_others(&mut self, on: bool) {
        let Some(listener) = &self.listener else {
            return;
        };
        // It may be there, or not.
        let _ = epoll::delete(&self.epoll, &listener.fd);
        if on {
            let interest = EventFlags::IN | EventFlags::EXCLUSIVE;
            let data = EventData::new_u64(TOKEN_LISTENER);
            if let Err(error) = epoll::add(&self.epoll, &listener.fd, data, interest) {
                let error = error.into();
                self.sockets.say(Completion::Refused { error });
            }
        }
    }

    pub(super) fn deafen(&mut self) {
        self.accepts_left = usize::MAX;
        while let Some(completion) = self.accept() {
            let refused = matches!(completion, Completion::Refused { .. });
            self.sockets.say(completion);
            if refused {
                break;
            }
        }
        self.hand_on();
    }

    pub(super) fn hush(&mut self) {
        if let Some(listener) = &self.listener {
            listener.hush();
        }
    }

    pub(super) fn hand_on(&mut self) {
        if let Some(listener) = self.listener.take() {
            // As long as anybody holds the socket, epoll would tell of it.
            let _ = epoll::delete(&self.epoll, &listener.fd);
        }
    }
}
