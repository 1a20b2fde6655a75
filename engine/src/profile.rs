//! How a connection is kept alive, what it may say, and what happens if it does not read: chosen for a
//! server, and for each endpoint that wants it otherwise.

use std::hash::BuildHasher;
use std::time::Duration;

use crate::Rates;
use crate::rates::Paces;
use crate::timers::{Tick, ticks_of};

/// How the connections of an endpoint are watched, and how much each may take. A span of zero is off,
/// but for the three timeouts that each message, batch and close has.
///
/// There may be 256 different ones in use on a shard at a time; connections share them. Spans are kept
/// to a tick of 128 ms.
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
    /// From the first byte of a message to its last, if it did not come at once: 60 s. Then 1008.
    pub message_timeout: Duration,
    /// How long a batch may wait for a peer that does not read: 30 s. Then a reset.
    pub send_timeout: Duration,
    /// From our close frame to the peer's: 5 s. Then a reset.
    pub close_timeout: Duration,
    /// What happens to publications for a peer that does not read.
    pub slow: SlowPolicy,
    /// How much memory may wait for a peer that does not read: 192 KiB, three times the
    /// largest message. Beyond: the connection is closed as a slow consumer, or something is
    /// dropped ([`SlowPolicy`]), where the batch that has been handed over already, of one
    /// turn at most, counts apart. The kernel's own buffer comes before this one.
    pub outbox_bytes_max: usize,
    /// With more bytes than this waiting for it, a peer is not received from: 64 KiB. Where
    /// publications may be dropped, only replies behind the batch under way count.
    pub outbox_pause_size: usize,
    /// How much it may say in how much time: as much as it likes.
    pub rates: Rates,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(45),
            pings_missed_max: 2,
            read_idle_timeout: Duration::ZERO,
            write_idle_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            message_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            slow: SlowPolicy::Disconnect,
            outbox_bytes_max: 192 * 1024,
            outbox_pause_size: 64 * 1024,
            rates: Rates::default(),
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
/// [`Profile::send_timeout`].
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

/// A profile as it is reckoned with: spans that are compared with ticks are in ticks.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) ping_interval: Tick,
    pub(crate) pings_missed_max: u8,
    pub(crate) read_idle: Tick,
    pub(crate) write_idle: Tick,
    pub(crate) idle: Tick,
    pub(crate) message_timeout: Duration,
    pub(crate) send_timeout: Tick,
    pub(crate) close_timeout: Duration,
    pub(crate) slow: SlowPolicy,
    pub(crate) outbox_bytes_max: usize,
    pub(crate) outbox_pause_size: usize,
    pub(crate) paces: Paces,
}

