//! What happens on the simulated wires: connects, writes, landings, resets, closes.

use std::io;

use super::door::{Batch, Loss, Phase};
use super::network::{Event, Network};
use super::wire::{EndId, Fin, Owner, Segment};
use crate::Socket;
use crate::listener::BACKLOG;

impl Network {
    pub(super) fn on_connect(&mut self, wire: u64, door: Option<usize>) {
        let near = EndId { wire, side: 0 };
        let far = near.other();
        if !matches!(self.end(far).owner, Owner::Arriving) {
            return;
        }
        let backlog = usize::try_from(BACKLOG).expect("it is positive");
        let found = door.filter(|&d| self.doors[d].open && self.doors[d].waiting.len() < backlog);
        if let Some(door) = found {
            self.end(far).owner = Owner::Waiting;
            self.doors[door].waiting.push_back(far);
            self.stirred = true;
            self.schedule(Event::Connected { wire });
        } else {
            self.end(far).owner = Owner::Closed;
            self.schedule(Event::Refused { wire });
        }
    }

    pub(super) fn on_connected(&mut self, wire: u64) {
        let end = EndId { wire, side: 0 };
        if self.end(end).lost {
            return;
        }
        match &mut self.end(end).owner {
            Owner::Client(inbox) => inbox.connected = true,
            &mut Owner::Socket { door, socket } => {
                let entry = self.doors[door].sockets.get_mut(&socket);
                let entry = entry.expect("an end that is a socket's has one");
                if entry.phase == Phase::Connecting && entry.loss == Loss::No {
                    entry.phase = Phase::Connected;
                }
            }
            Owner::Arriving | Owner::Waiting | Owner::Handed | Owner::Closed => {}
        }
        self.stir(end);
    }

    pub(super) fn on_refused(&mut self, wire: u64) {
        let end = EndId { wire, side: 0 };
        if let Owner::Client(inbox) = &mut self.end(end).owner {
            inbox.refused = true;
        }
        self.lose(end, io::ErrorKind::ConnectionRefused);
    }

    /// The next segment of `from` reaches the other end.
    pub(super) fn on_landed(&mut self, from: EndId) {
        let to = from.other();
        let Some(segment) = self.pipe(from).land() else {
            return;
        };
        if self.end(to).lost {
            return;
        }
        if matches!(self.end(to).owner, Owner::Closed) {
            // Nobody is there to read them, which TCP answers with a reset.
            if matches!(segment, Segment::Bytes(_)) {
                self.send_reset(from);
            }
            return;
        }
        let pipe = self.pipe(from);
        match segment {
            Segment::Bytes(bytes) => pipe.arrived.extend(bytes),
            Segment::End => pipe.fin = Fin::Arrived,
        }
        self.deliver(to);
        if self.chance.roll(self.faults.reset) {
            self.on_reset(from);
            self.on_reset(to);
        }
    }

    /// A client that reads takes what has arrived at once; a driver asks for it.
    pub(super) fn deliver(&mut self, to: EndId) {
        let from = to.other();
        let wire = self
            .wires
            .get_mut(&to.wire)
            .expect("an end in use keeps its wire");
        let pipe = &mut wire.pipes[from.side];
        if let Owner::Client(inbox) = &mut wire.ends[to.side].owner
            && inbox.reading
        {
            inbox.bytes.extend(pipe.arrived.drain(..));
            inbox.ended |= pipe.fin == Fin::Arrived;
            self.write_soon(from);
        }
        self.stir(to);
    }

    /// There may be room for what `from` has not sent yet.
    pub(super) fn write_soon(&mut self, from: EndId) {
        let pipe = self.pipe(from);
        if pipe.unsent_size() > 0 && !pipe.pumping {
            pipe.pumping = true;
            self.schedule(Event::Write { from });
        }
    }

    pub(super) fn on_write(&mut self, from: EndId) {
        self.pipe(from).pumping = false;
        let pipe = self.pipe(from);
        let size = pipe.unsent_size().min(pipe.room());
        if size > 0 {
            let short = self.chance.roll(self.faults.short_write);
            let size = if short { self.chance.up_to(size) } else { size };
            self.launch(from, size);
        }
        let pipe = self.pipe(from);
        if pipe.unsent_size() == 0 {
            self.all_sent(from);
        } else if pipe.room() > 0 {
            self.write_soon(from);
        }
    }

    /// Puts bytes on their way, cut wherever the network likes.
    pub(super) fn launch(&mut self, from: EndId, size: usize) {
        let mut size = size;
        while size > 0 {
            let short = self.chance.roll(self.faults.short_write);
            let part = if short { self.chance.up_to(size) } else { size };
            self.pipe(from).launch(part);
            self.schedule_landing(from);
            size -= part;
        }
    }

