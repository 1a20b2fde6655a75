//! Why connections ended: the last few of each shard, for whoever asks.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_io::Traffic;
use tidegate_proto::CloseCode;

use crate::{ConnectionId, EndReason};

/// How many a shard remembers: the last minutes of a server at peace, and the beginning of
/// whatever a storm was.
const RECORDS_MAX: usize = 4096;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Which one.
    pub id: ConnectionId,
    /// Where it called from.
    pub peer: SocketAddr,
    /// When, by the monotonic clock.
    pub at: Instant,
    /// Who ended it.
    pub side: Side,
    /// What it was doing.
    pub phase: Phase,
    /// Why: [`EndReason::name`], or the cause for which a handshake failed.
    pub reason: &'static str,
    /// The close code that was received or sent, if one was.
    pub code: Option<CloseCode>,
    /// The error of the system, if it was one.
    pub errno: Option<i32>,
    /// Since it was opened, or accepted if it never was; to 128 ms.
    pub age: Duration,
    /// How long its last ping took.
    pub round_trip: Option<Duration>,
    /// How many messages it had said, modulo 2^32.
    pub messages_received: u32,
    /// How many it had been told.
    pub messages_sent: u32,
    /// The bytes of its stream, if its kernel tells.
    pub traffic: Option<Traffic>,
    /// What waited for it, in bytes.
    pub outbox_bytes: usize,
    /// How many publications it has missed.
    pub dropped: u32,
    /// Whose it was; see [`crate::Handler::user`].
    pub user: Option<Arc<str>>,
}

const _: () = assert!(size_of::<Closed>() <= 184, "a shard keeps thousands");

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The peer closed, ended or reset it.
    Peer,
    /// The server did, whoever was at fault.
    Server,
    /// The way between them broke.
    Network,
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its request has not been answered.
    Handshake,
    /// It is an open WebSocket.
    Open,
    /// A close frame has been sent.
    Closing,
}

impl Side {
    /// A short name, such as `peer`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Server => "server",
            Self::Network => "network",
        }
    }

    pub(crate) fn of(reason: EndReason, errno: Option<i32>) -> Self {
        /// `ETIMEDOUT`, `EHOSTUNREACH`, `ENETUNREACH`, `ENETDOWN`, `EHOSTDOWN` of Linux.
        const BROKEN: [i32; 5] = [110, 113, 101, 100, 112];
        match reason {
            EndReason::Reset if errno.is_some_and(|errno| BROKEN.contains(&errno)) => Self::Network,
            EndReason::ClosedByPeer | EndReason::Ended | EndReason::Reset => Self::Peer,
            _ => Self::Server,
        }
    }
}

impl Phase {
    /// A short name, such as `open`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Open => "open",
            Self::Closing => "closing",
        }
    }
}

/// The last ends of one shard.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    records: VecDeque<Closed>,
    /// How many there have been before the first of them.
    forgotten: u64,
}

impl Ring {
    pub(crate) fn push(&mut self, record: Closed) {
        if self.records.is_empty() {
            // Once, and no memory until it is used.
            self.records.reserve_exact(RECORDS_MAX);
        }
        if self.records.len() == RECORDS_MAX {
            self.records.pop_front();
            self.forgotten += 1;
        }
        self.records.push_back(record);
    }

    /// The number of the oldest one that is remembered.
    pub(crate) fn first(&self) -> u64 {
        self.forgotten
    }

    /// The number behind the newest one.
    pub(crate) fn end(&self) -> u64 {
        self.forgotten + self.records.len() as u64
    }

    /// The record of this number, if it has not been forgotten.
    pub(crate) fn get(&self, number: u64) -> Option<&Closed> {
        let index = usize::try_from(number.checked_sub(self.forgotten)?).ok()?;
        self.records.get(index)
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.records.capacity() * size_of::<Closed>()
    }
}

/// Where each connection of a shard called from, by slot: 18 bytes, beside the slab, since only
/// whoever asks needs it.
#[derive(Debug, Default)]
pub(crate) struct Addresses(Vec<([u8; 16], u16)>);

impl Addresses {
    pub(crate) fn with_capacity(expected: usize) -> Self {
        Self(Vec::with_capacity(expected))
    }

    pub(crate) fn set(&mut self, slot: u32, address: SocketAddr) {
        let slot = slot as usize;
        if slot >= self.0.len() {
            self.0.resize(slot + 1, ([0; 16], 0));
        }
        let octets = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        self.0[slot] = (octets, address.port());
    }

    pub(crate) fn get(&self, slot: u32) -> SocketAddr {
        let (octets, port) = self.0.get(slot as usize).copied().unwrap_or_default();
        SocketAddr::new(Ipv6Addr::from(octets).to_canonical(), port)
    }

    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.0.capacity() * size_of::<([u8; 16], u16)>()
    }
}

const _: () = assert!(size_of::<([u8; 16], u16)>() == 18, "there are a million");

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(number: u32) -> Closed {
        Closed {
            id: ConnectionId::new(0, number, 1),
            peer: SocketAddr::from(([127, 0, 0, 1], 1)),
            at: Instant::now(),
            side: Side::Peer,
            phase: Phase::Open,
            reason: "ended",
            code: None,
            errno: None,
            age: Duration::ZERO,
            round_trip: None,
            messages_received: 0,
            messages_sent: 0,
            traffic: None,
            outbox_bytes: 0,
            dropped: 0,
            user: None,
        }
    }

    #[test]
    fn the_oldest_are_forgotten_and_numbers_stay() {
        let mut ring = Ring::default();
        let count = u32::try_from(RECORDS_MAX).unwrap() + 10;
        for number in 0..count {
            ring.push(record(number));
        }
        assert_eq!(ring.end(), u64::from(count));
        assert_eq!(ring.get(9), None);
        assert_eq!(ring.get(10).unwrap().id, record(10).id);
        assert_eq!(ring.get(ring.end()), None);
        assert_eq!(ring.memory(), RECORDS_MAX * size_of::<Closed>());
    }

    #[test]
    fn addresses_are_kept_by_slot() {
        let mut addresses = Addresses::default();
        let four: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let six: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
        addresses.set(3, four);
        addresses.set(0, six);
        assert_eq!((addresses.get(3), addresses.get(0)), (four, six));
    }

    #[test]
    fn a_broken_way_is_nobodys_fault() {
        assert_eq!(Side::of(EndReason::Reset, Some(104)), Side::Peer);
        assert_eq!(Side::of(EndReason::Reset, Some(110)), Side::Network);
        assert_eq!(Side::of(EndReason::HeartbeatTimeout, None), Side::Server);
    }
}
