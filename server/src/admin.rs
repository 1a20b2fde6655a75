//! The operators' port: health, metrics, topics, and publishing over HTTP.
//!
//! It runs on a thread of its own and talks to the shards only through [`Handle`], so nothing
//! that is asked here can delay a client for longer than a letter takes to read.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, ORIGIN, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use tidegate_engine::{Busy, ConnectionId, Handle, Key, Message, ShardInfo};
use tokio::sync::oneshot;

use crate::config::listing::Listing;
use crate::connections::{self, NoAnswer};
use crate::ending::Ending;
use crate::guard;
use crate::log::Log;
use crate::memory;
use crate::metrics::{self, Metrics};
use crate::names::Name;
use crate::phase::{Phase, PhaseCell};
use crate::reload::Reloader;
use crate::units::show_size;

mod live;
pub(crate) mod pass;

use pass::{Cause, Pass};

/// A reload that has not ended within this is no longer waited for.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// After so many seconds a publication that found the server busy may be tried again.
const BUSY_RETRY: HeaderValue = HeaderValue::from_static("1");

/// Whether all shards have answered, where the body is a list and has no room for it.
const COMPLETE: HeaderName = HeaderName::from_static("tidegate-complete");

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What the admin port knows of the server.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) handle: Handle,
    pub(crate) shards: Vec<ShardInfo>,
    pub(crate) phase: Arc<PhaseCell>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) files_max: u64,
    pub(crate) log: Log,
    /// When the server began.
    pub(crate) started: Instant,
    pub(crate) ending: Ending,
}

struct Service {
    admin: Admin,
    metrics: Metrics,
}

/// Serves the port until the process ends, or the other end of `closed` is dropped.
///
/// # Errors
/// When the system has no thread for it.
pub(crate) fn start(
    listener: TcpListener,
    admin: Admin,
    closed: oneshot::Receiver<()>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = {
        let _inside = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let is_loopback = listener.local_addr()?.ip().is_loopback();
    let pass = Arc::new(Pass::new(Arc::clone(&admin.reloader)));
    let router = router(admin, Arc::clone(&pass));
    let guard = move |request: Request, next: Next| {
        let pass = Arc::clone(&pass);
        async move {
            if let Some((status, line)) = guard::refusal(&request, is_loopback) {
                pass.refuse(Cause::Page, &request);
                return text(status, line);
            }
            match pass.refusal(&request) {
                Some(refused) => refused.answer().await,
                None => next.run(request).await,
            }
        }
    };
    let service = router
        .layer(middleware::from_fn(guard))
        .into_make_service_with_connect_info::<SocketAddr>();
    let body = move || {
        runtime.block_on(async {
            let closing = async {
                // Whoever holds the other end closes the port by dropping it.
                let _ = closed.await;
            };
            axum::serve(listener, service)
                .with_graceful_shutdown(closing)
                .await
        })
    };
    Builder::new()
        .name("tidegate-admin".to_owned())
        .spawn(body)?;
    Ok(())
}

fn router(admin: Admin, pass: Arc<Pass>) -> Router {
    let metrics = Metrics::new(&admin, pass);
    Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/version", get(version))
        .route("/metrics", get(show_metrics))
        .route("/status", get(live::status))
        .route("/topics", get(live::topics))
        .route("/shards", get(live::shards))
        .route("/debug/memory", get(show_memory))
        .route("/connections", get(show_connections))
        .route("/connections/{id}", get(show_connection))
        .route("/closed", get(show_closed))
        .route("/disconnect", post(disconnect))
        .route("/config", get(show_config))
        .route("/reload", post(reload))
        .route("/drain", post(drain))
        .route("/publish/{topic}", post(publish))
        .fallback(async || text(StatusCode::NOT_FOUND, "There is nothing under this path."))
        .method_not_allowed_fallback(async || {
            text(
                StatusCode::METHOD_NOT_ALLOWED,
                "This method is not answered here.",
            )
        })
        .with_state(Arc::new(Service { admin, metrics }))
}

async fn healthy() -> Response {
    text(StatusCode::OK, "ok")
}

async fn ready(State(service): State<Arc<Service>>) -> Response {
    match service.admin.phase.now() {
        Phase::Ready => text(StatusCode::OK, "ready"),
        Phase::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting"),
        Phase::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining"),
    }
}

async fn version() -> Response {
    #[derive(Serialize)]
    struct Version {
        name: &'static str,
        version: &'static str,
    }
    json(&Version {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
    })
}

async fn show_metrics(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let form = metrics::Form::wanted(accept.unwrap_or_default());
    // Files are read, and shards may be asked.
    ask(move || match service.metrics.encode(form) {
        Ok(body) => respond(
            StatusCode::OK,
            HeaderValue::from_static(form.content_type()),
            body,
        ),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The metrics could not be written.",
        ),
    })
    .await
}

