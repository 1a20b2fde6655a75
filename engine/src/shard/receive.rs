//! Phase 2: completions become bytes, messages, and calls of the handler.

use std::time::Duration;

use tidegate_io::{Completion, Driver};
use tidegate_proto::{
    CloseCode, DeflatedMessage, Event, Input, Message, ReceivedMessage, Violation,
};

use super::{Context, EndReason, Flags, Handler, NONE, Shard, Stage};
use crate::core::{Operation, WireKind};
use crate::rates::What;

/// After the kernel could not accept, it is asked again so much later: often enough to serve
/// soon when there are descriptors again, and seldom enough to cost nothing.
const LISTEN_RETRY: Duration = Duration::from_millis(100);

/// An unfinished frame that lacks so much is received without a copy.
const DIRECT_SIZE_MIN: usize = 64 * 1024;

impl<D: Driver, H: Handler> Shard<D, H> {
    pub(super) fn receive(&mut self) {
        while let Some(completion) = self.driver.reap() {
            // The driver's bytes are lent to `completion`, so nothing of the shard that
            // would need the driver can be called: operations are queued.
            let mut half = Half {
                core: &mut self.core,
                handler: &mut self.handler,
            };
            let next = half.take(completion);
            if !matches!(next, Next::Nothing) {
                self.go_on(next);
            }
            if self.core.secure.is_some() {
                self.heed_told();
            }
            self.run_operations();
            // What has just been touched, here and in the kernel, is still in the nearest
            // cache: the replies to one read are sent before the next is received.
            self.answer();
            if self.core.secure.is_some() {
                self.send_said();
            }
            if self.core.is_full() {
                self.relieve();
            }
        }
    }

    /// Takes in the rest of a read that has brought forth much, part by part, each of which is
    /// sent before the next; whatever a peer that does not read would get is not even looked at.
    pub(super) fn read_on(&mut self, slot: u32, mut unread: Vec<u8>) {
        let generation = self.core.connections[slot as usize].generation;
        let mut read = 0;
        loop {
            self.relieve();
            if !self.is_current(slot, generation) {
                return;
            }
            self.core.pause_if_full(slot);
            let flags = self.core.connections[slot as usize].flags;
            if flags.has(Flags::METERED) && self.hold_if_spent(slot, &mut unread, read) {
                return;
            }
            let connection = &self.core.connections[slot as usize];
            if connection.flags.has(Flags::PAUSED) && connection.outbox != NONE {
                self.core.outboxes[connection.outbox as usize].hold(&unread[read..]);
                self.run_operations();
                return;
            }
            if !matches!(connection.stage, Stage::Open(_)) {
                return;
            }
            let mut half = Half {
                core: &mut self.core,
                handler: &mut self.handler,
            };
            match half.on_frames(slot, &mut unread[read..], flags.has(Flags::METERED)) {
                Next::Unread(rest) => read = unread.len() - rest,
                next => return self.go_on(next),
            }
        }
    }

    /// What could not be done while the driver's bytes were lent.
    #[inline(never)]
    pub(super) fn go_on(&mut self, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Ended(slot) => self.on_ended(slot),
            Next::Sent(slot) => self.on_sent(slot),
            Next::Gone(slot, errno) => self.on_gone(slot, errno),
            Next::Unread(_) => unreachable!("what was lent has been copied"),
            Next::ReadOn(slot, unread) => self.read_on(slot, unread),
            Next::Refused => self.listen_at = Some(self.core.now + LISTEN_RETRY),
            Next::End(slot, reason, code) => {
                self.end(slot, reason, code, None);
                self.core.finish(slot);
            }
        }
    }

    /// The peer is lost; if it had not said what it wants, that is a handshake that failed.
    fn on_gone(&mut self, slot: u32, errno: Option<i32>) {
        let stage = &self.core.connection(slot).stage;
        if let Stage::Handshake { .. } | Stage::Undecided { .. } = stage {
            self.core.record_lost(slot, errno);
            self.core.shared.refuse("gone");
        }
        self.end(slot, EndReason::Reset, None, errno);
        self.core.release(slot, false);
    }

    /// The peer will send no more: a WebSocket is over, a handshake will not come.
    pub(super) fn on_ended(&mut self, slot: u32) {
        let connection = self.core.connection(slot);
        connection.flags.set(Flags::ENDED);
        if connection.flags.has(Flags::SECURE) && self.is_truncated(slot) {
            return;
        }
        let connection = self.core.connection(slot);
        match &connection.stage {
            Stage::Handshake { head } => {
                // Who has said nothing, such as a probe of the port, has not failed.
                if !head.is_empty() {
                    self.core.record_lost(slot, None);
                    self.core.shared.refuse("gone");
                }
                self.core.release(slot, false);
            }
            // Nobody is left who could be told what is decided.
            Stage::Undecided { .. } => {
                self.core.record_lost(slot, None);
                self.core.shared.refuse("gone");
                self.core.release(slot, false);
            }
            Stage::Open(_) => {
                self.end(slot, EndReason::Ended, None, None);
                self.core.finish(slot);
            }
            Stage::Lingering if connection.flags.has(Flags::FINISHING) => {}
            Stage::Lingering => self.core.release(slot, false),
            Stage::Released => {}
        }
    }
}

