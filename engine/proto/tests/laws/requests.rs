//! Heads of requests: judged by their bytes alone, and what is accepted is what nobody can read otherwise.

use tidegate_proto::HeadLimits;
use tidegate_proto::handshake::{
    ClientKey, HeadStatus, Origin, Refusal, Request, Upgrade, read_request, upgrade,
};

use crate::common::heads::{SAMPLE_ACCEPT, SAMPLE_KEY};

/// However much of a head has come: what is refused stays refused with the same status, what is complete
/// stays complete, and nothing is either before its bytes show it.
///
/// What comes of the whole: the status of the refusal, 101 for an upgrade, `None` while it is partial.
pub(crate) fn a_request_is_judged_by_its_bytes_alone(
    bytes: &[u8],
    limits: &HeadLimits,
) -> Option<u16> {
    let whole = read_request(bytes, limits);
    for size in 0..bytes.len() {
        match (read_request(&bytes[..size], limits), &whole) {
            (Ok(HeadStatus::Partial), _) => {}
            (Err(early), Err(late)) => {
                assert_eq!(
                    early.status, late.status,
                    "{early} after {size}, then {late}"
                );
            }
            (
                Ok(HeadStatus::Complete { size: early, .. }),
                Ok(HeadStatus::Complete { size: late, .. }),
            ) => assert_eq!((early, size >= early), (*late, true)),
            (early, late) => panic!("{early:?} after {size}, then {late:?}"),
        }
    }
    match whole {
        Ok(HeadStatus::Partial) => {
            assert!(bytes.len() < limits.size_max, "the limit is reached");
            None
        }
        Ok(HeadStatus::Complete { request, size }) => {
            assert!(size <= limits.size_max);
            assert!(request.headers().count() <= limits.header_count_max);
            assert_plain(&request, &bytes[..size]);
            match upgrade(&request) {
                Ok(upgrade) => assert_upgrade(&upgrade, &request),
                Err(refusal) => return Some(assert_refusal(&refusal)),
            }
            Some(101)
        }
        Err(refusal) => Some(assert_refusal(&refusal)),
    }
}

/// A refusal is a whole response that a client reads as a refusal with that status.
fn assert_refusal(refusal: &Refusal) -> u16 {
    let mut wire = Vec::new();
    refusal.write(&mut wire);
    let refused = ClientKey::new([0; 16]).read_response(&wire, &HeadLimits::default());
    assert_eq!(
        refused.map_err(|refused| refused.status),
        Err(refusal.status)
    );
    refusal.status
}

/// The header lines of a head, by the plainest reading: lines end in CR LF, names end at the first colon.
pub(crate) fn lines(head: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text = head
        .strip_suffix(b"\r\n\r\n")
        .expect("a head ends in an empty line");
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == b"\r\n");
        let (line, after) = match end {
            Some(end) => (&rest[..end], &rest[end + 2..]),
            None => (rest, &rest[rest.len()..]),
        };
        let broken = |byte: &u8| matches!(byte, b'\r' | b'\n' | 0);
        assert!(!line.iter().any(broken), "{}", line.escape_ascii());
        lines.push(line);
        rest = after;
    }
    let headers = lines.get(1..).unwrap_or_default().iter().map(|line| {
        let colon = line.iter().position(|byte| *byte == b':').expect("a colon");
        let name = String::from_utf8(line[..colon].to_vec()).expect("a name is ASCII");
        let separator =
            |byte: u8| !byte.is_ascii_graphic() || b"()<>@,;:\\\"/[]?={}".contains(&byte);
        assert!(!name.is_empty() && !name.bytes().any(separator), "{name:?}");
        (
            name.to_ascii_lowercase(),
            line[colon + 1..].trim_ascii().to_vec(),
        )
    });
    headers.collect()
}

/// The values of the lines with this name.
pub(crate) fn values<'l>(lines: &'l [(String, Vec<u8>)], name: &str) -> Vec<&'l [u8]> {
    let found = lines.iter().filter(|line| line.0 == name);
    found.map(|line| &line.1[..]).collect()
}

