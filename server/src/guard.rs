//! Keeps web pages from the admin port: a page may have its own name resolve to 127.0.0.1, and its
//! browser then takes what is read here for the page's own.
//!
//! What such a page cannot help is that the browser says in `Host` by which name it came. Nobody
//! but a browser is kept out: a tool on this host comes by an address, or by `localhost`.

use std::net::{IpAddr, Ipv6Addr};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::HOST;

/// What a request is refused with, if it is; on an address of a network, names are for those who
/// keep clients away from it.
pub(crate) fn refusal(request: &Request, is_loopback: bool) -> Option<(StatusCode, &'static str)> {
    let headers = request.headers();
    let mut hosts = headers.get_all(HOST).iter().map(|host| host.to_str());
    if is_loopback && !hosts.all(|host| host.is_ok_and(is_of_this_host)) {
        return Some((
            StatusCode::MISDIRECTED_REQUEST,
            "Ask by an IP address or by localhost: under another name, web pages could read here.",
        ));
    }
    let mut sites = headers.get_all("sec-fetch-site").iter();
    if sites.any(|site| site.as_bytes() == b"cross-site") {
        return Some((
            StatusCode::FORBIDDEN,
            "Web pages from elsewhere may not ask here.",
        ));
    }
    None
}

/// An address or `localhost`, with a port or without; no name at all is that of a probe.
fn is_of_this_host(host: &str) -> bool {
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|b| b.is_ascii_digit()) => bare,
        _ => host,
    };
    let inner = |text: &str| -> Option<String> {
        Some(text.strip_prefix('[')?.strip_suffix(']')?.to_owned())
    };
    bare.is_empty()
        || bare.eq_ignore_ascii_case("localhost")
        || inner(bare).is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
        || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn status(headers: &[(&str, &str)], is_loopback: bool) -> Option<u16> {
        let mut request = Request::builder().uri("/config");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        refusal(&request, is_loopback).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn addresses_and_localhost_are_this_host_and_names_are_not() {
        for host in [
            "127.0.0.1:9090",
            "127.0.0.1",
            "10.0.0.7:1",
            "[::1]:9090",
            "[::1]",
            "localhost",
            "LocalHost:9090",
        ] {
            assert_eq!(status(&[("host", host)], true), None, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9090",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9090",
            "localhost:x",
            "[::1",
            "::1]",
            "[evil.example]:1",
            "localhost@evil.example",
        ] {
            assert_eq!(status(&[("host", host)], true), Some(421), "{host}");
            assert_eq!(status(&[("host", host)], false), None, "{host}");
        }
        assert_eq!(status(&[], true), None);
        let both = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(status(&both, true), Some(421));
    }

    #[test]
    fn pages_from_elsewhere_are_refused() {
        let from = |site| status(&[("host", "127.0.0.1"), ("sec-fetch-site", site)], false);
        assert_eq!(from("cross-site"), Some(403));
        assert_eq!(from("none"), None);
        assert_eq!(from("same-origin"), None);
    }
}
