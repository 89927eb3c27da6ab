//! Freezes in the plainest way: which folders, by which flow, since when; each ends a minute after it was renewed.

use base::TreeNode;
use meta::*;

use super::{Judged, Naive, above};

const FREEZE_MS: u64 = 60 * 1000;

/// One freeze.
#[derive(Clone, Copy, Debug)]
pub struct Frozen {
    flow: u64,
    since_ms: u64,
    renewed_ms: u64,
}

impl Naive {
    fn is_frozen(&self, path: &str) -> bool {
        let node = self.get(path).map(|there| there.node);
        let freeze = node.and_then(|node| self.frozen.get(&node));
        freeze.is_some_and(|freeze| freeze.renewed_ms + FREEZE_MS > self.now_ms)
    }

    /// Nothing comes to be below a frozen folder.
    pub(super) fn check_thawed_above(&self, path: &str) -> Result<(), Outcome> {
        match above(path).any(|folder| self.is_frozen(folder)) {
            true => Err(Outcome::Busy { retry_ms: 1000 }),
            false => Ok(()),
        }
    }

    /// And nothing at or below one changes.
    pub(super) fn check_thawed(&self, path: &str) -> Result<(), Outcome> {
        if self.is_frozen(path) { Err(Outcome::Busy { retry_ms: 1000 }) } else { self.check_thawed_above(path) }
    }

    pub(super) fn freeze(&mut self, freeze: &Freeze) -> Judged {
        if !self.tree.values().any(|there| there.node == freeze.node) {
            return Err(Outcome::NotFound);
        }
        let now_ms = self.now_ms;
        let before = self.frozen.get(&freeze.node).copied().filter(|it| it.renewed_ms + FREEZE_MS > now_ms);
        if before.is_some_and(|before| before.flow != freeze.flow) {
            return Err(Outcome::Busy { retry_ms: 60_000 });
        }
        let since_ms = before.map_or(now_ms, |before| before.since_ms);
        self.frozen.insert(freeze.node, Frozen { flow: freeze.flow, since_ms, renewed_ms: now_ms });
        Ok(before.map_or(Outcome::Done, |before| Outcome::Exists { id: before.since_ms }))
    }

    pub(super) fn thaw(&mut self, freeze: &Freeze) -> Judged {
        if self.frozen.get(&freeze.node).is_none_or(|before| before.flow != freeze.flow) {
            return Err(Outcome::NotFound);
        }
        self.frozen.remove(&freeze.node);
        Ok(Outcome::Done)
    }

    /// A folder that is there.
    pub fn any_folder(&self, which: u64) -> Option<TreeNode> {
        let folders: Vec<TreeNode> =
            self.tree.values().filter(|there| there.kind == NodeKind::Folder).map(|there| there.node).collect();
        (!folders.is_empty()).then(|| folders[which as usize % folders.len()])
    }
}
