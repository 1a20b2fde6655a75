//! The options that several commands have.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tidegate_proto::MessageKind;

use super::MANY;
use super::target::Target;
use super::units::{duration, size};
use crate::require::Requirement;

/// How long traffic is counted if the user does not say.
const DURATION: Duration = Duration::from_secs(10);

/// Of every command.
#[derive(Debug, Clone, Args)]
#[allow(rustdoc::bare_urls, reason = "these are the help texts of a terminal")]
pub struct Common {
    /// ws://host:port/path or wss://host:port/path
    #[arg(value_name = "URL")]
    pub target: Target,
    /// How many connections
    #[arg(short, long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MANY))]
    pub connections: u32,
    /// How many threads each process has; connections are dealt out evenly, and each thread
    /// has a limit of open files of its own
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// How many processes share the connections; on a loopback address each connects from
    /// sources of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=256))]
    pub processes: u32,
    /// Pin the first thread to this core, the second to the next, and so on
    #[arg(long, value_name = "N", help_heading = "Machine")]
    pub core: Option<usize>,
    /// The server's process, whose CPU time and memory are then reported
    #[arg(long, help_heading = "Machine")]
    pub pid: Option<u32>,
    /// Connect from so many loopback addresses in turn: 127.1.0.1, 127.1.0.2, ... [default: as
    /// many as so many connections need]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..=50_000), help_heading = "Connecting")]
    pub sources: u32,
    /// Connects per second [default: as fast as they are answered]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    #[arg(help_heading = "Connecting")]
    pub ramp: u32,
    /// How many connects may wait for their answer at the same time
    #[arg(
        long,
        value_name = "N",
        default_value_t = 256,
        help_heading = "Connecting"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=MANY))]
    pub outstanding: u32,
    /// How long connecting may take; with --ramp, the time that the ramp needs is added
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    #[arg(help_heading = "Connecting")]
    pub connect_timeout: Duration,
    /// Believe any certificate of the server (wss)
    #[arg(long, help_heading = "Connecting", conflicts_with = "ca")]
    pub insecure: bool,
    /// Trust the certificates in this PEM file [default: those of the system] (wss)
    #[arg(long, value_name = "FILE", help_heading = "Connecting")]
    pub ca: Option<PathBuf>,
    /// The server's name in the TLS handshake and in its certificate [default: the URL's] (wss)
    #[arg(long, value_name = "NAME", help_heading = "Connecting")]
    pub sni: Option<String>,
    /// How long to wait for what is still missing at the end
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub drain: Duration,
    /// Drop the connections at the end with a reset, without close frames
    #[arg(long)]
    pub abort: bool,
    /// Where chance starts (masking keys, handshake keys, jitter)
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print one JSON object on stdout, and nothing else there
    #[arg(long, help_heading = "Results")]
    pub json: bool,
    /// Write the latencies to this file, as the percentiles that HdrHistogram's plotters read
    /// (in milliseconds)
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub hdr: Option<PathBuf>,
    /// Draw latency and throughput into this file (SVG)
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    pub plot: Option<PathBuf>,
    /// Exit with 1 unless this holds, such as 'p99<5ms', 'max<=1s', 'errors=0', 'rate>10000',
    /// 'missing=0'; can be given several times
    #[arg(
        long,
        value_name = "CLAIM",
        help_heading = "Results",
        verbatim_doc_comment
    )]
    pub require: Vec<Requirement>,
    /// A send that this client itself begins later than this after its time is late; with more
    /// than 1 % of them late, no latency is shown
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = duration)]
    #[arg(help_heading = "Results")]
    pub late_max: Duration,
    /// With a thread of this client busier than this, no latency is shown [percent of a core;
    /// 100 shows it always]
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 90,
        help_heading = "Results"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    pub busy_max: u32,
    /// This is process number N of a run that another one leads over stdin and stdout.
    #[arg(long, hide = true)]
    pub process_index: Option<u32>,
}

/// Of the commands that send messages.
#[derive(Debug, Clone, Args)]
pub struct Traffic {
    /// How long to count [default: 10s]
    #[arg(short, long, value_name = "TIME", value_parser = duration, conflicts_with = "messages")]
    pub duration: Option<Duration>,
    /// Send so many messages in all instead, and count each (there is no warm-up then)
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,
    /// Traffic before counting begins
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub warmup: Duration,
    /// Messages per second in all, sent by the clock (open loop), whatever the server does;
    /// latency counts from the time at which a message should have been sent
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rate: Option<u64>,
    /// Send the next message when the last one is back (closed loop): shows throughput, and
    /// hides what a stall does to users. -n without --rate means this, too
    #[arg(long, conflicts_with = "rate")]
    pub closed: bool,
    /// Bytes in a message, such as 20 or 16KiB [default: 20, in topics 64]
    #[arg(short, long, value_parser = size)]
    pub size: Option<usize>,
    /// Send text messages (the default)
    #[arg(long, conflicts_with = "binary")]
    pub text: bool,
    /// Send binary messages
    #[arg(long)]
    pub binary: bool,
}

impl Traffic {
    /// How long to count; `None` where the number of messages decides.
    #[must_use]
    pub fn counted(&self) -> Option<Duration> {
        match self.messages {
            Some(_) => None,
            None => Some(self.duration.unwrap_or(DURATION)),
        }
    }

    /// Traffic before counting begins.
    #[must_use]
    pub fn warmup(&self) -> Duration {
        if self.messages.is_some() {
            Duration::ZERO
        } else {
            self.warmup
        }
    }

    /// Messages per second in all of an open loop, which is this one by default if the user has
    /// not named what only a closed loop has; `None` for a closed one.
    #[must_use]
    pub fn pace(&self, usual: u64, batch_named: bool) -> Option<u64> {
        let closed = self.closed || self.messages.is_some() || batch_named;
        self.rate.or_else(|| (!closed).then_some(usual))
    }

    /// Text or binary.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        if self.binary {
            MessageKind::Binary
        } else {
            MessageKind::Text
        }
    }
}
