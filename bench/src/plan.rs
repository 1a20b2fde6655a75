//! What each command makes of its options: a plan for the run, and a load for each worker.

use std::sync::{Arc, OnceLock};

use tidegate_io::Waker;

use crate::churn::{self, Churn};
use crate::crew::{share_of, worker_count};
use crate::echo::{self, Echo};
use crate::fanout::{self, Fanout, Shared};
use crate::idle::{self, Idle};
use crate::load::Load;
use crate::options::{
    ChurnOptions, Command, Common, EchoOptions, FanoutOptions, IdleOptions, MixedOptions,
    SlowOptions, StormOptions, Traffic, USUAL_RATE,
};
use crate::parts::{Parts, split};
use crate::reconnect::Backoff;
use crate::run::{self, Outcome, Plan};
use crate::slow::{self, Slow};
use crate::storm::{self, Storm};
use crate::worker::Place;

/// Into how many slices the time is cut for a picture. Even, so that it has halves.
const SLICES: u32 = 60;

type Make<'a> = &'a dyn Fn(&Place) -> Box<dyn Load>;

/// Runs a command; `None` if this process is one that another leads, and has nothing to report.
pub(crate) fn run(command: &Command) -> anyhow::Result<Option<Outcome>> {
    match command {
        Command::Echo(options) => run_echo(options),
        Command::Idle(options) => run_idle(options),
        Command::Fanout(options) => run_fanout(options),
        Command::Churn(options) => run_churn(options),
        Command::Storm(options) => run_storm(options),
        Command::Slow(options) => run_slow(options),
        Command::Mixed(options) => run_mixed(options),
    }
}

fn lead(common: &Common, plan: Plan, make: Make<'_>) -> anyhow::Result<Option<Outcome>> {
    match common.process_index {
        Some(index) => crate::processes::serve(common, index, make).map(|()| None),
        None => run::run(common, plan, make, |_| ()).map(Some),
    }
}

fn slices(common: &Common) -> u32 {
    if common.plot.is_some() { SLICES } else { 0 }
}

fn traffic_plan(traffic: &Traffic) -> Plan {
    Plan {
        warmup: traffic.warmup(),
        counted: traffic.counted(),
        ..Plan::default()
    }
}

fn run_echo(options: &EchoOptions) -> anyhow::Result<Option<Outcome>> {
    let (common, traffic) = (&options.common, &options.traffic);
    let depth = options.depth();
    let make = |place: &Place| -> Box<dyn Load> {
        let share = f64::from(place.count) / f64::from(common.connections);
        Box::new(Echo::new(echo::Share {
            kind: traffic.kind(),
            size: options.size(),
            depth,
            rate: batches(options.pace(), depth).map(|rate| rate * share),
            quota: traffic
                .messages
                .map(|messages| part_of(messages, place.index, worker_count(common))),
            first: place.first,
            count: place.count,
            slices: slices(common),
        }))
    };
    lead(common, traffic_plan(traffic), &make)
}

fn run_idle(options: &IdleOptions) -> anyhow::Result<Option<Outcome>> {
    let plan = Plan {
        counted: Some(options.duration),
        prepare: options.pings() || options.echoes() || options.expect_broadcast.is_some(),
        announce: options.expect_broadcast.is_some(),
        ..Plan::default()
    };
    let make = |place: &Place| -> Box<dyn Load> {
        Box::new(Idle::new(idle::Share {
            ping: options.pings(),
            echo: options.echoes(),
            expected: options.expect_broadcast.unwrap_or(0),
            first: place.first,
            count: place.count,
        }))
    };
    lead(&options.common, plan, &make)
}

fn run_fanout(options: &FanoutOptions) -> anyhow::Result<Option<Outcome>> {
    let (common, traffic, topics) = (&options.common, &options.traffic, options.topics);
    let speaking = topics * options.publishers;
    let hall = Hall::new(common, speaking, topics, traffic.messages);
    let rate = batches(options.pace(), options.burst()).map(|rate| rate / f64::from(speaking));
    let make = |place: &Place| -> Box<dyn Load> {
        let share = fanout::Share {
            kind: traffic.kind(),
            size: options.size(),
            burst: options.burst(),
            rate,
            limited: traffic.messages.is_some(),
            topics,
            publishers: options.publishers,
            worker: place.index,
            first: place.first,
            count: place.count,
            slices: slices(common),
        };
        Box::new(hall.load(share))
    };
    let know = |all| hall.know(all);
    run::run(common, traffic_plan(traffic), &make, know).map(Some)
}

fn run_churn(options: &ChurnOptions) -> anyhow::Result<Option<Outcome>> {
    let common = &options.common;
    let plan = Plan {
        warmup: options.warmup,
        counted: Some(options.duration),
        ..Plan::default()
    };
    let make = |place: &Place| -> Box<dyn Load> {
        let share = f64::from(place.count) / f64::from(common.connections);
        Box::new(Churn::new(churn::Share {
            reset: options.reset,
            rate: batches(options.rate, 1).map(|rate| rate * share),
            count: place.count,
        }))
    };
    lead(common, plan, &make)
}

fn run_storm(options: &StormOptions) -> anyhow::Result<Option<Outcome>> {
    let plan = Plan {
        counted: Some(options.duration),
        announce: options.by_server,
        may_end_early: true,
        ..Plan::default()
    };
    let make = |place: &Place| -> Box<dyn Load> {
        Box::new(Storm::new(storm::Share {
            backoff: Backoff {
                first: options.backoff,
                cap: options.backoff_max,
                tries_max: options.tries,
                try_timeout: options.try_timeout,
            },
            by_server: options.by_server,
            seed: options.common.seed,
            first: place.first,
            count: place.count,
        }))
    };
    lead(&options.common, plan, &make)
}

