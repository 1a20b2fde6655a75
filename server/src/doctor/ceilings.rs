//! What no more connections than a certain number get past.

use tidegate_engine::{self as engine, Descriptors, Io};

use super::DoctorSettings;
use super::count::{show, whole};
use super::finding::{Finding, Level};
use super::host::{Host, URING_SINCE};
use super::profile::{Knob, State};
use crate::startup::descriptors_needed;

/// What the kernel keeps for an idle connection, in bytes: 4,037 measured on Linux 6.18.
const KERNEL_BYTES: u64 = 4_100;
/// The same with io_uring: its poll request is 64 bytes larger than what epoll keeps.
const KERNEL_BYTES_URING: u64 = 4_164;
/// What the server keeps for it: 166 to 171 measured.
const SERVER_BYTES: u64 = 200;
/// What the server holds before the first connection, for each shard and beside them.
const SHARD_BYTES: u64 = 1 << 20;
const PROCESS_BYTES: u64 = 16 << 20;

/// What the process has open beside its shards: standard streams, signals, the admin port and its
/// copy for an upgrade.
const DESCRIPTORS_BESIDE: u64 = 10;
/// Listener, epoll, doorbell, timer.
const DESCRIPTORS_EPOLL: u64 = 4;
/// Listener, ring, doorbell.
const DESCRIPTORS_URING: u64 = 3;
/// Three rings and a bell; in debug builds, the timer of the detector of stalls.
const DESCRIPTORS_GLOMMIO: u64 = if cfg!(debug_assertions) { 5 } else { 4 };
/// What glommio keeps for the whole process: a bell.
const DESCRIPTORS_BESIDE_GLOMMIO: u64 = 1;
/// Standard streams.
const DESCRIPTORS_STREAMS: u64 = 3;
/// Doorbell, timer, listener: what a shard's epoll watches beside connections.
const WATCHES_PER_SHARD: u64 = 3;
/// What signals and the admin port watch.
const WATCHES_BESIDE: u64 = 2;

/// All ceilings, known or not.
pub(super) fn findings(host: &Host, knobs: &[Knob], settings: &DoctorSettings) -> Vec<Finding> {
    let mut found = vec![
        open_files(host, knobs, settings),
        file_max(host, knobs, settings),
        memory(host, settings),
    ];
    found.extend(cgroup(host, settings));
    match settings.io {
        Io::Uring => found.push(uring(host)),
        Io::Auto | Io::Epoll => found.push(watches(host, knobs, settings)),
    }
    found.extend(tracker(host, knobs, settings));
    found.push(tcp_memory(host, knobs, settings));
    found
}

/// What a table of descriptors holds before the first connection.
fn descriptors_used(host: &Host, settings: &DoctorSettings) -> u64 {
    let per_shard = match settings.io {
        Io::Uring => DESCRIPTORS_URING,
        Io::Auto | Io::Epoll => DESCRIPTORS_EPOLL,
    };
    let on_glommio = match settings.host {
        engine::Host::Thread => false,
        engine::Host::Glommio => true,
        engine::Host::Auto => host.has_glommio,
    };
    let (per_shard, beside) = if on_glommio {
        let beside = DESCRIPTORS_BESIDE + DESCRIPTORS_BESIDE_GLOMMIO;
        (per_shard + DESCRIPTORS_GLOMMIO, beside)
    } else {
        (per_shard, DESCRIPTORS_BESIDE)
    };
    let inherited = host.inherited_below(host.table_size().unwrap_or(u64::MAX));
    match settings.descriptors {
        Descriptors::Shared => beside + inherited + per_shard * host.shards,
        // The doorbells of all shards, and of the rest its own; nothing is inherited.
        Descriptors::PerShard => DESCRIPTORS_STREAMS + per_shard - 1 + host.shards,
    }
}

