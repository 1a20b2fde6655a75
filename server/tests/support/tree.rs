//! Made-up hosts: trees of files as they are under /proc and /sys.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::server::{self, Ended};

static TREES: AtomicUsize = AtomicUsize::new(0);

/// A made-up host, removed when dropped.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Where `proc` and `sys` are.
    pub(crate) root: PathBuf,
}

impl Tree {
    /// A host of which nothing is known.
    #[track_caller]
    pub(crate) fn bare() -> Self {
        let number = TREES.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-tree-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        fs::create_dir_all(&root).expect("a folder");
        Self { root }
    }

    /// A default Debian 12 on 8 GiB and 4 cores, with a network card of 4 queues.
    #[track_caller]
    pub(crate) fn debian() -> Self {
        let tree = Self::bare();
        tree.has(&DEBIAN);
        tree.limits("524288");
        tree.memory_gib(8);
        tree.sysctls(&DEBIAN_SYSCTLS);
        tree.put(
            "sys/kernel/mm/transparent_hugepage/enabled",
            "[always] madvise never\n",
        );
        for queue in 0..4 {
            let (folder, irq) = (format!("sys/class/net/eth0/queues/rx-{queue}"), 40 + queue);
            tree.put(&format!("{folder}/rps_cpus"), "0\n");
            tree.put(&format!("{folder}/rps_flow_cnt"), "0\n");
            tree.put(
                &format!("sys/class/net/eth0/queues/tx-{queue}/xps_cpus"),
                "0\n",
            );
            tree.put(
                &format!("sys/class/net/eth0/device/msi_irqs/{irq}"),
                "msix\n",
            );
            tree.put(&format!("proc/irq/{irq}/smp_affinity_list"), "0-3\n");
            tree.put(
                &format!("proc/irq/{irq}/effective_affinity_list"),
                &format!("{queue}\n"),
            );
        }
        tree
    }

    /// 256 GiB and 32 cores, with every knob as a million connections want it.
    #[track_caller]
    pub(crate) fn tuned() -> Self {
        let tree = Self::debian();
        tree.limits("2000000");
        tree.memory_gib(256);
        tree.put("sys/devices/system/cpu/online", "0-31\n");
        tree.put(
            "sys/kernel/mm/transparent_hugepage/enabled",
            "always [madvise] never\n",
        );
        for queue in 0..32 {
            tree.put(
                &format!("sys/class/net/eth0/queues/rx-{queue}/rps_cpus"),
                "0\n",
            );
        }
        tree.sysctls(&TUNED_SYSCTLS);
        tree
    }

