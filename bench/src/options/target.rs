//! Where to connect to, and from which addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use super::Common;

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The server.
    pub address: SocketAddr,
    /// By TLS.
    pub tls: bool,
    /// As it stands in the request.
    pub host: String,
    /// Path and query.
    pub path: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.host, self.path)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let (tls, rest) = match url.split_once("://") {
            Some(("ws", rest)) => (false, rest),
            Some(("wss", rest)) => (true, rest),
            _ => return Err("a URL begins with ws:// or wss://".to_owned()),
        };
        let (host, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        if !path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        {
            return Err("the path holds a character that must be escaped".to_owned());
        }
        let address = resolve(host, if tls { 443 } else { 80 })?;
        Ok(Self {
            address,
            tls,
            host: host.to_owned(),
            path,
        })
    }
}

impl Target {
    /// The host without its port, and without the brackets of an IPv6 address.
    #[must_use]
    pub fn name(&self) -> &str {
        let port = self.host.rfind(':').filter(|at| {
            let port = &self.host[at + 1..];
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        });
        // A colon within an IPv6 address stands before its closing bracket.
        let end = port.unwrap_or(self.host.len());
        self.host[..end]
            .trim_start_matches('[')
            .trim_end_matches(']')
    }
}

/// The address of a host, with a port or with the one that goes without saying.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = plain.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let (name, port) = match host.rsplit_once(':') {
        Some((name, text)) => {
            let port = text.parse();
            (name, port.map_err(|_| format!("'{text}' is no port"))?)
        }
        None => (host, port),
    };
    // Not left to the resolver, which may prefer IPv6.
    if name == "localhost" {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || !name.bytes().all(good) {
        return Err(format!("'{name}' is no name of a host"));
    }
    let found = (name, port).to_socket_addrs();
    let mut addresses = found.map_err(|error| format!("cannot find {name}: {error}"))?;
    addresses
        .next()
        .ok_or_else(|| format!("{name} has no address"))
}

/// From which addresses a process connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// The kernel's choice.
    Any,
    /// So many in turn, the same for every process.
    Shared(u32),
    /// So many of this process's own, in turn, behind those of the processes before it.
    Own {
        /// The number of the first.
        first: u32,
        /// How many.
        count: u32,
    },
}

/// An address has about 28,000 local ports by default. The kernel looks at every second one first,
/// and when those are gone, at all of them again for each connect, which then takes milliseconds.
const PORTS: u32 = 10_000;

impl Sources {
    /// Those of a process, of `connections` in all.
    #[must_use]
    pub fn choose(common: &Common, process: u32) -> Self {
        if common.sources > 0 {
            return Self::Shared(common.sources);
        }
        let ip = common.target.address.ip();
        let each = common.connections.div_ceil(common.processes);
        if !(ip.is_loopback() && ip.is_ipv4()) || (common.processes == 1 && each <= PORTS) {
            return Self::Any;
        }
        let count = each.div_ceil(PORTS);
        Self::Own {
            first: process * count,
            count,
        }
    }

    /// The one of the connection `index` of a worker whose first has the number `first`.
    #[must_use]
    pub fn of(self, first: u32, index: u32) -> Option<SocketAddr> {
        match self {
            Self::Any => None,
            Self::Shared(count) => Some(source((first + index) % count)),
            Self::Own { first: own, count } => Some(source(own + (first + index) % count)),
        }
    }
}

/// The source address number `index`: 127.1.0.1 and on, without any `.0` or `.255`.
#[must_use]
pub fn source(index: u32) -> SocketAddr {
    let third = u8::try_from(index / 250 % 256).expect("a remainder of 256");
    let fourth = u8::try_from(index % 250 + 1).expect("at most 250");
    SocketAddr::from((Ipv4Addr::new(127, 1, third, fourth), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_an_address_a_host_and_a_path() {
        let target: Target = "ws://localhost:9001/ws/bench?x=1".parse().unwrap();
        assert_eq!(target.address, "127.0.0.1:9001".parse().unwrap());
        assert_eq!(target.host, "localhost:9001");
        assert_eq!(target.path, "/ws/bench?x=1");
        let target: Target = "ws://[::1]:80".parse().unwrap();
        assert_eq!(
            (target.address.is_ipv6(), target.path.as_str()),
            (true, "/")
        );
        assert_eq!(target.name(), "::1");
        let target: Target = "wss://localhost".parse().unwrap();
        assert_eq!((target.tls, target.address.port()), (true, 443));
        assert_eq!(
            (target.name(), target.to_string().as_str()),
            ("localhost", "wss://localhost/")
        );
        let target: Target = "ws://127.0.0.1?x".parse().unwrap();
        assert_eq!((target.address.port(), target.path.as_str()), (80, "/?x"));
    }

    #[test]
    fn other_urls_are_refused() {
        for url in [
            "http://127.0.0.1/",
            "127.0.0.1:80",
            "ws:///",
            "ws://a b/",
            "ws://localhost:x/",
            "ws://[::1]:1/a b",
            "ws://[::1]:1/#a",
        ] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }

    #[test]
    fn sources_are_distinct_and_never_a_network_or_broadcast_address() {
        let sources: std::collections::HashSet<_> = (0..50_000).map(source).collect();
        assert_eq!(sources.len(), 50_000);
        assert_eq!(source(0).ip().to_string(), "127.1.0.1");
        assert_eq!(source(1).ip().to_string(), "127.1.0.2");
        assert_eq!(source(250).ip().to_string(), "127.1.1.1");
    }

    #[test]
    fn processes_share_no_source_of_their_own() {
        let own = |first| Sources::Own { first, count: 2 };
        let of = |sources: Sources| [sources.of(7, 0), sources.of(7, 1), sources.of(7, 2)];
        let (one, other) = (of(own(0)), of(own(2)));
        assert!(one.iter().all(|source| !other.contains(source)));
        assert_ne!(one[0], one[1]);
        assert_eq!(one[0], one[2]);
    }
}
