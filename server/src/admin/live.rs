//! What changes all the time, for those who look on: the numbers of the shards, the topics, and all of
//! it at once for `tidegate top`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use tidegate_engine::{ShardInfo, Snapshot};

use super::{Service, ask, json, text};
use crate::connections;
use crate::status::Status;

/// A shard that has not said within this which topics it has is left out.
const TOPICS_TIMEOUT: Duration = Duration::from_secs(2);

/// All topics by name, or with `?count=` those that most hear.
pub(super) async fn topics(State(service): State<Arc<Service>>, uri: Uri) -> Response {
    #[derive(Serialize)]
    struct Topic {
        name: String,
        subscribers: usize,
    }
    let count_max = match connections::read_topics(&uri) {
        Ok(count_max) => count_max,
        Err(fault) => return text(StatusCode::BAD_REQUEST, fault),
    };
    let handle = service.admin.handle.clone();
    ask(move || {
        let mut counts = handle.topics(TOPICS_TIMEOUT);
        if let Some(count_max) = count_max {
            counts.sort_by_key(|count| std::cmp::Reverse(count.subscribers));
            counts.truncate(count_max);
        }
        let topics = counts.into_iter().map(|count| {
            let (name, subscribers) = (count.name, count.subscribers);
            Topic { name, subscribers }
        });
        json(&topics.collect::<Vec<_>>())
    })
    .await
}

/// Everything that is cheap to know.
pub(super) async fn status(State(service): State<Arc<Service>>) -> Response {
    // Files of the system are read.
    ask(move || json(&Status::of(&service.admin))).await
}

pub(super) async fn shards(State(service): State<Arc<Service>>) -> Response {
    let counters = service.admin.handle.counters();
    let shards = service.admin.shards.iter().zip(&counters);
    json(
        &shards
            .map(|(info, counted)| Shard::new(*info, counted))
            .collect::<Vec<_>>(),
    )
}

/// One element of `/shards`.
#[derive(Serialize)]
struct Shard {
    shard: usize,
    core: Option<usize>,
    pinned: bool,
    connections: u64,
    sessions: u64,
    topics: u64,
    accepted: u64,
    opens: u64,
    closes: u64,
    refusals: u64,
    requests: u64,
    messages_in: u64,
    messages_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    publications: u64,
    mail_sent: u64,
    mail_refused: u64,
    accept_failures: u64,
    turns: u64,
}

impl Shard {
    fn new(info: ShardInfo, counted: &Snapshot) -> Self {
        Self {
            shard: info.index,
            core: info.core,
            pinned: info.pinned,
            connections: counted.connections,
            sessions: counted.sessions,
            topics: counted.topics,
            accepted: counted.accepted,
            opens: counted.opens,
            closes: counted.closes().map(|(_, count)| count).sum(),
            refusals: counted.refusals().map(|(_, count)| count).sum(),
            requests: counted.requests,
            messages_in: counted.messages_in,
            messages_out: counted.messages_out,
            bytes_in: counted.bytes_in,
            bytes_out: counted.bytes_out,
            publications: counted.publications,
            mail_sent: counted.mail_sent,
            mail_refused: counted.mail_refused,
            accept_failures: counted.accept_failures,
            turns: counted.turns,
        }
    }
}
