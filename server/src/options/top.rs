//! The options of `tidegate top`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::ask::AdminPlace;
use crate::config::Inputs;
use crate::top::{Sort, TopSettings};
use crate::units;

pub(super) const AFTER_HELP: &str = "\
Without --admin, the admin port and its token are those that are configured here, as `tidegate serve` would find them.
It goes on until q; where stdout is no terminal, it prints once. NO_COLOR is heeded.

Exit codes:
  0 shown   1 the server cannot be asked   2 wrong usage   78 bad configuration

Examples:
  tidegate top
  tidegate top --admin http://10.0.0.7:9090 --token-file ~/.tidegate-token
  tidegate top --once
  tidegate top --json | jq '.total.connections'";

/// The options as they are written.
#[derive(Debug, Args)]
pub(super) struct TopOptions {
    /// Where the admin port is [default: as configured]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<AdminPlace>,

    /// A file with the token of an operator, in its first line [default: as configured]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// The configuration that says where the admin port is
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How often to ask, from 100ms to 1h
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    interval: Duration,

    /// What slow connections are ranked by
    #[arg(short, long, value_enum, value_name = "WHAT", default_value = "outbox")]
    sort: Sort,

    /// Print once, and end
    #[arg(long)]
    once: bool,

    /// Print an object of JSON in a line, once for each interval
    #[arg(long)]
    json: bool,
}

impl TopOptions {
    pub(super) fn mean(
        self,
        environment: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    ) -> TopSettings {
        TopSettings {
            inputs: Inputs {
                flags: Vec::new(),
                file: self.config,
                environment,
            },
            admin: self.admin,
            token_file: self.token_file,
            interval: self.interval,
            once: self.once,
            json: self.json,
            sort: self.sort,
        }
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let span = units::parse_span(text)?;
    let fits = (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&span);
    fits.then_some(span)
        .ok_or_else(|| "it must be from 100ms to 1h".to_owned())
}
