//! A conversation made up from a seed: what some peers do, and what the driver is asked to do.

/// Marsaglia, "Xorshift RNGs", 2003.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        // The multiplier spreads small seeds; a state of 0 would stay 0.
        let mut chance = Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..8 {
            chance.next();
        }
        chance
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let high = u32::try_from(self.next() >> 32).expect("32 bits");
        high as usize % limit
    }

    /// One in so many times.
    pub(crate) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// From 1 to `max`, each power of two as often as any other.
    pub(crate) fn size(&mut self, max: usize) -> usize {
        let bits = self.below(max.ilog2() as usize + 1);
        (1 + self.below(1 << bits) + (1 << bits) - 1).min(max)
    }
}

/// What happens next with one peer. What waits for something waits in its own script only.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// The peer writes so many bytes.
    Says(usize),
    /// The peer reads what comes, or stops reading.
    Reads(bool),
    Pause,
    Resume,
    /// The next bytes go into a buffer that holds something: so many at most.
    ReceiveInto(usize),
    /// A batch of pieces of these sizes, sent when the one before is.
    Send(Vec<usize>),
    /// Some turns pass.
    Rest(usize),
    /// All that was said has been heard, on both sides.
    Settle,
    /// The last act.
    Ends(Ending),
}

/// How a conversation ends. `torn`: in its midst, without everything having been heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The peer ends its stream; it is sent the rest, and closed.
    PeerFinishes,
    /// The driver ends its stream; the peer hears the rest, and ends its own.
    WeShutDown,
    PeerResets {
        torn: bool,
    },
    WeClose {
        torn: bool,
        reset: bool,
    },
}

impl Ending {
    /// May a part of what was said be lost?
    pub(crate) fn is_torn(self) -> bool {
        match self {
            Self::PeerFinishes | Self::WeShutDown => false,
            Self::PeerResets { torn } | Self::WeClose { torn, .. } => torn,
        }
    }

    fn from(chance: &mut Chance) -> Self {
        let torn = chance.one_in(2);
        match chance.below(6) {
            0 | 1 => Self::PeerFinishes,
            2 => Self::WeShutDown,
            3 => Self::PeerResets { torn },
            4 => Self::WeClose { torn, reset: false },
            _ => Self::WeClose { torn, reset: true },
        }
    }
}

/// Who does what, each in this order.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) peers: Vec<Vec<Act>>,
}

const PEERS_MAX: usize = 12;
const ACTS_MAX: usize = 24;
const SIZE_MAX: usize = 1 << 20;

/// In all, each way: a script takes no more than moments.
const BYTES_MAX: usize = 6 << 20;

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let mut left = BYTES_MAX;
        let count = 1 + chance.below(PEERS_MAX);
        let peers = (0..count).map(|_| acts(&mut chance, &mut left)).collect();
        Self { peers }
    }
}

fn acts(chance: &mut Chance, left: &mut usize) -> Vec<Act> {
    // Some say little and often, some much.
    let size_max = [64, 4_096, 70_000, SIZE_MAX][chance.below(4)];
    let mut acts: Vec<_> = (0..chance.below(ACTS_MAX))
        .map(|_| act(chance, size_max, left))
        .collect();
    let ending = Ending::from(chance);
    let settled = matches!(
        ending,
        Ending::PeerResets { torn: false } | Ending::WeClose { torn: false, .. }
    );
    if settled {
        acts.push(Act::Settle);
    }
    acts.push(Act::Ends(ending));
    acts
}

fn act(chance: &mut Chance, size_max: usize, left: &mut usize) -> Act {
    let mut size = |chance: &mut Chance| {
        let size = chance.size(size_max).min(*left / 2 + 1);
        *left = left.saturating_sub(size);
        size
    };
    match chance.below(16) {
        0..=4 => Act::Says(size(chance)),
        5..=7 => {
            let count = match chance.below(4) {
                0 => 1 + chance.below(100),
                _ => 1 + chance.below(3),
            };
            // Many pieces are small ones, and some of them are empty.
            let mut piece = |_| match count {
                1..=3 => size(chance),
                _ => chance.below(300),
            };
            Act::Send((0..count).map(&mut piece).collect())
        }
        8 => Act::Reads(false),
        9 => Act::Reads(true),
        10 => Act::Pause,
        11 => Act::Resume,
        12 => Act::ReceiveInto(chance.size(SIZE_MAX / 4)),
        13 => Act::Settle,
        _ => Act::Rest(1 + chance.below(5)),
    }
}
