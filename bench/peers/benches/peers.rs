//! The time that each case takes. `scripts/peers` runs this and makes a table of it.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_peers::cases;

fn peers(criterion: &mut Criterion) {
    for mut case in cases() {
        let mut group = criterion.benchmark_group(case.function);
        group.throughput(Throughput::Elements(case.messages));
        let id = BenchmarkId::new(&case.message, case.name);
        group.bench_function(id, |bencher| bencher.iter(|| (case.run)()));
        group.finish();
    }
}

criterion_group!(benches, peers);
criterion_main!(benches);
