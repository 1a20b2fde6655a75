//! From a configuration to [`Auth`]: reads the files of keys, and finds what is wrong with them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;

use super::algorithm::{Algorithm, Algorithms};
use super::claims::Wanted;
use super::keys::{KeySet, Secrets};
use super::places::Place;
use super::rights::Rights;
use super::{Auth, Source};
use crate::config::source::Fault;
use crate::config::source::Source as Written;
use crate::config::values::Values;

/// No file of keys is larger.
pub(crate) const KEY_FILE_SIZE_MAX: u64 = 1 << 20;

/// What is wrong.
#[derive(Debug)]
pub(crate) struct Refused {
    /// At least one.
    pub(crate) faults: Vec<Fault>,
    /// A file may not be read.
    pub(crate) forbidden: bool,
}

struct Loader<'a> {
    values: &'a Values,
    faults: Vec<Fault>,
    forbidden: bool,
    warnings: Vec<String>,
    keys: KeySet,
}

impl Auth {
    /// Reads what is configured.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn load(values: &Values, endpoints: &[Values]) -> Result<Self, Refused> {
        let mut loader = Loader {
            values,
            faults: Vec::new(),
            forbidden: false,
            warnings: Vec::new(),
            keys: KeySet::default(),
        };
        loader.secret();
        loader.public_keys();
        loader.jwks();
        let remote = loader.remote();
        let algorithms = loader.algorithms(remote.is_some());
        let places = loader.places();
        loader.check_endpoints(endpoints, remote.is_some(), &places);
        let wanted = loader.wanted();
        if !loader.faults.is_empty() {
            return Err(Refused {
                faults: loader.faults,
                forbidden: loader.forbidden,
            });
        }
        let user_connections_max = values.count("limits.connections-per-user");
        Ok(Self {
            keys: loader.keys,
            algorithms,
            places,
            wanted,
            remote,
            anonymous: rights(values.choice("auth.anonymous-rights")),
            deadline: values.span("auth.deadline"),
            user_connections_max: user_connections_max
                .filter(|max| *max > 0)
                .and_then(|max| u32::try_from(max).ok()),
            warnings: loader.warnings,
        })
    }
}

fn rights(word: &str) -> Rights {
    match word {
        "hear" => Rights::HEAR,
        "none" => Rights::NONE,
        _ => Rights::ALL,
    }
}