async fn show_memory(State(service): State<Arc<Service>>) -> Response {
    // As with the topics.
    let handle = service.admin.handle.clone();
    let asked = tokio::task::spawn_blocking(move || memory::read(&handle)).await;
    match asked {
        Ok(memory) => json(&memory),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The shards could not be asked.",
        ),
    }
}

async fn show_config(State(service): State<Arc<Service>>) -> Response {
    let configuration = service.admin.reloader.live().configuration();
    let mut listing = Listing::of(&configuration);
    // Whoever asks may stand in another folder.
    let path = listing.file.as_deref().map(std::path::absolute);
    if let Some(Ok(path)) = path {
        listing.file = Some(path.display().to_string());
    }
    json(&listing)
}

async fn reload(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    if is_of_a_page(&headers) {
        return text(StatusCode::FORBIDDEN, "Web pages may not reload here.");
    }
    // Another thread reads the files, and may wait for them.
    let Some(answered) = service.admin.reloader.ask() else {
        return text(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too busy: so many reloads wait already.",
        );
    };
    match tokio::time::timeout(RELOAD_TIMEOUT, answered).await {
        Ok(Ok(Ok(reloaded))) if reloaded.lines().is_empty() => {
            text(StatusCode::OK, "nothing has changed")
        }
        Ok(Ok(Ok(reloaded))) => text(StatusCode::OK, &reloaded.lines().join("\n")),
        Ok(Ok(Err(faults))) => {
            let lines: Vec<String> = faults.all.iter().map(ToString::to_string).collect();
            text(StatusCode::UNPROCESSABLE_ENTITY, &lines.join("\n"))
        }
        Ok(Err(_)) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The configuration could not be reloaded.",
        ),
        Err(_) => text(
            StatusCode::SERVICE_UNAVAILABLE,
            "The configuration cannot be read yet; the reload goes on.",
        ),
    }
}

/// The same as TERM.
async fn drain(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    if is_of_a_page(&headers) {
        return text(StatusCode::FORBIDDEN, "Web pages may not end the server.");
    }
    if service.admin.ending.drain() {
        text(StatusCode::ACCEPTED, "draining")
    } else {
        text(StatusCode::ACCEPTED, "The server ends already.")
    }
}

/// A web page that an operator has open may send a POST here unasked, and its browser then says
/// where it comes from. No operator's tool does.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN)
}

async fn show_connections(State(service): State<Arc<Service>>, uri: Uri) -> Response {
    let (query, order) = match connections::read_list(&uri) {
        Ok(query) => query,
        Err(fault) => return text(StatusCode::BAD_REQUEST, fault),
    };
    let handle = service.admin.handle.clone();
    ask(move || match order {
        None => json(&connections::list(&handle, &query)),
        Some(order) => json(&connections::ranked(&handle, &query, order)),
    })
    .await
}

async fn show_connection(State(service): State<Arc<Service>>, Path(id): Path<String>) -> Response {
    let Some(id) = ConnectionId::parse(&id) else {
        return text(StatusCode::BAD_REQUEST, "An id has 16 hexadecimal digits.");
    };
    let handle = service.admin.handle.clone();
    ask(move || match connections::find(&handle, id) {
        Ok(Some(connection)) => json(&connection),
        Ok(None) => text(
            StatusCode::NOT_FOUND,
            "There is no such connection (any more).",
        ),
        Err(NoAnswer) => no_answer("Its shard has not answered in time."),
    })
    .await
}

async fn show_closed(State(service): State<Arc<Service>>, uri: Uri) -> Response {
    let count_max = match connections::read_count(&uri) {
        Ok(count_max) => count_max,
        Err(fault) => return text(StatusCode::BAD_REQUEST, fault),
    };
    let handle = service.admin.handle.clone();
    ask(move || {
        let (ends, complete) = connections::closed(&handle, count_max);
        let complete = HeaderValue::from_static(if complete { "true" } else { "false" });
        ([(COMPLETE, complete)], json(&ends)).into_response()
    })
    .await
}

