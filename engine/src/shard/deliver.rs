//! Phase 3: publications and mail become what each subscriber will be sent.

use smallvec::SmallVec;
use tidegate_io::Driver;
use tidegate_proto::{Message, MessageKind};

use super::{Flags, Handler, Letter, NONE, Shard, Stage};
use crate::compression::Compressor;
use crate::core::Core;
use crate::listing::Listing;
use crate::survey::Survey;
use crate::tasks::Request;
use crate::turn::{Bytes, RunIndex, Turn};
use crate::{ConnectionId, EndReason, SendError, ShardContext};

/// One turn takes so many letters at most, so that mail does not starve the sockets.
const LETTERS_MAX: usize = 256;

/// One turn takes mail no further than this many bytes of small publications.
const POST_SIZE_MAX: usize = 4 * 1024 * 1024;

/// Small publications to one topic are joined into runs no longer than this.
const RUN_SIZE_MAX: u32 = 256 * 1024;

/// A subscriber for whom more than this is queued is sent to before the flush, so that its
/// outbox limit applies to what the kernel refused, and not to a busy turn.
const EARLY_SIZE_MIN: u32 = 128 * 1024;

/// As soon as the only run of a turn has been queued for so many, they are sent to: nothing more
/// will be published to them in this turn, and the lists need not grow with the crowd.
const CROWD: usize = 1024;

/// As soon as so many are found with a batch under way, the run is put into their outboxes: the
/// list of them stays at 8 KiB, however large the crowd.
const BEHIND_MAX: usize = 1024;

impl<D: Driver, H: Handler> Shard<D, H> {
    pub(super) fn deliver(&mut self) {
        if self.has_mail {
            self.take_mail();
        }
        if !self.core.requests.is_empty() {
            self.take_requests();
        }
        if !self.core.notes.is_empty() {
            self.take_notes();
        }
        if !self.core.decisions.is_empty() {
            self.take_decisions();
        }
        self.core.counted.mail_sent += self.core.post.dispatch();
        if !self.core.touched.is_empty() {
            self.deliver_publications();
        }
    }

    /// Queues what was published for whoever hears it, behind the replies of this turn.
    pub(super) fn deliver_publications(&mut self) {
        self.core.claim_replies();
        let touched = std::mem::take(&mut self.core.touched);
        for (index, &topic) in touched.iter().enumerate() {
            let first = self.core.turn.run_count();
            self.core.make_runs(topic);
            let end = self.core.turn.run_count();
            for run in first..end {
                let is_last = index + 1 == touched.len() && run + 1 == end;
                self.fan_out(topic, run, is_last);
            }
        }
        self.core.touched = touched;
        self.core.touched.clear();
        self.core.publications.clear();
    }

    fn take_mail(&mut self) {
        for _ in 0..LETTERS_MAX {
            if self.core.turn.post.len() > POST_SIZE_MAX {
                break;
            }
            let Some(letter) = self.mailbox.take() else {
                self.has_mail = false;
                break;
            };
            match letter {
                Letter::Bag(bag) => {
                    for (topic, frame, key) in bag.iter() {
                        self.core.hear(topic, frame, key);
                    }
                }
                Letter::Note(note) => self.on_note(note),
                Letter::Publish {
                    topic,
                    kind,
                    payload,
                    key,
                } => {
                    self.core.publish_from_outside(&topic, kind, &payload, key);
                }
                Letter::Topics(parts) => self.listings.push(Listing::new(parts)),
                Letter::Survey(task) => self.surveys.push(Survey::new(*task)),
                Letter::Drain(farewell) => self.start_drain(*farewell),
                Letter::Turn => {}
                Letter::Stop => self.stopped = true,
            }
        }
    }

    /// What tasks have asked for since the last turn.
    #[inline]
    fn take_requests(&mut self) {
        if !self.core.requests.is_empty() {
            self.core.take_requests();
        }
    }

