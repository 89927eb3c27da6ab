//! Times every benchmark: `cargo bench -p dropstone-micro -- FILTER`.
//!
//! What an iteration works on is made before the clock runs. Elements are operations.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use micro::{Bench, Scale};

/// The allocator of the binary that is shipped.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The time of so many iterations, each on a state that is good for it.
fn time(bench: &Bench, iterations: u64) -> Duration {
    let (mut took, mut left) = (Duration::ZERO, iterations);
    while left > 0 {
        let mut body = (bench.make)(Scale::Full);
        let now = left.min(bench.state);
        let mut out = 0;
        let began = Instant::now();
        for _ in 0..now {
            out ^= body();
        }
        took += began.elapsed();
        std::hint::black_box(out);
        left -= now;
    }
    took
}

fn rooms(criterion: &mut Criterion) {
    for bench in micro::all() {
        let mut group = criterion.benchmark_group("rooms");
        group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
        group.throughput(Throughput::Elements(bench.operations));
        group.bench_function(bench.id, |bencher| bencher.iter_custom(|iterations| time(&bench, iterations)));
        group.finish();
    }
}

criterion_group!(benches, rooms);
criterion_main!(benches);