    /// Writes a file, and the folders above it.
    #[track_caller]
    pub(crate) fn put(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    #[track_caller]
    fn has(&self, files: &[(&str, &str)]) {
        for (path, text) in files {
            self.put(path, text);
        }
    }

    /// Sets knobs of the kernel by their usual names.
    #[track_caller]
    pub(crate) fn sysctls(&self, knobs: &[(&str, &str)]) {
        for (name, text) in knobs {
            self.put(
                &format!("proc/sys/{}", name.replace('.', "/")),
                &format!("{text}\n"),
            );
        }
    }

    /// What a file of `proc/sys` holds.
    #[track_caller]
    pub(crate) fn sysctl(&self, name: &str) -> String {
        let path = format!("proc/sys/{}", name.replace('.', "/"));
        self.read(&path).trim().to_owned()
    }

    /// The text of a file.
    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Whether a file is there.
    pub(crate) fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// Removes a file.
    #[track_caller]
    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.root.join(path)).expect("it was there");
    }

    /// The hard limit of open files.
    #[track_caller]
    pub(crate) fn limits(&self, files: &str) {
        let text = format!(
            "Limit                     Soft Limit           Hard Limit           Units     \n\
             Max open files            1024                 {files:<20} files     \n\
             Max locked memory         8388608              8388608              bytes     \n"
        );
        self.put("proc/self/limits", &text);
    }

    /// The memory of the host, nearly all of it free.
    #[track_caller]
    pub(crate) fn memory_gib(&self, gib: u64) {
        let (total, free) = (gib << 20, (gib << 20) - (300 << 10));
        let text =
            format!("MemTotal:       {total} kB\nMemFree: 1 kB\nMemAvailable:   {free} kB\n");
        self.put("proc/meminfo", &text);
    }

    /// Puts a real file of the kernel in place of a knob: it holds a small number, and nobody,
    /// not even root, may write to it.
    #[track_caller]
    pub(crate) fn write_protect(&self, name: &str) {
        const PROTECTED: &str = "/proc/sys/kernel/cap_last_cap";
        let path = self
            .root
            .join(format!("proc/sys/{}", name.replace('.', "/")));
        let _ = fs::remove_file(&path);
        symlink(PROTECTED, path).expect("a link");
        assert!(fs::File::options().write(true).open(PROTECTED).is_err());
    }

    /// All files below, with their texts; folders end with a slash.
    #[track_caller]
    pub(crate) fn snapshot(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                let name = path
                    .strip_prefix(&self.root)
                    .expect("below")
                    .display()
                    .to_string();
                if path.is_dir() {
                    found.insert(name + "/", String::new());
                    folders.push(path);
                } else {
                    found.insert(name, fs::read_to_string(path).expect("text"));
                }
            }
        }
        found
    }

    /// A script of `tuning/`, for this host.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = script(name);
        command.arg("--root").arg(&self.root);
        command
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// The folder of the scripts.
pub(crate) fn tuning() -> PathBuf {
    let server = Path::new(env!("CARGO_MANIFEST_DIR"));
    server.parent().expect("a workspace").join("tuning")
}

/// A script of `tuning/`.
pub(crate) fn script(name: &str) -> Command {
    Command::new(tuning().join(name))
}

/// Where the scripts keep what was.
pub(crate) const STATE: &str = "var/lib/tidegate/tuning/state.json";

/// The options for all knobs.
pub(crate) const ALL_GROUPS: [&str; 2] = ["--with", "clients,namespaces"];

/// Runs a script on a host. It may fail, but not with a message of its own.
#[track_caller]
pub(crate) fn run(tree: &Tree, script: &str, options: &[&str]) -> Ended {
    let ended = server::run(tree.script(script).args(options));
    assert!(ended.errors.is_empty(), "{ended:?}");
    ended
}

/// The same; it must not fail.
#[track_caller]
pub(crate) fn succeeds(tree: &Tree, script: &str, options: &[&str]) -> Vec<String> {
    let ended = run(tree, script, options);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended.output
}

/// Expects that no file of the host differs from what it was.
#[track_caller]
pub(crate) fn assert_same(tree: &Tree, before: &BTreeMap<String, String>) {
    let now = tree.snapshot();
    let paths = now.keys().chain(before.keys());
    let mut differ: Vec<_> = paths
        .filter(|path| now.get(*path) != before.get(*path))
        .collect();
    differ.dedup();
    let shown = |path: &&String| format!("{path}: {:?} → {:?}", before.get(*path), now.get(*path));
    assert!(
        differ.is_empty(),
        "{:#?}",
        differ.iter().map(shown).collect::<Vec<_>>()
    );
}

/// The line about a knob or a file.
#[track_caller]
pub(crate) fn line<'a>(output: &'a [String], name: &str) -> &'a str {
    let found = output
        .iter()
        .find(|line| line.split(' ').next() == Some(name));
    found.unwrap_or_else(|| panic!("no line of {name} in {output:#?}"))
}

/// A host whose made-up files can all be given back: of a choice, the kernel shows all words, but
/// takes one.
pub(crate) fn host() -> Tree {
    let tree = Tree::debian();
    tree.remove("sys/kernel/mm/transparent_hugepage/enabled");
    tree.sysctls(&[
        ("net.netfilter.nf_conntrack_count", "0"),
        ("net.netfilter.nf_conntrack_max", "65536"),
    ]);
    tree.put("sys/module/nf_conntrack/parameters/hashsize", "65536\n");
    tree
}

