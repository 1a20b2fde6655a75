//! The state of a simulated world, and what happens in it as its time goes by.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::Faults;
use super::chance::Chance;
use super::door::Door;
use super::wire::{End, EndId, Inbox, Owner, Pipe, Wire};
use crate::Socket;

/// How long anything takes at the least: about what the loopback device needs.
const LATENCY: Duration = Duration::from_micros(20);

/// How long a turn takes. Without it, time would stand still for a driver that is always busy.
const TURN: Duration = Duration::from_micros(5);

/// Everything there is. Nothing in it depends on more than the seed and the calls.
#[derive(Debug)]
pub(super) struct Network {
    base: Instant,
    pub(super) elapsed: Duration,
    pub(super) chance: Chance,
    pub(super) faults: Faults,
    /// By time, then by order.
    events: BTreeMap<(Duration, u64), Event>,
    event_count: u64,
    pub(super) wires: BTreeMap<u64, Wire>,
    wire_count: u64,
    pub(super) doors: Vec<Door>,
    /// Somebody outside the driver that waits has something new to look at.
    pub(super) stirred: bool,
    /// The wires of clients that have something new to look at.
    pub(super) stirred_clients: Vec<u64>,
}

/// Something that will happen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// The connect of side 0 reaches a listener (if there is one).
    Connect {
        wire: u64,
        door: Option<usize>,
    },
    /// The answer to it reaches side 0.
    Connected {
        wire: u64,
    },
    Refused {
        wire: u64,
    },
    /// The next segment of this sender lands.
    Land {
        from: EndId,
    },
    /// This sender writes some of what is unsent.
    Write {
        from: EndId,
    },
    /// A reset reaches this end.
    Reset {
        to: EndId,
    },
    /// A close that was pending is through.
    Close {
        door: usize,
        socket: Socket,
    },
}

