//! `echo`: every message must come back once, in order, with the same kind and bytes.
//!
//! Closed loop: a connection sends its next batch when the last one is back. Open loop: the
//! clock deals batches out to the connections in turn. Batch number `k` of a worker should
//! leave at `start + k * interval`, whatever the server does, and its latency counts from
//! there; so a server that stalls cannot slow its own measurement down. Since the batches are
//! dealt in turn, the time of each follows from its number and nothing has to be remembered.

use std::time::{Duration, Instant};

use tidegate_proto::MessageKind;

use crate::load::{Load, Orders, Outgoing};
use crate::payload::{Payload, Verdict};
use crate::schedule::Schedule;
use crate::slices::Slices;
use crate::tally::{Messages, Window};

/// What all workers have in common, and this one's share.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Text or binary.
    pub kind: MessageKind,
    /// Bytes in a message.
    pub size: usize,
    /// Messages in a batch.
    pub depth: u32,
    /// Batches per second, for an open loop.
    pub rate: Option<f64>,
    /// How many messages to send; `None` until the window ends.
    pub quota: Option<u64>,
    /// The number of the worker's first connection.
    pub first: u32,
    /// How many connections the worker has.
    pub count: u32,
    /// Into how many slices of the time the figures are to be cut; 0 for none.
    pub slices: u32,
}

/// The echo of one worker.
#[derive(Debug)]
pub struct Echo {
    share: Share,
    cells: Vec<Cell>,
    payload: Payload,
    window: Option<Window>,
    schedule: Option<Schedule>,
    open: Vec<u32>,
    /// Sent and not yet received, on all connections that live.
    flying: u64,
    quota_left: u64,
    /// What came to one connection at once.
    arrived: u32,
    messages: Messages,
}

/// One connection. Invariant: `received <= sent`, with wrapping.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    sent: u32,
    received: u32,
    /// Batches that are due and not yet sent (open loop).
    owed: u32,
    /// Its place in the order in which batches are dealt (open loop).
    place: u32,
    /// When its batch under way was sent, in nanoseconds since the start (closed loop).
    sent_at: u64,
}

impl Echo {
    /// A worker's load.
    #[must_use]
    pub fn new(share: Share) -> Self {
        Self {
            share,
            cells: vec![Cell::default(); share.count as usize],
            payload: Payload::new(share.kind, share.size),
            window: None,
            schedule: None,
            open: Vec::new(),
            flying: 0,
            quota_left: share.quota.unwrap_or(u64::MAX),
            arrived: 0,
            messages: Messages::default(),
        }
    }

    fn number(&self, index: usize) -> u32 {
        self.share.first + u32::try_from(index).expect("a worker has fewer than 2^32 connections")
    }

    /// How many batches the connection may send now.
    fn due(&self, index: usize, now: Instant) -> u32 {
        let cell = &self.cells[index];
        match (self.window, &self.schedule) {
            (None, _) => 0,
            (Some(_), Some(_)) => cell.owed,
            (Some(window), None) => u32::from(cell.sent == cell.received && !window.is_past(now)),
        }
    }

    fn write_batch(&mut self, index: usize, now: Instant, window: Window, out: &mut Outgoing<'_>) {
        let number = self.number(index);
        let cell = &mut self.cells[index];
        let size = u64::from(self.share.depth).min(self.quota_left);
        let size = u32::try_from(size).expect("not more than the depth");
        for _ in 0..size {
            self.payload
                .with(cell.sent, number, |message| out.send(message));
            cell.sent = cell.sent.wrapping_add(1);
        }
        cell.sent_at = nanoseconds(now.saturating_duration_since(window.start));
        if self.share.quota.is_some() {
            self.quota_left -= u64::from(size);
        }
        self.flying += u64::from(size);
        self.messages.sent += u64::from(size);
    }

