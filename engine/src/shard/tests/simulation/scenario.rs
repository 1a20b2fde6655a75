//! What a seed stands for.

use tidegate_io::sim::Chance;
use tidegate_proto::deflate::DeflatePolicy;

use super::door::Door;
use super::frames::Breach;
use super::hall::{Role, TOPICS};
use super::*;

/// A whole play, before it begins.
#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) faults: Faults,
    pub(super) shard_count: usize,
    pub(super) limits: Limits,
    /// No deadline and no limit comes into play: every end must have been asked for.
    pub(super) strict: bool,
    pub(super) compression: Compression,
    pub(super) plans: Vec<Plan>,
    /// When time leaps ahead, and how far.
    pub(super) leaps: Vec<(Duration, Duration)>,
    /// A shard that could have its turn is left waiting with this probability.
    pub(super) dawdle: f64,
    pub(super) ending: Ending,
    pub(super) door: Door,
}

/// How the server ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    /// When; or as soon as nothing happens any more.
    pub(super) at: Option<Duration>,
    /// Politely; or at once.
    pub(super) drain: Option<Farewell>,
}

/// What one client does.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) start: Duration,
    pub(super) kind: Kind,
    /// Each step, and how long after the one before.
    pub(super) steps: Vec<(Duration, Step)>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Guest {
        role: Role,
        offer: Option<DeflatePolicy>,
        /// Does it answer a close frame?
        polite: bool,
        /// Does it speak before its request has been answered?
        eager: bool,
        /// Does it answer pings?
        ponging: bool,
    },
    /// Sends this, which is no request for a WebSocket, and waits.
    Stranger(&'static [u8]),
}

/// What a client does next.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Say {
        size: usize,
        text: bool,
        fragments: usize,
        deflated: bool,
        pinging: bool,
    },
    /// All but the last frame of a message.
    SayHalf,
    Ping,
    StopReading,
    StartReading,
    Breach(Breach),
    Close,
    /// Has its task close the connection, after what it said before.
    Dismiss,
    /// The end of the stream, without a close frame.
    Finish,
    Reset,
    /// Neither reads nor says anything any more.
    Vanish,
}

const STRANGERS: [&[u8]; 6] = [
    b"",
    b"GET / HTTP/1.1\r\nHost: s",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: sim\r\n\r\n",
    b"GET /echo/0/0 HTTP/1.1\r\nHost: sim\r\n\r\n",
    b"HEAD /status HTTP/1.1\r\nHost: sim\r\n\r\n",
];

/// One for each guest of the largest crowd.
const TASKS_MAX: usize = 4_000;

const PATIENCE: Duration = Duration::from_secs(3600);

impl Scenario {
    pub(super) fn new(seed: u64) -> Self {
        let chance = &mut Chance::new(seed);
        let strict = chance.roll(0.6);
        let shard_count = 1 + chance.below(4);
        let mut limits = if strict {
            generous(chance)
        } else {
            tight(chance)
        };
        limits.profile = profile(strict, limits.profile, chance);
        limits.profile.rates = rates(strict, limits.message_size_max, seed);
        let pinging = !limits.profile.ping_interval.is_zero();
        let compression = match chance.below(4) {
            0 => Compression::Off,
            1 => Compression::Takeover {
                bytes_max: 50_000 << chance.below(8),
            },
            _ => Compression::Shared,
        };
        let faults = faults(chance);
        let mut crowd = Crowd::new(chance, &limits);
        if faults.capacity_max < 1_000 {
            // Each byte may be an event of its own.
            crowd.size_max = crowd.size_max.min(500);
            crowd.size = crowd.size.min(20);
        }
        let plans: Vec<Plan> = (0..crowd.size).map(|_| crowd.plan(chance)).collect();
        let leap = |chance: &mut Chance| (millis(chance, 60_000), millis(chance, 40_000));
        let leap_count = [0, 0, 1, 3][chance.below(4)];
        Self {
            door: door(strict, &mut Chance::new(seed ^ 0x000D_0012)),
            faults,
            shard_count,
            limits,
            strict,
            compression,
            plans,
            leaps: (0..leap_count).map(|_| leap(chance)).collect(),
            dawdle: [0.0, 0.02, 0.2][chance.below(3)],
            ending: Ending {
                // Where there are pings, it is never quiet.
                at: match pinging {
                    true => Some(Duration::from_secs(60 + chance.below(400) as u64)),
                    false => chance.roll(0.3).then(|| millis(chance, 30_000)),
                },
                drain: chance.roll(0.7).then(|| farewell(millis(chance, 20_000))),
            },
        }
    }
}

