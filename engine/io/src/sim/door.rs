//! What the simulated kernel keeps for one driver: its listener, its sockets, its turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::network::Network;
use super::wire::{EndId, Fin};
use crate::Socket;
use crate::waker::Ring;

/// How many peers one turn accepts.
const ACCEPTS_MAX: usize = 64;

/// A driver, seen from the network.
#[derive(Debug)]
pub(super) struct Door {
    /// Where its first listener listens; the others have the ports behind.
    pub(super) address: SocketAddr,
    /// How many listeners it has.
    pub(super) listener_count: u16,
    /// The listeners exist, so that connects succeed.
    pub(super) open: bool,
    /// Those who connected are accepted.
    pub(super) listening: bool,
    /// Connected, not yet accepted.
    pub(super) waiting: VecDeque<EndId>,
    /// Taken out of the queue by `Op::Deafen`, to be told.
    pub(super) granted: VecDeque<Grant>,
    pub(super) sockets: BTreeMap<Socket, Entry>,
    /// Those that may have something to tell. A superset of those that do.
    pub(super) ready: BTreeSet<Socket>,
    /// What is left of this turn.
    pub(super) turn: VecDeque<Token>,
    pub(super) turn_count: u64,
    pub(super) bell: Arc<Bell>,
}

/// Set when rung; the only part of the simulation that other threads touch.
#[derive(Debug, Default)]
pub(super) struct Bell(AtomicBool);

impl Bell {
    /// Was it rung since the last call?
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }

    pub(super) fn is_rung(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Ring for Arc<Bell> {
    fn ring(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The outcome of an accept that `Op::Deafen` made.
#[derive(Debug, Clone, Copy)]
pub(super) enum Grant {
    Peer(EndId),
    Refused,
}

/// A place in the turn. What it yields is decided when it is reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Accept,
    Socket(Socket),
}

/// One socket of a driver.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) end: EndId,
    pub(super) phase: Phase,
    pub(super) paused: bool,
    /// `Op::Shutdown` was asked for.
    pub(super) shut: bool,
    /// `Ended` has been said.
    pub(super) ended: bool,
    pub(super) loss: Loss,
    pub(super) batch: Batch,
    /// Where the next bytes go, and how many at most.
    pub(super) direct: Option<(Vec<u8>, usize)>,
    /// The turn of the last bytes.
    pub(super) received_turn: u64,
}

/// The life of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    /// Connected, which has not been said.
    Connected,
    Open,
    /// A close is under way. With `talks`, other completions still come.
    Closing {
        reset: bool,
        talks: bool,
    },
    /// Closed, which has not been said.
    Closed,
}

/// Whether the peer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    No,
    Unsaid(io::ErrorKind),
    Said,
}

/// The one batch that may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Batch {
    None,
    UnderWay,
    /// Sent, which has not been said.
    Sent,
}

/// What a socket could tell now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    Connected,
    Bytes,
    End,
    Sent,
    Gone(io::ErrorKind),
    Closed,
}

impl Entry {
    pub(super) fn new(end: EndId, phase: Phase) -> Self {
        Self {
            end,
            phase,
            paused: false,
            shut: false,
            ended: false,
            loss: Loss::No,
            batch: Batch::None,
            direct: None,
            received_turn: 0,
        }
    }
}

impl Door {
    pub(super) fn new(address: SocketAddr, listener_count: u16) -> Self {
        Self {
            address,
            listener_count,
            open: listener_count > 0,
            listening: false,
            waiting: VecDeque::new(),
            granted: VecDeque::new(),
            sockets: BTreeMap::new(),
            ready: BTreeSet::new(),
            turn: VecDeque::new(),
            turn_count: 0,
            bell: Arc::default(),
        }
    }

