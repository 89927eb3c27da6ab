//! Two targets by turns, `A B B A A B ...`: what else the machine does meets both, and a ratio is taken of neighbours.

use load::recorder::{Clock, Histograms};
use load::stats::{Interval, geometric_mean, is_shown};
use load::verdict::Class;

use crate::block::Block;
use crate::device::Flushes;
use crate::target::Target;

/// The arm that runs at place `at` of the sequence: `0 1 1 0 0 1 1 0 ...`.
#[must_use]
pub fn arm_at(at: usize) -> usize {
    at.div_ceil(2) % 2
}

/// Blocks of one level of both arms, pair by pair. Invariant: the two of a pair ran one after the other.
#[derive(Clone, Debug)]
pub struct Level<B> {
    /// Operations in flight.
    pub in_flight: u32,
    /// `[first target, second target]` of each pair.
    pub pairs: Vec<[B; 2]>,
}

/// Runs the blocks of a level; `block` runs one of an arm, by its number. Ends early, with whole pairs, at `None`.
pub fn run_level<B, E>(
    in_flight: u32,
    pairs: u32,
    mut block: impl FnMut(usize, u32) -> Result<Option<B>, E>,
) -> Result<Level<B>, E> {
    let mut level = Level { in_flight, pairs: Vec::new() };
    for pair in 0..pairs {
        let order = [arm_at(2 * pair as usize), arm_at(2 * pair as usize + 1)];
        let mut blocks = [None, None];
        for (arm, number) in order.into_iter().zip(2 * pair..) {
            blocks[arm] = block(arm, number)?;
            if blocks[arm].is_none() {
                return Ok(level);
            }
        }
        let [Some(first), Some(second)] = blocks else { unreachable!("a pair has both arms") };
        level.pairs.push([first, second]);
    }
    Ok(level)
}

/// The ratio of a figure, first target over second, from the pairs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ratio {
    /// Geometric mean over the pairs.
    pub value: f64,
    /// 95 %; `None` with one pair.
    pub interval: Option<Interval>,
}

/// The ratio of what `figure` tells of each block; `None` where a block does not have it.
pub fn ratio<B>(level: &Level<B>, figure: impl Fn(&B) -> Option<f64>) -> Option<Ratio> {
    let of =
        |pair: &[B; 2]| Some(figure(&pair[0])? / figure(&pair[1])?).filter(|ratio| ratio.is_finite() && *ratio > 0.0);
    let ratios: Vec<f64> = level.pairs.iter().map(of).collect::<Option<_>>()?;
    match ratios.as_slice() {
        [] => None,
        [one] => Some(Ratio { value: *one, interval: None }),
        _ => geometric_mean(&ratios, ratios.len() as u64)
            .map(|(value, interval)| Ratio { value, interval: Some(interval) }),
    }
}

/// What an arm showed at one level, over all its blocks.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Acknowledged operations a second.
    pub rate: f64,
    /// Of the slowest and the fastest block.
    pub rates: [f64; 2],
    /// Percentiles of the response. Units: microseconds; `None` with fewer than 10 samples beyond.
    pub p50_us: Option<f64>,
    /// The 99th.
    pub p99_us: Option<f64>,
    /// Processor time of all its processes for an operation. Units: microseconds.
    pub cpu_us: f64,
    /// Flushes of the device in all windows.
    pub flushes: Flushes,
    /// Flushes for an operation.
    pub flushes_per_op: Option<f64>,
    /// Bytes that the device wrote for an operation.
    pub device_bytes: Option<f64>,
    /// Acknowledged puts that were read back, and wrong answers in all.
    pub checked: u64,
    /// See `checked`.
    pub wrong: u64,
    /// The worst of the blocks.
    pub class: Class,
    /// Each reason once, of all blocks.
    pub reasons: Vec<String>,
}

/// Sums up an arm.
#[must_use]
pub fn summary(level: &Level<Block>, arm: usize) -> Summary {
    let blocks: Vec<&Block> = level.pairs.iter().map(|pair| &pair[arm]).collect();
    let mut histograms = Histograms::default();
    blocks.iter().for_each(|block| histograms.add(&block.record.histograms));
    let response = histograms.over_all(Clock::Response);
    let quantile = |q: f64| is_shown(response.len(), q).then(|| response.value_at_quantile(q) as f64 / 1e3);
    let achieved: u64 = blocks.iter().map(|block| block.record.counts.achieved).sum();
    let seconds: f64 = blocks.iter().map(|block| block.seconds).sum();
    let per_op = |sum: f64| sum / achieved.max(1) as f64;
    let rates = blocks.iter().map(|block| block.rate());
    let mut reasons: Vec<String> = Vec::new();
    for reason in blocks.iter().flat_map(|block| &block.reasons) {
        // The same reason with another number is said once, with the first one's.
        let words = |text: &str| text.replace(|c: char| c.is_ascii_digit() || c == '.', "");
        if !reasons.iter().any(|known| words(known) == words(reason)) {
            reasons.push(reason.clone());
        }
    }
    let flushes = blocks.iter().map(|block| block.flushes).reduce(|sum, next| match (sum, next) {
        (Flushes::Counted(sum), Flushes::Counted(next)) => Flushes::Counted(sum + next),
        (Flushes::NotCounted(why), _) | (_, Flushes::NotCounted(why)) => Flushes::NotCounted(why),
    });
    let flushes = flushes.unwrap_or(Flushes::NotCounted("nothing was measured"));
    let device_bytes = blocks.iter().map(|block| block.device_bytes).sum::<Option<u64>>();
    Summary {
        rate: achieved as f64 / seconds.max(1e-9),
        rates: [rates.clone().fold(f64::INFINITY, f64::min), rates.fold(0.0, f64::max)],
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        cpu_us: per_op(blocks.iter().map(|block| block.cpu_us).sum()),
        flushes,
        flushes_per_op: if let Flushes::Counted(count) = flushes { Some(per_op(count as f64)) } else { None },
        device_bytes: device_bytes.map(|bytes| per_op(bytes as f64)),
        checked: blocks.iter().map(|block| block.read_back.looked_for).sum(),
        wrong: blocks.iter().map(|block| block.wrong()).sum(),
        class: blocks.iter().map(|block| block.class).max().unwrap_or(Class::Invalid),
        reasons,
    }
}

