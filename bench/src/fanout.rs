//! `fanout`: what one publishes, everybody in its topic hears once and in order, the speaker
//! too.
//!
//! Connections are dealt out to the topics in turn, and the first ones of each topic publish.
//! A message names its publisher, its number and the time at which it should have been sent:
//!
//! ```text
//!   [publisher 4][number 6][nanoseconds since the start 10][pattern ...]   characters
//! ```
//!
//! Closed loop: a publisher sends its next burst when the last one has been heard by all, on
//! every thread. For that, threads count deliveries in [`Shared`], once per turn. What was
//! skipped counts as delivered, but nothing follows the last message of a burst; if that one
//! is lost, only an open loop goes on.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tidegate_io::Waker;
use tidegate_proto::MessageKind;

use crate::echo::nanoseconds;
use crate::heard::Heard;
use crate::load::{Load, Orders, Outgoing};
use crate::pattern::{Pattern, characters, number};
use crate::schedule::Schedule;
use crate::slices::Slices;
use crate::tally::{Messages, Window};

mod shared;

pub use shared::Shared;

/// The stamp, which every message must have room for.
pub const SIZE_MIN: usize = 20;

/// What all workers have in common, and this one's share.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Text or binary.
    pub kind: MessageKind,
    /// Bytes in a message.
    pub size: usize,
    /// Messages in a burst.
    pub burst: u32,
    /// Bursts per second and publisher, for an open loop.
    pub rate: Option<f64>,
    /// Is the number of messages limited?
    pub limited: bool,
    /// How many topics.
    pub topics: u32,
    /// How many publishers in each.
    pub publishers: u32,
    /// The number of this worker.
    pub worker: u32,
    /// The number of the worker's first connection.
    pub first: u32,
    /// How many connections the worker has.
    pub count: u32,
    /// Into how many slices of the time the figures are to be cut; 0 for none.
    pub slices: u32,
}

/// The fan-out of one worker.
#[derive(Debug)]
pub struct Fanout {
    share: Share,
    shared: Arc<Shared>,
    wakers: Arc<OnceLock<Vec<Waker>>>,
    pattern: Pattern,
    heard: Heard,
    window: Option<Window>,
    schedule: Option<Schedule>,
    /// Those of this worker's connections that publish, while they live.
    speakers: Vec<Speaker>,
    /// Subscribers that were there at the beginning.
    members: Vec<u32>,
    /// How many of those each topic has.
    topic_sizes: Vec<u32>,
    /// The times of the messages that came to one connection at once.
    arrived: Vec<u64>,
    /// Publishers heard in this turn, and how many deliveries of theirs.
    deliveries: Vec<(u32, u32)>,
    messages: Messages,
}

#[derive(Debug, Clone, Copy)]
struct Speaker {
    index: u32,
    publisher: u32,
    sent: u32,
    /// Bursts that are due and not yet sent.
    owed: u32,
    /// Bursts written so far, from which an open loop tells their time.
    bursts: u32,
    /// Its place in the order in which bursts are dealt.
    place: u32,
}

impl Fanout {
    /// A worker's load.
    #[must_use]
    pub fn new(share: Share, shared: Arc<Shared>, wakers: Arc<OnceLock<Vec<Waker>>>) -> Self {
        let heard = Heard::new(share.count as usize, share.publishers as usize);
        Self {
            share,
            shared,
            wakers,
            pattern: Pattern::new(share.kind, share.size),
            heard,
            window: None,
            schedule: None,
            speakers: Vec::new(),
            members: Vec::new(),
            topic_sizes: vec![0; share.topics as usize],
            arrived: Vec::new(),
            deliveries: Vec::new(),
            messages: Messages::default(),
        }
    }

    fn number(&self, index: usize) -> u32 {
        self.share.first + u32::try_from(index).expect("a worker has fewer than 2^32 connections")
    }

    fn topic(&self, index: usize) -> u32 {
        self.number(index) % self.share.topics
    }

    /// Reads and checks a message; `None` if it is not one of this run's.
    fn read(&self, index: usize, kind: MessageKind, bytes: &[u8]) -> Option<Stamp> {
        let stamp = Stamp::read(bytes.get(..SIZE_MIN)?)?;
        let speaks = stamp.publisher < self.shared.publisher_count();
        let ours = speaks && stamp.publisher % self.share.topics == self.topic(index);
        (ours
            && self.pattern.is_alike(kind, bytes)
            && self.pattern.matches(stamp.number, SIZE_MIN, bytes))
        .then_some(stamp)
    }

