//! RFC 6455, sections 5.5.1 and 7: closing, by either side, cleanly or not.

mod common;

use common::*;
use tidegate_proto::{CloseCode, Message, Session, Settings, Violation};

fn server() -> Session {
    Session::server(Settings::default())
}

fn receive(session: &mut Session, bytes: &[u8]) -> (Vec<Seen>, Vec<u8>) {
    let (mut seen, mut wire) = (Vec::new(), Vec::new());
    feed(session, bytes, &mut wire, &mut seen);
    (seen, wire)
}

// RFC 6455, 5.5.1: "If an endpoint receives a Close frame and did not previously send a Close frame, the
// endpoint MUST send a Close frame in response. (When sending a Close frame in response, the endpoint
// typically echos the status code it received.)"
#[test]
fn a_close_frame_is_answered_with_its_code() {
    let mut session = server();
    let close = masked(FIN | CLOSE, &close_body(1001, b"leaving"));
    let (seen, wire) = receive(&mut session, &close);
    assert_eq!(seen, [Seen::Close(Some(1001), "leaving".to_owned())]);
    assert_eq!(wire, unmasked(FIN | CLOSE, &close_body(1001, b"")));
    assert!(session.is_closed() && session.close_sent() && session.close_received());
}

// RFC 6455, 5.5.1: "The Close frame MAY contain a body"
#[test]
fn an_empty_close_frame_is_answered_with_an_empty_one() {
    let (seen, wire) = served(&masked(FIN | CLOSE, b""));
    assert_eq!(seen, [Seen::Close(None, String::new())]);
    assert_eq!(wire, unmasked(FIN | CLOSE, b""));
}

// RFC 6455, 5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer
// (in network byte order) representing a status code with value /code/ defined in Section 7.4."
#[test]
fn a_close_body_of_one_byte_is_refused() {
    let close = masked(FIN | CLOSE, &[3]);
    assert_refused(&close, Violation::CloseBodyCut);
    // The header says it already.
    assert_refused_at_last_byte(&close[..6], Violation::CloseBodyCut);
}

// RFC 6455, 5.5.1: "Following the 2-byte integer, the body MAY contain UTF-8-encoded data with value
// /reason/"
#[test]
fn a_close_reason_that_is_not_utf8_is_refused() {
    for reason in [&b"\xff"[..], b"cut \xc3", b"\xed\xa0\x80"] {
        let close = masked(FIN | CLOSE, &close_body(1000, reason));
        assert_refused(&close, Violation::CloseReasonInvalid);
    }
    // As early as it shows: more is declared than has come.
    let close = masked(FIN | CLOSE, &close_body(1000, b"\xf4\x90 and so on"));
    assert_refused_at_last_byte(&close[..10], Violation::CloseReasonInvalid);
    assert_eq!(
        Violation::CloseReasonInvalid.code(),
        CloseCode::INVALID_PAYLOAD
    );
    let longest = masked(FIN | CLOSE, &close_body(1000, &[b'x'; 123]));
    assert_eq!(
        served(&longest).0,
        [Seen::Close(Some(1000), "x".repeat(123))]
    );
}

// RFC 6455, 5.5.1: "Close frames sent from client to server must be masked as per Section 5.3."
#[test]
fn a_client_answers_and_starts_a_close_with_a_key() {
    let mut session = Session::client(Settings::default());
    let close = unmasked(FIN | CLOSE, &close_body(1001, b""));
    let (seen, mut wire) = receive(&mut session, &close);
    assert_eq!(seen, [Seen::Close(Some(1001), String::new())]);
    assert!(wire.is_empty() && session.close_received() && !session.is_closed());
    assert!(session.close_masked(Some(CloseCode::GOING_AWAY), "", KEY, &mut wire));
    assert_eq!(wire, masked(FIN | CLOSE, &close_body(1001, b"")));
    assert!(session.is_closed());
    assert!(!session.close_masked(None, "", KEY, &mut wire));
}

// RFC 6455, 5.5.1: "The application MUST NOT send any more data frames after sending a Close frame."
#[test]
fn nothing_follows_our_close_frame() {
    let mut session = server();
    let mut wire = Vec::new();
    assert!(session.close(Some(CloseCode::NORMAL), "done", &mut wire));
    assert_eq!(wire, unmasked(FIN | CLOSE, &close_body(1000, b"done")));
    wire.clear();
    assert!(!session.send(Message::Text("late"), &mut wire));
    assert!(!session.ping(b"", &mut wire));
    assert!(!session.close(Some(CloseCode::NORMAL), "again", &mut wire));
    assert!(wire.is_empty());
}

