//! The PROXY protocol, versions 1 and 2: what a proxy says before anything else of whom it speaks for.
//!
//! The specification is HAProxy's ("The PROXY protocol", versions 1 & 2, 2020/03/05); its sections are named here.
//!
//! ```text
//!  1   PROXY TCP4 192.0.2.7 198.51.100.1 4711 443 CR LF           a line, at most 107 bytes
//!  2   signature (12) | version, command | family | length | addresses | TLVs (skipped)
//! ```

// Of addresses, not of sockets: those are in `std`.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest line of version 1, its CR LF included (2.1).
pub const PROXY_LINE_SIZE_MAX: usize = 107;

/// The longest header of version 2: addresses, and TLVs such as a name, an id and some about TLS.
///
/// 65,551 bytes can be declared; the specification (2.2) has receivers expect 536, and each peer that has
/// begun a header pins what has come of it.
pub const PROXY_HEADER_SIZE_MAX: usize = 2048;

/// How version 2 begins (2.2): no request does.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family, and the length of the rest (2.2).
const FIXED_SIZE: usize = 16;

/// How version 1 begins (2.1).
const LINE_START: &[u8; 6] = b"PROXY ";

/// What a proxy says of the one it speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// In which version it says so.
    pub version: ProxyVersion,
    /// Where that one called from; `None` when the proxy speaks for itself, or does not know.
    pub source: Option<SocketAddr>,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    One,
    /// A binary header.
    Two,
}

/// What [`read_proxy_header`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyStatus {
    /// The header is not complete, and nothing is wrong with it so far.
    Partial,
    /// The header is complete.
    Complete {
        /// What it says.
        header: ProxyHeader,
        /// How many bytes it took. Those behind them belong to whatever the proxy passes on.
        size: usize,
    },
}

/// Why bytes are no PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyFault {
    /// They do not begin like one.
    Missing,
    /// A line of more than [`PROXY_LINE_SIZE_MAX`], or a declared length of more than
    /// [`PROXY_HEADER_SIZE_MAX`] bytes.
    TooLong,
    /// A line that is not as it has to be.
    Line,
    /// A version, a command or a family that there is not.
    Unknown,
    /// Fewer bytes than the addresses of that family take.
    TooShort,
}

impl ProxyFault {
    /// One sentence for a human at the other end.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "A PROXY header must come first on this connection.",
            Self::TooLong => "The PROXY header is longer than this server takes.",
            Self::Line => "The line of the PROXY header is malformed.",
            Self::Unknown => {
                "The PROXY header has a version, a command or a family that is not known."
            }
            Self::TooShort => "The PROXY header is too short for its addresses.",
        }
    }
}

impl std::fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for ProxyFault {}

/// Reads a header of either version from the front of `bytes`.
///
/// It holds no state: while it is partial, call it again with all the bytes that there are by then. What
/// is wrong is told for the first of its faults, however much has come. The work for one call is bounded by
/// [`PROXY_LINE_SIZE_MAX`], whatever has been declared.
///
/// # Errors
/// [`ProxyFault`], as soon as the bytes that are there prove it.
pub fn read_proxy_header(bytes: &[u8]) -> Result<ProxyStatus, ProxyFault> {
    if starts_like(bytes, SIGNATURE) {
        read_binary(bytes)
    } else if starts_like(bytes, LINE_START) {
        read_line(bytes)
    } else {
        Err(ProxyFault::Missing)
    }
}

/// Whether these bytes begin a header, as far as can be told: no request does, so nobody but a proxy
/// should send them.
#[must_use]
pub(crate) fn begins_proxy_header(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && (bytes.starts_with(LINE_START) || bytes.len() >= 5 && starts_like(bytes, SIGNATURE))
}

