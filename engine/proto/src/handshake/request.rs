//! The head of an HTTP/1.1 request, read strictly and refused as early as it can be known.

use httparse::{EMPTY_HEADER, Status};

use super::head::{Head, Only, bare_line_feed};
use super::list::is_token_byte;
use super::refusal::Refusal;
use crate::limits::{HEADER_COUNT_CEILING, HeadLimits};
use crate::proxy::begins_proxy_header;

/// The longest method, in bytes. No registered one is longer than 17.
const METHOD_SIZE_MAX: usize = 24;

/// The head of a request. Borrows every text from the bytes it was read from.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    method: &'a str,
    target: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    host: &'a str,
    head: Head<'a>,
}

/// What [`read_request`] found.
#[derive(Debug, Clone)]
#[expect(
    clippy::large_enum_variant,
    reason = "one lives on the stack for a moment; a box would be an allocation per handshake"
)]
pub enum HeadStatus<'a> {
    /// The head is not complete and nothing is wrong with it so far.
    Partial,
    /// The head is complete.
    Complete {
        /// The request.
        request: Request<'a>,
        /// How many bytes the head took, the empty line included.
        size: usize,
    },
}

/// Where a request says it comes from (RFC 6454, 7; RFC 6455, 10.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// No Origin line: not a browser.
    Absent,
    /// One origin, as it was written.
    One(&'a str),
    /// More than one, or one that is not text: nobody to trust.
    Many,
}

/// Reads the head of a request from the front of `bytes`.
///
/// It holds no state: while it is partial, call it again with all the bytes that there are by then.
///
/// # Errors
/// A [`Refusal`] as soon as the bytes that are there prove it: 431 for more bytes or header lines than
/// the limits, 400 for whatever is not a plain HTTP/1.1 head (RFC 7230, 3). Strict where leniency would
/// let two parsers see two requests: folded or bare line ends, white space before a colon, NUL, Host not
/// exactly once, Content-Length twice or beside Transfer-Encoding.
pub fn read_request<'a>(bytes: &'a [u8], limits: &HeadLimits) -> Result<HeadStatus<'a>, Refusal> {
    read_head(bytes, limits).map_err(|refusal| {
        // What is wrong may stand behind the method, whose answer has no body all the same.
        let method = if bytes.starts_with(b"HEAD ") {
            "HEAD"
        } else {
            ""
        };
        refusal.answering(method)
    })
}

fn read_head<'a>(bytes: &'a [u8], limits: &HeadLimits) -> Result<HeadStatus<'a>, Refusal> {
    let window = &bytes[..bytes.len().min(limits.size())];
    check_start(window)?;
    // Nothing behind a bare line feed is looked at: a head is refused for the first of its faults, however
    // much of it has come.
    let bare = bare_line_feed(window);
    let window = &window[..bare.map_or(window.len(), |index| index + 1)];
    let mut headers = [EMPTY_HEADER; HEADER_COUNT_CEILING];
    let mut parsed = httparse::Request::new(&mut headers[..limits.header_count()]);
    let status = parsed.parse(window);
    // RFC 6455, 4.2.1: HTTP/1.1 or higher. It stands before all header lines, which may have faults too.
    if parsed.version == Some(0) {
        return Err(refuse_malformed(httparse::Error::Version));
    }
    let status = status.map_err(refuse_malformed)?;
    let size = match status {
        Status::Complete(size) => size,
        Status::Partial => window.len(),
    };
    if bare.is_some_and(|index| index < size) {
        return Err(refuse_malformed(httparse::Error::NewLine));
    }
    let target = parsed.path.unwrap_or_default();
    if status.is_partial() {
        if window.len() >= limits.size() {
            let reason = "The head of the request has more bytes than this server takes.";
            return Err(Refusal::head_too_large(reason));
        }
        return Ok(HeadStatus::Partial);
    }
    let method = parsed.method.unwrap_or_default();
    let head = Head::new(window, parsed.headers);
    let request = Request::new(method, target, head)?;
    Ok(HeadStatus::Complete { request, size })
}

/// Refuses what cannot become a request from its first bytes.
fn check_start(bytes: &[u8]) -> Result<(), Refusal> {
    let malformed = |cause, reason| Err(Refusal::bad_request(cause, reason));
    match bytes.first() {
        None => return Ok(()),
        Some(0x16) => return malformed("tls", "This port speaks plain HTTP, not TLS."),
        Some(_) => {}
    }
    if bytes.starts_with(b"PRI ") {
        return malformed("http2", "This port speaks HTTP/1.1, not HTTP/2.");
    }
    if begins_proxy_header(bytes) {
        let reason = "A PROXY header is taken from trusted proxies only.";
        return malformed("proxy_header", reason);
    }
    let end = bytes.iter().position(|byte| !is_token_byte(*byte));
    match end {
        Some(1..=METHOD_SIZE_MAX) if bytes[end.unwrap_or_default()] == b' ' => Ok(()),
        None if bytes.len() <= METHOD_SIZE_MAX => Ok(()),
        _ => malformed("malformed", "The request does not start with a method."),
    }
}

