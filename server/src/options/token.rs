//! The command lines of `tidegate gen-token` and `tidegate check-token`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::auth::tools::{CheckSettings, GenSettings, Signer};
use crate::config::Inputs;
use crate::units::parse_span;

pub(super) const GEN_AFTER_HELP: &str = "\
Issuer, audience and the names of claims are those of the configuration, and so is the secret unless
a file is named. No secret is ever taken from the command line.

Exit codes:
  0 made   1 the key does not do   2 wrong usage   77 a file may not be read   78 bad configuration

Examples:
  tidegate gen-token --user alice
  tidegate gen-token --user alice --hear 'room-*' --say room-7 --expires 10m
  tidegate gen-token --user alice --key-file private.pem --kid 2026-11";

pub(super) const CHECK_AFTER_HELP: &str = "\
The token is read from stdin, so that it stands in no list of processes.

Exit codes:
  0 the server would take it   1 it would not, or the JWK set cannot be fetched   2 wrong usage
  77 a file may not be read   78 bad configuration

Examples:
  tidegate gen-token --user alice | tidegate check-token
  tidegate check-token -c tidegate.toml token.txt --json";

/// The options of `tidegate gen-token` as they are written.
#[derive(Debug, Args)]
pub(super) struct GenTokenOptions {
    /// Whose token it is
    #[arg(long, value_name = "NAME")]
    user: String,

    /// A topic that may be heard, or the beginning of some and a *; can be given several times
    #[arg(long, value_name = "TOPIC")]
    hear: Vec<String>,

    /// A topic to which may be said something, likewise
    #[arg(long, value_name = "TOPIC")]
    say: Vec<String>,

    /// How long it is good
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_span)]
    expires: Duration,

    /// Sign with the secret in this file
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    secret_file: Option<PathBuf>,

    /// Sign with the private key in this file (PEM, PKCS #8)
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,

    /// How to sign [default: the first that fits the key, such as HS256, RS256, ES256, EdDSA]
    #[arg(long, value_name = "NAME")]
    algorithm: Option<String>,

    /// What the key is called (kid)
    #[arg(long, value_name = "NAME")]
    kid: Option<String>,

    /// One JSON object with the token and its claims
    #[arg(long)]
    json: bool,

    /// The configuration; without this it is found as the server finds it
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The options of `tidegate check-token` as they are written.
#[derive(Debug, Args)]
pub(super) struct CheckTokenOptions {
    /// The file with the token [default: stdin]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// One JSON object
    #[arg(long)]
    json: bool,

    /// The configuration; without this it is found as the server finds it
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn inputs(file: Option<PathBuf>, environment: Vec<(OsString, OsString)>) -> Inputs {
    Inputs {
        flags: Vec::new(),
        file,
        environment,
    }
}

impl GenTokenOptions {
    pub(super) fn mean(self, environment: Vec<(OsString, OsString)>) -> GenSettings {
        GenSettings {
            inputs: inputs(self.config, environment),
            user: self.user,
            hear: self.hear,
            say: self.say,
            expires: self.expires,
            algorithm: self.algorithm,
            key_id: self.kid,
            signer: match (self.key_file, self.secret_file) {
                (Some(path), _) => Signer::Key(path),
                (None, Some(path)) => Signer::Secret(path),
                (None, None) => Signer::Configured,
            },
            json: self.json,
        }
    }
}

impl CheckTokenOptions {
    pub(super) fn mean(self, environment: Vec<(OsString, OsString)>) -> CheckSettings {
        CheckSettings {
            inputs: inputs(self.config, environment),
            file: self.file.filter(|path| path.as_os_str() != "-"),
            json: self.json,
        }
    }
}
