//! What stops nobody, and makes a busy or unlucky hour worse: knobs that are not as they should
//! be, and facts worth knowing.

use super::DoctorSettings;
use super::count::{show, whole};
use super::finding::Finding;
use super::host::Host;
use super::profile::{Group, Kind, Knob, State};

/// Knobs of which a ceiling tells more.
const TOLD_ELSEWHERE: [&str; 7] = [
    "fs.nr_open",
    "nofile",
    "fs.file-max",
    "fs.epoll.max_user_watches",
    "net.ipv4.tcp_mem",
    "net.netfilter.nf_conntrack_max",
    "nf_conntrack.hashsize",
];

/// Clock sources that a program reads without a system call.
const CLOCKS_FAST: [&str; 4] = [
    "tsc",
    "kvm-clock",
    "hyperv_clocksource_tsc_page",
    "arch_sys_counter",
];

/// All advice.
pub(super) fn findings(host: &Host, knobs: &[Knob], settings: &DoctorSettings) -> Vec<Finding> {
    let told = |knob: &&Knob| !TOLD_ELSEWHERE.contains(&knob.name.as_str());
    let mut found: Vec<Finding> = knobs
        .iter()
        .filter(told)
        .map(|knob| judge(knob, settings.connections.get()))
        .collect();
    if settings.io != tidegate_engine::Io::Uring {
        found.push(uring_note(host));
    }
    found.push(Finding::note(
        "locked memory",
        host.memlock.as_deref().unwrap_or("unknown").to_owned(),
        "io_uring takes about 200KiB for each shard, glommio as much, unless CAP_IPC_LOCK; with less, auto does without",
    ));
    found
}

fn judge(knob: &Knob, wanted: u64) -> Finding {
    let now = knob.now.clone().unwrap_or_else(|| "unknown".to_owned());
    match (knob.state, knob.group) {
        (State::Absent, _) => Finding {
            now: "not here".to_owned(),
            ..Finding::note(
                &knob.name,
                String::new(),
                "an older kernel, or a module that is not loaded",
            )
        },
        (State::Unknown, _) => Finding::unknown(&knob.name, "it cannot be read"),
        (State::Ok, _) => Finding::fine(&knob.name, now, &knob.symptom),
        (State::Off, Group::Clients) => ports(knob),
        (State::Off, Group::Namespaces) => Finding {
            mend: Some(format!(
                "{} (for namespaces that are made afterwards)",
                knob.command()
            )),
            ..Finding::note(&knob.name, now, &knob.symptom)
        },
        (State::Off, Group::Server) if knob.kind == Kind::Boot => chains(knob, wanted),
        (State::Off, Group::Server) => {
            Finding::slows(&knob.name, now, &knob.symptom, knob.command())
        }
    }
}

/// The range of ports says how many connections one client address, or a proxy, reaches.
fn ports(knob: &Knob) -> Finding {
    let now = knob.now.clone().unwrap_or_default();
    let mut bounds = now.split(' ').filter_map(whole);
    let (first, last) = (bounds.next().unwrap_or(0), bounds.next().unwrap_or(0));
    let count = last.saturating_add(1).saturating_sub(first);
    let symptom = format!(
        "only for hosts that dial: {} connections from one address to one address and port, then EADDRNOTAVAIL",
        show(count)
    );
    Finding {
        mend: Some(format!(
            "on load generators and proxies: {}",
            knob.command()
        )),
        ..Finding::note(&knob.name, now, &symptom)
    }
}

/// The table of connections can only be made larger at boot.
fn chains(knob: &Knob, wanted: u64) -> Finding {
    let now = knob.now.clone().unwrap_or_default();
    // Beyond this a chain is longer than one on average.
    let entries = whole(&now).unwrap_or(0);
    let (name, shown) = (
        "table of TCP connections",
        format!("{} chains", show(entries)),
    );
    Finding::slows_at(name, entries, wanted, shown, &knob.symptom, knob.command())
}

fn uring_note(host: &Host) -> Finding {
    let now = match host.uring_disabled {
        Some(mode) => format!("kernel.io_uring_disabled = {mode}"),
        None => "kernel.io_uring_disabled is not here".to_owned(),
    };
    Finding::note(
        "io_uring",
        now,
        "not used: by --io epoll, or since it cannot be had",
    )
}

/// What is read from files that no knob names.
pub(super) fn clock(source: Option<&str>) -> Finding {
    const NAME: &str = "clock source";
    let Some(source) = source.map(str::trim).filter(|source| !source.is_empty()) else {
        return Finding::unknown(NAME, "the current clock source cannot be read");
    };
    let symptom = "each look at the clock is a system call";
    if CLOCKS_FAST.contains(&source) {
        return Finding::fine(NAME, source.to_owned(), symptom);
    }
    let path = "/sys/devices/system/clocksource/clocksource0";
    let mend =
        format!("echo tsc > {path}/current_clocksource, where {path}/available_clocksource has it");
    Finding::slows(NAME, source.to_owned(), symptom, mend)
}

/// Whether the kernel can do TLS's records.
pub(super) fn kernel_tls(protocols: Option<&str>) -> Finding {
    const NAME: &str = "kernel TLS";
    const SYMPTOM: &str = "nothing: this server does not ask the kernel for TLS";
    let has = protocols.is_some_and(|all| all.split_whitespace().any(|name| name == "tls"));
    let now = if has {
        "tls is there"
    } else {
        "tls is not in net.ipv4.tcp_available_ulp"
    };
    Finding {
        mend: (!has).then(|| "modprobe tls, if it is ever wanted".to_owned()),
        ..Finding::note(NAME, now.to_owned(), SYMPTOM)
    }
}
