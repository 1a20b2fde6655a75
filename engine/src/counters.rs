//! What happened on one shard, as numbers.
//!
//! A shard counts in plain integers, and shows them to other threads once a turn, so that
//! counting costs an addition and nobody waits.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{EndReason, RateLimit, RatePolicy, SlowPolicy};

/// The causes for which a handshake is refused or fails, as labels.
const REFUSALS_MAX: usize = 64;

/// Up to how many microseconds the round trips of a step took: a LAN, a continent, an ocean, a
/// satellite, and a network that is not well.
pub const ROUND_TRIP_STEPS: [u32; 12] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000,
];

/// How many round trips took how long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoundTrips {
    /// By [`ROUND_TRIP_STEPS`]; the last one has no end.
    pub counts: [u64; ROUND_TRIP_STEPS.len() + 1],
    /// All of them together, in microseconds.
    pub micros: u64,
}

impl RoundTrips {
    pub(crate) fn add(&mut self, micros: u32) {
        let step = ROUND_TRIP_STEPS.partition_point(|&end| end < micros);
        self.counts[step] += 1;
        self.micros += u64::from(micros);
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of one shard. Those that are not said to be "now" only grow.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[$doc])* pub $name: u64,)*
            pub(crate) closes: [u64; EndReason::ALL.len()],
            pub(crate) limited: [[u64; RatePolicy::ALL.len()]; RateLimit::ALL.len()],
            pub(crate) refusals: Vec<(&'static str, u64)>,
            /// Of pings that were answered.
            pub round_trips: RoundTrips,
        }

        /// The same, readable from any thread.
        #[derive(Debug, Default)]
        pub(crate) struct Shared {
            $($name: AtomicU64,)*
            closes: [AtomicU64; EndReason::ALL.len()],
            limited: [[AtomicU64; RatePolicy::ALL.len()]; RateLimit::ALL.len()],
            refusals: std::sync::Mutex<Vec<(&'static str, u64)>>,
            round_trips: [AtomicU64; ROUND_TRIP_STEPS.len() + 1],
            round_trip_micros: AtomicU64,
        }

        impl Shared {
            /// Shows what the shard has counted.
            pub(crate) fn store(&self, counted: &Snapshot) {
                $(self.$name.store(counted.$name, Ordering::Relaxed);)*
            }

            /// What the shard showed last.
            pub(crate) fn load(&self) -> Snapshot {
                let refusals = self.refusals.lock().map(|r| r.clone()).unwrap_or_default();
                let mut closes = [0; EndReason::ALL.len()];
                for (to, from) in closes.iter_mut().zip(&self.closes) {
                    *to = from.load(Ordering::Relaxed);
                }
                let mut round_trips = RoundTrips {
                    micros: self.round_trip_micros.load(Ordering::Relaxed),
                    ..RoundTrips::default()
                };
                for (to, from) in round_trips.counts.iter_mut().zip(&self.round_trips) {
                    *to = from.load(Ordering::Relaxed);
                }
                let limited = self.limited.each_ref();
                let limited = limited.map(|limit| limit.each_ref().map(|n| n.load(Ordering::Relaxed)));
                Snapshot {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                    closes,
                    limited,
                    refusals,
                    round_trips,
                }
            }
        }
    };
}

counters! {
    /// Connections now, whatever they speak.
    connections,
    /// Open WebSockets now.
    sessions,
    /// Topics now.
    topics,
    /// Peers now for whom something waits, since they have not read what was sent before.
    behind,
    /// Connections accepted.
    accepted,
    /// Handshakes that ended in an open WebSocket.
    opens,
    /// Plain HTTP requests answered.
    requests,
    /// Messages received.
    messages_in,
    /// Messages sent, one for each receiver.
    messages_out,
    /// Bytes received, of every kind.
    bytes_in,
    /// Bytes sent, of every kind.
    bytes_out,
    /// Messages published on this shard.
    publications,
    /// Letters sent to other shards.
    mail_sent,
    /// Publications refused because another shard's mailbox was full.
    mail_refused,
    /// Times that the kernel could not accept, such as for lack of descriptors.
    accept_failures,
    /// Pings sent.
    pings,
    /// Pongs that answered the last ping.
    pongs,
    /// Ends that took more than 10 s from our close frame on.
    late_closes,
    /// Publications that [`crate::SlowPolicy::DropOldest`] has dropped, one for each receiver.
    dropped_oldest,
    /// Publications that [`crate::SlowPolicy::DropNewest`] has dropped, one for each receiver.
    dropped_newest,
    /// Publications that [`crate::SlowPolicy::Latest`] has dropped, one for each receiver.
    dropped_latest,
    /// Encrypted connections that were open when their stream ended without the goodbye of TLS.
    tls_truncations,
    /// Turns of the loop.
    turns,
}

