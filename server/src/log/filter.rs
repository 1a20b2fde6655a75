//! Which events are written: a level for all, and others for some targets.

use std::fmt;
use std::str::FromStr;

use tracing::Level;
use tracing::level_filters::LevelFilter;

/// What events are about, by the part of the server that tells them.
pub(crate) const TARGETS: [&str; 7] = [
    // The start, the end, and what an operator has done by a signal.
    "server",
    // The configuration and its reloads.
    "config",
    // Ends of open WebSockets.
    "close",
    // Handshakes that were refused or failed.
    "handshake",
    // What a shard cannot do: accept, or hand on mail.
    "shard",
    // Requests of operators.
    "admin",
    // The log itself.
    "log",
];

/// Which events are written, such as `info` or `warn,close=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    usual: LevelFilter,
    /// By [`TARGETS`]; what is not said is as usual.
    own: [Option<LevelFilter>; TARGETS.len()],
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            usual: LevelFilter::INFO,
            own: [None; TARGETS.len()],
        }
    }
}

impl Filter {
    pub(crate) fn allows(&self, level: Level, target: &str) -> bool {
        let index = TARGETS.iter().position(|known| *known == target);
        let own = index.and_then(|index| self.own[index]);
        level <= own.unwrap_or(self.usual)
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        let mut usual = None;
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                None if usual.is_none() => usual = Some(read_level(part)?),
                None => return Err(format!("there are two levels for all: '{part}'; {ADVICE}")),
                Some((target, level)) => {
                    let target = target.trim();
                    let index = TARGETS.iter().position(|known| *known == target);
                    let Some(index) = index else {
                        let all = TARGETS.join(", ");
                        return Err(format!(
                            "'{target}' is no part of the server; there are {all}"
                        ));
                    };
                    filter.own[index] = Some(read_level(level.trim())?);
                }
            }
        }
        filter.usual = usual.unwrap_or(filter.usual);
        Ok(filter)
    }
}

const ADVICE: &str = "write error, warn, info, debug, trace or off, \
                      and for parts of the server others, such as \"info,close=debug\"";

fn read_level(word: &str) -> Result<LevelFilter, String> {
    let level = match word {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return Err(ADVICE.to_owned()),
    };
    Ok(level)
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.usual)?;
        for (target, own) in TARGETS.iter().zip(self.own) {
            if let Some(own) = own {
                write!(f, ",{target}={own}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_server_has_its_own_level_or_the_usual_one() {
        let filter: Filter = "warn, close=debug,admin=off".parse().unwrap();
        assert!(filter.allows(Level::WARN, "server"));
        assert!(!filter.allows(Level::INFO, "server"));
        assert!(filter.allows(Level::DEBUG, "close"));
        assert!(!filter.allows(Level::TRACE, "close"));
        assert!(!filter.allows(Level::ERROR, "admin"));
        assert!(filter.allows(Level::ERROR, "a library"));
        assert_eq!(filter.to_string(), "warn,close=debug,admin=off");
        let only: Filter = "handshake=debug".parse().unwrap();
        assert!(only.allows(Level::INFO, "server") && !only.allows(Level::DEBUG, "server"));
        assert!(
            !Filter::from_str("off")
                .unwrap()
                .allows(Level::ERROR, "server")
        );
    }

    #[test]
    fn what_means_nothing_is_told_what_would() {
        for (text, part) in [
            ("", "info"),
            ("inof", "write error, warn"),
            ("INFO", "write error, warn"),
            ("info,debug", "two levels"),
            ("clsoe=debug", "there are server, config, close"),
            ("close=loud", "write error"),
            ("info,", "write error"),
        ] {
            let said = Filter::from_str(text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
    }
}
