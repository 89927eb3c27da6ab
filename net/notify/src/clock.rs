//! Time for the tables: the drivers read it here.

use std::time::Instant;

use base::Mono;
use base::mono::Span;

/// Counts from when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn new() -> Clock {
        Clock(Instant::now())
    }

    /// Never 0, which means long ago.
    pub(crate) fn now(self) -> Mono {
        Mono(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)) + Span::from_ms(1000)
    }
}

/// A seed that no other start has.
pub(crate) fn draw_seed() -> u64 {
    let mut seed = [0; 8];
    // Without random bytes the time since boot has to do.
    if getrandom::fill(&mut seed).is_err() {
        seed = u64::from(std::process::id()).to_le_bytes();
    }
    u64::from_le_bytes(seed)
}
