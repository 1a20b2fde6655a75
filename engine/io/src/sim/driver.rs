//! The driver of a simulated kernel.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::door::{Batch, Entry, Grant, Loss, News, Phase, Token};
use super::network::Network;
use super::wire::{EndId, Owner};
use super::{Link, World};
use crate::driver::Handle;
use crate::{
    Completion, Driver, Op, Parcel, Peer, Piece, Socket, Submitted, Timeout, Traffic, Waker,
};

/// The most that one receive yields, as on a real kernel.
const SCRATCH_SIZE: usize = 64 * 1024;

/// A [`Driver`] of a simulated [`World`].
///
/// # Panics
/// Whatever the contract forbids the caller ends in a panic that says what it was.
#[derive(Debug)]
pub struct SimDriver {
    world: World,
    index: usize,
    /// Lent to the caller, and overwritten as soon as that ends.
    scratch: Vec<u8>,
}

impl SimDriver {
    pub(super) fn new(world: World, index: usize) -> Self {
        Self {
            world,
            index,
            scratch: Vec::new(),
        }
    }

    /// Which driver of its world it is, counted from 0.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Where its first listener listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.world.network().doors[self.index].address
    }

    /// Where each of its listeners listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let network = self.world.network();
        let door = &network.doors[self.index];
        let indexes = 0..door.listener_count;
        indexes.map(|index| door.listener_address(index)).collect()
    }
}

impl Driver for SimDriver {
    fn submit(&mut self, op: Op<'_>) -> Submitted {
        self.scratch.clear();
        let door = self.index;
        // A peer that breaks the contract must not be dropped while the network is borrowed.
        let op = match op {
            Op::Open { socket, peer } => {
                let end = self.world.take(peer);
                self.world.network().open(door, socket, end);
                return Submitted::Done;
            }
            other => other,
        };
        let network = &mut *self.world.network();
        match op {
            Op::Listen => network.doors[door].listening = network.doors[door].open,
            Op::Deafen => network.deafen(door),
            Op::Hush => network.doors[door].open = false,
            Op::HandOn => {
                network.doors[door].open = false;
                network.doors[door].listening = false;
            }
            Op::Open { .. } => unreachable!("it was dealt with above"),
            Op::Connect { socket, to, from } => {
                network.connect_socket(door, socket, to, from);
                return Submitted::Pending;
            }
            Op::Send { socket, pieces } => return network.send(door, socket, pieces),
            Op::ReceiveInto {
                socket,
                buffer,
                size,
            } => {
                network.receive_into(door, socket, buffer, size);
                return Submitted::Pending;
            }
            Op::Pause { socket } => network.doors[door].entry(socket, "Pause").paused = true,
            Op::Resume { socket } => {
                network.doors[door].entry(socket, "Resume").paused = false;
                network.doors[door].ready.insert(socket);
            }
            Op::Shutdown { socket } => network.shut_down(door, socket),
            Op::Close { socket, reset } => return network.close(door, socket, reset),
        }
        Submitted::Done
    }

    fn wait(&mut self, timeout: Timeout) -> io::Result<()> {
        self.scratch.clear();
        let timeout = match timeout {
            Timeout::Now => Some(Duration::ZERO),
            Timeout::At(moment) => Some(moment.saturating_duration_since(self.now())),
            Timeout::Never => None,
        };
        self.world.network().wait(self.index, timeout);
        Ok(())
    }

    fn reap(&mut self) -> Option<Completion<'_>> {
        self.scratch.clear();
        loop {
            let mut network = self.world.network();
            let token = network.doors[self.index].turn.pop_front()?;
            let socket = match token {
                Token::Socket(socket) => socket,
                Token::Accept => match network.accept(self.index) {
                    Some(Grant::Refused) => {
                        let error = table_full(&mut network);
                        return Some(Completion::Refused { error });
                    }
                    Some(Grant::Peer(end)) => {
                        let address = network.end(end.other()).address;
                        let called = network.end(end).address;
                        let listener = network.doors[self.index].listener_at(called);
                        drop(network);
                        let handle = Handle::Sim(Link::new(self.world.clone(), end));
                        return Some(Completion::Accepted {
                            peer: Peer {
                                address,
                                listener: listener.expect("it waited there").into(),
                                handle,
                            },
                        });
                    }
                    None => continue,
                },
            };
            let Some(news) = network.choose(self.index, socket) else {
                continue;
            };
            return Some(
                match network.tell(self.index, socket, news, &mut self.scratch) {
                    Some(completion) => completion,
                    None => Completion::Received {
                        socket,
                        bytes: &mut self.scratch,
                    },
                },
            );
        }
    }

    fn now(&self) -> Instant {
        self.world.now()
    }

    fn traffic(&self, socket: Socket) -> Option<Traffic> {
        let network = self.world.network();
        let end = network.doors[self.index].sockets.get(&socket)?.end;
        let wire = network.wires.get(&end.wire)?;
        Some(Traffic {
            received: wire.pipes[end.other().side].landed,
            acknowledged: wire.pipes[end.side].landed,
        })
    }

    fn memory(&self) -> usize {
        self.scratch.capacity()
    }

    fn waker(&self) -> Waker {
        Waker::new(self.world.network().doors[self.index].bell.clone())
    }
}

