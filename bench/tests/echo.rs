//! `echo` against the yardstick, and against a proxy that lies.

mod common;

use common::{BareEcho, Lie, Proxy, Ran, measure};

const SIZES: [&str; 10] = [
    "0", "1", "7", "8", "20", "125", "126", "1KiB", "4097", "16KiB",
];

#[test]
fn every_size_and_depth_comes_back_as_it_was_sent() {
    let server = BareEcho::start();
    for size in SIZES {
        for (depth, kind) in [("1", "--text"), ("16", "--binary"), ("64", "--text")] {
            let arguments = ["-c", "7", "-n", "1500", "-s", size, "-p", depth, kind];
            let report = measure("echo", server.address, &arguments).good();
            assert_eq!(report["messages"], 1500, "{size} {depth}");
            assert_eq!(report["messages_sent"], 1500);
            assert_eq!(report["latency_us"]["count"], 1500);
            assert_eq!(report["connections_opened"], 7);
        }
    }
}

#[test]
fn threads_share_the_connections_and_the_messages() {
    let server = BareEcho::start();
    let arguments = [
        "-c",
        "5",
        "-t",
        "3",
        "-n",
        "1000",
        "--sources",
        "2",
        "-p",
        "3",
    ];
    let report = measure("echo", server.address, &arguments).good();
    assert_eq!(report["messages"], 1000);
    assert_eq!(report["connections_opened"], 5);
    assert_eq!(report["threads"], 3);
}

#[test]
fn an_open_loop_sends_what_it_was_asked_for() {
    let server = BareEcho::start();
    let arguments = ["-c", "4", "-n", "600", "-r", "20000", "-p", "2"];
    let report = measure("echo", server.address, &arguments).good();
    assert_eq!(report["loop"], "open");
    assert_eq!(report["messages"], 600);
    assert_eq!(report["latency_us"]["count"], 600);
    assert!(report["send_lateness_us"]["count"].as_u64().unwrap() >= 300);
}

#[test]
fn a_duration_ends_by_the_clock_and_loses_nothing() {
    let server = BareEcho::start();
    let arguments = [
        "-c",
        "4",
        "-d",
        "200ms",
        "--warmup",
        "50ms",
        "--pid",
        &server.pid(),
    ];
    let report = measure("echo", server.address, &arguments).good();
    assert_eq!(report["messages_sent"], report["messages_received"]);
    let (counted, sent) = (&report["messages"], &report["messages_sent"]);
    assert!(counted.as_u64().unwrap() > 0 && counted.as_u64().unwrap() < sent.as_u64().unwrap());
}

fn lied(lie: Lie, arguments: &[&str]) -> Ran {
    let proxy = Proxy::liar(lie);
    let mut all = vec!["-c", "1", "-n", "20"];
    all.extend(arguments);
    measure("echo", proxy.address, &all)
}

#[test]
fn an_honest_proxy_is_believed() {
    let report = lied(|_, frame| vec![frame.to_vec()], &[]).good();
    assert_eq!(report["messages"], 20);
}

#[test]
fn a_flipped_byte_is_found_wherever_it_is() {
    let flip: [Lie; 3] = [
        |nth, frame| vec![flipped(frame, if nth == 3 { Some(2) } else { None })],
        |nth, frame| vec![flipped(frame, if nth == 3 { Some(15) } else { None })],
        |nth, frame| {
            vec![flipped(
                frame,
                if nth == 3 {
                    Some(frame.len() - 1)
                } else {
                    None
                },
            )]
        },
    ];
    for lie in flip {
        for depth in ["1", "4"] {
            let ran = lied(lie, &["-p", depth, "--binary"]);
            let report = ran.bad();
            assert_eq!(report["errors"]["mismatched"], 1);
            assert_eq!(report["ok"], false);
            assert!(
                ran.stderr.contains("1 messages came back different"),
                "{}",
                ran.stderr
            );
        }
    }
}

