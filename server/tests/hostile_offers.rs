//! Offers of compression that no honest client makes: each is declined or refused, in every tier
//! of compression, and nothing of it is ever repeated.

mod support;

use support::deflate::{self, Contexts, OFFER};
use support::server::Server;
use support::stage::Stage;
use support::wire::{self, TEXT};

const TIERS: [&str; 3] = ["off", "shared", "takeover"];

#[track_caller]
fn stage(tier: &str) -> Stage {
    Stage::around(Server::with(&["--compression", tier]))
}

/// How an offer is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// With the extension, where the tier has it.
    Taken,
    /// With a WebSocket without it.
    Declined,
    /// With a 400: it breaks the grammar of the header line.
    Refused,
}

/// The parameters of one offer, and the answer that the RFC allows.
const OFFERS: [(&str, Answer); 34] = [
    ("", Answer::Taken),
    ("; client_max_window_bits", Answer::Taken),
    ("; client_max_window_bits=15", Answer::Taken),
    ("; client_max_window_bits=8", Answer::Taken),
    ("; client_max_window_bits=\"10\"", Answer::Taken),
    ("; server_max_window_bits=9", Answer::Taken),
    ("; server_max_window_bits=\"15\"", Answer::Taken),
    ("; server_no_context_takeover", Answer::Taken),
    ("; client_no_context_takeover", Answer::Taken),
    // zlib has no window of 8 bits, so it is not promised.
    ("; server_max_window_bits=8", Answer::Declined),
    ("; server_max_window_bits=7", Answer::Declined),
    ("; server_max_window_bits=16", Answer::Declined),
    ("; server_max_window_bits=08", Answer::Declined),
    ("; server_max_window_bits=0", Answer::Declined),
    ("; server_max_window_bits=-9", Answer::Declined),
    ("; server_max_window_bits=1e1", Answer::Declined),
    (
        "; server_max_window_bits=99999999999999999999",
        Answer::Declined,
    ),
    ("; server_max_window_bits", Answer::Declined),
    ("; server_max_window_bits=\"7\"", Answer::Declined),
    ("; client_max_window_bits=7", Answer::Declined),
    ("; client_max_window_bits=16", Answer::Declined),
    ("; client_max_window_bits=08", Answer::Declined),
    ("; client_max_window_bits=\"16\"", Answer::Declined),
    ("; server_no_context_takeover=1", Answer::Declined),
    ("; client_no_context_takeover=\"true\"", Answer::Declined),
    (
        "; client_max_window_bits; client_max_window_bits",
        Answer::Declined,
    ),
    (
        "; server_max_window_bits=9; server_max_window_bits=9",
        Answer::Declined,
    ),
    (
        "; server_no_context_takeover; server_no_context_takeover",
        Answer::Declined,
    ),
    ("; unknown", Answer::Declined),
    ("; unknown=10", Answer::Declined),
    ("; server_max_window_bits=", Answer::Refused),
    ("; client_max_window_bits=\"\"", Answer::Refused),
    ("; client_max_window_bits=\"10", Answer::Refused),
    ("; client_max_window_bits=1 0", Answer::Refused),
];

/// Expects that the answer consists of what a server may say, and of nothing that a client wrote.
#[track_caller]
fn assert_legal(extension: &str, offer: &str) {
    let mut parts = extension.split("; ");
    assert_eq!(parts.next(), Some("permessage-deflate"), "{offer}");
    let mut seen = Vec::new();
    for part in parts {
        let (name, value) = part
            .split_once('=')
            .map_or((part, None), |(name, value)| (name, Some(value)));
        let legal = match name {
            "server_no_context_takeover" | "client_no_context_takeover" => value.is_none(),
            "server_max_window_bits" | "client_max_window_bits" => {
                let bits = value.and_then(|bits| bits.parse::<u8>().ok());
                bits.is_some_and(|bits| {
                    (8..=15).contains(&bits) && Some(bits.to_string().as_str()) == value
                })
            }
            _ => false,
        };
        assert!(legal && !seen.contains(&name), "{offer}: {extension}");
        seen.push(name);
    }
    // RFC 7692, 7.1.2.2: without this parameter in the offer the server must not answer it.
    let told = seen.contains(&"client_max_window_bits");
    assert!(
        !told || offer.contains("client_max_window_bits"),
        "{offer}: {extension}"
    );
}

#[test]
fn offers_are_taken_declined_or_refused_in_every_tier() {
    for tier in TIERS {
        let mut stage = stage(tier);
        for (parameters, answer) in OFFERS {
            let line = format!("Sec-WebSocket-Extensions: permessage-deflate{parameters}");
            let mut client = stage.server.connect();
            if answer == Answer::Refused {
                client.send(wire::upgrade("/echo", &[&line]).as_bytes());
                assert_eq!(client.head().status, 400, "{line}");
                continue;
            }
            let mut client = client.upgraded_with("/echo", &[&line]);
            let taken = answer == Answer::Taken && tier != "off";
            assert_eq!(client.extension.is_some(), taken, "{line} in tier {tier}");
            if let Some(extension) = &client.extension {
                assert_legal(extension, &line);
                // What both promised is kept, whatever it was.
                let mut receiver = Contexts::new();
                for number in 0..20 {
                    let text =
                        format!("{{\"number\":{number},\"text\":\"{}\"}}", "abc ".repeat(60));
                    client.send(&deflate::frame(TEXT, text.as_bytes()));
                    client.expects_inflated(&mut receiver, TEXT, text.as_bytes());
                }
            }
            client.echoes("opened");
            client.closes();
        }
        stage.is_unharmed();
    }
}

