//! Keys that check signatures. Each knows what it may be used for, so that a public key is never taken
//! for a secret (and a token signed with its text as one is refused).

use std::fmt;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use serde::Deserialize;
use serde_json::Value;

use super::algorithm::{Algorithm, Algorithms};
use super::denial::Denial;
use super::token::{Token, decode};

/// No set has more keys; an issuer has a few.
pub(crate) const KEYS_MAX: usize = 512;

/// Where a token does not say which key has signed it, no more than this are tried.
pub(crate) const KEYS_TRIED_MAX: usize = 4;

/// One key.
#[derive(Clone)]
struct Key {
    id: Option<String>,
    fits: Algorithms,
    key: DecodingKey,
}

/// Some keys.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeySet(Vec<Key>);

/// Whether a JWK set may hold secrets: one that is fetched may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrets {
    Taken,
    Skipped,
}

impl KeySet {
    /// A secret for those algorithms for which it is long enough; `None` if it is for none.
    pub(crate) fn of_secret(secret: &[u8]) -> Option<Self> {
        let fits = fit_of_secret(secret);
        (!fits.is_empty()).then(|| {
            Self(vec![Key {
                id: None,
                fits,
                key: DecodingKey::from_secret(secret),
            }])
        })
    }

    /// Public keys as PEM, one after another.
    ///
    /// # Errors
    /// What is wrong with it, in half a sentence.
    pub(crate) fn of_pem(text: &str) -> Result<Self, &'static str> {
        let mut keys = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("-----BEGIN ") {
            let end = rest[start..]
                .find("-----END ")
                .and_then(|end| {
                    rest[start + end + 9..]
                        .find("-----")
                        .map(|more| end + 9 + more + 5)
                })
                .ok_or("a block of PEM has no end")?;
            keys.push(pem_key(&rest[start..start + end])?);
            rest = &rest[start + end..];
        }
        match keys.len() {
            0 => Err("there is no public key in it (-----BEGIN PUBLIC KEY-----)"),
            1..=KEYS_MAX => Ok(Self(keys)),
            _ => Err("there are more than 512 keys in it"),
        }
    }

    /// A JWK set (RFC 7517, 5). Keys that are for something else, or that nobody here knows, are
    /// left out, as it wants: a set may have others.
    ///
    /// # Errors
    /// What is wrong with it, in half a sentence.
    pub(crate) fn of_jwks(json: &[u8], secrets: Secrets) -> Result<Self, &'static str> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set =
            serde_json::from_slice(json).map_err(|_| "it is no JWK set: {\"keys\": [...]}")?;
        if set.keys.len() > KEYS_MAX {
            return Err("there are more than 512 keys in it");
        }
        let keys = set.keys.into_iter();
        let keys: Vec<Key> = keys.filter_map(|value| jwk(value, secrets)).collect();
        if keys.is_empty() {
            return Err("there is no key in it that can check a signature");
        }
        Ok(Self(keys))
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All that some key may be used for.
    pub(crate) fn fits(&self) -> Algorithms {
        self.0
            .iter()
            .fold(Algorithms::NONE, |all, key| all.or(key.fits))
    }

    /// Those that may have signed the token.
    fn candidates(&self, token: &Token<'_>) -> impl Iterator<Item = &Key> {
        let (id, algorithm) = (token.key_id.clone(), token.algorithm);
        self.0.iter().filter(move |key| {
            // A key without a name, such as a file of PEM, may have any.
            let is_named = key.id.is_none() || id.is_none() || key.id == id;
            is_named && key.fits.has(algorithm)
        })
    }

    /// Whether there is a key that may have signed the token.
    pub(crate) fn knows(&self, token: &Token<'_>) -> bool {
        self.candidates(token).next().is_some()
    }
}

/// Checks the signature with whichever of the keys fits.
///
/// # Errors
/// [`Denial::Key`] if none does, or too many might have; [`Denial::Signature`].
pub(crate) fn verify(token: &Token<'_>, sets: [&KeySet; 2]) -> Result<(), Denial> {
    let candidates = sets.into_iter().flat_map(|set| set.candidates(token));
    let candidates: Vec<&Key> = candidates.take(KEYS_TRIED_MAX + 1).collect();
    if candidates.is_empty() || candidates.len() > KEYS_TRIED_MAX {
        return Err(Denial::Key);
    }
    // What is left over at the end of a signature is not looked over.
    decode(token.signature)?;
    let algorithm = token.algorithm.of_the_library();
    let is_right = |key: &&Key| {
        let signed = token.signed.as_bytes();
        jsonwebtoken::crypto::verify(token.signature, signed, &key.key, algorithm).unwrap_or(false)
    };
    let found = candidates.iter().any(is_right);
    found.then_some(()).ok_or(Denial::Signature)
}

/// What a secret is long enough for.
pub(crate) fn fit_of_secret(secret: &[u8]) -> Algorithms {
    let symmetric = Algorithm::ALL.into_iter().filter(|one| one.is_symmetric());
    symmetric
        .filter(|one| secret.len() >= one.secret_size_min())
        .fold(Algorithms::NONE, |all, one| all.or(Algorithms::of(&[one])))
}

fn pem_key(block: &str) -> Result<Key, &'static str> {
    if block.contains("PRIVATE KEY") {
        return Err("there is a private key in it, which belongs to the issuer alone");
    }
    let bytes = block.as_bytes();
    let read = DecodingKey::from_rsa_pem(bytes)
        .map(|key| (Algorithms::RSA, key))
        .or_else(|_| DecodingKey::from_ec_pem(bytes).map(|key| (Algorithms::EC, key)))
        .or_else(|_| {
            let fits = Algorithms::of(&[Algorithm::EdDsa]);
            DecodingKey::from_ed_pem(bytes).map(|key| (fits, key))
        });
    let (fits, key) = read.map_err(|_| "a block of PEM is no public key of RSA, EC or Ed25519")?;
    Ok(Key {
        id: None,
        fits,
        key,
    })
}

/// A key of a set, if it can check signatures here.
fn jwk(value: Value, secrets: Secrets) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let common = &jwk.common;
    let is_for_us = match (&common.public_key_use, &common.key_operations) {
        (Some(use_of_it), _) => *use_of_it == PublicKeyUse::Signature,
        (None, Some(operations)) => operations.contains(&KeyOperations::Verify),
        (None, None) => true,
    };
    let by_kind = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithms::RSA,
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => Algorithms::of(&[Algorithm::Es256]),
            EllipticCurve::P384 => Algorithms::of(&[Algorithm::Es384]),
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(_) => Algorithms::of(&[Algorithm::EdDsa]),
        AlgorithmParameters::OctetKey(octets) if secrets == Secrets::Taken => {
            fit_of_secret(&decode(&octets.value).ok()?)
        }
        _ => return None,
    };
    let fits = match &common.key_algorithm {
        Some(named) => by_kind.and(Algorithms::of(&[Algorithm::named(&named.to_string())?])),
        None => by_kind,
    };
    if !is_for_us || fits.is_empty() {
        return None;
    }
    Some(Key {
        id: common.key_id.clone(),
        fits,
        key: DecodingKey::from_jwk(&jwk).ok()?,
    })
}

impl fmt::Debug for Key {
    /// Without the key itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("fits", &self.fits)
            .finish_non_exhaustive()
    }
}
