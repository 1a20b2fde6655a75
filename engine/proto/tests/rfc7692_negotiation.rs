//! RFC 7692, sections 5 and 7.1: each rule of the negotiation, quoted, and what is answered.

mod common;
mod laws;

use common::heads::{accept, good_with};
use laws::offers::{self, text};
use proptest::prelude::*;
use tidegate_proto::deflate::{DeflateAgreement, DeflatePolicy, DeflateRefusal, negotiate};

const TAKEOVER: DeflatePolicy = DeflatePolicy {
    takeover: true,
    server_window_bits: 11,
    client_window_bits: 12,
};

/// What a server agrees to when a client sends these lines.
fn agree(lines: &[&str], policy: DeflatePolicy) -> Option<DeflateAgreement> {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("Sec-WebSocket-Extensions: {line}"))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let request = good_with(&lines);
    negotiate(
        accept(&request).expect("a good request").extensions(),
        policy,
    )
}

/// The answer to an offer with these parameters.
fn answer(parameters: &str, policy: DeflatePolicy) -> Option<String> {
    agree(&[&format!("permessage-deflate{parameters}")], policy).map(text)
}

fn shared(parameters: &str) -> Option<String> {
    answer(parameters, DeflatePolicy::SHARED)
}

fn takeover(parameters: &str) -> Option<String> {
    answer(parameters, TAKEOVER)
}

fn some(parameters: &str) -> Option<String> {
    Some(format!("permessage-deflate{parameters}"))
}

const NEITHER: &str = "; server_no_context_takeover; client_no_context_takeover";

// RFC 7692, 5: "The order of elements is important as it specifies the client's preference."
#[test]
fn the_first_offer_that_can_be_kept_is_taken() {
    let line = "x-other, permessage-deflate; server_max_window_bits=8, \
        permessage-deflate; server_max_window_bits=10, permessage-deflate";
    let agreement = agree(&[line], DeflatePolicy::SHARED).unwrap();
    assert_eq!(agreement.server_window_bits(), 10);
    let lines = [
        "x-other",
        "permessage-deflate; unknown",
        "permessage-deflate; server_max_window_bits=13",
    ];
    assert_eq!(
        agree(&lines, DeflatePolicy::SHARED)
            .unwrap()
            .server_window_bits(),
        13
    );
    assert_eq!(
        agree(&["x-webkit-deflate-frame, x-other"], DeflatePolicy::SHARED),
        None
    );
    assert_eq!(agree(&[], DeflatePolicy::SHARED), None);
    assert_eq!(agree(&["Permessage-Deflate"], DeflatePolicy::SHARED), None);
}

// RFC 7692, 7: "A server MUST decline an extension negotiation offer for this extension if any of the
// following conditions are met"
// RFC 7692, 7: "The negotiation offer contains an extension parameter not defined for use in an offer."
// RFC 7692, 7: "The negotiation offer contains an extension parameter with an invalid value."
// RFC 7692, 7: "The negotiation offer contains multiple extension parameters with the same name."
#[test]
fn a_malformed_offer_is_declined_and_the_next_one_taken() {
    let names = [
        "server_no_context_takeover",
        "client_no_context_takeover",
        "server_max_window_bits=10",
        "client_max_window_bits",
    ];
    let mut malformed: Vec<String> = names.iter().map(|name| format!("{name}; {name}")).collect();
    let single = [
        "unknown",
        "Server_no_context_takeover",
        "server_no_context_takeover=1",
        "client_no_context_takeover=true",
        "server_max_window_bits",
        "client_max_window_bits; client_max_window_bits=9",
        "server_max_window_bits=9; x; client_max_window_bits",
    ];
    malformed.extend(single.map(str::to_owned));
    for value in [
        "0",
        "7",
        "16",
        "08",
        "015",
        "+9",
        "-9",
        "9.0",
        "a",
        "256",
        "99999999999999999999",
    ] {
        malformed.push(format!("server_max_window_bits={value}"));
        malformed.push(format!("client_max_window_bits={value}"));
        malformed.push(format!("client_max_window_bits=\"{value}\""));
    }
    for parameters in malformed {
        let parameters = format!("; {parameters}");
        assert_eq!(shared(&parameters), None, "{parameters}");
        assert_eq!(takeover(&parameters), None, "{parameters}");
        let line = format!("permessage-deflate{parameters}, permessage-deflate");
        assert_eq!(
            agree(&[&line], DeflatePolicy::SHARED).map(text),
            some(NEITHER),
            "{parameters}"
        );
    }
}

