//! The door of some shards, in virtual time.

#![expect(
    clippy::disallowed_methods,
    reason = "any instant will do to begin with"
)]

use super::*;
use crate::config::Inputs;

/// The rules of a configuration in the environment.
fn rules(settings: &[(&str, &str)]) -> Rules {
    let variable = |(name, value): &(&str, &str)| {
        let name = name.replace('.', "__").replace('-', "_");
        let name = format!("TIDEGATE__{}", name.to_ascii_uppercase());
        (name.into(), (*value).into())
    };
    let inputs = Inputs {
        file: Some("/dev/null".into()),
        environment: settings.iter().map(variable).collect(),
        ..Inputs::default()
    };
    Rules::of(&inputs.load(None).unwrap())
}

/// One or more doors with the same counts.
struct House {
    rules: Rules,
    doors: Vec<Doorkeeper>,
    now: Instant,
}

impl House {
    fn new(settings: &[(&str, &str)]) -> Self {
        let counts = Arc::<Counts>::default();
        let door = |_| Doorkeeper::new(Arc::clone(&counts));
        Self {
            rules: rules(settings),
            doors: (0..2).map(door).collect(),
            now: Instant::now(),
        }
    }

    /// What becomes of one who comes to a door: `in`, `proxy`, the status and the cause, or `reset`.
    fn comes(&mut self, door: usize, slot: u32, from: &str) -> String {
        let peer = from.parse().unwrap();
        match self.doors[door].judge(&self.rules, peer, slot, self.now) {
            Admission::Take => "in".to_owned(),
            Admission::TakeProxied => "proxy".to_owned(),
            Admission::Refuse(refusal) => format!("{} {}", refusal.status, refusal.cause()),
            Admission::Drop(cause) => format!("reset {cause}"),
        }
    }

    fn goes(&mut self, door: usize, slot: u32, from: &str) {
        self.doors[door].let_go(slot, from.parse().unwrap());
    }

    fn seen(&self) -> Seen {
        self.doors[0].counts.look()
    }

    fn is_empty(&self) -> bool {
        let seen = self.seen();
        (seen.connections, seen.hosts, seen.networks) == (0, 0, 0)
            && self.doors.iter().all(|door| door.refused == 0)
    }
}

#[test]
fn with_no_rule_nothing_is_asked_or_remembered() {
    let house = House::new(&[]);
    assert!(house.rules.is_open && house.is_empty());
    for setting in [
        ("limits.allow", "127.0.0.1"),
        ("limits.deny", "127.0.0.1"),
        ("limits.connections-max", "1"),
        ("limits.connections-per-address", "1"),
        ("limits.connections-per-network", "1"),
        ("limits.handshake-rate", "1"),
        ("limits.handshake-rate-per-address", "1"),
        ("server.trusted-proxies", "127.0.0.1"),
    ] {
        assert!(!rules(&[setting]).is_open, "{setting:?}");
    }
}

#[test]
fn denied_goes_before_allowed() {
    let mut house = House::new(&[
        ("limits.allow", "192.0.2.0/24, 2001:db8::/32"),
        ("limits.deny", "192.0.2.66, 2001:db8:bad::/48"),
    ]);
    for (slot, (from, wanted)) in [
        ("192.0.2.7", "in"),
        ("::ffff:192.0.2.7", "in"),
        ("2001:db8::7", "in"),
        ("192.0.2.66", "403 address"),
        ("::ffff:192.0.2.66", "403 address"),
        ("2001:db8:bad::7", "403 address"),
        ("198.51.100.1", "403 address"),
        ("2001:db9::1", "403 address"),
    ]
    .into_iter()
    .enumerate()
    {
        let slot = u32::try_from(slot).unwrap();
        assert_eq!(house.comes(0, slot, from), wanted, "{from}");
    }
    for slot in 0..8 {
        house.goes(0, slot, "::");
    }
    assert!(house.is_empty());
    let mut house = House::new(&[("limits.deny", "192.0.2.7"), ("limits.denied", "drop")]);
    assert_eq!(house.comes(0, 0, "192.0.2.7"), "reset address");
    assert!(house.is_empty(), "whoever is reset has no goodbye");
}

