//! `tidegate gen-token` and `tidegate check-token`: what the server would take, made and looked at by
//! hand.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Map, Value, json};

use super::algorithm::Algorithm;
use super::claims::{Claims, USER_SIZE_MAX};
use super::keys::{KeySet, Secrets, fit_of_secret};
use super::load::KEY_FILE_SIZE_MAX;
use super::rights::{Topics, is_pattern};
use super::token::{self, TOKEN_SIZE_MAX, Token};
use super::{Auth, Verdict, clock, fetch};
use crate::config::Inputs;
use crate::failure::Failure;
use crate::units::show_span;

/// What token to make.
#[derive(Debug)]
pub(crate) struct GenSettings {
    pub(crate) inputs: Inputs,
    pub(crate) user: String,
    pub(crate) hear: Vec<String>,
    pub(crate) say: Vec<String>,
    pub(crate) expires: Duration,
    pub(crate) algorithm: Option<String>,
    pub(crate) key_id: Option<String>,
    pub(crate) signer: Signer,
    pub(crate) json: bool,
}

/// With what to sign.
#[derive(Debug)]
pub(crate) enum Signer {
    /// With the secret that is configured.
    Configured,
    Secret(PathBuf),
    /// A private key as PEM.
    Key(PathBuf),
}

/// Which token to look at.
#[derive(Debug)]
pub(crate) struct CheckSettings {
    pub(crate) inputs: Inputs,
    /// `None`: stdin.
    pub(crate) file: Option<PathBuf>,
    pub(crate) json: bool,
}

/// What came of a look.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) text: String,
    pub(crate) is_good: bool,
}

/// Makes a token, and returns what is to be printed.
///
/// # Errors
/// What is wrong with the configuration, the key or the wish.
pub(crate) fn generate(settings: &GenSettings) -> Result<String, Failure> {
    let configuration = settings.inputs.load(None)?;
    let claims = claims(settings, &configuration.auth)?;
    let wanted = match settings.algorithm.as_deref() {
        None => None,
        Some(name) => {
            let found = Algorithm::named(name);
            Some(found.ok_or_else(|| Failure::usage(format!("{name} is no algorithm")))?)
        }
    };
    let (keys, source) = match &settings.signer {
        Signer::Key(path) => (private_keys(&read(path)?), path.clone()),
        Signer::Secret(path) => (secret_keys(&read(path)?), path.clone()),
        Signer::Configured => {
            let path = configuration.values.text_if_any("auth.secret-file").ok_or_else(|| {
                let line = "say with what to sign: --secret-file, --key-file, or secret-file in \
                            [auth] of the configuration";
                Failure::configuration(line.to_owned())
            })?;
            let path = PathBuf::from(path);
            (secret_keys(&read(&path)?), path)
        }
    };
    let signed = keys.into_iter().find_map(|(algorithm, key)| {
        let mut header = Header::new(algorithm.of_the_library());
        header.kid.clone_from(&settings.key_id);
        let is_meant = wanted.is_none_or(|wanted| wanted == algorithm);
        let token = is_meant.then(|| encode(&header, &claims, &key).ok());
        Some((algorithm, token.flatten()?))
    });
    let Some((algorithm, token)) = signed else {
        let wish = wanted.map_or("any algorithm", Algorithm::name);
        let line = format!("{} holds no key that signs with {wish}", source.display());
        return Err(Failure::failed(line));
    };
    if !settings.json {
        return Ok(token + "\n");
    }
    let shown = json!({"token": token, "algorithm": algorithm.name(), "claims": claims});
    Ok(pretty(&shown))
}

fn claims(settings: &GenSettings, auth: &Auth) -> Result<Value, Failure> {
    let (user, wanted) = (&settings.user, &auth.wanted);
    if user.is_empty() || user.len() > USER_SIZE_MAX || user.contains(char::is_control) {
        let line = format!("a user has 1 to {USER_SIZE_MAX} bytes, and no control characters");
        return Err(Failure::usage(line));
    }
    let mut patterns = settings.hear.iter().chain(&settings.say);
    if let Some(odd) = patterns.find(|pattern| !is_pattern(pattern)) {
        let line = format!("'{odd}': a pattern is a topic, or its beginning and a * at the end");
        return Err(Failure::usage(line));
    }
    let now = clock::hour();
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| {
        claims.insert(name.to_owned(), value);
    };
    set(&wanted.user_claim, user.as_str().into());
    set("iat", now.as_secs().into());
    set("exp", now.saturating_add(settings.expires).as_secs().into());
    if let Some(issuer) = &wanted.issuer {
        set("iss", issuer.as_str().into());
    }
    match wanted.audiences.as_slice() {
        [] => {}
        [one] => set("aud", one.as_str().into()),
        all => set("aud", all.into()),
    }
    if !(settings.hear.is_empty() && settings.say.is_empty()) {
        let (hear, say) = (json!(settings.hear), json!(settings.say));
        if wanted.topics_claim.is_empty() {
            set("hear", hear);
            set("say", say);
        } else {
            set(&wanted.topics_claim, json!({"hear": hear, "say": say}));
        }
    }
    Ok(Value::Object(claims))
}

/// A secret, for each algorithm that it is long enough for.
fn secret_keys(bytes: &[u8]) -> Vec<(Algorithm, EncodingKey)> {
    let secret = bytes.trim_ascii();
    let fits = fit_of_secret(secret).iter();
    fits.map(|one| (one, EncodingKey::from_secret(secret)))
        .collect()
}