fn open_files(host: &Host, knobs: &[Knob], settings: &DoctorSettings) -> Finding {
    const NAME: &str = "open files";
    const SYMPTOM: &str = "further clients connect and are not answered: they wait in the accept \
                           queue (EMFILE, tidegate_accept_failures_total)";
    let (Some(limit), Some(table)) = (host.files_max, host.table_size()) else {
        return Finding::unknown(NAME, "without /proc/self/limits nobody knows");
    };
    let wanted = settings.connections.get();
    let used = descriptors_used(host, settings);
    let room = table.saturating_sub(used);
    let shown = if limit == u64::MAX {
        "unlimited".to_owned()
    } else {
        show(limit)
    };
    let shown = match host.nr_open {
        Some(nr_open) if nr_open < limit => format!("{shown}, fs.nr_open {}", show(nr_open)),
        _ => shown,
    };
    let (at, now, share) = match settings.descriptors {
        Descriptors::Shared => (room, format!("{shown}, {used} of them in use"), wanted),
        Descriptors::PerShard => {
            let now = format!(
                "{shown} for each of {} shards, {used} of them in use: {} each at most",
                host.shards,
                show(room)
            );
            (
                first_full(room, host.shards),
                now,
                wanted.div_ceil(host.shards),
            )
        }
    };
    let enough = match settings.descriptors {
        Descriptors::Shared => target(knobs, "nofile").max(wanted + used),
        // A tenth more for the uneven spread.
        Descriptors::PerShard => share + share / 10 + used,
    };
    let raise = match host.nr_open {
        Some(nr_open) if nr_open < enough => {
            format!("{}; ", raise(knobs, "fs.nr_open", enough))
        }
        _ => String::new(),
    };
    let mend = format!("{raise}LimitNOFILE={enough} in the unit, or `ulimit -Hn {enough}` as root");
    let needed = descriptors_needed(host.shards, settings.descriptors, settings.host);
    if table < needed {
        let symptom =
            format!("the server does not start: it wants room for {needed} (exit code 77)");
        return Finding::ceiling(NAME, 0, wanted, now, &symptom, mend);
    }
    Finding::ceiling(NAME, at, wanted, now, SYMPTOM, mend)
}

/// What a knob of one number should be set to; 0 if nobody knows.
fn target(knobs: &[Knob], name: &str) -> u64 {
    let knob = knobs.iter().find(|knob| knob.name == name);
    let target = knob.and_then(|knob| knob.target.as_deref().or(knob.wanted.as_deref()));
    target.and_then(whole).unwrap_or(0)
}

/// The command that raises a knob to what is usual for so many connections, and at least to
/// what is needed here.
fn raise(knobs: &[Knob], name: &str, needed: u64) -> String {
    format!("sysctl -w {name}={}", target(knobs, name).max(needed))
}

/// With how many connections the fullest of several shards is likely to be full, when the
/// kernel spreads them by chance: it has the mean m, and √(2 m ln shards) more.
///
/// Measured on 40,000 connections: 2 shards ±1 %, 16 ±4 %, 64 ±8 % from 50 addresses.
fn first_full(room: u64, shards: u64) -> u64 {
    let (room, count) = (room as f64, shards as f64);
    let spread = (2.0 * count.ln() * (1.0 - 1.0 / count)).sqrt();
    let root = ((spread * spread + 4.0 * room).sqrt() - spread) / 2.0;
    let total = root * root * count;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative, and a float that is too large becomes the largest number"
    )]
    let total = total as u64;
    total
}

fn file_max(host: &Host, knobs: &[Knob], settings: &DoctorSettings) -> Finding {
    const NAME: &str = "open files of the host";
    const SYMPTOM: &str = "further clients connect and are not answered; \"file-max limit \
                           reached\" in the kernel log (ENFILE)";
    let (Some(most), Some(used)) = (host.file_max, host.files_used) else {
        return Finding::unknown(NAME, "fs.file-max or fs.file-nr cannot be read");
    };
    let wanted = settings.connections.get();
    let own = descriptors_used(host, settings);
    let at = most.saturating_sub(used).saturating_sub(own);
    let now = format!("fs.file-max {}, {} in use", show(most), show(used));
    let mend = raise(knobs, "fs.file-max", used.saturating_add(own + wanted));
    let finding = Finding::ceiling(NAME, at, wanted, now, SYMPTOM, mend);
    if finding.level == Level::Stops && host.is_admin == Some(true) {
        return Finding {
            level: Level::Note,
            is_ceiling: false,
            symptom: format!(
                "not for this user, who is exempt (CAP_SYS_ADMIN); for others: {SYMPTOM}"
            ),
            ..finding
        };
    }
    Finding {
        is_ceiling: finding.is_ceiling && host.is_admin != Some(true),
        ..finding
    }
}