impl Drop for SimDriver {
    fn drop(&mut self) {
        if let Some(mut network) = self.world.network_if_free() {
            network.close_door(self.index);
        }
    }
}

/// `EMFILE` or `ENFILE`, of the process or of the host.
fn table_full(network: &mut Network) -> io::Error {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    io::Error::from_raw_os_error(if network.chance.roll(0.5) {
        EMFILE
    } else {
        ENFILE
    })
}

/// What the operations do.
impl Network {
    fn open(&mut self, door: usize, socket: Socket, end: EndId) {
        let mut entry = Entry::new(end, Phase::Open);
        if self.end(end).lost {
            // It was reset while it waited to be accepted.
            entry.loss = Loss::Unsaid(io::ErrorKind::ConnectionReset);
        }
        self.end(end).owner = Owner::Socket { door, socket };
        self.insert(door, socket, entry);
    }

    fn insert(&mut self, door: usize, socket: Socket, entry: Entry) {
        let before = self.doors[door].sockets.insert(socket, entry);
        assert!(before.is_none(), "{socket:?} is in use already");
        self.doors[door].ready.insert(socket);
    }

    fn connect_socket(
        &mut self,
        door: usize,
        socket: Socket,
        to: SocketAddr,
        from: Option<SocketAddr>,
    ) {
        let mut open = self.doors.iter().enumerate().filter(|(_, door)| door.open);
        let target = open.find_map(|(index, door)| Some((index, door.listener_at(to)?)));
        let end = self.connect(Owner::Socket { door, socket }, from, target);
        self.insert(door, socket, Entry::new(end, Phase::Connecting));
    }

