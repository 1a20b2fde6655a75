//! Receiving with io_uring: whom the kernel names, once in a turn.

use rustix::event::PollFlags;

use super::ring::Event;
use super::token::Kind;
use super::{ENDING, UringDriver};
use crate::driver::{Completion, Socket};
use crate::link::Flags;
use crate::sockets::Step;

impl UringDriver {
    #[inline]
    pub(super) fn step(&mut self) -> Option<Step> {
        if let Some(step) = self.sockets.next_known() {
            return Some(step);
        }
        while let Some(event) = self.events.pop_front() {
            let socket = event.token.socket();
            if event.token.kind() == Kind::Readable {
                let entry = self.sockets.entry(socket);
                let step = if event.mask() == PollFlags::IN
                    && event.has_more()
                    && entry.turn != self.turn
                    && entry.plain(Flags::READABLE).is_some()
                {
                    entry.turn = self.turn;
                    self.sockets.receive_plain(socket)
                } else {
                    self.on_readable_event(socket, &event)
                };
                if step.is_some() {
                    return step;
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
        while let Some(socket) = self.sockets.next_again() {
            if let Some(step) = self.on_readable(socket, false) {
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
            self.sockets.entry(socket).flags.remove(Flags::READABLE);
        }
        if self.is_closing(socket, event) {
            return self.closed(socket).map(Step::Other);
        }
        if let Some(error) = event.error() {
            // No memory for a poll. The peer cannot be served.
            return self.sockets.gone(socket, error).map(Step::Other);
        }
        let entry = self.sockets.entry(socket);
        let ends = event.mask().intersects(ENDING);
        if ends {
            entry.flags.insert(Flags::ENDING);
        }
        // Those who leave wait for those who stay: thousands may leave at once.
        let later = ends && entry.flags.may_receive();
        if !event.has_more() && !entry.flags.has(Flags::ENDED.or(Flags::GONE)) {
            // The ring was full, and the kernel gave up. A new poll says what there is, also
            // to whoever is paused now.
            self.arm_readable(socket);
        }
        if later {
            self.sockets.receive_again(socket);
            return None;
        }
        self.on_readable(socket, event.mask().contains(PollFlags::ERR))
    }

    #[inline(never)]
    fn on_readable(&mut self, socket: Socket, broken: bool) -> Option<Step> {
        let turn = self.turn;
        let entry = self.sockets.entry(socket);
        if entry.flags.may_receive() {
            if entry.turn == turn || entry.flags.has(Flags::AGAIN) {
                // It has had its turn, or is about to have it, and gets no two in one.
                self.sockets.receive_again(socket);
                return None;
            }
            entry.turn = turn;
        }
        self.sockets.on_readable(socket, broken)
    }
}
