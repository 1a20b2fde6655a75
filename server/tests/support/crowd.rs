//! Clients on every shard of a server.

use super::client::Client;
use super::server::Server;

/// How many connections each shard holds.
#[track_caller]
pub(crate) fn connections_per_shard(server: &Server) -> Vec<u64> {
    let shards = server.look_json("/shards");
    let shards = shards.as_array().expect("a list of shards");
    shards
        .iter()
        .map(|shard| shard["connections"].as_u64().expect("a count"))
        .collect()
}

/// At least `count` clients on `path`, and more until each shard holds some of them.
#[track_caller]
pub(crate) fn on_every_shard(server: &Server, path: &str, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| server.open(path)).collect();
    while connections_per_shard(server).contains(&0) {
        // The kernel chooses the shard by a hash of the ports, so 100 of 100 on one side of
        // two would be a fault and not chance.
        assert!(clients.len() < 100, "one shard gets everything");
        clients.push(server.open(path));
    }
    clients
}
