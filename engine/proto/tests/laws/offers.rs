//! permessage-deflate is negotiated by RFC 7692, whatever is offered and whatever is answered.

use tidegate_proto::HeadLimits;
use tidegate_proto::deflate::{DeflateAgreement, DeflatePolicy, DeflateRefusal, negotiate};
use tidegate_proto::handshake::{HeadStatus, read_request, upgrade};

use crate::common::heads::GOOD;

const NAME: &str = "permessage-deflate";

/// One element that keeps to RFC 7692, 7.1: each parameter once, with a legal value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Element {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<u8>,
    /// In an offer it may stand without a value.
    client_bits: Option<Option<u8>>,
}

impl Element {
    /// Reads the parameters; `None` when one of them breaks a rule.
    fn read<'t>(parameters: impl Iterator<Item = (&'t str, Option<&'t str>)>) -> Option<Self> {
        let mut element = Self::default();
        let mut names = Vec::new();
        for (name, value) in parameters {
            if names.contains(&name) {
                return None;
            }
            names.push(name);
            // RFC 6455, 9.1: quotes and escapes are not part of the value.
            let value = value.map(|value| value.replace('\\', ""));
            let bits = value.as_ref().map(|value| {
                let bits = value.parse().ok().filter(|bits| (8..=15).contains(bits));
                bits.filter(|bits: &u8| bits.to_string() == *value)
            });
            match (name, bits) {
                ("server_no_context_takeover", None) => element.server_no_takeover = true,
                ("client_no_context_takeover", None) => element.client_no_takeover = true,
                ("server_max_window_bits", Some(Some(bits))) => element.server_bits = Some(bits),
                ("client_max_window_bits", None) => element.client_bits = Some(None),
                ("client_max_window_bits", Some(Some(bits))) => {
                    element.client_bits = Some(Some(bits));
                }
                _ => return None,
            }
        }
        Some(element)
    }

    /// Reads one element as plain text.
    fn read_text(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(|part| part.trim_matches([' ', '\t']));
        if parts.next() != Some(NAME) {
            return None;
        }
        let trim = |part: &'_ str| part.trim_matches([' ', '\t']).to_owned();
        let parameters: Vec<(String, Option<String>)> = parts
            .map(|part| match part.split_once('=') {
                None => (part.to_owned(), None),
                Some((name, value)) => {
                    let value = trim(value);
                    let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
                    (trim(name), Some(quoted.unwrap_or(&value).to_owned()))
                }
            })
            .collect();
        Self::read(
            parameters
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_deref())),
        )
    }
}

pub(crate) fn text(agreement: DeflateAgreement) -> String {
    let mut value = String::new();
    agreement.write_response(&mut value);
    value
}

/// The four facts on which both sides must agree.
pub(crate) fn facts(agreement: DeflateAgreement) -> (bool, bool, u8, u8) {
    (
        agreement.server_takeover(),
        agreement.client_takeover(),
        agreement.server_window_bits(),
        agreement.client_window_bits(),
    )
}

/// The first offer that can be kept is taken, and the answer is legal for it. `None` when there is no
/// upgrade, for the lines break the grammar; otherwise whether one was taken.
pub(crate) fn offers_are_answered_legally(lines: &[&[u8]], policy: DeflatePolicy) -> Option<bool> {
    let mut head = format!("GET / HTTP/1.1\r\n{}\r\n", GOOD.join("\r\n")).into_bytes();
    for line in lines {
        head.extend([b"Sec-WebSocket-Extensions: ", *line, b"\r\n"].concat());
    }
    head.extend_from_slice(b"\r\n");
    let Ok(HeadStatus::Complete { request, .. }) = read_request(&head, &HeadLimits::default())
    else {
        return None;
    };
    let upgrade = upgrade(&request).ok()?;
    let offers = upgrade.extensions().filter(|offer| offer.name == NAME);
    let mut legal = offers.filter_map(|offer| Element::read(offer.parameters()));
    // A window of 8 bits is legal to offer, and none that zlib can keep.
    let taken = legal.find(|offer| offer.server_bits != Some(8));
    let agreement = negotiate(upgrade.extensions(), policy);
    assert_eq!(agreement.is_some(), taken.is_some(), "{lines:?}");
    if let (Some(agreement), Some(offer)) = (agreement, taken) {
        assert_legal(offer, policy, agreement);
    }
    Some(agreement.is_some())
}

