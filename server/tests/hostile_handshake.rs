//! Requests that no honest client sends: each is refused, and harms nobody else.

mod support;

use std::fmt::Write as _;

use support::http::Response;
use support::server::Server;
use support::stage::Stage;
use support::wire::{self, SAMPLE_KEY};

/// A request, and the statuses that may answer it; 0 stands for a close without an answer.
struct Case {
    name: &'static str,
    request: Vec<u8>,
    allowed: &'static [u16],
}

fn case(name: &'static str, request: impl Into<Vec<u8>>, allowed: &'static [u16]) -> Case {
    Case {
        name,
        request: request.into(),
        allowed,
    }
}

/// The usual request, with one piece of it replaced.
fn instead(of: &str, new: &str) -> String {
    let request = wire::upgrade("/echo", &[]);
    assert!(request.contains(of), "{of}");
    request.replacen(of, new, 1)
}

/// The usual request, with one line more.
fn with(line: &str) -> String {
    wire::upgrade("/echo", &[line])
}

/// Sends each request on a connection of its own, and judges the answer.
#[track_caller]
fn play(stage: &mut Stage, cases: &[Case]) {
    for Case {
        name,
        request,
        allowed,
    } in cases
    {
        let mut client = stage.server.connect();
        // The server may refuse, and close, before it has read everything.
        let _ = client.try_send(request);
        let answer = client.all();
        let status = Response::parse(&answer).map_or(0, |response| response.status);
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(300)]);
        assert!(
            allowed.contains(&status),
            "{name}: wanted {allowed:?}, got {shown:?}"
        );
        let answers = answer.windows(10).filter(|ten| is_status_line(ten)).count();
        assert!(answers <= 1, "{name}: more than one answer: {shown:?}");
    }
    stage.is_unharmed();
}

/// The beginning of one, up to the first digit of the status.
fn is_status_line(start: &[u8]) -> bool {
    start.starts_with(b"HTTP/1.1 ") && start[9].is_ascii_digit()
}

#[test]
fn what_is_no_sound_upgrade_is_refused() {
    let version = "Sec-WebSocket-Version: 13";
    let key = format!("Sec-WebSocket-Key: {SAMPLE_KEY}\r\n");
    let cases = [
        case(
            "no upgrade",
            "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n",
            &[426],
        ),
        case(
            "another version",
            instead(version, "Sec-WebSocket-Version: 8"),
            &[426],
        ),
        case("two versions", with("Sec-WebSocket-Version: 13"), &[400]),
        case(
            "no version",
            instead(&format!("{version}\r\n"), ""),
            &[400, 426],
        ),
        case("no key", instead(&key, ""), &[400]),
        case("two keys", with(key.trim_end()), &[400]),
        case("a short key", instead(SAMPLE_KEY, "dGhl"), &[400]),
        case(
            "a key that is no base64",
            instead(SAMPLE_KEY, "!!!!IHNhbXBsZSBub25jZQ=="),
            &[400],
        ),
        case("no host", instead("Host: 127.0.0.1\r\n", ""), &[400]),
        case("two hosts", with("Host: 127.0.0.2"), &[400]),
        case(
            "upgrade to something else",
            instead("websocket", "h2c"),
            &[400, 426],
        ),
        case(
            "connection without upgrade",
            instead("n: Upgrade", "n: close"),
            &[400, 426],
        ),
        case("unknown path", instead("/echo", "/nowhere"), &[404]),
        case(
            "a path that climbs",
            instead("/echo", "/../echo"),
            &[400, 404],
        ),
        case(
            "a room without a name",
            instead("/echo", "/ws/"),
            &[400, 404],
        ),
        case(
            "a room with a long name",
            instead("/echo", &format!("/ws/{}", "a".repeat(2_000))),
            &[400, 404, 414],
        ),
        case(
            "a room with a broken name",
            instead("/echo", "/ws/%ff"),
            &[400, 404],
        ),
    ];
    play(&mut Stage::set(), &cases);
}

