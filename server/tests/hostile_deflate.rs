//! Compressed messages that no honest client sends: each ends its own connection, in both tiers
//! that compress; and honest ones that leave the windows alike.

mod support;

use support::client::Client;
use support::deflate::{self, Contexts, OFFER, RSV1, deflated, noise};
use support::server::Server;
use support::skip;
use support::stage::Stage;
use support::wire::{self, BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT};

const TIERS: [&str; 2] = ["shared", "takeover"];
const LIMIT: usize = 64 * 1024;

#[track_caller]
fn stage(tier: &str) -> Stage {
    Stage::around(Server::with(&["--compression", tier]))
}

/// What is sent after the handshake, and the close code that answers it.
struct Case {
    name: String,
    bytes: Vec<u8>,
    code: u16,
}

fn case(name: impl Into<String>, bytes: Vec<u8>, code: u16) -> Case {
    Case {
        name: name.into(),
        bytes,
        code,
    }
}

/// Sends each on connections of their own, in both tiers that compress.
#[track_caller]
fn play(cases: &[Case]) {
    for tier in TIERS {
        let mut stage = stage(tier);
        for Case { name, bytes, code } in cases {
            for path in ["/echo", "/ws/room"] {
                let mut client = Client::open_deflated(stage.server.public, path);
                // The server may close before it has read everything.
                let _ = client.try_send(bytes);
                assert_eq!(client.close_code(), *code, "{name} on {path}, {tier}");
                client.is_ended();
            }
        }
        stage.is_unharmed();
    }
}

#[test]
fn bombs_are_closed_with_1009_whatever_their_size() {
    let mut cases = Vec::new();
    for size in [LIMIT + 1, 2 * LIMIT, 16 * LIMIT, 1000 * LIMIT] {
        for (kind, first) in [("text", TEXT), ("binary", BINARY)] {
            let bomb = deflated(&vec![b'a'; size]);
            assert!(
                bomb.len() <= LIMIT,
                "it gets past the limit of what arrives"
            );
            cases.push(case(
                format!("{size} bytes of {kind}"),
                wire::frame(first | RSV1, &bomb),
                1009,
            ));
            for fragment in [1, 7, 1000] {
                let name = format!("{size} bytes of {kind} in fragments of {fragment}");
                cases.push(case(name, deflate::fragments(first, &bomb, fragment), 1009));
            }
        }
    }
    // Many short messages before it, and the bomb behind them in the same read.
    let mut behind = deflate::frame(TEXT, b"a good one").repeat(20);
    behind.extend(deflate::frame(TEXT, &[b'a'; LIMIT + 1]));
    cases.push(case("behind good ones", behind, 1009));
    // 1:1032, the most that deflate can do, in one frame of a limit's size.
    let densest = deflated(&vec![0; 60 << 20]);
    assert!(
        (55_000..=LIMIT).contains(&densest.len()),
        "{}",
        densest.len()
    );
    cases.push(case(
        "60 MiB in one frame",
        wire::frame(BINARY | RSV1, &densest),
        1009,
    ));
    play(&cases);
}

#[test]
fn a_bomb_inside_a_bomb_is_only_a_message() {
    let inner = deflated(&vec![0; 40 << 20]);
    assert!((30_000..=LIMIT).contains(&inner.len()), "{}", inner.len());
    let outer = deflated(&inner);
    assert!(
        outer.len() * 20 < inner.len(),
        "{} of {}",
        outer.len(),
        inner.len()
    );
    for tier in TIERS {
        let mut stage = stage(tier);
        let mut client = Client::open_deflated(stage.server.public, "/echo");
        let mut contexts = Contexts::new();
        client.send(&wire::frame(BINARY | RSV1, &outer));
        client.expects_inflated(&mut contexts, BINARY, &inner);
        client.closes();
        stage.is_unharmed();
    }
}

#[test]
fn the_largest_message_comes_through_compressed_and_in_fragments() {
    for tier in TIERS {
        let mut stage = stage(tier);
        let mut client = Client::open_deflated(stage.server.public, "/echo");
        let mut receiver = Contexts::new();
        for payload in [
            vec![b'a'; LIMIT],
            noise(7, LIMIT),
            Vec::new(),
            vec![b'b'; LIMIT - 1],
        ] {
            let compressed = deflated(&payload);
            client.send(&wire::frame(BINARY | RSV1, &compressed));
            client.expects_inflated(&mut receiver, BINARY, &payload);
            client.send(&deflate::fragments(BINARY, &compressed, 3));
            client.expects_inflated(&mut receiver, BINARY, &payload);
        }
        client.closes();
        stage.is_unharmed();
    }
}

