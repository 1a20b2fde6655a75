//! What a server says of itself at one moment.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::ask::{self, AdminPlace};
use crate::status::Status;
use crate::token::Tokens;

/// So many topics, connections and ends are asked for.
const ROWS_MAX: usize = 50;

/// With more topics than that, they are asked for more seldom: the server lists all of them for it.
const TOPICS_MANY: u64 = 10_000;

/// With more connections than that, they are ranked more seldom.
const CONNECTIONS_MANY: u64 = 200_000;

/// What "more seldom" is, in rounds.
const SELDOM: u64 = 10;

/// What connections are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sort {
    /// What waits for them.
    Outbox,
    /// What was dropped for them.
    Dropped,
    /// How long their last ping took.
    RoundTrip,
}

impl Sort {
    /// The next one, round and round.
    pub(super) fn next(self) -> Self {
        match self {
            Self::Outbox => Self::Dropped,
            Self::Dropped => Self::RoundTrip,
            Self::RoundTrip => Self::Outbox,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::Dropped => "dropped",
            Self::RoundTrip => "round-trip",
        }
    }
}

/// One moment.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    pub(super) status: Status,
    pub(super) topics: Vec<Topic>,
    pub(super) sort: Sort,
    /// Those that are ranked so.
    pub(super) slow: Vec<Connection>,
    /// Those with the most messages.
    pub(super) hot: Vec<Connection>,
    pub(super) ends: Vec<Ended>,
}

/// A topic, and how many hear it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) subscribers: u64,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Connection {
    pub(super) id: String,
    pub(super) peer: String,
    pub(super) endpoint: String,
    pub(super) phase: String,
    pub(super) age_seconds: f64,
    pub(super) quiet_seconds: f64,
    pub(super) round_trip_seconds: Option<f64>,
    pub(super) messages_per_second: f64,
    pub(super) bytes_received: Option<u64>,
    pub(super) bytes_acknowledged: Option<u64>,
    pub(super) outbox_bytes: u64,
    pub(super) dropped_messages: u64,
}

/// How one ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ended {
    pub(super) id: String,
    pub(super) peer: String,
    pub(super) seconds_ago: f64,
    pub(super) side: String,
    pub(super) phase: String,
    pub(super) reason: String,
    pub(super) code: Option<u16>,
    pub(super) age_seconds: f64,
}

#[derive(Deserialize)]
struct Page {
    connections: Vec<Connection>,
}

/// Asks one server, time and again.
#[derive(Debug)]
pub(super) struct Asker {
    place: AdminPlace,
    tokens: Option<Tokens>,
    round: u64,
    topics: Vec<Topic>,
    ranked: Option<Ranked>,
}

/// Connections as they were ranked last.
#[derive(Debug, Clone)]
struct Ranked {
    by: Sort,
    slow: Vec<Connection>,
    hot: Vec<Connection>,
}

impl Asker {
    pub(super) fn new(place: AdminPlace, tokens: Option<Tokens>) -> Self {
        Self {
            place,
            tokens,
            round: 0,
            topics: Vec::new(),
            ranked: None,
        }
    }

    pub(super) fn place(&self) -> &AdminPlace {
        &self.place
    }

    /// Asks for everything, but for what would cost the server much each time.
    pub(super) fn ask(&mut self, sort: Sort) -> Result<Sample, String> {
        let status: Status = self.get("/status")?;
        let is_turn = self.round.is_multiple_of(SELDOM);
        let sum = |of: fn(&crate::status::ShardStatus) -> u64| -> u64 {
            status.shards.iter().map(of).sum()
        };
        if is_turn || sum(|shard| shard.topics) <= TOPICS_MANY {
            self.topics = self.get(&format!("/topics?count={ROWS_MAX}"))?;
        }
        let are_many = sum(|shard| shard.connections) > CONNECTIONS_MANY;
        let last = self.ranked.take();
        let ranked = match last.filter(|last| last.by == sort && !is_turn && are_many) {
            Some(last) => last,
            None => Ranked {
                by: sort,
                slow: self.ranked_by(sort.name())?,
                hot: self.ranked_by("rate")?,
            },
        };
        self.ranked = Some(ranked.clone());
        self.round += 1;
        Ok(Sample {
            status,
            topics: self.topics.clone(),
            sort,
            slow: ranked.slow,
            hot: ranked.hot,
            ends: self.get(&format!("/closed?count={ROWS_MAX}"))?,
        })
    }

    fn ranked_by(&self, what: &str) -> Result<Vec<Connection>, String> {
        let path = format!("/connections?sort={what}&count={ROWS_MAX}");
        Ok(self.get::<Page>(&path)?.connections)
    }

    fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, String> {
        let token = self.tokens.as_ref().map(Tokens::first);
        let body = ask::get(&self.place, path, token)?;
        let place = &self.place;
        serde_json::from_str(&body).map_err(|error| {
            format!("{place} answers {path} in a way that is not understood: {error}")
        })
    }
}
