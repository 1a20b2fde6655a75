//! What the user wrote on the command line, and what it means.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::fanout;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate-bench",
    version,
    about = "Measures a WebSocket server from outside"
)]
pub struct Options {
    /// What to measure.
    #[command(subcommand)]
    pub command: Command,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send messages, expect each one back, check every byte
    Echo(EchoOptions),
    /// Open connections and hold them
    Idle(IdleOptions),
    /// Publish to topics whose subscribers must hear everything once and in order
    Fanout(FanoutOptions),
}

/// Of every command.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// ws://host:port/path; the host is an IP address or localhost
    #[arg(value_name = "URL")]
    pub target: Target,
    /// How many connections
    #[arg(short, long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=MANY))]
    pub connections: u32,
    /// How many threads; connections are dealt out evenly
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// Pin the first thread to this core, the second to the next, and so on
    #[arg(long)]
    pub core: Option<usize>,
    /// Connect from so many loopback addresses in turn: 127.1.0.1, 127.1.0.2, ... [0: one, the kernel's choice]
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=50_000))]
    pub sources: u32,
    /// Connects per second [0: as fast as they are answered]
    #[arg(long, default_value_t = 0)]
    pub ramp: u32,
    /// How many connects may wait for their answer at the same time
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=MANY))]
    pub outstanding: u32,
    /// How long connecting may take; with --ramp, the time that the ramp needs is added
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub connect_timeout: Duration,
    /// How long to wait for what is still missing at the end
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub drain: Duration,
    /// The server's process, whose CPU time and memory are then reported
    #[arg(long)]
    pub pid: Option<u32>,
    /// Drop the connections at the end with a reset, without close frames
    #[arg(long)]
    pub abort: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Where chance starts (masking keys, handshake keys)
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Of the commands that send messages.
#[derive(Debug, Clone, Args)]
pub struct Traffic {
    /// How long to count [default: 10s]
    #[arg(short, long, value_parser = duration, conflicts_with = "messages")]
    pub duration: Option<Duration>,
    /// Send so many messages in all instead, and count each (there is no warm-up then)
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub messages: Option<u64>,
    /// Traffic before counting begins
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub warmup: Duration,
    /// Messages per second in all, sent by the clock (open loop); latency counts from the
    /// time at which a message should have been sent [default: closed loop]
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rate: Option<u64>,
    /// Send text messages (the default)
    #[arg(long, conflicts_with = "binary")]
    pub text: bool,
    /// Send binary messages
    #[arg(long)]
    pub binary: bool,
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
    /// Bytes in a message, such as 20 or 16KiB
    #[arg(short, long, default_value = "20", value_parser = size)]
    pub size: usize,
    /// Messages in flight on each connection, written in one send
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub pipeline: u32,
}

/// `idle`
#[derive(Debug, Clone, Args)]
pub struct IdleOptions {
    /// Of every command.
    #[command(flatten)]
    pub common: Common,
    /// How long to hold them once all are open
    #[arg(short, long, default_value = "10s", value_parser = duration)]
    pub duration: Duration,
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
    /// Bytes in a message, at least 20
    #[arg(short, long, default_value = "64", value_parser = size)]
    pub size: usize,
    /// How many of a topic's subscribers publish
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub publishers: u32,
    /// How many topics; with more than one, -0, -1, ... is added to the path
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MANY))]
    pub topics: u32,
    /// Messages that a publisher writes in one send
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub burst: u32,
}

/// Far beyond what one host can hold, so that no number of connections overflows anything.
const MANY: i64 = 10_000_000;

/// The largest message this client sends.
const SIZE_MAX: usize = 16 * 1024 * 1024;

/// How long traffic is counted if the user does not say.
const DURATION: Duration = Duration::from_secs(10);

