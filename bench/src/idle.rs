//! `idle`: connections that are held. Pings are answered by the protocol itself.
//!
//! Once all are open, each may have to prove that it lives: a ping that wants its pong, a
//! message that wants to be echoed. While they are held, each may have to hear what is
//! published to all.

use std::time::{Duration, Instant};

use tidegate_proto::MessageKind;

use crate::load::{Load, Orders, Outgoing};
use crate::payload::{Payload, Verdict};
use crate::tally::{IdleTally, Messages, Window};

/// What one worker's connections have to prove.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// A ping on each, once all are open.
    pub ping: bool,
    /// A message on each, once all are open.
    pub echo: bool,
    /// How many messages each has to hear while it is held; 0 for none.
    pub expected: u32,
    /// The number of the worker's first connection.
    pub first: u32,
    /// How many connections the worker has.
    pub count: u32,
}

/// The idle connections of one worker.
#[derive(Debug)]
pub struct Idle {
    share: Share,
    cells: Vec<Cell>,
    payload: Payload,
    stage: Stage,
    /// Those that have not been asked to prove anything yet.
    unproven: Vec<u32>,
    /// How many have been asked, and not answered in full.
    asked: u32,
    /// Those that are held and have not heard enough.
    deaf: u64,
    /// Those that have heard something since the last settling, which knows the time.
    heard_now: bool,
    tally: IdleTally,
    messages: Messages,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Opening,
    Proving,
    Holding(Window),
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    /// A ping is to be written.
    to_ping: bool,
    /// A message is to be written.
    to_say: bool,
    pong_due: bool,
    echo_due: bool,
    /// It was open when it was to prove itself, and still is.
    open: bool,
    /// It was open when the hold began, and still is.
    held: bool,
    heard: u32,
}

impl Cell {
    fn owes(self) -> bool {
        self.pong_due || self.echo_due
    }
}

/// How many of a worker's connections prove themselves at the same time, so that a million of
/// them do not become a flood.
const ASKED_MAX: u32 = 256;

/// Bytes of a message that is to be echoed: enough for its stamp and some more.
const SIZE: usize = 20;

impl Idle {
    /// A worker's load.
    #[must_use]
    pub fn new(share: Share) -> Self {
        Self {
            share,
            cells: vec![Cell::default(); share.count as usize],
            payload: Payload::new(MessageKind::Text, SIZE),
            stage: Stage::Opening,
            unproven: Vec::new(),
            asked: 0,
            deaf: 0,
            heard_now: false,
            tally: IdleTally::default(),
            messages: Messages::default(),
        }
    }

    fn number(&self, index: usize) -> u32 {
        self.share.first + u32::try_from(index).expect("a worker has fewer than 2^32 connections")
    }

    fn answered(&mut self, index: usize) {
        if !self.cells[index].owes() {
            self.asked -= 1;
        }
    }

    fn hear(&mut self, index: usize) {
        let cell = &mut self.cells[index];
        cell.heard += 1;
        self.heard_now = true;
        if cell.held && cell.heard == self.share.expected {
            self.tally.heard += 1;
            self.deaf -= 1;
        }
    }
}

impl Load for Idle {
    fn lost(&mut self, index: usize, _now: Instant) -> bool {
        let expected = self.share.expected;
        let cell = &mut self.cells[index];
        let (owed, held, heard) = (cell.owes(), cell.held, cell.heard);
        *cell = Cell::default();
        self.asked -= u32::from(owed);
        self.deaf -= u64::from(held && expected > 0 && heard < expected);
        true
    }

    fn prepare(&mut self, _start: Instant, open: &[u32]) {
        self.stage = Stage::Proving;
        if self.share.ping || self.share.echo {
            self.unproven = open.to_vec();
            self.unproven.reverse();
            self.tally.proving = open.len() as u64;
            for index in open {
                self.cells[*index as usize].open = true;
            }
        }
    }

    fn begin(&mut self, window: Window, open: &[u32]) {
        self.stage = Stage::Holding(window);
        self.unproven.clear();
        let expected = self.share.expected;
        for index in open {
            let cell = &mut self.cells[*index as usize];
            cell.held = true;
            if expected > 0 && cell.heard >= expected {
                self.tally.heard += 1;
            } else if expected > 0 {
                self.deaf += 1;
            }
        }
        if expected > 0 {
            self.tally.hearing = open.len() as u64;
        }
    }

    /// A server may greet; that is counted and is no fault.
    fn receive(&mut self, index: usize, kind: MessageKind, bytes: &[u8]) {
        self.messages.received += 1;
        let number = self.number(index);
        let is_echo = self.cells[index].echo_due
            && self.payload.check(0, number, kind, bytes) == Verdict::Right;
        if is_echo {
            self.cells[index].echo_due = false;
            self.tally.echoed += 1;
            self.answered(index);
        } else if !matches!(self.stage, Stage::Opening) {
            // Whoever publishes may be quicker than the last of the workers with its begin.
            self.hear(index);
        }
    }

    fn pong(&mut self, index: usize, payload: &[u8]) {
        if self.cells[index].pong_due && payload == self.number(index).to_be_bytes() {
            self.cells[index].pong_due = false;
            self.tally.ponged += 1;
            self.answered(index);
        }
    }

    fn settle(&mut self, _index: usize, now: Instant) {
        if std::mem::take(&mut self.heard_now) {
            let since = match self.stage {
                Stage::Holding(window) => now.saturating_duration_since(window.start),
                Stage::Opening | Stage::Proving => Duration::ZERO,
            };
            let since = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
            let times = self.tally.first_and_last;
            let first = times.map_or(since, |(first, _)| first);
            self.tally.first_and_last = Some((first, since));
        }
    }

    fn write(&mut self, index: usize, _now: Instant, out: &mut Outgoing<'_>) {
        let number = self.number(index);
        let cell = &mut self.cells[index];
        if std::mem::take(&mut cell.to_ping) {
            out.ping(&number.to_be_bytes());
            self.tally.pinged += 1;
        }
        if std::mem::take(&mut cell.to_say) {
            self.payload.with(0, number, |message| out.send(message));
            self.tally.said += 1;
            self.messages.sent += 1;
        }
    }

    fn tick(&mut self, _now: Instant, orders: &mut Orders) -> Option<Instant> {
        let Stage::Proving = self.stage else {
            return None;
        };
        while self.asked < ASKED_MAX
            && let Some(index) = self.unproven.pop()
        {
            if !self.cells[index as usize].open {
                continue;
            }
            let Share { ping, echo, .. } = self.share;
            self.cells[index as usize] = Cell {
                to_ping: ping,
                to_say: echo,
                pong_due: ping,
                echo_due: echo,
                open: true,
                ..Cell::default()
            };
            self.asked += 1;
            orders.ready.push(index);
        }
        None
    }

    fn outstanding(&self) -> u64 {
        match self.stage {
            Stage::Opening => 0,
            Stage::Proving => u64::from(self.asked) + self.unproven.len() as u64,
            Stage::Holding(_) => self.deaf,
        }
    }

    fn received(&self) -> u64 {
        self.messages.received
    }

    fn into_messages(mut self: Box<Self>) -> Messages {
        let tally = self.tally;
        let due = |wanted, all, done| if wanted { all - done } else { 0 };
        self.messages.errors.lost += due(self.share.ping, tally.proving, tally.ponged)
            + due(self.share.echo, tally.proving, tally.echoed)
            + (tally.hearing - tally.heard);
        self.messages.idle = tally;
        self.messages
    }
}
