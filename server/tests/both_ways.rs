//! Messages of every size, both ways at once, to clients that read fast and slowly: each byte of
//! each message is compared, on each way to speak to the kernel.
//!
//! What is said is made up from a seed, which is printed; `TIDEGATE_SEED=842` says it again.

mod support;

use std::hash::{BuildHasher, RandomState};
use std::thread;
use std::time::Duration;

use support::client::Client;
use support::clock;
use support::server::Server;
use support::wire::{self, BINARY, CONTINUATION, FIN, Frame, TEXT};

/// How the server speaks to the kernel.
const KERNELS: [&[&str]; 4] = [
    &["--io", "epoll", "--host", "thread"],
    &["--io", "epoll", "--host", "glommio"],
    &["--io", "uring", "--host", "thread"],
    &["--io", "uring", "--host", "glommio"],
];

const SIZE_MAX: usize = 1 << 20;

/// A slow reader has so little room in the kernel, and rests so long now and then.
const NARROW: usize = 16 * 1024;
const REST: Duration = Duration::from_millis(3);

/// Marsaglia, "Xorshift RNGs", 2003.
struct Chance(u64);

impl Chance {
    fn new(seed: u64) -> Self {
        let mut chance =
            Self((seed ^ 0x5851_F42D_4C95_7F2D).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..8 {
            chance.next();
        }
        chance
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % limit
    }

    /// From 1 to `max`, each power of two as often as any other, and `max` itself too.
    fn size(&mut self, max: usize) -> usize {
        let bits = self.below(max.ilog2() as usize + 2);
        (1 << bits) + self.below(1 << bits).min(max - 1)
    }
}

/// What one client says, in order.
#[derive(Debug)]
struct Speech {
    seed: u64,
    /// Of a message, and of a piece of what is written.
    size_max: usize,
    messages: Vec<Frame>,
}

impl Speech {
    /// The first byte of each message names the speaker.
    fn new(seed: u64, speaker: usize, count: usize, size_max: usize) -> Self {
        let seed = seed.wrapping_mul(64) + speaker as u64;
        let mut chance = Chance::new(seed);
        let message = |_| message(&mut chance, speaker, size_max);
        let messages = (0..count).map(message).collect();
        Self {
            seed,
            size_max,
            messages,
        }
    }

    /// The bytes as a client sends them: some messages in fragments.
    fn wire(&self) -> Vec<u8> {
        let mut chance = Chance::new(!self.seed);
        let mut bytes = Vec::new();
        for message in &self.messages {
            let mut rest = &message.payload[..];
            let mut opcode = message.first & !FIN;
            while chance.below(3) == 0 && rest.len() > 1 {
                let (part, others) = rest.split_at(chance.size(rest.len() - 1).min(rest.len() - 1));
                bytes.extend(wire::frame(opcode, part));
                (rest, opcode) = (others, CONTINUATION);
            }
            bytes.extend(wire::frame(FIN | opcode, rest));
        }
        bytes
    }

    /// Says it all, in pieces that cut frames anywhere.
    fn say(&self, client: &mut Client) {
        let mut chance = Chance::new(self.seed ^ 7);
        let bytes = self.wire();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(chance.size(self.size_max).min(rest.len()));
            client.send(piece);
            rest = others;
        }
    }
}

fn message(chance: &mut Chance, speaker: usize, size_max: usize) -> Frame {
    let size = chance.size(size_max).min(size_max);
    let first = if chance.below(2) == 0 { TEXT } else { BINARY };
    let mut payload: Vec<u8> = (0..size)
        .map(|_| match (first, chance.next().to_le_bytes()[4]) {
            (TEXT, byte) => b' ' + byte % 95,
            (_, byte) => byte,
        })
        .collect();
    payload[0] = name(speaker);
    Frame { first, payload }
}

fn name(speaker: usize) -> u8 {
    b'A' + u8::try_from(speaker).expect("there are few")
}

/// Every second client is a slow one.
fn connect(server: &Server, path: &str, index: usize) -> Client {
    let client = match is_slow(index) {
        true => Client::connect_narrow(server.public, NARROW),
        false => server.connect(),
    };
    client.upgraded(path)
}

fn is_slow(index: usize) -> bool {
    index % 2 == 1
}

