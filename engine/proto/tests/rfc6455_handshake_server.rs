//! RFC 6455, sections 3, 4.2, 4.4, 9.1, 10 and 11.3: what a server reads and answers before the first frame.

mod common;

use common::heads::*;
use tidegate_proto::handshake::{Origin, Refusal};

// RFC 6455, 4.2.1: "the server MUST stop processing the client's handshake and return an HTTP response
// with an appropriate error code (such as 400 Bad Request)."
#[test]
fn a_request_that_breaks_the_grammar_is_refused() {
    let response = refusal_of(&good_but(
        "Sec-WebSocket-Key",
        Some("Sec-WebSocket-Key: short"),
    ));
    assert!(
        response.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{response}"
    );
    assert!(response.contains("\r\nConnection: close\r\n"), "{response}");
    assert!(!response.contains("short"), "raw input is never echoed");
}

// RFC 6455, 4.2.1: "An HTTP/1.1 or higher GET request, including a "Request-URI" [RFC2616] that should be
// interpreted as a /resource name/ defined in Section 3 (or an absolute HTTP/HTTPS URI containing the
// /resource name/)."
#[test]
fn only_a_get_of_http_1_1_upgrades() {
    assert!(accept(&good_with(&[])).is_ok());
    for method in ["POST", "HEAD", "PUT", "get"] {
        let bytes = head(&format!("{method} /chat HTTP/1.1"), &GOOD);
        assert_eq!(refused(&bytes), (405, "method"), "{method}");
    }
    assert_eq!(
        refused(&head("CONNECT a:80 HTTP/1.1", &GOOD)),
        (405, "method")
    );
    assert_eq!(
        refused(&head("GET / HTTP/1.0", &GOOD)),
        (400, "http_version")
    );
    assert_eq!(
        refused(&head("GET / HTTP/2.0", &GOOD)),
        (400, "http_version")
    );
    assert!(refusal_of(&head("POST / HTTP/1.1", &GOOD)).contains("\r\nAllow: GET\r\n"));
}

// RFC 6455, 4.2.1: "(or an absolute HTTP/HTTPS URI containing the /resource name/)"
// RFC 6455, 3: "o "/" if the path component is empty"
#[test]
fn the_resource_name_is_found_in_each_form_of_the_target() {
    let cases = [
        ("/", "/", None),
        ("/a/b?c=d?e", "/a/b", Some("c=d?e")),
        ("/a?", "/a", Some("")),
        ("http://example.com/chat?x", "/chat", Some("x")),
        ("HTTPS://example.com", "/", None),
        ("ws://example.com?x", "/", Some("x")),
    ];
    for (target, path, query) in cases {
        let bytes = head(&format!("GET {target} HTTP/1.1"), &GOOD);
        let request = read(&bytes).unwrap();
        assert_eq!((request.path(), request.query()), (path, query), "{target}");
        assert_eq!(request.target(), target);
    }
}

// RFC 6455, 3: "Fragment identifiers are meaningless in the context of WebSocket URIs and MUST NOT be
// used on these URIs."
#[test]
fn a_target_that_is_none_is_refused() {
    for target in [
        "chat",
        "/a#b",
        "ftp://a/b",
        "http://",
        "http:///a",
        "*",
        "/ä",
        "://x/",
    ] {
        let bytes = head(&format!("GET {target} HTTP/1.1"), &GOOD);
        assert_eq!(refused(&bytes).0, 400, "{target}");
    }
}

// RFC 6455, 4.2.1: "A |Host| header field containing the server's authority."
#[test]
fn the_host_stands_exactly_once() {
    assert_eq!(read(&good_with(&[])).unwrap().host(), "server.example.com");
    assert_eq!(refused(&good_but("Host", None)), (400, "host"));
    assert_eq!(
        refused(&good_with(&["Host: server.example.com"])),
        (400, "host")
    );
    for host in ["", "a b", "a/b", "a@b", "a,b", "ä"] {
        let line = format!("Host: {host}");
        assert_eq!(
            refused(&good_but("Host", Some(&line))),
            (400, "host"),
            "{host}"
        );
    }
    assert!(accept(&good_but("Host", Some("Host: [::1]:8080"))).is_ok());
}

// RFC 6455, 4.2.1: "An |Upgrade| header field containing the value "websocket", treated as an ASCII
// case-insensitive value."
#[test]
fn upgrade_holds_websocket() {
    for line in [
        "Upgrade: WebSocket",
        "upgrade: h2c, websocket",
        "UPGRADE:\twebsocket ",
    ] {
        assert!(accept(&good_but("Upgrade", Some(line))).is_ok(), "{line}");
    }
    for line in [
        "Upgrade: h2c",
        "Upgrade: websockets",
        "Upgrade: web socket",
        "Upgrade:",
    ] {
        assert_eq!(
            refused(&good_but("Upgrade", Some(line))),
            (426, "upgrade"),
            "{line}"
        );
    }
    let response = refusal_of(&good_but("Upgrade", None));
    assert!(
        response.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
        "{response}"
    );
    assert!(
        response.contains("\r\nUpgrade: websocket\r\n"),
        "{response}"
    );
    assert!(
        response.contains("\r\nConnection: Upgrade, close\r\n"),
        "{response}"
    );
}

