//! Who may ask at the admin port: those with a token, if there is one.
//!
//! ```text
//!  request ─▶ /healthz, /readyz ───────────────────────▶ answered
//!          ─▶ no tokens are configured ────────────────▶ answered
//!          ─▶ Authorization: Bearer, a good one ───────▶ answered
//!          ─▶ none ────────────────────────────────────▶ 401
//!          ─▶ a wrong one ─▶ after a moment ───────────▶ 401
//!                         └▶ many wait already ────────▶ 429
//! ```
//!
//! A good token is never made to wait, whatever others try.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request};
use axum::http::header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::text;
use crate::log::sampler::Sampler;
use crate::reload::Reloader;

/// So long whoever guesses waits for each answer.
const WRONG_DELAY: Duration = Duration::from_millis(250);

/// So many wrong guesses wait at a time; further ones are refused at once.
const WRONG_WAITING_MAX: usize = 64;

/// What is answered without a token: load balancers have none.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// Why requests of operators are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    TokenMissing,
    TokenWrong,
    /// As wrong, while many others are.
    TooManyWrong,
    /// See [`crate::guard`].
    Page,
}

impl Cause {
    pub(crate) const ALL: [(Self, &'static str); 4] = [
        (Self::TokenMissing, "token_missing"),
        (Self::TokenWrong, "token_wrong"),
        (Self::TooManyWrong, "too_many_wrong"),
        (Self::Page, "page"),
    ];

    fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Looks at tokens.
#[derive(Debug)]
pub(crate) struct Pass {
    reloader: Arc<Reloader>,
    /// By [`Cause::ALL`].
    refused: [AtomicU64; Cause::ALL.len()],
    waiting: AtomicUsize,
    sampler: Mutex<Sampler>,
}

impl Pass {
    pub(crate) fn new(reloader: Arc<Reloader>) -> Self {
        Self {
            reloader,
            refused: Default::default(),
            waiting: AtomicUsize::new(0),
            sampler: Mutex::default(),
        }
    }

    /// How many requests were refused, by cause.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self
            .refused
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        Cause::ALL.iter().map(|(_, name)| *name).zip(counts)
    }

    /// Counts a refusal, and writes down some of them.
    pub(crate) fn refuse(&self, cause: Cause, request: &Request) {
        self.refused[cause as usize].fetch_add(1, Ordering::Relaxed);
        let now = now();
        let (unwritten, is_written) = {
            let mut sampler = self.sampler.lock().unwrap_or_else(PoisonError::into_inner);
            (sampler.unwritten(now), sampler.admits(cause.name(), now))
        };
        for (reason, lines) in unwritten {
            tracing::warn!(target: "admin", reason, lines, "further lines of this kind were left out");
        }
        if is_written {
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
            let remote_addr = peer.map(|peer| peer.0.to_string()).unwrap_or_default();
            let (method, path) = (request.method().as_str(), request.uri().path());
            let reason = cause.name();
            tracing::warn!(target: "admin", remote_addr, reason, method, path, "an operator's request was refused");
        }
    }

    /// What the request is refused with, if it is.
    pub(crate) fn refusal(self: &Arc<Self>, request: &Request) -> Option<Refused> {
        let path = request.uri().path();
        let configuration = self.reloader.live().configuration();
        let tokens = configuration.admin_tokens.as_ref()?;
        let is_open = OPEN_PATHS.contains(&path)
            || (path == "/metrics" && configuration.values.switch("admin.metrics-open"));
        if is_open {
            return None;
        }
        let Some(given) = bearer(request) else {
            self.refuse(Cause::TokenMissing, request);
            let challenge = "Bearer realm=\"tidegate\"";
            let refused = unauthorized(challenge, "This takes a token: Authorization: Bearer.");
            return Some(Refused::at_once(refused));
        };
        if tokens.admit(given) {
            return None;
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WRONG_WAITING_MAX {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.refuse(Cause::TooManyWrong, request);
            let refused = text(StatusCode::TOO_MANY_REQUESTS, "Too many wrong tokens.");
            let refused = ([(RETRY_AFTER, HeaderValue::from_static("1"))], refused);
            return Some(Refused::at_once(refused.into_response()));
        }
        self.refuse(Cause::TokenWrong, request);
        let challenge = "Bearer realm=\"tidegate\", error=\"invalid_token\"";
        Some(Refused {
            response: unauthorized(challenge, "This token is not known here."),
            waits: Some(Waits(Arc::clone(self))),
        })
    }
}

/// A request that is refused.
pub(crate) struct Refused {
    response: Response,
    /// Whether that takes a moment.
    waits: Option<Waits>,
}

impl Refused {
    fn at_once(response: Response) -> Self {
        let waits = None;
        Self { response, waits }
    }

    /// The answer, when it is due.
    pub(crate) async fn answer(self) -> Response {
        if let Some(waits) = self.waits {
            tokio::time::sleep(WRONG_DELAY).await;
            drop(waits);
        }
        self.response
    }
}

/// One who waits, even one who goes meanwhile.
struct Waits(Arc<Pass>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

fn unauthorized(challenge: &'static str, line: &str) -> Response {
    let challenge = HeaderValue::from_static(challenge);
    let refused = text(StatusCode::UNAUTHORIZED, line);
    ([(WWW_AUTHENTICATE, challenge)], refused).into_response()
}

/// RFC 9110, 11.1: the name of the scheme is compared in any case. With two such headers it is not
/// known which one is meant.
fn bearer(request: &Request) -> Option<&[u8]> {
    let mut headers = request.headers().get_all(AUTHORIZATION).iter();
    let (only, more) = (headers.next()?, headers.next());
    let (scheme, token) = only.as_bytes().split_first_chunk::<7>()?;
    (more.is_none() && scheme.eq_ignore_ascii_case(b"Bearer ")).then(|| token.trim_ascii())
}

#[expect(
    clippy::disallowed_methods,
    reason = "how often a line is written; who is admitted does not depend on it"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_token_is_taken_from_one_header_of_the_right_scheme() {
        let given = |headers: &[&str]| {
            let mut request = Request::builder();
            for header in headers {
                request = request.header("authorization", *header);
            }
            let request = request.body(Body::empty()).unwrap();
            bearer(&request).map(|token| String::from_utf8_lossy(token).into_owned())
        };
        assert_eq!(given(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(given(&["bEARER  abc "]).as_deref(), Some("abc"));
        assert_eq!(given(&["Bearer "]).as_deref(), Some(""));
        for headers in [
            &[] as &[&str],
            &["Basic abc"],
            &["Bearer"],
            &["abc"],
            &["Bearer a", "Bearer a"],
        ] {
            assert_eq!(given(headers), None, "{headers:?}");
        }
    }

    #[test]
    fn each_cause_stands_at_its_own_place() {
        for (index, (cause, _)) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index);
        }
    }
}