    fn take_notes(&mut self) {
        // Notes that these bring forth wait for the next turn.
        for _ in 0..self.core.notes.len() {
            let Some(note) = self.core.notes.pop_front() else {
                break;
            };
            self.on_note(note);
        }
    }

    fn on_note(&mut self, note: H::Note) {
        self.handler.on_note(
            &mut ShardContext {
                core: &mut self.core,
            },
            note,
        );
    }

    /// Queues a run for each subscriber of the topic. The only one of a turn is sent on the way.
    fn fan_out(&mut self, topic: u32, plain: RunIndex, is_last: bool) {
        let mut deflated = Deflated::default();
        let mut index = 0;
        let listening = self.core.topics.get(topic).subscribers.len();
        // Whoever is to be sent something already may be among them, and gets both in one send.
        let at_once = is_last && self.core.turn.pending_count() == 0;
        let crowd = if at_once { CROWD } else { usize::MAX };
        self.core.turn.reserve(listening.min(crowd));
        loop {
            let core = &mut self.core;
            let subscribers = &core.topics.get(topic).subscribers;
            let mut early = NONE;
            let mut behind = std::mem::take(&mut self.behind);
            while let Some(subscriber) = subscribers.get(index) {
                index += 1;
                let slot = subscriber.slot;
                let connection = &mut core.connections[slot as usize];
                let Stage::Open(open) = &mut connection.stage else {
                    continue;
                };
                if open.closing.is_some() || open.session.close_sent() {
                    continue;
                }
                open.used = core.tick;
                let run = match &mut open.deflate {
                    None => plain,
                    Some(agreed) => {
                        agreed.forget();
                        let window_bits = agreed.window_bits();
                        deflated.run(plain, window_bits, &mut core.turn, &mut core.compressor)
                    }
                };
                if connection.flags.has(Flags::SENDING) {
                    behind.push((slot, run));
                    if behind.len() >= BEHIND_MAX {
                        break;
                    }
                    continue;
                }
                let message_count = core.turn.run(run).message_count;
                core.counted.messages_out += u64::from(message_count);
                core.tallies.send(slot, message_count);
                let size = core.turn.run_size(run);
                core.turn.enqueue(&mut connection.pending, slot, run, size);
                if core.turn.pending(connection.pending as usize).byte_count > EARLY_SIZE_MIN {
                    early = connection.pending;
                    break;
                }
                if core.turn.pending_count() >= crowd {
                    break;
                }
            }
            for (slot, run) in behind.drain(..) {
                core.hold_publications(slot, run);
            }
            self.behind = behind;
            if early != NONE {
                self.send_pending(early as usize);
            } else if self.core.turn.pending_count() >= crowd {
                self.send_crowd();
            } else if index >= listening {
                return;
            }
        }
    }
}

/// The compressed forms of one run: made for the first subscriber who wants it, and shared by
/// all others whose window has the same size.
#[derive(Debug, Default)]
struct Deflated(SmallVec<[(u8, RunIndex); 2]>);

impl Deflated {
    fn run(
        &mut self,
        plain: RunIndex,
        window_bits: u8,
        turn: &mut Turn,
        compressor: &mut Compressor,
    ) -> RunIndex {
        if let Some((_, run)) = self.0.iter().find(|(bits, _)| *bits == window_bits) {
            return *run;
        }
        let run = turn.deflate_run(plain, window_bits, compressor);
        self.0.push((window_bits, run));
        run
    }
}

/// What was taken apart to be kept.
fn message_of(kind: MessageKind, payload: &[u8]) -> Message<'_> {
    match kind {
        MessageKind::Binary => Message::Binary(payload),
        MessageKind::Text => match std::str::from_utf8(payload) {
            Ok(text) => Message::Text(text),
            Err(_) => unreachable!("it was put in as a str"),
        },
    }
}