/// What is left to be done when the bytes have been given back.
pub(super) enum Next {
    Nothing,
    Ended(u32),
    Sent(u32),
    /// With the error of the system.
    Gone(u32, Option<i32>),
    Refused,
    End(u32, EndReason, Option<CloseCode>),
    /// So many bytes at the end have not been looked at: too much is queued.
    Unread(usize),
    /// These bytes have not been looked at.
    ReadOn(u32, Vec<u8>),
}

/// A shard without its driver, which has lent its bytes.
pub(super) struct Half<'a, H: Handler> {
    pub(super) core: &'a mut super::Core<H>,
    pub(super) handler: &'a mut H,
}

impl<H: Handler> Half<'_, H> {
    #[inline]
    fn take(&mut self, completion: Completion<'_>) -> Next {
        match completion {
            Completion::Received { socket, bytes } => self.on_bytes(socket.0, bytes),
            other => self.take_other(other),
        }
    }

    #[inline(never)]
    fn take_other(&mut self, completion: Completion<'_>) -> Next {
        match completion {
            Completion::Received { .. } => unreachable!("it is never given to this"),
            Completion::Filled { socket, buffer } => return self.on_filled(socket.0, buffer),
            Completion::Sent { socket } => return Next::Sent(socket.0),
            Completion::Accepted { peer } => self.on_accepted(peer),
            Completion::Ended { socket } => return Next::Ended(socket.0),
            Completion::Gone { socket, error } => {
                return Next::Gone(socket.0, error.raw_os_error());
            }
            Completion::Closed { socket } => self.say_goodbye(socket.0),
            Completion::Refused { .. } => {
                self.core.counted.accept_failures += 1;
                return Next::Refused;
            }
            Completion::Connected { .. } => unreachable!("a shard does not connect"),
        }
        Next::Nothing
    }

    #[inline]
    fn on_bytes(&mut self, slot: u32, bytes: &mut [u8]) -> Next {
        self.core.counted.bytes_in += bytes.len() as u64;
        let flags = self.core.connection(slot).flags;
        // What a proxy says first is not encrypted.
        if flags.has(Flags::SECURE) && !flags.has(Flags::PROXIED) {
            return self.on_sealed(slot, bytes);
        }
        self.on_plain(slot, bytes)
    }

    /// What a peer has said, be it encrypted or not.
    #[inline]
    pub(super) fn on_plain(&mut self, slot: u32, bytes: &mut [u8]) -> Next {
        let tick = self.core.tick;
        let connection = self.core.connection(slot);
        match &mut connection.stage {
            Stage::Open(_) => {
                connection.heard = tick;
                if connection.flags.has(Flags::METERED) {
                    return self.on_metered_chunk(slot, bytes);
                }
                self.on_chunk(slot, bytes, false)
            }
            Stage::Handshake { head } => {
                let head = std::mem::take(head);
                if connection.flags.has(Flags::PROXIED) {
                    return self.on_proxy_header(slot, head, bytes);
                }
                self.on_head(slot, head, bytes)
            }
            Stage::Undecided { head } => {
                // It came before the driver was told to wait: one read at most.
                head.extend_from_slice(bytes);
                Next::Nothing
            }
            Stage::Lingering | Stage::Released => Next::Nothing,
        }
    }

    /// Bytes of an open WebSocket, which are lent.
    #[inline]
    pub(super) fn on_chunk(&mut self, slot: u32, bytes: &mut [u8], metered: bool) -> Next {
        match self.on_frames(slot, bytes, metered) {
            Next::Unread(rest) => Next::ReadOn(slot, bytes[bytes.len() - rest..].to_vec()),
            next => next,
        }
    }

    /// Bytes of an open WebSocket, as far as what they bring forth can be queued.
    ///
    /// `metered`: its rates are limited. One loop for both, with one bit for each message: compiled for each
    /// of them, the session would no longer be a part of either, which costs 30 instructions.
    fn on_frames(&mut self, slot: u32, bytes: &mut [u8], metered: bool) -> Next {
        let before = self.core.counted.messages_in;
        let next = self.take_frames(slot, bytes, metered);
        let count = self.core.counted.messages_in - before;
        let count = u32::try_from(count).expect("a read is far smaller");
        self.core.tallies.receive(slot, count);
        next
    }

    #[inline]
    fn take_frames(&mut self, slot: u32, bytes: &mut [u8], metered: bool) -> Next {
        self.core.reply_to(slot);
        let messages_before = self.core.counted.messages_in;
        let mut input = Input::new(bytes);
        loop {
            let start = self.core.turn.wire.len();
            let Stage::Open(open) = &mut self.core.connections[slot as usize].stage else {
                return Next::Nothing;
            };
            match open.session.receive(&mut input, &mut self.core.turn.wire) {
                Ok(Some(Event::Message(ReceivedMessage::Lent(message)))) => {
                    if metered && let Some(next) = self.meter_frames(slot, start, 1) {
                        return next;
                    }
                    self.on_message(slot, message);
                }
                event => match self.on_any_event(slot, start, event) {
                    None => {}
                    Some(Next::Nothing) => break,
                    Some(next) => return next,
                },
            }
            if input.is_empty() {
                break;
            }
            if self.core.is_full()
                || self.core.is_behind(slot)
                || metered && self.core.is_spent(slot)
            {
                return Next::Unread(input.remaining());
            }
        }
        let ended = self.core.counted.messages_in != messages_before;
        let connection = &mut self.core.connections[slot as usize];
        if let Stage::Open(open) = &mut connection.stage {
            // A message that takes long is in use all the while.
            if (ended || open.session.message_open()) && open.closing.is_none() {
                open.used = self.core.tick;
            }
            if open.session.message_open()
                || connection.message_due != 0
                || connection.flags.has(Flags::SENDING)
            {
                self.after_frames(slot, ended);
            }
        }
        if metered {
            self.after_metered(slot);
        }
        Next::Nothing
    }

    #[inline]
    fn on_message(&mut self, slot: u32, message: Message<'_>) {
        self.core.counted.messages_in += 1;
        let mut context = Context::new(self.core, slot);
        self.handler.on_message(&mut context, message);
    }

    /// `None`: there may be more events.
    #[inline(never)]
    fn on_any_event(
        &mut self,
        slot: u32,
        start: usize,
        event: Result<Option<Event<'_>>, Violation>,
    ) -> Option<Next> {
        let connection = &self.core.connections[slot as usize];
        if connection.flags.has(Flags::METERED)
            && let Some(next) = self.meter_event(slot, start, &event)
        {
            return Some(next);
        }
        self.on_event(slot, start, event)
    }

    fn on_event(
        &mut self,
        slot: u32,
        start: usize,
        event: Result<Option<Event<'_>>, Violation>,
    ) -> Option<Next> {
        match event {
            Ok(Some(Event::Message(message))) => {
                self.on_message(slot, message.message());
                None
            }
            Ok(Some(Event::Deflated(message))) => self.on_deflated(slot, start, &message),
            Ok(Some(Event::Ping(_))) => {
                self.core.hold_back(slot, start, WireKind::Pong);
                None
            }
            Ok(Some(Event::Pong(payload))) => {
                self.core.on_pong(slot, payload.as_slice());
                None
            }
            Ok(Some(Event::Close { code, .. })) => {
                self.core.hold_back(slot, start, WireKind::Other);
                Some(Next::End(slot, EndReason::ClosedByPeer, code))
            }
            Ok(None) => Some(Next::Nothing),
            Err(violation) => {
                self.core.hold_back(slot, start, WireKind::Other);
                let code = violation.code();
                Some(Next::End(slot, reason_of(&violation), Some(code)))
            }
        }
    }

    /// A compressed message: inflated into the shard's buffer, and handed over from there.
    fn on_deflated(
        &mut self,
        slot: u32,
        start: usize,
        message: &DeflatedMessage<'_>,
    ) -> Option<Next> {
        let mut buffer = self.core.compressor.take_buffer();
        let Stage::Open(open) = &mut self.core.connections[slot as usize].stage else {
            return Some(Next::Nothing);
        };
        let agreed = open.deflate.as_mut();
        let agreed = agreed.expect("a session that takes compressed messages has agreed to it");
        let size_max = open.session.message_size_max();
        let (kind, bytes) = (message.kind(), message.as_bytes());
        let compressor = &mut self.core.compressor;
        let inflated = compressor.inflate(agreed, kind, bytes, size_max, &mut buffer);
        let next = match inflated {
            Ok(message) => {
                self.on_message(slot, message);
                None
            }
            Err(violation) => {
                open.session.fail_with(violation, &mut self.core.turn.wire);
                self.core.hold_back(slot, start, WireKind::Other);
                let code = violation.code();
                Some(Next::End(slot, reason_of(&violation), Some(code)))
            }
        };
        self.core.compressor.give_back(buffer);
        next
    }

    /// The chunk is used up: is a message left open, and does too much wait to be sent?
    ///
    /// `ended`: a message did end in it, so one that is open has begun in it.
    #[inline(never)]
    fn after_frames(&mut self, slot: u32, ended: bool) {
        let connection = &mut self.core.connections[slot as usize];
        let Stage::Open(open) = &mut connection.stage else {
            return;
        };
        if open.session.message_open() {
            // What is encrypted has to be decrypted before it can lie where it belongs.
            if !connection.flags.has(Flags::SECURE)
                && let Some(direct) = open.session.take_buffer(DIRECT_SIZE_MIN)
            {
                let mut size = direct.wanted;
                if connection.flags.has(Flags::METERED) {
                    // What it says in one read is the most that it can owe.
                    size = size.min(DIRECT_SIZE_MIN);
                }
                let buffer = direct.buffer;
                self.core
                    .operations
                    .push(Operation::ReceiveInto { slot, buffer, size });
            }
            if connection.message_due == 0 || ended {
                self.core.begin_message(slot);
            }
        } else if connection.message_due != 0 {
            self.core.end_message(slot);
        }
        self.core.pause_if_full(slot);
    }

    fn on_filled(&mut self, slot: u32, buffer: Vec<u8>) -> Next {
        self.core.reply_to(slot);
        let start = self.core.turn.wire.len();
        let connection = &mut self.core.connections[slot as usize];
        let Stage::Open(open) = &mut connection.stage else {
            return Next::Nothing;
        };
        connection.heard = self.core.tick;
        // A message that takes long is in use all the while.
        if open.closing.is_none() {
            open.used = self.core.tick;
        }
        let before = open.session.buffer_size_given();
        let size = buffer.len().saturating_sub(before) as u64;
        self.core.counted.bytes_in += size;
        let is_metered = connection.flags.has(Flags::METERED);
        if is_metered && let Err(limit) = self.core.meter(slot, What::Bytes, size) {
            return self.end_over(slot, start, limit);
        }
        let Some(open) = self.core.connections[slot as usize].open() else {
            return Next::Nothing;
        };
        let messages_before = self.core.counted.messages_in;
        let event = open.session.give_buffer(buffer, &mut self.core.turn.wire);
        let next = self.on_any_event(slot, start, event);
        if let Some(next @ (Next::Ended(_) | Next::End(..))) = next {
            return next;
        }
        self.after_frames(slot, self.core.counted.messages_in != messages_before);
        if is_metered {
            self.after_metered(slot);
        }
        Next::Nothing
    }
}

fn reason_of(violation: &Violation) -> EndReason {
    match violation.code() {
        CloseCode::TOO_BIG => EndReason::TooBig,
        _ if *violation == Violation::DeflateInvalid => EndReason::InvalidDeflate,
        CloseCode::INVALID_PAYLOAD => EndReason::InvalidUtf8,
        _ => EndReason::ProtocolError,
    }
}