#[test]
fn corrupt_truncated_and_empty_data_is_closed_with_1007() {
    let good = deflated(&[b"abc".repeat(50), noise(1, 500)].concat());
    let mut flipped = good.clone();
    flipped[0] ^= 0b110;
    let data: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("a block of the type that is none", vec![0b111]),
        ("half of it", good[..good.len() / 2].to_vec()),
        ("all but the last byte", good[..good.len() - 1].to_vec()),
        ("the first byte", good[..1].to_vec()),
        ("another type of block", flipped),
        (
            "a length that is not its complement",
            vec![
                0x00, 0x05, 0x00, 0xFA, 0xFE, b'h', b'e', b'l', b'l', b'o', 0x00,
            ],
        ),
        (
            "a stored block that ends early",
            vec![0x00, 0xFF, 0xFF, 0x00, 0x00, b'a'],
        ),
        ("a distance before the beginning", vec![0x02, 0x02, 0x00]),
        (
            "codes that are too many",
            vec![0xFC, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        ),
        (
            "surplus bytes",
            [good.clone(), vec![0x61, 0x62, 0x63]].concat(),
        ),
        (
            "the tail that is not sent",
            [good, vec![0x00, 0x00, 0xFF, 0xFF, 0x55]].concat(),
        ),
        ("ones", vec![0xFF; 1000]),
    ];
    let mut cases = Vec::new();
    for (name, bytes) in &data {
        cases.push(case(*name, wire::frame(BINARY | RSV1, bytes), 1007));
        cases.push(case(
            format!("{name}, as text"),
            wire::frame(TEXT | RSV1, bytes),
            1007,
        ));
        if !bytes.is_empty() {
            let name = format!("{name}, byte by byte");
            cases.push(case(name, deflate::fragments(BINARY, bytes, 1), 1007));
        }
    }
    let mut empty = wire::frame((BINARY & !FIN) | RSV1, b"");
    empty.extend(wire::frame(CONTINUATION | FIN, b""));
    cases.push(case("nothing in two fragments", empty, 1007));
    let wrong: &[u8] = &[
        b"a long beginning that is good, then ".as_slice(),
        &[0xC3, 0x28],
    ]
    .concat();
    cases.push(case(
        "text that is not UTF-8",
        deflate::frame(TEXT, wrong),
        1007,
    ));
    cases.push(case(
        "a cut character",
        deflate::frame(TEXT, &[b'a', 0xE6, 0xB0]),
        1007,
    ));
    play(&cases);
}

#[test]
fn random_data_is_inflated_or_refused() {
    const SEED: u64 = 20_261_121;
    skip::note(&format!("random_data_is_inflated_or_refused: seed {SEED}"));
    for tier in TIERS {
        let mut stage = stage(tier);
        for round in 0..300 {
            let mut bytes = noise(SEED + round, 1 + usize::try_from(round).unwrap() * 3);
            // A type of block that may begin well; half of the rounds are stored or coded.
            bytes[0] = (bytes[0] & !0b111)
                | [0b000, 0b010, 0b100, 0b101][usize::try_from(round % 4).unwrap()];
            let mut client = Client::open_deflated(stage.server.public, "/echo");
            client.send(&wire::frame(BINARY | RSV1, &bytes));
            let frame = client.frame();
            let known = frame.first & !RSV1 == BINARY
                || [Some(1007), Some(1009)].contains(&frame.close_code());
            assert!(known, "round {round} of seed {SEED}: {frame:?}");
        }
        stage.is_unharmed();
    }
}

