//! Who is let in, for whom a proxy speaks, and that each goodbye is said once.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use super::*;
use crate::ConnectionId;

/// What the doorkeeper does with the next one who comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Orders {
    Take,
    Proxied,
    Refuse,
    Drop,
    /// What comes behind the PROXY header is refused, or reset.
    RefuseProxied,
    DropProxied,
}

/// What the doorkeeper has seen.
#[derive(Debug, Default)]
struct Book {
    orders: Option<Orders>,
    taken: Vec<ConnectionId>,
    gone: Vec<(ConnectionId, SocketAddr)>,
    requests: Vec<SocketAddr>,
}

/// Echoes, behind a door.
struct Doorkeeper(Rc<RefCell<Book>>);

impl Handler for Doorkeeper {
    type State = ();
    type Note = u32;

    fn on_accept(&mut self, context: &mut RequestContext<'_, Self>) -> Admission {
        let mut book = self.0.borrow_mut();
        let admission = match book.orders.expect("somebody has said what to do") {
            Orders::Take => Admission::Take,
            Orders::Refuse => {
                let refusal = Refusal::new(503, "full", "Come back.").with_retry_after(3);
                Admission::Refuse(refusal)
            }
            Orders::Drop => return Admission::Drop("address"),
            Orders::Proxied | Orders::RefuseProxied | Orders::DropProxied => Admission::TakeProxied,
        };
        book.taken.push(context.id());
        admission
    }

    fn on_proxied(
        &mut self,
        _context: &mut RequestContext<'_, Self>,
        _header: &ProxyHeader,
    ) -> Admission {
        match self.0.borrow().orders {
            Some(Orders::RefuseProxied) => Admission::Refuse(Refusal::new(429, "rate", "Slow.")),
            Some(Orders::DropProxied) => Admission::Drop("address"),
            _ => Admission::Take,
        }
    }

    fn on_gone(&mut self, context: &mut RequestContext<'_, Self>) {
        let gone = (context.id(), context.peer());
        self.0.borrow_mut().gone.push(gone);
    }

    fn on_request(
        &mut self,
        context: &mut RequestContext<'_, Self>,
        _request: &Request<'_>,
    ) -> Answer<()> {
        self.0.borrow_mut().requests.push(context.peer());
        Answer::Upgrade(Upgrade::new(()))
    }

    fn on_message(&mut self, context: &mut Context<'_, Self>, message: Message<'_>) {
        context.send(message).expect("it reads");
    }
}

struct House {
    world: World,
    shards: Vec<Shard<SimDriver, Doorkeeper>>,
    book: Rc<RefCell<Book>>,
}

impl House {
    fn new(orders: Orders) -> Self {
        let book = Rc::new(RefCell::new(Book {
            orders: Some(orders),
            ..Book::default()
        }));
        let world = World::with_faults(5, Faults::none());
        let drivers = vec![world.driver()];
        let budget = Arc::new(Budget::new(Compression::Off));
        let handler = || Doorkeeper(Rc::clone(&book));
        let limits = Limits::default();
        let (shards, _) = shards_with(drivers, 5, &limits, Compression::Off, &budget, handler);
        Self {
            world,
            shards,
            book,
        }
    }

    #[track_caller]
    fn until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        for _ in 0..TURNS_MAX {
            if so(self) {
                return;
            }
            turn_all(&mut self.shards, &mut []);
        }
        panic!("not within {TURNS_MAX} turns: {what}");
    }

    /// Everything that the server says to who says this, until it ends.
    #[track_caller]
    fn answer_to(&mut self, pieces: &[&[u8]]) -> (String, bool) {
        let client = self.world.connect().expect("a shard listens");
        for piece in pieces {
            if !client.is_reset() {
                client.send(piece);
            }
            turn_all(&mut self.shards, &mut []);
        }
        let mut heard = Vec::new();
        self.until("the answer ends", |_| {
            heard.extend(client.receive());
            client.is_ended() || client.is_reset()
        });
        let reset = client.is_reset();
        client.finish();
        self.until("it is gone", |house| {
            house.shards[0].core.connections.is_empty()
        });
        (String::from_utf8(heard).expect("text"), reset)
    }

    fn refusals(&self) -> Vec<(&'static str, u64)> {
        self.shards[0].core.shared.load().refusals().collect()
    }

    /// Each who was taken is gone, once.
    fn assert_balance(&self) {
        let book = self.book.borrow();
        let gone: Vec<_> = book.gone.iter().map(|(id, _)| *id).collect();
        let (mut taken, mut left) = (book.taken.clone(), gone);
        taken.sort();
        left.sort();
        assert_eq!(taken, left);
    }
}

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xC0\0\x02\x07\xC6\x33\x64\x01\x12\x67\x01\xBB\x04\0\x02no";

#[test]
fn who_is_refused_at_the_door_is_told_at_once_and_politely() {
    let mut house = House::new(Orders::Refuse);
    let (heard, reset) = house.answer_to(&[]);
    assert!(heard.starts_with("HTTP/1.1 503 "), "{heard}");
    assert!(heard.contains("\r\nRetry-After: 3\r\n"), "{heard}");
    assert!(!reset, "the answer would be lost");
    // What it says all the same is nobody's request.
    house.answer_to(&[b"GET / HTTP/1.1\r\nHost: sim\r\n\r\n"]);
    assert_eq!(house.refusals(), [("full", 2)]);
    assert!(house.book.borrow().requests.is_empty());
    let record = house.shards[0].core.closed.get(0).copied().unwrap();
    assert_eq!(record.reason, "full");
    house.assert_balance();
}

