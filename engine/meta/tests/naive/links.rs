//! Links of one account in its own namespace, as docs/design/metadata.md tells them: a map, and nothing else.

use std::collections::BTreeMap;

use base::TreeNode;
use meta::*;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The links that were made and not taken away.
#[derive(Clone, Default)]
pub struct Links {
    made: BTreeMap<u64, (TreeNode, LinkSettings)>,
    last: u64,
}

fn is_over(settings: &LinkSettings, now_ms: u64) -> bool {
    settings.expires_ms != 0 && settings.expires_ms <= now_ms
}

impl Links {
    /// `found`: the node at the place of a `Create`; a shared namespace may be shown whole.
    pub fn run(&mut self, command: &LinkCommand, found: Result<TreeNode, Outcome>, now_ms: u64) -> Outcome {
        match command {
            LinkCommand::Create { settings, .. } => match found {
                Err(refused) => refused,
                Ok(node) => {
                    let same = self.made.iter().find(|(_, (other, _))| *other == node);
                    match same.map(|(link, (_, settings))| (*link, is_over(settings, now_ms))) {
                        Some((link, false)) => return Outcome::Exists { id: link },
                        Some((link, true)) => drop(self.made.remove(&link)),
                        None => {}
                    }
                    self.last += 1;
                    self.made.insert(self.last, (node, settings.clone()));
                    Outcome::Made { id: self.last }
                }
            },
            LinkCommand::Modify { link, settings } => match self.made.get_mut(link) {
                Some(row) => {
                    row.1 = settings.clone();
                    Outcome::Done
                }
                None => Outcome::NotFound,
            },
            LinkCommand::Revoke { link } => match self.made.remove(link) {
                Some(_) => Outcome::Done,
                None => Outcome::NotFound,
            },
        }
    }

    /// Those that ended eight days ago are forgotten.
    pub fn sweep(&mut self, now_ms: u64) {
        self.made.retain(|_, (_, settings)| settings.expires_ms == 0 || settings.expires_ms + 8 * DAY_MS > now_ms);
    }

    /// What they show of a tree: number, node, settings; in order of the nodes.
    pub fn shown(&self, tree: &BTreeMap<String, Metadata>, now_ms: u64) -> Vec<(u64, TreeNode, LinkSettings)> {
        let is_there = |node: TreeNode| node == ROOT || tree.values().any(|meta| meta.node == node);
        let live = self.made.iter().filter(|(_, (node, settings))| is_there(*node) && !is_over(settings, now_ms));
        let mut shown: Vec<_> = live.map(|(link, (node, settings))| (*link, *node, settings.clone())).collect();
        shown.sort_by_key(|(_, node, _)| *node);
        shown
    }

    /// One that shows something, of which there may be none.
    pub fn any_of(&self, tree: &BTreeMap<String, Metadata>, which: u64) -> u64 {
        let is_there = |node: TreeNode| node == ROOT || tree.values().any(|meta| meta.node == node);
        let live: Vec<u64> = self.made.iter().filter(|(_, (node, _))| is_there(*node)).map(|(link, _)| *link).collect();
        if live.is_empty() { 1 << 40 } else { live[which as usize % live.len()] }
    }
}