/// Hears all of these speeches, each in its order.
fn hear(client: &mut Client, index: usize, speeches: &[&Speech]) {
    let mut next = vec![0; speeches.len()];
    let count: usize = speeches.iter().map(|speech| speech.messages.len()).sum();
    let mut chance = Chance::new(index as u64);
    for _ in 0..count {
        if is_slow(index) && chance.below(4) == 0 {
            clock::let_pass(REST);
        }
        let heard = client.frame();
        let whose = |speech: &&Speech| speech.messages[0].payload[0] == heard.payload[0];
        let speaker = speeches.iter().position(whose);
        let speaker = speaker.unwrap_or_else(|| panic!("nobody said {heard:?}"));
        let Some(wanted) = speeches[speaker].messages.get(next[speaker]) else {
            panic!("{speaker} has said all, but client {index} hears {heard:?}");
        };
        let differs = heard
            .payload
            .iter()
            .zip(&wanted.payload)
            .position(|(a, b)| a != b);
        assert!(
            heard == *wanted,
            "client {index} hears message {} of {speaker} otherwise: {heard:?}, wanted {wanted:?}, \
             the first byte that differs is {differs:?}",
            next[speaker]
        );
        next[speaker] += 1;
    }
    client.hears_nothing_more();
}

/// All of them speak and hear at once; each hears those that `audible` names.
fn converse<'a>(
    clients: &mut [Client],
    speeches: &'a [Speech],
    audible: impl Fn(usize) -> Vec<&'a Speech>,
) {
    thread::scope(|scope| {
        for (index, client) in clients.iter_mut().enumerate() {
            let mut mouth = client.second_hand();
            let own = &speeches[index];
            let heard = audible(index);
            scope.spawn(move || own.say(&mut mouth));
            scope.spawn(move || hear(client, index, &heard));
        }
    });
}

fn seed() -> u64 {
    let given = std::env::var("TIDEGATE_SEED").ok();
    let seed = match given {
        Some(text) => text.parse().expect("a number"),
        None => RandomState::new().hash_one(0) >> 32,
    };
    // What a test prints is shown when it fails.
    eprintln!("TIDEGATE_SEED={seed}");
    seed
}

fn serve(kernel: &[&str]) -> Server {
    eprintln!("{kernel:?}");
    // A slow reader of a room may be behind by all that is said there.
    let limits = ["--max-message", "1MiB", "--outbox-max", "256MiB"];
    Server::with(&[&limits, kernel].concat())
}

#[test]
fn what_is_echoed_is_what_was_said() {
    const CLIENTS: usize = 24;
    // A few say large things; the others say many small ones, so that a turn has some of each.
    let speech = |index| match index {
        0..6 => (40, SIZE_MAX),
        _ => (400, 300),
    };
    let seed = seed();
    for kernel in KERNELS {
        let server = serve(kernel);
        let speech = |index| {
            let (count, size_max) = speech(index);
            Speech::new(seed, index, count, size_max)
        };
        let speeches: Vec<_> = (0..CLIENTS).map(speech).collect();
        let connect = |index| connect(&server, "/echo", index);
        let mut clients: Vec<_> = (0..CLIENTS).map(connect).collect();
        converse(&mut clients, &speeches, |index| vec![&speeches[index]]);
        for client in clients {
            client.closes();
        }
        server.until_empty();
    }
}

#[test]
fn what_a_room_hears_is_what_its_members_said() {
    const ROOMS: [&str; 2] = ["/ws/one", "/ws/other"];
    const MEMBERS: usize = 8;
    const EACH: usize = 12;
    let seed = seed();
    for kernel in KERNELS {
        let server = serve(kernel);
        let speech = |index| Speech::new(seed, index, EACH, SIZE_MAX);
        let speeches: Vec<_> = (0..MEMBERS).map(speech).collect();
        // Fast and slow ones in either.
        let room = |index: usize| index / 2 % 2;
        let connect = |index| connect(&server, ROOMS[room(index)], index);
        let mut clients: Vec<_> = (0..MEMBERS).map(connect).collect();
        converse(&mut clients, &speeches, |index| {
            let said = (0..MEMBERS).filter(|&speaker| room(speaker) == room(index));
            said.map(|speaker| &speeches[speaker]).collect()
        });
        for client in clients {
            client.closes();
        }
        server.until_empty();
    }
}
