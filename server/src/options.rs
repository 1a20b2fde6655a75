//! The command line: as it is written, and as it is meant.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use tidegate_engine::{Compression, Descriptors, Host, Io};

use crate::choices::{DriverChoice, HostChoice, Table, Tier};
use crate::doctor::DoctorSettings;
use crate::origin::{OriginPolicy, OriginRule};
use crate::startup::Failure;
use crate::timeouts::{TimeoutOptions, Timeouts};
use crate::units;
use crate::watching::{WatchOptions, Watching};
mod doctor;

/// The largest message that can be allowed; far below 4 GiB, where 32 bits would end.
const MESSAGE_SIZE_CEILING: usize = 1 << 30;

/// Below this a peer would be cut off for a moment's delay.
const OUTBOX_SIZE_FLOOR: usize = 4 << 10;
const OUTBOX_SIZE_CEILING: usize = 1 << 30;

/// More cores than that has no machine on which this has been tried.
const SHARDS_CEILING: usize = 256;

/// Nobody waits longer for a server to end.
const DRAIN_CEILING: Duration = Duration::from_secs(24 * 3600);

/// The command line as it is written.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    about = "A WebSocket server for very many connections: one thread per core, no locks.",
    after_help = "Start with `tidegate serve` and open http://127.0.0.1:8080 in a browser.\n\
                  `tidegate serve --help` explains every option.",
    disable_help_subcommand = true
)]
struct CommandLine {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server until it is told to stop
    #[command(after_help = SERVE_AFTER_HELP, next_line_help = true)]
    Serve(Box<ServeOptions>),
    /// Say how many connections this host holds, what stops it first, and what mends that
    #[command(after_help = doctor::AFTER_HELP, next_line_help = true)]
    Doctor(doctor::DoctorOptions),
    /// Print the version
    Version,
}

const SERVE_AFTER_HELP: &str = "\
What clients find on the public port:
  /                 a page with a small chat, to try the server
  /echo             a WebSocket that hears what it says
  /ws/{topic}       a room: everybody there hears what anybody there says
  /feed/{topic}     hears the topic, and says nothing
  /feed/@{topic}    hears how many are in the room, now and on each change
  A topic is 1 to 128 bytes of UTF-8, percent-encoded, without a slash.

What operators find on the admin port:
  GET  /healthz /readyz /version   is it alive, does it take connections, which one is it
  GET  /metrics                    counters and gauges for Prometheus
  GET  /topics /shards             who hears what, what each shard has done, as JSON
  GET  /connections /closed        who is there, and how the last ones ended, as JSON
  POST /disconnect                 ?id= or ?topic=: closes them, with ?code= and ?reason=
  POST /publish/{topic}            says the body to the topic; ?binary for bytes, ?key= for --slow latest

Signals:
  TERM    close every connection politely within --drain-timeout, then end; again: end now
  INT     end now

Exit codes:
  0 ended as told   1 failed   2 wrong usage   77 no permission, or too few open files

Examples:
  tidegate serve
  tidegate serve --listen 0.0.0.0:8080 --origin https://app.example.com
  curl -d 'hello' http://127.0.0.1:9090/publish/lobby";

/// The options of `tidegate serve` as they are written.
#[derive(Debug, Args)]
#[allow(rustdoc::bare_urls, reason = "these are the help texts of a terminal")]
struct ServeOptions {
    /// Where clients connect; port 0 lets the system choose
    #[arg(short, long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    #[arg(value_parser = parse_address)]
    listen: SocketAddr,

    /// Where operators connect: health, metrics, publish; keep it away from clients
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9090")]
    #[arg(value_parser = parse_address)]
    admin: SocketAddr,

    /// How many shards, each a thread on a core of its own [default: one for each core]
    #[arg(long, value_name = "N", value_parser = parse_shards)]
    shards: Option<usize>,

    /// How the shards speak to the kernel: with epoll, with io_uring (Linux 5.19 or newer), or
    /// with what is best known to do well, which is epoll
    #[arg(long, value_enum, value_name = "DRIVER", default_value = "auto")]
    io: DriverChoice,

