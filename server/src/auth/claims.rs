//! What a token claims (RFC 7519, 4), held against what is wanted. Time is an argument.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::denial::Denial;
use super::rights::Rights;

/// The longest name of a user, in bytes.
pub(crate) const USER_SIZE_MAX: usize = 256;

/// All claims in their order. No name stands twice.
#[derive(Debug)]
pub(crate) struct Claims(Vec<(String, Value)>);

/// What tokens must claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) issuer: Option<String>,
    pub(crate) audiences: Vec<String>,
    pub(crate) leeway: Duration,
    pub(crate) needs_expiry: bool,
    pub(crate) user_claim: String,
    pub(crate) topics_claim: String,
    pub(crate) default_rights: Rights,
}

/// What a good token gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) user: Arc<str>,
    pub(crate) rights: Rights,
    /// When it expires, as it says, since 1970.
    pub(crate) expires: Option<Duration>,
    /// The same with the leeway: then its connection is closed.
    pub(crate) until: Option<Duration>,
}

impl Grant {
    /// What a trusted certificate allows to its owner: as much as a token that names no rights, for as
    /// long as the connection lasts.
    pub(crate) fn of_certificate(user: &str, rights: Rights) -> Self {
        Self {
            user: user.into(),
            rights,
            expires: None,
            until: None,
        }
    }
}

impl Claims {
    /// Reads the payload of a token.
    ///
    /// # Errors
    /// [`Denial::Malformed`].
    pub(crate) fn read(json: &[u8]) -> Result<Self, Denial> {
        serde_json::from_slice(json).map_err(|_| Denial::Malformed)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, v)| v)
    }

    /// RFC 7519, 2: seconds since 1970, not always whole ones.
    fn date(&self, name: &str) -> Result<Option<Duration>, Denial> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let Value::Number(number) = value else {
            return Err(Denial::Malformed);
        };
        let date = match (number.as_u64(), number.as_f64()) {
            (Some(seconds), _) => Duration::from_secs(seconds),
            // What lies before 1970 has passed, and what no clock will show never comes.
            (None, Some(seconds)) if seconds < 0.0 => Duration::ZERO,
            (None, Some(seconds)) => Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX),
            (None, None) => return Err(Denial::Malformed),
        };
        Ok(Some(date))
    }

    /// Holds the claims against what is wanted, at `now` since 1970.
    ///
    /// # Errors
    /// The [`Denial`] of the first that does not do.
    pub(crate) fn judge(&self, wanted: &Wanted, now: Duration) -> Result<Grant, Denial> {
        let expires = self.date("exp")?;
        let until = expires.map(|at| at.saturating_add(wanted.leeway));
        match until {
            // RFC 7519, 4.1.4: on or after that time it must not be accepted.
            Some(until) if now >= until => return Err(Denial::Expired),
            None if wanted.needs_expiry => return Err(Denial::Claims),
            _ => {}
        }
        let begins = self.date("nbf")?;
        if begins.is_some_and(|at| now.saturating_add(wanted.leeway) < at) {
            return Err(Denial::NotYet);
        }
        self.judge_parties(wanted)?;
        Ok(Grant {
            user: self.user(&wanted.user_claim)?,
            rights: self.rights(wanted)?,
            expires,
            until,
        })
    }

    fn judge_parties(&self, wanted: &Wanted) -> Result<(), Denial> {
        let issuer = match self.get("iss") {
            None => None,
            Some(Value::String(issuer)) => Some(issuer),
            Some(_) => return Err(Denial::Malformed),
        };
        if wanted.issuer.is_some() && wanted.issuer.as_ref() != issuer {
            return Err(Denial::Issuer);
        }
        let audiences = match self.get("aud") {
            None => Vec::new(),
            Some(Value::String(one)) => vec![one.as_str()],
            Some(Value::Array(items)) => {
                let items = items.iter().map(Value::as_str);
                let items: Option<Vec<&str>> = items.collect();
                items.ok_or(Denial::Malformed)?
            }
            Some(_) => return Err(Denial::Malformed),
        };
        // RFC 7519, 4.1.3: whoever is not named must refuse the token.
        let is_named = audiences
            .iter()
            .any(|name| wanted.audiences.iter().any(|own| own == name));
        let concerns_us = self.get("aud").is_some() || !wanted.audiences.is_empty();
        if concerns_us && !is_named {
            return Err(Denial::Audience);
        }
        Ok(())
    }

    fn user(&self, claim: &str) -> Result<Arc<str>, Denial> {
        match self.get(claim) {
            None => Err(Denial::Claims),
            Some(Value::String(user)) => {
                let fits = !user.is_empty() && user.len() <= USER_SIZE_MAX;
                let is_plain = fits && !user.contains(char::is_control);
                is_plain
                    .then(|| Arc::from(user.as_str()))
                    .ok_or(Denial::Malformed)
            }
            Some(_) => Err(Denial::Malformed),
        }
    }

    fn rights(&self, wanted: &Wanted) -> Result<Rights, Denial> {
        let rights = match self.get(&wanted.topics_claim) {
            Some(Value::Object(lists)) => Rights::read(lists.get("hear"), lists.get("say"))?
                // It speaks of topics, and names none.
                .or(Some(Rights::NONE)),
            Some(_) => return Err(Denial::Malformed),
            None => Rights::read(self.get("hear"), self.get("say"))?,
        };
        Ok(rights.unwrap_or_else(|| wanted.default_rights.clone()))
    }
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ClaimsVisitor)
    }
}

