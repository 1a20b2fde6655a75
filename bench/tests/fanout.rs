//! `fanout` against a hub that delivers to all, and lies to one.

mod common;

use common::{BareEcho, Lie, Proxy, measure};

const HONEST: Lie = |_, frame| vec![frame.to_vec()];

#[test]
fn everybody_hears_everything_once() {
    let hub = Proxy::hub(0, HONEST);
    let arguments = [
        "-c",
        "9",
        "-n",
        "60",
        "--publishers",
        "2",
        "--topics",
        "3",
        "--burst",
        "4",
    ];
    let report = measure("fanout", hub.address, &arguments).good();
    assert_eq!(report["messages_sent"], 60);
    // Three topics of three subscribers each.
    assert_eq!(report["messages_expected"], 180);
    assert_eq!(report["messages_received"], 180);
    assert_eq!(report["latency_us"]["count"], 180);
    assert_eq!(report["messages"], 180);
}

#[test]
fn publishers_on_several_threads_wait_for_all() {
    let hub = Proxy::hub(0, HONEST);
    let arguments = [
        "-c",
        "6",
        "-t",
        "3",
        "-n",
        "90",
        "--publishers",
        "4",
        "--binary",
        "-s",
        "20",
    ];
    let report = measure("fanout", hub.address, &arguments).good();
    assert_eq!(report["messages_expected"], 90 * 6);
    assert_eq!(report["messages_received"], 90 * 6);
}

#[test]
fn an_open_loop_counts_every_delivery() {
    let hub = Proxy::hub(0, HONEST);
    let arguments = [
        "-c", "5", "-n", "200", "-r", "10000", "--burst", "5", "-s", "1KiB",
    ];
    let report = measure("fanout", hub.address, &arguments).good();
    assert_eq!(report["messages_received"], 1000);
    assert_eq!(report["loop"], "open");
}

#[test]
fn a_subscriber_that_hears_only_itself_misses_the_others() {
    // The yardstick delivers nothing to anybody else.
    let server = BareEcho::start();
    let report = measure(
        "fanout",
        server.address,
        &["-c", "3", "-n", "10", "-r", "10000"],
    )
    .bad();
    assert_eq!(report["messages_expected"], 30);
    assert_eq!(report["errors"]["lost"], 20);
    let alone = ["-c", "3", "-n", "30", "--topics", "3"];
    measure("fanout", server.address, &alone).good();
}

fn lied(lie: Lie) -> serde_json::Value {
    // An open loop, since a closed one waits for what never comes.
    let hub = Proxy::hub(1, lie);
    let report = measure(
        "fanout",
        hub.address,
        &["-c", "3", "-n", "10", "-r", "10000"],
    )
    .bad();
    assert_eq!(report["messages_expected"], 30);
    report["errors"].clone()
}

#[test]
fn what_one_subscriber_misses_is_lost() {
    assert_eq!(
        lied(|nth, frame| if nth == 4 {
            vec![]
        } else {
            vec![frame.to_vec()]
        })["lost"],
        1
    );
    assert_eq!(
        lied(|nth, frame| if nth >= 8 {
            vec![]
        } else {
            vec![frame.to_vec()]
        })["lost"],
        2
    );
}

#[test]
fn what_one_subscriber_hears_twice_is_doubled() {
    let errors = lied(|nth, frame| vec![frame.to_vec(); if nth == 4 { 2 } else { 1 }]);
    assert_eq!(errors["doubled"], 1);
    assert_eq!(errors["lost"], 0);
}

#[test]
fn what_one_subscriber_hears_changed_is_different() {
    let errors = lied(|nth, frame| {
        let mut frame = frame.to_vec();
        if nth == 4 {
            *frame.last_mut().unwrap() ^= 1;
        }
        vec![frame]
    });
    assert_eq!(errors["mismatched"], 1);
    assert_eq!(errors["lost"], 1);
}

#[test]
fn a_closed_loop_goes_on_without_a_lost_subscriber() {
    let cut: Lie = |nth, frame| {
        if nth == 4 {
            vec![vec![]]
        } else {
            vec![frame.to_vec()]
        }
    };
    let hub = Proxy::hub(1, cut);
    let report = measure("fanout", hub.address, &["-c", "3", "-n", "10"]).bad();
    assert_eq!(report["connections_lost"], 1);
    assert_eq!(report["messages_sent"], 10);
    assert_eq!(report["messages_received"], 10 + 4 + 10);
    assert_eq!(report["errors"]["lost"], 6);
}
