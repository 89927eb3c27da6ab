//! Which of `n` things an operation meets: ranks drawn exactly by their definitions.
//!
//! Zipf ranks come by rejection-inversion (Hörmann and Derflinger, 1996): exact for any `n`, no table, so `n` may change
//! with every draw. Scrambling is a permutation, not a hash, so that no two ranks ever share an item.

use base::{Prng, mix64};

use crate::stream::unit;

/// How ranks are drawn from `0..n`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Keys {
    /// Rank `r` with probability proportional to `1 / (r + 1)^theta`.
    Zipf {
        /// The exponent, above 0; 1 is allowed.
        theta: f64,
        /// Ranks are spread over the items by a fixed permutation.
        scramble: bool,
    },
    /// All alike.
    Uniform,
    /// Zipf from the newest, which is the last item.
    Latest {
        /// The exponent.
        theta: f64,
    },
    /// A share of the operations meets a share of the items.
    Hotspot {
        /// Share of the items that are hot, 0 to 1.
        items: f64,
        /// Share of the operations that meet them, 0 to 1.
        ops: f64,
    },
    /// Draw `k` meets item `k mod n`.
    Sequential,
    /// Geometric: 95 % of the draws fall into the first `share` of the items.
    Exponential {
        /// Above 0, to 1.
        share: f64,
    },
}

/// The part of draws that [`Keys::Exponential`] puts into its share.
const EXPONENTIAL_PART: f64 = 0.95;

impl Keys {
    /// The item of draw `k`, whose random bits are `bits`. `n` is above 0.
    #[must_use]
    pub fn draw(self, k: u64, bits: u64, n: u64) -> u64 {
        assert!(n > 0, "an empty set has no item to draw");
        match self {
            Keys::Zipf { theta, scramble } => {
                let rank = zipf(theta, n, Prng::new(bits));
                if scramble { scramble_of(rank, n) } else { rank }
            }
            Keys::Uniform => Prng::new(bits).below(n),
            Keys::Latest { theta } => n - 1 - zipf(theta, n, Prng::new(bits)),
            Keys::Hotspot { items, ops } => hotspot(items, ops, n, Prng::new(bits)),
            Keys::Sequential => k % n,
            Keys::Exponential { share } => {
                let lambda = -(1.0 - EXPONENTIAL_PART).ln() / (share * n as f64);
                // The inverse of the distribution cut off at n.
                let mass = -(-lambda * n as f64).exp_m1();
                let x = -(-unit(bits) * mass).ln_1p() / lambda;
                (x as u64).min(n - 1)
            }
        }
    }
}

fn hotspot(items: f64, ops: f64, n: u64, mut prng: Prng) -> u64 {
    let hot = ((n as f64 * items).round() as u64).clamp(1, n);
    if hot == n || unit(prng.next_u64()) < ops {
        return prng.below(hot);
    }
    hot + prng.below(n - hot)
}

/// A rank of `0..n`, zipf.
fn zipf(theta: f64, n: u64, mut prng: Prng) -> u64 {
    if n == 1 {
        return 0;
    }
    // H is the integral of x^-theta, shifted so that H(1) = 0; `h` is x^-theta itself.
    let integral = |x: f64| {
        let log = x.ln();
        ratio_exp_m1((1.0 - theta) * log) * log
    };
    let inverse = |y: f64| {
        let t = (y * (1.0 - theta)).max(-1.0);
        (ratio_ln_1p(t) * y).exp()
    };
    let density = |x: f64| (-theta * x.ln()).exp();
    let low = integral(1.5) - 1.0;
    let high = integral(n as f64 + 0.5);
    let sure = 2.0 - inverse(integral(2.5) - density(2.0));
    loop {
        let y = high + unit(prng.next_u64()) * (low - high);
        let x = inverse(y);
        let k = (x + 0.5).floor().clamp(1.0, n as f64);
        if k - x <= sure || y >= integral(k + 0.5) - density(k) {
            return k as u64 - 1;
        }
    }
}