const DEBIAN: [(&str, &str); 11] = [
    (
        "proc/self/status",
        "Name:\ta\nCapEff:\t0000000000000000\nSeccomp:\t0\n",
    ),
    ("proc/self/cgroup", "0::/user.slice\n"),
    (
        "proc/net/sockstat",
        "sockets: used 100\nTCP: inuse 5 orphan 0 tw 0 alloc 9 mem 7\n",
    ),
    ("proc/net/softnet_stat", "00000001 00000000 00000000\n"),
    ("proc/sys/fs/file-nr", "1000\t0\t9223372036854775807\n"),
    (
        "proc/interrupts",
        "      CPU0 CPU1\n 39: 1 0 PCI-MSIX 0-edge eth0-config\n 40: 1 0 PCI-MSIX 1-edge eth0-TxRx-0\n \
         41: 1 0 PCI-MSIX 2-edge eth0-TxRx-1\n 42: 1 0 PCI-MSIX 3-edge eth0-TxRx-2\n \
         43: 1 0 PCI-MSIX 4-edge eth0-TxRx-3\nNMI: 0 0 Non-maskable interrupts\n",
    ),
    ("sys/devices/system/cpu/online", "0-3\n"),
    (
        "sys/devices/system/clocksource/clocksource0/current_clocksource",
        "tsc\n",
    ),
    ("sys/class/net/lo/operstate", "unknown\n"),
    ("sys/class/net/eth0/operstate", "up\n"),
    ("sys/class/net/eth0/device/msi_irqs/39", "msix\n"),
];

const DEBIAN_SYSCTLS: [(&str, &str); 23] = [
    ("fs.nr_open", "1048576"),
    ("fs.file-max", "9223372036854775807"),
    ("fs.epoll.max_user_watches", "1800000"),
    ("kernel.osrelease", "6.1.0-18-amd64"),
    ("kernel.io_uring_disabled", "0"),
    (
        "kernel.random.boot_id",
        "11111111-2222-3333-4444-555555555555",
    ),
    ("net.core.somaxconn", "4096"),
    ("net.core.netdev_max_backlog", "1000"),
    ("net.core.rps_sock_flow_entries", "0"),
    ("net.ipv4.tcp_max_syn_backlog", "512"),
    ("net.ipv4.ip_local_port_range", "32768\t60999"),
    ("net.ipv4.tcp_mem", "92000\t123000\t184000"),
    ("net.ipv4.tcp_rmem", "4096\t131072\t6291456"),
    ("net.ipv4.tcp_wmem", "4096\t16384\t4194304"),
    ("net.ipv4.tcp_ehash_entries", "65536"),
    ("net.ipv4.tcp_child_ehash_entries", "0"),
    ("net.ipv4.tcp_migrate_req", "0"),
    ("net.ipv4.tcp_max_orphans", "32768"),
    ("net.ipv4.tcp_notsent_lowat", "4294967295"),
    ("net.ipv4.tcp_slow_start_after_idle", "1"),
    ("net.ipv4.tcp_fin_timeout", "60"),
    ("net.ipv4.tcp_available_ulp", "espintcp mptcp tls"),
    ("vm.min_free_kbytes", "67584"),
];

const TUNED_SYSCTLS: [(&str, &str); 15] = [
    ("fs.nr_open", "2097152"),
    ("fs.epoll.max_user_watches", "50000000"),
    ("net.core.somaxconn", "65535"),
    ("net.core.netdev_max_backlog", "16384"),
    ("net.ipv4.tcp_max_syn_backlog", "65535"),
    ("net.ipv4.tcp_mem", "3000000\t4000000\t6000000"),
    ("net.ipv4.tcp_rmem", "4096\t131072\t262144"),
    ("net.ipv4.tcp_wmem", "4096\t16384\t262144"),
    ("net.ipv4.tcp_ehash_entries", "2097152"),
    ("net.ipv4.tcp_migrate_req", "1"),
    ("net.ipv4.tcp_max_orphans", "1000000"),
    ("net.ipv4.tcp_notsent_lowat", "131072"),
    ("net.ipv4.tcp_slow_start_after_idle", "0"),
    ("net.ipv4.tcp_fin_timeout", "15"),
    ("vm.min_free_kbytes", "262144"),
];