#[test]
fn other_methods_and_protocols_are_never_upgraded() {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let tls = [0x16, 0x03, 0x01, 0x00, 0x05, 0x01, 0x00, 0x00, 0x01, 0x00];
    let cases = [
        case("POST", instead("GET", "POST"), &[400, 405]),
        case("HEAD", instead("GET", "HEAD"), &[400, 405]),
        case("CONNECT", instead("GET /echo", "CONNECT a:1"), &[400, 405]),
        case("CONNECT to a path", instead("GET", "CONNECT"), &[400, 405]),
        case(
            "CONNECT to a room without a name",
            instead("GET /echo", "CONNECT /ws/"),
            &[400, 405],
        ),
        case(
            "CONNECT to a room with a broken name",
            instead("GET /echo", "CONNECT /ws/@a"),
            &[400, 405],
        ),
        case(
            "a method of its own",
            instead("GET", "BREW"),
            &[400, 405, 501],
        ),
        case("a small get", instead("GET", "get"), &[400, 405, 501]),
        case(
            "HTTP/1.0",
            instead("HTTP/1.1", "HTTP/1.0"),
            &[0, 400, 426, 505],
        ),
        case("HTTP/2.0", instead("HTTP/1.1", "HTTP/2.0"), &[0, 400, 505]),
        case("HTTP/2 preface", preface, &[0, 400, 405, 505]),
        case("TLS", tls, &[0, 400]),
        case("SSH", "SSH-2.0-OpenSSH_9.2\r\n", &[0, 400]),
        case("zeros", [0; 64], &[0, 400]),
        case("HTTP/0.9", "GET /echo\r\n", &[0, 400]),
    ];
    play(&mut Stage::set(), &cases);
}

// RFC 7230, 3.3: a response to HEAD never has a body, whatever its status and its lengths say.
#[test]
fn a_refusal_of_head_has_no_body() {
    let head = |of: &str, new: &str| instead(of, new).replacen("GET", "HEAD", 1);
    let cases = [
        case("an upgrade", head("/echo", "/echo"), &[405]),
        case(
            "no upgrade",
            "HEAD /echo HTTP/1.1\r\nHost: a\r\n\r\n",
            &[405],
        ),
        case("a room", head("/echo", "/ws/room"), &[405]),
        case("a broken name", head("/echo", "/ws/%ff"), &[400, 405]),
        case("a reserved name", head("/echo", "/ws/@a"), &[403, 405]),
        case("an unknown path", head("/echo", "/nowhere"), &[404, 405]),
        case(
            "a foreign origin",
            head("Host:", "Origin: http://evil.example\r\nHost:"),
            &[403, 405],
        ),
        case("two hosts", head("Host:", "Host: a\r\nHost:"), &[400]),
        case("no host", "HEAD /echo HTTP/1.1\r\n\r\n", &[400]),
        case("a target that is none", head("/echo", "echo"), &[400]),
        case("HTTP/1.0", head("HTTP/1.1", "HTTP/1.0"), &[400, 505]),
        case(
            "a long head",
            head("Host:", &format!("X-Long: {}\r\nHost:", "a".repeat(20_000))),
            &[431],
        ),
    ];
    let mut stage = Stage::set();
    for Case {
        name,
        request,
        allowed,
    } in cases
    {
        let mut client = stage.server.connect();
        let _ = client.try_send(&request);
        let answer = client.all();
        let response = Response::parse(&answer).unwrap_or_else(|| panic!("{name}: no answer"));
        assert!(allowed.contains(&response.status), "{name}: {response:?}");
        assert_eq!(response.text(), "", "{name}");
    }
    stage.is_unharmed();
}

#[test]
fn requests_that_two_servers_would_read_differently_are_refused() {
    let pipelined = format!(
        "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n{}",
        wire::upgrade("/echo", &[])
    );
    let failed_then_more = format!(
        "{}{}",
        instead("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 7"),
        wire::upgrade("/echo", &[])
    );
    let cases = [
        case("a body", with("Content-Length: 5") + "hello", &[400, 413]),
        case(
            "chunks",
            with("Transfer-Encoding: chunked") + "0\r\n\r\n",
            &[400],
        ),
        case(
            "both",
            with("Content-Length: 5\r\nTransfer-Encoding: chunked"),
            &[400],
        ),
        case(
            "two lengths",
            with("Content-Length: 0\r\nContent-Length: 5"),
            &[400],
        ),
        case("a length that is none", with("Content-Length: +5"), &[400]),
        case("a folded line", with("X-Long: a\r\n b"), &[400]),
        case("a folded first line", instead("Host:", " Host:"), &[400]),
        case("a NUL", with("X-Zero: a\0b"), &[400]),
        case("a NUL in a name", with("X-Ze\0ro: a"), &[400]),
        case("a bare CR", with("X-Bare: a\rb"), &[400]),
        case(
            "a bare CR at the end",
            instead("Host: 127.0.0.1\r\n", "Host: a\rX: b\r\n"),
            &[400],
        ),
        case(
            "a space before the colon",
            instead("Host:", "Host :"),
            &[400],
        ),
        case(
            "a space in the path",
            instead("/echo", "/ec ho"),
            &[400, 404],
        ),
        case(
            "a NUL in the path",
            instead("/echo", "/echo\0"),
            &[400, 404],
        ),
        case("a line without a colon", with("nothing"), &[400]),
        case("a line without a name", with(": nothing"), &[400]),
        case("a request behind a refusal", pipelined, &[404]),
        case(
            "a request behind a failed upgrade",
            failed_then_more,
            &[426],
        ),
    ];
    play(&mut Stage::set(), &cases);
}

