//! Tasks beside a shard's loop, in virtual time: when they run, what they can do, how they end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

use tidegate_io::sim::World;

use super::*;
use crate::{ConnectionId, ShardHandle};

/// What a test wants to be done with the handle of a shard when it starts.
type Begin = Box<dyn FnOnce(&mut ShardContext<'_, Clerk>)>;

/// A handler whose connections hear `room`, and that begins with what a test has put here.
struct Clerk {
    begin: Option<Begin>,
    notes: Rc<RefCell<Vec<u32>>>,
    opened: Rc<RefCell<Vec<ConnectionId>>>,
    ends: Rc<RefCell<Vec<EndReason>>>,
}

impl Handler for Clerk {
    type State = ();
    type Note = u32;

    fn on_start(&mut self, shard: &mut ShardContext<'_, Self>) {
        if let Some(begin) = self.begin.take() {
            begin(shard);
        }
    }

    fn on_request(
        &mut self,
        _context: &mut RequestContext<'_, Self>,
        _request: &Request<'_>,
    ) -> Answer<()> {
        Answer::Upgrade(Upgrade::new(()))
    }

    fn on_open(&mut self, context: &mut Context<'_, Self>) {
        context.subscribe("room");
        self.opened.borrow_mut().push(context.id());
    }

    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        context.send(message).expect("the test reads");
    }

    fn on_close(&mut self, _context: &mut Context<'_, Self>, end: End) {
        self.ends.borrow_mut().push(end.reason);
    }

    fn on_note(&mut self, _shard: &mut ShardContext<'_, Self>, note: u32) {
        self.notes.borrow_mut().push(note);
    }
}

/// One shard, what its handler has seen, and the world that it is in.
struct Office {
    world: World,
    shards: Vec<Shard<SimDriver, Clerk>>,
    addresses: Vec<Address<u32>>,
    notes: Rc<RefCell<Vec<u32>>>,
    opened: Rc<RefCell<Vec<ConnectionId>>>,
    ends: Rc<RefCell<Vec<EndReason>>>,
}

