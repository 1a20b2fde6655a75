//! How the server is configured: flags over the environment over a file over defaults, and for each
//! value the source that it comes from.
//!
//! ```text
//!  schema (one table) ─┬─▶ flags ───────┐
//!                      ├─▶ environment ─┼─▶ Configuration ─┬─▶ settings ─▶ the server
//!                      ├─▶ file ────────┤                  └─▶ Listing ─▶ check-config, GET /config,
//!                      ├─▶ defaults ────┘                                 differences
//!                      └─▶ gen-config, docs/configuration.md
//! ```

mod checks;
mod file;
pub(crate) mod listing;
mod openness;
pub(crate) mod pattern;
pub(crate) mod running;
pub(crate) mod schema;
pub(crate) mod source;
mod unknown;
pub(crate) mod value;
pub(crate) mod values;
pub(crate) mod written;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schema::{DEFAULT_ENDPOINTS, ENDPOINT_KEYS, KEYS, VARIABLE_PREFIX};
use source::{Fault, Faults, Source, excerpt};
use values::{Setting, Values};

use crate::auth::Auth;
use crate::tls::{self, Material};
use crate::token::Tokens;

/// What a configuration is made from. It can be read again: files change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inputs {
    /// What the flags say, by the order of [`KEYS`]; empty if there are none.
    pub(crate) flags: Vec<Option<Setting>>,
    /// The file that a flag names.
    pub(crate) file: Option<PathBuf>,
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// A configuration that has been read and checked.
#[derive(Debug, Clone)]
pub(crate) struct Configuration {
    /// The file that was read, if there was one.
    pub(crate) file: Option<PathBuf>,
    /// Where one is looked for, if none is named.
    pub(crate) places: Vec<PathBuf>,
    pub(crate) values: Values,
    /// Those of [`DEFAULT_ENDPOINTS`] unless a file has its own.
    pub(crate) endpoints: Vec<Values>,
    /// What `limits.outbox-max` is, also when it is `auto`.
    pub(crate) outbox_size: usize,
    /// One of these operators must have, if there are any.
    pub(crate) admin_tokens: Option<Arc<Tokens>>,
    /// What connections with TLS are made with, if there are any.
    pub(crate) tls: Option<Arc<Material>>,
    /// What is configured of authentication, with the keys that the files had.
    pub(crate) auth: Arc<Auth>,
}

/// The variable that names a file.
const FILE_VARIABLE: &str = "TIDEGATE_CONFIG";

/// What a file is called where nobody names one.
const FILE_NAME: &str = "tidegate.toml";

/// With one largest message under way, so much of smaller ones may still wait.
const OUTBOX_ROOM: usize = 128 * 1024;

impl Inputs {
    /// Reads and checks everything. `pinned` is the file that was read before: it is not looked
    /// for again.
    ///
    /// # Errors
    /// All [`Faults`], those of the file first.
    pub(crate) fn load(&self, pinned: Option<&Path>) -> Result<Configuration, Faults> {
        let path = match pinned {
            Some(path) => Some(path.to_owned()),
            None => self.find(),
        };
        let (content, mut faults) = match &path {
            None => (file::FileContent::nothing(), Vec::new()),
            Some(path) => match read(path) {
                Ok(text) => match file::parse(&path.display().to_string(), &text) {
                    Ok(content) => (content, Vec::new()),
                    Err(faults) => (file::FileContent::nothing(), faults),
                },
                Err(faults) => return Err(faults),
            },
        };
        let mut values = Values::defaults(KEYS, &Source::Default);
        for layer in [
            content.values,
            self.read_environment(&mut faults),
            self.flags.clone(),
        ] {
            for (index, setting) in layer.into_iter().enumerate() {
                if let Some(setting) = setting {
                    values.set(index, setting);
                }
            }
        }
        let endpoints = content.endpoints.unwrap_or_else(default_endpoints);
        if faults.is_empty() {
            faults = checks::check(&values, &endpoints);
        }
        if !faults.is_empty() {
            let forbidden = false;
            return Err(Faults {
                all: faults,
                forbidden,
            });
        }
        let tls = tls::material::read(&values)?;
        let auth = Auth::load(&values, &endpoints).map_err(|refused| Faults {
            all: refused.faults,
            forbidden: refused.forbidden,
        })?;
        Ok(Configuration {
            admin_tokens: admin_tokens(&values)?,
            tls,
            outbox_size: outbox_size(&values, &endpoints),
            auth: Arc::new(auth),
            file: path,
            places: self.places(),
            values,
            endpoints,
        })
    }

    /// The file to be read: the one that is named, or the first of the usual places that has one.
    fn find(&self) -> Option<PathBuf> {
        if let Some(path) = &self.file {
            return Some(path.clone());
        }
        if let Some(path) = self.variable(FILE_VARIABLE) {
            return Some(path.into());
        }
        self.places().into_iter().find(|path| path.exists())
    }

    /// The usual places, the first first.
    fn places(&self) -> Vec<PathBuf> {
        let home = self
            .variable("HOME")
            .map(|home| Path::new(home).join(".config"));
        let user = self.variable("XDG_CONFIG_HOME").map(PathBuf::from);
        let user = user.filter(|path| path.is_absolute()).or(home);
        let places = [
            Some(Path::new(".").join(FILE_NAME)),
            user.map(|folder| folder.join("tidegate").join(FILE_NAME)),
            Some(Path::new("/etc/tidegate").join(FILE_NAME)),
        ];
        places.into_iter().flatten().collect()
    }

