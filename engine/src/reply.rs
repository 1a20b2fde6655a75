//! What the public port answers to requests that are no WebSocket.

use std::borrow::Cow;

/// An ordinary HTTP answer. The engine adds `Content-Length` and `Connection: close`, and
/// leaves the body out for `HEAD`.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Cow<'static, [u8]>,
}
