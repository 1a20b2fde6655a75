//! The application of the simulated servers, and the truth about what it was asked and said.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::Instant;

use super::door::{Door, introduction};
use super::office::{Desk, Employed, Errand, RETRY, Worker};
use super::*;
use crate::ConnectionId;

/// How many topics there are.
pub(super) const TOPICS: usize = 4;

/// So many bits of a note are its number; the rest is who told it.
const NOTE_BITS: u32 = 24;

/// Notes that say whose request is to be decided; those of handlers and tasks come from below.
const DECISIONS_FROM: usize = 128;

/// How long a request stays undecided, in turn.
const DELIBERATIONS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_micros(300),
    Duration::from_millis(20),
    Duration::from_secs(3),
];

/// What a connection is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Hears itself.
    Echo,
    /// Speaks and listens in one topic.
    Room(usize),
    /// Listens to these topics, one bit each, and may not speak.
    Feed(u8),
    /// Hears itself, by a task.
    Clerk,
    /// As a room, but a task speaks.
    Agent(usize),
}

impl Role {
    /// Does it listen to this topic?
    pub(super) fn hears(self, topic: usize) -> bool {
        match self {
            Self::Echo | Self::Clerk => false,
            Self::Room(own) | Self::Agent(own) => own == topic,
            Self::Feed(mask) => mask & (1 << topic) != 0,
        }
    }

    /// Does a task do its work?
    pub(super) fn hires(self) -> bool {
        matches!(self, Self::Clerk | Self::Agent(_))
    }
}

/// What the handler keeps for one connection.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub(super) caller: usize,
    pub(super) role: Role,
    /// What lies before its task, if it has one.
    desk: Option<Rc<Desk>>,
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
    /// When it was opened, and how many messages have been taken of it since.
    pub(super) said: Option<(Instant, u64)>,
}

/// The truth: what the handlers of all shards were told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) records: Vec<Record>,
    /// How much each may say.
    pub(super) rates: Rates,
    /// How many publications each topic has accepted.
    pub(super) topics: [usize; TOPICS],
    ids: HashSet<ConnectionId>,
    /// Who has been let in, or refused, and is not gone yet.
    pub(super) present: HashSet<ConnectionId>,
    /// Notes, from shard to shard: how many were told, and how many arrived.
    pub(super) notes: BTreeMap<(usize, usize), (u32, u32)>,
    /// What tasks have been asked to do, and have not done.
    pub(super) errands: usize,
    /// How many tasks there are.
    pub(super) tasks: usize,
    /// What no handler may ever see.
    pub(super) faults: Vec<String>,
}

impl Ledger {
    /// A message has been taken: there may be no more of them than its rate allows since it was opened,
    /// beside what it may say at once. Whoever is slowed down may say as much at once as in the time
    /// that it may be let go on too late.
    fn heed_rate(&mut self, caller: usize, now: Instant) {
        let Rate { per_second, burst } = self.rates.messages;
        let Some((since, count)) = &mut self.records[caller].said else {
            return;
        };
        *count += 1;
        let rate = f64::from(per_second);
        let burst = f64::from(if burst == 0 { per_second } else { burst });
        let allowed = burst.max(rate * 0.256) + rate * (now - *since).as_secs_f64();
        if per_second != 0 && *count as f64 > allowed * 1.001 + 1.0 {
            let fault = format!("{count} messages of {caller}, which may say {allowed}");
            self.faults.push(fault);
        }
    }

    /// A publication has been accepted.
    pub(super) fn accept(&mut self, caller: usize, topic: usize, bytes: &[u8]) {
        let place = self.topics[topic];
        self.topics[topic] += 1;
        let (speaker, number) = frames::label(bytes);
        if speaker != caller {
            let fault = format!("{caller} spoke with the voice of {speaker}");
            self.faults.push(fault);
        }
        let accepted = &mut self.records[caller].accepted;
        accepted.topic = topic;
        accepted.numbers.push(number);
        accepted.places.push(place);
    }
}

/// The handler of one shard.
#[derive(Debug)]
pub(super) struct Hall {
    ledger: Rc<RefCell<Ledger>>,
    door: Door,
    /// How many are present on this shard.
    pub(super) present: u64,
    pub(super) opens: u64,
    pub(super) closes: [u64; EndReason::ALL.len()],
    pub(super) messages: u64,
    pub(super) echoes: u64,
    /// By handlers and by tasks.
    pub(super) published: Rc<Cell<u64>>,
    pub(super) busy: u64,
    /// Requests that are to be decided.
    undecided: Vec<(ConnectionId, Guest)>,
    /// When it is to be woken.
    pub(super) wakes: Vec<Instant>,
}

