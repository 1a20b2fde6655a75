//! The load client: measures a WebSocket server from outside, and checks what it measures.
//!
//! It stands on the protocol crate and on the kernel crate, never on the engine, so that a
//! fault of the engine's cannot hide behind the same fault here.
//!
//! ```text
//!   options ─▶ run ─▶ worker (one thread) ─▶ client ─▶ Driver
//!                │                             └─▶ Load: echo, idle, fanout
//!                └─▶ report: table or JSON
//! ```

use std::sync::{Arc, OnceLock};

pub mod echo;
pub mod fanout;
pub mod heard;
pub mod idle;
pub mod latency;
pub mod load;
pub mod options;
pub mod pattern;
pub mod payload;
pub mod process;
pub mod random;
pub mod report;
pub mod schedule;
pub mod tally;

mod client;
mod connection;
mod progress;
mod run;
mod worker;

use echo::Echo;
use fanout::{Fanout, Shared};
use idle::Idle;
use options::{Command, EchoOptions, FanoutOptions, IdleOptions, Traffic};
use report::Report;
use run::{Outcome, Plan};
use tidegate_proto::MessageKind;
use worker::Place;

/// Carries out a command that has passed its [`Command::check`].
///
/// # Errors
/// When there is nothing to report: the system or the options do not allow the run.
pub fn run(command: &Command, command_line: String) -> anyhow::Result<Report> {
    let outcome = match command {
        Command::Echo(options) => run_echo(options),
        Command::Idle(options) => run_idle(options),
        Command::Fanout(options) => run_fanout(options),
    }?;
    Ok(Report::new(command, command_line, outcome))
}

fn run_echo(options: &EchoOptions) -> anyhow::Result<Outcome> {
    let EchoOptions {
        common,
        traffic,
        size,
        pipeline,
    } = options;
    let make = |place: &Place| {
        let share = f64::from(place.count) / f64::from(common.connections);
        Echo::new(echo::Share {
            kind: traffic.kind(),
            size: *size,
            depth: *pipeline,
            rate: traffic.rate_of_batches(*pipeline).map(|rate| rate * share),
            quota: traffic
                .messages
                .map(|messages| part_of(messages, place.index, common.threads)),
            first: place.first,
            count: place.count,
        })
    };
    run::run(common, plan(traffic), make, |_| ())
}

fn run_idle(options: &IdleOptions) -> anyhow::Result<Outcome> {
    let plan = Plan {
        warmup: std::time::Duration::ZERO,
        counted: Some(options.duration),
    };
    run::run(&options.common, plan, |_| Idle::default(), |_| ())
}

fn run_fanout(options: &FanoutOptions) -> anyhow::Result<Outcome> {
    let FanoutOptions {
        common,
        traffic,
        size,
        publishers,
        topics,
        burst,
    } = options;
    let speaking = topics * publishers;
    let owner_of = |connection| {
        (0..common.threads)
            .find(|worker| {
                let (first, count) = run::share_of(common, *worker);
                connection < first + count
            })
            .expect("a publisher is one of the connections")
    };
    let owners = (0..speaking).map(owner_of).collect();
    let shared = Arc::new(Shared::new(owners, *topics, traffic.messages));
    let wakers = Arc::new(OnceLock::new());
    let make = |place: &Place| {
        let share = fanout::Share {
            kind: traffic.kind(),
            size: *size,
            burst: *burst,
            rate: traffic
                .rate_of_batches(*burst)
                .map(|rate| rate / f64::from(speaking)),
            limited: traffic.messages.is_some(),
            topics: *topics,
            publishers: *publishers,
            worker: place.index,
            first: place.first,
            count: place.count,
        };
        Fanout::new(share, Arc::clone(&shared), Arc::clone(&wakers))
    };
    let know = |all| wakers.set(all).expect("it is told once");
    run::run(common, plan(traffic), make, know)
}

fn plan(traffic: &Traffic) -> Plan {
    Plan {
        warmup: traffic.warmup(),
        counted: traffic.counted(),
    }
}

/// The part of `total` that falls to number `index` of `count`.
fn part_of(total: u64, index: u32, count: u32) -> u64 {
    let (index, count) = (u64::from(index), u64::from(count));
    total / count + u64::from(index < total % count)
}

impl Traffic {
    fn kind(&self) -> MessageKind {
        if self.binary {
            MessageKind::Binary
        } else {
            MessageKind::Text
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate is at most 10^9")]
    fn rate_of_batches(&self, size: u32) -> Option<f64> {
        self.rate.map(|rate| rate as f64 / f64::from(size))
    }
}
