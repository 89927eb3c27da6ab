//! How long to wait before the next try: doubling, bounded, with jitter, so that clients do not return as one.

use base::Prng;
use base::mono::Span;

/// The first wait.
const FIRST: Span = Span::from_ms(8);
/// Doublings at most: the longest wait is about 256 ms, below an election.
const DOUBLINGS_MAX: u32 = 5;

/// The wait before try `tries` (0 is the first repetition): half of it fixed, half of it drawn.
pub(crate) fn backoff(tries: u32, prng: &mut Prng) -> Span {
    let whole = FIRST.0 << tries.min(DOUBLINGS_MAX);
    Span(whole / 2 + prng.below(whole / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_stay_bounded_and_differ() {
        let mut prng = Prng::new(1);
        for tries in 0..100 {
            let whole = Span::from_ms(8).0 << tries.min(5);
            let drawn: Vec<u64> = (0..8).map(|_| backoff(tries, &mut prng).0).collect();
            assert!(drawn.iter().all(|wait| whole / 2 <= *wait && *wait < whole));
            assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]));
        }
    }
}
