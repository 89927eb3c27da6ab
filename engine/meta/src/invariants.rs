//! What always holds of a group's rows (docs/design/metadata.md, "Invariants"). Run after every step in tests and in the
//! simulator: each check reads everything.

use std::collections::{BTreeMap, BTreeSet};

use base::limits::BLOCK_BYTES;
use base::names::name_key;
use base::{Acct, BlockHash, Jid, Nsid, TreeNode};
use sha2::{Digest, Sha256};

use crate::keys::{DIRENT_PREFIX_BYTES, table};
use crate::metadata::{NodeKind, Rev};
use crate::query::ROOT;
use crate::rows::*;
use crate::store::Rows;
use crate::uploads::is_name;

/// An invariant does not hold: a bug.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{invariant} does not hold in namespace {nsid}: {what}")]
pub struct Violation {
    /// Which one, as the design counts them.
    pub invariant: &'static str,
    /// Where.
    pub nsid: Nsid,
    /// What is wrong.
    pub what: String,
}

/// All rows of one namespace, decoded.
#[derive(Default)]
struct Everything {
    nsid: Nsid,
    namespace: NamespaceRow,
    nodes: BTreeMap<TreeNode, NodeRow>,
    dirents: BTreeMap<(TreeNode, String), DirentRow>,
    journal: BTreeMap<Jid, JournalRow>,
    blocks: BTreeMap<BlockHash, BlockRow>,
    lists: BTreeMap<u64, ListRow>,
    members: BTreeMap<Acct, MemberRow>,
    uploads: Vec<UploadRow>,
    /// By the namespace that hangs there.
    mounts: BTreeMap<Nsid, TreeNode>,
    list_names: BTreeMap<u64, Vec<BlockHash>>,
}

/// Checks I1 to I4, I6 (the counts), I7, I8, I10 and I14 over all rows of a group.
///
/// Errors: the first [`Violation`] found.
pub fn check(rows: &Rows) -> Result<(), Violation> {
    crate::links::check(rows)?;
    crate::group0::check(rows)?;
    for everything in read(rows).values() {
        everything.journal_is_dense()?;
        everything.names_and_nodes_agree()?;
        everything.nodes_have_parents()?;
        everything.blocks_are_counted()?;
        everything.contents_are_whole()?;
        everything.counters_are_right()?;
        everything.members_and_mounts_agree()?;
        everything.revs_are_replaced_once()?;
        everything.revs_resolve()?;
    }
    Ok(())
}

fn read(rows: &Rows) -> BTreeMap<Nsid, Everything> {
    let mut all: BTreeMap<Nsid, Everything> = BTreeMap::new();
    for (key, value) in rows {
        let number = |at: usize| u64::from_be_bytes(key[at..at + 8].try_into().expect("the key has a number there"));
        if !(table::NAMESPACE..=table::UPLOAD).contains(&key[0]) {
            continue;
        }
        let nsid = Nsid(number(1));
        let here = all.entry(nsid).or_insert_with(|| Everything { nsid, ..Everything::default() });
        match key[0] {
            table::NAMESPACE => here.namespace = NamespaceRow::decode(value),
            table::NODE => drop(here.nodes.insert(TreeNode(number(9)), NodeRow::decode(value))),
            table::DIRENT => {
                let name = String::from_utf8(key[DIRENT_PREFIX_BYTES..].to_vec()).expect("name keys are UTF-8");
                here.dirents.insert((TreeNode(number(9)), name), DirentRow::decode(value));
            }
            table::JOURNAL => drop(here.journal.insert(Jid(number(9)), JournalRow::decode(value))),
            table::BLOCK => {
                let hash = BlockHash(key[9..].try_into().expect("a block's key ends with its hash"));
                here.blocks.insert(hash, BlockRow::decode(value));
            }
            table::LIST => drop(here.lists.insert(number(9), ListRow::decode(value))),
            table::LIST_PART => {
                here.list_names.entry(number(9)).or_default().extend(ListPartRow::decode(value).blocks);
            }
            table::MEMBER => drop(here.members.insert(Acct(number(9)), MemberRow::decode(value))),
            table::UPLOAD => here.uploads.push(UploadRow::decode(value)),
            table::MOUNT => drop(here.mounts.insert(Nsid(number(9)), TreeNode(NumberRow::decode(value).0))),
            _ => {}
        }
    }
    all
}

impl Everything {
    fn violation<T>(&self, invariant: &'static str, what: String) -> Result<T, Violation> {
        Err(Violation { invariant, nsid: self.nsid, what })
    }

    fn ensure(&self, holds: bool, invariant: &'static str, what: impl FnOnce() -> String) -> Result<(), Violation> {
        if holds { Ok(()) } else { self.violation(invariant, what()) }
    }