/// A private key, for each algorithm that it may be for.
fn private_keys(pem: &[u8]) -> Vec<(Algorithm, EncodingKey)> {
    use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    let (algorithms, key): (&[Algorithm], _) = if let Ok(key) = EncodingKey::from_rsa_pem(pem) {
        (&[Rs256, Rs384, Rs512, Ps256, Ps384, Ps512], key)
    } else if let Ok(key) = EncodingKey::from_ec_pem(pem) {
        // The wrong curve does not sign.
        (&[Es256, Es384], key)
    } else if let Ok(key) = EncodingKey::from_ed_pem(pem) {
        (&[EdDsa], key)
    } else {
        return Vec::new();
    };
    algorithms.iter().map(|one| (*one, key.clone())).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(KEY_FILE_SIZE_MAX).read_to_end(&mut bytes))
        .map_err(|error| unreadable(&path.display().to_string(), &error))?;
    Ok(bytes)
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    let line = format!("cannot read {name}: {error}");
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::forbidden(line),
        _ => Failure::failed(line),
    }
}

/// Looks at a token as the server would.
///
/// # Errors
/// What is wrong with the configuration, or why there is nothing to look at.
pub(crate) fn check(settings: &CheckSettings) -> Result<Checked, Failure> {
    let configuration = settings.inputs.load(None)?;
    let auth = &configuration.auth;
    if auth.keys.len() == 0 && auth.remote.is_none() {
        let line = "no key is configured: write secret-file, public-key-file, jwks-file or \
                    jwks-url in [auth]";
        return Err(Failure::configuration(line.to_owned()));
    }
    let mut bytes = Vec::new();
    // One byte more than a token may have tells that it is too long.
    let size_max = TOKEN_SIZE_MAX as u64 + 1024;
    match &settings.file {
        Some(path) => bytes = read(path)?,
        None => {
            let read = io::stdin().lock().take(size_max).read_to_end(&mut bytes);
            read.map_err(|error| unreadable("stdin", &error))?;
        }
    }
    let text = String::from_utf8_lossy(bytes.trim_ascii()).into_owned();
    let fetched = match &auth.remote {
        Some(source) if auth.judge_at_once(&text, Duration::ZERO).is_none() => {
            let fetched = fetch::fetch(&source.url)
                .and_then(|body| Ok(KeySet::of_jwks(&body, Secrets::Skipped)?));
            let why = |why| Failure::failed(format!("cannot fetch {}: {why}", source.url));
            fetched.map_err(why)?
        }
        _ => KeySet::default(),
    };
    let now = clock::hour();
    let verdict = auth.judge(&text, &fetched, now);
    let token = Token::read(&text).ok();
    let payload = token.as_ref().map(|token| token::decode(token.payload));
    let claims = payload.and_then(Result::ok);
    let claims = claims.and_then(|json| Claims::read(&json).ok());
    let (token, claims) = (token.as_ref(), claims.as_ref());
    Ok(Checked {
        is_good: verdict.is_ok(),
        text: if settings.json {
            as_json(token, claims, &verdict)
        } else {
            as_lines(token, claims, &verdict, now)
        },
    })
}

fn as_json(token: Option<&Token<'_>>, claims: Option<&Claims>, verdict: &Verdict) -> String {
    let topics = |topics: &Topics| match topics {
        Topics::All => json!(["*"]),
        Topics::Some(patterns) => json!(patterns),
    };
    let grant = verdict.as_ref().ok();
    let denial = verdict.as_ref().err();
    let all = claims.map(|claims| {
        let pairs = claims.iter();
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.clone()));
        Value::Object(pairs.collect())
    });
    pretty(&json!({
        "good": grant.is_some(),
        "cause": denial.map(|denial| denial.cause()),
        "reason": denial.map(|denial| denial.reason()),
        "algorithm": token.map(|token| token.algorithm.name()),
        "key": token.and_then(|token| token.key_id.clone()),
        "claims": all,
        "user": grant.map(|grant| grant.user.to_string()),
        "hear": grant.map(|grant| topics(&grant.rights.hear)),
        "say": grant.map(|grant| topics(&grant.rights.say)),
    }))
}

fn as_lines(
    token: Option<&Token<'_>>,
    claims: Option<&Claims>,
    verdict: &Verdict,
    now: Duration,
) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // What the token says must neither break the line nor steer a terminal.
        let plain = |text: &str| text.replace(char::is_control, "?");
        let _ = writeln!(text, "{:<12} {}", plain(name), plain(value));
    };
    if let Some(token) = token {
        line("algorithm", token.algorithm.name());
        if let Some(key) = &token.key_id {
            line("key", key);
        }
    }
    for (name, value) in claims.into_iter().flat_map(Claims::iter) {
        let seconds = value
            .as_u64()
            .filter(|_| ["exp", "nbf", "iat"].contains(&name));
        let when = seconds.map(|seconds| show_when(Duration::from_secs(seconds), now));
        line(name, &format!("{value}{}", when.unwrap_or_default()));
    }
    match verdict {
        Ok(grant) => {
            line("user", &grant.user);
            line("may hear", &grant.rights.hear.show());
            line("may say", &grant.rights.say.show());
            line("verdict", "good");
        }
        Err(denial) => {
            let (cause, reason) = (denial.cause(), denial.reason());
            line("verdict", &format!("refused: {cause}: {reason}"));
        }
    }
    text
}

fn show_when(at: Duration, now: Duration) -> String {
    let whole = |span: Duration| show_span(Duration::from_secs(span.as_secs()));
    match at.checked_sub(now) {
        Some(span) => format!(", in {}", whole(span)),
        None => format!(", {} ago", whole(now.saturating_sub(at))),
    }
}

fn pretty(value: &Value) -> String {
    // Nothing here has keys that are no strings, which alone could fail.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
