//! The application of the simulated servers, and the truth about what it was asked and said.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use super::*;
use crate::ConnectionId;

/// How many topics there are.
pub(super) const TOPICS: usize = 4;

/// So many bits of a note are its number; the rest is who told it.
const NOTE_BITS: u32 = 24;

/// What a connection is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Hears itself.
    Echo,
    /// Speaks and listens in one topic.
    Room(usize),
    /// Listens to these topics, one bit each, and may not speak.
    Feed(u8),
}

impl Role {
    /// Does it listen to this topic?
    pub(super) fn hears(self, topic: usize) -> bool {
        match self {
            Self::Echo => false,
            Self::Room(own) => own == topic,
            Self::Feed(mask) => mask & (1 << topic) != 0,
        }
    }
}

/// What the handler keeps for one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guest {
    pub(super) caller: usize,
    pub(super) role: Role,
}

/// What has been accepted from one publisher.
#[derive(Debug, Default, Clone)]
pub(super) struct Accepted {
    pub(super) topic: usize,
    /// Its numbers, ascending.
    pub(super) numbers: Vec<u32>,
    /// For each, how many the topic had accepted before, of all publishers.
    pub(super) places: Vec<usize>,
}

/// What is true of one caller, seen from the server.
#[derive(Debug, Default, Clone)]
pub(super) struct Record {
    pub(super) opened: bool,
    pub(super) ended: Option<EndReason>,
    /// How many each topic had accepted when this one began to listen.
    pub(super) since: [usize; TOPICS],
    pub(super) accepted: Accepted,
}

/// The truth: what the handlers of all shards were told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) records: Vec<Record>,
    /// How many publications each topic has accepted.
    pub(super) topics: [usize; TOPICS],
    ids: HashSet<ConnectionId>,
    /// Notes, from shard to shard: how many were told, and how many arrived.
    pub(super) notes: BTreeMap<(usize, usize), (u32, u32)>,
    /// What no handler may ever see.
    pub(super) faults: Vec<String>,
}

/// The handler of one shard.
#[derive(Debug)]
pub(super) struct Hall {
    ledger: Rc<RefCell<Ledger>>,
    pub(super) opens: u64,
    pub(super) closes: [u64; EndReason::ALL.len()],
    pub(super) messages: u64,
    pub(super) echoes: u64,
    pub(super) published: u64,
    pub(super) busy: u64,
}

impl Hall {
    pub(super) fn new(ledger: Rc<RefCell<Ledger>>) -> Self {
        Self {
            ledger,
            opens: 0,
            closes: [0; EndReason::ALL.len()],
            messages: 0,
            echoes: 0,
            published: 0,
            busy: 0,
        }
    }
}

impl Hall {
    /// Each message brings forth a note to the next shard.
    fn tell_next(&self, context: &mut Context<'_, Self>) {
        let shard = context.shard();
        let (from, to) = (shard.index(), (shard.index() + 1) % shard.count());
        let mut ledger = self.ledger.borrow_mut();
        let (told, _) = ledger.notes.entry((from, to)).or_default();
        let shard_bits = u32::try_from(from).expect("a few") << NOTE_BITS;
        shard.tell(to, shard_bits | *told);
        *told += 1;
    }
}

/// The name of a topic.
fn name(topic: usize) -> String {
    format!("topic {topic}")
}

/// The path of a request: the role, its number, the caller.
pub(super) fn path_of(role: Role, caller: usize) -> String {
    match role {
        Role::Echo => format!("/echo/0/{caller}"),
        Role::Room(topic) => format!("/room/{topic}/{caller}"),
        Role::Feed(mask) => format!("/feed/{mask}/{caller}"),
    }
}

fn guest_of(path: &str) -> Option<Guest> {
    let mut parts = path.strip_prefix('/')?.split('/');
    let (role, number) = (parts.next()?, parts.next()?.parse::<u8>().ok()?);
    let caller = parts.next()?.parse().ok()?;
    let role = match role {
        "echo" => Role::Echo,
        "room" => Role::Room(usize::from(number)),
        "feed" => Role::Feed(number),
        _ => return None,
    };
    Some(Guest { caller, role })
}

impl Handler for Hall {
    type State = Guest;
    type Note = u32;

    fn on_request(&mut self, request: &Request<'_>) -> Answer<Guest> {
        match guest_of(request.path()) {
            Some(guest) => Answer::Upgrade(Upgrade::new(guest)),
            None => Answer::Respond(crate::Reply {
                status: 200,
                content_type: "text/plain",
                headers: Vec::new(),
                body: b"nobody calls here".as_slice().into(),
            }),
        }
    }

    fn on_open(&mut self, context: &mut Context<'_, Self>) {
        self.opens += 1;
        let guest = *context.state();
        for topic in (0..TOPICS).filter(|&topic| guest.role.hears(topic)) {
            context.subscribe(&name(topic));
        }
        let mut ledger = self.ledger.borrow_mut();
        let since = ledger.topics;
        if !ledger.ids.insert(context.id()) {
            ledger
                .faults
                .push(format!("{} was given twice", context.id()));
        }
        let record = &mut ledger.records[guest.caller];
        assert!(!record.opened, "a caller calls once");
        record.opened = true;
        record.since = since;
    }

    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        self.messages += 1;
        let guest = *context.state();
        self.tell_next(context);
        match guest.role {
            Role::Echo => {
                self.echoes += 1;
                let sent = context.send(message);
                sent.expect("reading stops before the outbox is full");
            }
            Role::Room(topic) => {
                let (speaker, number) = frames::label(message.as_bytes());
                let published = match number % 5 {
                    0 => context.publish(&name(topic), message),
                    key => context.publish_latest(&name(topic), Key::new(key.into()), message),
                };
                if published.is_err() {
                    self.busy += 1;
                    return;
                }
                self.published += 1;
                let mut ledger = self.ledger.borrow_mut();
                let place = ledger.topics[topic];
                ledger.topics[topic] += 1;
                if speaker != guest.caller {
                    let fault = format!("{} spoke with the voice of {speaker}", guest.caller);
                    ledger.faults.push(fault);
                }
                let accepted = &mut ledger.records[guest.caller].accepted;
                accepted.topic = topic;
                accepted.numbers.push(number);
                accepted.places.push(place);
            }
            Role::Feed(_) => context.close(CloseCode::POLICY, "listen only"),
        }
    }

    fn on_note(&mut self, shard: &mut ShardContext<'_, Self>, note: u32) {
        let (from, number) = ((note >> NOTE_BITS) as usize, note & ((1 << NOTE_BITS) - 1));
        let mut ledger = self.ledger.borrow_mut();
        let ledger = &mut *ledger;
        let (_, arrived) = ledger.notes.entry((from, shard.index())).or_default();
        if number != *arrived {
            let fault = format!("note {number} of shard {from} came after {arrived} others");
            ledger.faults.push(fault);
        }
        *arrived += 1;
    }

    fn on_close(&mut self, context: &mut Context<'_, Self>, end: End) {
        self.closes[end.reason as usize] += 1;
        let caller = context.state().caller;
        let mut ledger = self.ledger.borrow_mut();
        let before = ledger.records[caller].ended.replace(end.reason);
        if before.is_some() {
            ledger.faults.push(format!("caller {caller} ended twice"));
        }
    }
}
