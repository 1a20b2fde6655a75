//! Where in a request a token may stand, and which one it is.

use tidegate_engine::Request;

use super::denial::Denial;

/// Somewhere a token is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// `Authorization: Bearer` (RFC 6750, 2.1).
    Header,
    /// A cookie of this name.
    Cookie(String),
    /// A parameter of the URL of this name (RFC 6750, 2.3).
    Query(String),
    /// The subprotocols that are offered, since pages can set no header.
    Subprotocol,
}

/// A token that was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub(crate) token: Token<'a>,
    /// What to answer to the offer of subprotocols, if it stood there: never the token.
    pub(crate) protocol: Option<&'a str>,
}

/// A token as it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Plain(&'a str),
    /// Encoded once more, in base64url.
    Encoded(String),
}

impl Token<'_> {
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Encoded(text) => text,
        }
    }
}

/// Before a token among the subprotocols.
const BEARER: &str = "bearer.";

/// The same as Kubernetes has it, with the token encoded once more.
const KUBERNETES: &str = "base64url.bearer.authorization.k8s.io.";

/// A subprotocol behind which the next one is the token.
const ACCESS_TOKEN: &str = "access_token";

/// What is answered if the client offers it.
const OURS: &str = "tidegate";

impl Place {
    /// Reads how a place is written in a configuration; `None` if there is no such place.
    pub(crate) fn named(text: &str) -> Option<Self> {
        let name = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        match text.split_once(':') {
            None if text == "header" => Some(Self::Header),
            None if text == "subprotocol" => Some(Self::Subprotocol),
            Some(("cookie", cookie)) => name(cookie).map(Self::Cookie),
            Some(("query", parameter)) => name(parameter).map(Self::Query),
            _ => None,
        }
    }
}

/// The token of a request, if there is one in one of these places.
///
/// # Errors
/// [`Denial::Ambiguous`] if there are two that differ, [`Denial::Malformed`].
pub(crate) fn find<'a>(
    request: &Request<'a>,
    places: &[Place],
) -> Result<Option<Found<'a>>, Denial> {
    let mut found: Option<Found<'a>> = None;
    let mut add = |token: Token<'a>, protocol: Option<&'a str>| match &mut found {
        Some(before) if before.token.as_str() != token.as_str() => Err(Denial::Ambiguous),
        Some(before) => {
            before.protocol = before.protocol.or(protocol);
            Ok(())
        }
        None => {
            found = Some(Found { token, protocol });
            Ok(())
        }
    };
    for place in places {
        match place {
            Place::Header => {
                for line in request.headers_named("Authorization") {
                    if let Some(token) = bearer(text(line)?) {
                        add(Token::Plain(token), None)?;
                    }
                }
            }
            Place::Cookie(name) => {
                for line in request.headers_named("Cookie") {
                    for token in cookies(text(line)?, name) {
                        add(Token::Plain(token), None)?;
                    }
                }
            }
            Place::Query(name) => {
                for token in parameters(request.query().unwrap_or_default(), name) {
                    add(Token::Plain(token), None)?;
                }
            }
            Place::Subprotocol => {
                let mut offers = Vec::new();
                for line in request.headers_named("Sec-WebSocket-Protocol") {
                    offers.extend(text(line)?.split(',').map(str::trim));
                }
                let (tokens, protocol) = read_offers(&offers)?;
                for token in tokens {
                    add(token, protocol)?;
                }
            }
        }
    }
    Ok(found)
}

fn text(line: &[u8]) -> Result<&str, Denial> {
    std::str::from_utf8(line).map_err(|_| Denial::Malformed)
}

/// The token of `Bearer <token>`; another scheme is none of ours (RFC 7235, 2.1: schemes know no
/// case).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("Bearer")
        .then(|| token.trim_start_matches(' '))
}

