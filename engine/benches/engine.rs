//! The hot functions of the engine, each by itself, on a kernel that costs nothing: what a delivery, a
//! subscription, a deadline or a letter costs before any system call. `cargo bench -p tidegate-engine`.

#![allow(
    missing_docs,
    reason = "criterion writes the functions that are missing theirs"
)]
#![expect(clippy::disallowed_methods, reason = "a bench looks at the clock")]

use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use tidegate_engine::benched::{Outbox, Room, Sleeper, Wheel};
use tidegate_io::Parcel;

/// What the server allocates with.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const TEXT: &str = "{\"channel\":\"ticker\",\"price\":101}";
const SUBSCRIBERS: [u32; 4] = [1, 10, 1_000, 10_000];

/// A turn's publications to `subscribers`; the time of `timed` alone counts.
fn turns(count: u64, subscribers: u32, publications: u32, timed: fn(&mut Room)) -> Duration {
    let mut room = Room::new(Instant::now(), subscribers);
    for slot in 0..subscribers {
        room.subscribe(slot, "room");
    }
    let mut spent = Duration::ZERO;
    for _ in 0..count {
        for _ in 0..publications {
            room.publish("room", black_box(TEXT));
        }
        let start = Instant::now();
        timed(&mut room);
        spent += start.elapsed();
        room.flush();
        room.forget_mail();
    }
    spent
}

/// For each subscriber: queued only, and queued and given to the kernel.
fn deliver(criterion: &mut Criterion) {
    for (name, timed) in [
        ("deliver", Room::deliver as fn(&mut Room)),
        ("deliver and flush", |room| {
            room.deliver();
            room.flush();
        }),
    ] {
        for subscribers in SUBSCRIBERS {
            let mut group = criterion.benchmark_group(name);
            group.throughput(Throughput::Elements(subscribers.into()));
            group.bench_function(BenchmarkId::new("subscribers", subscribers), |bencher| {
                bencher.iter_custom(|count| turns(count, subscribers, 1, timed));
            });
            group.finish();
        }
    }
}

/// A publication that only the other shard hears: into its letter, and the letter into its mailbox.
fn mail(criterion: &mut Criterion) {
    for publications in [1, 64] {
        let mut room = Room::new(Instant::now(), 0);
        let mut group = criterion.benchmark_group("publish to another shard");
        group.throughput(Throughput::Elements(publications));
        group.bench_function(BenchmarkId::new("a turn", publications), |bencher| {
            bencher.iter(|| {
                for _ in 0..publications {
                    room.publish("room", black_box(TEXT));
                }
                room.deliver();
                room.forget_mail();
            });
        });
        group.finish();
    }
}

/// What a shard does for another one to be told, alone: a frame that is encoded already goes into the
/// turn's letter, and that into the mailbox. Taking it out there is not timed.
fn enqueue(criterion: &mut Criterion) {
    /// Each keeps one bag of those that a shard uses again; the clock is read once for all of them.
    const TURNS: u32 = 8;
    let frame = black_box([7_u8; 34]);
    for publications in [1_u32, 64] {
        let mut room = Room::new(Instant::now(), 0);
        let mut group = criterion.benchmark_group("enqueue for another shard");
        group.throughput(Throughput::Elements(publications.into()));
        group.bench_function(BenchmarkId::new("a turn", publications), |bencher| {
            bencher.iter_custom(|count| {
                let mut spent = Duration::ZERO;
                let rounds = count.div_ceil(TURNS.into());
                for _ in 0..rounds {
                    let start = Instant::now();
                    for _ in 0..TURNS {
                        for _ in 0..publications {
                            room.enqueue(black_box("room"), &frame);
                        }
                        room.dispatch();
                    }
                    spent += start.elapsed();
                    room.forget_mail();
                }
                // As many as were asked for.
                spent.mul_f64(count as f64 / (rounds * u64::from(TURNS)) as f64)
            });
        });
        group.finish();
    }
}