/// RFC 7692, 7.1: each parameter of the answer against that of the offer and of our own policy.
fn assert_legal(offer: Element, policy: DeflatePolicy, agreement: DeflateAgreement) {
    let written = text(agreement);
    let context = format!("{offer:?} → {written} ({policy:?})");
    let answer = Element::read_text(&written).unwrap_or_else(|| panic!("malformed: {context}"));
    let (server_takeover, client_takeover, server_bits, client_bits) = facts(agreement);
    assert_eq!(answer.server_no_takeover, !server_takeover, "{context}");
    assert_eq!(answer.client_no_takeover, !client_takeover, "{context}");
    assert!(
        answer.server_no_takeover || !offer.server_no_takeover,
        "{context}"
    );
    assert!(
        policy.takeover || !server_takeover && !client_takeover,
        "{context}"
    );
    // RFC 7692, 7.1.2.1: accepted by naming it, with the same or a smaller value.
    assert!(
        answer.server_bits.is_some() || offer.server_bits.is_none(),
        "{context}"
    );
    let told = answer.server_bits.unwrap_or(15);
    assert!(
        told >= 9 && told <= offer.server_bits.unwrap_or(15),
        "{context}"
    );
    assert!(
        told == server_bits && told <= policy.server_window_bits,
        "{context}"
    );
    // RFC 7692, 7.1.2.2: named only where it was offered, and then with a value.
    assert!(
        answer.client_bits.is_none() || offer.client_bits.is_some(),
        "{context}"
    );
    assert_ne!(answer.client_bits, Some(None), "{context}");
    let limit = offer.client_bits.flatten().unwrap_or(15);
    let told = answer.client_bits.flatten();
    assert!(
        told.is_none_or(|bits| (9..=limit).contains(&bits)),
        "{context}"
    );
    // RFC 7692, 7.1.2.2: what the offer said is a hint; only what is named binds the client. A client
    // that is bound to no window small enough takes no context over.
    assert_eq!(client_bits, told.unwrap_or(15), "{context}");
    assert!(
        !client_takeover || client_bits <= policy.client_window_bits,
        "{context}"
    );
}

/// A client takes exactly the answers that keep to its offer, and understands them as they were meant.
pub(crate) fn an_answer_is_held_to_the_offer(policy: DeflatePolicy, answer: &str) -> bool {
    let accepted = policy.accept_response(Some(answer));
    let Ok(agreement) = accepted else {
        return false;
    };
    let agreement = agreement.expect("an answer is no silence");
    let read = Element::read_text(answer).unwrap_or_else(|| panic!("malformed: {answer:?}"));
    assert_ne!(read.client_bits, Some(None), "{answer:?}");
    assert!(policy.takeover || read.server_no_takeover, "{answer:?}");
    let client = read.client_bits.flatten();
    assert!(client.is_none_or(|bits| (9..=policy.client_window_bits).contains(&bits)));
    let server = read.server_bits.unwrap_or(15);
    assert!(server <= policy.server_window_bits, "{answer:?}");
    let client_takeover = policy.takeover && !read.client_no_takeover;
    let client = client.unwrap_or(policy.client_window_bits);
    let expected = (!read.server_no_takeover, client_takeover, server, client);
    assert_eq!(facts(agreement), expected, "{answer:?}");
    true
}

/// Our server and our client come to the same agreement, whatever each of them wants.
pub(crate) fn both_halves_agree(client: DeflatePolicy, server: DeflatePolicy) -> DeflateAgreement {
    let mut offer = String::new();
    client.write_offer(&mut offer);
    assert_eq!(
        offers_are_answered_legally(&[offer.as_bytes()], server),
        Some(true)
    );
    let header = format!("Sec-WebSocket-Extensions: {offer}");
    let head = crate::common::heads::good_with(&[&header]);
    let upgrade = crate::common::heads::accept(&head).unwrap();
    let agreement = negotiate(upgrade.extensions(), server).unwrap();
    let response = text(agreement);
    assert!(
        an_answer_is_held_to_the_offer(client, &response),
        "{offer} → {response}"
    );
    let accepted = client.accept_response(Some(&response));
    let accepted: Result<_, DeflateRefusal> = accepted.map(|accepted| accepted.map(facts));
    assert_eq!(accepted, Ok(Some(facts(agreement))), "{offer} → {response}");
    agreement
}