#[test]
fn the_first_offer_that_can_be_kept_is_taken_out_of_a_thousand() {
    let bad = "permessage-deflate; server_max_window_bits=8, ";
    let lines = [
        // 8 KiB of head hold this many.
        format!(
            "Sec-WebSocket-Extensions: {}permessage-deflate",
            "x, ".repeat(2_000)
        ),
        format!(
            "Sec-WebSocket-Extensions: {}permessage-deflate",
            bad.repeat(150)
        ),
        "Sec-WebSocket-Extensions: x; y=z\r\n".repeat(55)
            + "Sec-WebSocket-Extensions: permessage-deflate",
        format!(
            "Sec-WebSocket-Extensions: x{}, permessage-deflate",
            ";a".repeat(3_000)
        ),
    ];
    for tier in TIERS {
        let mut stage = stage(tier);
        for line in &lines {
            let client = stage.server.connect().upgraded_with("/echo", &[line]);
            let shown = &line[..60];
            assert_eq!(
                client.extension.is_some(),
                tier != "off",
                "{shown} in tier {tier}"
            );
            client.closes();
        }
        let all_bad = bad.repeat(150) + "x";
        let line = format!("Sec-WebSocket-Extensions: {all_bad}");
        let client = stage.server.connect().upgraded_with("/echo", &[&line]);
        assert_eq!(client.extension, None);
        client.closes();
        // More than a head holds.
        let mut client = stage.server.connect();
        let line = format!("Sec-WebSocket-Extensions: {}", bad.repeat(1_000));
        let _ = client.try_send(wire::upgrade("/echo", &[&line]).as_bytes());
        assert_eq!(client.head().status, 431);
        drop(client);
        stage.is_unharmed();
    }
}

#[test]
fn line_ends_in_offers_and_subprotocols_are_never_repeated() {
    // RFC 6455, 9.1 and 4.1: none of these is a token, and what is no token is a 400.
    let values = [
        "a\rX-Evil: b",
        "a\r X-Evil: b",
        "a\0b",
        "a\x0bb",
        "a\"b",
        "<script>",
        "a\u{85}b",
        "a/b",
        "a b",
    ];
    for tier in TIERS {
        let mut stage = stage(tier);
        for name in ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"] {
            for value in values {
                for line in [
                    format!("{name}: {value}"),
                    format!("{name}: permessage-deflate, {value}"),
                    format!("{name}: permessage-deflate; {value}"),
                    format!("{name}: permessage-deflate; unknown=\"{value}\""),
                ] {
                    let mut client = stage.server.connect();
                    client.send(wire::upgrade("/echo", &[&line]).as_bytes());
                    let response = client.head();
                    assert_eq!(response.status, 400, "{line:?}: {response:?}");
                    assert!(!response.head.contains("Evil"), "{line:?}: {response:?}");
                    assert!(
                        !String::from_utf8_lossy(&client.all()).contains("Evil"),
                        "{line:?}"
                    );
                }
            }
        }
        // A whole line end does inject a line of the request, and none of the answer.
        let line = "Sec-WebSocket-Protocol: a\r\nSet-Cookie: evil=1";
        let mut client = stage.server.connect();
        client.send(wire::upgrade("/echo", &[line]).as_bytes());
        let response = client.head();
        assert_eq!(response.status, 101);
        assert!(!response.head.contains("evil"), "{response:?}");
        drop(client);
        stage.is_unharmed();
    }
}

#[test]
fn safari_15_0_to_15_3_gets_no_compression_and_every_other_one_does() {
    let desktop =
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)";
    let telephone = "Mozilla/5.0 (iPhone; CPU iPhone OS 15_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)";
    let agents = [
        (format!("{desktop} Version/15.0 Safari/605.1.15"), false),
        (format!("{desktop} Version/15.1 Safari/605.1.15"), false),
        (format!("{desktop} Version/15.2 Safari/605.1.15"), false),
        (format!("{desktop} Version/15.3 Safari/605.1.15"), false),
        (
            format!("{telephone} Version/15.1 Mobile/15E148 Safari/604.1"),
            false,
        ),
        (format!("{desktop} Version/15.4 Safari/605.1.15"), true),
        (format!("{desktop} Version/14.1.2 Safari/605.1.15"), true),
        (format!("{desktop} Version/17.0 Safari/605.1.15"), true),
        (
            format!("{telephone} CriOS/97.0 Mobile/15E148 Safari/604.1"),
            true,
        ),
        ("curl/8.5.0".to_owned(), true),
    ];
    for tier in &TIERS[1..] {
        let mut stage = stage(tier);
        for (agent, compressed) in &agents {
            let line = format!("User-Agent: {agent}");
            let client = stage
                .server
                .connect()
                .upgraded_with("/echo", &[OFFER, &line]);
            assert_eq!(
                client.extension.is_some(),
                *compressed,
                "{agent} in tier {tier}"
            );
            client.closes();
        }
        stage.is_unharmed();
    }
}