/// Who does not meet any limit is let in.
fn door(strict: bool, chance: &mut Chance) -> Door {
    let some = |chance: &mut Chance| chance.below(5) as u64;
    let picky = !strict && chance.roll(0.5);
    Door {
        proxied: chance.roll(0.3),
        refused: if picky { some(chance) } else { 0 },
        dropped: if picky { some(chance) } else { 0 },
    }
}

/// Its digits choose the rest, so that a seed goes on meaning what it has meant.
fn farewell(within: Duration) -> Farewell {
    let digits = within.subsec_micros();
    Farewell {
        listeners: [Parting::Close, Parting::Hush][digits as usize % 2],
        grace: within * (digits % 3) / 6,
        spread: within * (digits % 5) / 8,
        retry_after: Duration::from_millis(u64::from(digits % 7)),
        within,
    }
}

/// Up to so many, short spans as likely as long ones.
fn millis(chance: &mut Chance, max: u64) -> Duration {
    let doublings = usize::try_from(max.ilog2()).expect("64 at most");
    let max = max >> chance.below(doublings);
    let max = usize::try_from(max).expect("a minute or so");
    Duration::from_micros(1000 * chance.below(max + 1) as u64 + chance.below(1000) as u64)
}

/// Pings are far enough apart that whoever answers is never too late; a small outbox, and
/// policies that make use of it, come with the tight limits.
fn profile(strict: bool, limits: Profile, chance: &mut Chance) -> Profile {
    let policies = match strict {
        // Its outbox is never full, and what is replaced before would be missed.
        true => [
            SlowPolicy::Disconnect,
            SlowPolicy::DropOldest,
            SlowPolicy::DropNewest,
        ],
        false => [
            SlowPolicy::DropOldest,
            SlowPolicy::DropNewest,
            SlowPolicy::Latest,
        ],
    };
    let slow = match chance.below(7) {
        index @ 0..3 => policies[index],
        3 => SlowPolicy::Pause,
        _ => SlowPolicy::Disconnect,
    };
    let pinging = strict && chance.roll(0.3);
    Profile {
        ping_interval: match pinging {
            true => Duration::from_secs(20) + millis(chance, 60_000),
            false => Duration::ZERO,
        },
        pings_missed_max: 2 + u8::try_from(chance.below(2)).expect("one"),
        write_idle_timeout: match pinging && chance.roll(0.3) {
            true => Duration::from_secs(2) + millis(chance, 60_000),
            false => Duration::ZERO,
        },
        slow,
        ..limits
    }
}

/// What each may say in how much time, in some plays; of a chance of its own, so that the same seeds are
/// the same plays otherwise. Nobody who is slowed down misses anything for it.
fn rates(strict: bool, message_size_max: usize, seed: u64) -> Rates {
    let chance = &mut Chance::new(seed ^ 0x0072_6174_6573);
    if !chance.roll(0.3) {
        return Rates::default();
    }
    let policy = match strict || chance.roll(0.5) {
        true => RatePolicy::Slow,
        false => RatePolicy::Close,
    };
    let size = u32::try_from(message_size_max).expect("far less");
    let messages = Rate {
        per_second: [1, 5, 50, 1_000][chance.below(4)],
        burst: [1, 10, 0][chance.below(3)],
    };
    let bytes = Rate {
        per_second: (size / [1, 5, 20][chance.below(3)]).max(100),
        burst: [0, size + 14, 10 * size][chance.below(3)],
    };
    let only = chance.below(3);
    Rates {
        messages: if only == 1 { Rate::default() } else { messages },
        bytes: if only == 2 { Rate::default() } else { bytes },
        policy,
    }
}