impl Office {
    fn new(begin: impl FnOnce(&mut ShardContext<'_, Clerk>) + 'static) -> Self {
        Self::with(1, &Limits::default(), begin)
    }

    /// `begin` is called on the first of the shards.
    fn with(
        shard_count: usize,
        limits: &Limits,
        begin: impl FnOnce(&mut ShardContext<'_, Clerk>) + 'static,
    ) -> Self {
        let world = World::with_faults(7, Faults::none());
        let drivers = (0..shard_count).map(|_| world.driver()).collect();
        let notes = Rc::default();
        let (opened, ends) = (Rc::default(), Rc::default());
        let begin: Cell<Option<Begin>> = Cell::new(Some(Box::new(begin)));
        let handler = || Clerk {
            begin: begin.take(),
            notes: Rc::clone(&notes),
            opened: Rc::clone(&opened),
            ends: Rc::clone(&ends),
        };
        let compression = Compression::Off;
        let budget = Arc::new(Budget::new(compression));
        let (shards, addresses) = shards_with(drivers, 7, limits, compression, &budget, handler);
        Self {
            world,
            shards,
            addresses,
            notes,
            opened,
            ends,
        }
    }

    fn turn(&mut self, peers: &mut [Peer]) {
        turn_all(&mut self.shards, peers);
    }

    #[track_caller]
    fn until(&mut self, peers: &mut [Peer], what: &str, so: impl Fn(&Self, &[Peer]) -> bool) {
        for _ in 0..TURNS_MAX {
            if so(self, peers) {
                return;
            }
            self.turn(peers);
        }
        panic!("not within {TURNS_MAX} turns: {what}");
    }

    fn connect(&mut self, count: usize) -> Vec<Peer> {
        let peer = |_| Peer::new(self.world.connect().expect("a shard listens"), "/");
        let mut peers: Vec<Peer> = (0..count).map(peer).collect();
        self.until(&mut peers, "all are open", |_, peers| {
            peers.iter().all(Peer::is_open)
        });
        peers
    }

    fn tasks(&self) -> usize {
        self.shards[0].core.tasks.count()
    }
}

/// Counts its drops.
struct Tear(Rc<Cell<u32>>);

impl Drop for Tear {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_task_runs_and_is_over() {
    let mut office = Office::new(|shard| {
        let handle = shard.handle();
        let task = async move { handle.tell(1).expect("there is room") };
        shard.spawn(task).expect("it is the first");
    });
    assert_eq!(office.tasks(), 1);
    office.until(&mut [], "it has told", |o, _| *o.notes.borrow() == [1]);
    assert_eq!(office.tasks(), 0);
}

#[test]
fn a_sleep_ends_when_it_is_due_and_the_shard_sleeps_as_long() {
    const SPAN: Duration = Duration::from_millis(12_345);
    let woken_at = Rc::new(Cell::new(None));
    let seen = Rc::clone(&woken_at);
    let mut office = Office::new(move |shard| {
        let handle = shard.handle();
        let task = async move {
            handle.sleep(SPAN).await;
            seen.set(Some(handle.now()));
        };
        shard.spawn(task).expect("it is the first");
    });
    let start = office.world.now();
    office.until(&mut [], "it is awake", |_, _| woken_at.get().is_some());
    let slept = woken_at.get().expect("it is awake") - start;
    assert!(slept >= SPAN, "{slept:?}");
    // What the simulation takes for a turn, and no tick of a wheel.
    assert!(slept < SPAN + Duration::from_millis(1), "{slept:?}");
    // Nothing was polled for: a first turn, the sleep, and the last.
    let turns = office.shards[0].core.counted.turns;
    assert!(turns <= 4, "{turns} turns");
}

#[test]
fn sleepers_wake_in_the_order_of_their_moments() {
    let mut office = Office::new(|shard| {
        for (note, millis) in [(3, 30), (1, 10), (2, 20), (5, 10_000), (4, 30)] {
            let handle = shard.handle();
            let task = async move {
                handle.sleep(Duration::from_millis(millis)).await;
                handle.tell(note).expect("there is room");
            };
            shard.spawn(task).expect("there is room");
        }
    });
    office.until(&mut [], "all are awake", |o, _| o.notes.borrow().len() == 5);
    assert_eq!(*office.notes.borrow(), [1, 2, 3, 4, 5]);
}

#[test]
fn a_sleep_that_is_dropped_wakes_nobody() {
    let mut office = Office::new(|shard| {
        let handle = shard.handle();
        let task = async move {
            let mut short = Box::pin(handle.sleep(Duration::from_millis(10)));
            // Polled once, so that it has been waiting, and then given up.
            let polled = std::future::poll_fn(|context| {
                Poll::Ready(short.as_mut().poll(context).is_pending())
            });
            assert!(polled.await);
            drop(short);
            handle.sleep(Duration::from_secs(5)).await;
            handle.tell(1).expect("there is room");
        };
        shard.spawn(task).expect("it is the first");
    });
    office.turn(&mut []);
    let due = office.shards[0].core.tasks.next_due();
    assert!(due.is_some_and(|due| due - office.world.now() > Duration::from_secs(4)));
    office.until(&mut [], "it has told", |o, _| *o.notes.borrow() == [1]);
    assert_eq!(office.shards[0].core.tasks.next_due(), None);
}

#[test]
fn an_interval_keeps_its_moments_and_leaves_out_those_that_were_missed() {
    const PERIOD: Duration = Duration::from_secs(10);
    let moments = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&moments);
    let mut office = Office::new(move |shard| {
        let handle = shard.handle();
        let task = async move {
            let start = handle.now();
            let mut interval = handle.interval(PERIOD);
            for round in 0..4 {
                let moment = interval.tick().await;
                seen.borrow_mut().push((moment - start).as_secs());
                if round == 1 {
                    // Two moments pass meanwhile.
                    handle.sleep(PERIOD * 5 / 2).await;
                }
            }
        };
        shard.spawn(task).expect("it is the first");
    });
    office.until(&mut [], "it is over", |office, _| office.tasks() == 0);
    assert_eq!(*moments.borrow(), [10, 20, 30, 50]);
}

#[test]
fn a_task_publishes_to_every_shard_and_sends_and_closes_on_its_own() {
    let handle_out = Rc::new(RefCell::new(None));
    let handle_in = Rc::clone(&handle_out);
    let mut office = Office::with(2, &Limits::default(), move |shard| {
        *handle_in.borrow_mut() = Some(shard.handle());
    });
    let handle: ShardHandle<Clerk> = handle_out.borrow_mut().take().expect("it has begun");
    let mut peers = office.connect(8);
    let opened = office.opened.borrow().clone();
    let ours: Vec<_> = opened
        .iter()
        .filter(|id| id.shard() == 0)
        .copied()
        .collect();
    assert!(ours.len() >= 2 && ours.len() < 8, "{} of 8", ours.len());
    let (first, second) = (ours[0], ours[1]);
    let speaker = handle.clone();
    let task = async move {
        speaker
            .publish("room", Message::Text("one"))
            .expect("there is room");
        speaker
            .send(first, Message::Binary(b"to you"))
            .expect("there is room");
        speaker
            .publish("room", Message::Text("two"))
            .expect("there is room");
        // What is sent in one turn goes before what is published in it, a close too.
        speaker.sleep(Duration::from_secs(1)).await;
        speaker
            .close(second, CloseCode::GOING_AWAY, "bye")
            .expect("there is room");
        // To one that is closing: lost, and no more than that.
        speaker
            .send(second, Message::Text("too late"))
            .expect("there is room");
    };
    handle.spawn(task).expect("it is the first");
    office.until(&mut peers, "one is closed", |office, _| {
        !office.ends.borrow().is_empty()
    });
    assert_eq!(*office.ends.borrow(), [EndReason::ClosedByApplication]);
    let sent: Vec<_> = peers
        .iter()
        .filter(|p| p.heard.contains(&b"to you".to_vec()))
        .collect();
    assert_eq!(sent.len(), 1);
    let words: [&[u8]; 3] = [b"to you", b"one", b"two"];
    assert_eq!(sent[0].heard, words, "what is sent goes first");
    let closed: Vec<_> = peers
        .iter()
        .filter(|p| p.close_code == Some(Some(CloseCode::GOING_AWAY)))
        .collect();
    assert_eq!(closed.len(), 1);
    assert!(!closed[0].heard.contains(&b"too late".to_vec()));
    for peer in &peers {
        let room: Vec<_> = peer.heard.iter().filter(|m| *m != b"to you").collect();
        assert_eq!(room, [b"one", b"two"]);
    }
}

#[test]
fn what_is_sent_to_one_who_has_gone_reaches_no_later_tenant() {
    let handle_out = Rc::new(RefCell::new(None));
    let handle_in = Rc::clone(&handle_out);
    let mut office = Office::new(move |shard| {
        *handle_in.borrow_mut() = Some(shard.handle());
    });
    let handle: ShardHandle<Clerk> = handle_out.borrow_mut().take().expect("it has begun");
    let mut gone = office.connect(1);
    let former = office.opened.borrow()[0];
    gone[0].reset();
    office.until(&mut gone, "it is gone", |o, _| {
        o.shards[0].core.connections.is_empty()
    });
    let mut peers = office.connect(1);
    let tenant = office.opened.borrow()[1];
    assert_eq!((former.slot(), former != tenant), (tenant.slot(), true));
    handle
        .send(former, Message::Text("secret"))
        .expect("there is room");
    handle
        .close(former, CloseCode::NORMAL, "")
        .expect("there is room");
    handle
        .publish("room", Message::Text("end"))
        .expect("there is room");
    office.until(&mut peers, "the end", |_, peers| !peers[0].heard.is_empty());
    assert_eq!(peers[0].heard, [b"end"]);
    assert_eq!(peers[0].close_code, None);
}

#[test]
fn a_task_that_is_always_ready_starves_neither_the_loop_nor_the_others() {
    let polls = Rc::new(Cell::new(0_u64));
    let counted = Rc::clone(&polls);
    let mut office = Office::new(move |shard| {
        let handle = shard.handle();
        let busy = async move {
            loop {
                counted.set(counted.get() + 1);
                handle.yield_now().await;
            }
        };
        shard.spawn(busy).expect("it is the first");
        let handle = shard.handle();
        let other = async move {
            for note in 0..1_000 {
                handle.yield_now().await;
                handle.tell(note).expect("there is room");
            }
        };
        shard.spawn(other).expect("it is the second");
    });
    let mut peers = office.connect(3);
    for peer in &mut peers {
        peer.say(Message::Text("hello"));
    }
    office.until(&mut peers, "the echoes", |_, peers| {
        peers.iter().all(|peer| peer.heard == [b"hello"])
    });
    let (turns, before) = (office.shards[0].core.counted.turns, polls.get());
    office.until(&mut peers, "the other one is over", |o, _| {
        o.notes.borrow().len() == 1_000
    });
    assert_eq!(office.tasks(), 1);
    // So many at most between two turns, in virtual time, which does not pass meanwhile.
    let turns = office.shards[0].core.counted.turns - turns;
    assert!(polls.get() - before <= turns * 64, "{turns} turns");
}

#[test]
fn tasks_are_limited_and_each_that_ends_makes_room() {
    let limits = Limits {
        tasks_max: 3,
        ..Limits::default()
    };
    let mut office = Office::with(1, &limits, |shard| {
        for note in 0..3 {
            let handle = shard.handle();
            let task = async move {
                handle.sleep(Duration::from_secs(u64::from(note))).await;
                handle.tell(note).expect("there is room");
                if note == 0 {
                    // This one still counts, the room comes with its end.
                    let more = handle.spawn(async {}).expect_err("there are three");
                    assert_eq!(more.count_max, 3);
                }
            };
            shard.spawn(task).expect("there is room");
        }
        let more = shard.spawn(async {}).expect_err("there are three");
        assert_eq!(more.to_string(), "a shard runs at most 3 tasks");
    });
    office.until(&mut [], "one is over", |office, _| office.tasks() == 2);
    let spawned = office.shards[0].core.tasks.spawn(async {});
    assert_eq!(spawned, Ok(()));
    office.until(&mut [], "all have told", |o, _| {
        *o.notes.borrow() == [0, 1, 2]
    });
    assert_eq!(office.tasks(), 0);
}

#[test]
fn what_tasks_ask_for_is_limited_and_what_was_taken_is_done() {
    let limits = Limits {
        task_bytes_max: 10_000,
        ..Limits::default()
    };
    let refused = Rc::new(Cell::new(0));
    let counted = Rc::clone(&refused);
    let mut office = Office::with(1, &limits, move |shard| {
        let handle = shard.handle();
        let task = async move {
            for note in 0..1_000 {
                while handle.tell(note).is_err() {
                    counted.set(counted.get() + 1);
                    handle.yield_now().await;
                }
            }
        };
        shard.spawn(task).expect("it is the first");
    });
    office.until(&mut [], "all notes", |o, _| o.notes.borrow().len() == 1_000);
    assert!(refused.get() > 0);
    assert!(office.notes.borrow().iter().copied().eq(0..1_000));
}

#[test]
fn tasks_are_dropped_with_the_shard_also_those_that_never_ran() {
    let drops = Rc::new(Cell::new(0));
    let tears = Rc::clone(&drops);
    let mut office = Office::new(move |shard| {
        for _ in 0..3 {
            let (handle, tear) = (shard.handle(), Tear(Rc::clone(&tears)));
            let task = async move {
                let _tear = tear;
                handle.sleep(Duration::from_secs(1_000_000)).await;
            };
            shard.spawn(task).expect("there is room");
        }
        let tear = Tear(Rc::clone(&tears));
        let nothing = async move {
            let _tear = tear;
            std::future::pending().await
        };
        shard.spawn(nothing).expect("there is room");
    });
    office.turn(&mut []);
    let (tear, tasks) = (Tear(Rc::clone(&drops)), office.shards[0].core.tasks.clone());
    let late = async move { drop(tear) };
    tasks.spawn(late).expect("there is room");
    assert_eq!(drops.get(), 0);
    let address = office.addresses[0].clone();
    assert!(address.send(Letter::Stop, Duration::ZERO));
    let mut shard = office.shards.pop().expect("there is one");
    while shard.turn().expect("a simulation can always wait") {}
    drop(shard);
    assert_eq!(drops.get(), 5);
    assert_eq!(tasks.count(), 0);
}

#[test]
fn a_wake_from_another_thread_ends_the_sleep_of_the_shard() {
    let waker: Rc<RefCell<Option<Waker>>> = Rc::default();
    let given = Rc::clone(&waker);
    let mut office = Office::new(move |shard| {
        let handle = shard.handle();
        let mut polls = 0;
        let task = async move {
            std::future::poll_fn(|context| {
                polls += 1;
                *given.borrow_mut() = Some(context.waker().clone());
                if polls == 1 {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
            handle.tell(polls).expect("there is room");
        };
        shard.spawn(task).expect("it is the first");
    });
    office.until(&mut [], "it waits", |_, _| waker.borrow().is_some());
    // The shard is about to sleep for ever, and a wake comes just then.
    let timeout = office.shards[0].fall_asleep();
    assert_eq!(timeout, tidegate_io::Timeout::Never);
    let waker = waker.borrow_mut().take().expect("it waits");
    std::thread::spawn(move || waker.wake())
        .join()
        .expect("it wakes");
    assert!(office.world.is_awake(0), "the bell was rung");
    // One that comes before does not let it sleep at all.
    assert_eq!(office.shards[0].fall_asleep(), tidegate_io::Timeout::Now);
    office.until(&mut [], "it has told", |o, _| *o.notes.borrow() == [2]);
}