    /// What runs each shard: a glommio executor, which needs io_uring, a plain thread, or
    /// glommio where it can be had and else a thread
    #[arg(long, value_enum, value_name = "HOST", default_value = "auto")]
    host: HostChoice,

    /// What the limit of open files holds for: the whole process, or each shard alone, which
    /// then has a table of descriptors of its own (most tools see that of the process only)
    #[arg(long, value_enum, value_name = "SCOPE", default_value = "process")]
    descriptors: Table,

    /// The largest message; a larger one closes its connection with 1009
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = parse_message_size)]
    max_message: usize,

    /// How much may wait for a client that does not read, before it is disconnected
    /// [default: one largest message and 128KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_outbox_size)]
    outbox_max: Option<usize>,

    /// How messages are compressed for those who can: not at all, with contexts shared by all
    /// (no memory per connection), or with contexts of their own, which compress better
    #[arg(long, value_enum, value_name = "TIER", default_value = "shared")]
    compression: Tier,

    /// What all contexts of `--compression takeover` may take together
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_context_size)]
    compression_memory: usize,

    /// Which web pages may connect beside the server's own: https://app.example.com,
    /// for one, or `*` for any; can be given several times
    #[arg(long = "origin", value_name = "ORIGIN", verbatim_doc_comment)]
    origins: Vec<OriginRule>,

    /// How long connections get to close politely after TERM
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_drain_timeout)]
    drain_timeout: Duration,

    #[command(flatten)]
    timeouts: TimeoutOptions,

    #[command(flatten)]
    watching: WatchOptions,

    /// Share the port with other processes of the same user, such as the next version;
    /// each needs an --admin of its own
    #[arg(long, verbatim_doc_comment)]
    share_port: bool,
}

/// What the program is to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Run the server.
    Serve(Box<ServeSettings>),
    /// Look at the host.
    Doctor(DoctorSettings),
    /// Print this text and end.
    Print(String),
}

/// How the server is to run, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServeSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// `None`: one for each core.
    pub(crate) shards: Option<usize>,
    pub(crate) io: Io,
    pub(crate) host: Host,
    pub(crate) descriptors: Descriptors,
    pub(crate) message_size_max: usize,
    pub(crate) outbox_bytes_max: usize,
    pub(crate) compression: Compression,
    pub(crate) origins: OriginPolicy,
    pub(crate) drain_timeout: Duration,
    pub(crate) timeouts: Timeouts,
    pub(crate) watching: Watching,
    pub(crate) share_port: bool,
}

/// The program's name and version, in one line.
pub(crate) fn version() -> String {
    format!("tidegate {}", env!("CARGO_PKG_VERSION"))
}

/// Reads the command line; the first argument is the program's name.
///
/// # Errors
/// A [`Failure`] of one line, with the exit code for wrong usage.
pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Failure> {
    match CommandLine::try_parse_from(arguments) {
        Ok(line) => Ok(match line.command {
            Verb::Version => Command::Print(version() + "\n"),
            Verb::Serve(options) => Command::Serve(Box::new(options.mean()?)),
            Verb::Doctor(options) => Command::Doctor(options.mean()),
        }),
        Err(error) => match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                Ok(Command::Print(error.render().to_string()))
            }
            _ => Err(Failure::usage(one_line(&error))),
        },
    }
}

impl ServeOptions {
    fn mean(self) -> Result<ServeSettings, Failure> {
        if self.listen == self.admin && self.listen.port() != 0 {
            let line = format!("--listen and --admin are the same address, {}", self.listen);
            return Err(Failure::usage(line));
        }
        Ok(ServeSettings {
            listen: self.listen,
            admin: self.admin,
            shards: self.shards,
            io: self.io.into(),
            host: self.host.into(),
            descriptors: self.descriptors.into(),
            message_size_max: self.max_message,
            outbox_bytes_max: self.outbox_max.unwrap_or(self.max_message + OUTBOX_ROOM),
            compression: self.compression.with_memory(self.compression_memory),
            origins: OriginPolicy::new(&self.origins),
            drain_timeout: self.drain_timeout,
            timeouts: self.timeouts.mean(),
            watching: self.watching.mean(),
            share_port: self.share_port,
        })
    }
}