// RFC 6455, 4.2.1: "A |Connection| header field that includes the token "Upgrade", treated as an ASCII
// case-insensitive value."
#[test]
fn connection_holds_upgrade() {
    for line in [
        "Connection: keep-alive, upgrade",
        "Connection: x\r\nConnection: UPGRADE",
    ] {
        assert!(
            accept(&good_but("Connection", Some(line))).is_ok(),
            "{line}"
        );
    }
    assert_eq!(refused(&good_but("Connection", None)), (400, "connection"));
    let line = Some("Connection: keep-alive");
    assert_eq!(refused(&good_but("Connection", line)), (400, "connection"));
}

// RFC 6455, 4.2.1: "A |Sec-WebSocket-Key| header field with a base64-encoded (see Section 4 of [RFC4648])
// value that, when decoded, is 16 bytes in length."
#[test]
fn the_key_is_base64_of_sixteen_bytes() {
    assert_eq!(refused(&good_but("Sec-WebSocket-Key", None)), (400, "key"));
    for key in [
        "",
        "AAAA",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZTE=",
    ] {
        let line = format!("Sec-WebSocket-Key: {key}");
        assert_eq!(
            refused(&good_but("Sec-WebSocket-Key", Some(&line))),
            (400, "key"),
            "{key}"
        );
    }
}

// RFC 6455, 4.2.1: "A |Sec-WebSocket-Version| header field, with a value of 13."
// RFC 6455, 4.2.2: "If this version does not match a version understood by the server, the server MUST
// abort the WebSocket handshake described in this section and instead send an appropriate HTTP error code
// (such as 426 Upgrade Required) and a |Sec-WebSocket-Version| header field indicating the version(s) the
// server is capable of understanding."
// RFC 6455, 4.4: "it MUST respond with a |Sec-WebSocket-Version| header field (or multiple
// |Sec-WebSocket-Version| header fields) containing all versions it is willing to use."
#[test]
fn another_version_is_told_ours() {
    for version in ["8", "25", "013", "13, 8", "-13", ""] {
        let line = format!("Sec-WebSocket-Version: {version}");
        let bytes = good_but("Sec-WebSocket-Version", Some(&line));
        assert_eq!(refused(&bytes), (426, "version"), "{version}");
        assert!(refusal_of(&bytes).contains("\r\nSec-WebSocket-Version: 13\r\n"));
    }
    assert_eq!(
        refused(&good_but("Sec-WebSocket-Version", None)),
        (400, "version")
    );
}

// RFC 6455, 4.2.1: "Optionally, an |Origin| header field. This header field is sent by all browser
// clients."
// RFC 6455, 4.2.2: "If the server does not wish to accept this connection, it MUST return an appropriate
// HTTP error code (e.g., 403 Forbidden) and abort the WebSocket handshake described in this section."
// RFC 6455, 10.2: "it SHOULD respond to the WebSocket handshake with a reply containing HTTP 403
// Forbidden status code."
#[test]
fn the_origin_is_told_apart_for_the_server_to_judge() {
    let origin = |lines: &[&str]| format!("{:?}", read(&good_with(lines)).unwrap().origin());
    assert_eq!(read(&good_with(&[])).unwrap().origin(), Origin::Absent);
    assert_eq!(
        origin(&["Origin: https://a.example"]),
        "One(\"https://a.example\")"
    );
    assert_eq!(origin(&["Origin: null"]), "One(\"null\")");
    assert_eq!(origin(&["Origin: https://a", "origin: https://a"]), "Many");
    let mut wire = Vec::new();
    Refusal::forbidden("This origin may not connect.").write(&mut wire);
    assert!(wire.starts_with(b"HTTP/1.1 403 Forbidden\r\n"));
}

// RFC 6455, 4.2.1: "Unknown header fields are ignored, as per [RFC2616]."
// RFC 6455, 4.2.1: "the order of the header fields is not important"
#[test]
fn other_headers_and_their_order_do_not_matter() {
    let mut lines = GOOD;
    lines.reverse();
    let unknown = ["X-Unknown: \"?\"", "Cookie: a=b; c=d", "Empty:"];
    let bytes = head("GET /chat HTTP/1.1", &[&unknown[..], &lines].concat());
    assert!(accept(&bytes).is_ok());
    assert_eq!(
        read(&bytes).unwrap().header("cookie"),
        Some(&b"a=b; c=d"[..])
    );
}