/// Is one of them the beginning of the other?
fn starts_like(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

fn read_line(bytes: &[u8]) -> Result<ProxyStatus, ProxyFault> {
    let window = &bytes[..bytes.len().min(PROXY_LINE_SIZE_MAX)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if window.len() == PROXY_LINE_SIZE_MAX {
            Err(ProxyFault::TooLong)
        } else {
            Ok(ProxyStatus::Partial)
        };
    };
    let line = window[..end].strip_suffix(b"\r");
    let rest = line.and_then(|line| line.strip_prefix(LINE_START));
    let source = rest.and_then(source_of_line).ok_or(ProxyFault::Line)?;
    let version = ProxyVersion::One;
    let header = ProxyHeader { version, source };
    let size = end + 1;
    Ok(ProxyStatus::Complete { header, size })
}

/// What stands behind `PROXY `. `None`: nothing that may stand there.
fn source_of_line(rest: &[u8]) -> Option<Option<SocketAddr>> {
    // 2.1: behind UNKNOWN, everything is ignored, and nothing needs to stand there.
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Some(None);
    }
    // 2.1: one space between two words, and none elsewhere.
    let text = std::str::from_utf8(rest).ok()?;
    let mut words = text.split(' ');
    let mut next = || words.next();
    let (protocol, source, target) = (next()?, next()?, next()?);
    let (source_port, target_port) = (port_of(next()?)?, port_of(next()?)?);
    if words.next().is_some() {
        return None;
    }
    let address = |word: &str| match protocol {
        "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    // Where the proxy was called is of no use, but must be right all the same.
    let _ = SocketAddr::new(address(target)?, target_port);
    Some(Some(SocketAddr::new(address(source)?, source_port)))
}

/// 2.1: a decimal number from 0 to 65535, without leading zeros.
fn port_of(word: &str) -> Option<u16> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain)
}