fn flipped(frame: &[u8], at: Option<usize>) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some(at) = at {
        frame[at] ^= 1;
    }
    frame
}

#[test]
fn another_kind_or_length_is_found() {
    let other_kind: Lie =
        |nth, frame| vec![[&[frame[0] ^ (u8::from(nth == 3) * 3)], &frame[1..]].concat()];
    let report = lied(other_kind, &["--text"]).bad();
    assert_eq!(report["errors"]["mismatched"], 1);
    let shorter: Lie = |nth, frame| match nth {
        3 => vec![[&[frame[0], frame[1] - 1], &frame[2..frame.len() - 1]].concat()],
        _ => vec![frame.to_vec()],
    };
    let report = lied(shorter, &[]).bad();
    assert_eq!(report["errors"]["mismatched"], 1);
}

#[test]
fn a_dropped_reply_is_lost() {
    let drop: Lie = |nth, frame| {
        if nth == 3 {
            vec![]
        } else {
            vec![frame.to_vec()]
        }
    };
    // With a pipeline the gap is seen at once; without, the closed loop comes to a stop.
    let report = lied(drop, &["-p", "5"]).bad();
    assert_eq!(report["errors"]["lost"], 1);
    let report = lied(drop, &["-p", "1"]).bad();
    assert_eq!(report["errors"]["lost"], 1);
    assert_eq!(report["messages"], 3);
}

#[test]
fn a_reply_that_comes_twice_is_found() {
    let double: Lie = |nth, frame| vec![frame.to_vec(); if nth == 3 { 2 } else { 1 }];
    for depth in ["1", "5"] {
        let report = lied(double, &["-p", depth]).bad();
        assert_eq!(report["errors"]["doubled"], 1, "{depth}");
        assert_eq!(report["messages"], 20);
    }
}

#[test]
fn pings_are_answered_and_are_no_messages() {
    let ping: Lie = |nth, frame| match nth {
        3 => vec![b"\x89\x02hi".to_vec(), frame.to_vec()],
        _ => vec![frame.to_vec()],
    };
    let report = lied(ping, &[]).good();
    assert_eq!(report["pings"], 1);
    assert_eq!(report["messages"], 20);
}

#[test]
fn a_server_that_closes_is_named_with_its_code() {
    let close: Lie = |nth, frame| match nth {
        3 => vec![b"\x88\x02\x03\xe9".to_vec()],
        4.. => vec![],
        _ => vec![frame.to_vec()],
    };
    let report = lied(close, &[]).bad();
    assert_eq!(report["connections_lost"], 1);
    assert_eq!(report["connection_losses"]["closed by the server: 1001"], 1);
    assert_eq!(report["errors"]["lost"], 1);
}

#[test]
fn a_connection_that_is_cut_is_lost_with_its_messages() {
    let cut: Lie = |nth, frame| {
        if nth == 3 {
            vec![vec![]]
        } else {
            vec![frame.to_vec()]
        }
    };
    let ran = lied(cut, &["-p", "2"]);
    let report = ran.bad();
    assert_eq!(
        report["connection_losses"]["closed without a close frame"],
        1
    );
    // The third and fourth were one batch, of which one came back.
    assert_eq!(report["messages"], 3);
    assert_eq!(report["errors"]["lost"], 1);
    assert!(
        ran.stderr.contains("1 connections were lost"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_masked_frame_from_a_server_breaks_the_protocol() {
    let masked: Lie = |nth, frame| match nth {
        3 => vec![b"\x81\x82\0\0\0\0hi".to_vec()],
        _ => vec![frame.to_vec()],
    };
    let report = lied(masked, &[]).bad();
    assert_eq!(report["connections_lost"], 1);
    let losses = report["connection_losses"].as_object().unwrap();
    assert!(
        losses.keys().all(|cause| cause.starts_with("protocol: ")),
        "{losses:?}"
    );
}
