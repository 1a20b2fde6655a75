//! Whether the cores share the work of the network cards, the clock, and kernel TLS.

use super::advice;
use super::count::{show, whole};
use super::finding::Finding;
use super::host::Host;
use super::tree::{Tree, parse_cores};

/// Everything that is read from folders rather than from one file.
pub(super) fn findings(tree: &Tree, host: &Host) -> Vec<Finding> {
    let clock = tree.read("sys/devices/system/clocksource/clocksource0/current_clocksource");
    let protocols = tree.read("proc/sys/net/ipv4/tcp_available_ulp");
    let mut found = vec![
        advice::clock(clock.as_deref()),
        advice::kernel_tls(protocols.as_deref()),
        drops(tree),
    ];
    let cards: Vec<String> = tree
        .names("sys/class/net")
        .into_iter()
        .filter(|name| is_card(tree, name))
        .collect();
    if cards.is_empty() {
        let meaning = "loopback, or a container: what spreads its packets is outside";
        found.push(Finding::note(
            "network card",
            "none here".to_owned(),
            meaning,
        ));
    }
    for name in cards {
        found.push(queues(tree, host, &name));
        found.extend(interrupts(tree, host, &name));
    }
    found
}

/// A device with hardware, real or virtual, that is not down.
fn is_card(tree: &Tree, name: &str) -> bool {
    let state = tree.read(&format!("sys/class/net/{name}/operstate"));
    tree.exists(&format!("sys/class/net/{name}/device"))
        && state.is_none_or(|state| state.trim() != "down")
}

fn queues(tree: &Tree, host: &Host, card: &str) -> Finding {
    let name = format!("queues of {card}");
    let folder = format!("sys/class/net/{card}/queues");
    let queues: Vec<String> = tree
        .names(&folder)
        .into_iter()
        .filter(|queue| queue.starts_with("rx-"))
        .collect();
    if queues.is_empty() {
        return Finding::unknown(&name, "its queues cannot be read");
    }
    let count = queues.len() as u64;
    let busy = host.cores.min(host.shards);
    let shared = queues.iter().any(|queue| {
        let mask = tree.read(&format!("{folder}/{queue}/rps_cpus"));
        mask.is_some_and(|mask| mask.trim().bytes().any(|byte| !matches!(byte, b'0' | b',')))
    });
    let with = if shared { "RPS on" } else { "RPS off" };
    let now = format!(
        "{} to receive, {} cores, {with}",
        show(count),
        show(host.cores)
    );
    let symptom = "one core drowns in softirq while others idle";
    if count >= busy || shared {
        return Finding::fine(&name, now, symptom);
    }
    let mend = format!(
        "ethtool -L {card} combined {}, where it has them; else tuning/queues --device {card} --yes",
        host.cores
    );
    Finding::slows(&name, now, symptom, mend)
}

/// Where the interrupts of a card arrive.
fn interrupts(tree: &Tree, host: &Host, card: &str) -> Option<Finding> {
    let numbers = numbers_of(tree, card);
    let mut cores: Vec<u64> = Vec::new();
    let mut count = 0;
    for number in numbers {
        let folder = format!("proc/irq/{number}");
        let cores_of = |file: &str| parse_cores(&tree.read(&format!("{folder}/{file}"))?);
        // What is allowed may be all; what is in effect is one, where the kernel says it.
        let allowed = cores_of("effective_affinity_list").or_else(|| cores_of("smp_affinity_list"));
        if let Some(allowed) = allowed {
            count += 1;
            cores.extend(allowed);
        }
    }
    cores.sort_unstable();
    cores.dedup();
    let name = format!("interrupts of {card}");
    if count == 0 {
        return Some(Finding::note(
            &name,
            "unknown".to_owned(),
            "it shows no interrupts of its own",
        ));
    }
    let now = format!("{count}, on {} of {} cores", cores.len(), host.cores);
    let symptom = "one core takes all packets in";
    if count > 2 && cores.len() == 1 && host.cores > 1 {
        let mend = format!("tuning/queues --device {card} --yes");
        return Some(Finding::slows(&name, now, symptom, mend));
    }
    Some(Finding::fine(&name, now, symptom))
}

fn numbers_of(tree: &Tree, card: &str) -> Vec<u64> {
    let device = format!("sys/class/net/{card}/device");
    // Those of a virtio card belong to the PCI device above it.
    for folder in [
        format!("{device}/msi_irqs"),
        format!("{device}/../msi_irqs"),
    ] {
        let numbers: Vec<u64> = tree
            .names(&folder)
            .iter()
            .filter_map(|name| whole(name))
            .collect();
        if !numbers.is_empty() {
            return numbers;
        }
    }
    Vec::new()
}

