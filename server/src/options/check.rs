//! `tidegate check-config`: what is looked at, and how it is shown.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::flags::Flags;
use crate::ask::AdminPlace;
use crate::check::{CheckSettings, Comparison, Output};
use crate::config::Inputs;

pub(super) const AFTER_HELP: &str = "\
It also takes the flags of `tidegate serve`, and the environment, as the server does.

Exit codes:
  0 nothing is wrong   1 the running server cannot be asked, or has read no file   2 wrong usage
  77 a file may not be read   78 bad configuration

Examples:
  tidegate check-config -c tidegate.toml -v
  tidegate check-config -c tidegate.toml --diff new.toml
  tidegate check-config --dry-run";

/// The options of `tidegate check-config` as they are written.
#[derive(Debug, Args)]
pub(super) struct CheckOptions {
    /// The configuration; without this it is found as the server finds it
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Show every value, and where it comes from
    #[arg(short, long)]
    verbose: bool,

    /// The same as JSON
    #[arg(long)]
    json: bool,

    /// Show what would change if this file were the configuration
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run")]
    diff: Option<PathBuf>,

    /// Show what a reload of the server that runs would change
    #[arg(long)]
    dry_run: bool,

    /// Where that server's admin port is [default: as configured]
    #[arg(long, value_name = "ADDRESS", requires = "dry_run")]
    at: Option<AdminPlace>,

    #[command(flatten)]
    flags: Flags<true>,
}

impl CheckOptions {
    pub(super) fn mean(self, environment: Vec<(OsString, OsString)>) -> CheckSettings {
        let comparison = match self.diff {
            Some(path) => Comparison::File(path),
            None if self.dry_run => Comparison::Running(self.at),
            None => Comparison::None,
        };
        let output = if self.json {
            Output::Json
        } else if self.verbose {
            Output::Table
        } else {
            Output::Verdict
        };
        let inputs = Inputs {
            flags: self.flags.settings,
            file: self.config,
            environment,
        };
        CheckSettings {
            inputs,
            output,
            comparison,
        }
    }
}
