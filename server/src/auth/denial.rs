//! Why somebody is not let in, or not let stay: what is answered, said and counted for it.

use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_engine::{CloseCode, Refusal};

/// Why a token, or the lack of one, does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denial {
    /// There is none.
    Missing,
    /// There are two that differ.
    Ambiguous,
    /// It is no signed token: parts, encoding, JSON, a claim of a wrong type, or it is too long.
    Malformed,
    /// It is signed in a way that is not allowed, or not at all.
    Algorithm,
    /// No key fits it.
    Key,
    /// The signature is wrong.
    Signature,
    /// It was good once.
    Expired,
    /// It will be good.
    NotYet,
    /// Somebody else has issued it.
    Issuer,
    /// It is meant for somebody else.
    Audience,
    /// It does not say whose it is, or when it expires, and must.
    Claims,
    /// It does not allow this topic, or to say anything.
    Rights,
    /// A connection stays with its user.
    OtherUser,
    /// It did not come in time.
    Late,
    /// Something else came first.
    Unexpected,
    /// The user has as many connections as it may have.
    Cap,
    /// Too many tokens wait to be checked.
    Busy,
}

/// How often each has happened.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    denials: [AtomicU64; Denial::ALL.len()],
    grants: AtomicU64,
}

const INVALID: &[(&str, &str)] = &[("WWW-Authenticate", "Bearer error=\"invalid_token\"")];
const AGAIN: &[(&str, &str)] = &[("Retry-After", "1")];

impl Denial {
    pub(crate) const ALL: [Self; 17] = [
        Self::Missing,
        Self::Ambiguous,
        Self::Malformed,
        Self::Algorithm,
        Self::Key,
        Self::Signature,
        Self::Expired,
        Self::NotYet,
        Self::Issuer,
        Self::Audience,
        Self::Claims,
        Self::Rights,
        Self::OtherUser,
        Self::Late,
        Self::Unexpected,
        Self::Cap,
        Self::Busy,
    ];

    /// A short name for metrics, logs and close frames.
    pub(crate) const fn cause(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Ambiguous => "token_ambiguous",
            Self::Malformed => "token_malformed",
            Self::Algorithm => "token_algorithm",
            Self::Key => "token_key",
            Self::Signature => "token_signature",
            Self::Expired => "token_expired",
            Self::NotYet => "token_not_yet",
            Self::Issuer => "token_issuer",
            Self::Audience => "token_audience",
            Self::Claims => "token_claims",
            Self::Rights => "token_rights",
            Self::OtherUser => "token_other_user",
            Self::Late => "token_late",
            Self::Unexpected => "token_expected",
            Self::Cap => "user_connections",
            Self::Busy => "token_busy",
        }
    }

    /// A sentence for a human at the other end.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "A token is needed here.",
            Self::Ambiguous => "There are two tokens, and they differ.",
            Self::Malformed => "The token is malformed.",
            Self::Algorithm => "The token is signed in a way that is not taken here.",
            Self::Key => "The token is signed with a key that is not known here.",
            Self::Signature => "The signature of the token is wrong.",
            Self::Expired => "The token has expired.",
            Self::NotYet => "The token is not good yet.",
            Self::Issuer => "The token was issued by somebody who is not trusted here.",
            Self::Audience => "The token is meant for another audience.",
            Self::Claims => "The token lacks a claim that is needed here.",
            Self::Rights => "The token does not allow that.",
            Self::OtherUser => "The token belongs to another user than the connection.",
            Self::Late => "The token did not come in time.",
            Self::Unexpected => "A token was expected first.",
            Self::Cap => "This user has as many connections as it may have.",
            Self::Busy => "Too many tokens wait to be checked.",
        }
    }

    /// What a request is answered with (RFC 6750, 3 and 3.1).
    pub(crate) fn refusal(self) -> Refusal {
        let (status, headers): (u16, &[(&str, &str)]) = match self {
            // RFC 6750, 3.1: without a token, nothing is said to be wrong with it.
            Self::Missing => (401, &[("WWW-Authenticate", "Bearer")]),
            Self::Ambiguous => (
                400,
                &[("WWW-Authenticate", "Bearer error=\"invalid_request\"")],
            ),
            Self::Rights => (
                403,
                &[("WWW-Authenticate", "Bearer error=\"insufficient_scope\"")],
            ),
            Self::Cap => (429, AGAIN),
            Self::Busy => (503, AGAIN),
            Self::Malformed
            | Self::Algorithm
            | Self::Key
            | Self::Signature
            | Self::Expired
            | Self::NotYet
            | Self::Issuer
            | Self::Audience
            | Self::Claims
            | Self::OtherUser
            | Self::Late
            | Self::Unexpected => (401, INVALID),
        };
        Refusal::new(status, self.cause(), self.reason()).with_headers(headers)
    }

    /// What an open connection is closed with: 3000, 3003 and 3008 are registered with IANA for
    /// exactly this, as Unauthorized, Forbidden and Timeout.
    pub(crate) fn close_code(self) -> CloseCode {
        let code = match self {
            Self::Rights | Self::OtherUser => CloseCode::new(3003),
            Self::Late => CloseCode::new(3008),
            Self::Cap | Self::Busy => Some(CloseCode::TRY_AGAIN_LATER),
            _ => CloseCode::new(3000),
        };
        code.unwrap_or(CloseCode::POLICY)
    }
}

impl Tally {
    pub(crate) fn deny(&self, denial: Denial) {
        self.denials[denial as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn grant(&self) {
        self.grants.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn grants(&self) -> u64 {
        self.grants.load(Ordering::Relaxed)
    }

    /// Each cause that has happened, with how often.
    pub(crate) fn denials(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self
            .denials
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let all = Denial::ALL.into_iter().map(Denial::cause).zip(counts);
        all.filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_denial_stands_at_its_own_index_and_has_a_name_of_its_own() {
        let mut seen = std::collections::HashSet::new();
        for (index, denial) in Denial::ALL.into_iter().enumerate() {
            assert_eq!(denial as usize, index);
            assert!(seen.insert(denial.cause()), "{denial:?}");
            // It becomes the reason of a close frame.
            assert!(denial.cause().len() <= 123);
        }
    }

    #[test]
    fn a_refusal_says_what_rfc_6750_wants() {
        let challenge = |denial: Denial| {
            let refusal = denial.refusal();
            let header = refusal.headers().first().copied();
            (refusal.status, header.map(|(_, value)| value))
        };
        assert_eq!(challenge(Denial::Missing), (401, Some("Bearer")));
        let invalid = Some("Bearer error=\"invalid_token\"");
        assert_eq!(challenge(Denial::Expired), (401, invalid));
        assert_eq!(challenge(Denial::Ambiguous).0, 400);
        assert_eq!(challenge(Denial::Rights).0, 403);
        assert_eq!(Denial::Cap.refusal().status, 429);
        assert_eq!(Denial::Busy.refusal().status, 503);
    }

    #[test]
    fn what_happens_is_counted_by_cause() {
        let tally = Tally::default();
        tally.deny(Denial::Key);
        tally.deny(Denial::Key);
        tally.grant();
        assert_eq!(tally.denials().collect::<Vec<_>>(), [("token_key", 2)]);
        assert_eq!(tally.grants(), 1);
    }
}