/// `(e^x - 1) / x`, also near 0.
fn ratio_exp_m1(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// `ln(1 + x) / x`, also near 0.
fn ratio_ln_1p(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}

/// The place of `rank` in a fixed permutation of `0..n`: a bijection of the next power of two, walked until it falls
/// below `n` again.
#[must_use]
pub fn scramble_of(rank: u64, n: u64) -> u64 {
    assert!(rank < n, "a rank lies below the count");
    let bits = (64 - (n - 1).leading_zeros()).max(1);
    let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    let half = bits.div_ceil(2);
    let odd = mix64(u64::from(bits)) | 1;
    let mut x = rank;
    loop {
        for _ in 0..3 {
            x = x.wrapping_mul(odd).wrapping_add(0x9e37_79b9) & mask;
            x ^= x >> half;
        }
        if x < n {
            return x;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Draws, Stream};
    use crate::testing::{chi_squared, chi_squared_limit};

    const DRAWS: u64 = 1_000_000;

    fn counts(keys: Keys, n: u64) -> Vec<u64> {
        let draws = Draws::new(42, Stream::Path);
        let mut counts = vec![0; n as usize];
        (0..DRAWS).for_each(|k| counts[keys.draw(k, draws.bits(k), n) as usize] += 1);
        counts
    }

    fn expect(keys: Keys, weights: &[f64]) {
        let counts = counts(keys, weights.len() as u64);
        let (chi, freedom) = chi_squared(&counts, weights);
        assert!(chi < chi_squared_limit(freedom), "{keys:?}: {chi} with {freedom} degrees of freedom");
    }

    fn zipf_weights(theta: f64, n: usize) -> Vec<f64> {
        (1..=n).map(|rank| (rank as f64).powf(-theta)).collect()
    }

    /// A12 row 4.
    #[test]
    fn every_distribution_passes_chi_squared_against_its_definition() {
        for theta in [0.5, 0.99, 1.0, 1.3] {
            expect(Keys::Zipf { theta, scramble: false }, &zipf_weights(theta, 1000));
        }
        let mut latest = zipf_weights(0.99, 1000);
        latest.reverse();
        expect(Keys::Latest { theta: 0.99 }, &latest);
        let mut scrambled = vec![0.0; 1000];
        let weights = zipf_weights(0.99, 1000);
        weights.iter().enumerate().for_each(|(rank, w)| scrambled[scramble_of(rank as u64, 1000) as usize] = *w);
        expect(Keys::Zipf { theta: 0.99, scramble: true }, &scrambled);
        expect(Keys::Uniform, &vec![1.0; 777]);
        let hotspot: Vec<f64> = (0..1000).map(|i| if i < 200 { 0.8 / 200.0 } else { 0.2 / 800.0 }).collect();
        expect(Keys::Hotspot { items: 0.2, ops: 0.8 }, &hotspot);
        let lambda = -(0.05_f64).ln() / 250.0;
        let exponential: Vec<f64> = (0..1000).map(|i| (-lambda * f64::from(i)).exp()).collect();
        expect(Keys::Exponential { share: 0.25 }, &exponential);
    }

    #[test]
    fn a_wrong_theta_fails_the_same_test() {
        let counts = counts(Keys::Zipf { theta: 0.99, scramble: false }, 1000);
        let (chi, freedom) = chi_squared(&counts, &zipf_weights(0.95, 1000));
        assert!(chi > chi_squared_limit(freedom));
    }

    #[test]
    fn sequential_goes_round() {
        let drawn: Vec<u64> = (0..5).map(|k| Keys::Sequential.draw(k, 9, 3)).collect();
        assert_eq!(drawn, [0, 1, 2, 0, 1]);
    }

    #[test]
    fn scrambling_is_a_permutation_that_spreads_neighbours() {
        for n in [1, 2, 3, 7, 64, 1000, 4097] {
            let mut places: Vec<u64> = (0..n).map(|rank| scramble_of(rank, n)).collect();
            places.sort_unstable();
            assert_eq!(places, (0..n).collect::<Vec<_>>(), "{n}");
        }
        let near = (0..1000).filter(|rank| scramble_of(*rank, 2000).abs_diff(scramble_of(rank + 1, 2000)) < 20).count();
        assert!(near < 100, "{near} of 1000 neighbours stayed near");
    }

    #[test]
    fn sets_of_one_and_of_very_many_work() {
        for keys in [Keys::Zipf { theta: 0.99, scramble: true }, Keys::Latest { theta: 1.0 }, Keys::Uniform] {
            assert_eq!(keys.draw(0, 77, 1), 0);
            assert!(keys.draw(0, mix64(77), 1 << 40) < 1 << 40);
        }
    }
}
