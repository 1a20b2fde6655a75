//! The page: a small chat, to try the server with a browser.

use std::borrow::Cow;

use tidegate_engine::Reply;

/// The page: one file, which loads nothing else.
const PAGE: &str = include_str!("../page.html");

/// What the page may do: run its own script, and open WebSockets.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
     script-src 'unsafe-inline'; connect-src 'self' ws: wss:; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The answer to whoever asks for it.
pub(super) fn page(method: &str) -> Reply {
    if !matches!(method, "GET" | "HEAD") {
        return Reply {
            status: 405,
            content_type: "text/plain; charset=utf-8",
            headers: vec![("Allow", "GET, HEAD".to_owned())],
            body: Cow::Borrowed(b"This page can only be read.\n"),
        };
    }
    Reply {
        status: 200,
        content_type: "text/html; charset=utf-8",
        headers: [
            ("Content-Security-Policy", PAGE_POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-cache"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into(),
        body: Cow::Borrowed(PAGE.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_read_only_and_loads_nothing_from_elsewhere() {
        assert_eq!(page("GET").status, 200);
        assert_eq!(page("HEAD").status, 200);
        assert_eq!(page("POST").status, 405);
        assert!(
            page("POST")
                .headers
                .contains(&("Allow", "GET, HEAD".to_owned()))
        );
        for outside in [
            "src=\"http",
            "href=\"http",
            "@import",
            "url(http",
            "innerHTML",
            "eval(",
        ] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
    }
}
