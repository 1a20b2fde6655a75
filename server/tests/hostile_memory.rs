//! What one hostile socket pins of the server's memory: never more than its message limit and
//! 256 KiB, whatever it says and however little it reads.

mod support;

use std::time::Duration;

use support::client::Client;
use support::deflate::{self, Contexts, OFFER, RSV1, deflated, noise};
use support::server::Server;
use support::skip;
use support::stage::Stage;
use support::wire::{self, BINARY, CONTINUATION, FIN, Length, PING, TEXT};

/// How many of one kind there are at once.
const CROWD: usize = 20;

const KIB: usize = 1024;

/// The largest message unless a test says otherwise.
const LIMIT: usize = 64 * KIB;

/// What a socket may pin beside its message.
const BESIDE: usize = 256 * KIB;

/// How long a write waits before the server counts as not reading.
const STUCK: Duration = Duration::from_millis(100);

/// No deadline ends what is measured.
const NO_HURRY: [&str; 8] = [
    "--handshake-timeout",
    "1h",
    "--message-timeout",
    "1h",
    "--send-timeout",
    "1h",
    "--shards",
    "1",
];

/// A server on one shard that waits for everybody.
#[track_caller]
fn patient(options: &[&str]) -> Stage {
    Stage::around(Server::with(&[&NO_HURRY, options].concat()))
}

/// Expects that no socket of a kind pins more than `pinned_max` bytes.
///
/// A first crowd does the same and stays, so that what the shard keeps for itself, once and for
/// all, is there before memory is looked at, and nothing is free that a second crowd could use.
#[track_caller]
fn assert_pins(
    kind: &str,
    mut stage: Stage,
    pinned_max: usize,
    make: impl Fn(&Server, usize) -> Client,
) {
    let crowd = |from: usize| -> Vec<Client> {
        let crowd = (from..from + CROWD)
            .map(|index| make(&stage.server, index))
            .collect();
        stage.server.until_quiet();
        crowd
    };
    let first = crowd(0);
    let before = stage.server.process().resident_exactly();
    let second = crowd(CROWD);
    let grown = stage
        .server
        .process()
        .resident_exactly()
        .saturating_sub(before);
    report(kind, grown / CROWD, pinned_max);
    drop((first, second));
    stage.is_unharmed();
}

/// Prints a row of the table, and judges it.
#[track_caller]
fn report(kind: &str, pinned: usize, pinned_max: usize) {
    skip::note(&format!(
        "| {kind} | {:.1} KiB a socket | at most {} KiB |",
        f64::from(u32::try_from(pinned).expect("far below 4 GiB")) / 1024.0,
        pinned_max / KIB
    ));
    assert!(
        pinned <= pinned_max,
        "{kind}: {pinned} bytes a socket, where {pinned_max} are allowed"
    );
}

fn open(server: &Server) -> Client {
    server.open("/echo")
}

fn narrow(server: &Server) -> Client {
    Client::connect_narrow(server.public, 4096)
}

#[test]
fn a_head_that_never_ends_pins_little() {
    assert_pins(
        "a request head that never ends",
        patient(&[]),
        LIMIT + BESIDE,
        |server, _| {
            let mut client = server.connect();
            let head = wire::upgrade("/echo", &[&format!("X-Long: {}", "a".repeat(7_500))]);
            // In pieces, so that it has to be kept from one to the next.
            for piece in head.as_bytes()[..head.len() - 4].chunks(500) {
                client.send(piece);
            }
            client
        },
    );
}

#[test]
fn a_message_held_open_pins_what_has_arrived() {
    assert_pins(
        "a message held open, one byte short",
        patient(&[]),
        LIMIT + BESIDE,
        |server, _| {
            let mut client = open(server);
            client.send(&wire::frame(BINARY & !FIN, &vec![7; LIMIT - 1]));
            client
        },
    );
}

#[test]
fn a_frame_half_sent_pins_what_has_arrived() {
    assert_pins(
        "a frame half sent",
        patient(&[]),
        LIMIT + BESIDE,
        |server, _| {
            let mut client = open(server);
            client.send(&wire::head(BINARY, Length::SixtyFour, LIMIT as u64));
            client.send(&vec![7; LIMIT / 2]);
            client
        },
    );
}

