//! `churn`: one connection after the other is closed and opened again.
//!
//! A turn begins with a close and ends with the 101 of the connect that follows. Closed loop:
//! every connection goes from turn to turn. Open loop: the clock begins turns, number `k` of a
//! worker at `start + k * interval`, each on the connection that has been open the longest; if
//! none is open, the turn waits, and its latency counts from its time all the same.

use std::collections::VecDeque;
use std::time::Instant;

use tidegate_proto::MessageKind;

use crate::load::{Load, Orders, Outgoing};
use crate::schedule::Schedule;
use crate::tally::{ChurnTally, Messages, Window};

/// What all workers have in common, and this one's share.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Close by a reset.
    pub reset: bool,
    /// Turns per second, for an open loop.
    pub rate: Option<f64>,
    /// How many connections the worker has.
    pub count: u32,
}

/// The churn of one worker.
#[derive(Debug)]
pub struct Churn {
    share: Share,
    cells: Vec<Cell>,
    window: Option<Window>,
    schedule: Option<Schedule>,
    /// Those that are open, the one that has been so the longest first.
    open: VecDeque<u32>,
    /// Times of turns that wait for an open connection.
    waiting: VecDeque<Instant>,
    /// Those that are to be dialled.
    dial: Vec<u32>,
    /// Turns that have begun and not ended.
    underway: u64,
    tally: ChurnTally,
    messages: Messages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Cell {
    /// Not in a turn: open, or never opened, or lost for good.
    #[default]
    Quiet,
    Closing {
        since: Instant,
    },
    Dialing {
        since: Instant,
    },
}

impl Churn {
    /// A worker's load.
    #[must_use]
    pub fn new(share: Share) -> Self {
        Self {
            share,
            cells: vec![Cell::Quiet; share.count as usize],
            window: None,
            schedule: None,
            open: VecDeque::new(),
            waiting: VecDeque::new(),
            dial: Vec::new(),
            underway: 0,
            tally: ChurnTally::default(),
            messages: Messages::default(),
        }
    }

    fn begin_turns(&mut self, orders: &mut Orders, now: Instant) {
        loop {
            let since = match (&self.schedule, self.waiting.front()) {
                (Some(_), None) => return,
                (Some(_), Some(since)) => *since,
                (None, _) => now,
            };
            let Some(index) = self.open.pop_front() else {
                return;
            };
            self.waiting.pop_front();
            self.cells[index as usize] = Cell::Closing { since };
            self.underway += 1;
            if self.share.reset {
                orders.reset.push(index);
            } else {
                orders.close.push(index);
            }
        }
    }
}

impl Load for Churn {
    fn opened(&mut self, index: usize, now: Instant) {
        let number = u32::try_from(index).expect("a worker has fewer than 2^32 connections");
        let (Some(window), Cell::Dialing { since }) = (self.window, self.cells[index]) else {
            return;
        };
        self.cells[index] = Cell::Quiet;
        self.open.push_back(number);
        self.underway -= 1;
        self.tally.turns_in_all += 1;
        self.tally.turns += u64::from(window.counts(now));
        if window.counts(since) {
            self.tally
                .latency
                .record(now.saturating_duration_since(since));
        }
    }

    fn failed(&mut self, index: usize, _now: Instant) -> bool {
        if self.cells[index] != Cell::Quiet {
            // It stays away; that it failed is told, and is a fault.
            self.cells[index] = Cell::Quiet;
            self.underway -= 1;
        }
        true
    }

    fn lost(&mut self, index: usize, now: Instant) -> bool {
        let _ = now;
        let Ok(number) = u32::try_from(index) else {
            return true;
        };
        self.open.retain(|open| *open != number);
        true
    }

    fn left(&mut self, index: usize, _now: Instant) {
        if let Cell::Closing { since } = self.cells[index] {
            self.cells[index] = Cell::Dialing { since };
            let number = u32::try_from(index).expect("a worker has fewer than 2^32 connections");
            self.dial.push(number);
        }
    }

    fn begin(&mut self, window: Window, open: &[u32]) {
        self.window = Some(window);
        self.open = open.iter().copied().collect();
        if let Some(rate) = self.share.rate
            && !open.is_empty()
        {
            self.schedule = Some(Schedule::new(window.start, rate, 1));
        }
    }

    /// Whatever a server says to those who come is no fault.
    fn receive(&mut self, _index: usize, _kind: MessageKind, _bytes: &[u8]) {
        self.messages.received += 1;
    }

    fn settle(&mut self, _index: usize, _now: Instant) {}

    fn write(&mut self, _index: usize, _now: Instant, _out: &mut Outgoing<'_>) {}

    fn tick(&mut self, now: Instant, orders: &mut Orders) -> Option<Instant> {
        orders.dial.append(&mut self.dial);
        let window = self.window?;
        // What was due within the window is begun, however late it is.
        let end = window.until.map_or(now, |until| now.min(until));
        if let Some(schedule) = &mut self.schedule {
            for _ in 0..TURN_MAX {
                let meant = schedule.next_time();
                if schedule.next_before(end).is_none() {
                    break;
                }
                if window.counts(meant) {
                    let late = now.saturating_duration_since(meant);
                    self.tally.lateness.record(late);
                }
                self.waiting.push_back(meant);
            }
        }
        if self.schedule.is_some() || !window.is_past(now) {
            self.begin_turns(orders, now);
        }
        self.schedule
            .as_ref()
            .map(Schedule::next_time)
            .filter(|next| !window.is_past(*next))
    }

    fn outstanding(&self) -> u64 {
        self.underway + self.waiting.len() as u64
    }

    /// With none open, those that are under way come back.
    fn is_over(&self, open: u32) -> bool {
        open == 0 && self.underway == 0
    }

    fn end(&mut self) {
        self.tally.unfinished = self.outstanding();
    }

    fn received(&self) -> u64 {
        self.messages.received + self.tally.turns_in_all
    }

    fn into_messages(mut self: Box<Self>) -> Messages {
        self.messages.errors.unfinished_turns = self.tally.unfinished;
        self.messages.churn = self.tally;
        self.messages
    }
}

/// How many turns begin in one turn of the driver, so that a client that has fallen behind still
/// reads.
const TURN_MAX: u32 = 256;