// RFC 6455, 5.5.1: "there is no guarantee that the endpoint that has already sent a Close frame will
// continue to process data."
#[test]
fn data_after_our_close_frame_is_discarded_and_the_answer_found() {
    let mut session = server();
    session.close(None, "", &mut Vec::new());
    let bytes = [
        masked(FIN | TEXT, b"discarded"),
        masked(TEXT, b"\xff not even validated"),
        masked(FIN | PING, b"p"),
        masked(FIN, &[b'x'; 300]),
        masked(FIN | CLOSE, &close_body(1000, b"")),
    ];
    let (seen, wire) = receive(&mut session, &bytes.concat());
    let closed = Seen::Close(Some(1000), String::new());
    assert_eq!(seen, [Seen::Ping(b"p".to_vec()), closed]);
    assert_eq!(
        wire,
        unmasked(FIN | PONG, b"p"),
        "the close frame is not sent twice"
    );
    assert!(session.is_closed());
}

// RFC 6455, 5.5.1: "After both sending and receiving a Close message, an endpoint considers the WebSocket
// connection closed and MUST close the underlying TCP connection."
#[test]
fn close_frames_in_both_directions_close_the_session() {
    let mut session = server();
    assert!(session.is_open() && !session.is_closed());
    session.close(Some(CloseCode::RESTART), "", &mut Vec::new());
    assert!(!session.is_open() && !session.is_closed() && !session.close_received());
    receive(&mut session, &masked(FIN | CLOSE, &close_body(1012, b"")));
    assert!(session.is_closed() && session.close_received());
}

// RFC 6455, 5.5.1: "If a client and server both send a Close message at the same time, both endpoints
// will have sent and received a Close message and should consider the WebSocket connection closed"
#[test]
fn close_frames_that_cross_are_not_answered() {
    let (mut server, mut client) = (server(), Session::client(Settings::default()));
    let (mut from_server, mut from_client) = (Vec::new(), Vec::new());
    server.close(Some(CloseCode::GOING_AWAY), "", &mut from_server);
    client.close_masked(Some(CloseCode::NORMAL), "", KEY, &mut from_client);
    assert!(receive(&mut server, &from_client).1.is_empty());
    assert!(receive(&mut client, &from_server).1.is_empty());
    assert!(server.is_closed() && client.is_closed());
}

// RFC 6455, 7.1.2: "an endpoint MUST send a Close control frame, as described in Section 5.5.1, whose
// status code is set to /code/ and whose close reason is set to /reason/."
#[test]
fn a_close_carries_code_and_reason_as_far_as_they_fit() {
    let mut wire = Vec::new();
    server().close(Some(CloseCode::POLICY), &"ä".repeat(100), &mut wire);
    let body = close_body(1008, "ä".repeat(61).as_bytes());
    assert_eq!(wire, unmasked(FIN | CLOSE, &body));
}

// RFC 6455, 7.1.3: "Upon either sending or receiving a Close control frame, it is said that _The
// WebSocket Closing Handshake is Started_"
#[test]
fn a_close_frame_of_either_side_ends_the_open_state() {
    let mut ours = server();
    ours.close(None, "", &mut Vec::new());
    assert!(!ours.is_open() && ours.close_sent());
    let mut theirs = Session::client(Settings::default());
    receive(&mut theirs, &unmasked(FIN | CLOSE, b""));
    assert!(!theirs.is_open() && theirs.close_received() && !theirs.close_sent());
}

// RFC 6455, 7.1.5: "If this Close control frame contains no status code, _The WebSocket Connection Close
// Code_ is considered to be 1005."
// RFC 6455, 7.1.6: "If there is no such data in the Close control frame, _The WebSocket Connection Close
// Reason_ is the empty string."
#[test]
fn no_code_is_none_and_no_reason_is_empty() {
    assert_eq!(
        served(&masked(FIN | CLOSE, b"")).0,
        [Seen::Close(None, String::new())]
    );
    let coded = masked(FIN | CLOSE, &close_body(4000, b""));
    assert_eq!(served(&coded).0, [Seen::Close(Some(4000), String::new())]);
}