async fn disconnect(State(service): State<Arc<Service>>, uri: Uri, headers: HeaderMap) -> Response {
    if is_of_a_page(&headers) {
        return text(
            StatusCode::FORBIDDEN,
            "Web pages may not disconnect anybody.",
        );
    }
    let wanted = match connections::read_disconnect(&uri) {
        Ok(wanted) => wanted,
        Err(fault) => return text(StatusCode::BAD_REQUEST, fault),
    };
    let handle = service.admin.handle.clone();
    ask(move || match connections::disconnect(&handle, &wanted) {
        Ok(disconnected) => {
            connections::write_down(&wanted, &disconnected);
            json(&disconnected)
        }
        Err(NoAnswer) => {
            no_answer("Its shard has not answered in time: it may be disconnected later.")
        }
    })
    .await
}

fn no_answer(line: &str) -> Response {
    text(StatusCode::SERVICE_UNAVAILABLE, line)
}

/// Waits for the shards, which must not be on the only thread.
async fn ask(what: impl FnOnce() -> Response + Send + 'static) -> Response {
    tokio::task::spawn_blocking(what).await.unwrap_or_else(|_| {
        text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The shards could not be asked.",
        )
    })
}

async fn publish(State(service): State<Arc<Service>>, mut request: Request) -> Response {
    if is_of_a_page(request.headers()) {
        return text(StatusCode::FORBIDDEN, "Web pages may not publish here.");
    }
    let uri = request.uri().clone();
    // The path is read as on the public port, which is stricter than the router.
    let segment = uri.path().strip_prefix("/publish/").unwrap_or_default();
    let topic = match Name::read_topic(segment) {
        Ok(topic) => topic,
        Err(fault) => return text(StatusCode::BAD_REQUEST, fault.reason()),
    };
    let configuration = service.admin.reloader.live().configuration();
    let size_max = configuration.message_size_max();
    DefaultBodyLimit::max(size_max).apply(&mut request);
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) => body,
        Err(fault) if fault.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let max = show_size(size_max);
            return text(fault.status(), &format!("A message has at most {max}."));
        }
        Err(fault) => return text(fault.status(), "The body could not be read."),
    };
    let message = match (wants_binary(&uri), std::str::from_utf8(&body)) {
        (true, _) => Message::Binary(&body),
        (false, Ok(text)) => Message::Text(text),
        (false, Err(_)) => {
            let advice = "The body is not UTF-8; publish bytes with ?binary.";
            return text(StatusCode::BAD_REQUEST, advice);
        }
    };
    let handle = &service.admin.handle;
    let published = match connections::parameter(&uri, "key") {
        Some(key) => handle.publish_latest(&topic, Key::from(key.as_str()), message),
        None => handle.publish(&topic, message),
    };
    match published {
        Ok(()) => text(StatusCode::ACCEPTED, "accepted"),
        Err(Busy) => {
            let refused = text(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too busy: nothing was published.",
            );
            ([(RETRY_AFTER, BUSY_RETRY)], refused).into_response()
        }
    }
}

fn wants_binary(uri: &Uri) -> bool {
    let parts = uri.query().unwrap_or_default().split('&');
    parts
        .map(|part| part.split('=').next())
        .any(|key| key == Some("binary"))
}

fn text(status: StatusCode, line: &str) -> Response {
    respond(status, TEXT, format!("{line}\n"))
}

fn json<T: Serialize>(value: &T) -> Response {
    match serde_json::to_string(value) {
        Ok(body) => respond(StatusCode::OK, JSON, body + "\n"),
        Err(_) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The answer could not be written.",
        ),
    }
}

fn respond(status: StatusCode, content_type: HeaderValue, body: String) -> Response {
    const NO_SNIFFING: (HeaderName, HeaderValue) =
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    (status, [(CONTENT_TYPE, content_type), NO_SNIFFING], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_asked_for_by_a_bare_key_or_with_a_value() {
        let binary = |uri: &str| wants_binary(&uri.parse().unwrap());
        assert!(binary("/publish/a?binary"));
        assert!(binary("/publish/a?x=1&binary=true"));
        assert!(!binary("/publish/a"));
        assert!(!binary("/publish/a?text=binary"));
        assert!(!binary("/publish/binary?"));
    }
}