    fn record(&mut self, index: usize, arrived: u32, now: Instant, window: Window) {
        let cell = self.cells[index];
        let Some(schedule) = &self.schedule else {
            let meant = window.start + Duration::from_nanos(cell.sent_at);
            self.messages.time(window, meant, now, u64::from(arrived));
            return;
        };
        for back in (1..=arrived).rev() {
            let batch = cell.received.wrapping_sub(back) / self.share.depth;
            let meant = schedule.time_of(cell.place, batch);
            self.messages.time(window, meant, now, 1);
        }
    }
}

impl Load for Echo {
    fn begin(&mut self, window: Window, open: &[u32]) {
        self.window = Some(window);
        if self.share.slices > 0 {
            self.messages.slices = Slices::new(window, self.share.slices);
        }
        self.open = open.to_vec();
        for (place, index) in (0..).zip(open) {
            self.cells[*index as usize].place = place;
        }
        let width = u32::try_from(open.len()).expect("indices have 32 bits");
        if let Some(rate) = self.share.rate
            && width > 0
        {
            self.schedule = Some(Schedule::new(window.start, rate, width));
        }
    }

    fn lost(&mut self, index: usize, _now: Instant) -> bool {
        let cell = &mut self.cells[index];
        let missing = u64::from(cell.sent.wrapping_sub(cell.received));
        cell.received = cell.sent;
        self.flying -= missing;
        self.messages.errors.lost += missing;
        true
    }

    fn receive(&mut self, index: usize, kind: MessageKind, bytes: &[u8]) {
        self.messages.received += 1;
        let number = self.number(index);
        let cell = &mut self.cells[index];
        let flying = cell.sent.wrapping_sub(cell.received);
        if flying == 0 {
            self.messages.errors.doubled += 1;
            return;
        }
        let skipped = match self.payload.check(cell.received, number, kind, bytes) {
            Verdict::Right => 0,
            Verdict::Other(other) => {
                let ahead = other.wrapping_sub(cell.received);
                if ahead.cast_signed() < 0 {
                    self.messages.errors.doubled += 1;
                    return;
                }
                // Later than the one that was due: those in between are lost. But what was
                // not even sent is no other message.
                let sent = ahead < flying;
                self.messages.errors.mismatched += u64::from(!sent);
                if sent { ahead } else { 0 }
            }
            Verdict::Wrong => {
                self.messages.errors.mismatched += 1;
                0
            }
        };
        self.messages.errors.lost += u64::from(skipped);
        cell.received = cell.received.wrapping_add(skipped + 1);
        self.flying -= u64::from(skipped + 1);
        self.arrived += 1;
    }

    fn settle(&mut self, index: usize, now: Instant) {
        let arrived = std::mem::take(&mut self.arrived);
        let Some(window) = self.window.filter(|_| arrived > 0) else {
            return;
        };
        self.record(index, arrived, now, window);
        self.messages
            .count(window, now, u64::from(arrived), self.share.size);
        if window.until.is_none() {
            self.messages.taken = now.saturating_duration_since(window.from);
        }
    }

    fn write(&mut self, index: usize, now: Instant, out: &mut Outgoing<'_>) {
        let Some(window) = self.window else { return };
        let due = self.due(index, now);
        let mut left = due;
        while left > 0 && self.quota_left > 0 && !out.is_full() {
            self.write_batch(index, now, window, out);
            left -= 1;
        }
        if self.schedule.is_some() {
            self.cells[index].owed = left;
        }
    }

    fn tick(&mut self, now: Instant, orders: &mut Orders) -> Option<Instant> {
        let window = self.window?;
        let Some(schedule) = &mut self.schedule else {
            // A closed loop is started once; then each reply asks for the next message.
            orders.ready.append(&mut self.open);
            return None;
        };
        if self.quota_left == 0 {
            return None;
        }
        let end = window.until.map_or(now, |until| now.min(until));
        for _ in 0..TURN_MAX {
            let meant = schedule.next_time();
            let Some(place) = schedule.next_before(end) else {
                break;
            };
            self.messages.note_lateness(window, meant, now);
            let index = self.open[place as usize];
            self.cells[index as usize].owed += 1;
            orders.ready.push(index);
        }
        Some(schedule.next_time()).filter(|next| !window.is_past(*next))
    }

