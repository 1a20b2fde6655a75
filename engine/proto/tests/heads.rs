//! Heads of requests as hostile peers send them: refused early, with the right status, never a panic.

mod common;
mod laws;

use common::heads::*;
use laws::requests::a_request_is_judged_by_its_bytes_alone;
use laws::responses::a_response_is_judged_by_its_bytes_alone;
use proptest::prelude::*;
use tidegate_proto::HeadLimits;
use tidegate_proto::handshake::{HeadStatus, Refusal, read_request};

fn first_status(bytes: &[u8]) -> Result<HeadStatus<'_>, Refusal> {
    read_request(bytes, &HeadLimits::default())
}

/// The status of the refusal, and after how many bytes it was known.
fn refused_after(bytes: &[u8]) -> Option<(u16, usize)> {
    (0..=bytes.len()).find_map(|size| {
        let refusal = first_status(&bytes[..size]).err()?;
        Some((refusal.status, size))
    })
}

#[test]
fn a_good_head_is_partial_until_its_empty_line() {
    let bytes = good_with(&["Cookie: a=b"]);
    for size in 0..bytes.len() {
        let status = first_status(&bytes[..size]);
        assert!(matches!(status, Ok(HeadStatus::Partial)), "{size}");
    }
    let with_frame = [&bytes[..], b"\x81\x80\0\0\0\0"].concat();
    match first_status(&with_frame) {
        Ok(HeadStatus::Complete { size, request }) => {
            assert_eq!(size, bytes.len());
            assert_eq!((request.method(), request.version_minor()), ("GET", 1));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn other_protocols_are_refused_with_their_first_bytes() {
    let cases: [(&[u8], usize); 7] = [
        (b"\x16\x03\x01\x02\x00", 1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 4),
        (b"\r\nGET / HTTP/1.1\r\n", 1),
        (b" GET / HTTP/1.1\r\n", 1),
        (b"\0", 1),
        (b"{\"a\":1}", 1),
        (b"GET\t/ HTTP/1.1\r\n", 4),
    ];
    for (bytes, size) in cases {
        assert_eq!(
            refused_after(bytes),
            Some((400, size)),
            "{}",
            bytes.escape_ascii()
        );
    }
    let cause = |bytes| first_status(bytes).err().map(|refusal| refusal.cause());
    assert_eq!(cause(b"\x16"), Some("tls"));
    assert_eq!(cause(b"PRI * HTTP/2.0\r\n"), Some("http2"));
}

#[test]
fn an_endless_method_is_refused_early() {
    assert_eq!(refused_after(&[b'A'; 100]), Some((400, 25)));
    assert!(read(&head("VERSION-CONTROL / HTTP/1.1", &GOOD)).is_ok());
}

#[test]
fn malformed_lines_are_refused_before_the_head_ends() {
    for line in [
        "Folded: a\r\n b",
        "Folded: a\r\n\tb",
        "Space : a",
        " Leading: a",
        ": nameless",
        "No colon",
        "Nul: a\0b",
        "Bell: a\x07b",
        "Bare: a\rb",
        "Bare: a\nb: c",
        "N\u{e4}me: a",
    ] {
        let bytes = good_with(&[line, "After: x"]);
        let (status, size) = refused_after(&bytes).unwrap_or_else(|| panic!("taken: {line:?}"));
        assert_eq!(status, 400, "{line:?}");
        assert!(size < bytes.len() - 4, "refused late: {line:?}");
    }
}

#[test]
fn a_bare_line_feed_is_refused_wherever_it_stands() {
    let bytes = good_with(&[]);
    let ends = bytes
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair == b"\r\n");
    for (index, _) in ends {
        let mut broken = bytes.clone();
        broken.remove(index);
        assert_eq!(
            refused_after(&broken).map(|(status, _)| status),
            Some(400),
            "{index}"
        );
    }
    assert_eq!(
        first_status(b"GET / HTTP/1.1\n\n")
            .err()
            .map(|refusal| refusal.status),
        Some(400)
    );
}

#[test]
fn a_malformed_request_line_is_refused() {
    for line in [
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "GET / HTTP/0.9",
        "GET /",
        "GET / x HTTP/1.1",
    ] {
        let status = refused_after(&head(line, &GOOD)).map(|(status, _)| status);
        assert_eq!(status, Some(400), "{line:?}");
    }
}

#[test]
fn an_old_version_is_refused_before_the_head_ends() {
    let bytes = head("GET / HTTP/1.0", &GOOD);
    assert_eq!(refused_after(&bytes), Some((400, "GET / HTTP/1.0".len())));
}

#[test]
fn a_head_is_refused_for_the_first_of_its_faults_however_it_comes() {
    let many: Vec<String> = (0..70).map(|n| format!("A{n}: b")).collect();
    let many = many.join("\r\n");
    for start in ["GET / HTTP/1.1\r\nA: b\n", "GET / HTTP/1.0\r\n"] {
        let bytes = format!("{start}{many}\r\n\r\n").into_bytes();
        let whole = first_status(&bytes).err().map(|refusal| refusal.status);
        assert_eq!(whole, Some(400), "{start:?}");
        let early = refused_after(&bytes).map(|(status, _)| status);
        assert_eq!(early, whole, "{start:?}");
    }
}

#[test]
fn a_head_over_the_size_limit_is_refused_while_it_is_partial() {
    let endless = [b"GET / HTTP/1.1\r\nA: ".to_vec(), vec![b'x'; 20_000]].concat();
    assert!(matches!(
        first_status(&endless[..8191]),
        Ok(HeadStatus::Partial)
    ));
    for size in [8192, 8193, 20_000] {
        assert_eq!(
            first_status(&endless[..size])
                .err()
                .map(|refusal| refusal.status),
            Some(431)
        );
    }
    let limits = HeadLimits {
        size_max: good_with(&[]).len(),
        header_count_max: 5,
    };
    let exact = good_with(&[]);
    assert!(matches!(
        read_request(&exact, &limits),
        Ok(HeadStatus::Complete { .. })
    ));
    let over = good_with(&["A: b"]);
    let refusal = read_request(&over, &limits).err().unwrap();
    assert_eq!((refusal.status, refusal.cause()), (431, "head_too_large"));
}

#[test]
fn too_many_header_lines_are_refused_while_the_head_is_partial() {
    let lines: Vec<String> = (0..200).map(|n| format!("A{n}: b")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let bytes = good_with(&lines);
    let (status, size) = refused_after(&bytes).unwrap();
    assert_eq!(status, 431);
    let before = bytes[..size]
        .windows(2)
        .filter(|pair| pair == b"\r\n")
        .count();
    assert_eq!(
        before, 66,
        "the request line, the 64 that are allowed, and one more"
    );
    let limits = HeadLimits {
        size_max: usize::MAX,
        header_count_max: usize::MAX,
    };
    let refusal = read_request(&bytes, &limits).err().unwrap();
    assert_eq!(refusal.status, 431, "the ceiling holds");
    let allowed = good_with(&lines[..59]);
    assert!(accept(&allowed).is_ok());
}

#[test]
fn no_refusal_echoes_what_was_sent() {
    for bytes in [
        head("EVIL /evil HTTP/1.1", &GOOD),
        head("GET /evil#x HTTP/1.1", &GOOD),
        good_with(&["Sec-WebSocket-Protocol: evil evil"]),
        good_with(&["Sec-WebSocket-Extensions: evil;;"]),
        good_but("Host", Some("Host: evil/evil")),
        good_but("Upgrade", Some("Upgrade: evil")),
        good_but("Sec-WebSocket-Version", Some("Sec-WebSocket-Version: evil")),
    ] {
        let response = refusal_of(&bytes).to_lowercase();
        assert!(!response.contains("evil"), "{response}");
    }
}

/// A head with bytes changed at random: near enough to a good one to get far.
fn nearly_good() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0u8..3);
    prop::collection::vec(change, 0..5).prop_map(|changes| {
        let lines = [
            "Sec-WebSocket-Protocol: a, b",
            "Sec-WebSocket-Extensions: x; y=\"z\"",
            "Origin: o",
        ];
        changed(&good_with(&lines), changes)
    })
}

/// Bytes of which some are replaced, added or removed.
fn changed(bytes: &[u8], changes: Vec<(prop::sample::Index, u8, u8)>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (index, byte, kind) in changes {
        let index = index.index(bytes.len());
        match kind {
            0 => bytes[index] = byte,
            1 => bytes.insert(index, byte),
            _ => drop(bytes.remove(index)),
        }
    }
    bytes
}

/// A response that opens a WebSocket, with bytes changed at random.
fn nearly_accepted() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0u8..3);
    let wire = response_to(&good_with(&["Sec-WebSocket-Protocol: chat"]), Some("chat"));
    prop::collection::vec(change, 0..3).prop_map(move |changes| changed(wire.as_bytes(), changes))
}