    fn schedule_landing(&mut self, from: EndId) {
        let at = self.later();
        let pipe = self.pipe(from);
        let at = at.max(pipe.last_arrival);
        pipe.last_arrival = at;
        self.schedule_at(at, Event::Land { from });
    }

    /// Nothing is unsent: a batch is through, and the end of the stream may follow.
    fn all_sent(&mut self, from: EndId) {
        if let Owner::Socket { door, socket } = self.end(from).owner
            && let Some(entry) = self.doors[door].sockets.get_mut(&socket)
            && entry.batch == Batch::UnderWay
        {
            entry.batch = Batch::Sent;
            self.stir(from);
        }
        if self.pipe(from).fin == Fin::Wanted {
            self.send_end(from);
        }
    }

    /// Sends the end of the stream, behind all that is unsent.
    pub(super) fn send_end(&mut self, from: EndId) {
        let pipe = self.pipe(from);
        match pipe.fin {
            Fin::Sent | Fin::Arrived => {}
            Fin::Open | Fin::Wanted if pipe.unsent_size() > 0 => pipe.fin = Fin::Wanted,
            Fin::Open | Fin::Wanted => {
                pipe.fin = Fin::Sent;
                pipe.flight.push_back(Segment::End);
                self.schedule_landing(from);
            }
        }
    }

    /// Sends a reset, which may overtake what is on its way.
    pub(super) fn send_reset(&mut self, to: EndId) {
        self.schedule(Event::Reset { to });
    }

    pub(super) fn on_reset(&mut self, to: EndId) {
        let end = self.end(to);
        if let Owner::Client(inbox) = &mut end.owner
            && !end.lost
        {
            inbox.reset = true;
        }
        let kind = match self.chance.below(4) {
            0 => io::ErrorKind::TimedOut,
            1 => io::ErrorKind::BrokenPipe,
            _ => io::ErrorKind::ConnectionReset,
        };
        self.lose(to, kind);
    }

    /// Nothing will reach this end, or leave it, any more.
    fn lose(&mut self, end: EndId, kind: io::ErrorKind) {
        self.pipe(end).forget_unsent();
        self.pipe(end.other()).forget_flight();
        if self.end(end).lost {
            return;
        }
        self.end(end).lost = true;
        let loses = self.chance.roll(self.faults.reset_loses);
        let pipe = self.pipe(end.other());
        if loses && !pipe.arrived.is_empty() {
            pipe.arrived.clear();
            // The end of the stream comes after all bytes, or not at all.
            pipe.fin = Fin::Sent;
        }
        if let Owner::Socket { door, socket } = self.end(end).owner
            && let Some(entry) = self.doors[door].sockets.get_mut(&socket)
        {
            entry.loss = Loss::Unsaid(kind);
        }
        self.stir(end);
    }

    pub(super) fn close_later(&mut self, door: usize, socket: Socket) {
        self.schedule(Event::Close { door, socket });
    }

    pub(super) fn finish_close(&mut self, door: usize, socket: Socket) {
        let Some(entry) = self.doors[door].sockets.get_mut(&socket) else {
            return;
        };
        let Phase::Closing { reset, talks } = entry.phase else {
            return;
        };
        entry.phase = Phase::Closed;
        entry.direct = None;
        let end = entry.end;
        self.doors[door].ready.insert(socket);
        self.stirred = true;
        if talks {
            self.close_end(end, reset);
        }
    }

    /// Lets go of an end, as `close` does on a real kernel: with bytes unread, or with
    /// `reset`, the peer is reset; otherwise it sees the end of the stream.
    pub(super) fn close_end(&mut self, end: EndId, reset: bool) {
        if !self.wires.contains_key(&end.wire) {
            return;
        }
        let far = end.other();
        let was_client = matches!(self.end(end).owner, Owner::Client(_));
        self.end(end).owner = Owner::Closed;
        let unread = !self.pipe(far).arrived.is_empty();
        self.pipe(far).arrived.clear();
        if self.end(end).lost {
            self.pipe(end).forget_unsent();
        } else if matches!(self.end(far).owner, Owner::Arriving) && !was_client {
            // A connect that is given up.
            self.end(far).owner = Owner::Closed;
        } else if reset || unread {
            self.pipe(end).forget_unsent();
            self.end(end).lost = true;
            if reset && self.chance.roll(self.faults.reset_loses) {
                self.pipe(end).forget_flight();
            }
            self.send_reset(far);
        } else {
            // A driver sends nothing after the close; a client's kernel sends what it holds.
            if !was_client {
                self.pipe(end).forget_unsent();
            }
            self.send_end(end);
        }
        self.tidy(end.wire);
    }
}