    /// I1.
    fn journal_is_dense(&self) -> Result<(), Violation> {
        let (head, trim, floor) = (self.namespace.head, self.namespace.trim, self.namespace.floor);
        self.ensure(trim <= floor && floor <= head, "I1", || format!("trim {trim}, floor {floor}, head {head}"))?;
        let is_dense = self.journal.range(trim.next()..).map(|(jid, _)| jid.0).eq(trim.0 + 1..=head.0);
        self.ensure(is_dense, "I1", || format!("the journal is not {}..={head}", trim.next()))?;
        self.trimmed_rows_are_held()?;
        let is_closed = self.journal.get(&head).is_none_or(|row| row.flags & ROW_CONTINUES == 0);
        self.ensure(is_closed, "I1", || "the last row continues into nothing".to_owned())
    }

    /// I1, at or below the last row trimmed: exactly the revisions of files that are there or may be restored, and those
    /// that a row above replaced.
    fn trimmed_rows_are_held(&self) -> Result<(), Violation> {
        let trim = self.namespace.trim;
        let revs = self.nodes.values().filter(|row| row.kind == NodeKind::File).map(|row| row.rev_jid);
        let mut wanted: BTreeSet<Jid> = revs.filter(|jid| *jid <= trim).collect();
        for (_, row) in self.journal.range(trim.next()..).filter(|(_, row)| row.kind == NodeKind::File) {
            // A file that was restored over its own grave replaces what the delete had replaced before.
            let is_revived = row.op == Op::Put && row.name_prev_jid != row.prev_jid && row.name_prev_jid <= trim;
            if row.prev_jid != Jid(0) && row.prev_jid <= trim && !is_revived {
                wanted.insert(row.prev_jid);
            }
        }
        let held = self.journal.range(..trim.next()).filter(|(_, row)| row.content.is_some());
        let held: BTreeSet<Jid> = held.map(|(jid, _)| *jid).collect();
        self.ensure(held == wanted, "I1", || format!("rows {held:?} are held, not {wanted:?}"))?;
        let is_content = self.journal.range(..trim.next()).all(|(_, row)| row.content.is_some());
        self.ensure(is_content, "I1", || "a row without content is at or below the last one trimmed".to_owned())
    }

    /// I2: at most one node per name is by the key; both sides point at each other.
    fn names_and_nodes_agree(&self) -> Result<(), Violation> {
        for ((parent, name), dirent) in &self.dirents {
            let node = self.nodes.get(&dirent.node);
            let agrees = node
                .is_some_and(|row| row.parent == *parent && name_key(&row.name) == *name && row.kind == dirent.kind);
            self.ensure(agrees, "I2", || format!("name {name:?} in {parent} and node {} disagree", dirent.node))?;
        }
        for (node, row) in self.nodes.iter().filter(|(node, row)| **node != ROOT && row.is_seen()) {
            let dirent = self.dirents.get(&(row.parent, name_key(&row.name)));
            let is_named = dirent.is_some_and(|dirent| dirent.node == *node);
            self.ensure(is_named, "I2", || format!("node {node} has no name"))?;
        }
        Ok(())
    }

    /// I3 and I4.
    fn nodes_have_parents(&self) -> Result<(), Violation> {
        for (node, row) in self.nodes.iter().filter(|(node, _)| **node != ROOT) {
            let parent = self.nodes.get(&row.parent);
            let is_folder = parent.is_some_and(|parent| parent.kind == NodeKind::Folder);
            self.ensure(is_folder, "I3", || format!("the parent of {node} is no folder"))?;
            let (mut at, mut steps) = (*node, 0);
            while at != ROOT {
                at = self.nodes.get(&at).map_or(ROOT, |row| row.parent);
                steps += 1;
                self.ensure(steps <= self.nodes.len(), "I4", || format!("{node} is below itself"))?;
            }
        }
        Ok(())
    }

    /// The block names of a content row.
    fn names<'a>(&'a self, content: &'a Content) -> &'a [BlockHash] {
        match content.list {
            0 => &content.inline,
            list => self.list_names.get(&list).map_or(&[], |names| names),
        }
    }

    /// The counts of I6.
    fn blocks_are_counted(&self) -> Result<(), Violation> {
        let mut refs: BTreeMap<BlockHash, u64> = BTreeMap::new();
        let mut list_refs: BTreeMap<u64, u32> = BTreeMap::new();
        for content in self.journal.values().filter_map(|row| row.content.as_ref()) {
            match content.list {
                0 => content.inline.iter().for_each(|hash| *refs.entry(*hash).or_default() += 1),
                list => *list_refs.entry(list).or_default() += 1,
            }
        }
        self.uploads.iter().for_each(|upload| *list_refs.entry(upload.list).or_default() += 1);
        let names = self.list_names.values().flatten().filter(|name| is_name(name));
        names.for_each(|hash| *refs.entry(*hash).or_default() += 1);
        for (list, row) in &self.lists {
            let counted = list_refs.remove(list).unwrap_or(0);
            self.ensure(counted == row.refs, "I6", || format!("list {list}: {counted} uses, refs {}", row.refs))?;
        }
        self.ensure(list_refs.is_empty(), "I6", || format!("lists without a row: {list_refs:?}"))?;
        for (hash, row) in &self.blocks {
            let counted = refs.remove(hash).unwrap_or(0);
            self.ensure(counted == row.refs, "I6", || format!("block {hash}: {counted} uses, refs {}", row.refs))?;
        }
        self.ensure(refs.is_empty(), "I6", || format!("blocks without a row: {refs:?}"))
    }

