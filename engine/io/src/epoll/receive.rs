//! Receiving with epoll: who is told of, and who waits for the next turn.

use rustix::event::epoll::EventFlags;

use super::{ENDING, EpollDriver, TOKEN_ALARM, TOKEN_LISTENER, TOKEN_WAKER};
use crate::driver::Socket;
use crate::link::{Entry, Flags};
use crate::sockets::Step;

/// The stream has broken, or a connect has failed.
const BROKEN: EventFlags = EventFlags::ERR.union(EventFlags::HUP);

impl EpollDriver {
    #[inline]
    pub(super) fn step(&mut self) -> Option<Step> {
        if let Some(step) = self.sockets.next_known() {
            return Some(step);
        }
        while let Some(&event) = self.events.get(self.event_index) {
            let flags = event.flags;
            match event.data.u64() {
                TOKEN_WAKER => {}
                TOKEN_ALARM => self.alarm.rang(),
                token if token >= TOKEN_LISTENER => {
                    let index = usize::try_from(token - TOKEN_LISTENER).expect("they are few");
                    if let Some(completion) = self.accept(index) {
                        return Some(Step::Other(completion));
                    }
                }
                token => {
                    let socket = Socket(u32::try_from(token).expect("sockets have 32 bits"));
                    let plain = self.sockets.entry(socket).plain(Flags::empty()).is_some();
                    if plain && flags.contains(EventFlags::IN) && !flags.intersects(ENDING) {
                        self.event_index += 1;
                        if let Some(step) = self.sockets.receive_plain(socket) {
                            return Some(step);
                        }
                        continue;
                    }
                    if flags.contains(EventFlags::OUT) && awaits_room(self.sockets.entry(socket)) {
                        // The rest of the event is looked at in the next step.
                        self.events[self.event_index].flags = flags - EventFlags::OUT;
                        if let Some(completion) = self.on_writable(socket) {
                            return Some(Step::Other(completion));
                        }
                    }
                    self.event_index += 1;
                    if let Some(step) = self.on_readable(socket, flags - EventFlags::OUT) {
                        return Some(step);
                    }
                    continue;
                }
            }
            self.event_index += 1;
        }
        while let Some(socket) = self.sockets.next_again() {
            if let Some(step) = self.sockets.on_readable(socket, false) {
                return Some(step);
            }
        }
        None
    }

    #[inline(never)]
    fn on_readable(&mut self, socket: Socket, event: EventFlags) -> Option<Step> {
        if event.is_empty() {
            return None;
        }
        let entry = self.sockets.entry(socket);
        let ends = event.intersects(ENDING);
        if ends {
            entry.flags.insert(Flags::ENDING);
        }
        // It has its turn later in this one, or in the next, and gets no two in one. Those who
        // leave wait for those who stay: thousands may leave at once.
        if entry.flags.may_receive() && (ends || entry.flags.has(Flags::AGAIN)) {
            self.sockets.receive_again(socket);
            return None;
        }
        self.sockets.on_readable(socket, event.intersects(BROKEN))
    }
}

/// Does an event for writing mean anything?
fn awaits_room(entry: &Entry) -> bool {
    entry.flags.has(Flags::CONNECTING) || entry.has_batch()
}