impl<H: Handler> Core<H> {
    /// Joins what was published to the topic in this turn into as few runs as possible.
    fn make_runs(&mut self, topic: u32) {
        let entry = self.topics.get_mut(topic);
        let mut next = std::mem::replace(&mut entry.first, NONE);
        entry.last = NONE;
        // The run being joined: where it lies, how many messages it holds, and where their keys
        // begin.
        let mut open: Option<(u32, u32, u32, u32)> = None;
        while next != NONE {
            let publication = &self.publications[next as usize];
            next = publication.next;
            let key = self.turn.add_key(publication.key);
            match publication.bytes.clone() {
                Bytes::Post(start, end) => {
                    open = Some(match open {
                        // Nothing lies between them.
                        Some((first, last, count, keys))
                            if last == start && end - first <= RUN_SIZE_MAX =>
                        {
                            (first, end, count + 1, keys)
                        }
                        Some((first, last, count, keys))
                            if last - first + end - start <= RUN_SIZE_MAX =>
                        {
                            let (first, last) = self.join((first, last), start, end);
                            (first, last, count + 1, keys)
                        }
                        before => {
                            self.end_run(before);
                            (start, end, 1, key)
                        }
                    });
                }
                large @ (Bytes::Shared(_) | Bytes::Wire(..)) => {
                    self.end_run(open.take());
                    self.turn.add_run_with_keys(large, 1, key);
                }
            }
        }
        self.end_run(open);
    }

    fn end_run(&mut self, run: Option<(u32, u32, u32, u32)>) {
        if let Some((first, last, count, keys)) = run {
            let bytes = Bytes::Post(first, last);
            self.turn.add_run_with_keys(bytes, count, keys);
        }
    }

    /// Puts a publication behind a run: at the end of the arena, where a run that is being
    /// joined is moved first if it does not lie there already.
    fn join(&mut self, run: (u32, u32), start: u32, end: u32) -> (u32, u32) {
        let (first, last) = run;
        let post = &mut self.turn.post;
        let mut moved = first;
        if last as usize != post.len() {
            moved = u32::try_from(post.len()).expect("a turn's publications are bounded");
            post.extend_from_within(first as usize..last as usize);
        }
        post.extend_from_within(start as usize..end as usize);
        (moved, moved + (last - first) + (end - start))
    }

    fn publish_from_outside(&mut self, topic: &str, kind: MessageKind, payload: &[u8], key: u64) {
        // Refused only while another shard is far behind, which is counted.
        let _ = self.publish(topic, key, message_of(kind, payload));
    }

    #[inline(never)]
    fn take_requests(&mut self) {
        // Those that cannot be done wait until another shard keeps up.
        while self.keeps_up()
            && let Some(request) = self.requests.take()
        {
            match request {
                Request::Publish {
                    topic,
                    kind,
                    payload,
                    key,
                } => self.publish_from_outside(&topic, kind, &payload, key),
                Request::Send { to, kind, payload } => {
                    self.send_to(to, message_of(kind, &payload));
                }
                Request::Close { to, code, reason } => {
                    if let Some(slot) = self.slot_of(to) {
                        let why = EndReason::ClosedByApplication;
                        self.close(slot, code, &reason, why);
                    }
                }
                Request::Tell(note) => self.notes.push_back(note),
            }
        }
    }

    /// Whether what tasks ask for can be done now.
    fn keeps_up(&self) -> bool {
        #[cfg(test)]
        if crate::planted::Bug::LostRequest.is_planted() {
            return true;
        }
        self.post.is_open()
    }

    /// Sends a message to a connection that may be gone.
    fn send_to(&mut self, to: ConnectionId, message: Message<'_>) {
        let Some(slot) = self.slot_of(to) else {
            return;
        };
        if self.send(slot, message) == Err(SendError::Full) {
            let generation = self.connections[slot as usize].generation;
            let lost = (slot, generation, EndReason::SlowConsumer);
            self.lost.push(lost);
        }
    }

    /// The slot of an open connection of this shard.
    pub(crate) fn slot_of(&mut self, id: ConnectionId) -> Option<u32> {
        let slot = id.slot();
        let exists = self.connections.contains(slot as usize);
        let same = exists && self.id_of(slot) == id;
        (same && self.connection(slot).open().is_some()).then_some(slot)
    }
}
