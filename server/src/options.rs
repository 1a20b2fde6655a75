//! The command line: as it is written, and as it is meant.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};

use crate::auth;
use crate::check::{CheckSettings, Comparison, Output};
use crate::config::Inputs;
use crate::config::schema::SHARDS_CEILING;
use crate::config::values::Setting;
use crate::config::written;
use crate::doctor::DoctorSettings;
use crate::failure::Failure;
use crate::top::TopSettings;

mod check;
mod doctor;
mod extras;
mod flags;
mod papers;
mod token;
mod top;

pub(crate) use extras::ServeExtras;
use flags::Flags;

/// The command line as it is written.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    about = "A WebSocket server for very many connections: one thread per core, no locks.",
    after_help = "Start with `tidegate serve` and open http://127.0.0.1:8080 in a browser.\n\
                  `tidegate serve --help` explains every option.",
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true
)]
struct CommandLine {
    #[command(flatten)]
    test: TestOptions,

    #[command(subcommand)]
    command: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the server until it is told to stop
    #[command(after_help = SERVE_AFTER_HELP, next_line_help = true)]
    Serve(ServeOptions),
    /// Say what is wrong with a configuration, what it means, or what it would change
    #[command(after_help = check::AFTER_HELP, next_line_help = true)]
    CheckConfig(check::CheckOptions),
    /// Print a configuration with every key at its default
    GenConfig(GenOptions),
    /// Say how many connections this host holds, what stops it first, and what mends that
    #[command(after_help = doctor::AFTER_HELP, next_line_help = true)]
    Doctor(doctor::DoctorOptions),
    /// Show what a running server does: shards, topics, slow connections, ends
    #[command(after_help = top::AFTER_HELP)]
    Top(top::TopOptions),
    /// Print what makes a shell complete this program's commands and options
    Completions(papers::CompletionsOptions),
    /// Print a manual page, for `man -l -`
    Man(papers::ManOptions),
    /// Make a token for a user, to try endpoints that ask for one
    #[command(after_help = token::GEN_AFTER_HELP, next_line_help = true)]
    GenToken(token::GenTokenOptions),
    /// Say what a token claims, what it allows, and why it would be refused
    #[command(after_help = token::CHECK_AFTER_HELP, next_line_help = true)]
    CheckToken(token::CheckTokenOptions),
    /// Print the version
    Version(papers::VersionOptions),
}

const SERVE_AFTER_HELP: &str = "\
What clients find on the public port, unless the configuration has endpoints of its own:
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
  GET  /status                     everything that is cheap to know, as JSON: what `tidegate top` reads
  GET  /connections /closed        who is there, and how the last ones ended, as JSON
  GET  /config                     every value, and where it comes from
  POST /reload                     reads the configuration again, as HUP does
  POST /drain                      ends the server, as TERM does
  POST /disconnect                 ?id= or ?topic=: closes them, with ?code= and ?reason=
  POST /disconnect                 ?id=, ?topic= or ?user=: closes them, with ?code= and ?reason=
  POST /publish/{topic}            says the body to the topic; ?binary for bytes, ?key= for --slow latest

Signals:
  TERM    close every connection politely within --drain-timeout, spread over --drain-spread, then
          end; again: end now
  INT     end now
  HUP     read the configuration again, and take it if it is good; nothing is closed
  USR1    open the file of the log again, which has been moved away
  USR2    start the program again, hand it the sockets, and end as with TERM when it serves

Flags go before TIDEGATE__SECTION__KEY, that before the file, and that before the defaults.

Exit codes:
  0 ended as told   1 failed   2 wrong usage   77 no permission, or too few open files
  78 bad configuration

Examples:
  tidegate serve
  tidegate serve --listen 0.0.0.0:8080 --origin https://app.example.com
  curl -d 'hello' http://127.0.0.1:9090/publish/lobby";

/// Which file, and whether to check it only.
#[derive(Debug, Args)]
struct TestOptions {
    /// The configuration [default: $TIDEGATE_CONFIG, ./tidegate.toml,
    /// $XDG_CONFIG_HOME/tidegate/tidegate.toml, /etc/tidegate/tidegate.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration, and end
    #[arg(short, long)]
    test_config: bool,
}

/// The options of `tidegate serve` as they are written.
#[derive(Debug, Args)]
struct ServeOptions {
    #[command(flatten)]
    flags: Flags<false>,

    #[command(flatten)]
    test: TestOptions,

    #[command(flatten)]
    extras: ServeExtras,
}