impl Hall {
    pub(super) fn new(ledger: Rc<RefCell<Ledger>>, door: Door) -> Self {
        Self {
            ledger,
            door,
            present: 0,
            opens: 0,
            closes: [0; EndReason::ALL.len()],
            messages: 0,
            echoes: 0,
            published: Rc::default(),
            busy: 0,
            undecided: Vec::new(),
            wakes: Vec::new(),
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
        shard.tell(to, note(from, *told));
        *told += 1;
    }

    /// Has a task tell a while later that this request is to be decided.
    fn deliberate(&mut self, context: &mut RequestContext<'_, Self>, guest: Guest) {
        let handle = context.shard().handle();
        let caller = u32::try_from(guest.caller).expect("a few thousand");
        let span = DELIBERATIONS[guest.caller / 5 % DELIBERATIONS.len()];
        self.undecided.push((context.id(), guest));
        let task = async move {
            handle.sleep(span).await;
            while handle.tell(note(DECISIONS_FROM, caller)).is_err() {
                handle.sleep(RETRY).await;
            }
        };
        context.shard().spawn(task).expect("there is room for all");
    }

    fn decide(&mut self, shard: &mut ShardContext<'_, Self>, caller: usize) {
        let at = self.undecided.iter().position(|(_, g)| g.caller == caller);
        let (id, guest) = self.undecided.swap_remove(at.expect("it asked once"));
        shard.decide(id, Answer::Upgrade(Upgrade::new(guest)));
    }

    /// Wants to be woken a while after some have come.
    fn set_alarm(&mut self, context: &mut Context<'_, Self>, caller: usize) {
        if caller.is_multiple_of(3) {
            let span = Duration::from_micros(1 + 137_000 * (caller as u64 % 97));
            let at = context.now() + span;
            self.wakes.push(at);
            context.shard().wake_at(at);
        }
    }

    /// Begins the task of a guest who has one.
    fn hire(&self, context: &mut Context<'_, Self>, guest: &Guest) {
        let Some(desk) = guest.desk.clone() else {
            return;
        };
        let worker = Worker {
            guest: guest.clone(),
            id: context.id(),
            handle: context.shard().handle(),
            desk,
            published: Rc::clone(&self.published),
            employed: Employed::new(&self.ledger),
        };
        context.spawn(worker.work()).expect("there is room for all");
    }
}

/// A note, which says who told it and how many that one had told before.
pub(super) fn note(from: usize, number: u32) -> u32 {
    u32::try_from(from).expect("a few") << NOTE_BITS | number
}

/// The name of a topic.
pub(super) fn name(topic: usize) -> String {
    format!("topic {topic}")
}

/// The path of a request: the role, its number, the caller.
pub(super) fn path_of(role: Role, caller: usize) -> String {
    match role {
        Role::Echo => format!("/echo/0/{caller}"),
        Role::Room(topic) => format!("/room/{topic}/{caller}"),
        Role::Feed(mask) => format!("/feed/{mask}/{caller}"),
        Role::Clerk => format!("/clerk/0/{caller}"),
        Role::Agent(topic) => format!("/agent/{topic}/{caller}"),
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
        "clerk" => Role::Clerk,
        "agent" => Role::Agent(usize::from(number)),
        _ => return None,
    };
    let desk = role.hires().then(Rc::default);
    Some(Guest { caller, role, desk })
}

impl Handler for Hall {
    type State = Guest;
    type Note = u32;

    fn on_accept(&mut self, context: &mut RequestContext<'_, Self>) -> Admission {
        let judged = self.door.judge(context.id().value());
        if matches!(judged, Some(Admission::Drop(_))) {
            return Admission::Drop("dropped");
        }
        self.present += 1;
        let mut ledger = self.ledger.borrow_mut();
        if !ledger.present.insert(context.id()) {
            let fault = format!("{} came twice", context.id());
            ledger.faults.push(fault);
        }
        match judged {
            Some(refusal) => refusal,
            None if self.door.proxied => Admission::TakeProxied,
            None => Admission::Take,
        }
    }