    /// Where the listener of this index listens.
    pub(super) fn listener_address(&self, index: u16) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.address.port() + index)
    }

    /// The listener that listens there, if there is one.
    pub(super) fn listener_at(&self, address: SocketAddr) -> Option<u16> {
        (0..self.listener_count).find(|&index| self.listener_address(index) == address)
    }

    /// The socket, which the caller must have opened, and must not have closed.
    ///
    /// # Panics
    /// When the caller broke the contract.
    pub(super) fn entry(&mut self, socket: Socket, what: &str) -> &mut Entry {
        let entry = self.sockets.get_mut(&socket);
        let entry = entry.unwrap_or_else(|| panic!("{what}: {socket:?} is not open"));
        assert!(
            !matches!(entry.phase, Phase::Closing { .. } | Phase::Closed),
            "{what}: {socket:?} is being closed"
        );
        entry
    }

    fn accept_count(&self) -> usize {
        let waiting = if self.listening {
            self.waiting.len()
        } else {
            0
        };
        self.granted.len() + waiting.min(ACCEPTS_MAX)
    }
}

impl Network {
    /// What this socket could tell now: none, one, or several of which any may come first.
    pub(super) fn news(&self, door: usize, socket: Socket) -> Vec<News> {
        self.news_in(door, socket, self.doors[door].turn_count)
    }

    /// The same, for the turn with this number.
    fn news_in(&self, door: usize, socket: Socket, turn: u64) -> Vec<News> {
        let Some(entry) = self.doors[door].sockets.get(&socket) else {
            return Vec::new();
        };
        match entry.phase {
            Phase::Connected => return vec![News::Connected],
            Phase::Closed => return vec![News::Closed],
            Phase::Closing { talks: false, .. } => return Vec::new(),
            Phase::Connecting | Phase::Open | Phase::Closing { .. } => {}
        }
        if entry.loss == Loss::Said {
            return Vec::new();
        }
        let mut news = Vec::new();
        if entry.batch == Batch::Sent {
            news.push(News::Sent);
        }
        let pipe = self
            .wires
            .get(&entry.end.wire)
            .map(|w| &w.pipes[entry.end.other().side]);
        let receives = !entry.paused && !entry.ended && entry.phase != Phase::Connecting;
        let has_bytes = pipe.is_some_and(|pipe| !pipe.arrived.is_empty());
        let has_end = pipe.is_some_and(|pipe| pipe.fin == Fin::Arrived);
        if receives && has_bytes {
            // Rule 5 of the contract: once in a turn.
            if entry.received_turn != turn {
                news.push(News::Bytes);
            }
        } else if receives && has_end {
            news.push(News::End);
        } else if let Loss::Unsaid(kind) = entry.loss {
            news.push(News::Gone(kind));
        }
        news
    }

    /// Puts the next turn together; false when there is nothing to tell.
    pub(super) fn begin_turn(&mut self, door: usize) -> bool {
        self.doors[door].turn_count += 1;
        let mut ready = std::mem::take(&mut self.doors[door].ready);
        ready.retain(|&socket| !self.news(door, socket).is_empty());
        let mut tokens: Vec<Token> = ready.iter().copied().map(Token::Socket).collect();
        self.doors[door].ready = ready;
        let accept_count = self.doors[door].accept_count();
        tokens.extend(std::iter::repeat_n(Token::Accept, accept_count));
        if tokens.len() > 1 {
            if self.chance.roll(self.faults.reorder) {
                self.chance.shuffle(&mut tokens);
            }
            let keep = self.chance.below(tokens.len());
            let mut index = 0;
            tokens.retain(|_| {
                index += 1;
                // One stays in any case, or a turn would be empty although there is news.
                index - 1 == keep || !self.chance.roll(self.faults.defer)
            });
        }
        self.doors[door].turn = tokens.into();
        !self.doors[door].turn.is_empty()
    }

    /// Is there anything for this driver to tell, in this turn or in the next?
    pub(super) fn has_news(&self, door: usize) -> bool {
        let this = &self.doors[door];
        !this.turn.is_empty()
            || this.accept_count() > 0
            || this.ready.iter().any(|&socket| {
                let next = this.turn_count + 1;
                !self.news_in(door, socket, next).is_empty()
            })
    }
}
