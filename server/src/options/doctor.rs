//! The command line of `tidegate doctor`.

use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;

use super::parse_shards;
use crate::choices::{DriverChoice, HostChoice, Table};
use crate::doctor::{DoctorSettings, parse_count};

pub(super) const AFTER_HELP: &str = "\
It reads /proc and /sys, no tidegate.toml, and changes nothing. Give it the --shards, --io, --host and
--descriptors of the server, and start it as the server is started: limits belong to whoever starts a program.
tuning/apply changes what it finds.

Exit codes:
  0 as many connections as wanted   1 fewer   2 wrong usage

Examples:
  tidegate doctor --connections 100k
  tidegate doctor --pid $(pidof tidegate) --json";

/// The options as they are written.
#[derive(Debug, Args)]
pub(super) struct DoctorOptions {
    /// How many connections are wanted: 100k, 1m, 1000000
    #[arg(short, long, value_name = "COUNT", default_value = "1m", value_parser = parse_count)]
    connections: NonZero<u64>,

    /// How many shards the server has [default: one for each core]
    #[arg(long, value_name = "N", value_parser = parse_shards)]
    shards: Option<usize>,

    /// The server's --io
    #[arg(long, value_enum, value_name = "DRIVER", default_value = "auto")]
    io: DriverChoice,

    /// The server's --host
    #[arg(long, value_enum, value_name = "HOST", default_value = "auto")]
    host: HostChoice,

    /// The server's --descriptors
    #[arg(long, value_enum, value_name = "SCOPE", default_value = "process")]
    descriptors: Table,

    /// Look at the limits and the control group of a process that runs, not at one's own
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,

    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,

    /// The folder with the files to look at
    #[arg(long, value_name = "FOLDER", default_value = "/", hide = true)]
    root: PathBuf,
}

impl DoctorOptions {
    pub(super) fn mean(self) -> DoctorSettings {
        DoctorSettings {
            connections: self.connections,
            shards: self.shards,
            io: self.io.into(),
            host: self.host.into(),
            descriptors: self.descriptors.into(),
            process: self.pid,
            root: self.root,
            json: self.json,
        }
    }
}
