//! What the user wrote on the command line, and what it means.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

mod check;
mod common;
mod help;
mod target;
pub(crate) mod units;

pub use common::{Common, Traffic};
pub use target::{Sources, Target, source};

use units::{duration, size};

/// Far beyond what one host can hold, so that no number of connections overflows anything.
const MANY: i64 = 10_000_000;

/// Messages per second and sender, where the user names neither a rate nor a closed loop: much
/// for a user, and little for a server.
pub(crate) const USUAL_RATE: u64 = 10;

/// Bytes in a message of `echo` if the user does not say.
const ECHO_SIZE: usize = 20;
/// Bytes in a message of `fanout` if the user does not say.
const FANOUT_SIZE: usize = 64;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate-bench",
    version,
    about = help::ABOUT,
    after_help = help::AFTER,
    disable_help_subcommand = true
)]
pub struct Options {
    /// What to measure.
    #[command(subcommand)]
    pub command: Command,
}

/// What to measure.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Send messages, expect each one back, check every byte
    #[command(after_help = help::ECHO, next_line_help = true)]
    Echo(EchoOptions),
    /// Open connections and hold them
    #[command(after_help = help::IDLE, next_line_help = true)]
    Idle(IdleOptions),
    /// Publish to topics whose subscribers must hear everything once and in order
    #[command(after_help = help::FANOUT, next_line_help = true)]
    Fanout(FanoutOptions),
    /// Close connections and open them again, all the time
    #[command(after_help = help::CHURN, next_line_help = true)]
    Churn(ChurnOptions),
    /// Drop all connections at once, and let all come back as good clients do
    #[command(after_help = help::STORM, next_line_help = true)]
    Storm(StormOptions),
    /// Let some clients stop reading, and see what the others feel
    #[command(after_help = help::SLOW, next_line_help = true)]
    Slow(SlowOptions),
    /// Idle, echoing and churning connections together
    #[command(after_help = help::MIXED, next_line_help = true)]
    Mixed(MixedOptions),
}

/// `echo`
#[derive(Debug, Clone, Args)]
pub struct EchoOptions {
    /// Of every command.
    #[command(flatten)]
    pub common: Common,
    /// Of the commands that send.
    #[command(flatten)]
    pub traffic: Traffic,
    /// Messages in flight on each connection, written in one send; without --rate, in a closed
    /// loop [default: 1]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub pipeline: Option<u32>,
}

/// `idle`
#[derive(Debug, Clone, Args)]
pub struct IdleOptions {
    /// Of every command.
    #[command(flatten)]
    pub common: Common,
    /// How long to hold them once all are open
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Once all are open, send a ping on each and expect its pong
    #[arg(long)]
    pub ping: bool,
    /// Once all are open, send a message on each and expect it back
    #[arg(long)]
    pub echo: bool,
    /// Both: --ping --echo
    #[arg(long)]
    pub verify: bool,
    /// While they are held, expect so many messages on each, and count who has heard them; a
    /// line on stderr tells when it is time to publish
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub expect_broadcast: Option<u32>,
}

/// `fanout`
#[derive(Debug, Clone, Args)]
pub struct FanoutOptions {
    /// Of every command.
    #[command(flatten)]
    pub common: Common,
    /// Of the commands that send.
    #[command(flatten)]
    pub traffic: Traffic,
    /// How many of a topic's subscribers publish
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub publishers: u32,
    /// How many topics; with more than one, -0, -1, ... is added to the path
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MANY))]
    pub topics: u32,
    /// Messages that a publisher writes in one send; without --rate, in a closed loop
    /// [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub burst: Option<u32>,
}

/// `churn`
#[derive(Debug, Clone, Args)]
pub struct ChurnOptions {
    /// Of every command.
    #[command(flatten)]
    pub common: Common,
    /// How long to count
    #[arg(short, long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Churn before counting begins
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub warmup: Duration,
    /// Closes, each with the connect that follows, per second in all, by the clock [default: as
    /// fast as they go]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: Option<u64>,
    /// Drop connections by a reset instead of the close handshake
    #[arg(long)]
    pub reset: bool,
}

/// `storm`
#[derive(Debug, Clone, Args)]
pub struct StormOptions {
    /// Of every command.
    #[command(flatten)]
    pub common: Common,
    /// How long to wait until all are back or have failed
    #[arg(short, long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub duration: Duration,
    /// Drop nothing; wait until the server does (restart it meanwhile)
    #[arg(long)]
    pub by_server: bool,
    /// The first try comes after a half to the whole of this, and each one after twice as long
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = duration)]
    pub backoff: Duration,
    /// No wait is longer than this
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub backoff_max: Duration,
    /// A client gives up for good after so many tries
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub tries: u32,
    /// How long a try waits for its answer
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub try_timeout: Duration,
}

