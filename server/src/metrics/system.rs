//! What the system knows: of this process, under the names that everybody uses, of the threads of its
//! shards, of what its memory goes to, and of the host's queues.
//!
//! A scrape reads some ten small files, and once a minute asks the shards to add their memory up.

use std::fmt;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tidegate_engine::{Handle, ShardInfo};

use crate::admin::Admin;
use crate::memory;
use crate::process::{self, Process};
use crate::reload::Reloader;
use crate::status;

/// What the memory goes to is asked so often, since a shard with a million connections looks at all of
/// them for it.
const MEMORY_EVERY: Duration = Duration::from_secs(60);

/// No scrape waits longer for the shards; what they have not said then is left out.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn register(registry: &mut Registry, admin: &Admin) {
    registry.register_collector(Box::new(Memory {
        handle: admin.handle.clone(),
        last: Mutex::default(),
    }));
    registry.register_collector(Box::new(Threads {
        shards: admin.shards.clone(),
    }));
    registry.register_collector(Box::new(ThisProcess {
        files_max: admin.files_max,
        shards: admin.shards.clone(),
        reloader: Arc::clone(&admin.reloader),
    }));
    registry.register_collector(Box::new(Host));
}

/// What the memory of the shards goes to, as it was at most a minute ago.
#[derive(Debug)]
struct Memory {
    handle: Handle,
    last: Mutex<Option<(Instant, Sums)>>,
}

/// Bytes by what they are for.
type Sums = Vec<(String, usize)>;

impl Memory {
    fn sums(&self) -> Sums {
        // Whoever else scrapes meanwhile waits for the same answer.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, sums)) = &*last
            && at.elapsed() < MEMORY_EVERY
        {
            return sums.clone();
        }
        let mut sums = Sums::new();
        for one in self.handle.memory(MEMORY_TIMEOUT).into_iter().flatten() {
            let kind = kind_of(one.name);
            match sums.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, bytes)) => *bytes += one.bytes,
                None => sums.push((kind, one.bytes)),
            }
        }
        *last = Some((now(), sums.clone()));
        sums
    }
}

/// `addresses of peers` as a label says it.
fn kind_of(name: &str) -> String {
    let letters = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { ' ' });
    let letters: String = letters.collect();
    letters.split_whitespace().collect::<Vec<_>>().join("_")
}

impl Collector for Memory {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "What the memory of the shards goes to, as it was asked of the allocator at most a minute ago";
        let mut family = encoder.encode_descriptor(
            "tidegate_memory",
            help,
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?;
        for (kind, bytes) in self.sums() {
            let labels = [("kind", kind)];
            family
                .encode_family(&labels)?
                .encode_gauge(&(bytes as u64))?;
        }
        Ok(())
    }
}

/// What the threads of the shards cost.
#[derive(Debug)]
struct Threads {
    shards: Vec<ShardInfo>,
}

impl Collector for Threads {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help =
            "Processor time of each shard's thread: its rate is the share of its core that is busy";
        let mut family = encoder.encode_descriptor(
            "tidegate_shard_cpu",
            help,
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        for shard in &self.shards {
            let Some(seconds) = process::thread_seconds(shard.thread_id) else {
                continue;
            };
            let labels = [("shard", shard.index)];
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&seconds, None)?;
        }
        Ok(())
    }
}

/// Writes what the system knows of this process, under the names that everybody uses.
#[derive(Debug)]
struct ThisProcess {
    files_max: u64,
    shards: Vec<ShardInfo>,
    reloader: Arc<Reloader>,
}

impl Collector for ThisProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if self.files_max != u64::MAX {
            let help = "The limit of open files";
            encoder
                .encode_descriptor("process_max_fds", help, None, MetricType::Gauge)?
                .encode_gauge(&self.files_max)?;
        }
        let configuration = self.reloader.live().configuration();
        let tables = status::tables(&self.shards, &configuration);
        if let Some(count) = process::open_files(&tables) {
            let help = "How many files are open, connections and all";
            encoder
                .encode_descriptor("process_open_fds", help, None, MetricType::Gauge)?
                .encode_gauge(&count)?;
        }
        let Some(process) = Process::read() else {
            return Ok(());
        };
        let help = "Memory of the process that is in RAM";
        encoder
            .encode_descriptor(
                "process_resident_memory",
                help,
                Some(&Unit::Bytes),
                MetricType::Gauge,
            )?
            .encode_gauge(&process.resident_bytes)?;
        let help = "Memory of the process, in RAM or not";
        encoder
            .encode_descriptor(
                "process_virtual_memory",
                help,
                Some(&Unit::Bytes),
                MetricType::Gauge,
            )?
            .encode_gauge(&process.virtual_bytes)?;
        let help = "Processor time spent by the process and, on its behalf, by the kernel";
        encoder
            .encode_descriptor(
                "process_cpu",
                help,
                Some(&Unit::Seconds),
                MetricType::Counter,
            )?
            .encode_counter::<NoLabelSet, _, u64>(&process.cpu_seconds, None)?;
        let help = "When the process started, in seconds since 1970";
        encoder
            .encode_descriptor(
                "process_start_time",
                help,
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?
            .encode_gauge(&process.start_seconds)
    }
}

/// What belongs to the host, and stops a server that is well otherwise.
#[derive(Debug)]
struct Host;

impl Collector for Host {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let netstat = fs::read_to_string("/proc/net/netstat").unwrap_or_default();
        for (name, field, help) in [
            (
                "tidegate_host_listen_overflows",
                "ListenOverflows",
                "Connects that found an accept queue full, of all servers of this host",
            ),
            (
                "tidegate_host_listen_drops",
                "ListenDrops",
                "Connects that the kernel has dropped for any reason, of all servers of this host",
            ),
        ] {
            if let Some(count) = extended(&netstat, field) {
                encoder
                    .encode_descriptor(name, help, None, MetricType::Counter)?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        if let Some(bytes) = memory::kernel_tcp_bytes() {
            let help = "Memory of the kernel that holds data of TCP sockets, of the whole host";
            encoder
                .encode_descriptor(
                    "tidegate_host_tcp_memory",
                    help,
                    Some(&Unit::Bytes),
                    MetricType::Gauge,
                )?
                .encode_gauge(&bytes)?;
        }
        Ok(())
    }
}

/// A number of `TcpExt` in `/proc/net/netstat`: a line of names, and a line of numbers.
fn extended(netstat: &str, field: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == field)?;
    numbers.split_whitespace().nth(at)?.parse().ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "how old an answer may be; nothing of a connection is decided by it"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_kernel_are_found_by_their_names() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 333\nIpExt: a\nIpExt: 5\n";
        assert_eq!(extended(text, "ListenOverflows"), Some(22));
        assert_eq!(extended(text, "ListenDrops"), Some(333));
        assert_eq!(extended(text, "Nothing"), None);
        assert_eq!(extended("", "ListenDrops"), None);
    }

    #[test]
    fn kinds_are_words_for_a_label() {
        assert_eq!(kind_of("addresses of peers"), "addresses_of_peers");
        assert_eq!(
            kind_of("the turn's arenas, and lists"),
            "the_turn_s_arenas_and_lists"
        );
    }
}