impl Watch {
    pub(crate) fn new(profile: &Profile) -> Self {
        Self {
            ping_interval: ticks_of(profile.ping_interval),
            pings_missed_max: profile.pings_missed_max.max(1),
            read_idle: ticks_of(profile.read_idle_timeout),
            write_idle: ticks_of(profile.write_idle_timeout),
            idle: ticks_of(profile.idle_timeout),
            message_timeout: profile.message_timeout,
            send_timeout: ticks_of(profile.send_timeout),
            close_timeout: profile.close_timeout,
            slow: profile.slow,
            outbox_bytes_max: profile.outbox_bytes_max,
            outbox_pause_size: profile.outbox_pause_size,
            paces: Paces::new(&profile.rates),
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

/// The profiles of one shard, each once. A place whose last connection has gone is used again, so that
/// there may be any number of them one after another, as configurations are reloaded.
#[derive(Debug)]
pub(crate) struct Profiles(Vec<Place>);

#[derive(Debug)]
struct Place {
    profile: Profile,
    watch: Watch,
    /// How many connections have it.
    user_count: u32,
}

/// There are as many profiles in use as there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyProfiles;

/// A connection keeps the place of its profile in 8 bits.
const PROFILES_MAX: usize = 256;

impl Place {
    fn of(profile: Profile) -> Self {
        Self {
            watch: Watch::new(&profile),
            profile,
            user_count: 0,
        }
    }
}

impl Profiles {
    /// The usual one is at 0, and stays there: who has not been answered yet has it.
    pub(crate) fn new(usual: &Profile) -> Self {
        Self(vec![Place::of(usual.clone())])
    }

    #[inline]
    pub(crate) fn get(&self, index: u8) -> &Watch {
        &self.0[usize::from(index)].watch
    }

    /// The place of this one, for one more connection, which gives it back by [`Self::release`].
    pub(crate) fn intern(&mut self, profile: Profile) -> Result<u8, TooManyProfiles> {
        let index = match self.0.iter().position(|known| known.profile == profile) {
            Some(0) => return Ok(0),
            Some(index) => index,
            None => self.place(profile)?,
        };
        self.0[index].user_count += 1;
        Ok(u8::try_from(index).expect("there are no more than 256"))
    }

    /// Where this one is from now on, which is nowhere yet.
    fn place(&mut self, profile: Profile) -> Result<usize, TooManyProfiles> {
        let unused = self
            .0
            .iter()
            .skip(1)
            .position(|place| place.user_count == 0);
        let index = unused.map_or(self.0.len(), |index| index + 1);
        if index == PROFILES_MAX {
            return Err(TooManyProfiles);
        }
        if index == self.0.len() {
            self.0.push(Place::of(profile));
        } else {
            self.0[index] = Place::of(profile);
        }
        Ok(index)
    }

    /// A connection that had this one has gone. The usual one is not counted.
    pub(crate) fn release(&mut self, index: u8) {
        if index != 0 {
            self.0[usize::from(index)].user_count -= 1;
        }
    }

    /// How many connections have another than the usual one.
    #[cfg(test)]
    pub(crate) fn user_count(&self) -> usize {
        self.0.iter().map(|place| place.user_count as usize).sum()
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
        assert_eq!(profiles.intern(Profile::default()), Ok(0));
        assert_eq!(profiles.intern(Profile::quiet()), Ok(1));
        assert_eq!(profiles.intern(Profile::quiet()), Ok(1));
        assert!(profiles.get(1).is_off());
        assert_eq!(profiles.user_count(), 2);
    }

    /// As a configuration makes it that is reloaded again and again.
    fn numbered(number: u64) -> Profile {
        Profile {
            send_timeout: Duration::from_secs(1 + number),
            ..Profile::default()
        }
    }

    #[test]
    fn profiles_that_nobody_has_any_more_make_room_for_others() {
        let mut profiles = Profiles::new(&Profile::default());
        // Some stay for long, and keep what they have.
        let held: Vec<u8> = (0..100)
            .map(|number| profiles.intern(numbered(1_000_000 + number)).unwrap())
            .collect();
        for number in 0..10_000 {
            let index = profiles.intern(numbered(number)).unwrap();
            assert_eq!(profiles.intern(numbered(number)), Ok(index));
            let span = ticks_of(Duration::from_secs(1 + number));
            assert_eq!(profiles.get(index).send_timeout, span);
            assert!(!held.contains(&index));
            profiles.release(index);
            profiles.release(index);
        }
        assert_eq!(profiles.0.len(), 102);
        for (number, &index) in (0..).zip(&held) {
            let span = ticks_of(Duration::from_secs(1_000_001 + number));
            assert_eq!(profiles.get(index).send_timeout, span);
        }
    }

    #[test]
    fn with_256_in_use_there_is_no_other_until_one_is_given_back() {
        let mut profiles = Profiles::new(&Profile::default());
        let indices: Vec<u8> = (0..255)
            .map(|number| profiles.intern(numbered(number + 100)).unwrap())
            .collect();
        assert_eq!(profiles.intern(numbered(1_000)), Err(TooManyProfiles));
        assert_eq!(profiles.intern(Profile::default()), Ok(0));
        profiles.release(indices[77]);
        assert_eq!(profiles.intern(numbered(1_000)), Ok(indices[77]));
        assert_eq!(profiles.intern(numbered(1_001)), Err(TooManyProfiles));
    }

    #[test]
    fn no_number_is_no_key() {
        assert_ne!(Key::number(Some(Key::new(0))), Key::number(None));
        assert_ne!(Key::from("a"), Key::from("b"));
    }
}