    fn write_burst(&mut self, at: usize, now: Instant, window: Window, out: &mut Outgoing<'_>) {
        let speaker = self.speakers[at];
        let size = self.shared.claim(self.share.burst);
        let meant = match &self.schedule {
            Some(schedule) => schedule.time_of(speaker.place, speaker.bursts),
            None => now,
        };
        self.shared.speak(speaker.publisher, size);
        let time = nanoseconds(meant.saturating_duration_since(window.start));
        for number in speaker.sent..speaker.sent + size {
            let stamp = Stamp {
                publisher: speaker.publisher,
                number,
                time,
            }
            .bytes();
            self.pattern
                .with(number, &stamp, |message| out.send(message));
        }
        let speaker = &mut self.speakers[at];
        speaker.sent += size;
        speaker.bursts += 1;
        self.messages.sent += u64::from(size);
    }

    /// Counts what has been heard, or will never be: a closed loop goes on after a loss.
    fn count_deliveries(&mut self, publisher: u32, count: u32) {
        match self.deliveries.last_mut() {
            Some((last, sum)) if *last == publisher => *sum += count,
            _ => self.deliveries.push((publisher, count)),
        }
    }

    /// The publishers of the connection's topic.
    fn publishers(&self, index: usize) -> impl Iterator<Item = (usize, u32)> + use<> {
        let (topic, topics) = (self.topic(index), self.share.topics);
        (0..self.share.publishers).map(move |rank| (rank as usize, rank * topics + topic))
    }

    /// Tells everybody what this worker has heard, and wakes whoever waits for that.
    fn publish_deliveries(&mut self) {
        for (publisher, count) in self.deliveries.drain(..) {
            let complete = self.shared.deliver(publisher, count);
            let elsewhere = complete.filter(|worker| *worker != self.share.worker);
            if let (Some(worker), Some(wakers)) = (elsewhere, self.wakers.get()) {
                wakers[worker as usize].wake();
            }
        }
    }

    /// Gives a burst to each publisher whose last one has been heard by all.
    fn tick_closed(&mut self, orders: &mut Orders) {
        for speaker in &mut self.speakers {
            if speaker.owed == 0 && self.shared.is_delivered(speaker.publisher) {
                speaker.owed = 1;
                orders.ready.push(speaker.index);
            }
        }
    }
}

