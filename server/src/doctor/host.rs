//! What a host is, as far as it says so.

use std::fs::read_link;
use std::num::NonZero;
use std::thread::available_parallelism;

use tidegate_engine::Io;
use tidegate_engine::host::Host as ShardHost;

use super::cgroup::{self, Limits};
use super::count::whole;
use super::tree::{Tree, line_of, parse_cores};

/// The size of a page where the host does not say it.
const PAGE_SIZE_USUAL: u64 = 4096;

/// The least kernel for the driver on `io_uring`.
pub(super) const URING_SINCE: (u64, u64) = (5, 19);

/// Linux's numbers of two capabilities.
const CAP_SYS_ADMIN: u32 = 21;

/// Facts of a host, each of which may be unknown.
#[derive(Debug)]
pub(super) struct Host {
    /// The hard limit of open files; `u64::MAX` is none.
    pub(super) files_max: Option<u64>,
    pub(super) nr_open: Option<u64>,
    /// Numbers of descriptors that a server started in the same way would be given beside the
    /// standard streams.
    pub(super) inherited: Vec<u64>,
    pub(super) file_max: Option<u64>,
    pub(super) files_used: Option<u64>,
    /// Whether the limits of the host do not hold for this process (CAP_SYS_ADMIN).
    pub(super) is_admin: Option<bool>,
    pub(super) watches_max: Option<u64>,
    /// In bytes.
    pub(super) memory: Option<u64>,
    /// What can be had without swapping, in bytes.
    pub(super) memory_free: Option<u64>,
    pub(super) cgroup: Limits,
    pub(super) page_size: u64,
    /// In pages: easy, pressure, limit.
    pub(super) tcp_mem: Option<[u64; 3]>,
    /// Pages that TCP's buffers hold now.
    pub(super) tcp_pages_used: u64,
    /// Of the connection tracker: how many it follows, and how many at most. `None` where there
    /// is none.
    pub(super) tracked: Option<(u64, u64)>,
    /// Whether `tuning/conntrack` has exempted ports from it since the boot.
    pub(super) is_exempt: bool,
    pub(super) cores: u64,
    /// How many shards the server has.
    pub(super) shards: u64,
    /// The kernel's version, such as (6, 18).
    pub(super) kernel: Option<(u64, u64)>,
    pub(super) uring_disabled: Option<u64>,
    /// Whether `--io auto` is `io_uring`.
    pub(super) has_uring: bool,
    /// Whether `--host auto` is glommio's.
    pub(super) has_glommio: bool,
    /// Whether a filter of system calls holds for the process.
    pub(super) is_filtered: Option<bool>,
    /// The hard limit of locked memory, as it is written.
    pub(super) memlock: Option<String>,
}