#[test]
fn a_large_frame_half_sent_pins_what_has_arrived() {
    const LARGE: usize = 1 << 20;
    let stage = patient(&["--max-message", "1MiB"]);
    assert_pins(
        "1 MiB, of which half is sent",
        stage,
        LARGE + BESIDE,
        |server, _| {
            let mut client = open(server);
            client.send(&wire::head(BINARY, Length::SixtyFour, LARGE as u64));
            client.send(&vec![7; LARGE / 2]);
            client
        },
    );
    let stage = patient(&["--max-message", "1MiB"]);
    assert_pins(
        "1 MiB, of which one byte is missing",
        stage,
        LARGE + BESIDE,
        |server, _| {
            let mut client = open(server);
            client.send(&wire::head(BINARY, Length::SixtyFour, LARGE as u64));
            client.send(&vec![7; LARGE - 1]);
            client
        },
    );
}

#[test]
fn tiny_fragments_held_open_pin_what_has_arrived() {
    let mut bytes = wire::frame(BINARY & !FIN, b"a");
    for _ in 1..65_535 {
        bytes.extend(wire::frame(CONTINUATION, b"a"));
    }
    assert_pins(
        "65,535 fragments of one byte, held open",
        patient(&[]),
        LIMIT + BESIDE,
        |server, _| {
            let mut client = open(server);
            client.send(&bytes);
            client
        },
    );
}

#[test]
fn a_compressed_message_held_open_pins_what_has_arrived() {
    for tier in ["shared", "takeover"] {
        let kind = format!("a compressed message held open, tier {tier}");
        assert_pins(
            &kind,
            patient(&["--compression", tier]),
            LIMIT + BESIDE,
            |server, index| {
                let mut client = Client::open_deflated(server.public, "/echo");
                let compressed = deflated(&noise(index as u64 + 1, LIMIT));
                client.send(&wire::frame(
                    (BINARY & !FIN) | RSV1,
                    &compressed[..LIMIT - 1],
                ));
                client
            },
        );
    }
}

#[test]
fn a_bomb_pins_nothing_once_it_is_refused() {
    let bomb = wire::frame(BINARY | RSV1, &deflated(&vec![0; 60 << 20]));
    for tier in ["shared", "takeover"] {
        let kind = format!("a bomb of 60 MiB, tier {tier}");
        assert_pins(
            &kind,
            patient(&["--compression", tier]),
            LIMIT + BESIDE,
            |server, _| {
                let mut client = Client::open_deflated(server.public, "/echo");
                let _ = client.try_send(&bomb);
                assert_eq!(client.close_code(), 1009);
                client
            },
        );
    }
}

#[test]
fn an_echo_client_that_never_reads_pins_its_outbox() {
    for size in [60_000, 1_000, 0] {
        let count = (120_000 / (size + 1)).clamp(1, 10_000);
        let piece = wire::frame(BINARY, &vec![7; size]).repeat(count);
        let kind = format!("echoes of {size} bytes that are never read");
        assert_pins(&kind, patient(&[]), LIMIT + BESIDE, |server, _| {
            let mut client = narrow(server).upgraded("/echo");
            let sent = client.flood(&piece, 1 << 28, STUCK);
            assert!(sent < 1 << 28, "the server read everything");
            client
        });
    }
}

#[test]
fn a_ping_flood_without_reading_pins_one_pong() {
    let piece = wire::frame(PING, &[b'p'; 125]).repeat(500);
    assert_pins(
        "pings whose pongs are never read",
        patient(&[]),
        64 * KIB,
        |server, _| {
            let mut client = narrow(server).upgraded("/echo");
            client.flood(&piece, 16 << 20, STUCK);
            client
        },
    );
}

#[test]
fn a_speaker_that_never_reads_its_own_room_pins_its_outbox() {
    for size in [30_000, 200] {
        let piece = wire::frame(TEXT, &vec![b'z'; size]).repeat(60_000 / size);
        let kind = format!("a room of one's own with messages of {size} bytes, never read");
        assert_pins(&kind, patient(&[]), LIMIT + BESIDE, |server, index| {
            let mut client = narrow(server).upgraded(&format!("/ws/own-{index}"));
            let sent = client.flood(&piece, 1 << 28, STUCK);
            assert!(sent < 1 << 28, "the server read everything");
            client
        });
    }
}