// RFC 6455, 4.2.2: "the server MUST send an appropriate HTTP error code (such as 404 Not Found) and abort
// the WebSocket handshake."
#[test]
fn a_service_that_is_not_there_is_not_found() {
    let mut wire = Vec::new();
    Refusal::not_found().write(&mut wire);
    assert!(wire.starts_with(b"HTTP/1.1 404 Not Found\r\n"));
}

// RFC 6455, 4.2.2: "A Status-Line with a 101 response code as per RFC 2616 [RFC2616]."
// RFC 6455, 4.2.2: "An |Upgrade| header field with value "websocket" as per RFC 2616 [RFC2616]."
// RFC 6455, 4.2.2: "A |Connection| header field with value "Upgrade"."
// RFC 6455, 4.2.2: "The value of this header field is constructed by concatenating /key/, defined above
// in step 4 in Section 4.2.2, with the string "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", taking the SHA-1
// hash of this concatenated value to obtain a 20-byte value and base64-encoding"
#[test]
fn the_response_is_the_one_of_the_rfc() {
    let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    assert_eq!(response_to(&good_with(&[]), None), expected);
    assert_eq!(accept(&good_with(&[])).unwrap().accept(), SAMPLE_ACCEPT);
}

// RFC 6455, 4.2.2: "The value chosen MUST be derived from the client's handshake, specifically by
// selecting one of the values from the |Sec-WebSocket-Protocol| field that the server is willing to use
// for this connection (if any)."
#[test]
fn only_an_offered_protocol_can_be_chosen() {
    let bytes = good_with(&["Sec-WebSocket-Protocol: chat, superchat"]);
    let response = response_to(&bytes, Some("superchat"));
    assert!(
        response.contains("\r\nSec-WebSocket-Protocol: superchat\r\n"),
        "{response}"
    );
    for bad in ["other", "chat, superchat", "chat\r\nX: y", ""] {
        let upgrade = accept(&bytes).unwrap();
        let write = || upgrade.write_response(Some(bad), &[], &mut Vec::new());
        let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(write));
        assert!(written.is_err(), "{bad:?}");
    }
}

// RFC 6455, 4.2.2: "if the server does not wish to agree to one of the suggested subprotocols, it MUST
// NOT send back a |Sec-WebSocket-Protocol| header field in its response"
#[test]
fn without_a_choice_there_is_no_protocol_line() {
    let bytes = good_with(&["Sec-WebSocket-Protocol: chat"]);
    assert!(!response_to(&bytes, None).contains("Protocol:"));
}