proptest! {
    #[test]
    fn changed_heads_never_panic_and_are_judged_by_their_bytes_alone(bytes in nearly_good()) {
        let whole = a_request_is_judged_by_its_bytes_alone(&bytes, &HeadLimits::default());
        prop_assert!(whole.is_none_or(|status| matches!(status, 101 | 400 | 405 | 426)));
    }

    #[test]
    fn changed_responses_are_judged_by_their_bytes_alone(bytes in nearly_accepted()) {
        a_response_is_judged_by_its_bytes_alone(&bytes, &HeadLimits::default());
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let limits = HeadLimits::default();
        a_request_is_judged_by_its_bytes_alone(&bytes, &limits);
        a_response_is_judged_by_its_bytes_alone(&bytes, &limits);
        let response = [b"HTTP/1.1 101 ", &bytes[..]].concat();
        a_response_is_judged_by_its_bytes_alone(&response, &limits);
    }
}

#[test]
fn a_good_response_is_accepted_with_its_last_byte() {
    let wire = response_to(&good_with(&["Sec-WebSocket-Protocol: chat"]), Some("chat"));
    let limits = HeadLimits::default();
    let judge = |bytes: &[u8]| a_response_is_judged_by_its_bytes_alone(bytes, &limits);
    assert_eq!(judge(wire.as_bytes()), Some(true));
    assert_eq!(judge(&wire.as_bytes()[..wire.len() - 1]), None);
    assert_eq!(
        judge(wire.replace(SAMPLE_ACCEPT, SAMPLE_KEY).as_bytes()),
        Some(false)
    );
    let bare = wire.replacen("\r\n", "\n", 1);
    assert_eq!(judge(bare.as_bytes()), Some(false));
}
