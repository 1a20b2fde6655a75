//! Frames that RFC 6455 forbids: each ends its own connection with the right code, as early
//! as it can be known, and nothing else.

mod support;

use support::stage::Stage;
use support::wire::{self, BINARY, CLOSE, CONTINUATION, FIN, Length, PING, PONG, TEXT};

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

/// Sends each on a connection of its own; the client then waits without closing.
#[track_caller]
fn play(cases: &[Case]) {
    let mut stage = Stage::set();
    for Case { name, bytes, code } in cases {
        for path in ["/echo", "/ws/room"] {
            let mut client = stage.server.open(path);
            // The server may close before it has read everything.
            let _ = client.try_send(bytes);
            assert_eq!(client.close_code(), *code, "{name} on {path}");
            client.is_ended();
        }
    }
    stage.is_unharmed();
}

#[test]
fn frames_that_break_the_protocol_are_closed_with_1002() {
    let mut cases = vec![
        case("not masked", wire::unmasked(TEXT, b"hello"), 1002),
        case("not masked and empty", wire::unmasked(BINARY, b""), 1002),
        case("an unmasked ping", wire::unmasked(PING, b""), 1002),
        case("an unmasked close", wire::unmasked(CLOSE, &[3, 0xE8]), 1002),
        case(
            "16 bits for 125",
            wire::head(TEXT, Length::Sixteen, 125),
            1002,
        ),
        case(
            "16 bits for none",
            wire::head(TEXT, Length::Sixteen, 0),
            1002,
        ),
        case(
            "64 bits for 65,535",
            wire::head(BINARY, Length::SixtyFour, 65_535),
            1002,
        ),
        case(
            "64 bits for none",
            wire::head(BINARY, Length::SixtyFour, 0),
            1002,
        ),
        case("a ping of 126 bytes", wire::frame(PING, &[b'a'; 126]), 1002),
        case("a pong of 126 bytes", wire::frame(PONG, &[b'a'; 126]), 1002),
        case(
            "a close of 126 bytes",
            wire::close(1000, &[b'a'; 124]),
            1002,
        ),
        case(
            "a ping of 64 bits",
            wire::head(PING, Length::SixtyFour, 1 << 40),
            1002,
        ),
        case("half a ping", wire::frame(PING & !FIN, b"a"), 1002),
        case("half a close", wire::frame(CLOSE & !FIN, b""), 1002),
        case(
            "a stray continuation",
            wire::frame(CONTINUATION, b"a"),
            1002,
        ),
        case(
            "a stray last continuation",
            wire::frame(CONTINUATION | FIN, b"a"),
            1002,
        ),
    ];
    for bit in [0x40, 0x20, 0x10, 0x70] {
        for first in [TEXT, BINARY, PING, CLOSE] {
            let name = format!("reserved bit {bit:#x} on {first:#x}");
            cases.push(case(name, wire::frame(first | bit, b""), 1002));
        }
    }
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        cases.push(case(
            format!("opcode {opcode:#x}"),
            wire::frame(FIN | opcode, b""),
            1002,
        ));
        cases.push(case(
            format!("half of {opcode:#x}"),
            wire::frame(opcode, b"a"),
            1002,
        ));
    }
    play(&cases);
}

#[test]
fn a_new_message_inside_another_is_closed_with_1002() {
    let mut cases = Vec::new();
    for first in [TEXT, BINARY, TEXT & !FIN, BINARY & !FIN] {
        let mut bytes = wire::frame(TEXT & !FIN, b"begun");
        bytes.extend(wire::frame(CONTINUATION, b"more"));
        bytes.extend(wire::frame(first, b"another"));
        cases.push(case(format!("{first:#x} inside a message"), bytes, 1002));
    }
    let mut bytes = wire::frame(TEXT & !FIN, b"begun");
    bytes.extend(wire::frame(CONTINUATION | FIN, b"done"));
    bytes.extend(wire::frame(CONTINUATION | FIN, b"too much"));
    cases.push(case("a continuation after the last", bytes, 1002));
    play(&cases);
}