    fn send(&mut self, door: usize, socket: Socket, pieces: &[Piece<'_>]) -> Submitted {
        let entry = self.doors[door].entry(socket, "Send");
        let connected = !matches!(entry.phase, Phase::Connecting | Phase::Connected);
        assert!(connected, "Send: {socket:?} is not connected yet");
        assert!(!entry.shut, "Send: {socket:?} was shut down");
        assert!(
            entry.batch == Batch::None,
            "Send: a batch of {socket:?} is under way"
        );
        match entry.loss {
            Loss::No => {}
            Loss::Unsaid(_) => {
                entry.batch = Batch::UnderWay;
                return Submitted::Pending;
            }
            Loss::Said => return Submitted::Pending,
        }
        let from = entry.end;
        for piece in pieces {
            self.pipe(from).queue(match piece {
                Piece::Lent(bytes) => Parcel::copy_of(bytes),
                Piece::Shared(parcel) => (*parcel).clone(),
            });
        }
        if self.pipe(from).unsent_size() == 0 {
            return Submitted::Done;
        }
        if !self.chance.roll(self.faults.late_send) {
            let pipe = self.pipe(from);
            let size = pipe.unsent_size().min(pipe.room());
            self.launch(from, size);
            if self.pipe(from).unsent_size() == 0 {
                return Submitted::Done;
            }
        }
        self.doors[door].entry(socket, "Send").batch = Batch::UnderWay;
        self.write_soon(from);
        Submitted::Pending
    }

    fn receive_into(&mut self, door: usize, socket: Socket, buffer: Vec<u8>, size: usize) {
        let entry = self.doors[door].entry(socket, "ReceiveInto");
        let room = buffer.capacity() - buffer.len();
        assert!(size > 0, "ReceiveInto: {socket:?} asks for nothing");
        assert!(
            room >= size,
            "ReceiveInto: {socket:?} asks for {size} bytes, {room} fit"
        );
        assert!(
            entry.direct.is_none(),
            "ReceiveInto: {socket:?} has a buffer already"
        );
        assert!(
            !entry.ended,
            "ReceiveInto: {socket:?} has ended, this would wait for ever"
        );
        if entry.loss != Loss::Said {
            entry.direct = Some((buffer, size));
        }
    }

    fn shut_down(&mut self, door: usize, socket: Socket) {
        let entry = self.doors[door].entry(socket, "Shutdown");
        let connected = !matches!(entry.phase, Phase::Connecting | Phase::Connected);
        assert!(connected, "Shutdown: {socket:?} is not connected yet");
        entry.shut = true;
        let end = entry.end;
        if entry.loss == Loss::No {
            self.send_end(end);
        }
    }

    fn close(&mut self, door: usize, socket: Socket, reset: bool) -> Submitted {
        let late = self.chance.roll(self.faults.late_close);
        let talks = self.chance.roll(0.5);
        let entry = self.doors[door].entry(socket, "Close");
        let end = entry.end;
        if !late {
            self.doors[door].sockets.remove(&socket);
            self.doors[door].ready.remove(&socket);
            self.close_end(end, reset);
            return Submitted::Done;
        }
        // What has not begun cannot go on.
        let talks = talks && !matches!(entry.phase, Phase::Connecting | Phase::Connected);
        entry.phase = Phase::Closing { reset, talks };
        if !talks {
            entry.direct = None;
            self.close_end(end, reset);
        }
        self.close_later(door, socket);
        Submitted::Pending
    }

    fn deafen(&mut self, door: usize) {
        while let Some(end) = self.doors[door].waiting.pop_front() {
            if self.chance.roll(self.faults.refused) {
                self.doors[door].granted.push_back(Grant::Refused);
                self.close_end(end, true);
                break;
            }
            self.end(end).owner = Owner::Handed;
            self.doors[door].granted.push_back(Grant::Peer(end));
        }
        self.close_listener(door);
    }

    /// Closes the listener, and resets whoever still waits.
    fn close_listener(&mut self, door: usize) {
        self.doors[door].open = false;
        self.doors[door].listening = false;
        for end in std::mem::take(&mut self.doors[door].waiting) {
            self.close_end(end, true);
        }
    }

    fn close_door(&mut self, door: usize) {
        self.close_listener(door);
        for grant in std::mem::take(&mut self.doors[door].granted) {
            if let Grant::Peer(end) = grant {
                self.close_end(end, true);
            }
        }
        for (_, entry) in std::mem::take(&mut self.doors[door].sockets) {
            self.close_end(entry.end, false);
        }
        self.doors[door].ready.clear();
        self.doors[door].turn.clear();
    }

    fn accept(&mut self, door: usize) -> Option<Grant> {
        if let Some(grant) = self.doors[door].granted.pop_front() {
            return Some(grant);
        }
        if !self.doors[door].listening || self.doors[door].waiting.is_empty() {
            return None;
        }
        if self.chance.roll(self.faults.refused) {
            self.doors[door].listening = false;
            return Some(Grant::Refused);
        }
        let end = self.doors[door].waiting.pop_front()?;
        self.end(end).owner = Owner::Handed;
        Some(Grant::Peer(end))
    }

    /// One of the things that a socket could tell. If others remain, they come later in this
    /// turn or in the next.
    fn choose(&mut self, door: usize, socket: Socket) -> Option<News> {
        let news = self.news(door, socket);
        let index = if news.len() > 1 {
            self.chance.below(news.len())
        } else {
            0
        };
        let chosen = *news.get(index)?;
        if self.chance.roll(0.5) {
            self.doors[door].turn.push_back(Token::Socket(socket));
        }
        Some(chosen)
    }

    /// Makes the completion; `None` stands for bytes, which then lie in the scratch.
    fn tell(
        &mut self,
        door: usize,
        socket: Socket,
        news: News,
        scratch: &mut Vec<u8>,
    ) -> Option<Completion<'static>> {
        let entry = self.doors[door]
            .sockets
            .get_mut(&socket)
            .expect("it has news");
        Some(match news {
            News::Connected => {
                entry.phase = Phase::Open;
                Completion::Connected { socket }
            }
            News::Bytes => return self.tell_bytes(door, socket, scratch),
            News::End => {
                entry.ended = true;
                entry.direct = None;
                Completion::Ended { socket }
            }
            News::Sent => {
                entry.batch = Batch::None;
                Completion::Sent { socket }
            }
            News::Gone(kind) => {
                entry.loss = Loss::Said;
                entry.batch = Batch::None;
                entry.direct = None;
                let error = kind.into();
                Completion::Gone { socket, error }
            }
            News::Closed => {
                self.doors[door].sockets.remove(&socket);
                Completion::Closed { socket }
            }
        })
    }

    fn tell_bytes(
        &mut self,
        door: usize,
        socket: Socket,
        scratch: &mut Vec<u8>,
    ) -> Option<Completion<'static>> {
        let turn = self.doors[door].turn_count;
        let entry = self.doors[door]
            .sockets
            .get_mut(&socket)
            .expect("it has news");
        entry.received_turn = turn;
        let from = entry.end.other();
        let direct = entry.direct.take();
        let size_max = direct.as_ref().map_or(SCRATCH_SIZE, |&(_, size)| size);
        let mut size = self.pipe(from).arrived.len().min(size_max);
        if self.chance.roll(self.faults.short_receive) {
            size = self.chance.up_to(size);
        }
        let bytes = self.pipe(from).arrived.drain(..size);
        let completion = if let Some((mut buffer, _)) = direct {
            buffer.extend(bytes);
            Some(Completion::Filled { socket, buffer })
        } else {
            scratch.extend(bytes);
            None
        };
        self.write_soon(from);
        completion
    }
}