/// What was read is what stands there, and no other reader can find another request in it.
fn assert_plain(request: &Request<'_>, head: &[u8]) {
    let lines = lines(head);
    let read = request.headers();
    let read: Vec<_> = read
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()))
        .collect();
    assert_eq!(read, lines);
    let start = format!("{} {} HTTP/1.1\r\n", request.method(), request.target());
    assert!(head.starts_with(start.as_bytes()), "{start:?}");
    assert_eq!(values(&lines, "host"), [request.host().as_bytes()]);
    let lengths = values(&lines, "content-length");
    let encodings = values(&lines, "transfer-encoding");
    assert!(lengths.len() <= 1 && (lengths.is_empty() || encodings.is_empty()));
    let zero = |length: &&[u8]| !length.is_empty() && length.iter().all(|digit| *digit == b'0');
    let body = !encodings.is_empty() || !lengths.iter().all(zero);
    assert_eq!(request.has_body(), body);
    assert!(request.path().starts_with('/') || request.path() == request.target());
    assert!(
        request
            .query()
            .is_none_or(|query| request.target().ends_with(query))
    );
    let origins = values(&lines, "origin").len();
    assert_eq!(origins == 0, request.origin() == Origin::Absent);
    assert!(origins < 2 || request.origin() == Origin::Many);
}

/// RFC 6455, 4.2.1: what must stand in a request that opens a WebSocket, and 4.2.2: the answer.
fn assert_upgrade(upgrade: &Upgrade<'_>, request: &Request<'_>) {
    let once = |name| {
        let found: Vec<_> = request.headers_named(name).collect();
        assert_eq!(found.len(), 1, "{name}");
        found[0]
    };
    let lists = |name, token: &[u8]| {
        let mut elements = request
            .headers_named(name)
            .flat_map(|list| list.split(|b| *b == b','));
        elements.any(|element| element.trim_ascii().eq_ignore_ascii_case(token))
    };
    assert_eq!(request.method(), "GET");
    assert!(!request.has_body());
    assert!(lists("Upgrade", b"websocket") && lists("Connection", b"upgrade"));
    assert_eq!(once("Sec-WebSocket-Version"), b"13");
    let key = std::str::from_utf8(once("Sec-WebSocket-Key")).expect("base64 is ASCII");
    let nonce = base64_of_16(key).expect("base64 of 16 bytes");
    assert!(key != SAMPLE_KEY || upgrade.accept() == SAMPLE_ACCEPT);
    let protocols: Vec<_> = upgrade.protocols().collect();
    let parameters = upgrade
        .extensions()
        .map(|extension| extension.parameters().count());
    let parameters: usize = parameters.sum();
    let offered = request
        .headers_named("Sec-WebSocket-Extensions")
        .map(<[u8]>::len);
    assert!(parameters <= offered.sum::<usize>());
    let mut wire = Vec::new();
    let header = ("Server", "tidegate");
    upgrade.write_response(protocols.first().copied(), &[header], &mut wire);
    let ends = wire
        .windows(4)
        .filter(|window| window == b"\r\n\r\n")
        .count();
    assert!(
        ends == 1 && wire.ends_with(b"\r\n\r\n"),
        "{}",
        wire.escape_ascii()
    );
    let client = ClientKey::new(nonce);
    if client.as_str() == key {
        // Otherwise its last character has bits that mean nothing, which the proof covers too.
        let limits = HeadLimits {
            size_max: usize::MAX,
            header_count_max: 64,
        };
        let (accepted, size) = client.read_response(&wire, &limits).unwrap().unwrap();
        assert_eq!(size, wire.len());
        assert_eq!(accepted.check(&protocols, &[]), Ok(()));
        assert_eq!(accepted.protocol, protocols.first().copied());
    }
}

/// The 16 bytes that 24 characters of base64 stand for.
fn base64_of_16(text: &str) -> Option<[u8; 16]> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text
        .strip_suffix("==")
        .filter(|digits| digits.len() == 22)?;
    let mut bits = 0u128;
    for (index, digit) in digits.bytes().enumerate() {
        let value = DIGITS.iter().position(|known| *known == digit)? as u128;
        // The last digit has only two bits that count.
        bits = if index < 21 {
            bits << 6 | value
        } else {
            bits << 2 | value >> 4
        };
    }
    Some(bits.to_be_bytes())
}
