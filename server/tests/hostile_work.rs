//! What hostile sockets make the server do: no more for a byte than honest ones, nothing while
//! they are silent, and nothing of it is left when they have gone.

mod support;

use std::time::Duration;

use support::client::Client;
use support::clock;
use support::deflate::{self, RSV1, deflated};
use support::process::TICKS_PER_SECOND;
use support::server::Server;
use support::skip;
use support::stage::Stage;
use support::wire::{self, BINARY, CONTINUATION, FIN, Length, PING, TEXT};

// CVE-2026-65623 and others: work that grows with the square of the fragments. Where each of
// two million touched those before it, the last would come hours or minutes later, and the
// client's patience would be over; as it is, they take the server well under a second.
#[test]
fn two_million_fragments_are_a_message_like_any_other() {
    const COUNT: usize = 2_000_000;
    let mut stage = Stage::around(Server::with(&["--shards", "1", "--max-message", "16MiB"]));
    for (name, first, payload) in [
        ("one byte", TEXT, b"a".as_slice()),
        ("no byte", TEXT, b""),
        ("one compressed byte", BINARY | RSV1, b"a"),
    ] {
        let mut client = Client::open_deflated(stage.server.public, "/echo");
        let before = stage.server.process().cpu_exactly();
        client.send(&wire::frame(first & !FIN, b"a"));
        client.send(&wire::frame(CONTINUATION, payload).repeat(COUNT));
        client.hears_nothing_more();
        let spent = stage.server.process().cpu_exactly().saturating_sub(before);
        skip::note(&format!("{COUNT} fragments of {name}: {spent:?} of CPU"));
    }
    stage.is_unharmed();
}

#[test]
fn hostile_sockets_that_are_silent_cost_no_cpu() {
    let hour = [
        "--handshake-timeout",
        "1h",
        "--message-timeout",
        "1h",
        "--send-timeout",
        "1h",
    ];
    let mut stage = Stage::around(Server::with(&hour));
    let mut crowd = Vec::new();
    for _ in 0..8 {
        let mut half_head = stage.server.connect();
        half_head.send(b"GET /echo HT");
        let mut half_frame = stage.server.open("/echo");
        half_frame.send(&wire::head(BINARY, Length::Sixteen, 60_000));
        let mut held = Client::open_deflated(stage.server.public, "/ws/room");
        held.send(&wire::frame(
            (BINARY & !FIN) | RSV1,
            &deflated(b"held")[..3],
        ));
        let mut deaf = Client::connect_narrow(stage.server.public, 4096).upgraded("/echo");
        deaf.flood(
            &wire::frame(BINARY, &[7; 60_000]),
            1 << 28,
            Duration::from_millis(50),
        );
        // What it has not read is in the way of the server's end of the stream.
        let mut deaf_and_ended =
            Client::connect_narrow(stage.server.public, 4096).upgraded("/echo");
        deaf_and_ended.flood(
            &wire::frame(BINARY, &[7; 60_000]),
            1 << 28,
            Duration::from_millis(50),
        );
        deaf_and_ended.half_close();
        let mut pinging = Client::connect_narrow(stage.server.public, 4096).upgraded("/echo");
        pinging.flood(
            &wire::frame(PING, &[b'p'; 125]).repeat(500),
            8 << 20,
            Duration::from_millis(50),
        );
        crowd.extend([half_head, half_frame, held, deaf, deaf_and_ended, pinging]);
    }
    stage.server.until_quiet();
    let process = stage.server.process();
    let before = process.cpu_ticks();
    clock::let_pass(Duration::from_secs(1));
    let ticks = process.cpu_ticks() - before;
    // 2 % of a core, in ticks of 10 ms, and 1 more, since one may have been half over.
    let allowed = 2 * TICKS_PER_SECOND / 100 + 1;
    skip::note(&format!(
        "{} silent hostile sockets: {ticks} ticks of CPU in a second",
        crowd.len()
    ));
    assert!(ticks <= allowed, "{ticks} ticks of CPU for nothing");
    drop(crowd);
    stage.is_unharmed();
}

/// Pins what three kinds of hostile sockets can with messages of 1 MiB; returns the memory that
/// the server has meanwhile, and leaves.
#[track_caller]
fn attack(server: &Server) -> usize {
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut deaf = Client::connect_narrow(server.public, 4096).upgraded("/echo");
        deaf.flood(
            &wire::frame(BINARY, &[7; 60_000]),
            1 << 28,
            Duration::from_millis(50),
        );
        let mut held = server.open("/echo");
        held.send(&wire::head(BINARY, Length::SixtyFour, 1 << 20));
        held.send(&vec![7; (1 << 20) - 1]);
        let mut bomb = Client::open_deflated(server.public, "/echo");
        bomb.send(&deflate::frame(BINARY, &vec![0; (1 << 20) + 1]));
        assert_eq!(bomb.close_code(), 1009);
        crowd.extend([deaf, held, bomb]);
    }
    server.until_quiet();
    server.process().resident_exactly()
}

const CROWD: usize = 20;
const MIB: usize = 1 << 20;

#[test]
fn memory_comes_back_when_hostile_sockets_have_gone() {
    let options = ["--shards", "1", "--max-message", "1MiB"];
    let mut stage = Stage::around(Server::that_gives_back(&options));
    let quiet = stage.server.process().resident_exactly();
    let during = attack(&stage.server);
    assert!(
        during > quiet + CROWD * MIB,
        "it was an attack: {quiet}, then {during}"
    );
    stage.is_unharmed();
    let left = stage.server.process().resident_exactly();
    skip::note(&format!(
        "memory before, during and after {} hostile sockets: {} KiB, {} KiB, {} KiB",
        3 * CROWD,
        quiet / 1024,
        during / 1024,
        left / 1024
    ));
    // What the shard keeps for large messages, a few buffers of at most 1 MiB.
    assert!(
        left < quiet + 4 * MIB,
        "{left} bytes are left, of {during}; {quiet} before"
    );
}

// What the allocator keeps for later is used later: nothing adds up.
#[test]
fn a_second_attack_finds_room_where_the_first_was() {
    let options = ["--shards", "1", "--max-message", "1MiB"];
    let mut stage = Stage::around(Server::with(&options));
    let first = attack(&stage.server);
    stage.is_unharmed();
    let mut later = 0;
    for _ in 0..3 {
        later = attack(&stage.server);
        stage.is_unharmed();
    }
    skip::note(&format!(
        "memory in the first attack {} KiB, in the fourth {} KiB",
        first / 1024,
        later / 1024
    ));
    assert!(
        later < first + first / 2,
        "{first} bytes in the first attack, {later} in the fourth"
    );
}