#[test]
fn heads_beyond_the_limits_are_refused() {
    let mut many = String::new();
    for number in 0..300 {
        let _ = write!(many, "X-{number}: a\r\n");
    }
    let cases = [
        case(
            "a long line",
            with(&format!("X-Long: {}", "a".repeat(100_000))),
            &[431],
        ),
        case("many lines", with(many.trim_end()), &[431]),
        case(
            "a long name",
            with(&format!("{}: a", "a".repeat(20_000))),
            &[431],
        ),
        case(
            "a long path",
            instead("/echo", &format!("/{}", "a".repeat(100_000))),
            &[414, 431],
        ),
        case(
            "no end",
            format!("GET /{}", "a".repeat(100_000)),
            &[0, 400, 414, 431],
        ),
        case("only line ends", "\r\n".repeat(50_000), &[0, 400, 431]),
    ];
    play(&mut Stage::set(), &cases);
}

#[test]
fn subprotocols_and_extensions_are_declined_and_never_repeated() {
    let mut stage = Stage::set();
    let offers = [
        "Sec-WebSocket-Protocol: a b\"c, <script>, ,,".to_owned(),
        "Sec-WebSocket-Protocol: chat, superchat".to_owned(),
        "Sec-WebSocket-Protocol: ".to_owned(),
        "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99".to_owned(),
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=\"\"".to_owned(),
        "Sec-WebSocket-Extensions: ;;;,=,\"".to_owned(),
        format!("Sec-WebSocket-Extensions: {}", "x, ".repeat(1_000)),
        "X-Evil: \u{85}\u{2028}".to_owned(),
    ];
    for offer in offers {
        let mut client = stage.server.connect();
        client.send(with(&offer).as_bytes());
        let response = client.head();
        assert!(
            [101, 400].contains(&response.status),
            "{offer}: {response:?}"
        );
        for name in [
            "sec-websocket-protocol",
            "sec-websocket-extensions",
            "x-evil",
        ] {
            assert_eq!(response.header(name), None, "{offer}");
        }
        if response.status == 101 {
            client.echoes("opened without it");
            client.closes();
        }
    }
    stage.is_unharmed();
}

/// The status that a page from `origin` gets.
#[track_caller]
fn status_for(server: &Server, lines: &[&str]) -> u16 {
    let mut client = server.connect();
    client.send(wire::upgrade("/echo", lines).as_bytes());
    client.head().status
}

#[test]
fn pages_from_elsewhere_are_refused() {
    let server = Server::with(&["--origin", "https://good.example"]);
    let own = format!("Origin: http://{}", server.public);
    let refused = [
        "Origin: https://evil.example",
        "Origin: null",
        "Origin: https://good.example.evil.example",
        "Origin: https://evilgood.example",
        "Origin: https://good.exampl",
        "Origin: http://good.example",
        "Origin: https://good.example:444",
        "Origin: https://good.example@evil.example",
        "Origin: https://good.example/",
        "Origin: https://good.example, https://evil.example",
        "Origin: good.example",
        "Origin: *",
        "Origin:",
    ];
    let mut stage = Stage::around(server);
    for line in refused {
        assert_eq!(status_for(&stage.server, &[line]), 403, "{line}");
    }
    let twice = [
        "Origin: https://good.example",
        "Origin: https://evil.example",
    ];
    assert!([400, 403].contains(&status_for(&stage.server, &twice)));
    assert_eq!(
        status_for(&stage.server, &["Origin: https://good.example"]),
        101
    );
    assert_eq!(
        status_for(&stage.server, &["Origin: https://good.example:443"]),
        101
    );
    assert_eq!(status_for(&stage.server, &[]), 101, "no browser, no origin");
    // The sample request says that the host is 127.0.0.1, without the port.
    let host = format!("Host: {}", stage.server.public);
    let mut page = stage.server.connect();
    page.send(
        wire::upgrade("/echo", &[&own])
            .replace("Host: 127.0.0.1", &host)
            .as_bytes(),
    );
    assert_eq!(page.head().status, 101, "the server's own page");
    page.closes();
    stage.is_unharmed();
}
