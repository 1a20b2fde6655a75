//! An ordinary HTTP response, for pages and refusals: one response, then the connection closes.

use std::io::Write;

use super::head::write_header;

/// A whole response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The Content-Type.
    pub content_type: &'a str,
    /// Header lines beside Content-Type, Content-Length and Connection.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

impl Response<'_> {
    /// Appends the response, for a HEAD request without its body.
    ///
    /// # Panics
    /// When a header name is not a token or a value holds CR, LF or NUL.
    pub fn write(&self, head_only: bool, wire: &mut Vec<u8>) {
        write_status_line(self.status, wire);
        // RFC 7230, 3.3.2: a 204 has no Content-Length.
        if self.status != 204 {
            write_header("Content-Type", self.content_type, wire);
            write_number("Content-Length", self.body.len(), wire);
        }
        // RFC 7230, 6.7: a response with an Upgrade header names it in Connection too.
        let is_upgrade = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("Upgrade");
        let upgrade = self.headers.iter().any(is_upgrade);
        write_header(
            "Connection",
            if upgrade { "Upgrade, close" } else { "close" },
            wire,
        );
        for (name, value) in self.headers {
            write_header(name, value, wire);
        }
        wire.extend_from_slice(b"\r\n");
        if !head_only {
            wire.extend_from_slice(self.body);
        }
    }
}

/// Appends `HTTP/1.1`, the status and its phrase.
pub(crate) fn write_status_line(status: u16, wire: &mut Vec<u8>) {
    let written = write!(wire, "HTTP/1.1 {status} {}\r\n", phrase(status));
    written.expect("a Vec takes every write");
}

fn write_number(name: &str, value: usize, wire: &mut Vec<u8>) {
    write!(wire, "{name}: {value}\r\n").expect("a Vec takes every write");
}

/// The phrase beside a status; clients read only the number (RFC 7230, 3.1.2).
const fn phrase(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Response",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Response<'_> = Response {
        status: 200,
        content_type: "text/plain",
        headers: &[("Cache-Control", "no-store")],
        body: b"ok",
    };

    #[test]
    fn a_page_carries_its_headers_and_body() {
        let mut wire = Vec::new();
        PAGE.write(false, &mut wire);
        let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\
            Connection: close\r\nCache-Control: no-store\r\n\r\nok";
        assert_eq!(std::str::from_utf8(&wire).unwrap(), expected);
    }

    #[test]
    fn a_204_has_neither_a_body_nor_a_length() {
        let mut wire = Vec::new();
        Response {
            status: 204,
            body: b"",
            ..PAGE
        }
        .write(false, &mut wire);
        let expected =
            "HTTP/1.1 204 No Content\r\nConnection: close\r\nCache-Control: no-store\r\n\r\n";
        assert_eq!(std::str::from_utf8(&wire).unwrap(), expected);
    }

    #[test]
    fn a_head_only_response_tells_the_size_and_leaves_the_body_out() {
        let mut wire = Vec::new();
        PAGE.write(true, &mut wire);
        let text = std::str::from_utf8(&wire).unwrap();
        assert!(text.contains("Content-Length: 2\r\n"));
        assert!(text.ends_with("\r\n\r\n"));
    }
}
