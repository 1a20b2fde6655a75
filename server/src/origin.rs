//! Which web pages may open a WebSocket here.
//!
//! Browsers let any page connect anywhere and send the user's cookies along; the `Origin`
//! header is the server's only way to tell. So a page from elsewhere is refused unless it is
//! listed. Programs that are no browsers send no `Origin`, and are not hindered.

use std::fmt;
use std::str::FromStr;

/// The pages that are allowed beside the server's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OriginPolicy {
    listed: Vec<Origin>,
    any: bool,
}

/// One of the listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OriginRule {
    /// `*`
    Any,
    /// `scheme://host[:port]`
    One(Origin),
}

/// Where a page comes from: scheme, host and port, compared as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    scheme: String,
    host: String,
    /// The scheme's own port if none is written; `None` if the scheme has none.
    port: Option<u16>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OriginFault {
    /// Neither the server's own nor listed.
    Foreign,
    /// There are several `Origin` headers, so one of them is a lie.
    Several,
}

impl OriginPolicy {
    pub(crate) fn new(rules: &[OriginRule]) -> Self {
        let mut policy = Self::default();
        for rule in rules {
            match rule {
                OriginRule::Any => policy.any = true,
                OriginRule::One(origin) => policy.listed.push(origin.clone()),
            }
        }
        policy
    }

    /// Judges a request by all its `Origin` headers, its `Host`, and whether it came encrypted.
    ///
    /// # Errors
    /// [`OriginFault`]: the request must be answered with 403.
    pub(crate) fn check<'a>(
        &self,
        mut origins: impl Iterator<Item = &'a [u8]>,
        host: &str,
        secure: bool,
    ) -> Result<(), OriginFault> {
        let Some(origin) = origins.next() else {
            return Ok(());
        };
        if origins.next().is_some() {
            return Err(OriginFault::Several);
        }
        if self.any {
            return Ok(());
        }
        // `null`, which any page can have sent, is no origin and does not parse.
        let text = std::str::from_utf8(origin).map_err(|_| OriginFault::Foreign)?;
        let origin: Origin = text.parse().map_err(|_| OriginFault::Foreign)?;
        if origin.is_of(host, secure) || self.listed.contains(&origin) {
            Ok(())
        } else {
            Err(OriginFault::Foreign)
        }
    }
}

impl OriginPolicy {
    /// Which page of another origin may read an answer to a request with these `Origin` headers, as
    /// a header says it; `None`: no other than the server's own.
    pub(crate) fn reader<'a>(&self, mut origins: impl Iterator<Item = &'a [u8]>) -> Option<String> {
        let (origin, further) = (origins.next()?, origins.next());
        if self.any {
            return Some("*".to_owned());
        }
        let origin: Origin = std::str::from_utf8(origin).ok()?.parse().ok()?;
        // Written anew: what a client has sent is not sent back.
        let listed = further.is_none() && self.listed.contains(&origin);
        listed.then(|| origin.to_string())
    }
}

impl OriginFault {
    /// A sentence for the client.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Foreign => {
                "This web page may not connect here: its origin is neither this server's \
                 nor one of those that are configured."
            }
            Self::Several => "A request must not have more than one Origin header.",
        }
    }
}

impl Origin {
    /// Does a page of this origin come from the server that was addressed as `host`?
    fn is_of(&self, host: &str, secure: bool) -> bool {
        match self.scheme.as_str() {
            "https" => {}
            // What is encrypted to here was not asked for by a page of the plain port.
            "http" if !secure => {}
            _ => return false,
        }
        let Some((name, port)) = split_authority(host) else {
            return false;
        };
        // A Host without a port means the one of the page's scheme; the server itself cannot
        // know whether TLS ends before it.
        self.host.eq_ignore_ascii_case(name) && self.port == port.or(default_port(&self.scheme))
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let advice = || {
            "write an origin as a browser sends it, such as https://example.com or \
             http://localhost:3000, or * for any"
                .to_owned()
        };
        let (scheme, authority) = text.split_once("://").ok_or_else(advice)?;
        let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        if !scheme_ok {
            return Err(advice());
        }
        let (host, port) = split_authority(authority).ok_or_else(advice)?;
        let scheme = scheme.to_ascii_lowercase();
        let port = port.or(default_port(&scheme));
        Ok(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

impl FromStr for OriginRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            Ok(Self::Any)
        } else {
            text.parse().map(Self::One)
        }
    }
}

