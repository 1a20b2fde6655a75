//! Close frames: each body is read as RFC 6455, 5.5.1 and 7.4 say, and each close ends both sides.

use tidegate_proto::{CloseCode, Session, Settings, Violation};

use super::cuts::{Half, every_cut_gives_the_same};
use crate::common::{CLOSE, FIN, KEY, Seen, converse, feed, masked, unmasked};

/// RFC 6455, 7.4.1 and 7.4.2, and the registry of 11.7: what may stand in a close frame.
fn may_stand(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// What a body of at most 125 bytes says, rule by rule.
fn meaning(body: &[u8]) -> Seen {
    let (code, reason) = match body {
        [] => return Seen::Close(None, String::new()),
        [_] => return Seen::Violation(Violation::CloseBodyCut),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !may_stand(code) {
        return Seen::Violation(Violation::CloseCodeInvalid);
    }
    match String::from_utf8(reason.to_vec()) {
        Ok(reason) => Seen::Close(Some(code), reason),
        Err(_) => Seen::Violation(Violation::CloseReasonInvalid),
    }
}

/// A body means the same to both halves, however its frame is cut.
pub(crate) fn a_body_is_read_by_the_rules(body: &[u8], sizes: &[usize]) {
    let expected = [meaning(body)];
    for half in [Half::server(100), Half::client(100)] {
        let frame = if half.server {
            masked(FIN | CLOSE, body)
        } else {
            unmasked(FIN | CLOSE, body)
        };
        assert_eq!(converse(half.session(), &[&frame]).0, expected);
        every_cut_gives_the_same(half, &frame, sizes);
    }
}

/// A close says to the peer what it was told to, as far as it fits, and ends both sides.
pub(crate) fn a_close_ends_both_sides(code: Option<u16>, reason: &str, server_first: bool) {
    let code = code.and_then(CloseCode::new);
    let mut server = Session::server(Settings::default());
    let mut client = Session::client(Settings::default());
    let (mut heard_by_client, mut heard_by_server) = (Vec::new(), Vec::new());
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    let first = if server_first {
        assert!(server.close(code, reason, &mut to_client));
        feed(
            &mut client,
            &to_client,
            &mut Vec::new(),
            &mut heard_by_client,
        );
        assert!(client.close_received() && !client.is_closed());
        assert!(client.close_masked(code, "", KEY, &mut to_server));
        feed(
            &mut server,
            &to_server,
            &mut to_client,
            &mut heard_by_server,
        );
        &heard_by_client
    } else {
        assert!(client.close_masked(code, reason, KEY, &mut to_server));
        feed(
            &mut server,
            &to_server,
            &mut to_client,
            &mut heard_by_server,
        );
        feed(
            &mut client,
            &to_client,
            &mut Vec::new(),
            &mut heard_by_client,
        );
        &heard_by_server
    };
    assert!(server.is_closed() && client.is_closed());
    assert!(
        !server.close(code, reason, &mut to_client),
        "one close frame"
    );
    assert_eq!((heard_by_client.len(), heard_by_server.len()), (1, 1));
    let [Seen::Close(said, cut)] = &first[..] else {
        panic!("{first:?}");
    };
    assert_eq!(*said, code.map(CloseCode::value));
    let fits = |size: usize| code.is_some() && size <= 123;
    assert!(reason.starts_with(cut.as_str()) && (cut.is_empty() || fits(cut.len())));
    if let Some(next) = reason[cut.len()..].chars().next() {
        assert!(!fits(cut.len() + next.len_utf8()), "cut too early");
    }
}
