//! The work that a deleted folder leaves behind: its leader proposes `Sweep` until nothing is left of the subtree.

use base::Nsid;
use meta::{Cold, Command, Outcome, Rows, Store, Want};
use seglog::Disk;

use crate::Shard;

/// The connection of commands that the shard proposes by itself.
pub(crate) const SWEEPER: u64 = u64::MAX - 1;
/// Nodes of one step: far below the rows that one command may touch.
const SWEEP_LIMIT: u32 = 1024;
/// Steps proposed in one turn.
const SWEEPS_PER_TURN: usize = 4;
/// The table of subtrees that wait (docs/design/metadata.md, "Tables").
const TABLE: u8 = 0x0e;
/// Subtrees looked for when a group gets a new leader; the rest is found by the sweeps of their namespaces.
const FOUND_MAX: u32 = 256;

impl<D: Disk, S: Store> Shard<D, S> {
    /// Proposes the steps that are due.
    pub(crate) fn propose_sweeps(&mut self) {
        for _ in 0..SWEEPS_PER_TURN.min(self.sweeps.len()) {
            let Some((at, nsid)) = self.sweeps.pop_front() else { return };
            if !self.groups[at as usize].is_leader {
                base::mark::hit!("shard.sweep.lead_lost");
                continue;
            }
            if self.is_overloaded(at) {
                base::mark::hit!("shard.sweep.overloaded");
                self.sweeps.push_back((at, nsid));
                continue;
            }
            self.propose_own(at, nsid, 0, &Command::Sweep { limit: SWEEP_LIMIT });
        }
    }

    /// A step is done: another one is due if something is left.
    pub(crate) fn handle_swept(&mut self, at: u32, nsid: Nsid, outcome: &[u8]) {
        if let Ok(Outcome::Swept { has_more: true, .. }) = Outcome::decode(outcome) {
            base::mark::hit!("shard.sweep.goes_on");
            self.note_sweep(at, nsid);
        }
    }

    pub(crate) fn note_sweep(&mut self, at: u32, nsid: Nsid) {
        if self.groups[at as usize].is_leader && !self.sweeps.contains(&(at, nsid)) {
            self.sweeps.push_back((at, nsid));
        }
    }

    /// This node leads the group now: what its predecessor left is found in the table.
    pub(crate) fn find_sweeps(&mut self, at: u32) {
        let group = self.groups[at as usize].id;
        let mut rows = Rows::new();
        match self.store.scan(group, &[TABLE][..]..&[TABLE + 1][..], FOUND_MAX, &mut rows) {
            Ok(()) => {
                for (key, _) in &rows {
                    let nsid = key.get(1..9).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
                    if let Some(nsid) = nsid {
                        base::mark::hit!("shard.sweep.found_at_start_of_lead");
                        self.note_sweep(at, Nsid(nsid));
                    }
                }
            }
            Err(Cold) => {
                base::mark::hit!("shard.sweep.rows_cold");
                let want = Want::Range { keys: vec![TABLE]..vec![TABLE + 1], rows_max: FOUND_MAX };
                self.fetch_sweeps(at, &[want]);
            }
        }
    }
}
