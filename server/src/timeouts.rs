//! How long a client may take for what: the options, and what they mean.

use std::time::Duration;

use clap::Args;
use tidegate_engine::Limits;

use crate::units;

/// A tick of the shards' timers is 128 ms: anything shorter would be one tick.
const TIMEOUT_FLOOR: Duration = Duration::from_millis(100);

/// What takes longer than that is not a slow peer, but none.
const TIMEOUT_CEILING: Duration = Duration::from_secs(3600);

/// The deadlines of a connection as they are written.
#[derive(Debug, Args)]
pub(crate) struct TimeoutOptions {
    /// How long a client may take to connect and send its whole request
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_timeout)]
    handshake_timeout: Duration,

    /// How long a message may take from its first byte to its last; then 1008
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_timeout)]
    message_timeout: Duration,

    /// How long what was sent may wait for a client that does not read; then a reset
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_timeout)]
    send_timeout: Duration,

    /// How long a client may take to answer a close; then a reset
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_timeout)]
    close_timeout: Duration,
}

/// The deadlines of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timeouts {
    pub(crate) handshake: Duration,
    pub(crate) message: Duration,
    pub(crate) send: Duration,
    pub(crate) close: Duration,
}

impl Default for Timeouts {
    /// What the engine does unless it is told otherwise.
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            handshake: limits.handshake_timeout,
            message: limits.message_timeout,
            send: limits.send_timeout,
            close: limits.close_timeout,
        }
    }
}

impl TimeoutOptions {
    pub(crate) fn mean(&self) -> Timeouts {
        Timeouts {
            handshake: self.handshake_timeout,
            message: self.message_timeout,
            send: self.send_timeout,
            close: self.close_timeout,
        }
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let span = units::parse_span(text)?;
    if (TIMEOUT_FLOOR..=TIMEOUT_CEILING).contains(&span) {
        return Ok(span);
    }
    Err(format!(
        "it must be from {} to {}",
        units::show_span(TIMEOUT_FLOOR),
        units::show_span(TIMEOUT_CEILING)
    ))
}
