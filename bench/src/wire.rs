//! What processes of one run tell each other: a line of JSON each.
//!
//! Moments travel as nanoseconds of the system's monotonic clock, which is one for all
//! processes.

use std::io;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tidegate_io::Driver;

use crate::tally::{Connections, Messages, Window};
use crate::worker::{Command, Report};

/// A [`Command`] on its way.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum WireCommand {
    Connect {
        permille: u32,
        deadline: u64,
    },
    Prepare {
        start: u64,
    },
    Run {
        start: u64,
        from: u64,
        until: Option<u64>,
    },
    Close {
        deadline: u64,
    },
}

/// A [`Report`] on its way, or the progress of a process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum WireReport {
    Ready,
    Connected { open: u32 },
    Finished,
    Over(Box<(Connections, Messages)>),
    Failed(String),
    Progress { opened: u64, received: u64 },
}

/// A moment on both clocks: that of this program, and that of the system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epoch {
    at: Instant,
    nanoseconds: u64,
}

/// How often both clocks are read, to find a pair of readings that lie close together.
const READINGS: u32 = 100;

impl Epoch {
    pub(crate) fn read(driver: &impl Driver) -> Self {
        let readings = (0..READINGS).map(|_| {
            let before = driver.now();
            let system = clock_gettime(ClockId::Monotonic);
            let apart = driver.now() - before;
            (apart, before + apart / 2, system)
        });
        let (_, at, system) = readings
            .min_by_key(|(apart, ..)| *apart)
            .expect("there are some readings");
        let since = Duration::try_from(system).unwrap_or_default();
        Self {
            at,
            nanoseconds: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    fn send(self, moment: Instant) -> u64 {
        let ahead = moment.saturating_duration_since(self.at).as_nanos();
        let behind = self.at.saturating_duration_since(moment).as_nanos();
        let at = u128::from(self.nanoseconds) + ahead;
        u64::try_from(at.saturating_sub(behind)).unwrap_or(u64::MAX)
    }

    fn receive(self, nanoseconds: u64) -> Instant {
        let ahead = Duration::from_nanos(nanoseconds.saturating_sub(self.nanoseconds));
        let behind = Duration::from_nanos(self.nanoseconds.saturating_sub(nanoseconds));
        let moment = self.at.checked_sub(behind).unwrap_or(self.at);
        moment.checked_add(ahead).unwrap_or(moment)
    }

    pub(crate) fn send_command(self, command: Command) -> WireCommand {
        match command {
            Command::Connect { permille, deadline } => WireCommand::Connect {
                permille,
                deadline: self.send(deadline),
            },
            Command::Prepare { start } => WireCommand::Prepare {
                start: self.send(start),
            },
            Command::Run(window) => WireCommand::Run {
                start: self.send(window.start),
                from: self.send(window.from),
                until: window.until.map(|until| self.send(until)),
            },
            Command::Close { deadline } => WireCommand::Close {
                deadline: self.send(deadline),
            },
        }
    }

    pub(crate) fn receive_command(self, command: WireCommand) -> Command {
        match command {
            WireCommand::Connect { permille, deadline } => Command::Connect {
                permille,
                deadline: self.receive(deadline),
            },
            WireCommand::Prepare { start } => Command::Prepare {
                start: self.receive(start),
            },
            WireCommand::Run { start, from, until } => Command::Run(Window {
                start: self.receive(start),
                from: self.receive(from),
                until: until.map(|until| self.receive(until)),
            }),
            WireCommand::Close { deadline } => Command::Close {
                deadline: self.receive(deadline),
            },
        }
    }
}

impl From<Report> for WireReport {
    fn from(report: Report) -> Self {
        match report {
            Report::Ready(_) => Self::Ready,
            Report::Connected { open } => Self::Connected { open },
            Report::Finished => Self::Finished,
            Report::Over(counts) => Self::Over(counts),
            Report::Failed(error) => Self::Failed(error.to_string()),
        }
    }
}

impl WireReport {
    /// As a report of a worker; progress is none.
    pub(crate) fn into_report(self) -> Option<Report> {
        Some(match self {
            Self::Ready => Report::Ready(None),
            Self::Connected { open } => Report::Connected { open },
            Self::Finished => Report::Finished,
            Self::Over(counts) => Report::Over(counts),
            Self::Failed(error) => Report::Failed(io::Error::other(error)),
            Self::Progress { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use tidegate_io::epoll::EpollDriver;

    use super::*;

    #[test]
    fn moments_survive_a_journey_between_two_processes() {
        let driver = EpollDriver::new(None).unwrap();
        let (here, there) = (Epoch::read(&driver), Epoch::read(&driver));
        let moment = driver.now() + Duration::from_secs(5);
        for moment in [moment, here.at, here.at - Duration::from_nanos(1)] {
            let arrived = there.receive(here.send(moment));
            let off = arrived.saturating_duration_since(moment)
                + moment.saturating_duration_since(arrived);
            // Far more than two good readings differ by, far less than matters.
            assert!(off < Duration::from_millis(5), "{off:?}");
        }
        assert_eq!(here.receive(here.send(moment)), moment);
    }
}
