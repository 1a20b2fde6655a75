//! Makes conversations from seeds: legal ones, and such that break the rules of both RFCs.

mod frames;
mod payloads;
mod squeezer;

use frames::{BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, RSV1, TEXT, put_frame};
use squeezer::Squeezer;

use crate::conversation::{Compression, Conversation, Half};
use crate::random::Random;

/// Makes conversations, with buffers that are used again.
#[derive(Debug, Default)]
pub struct Generator {
    squeezer: Squeezer,
    payload: Vec<u8>,
    squeezed: Vec<u8>,
}

/// What one conversation is made with.
struct Scene<'c> {
    random: Random,
    conversation: &'c mut Conversation,
    /// Whether rules are broken; otherwise only a cut end or a size may be wrong.
    wild: bool,
    /// In how many of a hundred messages compression is used.
    squeezed_share: usize,
}

impl Generator {
    /// With empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the conversation of this seed; compressed ones only where they can be judged.
    pub fn generate(&mut self, seed: u64, may_compress: bool, conversation: &mut Conversation) {
        let mut random = Random::new(seed);
        conversation.seed = seed;
        conversation.bytes.clear();
        conversation.cuts.clear();
        conversation.half = if random.percent(80) {
            Half::Server
        } else {
            Half::Client
        };
        conversation.compression = match random.below(6) {
            0 if may_compress => Compression::Shared,
            1 if may_compress => Compression::Takeover,
            _ => Compression::None,
        };
        conversation.size_max = random.pick(&SIZES_MAX);
        conversation.direct = random.percent(30);
        let compressing = conversation.compression != Compression::None;
        let squeezed_share = if compressing { 80 } else { 0 };
        let wild = random.percent(55);
        let mut scene = Scene {
            random,
            conversation,
            wild,
            squeezed_share,
        };
        self.squeezer
            .start(&mut scene.random, scene.conversation.compression);
        self.speak(&mut scene);
        scene.spoil();
        scene.cut();
    }

    fn speak(&mut self, scene: &mut Scene<'_>) {
        let count = 1 + scene.random.below(4) + scene.random.below(4);
        for _ in 0..count {
            match scene.random.below(100) {
                0..70 => self.say_message(scene),
                70..90 => self.say_control(scene),
                90..95 => self.say_close(scene),
                _ if scene.wild => self.say_nonsense(scene),
                _ => self.say_message(scene),
            }
        }
        if scene.random.percent(35) {
            self.say_close(scene);
            if scene.random.percent(30) {
                self.say_message(scene);
            }
        }
    }

    /// A whole message, in one frame or several.
    fn say_message(&mut self, scene: &mut Scene<'_>) {
        let is_text = scene.random.percent(60);
        let size = payloads::size(&mut scene.random, scene.conversation.size_max);
        if is_text {
            payloads::text(&mut scene.random, size, &mut self.payload);
            if scene.wild && scene.random.percent(20) {
                payloads::spoil_text(&mut scene.random, &mut self.payload);
            }
        } else {
            payloads::binary(&mut scene.random, size, &mut self.payload);
        }
        let squeezed = scene.random.percent(scene.squeezed_share);
        let mut payload = std::mem::take(&mut self.payload);
        if squeezed {
            if scene.random.percent(8) {
                payloads::run(&mut scene.random, scene.conversation.size_max, &mut payload);
            }
            self.squeezer
                .squeeze(&mut scene.random, &payload, scene.wild, &mut self.squeezed);
            std::mem::swap(&mut payload, &mut self.squeezed);
        }
        let first = if is_text { TEXT } else { BINARY } | if squeezed { RSV1 } else { 0 };
        if scene.random.percent(65) {
            scene.put(FIN | first, &payload);
        } else {
            self.say_fragments(scene, first, &payload);
        }
        self.payload = payload;
    }

    fn say_fragments(&mut self, scene: &mut Scene<'_>, first: u8, payload: &[u8]) {
        let count = 2 + scene.random.below(3);
        let mut opcode = first;
        let mut start = 0;
        for left in (0..count).rev() {
            let size = match left {
                0 => payload.len() - start,
                _ => scene.random.below(payload.len() - start + 1),
            };
            let fin = if left == 0 { FIN } else { 0 };
            scene.put(fin | opcode, &payload[start..start + size]);
            start += size;
            opcode = CONTINUATION;
            if left > 0 && scene.random.percent(25) {
                self.say_control(scene);
            }
            if left > 0 && scene.random.percent(2) {
                self.say_close(scene);
            }
            if left > 0 && scene.wild && scene.random.percent(4) {
                return; // left open: what follows interrupts it
            }
        }
    }