/// The options of `tidegate gen-config` as they are written.
#[derive(Debug, Args)]
struct GenOptions {
    /// Print docs/configuration.md instead
    #[arg(long)]
    reference: bool,
}

/// What the program is to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Run the server.
    Serve(Inputs, ServeExtras),
    /// Look at a configuration.
    Check(CheckSettings),
    /// Look at the host.
    Doctor(DoctorSettings),
    /// Look on.
    Top(TopSettings),
    /// Make a token.
    GenToken(auth::tools::GenSettings),
    /// Look at a token.
    CheckToken(auth::tools::CheckSettings),
    /// Print this text and end.
    Print(String),
}

/// The program's name and version, in one line.
pub(crate) fn version() -> String {
    format!("tidegate {}", env!("CARGO_PKG_VERSION"))
}

/// Reads the command line; the first argument is the program's name. The environment is not
/// looked at, but kept with what is to be read later.
///
/// # Errors
/// A [`Failure`] of one line, with the exit code for wrong usage.
pub(crate) fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: Vec<(OsString, OsString)>,
) -> Result<Command, Failure> {
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(error) => {
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                    Ok(Command::Print(error.render().to_string()))
                }
                _ => Err(Failure::usage(one_line(&error))),
            };
        }
    };
    Ok(match line.command {
        None if line.test.test_config => {
            line.test
                .mean(Vec::new(), environment, ServeExtras::default())
        }
        None => return Err(Failure::usage(NOTHING_TO_DO.to_owned())),
        Some(Verb::Version(options)) => Command::Print(if options.json {
            papers::version_as_json()
        } else {
            version() + "\n"
        }),
        Some(Verb::Top(options)) => Command::Top(options.mean(environment)),
        Some(Verb::Completions(options)) => Command::Print(papers::completions(&options)),
        Some(Verb::Man(options)) => Command::Print(papers::manual(&options)?),
        Some(Verb::Serve(options)) => {
            let settings = options.flags.settings;
            options.test.mean(settings, environment, options.extras)
        }
        Some(Verb::CheckConfig(options)) => Command::Check(options.mean(environment)),
        Some(Verb::GenConfig(options)) => Command::Print(if options.reference {
            written::reference()
        } else {
            written::file()
        }),
        Some(Verb::Doctor(options)) => Command::Doctor(options.mean()),
        Some(Verb::GenToken(options)) => Command::GenToken(options.mean(environment)),
        Some(Verb::CheckToken(options)) => Command::CheckToken(options.mean(environment)),
    })
}

const NOTHING_TO_DO: &str = "say what to do, such as `tidegate serve`; see `tidegate --help`";

impl TestOptions {
    /// Serves, or only checks.
    fn mean(
        self,
        flags: Vec<Option<Setting>>,
        environment: Vec<(OsString, OsString)>,
        extras: ServeExtras,
    ) -> Command {
        let inputs = Inputs {
            flags,
            file: self.config,
            environment,
        };
        if !self.test_config {
            return Command::Serve(inputs, extras);
        }
        Command::Check(CheckSettings {
            inputs,
            output: Output::Verdict,
            comparison: Comparison::None,
        })
    }
}

