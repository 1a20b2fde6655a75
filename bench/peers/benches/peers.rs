//! The time that each case takes. `scripts/peers` runs this and makes a table of it.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tidegate_peers::cases;

fn peers(criterion: &mut Criterion) {
    for case in cases() {
        let mut group = criterion.benchmark_group(case.function);
        group.throughput(Throughput::Elements(case.messages));
        let id = BenchmarkId::new(&case.message, case.name);
        let mut case = Some(case);
        let mut run = None;
        group.bench_function(id, |bencher| {
            let prepare = || case.take().expect("it is prepared once").prepare();
            let run = run.get_or_insert_with(prepare);
            bencher.iter(run);
        });
        group.finish();
    }
}

criterion_group!(benches, peers);
criterion_main!(benches);