    fn say_control(&mut self, scene: &mut Scene<'_>) {
        let opcode = scene.random.pick(&[PING, PING, PONG]);
        let size = match scene.random.below(20) {
            0 => 125,
            1 => 124,
            2 if scene.wild => 126 + scene.random.below(300),
            3..8 => scene.random.below(126),
            8..11 => 0,
            _ => scene.random.below(12),
        };
        let mut payload = [0; 512];
        payloads::fill(&mut scene.random, &mut payload[..size]);
        scene.put(FIN | opcode, &payload[..size]);
    }

    fn say_close(&mut self, scene: &mut Scene<'_>) {
        let mut body = std::mem::take(&mut self.squeezed);
        body.clear();
        if !scene.random.percent(15) {
            body.extend_from_slice(&scene.close_code().to_be_bytes());
            if scene.random.percent(50) {
                let size = scene.random.pick(&[0, 1, 5, 20, 60, 123]);
                payloads::text(&mut scene.random, size, &mut self.payload);
                if scene.wild && scene.random.percent(25) {
                    payloads::spoil_text(&mut scene.random, &mut self.payload);
                }
                self.payload.truncate(if scene.wild { 124 } else { 123 });
                body.extend_from_slice(&self.payload);
            }
            if scene.wild && scene.random.percent(6) {
                body.truncate(1);
            }
        }
        scene.put(FIN | CLOSE, &body);
        self.squeezed = body;
    }

    /// Something that no sequence of messages contains.
    fn say_nonsense(&mut self, scene: &mut Scene<'_>) {
        let size = scene.random.below(10);
        payloads::text(&mut scene.random, size, &mut self.payload);
        let first = match scene.random.below(4) {
            0 => FIN | CONTINUATION,
            1 => CONTINUATION,
            2 => TEXT,
            _ => scene.random.byte(),
        };
        let payload = std::mem::take(&mut self.payload);
        scene.put(first, &payload);
        self.payload = payload;
    }
}

impl Scene<'_> {
    /// Appends a frame, broken in one way or another if rules are broken.
    fn put(&mut self, first: u8, payload: &[u8]) {
        let masked = self.conversation.half == Half::Server;
        let broken = self.wild && self.random.percent(10);
        put_frame(
            &mut self.random,
            first,
            masked,
            broken,
            payload,
            &mut self.conversation.bytes,
        );
    }

    fn close_code(&mut self) -> u16 {
        if self.wild && self.random.percent(30) {
            let [.., high, low] = self.random.four();
            let any = u16::from_be_bytes([high, low]);
            let (around, wide) = (1000 + any % 20, any % 6000);
            return self.random.pick(&[
                0, 999, 1004, 1005, 1006, 1015, 2999, 5000, around, wide, any,
            ]);
        }
        self.random.pick(&[
            1000, 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000,
            3999, 4000, 4999,
        ])
    }

    /// Flips bits of what was well-formed, and loses the end.
    fn spoil(&mut self) {
        let size = self.conversation.bytes.len();
        if size == 0 {
            return;
        }
        if self.wild && self.random.percent(20) {
            for _ in 0..=self.random.below(3) {
                let index = self.random.below(size.min(200));
                self.conversation.bytes[index] ^= 1 << self.random.below(8);
            }
        }
        if self.random.percent(20) {
            let kept = self.random.below(size);
            self.conversation.bytes.truncate(kept);
        }
    }

    fn cut(&mut self) {
        let size = self.conversation.bytes.len();
        let cuts = &mut self.conversation.cuts;
        let step_max = match self.random.below(10) {
            0..3 => size,
            3 if size <= 600 => 1,
            4 => 3,
            5 | 6 => 40,
            _ => 8 + size / 2,
        };
        // A large conversation is not cut into thousands.
        let step_max = step_max.max(size / 400).max(1);
        let mut end = 0;
        while end < size {
            let step = if step_max == size {
                size
            } else {
                1 + self.random.below(step_max)
            };
            end = size.min(end + step);
            cuts.push(end);
        }
    }
}

/// The limits of readers. None is below 125, for some readers hold control frames against it too.
const SIZES_MAX: [usize; 12] = [
    125, 126, 127, 200, 300, 600, 1000, 2043, 4096, 5000, 65_535, 66_000,
];