/// `slow`
#[derive(Debug, Clone, Args)]
pub struct SlowOptions {
    /// Of every command.
    #[command(flatten)]
    pub common: Common,
    /// Of the commands that send.
    #[command(flatten)]
    pub traffic: Traffic,
    /// How many of the connections stop reading
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=MANY))]
    pub slow: u32,
    /// Bytes in the messages that the slow ones ask to be echoed and never read
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = size)]
    pub slow_size: usize,
    /// Messages per second of each slow one
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub slow_rate: u32,
    /// The others are subscribers of a topic, one of whom publishes, instead of echoing; the slow
    /// ones subscribe, too, and send nothing
    #[arg(long)]
    pub fanout: bool,
}

/// `mixed`
#[derive(Debug, Clone, Args)]
pub struct MixedOptions {
    /// Of every command.
    #[command(flatten)]
    pub common: Common,
    /// Of the commands that send.
    #[command(flatten)]
    pub traffic: Traffic,
    /// Parts of the connections that are only held
    #[arg(long, value_name = "WEIGHT", default_value_t = 90)]
    pub idle: u32,
    /// Parts that echo
    #[arg(long, value_name = "WEIGHT", default_value_t = 8)]
    pub echo: u32,
    /// Parts that close and come back
    #[arg(long, value_name = "WEIGHT", default_value_t = 2)]
    pub churn: u32,
    /// Closes per second in all [default: one per second for each connection of that part]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub churn_rate: Option<u64>,
    /// Those of the part that churns are dropped by a reset
    #[arg(long)]
    pub reset: bool,
}

impl Command {
    /// Its name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Echo(_) => "echo",
            Self::Idle(_) => "idle",
            Self::Fanout(_) => "fanout",
            Self::Churn(_) => "churn",
            Self::Storm(_) => "storm",
            Self::Slow(_) => "slow",
            Self::Mixed(_) => "mixed",
        }
    }

    /// The options that every command has.
    #[must_use]
    pub fn common(&self) -> &Common {
        match self {
            Self::Echo(options) => &options.common,
            Self::Idle(options) => &options.common,
            Self::Fanout(options) => &options.common,
            Self::Churn(options) => &options.common,
            Self::Storm(options) => &options.common,
            Self::Slow(options) => &options.common,
            Self::Mixed(options) => &options.common,
        }
    }

    /// What single options cannot know of each other.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        check::check(self)
    }
}

impl EchoOptions {
    /// Messages in one send.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.pipeline.unwrap_or(1)
    }

    /// Bytes in a message.
    #[must_use]
    pub fn size(&self) -> usize {
        self.traffic.size.unwrap_or(ECHO_SIZE)
    }

    /// Messages per second of an open loop.
    #[must_use]
    pub fn pace(&self) -> Option<u64> {
        let usual = USUAL_RATE * u64::from(self.common.connections);
        self.traffic.pace(usual, self.pipeline.is_some())
    }
}

impl FanoutOptions {
    /// Messages in one send.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(1)
    }

    /// Bytes in a message.
    #[must_use]
    pub fn size(&self) -> usize {
        self.traffic.size.unwrap_or(FANOUT_SIZE)
    }

    /// Messages per second of an open loop.
    #[must_use]
    pub fn pace(&self) -> Option<u64> {
        let usual = USUAL_RATE * u64::from(self.topics) * u64::from(self.publishers);
        self.traffic.pace(usual, self.burst.is_some())
    }
}

impl SlowOptions {
    /// Bytes in a message of those that read.
    #[must_use]
    pub fn size(&self) -> usize {
        let usual = if self.fanout { FANOUT_SIZE } else { ECHO_SIZE };
        self.traffic.size.unwrap_or(usual)
    }

    /// Messages per second of an open loop.
    #[must_use]
    pub fn pace(&self) -> Option<u64> {
        let senders = if self.fanout {
            1
        } else {
            self.common.connections.saturating_sub(self.slow)
        };
        self.traffic.pace(USUAL_RATE * u64::from(senders), false)
    }
}

impl MixedOptions {
    /// Bytes in a message.
    #[must_use]
    pub fn size(&self) -> usize {
        self.traffic.size.unwrap_or(ECHO_SIZE)
    }
}

impl IdleOptions {
    /// Is a ping to be sent on each?
    #[must_use]
    pub fn pings(&self) -> bool {
        self.ping || self.verify
    }

    /// Is a message to be sent on each?
    #[must_use]
    pub fn echoes(&self) -> bool {
        self.echo || self.verify
    }
}

/// The file of a process in /proc.
pub(crate) fn proc_file(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}
