//! One link of the simulated network: two ends, and a pipe in each direction.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{Parcel, Socket};

/// One end of one wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EndId {
    /// Never used again.
    pub(super) wire: u64,
    /// 0 is the end that connected, 1 the end that listened.
    pub(super) side: usize,
}

impl EndId {
    pub(super) fn other(self) -> Self {
        Self {
            wire: self.wire,
            side: 1 - self.side,
        }
    }
}

/// A connection between two ends.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) ends: [End; 2],
    /// `pipes[side]` carries what the end `side` sends.
    pub(super) pipes: [Pipe; 2],
}

impl Wire {
    /// Nobody is left to look at it, and nothing is on its way.
    pub(super) fn is_over(&self) -> bool {
        self.ends
            .iter()
            .all(|end| matches!(end.owner, Owner::Closed))
            && self
                .pipes
                .iter()
                .all(|pipe| pipe.flight.is_empty() && pipe.unsent.is_empty())
    }

    /// Is an end of it in the hands of a driver, or of its caller?
    pub(super) fn is_served(&self) -> bool {
        self.ends.iter().any(|end| {
            matches!(
                end.owner,
                Owner::Waiting | Owner::Handed | Owner::Socket { .. }
            )
        })
    }
}

/// What one end of a wire knows.
#[derive(Debug)]
pub(super) struct End {
    pub(super) owner: Owner,
    /// A reset has arrived here.
    pub(super) lost: bool,
    /// Where it calls from.
    pub(super) address: SocketAddr,
}

/// In whose hands an end is.
#[derive(Debug)]
pub(super) enum Owner {
    /// The test's.
    Client(Inbox),
    /// Nobody's: the connect is still on its way.
    Arriving,
    /// The queue of a listener.
    Waiting,
    /// The caller's, as a peer without a number.
    Handed,
    /// A driver's.
    Socket { door: usize, socket: Socket },
    /// Nobody's any more.
    Closed,
}

/// What the test's end of a wire has seen so far.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) bytes: Vec<u8>,
    pub(super) reading: bool,
    pub(super) ended: bool,
    pub(super) reset: bool,
    pub(super) refused: bool,
    pub(super) connected: bool,
    /// Stands in the list of those that have something new to look at.
    pub(super) stirred: bool,
}

/// What travels.
#[derive(Debug)]
pub(super) enum Segment {
    Bytes(Vec<u8>),
    End,
}

/// How far the end of the stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fin {
    /// The sender may send more.
    Open,
    /// It follows what is unsent.
    Wanted,
    /// It is on its way.
    Sent,
    /// The receiver sees it after all bytes.
    Arrived,
}

/// Bytes in one direction: unsent, in flight, arrived.
///
/// Invariant: `flight_size + arrived.len() <= capacity`.
#[derive(Debug)]
pub(super) struct Pipe {
    unsent: VecDeque<Parcel>,
    /// How much of the first parcel has been sent.
    unsent_skip: usize,
    unsent_size: usize,
    pub(super) flight: VecDeque<Segment>,
    flight_size: usize,
    /// How many bytes have come to the other end, in all.
    pub(super) landed: u64,
    pub(super) arrived: VecDeque<u8>,
    capacity: usize,
    pub(super) fin: Fin,
    /// Nothing may overtake what was sent before.
    pub(super) last_arrival: Duration,
    /// A write is already due.
    pub(super) pumping: bool,
}

impl Pipe {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            unsent: VecDeque::new(),
            unsent_skip: 0,
            unsent_size: 0,
            flight: VecDeque::new(),
            flight_size: 0,
            landed: 0,
            arrived: VecDeque::new(),
            capacity,
            fin: Fin::Open,
            last_arrival: Duration::ZERO,
            pumping: false,
        }
    }

    pub(super) fn room(&self) -> usize {
        self.capacity - self.flight_size - self.arrived.len()
    }

    pub(super) fn unsent_size(&self) -> usize {
        self.unsent_size
    }

    pub(super) fn unsent_count(&self) -> usize {
        self.unsent.len()
    }

    pub(super) fn flight_size(&self) -> usize {
        self.flight_size
    }

    pub(super) fn queue(&mut self, parcel: Parcel) {
        if !parcel.is_empty() {
            self.unsent_size += parcel.len();
            self.unsent.push_back(parcel);
        }
    }

    /// Puts the next `size` unsent bytes on their way.
    pub(super) fn launch(&mut self, size: usize) {
        assert!(size <= self.unsent_size && size <= self.room());
        let mut bytes = Vec::with_capacity(size);
        while bytes.len() < size {
            let first = self.unsent.front().expect("unsent_size counts the parcels");
            let rest = &first[self.unsent_skip..];
            let count = rest.len().min(size - bytes.len());
            bytes.extend_from_slice(&rest[..count]);
            self.unsent_skip += count;
            if self.unsent_skip == first.len() {
                self.unsent.pop_front();
                self.unsent_skip = 0;
            }
        }
        self.unsent_size -= size;
        self.flight_size += size;
        self.flight.push_back(Segment::Bytes(bytes));
    }

    /// Takes the next segment out of the air.
    pub(super) fn land(&mut self) -> Option<Segment> {
        let segment = self.flight.pop_front()?;
        if let Segment::Bytes(bytes) = &segment {
            self.flight_size -= bytes.len();
            self.landed += bytes.len() as u64;
        }
        Some(segment)
    }

    pub(super) fn forget_unsent(&mut self) {
        self.unsent.clear();
        self.unsent_skip = 0;
        self.unsent_size = 0;
    }

    pub(super) fn forget_flight(&mut self) {
        self.flight.clear();
        self.flight_size = 0;
    }
}