// RFC 6455, 4.2.2: "Extensions not listed by the client MUST NOT be listed."
#[test]
fn no_extension_is_listed_in_the_response() {
    let bytes =
        good_with(&["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]);
    assert!(!response_to(&bytes, None).contains("Extensions"));
}

// RFC 6455, 4.1: "The elements that comprise this value MUST be non-empty strings with characters in the
// range U+0021 to U+007E not including separator characters as defined in [RFC2616] and MUST all be
// unique strings."
#[test]
fn offered_protocols_are_tokens_that_differ() {
    for bad in [
        "", ",", "chat,", "a,,b", "a b", "a;b", "a/b", "\"a\"", "ä", "a, b, a",
    ] {
        let line = format!("Sec-WebSocket-Protocol: {bad}");
        assert_eq!(refused(&good_with(&[&line])), (400, "protocol"), "{bad}");
    }
    let twice = ["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b,a"];
    assert_eq!(refused(&good_with(&twice)), (400, "protocol"));
    let case = good_with(&["Sec-WebSocket-Protocol: a, A"]);
    assert_eq!(accept(&case).unwrap().protocols().count(), 2);
    let many: Vec<String> = (0..65).map(|n| format!("p{n}")).collect();
    let line = format!("Sec-WebSocket-Protocol: {}", many.join(","));
    assert_eq!(refused(&good_with(&[&line])), (400, "protocol"));
}

// RFC 6455, 9.1: "If a value is received by either the client or the server during negotiation that does
// not conform to the ABNF below, the recipient of such malformed data MUST immediately _Fail the
// WebSocket Connection_."
#[test]
fn malformed_extensions_are_refused() {
    for bad in [
        "",
        ",",
        "a,",
        "a;",
        "a;=1",
        "a b",
        "a;b=\"c d\"",
        "a;b=\"c",
        "a=b",
        "\"a\"",
    ] {
        let line = format!("Sec-WebSocket-Extensions: {bad}");
        assert_eq!(refused(&good_with(&[&line])), (400, "extension"), "{bad}");
    }
}

// RFC 6455, 9.1: "Note that the order of extensions is significant."
#[test]
fn offered_extensions_are_read_in_their_order() {
    let bytes = good_with(&[
        "Sec-WebSocket-Extensions: a; b; c=d , e",
        "Sec-WebSocket-Extensions: a",
    ]);
    let upgrade = accept(&bytes).unwrap();
    let names: Vec<_> = upgrade
        .extensions()
        .map(|extension| extension.name)
        .collect();
    assert_eq!(names, ["a", "e", "a"]);
    let first = upgrade.extensions().next().unwrap();
    let parameters: Vec<_> = first.parameters().collect();
    assert_eq!(parameters, [("b", None), ("c", Some("d"))]);
    let thousand = format!(
        "Sec-WebSocket-Extensions: {}",
        vec!["x;y=1"; 1000].join(",")
    );
    assert_eq!(
        accept(&good_with(&[&thousand]))
            .unwrap()
            .extensions()
            .count(),
        1000
    );
}

// RFC 6455, 10.5: "The WebSocket server can use any client authentication mechanism available to a
// generic HTTP server, such as cookies, HTTP authentication, or TLS authentication."
#[test]
fn cookies_and_credentials_reach_the_server() {
    let bytes = good_with(&[
        "Cookie: session=1",
        "Authorization: Bearer x",
        "Cookie: b=2",
    ]);
    let request = read(&bytes).unwrap();
    assert_eq!(request.header_str("authorization"), Some("Bearer x"));
    let cookies: Vec<_> = request.headers_named("COOKIE").collect();
    assert_eq!(cookies, [&b"session=1"[..], &b"b=2"[..]]);
    assert_eq!(request.headers().count(), GOOD.len() + 3);
    let mut wire = Vec::new();
    Refusal::new(401, "auth", "Who are you?").write(&mut wire);
    assert!(wire.starts_with(b"HTTP/1.1 401 Unauthorized\r\n"));
}

// RFC 6455, 10.7: "If the invalid data is sent during the WebSocket handshake, the server SHOULD return
// an appropriate HTTP [RFC2616] status code."
#[test]
fn a_body_on_an_upgrade_is_refused() {
    for line in [
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Content-Length: 00001",
    ] {
        assert_eq!(refused(&good_with(&[line])), (400, "body"), "{line}");
    }
    for lines in [
        &["Content-Length: 0", "Content-Length: 0"][..],
        &["Content-Length: 0", "Transfer-Encoding: chunked"],
        &["Content-Length: -1"],
        &["Content-Length: 1, 1"],
        &["Content-Length:"],
    ] {
        assert_eq!(refused(&good_with(lines)), (400, "body"), "{lines:?}");
    }
    assert!(accept(&good_with(&["Content-Length: 0"])).is_ok());
}

// RFC 6455, 11.3.1: "The |Sec-WebSocket-Key| header field MUST NOT appear more than once in an HTTP
// request."
#[test]
fn a_doubled_key_is_refused() {
    let line = format!("sec-websocket-key: {SAMPLE_KEY}");
    assert_eq!(refused(&good_with(&[&line])), (400, "key"));
}

// RFC 6455, 11.3.2: "The |Sec-WebSocket-Extensions| header field MAY appear multiple times in an HTTP
// request"
// RFC 6455, 11.3.4: "The |Sec-WebSocket-Protocol| header field MAY appear multiple times in an HTTP
// request (which is logically the same as a single |Sec-WebSocket-Protocol| header field that contains
// all values)."
#[test]
fn offers_may_stand_on_several_lines() {
    let bytes = good_with(&[
        "Sec-WebSocket-Protocol: b",
        "Sec-WebSocket-Extensions: x",
        "sec-websocket-protocol: a , c",
        "Sec-WebSocket-Extensions: y",
    ]);
    let upgrade = accept(&bytes).unwrap();
    assert_eq!(upgrade.protocols().collect::<Vec<_>>(), ["b", "a", "c"]);
    assert_eq!(upgrade.extensions().count(), 2);
}

// RFC 6455, 11.3.3: "The |Sec-WebSocket-Accept| header MUST NOT appear more than once in an HTTP
// response."
// RFC 6455, 11.3.4: "the |Sec-WebSocket-Protocol| header field MUST NOT appear more than once in an HTTP
// response."
#[test]
fn each_line_of_the_response_stands_once() {
    let bytes = good_with(&["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"]);
    let response = response_to(&bytes, Some("b"));
    assert_eq!(response.matches("Sec-WebSocket-Accept:").count(), 1);
    assert_eq!(response.matches("Sec-WebSocket-Protocol:").count(), 1);
}

// RFC 6455, 11.3.5: "the |Sec-WebSocket-Version| header field MUST NOT appear more than once in an HTTP
// request."
#[test]
fn a_doubled_version_is_refused() {
    assert_eq!(
        refused(&good_with(&["Sec-WebSocket-Version: 13"])),
        (400, "version")
    );
}
