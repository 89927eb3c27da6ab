//! What goes wrong, and how badly, in one run: drawn once from the seed, switched off when the cluster heals.

use base::Prng;
use base::mono::Span;

pub struct Faults {
    /// Per thousand.
    drop: u64,
    duplicate: u64,
    /// Messages that come late, per thousand, and how late at most.
    late: u64,
    late_ms: u64,
    /// How long a sync takes at most, usually and per thousand.
    sync_us: u64,
    slow_sync: u64,
    slow_sync_ms: u64,
    early_close: u64,
    apply_us: u64,
    /// Per thousand and step of the scenario.
    pub crash: u64,
    pub partition: u64,
    pub change: u64,
    pub transfer: u64,
    pub campaign: u64,
    pub suspend: u64,
    pub checkpoint: u64,
    /// Entries kept behind a checkpoint.
    pub trailing: u64,
    /// `blocked[from][to]`.
    blocked: Vec<Vec<bool>>,
}

impl Faults {
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
            early_close: pick(&[0, 50, 500]),
            apply_us: pick(&[10, 1000, 50_000]),
            crash: pick(&[0, 5, 20, 60]),
            partition: pick(&[0, 5, 20, 60]),
            change: pick(&[0, 5, 30]),
            transfer: pick(&[0, 5, 30]),
            campaign: pick(&[0, 0, 10]),
            suspend: pick(&[0, 0, 3, 10]),
            checkpoint: pick(&[0, 20, 200]),
            trailing: pick(&[0, 3, 30]),
            blocked: vec![vec![false; nodes]; nodes],
        }
    }

    /// From now on everything works.
    pub fn heal(&mut self) {
        let nodes = self.blocked.len();
        (self.drop, self.duplicate, self.late, self.slow_sync) = (0, 0, 0, 0);
        (self.crash, self.partition, self.change, self.transfer, self.campaign) = (0, 0, 0, 0, 0);
        self.suspend = 0;
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

    pub fn sync_delay(&self, prng: &mut Prng, _at: usize) -> Span {
        let slow = if prng.below(1000) < self.slow_sync { prng.below(self.slow_sync_ms * 1000) } else { 0 };
        Span::from_us(50 + prng.below(self.sync_us) + slow)
    }

    pub fn apply_delay(&self, prng: &mut Prng) -> Span {
        Span::from_us(prng.below(self.apply_us))
    }

    pub fn closes_early(&self, prng: &mut Prng) -> bool {
        prng.below(1000) < self.early_close
    }

    /// Nothing leaves or reaches this node.
    pub fn isolate(&mut self, at: usize) {
        for other in 0..self.blocked.len() {
            (self.blocked[at][other], self.blocked[other][at]) = (true, true);
        }
    }

    /// Blocks some links, one way or both, or heals all of them.
    pub fn repartition(&mut self, prng: &mut Prng) {
        let nodes = self.blocked.len();
        self.blocked = vec![vec![false; nodes]; nodes];
        let one = prng.below(nodes as u64) as usize;
        let other = prng.below(nodes as u64) as usize;
        match prng.below(6) {
            0 => {
                let side: Vec<bool> = (0..nodes).map(|_| prng.one_in(2)).collect();
                for (from, row) in self.blocked.iter_mut().enumerate() {
                    row.iter_mut().enumerate().for_each(|(to, link)| *link = side[from] != side[to]);
                }
            }
            1 => (0..nodes).for_each(|to| self.blocked[one][to] = true),
            2 => (0..nodes).for_each(|from| self.blocked[from][one] = true),
            3 => self.blocked[one][other] = true,
            4 => (self.blocked[one][other], self.blocked[other][one]) = (true, true),
            _ => {}
        }
    }
}