/// A percentile of a block's response, where enough was measured. Units: microseconds.
#[must_use]
pub fn quantile(block: &Block, q: f64) -> Option<f64> {
    let response = block.record.histograms.over_all(Clock::Response);
    is_shown(response.len(), q).then(|| response.value_at_quantile(q) as f64 / 1e3)
}

/// Two targets, all levels.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Who.
    pub targets: [Target; 2],
    /// As they say of themselves.
    pub versions: [String; 2],
    /// What their servers answered when they were asked how they sync; empty for those that are not asked.
    pub told: [String; 2],
    /// The operations are a mix's; else file commits.
    pub is_mixed: bool,
    /// By operations in flight, in the order of the command line.
    pub levels: Vec<Level<Block>>,
}

impl Comparison {
    /// What one operation is for a target.
    #[must_use]
    pub fn work(&self, arm: usize) -> &'static str {
        match self.targets[arm] {
            target if !self.is_mixed => target.work(),
            Target::Dropstone => "an operation of the mix; writes are checked, counted and journalled, blocks too",
            _ => "an operation of the mix: a transaction over rows and journal, or a read of keys",
        }
    }

    /// An acknowledgement means something else on each side.
    #[must_use]
    pub fn is_unlike(&self) -> bool {
        let [first, second] = self.targets.map(|target| target.durability().class);
        first != second
    }

    /// The worst of all blocks, and wrong answers in all.
    #[must_use]
    pub fn verdict(&self) -> (Class, u64) {
        let blocks = || self.levels.iter().flat_map(|level| level.pairs.iter().flatten());
        let class = blocks().map(|block| block.class).max().unwrap_or(Class::Invalid);
        (class, blocks().map(Block::wrong).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target by script: so many operations a second at a moment.
    fn scripted(pairs: u32, rate: impl Fn(usize, u32) -> f64) -> (Level<f64>, Vec<usize>) {
        let mut order = Vec::new();
        let level = run_level::<f64, ()>(64, pairs, |arm, number| {
            order.push(arm);
            Ok(Some(rate(arm, number)))
        });
        (level.expect("nothing fails"), order)
    }

    #[test]
    fn blocks_run_as_a_b_b_a() {
        let (level, order) = scripted(4, |arm, number| f64::from(number) + arm as f64 * 100.0);
        assert_eq!(order, [0, 1, 1, 0, 0, 1, 1, 0]);
        assert_eq!(level.pairs, [[0.0, 101.0], [3.0, 102.0], [4.0, 105.0], [7.0, 106.0]]);
    }

    #[test]
    fn the_ratio_of_neighbours_is_not_moved_by_a_machine_that_slows_down() {
        // Each block 2 % slower than the one before; the first target twice as fast.
        let rate = |arm: usize, number: u32| 1000.0 * 0.98f64.powi(number as i32) * if arm == 0 { 2.0 } else { 1.0 };
        let level = scripted(4, rate).0;
        let found = ratio(&level, |rate| Some(*rate)).expect("a ratio");
        let interval = found.interval.expect("four pairs have an interval");
        assert!((found.value - 2.0).abs() < 1e-9, "{found:?}");
        assert!(interval.contains(2.0) && interval.low > 1.9 && interval.high < 2.1, "{interval:?}");
        let one = ratio(&scripted(1, rate).0, |rate| Some(*rate)).expect("a ratio");
        assert!(one.interval.is_none());
    }

    #[test]
    fn a_target_against_itself_is_as_fast_as_itself() {
        let mut inside = 0;
        for seed in 0..100 {
            let noise = |arm: usize, number: u32| {
                let draw = base::mix64(seed << 32 | u64::from(number) << 1 | arm as u64);
                1000.0 * (1.0 + 0.1 * (draw as f64 / u64::MAX as f64 - 0.5))
            };
            let found = ratio(&scripted(5, noise).0, |rate| Some(*rate)).expect("a ratio");
            inside += u32::from(found.interval.expect("five pairs").contains(1.0));
        }
        assert!(inside >= 90, "{inside} of 100");
    }

    #[test]
    fn what_was_interrupted_has_whole_pairs_only() {
        let mut left = 5;
        let level = run_level::<u32, ()>(1, 4, |_, number| {
            left -= 1;
            Ok((left > 0).then_some(number))
        });
        assert_eq!(level.expect("nothing fails").pairs, [[0, 1], [3, 2]]);
        assert_eq!(run_level::<u32, &str>(1, 4, |_, _| Err("gone")).map(|_| ()), Err("gone"));
    }

    #[test]
    fn a_figure_that_a_block_lacks_has_no_ratio() {
        let level = scripted(3, |_, number| f64::from(number)).0;
        assert_eq!(ratio(&level, |_| None), None);
        // The first block's rate is zero.
        assert_eq!(ratio(&level, |rate| Some(*rate)), None);
    }
}