fn refuse_malformed(error: httparse::Error) -> Refusal {
    use httparse::Error;
    let reason = match error {
        Error::TooManyHeaders => {
            let reason = "The request has more header lines than this server takes.";
            return Refusal::head_too_large(reason);
        }
        Error::HeaderName => "The name of a header line is malformed.",
        Error::HeaderValue => "The value of a header line is malformed.",
        Error::NewLine => "A line does not end in CR LF.",
        Error::Token => "The request line is malformed.",
        Error::Version => {
            return Refusal::bad_request("http_version", "Only HTTP/1.1 is spoken here.");
        }
        Error::Status => "The head is malformed.",
    };
    Refusal::bad_request("malformed", reason)
}

impl<'a> Request<'a> {
    fn new(method: &'a str, target: &'a str, head: Head<'a>) -> Result<Self, Refusal> {
        let (path, query) = split_target(method, target).ok_or_else(|| {
            Refusal::bad_request("target", "The target of the request is malformed.")
        })?;
        check_body_headers(&head)?;
        Ok(Self {
            method,
            target,
            path,
            query,
            host: read_host(&head)?,
            head,
        })
    }

    /// The method as it was written; methods know case (RFC 7230, 3.1.1).
    #[must_use]
    pub const fn method(&self) -> &'a str {
        self.method
    }

    /// The target as it was written: a path with its query, or an absolute URI.
    #[must_use]
    pub const fn target(&self) -> &'a str {
        self.target
    }

    /// The path: what comes before `?`, without scheme and host, percent signs left as they are.
    #[must_use]
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// What comes after the first `?`, if there is one.
    #[must_use]
    pub const fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// The Host line, which stands exactly once (RFC 7230, 5.4).
    #[must_use]
    pub const fn host(&self) -> &'a str {
        self.host
    }

    /// The 1 of HTTP/1.1; no other version gets this far.
    #[must_use]
    pub const fn version_minor(&self) -> u8 {
        1
    }

    /// The value of the first header line with this name, without the white space around it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.head.named(name).next()
    }

    /// The same as text; `None` also when it is not UTF-8.
    #[must_use]
    pub fn header_str(&self, name: &str) -> Option<&'a str> {
        self.header(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The values of all header lines with this name, in their order.
    pub fn headers_named<'h>(
        &'h self,
        name: &'h str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'h, 'a> {
        self.head.named(name)
    }

    /// All header lines in their order, name and value.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'_, 'a> {
        self.head.iter()
    }

    /// Where the request says it comes from.
    #[must_use]
    pub fn origin(&self) -> Origin<'a> {
        match self.head.only("Origin") {
            Only::Absent => Origin::Absent,
            Only::One(value) => std::str::from_utf8(value).map_or(Origin::Many, Origin::One),
            Only::Many => Origin::Many,
        }
    }

    /// Whether a body follows: a Content-Length over 0, or a Transfer-Encoding.
    ///
    /// Nothing in this crate reads one; whoever gets such a request answers it and closes.
    #[must_use]
    pub fn has_body(&self) -> bool {
        let length = self.header("Content-Length").unwrap_or_default();
        self.header("Transfer-Encoding").is_some() || length.iter().any(|digit| *digit != b'0')
    }

    pub(crate) const fn head(&self) -> &Head<'a> {
        &self.head
    }
}

/// The path and query of a target (RFC 7230, 5.3); `None` when it is malformed.
fn split_target<'a>(method: &str, target: &'a str) -> Option<(&'a str, Option<&'a str>)> {
    // RFC 6455, 3: fragments must not be used; `#` is not part of a target anyway.
    let valid = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if !target.bytes().all(valid) {
        return None;
    }
    // Neither asks for a page or an upgrade: they are let through to be told so.
    if method == "CONNECT" || (method == "OPTIONS" && target == "*") {
        return Some((target, None));
    }
    let origin_form = if target.starts_with('/') {
        target
    } else {
        strip_authority(target)?
    };
    Some(match origin_form.split_once('?') {
        // RFC 6455, 3: an empty path means "/".
        Some(("", query)) => ("/", Some(query)),
        Some((path, query)) => (path, Some(query)),
        None if origin_form.is_empty() => ("/", None),
        None => (origin_form, None),
    })
}

/// What follows scheme and authority of an absolute URI.
fn strip_authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let known = ["http", "https", "ws", "wss"];
    let known = known.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    (known && end > 0).then(|| &rest[end..])
}

/// RFC 7230, 5.4: a request without Host, with more than one, or with a malformed one gets a 400.
fn read_host<'a>(head: &Head<'a>) -> Result<&'a str, Refusal> {
    let valid = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(byte);
    let reason = match head.only("Host") {
        Only::Absent => "The request has no Host line.",
        Only::Many => "The request has more than one Host line.",
        Only::One(value) => match std::str::from_utf8(value) {
            Ok(host) if !host.is_empty() && value.iter().all(valid) => return Ok(host),
            _ => "The Host line is malformed.",
        },
    };
    Err(Refusal::bad_request("host", reason))
}

/// RFC 7230, 3.3.3: whoever is unsure where a request ends must not guess.
fn check_body_headers(head: &Head<'_>) -> Result<(), Refusal> {
    let encoded = head.only("Transfer-Encoding") != Only::Absent;
    let reason = match head.only("Content-Length") {
        Only::Absent => return Ok(()),
        Only::Many => "The request has more than one Content-Length.",
        Only::One(_) if encoded => "The request has a Content-Length and a Transfer-Encoding.",
        Only::One(value) if value.is_empty() || !value.iter().all(u8::is_ascii_digit) => {
            "The Content-Length is not a number."
        }
        Only::One(_) => return Ok(()),
    };
    Err(Refusal::bad_request("body", reason))
}
