//! For whom a trusted proxy speaks, by a header line of the request: `X-Forwarded-For`, or
//! `Forwarded` (RFC 7239).
//!
//! Each proxy adds the address that it was called from at the right end. So the list is read from
//! there, and the first address that is no trusted proxy is the client: what stands to the left of it
//! may be made up by anybody.
//!
//! ```text
//!  X-Forwarded-For: 203.0.113.9, 198.51.100.1, 10.0.0.2      the peer is 10.0.0.1
//!                   └ a lie?     └ the client  └ trusted                └ trusted
//! ```

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tidegate_engine::Request;

use super::network::Networks;

/// More proxies than this are not in a row.
const HOPS_MAX: usize = 32;

/// Which header line is read. Only one is: proxies that write one of them pass on the other as their
/// client has sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForwardedBy {
    /// None: a trusted proxy speaks for itself, or has said more by a PROXY header.
    Nothing,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded`.
    Forwarded,
}

/// The header line is not as a proxy writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// What one proxy says of who called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hop {
    Address(SocketAddr),
    /// It does not know, or does not say (RFC 7239, 6.2 and 6.3).
    Hidden,
}

/// For whom the peer, which is trusted, speaks; `None` if it is for itself. Where no port is said, it
/// is 0.
///
/// # Errors
/// [`Malformed`], if what stands before the client is no address, or too many do: nobody is to be
/// counted, or let in, under an address that is only half known.
pub(crate) fn client_of(
    request: &Request<'_>,
    by: ForwardedBy,
    trusted: &Networks,
) -> Result<Option<SocketAddr>, Malformed> {
    let name = match by {
        ForwardedBy::Nothing => return Ok(None),
        ForwardedBy::XForwardedFor => "X-Forwarded-For",
        ForwardedBy::Forwarded => "Forwarded",
    };
    // RFC 7230, 3.2.2: several lines are one list.
    let lines: Vec<&[u8]> = request.headers_named(name).collect();
    client_in(&lines, by, trusted)
}

fn client_in(
    lines: &[&[u8]],
    by: ForwardedBy,
    trusted: &Networks,
) -> Result<Option<SocketAddr>, Malformed> {
    let mut walk = Walk {
        trusted,
        nearest: None,
        count: 0,
    };
    for line in lines.iter().rev() {
        if by == ForwardedBy::XForwardedFor {
            for word in line.rsplit(|byte| *byte == b',') {
                let word = word.trim_ascii();
                // RFC 7230, 7: an element of a list may be empty.
                if !word.is_empty() && !walk.step(read_node(word))? {
                    return Ok(walk.nearest);
                }
            }
            continue;
        }
        for hop in read_elements(line)?.into_iter().rev() {
            if !walk.step(hop)? {
                return Ok(walk.nearest);
            }
        }
    }
    Ok(walk.nearest)
}

/// The way from the server to the client.
struct Walk<'t> {
    trusted: &'t Networks,
    /// The last one that a trusted proxy has named.
    nearest: Option<SocketAddr>,
    count: usize,
}

impl Walk<'_> {
    /// One hop more; `None` is one that is not as it has to be. `false`: this was the client.
    fn step(&mut self, hop: Option<Hop>) -> Result<bool, Malformed> {
        self.count += 1;
        match hop {
            Some(Hop::Address(address)) => {
                self.nearest = Some(address);
                let goes_on = self.trusted.contains(address.ip());
                if goes_on && self.count == HOPS_MAX {
                    return Err(Malformed);
                }
                Ok(goes_on)
            }
            Some(Hop::Hidden) => Ok(false),
            None => Err(Malformed),
        }
    }
}

/// One address as a proxy writes it, without quotes.
fn read_node(word: &[u8]) -> Option<Hop> {
    let text = std::str::from_utf8(word).ok()?;
    // RFC 7239, 6.3: a name that means something to the proxy alone.
    if text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
        return Some(Hop::Hidden);
    }
    let bracketed = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = match bracketed {
        Some(inner) => SocketAddr::new(inner.parse::<Ipv6Addr>().ok()?.into(), 0),
        None => match text.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, 0),
            Err(_) => text.parse().ok()?,
        },
    };
    let ip = address.ip().to_canonical();
    Some(Hop::Address(SocketAddr::new(ip, address.port())))
}

/// The hops of one `Forwarded` line, from the left (RFC 7239, 4); `None` for one whose `for` is no
/// address.
fn read_elements(line: &[u8]) -> Result<Vec<Option<Hop>>, Malformed> {
    let elements = split_outside_quotes(line, b',')?;
    let elements = elements.into_iter().map(<[u8]>::trim_ascii);
    elements
        .filter(|element| !element.is_empty())
        .map(read_element)
        .collect()
}

fn read_element(element: &[u8]) -> Result<Option<Hop>, Malformed> {
    let mut node = None;
    for pair in split_outside_quotes(element, b';')? {
        let Some(equals) = pair.iter().position(|byte| *byte == b'=') else {
            // An empty pair, as a careless proxy may leave one.
            if pair.trim_ascii().is_empty() {
                continue;
            }
            return Err(Malformed);
        };
        let (name, value) = (pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii());
        if !name.eq_ignore_ascii_case(b"for") {
            continue;
        }
        // RFC 7239, 4: each parameter must not occur more than once.
        if node.is_some() {
            return Err(Malformed);
        }
        let bare = match value.strip_prefix(b"\"") {
            Some(rest) => rest.strip_suffix(b"\"").ok_or(Malformed)?,
            None => value,
        };
        node = Some(read_node(bare));
    }
    // RFC 7239, 4: a proxy need not say who called it.
    Ok(node.unwrap_or(Some(Hop::Hidden)))
}

/// The parts between separators that do not stand in quotes.
fn split_outside_quotes(bytes: &[u8], separator: u8) -> Result<Vec<&[u8]>, Malformed> {
    let (mut parts, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            // No address needs it, and what it would hide is not to be guessed.
            b'\\' => return Err(Malformed),
            _ if byte == separator && !quoted => {
                parts.push(&bytes[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&bytes[start..]);
    (!quoted).then_some(parts).ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::network::Network;

    fn trusted() -> Networks {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse::<Network>().unwrap());
        Networks::new(&networks)
    }

    /// The client in words: its address, `proxy` if it is the peer itself, or `malformed`.
    fn client(lines: &[&str], by: ForwardedBy) -> String {
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        match client_in(&lines, by, &trusted()) {
            Ok(Some(address)) if address.port() == 0 => address.ip().to_string(),
            Ok(Some(address)) => address.to_string(),
            Ok(None) => "proxy".to_owned(),
            Err(Malformed) => "malformed".to_owned(),
        }
    }

    #[test]
    fn the_client_is_the_last_one_that_nobody_trusts() {
        for (lines, wanted) in [
            (&["198.51.100.1"][..], "198.51.100.1"),
            (&["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
            (&["198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            (
                &["203.0.113.9,198.51.100.1,10.0.0.2 , 10.0.0.3"],
                "198.51.100.1",
            ),
            // Several lines are one list.
            (&["203.0.113.9", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
            // Whatever stands left of the client is not looked at.
            (&["nonsense, \"', 198.51.100.1"], "198.51.100.1"),
            (&["10.0.0.9, 198.51.100.1"], "198.51.100.1"),
            // All are trusted: the first of them has called by itself.
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&["198.51.100.1:4711"], "198.51.100.1:4711"),
            (&["2001:db8::7"], "2001:db8::7"),
            (&["[2001:db8::7]"], "2001:db8::7"),
            (&["[2001:db8::7]:4711"], "[2001:db8::7]:4711"),
            (&["::ffff:198.51.100.1"], "198.51.100.1"),
            (&["198.51.100.1, ::ffff:10.0.0.2, fd00::1"], "198.51.100.1"),
            (&["198.51.100.1,,10.0.0.2,"], "198.51.100.1"),
            (&["198.51.100.1, unknown"], "proxy"),
            (&["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            (&[], "proxy"),
            (&["", " , "], "proxy"),
        ] {
            assert_eq!(
                client(lines, ForwardedBy::XForwardedFor),
                wanted,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn what_stands_before_the_client_must_be_an_address() {
        for line in [
            "198.51.100.1, nonsense",
            "198.51.100.1, 10.0.0.2, 1.2.3",
            "198.51.100.256",
            "198.51.100.1 198.51.100.2",
            "\"198.51.100.1\"",
            "198.51.100.1:port",
            "[198.51.100.1]",
            "[2001:db8::7",
            "198.51.100.0/24",
            "\u{e9}",
        ] {
            let said = client(&[line], ForwardedBy::XForwardedFor);
            assert_eq!(said, "malformed", "{line}");
        }
        let chain = vec!["10.0.0.1"; HOPS_MAX].join(",");
        let longest = vec!["10.0.0.1"; HOPS_MAX - 1].join(",");
        let with = |chain: &str| format!("198.51.100.1,{chain}");
        assert_eq!(
            client(&[&with(&chain)], ForwardedBy::XForwardedFor),
            "malformed"
        );
        assert_eq!(
            client(&[&with(&longest)], ForwardedBy::XForwardedFor),
            "198.51.100.1"
        );
    }

    #[test]
    fn forwarded_is_read_by_its_rfc() {
        for (lines, wanted) in [
            (&["for=198.51.100.1"][..], "198.51.100.1"),
            (
                &["For=198.51.100.1;proto=http;by=203.0.113.43"],
                "198.51.100.1",
            ),
            (
                &["for=\"[2001:db8:cafe::17]:4711\""],
                "[2001:db8:cafe::17]:4711",
            ),
            (&["for=\"198.51.100.1:80\""], "198.51.100.1:80"),
            (
                &["for=203.0.113.9, for=198.51.100.1, for=10.0.0.2"],
                "198.51.100.1",
            ),
            (&["for=198.51.100.1", "for=10.0.0.2"], "198.51.100.1"),
            (&["by=10.0.0.9 ; for = 198.51.100.1"], "198.51.100.1"),
            (&["for=198.51.100.1;host=\"a,b;c\""], "198.51.100.1"),
            (&["for=198.51.100.1, for=_hidden"], "proxy"),
            (
                &["for=198.51.100.1, for=\"_x:_y\", for=10.0.0.2"],
                "10.0.0.2",
            ),
            (&["for=198.51.100.1, proto=https"], "proxy"),
            (&["for=nonsense, for=198.51.100.1"], "198.51.100.1"),
            // A line that is cut off says nothing of the line behind it.
            (&["for=\"a", "for=198.51.100.1"], "198.51.100.1"),
        ] {
            assert_eq!(client(lines, ForwardedBy::Forwarded), wanted, "{lines:?}");
        }
        for line in [
            "for=nonsense",
            "for=198.51.100.1;for=198.51.100.2",
            "for=\"198.51.100.1",
            "for=\"198.51.100.1, for=198.51.100.2",
            "for=\"198.51.100\\.1\"",
            "for=",
            "198.51.100.1",
        ] {
            let said = client(&[line], ForwardedBy::Forwarded);
            assert_eq!(said, "malformed", "{line}");
        }
    }
}