impl Load for Fanout {
    fn path<'a>(&self, index: usize, path: &'a str) -> Cow<'a, str> {
        if self.share.topics == 1 {
            return Cow::Borrowed(path);
        }
        let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
        Cow::Owned(format!("{path}-{}{query}", self.topic(index)))
    }

    fn opened(&mut self, index: usize, _now: Instant) {
        self.shared.join(self.topic(index));
    }

    fn lost(&mut self, index: usize, _now: Instant) -> bool {
        // Whatever is published from now on has one hearer less; what was under way to it is
        // counted as lost at the end.
        self.shared.leave(self.topic(index));
        for (rank, publisher) in self.publishers(index) {
            let sent = self.shared.sent(publisher);
            self.count_deliveries(publisher, self.heard.to_come(index, rank, sent));
        }
        self.speakers
            .retain(|speaker| speaker.index as usize != index);
        true
    }

    fn begin(&mut self, window: Window, open: &[u32]) {
        self.window = Some(window);
        if self.share.slices > 0 {
            self.messages.slices = Slices::new(window, self.share.slices);
        }
        self.members = open.to_vec();
        for index in open {
            let topic = self.topic(*index as usize);
            self.topic_sizes[topic as usize] += 1;
            let publisher = self.number(*index as usize);
            if publisher < self.shared.publisher_count() {
                let place = u32::try_from(self.speakers.len()).expect("fewer than connections");
                let speaker = Speaker {
                    index: *index,
                    publisher,
                    sent: 0,
                    owed: 0,
                    bursts: 0,
                    place,
                };
                self.speakers.push(speaker);
            }
        }
        if let Some(rate) = self.share.rate
            && !self.speakers.is_empty()
        {
            let width = u32::try_from(self.speakers.len()).expect("fewer than connections");
            self.schedule = Some(Schedule::new(window.start, rate * f64::from(width), width));
        }
    }

    fn receive(&mut self, index: usize, kind: MessageKind, bytes: &[u8]) {
        self.messages.received += 1;
        let Some(stamp) = self.read(index, kind, bytes) else {
            self.messages.errors.mismatched += 1;
            return;
        };
        if stamp.number >= self.shared.sent(stamp.publisher) {
            self.messages.errors.doubled += 1;
            return;
        }
        let rank = (stamp.publisher / self.share.topics) as usize;
        let errors = &mut self.messages.errors;
        let forward = self.heard.hear(index, rank, stamp.number, errors);
        self.arrived.push(stamp.time);
        self.count_deliveries(stamp.publisher, forward);
    }

    fn settle(&mut self, _index: usize, now: Instant) {
        let Some(window) = self.window else {
            self.arrived.clear();
            return;
        };
        let arrived = self.arrived.len() as u64;
        for time in self.arrived.drain(..) {
            let meant = window.start + Duration::from_nanos(time);
            self.messages.time(window, meant, now, 1);
        }
        self.messages.count(window, now, arrived, self.share.size);
        if window.until.is_none() && arrived > 0 {
            self.messages.taken = now.saturating_duration_since(window.from);
        }
    }

    fn write(&mut self, index: usize, now: Instant, out: &mut Outgoing<'_>) {
        let Some(window) = self.window else { return };
        if self.number(index) >= self.shared.publisher_count() {
            return;
        }
        // They stand in the order of their connections, also when some are lost.
        let find = |speaker: &Speaker| speaker.index as usize;
        let Ok(at) = self.speakers.binary_search_by_key(&index, find) else {
            return;
        };
        while self.speakers[at].owed > 0 && !out.is_full() {
            self.speakers[at].owed -= 1;
            self.write_burst(at, now, window, out);
        }
    }

    fn tick(&mut self, now: Instant, orders: &mut Orders) -> Option<Instant> {
        self.publish_deliveries();
        let window = self.window?;
        if window.is_past(now) || (self.share.limited && self.shared.is_claimed()) {
            return None;
        }
        let Some(schedule) = &mut self.schedule else {
            self.tick_closed(orders);
            return None;
        };
        for _ in 0..TURN_MAX {
            let meant = schedule.next_time();
            let Some(place) = schedule.next_before(now) else {
                break;
            };
            self.messages.note_lateness(window, meant, now);
            if let Ok(at) = self
                .speakers
                .binary_search_by_key(&place, |speaker| speaker.place)
            {
                let speaker = &mut self.speakers[at];
                speaker.owed += 1;
                orders.ready.push(speaker.index);
            }
        }
        Some(schedule.next_time()).filter(|next| !window.is_past(*next))
    }

    fn outstanding(&self) -> u64 {
        let publishers = 0..self.shared.publisher_count();
        let expected: u64 = publishers
            .map(|publisher| {
                let hearers = self.topic_sizes[(publisher % self.share.topics) as usize];
                u64::from(self.shared.sent(publisher)) * u64::from(hearers)
            })
            .sum();
        let unspoken = if self.share.limited {
            self.shared.unspoken()
        } else {
            0
        };
        let strange = self.messages.errors.mismatched + self.messages.errors.doubled;
        expected.saturating_sub(self.messages.received - strange) + unspoken
    }

    fn received(&self) -> u64 {
        self.messages.received
    }

    fn into_messages(mut self: Box<Self>) -> Messages {
        for index in &self.members {
            let index = *index as usize;
            for (rank, publisher) in self.publishers(index) {
                let sent = self.shared.sent(publisher);
                let missing = self.heard.to_come(index, rank, sent);
                self.messages.errors.lost += u64::from(missing);
                self.messages.expected += u64::from(sent);
            }
        }
        self.messages
    }
}

/// How many bursts one turn hands out, so that a client that has fallen behind still reads.
const TURN_MAX: u32 = 1024;

/// What a message says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    publisher: u32,
    number: u32,
    /// Nanoseconds since the window's start.
    time: u64,
}

impl Stamp {
    fn bytes(self) -> [u8; SIZE_MIN] {
        let mut bytes = [0; SIZE_MIN];
        bytes[..4].copy_from_slice(&characters::<4>(u64::from(self.publisher)));
        bytes[4..10].copy_from_slice(&characters::<6>(u64::from(self.number)));
        bytes[10..].copy_from_slice(&characters::<10>(self.time));
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            publisher: u32::try_from(number(bytes.get(..4)?)?).ok()?,
            number: u32::try_from(number(bytes.get(4..10)?)?).ok()?,
            time: number(bytes.get(10..SIZE_MIN)?)?,
        })
    }
}
