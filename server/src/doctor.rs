//! `tidegate doctor`: how many connections this host holds, what stops it first, and what mends
//! that. It reads files under `/proc` and `/sys`, and changes nothing.
//!
//! ```text
//!  Tree (files) ─▶ Host (facts, each known or not) ─┬─▶ ceilings ─┐
//!  knobs.json ──▶ profile (what is wanted) ─────────┼─▶ advice ───┼─▶ Findings ─▶ table, JSON
//!                                                   └─▶ network ──┘
//! ```

mod advice;
mod ceilings;
mod cgroup;
mod count;
mod finding;
mod host;
mod network;
mod profile;
mod report;
mod tree;

use std::num::NonZero;
use std::path::PathBuf;

use tidegate_engine::{self as engine, Descriptors, Io};

pub(crate) use count::parse_count;
use finding::Finding;
use host::Host;
use tree::Tree;

use crate::failure::Failure;

/// What the doctor is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DoctorSettings {
    /// How many connections are wanted.
    pub(crate) connections: NonZero<u64>,
    /// `None`: one for each core, as the server does.
    pub(crate) shards: Option<usize>,
    pub(crate) io: Io,
    pub(crate) host: engine::Host,
    pub(crate) descriptors: Descriptors,
    /// Whose limits and control group: a process that runs, or this one.
    pub(crate) process: Option<u32>,
    /// The folder that holds `proc` and `sys`; `/`, but in tests.
    pub(crate) root: PathBuf,
    /// One JSON object instead of a table.
    pub(crate) json: bool,
}

/// What the doctor says.
#[derive(Debug)]
pub(crate) struct Diagnosis {
    /// For stdout.
    pub(crate) text: String,
    /// Whether the wanted number of connections can be reached.
    pub(crate) reachable: bool,
}

/// Looks at the host.
///
/// # Errors
/// A [`Failure`] when there is nothing to look at.
pub(crate) fn examine(settings: &DoctorSettings) -> Result<Diagnosis, Failure> {
    let tree = Tree::new(&settings.root);
    if let Some(process) = settings.process
        && tree.read(&format!("proc/{process}/limits")).is_none()
    {
        return Err(Failure::usage(format!(
            "--pid {process}: there is no such process, or its limits cannot be read"
        )));
    }
    let host = Host::read(&tree, settings.process, settings.shards);
    let settings = &DoctorSettings {
        io: host.driver(settings.io),
        ..settings.clone()
    };
    let knobs = profile::profile(&tree, &host, settings.connections);
    let mut findings: Vec<Finding> = ceilings::findings(&host, &knobs, settings);
    findings.extend(advice::findings(&host, &knobs, settings));
    findings.extend(network::findings(&tree, &host));
    findings.sort_by_key(Finding::rank);
    let report = report::Report::new(settings, &host, &knobs, findings);
    Ok(Diagnosis {
        reachable: report.reachable(),
        text: if settings.json {
            report.json()
        } else {
            report.table()
        },
    })
}