/// How many idle connections so many bytes are enough for.
fn connections_in(bytes: u64, host: &Host, settings: &DoctorSettings) -> u64 {
    let process = PROCESS_BYTES + SHARD_BYTES * host.shards;
    bytes.saturating_sub(process) / bytes_each(settings)
}

fn bytes_each(settings: &DoctorSettings) -> u64 {
    let kernel = match settings.io {
        Io::Uring => KERNEL_BYTES_URING,
        Io::Auto | Io::Epoll => KERNEL_BYTES,
    };
    kernel + SERVER_BYTES
}

fn bytes_needed(host: &Host, settings: &DoctorSettings) -> u64 {
    let process = PROCESS_BYTES + SHARD_BYTES * host.shards;
    settings.connections.get() * bytes_each(settings) + process
}

fn memory(host: &Host, settings: &DoctorSettings) -> Finding {
    const NAME: &str = "memory";
    let Some(free) = host.memory_free else {
        return Finding::unknown(NAME, "without MemAvailable in /proc/meminfo nobody knows");
    };
    let at = connections_in(free, host, settings);
    let each = bytes_each(settings);
    let now = format!(
        "{} free, {} B for each idle connection",
        mebibytes(free),
        show(each)
    );
    let mend = format!(
        "a host with {} free, and more for messages under way",
        mebibytes(bytes_needed(host, settings))
    );
    let symptom = "the kernel kills the server, or another process (\"Out of memory\" in its log)";
    Finding::ceiling(NAME, at, settings.connections.get(), now, symptom, mend)
}

fn cgroup(host: &Host, settings: &DoctorSettings) -> Vec<Finding> {
    let wanted = settings.connections.get();
    let mut found = Vec::new();
    let needed = mebibytes(bytes_needed(host, settings));
    if let Some(max) = &host.cgroup.max {
        let at = connections_in(max.left, host, settings);
        let now = format!("{} of {} left", mebibytes(max.left), mebibytes(max.bytes));
        let symptom = "the server is killed with a small RSS: the kernel's 4.1 KB for each \
                       connection count as well";
        let mend = format!(
            "MemoryMax= of at least {needed} more than is in use ({})",
            max.folder
        );
        found.push(Finding::ceiling(
            "memory of the control group",
            at,
            wanted,
            now,
            symptom,
            mend,
        ));
    }
    if let Some(high) = &host.cgroup.high {
        let at = connections_in(high.left, host, settings);
        let now = format!("{} of {} left", mebibytes(high.left), mebibytes(high.bytes));
        let symptom = "the kernel slows the server down to take memory from it";
        let mend = format!(
            "MemoryHigh= of at least {needed} more than is in use ({})",
            high.folder
        );
        found.push(Finding::slows_at(
            "memory.high of the group",
            at,
            wanted,
            now,
            symptom,
            mend,
        ));
    }
    found
}

fn watches(host: &Host, knobs: &[Knob], settings: &DoctorSettings) -> Finding {
    const NAME: &str = "epoll watches of the user";
    let Some(most) = host.watches_max else {
        return Finding::unknown(NAME, "fs.epoll.max_user_watches cannot be read");
    };
    let own = WATCHES_PER_SHARD * host.shards + WATCHES_BESIDE;
    let wanted = settings.connections.get();
    let at = most.saturating_sub(own);
    let now = format!("{}, shared by all processes of the user", show(most));
    let mend = raise(knobs, "fs.epoll.max_user_watches", wanted + own);
    let symptom = "further clients are accepted and closed at once (ENOSPC)";
    Finding::ceiling(NAME, at, wanted, now, symptom, mend)
}

