//! What one message of consensus costs: `cargo bench -p dropstone-bench --bench raft`.
//!
//! `elements` are messages stepped by all three members, so that elements per second is the rate of one core that does
//! the leader's and both followers' work; a command's record is written once and copied twice on the way.

use bench::raft_rig::Trio;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Turns of the rig per iteration.
const TURNS: usize = 64;

fn rounds(c: &mut Criterion) {
    let mut group = c.benchmark_group("raft");
    for (payload_bytes, entries) in [(64, 1), (64, 16), (1024, 1)] {
        let mut trio = Trio::new(payload_bytes);
        let before = trio.messages;
        (0..TURNS).for_each(|_| trio.propose(entries));
        group.throughput(Throughput::Elements(trio.messages - before));
        let id = BenchmarkId::new("messages", format!("{entries}x{payload_bytes}B"));
        group.bench_function(id, |b| b.iter(|| (0..TURNS).for_each(|_| trio.propose(entries))));
    }
    let mut trio = Trio::new(64);
    let before = trio.applied;
    (0..TURNS).for_each(|_| trio.propose(64));
    group.throughput(Throughput::Elements(trio.applied - before));
    group.bench_function("entries/64x64B", |b| b.iter(|| (0..TURNS).for_each(|_| trio.propose(64))));
    let mut trio = Trio::new(64);
    group.throughput(Throughput::Elements(TURNS as u64));
    group.bench_function("reads", |b| b.iter(|| (0..TURNS).for_each(|_| trio.read())));
    group.finish();
}

criterion_group!(benches, rounds);
criterion_main!(benches);
