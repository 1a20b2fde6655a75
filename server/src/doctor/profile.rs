//! The knobs of `tuning/knobs.json`, computed for a host: what is, and what is wanted.
//!
//! The scripts in `tuning/` read the same file; a test holds the two against each other.

use std::num::NonZero;

use serde::{Deserialize, Serialize};

use super::count::whole;
use super::host::Host;
use super::tree::Tree;

const KNOBS: &str = include_str!("../../../tuning/knobs.json");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    #[serde(rename = "about")]
    _about: Vec<String>,
    knobs: Vec<Entry>,
}

/// A knob as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    kind: Kind,
    group: Group,
    path: Option<String>,
    /// Of a choice: the words to be changed, and to which.
    #[serde(default)]
    bad: Vec<String>,
    #[serde(default)]
    good: String,
    fields: Vec<Field>,
    #[serde(rename = "why")]
    _why: String,
    symptom: String,
}

/// How a knob is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Sysctl,
    /// The limit of open files.
    Limit,
    /// A parameter of a kernel module.
    Module,
    /// One word of several.
    Choice,
    /// The kernel's command line.
    Boot,
}

/// Whom a knob is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    Server,
    /// Hosts that dial.
    Clients,
    /// Network namespaces that are made later.
    Namespaces,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Rule {
    AtLeast,
    AtMost,
    Keep,
}

/// One number of a knob. The file says how it is computed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Field {
    rule: Rule,
    #[serde(default)]
    base: u64,
    #[serde(default)]
    per_thousand: u64,
    share: Option<NonZero<u64>>,
    #[serde(default)]
    power_of_two: bool,
    rounded_up: Option<NonZero<u64>>,
    memory_part: Option<NonZero<u64>>,
    #[serde(default)]
    unit: u64,
    #[serde(default)]
    floor: u64,
    ceiling: Option<u64>,
}

/// Whether a knob is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    /// To be changed.
    Off,
    /// This kernel has none.
    Absent,
    Unknown,
}

/// A knob on a host.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Knob {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) now: Option<String>,
    /// Of each number what is wanted, `-` for one that may be what it is.
    pub(super) wanted: Option<String>,
    /// What it should be set to: today's value, where that is better already.
    pub(super) target: Option<String>,
    #[serde(skip)]
    pub(super) symptom: String,
    #[serde(skip)]
    pub(super) kind: Kind,
    #[serde(skip)]
    pub(super) group: Group,
    #[serde(skip)]
    path: String,
}

impl Knob {
    /// The command that sets it, while the system runs.
    pub(super) fn command(&self) -> String {
        let target = self.target.as_deref().unwrap_or_default();
        match self.kind {
            Kind::Sysctl if target.contains(' ') => format!("sysctl -w {}=\"{target}\"", self.name),
            Kind::Sysctl => format!("sysctl -w {}={target}", self.name),
            Kind::Limit => format!("LimitNOFILE={target} in the unit, or `ulimit -Hn {target}`"),
            Kind::Module | Kind::Choice => format!("echo {target} > /{}", self.path),
            Kind::Boot => format!("add {}={target} to the kernel's command line", self.name),
        }
    }
}

/// All knobs for so many connections, in the order in which they are to be changed.
pub(super) fn profile(tree: &Tree, host: &Host, connections: NonZero<u64>) -> Vec<Knob> {
    let book: Book = serde_json::from_str(KNOBS).expect("a test reads the file that is built in");
    let measure = |entry| {
        Reader {
            tree,
            host,
            connections,
        }
        .knob(entry)
    };
    book.knobs.into_iter().map(measure).collect()
}

struct Reader<'a> {
    tree: &'a Tree,
    host: &'a Host,
    connections: NonZero<u64>,
}

