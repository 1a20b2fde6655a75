//! Requests that are decided later, whatever happens meanwhile; and handlers that want to be woken.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use tidegate_io::sim::Client;
use tidegate_proto::deflate::DeflatePolicy;
use tidegate_proto::handshake::Refusal;

use super::*;
use crate::ConnectionId;

/// What the tests and their handler know.
#[derive(Debug, Default)]
struct Docket {
    /// Whose request waits.
    waiting: Vec<ConnectionId>,
    /// What to say with the next note.
    decisions: VecDeque<(ConnectionId, Answer<()>)>,
    /// When to be woken, asked for with the next note.
    alarms: Vec<Duration>,
    woken: Vec<Instant>,
    opens: Vec<ConnectionId>,
    ends: Vec<EndReason>,
}

/// Leaves every request undecided.
#[derive(Debug)]
struct Judge(Rc<RefCell<Docket>>);

impl Handler for Judge {
    type State = ();
    type Note = u32;

    fn on_request(
        &mut self,
        context: &mut RequestContext<'_, Self>,
        _request: &Request<'_>,
    ) -> Answer<()> {
        self.0.borrow_mut().waiting.push(context.id());
        let id = context.id();
        assert!(context.shard().connection(id).is_none(), "it is not open");
        Answer::Later
    }

    fn on_open(&mut self, context: &mut Context<'_, Self>) {
        let id = context.id();
        assert!(context.shard().connection(id).is_some());
        self.0.borrow_mut().opens.push(id);
    }

    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        context.send(message).expect("the test reads");
    }

    fn on_close(&mut self, _context: &mut Context<'_, Self>, end: End) {
        self.0.borrow_mut().ends.push(end.reason);
    }

    fn on_note(&mut self, shard: &mut ShardContext<'_, Self>, _note: u32) {
        let docket = &mut *self.0.borrow_mut();
        for (id, answer) in docket.decisions.drain(..) {
            shard.decide(id, answer);
        }
        for after in docket.alarms.drain(..) {
            let at = shard.now() + after;
            shard.wake_at(at);
        }
    }

    fn on_wake(&mut self, shard: &mut ShardContext<'_, Self>) {
        self.0.borrow_mut().woken.push(shard.now());
    }
}

struct Court {
    world: World,
    shards: Vec<Shard<SimDriver, Judge>>,
    addresses: Vec<Address<u32>>,
    docket: Rc<RefCell<Docket>>,
}

impl Court {
    fn new(seed: u64, faults: Faults, limits: &Limits) -> Self {
        let world = World::with_faults(seed, faults);
        let docket: Rc<RefCell<Docket>> = Rc::default();
        let budget = Arc::new(Budget::new(Compression::Shared));
        let (shards, addresses) = shards_with(
            vec![world.driver()],
            seed,
            limits,
            Compression::Shared,
            &budget,
            || Judge(Rc::clone(&docket)),
        );
        Self {
            world,
            shards,
            addresses,
            docket,
        }
    }

    fn calm() -> Self {
        Self::new(5, Faults::none(), &Limits::default())
    }

    #[track_caller]
    fn until(&mut self, peers: &mut [Peer], what: &str, so: impl Fn(&Self, &[Peer]) -> bool) {
        for _ in 0..TURNS_MAX {
            if so(self, peers) {
                return;
            }
            turn_all(&mut self.shards, peers);
        }
        panic!("not within {TURNS_MAX} turns: {what}");
    }

    /// The id of the next request that waits.
    #[track_caller]
    fn next_waiting(&mut self, peers: &mut [Peer]) -> ConnectionId {
        self.until(peers, "a request waits", |court, _| {
            !court.docket.borrow().waiting.is_empty()
        });
        self.docket.borrow_mut().waiting.remove(0)
    }

    fn tell(&self) {
        let told = self.addresses[0].try_send(Letter::Note(0));
        assert!(told.is_ok(), "there is room for a note");
    }

    fn decide(&self, id: ConnectionId, answer: Answer<()>) {
        self.docket.borrow_mut().decisions.push_back((id, answer));
        self.tell();
    }

    fn call(&self) -> Client {
        self.world.connect().expect("a shard listens")
    }