#[test]
fn declared_lengths_beyond_any_message_are_closed_at_the_header() {
    let mut stage = Stage::set();
    let before = stage.server.process().resident();
    let lengths: [(u64, &[u16]); 8] = [
        (65_537, &[1009]),
        (1 << 31, &[1009]),
        (1 << 32, &[1009]),
        (1 << 40, &[1009]),
        ((1 << 63) - 1, &[1009]),
        (1 << 63, &[1002, 1009]),
        (u64::MAX - 13, &[1002, 1009]),
        (u64::MAX, &[1002, 1009]),
    ];
    for (length, codes) in lengths {
        for first in [TEXT, BINARY, TEXT & !FIN] {
            let mut client = stage.server.open("/echo");
            client.send(&wire::head(first, Length::SixtyFour, length));
            let code = client.close_code();
            assert!(
                codes.contains(&code),
                "{code} for {length} bytes in {first:#x}"
            );
            // Inside a message, where lengths are added up.
            let mut client = stage.server.open("/echo");
            client.send(&wire::frame(BINARY & !FIN, b"begun"));
            client.send(&wire::head(CONTINUATION | FIN, Length::SixtyFour, length));
            let code = client.close_code();
            assert!(codes.contains(&code), "{code} for {length} bytes more");
        }
    }
    let grown = stage.server.process().resident().saturating_sub(before);
    assert!(grown <= 1 << 20, "{grown} bytes of memory for 48 headers");
    stage.is_unharmed();
}

#[test]
fn announced_but_absent_bytes_take_no_memory() {
    let mut stage = Stage::around(support::server::Server::with(&["--max-message", "16MiB"]));
    let before = stage.server.process().resident();
    let mut announced: Vec<_> = (0..200).map(|_| stage.server.open("/echo")).collect();
    for client in &mut announced {
        // 3 GiB in all, if anybody believed it.
        client.send(&wire::head(BINARY, Length::SixtyFour, 16 << 20));
        client.send(b"only this");
    }
    for client in &mut announced {
        client.half_close();
        client.all();
    }
    let grown = stage.server.process().resident().saturating_sub(before);
    // A buffer may run one large receive, 64 KiB, ahead of what has arrived.
    let allowed = announced.len() * 128 * 1024;
    assert!(
        grown <= allowed,
        "{grown} bytes of memory for {} announcements",
        announced.len()
    );
    drop(announced);
    stage.is_unharmed();
}

#[test]
fn messages_over_the_limit_are_closed_with_1009() {
    let mut in_fragments = wire::frame(BINARY & !FIN, &[0; 60_000]);
    in_fragments.extend(wire::frame(CONTINUATION, &[0; 5_536]));
    // Exactly full; the next byte is too much, before the message has ended.
    in_fragments.extend(wire::frame(CONTINUATION, &[0; 1]));
    let mut text = wire::frame(TEXT & !FIN, "ä".repeat(32_768).as_bytes());
    text.extend(wire::frame(CONTINUATION | FIN, b"a"));
    play(&[
        case("in one frame", wire::frame(BINARY, &[0; 65_537]), 1009),
        case("in fragments", in_fragments, 1009),
        case("text in fragments", text, 1009),
    ]);
}

#[test]
fn text_that_is_not_utf8_is_closed_with_1007() {
    let broken: [&[u8]; 12] = [
        &[0xFF],
        &[0xC3, 0x28],
        &[0x80],
        &[0xC0, 0x80],
        &[0xE0, 0x80, 0x80],
        &[0xED, 0xA0, 0x80],
        &[0xF0, 0x80, 0x80, 0x80],
        &[0xF4, 0x90, 0x80, 0x80],
        &[0xF8, 0x88, 0x80, 0x80, 0x80],
        b"a long beginning that is good, then \xC3",
        &[0xE6, 0xB0],
        &[0xF0, 0x9F, 0x98],
    ];
    let mut cases = Vec::new();
    for bytes in broken {
        cases.push(case(format!("{bytes:x?}"), wire::frame(TEXT, bytes), 1007));
        let mut split = wire::frame(TEXT & !FIN, b"");
        for (index, byte) in bytes.iter().enumerate() {
            let last = if index + 1 == bytes.len() { FIN } else { 0 };
            split.extend(wire::frame(CONTINUATION | last, &[*byte]));
        }
        cases.push(case(format!("{bytes:x?} in fragments"), split, 1007));
        let mut reason = b"why ".to_vec();
        reason.extend(bytes);
        cases.push(case(
            format!("{bytes:x?} in a reason"),
            wire::close(1000, &reason),
            1007,
        ));
    }
    play(&cases);
}