    fn outstanding(&self) -> u64 {
        let unsent = if self.share.quota.is_some() {
            self.quota_left
        } else {
            0
        };
        self.flying + unsent
    }

    fn received(&self) -> u64 {
        self.messages.received
    }

    fn into_messages(mut self: Box<Self>) -> Messages {
        self.messages.errors.lost += self.flying;
        self.messages.expected = self.messages.sent;
        self.messages
    }
}

/// How many batches one turn hands out, so that a client that has fallen behind still reads.
const TURN_MAX: u32 = 1024;

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tidegate_io::Driver;
    use tidegate_io::epoll::EpollDriver;
    use tidegate_proto::{Session, Settings};

    use super::*;
    use crate::random::Random;

    /// One connection on a clock that only the test moves. What it sends comes back one
    /// millisecond later, or when the server has stalled long enough.
    fn latencies(rate: Option<f64>, stall: std::ops::Range<u64>, until: u64) -> Messages {
        let start = EpollDriver::new(None).unwrap().now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut echo = Echo::new(Share {
            kind: MessageKind::Binary,
            size: 20,
            depth: 1,
            rate,
            quota: None,
            first: 0,
            count: 1,
            slices: 0,
        });
        let window = Window {
            start,
            from: start,
            until: Some(at(until)),
        };
        echo.begin(window, &[0]);
        let settings = Settings {
            message_size_max: 1024,
        };
        let mut session = Session::client(settings);
        let (mut random, mut wire, mut orders) = (Random::new(1, 1), Vec::new(), Orders::default());
        let (mut flying, mut payload) = (0_u32, Payload::new(MessageKind::Binary, 20));
        let mut answered = 0;
        for ms in 0..until + 1000 {
            let now = at(ms);
            if !stall.contains(&ms) && flying > 0 {
                for sequence in answered..answered + flying {
                    let bytes = payload.with(sequence, 0, |message| message.as_bytes().to_vec());
                    echo.receive(0, MessageKind::Binary, &bytes);
                }
                answered += std::mem::take(&mut flying);
                echo.settle(0, now);
            }
            echo.tick(now, &mut orders);
            orders.ready.clear();
            let before = echo.messages.sent;
            let (session, random, wire) = (&mut session, &mut random, &mut wire);
            echo.write(
                0,
                now,
                &mut Outgoing {
                    session,
                    random,
                    wire,
                },
            );
            flying += u32::try_from(echo.messages.sent - before).unwrap();
        }
        Box::new(echo).into_messages()
    }

    #[test]
    fn an_open_loop_charges_a_stall_to_all_that_should_have_been_sent_a_closed_one_to_one() {
        let ms = Duration::from_millis;
        // Every 10 ms, and nothing comes back for 500 ms.
        let open = latencies(Some(100.0), 1000..1500, 2000);
        assert_eq!(open.errors, crate::tally::Errors::default());
        assert_eq!(open.latency.count(), 200);
        for (limit, count) in [(10, 50), (100, 40), (250, 25), (400, 10)] {
            let above = open.latency.count_above(ms(limit));
            assert!(above.abs_diff(count) <= 1, "{above} above {limit} ms");
        }
        assert!(open.latency.percentile(99.0) > ms(450));
        assert_eq!(
            open.lateness.count_above(ms(2)),
            0,
            "the client itself was in time"
        );

        let closed = latencies(None, 1000..1500, 2000);
        assert_eq!(closed.latency.count_above(ms(10)), 1);
        assert!(closed.latency.percentile(99.0) < ms(2));
    }
}