/// What clap says in a paragraph, in one line and with a way out.
fn one_line(error: &clap::Error) -> String {
    if matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return "say what to do, such as `tidegate serve`; see `tidegate --help`".to_owned();
    }
    let text = error.render().to_string();
    let first = text
        .lines()
        .next()
        .unwrap_or("the command line cannot be read");
    let first = first.strip_prefix("error: ").unwrap_or(first);
    // What was typed is part of the line, and must neither break it nor steer a terminal.
    let mut line: String = first
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let near = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand]
        .into_iter()
        .find_map(|kind| error.get(kind));
    match near {
        Some(ContextValue::String(near)) => line.push_str(&format!("; did you mean {near}?")),
        Some(ContextValue::Strings(all)) if !all.is_empty() => {
            line.push_str(&format!("; did you mean {}?", all.join(" or ")));
        }
        _ if error.kind() == ErrorKind::ValueValidation => {}
        _ => line.push_str("; see `tidegate --help`"),
    }
    line
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "write an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080"
            .to_owned()
    })
}

fn parse_shards(text: &str) -> Result<usize, String> {
    let range = 1..=SHARDS_CEILING;
    let shards = text.parse().ok().filter(|shards| range.contains(shards));
    shards.ok_or_else(|| format!("write a number from 1 to {SHARDS_CEILING}"))
}

fn parse_message_size(text: &str) -> Result<usize, String> {
    parse_size_between(text, 1, MESSAGE_SIZE_CEILING)
}

/// With one largest message under way, so much of smaller ones may still wait.
const OUTBOX_ROOM: usize = 128 * 1024;

fn parse_context_size(text: &str) -> Result<usize, String> {
    parse_size_between(text, 1024 * 1024, 1024 * 1024 * 1024 * 1024)
}

fn parse_outbox_size(text: &str) -> Result<usize, String> {
    parse_size_between(text, OUTBOX_SIZE_FLOOR, OUTBOX_SIZE_CEILING)
}

fn parse_size_between(text: &str, min: usize, max: usize) -> Result<usize, String> {
    let size = units::parse_size(text)?;
    if (min..=max).contains(&size) {
        return Ok(size);
    }
    Err(format!(
        "it must be from {} to {}",
        units::show_size(min),
        units::show_size(max)
    ))
}

