//! Micro benchmarks of every room. Each has one body, which criterion times, callgrind counts and the tests check.
//!
//! ```text
//! benches/rooms.rs       cargo bench -p dropstone-micro            nanoseconds, criterion
//! src/bin/callgrind.rs   cargo xtask long bench                    instructions, against instructions.txt
//! tests/results.rs       cargo test -p dropstone-micro             the same results, tiny, no time looked at
//! ```
//! An id is `room/verb/shape`. What a body works on is made outside of what is measured.
//! Layer 6: sees every room up to `load`. Source: docs/BENCHMARKING.md.

pub mod callgrind;
pub mod counts;
pub mod overhead;
pub mod raft_rig;
pub mod rooms;

/// How much there is to work on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scale {
    /// What the id says.
    Full,
    /// As little as shows the same steps: for tests.
    Tiny,
}

/// One iteration; returns what it came to, the same on every machine.
pub type Body = Box<dyn FnMut() -> u64>;

/// One benchmark.
pub struct Bench {
    /// `room/verb/shape`.
    pub id: &'static str,
    /// Operations of one iteration.
    pub operations: u64,
    /// Iterations that one state is good for: then it is made anew.
    pub state: u64,
    /// Iterations that callgrind counts, at most half of `state`; 0: it has no twin there.
    pub counted: u64,
    /// Makes what an iteration works on, and the iteration.
    pub make: Box<dyn Fn(Scale) -> Body>,
}

/// A state that never wears out.
pub const FOREVER: u64 = u64::MAX;

impl Bench {
    /// One without a twin, whose iteration is one operation and whose state never wears out.
    pub fn new(id: &'static str, make: impl Fn(Scale) -> Body + 'static) -> Bench {
        Bench { id, operations: 1, state: FOREVER, counted: 0, make: Box::new(make) }
    }

    /// An iteration is so many operations.
    #[must_use]
    pub fn operations(self, operations: u64) -> Bench {
        Bench { operations, ..self }
    }

    /// A state is good for so many iterations.
    #[must_use]
    pub fn state(self, state: u64) -> Bench {
        Bench { state, ..self }
    }

    /// Callgrind counts so many iterations.
    #[must_use]
    pub fn counted(self, counted: u64) -> Bench {
        assert!(counted.saturating_mul(2) <= self.state, "{}: twice as many are run on one state", self.id);
        Bench { counted, ..self }
    }
}

/// All benchmarks, by room.
#[must_use]
pub fn all() -> Vec<Bench> {
    use rooms::{base, cache, load, meta, raft, reactor, seglog, server, shard, store, wire};
    let rooms = [base::benches, raft::benches, seglog::benches, meta::benches, store::benches, shard::benches];
    let faces = [cache::benches, reactor::benches, wire::benches, server::benches, load::benches];
    rooms.into_iter().chain(faces).flat_map(|benches| benches()).collect()
}

/// Runs so many iterations on one state: the hash of all that they came to.
pub fn run(bench: &Bench, scale: Scale, iterations: u64) -> u64 {
    let mut body = (bench.make)(scale);
    iterate(&mut body, iterations)
}

/// Runs so many iterations. Callgrind counts what happens in here, and finds it by its name: [`callgrind::COUNTED`]. A
/// closure in it would have that name as well.
#[inline(never)]
fn iterate(body: &mut Body, iterations: u64) -> u64 {
    let mut hash = 0;
    for _ in 0..iterations {
        hash = ::base::mix64(hash ^ body());
    }
    hash
}

/// An iteration of `times` operations, each told which one it is.
pub(crate) fn each(times: u64, mut one: impl FnMut(u64) -> u64 + 'static) -> Body {
    let mut next = 0;
    Box::new(move || {
        let mut out = 0u64;
        for at in next..next + times {
            out = out.rotate_left(1) ^ one(at);
        }
        next += times;
        out
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_rooms_verbs_and_shapes_and_each_is_there_once() {
        let mut seen = BTreeSet::new();
        for bench in all() {
            assert!(bench.id.split('/').count() >= 3, "{} is not room/verb/shape", bench.id);
            assert!(!bench.id.contains(char::is_whitespace), "{} stands in a table", bench.id);
            assert!(seen.insert(bench.id), "{} is there twice", bench.id);
        }
    }

    #[test]
    fn the_committed_counts_are_of_benches_that_are_there() {
        let counted: BTreeSet<&str> = all().iter().filter(|bench| bench.counted > 0).map(|bench| bench.id).collect();
        let committed = counts::Counts::parse(include_str!("../instructions.txt")).expect("it is well formed");
        for id in committed.of.keys() {
            assert!(counted.contains(id.as_str()), "{id} is counted no more; cargo xtask long bench --update");
        }
    }
}