#[test]
fn who_is_dropped_at_the_door_hears_nothing_and_leaves_nothing() {
    let mut house = House::new(Orders::Drop);
    let (heard, reset) = house.answer_to(&[]);
    assert_eq!((heard.as_str(), reset), ("", true));
    assert_eq!(house.refusals(), [("address", 1)]);
    assert!(house.book.borrow().gone.is_empty(), "it was never there");
    assert_eq!(house.world.open_links(), 0);
}

#[test]
fn every_split_of_what_a_proxy_passes_on_is_the_same_to_us() {
    let mut request = Vec::new();
    let key = tidegate_proto::handshake::ClientKey::new([3; 16]);
    key.write_request("sim", "/", &[], &mut request);
    // A masked "hi", with a key of zeros.
    request.extend([0x82, 0x82, 0, 0, 0, 0, b'h', b'i']);
    for header in [LINE, BINARY] {
        let whole = [header, &request].concat();
        for cut in 0..whole.len() {
            let mut house = House::new(Orders::Proxied);
            let client = house.world.connect().expect("a shard listens");
            client.send(&whole[..cut]);
            turn_all(&mut house.shards, &mut []);
            client.send(&whole[cut..]);
            let mut heard = Vec::new();
            house.until("it is echoed", |_| {
                heard.extend(client.receive());
                heard.ends_with(b"\x82\x02hi")
            });
            let source: SocketAddr = "192.0.2.7:4711".parse().unwrap();
            assert_eq!(house.book.borrow().requests, [source], "cut at {cut}");
            client.reset();
            house.until("it is gone", |house| {
                house.shards[0].core.connections.is_empty()
            });
            house.assert_balance();
            assert_eq!(house.book.borrow().gone[0].1, source);
        }
    }
}

#[test]
fn who_should_say_for_whom_and_does_not_is_refused() {
    for (first, wanted) in [
        (&b"GET / HTTP/1.1\r\nHost: sim\r\n\r\n"[..], "400"),
        (b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", "400"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xFF\xFF", "400"),
        (&[b'P'; 200], "400"),
    ] {
        let mut house = House::new(Orders::Proxied);
        let (heard, _) = house.answer_to(&[first]);
        assert!(heard.starts_with(&format!("HTTP/1.1 {wanted} ")), "{heard}");
        assert_eq!(house.refusals(), [("proxy_header", 1)]);
        assert!(house.book.borrow().requests.is_empty());
        house.assert_balance();
    }
}

#[test]
fn a_proxy_that_says_nothing_has_the_deadline_of_a_request() {
    let mut house = House::new(Orders::Proxied);
    let client = house.world.connect().expect("a shard listens");
    let start = house.world.now();
    let mut heard = Vec::new();
    for byte in LINE.iter().cycle().take(25) {
        client.send(&[*byte]);
        house.world.advance(Duration::from_millis(500));
        turn_all(&mut house.shards, &mut []);
        heard.extend(client.receive());
        if client.is_ended() {
            break;
        }
    }
    assert!(heard.starts_with(b"HTTP/1.1 408 "), "{heard:?}");
    assert!(house.world.now() - start < Duration::from_secs(12));
}

#[test]
fn a_connection_opened_to_see_whether_somebody_listens_is_no_failure() {
    let mut house = House::new(Orders::Proxied);
    let probe = house.world.connect().expect("a shard listens");
    // What HAProxy says when it only looks (LOCAL), and then nothing.
    probe.send(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    turn_all(&mut house.shards, &mut []);
    probe.finish();
    house.until("it is gone", |house| {
        house.shards[0].core.counted.accepted == 1 && house.shards[0].core.connections.is_empty()
    });
    assert_eq!(house.refusals(), []);
    house.assert_balance();
}

#[test]
fn who_a_proxy_speaks_for_can_be_turned_away() {
    let mut house = House::new(Orders::RefuseProxied);
    let (heard, reset) = house.answer_to(&[LINE, b"GET / HTTP/1.1\r\n"]);
    assert!(heard.starts_with("HTTP/1.1 429 ") && !reset, "{heard}");
    house.assert_balance();
    let mut house = House::new(Orders::DropProxied);
    let (heard, reset) = house.answer_to(&[BINARY]);
    assert_eq!((heard.as_str(), reset), ("", true));
    assert_eq!(house.refusals(), [("address", 1)]);
    let record = house.shards[0].core.closed.get(0).copied().unwrap();
    assert_eq!(record.peer, "192.0.2.7:4711".parse().unwrap());
    house.assert_balance();
}

#[test]
fn a_shard_that_ends_says_goodbye_to_all() {
    let mut house = House::new(Orders::Take);
    let silent = house.world.connect().expect("a shard listens");
    let mut peer = Peer::new(house.world.connect().expect("a shard listens"), "/");
    while !peer.is_open() {
        turn_all(&mut house.shards, std::slice::from_mut(&mut peer));
    }
    assert!(!silent.is_ended(), "its deadline is far");
    assert_eq!(house.book.borrow().taken.len(), 2);
    house.shards.clear();
    house.assert_balance();
}