impl Host {
    /// Reads everything, from the point of view of this process or another.
    pub(super) fn read(tree: &Tree, process: Option<u32>, shards: Option<usize>) -> Self {
        let folder = process.map_or("proc/self".to_owned(), |id| format!("proc/{id}"));
        let limits = tree.read(&format!("{folder}/limits")).unwrap_or_default();
        let status = tree.read(&format!("{folder}/status")).unwrap_or_default();
        let memory = tree.read("proc/meminfo").unwrap_or_default();
        let sockets = tree.read("proc/net/sockstat").unwrap_or_default();
        let tcp = line_of(&sockets, "TCP:").unwrap_or_default();
        let triple = |numbers: Vec<u64>| numbers.try_into().ok();
        let cores = cores(tree);
        Self {
            files_max: hard_limit(&limits, "Max open files").and_then(|limit| match limit {
                "unlimited" => Some(u64::MAX),
                limit => whole(limit),
            }),
            nr_open: tree.sysctl("fs.nr_open"),
            inherited: inherited(tree, process),
            file_max: tree.sysctl("fs.file-max"),
            files_used: tree
                .numbers("proc/sys/fs/file-nr")
                .and_then(|numbers| numbers.first().copied()),
            is_admin: line_of(&status, "CapEff:")
                .and_then(|mask| u64::from_str_radix(mask, 16).ok())
                .map(|mask| mask >> CAP_SYS_ADMIN & 1 == 1),
            watches_max: tree.sysctl("fs.epoll.max_user_watches"),
            memory: kilobytes(&memory, "MemTotal:"),
            memory_free: kilobytes(&memory, "MemAvailable:"),
            cgroup: cgroup::limits(tree, &folder),
            page_size: tree
                .read("proc/self/smaps")
                .and_then(|maps| kilobytes(&maps, "KernelPageSize:"))
                .filter(|size| *size > 0)
                .unwrap_or(PAGE_SIZE_USUAL),
            tcp_mem: tree.numbers("proc/sys/net/ipv4/tcp_mem").and_then(triple),
            tcp_pages_used: value_after(tcp, "mem").unwrap_or(0),
            tracked: tree
                .sysctl("net.netfilter.nf_conntrack_count")
                .zip(tree.sysctl("net.netfilter.nf_conntrack_max")),
            is_exempt: is_exempt(tree).unwrap_or(false),
            cores,
            shards: shards.map_or(cores, |shards| shards as u64),
            kernel: tree
                .read("proc/sys/kernel/osrelease")
                .and_then(|text| parse_version(&text)),
            uring_disabled: tree.sysctl("kernel.io_uring_disabled"),
            has_uring: has_uring(tree),
            has_glommio: has_glommio(tree),
            is_filtered: line_of(&status, "Seccomp:")
                .and_then(whole)
                .map(|mode| mode != 0),
            memlock: hard_limit(&limits, "Max locked memory").map(str::to_owned),
        }
    }

    /// What the server would choose; never [`Io::Auto`].
    pub(super) fn driver(&self, io: Io) -> Io {
        match io {
            Io::Auto if self.has_uring => Io::Uring,
            Io::Auto | Io::Epoll => Io::Epoll,
            Io::Uring => Io::Uring,
        }
    }

    /// Open files that one table may hold: the limit, below what the kernel allows at all.
    pub(super) fn table_size(&self) -> Option<u64> {
        let limit = self.files_max?;
        Some(self.nr_open.map_or(limit, |most| most.min(limit)))
    }

    /// How many descriptors of a table of this size are taken by what is inherited: a limit of
    /// open files is one of their numbers.
    pub(super) fn inherited_below(&self, table_size: u64) -> u64 {
        let below = self.inherited.iter().filter(|number| **number < table_size);
        below.count() as u64
    }
}

/// As many as the server makes shards for.
fn cores(tree: &Tree) -> u64 {
    if tree.is_real() {
        return available_parallelism().map_or(1, NonZero::get) as u64;
    }
    let online = tree.read("sys/devices/system/cpu/online");
    let cores = online.and_then(|text| parse_cores(&text));
    cores.map_or(1, |cores| cores.len().max(1) as u64)
}

/// Tried, where it can be; else by what the kernel has and allows.
fn has_uring(tree: &Tree) -> bool {
    if tree.is_real() {
        return matches!(Io::Auto.choose(), Ok((Io::Uring, _)));
    }
    let version = tree.read("proc/sys/kernel/osrelease");
    let version = version.and_then(|text| parse_version(&text));
    version >= Some(URING_SINCE) && tree.sysctl("kernel.io_uring_disabled") == Some(0)
}

/// Tried, where it can be; else by what the kernel allows.
fn has_glommio(tree: &Tree) -> bool {
    if tree.is_real() {
        return ShardHost::Glommio.probe().is_ok();
    }
    tree.sysctl("kernel.io_uring_disabled") == Some(0)
}

/// What this process was given beside the standard streams. It has opened nothing itself.
fn inherited(tree: &Tree, process: Option<u32>) -> Vec<u64> {
    if !tree.is_real() || process.is_some() {
        return Vec::new();
    }
    let open = tree.names("proc/self/fd").into_iter().filter_map(|name| {
        let number = whole(&name)?;
        // The one that listed the others is gone.
        read_link(tree.path(&format!("proc/self/fd/{number}"))).ok()?;
        Some(number)
    });
    open.filter(|number| *number > 2).collect()
}

