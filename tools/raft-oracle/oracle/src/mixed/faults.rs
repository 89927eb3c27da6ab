//! What goes wrong in one run, and how badly: drawn once from the seed, switched off when the cluster heals.

use base::Prng;
use base::mono::Span;

/// The rates of one run; per thousand unless named otherwise.
pub struct Faults {
    drop: u64,
    duplicate: u64,
    late: u64,
    late_ms: u64,
    sync_us: u64,
    slow_sync: u64,
    slow_sync_ms: u64,
    apply_us: u64,
    /// Epochs closed between a step and its drain.
    pub early_close: u64,
    /// Turns that wait for the next one.
    pub lazy: u64,
    /// The rest: per step of the scenario.
    pub crash: u64,
    /// All nodes at once.
    pub blackout: u64,
    /// Links that block or heal.
    pub partition: u64,
    /// Campaigns that nobody needs.
    pub campaign: u64,
    /// Transfers of leadership.
    pub transfer: u64,
    /// The machine becomes durable.
    pub checkpoint: u64,
    blocked: Vec<Vec<bool>>,
}

impl Faults {
    /// The faults of a run.
    pub fn draw(prng: &mut Prng, nodes: usize) -> Faults {
        let mut pick = |choices: &[u64]| choices[prng.below(choices.len() as u64) as usize];
        Faults {
            drop: pick(&[0, 0, 10, 50, 200]),
            duplicate: pick(&[0, 10, 100, 300]),
            late: pick(&[0, 20, 100, 300]),
            late_ms: pick(&[10, 100, 1000, 4000]),
            sync_us: pick(&[100, 2000, 20_000, 100_000]),
            slow_sync: pick(&[0, 0, 2, 20]),
            slow_sync_ms: pick(&[200, 1000, 3000]),
            apply_us: pick(&[10, 1000, 50_000]),
            early_close: pick(&[0, 50, 500]),
            lazy: pick(&[0, 100, 400]),
            crash: pick(&[0, 5, 20, 60]),
            blackout: pick(&[0, 0, 3]),
            partition: pick(&[0, 5, 20, 60]),
            campaign: pick(&[0, 0, 10]),
            transfer: pick(&[0, 5, 30]),
            checkpoint: pick(&[0, 20, 200]),
            blocked: vec![vec![false; nodes]; nodes],
        }
    }

    /// From now on everything works.
    pub fn heal(&mut self) {
        let nodes = self.blocked.len();
        (self.drop, self.duplicate, self.late, self.slow_sync, self.lazy) = (0, 0, 0, 0, 0);
        (self.crash, self.blackout, self.partition, self.campaign, self.transfer) = (0, 0, 0, 0, 0);
        self.sync_us = self.sync_us.min(20_000);
        self.blocked = vec![vec![false; nodes]; nodes];
    }

    /// When the copies of a message arrive; none if it is lost.
    pub fn delays(&self, prng: &mut Prng, from: usize, to: usize) -> Vec<Span> {
        if self.blocked[from][to] || prng.below(1000) < self.drop {
            return Vec::new();
        }
        let copies = if prng.below(1000) < self.duplicate { 2 } else { 1 };
        let delay = |prng: &mut Prng| {
            let late = if prng.below(1000) < self.late { prng.below(self.late_ms * 1000) } else { 0 };
            Span::from_us(100 + prng.below(1000) + late)
        };
        (0..copies).map(|_| delay(prng)).collect()
    }

    /// How long a sync takes.
    pub fn sync_delay(&self, prng: &mut Prng) -> Span {
        let slow = if prng.below(1000) < self.slow_sync { prng.below(self.slow_sync_ms * 1000) } else { 0 };
        Span::from_us(50 + prng.below(self.sync_us) + slow)
    }

    /// How long a batch of applies takes.
    pub fn apply_delay(&self, prng: &mut Prng) -> Span {
        Span::from_us(prng.below(self.apply_us))
    }

    /// Blocks some links, one way or both, or heals all of them.
    pub fn repartition(&mut self, prng: &mut Prng) {
        let nodes = self.blocked.len();
        self.blocked = vec![vec![false; nodes]; nodes];
        let (one, other) = (prng.below(nodes as u64) as usize, prng.below(nodes as u64) as usize);
        match prng.below(6) {
            0 => (0..nodes).for_each(|to| (self.blocked[one][to], self.blocked[to][one]) = (true, true)),
            1 => (0..nodes).for_each(|to| self.blocked[one][to] = true),
            2 => (0..nodes).for_each(|from| self.blocked[from][one] = true),
            3 => self.blocked[one][other] = true,
            4 => (self.blocked[one][other], self.blocked[other][one]) = (true, true),
            _ => {}
        }
    }
}