#[test]
fn the_caps_hold_over_all_shards_and_are_given_back() {
    let mut house = House::new(&[
        ("limits.connections-max", "7"),
        ("limits.connections-per-address", "2"),
        ("limits.connections-per-network", "3"),
    ]);
    assert_eq!(house.comes(0, 0, "192.0.2.7"), "in");
    assert_eq!(house.comes(1, 0, "192.0.2.7"), "in");
    assert_eq!(house.comes(0, 1, "192.0.2.7"), "429 address_full");
    assert_eq!(house.comes(1, 1, "192.0.2.8"), "in");
    assert_eq!(house.comes(1, 2, "192.0.2.9"), "429 network_full");
    assert_eq!(house.comes(1, 3, "2001:db8:0:1::1"), "in");
    assert_eq!(house.comes(1, 4, "2001:db8:0:1::2"), "in");
    assert_eq!(house.comes(1, 5, "2001:db8:0:1::3"), "429 address_full");
    assert_eq!(house.comes(1, 6, "2001:db8:0:2::1"), "in");
    assert_eq!(house.comes(0, 2, "203.0.113.1"), "in");
    assert_eq!(house.comes(0, 3, "203.0.113.2"), "503 full");
    let seen = house.seen();
    assert_eq!((seen.connections, seen.hosts, seen.networks), (7, 5, 3));
    // Who was refused gives back nothing that it has not had.
    for (door, slot, from) in [
        (0, 1, "192.0.2.7"),
        (1, 2, "192.0.2.9"),
        (0, 3, "203.0.113.2"),
    ] {
        house.goes(door, slot, from);
    }
    assert_eq!(house.seen(), seen);
    house.goes(0, 0, "192.0.2.7");
    assert_eq!(house.comes(0, 0, "203.0.113.2"), "in");
    assert_eq!(house.comes(0, 1, "192.0.2.7"), "503 full");
    for (door, slot, from) in [
        (0, 0, "203.0.113.2"),
        (0, 1, "192.0.2.7"),
        (0, 2, "203.0.113.1"),
        (1, 0, "192.0.2.7"),
        (1, 1, "192.0.2.8"),
        (1, 3, "2001:db8:0:1::1"),
        (1, 4, "2001:db8:0:1::2"),
        (1, 5, "2001:db8:0:1::3"),
        (1, 6, "2001:db8:0:2::1"),
    ] {
        house.goes(door, slot, from);
    }
    assert!(house.is_empty(), "{:?}", house.seen());
}

#[test]
fn a_reload_between_coming_and_going_gives_back_what_was_counted_and_no_more() {
    let capped = [("limits.connections-per-address", "1")];
    let mut house = House::new(&[]);
    house.rules = rules(&[("limits.deny", "203.0.113.0/24")]);
    assert_eq!(house.comes(0, 0, "192.0.2.7"), "in");
    house.rules = rules(&capped);
    assert_eq!(
        house.comes(0, 1, "192.0.2.7"),
        "in",
        "the first that is counted"
    );
    assert_eq!(house.comes(0, 2, "192.0.2.7"), "429 address_full");
    house.rules = rules(&[]);
    for slot in 0..3 {
        house.goes(0, slot, "192.0.2.7");
    }
    assert!(house.is_empty(), "{:?}", house.seen());
}

#[test]
fn an_address_that_comes_too_often_does_not_use_up_what_there_is_for_all() {
    let mut house = House::new(&[
        ("limits.handshake-rate", "10"),
        ("limits.handshake-rate-per-address", "1"),
        ("limits.handshake-burst-per-address", "2"),
    ]);
    let mut outcomes = Vec::new();
    for slot in 0..100 {
        outcomes.push(house.comes(0, slot, "192.0.2.7"));
        house.goes(0, slot, "192.0.2.7");
    }
    assert_eq!(outcomes[..2], ["in", "in"]);
    assert!(
        outcomes[2..]
            .iter()
            .all(|outcome| outcome == "429 address_rate")
    );
    // 8 of 10 are left for the others.
    let others: Vec<_> = (0..10)
        .map(|number| {
            let from = format!("198.51.100.{number}");
            let outcome = house.comes(1, number, &from);
            house.goes(1, number, &from);
            outcome
        })
        .collect();
    assert_eq!(others.iter().filter(|outcome| *outcome == "in").count(), 8);
    assert_eq!(others[8..], ["503 rate", "503 rate"]);
    house.now += Duration::from_secs(1);
    assert_eq!(house.comes(0, 0, "192.0.2.7"), "in");
    house.goes(0, 0, "192.0.2.7");
    assert!(house.is_empty());
}

