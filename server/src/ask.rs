//! Asks a server that runs at its admin port: for `check-config --dry-run` and `top`.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

/// A server that has not answered within this does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Larger than what [`crate::config::schema::ENDPOINTS_MAX`] endpoints take.
const ANSWER_SIZE_MAX: u64 = 16 << 20;

/// Where an admin port is: `127.0.0.1:9090`, `[::1]:9090`, `admin.example:9090`, or one of them after
/// `http://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AdminPlace {
    /// With its port.
    authority: String,
}

impl From<SocketAddr> for AdminPlace {
    fn from(address: SocketAddr) -> Self {
        Self {
            authority: address.to_string(),
        }
    }
}

impl FromStr for AdminPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let advice =
            || "write an address such as 127.0.0.1:9090 or http://127.0.0.1:9090".to_owned();
        if text.starts_with("https://") {
            return Err("the admin port speaks no TLS: write http://".to_owned());
        }
        let authority = text
            .strip_prefix("http://")
            .unwrap_or(text)
            .trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').ok_or_else(advice)?;
        let is_sound = |c: char| c.is_ascii_alphanumeric() || "-.[]:".contains(c);
        if host.is_empty() || port.parse::<u16>().is_err() || !host.chars().all(is_sound) {
            return Err(advice());
        }
        Ok(Self {
            authority: authority.to_owned(),
        })
    }
}

impl fmt::Display for AdminPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority)
    }
}

/// The body of the answer to a GET, which must be 200.
///
/// # Errors
/// Why there is none, in one line.
pub(crate) fn get(at: &AdminPlace, path: &str, token: Option<&str>) -> Result<String, String> {
    let answer = exchange(at, path, token)
        .map_err(|error| format!("cannot ask the server whose admin port is {at}: {error}"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1).unwrap_or_default() {
        "200" => Ok(body.to_owned()),
        "401" if token.is_none() => Err(format!(
            "{at} asks for a token: say where it is with --token-file (check-config: --admin-token-file)"
        )),
        "401" | "429" => Err(format!("{at} does not know this token")),
        "404" => Err(format!(
            "{at} has no {path}: it is no admin port of this version"
        )),
        status => Err(format!(
            "{at} does not answer {path}: status '{}'",
            crate::config::source::plain(status)
        )),
    }
}

/// HTTP/1.0, so that the answer has no chunks and ends with the stream.
fn exchange(at: &AdminPlace, path: &str, token: Option<&str>) -> io::Result<String> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in at.authority.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return talk(stream, at, path, token),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn talk(
    mut stream: TcpStream,
    at: &AdminPlace,
    path: &str,
    token: Option<&str>,
) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let token = token.map_or(String::new(), |token| {
        format!("Authorization: Bearer {token}\r\n")
    });
    let request = format!("GET {path} HTTP/1.0\r\nHost: {at}\r\n{token}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_SIZE_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_an_address_with_or_without_its_scheme() {
        for (text, shown) in [
            ("127.0.0.1:9090", "127.0.0.1:9090"),
            ("http://127.0.0.1:9090/", "127.0.0.1:9090"),
            ("http://[::1]:9090", "[::1]:9090"),
            ("admin.example:1", "admin.example:1"),
        ] {
            assert_eq!(AdminPlace::from_str(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "9090",
            ":9090",
            "a b:1",
            "a:1\r\nX: y",
            "a:x",
            "a:70000",
            "http://a/b:1",
        ] {
            assert!(AdminPlace::from_str(text).is_err(), "{text}");
        }
        let said = AdminPlace::from_str("https://a:1").unwrap_err();
        assert!(said.contains("no TLS"), "{said}");
    }
}