impl Network {
    pub(super) fn new(seed: u64, faults: Faults, base: Instant) -> Self {
        Self {
            base,
            elapsed: Duration::ZERO,
            chance: Chance::new(seed),
            faults,
            events: BTreeMap::new(),
            event_count: 0,
            wires: BTreeMap::new(),
            wire_count: 0,
            doors: Vec::new(),
            stirred: false,
            stirred_clients: Vec::new(),
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.base + self.elapsed
    }

    /// One turn's wait of a driver.
    pub(super) fn wait(&mut self, door: usize, timeout: Option<Duration>) {
        let deadline = timeout.map(|timeout| self.elapsed.saturating_add(timeout));
        self.elapsed += TURN;
        let rung = self.doors[door].bell.take();
        if !self.doors[door].turn.is_empty() {
            return;
        }
        self.stirred = false;
        self.run_until(self.elapsed);
        while !self.begin_turn(door) && !rung && !self.stirred {
            let Some(at) = self
                .next_event()
                .filter(|&at| deadline.is_none_or(|end| at <= end))
            else {
                self.elapsed = self.elapsed.max(deadline.unwrap_or_default());
                return;
            };
            self.elapsed = self.elapsed.max(at);
            self.run_until(self.elapsed);
        }
    }

    /// Lets everything happen that is due by then.
    pub(super) fn run_until(&mut self, end: Duration) {
        while self.next_event().is_some_and(|at| at <= end) {
            let Some(((at, _), event)) = self.events.pop_first() else {
                return;
            };
            self.elapsed = self.elapsed.max(at);
            self.happen(event);
        }
        self.elapsed = self.elapsed.max(end);
    }

    /// Lets the next thing happen, if it is due by `end`.
    pub(super) fn step(&mut self, end: Option<Instant>) -> bool {
        let end = end.map(|end| end.saturating_duration_since(self.base));
        let next = self.next_event();
        match next.filter(|&at| end.is_none_or(|end| at <= end)) {
            Some(at) => self.run_until(at.max(self.elapsed)),
            None => self.run_until(end.unwrap_or_default()),
        }
        next.is_some()
    }

    pub(super) fn is_quiet(&self) -> bool {
        let silent = |index: usize| !self.doors[index].bell.is_rung() && !self.has_news(index);
        self.events.is_empty() && (0..self.doors.len()).all(silent)
    }

    /// A new wire whose side 0 has this owner, on its way to a listener: the driver's index and
    /// its own.
    pub(super) fn connect(
        &mut self,
        owner: Owner,
        from: Option<SocketAddr>,
        to: Option<(usize, u16)>,
    ) -> EndId {
        let wire = self.wire_count;
        self.wire_count += 1;
        // 10.64.0.0/10 and up is for those who call; listeners live in 10.0.0.0/16.
        let host = u32::try_from(wire % 0x00C0_0000).expect("it is less than 2^24");
        let chosen = SocketAddr::from((Ipv4Addr::from_bits(0x0A40_0000 + host), 40_000));
        let address = match from {
            Some(from) if from.port() == 0 => SocketAddr::new(from.ip(), 40_000),
            other => other.unwrap_or(chosen),
        };
        let listener = to.map_or(chosen, |(door, index)| {
            self.doors[door].listener_address(index)
        });
        let door = to.map(|(door, _)| door);
        let end = |owner, address| End {
            owner,
            lost: false,
            address,
        };
        let pipes = [Pipe::new(self.capacity()), Pipe::new(self.capacity())];
        let ends = [end(owner, address), end(Owner::Arriving, listener)];
        self.wires.insert(wire, Wire { ends, pipes });
        self.schedule(Event::Connect { wire, door });
        EndId { wire, side: 0 }
    }

    /// Between the smallest and the largest, each order of magnitude as likely as the next.
    fn capacity(&mut self) -> usize {
        let (min, max) = (self.faults.capacity_min.max(1), self.faults.capacity_max);
        let doublings = (max / min).max(1).ilog2() as usize;
        let upper = min
            .saturating_mul(1 << (self.chance.below(doublings + 1) + 1))
            .min(max.max(min));
        min + self.chance.below(upper - min + 1)
    }

    fn next_event(&self) -> Option<Duration> {
        self.events.first_key_value().map(|(&(at, _), _)| at)
    }

    /// When something that starts now will be through.
    pub(super) fn later(&mut self) -> Duration {
        let mut at = self.elapsed + LATENCY;
        if self.chance.roll(self.faults.late) {
            let max = usize::try_from(self.faults.late_max.as_nanos()).unwrap_or(usize::MAX - 1);
            let nanos = self.chance.below(max.saturating_add(1));
            at += Duration::from_nanos(nanos.try_into().expect("a usize has at most 64 bits"));
        }
        at
    }

    pub(super) fn schedule(&mut self, event: Event) {
        let at = self.later();
        self.schedule_at(at, event);
    }

    pub(super) fn schedule_at(&mut self, at: Duration, event: Event) {
        self.events.insert((at, self.event_count), event);
        self.event_count += 1;
    }

    fn happen(&mut self, event: Event) {
        let wire = match event {
            Event::Connect { wire, .. } | Event::Connected { wire } | Event::Refused { wire } => {
                wire
            }
            Event::Land { from: end } | Event::Write { from: end } | Event::Reset { to: end } => {
                end.wire
            }
            Event::Close { door, socket } => return self.finish_close(door, socket),
        };
        if !self.wires.contains_key(&wire) {
            return;
        }
        match event {
            Event::Connect { door, .. } => self.on_connect(wire, door),
            Event::Connected { .. } => self.on_connected(wire),
            Event::Refused { .. } => self.on_refused(wire),
            Event::Land { from } => self.on_landed(from),
            Event::Write { from } => self.on_write(from),
            Event::Reset { to } => self.on_reset(to),
            Event::Close { .. } => unreachable!("it was dealt with above"),
        }
        self.tidy(wire);
    }

    /// Forgets a wire that nobody looks at any more.
    pub(super) fn tidy(&mut self, wire: u64) {
        if self.wires.get(&wire).is_some_and(Wire::is_over) {
            self.wires.remove(&wire);
        }
    }

    pub(super) fn end(&mut self, end: EndId) -> &mut End {
        let wire = self
            .wires
            .get_mut(&end.wire)
            .expect("an end in use keeps its wire");
        &mut wire.ends[end.side]
    }

    pub(super) fn pipe(&mut self, from: EndId) -> &mut Pipe {
        let wire = self
            .wires
            .get_mut(&from.wire)
            .expect("an end in use keeps its wire");
        &mut wire.pipes[from.side]
    }

    /// The test's side of an end that is the test's.
    pub(super) fn inbox(&mut self, end: EndId) -> &mut Inbox {
        match &mut self.end(end).owner {
            Owner::Client(inbox) => inbox,
            other => unreachable!("a client's end is {other:?}"),
        }
    }

    /// Tells the owner of an end to look at it.
    pub(super) fn stir(&mut self, end: EndId) {
        match self.end(end).owner {
            Owner::Socket { door, socket } => {
                self.doors[door].ready.insert(socket);
                self.stirred = true;
            }
            Owner::Client(ref mut inbox) => {
                let listed = std::mem::replace(&mut inbox.stirred, true);
                if !listed {
                    self.stirred_clients.push(end.wire);
                }
                self.stirred = true;
            }
            Owner::Arriving | Owner::Waiting | Owner::Handed | Owner::Closed => {}
        }
    }
}
