//! What a run tells about its messages.

use serde::Serialize;

use super::{each, per};
use crate::latency::Percentiles;
use crate::options::{Command, Traffic, USUAL_RATE};
use crate::run::Outcome;

/// What was found about messages.
#[derive(Debug, Serialize)]
pub struct TrafficReport {
    /// `closed` or `open`.
    #[serde(rename = "loop")]
    pub kind: &'static str,
    /// What an open loop was asked for.
    pub rate: Option<u64>,
    /// Bytes of each payload.
    pub message_size_bytes: usize,
    /// `text` or `binary`.
    pub message_kind: &'static str,
    /// Messages in one send: the pipeline of echo, the burst of fanout.
    pub batch: u32,
    /// Topics of fanout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<u32>,
    /// Publishers of each topic of fanout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publishers: Option<u32>,
    /// Received while it was counted: replies of echo, deliveries of fanout.
    pub messages: u64,
    /// The same per second.
    pub messages_per_second: f64,
    /// Their payloads.
    pub bytes: u64,
    /// The same per second.
    pub bytes_per_second: f64,
    /// Sent during the whole run, with the warm-up.
    pub messages_sent: u64,
    /// Should have come during the whole run.
    pub messages_expected: u64,
    /// Came during the whole run.
    pub messages_received: u64,
    /// From the time at which a message was sent (closed loop) or should have been (open loop);
    /// null where this client was the bottleneck.
    pub latency_us: Option<Percentiles>,
    /// How far behind its time this client began its sends (open loop): if this is not small,
    /// neither rate nor latency is the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_lateness_us: Option<Percentiles>,
    /// CPU time of this client.
    pub client_cpu_us_per_message: f64,
}

/// What the commands that send have in common.
struct Shape<'a> {
    traffic: &'a Traffic,
    pace: Option<u64>,
    size: usize,
    batch: u32,
    topics: Option<u32>,
    publishers: Option<u32>,
}

impl<'a> Shape<'a> {
    fn of(command: &'a Command) -> Option<Self> {
        let plain = |traffic, pace, size| Self {
            traffic,
            pace,
            size,
            batch: 1,
            topics: None,
            publishers: None,
        };
        Some(match command {
            Command::Echo(options) => Self {
                batch: options.depth(),
                ..plain(&options.traffic, options.pace(), options.size())
            },
            Command::Fanout(options) => Self {
                batch: options.burst(),
                topics: Some(options.topics),
                publishers: Some(options.publishers),
                ..plain(&options.traffic, options.pace(), options.size())
            },
            Command::Slow(options) => plain(&options.traffic, options.pace(), options.size()),
            Command::Mixed(options) => {
                let usual = USUAL_RATE * u64::from(crate::plan::echoing(options));
                let pace = options.traffic.pace(usual, false);
                plain(&options.traffic, pace, options.size())
            }
            Command::Idle(_) | Command::Churn(_) | Command::Storm(_) => return None,
        })
    }
}

impl TrafficReport {
    pub(super) fn new(command: &Command, outcome: &Outcome, told: bool) -> Option<Self> {
        let shape = Shape::of(command)?;
        let messages = &outcome.messages;
        let counted = outcome.counted.as_secs_f64();
        Some(Self {
            kind: if shape.pace.is_some() {
                "open"
            } else {
                "closed"
            },
            rate: shape.pace,
            message_size_bytes: shape.size,
            message_kind: if shape.traffic.binary {
                "binary"
            } else {
                "text"
            },
            batch: shape.batch,
            topics: shape.topics,
            publishers: shape.publishers,
            messages: messages.counted,
            messages_per_second: per(messages.counted, counted),
            bytes: messages.counted_bytes,
            bytes_per_second: per(messages.counted_bytes, counted),
            messages_sent: messages.sent,
            messages_expected: messages.expected,
            messages_received: messages.received,
            latency_us: told.then(|| messages.latency.percentiles()),
            send_lateness_us: shape.pace.map(|_| messages.lateness.percentiles()),
            client_cpu_us_per_message: each(
                outcome.client_cpu.as_secs_f64() * 1e6,
                messages.counted,
            ),
        })
    }
}