impl Reader<'_> {
    fn knob(&self, entry: Entry) -> Knob {
        let path = entry
            .path
            .clone()
            .unwrap_or_else(|| format!("proc/sys/{}", entry.name.replace('.', "/")));
        let mut knob = match entry.kind {
            Kind::Choice => self.choice(&entry, &path),
            _ => self.numbers(&entry, &path),
        };
        let is_missing = knob.now.is_none() && entry.kind != Kind::Limit;
        if is_missing && !self.tree.exists(&path) {
            knob.state = State::Absent;
        }
        Knob {
            name: entry.name,
            symptom: entry.symptom,
            kind: entry.kind,
            group: entry.group,
            path,
            ..knob
        }
    }

    /// One word in brackets among others.
    fn choice(&self, entry: &Entry, path: &str) -> Knob {
        let text = self.tree.read(path).unwrap_or_default();
        let chosen = text
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
            .map(|(word, _)| word)
            .filter(|word| {
                let is_plain = |c: u8| c.is_ascii_lowercase() || b"+_-".contains(&c);
                !word.is_empty() && word.bytes().all(is_plain)
            });
        let state = match chosen {
            None => State::Unknown,
            Some(word) if entry.bad.iter().any(|bad| bad == word) => State::Off,
            Some(_) => State::Ok,
        };
        let target = match state {
            State::Off => Some(entry.good.clone()),
            _ => chosen.map(str::to_owned),
        };
        Knob {
            state,
            now: chosen.map(str::to_owned),
            wanted: Some(entry.good.clone()),
            target,
            ..blank()
        }
    }

    fn numbers(&self, entry: &Entry, path: &str) -> Knob {
        let now = self.now(entry.kind, path);
        let known = now.as_deref().filter(|now| now.len() == entry.fields.len());
        let mut wanted = Vec::new();
        let mut target = Vec::new();
        for (index, field) in entry.fields.iter().enumerate() {
            let is_now = known.map(|now| now[index]);
            if field.rule == Rule::Keep {
                wanted.push(Some("-".to_owned()));
                target.push(is_now);
                continue;
            }
            let mut value = self.compute(field);
            if field.rule == Rule::AtMost
                && let Some(before) = index.checked_sub(1).zip(known).map(|(i, now)| now[i])
            {
                // A maximum below the default beside it would be refused or without sense.
                value = value.map(|value| value.max(before));
            }
            wanted.push(value.map(|value| value.to_string()));
            target.push(is_now.zip(value).map(|(is_now, value)| match field.rule {
                Rule::AtLeast => is_now.max(value),
                Rule::AtMost => is_now.min(value),
                Rule::Keep => is_now,
            }));
        }
        let wanted: Option<Vec<String>> = wanted.into_iter().collect();
        let target: Option<Vec<u64>> = target.into_iter().collect();
        let state = match (&target, known) {
            (Some(target), Some(now)) if target == now => State::Ok,
            (Some(_), Some(_)) => State::Off,
            _ => State::Unknown,
        };
        Knob {
            state,
            now: now.map(|now| join(&now)),
            wanted: wanted.map(|wanted| wanted.join(" ")),
            target: target.map(|target| join(&target)),
            ..blank()
        }
    }

    fn now(&self, kind: Kind, path: &str) -> Option<Vec<u64>> {
        match kind {
            Kind::Limit => Some(vec![self.host.files_max?]),
            Kind::Boot => {
                // A negative number: this namespace shares the table of the host.
                let text = self.tree.read(path)?;
                let numbers = text
                    .split_whitespace()
                    .map(|word| whole(word.strip_prefix('-').unwrap_or(word)));
                let numbers: Option<Vec<u64>> = numbers.collect();
                numbers.filter(|numbers| !numbers.is_empty())
            }
            _ => self.tree.numbers(path),
        }
    }

    /// What a number should be; `None` if it depends on memory, and that is unknown.
    fn compute(&self, field: &Field) -> Option<u64> {
        let connections = u128::from(self.connections.get());
        let memory = self.host.memory.map(u128::from);
        let per_thousand = u128::from(field.per_thousand) * connections;
        let mut value = u128::from(field.base) + per_thousand.div_ceil(1000);
        if let Some(share) = field.share {
            value = memory? / u128::from(share.get()) / connections;
        }
        if field.power_of_two {
            value = value.next_power_of_two();
        }
        if let Some(step) = field.rounded_up {
            value = value.next_multiple_of(u128::from(step.get()));
        }
        if let Some(part) = field.memory_part {
            let unit = if field.unit == 0 {
                self.host.page_size
            } else {
                field.unit
            };
            value = value.min(memory? / u128::from(part.get()) / u128::from(unit));
        }
        value = value.max(u128::from(field.floor));
        let value = u64::try_from(value).unwrap_or(u64::MAX);
        Some(value.min(field.ceiling.unwrap_or(u64::MAX)))
    }
}

fn join(numbers: &[u64]) -> String {
    let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
    words.join(" ")
}

fn blank() -> Knob {
    Knob {
        name: String::new(),
        state: State::Unknown,
        now: None,
        wanted: None,
        target: None,
        symptom: String::new(),
        kind: Kind::Sysctl,
        group: Group::Server,
        path: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn wanted(connections: u64, memory: u64, name: &str) -> Option<String> {
        let tree = Tree::new(Path::new("/no/such/folder"));
        let mut host = Host::read(&tree, None, None);
        host.memory = (memory > 0).then_some(memory);
        let all = profile(&tree, &host, NonZero::new(connections).unwrap());
        all.into_iter()
            .find(|knob| knob.name == name)
            .unwrap()
            .wanted
    }

    #[test]
    fn a_million_on_64_gib_gets_the_known_values() {
        let of = |name| wanted(1_000_000, 64 << 30, name).unwrap();
        assert_eq!(of("nofile"), "1100000");
        assert_eq!(of("fs.nr_open"), "2097152");
        assert_eq!(of("fs.file-max"), "2200000");
        assert_eq!(of("fs.epoll.max_user_watches"), "1100000");
        assert_eq!(of("net.ipv4.tcp_mem"), "1000000 2000000 4000000");
        assert_eq!(of("net.ipv4.tcp_rmem"), "- - 262144");
        assert_eq!(of("net.netfilter.nf_conntrack_max"), "1300000");
        assert_eq!(of("thash_entries"), "2097152");
        assert_eq!(of("vm.min_free_kbytes"), "262144");
        assert_eq!(of("net.ipv4.tcp_max_orphans"), "1000000");
    }

    #[test]
    fn little_memory_holds_the_values_down() {
        assert_eq!(
            wanted(1_000_000, 8 << 30, "net.ipv4.tcp_mem").unwrap(),
            "262144 524288 1048576"
        );
        assert_eq!(
            wanted(1_000_000, 1 << 30, "vm.min_free_kbytes").unwrap(),
            "32768"
        );
        assert_eq!(wanted(1_000, 0, "vm.min_free_kbytes"), None);
        assert_eq!(wanted(1_000, 0, "net.core.somaxconn").unwrap(), "65535");
    }

    #[test]
    fn what_a_kernel_has_not_is_absent() {
        let tree = Tree::new(Path::new("/no/such/folder"));
        let host = Host::read(&tree, None, None);
        let all = profile(&tree, &host, NonZero::new(1).unwrap());
        assert!(all.len() > 15);
        for knob in all {
            let expected = match knob.kind {
                Kind::Limit => State::Unknown,
                _ => State::Absent,
            };
            assert_eq!(knob.state, expected, "{}", knob.name);
        }
    }
}