// RFC 7692, 7.1.1.1: "a client prevents the peer server from using context takeover"
#[test]
fn a_server_keeps_no_context_when_it_is_told_so() {
    assert_eq!(shared(""), some(NEITHER));
    let windows = "; server_max_window_bits=11; client_max_window_bits=12";
    assert_eq!(takeover("; client_max_window_bits"), some(windows));
    let told = "; server_no_context_takeover; client_max_window_bits";
    assert_eq!(
        takeover(told),
        some(&format!("; server_no_context_takeover{windows}"))
    );
    let agreement = agree(&[&format!("permessage-deflate{told}")], TAKEOVER).unwrap();
    assert!(!agreement.server_takeover() && agreement.client_takeover());
}

// RFC 7692, 7.1.1.2: "a client informs the peer server of a hint that even if the server doesn't include
// the "client_no_context_takeover" extension parameter in the corresponding extension negotiation
// response to the offer, the client is not going to use context takeover."
#[test]
fn the_hint_of_a_client_is_made_binding() {
    let told = "; client_no_context_takeover";
    assert_eq!(
        takeover(told),
        some("; client_no_context_takeover; server_max_window_bits=11")
    );
    let agreement = agree(&[&format!("permessage-deflate{told}")], TAKEOVER).unwrap();
    assert!(agreement.server_takeover() && !agreement.client_takeover());
}

// RFC 7692, 7.1.2.1: "a client limits the LZ77 sliding window size that the server will use to compress
// messages"
#[test]
fn a_window_of_the_server_is_the_smaller_of_both() {
    for bits in 9..=15 {
        let parameter = format!("; server_max_window_bits={bits}");
        let expected = format!("{NEITHER}{parameter}");
        assert_eq!(shared(&parameter), some(&expected));
        let smaller = format!(
            "; client_no_context_takeover; server_max_window_bits={}",
            bits.min(11)
        );
        assert_eq!(takeover(&parameter), some(&smaller));
    }
    let quoted = shared("; server_max_window_bits=\"1\\0\"");
    assert_eq!(
        quoted,
        some(&format!("{NEITHER}; server_max_window_bits=10"))
    );
}

// RFC 7692, 7.1.2.1: "This parameter has a decimal integer value without leading zeroes between 8 to 15,
// inclusive, indicating the base-2 logarithm of the LZ77 sliding window size"
#[test]
fn a_window_that_cannot_be_kept_is_never_promised() {
    for policy in [DeflatePolicy::SHARED, TAKEOVER] {
        assert_eq!(answer("; server_max_window_bits=8", policy), None);
        let client = answer("; client_max_window_bits=8", policy).unwrap();
        assert!(!client.contains("=8"), "{client}");
    }
}

// RFC 7692, 7.1.2.2: "If a received extension negotiation offer doesn't have the "client_max_window_bits"
// extension parameter, the corresponding extension negotiation response to the offer MUST NOT include
// the "client_max_window_bits" extension parameter."
#[test]
fn a_window_of_the_client_is_named_only_where_it_was_offered() {
    let unlimited = "; client_no_context_takeover; server_max_window_bits=11";
    assert_eq!(takeover(""), some(unlimited));
    let both = "; server_max_window_bits=11; client_max_window_bits=12";
    assert_eq!(takeover("; client_max_window_bits"), some(both));
    assert_eq!(takeover("; client_max_window_bits=15"), some(both));
    assert_eq!(shared("; client_max_window_bits"), some(NEITHER));
}

// RFC 7692, 7.2.2: "Otherwise, the server MUST use a 32,768-byte LZ77 sliding window to decompress
// received messages."
#[test]
fn a_client_that_is_bound_to_no_window_takes_no_context_over() {
    let agreed = |offer: &str, client_window_bits| {
        let policy = DeflatePolicy {
            client_window_bits,
            ..TAKEOVER
        };
        agree(&[&format!("permessage-deflate{offer}")], policy).unwrap()
    };
    for bits in 9..=15 {
        // It may use the largest, which would have to be held from message to message.
        for offer in ["", "; client_max_window_bits=8"] {
            assert_eq!(agreed(offer, bits).client_takeover(), bits == 15, "{bits}");
            assert_eq!(agreed(offer, bits).client_window_bits(), 15, "{bits}");
        }
        for offer in ["; client_max_window_bits", "; client_max_window_bits=15"] {
            assert!(agreed(offer, bits).client_takeover(), "{offer} {bits}");
            assert_eq!(agreed(offer, bits).client_window_bits(), bits, "{offer}");
        }
    }
}