#[test]
fn broken_text_is_closed_before_its_message_ends() {
    // The frame announces more than has come; what has come is already wrong.
    let mut in_frame = wire::frame(TEXT, &[0xC0; 100]);
    in_frame.truncate(50);
    // The message is not over, and may never be.
    let in_fragment = wire::frame(TEXT & !FIN, b"good, then \xFF");
    let mut across = wire::frame(TEXT & !FIN, b"good, then \xE6\xB0");
    across.extend(wire::frame(CONTINUATION, b"a"));
    play(&[
        case("inside a frame", in_frame, 1007),
        case("inside a fragment", in_fragment, 1007),
        case("across fragments", across, 1007),
    ]);
}

#[test]
fn closes_that_say_nonsense_are_closed_with_1002() {
    let mut cases = vec![case("one byte", wire::frame(CLOSE, &[3]), 1002)];
    for code in [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        cases.push(case(format!("code {code}"), wire::close(code, b""), 1002));
        cases.push(case(
            format!("code {code} with a reason"),
            wire::close(code, b"why"),
            1002,
        ));
    }
    play(&cases);
}

#[test]
fn closes_that_may_be_sent_come_back() {
    let mut stage = Stage::set();
    for code in (1000..=1003)
        .chain(1007..=1014)
        .chain([3000, 3999, 4000, 4999])
    {
        for reason in ["", "grüße"] {
            let mut client = stage.server.open("/echo");
            client.send(&wire::close(code, reason.as_bytes()));
            assert_eq!(client.close_code(), code);
            client.is_ended();
        }
    }
    let mut client = stage.server.open("/echo");
    client.send(&wire::frame(CLOSE, b""));
    let frame = client.frame();
    assert_eq!(frame.first, CLOSE);
    assert!(matches!(frame.close_code(), None | Some(1000)), "{frame:?}");
    client.is_ended();
    drop(client);
    stage.is_unharmed();
}

#[test]
fn what_comes_after_a_close_is_ignored() {
    let mut stage = Stage::set();
    let mut listener = stage.server.open("/ws/room");
    for rest in [
        wire::frame(TEXT, b"too late"),
        wire::close(1001, b""),
        wire::frame(PING, b"too late"),
        wire::unmasked(TEXT, b"and wrong"),
        wire::frame(TEXT, &[0xFF]),
        vec![0xFF; 10_000],
    ] {
        for path in ["/echo", "/ws/room"] {
            let mut client = stage.server.open(path);
            let mut bytes = wire::close(1000, b"");
            bytes.extend(&rest);
            client.send(&bytes);
            client.expects(CLOSE, &1000_u16.to_be_bytes());
            client.is_ended();
        }
    }
    listener.hears_nothing_more();
    drop(listener);
    stage.is_unharmed();
}

#[test]
fn what_came_before_the_fault_is_still_answered() {
    let mut stage = Stage::set();
    let mut client = stage.server.open("/echo");
    let mut bytes = wire::frame(TEXT, b"good");
    bytes.extend(wire::frame(BINARY, b"also good"));
    bytes.extend(wire::unmasked(TEXT, b"bad"));
    bytes.extend(wire::frame(TEXT, b"not heard"));
    client.send(&bytes);
    client.hears("good");
    client.hears_binary(b"also good");
    client.expects_close(1002);
    client.is_ended();
    drop(client);
    stage.is_unharmed();
}

#[test]
fn the_number_of_fragments_is_no_reason_to_refuse() {
    let mut stage = Stage::set();
    let mut client = stage.server.open("/echo");
    let mut bytes = wire::frame(TEXT & !FIN, b"");
    for _ in 0..65_536 {
        bytes.extend(wire::frame(CONTINUATION, b"a"));
    }
    for _ in 0..65_536 {
        bytes.extend(wire::frame(CONTINUATION, b""));
    }
    bytes.extend(wire::frame(CONTINUATION | FIN, b""));
    client.send(&bytes);
    client.hears(&"a".repeat(65_536));
    client.closes();
    stage.is_unharmed();
}
