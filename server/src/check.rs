//! `tidegate check-config` and `tidegate -t`: what is wrong with a configuration, what it means, and
//! what it would change.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::ask::AdminPlace;
use crate::config::listing::{Change, Listing, show_changes};
use crate::config::schema::VARIABLE_PREFIX;
use crate::config::source::{Faults, Source};
use crate::config::{Configuration, Inputs, running};
use crate::failure::Failure;
use crate::startup::complain;

/// What to look at, and what to say of it.
#[derive(Debug)]
pub(crate) struct CheckSettings {
    pub(crate) inputs: Inputs,
    pub(crate) output: Output,
    pub(crate) comparison: Comparison,
}

/// What to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Whether it is good.
    Verdict,
    /// Every value with its source.
    Table,
    /// The same for programs.
    Json,
}

/// What to compare a configuration with.
#[derive(Debug)]
pub(crate) enum Comparison {
    None,
    /// With what it would be with this file.
    File(PathBuf),
    /// With that of the server that runs, whose admin port is here or where it is configured.
    Running(Option<AdminPlace>),
}

/// Looks, and returns what is to be printed.
///
/// # Errors
/// A [`Failure`]: what is wrong with the configuration, or why the server cannot be asked.
pub(crate) fn check(settings: &CheckSettings) -> Result<String, Failure> {
    let json = settings.output == Output::Json;
    let (before, after) = match &settings.comparison {
        Comparison::None => {
            let configuration = load(&settings.inputs, json)?;
            for warning in configuration.warnings() {
                complain(&warning);
            }
            return Ok(show(&configuration, settings.output));
        }
        Comparison::File(path) => {
            let other = Inputs {
                file: Some(path.clone()),
                ..settings.inputs.clone()
            };
            let before = load(&settings.inputs, json)?;
            (Listing::of(&before), Listing::of(&load(&other, json)?))
        }
        Comparison::Running(admin) => {
            let (place, tokens) = match admin {
                // A configuration that is wrong here may be right there, and another server's
                // operators are sent no token but the one that is named for it.
                Some(place) => {
                    let here = settings.inputs.load(None).ok();
                    let named = here.filter(|here| {
                        matches!(here.values.source("admin.token-file"), Source::Flag(_))
                    });
                    (place.clone(), named.and_then(|here| here.admin_tokens))
                }
                None => {
                    let here = load(&settings.inputs, json)?;
                    (
                        here.values.address("admin.listen").into(),
                        here.admin_tokens,
                    )
                }
            };
            let token = tokens.as_ref().map(|tokens| tokens.first());
            let running = running::ask(&place, token).map_err(Failure::failed)?;
            let after = reloaded(&settings.inputs, &running, json)?;
            (running, after)
        }
    };
    let changes = before.changes_to(&after);
    if json {
        return Ok(as_json(&Changes { changes: &changes }));
    }
    Ok(match changes.as_slice() {
        [] => "nothing would change\n".to_owned(),
        changes => show_changes(changes),
    })
}

/// What would hold in the running server after a reload: it reads its file again, while its flags
/// and its environment stay what they are, whatever they are here.
fn reloaded(inputs: &Inputs, running: &Listing, json: bool) -> Result<Listing, Failure> {
    let elsewhere = |name: &OsString| name.to_string_lossy().starts_with(VARIABLE_PREFIX);
    let environment = inputs
        .environment
        .iter()
        .filter(|(name, _)| !elsewhere(name));
    let file = inputs.file.clone();
    let Some(file) = file.or(running.file.as_ref().map(PathBuf::from)) else {
        // What would be found here says nothing of what the server would find.
        return Err(Failure::failed(
            "the server that runs reads no file, and a reload would look for one from its own \
             folder; say with -c which one is meant"
                .to_owned(),
        ));
    };
    let there = Inputs {
        flags: running.outliving_reloads(),
        file: Some(file),
        environment: environment.cloned().collect(),
    };
    Ok(Listing::of(&load(&there, json)?))
}

fn load(inputs: &Inputs, json: bool) -> Result<Configuration, Failure> {
    inputs.load(None).map_err(|faults| {
        if json {
            // The lines for people go to stderr all the same.
            crate::print(&faults_as_json(&faults));
        }
        Failure::from(faults)
    })
}

fn show(configuration: &Configuration, output: Output) -> String {
    let listing = Listing::of(configuration);
    let file = listing.file.as_deref();
    let name = file.unwrap_or("no file: flags, environment and defaults");
    let count = listing.endpoints.len();
    let noun = if count == 1 { "endpoint" } else { "endpoints" };
    let mut text = format!("the configuration is good: {count} {noun} ({name})\n");
    match output {
        Output::Verdict => {}
        Output::Table => {
            let _ = write!(text, "\n{}", listing.table());
        }
        Output::Json => return as_json(&listing),
    }
    text
}

/// The differences for programs.
#[derive(Serialize)]
struct Changes<'a> {
    changes: &'a [Change],
}

#[derive(Serialize)]
struct FaultListing {
    faults: Vec<FaultEntry>,
}

#[derive(Serialize)]
struct FaultEntry {
    source: &'static str,
    line: String,
}

fn faults_as_json(faults: &Faults) -> String {
    let entry = |fault: &crate::config::source::Fault| FaultEntry {
        source: fault.source.kind(),
        line: fault.to_string(),
    };
    as_json(&FaultListing {
        faults: faults.all.iter().map(entry).collect(),
    })
}

fn as_json<T: Serialize>(value: &T) -> String {
    // Nothing here has keys that are no strings, which alone could fail.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