/// What clap says in a paragraph, in one line and with a way out.
fn one_line(error: &clap::Error) -> String {
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

fn parse_shards(text: &str) -> Result<usize, String> {
    let range = 1..=SHARDS_CEILING;
    let shards = text.parse().ok().filter(|shards| range.contains(shards));
    shards.ok_or_else(|| format!("write a number from 1 to {SHARDS_CEILING}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;
    use tidegate_engine::{
        Compression, CompressionTier, Descriptors, Host, Io, Limits, Profile, Rate, RatePolicy,
    };

    use crate::config::Configuration;
    use crate::settings::{self, ServeSettings};

    use super::*;

    fn run(line: &str) -> Result<Command, Failure> {
        read(line.split(' ').map(OsString::from), Vec::new())
    }

    /// Reads the line, and no file of this machine.
    fn load(line: &str) -> Result<Configuration, Failure> {
        match run(line)? {
            Command::Serve(inputs, _) => {
                let file = Some("/dev/null".into());
                Ok(Inputs { file, ..inputs }.load(None)?)
            }
            other => panic!("{other:?}"),
        }
    }

    fn serve(line: &str) -> ServeSettings {
        ServeSettings::of(&load(line).unwrap())
    }

    fn refused(line: &str) -> String {
        let serves = line.starts_with("tidegate serve ");
        let failure = if serves {
            load(line).unwrap_err()
        } else {
            run(line).unwrap_err()
        };
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
        let limits = Limits::default();
        assert_eq!(settings.handshake_timeout, limits.handshake_timeout);
        assert_eq!(settings.profile, limits.profile, "the engine's own");
        let configuration = load("tidegate serve").unwrap();
        let tier = settings::tier(&configuration.values);
        assert_eq!(tier, CompressionTier::Shared);
        assert_eq!(configuration.drain_timeout(), Duration::from_secs(10));
        assert_eq!(
            configuration.values.origins("server.origins"),
            Some(&[][..])
        );
        assert!(!settings.share_port);
    }

    #[test]
    fn options_are_taken() {
        let configuration = load(
            "tidegate serve -l [::1]:0 --admin 127.0.0.1:0 --shards 2 --io uring --descriptors shard --max-message 1MiB \
             --outbox-max 1MiB --compression takeover --compression-memory 2MiB --origin https://a.example --origin * --drain-timeout 500ms \
             --share-port"
                .replace("             ", "")
                .as_str(),
        )
        .unwrap();
        let settings = ServeSettings::of(&configuration);
        assert_eq!(settings.listen, "[::1]:0".parse().unwrap());
        assert_eq!(settings.shards, Some(2));
        assert_eq!(settings.io, Io::Uring);
        assert_eq!(settings.descriptors, Descriptors::PerShard);
        assert_eq!(settings.message_size_max, 1 << 20);
        assert_eq!(settings.profile.outbox_bytes_max, 1 << 20);
        assert_eq!(
            settings.compression,
            Compression::Takeover { bytes_max: 2 << 20 }
        );
        let tier = settings::tier(&configuration.values);
        assert_eq!(tier, CompressionTier::Takeover);
        assert_eq!(configuration.drain_timeout(), Duration::from_millis(500));
        let (key, origins) = configuration.values.get("server.origins");
        assert_eq!(origins.value.show(), "https://a.example, *");
        assert_eq!(origins.source.to_string(), "--origin");
        assert_eq!(origins.source.way_to_change(key), "--origin");
        assert!(settings.share_port);
    }

    #[test]
    fn each_timeout_is_its_own() {
        let settings = serve(
            "tidegate serve --handshake-timeout 1s --message-timeout 2m --send-timeout 300ms \
             --close-timeout 1h",
        );
        assert_eq!(settings.handshake_timeout, Duration::from_secs(1));
        let expected = Profile {
            message_timeout: Duration::from_secs(120),
            send_timeout: Duration::from_millis(300),
            close_timeout: Duration::from_secs(3600),
            ..Profile::default()
        };
        assert_eq!(settings.profile, expected);
        for name in ["handshake", "message", "send", "close"] {
            for bad in ["0s", "99ms", "61m", "10", "soon"] {
                let said = refused(&format!("tidegate serve --{name}-timeout {bad}"));
                assert!(said.contains(&format!("--{name}-timeout")), "{said}");
            }
        }
    }

    #[test]
    fn rates_are_taken_and_a_burst_is_a_second_unless_it_is_written() {
        let rates = |line: &str| serve(line).profile.rates;
        let rate = |per_second, burst| Rate { per_second, burst };
        let plain = rates("tidegate serve --message-rate 10 --byte-rate 1KiB --rate-policy slow");
        assert_eq!(plain.messages, rate(10, 0));
        assert_eq!(plain.bytes, rate(1024, 65_550), "one largest message");
        assert_eq!(plain.policy, RatePolicy::Slow);
        let wide = rates("tidegate serve --byte-rate 1MiB");
        assert_eq!(wide.bytes, rate(1 << 20, 1 << 20));
        assert_eq!(wide.policy, RatePolicy::Close);
        let own = "--message-rate 1 --message-burst 7 --byte-rate 1KiB --byte-burst 100KiB";
        let own = rates(&format!("tidegate serve {own}"));
        assert_eq!(own.messages, rate(1, 7));
        assert_eq!(own.bytes, rate(1024, 102_400));
        let off = rates("tidegate serve --message-burst 7 --byte-burst 100KiB");
        assert!(off.is_off());
        let line = "tidegate serve --byte-rate 1MiB --byte-burst 2KiB";
        let said = refused(line);
        assert!(said.contains("max-message of 64KiB"), "{said}");
        assert!(load(&format!("{line} --rate-policy slow")).is_ok());
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
