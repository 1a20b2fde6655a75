//! A request that gets no upgrade: status, one clear sentence, and nothing of what the peer wrote.

use std::borrow::Cow;
use std::fmt;

use super::response::Response;

/// Why a request is refused, and the HTTP response that says so.
///
/// Nothing that the peer has sent is ever echoed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// One sentence for a human at the other end; it becomes the body.
    pub reason: Cow<'static, str>,
    cause: &'static str,
    headers: &'static [(&'static str, &'static str)],
    /// When to come back, in seconds; 0 is not said.
    retry_after: u32,
    /// It answers a HEAD request.
    head_only: bool,
}

/// RFC 6455, 4.4 and RFC 7231, 6.5.15: what a 426 must name.
const UPGRADE_HEADERS: &[(&str, &str)] =
    &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];

impl Refusal {
    /// A refusal of the caller's own: `cause` is a short label for metrics, `reason` one sentence.
    #[must_use]
    pub fn new(status: u16, cause: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            reason: reason.into(),
            cause,
            headers: &[],
            retry_after: 0,
            head_only: false,
        }
    }

    /// The same with additional header lines, for instance `Retry-After`.
    #[must_use]
    pub const fn with_headers(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }

    /// The same, and when to come back: so many seconds later, at least 1 (RFC 7231, 7.1.3).
    #[must_use]
    pub const fn with_retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = if seconds == 0 { 1 } else { seconds };
        self
    }

    /// The same as the answer to a request with this method: HEAD gets no body, for its client would
    /// take one for the beginning of the next response (RFC 7230, 3.3).
    #[must_use]
    pub fn answering(mut self, method: &str) -> Self {
        self.head_only = method == "HEAD";
        self
    }

    /// 400: the request is malformed or not one this server takes.
    #[must_use]
    pub fn bad_request(cause: &'static str, reason: &'static str) -> Self {
        Self::new(400, cause, reason)
    }

    /// 403: the origin may not connect (RFC 6455, 4.2.2 and 10.2).
    #[must_use]
    pub fn forbidden(reason: &'static str) -> Self {
        Self::new(403, "forbidden", reason)
    }

    /// 404: there is nothing under this path.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(404, "not_found", "There is nothing under this path.")
    }

    /// 405: only GET upgrades.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let reason = "Only GET is answered here.";
        Self::new(405, "method", reason).with_headers(&[("Allow", "GET")])
    }

    /// 408: the head did not arrive in time.
    #[must_use]
    pub fn timeout() -> Self {
        Self::new(408, "timeout", "The request did not arrive in time.")
    }

    /// 426: the request is not for a WebSocket of version 13 (RFC 6455, 4.4).
    #[must_use]
    pub fn upgrade_required(cause: &'static str, reason: &'static str) -> Self {
        Self::new(426, cause, reason).with_headers(UPGRADE_HEADERS)
    }

    /// 431: the head has more bytes or lines than the limits.
    #[must_use]
    pub fn head_too_large(reason: &'static str) -> Self {
        Self::new(431, "head_too_large", reason)
    }

    /// 503: not now.
    #[must_use]
    pub fn unavailable(reason: &'static str) -> Self {
        Self::new(503, "unavailable", reason)
    }

    /// A short label for metrics.
    #[must_use]
    pub const fn cause(&self) -> &'static str {
        self.cause
    }

    /// The header lines it adds to those of every response.
    #[must_use]
    pub const fn headers(&self) -> &'static [(&'static str, &'static str)] {
        self.headers
    }

    /// Appends the whole response, after which the connection is closed.
    pub fn write(&self, wire: &mut Vec<u8>) {
        let body = format!("{}\n", self.reason);
        let seconds = self.retry_after.to_string();
        let mut headers = self.headers.to_vec();
        if self.retry_after != 0 {
            headers.push(("Retry-After", &seconds));
        }
        let response = Response {
            status: self.status,
            content_type: "text/plain; charset=utf-8",
            headers: &headers,
            body: body.as_bytes(),
        };
        response.write(self.head_only, wire);
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}: {}", self.status, self.cause, self.reason)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(refusal: &Refusal) -> String {
        let mut wire = Vec::new();
        refusal.write(&mut wire);
        String::from_utf8(wire).unwrap()
    }

    #[test]
    fn a_refusal_is_a_whole_response_that_closes() {
        let text = written(&Refusal::not_found());
        let expected = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\
            Content-Length: 34\r\nConnection: close\r\n\r\nThere is nothing under this path.\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_426_names_the_protocol_and_the_version() {
        let text = written(&Refusal::upgrade_required("version", "No."));
        assert!(
            text.starts_with("HTTP/1.1 426 Upgrade Required\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\nUpgrade: websocket\r\n"), "{text}");
        assert!(
            text.contains("\r\nConnection: Upgrade, close\r\n"),
            "{text}"
        );
        assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{text}");
    }

    #[test]
    fn a_405_names_the_method_that_is_allowed() {
        assert!(written(&Refusal::method_not_allowed()).contains("\r\nAllow: GET\r\n"));
    }

    #[test]
    fn the_answer_to_head_tells_the_size_of_a_body_and_has_none() {
        let whole = written(&Refusal::not_found().answering("GET"));
        let head = written(&Refusal::not_found().answering("HEAD"));
        let (start, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(!body.is_empty());
        assert_eq!(head, format!("{start}\r\n\r\n"));
    }

    #[test]
    fn additional_headers_are_written() {
        let refusal = Refusal::unavailable("Full.").with_headers(&[("Retry-After", "5")]);
        assert!(written(&refusal).contains("\r\nRetry-After: 5\r\n"));
        let later = Refusal::unavailable("Full.").with_retry_after(7);
        assert!(written(&later).contains("\r\nRetry-After: 7\r\n"));
        assert_eq!(refusal.cause(), "unavailable");
        assert_eq!(refusal.to_string(), "503 unavailable: Full.");
    }
}
