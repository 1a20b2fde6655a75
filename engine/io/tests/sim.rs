//! Laws of the simulated kernel alone: it can be replayed, it is unkind, and it is strict.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_io::sim::{Client, Faults, SimDriver, World};
use tidegate_io::{Completion, Driver, Op, Parcel, Peer, Piece, Socket, Submitted, Timeout};

const TURN: Duration = Duration::from_millis(1);

/// An echo server with some clients, which writes down all that happens to it.
struct Session {
    world: World,
    driver: SimDriver,
    clients: Vec<Client>,
    sockets: BTreeMap<Socket, Echo>,
    socket_count: u32,
    diary: Vec<String>,
}

/// What came from one client, and how much of it went back.
#[derive(Default)]
struct Echo {
    bytes: Vec<u8>,
    sent: usize,
    busy: bool,
    gone: bool,
    closing: bool,
}

impl Session {
    fn new(seed: u64, faults: Faults) -> Self {
        let world = World::with_faults(seed, faults);
        let mut driver = world.driver();
        let _ = driver.submit(Op::Listen);
        Self {
            clients: (0..10).map(|_| world.connect().unwrap()).collect(),
            world,
            driver,
            sockets: BTreeMap::new(),
            socket_count: 0,
            diary: Vec::new(),
        }
    }

    fn run(&mut self) {
        for (index, client) in self.clients.iter().enumerate() {
            client.send(&vec![u8::try_from(index).unwrap(); 30_000]);
            client.finish();
        }
        for _ in 0..2_000 {
            self.turn();
        }
    }

    fn turn(&mut self) {
        let start = self.world.now();
        self.driver
            .wait(Timeout::At(self.driver.now() + TURN))
            .unwrap();
        let mut peers: Vec<Peer> = Vec::new();
        while let Some(completion) = self.driver.reap() {
            // A peer's `Debug` is the whole world's.
            self.diary.push(match &completion {
                Completion::Accepted { peer } => format!("Accepted {}", peer.address),
                other => format!("{other:?}"),
            });
            match completion {
                Completion::Accepted { peer } => peers.push(peer),
                Completion::Refused { .. } | Completion::Ended { .. } => {}
                Completion::Received { socket, bytes } => {
                    self.sockets
                        .get_mut(&socket)
                        .unwrap()
                        .bytes
                        .extend_from_slice(bytes);
                }
                Completion::Sent { socket } => self.sockets.get_mut(&socket).unwrap().busy = false,
                Completion::Gone { socket, .. } => {
                    self.sockets.get_mut(&socket).unwrap().gone = true;
                }
                Completion::Closed { socket } => drop(self.sockets.remove(&socket)),
                other => panic!("{other:?}"),
            }
        }
        let _ = self.driver.submit(Op::Listen);
        for peer in peers {
            let socket = Socket(self.socket_count);
            self.socket_count += 1;
            self.sockets.insert(socket, Echo::default());
            let _ = self.driver.submit(Op::Open { socket, peer });
        }
        self.answer();
        self.diary.push(format!("{:?}", self.world.now() - start));
    }

