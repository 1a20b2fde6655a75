//! Receiving with io_uring: whom the kernel names, once in a turn.

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::ring::Event;
use super::token::Kind;
use super::{ENDING, Step, UringDriver};
use crate::driver::{Completion, Socket};
use crate::link::Flags;
use crate::stream::{receive, receive_behind};

impl UringDriver {
    #[inline]
    pub(super) fn step(&mut self) -> Option<Step> {
        if let Some(completion) = self.known.pop_front() {
            return Some(Step::Other(completion));
        }
        while let Some(event) = self.events.pop_front() {
            let socket = event.token.socket();
            if event.token.kind() == Kind::Readable {
                // The usual case, which is no more than a special one of the general.
                if let Some(entry) = self.entries.get_mut(socket.0 as usize)
                    && event.mask() == PollFlags::IN
                    && event.has_more()
                    && entry.turn != self.turn
                    && let Some(fd) = entry.plain(Flags::READABLE)
                {
                    let received = receive(fd, &mut self.scratch);
                    entry.turn = self.turn;
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
                } else if let Some(step) = self.on_readable_event(socket, &event) {
                    return Some(step);
                }
                continue;
            }
            if let Some(completion) = self.on_event(socket, event) {
                return Some(Step::Other(completion));
            }
        }
        if let Some(completion) = self.next_accepted() {
            return Some(Step::Other(completion));
        }
        while self.again_left > 0 {
            self.again_left -= 1;
            let socket = self.again.pop_front()?;
            self.entry(socket).flags.remove(Flags::AGAIN);
            if let Some(step) = self.on_readable(socket, PollFlags::IN) {
                return Some(step);
            }
        }
        None
    }

    /// Whatever is not a poll for bytes.
    #[inline(never)]
    fn on_event(&mut self, socket: Socket, event: Event) -> Option<Completion<'static>> {
        match event.token.kind() {
            Kind::Accept => return self.on_accept(event),
            Kind::Writable => return self.on_writable_event(socket, &event),
            Kind::Send => return self.on_send_event(socket, &event),
            Kind::Alarm => self.alarm.rang(),
            Kind::AlarmMoved => self.alarm.not_moved(),
            // The wait has ended, which was all; or what was to be cancelled has completed by
            // itself, and says so.
            Kind::Bell | Kind::Cancel => {}
            Kind::Readable => unreachable!("they are not given to this"),
        }
        None
    }

    #[inline(never)]
    fn on_readable_event(&mut self, socket: Socket, event: &Event) -> Option<Step> {
        if !event.has_more() {
            self.entry(socket).flags.remove(Flags::READABLE);
        }
        if self.is_closing(socket, event) {
            return self.closed(socket).map(Step::Other);
        }
        if let Some(error) = event.error() {
            // No memory for a poll. The peer cannot be served.
            return self.gone(socket, error).map(Step::Other);
        }
        let entry = self.entry(socket);
        if event.mask().intersects(ENDING) {
            entry.flags.insert(Flags::ENDING);
        }
        if !event.has_more() && !entry.flags.has(Flags::ENDED.or(Flags::GONE)) {
            // The ring was full, and the kernel gave up. A new poll says what there is, also
            // to whoever is paused now.
            self.arm_readable(socket);
        }
        self.on_readable(socket, event.mask())
    }

    #[inline(never)]
    fn on_readable(&mut self, socket: Socket, event: PollFlags) -> Option<Step> {
        let turn = self.turn;
        let entry = self.entries.get_mut(socket.0 as usize)?;
        if !entry.flags.may_receive() {
            if entry.flags.has(Flags::PAUSED) {
                entry.flags.insert(Flags::UNREAD);
                if event.contains(PollFlags::ERR) {
                    return self.on_error(socket).map(Step::Other);
                }
            }
            return None;
        }
        let fd = entry.fd.as_ref()?;
        if entry.turn == turn || entry.flags.has(Flags::AGAIN) {
            // It has had its turn, or is about to have it, and gets no two in one.
            self.receive_again(socket);
            return None;
        }
        entry.turn = turn;
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

    pub(super) fn receive_into(&mut self, socket: Socket, buffer: Vec<u8>, size: usize) {
        assert!(
            buffer.capacity() - buffer.len() >= size && size > 0,
            "no room in the buffer"
        );
        self.entry(socket).extra_mut().direct = Some((buffer, size));
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
