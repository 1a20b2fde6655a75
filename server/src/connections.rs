//! Who is connected, how the last ones ended, and disconnecting somebody: what the admin port asks
//! the shards, and how it is written.

use std::net::IpAddr;
use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;
use serde::Serialize;
use tidegate_engine::{
    Answered, CloseCode, Closed, ConnectionFilter, ConnectionId, ConnectionInfo, Handle, Order,
};

/// Shards that have not answered within this are left out, and that is said.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);

/// How many are shown unless `?count=` says otherwise.
const LIST_COUNT: usize = 100;

/// How many are shown at most.
const LIST_COUNT_MAX: usize = 10_000;

/// Which connections to show.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct List {
    filter: ConnectionFilter,
    count_max: usize,
}

/// Whom to disconnect, and what to tell them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Disconnect {
    who: Who,
    code: CloseCode,
    reason: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Who {
    One(ConnectionId),
    Topic(String),
    User(String),
}

/// A page of connections.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    connections: Vec<Connection>,
    /// What to ask for as `?after=` to see more; `null` at the end.
    next: Option<String>,
    /// Whether all shards have answered.
    complete: bool,
}

/// One connection.
#[derive(Debug, Serialize)]
pub(crate) struct Connection {
    id: String,
    peer: String,
    endpoint: String,
    user: Option<String>,
    phase: &'static str,
    age_seconds: f64,
    quiet_seconds: f64,
    round_trip_seconds: Option<f64>,
    pings_missed: u8,
    messages_received: u32,
    messages_sent: u32,
    messages_per_second: f64,
    bytes_received: Option<u64>,
    bytes_acknowledged: Option<u64>,
    outbox_bytes: usize,
    dropped_messages: u32,
    topics: usize,
    paused: bool,
}

/// How one ended.
#[derive(Debug, Serialize)]
pub(crate) struct Ended {
    id: String,
    peer: String,
    seconds_ago: f64,
    side: &'static str,
    phase: &'static str,
    reason: &'static str,
    code: Option<u16>,
    errno: Option<i32>,
    age_seconds: f64,
    round_trip_seconds: Option<f64>,
    messages_received: u32,
    messages_sent: u32,
    bytes_received: Option<u64>,
    bytes_acknowledged: Option<u64>,
    outbox_bytes: usize,
    dropped_messages: u32,
    user: Option<String>,
}

/// How many were told to go.
#[derive(Debug, Serialize)]
pub(crate) struct Disconnected {
    disconnected: usize,
    /// Whether all shards have answered; the others may still do it.
    complete: bool,
}

/// The one shard that could tell has not answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoAnswer;

impl From<ConnectionInfo> for Connection {
    fn from(info: ConnectionInfo) -> Self {
        Self {
            id: info.id.to_string(),
            peer: info.peer.to_string(),
            endpoint: info.label,
            user: info.user.map(|user| user.to_string()),
            phase: info.phase.name(),
            age_seconds: info.age.as_secs_f64(),
            quiet_seconds: info.quiet.as_secs_f64(),
            round_trip_seconds: info.round_trip.map(|span| span.as_secs_f64()),
            pings_missed: info.pings_missed,
            messages_received: info.messages_received,
            messages_sent: info.messages_sent,
            messages_per_second: per_second(info.message_rate),
            bytes_received: info.traffic.map(|traffic| traffic.received),
            bytes_acknowledged: info.traffic.map(|traffic| traffic.acknowledged),
            outbox_bytes: info.outbox_bytes,
            dropped_messages: info.dropped,
            topics: info.subscription_count,
            paused: info.is_paused,
        }
    }
}

impl From<Closed> for Ended {
    fn from(closed: Closed) -> Self {
        Self {
            id: closed.id.to_string(),
            peer: closed.peer.to_string(),
            seconds_ago: closed.at.elapsed().as_secs_f64(),
            side: closed.side.name(),
            phase: closed.phase.name(),
            reason: closed.reason,
            code: closed.code.map(CloseCode::value),
            errno: closed.errno,
            age_seconds: closed.age.as_secs_f64(),
            round_trip_seconds: closed.round_trip.map(|span| span.as_secs_f64()),
            messages_received: closed.messages_received,
            messages_sent: closed.messages_sent,
            bytes_received: closed.traffic.map(|traffic| traffic.received),
            bytes_acknowledged: closed.traffic.map(|traffic| traffic.acknowledged),
            outbox_bytes: closed.outbox_bytes,
            dropped_messages: closed.dropped,
            user: closed.user.map(|user| user.to_string()),
        }
    }
}

/// From a number in 1,000 seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is shown to three digits"
)]
fn per_second(rate: u64) -> f64 {
    rate as f64 / 1000.0
}

