//! `GET /debug/memory` tells what the memory goes to, and that it is given back.

mod support;

use support::client::Client;
use support::clock;
use support::server::Server;
use support::wire::{self, FIN, TEXT};

/// The count and the bytes of one use, over all shards.
#[track_caller]
fn used(server: &Server, name: &str) -> (u64, u64) {
    let memory = server.look_json("/debug/memory");
    let shards = memory["shards"].as_array().expect("a list of shards");
    let uses = shards
        .iter()
        .flat_map(|shard| shard["uses"].as_array().expect("every shard answers"))
        .filter(|one| one["name"] == name);
    uses.fold((0, 0), |(count, bytes), one| {
        let number = |key: &str| one[key].as_u64().expect("a number");
        (count + number("count"), bytes + number("bytes"))
    })
}

#[track_caller]
fn until(server: &Server, name: &str, holds: impl Fn((u64, u64)) -> bool) {
    clock::until(name, || holds(used(server, name)).then_some(()));
}

#[test]
fn what_each_connection_holds_is_listed_and_then_is_no_more() {
    let server = Server::start();
    let mut halves: Vec<Client> = (0..3).map(|_| server.open("/ws/room")).collect();
    for client in &mut halves {
        let message = wire::frame(FIN | TEXT, &[b'x'; 40_000]);
        client.send(&message[..30_000]);
    }
    let mut dripping = server.connect();
    dripping.send(b"GET /echo HTTP/1.1\r\nHost: x\r\n");

    until(&server, "messages under way", |(count, bytes)| {
        // What has come, not what was declared, with the room that a growing buffer has.
        count == 3 && (3 * 29_000..3 * 64_000).contains(&bytes)
    });
    until(&server, "request heads under way", |(count, bytes)| {
        count == 1 && (28..1000).contains(&bytes)
    });
    assert_eq!(used(&server, "connections").0, 4);
    assert!(used(&server, "topics").0 >= 1, "the room");
    let memory = server.look_json("/debug/memory");
    assert_eq!(memory["connections"], 4);
    let number = |key: &str| memory[key].as_u64().expect("a number");
    assert!(number("counted_bytes") > 4 * 128);
    assert!(number("resident_bytes") > number("counted_bytes") / 2);

    drop((halves, dripping));
    server.until_empty();
    for name in ["messages under way", "request heads under way", "topics"] {
        until(&server, name, |(count, _)| count == 0);
    }
    assert_eq!(used(&server, "connections").0, 0);
}
