//! What the doctor says of this host comes true when the server is filled.

mod support;

use std::fs;

use serde_json::Value;
use support::clock;
use support::server::{self, Server};

/// What the doctor says, under the same limit and with the same options as the server.
#[track_caller]
fn doctor(limit: u32, options: &[&str]) -> Value {
    let mut command = server::limited(limit);
    command.args(["doctor", "--json", "--connections", "100k"]);
    command.args(options);
    let ended = server::run(&mut command);
    assert_eq!(ended.code, Some(1), "100,000 cannot be reached: {ended:?}");
    assert!(ended.errors.is_empty(), "{ended:?}");
    serde_json::from_str(&ended.output.join("\n")).expect("one JSON object")
}

/// How many connections the doctor expects, and that open files end them.
#[track_caller]
fn expected(said: &Value) -> usize {
    assert_eq!(said["first_limit"], "open files", "{said}");
    assert_eq!(said["reachable"], false);
    let count = said["connections_expected"].as_u64().expect("a number");
    usize::try_from(count).expect("few")
}

/// How many descriptors the process holds whose numbers are below the limit. Whatever the test
/// runner has left open above it takes no place.
fn taken(server: &Server, limit: u32) -> u32 {
    let open = fs::read_dir(format!("/proc/{}/fd", server.process().id)).expect("it runs");
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    u32::try_from(numbers.filter(|number| *number < limit).count()).expect("few")
}

/// Fills a server to the last predicted connection, tries one more, and makes room.
#[track_caller]
fn comes_true(limit: u32, options: &[&str]) {
    let count = expected(&doctor(limit, options));
    let server = Server::with_descriptors(limit, options);
    let mut crowd: Vec<_> = (0..count).map(|_| server.open("/echo")).collect();
    assert_eq!(taken(&server, limit), limit, "{count} and not one more");
    let one_more = server.connect();
    // Everybody else is served, so the server has had its turn.
    for client in &mut crowd {
        client.echoes("here");
    }
    assert_eq!(taken(&server, limit), limit);
    crowd.pop().expect("many").reset();
    one_more.upgraded("/echo").echoes("has waited");
    // While it was full it has counted that; now there is room for who asks.
    drop(crowd);
    clock::until("the one more is counted", || {
        let failures = server.metrics().sum("tidegate_accept_failures_total", &[]);
        failures.filter(|count| *count > 0)
    });
}

#[test]
fn the_predicted_number_is_served_and_not_one_more() {
    comes_true(300, &["--shards", "2", "--io", "epoll", "--host", "thread"]);
}

#[test]
fn on_the_host_that_is_chosen_by_itself_it_comes_true_as_well() {
    comes_true(300, &["--shards", "2", "--io", "epoll"]);
    comes_true(300, &["--shards", "3", "--io", "epoll", "--host", "auto"]);
}

#[test]
fn each_shard_has_its_price() {
    comes_true(120, &["--shards", "1", "--io", "epoll", "--host", "thread"]);
    comes_true(120, &["--shards", "5", "--io", "epoll", "--host", "thread"]);
}

#[test]
fn where_the_server_does_not_start_there_are_none() {
    let options = ["--shards", "2", "--io", "epoll", "--host", "thread"];
    assert_eq!(expected(&doctor(73, &options)), 0);
    let mut command = server::limited(73);
    command.args(server::SERVE);
    let ended = server::run(command.args(options));
    assert_eq!(ended.code, Some(77), "{ended:?}");
    comes_true(74, &options);
}

#[test]
fn on_io_uring_it_is_another_number() {
    let options = ["--shards", "2", "--io", "uring", "--host", "thread"];
    if doctor(300, &options)["first_limit"] == "io_uring" {
        support::skip::skipped(
            "on_io_uring_it_is_another_number",
            "io_uring is disabled here",
        );
        return;
    }
    comes_true(300, &options);
}

/// How many descriptors the table of each shard holds.
fn tables(server: &Server) -> Vec<usize> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.process().id)).expect("it runs");
    let shards = tasks.filter_map(|task| {
        let task = task.expect("it runs").path();
        let name = fs::read_to_string(task.join("comm")).expect("it runs");
        let number = name.trim().strip_prefix("tidegate-")?;
        number.parse::<usize>().ok()?;
        Some(fs::read_dir(task.join("fd")).expect("it runs").count())
    });
    shards.collect()
}

#[test]
fn with_a_table_for_each_shard_the_prediction_is_of_each() {
    const LIMIT: u32 = 100;
    for (shards, io) in [("2", "epoll"), ("3", "epoll"), ("2", "uring")] {
        let kernel = ["--io", io, "--host", "thread"];
        let options = [&["--shards", shards, "--descriptors", "shard"], &kernel[..]].concat();
        let said = doctor(LIMIT, &options);
        if said["first_limit"] == "io_uring" {
            continue;
        }
        let total = expected(&said);
        let now = said["checks"][0]["now"].as_str().expect("text");
        let each = now.split(' ').rev().nth(3).expect("a number");
        let each: usize = each.parse().unwrap_or_else(|_| panic!("{now}"));
        let server = Server::with_descriptors(LIMIT, &options);
        let count: usize = shards.parse().expect("a number");
        let at_rest = tables(&server);
        assert_eq!(at_rest, vec![LIMIT as usize - each; count], "{options:?}");
        assert!(each < total && total < each * count, "{each} < {total}");

        // The kernel spreads them by chance: as soon as one table is full, the next may wait.
        let mut crowd = Vec::new();
        while tables(&server).iter().all(|used| *used < LIMIT as usize) {
            crowd.push(server.open("/echo"));
        }
        assert!(crowd.len() >= each && crowd.len() <= each * count);
        for client in &mut crowd {
            client.echoes("here");
        }
    }
}