/// The most that subscribers who never read pin before they are dropped, each in a topic of its
/// own: in one topic for all they would share what waits.
#[test]
fn a_subscriber_that_never_reads_pins_its_outbox_until_it_is_dropped() {
    for size in [10_000, 200] {
        let mut stage = patient(&[]);
        let topic = |index: usize| format!("/ws/loud-{index}");
        let mut speakers: Vec<Client> = (0..CROWD)
            .map(|index| stage.server.open(&topic(index)))
            .collect();
        let said = "x".repeat(size);
        let frames = wire::frame(TEXT, said.as_bytes()).repeat(20_000 / size);
        let speak = |speakers: &mut Vec<Client>| {
            for speaker in speakers {
                speaker.send(&frames);
                for _ in 0..20_000 / size {
                    speaker.hears(&said);
                }
            }
        };
        // What the shard keeps for itself is there before memory is looked at.
        (0..10).for_each(|_| speak(&mut speakers));
        let before = stage.server.process().resident_exactly();
        let deaf: Vec<Client> = (0..CROWD)
            .map(|index| narrow(&stage.server).upgraded(&topic(index)))
            .collect();
        let mut peak = 0;
        support::clock::until("all who never read are dropped", || {
            speak(&mut speakers);
            let grown = stage
                .server
                .process()
                .resident_exactly()
                .saturating_sub(before);
            peak = peak.max(grown);
            let slow = [("reason", "slow_consumer")];
            let dropped = stage.server.metrics().sum("tidegate_closes_total", &slow);
            (dropped == Some(CROWD as u64)).then_some(())
        });
        let kind = format!("a subscriber that never reads messages of {size} bytes");
        report(&kind, peak / CROWD, LIMIT + BESIDE);
        drop((deaf, speakers));
        stage.is_unharmed();
    }
}

/// So many bytes of messages whose echoes are a hundred times as long: their first half repeats
/// what lies further back than the server's window reaches, and not further than the client's.
fn amplifying(client: &Client, seed: u64, size: usize) -> Vec<u8> {
    let extension = client.extension.as_deref().expect("it was offered");
    let mut contexts = Contexts::new();
    let mut bytes = Vec::new();
    let message = if extension.contains("server_max_window_bits=9") {
        noise(seed, 300).repeat(LIMIT / 300)
    } else {
        assert!(
            !extension.contains("client_no_context_takeover"),
            "{extension}"
        );
        noise(seed, LIMIT / 2 - 1_000).repeat(2)
    };
    while bytes.len() < size {
        if extension.contains("client_no_context_takeover") {
            contexts.forget_sent();
        }
        bytes.extend(wire::frame(BINARY | RSV1, &contexts.deflate(&message)));
    }
    bytes
}

#[track_caller]
fn assert_amplified_echoes_pin_little(tier: &str, offer: &str) {
    let kind = format!("echoes a hundred times their request, never read, tier {tier}");
    let stage = patient(&["--compression", tier]);
    assert_pins(&kind, stage, LIMIT + BESIDE, |server, index| {
        let mut client = narrow(server).upgraded_with("/echo", &[offer]);
        let bytes = amplifying(&client, index as u64 + 1, 512 * KIB);
        client.flood(&bytes, bytes.len(), STUCK);
        client
    });
}

#[test]
fn echoes_that_grow_by_a_hundred_pin_the_outbox_in_the_shared_tier() {
    assert_amplified_echoes_pin_little("shared", &format!("{OFFER}; server_max_window_bits=9"));
}

#[test]
fn echoes_that_grow_by_a_hundred_pin_the_outbox_in_the_takeover_tier() {
    assert_amplified_echoes_pin_little("takeover", OFFER);
}

#[test]
fn bombs_said_to_a_room_do_not_add_up() {
    let mut stage = patient(&[]);
    let room =
        |index: usize| Client::open_deflated(stage.server.public, &format!("/ws/bombs-{index}"));
    let mut crowd: Vec<Client> = (0..CROWD).map(room).collect();
    let bombs = deflate::frame(BINARY, &vec![0; LIMIT]).repeat(600);
    assert!(bombs.len() < LIMIT, "{}: one read", bombs.len());
    let before = stage.server.process().resident_peak();
    for client in &mut crowd {
        client.send(&bombs);
    }
    for client in &mut crowd {
        let mut contexts = Contexts::new();
        for _ in 0..600 {
            client.expects_inflated(&mut contexts, BINARY, &vec![0; LIMIT]);
        }
    }
    let grown = stage
        .server
        .process()
        .resident_peak()
        .saturating_sub(before);
    report(
        "600 bombs in one read, said to a room, at the peak",
        grown / CROWD,
        LIMIT + BESIDE,
    );
    drop(crowd);
    stage.is_unharmed();
}
