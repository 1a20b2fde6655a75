//! What the process's memory goes to, for `GET /debug/memory`: the ledger of docs/memory.md, live.

use std::fs;
use std::time::Duration;

use serde::Serialize;
use tidegate_engine::{Handle, MemoryUse};

/// A shard that has not added up within this is left out.
const SURVEY_TIMEOUT: Duration = Duration::from_secs(10);

/// The ledger.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    /// What the kernel says is resident; `null` where it does not say.
    resident_bytes: Option<u64>,
    /// All that is listed here: what the shards have asked of the allocator.
    counted_bytes: usize,
    connections: u64,
    /// Resident, divided by the connections; `null` without any.
    resident_bytes_per_connection: Option<u64>,
    counted_bytes_per_connection: Option<u64>,
    /// Contexts of `--compression takeover`, as their budget counts them.
    compression_contexts_bytes: usize,
    /// Pages of the kernel's that hold data of TCP sockets, of the whole host.
    kernel_tcp_bytes: Option<u64>,
    shards: Vec<ShardMemory>,
}

#[derive(Debug, Serialize)]
struct ShardMemory {
    shard: usize,
    connections: u64,
    /// `null`: it has not answered in time.
    uses: Option<Vec<Use>>,
}

#[derive(Debug, Serialize)]
struct Use {
    name: &'static str,
    count: usize,
    bytes: usize,
}

impl From<MemoryUse> for Use {
    fn from(one: MemoryUse) -> Self {
        let MemoryUse { name, count, bytes } = one;
        Self { name, count, bytes }
    }
}

/// Adds up. Waits for the shards.
pub(crate) fn read(handle: &Handle) -> Memory {
    let answers = handle.memory(SURVEY_TIMEOUT);
    let counters = handle.counters();
    let connections: u64 = counters.iter().map(|counted| counted.connections).sum();
    let compression_contexts_bytes = handle.compression_bytes_used();
    let uses = answers.iter().flatten();
    let counted_bytes = uses.map(|one| one.bytes).sum::<usize>() + compression_contexts_bytes;
    let resident_bytes = fs::read_to_string("/proc/self/smaps_rollup")
        .ok()
        .and_then(|text| kibibytes(&text, "Rss:"));
    let shards = answers.into_iter().zip(&counters).enumerate();
    Memory {
        resident_bytes,
        counted_bytes,
        connections,
        resident_bytes_per_connection: resident_bytes.and_then(|b| b.checked_div(connections)),
        counted_bytes_per_connection: (counted_bytes as u64).checked_div(connections),
        compression_contexts_bytes,
        kernel_tcp_bytes: kernel_tcp_bytes(),
        shards: shards
            .map(|(shard, (uses, counted))| ShardMemory {
                shard,
                connections: counted.connections,
                uses: (!uses.is_empty()).then(|| uses.into_iter().map(Use::from).collect()),
            })
            .collect(),
    }
}

/// What the kernel holds of TCP sockets' data, on the whole host.
pub(crate) fn kernel_tcp_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/net/sockstat").ok()?;
    tcp_pages(&text).map(|pages| pages * PAGE_SIZE)
}

/// The kernel counts in pages of its own, which are of 4 KiB on every machine that this is
/// measured on.
const PAGE_SIZE: u64 = 4096;

/// The number of a line such as `Rss:    1234 kB`, in bytes.
fn kibibytes(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// `mem` of the line `TCP: inuse 5 orphan 0 tw 0 alloc 5 mem 1`.
fn tcp_pages(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == "mem")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read_or_are_unknown() {
        let rollup = "55d0-7ffd ---p 0000 [rollup]\nRss:                1540 kB\nPss:  3 kB\n";
        assert_eq!(kibibytes(rollup, "Rss:"), Some(1540 * 1024));
        assert_eq!(kibibytes(rollup, "Swap:"), None);
        assert_eq!(kibibytes("Rss: many kB", "Rss:"), None);
        let sockstat = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 7 alloc 5 mem 12\nUDP: mem 3\n";
        assert_eq!(tcp_pages(sockstat), Some(12));
        assert_eq!(tcp_pages("UDP: mem 3"), None);
    }
}