fn run_slow(options: &SlowOptions) -> anyhow::Result<Option<Outcome>> {
    let (common, traffic) = (&options.common, &options.traffic);
    let fast_in_all = common.connections - options.slow;
    let hall = Hall::new(common, 1, 1, None);
    let make = |place: &Place| -> Box<dyn Load> {
        let slow = part_of(u64::from(options.slow), place.index, worker_count(common));
        let slow = u32::try_from(slow).unwrap_or(u32::MAX).min(place.count);
        let fast = place.count - slow;
        let mut parts = Parts::default();
        let others: Box<dyn Load> = if options.fanout {
            Box::new(hall.load(fanout::Share {
                kind: traffic.kind(),
                size: options.size(),
                burst: 1,
                rate: batches(options.pace(), 1),
                limited: false,
                topics: 1,
                publishers: 1,
                worker: place.index,
                first: place.first,
                count: fast,
                slices: SLICES,
            }))
        } else {
            let share = f64::from(fast) / f64::from(fast_in_all);
            Box::new(Echo::new(echo::Share {
                kind: traffic.kind(),
                size: options.size(),
                depth: 1,
                rate: batches(options.pace(), 1).map(|rate| rate * share),
                quota: None,
                first: place.first,
                count: fast,
                slices: SLICES,
            }))
        };
        parts.push(fast, others);
        let share = slow::Share {
            rate: if options.fanout { 0 } else { options.slow_rate },
            size: options.slow_size,
            first: place.first + fast,
            count: slow,
        };
        parts.push(slow, Box::new(Slow::new(share)));
        Box::new(parts)
    };
    let plan = traffic_plan(traffic);
    match common.process_index {
        Some(_) => lead(common, plan, &make),
        None => run::run(common, plan, &make, |all| hall.know(all)).map(Some),
    }
}

fn run_mixed(options: &MixedOptions) -> anyhow::Result<Option<Outcome>> {
    let (common, traffic) = (&options.common, &options.traffic);
    let weights = weights(options);
    let (echoing, churning) = (echoing(options), churning(options));
    let pace = traffic.pace(USUAL_RATE * u64::from(echoing), false);
    let churn_rate = options.churn_rate.unwrap_or(u64::from(churning)).max(1);
    let make = |place: &Place| -> Box<dyn Load> {
        let [echo, churn, idle] = split(place.count, weights);
        let mut parts = Parts::default();
        let share = |part: u32, all: u32| f64::from(part) / f64::from(all.max(1));
        let load = Echo::new(echo::Share {
            kind: traffic.kind(),
            size: options.size(),
            depth: 1,
            rate: batches(pace, 1).map(|rate| rate * share(echo, echoing)),
            quota: None,
            first: place.first,
            count: echo,
            slices: slices(common),
        });
        parts.push(echo, Box::new(load));
        let load = Churn::new(churn::Share {
            reset: options.reset,
            rate: batches(Some(churn_rate), 1).map(|rate| rate * share(churn, churning)),
            count: churn,
        });
        parts.push(churn, Box::new(load));
        let load = Idle::new(idle::Share {
            ping: false,
            echo: false,
            expected: 0,
            first: place.first + echo + churn,
            count: idle,
        });
        parts.push(idle, Box::new(load));
        Box::new(parts)
    };
    lead(common, traffic_plan(traffic), &make)
}

fn weights(options: &MixedOptions) -> [u32; 3] {
    [options.echo, options.churn, options.idle]
}

/// How many connections of `mixed` echo, on all threads.
pub(crate) fn echoing(options: &MixedOptions) -> u32 {
    of_all(options, |[echo, _, _]| echo)
}

/// How many connections of `mixed` churn, on all threads.
pub(crate) fn churning(options: &MixedOptions) -> u32 {
    of_all(options, |[_, churn, _]| churn)
}

fn of_all(options: &MixedOptions, part: impl Fn([u32; 3]) -> u32) -> u32 {
    let workers = 0..worker_count(&options.common);
    workers
        .map(|worker| {
            let (_, count) = share_of(&options.common, worker);
            part(split(count, weights(options)))
        })
        .sum()
}

/// What the workers of a fan-out share.
struct Hall {
    shared: Arc<Shared>,
    wakers: Arc<OnceLock<Vec<Waker>>>,
}

impl Hall {
    /// The first `speaking` connections publish.
    fn new(common: &Common, speaking: u32, topics: u32, messages: Option<u64>) -> Self {
        let owner_of = |connection| {
            (0..worker_count(common))
                .find(|worker| {
                    let (first, count) = share_of(common, *worker);
                    connection < first + count
                })
                .expect("a publisher is one of the connections")
        };
        let owners = (0..speaking).map(owner_of).collect();
        Self {
            shared: Arc::new(Shared::new(owners, topics, messages)),
            wakers: Arc::new(OnceLock::new()),
        }
    }

    fn load(&self, share: fanout::Share) -> Fanout {
        Fanout::new(share, Arc::clone(&self.shared), Arc::clone(&self.wakers))
    }

    fn know(&self, wakers: Vec<Waker>) {
        self.wakers.set(wakers).expect("it is told once");
    }
}

/// The part of `total` that falls to number `index` of `count`.
fn part_of(total: u64, index: u32, count: u32) -> u64 {
    let (index, count) = (u64::from(index), u64::from(count));
    total / count + u64::from(index < total % count)
}

/// Batches per second, of messages per second.
#[expect(clippy::cast_precision_loss, reason = "a rate is at most 10^9")]
fn batches(rate: Option<u64>, size: u32) -> Option<f64> {
    rate.map(|rate| rate as f64 / f64::from(size))
}