impl Loader<'_> {
    fn fault(&mut self, key: &str, text: &str) {
        let source = self.values.source(key).clone();
        self.faults
            .push(Fault::new(source, &format!("{key}: {text}")));
    }

    /// The content of the file that a key names, if it names one.
    fn read(&mut self, key: &str) -> Option<(String, Vec<u8>)> {
        let path = self.values.text(key)?.to_owned();
        let mut bytes = Vec::new();
        let read = File::open(&path)
            .and_then(|file| file.take(KEY_FILE_SIZE_MAX + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 > KEY_FILE_SIZE_MAX => {
                self.fault(key, &format!("{path} is larger than 1MiB"));
                None
            }
            Ok(_) => Some((path, bytes)),
            Err(error) => {
                self.forbidden |= error.kind() == io::ErrorKind::PermissionDenied;
                self.fault(key, &format!("cannot read {path}: {error}"));
                None
            }
        }
    }

    fn secret(&mut self) {
        const KEY: &str = "auth.secret-file";
        let Some((path, bytes)) = self.read(KEY) else {
            return;
        };
        match KeySet::of_secret(bytes.trim_ascii()) {
            Some(keys) => self.keys.add(keys),
            None => {
                let text = format!(
                    "the secret in {path} has {} bytes, and 32 at least are needed; \
                     `head -c 48 /dev/urandom | base64 > {path}` makes one",
                    bytes.trim_ascii().len()
                );
                self.fault(KEY, &text);
            }
        }
        let mode = std::fs::metadata(&path).map(|about| about.permissions().mode());
        if mode.is_ok_and(|mode| mode & 0o077 != 0) {
            let place = self.values.source(KEY);
            let line =
                format!("{place}: {path} is open to others than its owner; chmod 600 keeps it");
            self.warnings.push(line);
        }
    }

    fn public_keys(&mut self) {
        const KEY: &str = "auth.public-key-file";
        let Some((path, bytes)) = self.read(KEY) else {
            return;
        };
        match KeySet::of_pem(&String::from_utf8_lossy(&bytes)) {
            Ok(keys) => self.keys.add(keys),
            Err(why) => self.fault(KEY, &format!("{path}: {why}")),
        }
    }

    fn jwks(&mut self) {
        const KEY: &str = "auth.jwks-file";
        let Some((path, bytes)) = self.read(KEY) else {
            return;
        };
        match KeySet::of_jwks(&bytes, Secrets::Taken) {
            Ok(keys) => self.keys.add(keys),
            Err(why) => self.fault(KEY, &format!("{path}: {why}")),
        }
    }

    fn remote(&mut self) -> Option<Source> {
        const KEY: &str = "auth.jwks-url";
        let url = self.values.text(KEY)?.to_owned();
        let Some((scheme, rest)) = url.split_once("://") else {
            self.fault(KEY, "write a URL, such as https://id.example/jwks.json");
            return None;
        };
        if !matches!(scheme, "http" | "https") || rest.is_empty() || rest.contains([' ', '@']) {
            self.fault(KEY, "write a URL with http or https, and without a user");
            return None;
        }
        let is_near = ["127.", "localhost", "[::1]"];
        if scheme == "http" && !is_near.iter().any(|host| rest.starts_with(host)) {
            let place = self.values.source(KEY);
            let line = format!("{place}: keys that come over http can be changed on their way");
            self.warnings.push(line);
        }
        Some(Source {
            url,
            refresh: self.values.span("auth.jwks-refresh"),
            cooldown: self.values.span("auth.jwks-cooldown"),
        })
    }

    fn algorithms(&mut self, has_remote: bool) -> Algorithms {
        const KEY: &str = "auth.algorithms";
        let names = self.values.texts(KEY).to_vec();
        let mut allowed = Algorithms::NONE;
        for name in &names {
            let Some(one) = Algorithm::named(name) else {
                let all: Vec<&str> = Algorithm::ALL.iter().map(|one| one.name()).collect();
                let text = format!("{name} is none; there are {}", all.join(", "));
                self.fault(KEY, &text);
                continue;
            };
            allowed = allowed.or(Algorithms::of(&[one]));
            let is_fetched = has_remote && !one.is_symmetric();
            if !self.keys.fits().has(one) && !is_fetched {
                let text = if one.is_symmetric() {
                    format!("{one} needs a secret of {} bytes", one.secret_size_min())
                } else {
                    format!("{one} has no key that it fits")
                };
                self.fault(KEY, &text);
            }
        }
        if names.is_empty() {
            Algorithms::ALL
        } else {
            allowed
        }
    }

    fn places(&mut self) -> Vec<Place> {
        const KEY: &str = "auth.from";
        let mut places = Vec::new();
        for text in self.values.texts(KEY).to_vec() {
            match Place::named(&text) {
                Some(place) => places.push(place),
                None => {
                    let text = format!(
                        "{text} is no place: write header, cookie:NAME, query:NAME or subprotocol"
                    );
                    self.fault(KEY, &text);
                }
            }
        }
        places
    }

    fn wanted(&mut self) -> Wanted {
        let values = self.values;
        if values.text_if_any("auth.user-claim").is_none() {
            self.fault("auth.user-claim", "some claim must name the user");
        }
        let text = |key| values.text(key).unwrap_or_default().to_owned();
        Wanted {
            issuer: values.text_if_any("auth.issuer").map(str::to_owned),
            audiences: values.texts("auth.audience").to_vec(),
            leeway: values.span("auth.leeway"),
            needs_expiry: values.switch("auth.require-expiry"),
            user_claim: text("auth.user-claim"),
            topics_claim: text("auth.topics-claim"),
            default_rights: rights(values.choice("auth.default-rights")),
        }
    }

    /// An endpoint that asks for tokens which nobody could check would let nobody in.
    fn check_endpoints(&mut self, endpoints: &[Values], has_remote: bool, places: &[Place]) {
        for endpoint in endpoints {
            let when = endpoint.choice("auth");
            let mut fault = |text: &str| {
                let source: Written = endpoint.source("auth").clone();
                self.faults.push(Fault::new(source, text));
            };
            if when != "none" && self.keys.len() == 0 && !has_remote {
                fault(&format!(
                    "auth = \"{when}\" needs a key: write secret-file, public-key-file, jwks-file \
                     or jwks-url in [auth]"
                ));
                // One of them says it for all.
                return;
            }
            if matches!(when, "required" | "optional") && places.is_empty() {
                fault(&format!(
                    "auth = \"{when}\" needs a place: write from in [auth]"
                ));
                return;
            }
        }
    }
}