    /// I7.
    fn contents_are_whole(&self) -> Result<(), Violation> {
        for (jid, row) in &self.journal {
            let Some(content) = &row.content else { continue };
            let names = self.names(content);
            let mut hash = Sha256::new();
            names.iter().for_each(|name| hash.update(name.0));
            let is_hash = <[u8; 32]>::from(hash.finalize()) == content.hash;
            self.ensure(is_hash, "I7", || format!("row {jid}: the names do not give the content hash"))?;
            let count = row.size.div_ceil(BLOCK_BYTES);
            let is_count = names.len() as u64 == count && u64::from(content.blocks) == count;
            self.ensure(is_count, "I7", || format!("row {jid}: {} blocks for {} bytes", names.len(), row.size))?;
            for (name, position) in names.iter().zip(0u64..) {
                let wanted = (row.size - position * BLOCK_BYTES).min(BLOCK_BYTES);
                let found = self.blocks.get(name).map(|block| u64::from(block.bytes));
                self.ensure(found == Some(wanted), "I7", || format!("row {jid}: length of block {position}"))?;
            }
        }
        Ok(())
    }

    /// I8: over the nodes that no delete or sweep has marked.
    fn counters_are_right(&self) -> Result<(), Violation> {
        let live = self.nodes.values().filter(|row| row.kind == NodeKind::File && !row.is_dead());
        let (files, bytes) = live.fold((0, 0), |(files, bytes), row| (files + 1, bytes + row.size));
        let counted = (self.namespace.live_files, self.namespace.live_bytes);
        self.ensure(counted == (files, bytes), "I8", || format!("counted {counted:?}, are {files}, {bytes}"))?;
        let is_within = bytes <= self.namespace.grant_bytes;
        self.ensure(is_within, "I8", || format!("{bytes} bytes above the grant"))
    }

    /// I5 for what hangs in a root: one place each. And every member is counted, beside the owner, who is none.
    fn members_and_mounts_agree(&self) -> Result<(), Violation> {
        for (node, row) in self.nodes.iter().filter(|(node, row)| row.kind == NodeKind::Mount && self.is_live(**node)) {
            let place = self.mounts.get(&Nsid(row.size));
            self.ensure(place == Some(node), "I5", || format!("{} hangs in {node} and {place:?}", row.size))?;
        }
        let (counted, members) = (self.namespace.members as usize, self.members.len());
        self.ensure(counted == members + 1, "I8", || format!("{members} members and the owner, counted {counted}"))?;
        let is_member = self.members.contains_key(&self.namespace.owner);
        self.ensure(!is_member, "I8", || "the owner is a member too".to_owned())
    }

    /// Neither the node nor anything above it is dead; a sweep may not have come to it yet.
    fn is_live(&self, node: TreeNode) -> bool {
        let mut at = node;
        while let Some(row) = self.nodes.get(&at).filter(|row| !row.is_dead()) {
            if at == ROOT {
                return true;
            }
            at = row.parent;
        }
        false
    }

    /// I10, and for moves too: no two rows replace the same revision. (A delete may come between a revision and the
    /// restore that gives its file back.)
    fn revs_are_replaced_once(&self) -> Result<(), Violation> {
        let mut replaced = BTreeMap::new();
        for (jid, row) in &self.journal {
            if row.prev_jid == Jid(0) {
                continue;
            }
            let twice = replaced.insert((row.prev_jid, row.op == Op::Delete), jid);
            self.ensure(twice.is_none(), "I10", || format!("rows {twice:?} and {jid} both replace {}", row.prev_jid))?;
            self.ensure(row.prev_jid < *jid, "I10", || format!("row {jid} replaces {}", row.prev_jid))?;
        }
        Ok(())
    }

    /// I14: every live file's rev is held and names it, and its text gives it back.
    fn revs_resolve(&self) -> Result<(), Violation> {
        for (node, row) in self.nodes.iter().filter(|(_, row)| row.kind == NodeKind::File) {
            let rev = Rev { nsid: self.nsid, jid: row.rev_jid };
            let held = self.journal.get(&row.rev_jid);
            let is_held = held.is_some_and(|held| held.node == *node && held.content.is_some());
            self.ensure(is_held, "I14", || format!("rev {rev} of node {node} is not held"))?;
            let is_same = rev.to_string().parse() == Ok(rev);
            self.ensure(is_same, "I14", || format!("rev {rev} does not survive its text"))?;
        }
        Ok(())
    }
}