/// Reads `?topic=&endpoint=&user=&address=&after=&count=&sort=`.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub(crate) fn read_list(uri: &Uri) -> Result<(List, Option<Order>), &'static str> {
    const KNOWN: [&str; 7] = [
        "topic", "endpoint", "user", "address", "after", "count", "sort",
    ];
    known(uri, &KNOWN)?;
    let order = match parameter(uri, "sort").as_deref() {
        None => None,
        Some("outbox") => Some(Order::Outbox),
        Some("dropped") => Some(Order::Dropped),
        Some("round-trip") => Some(Order::RoundTrip),
        Some("rate") => Some(Order::Rate),
        Some(_) => return Err("?sort= takes outbox, dropped, round-trip or rate."),
    };
    let address = match parameter(uri, "address") {
        None => None,
        Some(text) => Some(
            text.parse::<IpAddr>()
                .map_err(|_| "?address= takes an IP address.")?,
        ),
    };
    let after = match parameter(uri, "after") {
        None => None,
        Some(text) => Some(read_id(&text)?),
    };
    if order.is_some() && after.is_some() {
        return Err("?sort= shows the first ones, and none after them.");
    }
    let list = List {
        filter: ConnectionFilter {
            id: None,
            topic: parameter(uri, "topic"),
            label: parameter(uri, "endpoint"),
            user: parameter(uri, "user"),
            address,
            after,
        },
        count_max: count(uri)?,
    };
    Ok((list, order))
}

/// Reads `?count=` where there may be none, for all.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub(crate) fn read_topics(uri: &Uri) -> Result<Option<usize>, &'static str> {
    known(uri, &["count"])?;
    let has_count = parameter(uri, "count").is_some();
    count(uri).map(|count| has_count.then_some(count))
}

/// Reads `?count=`.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub(crate) fn read_count(uri: &Uri) -> Result<usize, &'static str> {
    known(uri, &["count"])?;
    count(uri)
}

fn count(uri: &Uri) -> Result<usize, &'static str> {
    let Some(text) = parameter(uri, "count") else {
        return Ok(LIST_COUNT);
    };
    let count = text.parse().ok();
    let count = count.filter(|count| (1..=LIST_COUNT_MAX).contains(count));
    count.ok_or("?count= takes a number from 1 to 10000.")
}

/// Reads `?id=`, `?topic=` or `?user=`, with `&code=&reason=`.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub(crate) fn read_disconnect(uri: &Uri) -> Result<Disconnect, &'static str> {
    known(uri, &["id", "topic", "user", "code", "reason"])?;
    let [id, topic, user] = ["id", "topic", "user"].map(|name| parameter(uri, name));
    let who = match (id, topic, user) {
        (Some(id), None, None) => Who::One(read_id(&id)?),
        (None, Some(topic), None) => Who::Topic(topic),
        (None, None, Some(user)) => Who::User(user),
        _ => return Err("Say whom, either by ?id= or by ?topic= or by ?user=."),
    };
    let code = match parameter(uri, "code") {
        None => CloseCode::GOING_AWAY,
        Some(text) => {
            let code = text.parse().ok().and_then(CloseCode::new);
            code.ok_or("?code= takes a close code that may be sent: 1000 to 1003, 1007 to 1014, 3000 to 4999.")?
        }
    };
    Ok(Disconnect {
        who,
        code,
        reason: parameter(uri, "reason").unwrap_or_default(),
    })
}

fn read_id(text: &str) -> Result<ConnectionId, &'static str> {
    ConnectionId::parse(text).ok_or("An id has 16 hexadecimal digits.")
}

/// A word that means nothing here is a mistake that would otherwise show, or close, too much.
fn known(uri: &Uri, words: &[&str]) -> Result<(), &'static str> {
    let query = uri.query().unwrap_or_default();
    let parts = query.split('&').filter(|part| !part.is_empty());
    for part in parts {
        let word = part.split('=').next().unwrap_or_default();
        if !words.contains(&word) {
            return Err("There is a parameter that is not known here.");
        }
    }
    Ok(())
}

/// The value of a parameter, decoded; `None` if it is missing.
pub(crate) fn parameter(uri: &Uri, name: &str) -> Option<String> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let mut values = pairs.into_iter();
    values.find_map(|(word, value)| (word == name).then_some(value))
}

/// A page of connections. Waits for the shards.
pub(crate) fn list(handle: &Handle, list: &List) -> Page {
    let Answered {
        value: found,
        complete,
    } = handle.connections(&list.filter, list.count_max, LIST_TIMEOUT);
    let last = found.last().filter(|_| found.len() == list.count_max);
    Page {
        next: last.map(|last| last.id.to_string()),
        connections: found.into_iter().map(Connection::from).collect(),
        complete,
    }
}