// RFC 6455, 7.1.7: "the endpoint SHOULD send a Close frame with an appropriate status code (Section 7.4)
// before proceeding to _Close the WebSocket Connection_."
// RFC 6455, 7.1.7: "An endpoint MUST NOT continue to attempt to process data (including a responding
// Close frame) from the remote endpoint after being instructed to _Fail the WebSocket Connection_."
#[test]
fn after_a_violation_everything_is_ignored() {
    let mut session = server();
    let broken = masked(FIN | 3, b"");
    let (seen, wire) = receive(&mut session, &broken);
    assert_eq!(seen, [Seen::Violation(Violation::ReservedOpcode)]);
    assert_eq!(wire, failure(Violation::ReservedOpcode));
    assert!(session.is_closed() && session.close_sent() && !session.close_received());
    let after = [masked(FIN | PING, b""), masked(FIN | CLOSE, b""), broken].concat();
    assert_eq!(receive(&mut session, &after), (vec![], vec![]));
    assert!(!session.send(Message::Text("late"), &mut Vec::new()));
}

// RFC 6455, 7.1.7: "the endpoint SHOULD send a Close frame with an appropriate status code (Section 7.4)"
#[test]
fn a_client_may_tell_the_server_of_its_violation_once() {
    let mut session = Session::client(Settings::default());
    receive(&mut session, &unmasked(FIN | 3, b""));
    assert!(session.is_closed() && !session.close_sent());
    let mut wire = Vec::new();
    assert!(session.close_masked(Some(CloseCode::PROTOCOL_ERROR), "", KEY, &mut wire));
    assert_eq!(wire, masked(FIN | CLOSE, &close_body(1002, b"")));
    assert!(!session.close_masked(None, "", KEY, &mut wire));
}

// RFC 6455, 7.1.7: "An endpoint MAY omit sending a Close frame"
#[test]
fn a_violation_after_our_close_frame_sends_no_second_one() {
    let mut session = server();
    session.close(None, "", &mut Vec::new());
    let (seen, wire) = receive(&mut session, &masked(FIN | 3, b""));
    assert_eq!(seen, [Seen::Violation(Violation::ReservedOpcode)]);
    assert!(wire.is_empty() && session.is_closed());
}

// RFC 6455, 7.3: "Servers MAY close the WebSocket connection whenever desired."
#[test]
fn a_server_may_close_in_the_middle_of_a_message() {
    let mut session = server();
    receive(&mut session, &masked(TEXT, b"half"));
    let mut wire = Vec::new();
    assert!(session.close(Some(CloseCode::GOING_AWAY), "", &mut wire));
    let rest = [masked(FIN, b"way"), masked(FIN | CLOSE, b"")].concat();
    let (seen, _) = receive(&mut session, &rest);
    assert_eq!(seen, [Seen::Close(None, String::new())]);
}

// RFC 6455, 7.4.1: "1005 is a reserved value and MUST NOT be set as a status code in a Close control
// frame by an endpoint."
// RFC 6455, 7.4.1: "1006 is a reserved value and MUST NOT be set as a status code in a Close control
// frame by an endpoint."
// RFC 6455, 7.4.1: "1015 is a reserved value and MUST NOT be set as a status code in a Close control
// frame by an endpoint."
#[test]
fn codes_that_only_describe_are_refused() {
    for code in [1004, 1005, 1006, 1015] {
        let close = masked(FIN | CLOSE, &close_body(code, b""));
        assert_refused(&close, Violation::CloseCodeInvalid);
        assert_eq!(CloseCode::new(code), None);
    }
}

// RFC 6455, 7.4.2: "Status codes in the range 0-999 are not used."
// RFC 6455, 7.4.2: "Status codes in the range 1000-2999 are reserved for definition by this protocol, its
// future revisions, and extensions specified in a permanent and readily available public specification."
#[test]
fn codes_that_nobody_has_defined_are_refused() {
    for code in [0, 1, 999, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let close = masked(FIN | CLOSE, &close_body(code, b"why"));
        assert_refused(&close, Violation::CloseCodeInvalid);
        assert_refused_at_last_byte(&close[..8], Violation::CloseCodeInvalid);
    }
}

// RFC 6455, 7.4.2: "Status codes in the range 3000-3999 are reserved for use by libraries, frameworks,
// and applications."
// RFC 6455, 7.4.2: "Status codes in the range 4000-4999 are reserved for private use and thus can't be
// registered."
#[test]
fn every_defined_code_is_accepted_and_echoed() {
    let defined = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
    ];
    for code in defined.into_iter().chain([3000, 3999, 4000, 4999]) {
        let (seen, wire) = served(&masked(FIN | CLOSE, &close_body(code, b"")));
        assert_eq!(seen, [Seen::Close(Some(code), String::new())]);
        assert_eq!(wire, unmasked(FIN | CLOSE, &close_body(code, b"")));
    }
}