fn read_binary(bytes: &[u8]) -> Result<ProxyStatus, ProxyFault> {
    // 2.2: the four bits above are the version, which is 2; 0 is LOCAL, 1 is PROXY.
    let local = match bytes.get(SIGNATURE.len()) {
        None => return Ok(ProxyStatus::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(ProxyFault::Unknown),
    };
    let Some(&family) = bytes.get(SIGNATURE.len() + 1) else {
        return Ok(ProxyStatus::Partial);
    };
    // 2.2: whoever says LOCAL speaks for itself, whatever addresses follow.
    let addresses_size = match family {
        _ if local => 0,
        // Unspecified: the proxy does not know.
        0x00 => 0,
        // TCP over IPv4, TCP over IPv6, a stream over a Unix socket.
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(ProxyFault::Unknown),
    };
    let Some(length) = bytes.get(SIGNATURE.len() + 2..FIXED_SIZE) else {
        return Ok(ProxyStatus::Partial);
    };
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    let size = FIXED_SIZE + length;
    if size > PROXY_HEADER_SIZE_MAX {
        return Err(ProxyFault::TooLong);
    }
    if length < addresses_size {
        return Err(ProxyFault::TooShort);
    }
    let Some(addresses) = bytes.get(FIXED_SIZE..size) else {
        return Ok(ProxyStatus::Partial);
    };
    let source = match family {
        _ if local => None,
        0x11 => addresses
            .first_chunk::<4>()
            .map(|ip| Ipv4Addr::from(*ip))
            .map(IpAddr::V4),
        0x21 => addresses
            .first_chunk::<16>()
            .map(|ip| Ipv6Addr::from(*ip))
            .map(IpAddr::V6),
        _ => None,
    };
    // 2.2: both addresses, then both ports.
    let port = match source {
        Some(IpAddr::V4(_)) => [addresses[8], addresses[9]],
        Some(IpAddr::V6(_)) => [addresses[32], addresses[33]],
        None => [0, 0],
    };
    let source = source.map(|ip| SocketAddr::new(ip, u16::from_be_bytes(port)));
    let version = ProxyVersion::Two;
    let header = ProxyHeader { version, source };
    Ok(ProxyStatus::Complete { header, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<(Option<String>, usize)>, ProxyFault> {
        Ok(match read_proxy_header(bytes)? {
            ProxyStatus::Partial => None,
            ProxyStatus::Complete { header, size } => {
                Some((header.source.map(|source| source.to_string()), size))
            }
        })
    }

    /// A header of version 2 with these bytes behind its length.
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    #[test]
    fn the_lines_of_the_specification_are_read() {
        for (line, source) in [
            (
                "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                Some("255.255.255.255:65535"),
            ),
            (
                "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n",
                Some("192.168.0.1:56324"),
            ),
            (
                "PROXY TCP6 2001:db8::7 2001:DB8::1 0 443\r\n",
                Some("[2001:db8::7]:0"),
            ),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 anything at all\r\n", None),
        ] {
            let expected = Ok(Some((source.map(str::to_owned), line.len())));
            assert_eq!(read(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_line_that_is_nearly_one_is_refused() {
        for line in [
            "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n",
            "PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
            "PROXY TCP4 1.2.3.4\n5.6.7.8 1 2\r\n",
        ] {
            assert_eq!(read(line.as_bytes()), Err(ProxyFault::Line), "{line:?}");
        }
        for start in [
            "GET / HTTP/1.1\r\n",
            "PROXY\r\n",
            "proxy TCP4",
            "\r\n\r\nx",
            "\n",
            "\0",
        ] {
            assert_eq!(
                read(start.as_bytes()),
                Err(ProxyFault::Missing),
                "{start:?}"
            );
        }
    }

    #[test]
    fn a_line_has_at_most_107_bytes() {
        let line = |size: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(size - 16));
        let longest = line(PROXY_LINE_SIZE_MAX);
        assert_eq!(longest.len(), PROXY_LINE_SIZE_MAX);
        assert_eq!(
            read(longest.as_bytes()),
            Ok(Some((None, PROXY_LINE_SIZE_MAX)))
        );
        let longer = line(PROXY_LINE_SIZE_MAX + 1);
        assert_eq!(read(longer.as_bytes()), Err(ProxyFault::TooLong));
        let most = &longest.as_bytes()[..PROXY_LINE_SIZE_MAX - 1];
        assert_eq!(read(most), Ok(None));
    }

    #[test]
    fn binary_headers_are_read_and_what_they_add_is_skipped() {
        let four = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0x01, 0xBB];
        let header = binary(0x21, 0x11, &four);
        let source = Some("192.0.2.7:4711".to_owned());
        assert_eq!(read(&header), Ok(Some((source.clone(), 28))));
        let with_tlv = binary(0x21, 0x11, &[&four[..], &[4, 0, 3, 1, 2, 3]].concat());
        assert_eq!(read(&with_tlv), Ok(Some((source, 34))));
        let mut six = [0; 36];
        six[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        six[32..34].copy_from_slice(&4711_u16.to_be_bytes());
        let source = Some("[2001:db8::7]:4711".to_owned());
        assert_eq!(read(&binary(0x21, 0x21, &six)), Ok(Some((source, 52))));
    }

    #[test]
    fn who_speaks_for_itself_or_does_not_know_names_nobody() {
        for header in [
            binary(0x20, 0x00, b""),
            binary(0x20, 0x11, &[1; 12]),
            // 2.2: the family of LOCAL is ignored.
            binary(0x20, 0xFF, &[1; 3]),
            binary(0x21, 0x00, &[9; 5]),
            binary(0x21, 0x31, &[b'/'; 216]),
        ] {
            assert_eq!(read(&header), Ok(Some((None, header.len()))), "{header:?}");
        }
    }

    #[test]
    fn binary_headers_that_are_wrong_are_refused_as_soon_as_it_shows() {
        for (bytes, fault) in [
            (binary(0x11, 0x11, &[0; 12]), ProxyFault::Unknown),
            (binary(0x22, 0x11, &[0; 12]), ProxyFault::Unknown),
            (binary(0x21, 0x12, &[0; 12]), ProxyFault::Unknown),
            (binary(0x21, 0x41, &[0; 12]), ProxyFault::Unknown),
            (binary(0x21, 0x11, &[0; 11]), ProxyFault::TooShort),
            (binary(0x21, 0x21, &[0; 35]), ProxyFault::TooShort),
            (binary(0x21, 0x31, &[0; 215]), ProxyFault::TooShort),
            (
                binary(0x21, 0x11, &[0; PROXY_HEADER_SIZE_MAX - 15]),
                ProxyFault::TooLong,
            ),
        ] {
            assert_eq!(read(&bytes), Err(fault));
            // Nothing that was declared has to come.
            assert_eq!(read(&bytes[..FIXED_SIZE]), Err(fault));
        }
        let longest = binary(0x21, 0x11, &[0; PROXY_HEADER_SIZE_MAX - 16]);
        assert_eq!(read(&longest[..20]), Ok(None));
        assert!(matches!(
            read(&longest),
            Ok(Some((Some(_), PROXY_HEADER_SIZE_MAX)))
        ));
    }

    #[test]
    fn nobody_else_begins_like_a_proxy() {
        for bytes in [&b"PROXY "[..], b"PROXY TCP4", &SIGNATURE[..5], SIGNATURE] {
            assert!(begins_proxy_header(bytes), "{bytes:?}");
        }
        for bytes in [
            &b""[..],
            b"P",
            b"PROXY",
            b"PROXYING / ",
            b"GET / HTTP/1.1",
            b"\r\n\r\nG",
        ] {
            assert!(!begins_proxy_header(bytes), "{bytes:?}");
        }
    }
}