    /// A variable that is set, and not to nothing.
    fn variable(&self, name: &str) -> Option<&OsStr> {
        let found = self.environment.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_os_str())
            .filter(|value| !value.is_empty())
    }

    /// What the environment says, by the order of [`KEYS`].
    fn read_environment(&self, faults: &mut Vec<Fault>) -> Vec<Option<Setting>> {
        let mut settings: Vec<Option<Setting>> = KEYS.iter().map(|_| None).collect();
        // In an order of its own, so that the same faults are told in the same order.
        let mut variables: Vec<_> = self.environment.iter().collect();
        variables.sort();
        for (name, value) in variables {
            let name = name.to_string_lossy();
            if !name.starts_with(VARIABLE_PREFIX) {
                continue;
            }
            let source = Source::Environment(source::plain(&name));
            let Some(index) = KEYS.iter().position(|key| key.variable() == name) else {
                faults.push(Fault::new(source, &unknown::variable(&name)));
                continue;
            };
            let written = value.to_string_lossy();
            match KEYS[index].parse(&written) {
                Ok(value) => settings[index] = Some(Setting { value, source }),
                Err(advice) => {
                    let text = format!("'{}': {advice}", excerpt(&written));
                    faults.push(Fault::new(source, &text));
                }
            }
        }
        settings
    }
}

fn read(path: &Path) -> Result<String, Faults> {
    file::read_text(path).map_err(|error| {
        let shown = path.display();
        let text = match error.kind() {
            io::ErrorKind::NotFound => format!("there is no configuration {shown}"),
            _ => format!("cannot read the configuration {shown}: {error}"),
        };
        Faults {
            all: vec![Fault::new(Source::Default, &text)],
            forbidden: error.kind() == io::ErrorKind::PermissionDenied,
        }
    })
}

/// Those of `admin.token-file`, if there is one.
fn admin_tokens(values: &Values) -> Result<Option<Arc<Tokens>>, Faults> {
    let file = values.text("admin.token-file");
    if file.is_empty() {
        return Ok(None);
    }
    let tokens = Tokens::read(Path::new(file)).map_err(|error| {
        let text = format!("cannot take the tokens of {file}: {error}");
        Faults {
            all: vec![Fault::new(values.source("admin.token-file").clone(), &text)],
            forbidden: error.kind() == io::ErrorKind::PermissionDenied,
        }
    })?;
    Ok(Some(Arc::new(tokens)))
}

fn default_endpoints() -> Vec<Values> {
    let endpoint = |(path, kind): (&str, &str)| {
        let mut values = Values::defaults(ENDPOINT_KEYS, &Source::Default);
        for (name, text) in [("path", path), ("kind", kind)] {
            let index = ENDPOINT_KEYS.iter().position(|key| key.name == name);
            let index = index.expect("an endpoint has a path and a kind");
            let value = ENDPOINT_KEYS[index].parse(text);
            let value = value.expect("a test reads the default endpoints");
            let source = Source::Default;
            values.set(index, Setting { value, source });
        }
        values
    };
    DEFAULT_ENDPOINTS.into_iter().map(endpoint).collect()
}

/// Room for one largest message of any endpoint and many small ones, unless it is written.
fn outbox_size(values: &Values, endpoints: &[Values]) -> usize {
    let usual = values.size("limits.max-message");
    let sizes = endpoints
        .iter()
        .map(|endpoint| endpoint.size("max-message").or(usual));
    let largest = sizes.chain([usual]).flatten().max().unwrap_or(0);
    values
        .size("limits.outbox-max")
        .unwrap_or(largest + OUTBOX_ROOM)
}

#[cfg(test)]
mod tests {
    use super::file::{FAULTS_MAX, FILE_SIZE_MAX};
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let faults = file::parse("t.toml", text).unwrap_err();
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_of_nothing_but_faults_is_read_soon() {
        for line in [
            "a\n",
            "a = 1\n",
            "[[endpoint]]\n",
            "[[endpoint]]\na = 1\n",
            "[server]\n",
        ] {
            let count =
                faults(&line.repeat(usize::try_from(FILE_SIZE_MAX).unwrap() / line.len())).len();
            assert!((1..=FAULTS_MAX).contains(&count), "{line:?}: {count}");
        }
        let inline = format!("endpoint = [{}]", "{},".repeat(300_000));
        let found = faults(&inline);
        assert!(
            found[0].contains("there are 300000 endpoints, over 1000"),
            "{found:?}"
        );
    }

    #[test]
    fn a_damaged_file_is_refused_in_lines_that_can_be_shown() {
        let whole = written::file();
        let pieces = [
            "\"", "[", "]]", "=", "\n", "\0", "é", "\u{1b}", "\r", "'", "\\u", "-", "9", ".",
        ];
        for seed in 0..2_000_u64 {
            // One step of a linear congruence for each choice.
            let mut state = seed;
            let mut choose = |below: usize| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                usize::try_from(state >> 33).unwrap() % below
            };
            let mut text = whole.clone();
            for _ in 0..=choose(4) {
                let at = choose(text.len());
                if text.is_char_boundary(at) {
                    text.insert_str(at, pieces[choose(pieces.len())]);
                }
            }
            if let Err(faults) = file::parse("t.toml", &text) {
                let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
                assert!(!lines.is_empty(), "seed {seed}");
                let odd = lines.iter().any(|line| line.contains(char::is_control));
                assert!(!odd, "seed {seed}: {lines:?}");
            }
        }
    }
}
