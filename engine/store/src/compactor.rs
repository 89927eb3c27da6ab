//! The compacting thread: keeps the levels in shape and removes the lives that are over.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, RwLock};

use base::GroupId;
use lsm_tree::compaction::filter::Context;
use lsm_tree::compaction::{CompactionFilter, Factory, ItemAccessor, Verdict};

use crate::job::{CompactJob, Done};
use crate::key::{self, Life};
use crate::scrub::{Damage, read_back};
use crate::space::{Space, retry};
use crate::tree::{Tree, TreeError};
use crate::worker::{Outbox, Worker};

/// Compacts the tree after every flush.
pub(crate) struct Compactor {
    pub(crate) tree: Arc<Tree>,
    pub(crate) l0_runs: Arc<AtomicUsize>,
    pub(crate) stopping: Arc<AtomicBool>,
    pub(crate) space: Arc<Space>,
    pub(crate) outbox: Outbox,
    /// Damaged tables that are still part of the tree.
    pub(crate) bad: BTreeSet<u64>,
}

impl Worker for Compactor {
    type Job = CompactJob;
    const NAME: &'static str = "compact";

    fn handle(&mut self, job: CompactJob) -> Result<(), TreeError> {
        match job {
            CompactJob::Kick => {}
            CompactJob::DropLivesBefore { group, life } => {
                self.tree.dead.set(group, life);
                self.tree.drop_lives_before(group, life)?;
            }
            CompactJob::Gone { table } => {
                self.bad.remove(&table);
            }
        }
        while !self.stopping.load(Ordering::Acquire) && self.compact_once()? {
            self.l0_runs.store(self.tree.l0_runs(), Ordering::Relaxed);
            // There may be room again, and no event tells.
            self.outbox.ring();
        }
        self.l0_runs.store(self.tree.l0_runs(), Ordering::Relaxed);
        Ok(())
    }
}

impl Compactor {
    /// One step; false when there is nothing to do. A full disk is waited for, and nothing of the step is left. The new
    /// tables are read back once.
    fn compact_once(&mut self) -> Result<bool, TreeError> {
        if !self.bad.is_empty() {
            // It would meet the damaged table again.
            return Ok(false);
        }
        let tree = self.tree.clone();
        // How much a step writes nobody knows before.
        let bytes = (tree.bytes() / 8).min(COMPACTION_BYTES_MAX);
        let first_new = tree.next_table();
        match retry(&self.space, bytes, || tree.compact_once()) {
            Ok(done) => {
                let stopping = self.stopping.clone();
                let tables = tree.tables().into_iter().filter(|table| table.id() >= first_new);
                let found =
                    tables.take_while(|_| !stopping.load(Ordering::Acquire)).find_map(|table| read_back(&table));
                found.into_iter().for_each(|damage| self.report(damage));
                Ok(done.unwrap_or(false))
            }
            Err(TreeError::Corrupt(reason)) => {
                let found: Vec<_> = tree.tables().iter().filter_map(read_back).collect();
                if found.is_empty() {
                    return Err(TreeError::Corrupt(reason));
                }
                found.into_iter().for_each(|damage| self.report(damage));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn report(&mut self, damage: Damage) {
        if self.bad.insert(damage.table) {
            self.outbox.send(Done::Damaged(damage));
        }
    }
}

/// What a compaction that met a full disk waits for at most.
const COMPACTION_BYTES_MAX: u64 = 256 << 20;

/// The current life of each group that had others before: rows of those are dead.
#[derive(Default)]
pub(crate) struct DeadLives(RwLock<HashMap<GroupId, Life>>);

impl DeadLives {
    /// No reader will begin in a life of the group before this one.
    pub(crate) fn set(&self, group: GroupId, life: Life) {
        self.0.write().expect("no thread panics while it holds the lives").insert(group, life);
    }
}

/// Gives each compaction its filter. A row of a dead life is destroyed without a tombstone: legal for these alone,
/// because a life is never used again.
pub(crate) struct DeadRows {
    dead: Arc<DeadLives>,
    stopping: Arc<AtomicBool>,
}

impl DeadRows {
    pub(crate) fn new(dead: Arc<DeadLives>, stopping: Arc<AtomicBool>) -> DeadRows {
        DeadRows { dead, stopping }
    }
}

impl Factory for DeadRows {
    fn name(&self) -> &str {
        "dead lives"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        let dead = self.dead.0.read().expect("no thread panics while it holds the lives").clone();
        Box::new(DeadRowsFilter { dead, stopping: self.stopping.clone() })
    }
}

struct DeadRowsFilter {
    dead: HashMap<GroupId, Life>,
    stopping: Arc<AtomicBool>,
}

impl CompactionFilter for DeadRowsFilter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        // The one way to end a long compaction: its unfinished tables are orphans, which the next open removes.
        if self.stopping.load(Ordering::Relaxed) {
            return Err(std::io::Error::from(std::io::ErrorKind::Interrupted).into());
        }
        if self.dead.is_empty() {
            return Ok(Verdict::Keep);
        }
        Ok(match key::split(item.key()) {
            Some((group, life, _)) if life != 0 && self.dead.get(&group).is_some_and(|current| life < *current) => {
                Verdict::Destroy
            }
            _ => Verdict::Keep,
        })
    }
}
