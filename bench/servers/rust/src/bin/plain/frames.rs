//! Frames of a client, and the messages that go round.

/// How many different messages go round: of 512 bytes, twice what the largest window holds, so
/// that none is found again whole.
pub(crate) const ROUND: usize = 128;

/// Any key will do: that it should be unpredictable protects intermediaries, and there are none.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The messages that go round, and their frames without compression.
#[derive(Debug)]
pub(crate) struct Messages {
    texts: Vec<Vec<u8>>,
    frames: Vec<Vec<u8>>,
}

impl Messages {
    pub(crate) fn new(size: usize) -> Self {
        let texts: Vec<_> = (0..ROUND).map(|number| json(number, size)).collect();
        let frames = texts.iter().map(|text| frame(0x81, text)).collect();
        Self { texts, frames }
    }

    pub(crate) fn text(&self, number: u64) -> &[u8] {
        &self.texts[index(number)]
    }

    pub(crate) fn frame(&self, number: u64) -> &[u8] {
        &self.frames[index(number)]
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number % ROUND as u64).unwrap_or(0)
}

/// A message of a feed of trades: keys that are always the same, numbers that are not.
fn json(number: usize, size: usize) -> Vec<u8> {
    let mut state = number as u64 * 0x9e37_79b9_7f4a_7c15 + 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut text = format!(
        "{{\"type\":\"trades\",\"sequence\":{},\"trades\":[",
        random(1 << 40)
    );
    loop {
        let symbol =
            ["BTC-USD", "ETH-USD", "SOL-EUR", "ADA-GBP"][usize::try_from(random(4)).unwrap_or(0)];
        let side = if random(2) == 0 { "buy" } else { "sell" };
        let trade = format!(
            "{{\"symbol\":\"{symbol}\",\"side\":\"{side}\",\"price\":{}.{:02},\"size\":0.{:04},\"id\":{}}},",
            random(90_000),
            random(100),
            random(10_000),
            random(1 << 32),
        );
        if text.len() + trade.len() + 2 > size {
            break;
        }
        text += &trade;
    }
    let mut text = text.trim_end_matches(',').to_owned() + "]}";
    // White space is JSON too.
    while text.len() < size {
        text.push(' ');
    }
    text.truncate(size);
    text.into_bytes()
}

/// A masked frame with these first eight bits.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        size @ 0..126 => frame.push(0x80 | u8::try_from(size).unwrap_or(0)),
        size => match u16::try_from(size) {
            Ok(size) => {
                frame.push(0x80 | 126);
                frame.extend(size.to_be_bytes());
            }
            Err(_) => {
                frame.push(0x80 | 127);
                frame.extend((size as u64).to_be_bytes());
            }
        },
    }
    frame.extend(KEY);
    frame.extend(
        payload
            .iter()
            .zip(KEY.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

/// A frame of the server's at the beginning of what has come: its first byte, where its payload
/// lies. `None` if it is not all there.
pub(crate) fn read(input: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (first, length) = (*input.first()?, *input.get(1)? & 0x7f);
    let (from, size): (usize, usize) = match length {
        126 => (
            4,
            usize::from(u16::from_be_bytes(input.get(2..4)?.try_into().ok()?)),
        ),
        127 => {
            let size = u64::from_be_bytes(input.get(2..10)?.try_into().ok()?);
            (10, usize::try_from(size).ok()?)
        }
        size => (2, usize::from(size)),
    };
    let range = from..from.checked_add(size)?;
    (range.end <= input.len()).then_some((first, range))
}