// RFC 7692, 7.2.1, 7.2.2: "The client-to-server "client_max_window_bits" extension parameter is just a hint
// for the server to build an extension negotiation response."
#[test]
fn the_window_that_a_client_hints_at_is_made_binding() {
    for bits in 9..15u8 {
        let offer = format!("; client_max_window_bits={bits}");
        assert_eq!(shared(&offer), some(&format!("{NEITHER}{offer}")));
        let smaller = bits.min(12);
        let expected = format!("; server_max_window_bits=11; client_max_window_bits={smaller}");
        assert_eq!(takeover(&offer), some(&expected));
    }
    // What would be no limit is not named.
    assert_eq!(shared("; client_max_window_bits=15"), some(NEITHER));
}

/// Every combination of the four parameters with every legal value.
fn legal_offers() -> Vec<String> {
    let bits = |name: &str| {
        (8..=15)
            .map(move |bits| format!("; {name}={bits}"))
            .collect::<Vec<_>>()
    };
    let mut server = bits("server_max_window_bits");
    server.push(String::new());
    let mut client = bits("client_max_window_bits");
    client.extend([String::new(), "; client_max_window_bits".to_owned()]);
    let mut offers = Vec::new();
    for flags in 0..4 {
        let first = if flags & 1 == 1 {
            "; server_no_context_takeover"
        } else {
            ""
        };
        let second = if flags & 2 == 2 {
            "; client_no_context_takeover"
        } else {
            ""
        };
        for server in &server {
            for client in &client {
                offers.push(format!("{client}{first}{server}{second}"));
            }
        }
    }
    offers
}

// RFC 7692, 7: "The server doesn't support the offered configuration."
#[test]
fn every_legal_offer_is_answered_legally() {
    let mut policies = Vec::new();
    for server_window_bits in 9..=15 {
        for client_window_bits in 9..=15 {
            for takeover in [false, true] {
                policies.push(DeflatePolicy {
                    takeover,
                    server_window_bits,
                    client_window_bits,
                });
            }
        }
    }
    let (mut declined, mut answered) = (0, 0);
    for parameters in legal_offers() {
        let offer = format!("permessage-deflate{parameters}");
        for policy in &policies {
            let taken = offers::offers_are_answered_legally(&[offer.as_bytes()], *policy);
            let eight = offer.contains("server_max_window_bits=8");
            assert_eq!(taken, Some(!eight), "{offer}");
            if eight {
                declined += 1;
            } else {
                answered += 1;
            }
        }
    }
    assert_eq!((declined, answered), (4 * 10 * 98, 4 * 8 * 10 * 98));
}

// RFC 7692, 7: "A client MUST _Fail the WebSocket Connection_ if the peer server accepted an extension
// negotiation offer for this extension with an extension negotiation response meeting any of the
// following conditions"
#[test]
fn an_answer_that_does_not_keep_to_the_offer_is_refused() {
    let cases = [
        ("x-other", DeflateRefusal::NotOffered),
        (
            "permessage-deflate, permessage-deflate",
            DeflateRefusal::Malformed,
        ),
        ("", DeflateRefusal::Malformed),
        ("permessage-deflate;", DeflateRefusal::Malformed),
        ("permessage-deflate; unknown", DeflateRefusal::Malformed),
        (
            "permessage-deflate; server_no_context_takeover=1",
            DeflateRefusal::Malformed,
        ),
        (
            "permessage-deflate; client_max_window_bits",
            DeflateRefusal::Malformed,
        ),
        (
            "permessage-deflate; server_max_window_bits",
            DeflateRefusal::Malformed,
        ),
        (
            "permessage-deflate; server_max_window_bits=12",
            DeflateRefusal::NotKept,
        ),
        ("permessage-deflate", DeflateRefusal::NotKept),
        (
            "permessage-deflate; server_max_window_bits=11; client_max_window_bits=13",
            DeflateRefusal::NotKept,
        ),
        (
            "permessage-deflate; server_max_window_bits=11; client_max_window_bits=8",
            DeflateRefusal::WindowTooSmall,
        ),
    ];
    for (response, refusal) in cases {
        assert_eq!(
            TAKEOVER.accept_response(Some(response)),
            Err(refusal),
            "{response}"
        );
    }
    let without = DeflatePolicy::SHARED.accept_response(Some("permessage-deflate"));
    assert_eq!(
        without,
        Err(DeflateRefusal::NotKept),
        "server_no_context_takeover was offered"
    );
}

