//! Connections opened to be dropped, and more of them than there are descriptors.

mod support;

use std::time::Duration;

use rustix::process::Signal;
use support::client::Client;
use support::clock;
use support::exposition::Exposition;
use support::process::TICKS_PER_SECOND;
use support::server::Server;
use support::skip;
use support::stage::Stage;
use support::wire::{self, TEXT};

#[test]
fn a_full_file_table_costs_no_cpu_and_heals() {
    let server = Server::with_descriptors(100, &[]);
    let mut early = server.open("/echo");
    early.echoes("before");
    let process = server.process();
    // Opening more than there are descriptors: the kernel answers the rest of the connects
    // itself, and queues them.
    let mut crowd: Vec<Client> = (0..150).map(|_| server.connect()).collect();
    clock::until("the file table is full", || {
        (process.descriptors() >= 100).then_some(())
    });

    let before = process.cpu_ticks();
    let began = clock::now();
    clock::let_pass(Duration::from_secs(1));
    let ticks = process.cpu_ticks() - before;
    // CPU time that the kernel has booked, in ticks of 10 ms, over at least a second in which
    // nobody could be served. 2 are 2 % of a core; 1 more, since a tick may have been half over.
    let allowed = 2 * TICKS_PER_SECOND / 100 + 1;
    skip::note(&format!(
        "full file table: {ticks} ticks of CPU in {:?}",
        began.elapsed()
    ));
    assert!(ticks <= allowed, "{ticks} ticks of CPU while full");
    early.echoes("while full");

    // Room for all who wait and one more.
    for client in crowd.drain(..120) {
        client.reset();
    }
    let began = clock::now();
    server.open("/echo").echoes("after");
    skip::note(&format!(
        "full file table: accepting again {:?} after the room",
        began.elapsed()
    ));
    for client in crowd.drain(..) {
        client.upgraded("/echo").echoes("has waited");
    }
    early.echoes("after");
    drop(early);
    server.until_empty();
}

/// The sum of a metric, asked on a connection that is open already: while the table is full, the
/// operator has no other.
fn asked(operator: &mut Client, name: &str) -> u64 {
    operator.send(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    let head = operator.head();
    let size = head.header("content-length").expect("a length").parse();
    let text = operator.exactly(size.expect("a number"));
    let text = String::from_utf8(text).expect("UTF-8");
    let metrics = Exposition::parse(&text).expect("the format of Prometheus");
    metrics.sum(name, &[]).expect("it is there")
}

/// The same as above in numbers that do not depend on how busy the machine is.
#[test]
fn while_the_file_table_is_full_a_shard_asks_ten_times_a_second_and_sleeps() {
    const SHARDS: u64 = 2;
    // A retry is a turn in which it is due, and one in which the kernel says no.
    const TURNS_OF_A_RETRY: u64 = 2;
    let server = Server::with_descriptors(100, &["--shards", "2", "--handshake-timeout", "1m"]);
    let mut operator = Client::connect(server.admin);
    let turns = |operator: &mut Client| asked(operator, "tidegate_turns_total");
    let failures = |operator: &mut Client| asked(operator, "tidegate_accept_failures_total");
    // It has an answer, so it has been accepted before the table is full.
    assert_eq!(failures(&mut operator), 0);
    let crowd: Vec<Client> = (0..150).map(|_| server.connect()).collect();
    clock::until("the file table is full", || {
        (server.process().descriptors() >= 100).then_some(())
    });
    // Those that got in before have been looked at by now.
    clock::until("a shard is refused some times", || {
        (failures(&mut operator) >= 4).then_some(())
    });
    let (began, before) = (clock::now(), turns(&mut operator));
    clock::let_pass(Duration::from_secs(1));
    let after = turns(&mut operator);
    let tenths = u64::try_from(began.elapsed().as_millis() / 100).expect("a few") + 2;
    let allowed = SHARDS * TURNS_OF_A_RETRY * tenths;
    let spent = after - before;
    skip::note(&format!(
        "full file table: {spent} turns in {:?}",
        began.elapsed()
    ));
    assert!(
        (1..=allowed).contains(&spent),
        "{spent} turns, {allowed} allowed"
    );
    // When there is room again, each shard finds it with its next look.
    drop(crowd);
    let before = failures(&mut operator);
    server.open("/echo").echoes("after");
    let more = failures(&mut operator) - before;
    assert!(more <= SHARDS, "{more} looks found no room");
}

#[test]
fn a_full_file_table_is_counted_and_the_operator_can_look_afterwards() {
    let server = Server::with_descriptors(100, &[]);
    let process = server.process();
    let crowd: Vec<Client> = (0..150).map(|_| server.connect()).collect();
    clock::until("the file table is full", || {
        (process.descriptors() >= 100).then_some(())
    });
    drop(crowd);
    // While it was full, the operator could not be let in either.
    clock::until("it is counted", || {
        let failures = server.metrics().sum("tidegate_accept_failures_total", &[]);
        failures.filter(|count| *count > 0)
    });
    server.until_empty();
}

/// Opens, lets `act` do what it does, and resets, `count` times over, a hundred at once.
fn storm(stage: &Stage, count: usize, act: impl Fn(&mut Client)) {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut client = stage.server.connect();
        act(&mut client);
        open.push(client);
        if open.len() == 100 {
            open.drain(..).for_each(Client::reset);
        }
    }
}

