//! How a connection is kept alive, and what happens if it does not read: chosen for a server, and
//! for each endpoint that wants it otherwise.

use std::hash::BuildHasher;
use std::time::Duration;

use crate::timers::{Tick, ticks_of};

/// How the connections of an endpoint are watched. A span of zero is off.
///
/// There may be 256 different ones on a shard; connections share them. Spans are kept to a tick
/// of 128 ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// How often each open connection is pinged: 45 s, spread over the connections so that those
    /// who came together are not pinged together.
    pub ping_interval: Duration,
    /// After how many pings without a sign of life a peer is taken for dead: 2. A sign of life is
    /// whatever has been received since the ping: who sends is there, pong or no pong.
    pub pings_missed_max: u8,
    /// How long nothing at all may be received: off, since pings that are not answered say it as
    /// well. For those who do without pings, 90 s is a good choice.
    pub read_idle_timeout: Duration,
    /// How long nothing may be sent: off, since pings are sent. Then a ping is sent, which keeps
    /// the way through gateways open; nobody is closed, since it is us who are silent.
    pub write_idle_timeout: Duration,
    /// How long no message may go either way, pings and pongs aside: off. Then the connection is
    /// closed with 1000.
    pub idle_timeout: Duration,
    /// What happens to publications for a peer that does not read.
    pub slow: SlowPolicy,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(45),
            pings_missed_max: 2,
            read_idle_timeout: Duration::ZERO,
            write_idle_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            slow: SlowPolicy::Disconnect,
        }
    }
}

impl Profile {
    /// Nothing is sent unasked, and nobody is closed for being quiet.
    #[must_use]
    pub fn quiet() -> Self {
        Self {
            ping_interval: Duration::ZERO,
            ..Self::default()
        }
    }
}

/// What happens to publications for a subscriber that does not read as fast as they come.
///
/// Only whole publications are ever dropped, and only before any byte of them has been handed to
/// the kernel: what a handler sends to one connection, pings, pongs and close frames are not. What
/// is heard stays in order. What is dropped is counted, by policy ([`crate::Snapshot`]) and for each
/// connection. Under each policy, a peer that takes nothing at all is reset after
/// [`crate::Limits::send_timeout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SlowPolicy {
    /// With a full outbox it is disconnected: whoever must not miss anything comes back and asks.
    #[default]
    Disconnect,
    /// With a full outbox, the oldest publications that wait make room for the new one.
    DropOldest,
    /// With a full outbox, the new publication is dropped.
    DropNewest,
    /// Of the publications that wait, only the last one of each key is kept, full or not; see
    /// [`crate::ShardContext::publish_latest`]. With a full outbox, the oldest make room.
    Latest,
    /// As long as anything waits for it, it is not received from; with a full outbox, it is
    /// disconnected. For those who are answered what they ask.
    Pause,
}

impl SlowPolicy {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] = [
        Self::Disconnect,
        Self::DropOldest,
        Self::DropNewest,
        Self::Latest,
        Self::Pause,
    ];

    /// A short name for options, metrics and logs, such as `drop-oldest`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::DropOldest => "drop-oldest",
            Self::DropNewest => "drop-newest",
            Self::Latest => "latest",
            Self::Pause => "pause",
        }
    }

    /// Does it leave something out, rather than end the connection?
    pub(crate) const fn drops(self) -> bool {
        matches!(self, Self::DropOldest | Self::DropNewest | Self::Latest)
    }
}

/// By what [`SlowPolicy::Latest`] tells which publications replace which: a number of the
/// publisher's, the same for all that speak of the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(u64);

impl Key {
    /// This number. Zero and the largest one are the same key.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        // Zero inside stands for "no key".
        Self(if number == 0 { u64::MAX } else { number })
    }

    /// 0 is no key.
    pub(crate) fn number(key: Option<Self>) -> u64 {
        key.map_or(0, |key| key.0)
    }
}

impl From<&str> for Key {
    /// A hash of 64 bits, the same on every shard: among a million names, two collide in one of
    /// 37 million cases. Names are the publisher's to choose, so it need not withstand a client.
    fn from(name: &str) -> Self {
        Self::new(foldhash::quality::FixedState::with_seed(0).hash_one(name))
    }
}