    fn on_proxied(
        &mut self,
        context: &mut RequestContext<'_, Self>,
        header: &ProxyHeader,
    ) -> Admission {
        let peer = context.peer();
        if header.source.is_some_and(|source| source != peer) {
            let fault = format!("{peer} was said to be {header:?}");
            self.ledger.borrow_mut().faults.push(fault);
        }
        let judged = self.door.judge(!context.id().value());
        judged.unwrap_or(Admission::Take)
    }

    fn on_gone(&mut self, context: &mut RequestContext<'_, Self>) {
        self.present -= 1;
        let mut ledger = self.ledger.borrow_mut();
        if !ledger.present.remove(&context.id()) {
            let fault = format!("{} is gone, and was not there", context.id());
            ledger.faults.push(fault);
        }
    }

    fn on_request(
        &mut self,
        context: &mut RequestContext<'_, Self>,
        request: &Request<'_>,
    ) -> Answer<Guest> {
        match guest_of(request.path()) {
            Some(guest) if guest.caller % 5 == 4 => {
                self.deliberate(context, guest);
                Answer::Later
            }
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
        let guest = context.state().clone();
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
        record.said = Some((context.now(), 0));
        let (_, source) = introduction(guest.caller);
        let known = context.peer();
        if self.door.proxied && source.is_some_and(|source| source != known) {
            ledger
                .faults
                .push(format!("caller {} is known as {known}", guest.caller));
        }
        drop(ledger);
        self.set_alarm(context, guest.caller);
        self.hire(context, &guest);
    }

    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        self.messages += 1;
        let guest = context.state().clone();
        let now = context.now();
        self.ledger.borrow_mut().heed_rate(guest.caller, now);
        self.tell_next(context);
        if let Some(desk) = &guest.desk {
            self.ledger.borrow_mut().errands += 1;
            desk.put(Errand::of(message));
            return;
        }
        match guest.role {
            Role::Echo => {
                self.echoes += 1;
                let sent = context.send(message);
                sent.expect("reading stops before the outbox is full");
            }
            Role::Room(topic) => {
                let (_, number) = frames::label(message.as_bytes());
                let published = match number % 5 {
                    0 => context.publish(&name(topic), message),
                    key => context.publish_latest(&name(topic), Key::new(key.into()), message),
                };
                if published.is_err() {
                    self.busy += 1;
                    return;
                }
                self.published.update(|count| count + 1);
                let mut ledger = self.ledger.borrow_mut();
                ledger.accept(guest.caller, topic, message.as_bytes());
            }
            Role::Clerk | Role::Agent(_) => unreachable!("they have a desk"),
            Role::Feed(_) => context.close(CloseCode::POLICY, "listen only"),
        }
    }

    fn on_note(&mut self, shard: &mut ShardContext<'_, Self>, note: u32) {
        let (from, number) = ((note >> NOTE_BITS) as usize, note & ((1 << NOTE_BITS) - 1));
        if from == DECISIONS_FROM {
            return self.decide(shard, number as usize);
        }
        let mut ledger = self.ledger.borrow_mut();
        let ledger = &mut *ledger;
        let (_, arrived) = ledger.notes.entry((from, shard.index())).or_default();
        if number != *arrived {
            let fault = format!("note {number} of shard {from} came after {arrived} others");
            ledger.faults.push(fault);
        }
        *arrived += 1;
    }

    fn on_wake(&mut self, shard: &mut ShardContext<'_, Self>) {
        let (now, before) = (shard.now(), self.wakes.len());
        self.wakes.retain(|at| *at > now);
        if self.wakes.len() == before {
            let fault = "a handler was woken for nothing".to_owned();
            self.ledger.borrow_mut().faults.push(fault);
        }
        if let Some(next) = self.wakes.iter().min() {
            shard.wake_at(*next);
        }
    }

    fn on_close(&mut self, context: &mut Context<'_, Self>, end: End) {
        self.closes[end.reason as usize] += 1;
        let caller = context.state().caller;
        if let Some(desk) = &context.state().desk {
            desk.close();
        }
        let mut ledger = self.ledger.borrow_mut();
        let before = ledger.records[caller].ended.replace(end.reason);
        if before.is_some() {
            ledger.faults.push(format!("caller {caller} ended twice"));
        }
    }
}
