//! The hot functions of the protocol, each by itself: what a message costs before any system
//! call. `cargo bench -p tidegate-bench`

#![allow(
    missing_docs,
    reason = "criterion writes the functions that are missing theirs"
)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_proto::{Input, Message, MessageKind, Session, Settings, Utf8, frame, mask};

const SIZES: [usize; 3] = [16, 512, 16 * 1024];
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One masked frame, which the session unmasks where it lies; so each round gets a copy.
fn inbound(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbound");
    for kind in [MessageKind::Text, MessageKind::Binary] {
        for size in SIZES {
            let payload = text(size);
            let message = match kind {
                MessageKind::Text => Message::Text(&payload),
                MessageKind::Binary => Message::Binary(payload.as_bytes()),
            };
            let mut wire = Vec::new();
            frame::encode_message_masked(message, KEY, &mut wire);
            let mut session = Session::server(Settings::default());
            let mut replies = Vec::new();
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("{kind:?} {size}"), |bencher| {
                bencher.iter_batched_ref(
                    || wire.clone(),
                    |chunk| {
                        let mut input = Input::new(chunk);
                        while let Ok(Some(event)) = session.receive(&mut input, &mut replies) {
                            black_box(event);
                        }
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn parts(criterion: &mut Criterion) {
    for size in SIZES {
        let text = text(size);
        let mut group = criterion.benchmark_group(format!("{size}"));
        group.throughput(Throughput::Bytes(size as u64));
        let mut payload = text.as_bytes().to_vec();
        group.bench_function("mask", |bencher| {
            bencher.iter(|| mask(black_box(&mut payload), KEY, 0));
        });
        group.bench_function("utf8", |bencher| {
            bencher.iter(|| {
                let mut utf8 = Utf8::new();
                utf8.push(black_box(text.as_bytes())).is_ok() && utf8.finish().is_ok()
            });
        });
        let mut wire = Vec::with_capacity(2 * size + 16);
        group.bench_function("encode", |bencher| {
            bencher.iter(|| {
                wire.clear();
                frame::encode_message(black_box(Message::Text(&text)), &mut wire);
            });
        });
        group.finish();
    }
}

/// ASCII with a letter of two bytes now and then, as people write.
fn text(size: usize) -> String {
    let line = "flod och ebb, in och ut, en hel dag lång och hela natten med, var dag åter. ";
    let mut text = String::with_capacity(size);
    for character in line.chars().cycle() {
        if text.len() + character.len_utf8() > size {
            break;
        }
        text.push(character);
    }
    text.extend(std::iter::repeat_n('.', size - text.len()));
    text
}

criterion_group!(benches, inbound, parts);
criterion_main!(benches);
