//! One play: whatever is due next happens, until everybody has gone home.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Instant;

use tidegate_io::Timeout;
use tidegate_io::sim::Chance;

use super::caller::Caller;
use super::hall::{Hall, Ledger, Record};
use super::scenario::Scenario;
use super::*;
use crate::counters::Snapshot;

/// With more steps than this, something goes round in circles.
const STEPS_MAX: u64 = 3_000_000;

/// A shard is woken for nothing once in so many steps, as a kernel may.
const FALSE_ALARM: usize = 512;

/// Everything that happened, in one number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) fn add(&mut self, word: u64) {
        // The multiplier of Knuth's linear congruential generator, MMIX.
        self.0 = (self.0 ^ word).wrapping_mul(0x5851_F42D_4C95_7F2D);
        self.0 ^= self.0 >> 31;
    }

    pub(super) fn add_bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }
}

/// What one play, or many, came to.
#[derive(Debug, Default, Clone)]
pub(super) struct Report {
    pub(super) trace: u64,
    pub(super) virtual_time: Duration,
    turns: u64,
    callers: u64,
    messages: u64,
    heard: u64,
    pings: u64,
    pongs: u64,
    dropped: u64,
    limited: u64,
    ends: BTreeMap<&'static str, u64>,
}

impl Report {
    pub(super) fn add(&mut self, other: &Self) {
        self.trace ^= other.trace;
        self.virtual_time += other.virtual_time;
        self.turns += other.turns;
        self.callers += other.callers;
        self.messages += other.messages;
        self.heard += other.heard;
        self.pings += other.pings;
        self.pongs += other.pongs;
        self.dropped += other.dropped;
        self.limited += other.limited;
        for (name, count) in &other.ends {
            *self.ends.entry(name).or_default() += count;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "trace {:016x}, {:.0} s virtual, {} turns, {} clients, {} messages said, {} heard, {} dropped, {} times over a rate, {} pings, {} pongs, ends {:?}",
            self.trace,
            self.virtual_time.as_secs_f64(),
            self.turns,
            self.callers,
            self.messages,
            self.heard,
            self.dropped,
            self.limited,
            self.pings,
            self.pongs,
            self.ends
        )
    }
}

/// A shard that waits.
struct Lane {
    shard: Shard<SimDriver, Hall>,
    timeout: Timeout,
}

/// What has a time.
#[derive(Debug, Clone, Copy)]
enum Cue {
    Call(usize),
    Act(usize),
    Leap(Duration),
    /// The end, if it has not begun yet.
    End,
    /// A shard is told of the end.
    Tell(usize),
}

/// A server, its world, its clients.
pub(super) struct Play {
    pub(super) scenario: Scenario,
    pub(super) world: World,
    start: Instant,
    lanes: Vec<Option<Lane>>,
    addresses: Vec<Address<u32>>,
    pub(super) budget: Arc<Budget>,
    pub(super) ledger: Rc<RefCell<Ledger>>,
    pub(super) callers: Vec<Caller>,
    /// Which caller has which link.
    links: Vec<usize>,
    agenda: BTreeMap<(Instant, u64), Cue>,
    cue_count: u64,
    chance: Chance,
    trace: Trace,
    ending: bool,
    /// The counters of the shards that are over.
    pub(super) counted: Snapshot,
    /// A shard ended without waiting for everybody.
    pub(super) stopped: bool,
    /// What was found to be wrong when the end began.
    fault: Option<String>,
}