/// Those that have most of something. Waits for the shards.
pub(crate) fn ranked(handle: &Handle, list: &List, order: Order) -> Page {
    let found = handle.ranked(&list.filter, order, list.count_max, LIST_TIMEOUT);
    Page {
        next: None,
        connections: found.value.into_iter().map(Connection::from).collect(),
        complete: found.complete,
    }
}

/// Operators' doings are part of the story.
pub(crate) fn write_down(wanted: &Disconnect, done: &Disconnected) {
    let (close_code, count) = (wanted.code.value(), done.disconnected);
    match &wanted.who {
        Who::One(id) => {
            let conn_id = id.to_string();
            tracing::info!(target: "admin", conn_id, close_code, count, "an operator disconnects");
        }
        Who::Topic(channel) => {
            tracing::info!(target: "admin", channel, close_code, count, "an operator disconnects");
        }
        Who::User(user) => {
            tracing::info!(target: "admin", user, close_code, count, "an operator disconnects");
        }
    }
}

/// One connection; `Err` if its shard has not answered. Waits for it.
pub(crate) fn find(handle: &Handle, id: ConnectionId) -> Result<Option<Connection>, NoAnswer> {
    let filter = ConnectionFilter {
        id: Some(id),
        ..ConnectionFilter::default()
    };
    let found = handle.connections(&filter, 1, LIST_TIMEOUT);
    if !found.complete {
        return Err(NoAnswer);
    }
    Ok(found.value.into_iter().next().map(Connection::from))
}

/// How the last ones ended, and whether all shards have answered. Waits for them.
pub(crate) fn closed(handle: &Handle, count_max: usize) -> (Vec<Ended>, bool) {
    let found = handle.closed(count_max, LIST_TIMEOUT);
    let ends = found.value.into_iter().map(Ended::from).collect();
    (ends, found.complete)
}

/// Closes whoever is meant; `Err` if it is one whose shard has not answered, and may still do it.
/// Waits for the shards.
pub(crate) fn disconnect(handle: &Handle, wanted: &Disconnect) -> Result<Disconnected, NoAnswer> {
    let (code, reason) = (wanted.code, &wanted.reason);
    match &wanted.who {
        Who::One(id) => {
            let found = handle.disconnect(*id, code, reason, LIST_TIMEOUT);
            let done = Disconnected {
                disconnected: usize::from(found.value),
                complete: found.complete,
            };
            found.complete.then_some(done).ok_or(NoAnswer)
        }
        Who::Topic(topic) => {
            let found = handle.disconnect_topic(topic, code, reason, LIST_TIMEOUT);
            Ok(Disconnected {
                disconnected: found.value,
                complete: found.complete,
            })
        }
        Who::User(user) => {
            let found = handle.disconnect_user(user, code, reason, LIST_TIMEOUT);
            Ok(Disconnected {
                disconnected: found.value,
                complete: found.complete,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(query: &str) -> Uri {
        format!("/x?{query}").parse().unwrap()
    }

    #[test]
    fn parameters_are_decoded() {
        let uri = uri("topic=caf%C3%A9+au+lait&reason=a%26b");
        assert_eq!(parameter(&uri, "topic").as_deref(), Some("café au lait"));
        assert_eq!(parameter(&uri, "reason").as_deref(), Some("a&b"));
        assert_eq!(parameter(&uri, "none"), None);
    }

    #[test]
    fn nobody_is_disconnected_by_mistake() {
        for query in [
            "",
            "id=1",
            "id=0000000000000001&topic=a",
            "topic=a&code=1005",
            "tpoic=a",
        ] {
            assert!(read_disconnect(&uri(query)).is_err(), "{query}");
        }
        let wanted = read_disconnect(&uri("topic=a&code=4001&reason=bye")).unwrap();
        assert_eq!(wanted.who, Who::Topic("a".to_owned()));
        assert_eq!((wanted.code.value(), wanted.reason.as_str()), (4001, "bye"));
    }

    #[test]
    fn a_list_is_bounded() {
        let (list, order) = read_list(&uri("")).unwrap();
        assert_eq!((list.count_max, order), (LIST_COUNT, None));
        let (_, order) = read_list(&uri("sort=dropped")).unwrap();
        assert_eq!(order, Some(Order::Dropped));
        assert_eq!(read_topics(&uri("")), Ok(None));
        assert_eq!(read_topics(&uri("count=7")), Ok(Some(7)));
        for query in [
            "count=0",
            "count=10001",
            "address=here",
            "after=7",
            "usr=me",
            "sort=size",
            "sort=outbox&after=0000000000000001",
        ] {
            assert!(read_list(&uri(query)).is_err(), "{query}");
        }
    }
}
