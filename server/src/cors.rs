//! What pages of other origins may read on the public port by `fetch`: the answers that are no
//! WebSocket, where the endpoint's origins allow it (the Fetch standard, 3.2).
//!
//! Nothing here asks for cookies or other credentials, so none are ever allowed.

use std::borrow::Cow;

use tidegate_engine::{Refusal, Reply, Request};

use crate::origin::OriginPolicy;

/// How long a browser may remember the answer to a preflight, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// Adds to an answer who may read it.
pub(crate) fn let_read(mut reply: Reply, request: &Request<'_>, origins: &OriginPolicy) -> Reply {
    // A cache between must not give the answer for one origin to another.
    reply.headers.push(("Vary", "Origin".to_owned()));
    if let Some(reader) = origins.reader(request.headers_named("Origin")) {
        let header = ("Access-Control-Allow-Origin", reader);
        reply.headers.push(header);
    }
    reply
}

/// The answer to a browser that asks whether a page may ask; `None` if this is no such question.
pub(crate) fn preflight(
    request: &Request<'_>,
    origins: &OriginPolicy,
    methods: &str,
    secure: bool,
) -> Option<Result<Reply, Refusal>> {
    let asks = request.method() == "OPTIONS"
        && request.header("Origin").is_some()
        && request.header("Access-Control-Request-Method").is_some();
    if !asks {
        return None;
    }
    if let Err(fault) = origins.check(request.headers_named("Origin"), request.host(), secure) {
        return Some(Err(Refusal::new(403, "origin", fault.reason())));
    }
    let reply = Reply {
        status: 204,
        content_type: "text/plain",
        headers: vec![
            ("Access-Control-Allow-Methods", methods.to_owned()),
            ("Access-Control-Max-Age", PREFLIGHT_SECONDS.to_owned()),
        ],
        body: Cow::Borrowed(b""),
    };
    Some(Ok(let_read(reply, request, origins)))
}