fn faults(chance: &mut Chance) -> Faults {
    match chance.below(6) {
        5 => Faults::none(),
        1 | 2 => Faults::without_resets(),
        0 => Faults::default(),
        // Links of a few bytes: each of them takes a round of its own, so it must not take long.
        3 => Faults {
            capacity_min: 1,
            capacity_max: 100,
            ..Faults::without_resets()
        },
        _ => Faults {
            short_receive: 0.6,
            short_write: 0.6,
            late: 0.5,
            late_max: millis(chance, 500),
            refused: [0.0, 0.6][chance.below(2)],
            late_send: 0.5,
            reset: [0.0, 0.01][chance.below(2)],
            capacity_min: [500, 2_000, 5_000][chance.below(3)],
            capacity_max: [5_000, 100_000][chance.below(2)],
            ..Faults::default()
        },
    }
}

/// Limits that nobody meets but by the size of a message.
fn generous(chance: &mut Chance) -> Limits {
    Limits {
        message_size_max: [65_536, 400_000][chance.below(2)],
        handshake_timeout: PATIENCE,
        linger_timeout: PATIENCE,
        mailbox_letters_max: [1, 2, 16, 1024][chance.below(4)],
        mail_bytes_max: [2_000, 100_000, 4 << 20][chance.below(3)],
        task_bytes_max: [100, 20_000, 1 << 20][chance.below(3)],
        tasks_max: TASKS_MAX,
        profile: Profile {
            outbox_bytes_max: 1 << 30,
            message_timeout: PATIENCE,
            send_timeout: PATIENCE,
            close_timeout: PATIENCE,
            ..Profile::quiet()
        },
        ..Limits::default()
    }
}

/// Limits that everybody meets.
fn tight(chance: &mut Chance) -> Limits {
    let outbox_bytes_max = [4_000, 20_000, 192 * 1024][chance.below(3)];
    let message_size_max = [1_000, 20_000, 65_536][chance.below(3)];
    let outbox_pause_size = outbox_bytes_max / (2 + chance.below(4));
    let handshake_timeout = Duration::from_millis(200) + millis(chance, 10_000);
    let profile = Profile {
        outbox_bytes_max,
        outbox_pause_size,
        message_timeout: Duration::from_millis(200) + millis(chance, 20_000),
        send_timeout: Duration::from_millis(200) + millis(chance, 20_000),
        close_timeout: Duration::from_millis(200) + millis(chance, 5_000),
        ..Profile::quiet()
    };
    Limits {
        message_size_max,
        handshake_timeout,
        linger_timeout: Duration::from_millis(200) + millis(chance, 5_000),
        mailbox_letters_max: [1, 4, 1024][chance.below(3)],
        mail_bytes_max: [0, 10_000, 1 << 20][chance.below(3)],
        task_bytes_max: [100, 20_000, 1 << 20][chance.below(3)],
        tasks_max: TASKS_MAX,
        profile,
        ..Limits::default()
    }
}

/// What the clients of one play have in common.
struct Crowd {
    size: usize,
    steps_max: usize,
    size_max: usize,
    message_size_max: usize,
    pause: u64,
    /// How many do something wrong or sudden.
    rowdy: f64,
    /// How many are no guests at all.
    strange: f64,
    rooms: f64,
    /// How many steps are to stop reading.
    lazy: f64,
    feeds: f64,
    /// One topic is busier than four.
    topics: usize,
    offering: f64,
    /// How many have a task do their work.
    hiring: f64,
}

impl Crowd {
    fn new(chance: &mut Chance, limits: &Limits) -> Self {
        let size = match chance.below(200) {
            0 => 1000 + chance.below(2000),
            1..=9 => 50 + chance.below(200),
            _ => 1 + chance.below(20),
        };
        let many = size > 40;
        let large = if many { 500 } else { limits.message_size_max };
        if !many && chance.roll(0.2) {
            return Self::flood(chance, limits);
        }
        Self {
            size,
            steps_max: if many { 4 } else { 5 << chance.below(4) },
            size_max: [200, 3_000, large][chance.below(3)].min(large),
            message_size_max: limits.message_size_max,
            pause: [5, 300, 5_000, 40_000][chance.below(4)],
            rowdy: [0.0, 0.1, 0.5][chance.below(3)],
            strange: [0.0, 0.0, 0.1][chance.below(3)],
            rooms: if many {
                0.02
            } else {
                [0.0, 0.3, 0.8, 0.9][chance.below(4)]
            },
            lazy: [0.02, 0.02, 0.2][chance.below(3)],
            feeds: if many { 0.5 } else { 0.2 },
            topics: [1, TOPICS][chance.below(2)],
            offering: [0.0, 0.3, 1.0][chance.below(3)] * if many { 0.1 } else { 1.0 },
            hiring: [0.0, 0.3, 0.3, 1.0][chance.below(4)],
        }
    }

