//! Receiving with epoll: one `recv` for each event, into the scratch or a buffer of its own.

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::{ENDING, EpollDriver, Step, TOKEN_ALARM, TOKEN_LISTENER, TOKEN_WAKER};
use crate::driver::{Completion, Socket};
use crate::link::{Entry, Flags};
use crate::stream::{receive, receive_behind};

impl EpollDriver {
    #[inline]
    pub(super) fn step(&mut self) -> Option<Step> {
        if let Some(completion) = self.known.pop_front() {
            return Some(Step::Other(completion));
        }
        while let Some(&event) = self.events.get(self.event_index) {
            let flags = event.flags;
            match event.data.u64() {
                TOKEN_WAKER => {}
                TOKEN_ALARM => self.alarm.rang(),
                TOKEN_LISTENER => {
                    if let Some(completion) = self.accept() {
                        return Some(Step::Other(completion));
                    }
                }
                token => {
                    let socket = Socket(u32::try_from(token).expect("sockets have 32 bits"));
                    if let Some(fd) = self.entries[socket.0 as usize].plain(Flags::empty())
                        && flags.contains(EventFlags::IN)
                        && !flags.intersects(ENDING)
                    {
                        // The usual case, which is no more than a special one of the general.
                        self.event_index += 1;
                        let received = receive(fd, &mut self.scratch);
                        if let Ok(size) = received
                            && size > 0
                            && size < self.scratch.len()
                        {
                            return Some(Step::Received(socket, size));
                        }
                        let full = received == Ok(self.scratch.len());
                        if let Some(step) = self.received(socket, received, full) {
                            return Some(step);
                        }
                        continue;
                    }
                    if flags.contains(EventFlags::OUT) && awaits_room(self.entry(socket)) {
                        // The rest of the event is looked at in the next step.
                        self.events[self.event_index].flags = flags - EventFlags::OUT;
                        if let Some(completion) = self.on_writable(socket) {
                            return Some(Step::Other(completion));
                        }
                    }
                    self.event_index += 1;
                    let flags = flags - EventFlags::OUT;
                    let entry = self.entry(socket);
                    let ends = flags.intersects(ENDING);
                    if ends {
                        entry.flags.insert(Flags::ENDING);
                    }
                    // It has its turn below, or in the next turn, and gets no two in one. Those who
                    // leave wait for those who stay: thousands may leave at once.
                    if entry.flags.may_receive() && (ends || entry.flags.has(Flags::AGAIN)) {
                        self.receive_again(socket);
                        continue;
                    }
                    if !flags.is_empty()
                        && let Some(step) = self.on_readable(socket, flags)
                    {
                        return Some(step);
                    }
                    continue;
                }
            }
            self.event_index += 1;
        }
        while self.again_left > 0 {
            self.again_left -= 1;
            let socket = self.again.pop_front()?;
            self.entry(socket).flags.remove(Flags::AGAIN);
            if let Some(step) = self.on_readable(socket, EventFlags::IN) {
                return Some(step);
            }
        }
        None
    }

    #[inline(never)]
    fn on_readable(&mut self, socket: Socket, event: EventFlags) -> Option<Step> {
        let entry = self.entries.get_mut(socket.0 as usize)?;
        if !entry.flags.may_receive() {
            if entry.flags.has(Flags::CONNECTING) {
                return self.on_connect_failed(socket, event).map(Step::Other);
            }
            if entry.flags.has(Flags::PAUSED) {
                entry.flags.insert(Flags::UNREAD);
                if event.contains(EventFlags::ERR) {
                    return self.on_error(socket).map(Step::Other);
                }
            }
            return None;
        }
        let fd = entry.fd.as_ref()?;
        let direct = entry.extra.as_mut().and_then(|extra| extra.direct.take());
        if let Some((mut buffer, size)) = direct {
            let before = buffer.len();
            let outcome = receive_behind(fd, &mut buffer, size);
            let full = buffer.len() - before == size;
            if let Err(Errno::AGAIN) = outcome {
                self.receive_into(socket, buffer, size);
                return None;
            }
            return match self.received(socket, outcome, full)? {
                Step::Received(..) => Some(Step::Other(Completion::Filled { socket, buffer })),
                other @ Step::Other(_) => Some(other),
            };
        }
        let outcome = receive(fd, &mut self.scratch);
        let full = outcome == Ok(self.scratch.len());
        self.received(socket, outcome, full)
    }

    /// What a `recv` means, and whether there must be another one.
    #[inline(never)]
    fn received(
        &mut self,
        socket: Socket,
        outcome: Result<usize, Errno>,
        full: bool,
    ) -> Option<Step> {
        match outcome {
            Ok(0) => {
                self.entry(socket).flags.insert(Flags::ENDED);
                Some(Step::Other(Completion::Ended { socket }))
            }
            Ok(size) => {
                // The end of the stream is already known, but comes after these bytes.
                if full || self.entry(socket).flags.has(Flags::ENDING) {
                    self.receive_again(socket);
                }
                Some(Step::Received(socket, size))
            }
            Err(Errno::AGAIN) => None,
            Err(error) => self.gone(socket, error).map(Step::Other),
        }
    }

    fn on_error(&mut self, socket: Socket) -> Option<Completion<'static>> {
        let error = self.entry(socket).socket_error()?;
        self.gone(socket, error)
    }

    fn on_connect_failed(
        &mut self,
        socket: Socket,
        event: EventFlags,
    ) -> Option<Completion<'static>> {
        if event.intersects(EventFlags::ERR | EventFlags::HUP) {
            self.on_error(socket)
        } else {
            None
        }
    }

    pub(super) fn receive_into(&mut self, socket: Socket, buffer: Vec<u8>, size: usize) {
        assert!(
            buffer.capacity() - buffer.len() >= size && size > 0,
            "no room in the buffer"
        );
        let entry = self.entry(socket);
        entry.extra_mut().direct = Some((buffer, size));
    }

    pub(super) fn resume(&mut self, socket: Socket) {
        let entry = self.entry(socket);
        entry.flags.remove(Flags::PAUSED);
        if entry.flags.has(Flags::UNREAD) {
            entry.flags.remove(Flags::UNREAD);
            self.receive_again(socket);
        }
    }

    pub(super) fn receive_again(&mut self, socket: Socket) {
        let entry = self.entry(socket);
        if !entry.flags.has(Flags::AGAIN) {
            entry.flags.insert(Flags::AGAIN);
            self.again.push_back(socket);
        }
    }
}

/// Does an event for writing mean anything?
fn awaits_room(entry: &Entry) -> bool {
    entry.flags.has(Flags::CONNECTING) || entry.has_batch()
}
