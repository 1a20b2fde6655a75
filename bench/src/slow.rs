//! The slow ones of `slow`: clients that talk, and at half time stop to read.
//!
//! Until then each reply is checked. Afterwards they go on talking (if they talk at all) until
//! the kernel takes no more, and whatever becomes of them is no fault: a server has to cut them
//! off sooner or later.

use std::time::Instant;

use tidegate_proto::MessageKind;

use crate::load::{Load, Orders, Outgoing};
use crate::payload::{Payload, Verdict};
use crate::schedule::Schedule;
use crate::tally::{Messages, Window};

/// What one worker's slow clients do.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Messages per second of each; 0 for those that only subscribe.
    pub rate: u32,
    /// Bytes in a message.
    pub size: usize,
    /// The number of the first of them.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// The slow clients of one worker.
#[derive(Debug)]
pub struct Slow {
    share: Share,
    cells: Vec<Cell>,
    payload: Payload,
    window: Option<Window>,
    schedule: Option<Schedule>,
    open: Vec<u32>,
    stage: Stage,
    messages: Messages,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reading,
    Deaf,
    Gone,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    sent: u32,
    received: u32,
    owed: u32,
}

/// What one of them owes at most, so that a blocked one does not make up for a minute at once.
const OWED_MAX: u32 = 64;

impl Slow {
    /// A worker's slow clients.
    #[must_use]
    pub fn new(share: Share) -> Self {
        Self {
            share,
            cells: vec![Cell::default(); share.count as usize],
            payload: Payload::new(MessageKind::Binary, share.size),
            window: None,
            schedule: None,
            open: Vec::new(),
            stage: Stage::Reading,
            messages: Messages::default(),
        }
    }

    fn number(&self, index: usize) -> u32 {
        self.share.first + u32::try_from(index).expect("a worker has fewer than 2^32 connections")
    }

    fn hand_out(&mut self, end: Instant, orders: &mut Orders) -> Option<Instant> {
        let schedule = self.schedule.as_mut()?;
        for _ in 0..TURN_MAX {
            let Some(place) = schedule.next_before(end) else {
                break;
            };
            let index = self.open[place as usize];
            let cell = &mut self.cells[index as usize];
            cell.owed = (cell.owed + 1).min(OWED_MAX);
            orders.ready.push(index);
        }
        Some(schedule.next_time())
    }
}

/// How many messages one turn hands out.
const TURN_MAX: u32 = 1024;

impl Load for Slow {
    fn lost(&mut self, _index: usize, _now: Instant) -> bool {
        self.stage == Stage::Reading
    }

    fn begin(&mut self, window: Window, open: &[u32]) {
        self.window = Some(window);
        self.open = open.to_vec();
        let count = u32::try_from(open.len()).expect("indices have 32 bits");
        if self.share.rate > 0 && count > 0 {
            let rate = f64::from(self.share.rate) * f64::from(count);
            self.schedule = Some(Schedule::new(window.start, rate, count));
        }
    }

    fn receive(&mut self, index: usize, kind: MessageKind, bytes: &[u8]) {
        // Those that only subscribe hear what others check.
        if self.stage != Stage::Reading || self.share.rate == 0 {
            return;
        }
        let number = self.number(index);
        let cell = &mut self.cells[index];
        if self.payload.check(cell.received, number, kind, bytes) != Verdict::Right {
            self.messages.errors.mismatched += 1;
        }
        cell.received = cell.received.wrapping_add(1);
    }

    fn settle(&mut self, _index: usize, _now: Instant) {}

    fn write(&mut self, index: usize, _now: Instant, out: &mut Outgoing<'_>) {
        let number = self.number(index);
        let cell = &mut self.cells[index];
        while cell.owed > 0 && !out.is_full() {
            cell.owed -= 1;
            self.payload
                .with(cell.sent, number, |message| out.send(message));
            cell.sent = cell.sent.wrapping_add(1);
        }
    }

    fn tick(&mut self, now: Instant, orders: &mut Orders) -> Option<Instant> {
        let window = self.window?;
        let until = window.until?;
        let half = window.from + (until - window.from) / 2;
        if self.stage == Stage::Reading && now >= half {
            self.stage = Stage::Deaf;
            orders.pause.extend(&self.open);
            self.messages.slow = self.open.len() as u64;
        }
        if self.stage == Stage::Deaf && now >= until {
            self.stage = Stage::Gone;
            orders.reset.extend(&self.open);
        }
        let next = if self.stage == Stage::Gone {
            return None;
        } else if now < half {
            half
        } else {
            until
        };
        let send = self.hand_out(now.min(until), orders);
        Some(send.map_or(next, |send| send.min(next)))
    }

    fn outstanding(&self) -> u64 {
        0
    }

    fn received(&self) -> u64 {
        0
    }

    fn into_messages(self: Box<Self>) -> Messages {
        self.messages
    }
}
