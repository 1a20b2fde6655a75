//! The hot functions of the protocol, each by itself: what a message costs before any system
//! call. `cargo bench -p tidegate-bench`; beside other crates: `scripts/peers`.

#![allow(
    missing_docs,
    reason = "criterion writes the functions that are missing theirs"
)]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_proto::deflate::{Deflater, DeflaterSettings, Inflater};
use tidegate_proto::frame::{self, Header, Opcode};
use tidegate_proto::{Input, Message, MessageKind, Session, Settings, Utf8, mask};

const SIZES: [usize; 5] = [16, 64, 512, 4096, 64 * 1024];
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Odd and prime, so that cuts fall within characters.
const PIECE_SIZE: usize = 509;

/// Masked frames, which the session unmasks where they lie; so each round gets a copy.
fn receive(criterion: &mut Criterion, id: BenchmarkId, name: &str, wire: &[u8], count: u64) {
    let settings = Settings {
        message_size_max: 1024 * 1024,
    };
    let mut session = Session::server(settings);
    let mut replies = Vec::new();
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(count));
    group.bench_function(id, |bencher| {
        bencher.iter_batched_ref(
            || wire.to_vec(),
            |chunk| {
                let mut input = Input::new(chunk);
                while let Ok(Some(event)) = session.receive(&mut input, &mut replies) {
                    black_box(event);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn inbound(criterion: &mut Criterion) {
    for kind in [MessageKind::Text, MessageKind::Binary] {
        for size in SIZES {
            let payload = text(size);
            let message = match kind {
                MessageKind::Text => Message::Text(&payload),
                MessageKind::Binary => Message::Binary(payload.as_bytes()),
            };
            let mut wire = Vec::new();
            frame::encode_message_masked(message, KEY, &mut wire);
            let id = BenchmarkId::new(format!("{kind:?}"), size);
            receive(criterion, id, "inbound", &wire, 1);
            let id = BenchmarkId::new(format!("{kind:?}"), size);
            receive(criterion, id, "inbound, 16 a chunk", &wire.repeat(16), 16);
        }
    }
}

/// One text of 64 KiB and one of 1 MiB, whole and in pieces of 1, 4 and 16 KiB.
fn fragments(criterion: &mut Criterion) {
    for size in [64 * 1024, 1024 * 1024] {
        for piece in [size, 16 * 1024, 4096, 1024] {
            let text = text(size);
            let mut wire = Vec::new();
            let count = size / piece;
            for (index, bytes) in text.as_bytes().chunks(piece).enumerate() {
                let header = Header {
                    fin: index + 1 == count,
                    rsv1: false,
                    opcode: match index {
                        0 => Opcode::Text,
                        _ => Opcode::Continuation,
                    },
                    mask: Some(KEY),
                    payload_size: bytes.len() as u64,
                };
                header.encode(&mut wire);
                let start = wire.len();
                wire.extend_from_slice(bytes);
                mask(&mut wire[start..], KEY, 0);
            }
            let id = BenchmarkId::new(format!("{size} by"), piece);
            receive(criterion, id, "fragments", &wire, 1);
        }
    }
}

fn outbound(criterion: &mut Criterion) {
    for size in SIZES {
        let text = text(size);
        let mut session = Session::server(Settings::default());
        let mut client = Session::client(Settings::default());
        let mut wire = Vec::with_capacity(2 * size + 16);
        let mut group = criterion.benchmark_group("outbound");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("server", size), |bencher| {
            bencher.iter(|| {
                wire.clear();
                session.send(black_box(Message::Text(&text)), &mut wire);
                black_box(wire.as_slice());
            });
        });
        group.bench_function(BenchmarkId::new("client", size), |bencher| {
            bencher.iter(|| {
                wire.clear();
                client.send_masked(black_box(Message::Text(&text)), KEY, &mut wire);
                black_box(wire.as_slice());
            });
        });
        group.finish();
    }
}

fn parts(criterion: &mut Criterion) {
    for size in [8].into_iter().chain(SIZES) {
        let text = text(size);
        let mut group = criterion.benchmark_group("parts");
        group.throughput(Throughput::Bytes(size as u64));
        let mut payload = text.as_bytes().to_vec();
        group.bench_function(BenchmarkId::new("mask", size), |bencher| {
            bencher.iter(|| mask(black_box(&mut payload), KEY, 0));
        });
        group.bench_function(BenchmarkId::new("utf8", size), |bencher| {
            bencher.iter(|| {
                let mut utf8 = Utf8::new();
                utf8.push(black_box(text.as_bytes())).is_ok() && utf8.finish().is_ok()
            });
        });
        group.bench_function(BenchmarkId::new("utf8 in pieces", size), |bencher| {
            bencher.iter(|| {
                let mut utf8 = Utf8::new();
                let mut pieces = black_box(text.as_bytes()).chunks(PIECE_SIZE);
                pieces.all(|piece| utf8.push(piece).is_ok()) && utf8.finish().is_ok()
            });
        });
        let mut wire = Vec::with_capacity(64);
        group.bench_function(BenchmarkId::new("write header", size), |bencher| {
            bencher.iter(|| {
                wire.clear();
                frame::encode_message_header(MessageKind::Text, black_box(size), &mut wire);
                black_box(wire.as_slice());
            });
        });
        frame::encode_message_masked(Message::Text(&text), KEY, &mut wire);
        group.bench_function(BenchmarkId::new("read header", size), |bencher| {
            bencher.iter(|| Header::parse(black_box(&wire)));
        });
        group.finish();
    }
}

/// The two tiers, on messages of which each resembles those before it.
fn deflate(criterion: &mut Criterion) {
    for (tier, settings, takeover) in [
        ("shared", DeflaterSettings::SHARED, false),
        ("takeover", DeflaterSettings::TAKEOVER, true),
    ] {
        for size in [128, 512, 4096] {
            let text = text(size);
            let (mut deflater, mut inflater) = (Deflater::new(settings), Inflater::new());
            let (mut compressed, mut out) = (Vec::new(), Vec::new());
            let mut group = criterion.benchmark_group(format!("deflate, {tier}"));
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new("compress", size), |bencher| {
                bencher.iter(|| {
                    deflater.deflate(black_box(text.as_bytes()), takeover, &mut compressed);
                });
            });
            // One that refers to nothing before it, so that it can be inflated again and again.
            deflater.forget();
            deflater.deflate(text.as_bytes(), takeover, &mut compressed);
            group.bench_function(BenchmarkId::new("inflate", size), |bencher| {
                bencher.iter(|| {
                    let kind = MessageKind::Text;
                    let made = inflater.inflate(kind, &compressed, takeover, size, &mut out);
                    black_box(made.is_ok())
                });
            });
            group.finish();
        }
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

criterion_group!(benches, inbound, fragments, outbound, parts, deflate);
criterion_main!(benches);
