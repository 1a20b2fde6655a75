//! Responses to a client: accepted only with the proof, and judged by their bytes alone.

use tidegate_proto::HeadLimits;
use tidegate_proto::handshake::{Accepted, ClientKey};

use super::requests::{lines, values};
use crate::common::heads::{SAMPLE_ACCEPT, SAMPLE_KEY};

/// What the client of these laws offers.
const PROTOCOLS: [&str; 2] = ["chat", "superchat"];
const EXTENSIONS: [&str; 1] = ["permessage-deflate"];

/// However much of a response has come: what is refused stays refused, what is accepted stays accepted.
/// Whether the whole is accepted; `None` while it is partial.
pub(crate) fn a_response_is_judged_by_its_bytes_alone(
    bytes: &[u8],
    limits: &HeadLimits,
) -> Option<bool> {
    // RFC 6455, 1.3: the nonce of the example.
    let key = ClientKey::new(*b"the sample nonce");
    assert_eq!(key.as_str(), SAMPLE_KEY);
    let whole = key.read_response(bytes, limits);
    for size in 0..bytes.len() {
        match key.read_response(&bytes[..size], limits) {
            Ok(None) => {}
            early => assert_eq!(early, whole, "known after {size}"),
        }
    }
    match whole {
        Ok(None) => {
            assert!(bytes.len() < limits.size_max, "the limit is reached");
            None
        }
        Ok(Some((accepted, size))) => {
            assert!(size <= limits.size_max);
            assert_accepted(&accepted, &bytes[..size]);
            Some(true)
        }
        Err(refusal) => {
            assert!(!refusal.reason.is_empty());
            Some(false)
        }
    }
}

/// RFC 6455, 4.1: what a client must find in the response.
fn assert_accepted(accepted: &Accepted<'_>, head: &[u8]) {
    assert_eq!(head[8..12], *b" 101", "{}", head.escape_ascii());
    let lines = lines(head);
    let [upgrade] = values(&lines, "upgrade")[..] else {
        panic!("not one Upgrade");
    };
    assert!(upgrade.eq_ignore_ascii_case(b"websocket"));
    assert_eq!(
        values(&lines, "sec-websocket-accept"),
        [SAMPLE_ACCEPT.as_bytes()]
    );
    let text = |chosen: Option<&str>| chosen.map(|chosen| chosen.as_bytes().to_vec());
    let first = |name| {
        let values = values(&lines, name);
        assert!(values.len() <= 1, "{name} stands twice");
        values.first().map(|value| value.to_vec())
    };
    assert_eq!(first("sec-websocket-protocol"), text(accepted.protocol));
    assert_eq!(first("sec-websocket-extensions"), text(accepted.extensions));
    if accepted.check(&PROTOCOLS, &EXTENSIONS).is_ok() {
        assert!(
            accepted
                .protocol
                .is_none_or(|chosen| PROTOCOLS.contains(&chosen))
        );
        let names = accepted
            .extensions
            .into_iter()
            .flat_map(|list| list.split(','));
        for element in names {
            let name = element.split(';').next().unwrap_or_default();
            assert_eq!(name.trim_matches([' ', '\t']), EXTENSIONS[0]);
        }
    }
}
