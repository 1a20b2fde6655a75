//! Accepting peers with epoll: some in each turn, and none while the file table is full.

use std::net::SocketAddr;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};

use super::{EpollDriver, token_of_listener};
use crate::driver::{Completion, Handle, Peer};

impl EpollDriver {
    /// Accepts one peer of this listener; `None` when its queue is empty or the turn has had its
    /// share.
    pub(super) fn accept(&mut self, index: usize) -> Option<Completion<'static>> {
        let completion = self.take(index);
        if matches!(completion, Some(Completion::Refused { .. })) {
            self.listen(false);
        }
        completion
    }

    fn take(&mut self, index: usize) -> Option<Completion<'static>> {
        let door = self.doors.get_mut(index)?;
        while door.accepts_left > 0 {
            door.accepts_left -= 1;
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match acceptfrom_with(&door.listener.fd, flags) {
                Ok((fd, address)) => {
                    // A peer without an IP address cannot come from an IP listener.
                    let Some(Ok(address)) = address.map(SocketAddr::try_from) else {
                        continue;
                    };
                    return Some(Completion::Accepted {
                        peer: Peer {
                            address,
                            listener: index,
                            handle: Handle::Fd(fd),
                        },
                    });
                }
                Err(Errno::AGAIN) => return None,
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(error) => {
                    return Some(Completion::Refused {
                        error: error.into(),
                    });
                }
            }
        }
        None
    }

    pub(super) fn listen(&mut self, on: bool) {
        let interest = if on {
            EventFlags::IN
        } else {
            EventFlags::empty()
        };
        for (index, door) in self.doors.iter_mut().enumerate() {
            if !on {
                door.accepts_left = 0;
            }
            let data = token_of_listener(index);
            if !door.listener.is_crowded {
                // It was added by `new`, and changing an interest takes no memory.
                epoll::modify(&self.epoll, &door.listener.fd, data, interest)
                    .expect("the listener is registered");
                continue;
            }
            // Of all shards that wait for the same socket, one is woken for each connect. Such an
            // interest cannot be changed, only taken away, if it is there, and added.
            let _ = epoll::delete(&self.epoll, &door.listener.fd);
            let interest = interest | EventFlags::EXCLUSIVE;
            if on && let Err(error) = epoll::add(&self.epoll, &door.listener.fd, data, interest) {
                let error = error.into();
                self.sockets.say(Completion::Refused { error });
            }
        }
    }

    pub(super) fn deafen(&mut self) {
        self.hand_on();
    }

    pub(super) fn hush(&mut self) {
        self.doors.iter().for_each(|door| door.listener.hush());
    }

    pub(super) fn hand_on(&mut self) {
        for index in 0..self.doors.len() {
            // As long as anybody holds the socket, epoll would tell of it.
            let _ = epoll::delete(&self.epoll, &self.doors[index].listener.fd);
            // If others wait for the same socket and we were the one that was woken, nobody else
            // knows of who has come.
            self.doors[index].accepts_left = usize::MAX;
            while let Some(completion) = self.take(index) {
                let refused = matches!(completion, Completion::Refused { .. });
                self.sockets.say(completion);
                if refused {
                    break;
                }
            }
        }
        self.doors.clear();
    }
}
