//! How connections are kept alive, and what happens to clients that do not read: the options, and
//! what they mean.

use std::time::Duration;

use clap::{Args, ValueEnum};
use tidegate_engine::{Profile, SlowPolicy, SocketOptions};

use crate::units;

/// A tick of the shards' timers is 128 ms: anything shorter would be one tick.
const WATCH_FLOOR: Duration = Duration::from_millis(100);

/// Who may be quiet for longer is not watched.
const WATCH_CEILING: Duration = Duration::from_hours(24);

/// Less than a segment would be sent in crumbs.
const UNSENT_SIZE_FLOOR: usize = 4 << 10;
const UNSENT_SIZE_CEILING: usize = 1 << 30;

/// Whoever misses more pings than this is not watched.
const PINGS_MISSED_CEILING: u8 = 100;

/// The watch over connections as it is written.
#[derive(Debug, Args)]
pub(crate) struct WatchOptions {
    /// How often each client is pinged, spread over the clients; 0s: never
    #[arg(long, value_name = "TIME", default_value = "45s", value_parser = parse_watch)]
    ping_interval: Duration,

    /// After how many pings without a sign of life a client is closed with 1008
    #[arg(long, value_name = "N", default_value = "2", value_parser = parse_missed)]
    pings_missed: u8,

    /// How long a client may say nothing at all, not even a pong; then 1008; 0s: for ever
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_watch)]
    read_idle_timeout: Duration,

    /// How long a client may be sent nothing; then it is pinged; 0s: for ever
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_watch)]
    write_idle_timeout: Duration,

    /// How long no message may go either way, pings aside; then 1000; 0s: for ever
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_watch)]
    idle_timeout: Duration,

    /// What happens to what is published for a client that does not read: it is disconnected
    /// when its outbox is full, or the oldest or the newest is dropped, or only the latest of each
    /// key is kept, or (pause) it is also not listened to while anything waits for it
    #[arg(long, value_enum, value_name = "POLICY", default_value = "disconnect")]
    slow: Slow,

    /// How long the kernel waits for a client to acknowledge what was sent; 0s: some 15 minutes
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_watch)]
    tcp_user_timeout: Duration,

    /// With so much that it has not sent yet, the kernel takes no more for a client, so that
    /// stale data does not pile up in it; 0B: as much as its buffer holds
    #[arg(long, value_name = "SIZE", default_value = "0B", value_parser = parse_unsent)]
    notsent_lowat: u32,
}

/// What happens to publications for a client that does not read, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Slow {
    Disconnect,
    DropOldest,
    DropNewest,
    Latest,
    Pause,
}

/// The watch over connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Watching {
    pub(crate) profile: Profile,
    pub(crate) sockets: SocketOptions,
}

impl From<Slow> for SlowPolicy {
    fn from(slow: Slow) -> Self {
        match slow {
            Slow::Disconnect => Self::Disconnect,
            Slow::DropOldest => Self::DropOldest,
            Slow::DropNewest => Self::DropNewest,
            Slow::Latest => Self::Latest,
            Slow::Pause => Self::Pause,
        }
    }
}

impl WatchOptions {
    pub(crate) fn mean(&self) -> Watching {
        let user_timeout = Some(self.tcp_user_timeout).filter(|span| !span.is_zero());
        Watching {
            profile: Profile {
                ping_interval: self.ping_interval,
                pings_missed_max: self.pings_missed,
                read_idle_timeout: self.read_idle_timeout,
                write_idle_timeout: self.write_idle_timeout,
                idle_timeout: self.idle_timeout,
                slow: self.slow.into(),
            },
            sockets: SocketOptions {
                user_timeout,
                unsent_size_max: (self.notsent_lowat != 0).then_some(self.notsent_lowat),
            },
        }
    }
}

fn parse_watch(text: &str) -> Result<Duration, String> {
    let span = units::parse_span(text)?;
    if span.is_zero() || (WATCH_FLOOR..=WATCH_CEILING).contains(&span) {
        return Ok(span);
    }
    Err(format!(
        "it must be 0s, or from {} to {}",
        units::show_span(WATCH_FLOOR),
        units::show_span(WATCH_CEILING)
    ))
}

fn parse_missed(text: &str) -> Result<u8, String> {
    let range = 1..=PINGS_MISSED_CEILING;
    let count = text.parse().ok().filter(|count| range.contains(count));
    count.ok_or_else(|| format!("write a number from 1 to {PINGS_MISSED_CEILING}"))
}

fn parse_unsent(text: &str) -> Result<u32, String> {
    let size = units::parse_size(text)?;
    let fits = size == 0 || (UNSENT_SIZE_FLOOR..=UNSENT_SIZE_CEILING).contains(&size);
    let narrow = u32::try_from(size).ok().filter(|_| fits);
    narrow.ok_or_else(|| {
        format!(
            "it must be 0B, or from {} to {}",
            units::show_size(UNSENT_SIZE_FLOOR),
            units::show_size(UNSENT_SIZE_CEILING)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_engine() {
        for (slow, policy) in Slow::value_variants().iter().zip(SlowPolicy::ALL) {
            assert_eq!(SlowPolicy::from(*slow), policy);
            let name = slow.to_possible_value().expect("it is shown");
            assert_eq!(name.get_name(), policy.name());
        }
    }

    #[test]
    fn bounds_are_kept() {
        assert_eq!(parse_watch("0s"), Ok(Duration::ZERO));
        assert!(parse_watch("10ms").is_err() && parse_watch("25h").is_err());
        assert_eq!(parse_unsent("16KiB"), Ok(16_384));
        assert!(parse_unsent("1KiB").is_err() && parse_unsent("2GiB").is_err());
        assert!(parse_missed("0").is_err() && parse_missed("101").is_err());
    }
}
