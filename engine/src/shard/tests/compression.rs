//! Compressed conversations, in each tier, among peers who want none.

use tidegate_proto::deflate::DeflatePolicy;

use super::*;

const TAKEOVER: DeflatePolicy = DeflatePolicy {
    takeover: true,
    ..DeflatePolicy::SHARED
};
const SMALL: DeflatePolicy = DeflatePolicy {
    server_window_bits: 9,
    ..DeflatePolicy::SHARED
};

fn stand(seed: u64, compression: Compression) -> Stand {
    Stand::compressing(seed, Faults::without_resets(), 2, &patient(), compression)
}

fn open(stand: &mut Stand, path: &str, offers: &[Option<DeflatePolicy>]) -> Vec<Peer> {
    let connect = |offer: &Option<DeflatePolicy>| {
        Peer::offering(
            stand.world.connect().expect("a shard listens"),
            path,
            *offer,
        )
    };
    let mut peers: Vec<Peer> = offers.iter().map(connect).collect();
    stand.until(&mut peers, "all are open", |_, peers| {
        peers.iter().all(Peer::is_open)
    });
    peers
}

fn leave(stand: &mut Stand, mut peers: Vec<Peer>) {
    peers.iter_mut().for_each(Peer::close);
    stand.until(&mut peers, "all are gone", |stand, _| {
        stand.connections() == 0
    });
    stand.assert_empty();
}

/// Compressible, each a little different, some below the threshold.
fn text(number: usize) -> String {
    let sizes = [10, 200, 500, 3_000, 40_000];
    let words = format!("{{\"number\":{number},\"text\":\"the tide comes in\"}} ");
    words.repeat(sizes[number % sizes.len()] / words.len() + 1)
}

const BUDGETS: [Compression; 4] = [
    Compression::Off,
    Compression::Shared,
    Compression::Takeover { bytes_max: 1 << 30 },
    // Room for two inflaters, and for no deflater beside them.
    Compression::Takeover { bytes_max: 30_000 },
];

#[test]
fn every_echo_is_the_same_in_every_tier() {
    for (seed, compression) in (0..12).zip(BUDGETS.into_iter().cycle()) {
        let mut stand = stand(seed, compression);
        let offers = [
            None,
            Some(DeflatePolicy::SHARED),
            Some(TAKEOVER),
            Some(SMALL),
            Some(TAKEOVER),
        ];
        let mut peers = open(&mut stand, "/echo", &offers);
        let said: Vec<Vec<u8>> = (0..25).map(|number| text(number).into_bytes()).collect();
        for peer in &mut peers {
            for text in &said {
                peer.say(Message::Text(std::str::from_utf8(text).unwrap()));
            }
        }
        stand.until(&mut peers, "all echoes", |_, peers| {
            peers.iter().all(|peer| peer.heard.len() >= said.len())
        });
        for (peer, offer) in peers.iter().zip(offers) {
            assert_eq!(peer.heard, said, "seed {seed} {compression:?}");
            let compressed = offer.is_some() && compression != Compression::Off;
            assert_eq!(
                peer.deflated_count > 0,
                compressed,
                "seed {seed} {compression:?}"
            );
        }
        leave(&mut stand, peers);
        assert_eq!(stand.budget.bytes_used(), 0, "seed {seed}");
    }
}

#[test]
fn a_room_of_all_kinds_hears_the_same_and_windows_stay_in_step() {
    for (seed, compression) in (100..112).zip(BUDGETS.into_iter().cycle()) {
        let mut stand = stand(seed, compression);
        let offers = [
            None,
            Some(DeflatePolicy::SHARED),
            Some(TAKEOVER),
            Some(SMALL),
            Some(TAKEOVER),
        ];
        let mut peers = open(&mut stand, "/room", &offers);
        for number in 0..20 {
            let speaker = number % peers.len();
            peers[speaker].say(Message::Text(&text(number)));
            stand.until(&mut peers, "it is heard", |_, peers| {
                peers.iter().all(|peer| peer.heard.len() > number)
            });
        }
        let said: Vec<Vec<u8>> = (0..20).map(|number| text(number).into_bytes()).collect();
        assert!(
            peers.iter().all(|peer| peer.heard == said),
            "seed {seed} {compression:?}"
        );
        leave(&mut stand, peers);
        assert_eq!(stand.budget.bytes_used(), 0, "seed {seed}");
    }
}

#[test]
fn the_budget_is_never_exceeded_and_those_beyond_it_are_served_all_the_same() {
    let bytes_max = 1_000_000;
    let mut stand = stand(7, Compression::Takeover { bytes_max });
    let mut peers = open(&mut stand, "/echo", &[Some(TAKEOVER); 40]);
    let mut most = 0;
    for number in 0..5 {
        for peer in &mut peers {
            peer.say(Message::Text(&text(number)));
        }
        for _ in 0..200 {
            stand.turn(&mut peers);
            most = most.max(stand.budget.bytes_used());
        }
    }
    stand.until(&mut peers, "all echoes", |_, peers| {
        peers.iter().all(|p| p.heard.len() == 5)
    });
    assert!(most > bytes_max / 2 && most <= bytes_max, "{most} bytes");
    leave(&mut stand, peers);
    assert_eq!(stand.budget.bytes_used(), 0);
}

#[test]
fn a_deflater_that_is_not_used_is_dropped_and_comes_back() {
    let mut stand = stand(8, Compression::Takeover { bytes_max: 1 << 30 });
    let mut peers = open(&mut stand, "/echo", &[Some(TAKEOVER)]);
    let held = stand.budget.bytes_used();
    for round in 1..4 {
        peers[0].say(Message::Text(&text(3)));
        stand.until(&mut peers, "the echo", |_, peers| {
            peers[0].heard.len() == round
        });
        assert!(stand.budget.bytes_used() > held);
        stand.world.advance(Duration::from_secs(100));
        stand.until(&mut peers, "it is dropped", |stand, _| {
            stand.world.advance(Duration::from_secs(20));
            stand.budget.bytes_used() == held
        });
    }
    leave(&mut stand, peers);
}

#[test]
fn a_bomb_is_refused_and_the_next_peer_is_served() {
    let mut stand = stand(9, Compression::Shared);
    let mut peers = open(&mut stand, "/echo", &[Some(DeflatePolicy::SHARED); 2]);
    let zeros = vec![0; 10_000_000];
    peers[0].say(Message::Binary(&zeros));
    stand.until(&mut peers, "it is closed", |_, peers| {
        peers[0].close_code.is_some()
    });
    assert_eq!(peers[0].close_code, Some(Some(CloseCode::TOO_BIG)));
    peers[1].say(Message::Text(&text(2)));
    stand.until(&mut peers, "the echo", |_, peers| peers[1].heard.len() == 1);
    assert_eq!(peers[1].heard, [text(2).into_bytes()]);
}