    fn connections(&self) -> usize {
        self.shards[0].core.connections.len()
    }

    fn refusals(&self) -> Vec<(&'static str, u64)> {
        self.shards[0].core.shared.load().refusals().collect()
    }

    #[track_caller]
    fn answer_to(&mut self, client: &Client) -> String {
        let mut heard = Vec::new();
        for _ in 0..TURNS_MAX {
            heard.extend(client.receive());
            if client.is_ended() {
                return String::from_utf8(heard).expect("text");
            }
            turn_all(&mut self.shards, &mut []);
        }
        panic!("no answer");
    }
}

fn upgrade() -> Answer<()> {
    Answer::Upgrade(Upgrade::new(()))
}

fn refusal() -> Refusal {
    Refusal::new(401, "token", "This token is not good.")
}

#[test]
fn what_is_decided_later_is_as_if_it_had_been_said_at_once() {
    for seed in 0..40 {
        let mut court = Court::new(seed, Faults::without_resets(), &patient());
        let offer = Some(DeflatePolicy::SHARED).filter(|_| seed % 2 == 0);
        let mut peers = vec![Peer::offering(court.call(), "/", offer)];
        // It does not wait for the answer, and nothing of it is lost.
        let mut early = Vec::new();
        for byte in 0..50 {
            early.extend([0x82, 0x81, 0, 0, 0, 0, byte]);
        }
        peers[0].client.send(&early);
        let id = court.next_waiting(&mut peers);
        for _ in 0..seed {
            turn_all(&mut court.shards, &mut peers);
        }
        assert!(!peers[0].is_open(), "seed {seed}");
        court.decide(id, upgrade());
        court.until(&mut peers, "all is echoed", |_, p| p[0].heard.len() == 50);
        let large = "a".repeat(5_000);
        peers[0].say(Message::Text(&large));
        court.until(&mut peers, "the large one", |_, p| p[0].heard.len() == 51);
        assert_eq!(peers[0].heard[49], [49], "seed {seed}");
        assert_eq!(peers[0].deflated_count > 0, offer.is_some(), "seed {seed}");
        assert_eq!(court.docket.borrow().opens, [id]);
    }
}

#[test]
fn a_request_is_decided_once() {
    let mut court = Court::calm();
    let mut peers = vec![Peer::new(court.call(), "/")];
    let id = court.next_waiting(&mut peers);
    court.decide(id, Answer::Later);
    court.decide(id, upgrade());
    court.decide(id, Answer::Refuse(refusal()));
    court.until(&mut peers, "it is open", |_, peers| peers[0].is_open());
    peers[0].say(Message::Text("still"));
    court.until(&mut peers, "it is heard", |_, p| !p[0].heard.is_empty());
    assert_eq!(court.docket.borrow().opens.len(), 1);
    assert_eq!(court.refusals(), []);
}

#[test]
fn a_refusal_that_comes_later_is_counted_and_has_no_body_for_head() {
    for (method, body) in [("GET", true), ("HEAD", false)] {
        let mut court = Court::calm();
        let client = court.call();
        client.send(format!("{method} / HTTP/1.1\r\nHost: sim\r\n\r\n").as_bytes());
        let id = court.next_waiting(&mut []);
        court.decide(id, Answer::Refuse(refusal().answering(method)));
        let answer = court.answer_to(&client);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert_eq!(answer.ends_with("not good.\n"), body, "{answer}");
        client.finish();
        court.until(&mut [], "it is gone", |court, _| court.connections() == 0);
        assert_eq!(court.refusals(), [("token", 1)]);
        assert_eq!(court.world.open_links(), 0);
    }
}

#[test]
fn an_upgrade_of_what_asks_for_none_is_refused_by_its_own_fault() {
    let mut court = Court::calm();
    let client = court.call();
    client.send(b"GET / HTTP/1.1\r\nHost: sim\r\n\r\n");
    let id = court.next_waiting(&mut []);
    court.decide(id, upgrade());
    let answer = court.answer_to(&client);
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
}