#[test]
fn both_halves_come_to_the_same_agreement() {
    for server_window_bits in 9..=15 {
        for client_window_bits in 9..=15 {
            for takeover in [false, true] {
                let client = DeflatePolicy {
                    takeover,
                    server_window_bits,
                    client_window_bits,
                };
                for server in [DeflatePolicy::SHARED, TAKEOVER] {
                    offers::both_halves_agree(client, server);
                }
            }
        }
    }
    assert_eq!(
        TAKEOVER.accept_response(None),
        Ok(None),
        "nothing was taken"
    );
}

#[test]
fn a_thousand_offers_are_each_read_once() {
    let declined = "permessage-deflate; server_max_window_bits=8";
    let request_line = vec![declined; 150].join(", ");
    assert_eq!(agree(&[&request_line], DeflatePolicy::SHARED), None);
    let offers = accept_many(&format!(
        "{}, permessage-deflate",
        vec!["a"; 1000].join(", ")
    ));
    assert_eq!(offers, some(NEITHER));
}

fn accept_many(line: &str) -> Option<String> {
    agree(&[line], DeflatePolicy::SHARED).map(text)
}

#[test]
fn the_agreement_stands_in_the_response() {
    let request = good_with(&["Sec-WebSocket-Extensions: permessage-deflate"]);
    let upgrade = accept(&request).unwrap();
    let value = text(negotiate(upgrade.extensions(), DeflatePolicy::SHARED).unwrap());
    let mut wire = Vec::new();
    upgrade.write_response(None, &[("Sec-WebSocket-Extensions", &value)], &mut wire);
    let expected = format!("\r\nSec-WebSocket-Extensions: permessage-deflate{NEITHER}\r\n\r\n");
    assert!(String::from_utf8(wire).unwrap().ends_with(&expected));
}

/// Parameters as they may stand in an element, right and wrong.
fn parameters() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("server_no_context_takeover"),
        Just("client_no_context_takeover"),
        Just("server_max_window_bits"),
        Just("client_max_window_bits"),
        Just("x"),
    ];
    let value = prop_oneof![
        5 => Just(String::new()),
        5 => (7u8..17).prop_map(|bits| format!("={bits}")),
        1 => (8u8..16).prop_map(|bits| format!(" = \"{bits}\"")),
        1 => "=[0-9a-z\"\\\\]{0,3}",
    ];
    let parameter = (name, value).prop_map(|(name, value)| format!("; {name}{value}"));
    prop::collection::vec(parameter, 0..4).prop_map(|parameters| parameters.concat())
}

fn policies() -> impl Strategy<Value = DeflatePolicy> {
    (any::<bool>(), 9u8..=15, 9u8..=15).prop_map(|(takeover, server, client)| DeflatePolicy {
        takeover,
        server_window_bits: server,
        client_window_bits: client,
    })
}

proptest! {
    #[test]
    fn random_offers_and_answers_are_held_to_the_rules(
        elements in prop::collection::vec(parameters(), 1..4),
        policy in policies(),
        other in policies(),
    ) {
        let elements: Vec<String> =
            elements.iter().map(|element| format!("permessage-deflate{element}")).collect();
        let lines: Vec<&[u8]> = elements.iter().map(String::as_bytes).collect();
        let in_lines = offers::offers_are_answered_legally(&lines, policy);
        let in_one = elements.join(", ");
        prop_assert_eq!(offers::offers_are_answered_legally(&[in_one.as_bytes()], policy), in_lines);
        offers::an_answer_is_held_to_the_offer(policy, &elements[0]);
        offers::both_halves_agree(policy, other);
    }
}