#[test]
fn no_more_are_told_than_there_are_descriptors_to_spare() {
    let mut house = House::new(&[("limits.connections-max", "1")]);
    assert_eq!(house.comes(0, 0, "192.0.2.7"), "in");
    let most = u32::try_from(REFUSED_MAX).unwrap();
    for slot in 1..=most {
        assert_eq!(house.comes(0, slot, "192.0.2.7"), "503 full");
    }
    assert_eq!(house.comes(0, most + 1, "192.0.2.7"), "reset full");
    house.goes(0, 1, "192.0.2.7");
    assert_eq!(house.comes(0, 1, "192.0.2.7"), "503 full");
    for slot in 0..=most {
        house.goes(0, slot, "192.0.2.7");
    }
    assert!(house.is_empty());
}

#[test]
fn whoever_is_refused_is_told_when_to_come_back() {
    let house = House::new(&[]);
    let counts = &house.doors[0].counts;
    let over = Over {
        wait: Duration::from_millis(2_001),
    };
    for (fault, status) in [
        (Fault::Full, 503),
        (Fault::HostFull, 429),
        (Fault::NetworkFull, 429),
        (Fault::Rate(over), 503),
        (Fault::HostRate(over), 429),
    ] {
        let refusal = counts.refusal(fault);
        assert_eq!((refusal.status, refusal.cause()), (status, fault.cause()));
        let mut wire = Vec::new();
        refusal.write(&mut wire);
        let text = String::from_utf8(wire).unwrap();
        let (_, rest) = text.split_once("\r\nRetry-After: ").unwrap();
        let seconds: u32 = rest.split("\r\n").next().unwrap().parse().unwrap();
        assert!((1..=RETRY_SPREAD).contains(&seconds), "{text}");
        if matches!(fault, Fault::Rate(_) | Fault::HostRate(_)) {
            assert_eq!(seconds, 3, "rather late than early");
        }
    }
    // Those who come together do not all come back together.
    let mut wires: Vec<Vec<u8>> = Vec::new();
    for _ in 0..RETRY_SPREAD {
        let mut wire = Vec::new();
        counts.refusal(Fault::Full).write(&mut wire);
        assert!(!wires.contains(&wire));
        wires.push(wire);
    }
    assert_eq!(counts.refusal(Fault::Denied).cause(), Fault::Denied.cause());
}

#[test]
fn the_client_of_a_proxy_is_judged_when_it_is_known() {
    let mut house = House::new(&[
        ("server.trusted-proxies", "10.0.0.0/8"),
        ("limits.allow", "192.0.2.0/24"),
        ("limits.connections-per-address", "1"),
        ("limits.connections-max", "3"),
    ]);
    assert_eq!(house.comes(0, 0, "10.0.0.1"), "in", "it is not the client");
    assert_eq!(house.comes(0, 1, "10.0.0.1"), "in");
    assert_eq!(house.comes(0, 2, "10.0.0.1"), "in");
    assert_eq!(house.comes(0, 3, "10.0.0.1"), "503 full");
    assert_eq!(house.comes(0, 4, "198.51.100.1"), "403 address", "no proxy");
    let House {
        rules: in_force,
        doors,
        now,
    } = &mut house;
    let mut settle = |client: &str, slot| {
        let client = client.parse().unwrap();
        doors[0].settle_later(in_force, client, slot, *now)
    };
    assert_eq!(settle("192.0.2.7", 0), Ok(()));
    assert_eq!(settle("192.0.2.7", 1), Err(Fault::HostFull));
    assert_eq!(settle("198.51.100.1", 2), Err(Fault::Denied));
    for (slot, from) in [
        (0, "192.0.2.7"),
        (1, "192.0.2.7"),
        (2, "198.51.100.1"),
        (3, "10.0.0.1"),
        (4, "198.51.100.1"),
    ] {
        house.goes(0, slot, from);
    }
    assert!(house.is_empty(), "{:?}", house.seen());
    house.rules = rules(&[
        ("server.trusted-proxies", "10.0.0.0/8"),
        ("server.proxy-protocol", "v2"),
    ]);
    assert_eq!(house.comes(0, 0, "10.0.0.1"), "proxy");
    assert_eq!(house.comes(0, 1, "192.0.2.7"), "in");
}