/// A profile in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) ping_interval: Tick,
    pub(crate) pings_missed_max: u8,
    pub(crate) read_idle: Tick,
    pub(crate) write_idle: Tick,
    pub(crate) idle: Tick,
    pub(crate) slow: SlowPolicy,
}

impl Watch {
    pub(crate) fn new(profile: &Profile) -> Self {
        Self {
            ping_interval: ticks_of(profile.ping_interval),
            pings_missed_max: profile.pings_missed_max.max(1),
            read_idle: ticks_of(profile.read_idle_timeout),
            write_idle: ticks_of(profile.write_idle_timeout),
            idle: ticks_of(profile.idle_timeout),
            slow: profile.slow,
        }
    }

    /// No deadline comes of it.
    pub(crate) fn is_off(&self) -> bool {
        self.ping_interval | self.read_idle | self.write_idle | self.idle == 0
    }

    /// Which ping is the last that was due by `now`, modulo 256; 0 if there are none.
    pub(crate) fn ping_number(&self, now: Tick, generation: u32) -> u8 {
        if self.ping_interval == 0 {
            return 0;
        }
        let next = u64::from(self.next_ping(now, generation));
        let [number, ..] = (next / u64::from(self.ping_interval)).to_le_bytes();
        number
    }

    /// The first tick after `now` at which a connection of this generation is pinged. Numbers
    /// that follow each other are spread evenly by the golden ratio (Knuth, 6.4).
    pub(crate) fn next_ping(&self, now: Tick, generation: u32) -> Tick {
        let interval = self.ping_interval;
        let spread = u64::from(generation.wrapping_mul(0x9E37_79B9));
        let phase = u32::try_from((spread * u64::from(interval)) >> 32);
        let phase = phase.expect("it is less than the interval");
        let this = (now - now % interval).saturating_add(phase);
        if this > now {
            this
        } else {
            this.saturating_add(interval)
        }
    }
}

/// The profiles of one shard, each once.
#[derive(Debug)]
pub(crate) struct Profiles(Vec<Watch>);

/// A connection keeps the place of its profile in 8 bits.
const PROFILES_MAX: usize = 256;

impl Profiles {
    /// The usual one is at 0.
    pub(crate) fn new(usual: &Profile) -> Self {
        Self(vec![Watch::new(usual)])
    }

    #[inline]
    pub(crate) fn get(&self, index: u8) -> &Watch {
        &self.0[usize::from(index)]
    }

    /// The place of this one.
    ///
    /// # Panics
    /// With more than 256 different ones: they are the application's, and no peer's.
    pub(crate) fn intern(&mut self, profile: &Profile) -> u8 {
        let watch = Watch::new(profile);
        let found = self.0.iter().position(|known| *known == watch);
        let index = found.unwrap_or_else(|| {
            let full = self.0.len() == PROFILES_MAX;
            assert!(
                !full,
                "a shard has at most {PROFILES_MAX} different profiles"
            );
            self.0.push(watch);
            self.0.len() - 1
        });
        u8::try_from(index).expect("there are no more than 256")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_came_together_are_pinged_apart() {
        let watch = Watch::new(&Profile::default());
        let interval = watch.ping_interval;
        let mut at = vec![0; interval as usize];
        for generation in 0..interval * 100 {
            let due = watch.next_ping(1_000, generation);
            assert!((1_001..=1_000 + interval).contains(&due));
            at[(due % interval) as usize] += 1;
        }
        assert!(
            at.iter().all(|&count| (90..=110).contains(&count)),
            "{at:?}"
        );
    }

    #[test]
    fn the_next_ping_is_one_interval_after_this_one() {
        let watch = Watch::new(&Profile::default());
        for generation in [0, 1, 77, u32::MAX] {
            let first = watch.next_ping(5, generation);
            let second = watch.next_ping(first, generation);
            assert_eq!(second - first, watch.ping_interval);
        }
    }

    #[test]
    fn a_profile_is_kept_once() {
        let mut profiles = Profiles::new(&Profile::default());
        assert_eq!(profiles.intern(&Profile::default()), 0);
        assert_eq!(profiles.intern(&Profile::quiet()), 1);
        assert_eq!(profiles.intern(&Profile::quiet()), 1);
        assert!(profiles.get(1).is_off());
    }

    #[test]
    fn no_number_is_no_key() {
        assert_ne!(Key::number(Some(Key::new(0))), Key::number(None));
        assert_ne!(Key::from("a"), Key::from("b"));
    }
}