/// Whether the server starts at all with io_uring.
fn uring(host: &Host) -> Finding {
    const NAME: &str = "io_uring";
    const SYMPTOM: &str = "the server does not start with --io uring";
    let refused = |now: String, mend: &str| Finding {
        level: Level::Stops,
        at: Some(0),
        is_ceiling: true,
        mend: Some(mend.to_owned()),
        ..Finding::note(NAME, now, SYMPTOM)
    };
    match (host.kernel, host.uring_disabled) {
        (Some(version), _) if version < URING_SINCE => refused(
            format!("Linux {}.{}", version.0, version.1),
            "Linux 5.19 or newer, or --io epoll",
        ),
        (_, Some(2)) => refused(
            "kernel.io_uring_disabled = 2".to_owned(),
            "sysctl -w kernel.io_uring_disabled=0",
        ),
        (_, Some(1)) if host.is_admin != Some(true) => refused(
            "kernel.io_uring_disabled = 1, without CAP_SYS_ADMIN".to_owned(),
            "sysctl -w kernel.io_uring_disabled=0, or a user in kernel.io_uring_group",
        ),
        (None, _) => Finding::unknown(NAME, "the kernel's version cannot be read"),
        (Some(_), _) if host.is_filtered == Some(true) => Finding::note(
            NAME,
            "a filter of system calls holds".to_owned(),
            "if it forbids io_uring, as those of containers do, the server does not start with --io uring",
        ),
        (Some(version), _) => Finding::fine(
            NAME,
            format!("Linux {}.{}, and not disabled", version.0, version.1),
            SYMPTOM,
        ),
    }
}

fn tracker(host: &Host, knobs: &[Knob], settings: &DoctorSettings) -> Option<Finding> {
    const NAME: &str = "connection tracker";
    const SYMPTOM: &str = "\"nf_conntrack: table full, dropping packet\" in the kernel log: \
                           clients cannot connect, and others hang";
    let (count, most) = host.tracked?;
    let wanted = settings.connections.get();
    let now = format!("follows {} of {}", show(count), show(most));
    if host.is_exempt {
        let meaning = "tuning/conntrack has exempted ports: the server's is taken to be one";
        return Some(Finding::note(NAME, now, meaning));
    }
    if count == 0 {
        // Loaded, but no rule asks for it, or nothing is connected.
        let level = if most < wanted {
            Level::Note
        } else {
            Level::Fine
        };
        let symptom = format!("if a rule of a firewall makes it follow the port: {SYMPTOM}");
        return Some(Finding {
            level,
            at: Some(most),
            mend: (level == Level::Note)
                .then(|| "tuning/conntrack --yes (exempts the port)".to_owned()),
            ..Finding::note(NAME, now, &symptom)
        });
    }
    let raise = raise(
        knobs,
        "net.netfilter.nf_conntrack_max",
        count.saturating_add(wanted),
    );
    let mend = format!("tuning/conntrack --yes (exempts the port), or {raise}");
    let at = most.saturating_sub(count);
    Some(Finding::ceiling(NAME, at, wanted, now, SYMPTOM, mend))
}

fn tcp_memory(host: &Host, knobs: &[Knob], settings: &DoctorSettings) -> Finding {
    const NAME: &str = "memory of TCP buffers";
    let Some([_, pressure, limit]) = host.tcp_mem else {
        return Finding::unknown(NAME, "net.ipv4.tcp_mem cannot be read");
    };
    let at = pressure.saturating_sub(host.tcp_pages_used);
    let now = format!(
        "tcp_mem: pressure at {} pages, limit {}, {} in use",
        show(pressure),
        show(limit),
        show(host.tcp_pages_used)
    );
    let wanted = settings.connections.get();
    let knob = knobs.iter().find(|knob| knob.name == "net.ipv4.tcp_mem");
    let mend = match knob {
        Some(knob) if knob.state == State::Off => knob.command(),
        _ => "more memory: the knob is as high as this much allows".to_owned(),
    };
    let symptom = "idle connections hold nothing; from so many with a message unread on, random \
                   delays, without an error and without a log line";
    Finding::slows_at(NAME, at, wanted, now, symptom, mend)
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", show(bytes.div_ceil(1 << 20)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shard_is_full_when_it_is_full() {
        assert_eq!(first_full(100, 1), 100);
        assert_eq!(first_full(0, 4), 0);
    }

    #[test]
    fn the_spread_is_that_which_was_measured() {
        // So much less than all of the room, since the fullest has so much more than the mean.
        for (shards, percent) in [(2, 0.2..1.5), (16, 3.0..6.0), (64, 6.0..13.0)] {
            let room = 40_000 / shards;
            let lost = 100.0 - first_full(room, shards) as f64 / 400.0;
            assert!(percent.contains(&lost), "{shards} shards: {lost} %");
        }
        assert!(first_full(u64::MAX, 256) > u64::MAX / 2);
    }
}