/// Packets that a core had no room for, since the boot.
fn drops(tree: &Tree) -> Finding {
    const NAME: &str = "packets dropped by cores";
    const SYMPTOM: &str = "packets of a burst are lost, and sent again later";
    let Some(text) = tree.read("proc/net/softnet_stat") else {
        return Finding::unknown(NAME, "/proc/net/softnet_stat cannot be read");
    };
    let column = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    let dropped: Option<u64> = text
        .lines()
        .try_fold(0_u64, |sum, line| Some(sum.saturating_add(column(line)?)));
    match dropped {
        None => Finding::unknown(NAME, "/proc/net/softnet_stat is odd"),
        Some(0) => Finding::fine(NAME, "none since the boot".to_owned(), SYMPTOM),
        Some(count) => Finding {
            mend: Some(
                "a larger net.core.netdev_max_backlog, or more cores (tuning/queues)".to_owned(),
            ),
            ..Finding::note(NAME, format!("{} since the boot", show(count)), SYMPTOM)
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::doctor::finding::Level;

    /// A made-up tree, removed when dropped.
    struct Made(PathBuf);

    impl Made {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir()
                .join(format!("tidegate-network-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn findings(&self) -> Vec<Finding> {
            let tree = Tree::new(&self.0);
            findings(&tree, &Host::read(&tree, None, None))
        }

        #[track_caller]
        fn finding(&self, name: &str) -> Finding {
            self.findings()
                .into_iter()
                .find(|f| f.name == name)
                .unwrap()
        }
    }

    impl Drop for Made {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const CARD: [(&str, &str); 9] = [
        ("sys/devices/system/cpu/online", "0-3\n"),
        ("sys/class/net/eth0/operstate", "up\n"),
        ("sys/class/net/eth0/queues/rx-0/rps_cpus", "0\n"),
        ("sys/class/net/eth0/queues/tx-0/xps_cpus", "0\n"),
        ("sys/class/net/eth0/device/msi_irqs/40", "msix\n"),
        ("sys/class/net/eth0/device/msi_irqs/41", "msix\n"),
        ("sys/class/net/eth0/device/msi_irqs/42", "msix\n"),
        ("sys/class/net/lo/operstate", "unknown\n"),
        (
            "proc/net/softnet_stat",
            "0000aaaa 0000000a 00000000\n0000bbbb 00000001 0\n",
        ),
    ];

    #[test]
    fn one_queue_for_four_cores_is_slow_unless_they_share_it() {
        let made = Made::new("queue", &CARD);
        let found = made.finding("queues of eth0");
        assert_eq!(found.level, Level::Slows, "{found:?}");
        assert!(found.mend.unwrap().contains("tuning/queues --device eth0"));
        fs::write(
            made.0.join("sys/class/net/eth0/queues/rx-0/rps_cpus"),
            "0,0000000f\n",
        )
        .unwrap();
        assert_eq!(made.finding("queues of eth0").level, Level::Fine);
    }

    #[test]
    fn interrupts_on_one_core_are_slow() {
        let made = Made::new("interrupts", &CARD);
        let set = |cores: [&str; 3]| {
            for (number, cores) in (40..).zip(cores) {
                let folder = made.0.join(format!("proc/irq/{number}"));
                fs::create_dir_all(&folder).unwrap();
                fs::write(folder.join("smp_affinity_list"), "0-3\n").unwrap();
                fs::write(folder.join("effective_affinity_list"), cores).unwrap();
            }
            made.finding("interrupts of eth0")
        };
        assert_eq!(set(["2\n", "2\n", "2\n"]).level, Level::Slows);
        let spread = set(["0\n", "1\n", "2\n"]);
        assert_eq!(
            (spread.level, spread.now.as_str()),
            (Level::Fine, "3, on 3 of 4 cores")
        );
    }

    #[test]
    fn drops_are_hexadecimal_and_summed() {
        let made = Made::new("drops", &CARD);
        let found = made.finding("packets dropped by cores");
        assert_eq!(
            (found.level, found.now.as_str()),
            (Level::Note, "11 since the boot")
        );
        fs::write(made.0.join("proc/net/softnet_stat"), "zz zz\n").unwrap();
        assert_eq!(
            made.finding("packets dropped by cores").level,
            Level::Unknown
        );
    }

    #[test]
    fn a_host_without_cards_is_not_judged() {
        let made = Made::new("none", &CARD[7..]);
        assert_eq!(made.finding("network card").level, Level::Note);
        assert_eq!(made.finding("clock source").level, Level::Unknown);
    }
}