fn parse_drain_timeout(text: &str) -> Result<Duration, String> {
    let span = units::parse_span(text)?;
    if span <= DRAIN_CEILING {
        return Ok(span);
    }
    Err(format!(
        "it must be at most {}",
        units::show_span(DRAIN_CEILING)
    ))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run(line: &str) -> Result<Command, Failure> {
        read(line.split(' ').map(OsString::from))
    }

    fn serve(line: &str) -> ServeSettings {
        match run(line).unwrap() {
            Command::Serve(settings) => *settings,
            other => panic!("{other:?}"),
        }
    }

    fn refused(line: &str) -> String {
        let failure = run(line).unwrap_err();
        assert_eq!(failure.code, 2, "{line}");
        assert_eq!(failure.line.lines().count(), 1, "{line}");
        failure.line
    }

    #[test]
    fn the_tree_of_commands_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn without_options_the_defaults_hold() {
        let settings = serve("tidegate serve");
        assert_eq!(settings.listen, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(settings.admin, "127.0.0.1:9090".parse().unwrap());
        assert_eq!(settings.shards, None);
        assert_eq!(settings.io, Io::Auto);
        assert_eq!(settings.host, Host::Auto);
        assert_eq!(settings.descriptors, Descriptors::Shared);
        assert_eq!(settings.message_size_max, 65_536);
        assert_eq!(settings.outbox_bytes_max, 192 * 1024);
        assert_eq!(settings.compression, Compression::Shared);
        assert_eq!(settings.drain_timeout, Duration::from_secs(10));
        assert_eq!(settings.origins, OriginPolicy::default());
        assert_eq!(settings.timeouts, Timeouts::default());
        assert!(!settings.share_port);
    }

    #[test]
    fn options_are_taken() {
        let settings = serve(
            "tidegate serve -l [::1]:0 --admin 127.0.0.1:0 --shards 2 --io uring --descriptors shard --max-message 1MiB \
             --outbox-max 1MiB --compression takeover --compression-memory 2MiB --origin https://a.example --origin * --drain-timeout 500ms \
             --share-port"
                .replace("             ", "")
                .as_str(),
        );
        assert_eq!(settings.listen, "[::1]:0".parse().unwrap());
        assert_eq!(settings.shards, Some(2));
        assert_eq!(settings.io, Io::Uring);
        assert_eq!(settings.descriptors, Descriptors::PerShard);
        assert_eq!(settings.message_size_max, 1 << 20);
        assert_eq!(settings.outbox_bytes_max, 1 << 20);
        assert_eq!(
            settings.compression,
            Compression::Takeover { bytes_max: 2 << 20 }
        );
        assert_eq!(settings.drain_timeout, Duration::from_millis(500));
        assert!(settings.share_port);
    }

    #[test]
    fn each_timeout_is_its_own() {
        let settings = serve(
            "tidegate serve --handshake-timeout 1s --message-timeout 2m --send-timeout 300ms \
             --close-timeout 1h",
        );
        let expected = Timeouts {
            handshake: Duration::from_secs(1),
            message: Duration::from_secs(120),
            send: Duration::from_millis(300),
            close: Duration::from_secs(3600),
        };
        assert_eq!(settings.timeouts, expected);
        for name in ["handshake", "message", "send", "close"] {
            for bad in ["0s", "99ms", "61m", "10", "soon"] {
                let said = refused(&format!("tidegate serve --{name}-timeout {bad}"));
                assert!(said.contains(&format!("--{name}-timeout")), "{said}");
            }
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for line in ["tidegate --help", "tidegate serve --help", "tidegate -h"] {
            assert!(matches!(run(line), Ok(Command::Print(text)) if text.contains("serve")));
        }
        for line in ["tidegate --version", "tidegate version", "tidegate -V"] {
            let expected = format!("tidegate {}\n", env!("CARGO_PKG_VERSION"));
            assert!(
                matches!(run(line), Ok(Command::Print(text)) if text == expected),
                "{line}"
            );
        }
    }

    #[test]
    fn wrong_usage_is_one_clear_line() {
        assert!(refused("tidegate").contains("tidegate serve"));
        assert!(refused("tidegate srve").contains("serve"));
        assert!(refused("tidegate serve --lisen 127.0.0.1:1").contains("did you mean --listen"));
        assert!(refused("tidegate serve extra").contains("'extra'"));
        assert!(refused("tidegate serve --listen localhost:1").contains("127.0.0.1:8080"));
        assert!(refused("tidegate serve --listen").contains("--listen"));
        assert!(refused("tidegate serve --origin example.com").contains("https://example.com"));
        assert!(refused("tidegate serve --shards 2 --shards 3").contains("--shards"));
        refused("tidegate serve --na\u{1b}me\n");
        let same = "tidegate serve --listen 127.0.0.1:1 --admin 127.0.0.1:1";
        assert!(refused(same).contains("same address"));
    }

    #[test]
    fn bounds_are_kept() {
        assert_eq!(serve("tidegate serve --max-message 1").message_size_max, 1);
        assert_eq!(
            serve("tidegate serve --max-message 1GiB").message_size_max,
            1 << 30
        );
        assert!(refused("tidegate serve --max-message 0").contains("from 1B to 1GiB"));
        assert!(refused("tidegate serve --max-message 4GiB").contains("from 1B to 1GiB"));
        assert!(refused("tidegate serve --max-message 64KB").contains("64KiB"));
        assert_eq!(serve("tidegate serve --shards 256").shards, Some(256));
        assert!(refused("tidegate serve --shards 0").contains("from 1 to 256"));
        assert!(refused("tidegate serve --shards 257").contains("from 1 to 256"));
        assert!(refused("tidegate serve --shards two").contains("from 1 to 256"));
        assert!(refused("tidegate serve --shards -1").contains("-1"));
        assert!(refused("tidegate serve --outbox-max 1KiB").contains("from 4KiB"));
        assert!(refused("tidegate serve --drain-timeout 10").contains("10s"));
        assert!(refused("tidegate serve --drain-timeout 25h").contains("24h"));
    }
}