#[test]
fn the_bit_of_compression_where_it_must_not_be_is_closed_with_1002() {
    let compressed = deflated(b"some text, some more text");
    let mut on_continuation = wire::frame((TEXT & !FIN) | RSV1, &compressed[..5]);
    on_continuation.extend(wire::frame(CONTINUATION | FIN | RSV1, &compressed[5..]));
    let mut on_plain = wire::frame(TEXT & !FIN, b"some ");
    on_plain.extend(wire::frame(CONTINUATION | FIN | RSV1, b"text"));
    let mut cases = vec![
        case("on the last continuation", on_continuation, 1002),
        case("on the continuation of a plain message", on_plain, 1002),
        case(
            "on a stray continuation",
            wire::frame(CONTINUATION | FIN | RSV1, b""),
            1002,
        ),
        case("on a ping", wire::frame(PING | RSV1, b"a"), 1002),
        case("on a pong", wire::frame(PONG | RSV1, b"a"), 1002),
        case("on a close", wire::frame(CLOSE | RSV1, &[3, 0xE8]), 1002),
    ];
    for bit in [0x20, 0x10] {
        cases.push(case("another bit", wire::frame(TEXT | bit, b"a"), 1002));
        cases.push(case(
            "another bit too",
            wire::frame(TEXT | RSV1 | bit, &compressed),
            1002,
        ));
    }
    play(&cases);
}

#[test]
fn the_bit_of_compression_without_an_agreement_is_closed_with_1002() {
    let frame = deflate::frame(TEXT, b"some text");
    let safari = "User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 \
                  (KHTML, like Gecko) Version/15.1 Safari/605.1.15";
    let none: &[&str] = &[];
    for (tier, lines) in [
        ("off", &[OFFER] as &[&str]),
        ("shared", none),
        ("takeover", none),
        (
            "shared",
            &["Sec-WebSocket-Extensions: permessage-deflate; unknown"],
        ),
        ("shared", &[OFFER, safari]),
        ("takeover", &[OFFER, safari]),
    ] {
        let mut stage = stage(tier);
        let mut client = stage.server.connect().upgraded_with("/echo", lines);
        assert_eq!(client.extension, None, "{tier} {lines:?}");
        client.echoes("as it is");
        client.send(&frame);
        assert_eq!(client.close_code(), 1002, "{tier} {lines:?}");
        client.is_ended();
        drop(client);
        stage.is_unharmed();
    }
}

/// Messages of every sort, one after the other: those that compress, those that do not, those
/// that are too short to be tried, and empty ones.
fn mixture() -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for (round, size) in (0..12_u64).zip((200..).step_by(700)) {
        let line =
            format!("{{\"room\":\"lobby\",\"round\":{round},\"text\":\"one two three four\"}}");
        messages.push(line.repeat(4).into_bytes());
        messages.push(noise(round, size));
        messages.push(b"short".to_vec());
        messages.push(line.repeat(900).into_bytes());
        messages.push(noise(round + 100, LIMIT));
        messages.push(Vec::new());
        // What the window has seen already, though it did not compress then.
        messages.push(noise(round, 150));
    }
    messages
}

// An incompressible message that was fed to the window and then sent raw would leave the two
// windows different, and every message behind it garbage.
#[test]
fn incompressible_messages_leave_both_windows_alike() {
    for tier in TIERS {
        let mut stage = stage(tier);
        let mut client = Client::open_deflated(stage.server.public, "/echo");
        let takeover = !client
            .extension
            .as_deref()
            .unwrap()
            .contains("client_no_context");
        assert_eq!(takeover, tier == "takeover");
        let mut contexts = Contexts::new();
        for (index, message) in mixture().iter().enumerate() {
            if takeover && index % 5 != 4 {
                client.echoes_deflated(&mut contexts, BINARY, message);
            } else if index % 2 == 0 {
                client.send(&wire::frame(BINARY, message));
                client.expects_inflated(&mut contexts, BINARY, message);
            } else {
                client.send(&deflate::frame(BINARY, message));
                // It was compressed on its own, and has moved the server's window on.
                contexts.forget_sent();
                client.expects_inflated(&mut contexts, BINARY, message);
            }
        }
        client.closes();
        stage.is_unharmed();
    }
}

#[test]
fn publications_between_echoes_of_ones_own_leave_the_windows_alike() {
    let mut stage = stage("takeover");
    let mut plain = stage.server.open("/ws/mixed");
    let mut compressing = Client::open_deflated(stage.server.public, "/ws/mixed");
    let mut contexts = Contexts::new();
    for (index, message) in mixture().iter().enumerate() {
        if index % 3 == 0 {
            plain.binary(message);
        } else {
            let compressed = contexts.deflate(message);
            compressing.send(&wire::frame(BINARY | RSV1, &compressed));
        }
        plain.expects(BINARY, message);
        compressing.expects_inflated(&mut contexts, BINARY, message);
    }
    compressing.closes();
    plain.closes();
    stage.is_unharmed();
}