/// What the scripts have put on record, which holds until the next boot.
fn is_exempt(tree: &Tree) -> Option<bool> {
    let record = tree.read("var/lib/tidegate/tuning/state.json")?;
    let record: serde_json::Value = serde_json::from_str(&record).ok()?;
    let boot = record.pointer("/commands/conntrack/boot")?.as_str()?;
    Some(tree.read("proc/sys/kernel/random/boot_id")?.trim() == boot)
}

/// The hard limit of a line of `/proc/self/limits`, as it is written.
fn hard_limit<'a>(limits: &'a str, name: &str) -> Option<&'a str> {
    line_of(limits, name)?.split_whitespace().nth(1)
}

/// In bytes, from a line in kB.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let number = whole(line_of(text, key)?.strip_suffix("kB")?.trim())?;
    number.checked_mul(1024)
}

/// The number after a word: 7 in `inuse 7 orphan 0`.
fn value_after(text: &str, word: &str) -> Option<u64> {
    let mut words = text.split_whitespace().skip_while(|w| *w != word);
    whole(words.nth(1)?)
}

/// (6, 18) of `6.18.44-cloud`.
fn parse_version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.trim().split(|c: char| !c.is_ascii_digit());
    Some((whole(parts.next()?)?, whole(parts.next()?)?))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn this_host_is_known() {
        let host = Host::read(&Tree::new(Path::new("/")), None, Some(3));
        assert!(host.files_max.is_some_and(|limit| limit > 0));
        assert!(host.memory.is_some_and(|bytes| bytes > 1 << 20));
        assert!(host.memory_free < host.memory);
        assert!(host.kernel.is_some_and(|version| version > (3, 0)));
        assert_eq!(host.shards, 3);
        assert!(host.cores >= 1 && host.page_size.is_power_of_two());
    }

    #[test]
    fn a_host_that_says_nothing_is_unknown() {
        let host = Host::read(&Tree::new(Path::new("/no/such/folder")), None, None);
        assert_eq!(
            (host.files_max, host.memory, host.kernel),
            (None, None, None)
        );
        assert_eq!((host.cores, host.shards, host.page_size), (1, 1, 4096));
        assert_eq!(host.cgroup, Limits::default());
        assert_eq!(host.table_size(), None);
    }

    #[test]
    fn odd_lines_are_unknown() {
        assert_eq!(kilobytes("MemTotal: 5 kB\n", "MemTotal:"), Some(5 * 1024));
        assert_eq!(kilobytes("MemTotal: 5 MB\n", "MemTotal:"), None);
        assert_eq!(kilobytes("MemTotal: -5 kB\n", "MemTotal:"), None);
        let huge = "MemTotal: 18446744073709551615 kB\n";
        assert_eq!(kilobytes(huge, "MemTotal:"), None);
        assert_eq!(parse_version("6.18.44-cloud\n"), Some((6, 18)));
        assert_eq!(parse_version("six"), None);
        assert_eq!(parse_version(""), None);
        assert_eq!(value_after("inuse 7 mem 3", "mem"), Some(3));
        assert_eq!(value_after("inuse 7 mem", "mem"), None);
        let limits = "Max open files            1024                 524288               files\n";
        assert_eq!(hard_limit(limits, "Max open files"), Some("524288"));
        assert_eq!(hard_limit("Max open files\n", "Max open files"), None);
    }

    #[test]
    fn the_kernel_allows_less_than_an_unlimited_limit() {
        let mut host = Host::read(&Tree::new(Path::new("/no/such/folder")), None, None);
        host.files_max = Some(u64::MAX);
        assert_eq!(host.table_size(), Some(u64::MAX));
        host.nr_open = Some(1024);
        assert_eq!(host.table_size(), Some(1024));
    }
}