#[test]
fn the_deadline_of_the_handshake_goes_on_and_a_late_decision_finds_nobody() {
    for (method, body) in [("GET", true), ("HEAD", false)] {
        let mut court = Court::calm();
        let client = court.call();
        client.send(format!("{method} / HTTP/1.1\r\nHost: sim\r\n\r\n").as_bytes());
        let id = court.next_waiting(&mut []);
        court.world.advance(Duration::from_secs(11));
        let answer = court.answer_to(&client);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert_eq!(answer.ends_with("in time.\n"), body, "{answer}");
        court.decide(id, upgrade());
        client.finish();
        court.until(&mut [], "it is gone", |court, _| court.connections() == 0);
        // Its slot is taken by another one, who is not mistaken for it.
        let mut peers = vec![Peer::new(court.call(), "/")];
        let other = court.next_waiting(&mut peers);
        assert_eq!(other.slot(), id.slot());
        court.decide(id, upgrade());
        court.until(&mut peers, "it is told", |court, _| {
            court.docket.borrow().decisions.is_empty()
        });
        assert_eq!(court.docket.borrow().opens, []);
        court.decide(other, upgrade());
        court.until(&mut peers, "it is open", |_, peers| peers[0].is_open());
        assert_eq!(court.refusals(), [("undecided", 1)]);
    }
}

#[test]
fn who_is_lost_undecided_is_counted_and_given_back() {
    for reset in [true, false] {
        let mut court = Court::calm();
        let mut peers = vec![Peer::new(court.call(), "/")];
        let id = court.next_waiting(&mut peers);
        if reset {
            peers[0].reset();
        } else {
            peers[0].finish();
        }
        for _ in 0..20 {
            turn_all(&mut court.shards, &mut peers);
        }
        // Its end may be seen only when it is received from again.
        court.decide(id, upgrade());
        court.until(&mut peers, "it is gone", |court, _| {
            court.connections() == 0
        });
        let docket = court.docket.borrow();
        assert_eq!(docket.opens.len(), docket.ends.len());
        let refused = court.refusals();
        assert!(refused.is_empty() != docket.opens.is_empty(), "{refused:?}");
        assert_eq!(court.world.open_links(), 0);
    }
}

#[test]
fn a_drain_ends_what_is_undecided_and_opens_nothing_more() {
    for decided in [true, false] {
        let mut court = Court::calm();
        let mut peers = vec![Peer::new(court.call(), "/")];
        let id = court.next_waiting(&mut peers);
        let drain = Letter::Drain(Duration::from_secs(60));
        assert!(court.addresses[0].try_send(drain).is_ok());
        turn_all(&mut court.shards, &mut peers);
        if decided {
            court.decide(id, upgrade());
        }
        court.until(&mut peers, "it is answered", |_, peers| {
            peers[0].client.is_ended()
        });
        let answer = String::from_utf8_lossy(&peers[0].refused).into_owned();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        court.until(&mut peers, "it is gone", |court, _| {
            court.connections() == 0
        });
        let cause = if decided { "draining" } else { "undecided" };
        assert_eq!(court.refusals(), [(cause, 1)]);
    }
}

#[test]
fn a_shard_that_stops_gives_back_what_is_undecided() {
    let mut court = Court::calm();
    let mut peers = vec![Peer::new(court.call(), "/")];
    court.next_waiting(&mut peers);
    court.shards.clear();
    peers[0].look();
    assert_eq!(court.world.open_links(), 0);
    assert!(court.docket.borrow().ends.is_empty(), "it was never open");
}

#[test]
fn a_handler_is_woken_once_at_the_first_of_its_moments_and_not_before() {
    let mut court = Court::calm();
    let start = court.world.now();
    let alarms = [5_000, 250, 90_000].map(Duration::from_millis);
    court.docket.borrow_mut().alarms.extend(alarms);
    court.tell();
    court.until(&mut [], "it is woken", |court, _| {
        !court.docket.borrow().woken.is_empty()
    });
    let woken = court.docket.borrow().woken[0];
    assert!(woken >= start + alarms[1], "too early");
    assert!(woken < start + alarms[1] * 2, "too late");
    court.world.advance(Duration::from_secs(200));
    for _ in 0..20 {
        court.world.advance(Duration::from_secs(1));
        court.tell();
        turn_all(&mut court.shards, &mut []);
    }
    assert_eq!(court.docket.borrow().woken.len(), 1, "nobody asked again");
}
