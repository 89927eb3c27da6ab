//! Randomness in streams: each decision has its own, so that leaving out one fault changes no other draw.

use base::{Prng, mix64};

/// What is drawn beside faults. Numbers are part of what a seed means: append, never reorder.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Stream {
    /// Size of the cluster, rates of the classes.
    Shape = 64,
    /// What a turn costs.
    Turn,
    /// Latency of disk operations.
    Disk,
    /// Latency of frames between nodes.
    Peer,
    /// Latency between clients and nodes.
    Client,
    /// What clients do.
    Load,
    /// Seeds of nodes and clients.
    Seed,
    /// How long a process stays down.
    Down,
    /// What the operator does when.
    Operator,
    /// The end: who is healed first.
    Heal,
    /// Which plan a run has, and what it does.
    Plan,
    /// When clients of a long run are busy.
    Tide,
    /// Whose disks lie when.
    Lies,
    /// What is watched and changed last.
    LastWords,
    /// When days go by, and how many.
    Leap,
    /// What is asked for beside the load, and in which runs.
    Wide,
    /// How long mail takes from core to core.
    Mailbox,
}

/// The 64 bits of one decision.
#[must_use]
pub fn draw(seed: u64, class: u8, entity: u64, counter: u64) -> u64 {
    mix64(mix64(mix64(seed ^ (u64::from(class) << 56)) ^ entity.rotate_left(24)) ^ counter)
}

/// A generator for one decision that wants several numbers.
#[must_use]
pub fn prng(seed: u64, stream: Stream, entity: u64, counter: u64) -> Prng {
    Prng::new(draw(seed, stream as u8, entity, counter))
}

/// Uniform in `low..=high`.
#[must_use]
pub fn between(prng: &mut Prng, low: u64, high: u64) -> u64 {
    low + prng.below(high - low + 1)
}

/// Log-uniform in about `low..=high`, from whole octaves and a place in one: no floating point, the same everywhere.
#[must_use]
pub fn log_between(prng: &mut Prng, low: u64, high: u64) -> u64 {
    let octaves = (high / low.max(1)).max(1).ilog2() + 1;
    let base = low.max(1) << prng.below(u64::from(octaves));
    between(prng, base, (base * 2 - 1).min(high).max(base)).min(high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_apart_and_draws_repeat() {
        assert_eq!(draw(1, 2, 3, 4), draw(1, 2, 3, 4));
        let all = [draw(1, 2, 3, 4), draw(2, 2, 3, 4), draw(1, 3, 3, 4), draw(1, 2, 4, 4), draw(1, 2, 3, 5)];
        assert!((0..5).all(|a| (0..a).all(|b| all[a] != all[b])));
    }

    #[test]
    fn log_between_stays_inside_and_reaches_every_octave() {
        let mut prng = Prng::new(1);
        let drawn: Vec<u64> = (0..2000).map(|_| log_between(&mut prng, 100, 100_000)).collect();
        assert!(drawn.iter().all(|value| (100..=100_000).contains(value)));
        assert!(drawn.iter().any(|value| *value < 200) && drawn.iter().any(|value| *value > 60_000));
    }
}