/// A letter to a shard that sleeps, and its answer to one that sleeps: two wake-ups.
fn wake(criterion: &mut Criterion) {
    let (mut here, to_here) = Sleeper::new().expect("descriptors are left");
    let (tell, told) = mpsc::channel();
    let other = thread::spawn(move || {
        let (mut there, to_there) = Sleeper::new().expect("descriptors are left");
        tell.send(to_there).expect("it is asked");
        while there.sleep().expect("the kernel waits") {
            assert!(to_here.send(), "the mailbox is empty");
        }
    });
    let to_there = told.recv().expect("the other thread has begun");
    let mut group = criterion.benchmark_group("doorbell");
    group.throughput(Throughput::Elements(2));
    group.bench_function("there and back", |bencher| {
        bencher.iter(|| {
            assert!(to_there.send(), "the mailbox is empty");
            here.sleep().expect("the kernel waits")
        });
    });
    group.finish();
    assert!(to_there.stop(), "the mailbox is empty");
    other.join().expect("it has not panicked");
}

fn topics(criterion: &mut Criterion) {
    for others in SUBSCRIBERS {
        let mut room = Room::new(Instant::now(), others + 1);
        for slot in 0..others {
            room.subscribe(slot, "room");
        }
        let mut group = criterion.benchmark_group("topics");
        let id = BenchmarkId::new("subscribe and unsubscribe, beside", others);
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                room.subscribe(others, black_box("room"));
                room.unsubscribe(others, black_box("room"));
            });
        });
        group.finish();
    }
    let mut room = Room::new(Instant::now(), 1);
    criterion.bench_function("topics/made, joined, left and swept", |bencher| {
        bencher.iter(|| {
            room.subscribe(0, black_box("room"));
            room.unsubscribe(0, black_box("room"));
            room.sweep();
        });
    });
}

fn connections(criterion: &mut Criterion) {
    let mut room = Room::new(Instant::now(), 10_000);
    criterion.bench_function("slab/insert and remove beside 10,000", |bencher| {
        bencher.iter(|| {
            let slot = room.insert();
            room.remove(black_box(slot));
        });
    });
}

fn timers(criterion: &mut Criterion) {
    let mut room = Room::new(Instant::now(), 10_000);
    let mut slot = 0;
    criterion.bench_function("timers/arm and cancel, of 10,000", |bencher| {
        bencher.iter(|| {
            slot = (slot + 1) % 10_000;
            room.arm(slot, Duration::from_secs(5));
            room.cancel(slot);
        });
    });
    let start = Instant::now();
    for count in [1_u32, 1_000] {
        let mut group = criterion.benchmark_group("timers");
        group.throughput(Throughput::Elements(count.into()));
        group.bench_function(BenchmarkId::new("insert and expire", count), |bencher| {
            bencher.iter_batched_ref(
                || Wheel::new(start),
                |wheel| {
                    for slot in 0..count {
                        wheel.insert(start, Duration::from_secs(5), slot);
                    }
                    assert_eq!(
                        wheel.take_due(start + Duration::from_secs(6)),
                        count as usize
                    );
                },
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

fn outbox(criterion: &mut Criterion) {
    let parcel = Parcel::copy_of(TEXT.as_bytes());
    let mut group = criterion.benchmark_group("outbox");
    group.throughput(Throughput::Elements(64));
    group.bench_function("push 64 parcels and take", |bencher| {
        bencher.iter(|| {
            let mut outbox = Outbox::new();
            for _ in 0..64 {
                outbox.push(black_box(&parcel).clone());
            }
            outbox.take()
        });
    });
    group.bench_function("append 64 copies and take", |bencher| {
        bencher.iter(|| {
            let mut outbox = Outbox::new();
            for _ in 0..64 {
                outbox.append(black_box(TEXT.as_bytes()));
            }
            outbox.take()
        });
    });
    group.finish();
}

fn parcel(criterion: &mut Criterion) {
    let bytes = [7; 1024];
    criterion.bench_function("parcel/copy of 1 KiB", |bencher| {
        bencher.iter(|| Parcel::copy_of(black_box(&bytes)));
    });
    let parcel = Parcel::copy_of(&bytes);
    criterion.bench_function("parcel/clone and drop", |bencher| {
        bencher.iter(|| black_box(&parcel).clone());
    });
}

criterion_group!(
    benches,
    deliver,
    mail,
    enqueue,
    wake,
    topics,
    connections,
    timers,
    outbox,
    parcel
);
criterion_main!(benches);
