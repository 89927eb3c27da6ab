//! How large things are: bytes of a file, files of a namespace.

use std::f64::consts::TAU;

use crate::stream::unit;
use base::Prng;

/// A distribution of whole numbers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Sizes {
    /// `median * e^(sigma * N(0, 1))`, not above `max`.
    Lognormal {
        /// Half of the draws are below.
        median: f64,
        /// Of the logarithm.
        sigma: f64,
        /// What is above counts as this.
        max: u64,
    },
    /// Always the same.
    Const(u64),
    /// From `min` to `max`, both included.
    Uniform {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// `min * u^(-1 / shape)`, not above `max`.
    Pareto {
        /// The smallest.
        min: u64,
        /// The exponent of the tail.
        shape: f64,
        /// What is above counts as this.
        max: u64,
    },
}

impl Sizes {
    /// The size of a draw with these random bits.
    #[must_use]
    pub fn draw(self, bits: u64) -> u64 {
        match self {
            Sizes::Const(size) => size,
            Sizes::Uniform { min, max } => min + Prng::new(bits).below(max - min + 1),
            Sizes::Lognormal { median, sigma, max } => {
                let size = median * (sigma * normal(bits)).exp();
                (size.round() as u64).min(max)
            }
            Sizes::Pareto { min, shape, max } => ((min as f64 * unit(bits).powf(-1.0 / shape)) as u64).min(max),
        }
    }
}

/// A standard normal number (Box and Muller, 1958).
fn normal(bits: u64) -> f64 {
    let mut prng = Prng::new(bits);
    let (radius, angle) = (unit(prng.next_u64()), unit(prng.next_u64()));
    (-2.0 * radius.ln()).sqrt() * (TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{Draws, Stream};
    use crate::testing::{chi_squared, chi_squared_limit};

    /// Draws counted in bins that the definition makes equal.
    fn counts(sizes: Sizes, bin: impl Fn(u64) -> usize, bins: usize) -> Vec<u64> {
        let draws = Draws::new(5, Stream::Size);
        let mut counts = vec![0; bins];
        (0..1_000_000).for_each(|k| counts[bin(sizes.draw(draws.bits(k)))] += 1);
        counts
    }

    /// A12 row 4. The deciles of a standard normal are a constant of mathematics.
    #[test]
    fn lognormal_sizes_fall_into_the_deciles_of_the_definition() {
        const DECILES: [f64; 9] = [
            -1.281_551_565_545,
            -0.841_621_233_573,
            -0.524_400_512_708,
            -0.253_347_103_136,
            0.0,
            0.253_347_103_136,
            0.524_400_512_708,
            0.841_621_233_573,
            1.281_551_565_545,
        ];
        let median = 1e9;
        let bin = |size: u64| {
            let z = (size as f64 / median).ln() / 2.0;
            DECILES.iter().filter(|decile| z > **decile).count()
        };
        let sizes = Sizes::Lognormal { median, sigma: 2.0, max: u64::MAX };
        let (chi, freedom) = chi_squared(&counts(sizes, bin, 10), &[1.0; 10]);
        assert!(chi < chi_squared_limit(freedom), "{chi}");
        let wrong = Sizes::Lognormal { median, sigma: 1.98, max: u64::MAX };
        let (chi, freedom) = chi_squared(&counts(wrong, bin, 10), &[1.0; 10]);
        assert!(chi > chi_squared_limit(freedom), "a sigma 1 % off is seen");
    }

    #[test]
    fn uniform_and_pareto_follow_their_definitions() {
        let uniform = Sizes::Uniform { min: 10, max: 19 };
        let (chi, freedom) = chi_squared(&counts(uniform, |size| size as usize - 10, 10), &[1.0; 10]);
        assert!(chi < chi_squared_limit(freedom), "{chi}");
        let pareto = Sizes::Pareto { min: 1_000_000, shape: 1.5, max: u64::MAX };
        // The tail above x is (min / x)^shape, so this is uniform.
        let bin = |size: u64| (((1e6 / size as f64).powf(1.5) * 10.0) as usize).min(9);
        let (chi, freedom) = chi_squared(&counts(pareto, bin, 10), &[1.0; 10]);
        assert!(chi < chi_squared_limit(freedom), "{chi}");
    }

    #[test]
    fn no_size_is_above_its_bound() {
        let draws = Draws::new(5, Stream::Size);
        let lognormal = Sizes::Lognormal { median: 65_536.0, sigma: 2.0, max: 1 << 20 };
        assert!((0..10_000).all(|k| lognormal.draw(draws.bits(k)) <= 1 << 20));
        assert!((0..10_000).all(|k| Sizes::Pareto { min: 1, shape: 0.1, max: 99 }.draw(draws.bits(k)) <= 99));
        assert_eq!(Sizes::Const(7).draw(1), 7);
    }
}
