//! What can be chosen by name on the command line, and what it means to the engine.

use clap::ValueEnum;
use tidegate_engine::{Descriptors, Host, Io};

/// Whose table of descriptors the shards use, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Table {
    Shard,
    Process,
}

impl From<Table> for Descriptors {
    fn from(table: Table) -> Self {
        match table {
            Table::Shard => Self::PerShard,
            Table::Process => Self::Shared,
        }
    }
}

/// How the shards speak to the kernel, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DriverChoice {
    Auto,
    Epoll,
    Uring,
}

impl From<DriverChoice> for Io {
    fn from(choice: DriverChoice) -> Self {
        match choice {
            DriverChoice::Auto => Self::Auto,
            DriverChoice::Epoll => Self::Epoll,
            DriverChoice::Uring => Self::Uring,
        }
    }
}

/// What runs each shard, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HostChoice {
    Auto,
    Glommio,
    Thread,
}

impl From<HostChoice> for Host {
    fn from(choice: HostChoice) -> Self {
        match choice {
            HostChoice::Auto => Self::Auto,
            HostChoice::Glommio => Self::Glommio,
            HostChoice::Thread => Self::Thread,
        }
    }
}

/// How messages are compressed, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tier {
    Off,
    Shared,
    Takeover,
}