struct ClaimsVisitor;

impl<'de> Visitor<'de> for ClaimsVisitor {
    type Value = Claims;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
        let (mut claims, mut seen) = (Vec::new(), HashSet::new());
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            // RFC 7519, 4: one of two readers may see the other of two claims.
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom("a claim stands twice"));
            }
            claims.push((name, value));
        }
        Ok(Claims(claims))
    }
}

#[cfg(test)]
mod tests {
    use super::super::rights::Topics;
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn wanted() -> Wanted {
        Wanted {
            issuer: None,
            audiences: Vec::new(),
            leeway: Duration::from_secs(30),
            needs_expiry: true,
            user_claim: "sub".to_owned(),
            topics_claim: "tidegate".to_owned(),
            default_rights: Rights::ALL,
        }
    }

    fn judge_by(wanted: &Wanted, json: &str) -> Result<Grant, Denial> {
        Claims::read(json.as_bytes())?.judge(wanted, NOW)
    }

    fn judge(json: &str) -> Result<Grant, Denial> {
        judge_by(&wanted(), json)
    }

    /// With a user and an expiry that do.
    fn with(claims: &str) -> String {
        format!(r#"{{"sub":"alice","exp":1800000100{claims}}}"#)
    }

    #[test]
    fn a_good_token_gives_its_user_its_rights_and_its_end() {
        let grant = judge(&with("")).unwrap();
        assert_eq!(&*grant.user, "alice");
        assert_eq!(grant.rights, Rights::ALL);
        assert_eq!(grant.expires, Some(Duration::from_secs(1_800_000_100)));
        assert_eq!(grant.until, Some(Duration::from_secs(1_800_000_130)));
    }

    #[test]
    fn expiry_holds_on_the_second_and_with_the_leeway() {
        let at = |exp: &str| judge(&format!(r#"{{"sub":"a","exp":{exp}}}"#)).map(|_| ());
        assert_eq!(at("1799999971"), Ok(()));
        assert_eq!(at("1799999970"), Err(Denial::Expired));
        assert_eq!(at("1799999970.5"), Ok(()));
        assert_eq!(at("1.8e9"), Ok(()));
        assert_eq!(at("0"), Err(Denial::Expired));
        assert_eq!(at("-1"), Err(Denial::Expired));
        assert_eq!(at("-1e300"), Err(Denial::Expired));
        // What no clock will show is no overflow.
        assert_eq!(at("18446744073709551615"), Ok(()));
        assert_eq!(at("99999999999999999999999"), Ok(()));
        assert_eq!(at("1e300"), Ok(()));
        for odd in ["\"1800000100\"", "null", "true", "[1800000100]", "1e999"] {
            assert_eq!(at(odd), Err(Denial::Malformed), "{odd}");
        }
        assert_eq!(judge(r#"{"sub":"a"}"#), Err(Denial::Claims));
        let lasting = Wanted {
            needs_expiry: false,
            ..wanted()
        };
        assert_eq!(judge_by(&lasting, r#"{"sub":"a"}"#).unwrap().until, None);
    }

    #[test]
    fn a_token_from_the_future_waits() {
        let from = |nbf: &str| judge(&with(&format!(r#","nbf":{nbf}"#))).map(|_| ());
        assert_eq!(from("1800000030"), Ok(()));
        assert_eq!(from("1800000031"), Err(Denial::NotYet));
        assert_eq!(from("1e300"), Err(Denial::NotYet));
        assert_eq!(from("\"0\""), Err(Denial::Malformed));
    }

    #[test]
    fn an_audience_must_be_ours_where_either_side_names_one() {
        let ours = Wanted {
            audiences: vec!["chat".to_owned(), "news".to_owned()],
            ..wanted()
        };
        let to = |wanted: &Wanted, aud: &str| judge_by(wanted, &with(aud)).map(|_| ());
        for aud in [
            r#","aud":"chat""#,
            r#","aud":["x","news"]"#,
            r#","aud":["chat","news"]"#,
        ] {
            assert_eq!(to(&ours, aud), Ok(()), "{aud}");
            assert_eq!(to(&wanted(), aud), Err(Denial::Audience), "{aud}");
        }
        for aud in ["", r#","aud":"chats""#, r#","aud":[]"#, r#","aud":"CHAT""#] {
            assert_eq!(to(&ours, aud), Err(Denial::Audience), "{aud}");
        }
        for aud in [r#","aud":7"#, r#","aud":["chat",7]"#, r#","aud":null"#] {
            assert_eq!(to(&ours, aud), Err(Denial::Malformed), "{aud}");
        }
        assert_eq!(to(&wanted(), ""), Ok(()));
    }

    #[test]
    fn an_issuer_must_be_the_one() {
        let ours = Wanted {
            issuer: Some("https://id.example".to_owned()),
            ..wanted()
        };
        let by = |iss: &str| judge_by(&ours, &with(iss)).map(|_| ());
        assert_eq!(by(r#","iss":"https://id.example""#), Ok(()));
        assert_eq!(by(r#","iss":"https://id.example/""#), Err(Denial::Issuer));
        assert_eq!(by(""), Err(Denial::Issuer));
        assert_eq!(
            by(r#","iss":["https://id.example"]"#),
            Err(Denial::Malformed)
        );
    }

    #[test]
    fn a_user_is_a_short_text() {
        let of = |sub: &str| judge(&format!(r#"{{"exp":1800000100{sub}}}"#)).map(|_| ());
        assert_eq!(of(""), Err(Denial::Claims));
        let long = format!(r#","sub":"{}""#, "a".repeat(USER_SIZE_MAX + 1));
        for odd in [r#","sub":"""#, r#","sub":7"#, r#","sub":"a\nb""#, &long] {
            assert_eq!(of(odd), Err(Denial::Malformed), "{odd}");
        }
    }

    #[test]
    fn rights_stand_in_their_claim_or_alone_or_are_the_default() {
        let rights = |claims: &str| judge(&with(claims)).map(|grant| grant.rights);
        let some = |items: &[&str]| Topics::Some(items.iter().map(|s| (*s).to_owned()).collect());
        let hear = |items: &[&str], say: &[&str]| {
            Ok(Rights {
                hear: some(items),
                say: some(say),
            })
        };
        let nested = r#","tidegate":{"hear":["room-*"],"say":["room-7"]}"#;
        assert_eq!(rights(nested), hear(&["room-*"], &["room-7"]));
        assert_eq!(rights(r#","hear":["a"]"#), hear(&["a"], &[]));
        assert_eq!(rights(r#","say":"a""#), hear(&[], &["a"]));
        // The claim goes before what stands alone.
        let both = r#","tidegate":{"hear":["a"]},"say":["*"]"#;
        assert_eq!(rights(both), hear(&["a"], &[]));
        assert_eq!(rights(r#","tidegate":{}"#), Ok(Rights::NONE));
        assert_eq!(rights(r#","tidegate":[]"#), Err(Denial::Malformed));
        assert_eq!(rights(r#","hear":7"#), Err(Denial::Malformed));
    }

    #[test]
    fn a_claim_that_stands_twice_is_refused_wherever_it_stands() {
        for json in [
            r#"{"sub":"a","exp":1800000100,"sub":"b"}"#,
            r#"{"exp":1,"exp":1800000100,"sub":"a"}"#,
            r#"{"sub":"a","exp":1800000100,"x":1,"x":1}"#,
            r#"{"sub":"a","exp":1800000100,"\u0078":1,"x":1}"#,
        ] {
            assert_eq!(judge(json), Err(Denial::Malformed), "{json}");
        }
        for json in ["", "[]", "null", "\"sub\"", "{", r#"{"sub":"a",}"#] {
            assert_eq!(judge(json), Err(Denial::Malformed), "{json}");
        }
    }
}
