//! A signed token in its compact form (RFC 7515, 3.1), taken apart. Nothing in it is trusted here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::algorithm::Algorithm;
use super::denial::Denial;

/// No token is longer, in bytes: a request head has no more room either.
pub(crate) const TOKEN_SIZE_MAX: usize = 8 * 1024;

/// A token, borrowed from where it stood.
#[derive(Debug)]
pub(crate) struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    /// Which key has signed it, if it says so.
    pub(crate) key_id: Option<String>,
    /// What is signed: the first two parts, with their dot.
    pub(crate) signed: &'a str,
    pub(crate) payload: &'a str,
    pub(crate) signature: &'a str,
}

/// RFC 7515, 4.1: names that stand twice are refused by the parser.
#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// [`Denial::Malformed`], or [`Denial::Algorithm`] for `none` and whatever else is not known.
    pub(crate) fn read(text: &'a str) -> Result<Self, Denial> {
        if text.len() > TOKEN_SIZE_MAX {
            return Err(Denial::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Denial::Malformed)?;
        let (head, payload) = signed.split_once('.').ok_or(Denial::Malformed)?;
        if payload.contains('.') {
            return Err(Denial::Malformed);
        }
        let head = decode(head)?;
        let head: Head = serde_json::from_slice(&head).map_err(|_| Denial::Malformed)?;
        // RFC 7515, 4.1.11: whoever does not understand what is critical must refuse it.
        if head.crit.is_some() {
            return Err(Denial::Malformed);
        }
        Ok(Self {
            algorithm: Algorithm::named(&head.alg).ok_or(Denial::Algorithm)?,
            key_id: head.kid,
            signed,
            payload,
            signature,
        })
    }
}

/// Base64url without padding and without anything left over (RFC 7515, 2).
pub(super) fn decode(part: &str) -> Result<Vec<u8>, Denial> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Denial::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(head: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(head), part("{}"), part("signature"))
    }

    #[track_caller]
    fn refused(text: &str) -> Denial {
        Token::read(text).err().unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = token(r#"{"typ":"JWT","alg":"RS256","kid":"a"}"#);
        let token = Token::read(&text).unwrap();
        assert_eq!(token.algorithm, Algorithm::Rs256);
        assert_eq!(token.key_id.as_deref(), Some("a"));
        assert_eq!(format!("{}.{}", token.signed, token.signature), text);
    }

    #[test]
    fn no_algorithm_is_none_and_none_is_no_algorithm() {
        for alg in ["none", "None", "nOnE", "HS1", "RSA-OAEP", "dir"] {
            let text = token(&format!(r#"{{"alg":"{alg}"}}"#));
            assert_eq!(refused(&text), Denial::Algorithm, "{alg}");
        }
        let unsigned = token(r#"{"alg":"none"}"#);
        let (signed, _) = unsigned.rsplit_once('.').unwrap();
        assert_eq!(refused(&format!("{signed}.")), Denial::Algorithm);
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        let good = token(r#"{"alg":"HS256"}"#);
        for cut in 0..good.find('.').unwrap() {
            refused(&good[..cut]);
            refused(&good[cut + 1..]);
        }
        for head in [
            "{}",
            "[]",
            "null",
            "{",
            r#"{"alg":1}"#,
            r#"{"alg":["HS256"]}"#,
            r#"{"alg":"HS256","alg":"none"}"#,
            r#"{"alg":"HS256","kid":7}"#,
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"alg":"HS256"}{}"#,
        ] {
            assert_eq!(refused(&token(head)), Denial::Malformed, "{head}");
        }
        for text in ["", ".", "..", "...", "a.b.c", "\u{e9}.b.c"] {
            assert_eq!(refused(text), Denial::Malformed, "{text}");
        }
        let four = format!("{good}.e30");
        assert_eq!(refused(&four), Denial::Malformed);
        let padded = good.replacen('.', "=.", 1);
        assert_eq!(refused(&padded), Denial::Malformed);
        let long = format!("{good}{}", "A".repeat(TOKEN_SIZE_MAX));
        assert_eq!(refused(&long), Denial::Malformed);
        let deep = token(&format!(r#"{{"alg":"HS256","x":{}"#, "[".repeat(4_000)));
        assert_eq!(refused(&deep), Denial::Malformed);
    }
}