/// The values of all cookies of this name (RFC 6265, 4.2).
fn cookies<'a>(line: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let pairs = line.split(';').filter_map(|pair| pair.split_once('='));
    let values = pairs.filter(move |(known, _)| known.trim() == name);
    values.map(|(_, value)| {
        let value = value.trim();
        let inner = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        inner.unwrap_or(value)
    })
}

/// The values of all parameters of this name. Nothing in a token has to be encoded.
fn parameters<'a>(query: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(move |(known, _)| *known == name)
        .map(|(_, value)| value)
}

/// The tokens among the subprotocols, and what to answer: one of the others.
fn read_offers<'a>(offers: &[&'a str]) -> Result<(Vec<Token<'a>>, Option<&'a str>), Denial> {
    let mut tokens = Vec::new();
    let mut others = Vec::new();
    let mut is_token = false;
    for &offer in offers {
        if std::mem::replace(&mut is_token, false) {
            tokens.push(Token::Plain(offer));
        } else if let Some(encoded) = offer.strip_prefix(KUBERNETES) {
            let bytes = super::token::decode(encoded)?;
            let token = String::from_utf8(bytes).map_err(|_| Denial::Malformed)?;
            tokens.push(Token::Encoded(token));
        } else if let Some(token) = offer.strip_prefix(BEARER) {
            tokens.push(Token::Plain(token));
        } else {
            is_token = offer == ACCESS_TOKEN;
            others.push(offer);
        }
    }
    let ours = others.iter().find(|offer| **offer == OURS);
    Ok((tokens, ours.or(others.first()).copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_written() {
        assert_eq!(Place::named("header"), Some(Place::Header));
        assert_eq!(Place::named("subprotocol"), Some(Place::Subprotocol));
        let cookie = Place::Cookie("a:b".to_owned());
        assert_eq!(Place::named("cookie:a:b"), Some(cookie));
        for odd in [
            "", "cookie", "cookie:", "query:", "header:x", "Header", "body",
        ] {
            assert_eq!(Place::named(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_bearer_is_one_in_any_case_and_nothing_else_is() {
        assert_eq!(bearer("Bearer a.b.c"), Some("a.b.c"));
        assert_eq!(bearer("bEARER  a.b.c"), Some("a.b.c"));
        assert_eq!(bearer("Basic YTpi"), None);
        assert_eq!(bearer("Bearera.b.c"), None);
        assert_eq!(bearer("Bearer"), None);
    }

    #[test]
    fn cookies_and_parameters_are_found_by_their_whole_name() {
        let all: Vec<_> = cookies("a=1; token=x.y.z; xtoken=2; token=\"q\"; b", "token").collect();
        assert_eq!(all, ["x.y.z", "q"]);
        let all: Vec<_> = parameters("token=a&xtoken=b&token=&t", "token").collect();
        assert_eq!(all, ["a", ""]);
    }

    #[test]
    fn a_token_among_subprotocols_is_never_the_answer() {
        let read = |offers: &[&'static str]| read_offers(offers).unwrap();
        let plain = |token| vec![Token::Plain(token)];
        assert_eq!(
            read(&["chat", "bearer.a.b.c", "tidegate"]),
            (plain("a.b.c"), Some("tidegate"))
        );
        assert_eq!(
            read(&["access_token", "a.b.c"]),
            (plain("a.b.c"), Some("access_token"))
        );
        assert_eq!(read(&["bearer.a.b.c"]), (plain("a.b.c"), None));
        assert_eq!(read(&["chat"]), (Vec::new(), Some("chat")));
        let encoded = "base64url.bearer.authorization.k8s.io.YS5iLmM";
        let token = Token::Encoded("a.b.c".to_owned());
        assert_eq!(read(&[encoded, "v4"]), (vec![token], Some("v4")));
        let odd = "base64url.bearer.authorization.k8s.io.YS5iLmM=";
        assert_eq!(read_offers(&[odd]), Err(Denial::Malformed));
    }
}