impl Command {
    /// Its name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Echo(_) => "echo",
            Self::Idle(_) => "idle",
            Self::Fanout(_) => "fanout",
        }
    }

    /// The options that every command has.
    #[must_use]
    pub fn common(&self) -> &Common {
        match self {
            Self::Echo(options) => &options.common,
            Self::Idle(options) => &options.common,
            Self::Fanout(options) => &options.common,
        }
    }

    /// What single options cannot know of each other.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let common = self.common();
        if common.sources > 0 && !common.target.address.ip().is_loopback() {
            return Err(
                "--sources takes loopback addresses, but the target is elsewhere".to_owned(),
            );
        }
        if common.sources > 0 && common.target.address.is_ipv6() {
            return Err("--sources takes IPv4 addresses, but the target is IPv6".to_owned());
        }
        if common.threads > common.connections {
            return Err(format!(
                "{} threads have nothing to do with {} connections",
                common.threads, common.connections
            ));
        }
        if let Self::Fanout(options) = self {
            if options.size < fanout::SIZE_MIN {
                return Err(format!(
                    "--size {} has no room for the stamp, which takes {} bytes",
                    options.size,
                    fanout::SIZE_MIN
                ));
            }
            let speaking = u64::from(options.topics) * u64::from(options.publishers);
            if speaking > u64::from(common.connections) {
                return Err(format!(
                    "{} topics with {} publishers each need more than {} connections",
                    options.topics, options.publishers, common.connections
                ));
            }
        }
        Ok(())
    }
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
}

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// As it stands in the request.
    pub host: String,
    /// Path and query.
    pub path: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let rest = match url.split_once("://") {
            Some(("ws", rest)) => rest,
            Some(("wss", _)) => return Err("TLS is not spoken here; use ws://".to_owned()),
            _ => return Err("a URL begins with ws://".to_owned()),
        };
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if !path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return Err("the path holds a character that must be escaped".to_owned());
        }
        let address = resolve(host)
            .ok_or_else(|| format!("'{host}' is not an IP address or localhost, with a port"))?;
        Ok(Self {
            address,
            host: host.to_owned(),
            path: path.to_owned(),
        })
    }
}

fn resolve(host: &str) -> Option<SocketAddr> {
    if let Ok(address) = host.parse() {
        return Some(address);
    }
    if let Ok(ip) = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
    {
        return Some(SocketAddr::new(ip, 80));
    }
    let port = match host.strip_prefix("localhost")? {
        "" => 80,
        port => port.strip_prefix(':')?.parse().ok()?,
    };
    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// The source address number `index`: 127.1.0.1 and on, without any `.0` or `.255`.
#[must_use]
pub fn source(index: u32) -> SocketAddr {
    let third = u8::try_from(index / 250 % 256).expect("a remainder of 256");
    let fourth = u8::try_from(index % 250 + 1).expect("at most 250");
    SocketAddr::from((Ipv4Addr::new(127, 1, third, fourth), 0))
}

/// Reads `250ms`, `10s`, `2m`, `1h`; a bare number is in seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "us" => 0.000_001,
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("'{unit}' is no unit of time (us, ms, s, m, h)")),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| "expected a time such as 10s".to_owned())?;
    Duration::try_from_secs_f64(number * unit)
        .ok()
        .filter(|duration| *duration <= DURATION_MAX)
        .ok_or_else(|| "a time lies between 0s and 30 days".to_owned())
}

const DURATION_MAX: Duration = Duration::from_hours(30 * 24);

/// Reads `20`, `16KiB`, `16k`, `1MiB`.
fn size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "k" | "K" | "KiB" => 1024,
        "M" | "MiB" => 1024 * 1024,
        unit => return Err(format!("'{unit}' is no unit of size (B, KiB, MiB)")),
    };
    let number: usize = digits
        .parse()
        .map_err(|_| "expected a size such as 16KiB".to_owned())?;
    number
        .checked_mul(unit)
        .filter(|size| *size <= SIZE_MAX)
        .ok_or_else(|| "a message has at most 16MiB".to_owned())
}

/// The file of a process in /proc.
pub(crate) fn proc_file(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_an_address_a_host_and_a_path() {
        let target: Target = "ws://localhost:9001/ws/bench?x=1".parse().unwrap();
        assert_eq!(target.address, "127.0.0.1:9001".parse().unwrap());
        assert_eq!(target.host, "localhost:9001");
        assert_eq!(target.path, "/ws/bench?x=1");
        let target: Target = "ws://[::1]:80".parse().unwrap();
        assert_eq!(
            (target.address.is_ipv6(), target.path.as_str()),
            (true, "/")
        );
        let target: Target = "ws://127.0.0.1".parse().unwrap();
        assert_eq!(target.address.port(), 80);
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "http://127.0.0.1/",
            "wss://127.0.0.1/",
            "127.0.0.1:80",
            "ws://example.org/",
            "ws://[::1]:1/a b",
            "ws://[::1]:1/#a",
            "ws://localhostx/",
        ] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("3"), Ok(Duration::from_secs(3)));
        assert_eq!(size("16KiB"), Ok(16 * 1024));
        assert_eq!(size("0"), Ok(0));
        for wrong in ["", "s", "-1s", "1d", "99999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "KiB", "-1", "1.5KiB", "17MiB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sources_are_distinct_and_never_a_network_or_broadcast_address() {
        let sources: std::collections::HashSet<_> = (0..50_000).map(source).collect();
        assert_eq!(sources.len(), 50_000);
        assert_eq!(source(0).ip().to_string(), "127.1.0.1");
        assert_eq!(source(1).ip().to_string(), "127.1.0.2");
        assert_eq!(source(250).ip().to_string(), "127.1.1.1");
    }
}
