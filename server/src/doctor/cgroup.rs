//! What the memory control groups above a process still allow, in versions 1 and 2.

use super::count::whole;
use super::tree::{Tree, line_of};

/// Version 1 writes "no limit" as the largest number of pages.
const UNLIMITED_MIN: u64 = 1 << 62;

/// The tightest limit of all groups that a process is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limit {
    /// The folder of the group, under the root of the tree.
    pub(super) folder: String,
    pub(super) bytes: u64,
    /// What is left of it, counting the page cache that the kernel would give up.
    pub(super) left: u64,
}

/// The limits of a process's groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Limits {
    /// Above it processes are killed.
    pub(super) max: Option<Limit>,
    /// Above it they are slowed down. Version 2 only.
    pub(super) high: Option<Limit>,
}

/// The names of one version's files.
struct Files {
    max: &'static str,
    high: Option<&'static str>,
    used: &'static str,
    cache: &'static str,
}

const VERSION_1: Files = Files {
    max: "memory.limit_in_bytes",
    high: None,
    used: "memory.usage_in_bytes",
    cache: "total_inactive_file",
};

const VERSION_2: Files = Files {
    max: "memory.max",
    high: Some("memory.high"),
    used: "memory.current",
    cache: "inactive_file",
};

/// Reads the limits of the process whose folder in `/proc` this is.
pub(super) fn limits(tree: &Tree, process: &str) -> Limits {
    let own = tree.read(&format!("{process}/cgroup")).unwrap_or_default();
    let mut limits = Limits::default();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(controllers), Some(path)) =
            (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let bases: &[&str] = if controllers.split(',').any(|name| name == "memory") {
            &["sys/fs/cgroup/memory"]
        } else if number == "0" && controllers.is_empty() {
            // Beside version 1, version 2 is mounted below.
            &["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        } else {
            continue;
        };
        let files = if controllers.is_empty() {
            VERSION_2
        } else {
            VERSION_1
        };
        for base in bases {
            climb(tree, base, path, &files, &mut limits);
        }
    }
    limits
}

/// Looks at a group and all above it; in a container, parts of the path may not be there.
fn climb(tree: &Tree, base: &str, path: &str, files: &Files, limits: &mut Limits) {
    if path.split('/').any(|part| part == "..") {
        return climb(tree, base, "", files, limits);
    }
    let mut path = path.trim_matches('/');
    loop {
        let folder = format!("{base}/{path}");
        let folder = folder.trim_end_matches('/');
        tighten(&mut limits.max, limit(tree, folder, files.max, files));
        if let Some(high) = files.high {
            tighten(&mut limits.high, limit(tree, folder, high, files));
        }
        if path.is_empty() {
            break;
        }
        path = path.rsplit_once('/').map_or("", |(above, _)| above);
    }
}

fn tighten(tightest: &mut Option<Limit>, found: Option<Limit>) {
    if let Some(found) = found
        && tightest
            .as_ref()
            .is_none_or(|limit| found.left < limit.left)
    {
        *tightest = Some(found);
    }
}

/// `None` where there is no limit.
fn limit(tree: &Tree, folder: &str, name: &str, files: &Files) -> Option<Limit> {
    let bytes = tree.number(&format!("{folder}/{name}"))?;
    if bytes >= UNLIMITED_MIN {
        return None;
    }
    let used = tree.number(&format!("{folder}/{}", files.used));
    let stat = tree.read(&format!("{folder}/memory.stat"));
    let cache = stat.as_deref().and_then(|stat| {
        let line = line_of(stat, &format!("{} ", files.cache))?;
        whole(line)
    });
    let used = used.unwrap_or(0).saturating_sub(cache.unwrap_or(0));
    Some(Limit {
        folder: format!("/{folder}"),
        bytes,
        left: bytes.saturating_sub(used),
    })
}
