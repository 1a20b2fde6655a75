//! How the server says on what it runs.

use std::net::SocketAddr;

use tidegate_engine::{DriverInfo, Engine, HostInfo, ShardInfo};

use crate::config::Configuration;
use crate::options::version;

/// What the server is and where it is, in lines.
pub(crate) fn lines(
    engine: &Engine,
    configuration: &Configuration,
    admin: SocketAddr,
) -> Vec<String> {
    let file = configuration.file.as_ref();
    let file = file.map(|file| format!("configuration {}", file.display()));
    let mut lines = vec![version()];
    lines.extend(file);
    lines.extend(addresses(engine, configuration));
    lines.push(format!("admin on http://{admin}"));
    lines.push(format!(
        "{}, with {}, on {}",
        show_shards(engine.shards()),
        show_driver(engine.driver()),
        show_host(engine.host())
    ));
    lines
}

/// Where clients connect: a line for each port.
fn addresses(engine: &Engine, configuration: &Configuration) -> Vec<String> {
    let (address, secure) = (engine.address(), engine.secure_address());
    let path = example_path(configuration);
    let plain = (secure != Some(address))
        .then(|| format!("listening on http://{address} (ws://{address}{path})"));
    let secure =
        secure.map(|address| format!("listening on https://{address} (wss://{address}{path})"));
    plain.into_iter().chain(secure).collect()
}

/// Where a client could try: at an endpoint that is there.
fn example_path(configuration: &Configuration) -> String {
    let paths = configuration
        .endpoints
        .iter()
        .filter_map(|one| one.path("path"));
    let mut paths: Vec<String> = paths.map(ToString::to_string).collect();
    // The page's own room goes first.
    paths.sort_by_key(|path| path != "/ws/{topic}");
    paths
        .first()
        .map_or("/".to_owned(), |path| path.replace("{topic}", "lobby"))
}

fn show_shards(shards: &[ShardInfo]) -> String {
    let count = shards.len();
    let noun = if count == 1 { "shard" } else { "shards" };
    let cores: Vec<String> = shards
        .iter()
        .filter(|s| s.pinned)
        .filter_map(|s| s.core)
        .map(|c| c.to_string())
        .collect();
    let loose: Vec<String> = shards
        .iter()
        .filter(|s| !s.pinned)
        .map(|s| s.index.to_string())
        .collect();
    match (cores.len(), loose.len()) {
        (0, _) => format!("{count} {noun}, not pinned to cores"),
        (1, 0) => format!("{count} {noun} on core {}", cores.join(", ")),
        (_, 0) => format!("{count} {noun} on cores {}", cores.join(", ")),
        _ => format!(
            "{count} {noun} on cores {}; not pinned: {}",
            cores.join(", "),
            loose.join(", ")
        ),
    }
}

fn show_driver(info: &DriverInfo) -> String {
    match &info.reason {
        None => info.io.to_string(),
        Some(reason) => format!("{}, without io_uring: {reason}", info.io),
    }
}

fn show_host(info: &HostInfo) -> String {
    match &info.reason {
        None => info.host.to_string(),
        Some(reason) => format!("{}, without glommio: {reason}", info.host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(index: usize, core: Option<usize>, pinned: bool) -> ShardInfo {
        ShardInfo {
            index,
            core,
            pinned,
            thread_id: 1,
        }
    }

    #[test]
    fn shards_and_their_cores_are_one_line() {
        assert_eq!(show_shards(&[shard(0, Some(3), true)]), "1 shard on core 3");
        let two = [shard(0, Some(0), true), shard(1, Some(1), true)];
        assert_eq!(show_shards(&two), "2 shards on cores 0, 1");
        let one = [shard(0, Some(0), true), shard(1, Some(1), false)];
        assert_eq!(show_shards(&one), "2 shards on cores 0; not pinned: 1");
        let none = [shard(0, None, false), shard(1, None, false)];
        assert_eq!(show_shards(&none), "2 shards, not pinned to cores");
    }
}