#[test]
fn reset_storms_leave_nothing_behind() {
    let mut stage = Stage::set();
    let half_head = &wire::upgrade("/echo", &[]).into_bytes()[..60];
    let head = wire::upgrade("/ws/storm", &[]).into_bytes();
    let mut head_and_message = head.clone();
    head_and_message.extend(wire::frame(TEXT, &[b'a'; 1_000]).repeat(20));
    let mut head_and_half = head.clone();
    head_and_half.extend(&wire::frame(TEXT, &[b'a'; 1_000])[..500]);
    storm(&stage, 2_000, |_| {});
    storm(&stage, 2_000, |client| client.send(half_head));
    storm(&stage, 2_000, |client| client.send(&head));
    storm(&stage, 500, |client| client.send(&head_and_message));
    storm(&stage, 500, |client| client.send(&head_and_half));
    storm(&stage, 500, |client| {
        client.send(&head);
        client.send(&wire::close(1000, b""));
    });
    stage.is_unharmed();
    stage.server.until_metric("tidegate_topics", &[], 0);
}

#[test]
fn two_thousand_reset_at_once_are_gone_at_once() {
    let mut stage = Stage::set();
    let crowd: Vec<Client> = (0..2_000).map(|_| stage.server.open("/ws/crowd")).collect();
    crowd.into_iter().for_each(Client::reset);
    stage.is_unharmed();
    stage.server.until_metric("tidegate_topics", &[], 0);
}

#[test]
fn half_closed_connections_are_ended() {
    let mut stage = Stage::set();
    // Before a head, inside a head, as a WebSocket, and inside a frame.
    for bytes in ["", "GET /echo HT", &wire::upgrade("/echo", &[])] {
        let mut client = stage.server.connect();
        client.send(bytes.as_bytes());
        client.half_close();
        client.all();
    }
    let mut client = stage.server.open("/echo");
    client.send(&wire::frame(TEXT, b"cut")[..4]);
    client.half_close();
    client.all();
    stage.is_unharmed();
}

#[test]
fn sends_that_race_a_close_are_harmless() {
    let mut stage = Stage::set();
    for _ in 0..200 {
        let mut client = stage.server.open("/ws/race");
        client.send(&wire::close(1000, b""));
        for _ in 0..5 {
            let _ = client.try_send(&wire::frame(TEXT, b"too late"));
        }
        client.reset();
    }
    stage.is_unharmed();
}

#[test]
fn everything_is_given_back_after_a_crowd_has_left() {
    const CROWD: usize = 2_000;
    let server = Server::start();
    let mut stage = Stage::around(server);
    for round in 0..3 {
        let crowd: Vec<Client> = (0..CROWD)
            .map(|index| stage.server.open(&format!("/ws/room-{}", index % 500)))
            .collect();
        let here = CROWD as u64 + Stage::BYSTANDERS;
        stage.server.until_metric("tidegate_sessions", &[], here);
        // By a close, by the end of the stream, by a reset: each a third.
        for (index, client) in crowd.into_iter().enumerate() {
            match index % 3 {
                0 => client.closes(),
                1 => drop(client),
                _ => client.reset(),
            }
        }
        stage.is_unharmed();
        stage.server.until_metric("tidegate_topics", &[], 0);
        let resident = stage.server.process().resident();
        skip::note(&format!(
            "memory after crowd {round}: {} KiB",
            resident / 1024
        ));
    }
}

#[test]
fn with_a_table_for_each_shard_the_limit_holds_for_each() {
    let options = ["--shards", "2", "--descriptors", "shard"];
    let mut server = Server::with_descriptors(100, &options);
    let process = server.process();
    let at_rest = process.descriptors_of_all_threads();
    // More than one table could hold. The kernel spreads them: neither gets all.
    let mut crowd: Vec<Client> = (0..120).map(|_| server.open("/ws/crowd")).collect();
    assert!(process.descriptors_of_all_threads() >= at_rest + 120);
    crowd[0].text("hello");
    for client in &mut crowd {
        client.hears("hello");
    }
    drop(crowd);
    server.until_empty();
    // The connection that was asked by is closed a little later.
    let now = || process.descriptors_of_all_threads();
    clock::until_equal("what is open", &at_rest, now);
    server.signal(Signal::TERM);
    assert!(server.ended().0.success());
}