impl Play {
    pub(super) fn new(seed: u64) -> Self {
        let mut scenario = Scenario::new(seed);
        let mut chance = Chance::new(!seed);
        let world = World::with_faults(seed.rotate_left(32), scenario.faults.clone());
        let budget = Arc::new(Budget::new(scenario.compression));
        let ledger = Rc::new(RefCell::new(Ledger::default()));
        let drivers: Vec<SimDriver> = (0..scenario.shard_count).map(|_| world.driver()).collect();
        let (shards, addresses) = shards_with(
            drivers,
            seed,
            &scenario.limits,
            scenario.compression,
            &budget,
            || Hall::new(Rc::clone(&ledger), scenario.door),
        );
        let lane = |mut shard: Shard<SimDriver, Hall>| {
            let timeout = shard.fall_asleep();
            Some(Lane { shard, timeout })
        };
        let plans = std::mem::take(&mut scenario.plans);
        let starts: Vec<Duration> = plans.iter().map(|plan| plan.start).collect();
        let numbered = plans.into_iter().enumerate();
        let may_miss = scenario.limits.profile.slow.drops();
        let callers: Vec<Caller> = numbered
            .map(|(i, plan)| Caller::new(i, plan, may_miss))
            .collect();
        ledger.borrow_mut().rates = scenario.limits.profile.rates;
        ledger.borrow_mut().records = vec![Record::default(); callers.len()];
        let mut play = Self {
            start: world.now(),
            lanes: shards.into_iter().map(lane).collect(),
            addresses,
            budget,
            ledger,
            callers,
            links: Vec::new(),
            agenda: BTreeMap::new(),
            cue_count: 0,
            chance: chance.fork(),
            trace: Trace(seed),
            ending: false,
            counted: Snapshot::default(),
            stopped: false,
            fault: None,
            scenario,
            world,
        };
        for (index, after) in starts.into_iter().enumerate() {
            play.cue(after, Cue::Call(index));
        }
        for (at, by) in std::mem::take(&mut play.scenario.leaps) {
            play.cue(at, Cue::Leap(by));
        }
        if let Some(at) = play.scenario.ending.at {
            play.cue(at, Cue::End);
        }
        play
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = &Shard<SimDriver, Hall>> {
        self.lanes.iter().flatten().map(|lane| &lane.shard)
    }

    fn cue(&mut self, after: Duration, cue: Cue) {
        self.cue_count += 1;
        let at = self.world.now() + after;
        self.agenda.insert((at, self.cue_count), cue);
    }

    /// Plays it. What is wrong is an error.
    pub(super) fn run(mut self) -> Result<Report, String> {
        let mut steps = 0;
        while self.lanes.iter().any(Option::is_some) {
            steps += 1;
            if steps > STEPS_MAX {
                let turns: Vec<_> = self.shards().map(|s| s.core.counted.turns).collect();
                let elapsed = self.world.now() - self.start;
                return Err(format!(
                    "not over after {STEPS_MAX} steps, {elapsed:?} and {turns:?} turns"
                ));
            }
            self.act();
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
            self.look()?;
            if let Some(index) = self.choose() {
                self.turn(index)?;
            } else if !self.go_on() {
                if self.ending {
                    return Err("the server does not end".to_owned());
                }
                checks::when_quiet(&self)?;
                self.end();
            }
        }
        while self.world.step(None) {
            self.look()?;
        }
        self.look()?;
        checks::at_the_end(&self)?;
        self.close()
    }

    /// The clients take in what has arrived for them.
    fn look(&mut self) -> Result<(), String> {
        for link in self.world.stirred_clients() {
            let link = usize::try_from(link).expect("it is an index");
            let index = self.links[link];
            let caller = &mut self.callers[index];
            let let_in = caller.look(&self.ledger.borrow(), &mut self.trace)?;
            let eager = matches!(caller.kind, scenario::Kind::Guest { eager: true, .. });
            if let_in && !eager {
                self.cue_step(index);
            }
        }
        Ok(())
    }

    fn cue_step(&mut self, index: usize) {
        if let Some(pause) = self.callers[index].next_pause() {
            self.cue(pause, Cue::Act(index));
        }
    }

    /// What is on the agenda for now.
    fn act(&mut self) {
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > self.world.now() {
                return;
            }
            match entry.remove() {
                Cue::Call(index) => {
                    let proxied = self.scenario.door.proxied;
                    let early = self.callers[index].call(&self.world, proxied);
                    if let Some(client) = &self.callers[index].client {
                        debug_assert_eq!(client.number(), self.links.len() as u64);
                        self.links.push(index);
                    }
                    if early {
                        self.cue_step(index);
                    }
                }
                Cue::Act(index) => {
                    self.callers[index].act(&self.scenario.limits);
                    self.cue_step(index);
                }
                Cue::Leap(by) => self.world.advance(by),
                Cue::End => {
                    self.fault = self.fault.take().or(checks::when_ending(self).err());
                    self.end();
                }
                Cue::Tell(index) => self.tell(index),
            }
        }
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.ending, true) {
            return;
        }
        for index in 0..self.lanes.len() {
            let after = Duration::from_micros(self.chance.below(3_000) as u64);
            self.cue(after, Cue::Tell(index));
        }
    }

    fn tell(&mut self, index: usize) {
        let drain = self.scenario.ending.drain;
        let letter = drain.map_or(Letter::Stop, |farewell| Letter::Drain(Box::new(farewell)));
        if self.addresses[index].try_send(letter).is_err() {
            self.cue(Duration::from_millis(1), Cue::Tell(index));
        }
    }

    /// A shard that has something to do, or that is woken by mistake.
    fn choose(&mut self) -> Option<usize> {
        let now = self.world.now();
        let false_alarm = self.chance.below(FALSE_ALARM) < self.lanes.len();
        let mut found = None;
        let mut count = 0;
        for index in 0..self.lanes.len() {
            let Some(lane) = &self.lanes[index] else {
                continue;
            };
            let due = match lane.timeout {
                Timeout::Now => true,
                Timeout::At(at) => at <= now,
                Timeout::Never => false,
            };
            if due || false_alarm || self.world.is_awake(index) {
                count += 1;
                if self.chance.below(count) == 0 {
                    found = Some(index);
                }
            }
        }
        if found.is_some() && self.chance.roll(self.scenario.dawdle) {
            let by = self.chance.below(300_000) as u64;
            self.world.advance(Duration::from_nanos(by));
        }
        found
    }

    fn turn(&mut self, index: usize) -> Result<(), String> {
        let Some(lane) = &mut self.lanes[index] else {
            return Ok(());
        };
        let waited = lane.shard.driver.wait(Timeout::Now);
        waited.map_err(|error| error.to_string())?;
        let goes_on = lane.shard.wake_up();
        let counted = &lane.shard.core.counted;
        self.trace.add(index as u64);
        let elapsed = self.world.now() - self.start;
        self.trace
            .add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        for word in [counted.bytes_in, counted.bytes_out, counted.messages_out] {
            self.trace.add(word);
        }
        checks::after_turn(&lane.shard).map_err(|what| format!("shard {index}: {what}"))?;
        if let Some(fault) = self.ledger.borrow().faults.first() {
            return Err(fault.clone());
        }
        if goes_on {
            if lane.shard.core.tasks.any_woken() {
                run_here(lane.shard.run_tasks());
            }
            lane.timeout = lane.shard.fall_asleep();
            return Ok(());
        }
        checks::when_over(&lane.shard).map_err(|what| format!("shard {index}, over: {what}"))?;
        self.stopped |= lane.shard.stopped;
        let sum = &mut self.counted;
        for (sum, one) in [
            (&mut sum.messages_out, counted.messages_out),
            (&mut sum.messages_in, counted.messages_in),
            (&mut sum.bytes_in, counted.bytes_in),
            (&mut sum.bytes_out, counted.bytes_out),
            (&mut sum.turns, counted.turns),
            (&mut sum.pings, counted.pings),
            (&mut sum.pongs, counted.pongs),
            (&mut sum.dropped_oldest, counted.dropped_oldest),
            (&mut sum.dropped_newest, counted.dropped_newest),
            (&mut sum.dropped_latest, counted.dropped_latest),
        ] {
            *sum += one;
        }
        let limited = counted.limited.as_flattened();
        for (sum, one) in sum.limited.as_flattened_mut().iter_mut().zip(limited) {
            *sum += one;
        }
        self.lanes[index] = None;
        Ok(())
    }

    /// Nobody can do anything now: time goes on. `false`: nothing will ever happen.
    fn go_on(&mut self) -> bool {
        let at_rest = |lane: &Lane| {
            let core = &lane.shard.core;
            core.timers.next_due().is_none()
                && core.tasks.next_due().is_none()
                && core.wake_at.is_none()
                && !core.post.has_backlog()
                && lane.shard.listen_at.is_none()
                && lane.shard.drain.is_none()
        };
        let agenda = self.agenda.first_key_value().map(|(&(at, _), _)| at);
        let lanes = self.lanes.iter().flatten();
        // Looking for unused contexts, again and again, is no sign of life.
        if agenda.is_none() && lanes.clone().all(at_rest) {
            return self.world.step(None);
        }
        let due = lanes.filter_map(|lane| match lane.timeout {
            Timeout::At(at) => Some(at),
            Timeout::Now | Timeout::Never => None,
        });
        let next = due.chain(agenda).min();
        self.world.step(next) || next.is_some()
    }

    /// The clients go, and nothing of anybody is left.
    fn close(self) -> Result<Report, String> {
        let mut ends = BTreeMap::new();
        for reason in self.ledger.borrow().records.iter().filter_map(|r| r.ended) {
            *ends.entry(reason.name()).or_default() += 1;
        }
        let report = Report {
            trace: self.trace.0,
            virtual_time: self.world.now() - self.start,
            turns: self.counted.turns,
            callers: self.callers.len() as u64,
            messages: self.counted.messages_in,
            heard: self.callers.iter().map(|c| c.heard_count).sum(),
            pings: self.counted.pings,
            pongs: self.counted.pongs,
            dropped: self.counted.drops().map(|(_, count)| count).sum(),
            limited: self.counted.rate_limits().map(|(_, _, count)| count).sum(),
            ends,
        };
        drop(self.callers);
        while self.world.step(None) {}
        let (links, bytes) = (self.world.links(), self.world.bytes_in_flight());
        if (links, bytes) == (0, 0) {
            Ok(report)
        } else {
            Err(format!("{links} links with {bytes} bytes are left"))
        }
    }
}