impl Snapshot {
    /// How many WebSockets ended, for each reason.
    pub fn closes(&self) -> impl Iterator<Item = (EndReason, u64)> {
        EndReason::ALL.into_iter().zip(self.closes)
    }

    /// How many publications were dropped, one for each receiver, under each policy that drops.
    pub fn drops(&self) -> impl Iterator<Item = (SlowPolicy, u64)> {
        [
            (SlowPolicy::DropOldest, self.dropped_oldest),
            (SlowPolicy::DropNewest, self.dropped_newest),
            (SlowPolicy::Latest, self.dropped_latest),
        ]
        .into_iter()
    }

    /// How often a rate was exceeded: a connection closed for it, or slowed down until it may go on.
    pub fn rate_limits(&self) -> impl Iterator<Item = (RateLimit, RatePolicy, u64)> {
        let limits = RateLimit::ALL.into_iter().zip(self.limited);
        limits.flat_map(|(limit, counts)| {
            let policies = RatePolicy::ALL.into_iter().zip(counts);
            policies.map(move |(policy, count)| (limit, policy, count))
        })
    }

    /// How many handshakes failed, by cause; a cause appears with its first failure.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refusals.iter().copied()
    }
}

impl Shared {
    /// Shows the closes, the round trips and who was over its rates; apart from the rest, since most turns have none.
    pub(crate) fn store_rare(&self, counted: &Snapshot) {
        for (to, from) in self.closes.iter().zip(counted.closes) {
            to.store(from, Ordering::Relaxed);
        }
        let RoundTrips { counts, micros } = counted.round_trips;
        for (to, from) in self.round_trips.iter().zip(counts) {
            to.store(from, Ordering::Relaxed);
        }
        self.round_trip_micros.store(micros, Ordering::Relaxed);
        let limited = counted.limited.as_flattened();
        for (to, from) in self.limited.as_flattened().iter().zip(limited) {
            to.store(*from, Ordering::Relaxed);
        }
    }

    /// Counts a failed handshake. The lock is shared with whoever reads the figures, so this
    /// is for the unusual only.
    pub(crate) fn refuse(&self, cause: &'static str) {
        let Ok(mut refusals) = self.refusals.lock() else {
            return;
        };
        if let Some((_, count)) = refusals.iter_mut().find(|(known, _)| *known == cause) {
            *count += 1;
        } else if refusals.len() < REFUSALS_MAX {
            refusals.push((cause, 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_can_be_read() {
        let shared = Shared::default();
        let mut counted = Snapshot {
            messages_in: 3,
            ..Snapshot::default()
        };
        counted.closes[EndReason::TooBig as usize] = 2;
        shared.store(&counted);
        counted.round_trips.add(1_000);
        counted.round_trips.add(1_001);
        counted.round_trips.add(u32::MAX);
        shared.store_rare(&counted);
        shared.refuse("origin");
        shared.refuse("origin");
        let read = shared.load();
        assert_eq!(read.messages_in, 3);
        assert!(read.closes().any(|close| close == (EndReason::TooBig, 2)));
        assert_eq!(read.refusals().collect::<Vec<_>>(), [("origin", 2)]);
        let trips = read.round_trips;
        assert_eq!(
            (trips.counts[1], trips.counts[2], trips.counts[12]),
            (1, 1, 1)
        );
        assert_eq!(trips.micros, 2_001 + u64::from(u32::MAX));
    }
}
