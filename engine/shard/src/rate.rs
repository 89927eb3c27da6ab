//! A token bucket: so many bytes per second, and what was not used for a while is lost.

use base::Mono;

/// Bytes that may leave, refilled with time. It may go below zero: a part is as large as it is.
#[derive(Debug)]
pub(crate) struct Rate {
    bytes_per_second: u64,
    /// The most that is saved.
    burst: i64,
    credit: i64,
    filled: Mono,
}

impl Rate {
    pub(crate) fn new(bytes_per_second: u64, burst: u64) -> Rate {
        let burst = burst.min(i64::MAX as u64) as i64;
        Rate { bytes_per_second, burst, credit: burst, filled: Mono(0) }
    }

    /// May something leave now?
    pub(crate) fn is_open(&mut self, now: Mono) -> bool {
        let earned = u128::from(now.since(self.filled).0) * u128::from(self.bytes_per_second) / 1_000_000_000;
        if earned > 0 {
            // Less than a byte's time may be lost each time; that only slows.
            self.credit = self.credit.saturating_add(i64::try_from(earned).unwrap_or(i64::MAX)).min(self.burst);
            self.filled = now;
        }
        self.credit > 0
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        self.credit -= bytes as i64;
    }

    /// When it opens again; in the past if it is open.
    pub(crate) fn opens_at(&self) -> Mono {
        let missing = u128::from((1 - self.credit).max(0).unsigned_abs());
        let wait = (missing * 1_000_000_000).div_ceil(u128::from(self.bytes_per_second));
        Mono(self.filled.0.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_a_second_no_more_leaves_than_the_rate_and_one_burst() {
        let (per_second, part) = (100 << 20, 1_000_000);
        let mut rate = Rate::new(per_second, 8 << 20);
        let (mut now, mut sent) = (Mono(5_000_000_000), 0u64);
        let end = Mono(6_000_000_000);
        while now < end {
            while rate.is_open(now) {
                rate.take(part);
                sent += part as u64;
            }
            assert!(rate.opens_at() > now);
            now = rate.opens_at();
        }
        assert!(sent <= per_second + (8 << 20) + part as u64, "{sent}");
        assert!(sent >= per_second, "{sent}: it waits longer than it must");
    }
}