    /// A busy room in which not everybody reads.
    fn flood(chance: &mut Chance, limits: &Limits) -> Self {
        Self {
            size: 4 + chance.below(8),
            steps_max: 60,
            size_max: limits.message_size_max.min(30_000),
            message_size_max: limits.message_size_max,
            pause: 5,
            rowdy: 0.2,
            strange: 0.0,
            rooms: 0.8,
            lazy: 0.1,
            feeds: 1.0,
            topics: 1,
            offering: 0.1,
            hiring: [0.0, 0.2][chance.below(2)],
        }
    }

    fn plan(&self, chance: &mut Chance) -> Plan {
        let start = millis(chance, 20_000.min(2 * self.pause + 500));
        if chance.roll(self.strange) {
            return Plan {
                start,
                kind: Kind::Stranger(STRANGERS[chance.below(STRANGERS.len())]),
                steps: Vec::new(),
            };
        }
        let role = if chance.roll(self.rooms) {
            Role::Room(chance.below(self.topics))
        } else if chance.roll(self.feeds) {
            let any = u8::try_from(chance.below(1 << TOPICS)).expect("few topics");
            Role::Feed(if self.topics == 1 { 1 } else { any })
        } else {
            Role::Echo
        };
        let role = match role {
            Role::Room(topic) if chance.roll(self.hiring) => Role::Agent(topic),
            Role::Echo if chance.roll(self.hiring) => Role::Clerk,
            other => other,
        };
        let offer = chance.roll(self.offering).then(|| DeflatePolicy {
            takeover: chance.roll(0.5),
            server_window_bits: [9, 12, 15][chance.below(3)],
            ..DeflatePolicy::SHARED
        });
        let kind = Kind::Guest {
            role,
            offer,
            polite: !chance.roll(self.rowdy / 4.0),
            eager: offer.is_none() && chance.roll(0.2),
            ponging: !chance.roll(self.rowdy / 2.0),
        };
        let mut steps = Vec::new();
        self.add_steps(role, &mut steps, chance);
        Plan { start, kind, steps }
    }

    fn add_steps(&self, role: Role, steps: &mut Vec<(Duration, Step)>, chance: &mut Chance) {
        for _ in 0..chance.below(self.steps_max + 1) {
            let pause = if chance.roll(0.5) {
                Duration::ZERO
            } else {
                millis(chance, self.pause)
            };
            let step = match chance.below(12) {
                0 => Step::Ping,
                _ if chance.roll(self.lazy) => Step::StopReading,
                2 => Step::StartReading,
                _ if matches!(role, Role::Feed(_)) => Step::Ping,
                _ => self.saying(role, chance),
            };
            steps.push((pause, step));
        }
        steps.push((millis(chance, self.pause), Step::StartReading));
        if chance.roll(self.rowdy) {
            let last = match chance.below(7) {
                0 => Step::Finish,
                1 => Step::Reset,
                2 => Step::Vanish,
                3 => Step::SayHalf,
                4 => self.saying(role, chance),
                _ => Step::Breach(Breach::ALL[chance.below(Breach::ALL.len())]),
            };
            steps.push((millis(chance, self.pause), last));
        } else if chance.roll(0.4) {
            let close = if role.hires() && chance.roll(0.7) {
                Step::Dismiss
            } else {
                Step::Close
            };
            steps.push((millis(chance, self.pause), close));
        }
    }

    fn saying(&self, role: Role, chance: &mut Chance) -> Step {
        let least = match role {
            Role::Echo | Role::Clerk => 0,
            Role::Room(_) | Role::Feed(_) | Role::Agent(_) => frames::LABEL_SIZE,
        };
        let max = match chance.below(8) {
            0 => self.size_max,
            1 => 125,
            2..=4 => self.size_max.min(20_000),
            _ => self.size_max.min(2_000),
        };
        Step::Say {
            size: (least + chance.below(max + 1)).min(self.message_size_max),
            text: chance.roll(0.5),
            fragments: [1, 1, 1, 2, 5][chance.below(5)],
            deflated: chance.roll(0.8),
            pinging: chance.roll(0.1),
        }
    }
}
