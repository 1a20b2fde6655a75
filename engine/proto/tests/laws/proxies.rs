//! PROXY headers: judged by their bytes alone, and never by what was only declared.

use std::net::SocketAddr;

use tidegate_proto::{
    PROXY_HEADER_SIZE_MAX, PROXY_LINE_SIZE_MAX, ProxyFault, ProxyStatus, ProxyVersion,
    read_proxy_header,
};

/// However much of a header has come: what is refused is refused for the same fault, what is complete stays
/// complete, and nothing is either before its bytes show it. So every split of it gives the same.
pub(crate) fn a_proxy_header_is_judged_by_its_bytes_alone(bytes: &[u8]) {
    let whole = read_proxy_header(bytes);
    for size in 0..bytes.len().min(PROXY_HEADER_SIZE_MAX + 1) {
        let early = read_proxy_header(&bytes[..size]);
        let same = match (early, whole) {
            (Ok(ProxyStatus::Partial), Ok(ProxyStatus::Complete { size: end, .. })) => size < end,
            (Ok(ProxyStatus::Partial), _) => true,
            (early, whole) => early == whole,
        };
        assert!(same, "{early:?} after {size}, then {whole:?}");
    }
    match whole {
        Ok(ProxyStatus::Partial) => assert!(bytes.len() < PROXY_HEADER_SIZE_MAX),
        Ok(ProxyStatus::Complete { header, size }) => {
            assert!(size <= bytes.len());
            match header.version {
                ProxyVersion::One => {
                    let line = std::str::from_utf8(&bytes[..size]).unwrap_or_default();
                    assert!(size <= PROXY_LINE_SIZE_MAX);
                    assert!(header.source.is_none() || rewritten(line, header.source));
                }
                ProxyVersion::Two => assert!((16..=PROXY_HEADER_SIZE_MAX).contains(&size)),
            }
        }
        Err(ProxyFault::Missing) => assert!(!bytes.starts_with(b"PROXY ")),
        Err(_) => {}
    }
}

/// Says a line no more and no less than its words?
fn rewritten(line: &str, source: Option<SocketAddr>) -> bool {
    let words: Vec<&str> = line.trim_end_matches("\r\n").split(' ').collect();
    let port = source.map(|source| source.port().to_string());
    let family = source.map(|source| if source.is_ipv4() { "TCP4" } else { "TCP6" });
    words.len() == 6 && words.get(4).copied() == port.as_deref() && words.get(1).copied() == family
}

/// A line of version 1, a header of version 2, and bytes of either that were changed: `flags bytes...`.
pub(crate) fn header(flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = match flags % 6 {
        0 => b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n".to_vec(),
        1 => b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n".to_vec(),
        2 => b"PROXY UNKNOWN some words\r\n".to_vec(),
        number => {
            let family = [0x11, 0x21, 0x31][usize::from(number - 3)];
            let size = [12, 36, 216][usize::from(number - 3)];
            let length = u16::try_from(size + rest.len()).unwrap_or(u16::MAX);
            let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
            bytes.push(family);
            bytes.extend(length.to_be_bytes());
            bytes.extend((0..size).map(|at| u8::try_from(at % 251).unwrap_or_default()));
            bytes
        }
    };
    // What follows is no part of a line, and TLVs of a header.
    bytes.extend(rest);
    if flags & 0x80 != 0 && !bytes.is_empty() {
        let at = usize::from(flags) * 7 % bytes.len();
        bytes[at] ^= 1 << (flags % 8);
    }
    bytes
}