    fn answer(&mut self) {
        let mut over = Vec::new();
        for (&socket, echo) in self.sockets.iter_mut().filter(|(_, echo)| !echo.closing) {
            if echo.gone {
                over.push(socket);
            } else if !echo.busy && echo.sent < echo.bytes.len() {
                let pieces = [Piece::Lent(&echo.bytes[echo.sent..])];
                let pieces = &pieces;
                echo.busy = self.driver.submit(Op::Send { socket, pieces }) == Submitted::Pending;
                echo.sent = echo.bytes.len();
            } else if !echo.busy && echo.sent == 30_000 {
                over.push(socket);
            }
        }
        for socket in over {
            self.sockets.get_mut(&socket).unwrap().closing = true;
            if self.driver.submit(Op::Close {
                socket,
                reset: false,
            }) == Submitted::Done
            {
                self.sockets.remove(&socket);
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_life_to_the_last_bit() {
    let life = |seed| {
        let mut session = Session::new(seed, Faults::default());
        session.run();
        let received: Vec<_> = session.clients.iter().map(Client::receive).collect();
        (session.diary, received)
    };
    for seed in 0..5 {
        assert!(life(seed) == life(seed), "the seed is {seed}");
        assert!(life(seed) != life(seed + 1), "the seed is {seed}");
    }
}

#[test]
fn whatever_happens_a_client_gets_a_prefix_and_all_is_given_back() {
    let mut reset_count = 0;
    for seed in 0..100 {
        let faults = Faults {
            reset: 0.01,
            ..Faults::default()
        };
        let mut session = Session::new(seed, faults);
        session.run();
        for (index, client) in session.clients.iter().enumerate() {
            let bytes = client.receive();
            let index = u8::try_from(index).unwrap();
            assert!(
                bytes.iter().all(|&byte| byte == index),
                "the seed is {seed}"
            );
            let whole = bytes.len() == 30_000;
            assert!(
                whole || client.is_reset() || client.is_refused(),
                "the seed is {seed}"
            );
            reset_count += usize::from(client.is_reset());
        }
        assert_eq!(session.world.open_links(), 0, "the seed is {seed}");
        assert_eq!(session.world.buffers_held(), 0, "the seed is {seed}");
        session.clients.clear();
        session.world.advance(Duration::from_secs(1));
        assert_eq!(session.world.bytes_in_flight(), 0, "the seed is {seed}");
        assert!(session.world.is_quiet(), "the seed is {seed}");
    }
    assert!(
        (100..900).contains(&reset_count),
        "{reset_count} of 1,000 were reset"
    );
}

#[test]
fn a_lively_world_has_every_fault_and_a_calm_one_has_none() {
    let has = |diary: &[String], what: &str| diary.iter().any(|entry| entry.starts_with(what));
    let mut session = Session::new(3, Faults::default());
    session.run();
    for what in ["Accepted", "Refused", "Sent", "Ended", "Closed"] {
        assert!(has(&session.diary, what), "{what}");
    }
    let mut session = Session::new(3, Faults::none());
    session.run();
    for what in ["Refused", "Sent", "Gone", "Closed"] {
        assert!(!has(&session.diary, what), "{what}");
    }
}

#[test]
fn the_drivers_of_a_world_each_have_a_listener() {
    let world = World::with_faults(1, Faults::none());
    let mut drivers = [world.driver(), world.driver(), world.driver()];
    let _none = world.driver_without_listener();
    let clients: Vec<_> = (0..60).map(|_| world.connect().unwrap()).collect();
    let last = world.connect_to(2).unwrap();
    assert!(world.connect_to(3).is_none() && world.connect_to(4).is_none());
    for (index, driver) in drivers.iter_mut().enumerate() {
        assert_eq!(driver.index(), index);
        let _ = driver.submit(Op::Listen);
        let mut peers = Vec::new();
        for _ in 0..10 {
            driver.wait(Timeout::At(driver.now() + TURN)).unwrap();
            while let Some(Completion::Accepted { peer }) = driver.reap() {
                peers.push(peer);
            }
        }
        assert!(
            (5..50).contains(&peers.len()),
            "chance gave {} to {index}",
            peers.len()
        );
        assert_eq!(
            peers.iter().any(|peer| peer.address == last.address()),
            index == 2
        );
    }
    assert!(clients.iter().all(Client::is_connected));
}

#[test]
fn a_wait_for_which_nothing_can_happen_returns_at_once() {
    let world = World::new(1);
    let mut driver = world.driver();
    let start = world.now();
    driver.wait(Timeout::Never).unwrap();
    assert!(world.is_quiet());
    assert!(world.now() - start < TURN);
    driver.waker().wake();
    assert!(!world.is_quiet(), "a ring is something that happened");
}

#[test]
fn a_close_with_bytes_unread_resets_the_client() {
    let (world, mut driver, client) = connected(Faults::none());
    let _ = driver.submit(Op::Pause { socket: Socket(0) });
    client.send(b"nobody reads this");
    world.advance(TURN);
    let _ = driver.submit(Op::Close {
        socket: Socket(0),
        reset: false,
    });
    world.advance(TURN);
    assert!(client.is_reset() && !client.is_ended());
}

#[test]
fn accepting_goes_on_after_a_refusal_when_asked() {
    let world = World::with_faults(
        1,
        Faults {
            refused: 1.0,
            ..Faults::none()
        },
    );
    let mut driver = world.driver();
    let client = world.connect().unwrap();
    let _ = driver.submit(Op::Listen);
    driver.wait(Timeout::At(driver.now() + TURN)).unwrap();
    assert!(matches!(driver.reap(), Some(Completion::Refused { .. })));
    world.set_faults(Faults::none());
    for _ in 0..10 {
        driver.wait(Timeout::At(driver.now() + TURN)).unwrap();
        assert!(driver.reap().is_none(), "nobody has asked");
    }
    let _ = driver.submit(Op::Listen);
    driver.wait(Timeout::At(driver.now() + TURN)).unwrap();
    let Some(Completion::Accepted { peer }) = driver.reap() else {
        panic!("it was not accepted")
    };
    assert!(client.is_accepted());
    drop(peer);
    assert!(!client.is_accepted());
}

/// A socket 0 with its client.
fn connected(faults: Faults) -> (World, SimDriver, Client) {
    let world = World::with_faults(1, faults);
    let mut driver = world.driver();
    let client = world.connect().unwrap();
    let peer = accepted(&mut driver);
    let _ = driver.submit(Op::Open {
        socket: Socket(0),
        peer,
    });
    (world, driver, client)
}

fn accepted(driver: &mut SimDriver) -> Peer {
    for _ in 0..100 {
        let _ = driver.submit(Op::Listen);
        driver.wait(Timeout::At(driver.now() + TURN)).unwrap();
        if let Some(Completion::Accepted { peer }) = driver.reap() {
            return peer;
        }
    }
    panic!("nobody was accepted in 100 turns");
}

/// A world in which a send and a close are always under way for a while.
fn slow() -> Faults {
    Faults {
        late_send: 1.0,
        late_close: 1.0,
        ..Faults::none()
    }
}

fn send(driver: &mut SimDriver, socket: Socket) {
    let parcel = Parcel::copy_of(b"bytes");
    let _ = driver.submit(Op::Send {
        socket,
        pieces: &[Piece::Shared(&parcel)],
    });
}

#[test]
#[should_panic(expected = "Send: a batch of Socket(0) is under way")]
fn a_second_batch_is_a_mistake() {
    let (_world, mut driver, _client) = connected(slow());
    send(&mut driver, Socket(0));
    send(&mut driver, Socket(0));
}

#[test]
#[should_panic(expected = "Send: Socket(1) is not open")]
fn an_unknown_number_is_a_mistake() {
    let (_world, mut driver, _client) = connected(slow());
    send(&mut driver, Socket(1));
}

#[test]
#[should_panic(expected = "Send: Socket(0) was shut down")]
fn a_send_after_the_shutdown_is_a_mistake() {
    let (_world, mut driver, _client) = connected(slow());
    let _ = driver.submit(Op::Shutdown { socket: Socket(0) });
    send(&mut driver, Socket(0));
}

#[test]
#[should_panic(expected = "Resume: Socket(0) is being closed")]
fn an_op_after_the_close_is_a_mistake() {
    let (_world, mut driver, _client) = connected(slow());
    let _ = driver.submit(Op::Close {
        socket: Socket(0),
        reset: false,
    });
    let _ = driver.submit(Op::Resume { socket: Socket(0) });
}

#[test]
#[should_panic(expected = "Socket(0) is in use already")]
fn a_number_in_use_is_a_mistake() {
    let (world, mut driver, _client) = connected(slow());
    let _other = world.connect().unwrap();
    let peer = accepted(&mut driver);
    // Not even before the close is through.
    let _ = driver.submit(Op::Close {
        socket: Socket(0),
        reset: false,
    });
    let _ = driver.submit(Op::Open {
        socket: Socket(0),
        peer,
    });
}

#[test]
#[should_panic(expected = "ReceiveInto: Socket(0) asks for 11 bytes, 10 fit")]
fn a_buffer_without_room_is_a_mistake() {
    let (_world, mut driver, _client) = connected(slow());
    let buffer = Vec::with_capacity(10);
    let _ = driver.submit(Op::ReceiveInto {
        socket: Socket(0),
        buffer,
        size: 11,
    });
}

#[test]
#[should_panic(expected = "Send: Socket(7) is not connected yet")]
fn a_send_before_the_connect_is_through_is_a_mistake() {
    let (_world, mut driver, _client) = connected(slow());
    let (socket, to) = (Socket(7), driver.address());
    let _ = driver.submit(Op::Connect {
        socket,
        to,
        from: None,
    });
    send(&mut driver, socket);
}
