//! `storm`: all connections drop at once, and every client comes back by itself.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use tidegate_proto::MessageKind;

use crate::load::{Load, Orders, Outgoing};
use crate::random::Random;
use crate::reconnect::{Backoff, State};
use crate::tally::{Messages, StormTally, Window};

/// What one worker's clients do.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// How they come back.
    pub backoff: Backoff,
    /// The server drops them; else they drop themselves.
    pub by_server: bool,
    /// Where chance starts.
    pub seed: u64,
    /// The number of the worker's first connection.
    pub first: u32,
    /// How many connections the worker has.
    pub count: u32,
}

/// The storm of one worker.
#[derive(Debug)]
pub struct Storm {
    share: Share,
    random: Random,
    clients: Vec<State>,
    /// When a client's next try begins, or its try has lasted too long. Those that no longer
    /// matter stay, and are passed over.
    alarms: BinaryHeap<Reverse<(Instant, u32)>>,
    window: Option<Window>,
    /// The first loss; times are told from there.
    began: Option<Instant>,
    /// Those that were open when the storm began, and are to be dropped.
    drop: Vec<u32>,
    /// Lost, and neither back nor failed.
    underway: u64,
    ended: bool,
    tally: StormTally,
    messages: Messages,
}

impl Storm {
    /// A worker's load.
    #[must_use]
    pub fn new(share: Share) -> Self {
        Self {
            share,
            random: Random::new(share.seed.rotate_left(17), u64::from(share.first)),
            clients: vec![State::Init; share.count as usize],
            alarms: BinaryHeap::new(),
            window: None,
            began: None,
            drop: Vec::new(),
            underway: 0,
            ended: false,
            tally: StormTally::default(),
            messages: Messages::default(),
        }
    }

    /// The client has lost its connection, and its socket is free.
    fn begin_return(&mut self, index: usize, now: Instant) {
        self.began.get_or_insert(now);
        self.tally.dropped += 1;
        self.underway += 1;
        let Share { backoff, .. } = self.share;
        let next = self.clients[index].lose(now, &backoff, &mut self.random);
        self.set_alarm(index, next);
    }

    fn set_alarm(&mut self, index: usize, at: Option<Instant>) {
        let number = u32::try_from(index).expect("a worker has fewer than 2^32 connections");
        self.alarms.extend(at.map(|at| Reverse((at, number))));
    }

    /// Is every client where it will stay?
    fn is_calm(&self) -> bool {
        self.drop.is_empty() && self.underway == 0 && self.began.is_some()
    }
}

impl Load for Storm {
    fn opened(&mut self, index: usize, now: Instant) {
        let Some(tries) = self.clients[index].open() else {
            return;
        };
        self.underway -= 1;
        *self.tally.tries.entry(tries).or_default() += 1;
        let began = self.began.unwrap_or(now);
        self.tally.back.record(now.saturating_duration_since(began));
    }

    fn failed(&mut self, index: usize, now: Instant) -> bool {
        let State::Reconnecting { .. } = self.clients[index] else {
            // Its very first connect: the user asked for that one.
            return true;
        };
        let Share { backoff, .. } = self.share;
        let next = self.clients[index].fail(now, &backoff, &mut self.random);
        if next.is_none() {
            self.tally.failed += 1;
            self.underway -= 1;
        }
        self.set_alarm(index, next);
        false
    }

    fn lost(&mut self, _index: usize, _now: Instant) -> bool {
        // Before the storm it is a fault.
        self.window.is_none()
    }

    fn left(&mut self, index: usize, now: Instant) {
        if self.window.is_some() && !self.ended && self.clients[index] == State::Open {
            self.begin_return(index, now);
        }
    }

    fn begin(&mut self, window: Window, open: &[u32]) {
        self.window = Some(window);
        if !self.share.by_server {
            self.drop = open.to_vec();
        }
    }

    /// Whatever a server says to those who come is no fault.
    fn receive(&mut self, _index: usize, _kind: MessageKind, _bytes: &[u8]) {
        self.messages.received += 1;
    }

    fn settle(&mut self, _index: usize, _now: Instant) {}

    fn write(&mut self, _index: usize, _now: Instant, _out: &mut Outgoing<'_>) {}

    fn tick(&mut self, now: Instant, orders: &mut Orders) -> Option<Instant> {
        let window = self.window?;
        if window.is_past(now) {
            return None;
        }
        if !self.drop.is_empty() {
            self.began.get_or_insert(now);
            let left = self.drop.len().saturating_sub(RESETS_MAX);
            orders.reset.extend(self.drop.drain(left..));
        }
        let Share { backoff, .. } = self.share;
        while orders.dial.len() < DIALS_MAX
            && let Some(Reverse((at, index))) = self.alarms.peek().copied()
        {
            if at > now {
                return Some(at);
            }
            self.alarms.pop();
            let client = &mut self.clients[index as usize];
            if client.is_overdue(now) {
                orders.reset.push(index);
            } else if let Some(until) = client.dial(now, &backoff) {
                orders.dial.push(index);
                self.alarms.push(Reverse((until, index)));
            }
        }
        self.alarms.peek().map(|Reverse((at, _))| *at)
    }

    fn outstanding(&self) -> u64 {
        0
    }

    fn is_over(&self, _open: u32) -> bool {
        self.is_calm()
    }

    fn end(&mut self) {
        self.ended = true;
    }

    fn received(&self) -> u64 {
        self.messages.received
    }

    fn into_messages(mut self: Box<Self>) -> Messages {
        self.tally.underway = self.underway;
        self.messages.storm = self.tally;
        self.messages
    }
}

/// How many connections one turn drops, so that all drop within a moment, and the client still reads.
const RESETS_MAX: usize = 512;

/// How many clients one turn dials, so that those who are back are seen to be back.
const DIALS_MAX: usize = 64;
