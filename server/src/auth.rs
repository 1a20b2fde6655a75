//! Who may connect: tokens are checked against what is configured.
//!
//! ```text
//!  request ─▶ places ─▶ token ─┬─ HMAC: on the shard, 1.4 µs ──────────────┬─▶ claims ─▶ grant ─▶ member
//!  first message, refresh ─────┤                                           │
//!                              └─ RSA, EC, Ed25519: gate, other threads ───┘
//!                                   └─ an unknown key: remote, fetches the JWK set once in a while
//! ```
//!
//! A user who is known by other means, such as a client certificate, would become a [`claims::Grant`]
//! as a good token does: that is the one door to [`member::Member`].

pub(crate) mod algorithm;
pub(crate) mod claims;
pub(crate) mod clock;
pub(crate) mod denial;
pub(crate) mod expiries;
mod fetch;
pub(crate) mod gate;
pub(crate) mod keys;
mod load;
pub(crate) mod member;
pub(crate) mod places;
mod remote;
pub(crate) mod rights;
pub(crate) mod token;
pub(crate) mod tools;
pub(crate) mod users;

use std::fmt;
use std::time::Duration;

use algorithm::Algorithms;
use claims::{Claims, Grant, Wanted};
use denial::Denial;
use keys::KeySet;
use places::Place;
use rights::Rights;
use token::Token;

/// What is configured of authentication, with the keys that were read from files.
pub(crate) struct Auth {
    keys: KeySet,
    algorithms: Algorithms,
    pub(crate) places: Vec<Place>,
    pub(crate) wanted: Wanted,
    /// Where more keys are fetched.
    pub(crate) remote: Option<Source>,
    /// What a client without a token may do where one is optional.
    pub(crate) anonymous: Rights,
    /// How long a client may take for its first message.
    pub(crate) deadline: Duration,
    /// How many connections a user may have, if there is a cap.
    pub(crate) user_connections_max: Option<u32>,
    /// What is allowed, and may not be meant.
    pub(crate) warnings: Vec<String>,
}

/// Where keys are fetched, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) url: String,
    pub(crate) refresh: Duration,
    pub(crate) cooldown: Duration,
}

impl Auth {
    /// The verdict on a token that can be given on a shard, if it can.
    pub(crate) fn judge_at_once(&self, text: &str, hour: Duration) -> Option<Verdict> {
        match self.read(text) {
            Err(denial) => Some(Err(denial)),
            Ok(token) if token.algorithm.is_symmetric() => {
                Some(self.judge_token(&token, &KeySet::default(), hour))
            }
            Ok(_) => None,
        }
    }

    /// Holds a token against the keys, also those that were fetched, and what is wanted.
    ///
    /// # Errors
    /// Why it does not do.
    pub(crate) fn judge(&self, text: &str, fetched: &KeySet, hour: Duration) -> Verdict {
        self.judge_token(&self.read(text)?, fetched, hour)
    }

    /// Whether some key may have signed this token.
    pub(crate) fn knows_key(&self, text: &str, fetched: &KeySet) -> bool {
        self.read(text)
            .is_ok_and(|token| self.keys.knows(&token) || fetched.knows(&token))
    }

    /// Whether there may be tokens that are not checked on a shard.
    pub(crate) fn needs_threads(&self) -> bool {
        let asymmetric = self.keys.fits().iter().any(|one| !one.is_symmetric());
        asymmetric || self.remote.is_some()
    }

    fn read<'a>(&self, text: &'a str) -> Result<Token<'a>, Denial> {
        let token = Token::read(text)?;
        let is_allowed = self.algorithms.has(token.algorithm);
        is_allowed.then_some(token).ok_or(Denial::Algorithm)
    }

    fn judge_token(&self, token: &Token<'_>, fetched: &KeySet, hour: Duration) -> Verdict {
        keys::verify(token, [&self.keys, fetched])?;
        Claims::read(&token::decode(token.payload)?)?.judge(&self.wanted, hour)
    }
}

/// What has become of a token.
pub(crate) type Verdict = Result<Grant, Denial>;

impl fmt::Debug for Auth {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("keys", &self.keys.len())
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