impl fmt::Display for OriginRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::One(origin) => origin.fmt(f),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) if self.port != default_port(&self.scheme) => write!(f, ":{port}"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for OriginFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// `host[:port]`, and nothing else: no user, no path, no empty port.
fn split_authority(text: &str) -> Option<(&str, Option<u16>)> {
    let host_end = match text.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, rest) = text.split_at(host_end);
    let host_ok = match host.strip_prefix('[') {
        Some(address) => address
            .trim_end_matches(']')
            .parse::<std::net::Ipv6Addr>()
            .is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
        }
    };
    if !host_ok {
        return None;
    }
    let port = match rest.strip_prefix(':') {
        Some(digits) => Some(parse_port(digits)?),
        None if rest.is_empty() => None,
        None => return None,
    };
    Some((host, port))
}

/// A port as browsers write it: no sign, no leading zero.
fn parse_port(digits: &str) -> Option<u16> {
    let canonical = !digits.starts_with(['0', '+']);
    if canonical { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[&str]) -> OriginPolicy {
        let rules: Vec<OriginRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        OriginPolicy::new(&rules)
    }

    fn allows(policy: &OriginPolicy, origin: &str, host: &str) -> bool {
        policy
            .check(std::iter::once(origin.as_bytes()), host, false)
            .is_ok()
    }

    #[test]
    fn whoever_sends_no_origin_is_no_browser() {
        assert_eq!(
            policy(&[]).check(std::iter::empty(), "example.com", false),
            Ok(())
        );
    }

    #[test]
    fn the_servers_own_pages_are_allowed() {
        let own = policy(&[]);
        for (origin, host) in [
            ("http://example.com", "example.com"),
            ("https://example.com", "example.com"),
            ("http://example.com", "example.com:80"),
            ("http://example.com:80", "example.com"),
            ("https://example.com", "example.com:443"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("https://example.com:8443", "example.com:8443"),
            ("http://EXAMPLE.com", "example.COM"),
            ("http://[::1]:8080", "[::1]:8080"),
            ("http://[::1]", "[::1]"),
        ] {
            assert!(allows(&own, origin, host), "{origin} at {host}");
        }
    }

    #[test]
    fn on_an_encrypted_connection_only_https_is_the_servers_own() {
        let allows = |policy: &OriginPolicy, origin: &str, host| {
            let origins = std::iter::once(origin.as_bytes());
            policy.check(origins, host, true).is_ok()
        };
        let own = policy(&[]);
        assert!(allows(&own, "https://example.com", "example.com"));
        assert!(allows(&own, "https://example.com", "example.com:443"));
        assert!(allows(&own, "https://example.com:8443", "example.com:8443"));
        assert!(!allows(&own, "http://example.com", "example.com"));
        assert!(!allows(&own, "http://example.com:8443", "example.com:8443"));
        let listed = policy(&["http://example.com"]);
        assert!(allows(&listed, "http://example.com", "example.com"));
    }

    #[test]
    fn look_alikes_are_refused() {
        let own = policy(&["https://app.example.org"]);
        for (origin, host) in [
            ("http://example.com.evil.net", "example.com"),
            ("http://evilexample.com", "example.com"),
            ("http://www.example.com", "example.com"),
            ("http://example.co", "example.com"),
            ("http://example.com.", "example.com"),
            ("http://example.com:8081", "example.com:8080"),
            ("http://example.com", "example.com:8080"),
            ("http://example.com:8080", "example.com"),
            ("http://example.com", "example.com:443"),
            ("https://example.com", "example.com:80"),
            ("http://user@example.com", "example.com"),
            ("http://example.com@evil.net", "example.com"),
            ("http://example.com/", "example.com"),
            ("http://example.com?", "example.com"),
            ("http://example.com#", "example.com"),
            ("http://example.com:", "example.com"),
            ("http://example.com:080", "example.com"),
            ("http://example.com:+80", "example.com"),
            ("http://example.com:65616", "example.com"),
            ("http://example.com http://evil.net", "example.com"),
            ("http://example.com, http://evil.net", "example.com"),
            (" http://example.com", "example.com"),
            ("http:/example.com", "example.com"),
            ("http:example.com", "example.com"),
            ("//example.com", "example.com"),
            ("example.com", "example.com"),
            ("ws://example.com", "example.com"),
            ("ftp://example.com", "example.com"),
            ("http://", ""),
            ("null", "example.com"),
            ("null", "null"),
            ("*", "example.com"),
            ("", "example.com"),
            ("file://", ""),
            ("http://[::1]", "::1"),
            ("http://[::1", "[::1"),
            ("http://[::1]x", "[::1]x"),
            ("http://exämple.com", "exämple.com"),
            ("http://app.example.org", "example.com"),
            ("https://app.example.org:8443", "example.com"),
            ("https://app.example.org.evil.net", "example.com"),
            ("https://evil-app.example.org", "example.com"),
        ] {
            assert!(!allows(&own, origin, host), "{origin} at {host}");
        }
    }

    #[test]
    fn listed_pages_are_allowed_wherever_the_server_is() {
        let listed = policy(&[
            "https://app.example.org",
            "http://localhost:3000",
            "app://shell",
        ]);
        assert!(allows(&listed, "https://app.example.org", "example.com"));
        assert!(allows(
            &listed,
            "https://app.example.org:443",
            "example.com"
        ));
        assert!(allows(&listed, "https://APP.example.org", "example.com"));
        assert!(allows(&listed, "http://localhost:3000", "example.com"));
        assert!(allows(&listed, "app://shell", "example.com"));
        assert!(!allows(&listed, "https://localhost:3000", "example.com"));
        assert!(!allows(&listed, "null", "example.com"));
    }

    #[test]
    fn a_star_allows_any_but_not_two() {
        let any = policy(&["*"]);
        assert!(allows(&any, "https://evil.net", "example.com"));
        assert!(allows(&any, "null", "example.com"));
        let two = [b"http://example.com".as_slice(), b"http://example.com"];
        let refused = Err(OriginFault::Several);
        assert_eq!(any.check(two.into_iter(), "example.com", false), refused);
        let own = policy(&[]).check(two.into_iter(), "example.com", false);
        assert_eq!(own, refused);
    }

    #[test]
    fn only_listed_pages_may_read_and_are_named_as_browsers_name_them() {
        let reader = |policy: &OriginPolicy, origins: &[&str]| {
            let origins: Vec<&[u8]> = origins.iter().map(|origin| origin.as_bytes()).collect();
            policy.reader(origins.into_iter())
        };
        let listed = policy(&["https://app.example.org", "http://localhost:3000"]);
        let app = Some("https://app.example.org".to_owned());
        assert_eq!(reader(&listed, &["https://app.example.org"]), app);
        assert_eq!(reader(&listed, &["https://APP.example.org:443"]), app);
        let local = Some("http://localhost:3000".to_owned());
        assert_eq!(reader(&listed, &["http://localhost:3000"]), local);
        for origins in [
            &[][..],
            &["null"],
            &["https://evil.net"],
            &["https://app.example.org", "https://app.example.org"],
        ] {
            assert_eq!(reader(&listed, origins), None, "{origins:?}");
        }
        let any = Some("*".to_owned());
        assert_eq!(reader(&policy(&["*"]), &["https://evil.net"]), any);
        assert_eq!(reader(&policy(&["*"]), &[]), None);
    }

    #[test]
    fn an_origin_that_is_not_utf8_is_foreign() {
        let origins = [b"http://example.com\xff".as_slice()];
        let outcome = policy(&[]).check(origins.into_iter(), "example.com", false);
        assert_eq!(outcome, Err(OriginFault::Foreign));
    }

    #[test]
    fn rules_that_no_browser_could_match_are_refused() {
        for rule in [
            "example.com",
            "https://example.com/",
            "https://*.example.com",
            "null",
            "",
        ] {
            assert!(rule.parse::<OriginRule>().is_err(), "{rule}");
        }
    }
}
