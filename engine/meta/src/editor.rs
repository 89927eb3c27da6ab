//! Changes to one namespace by one command: rows of the journal, nodes, names, block counts and counters.

use base::names::key_of;
use base::{Acct, BlockHash, Jid, Nsid, TreeNode};

use crate::keys;
use crate::metadata::{Metadata, NodeKind};
use crate::outcome::Outcome;
use crate::overlay::{Source, Txn};
use crate::rows::*;
use crate::store::{Cold, Store};
use crate::tree::{Found, Halt, Located, Tree};
use crate::trim::counted;

/// How long after a put a block server may still attest it.
const PUT_AGE_MS_MAX: u64 = 60 * 60 * 1000;
/// When to ask again while a sweep is pending.
const SWEEP_RETRY_MS: u32 = 100;
/// How long a freeze lasts that its flow does not renew.
pub(crate) const FREEZE_MS: u64 = 60 * 1000;
/// When to ask again while something is frozen.
const FREEZE_RETRY_MS: u32 = 1000;
/// The byte of a journal row that holds its flags.
const ROW_FLAGS_AT: usize = 3;

/// What a put writes beside its place.
pub(crate) struct FileContent {
    pub size: u64,
    pub client_mtime_ms: i64,
    pub hash: [u8; 32],
    pub blocks: Blocks,
}

/// The blocks of a put.
pub(crate) enum Blocks {
    /// Named by the command.
    New(Vec<BlockHash>),
    /// Those of an earlier row, shared.
    Held(Content),
    /// Those of an upload session, which gives up its list to the file.
    Taken(Content),
}

/// One command's work on one namespace.
pub(crate) struct Editor<'t, 'a, S> {
    pub txn: &'t mut Txn<'a, S>,
    pub nsid: Nsid,
    pub acct: Acct,
    pub namespace: NamespaceRow,
    /// The row of this command written last.
    last_row: Option<Jid>,
    /// A folder was detached.
    pub has_detached: bool,
    /// An account was put out.
    pub revoked: Option<Acct>,
    /// The command came from a server of the cluster: what it attests is believed.
    pub is_server: bool,
}

/// A point to which an editor returns.
#[derive(Clone, Copy)]
pub(crate) struct EditorMark {
    overlay: usize,
    namespace: NamespaceRow,
    last_row: Option<Jid>,
    has_detached: bool,
}

impl<'t, 'a, S: Store> Editor<'t, 'a, S> {
    pub fn new(txn: &'t mut Txn<'a, S>, nsid: Nsid, acct: Acct, namespace: NamespaceRow) -> Editor<'t, 'a, S> {
        Editor { txn, nsid, acct, namespace, last_row: None, has_detached: false, revoked: None, is_server: false }
    }

    pub fn mark(&self) -> EditorMark {
        EditorMark {
            overlay: self.txn.overlay.mark(),
            namespace: self.namespace,
            last_row: self.last_row,
            has_detached: self.has_detached,
        }
    }

    pub fn rollback(&mut self, mark: EditorMark) {
        self.txn.overlay.rollback(mark.overlay);
        self.namespace = mark.namespace;
        self.last_row = mark.last_row;
        self.has_detached = mark.has_detached;
    }

    /// Row changes since `mark`.
    pub fn changes_since(&self, mark: EditorMark) -> usize {
        self.txn.overlay.mark() - mark.overlay
    }

    /// Writes the namespace row; the last act of a command.
    pub fn finish(self) {
        let key = keys::namespace(self.nsid);
        self.txn.put(key, &self.namespace);
    }

    pub fn tree(&mut self) -> Tree<'_, Txn<'a, S>> {
        Tree { source: self.txn, nsid: self.nsid }
    }

    /// An empty row of the journal for this command.
    pub fn blank_row(&self, op: Op, kind: NodeKind, node: TreeNode) -> JournalRow {
        JournalRow {
            op,
            kind,
            flags: 0,
            node,
            parent: TreeNode(0),
            old_parent: TreeNode(0),
            prev_jid: Jid(0),
            name_prev_jid: Jid(0),
            size: 0,
            client_mtime_ms: i64::MIN,
            stamp_ms: self.txn.stamp_ms,
            acct: self.acct,
            content: None,
            name: String::new(),
            old_name: String::new(),
        }
    }

    /// Appends a row; the command's row before it is marked as continued.
    pub fn append(&mut self, row: &JournalRow) -> Result<Jid, Cold> {
        let jid = self.namespace.head.next();
        if let Some(before) = self.last_row {
            let key = keys::journal(self.nsid, before);
            let mut bytes = self.txn.with(&key, |value| value.expect("this command wrote it").to_vec())?;
            base::mark::hit!("meta.journal.command_of_many_rows");
            bytes[ROW_FLAGS_AT] |= ROW_CONTINUES;
            self.txn.put_bytes(key, &bytes);
        }
        self.txn.put(keys::journal(self.nsid, jid), row);
        self.namespace.head = jid;
        self.last_row = Some(jid);
        Ok(jid)
    }

    pub fn put_node(&mut self, node: TreeNode, row: &NodeRow) {
        self.txn.put(keys::node(self.nsid, node), row);
    }

    pub fn put_dirent(&mut self, parent: TreeNode, name: &str, kind: NodeKind, node: TreeNode) {
        self.txn.put(keys::dirent(self.nsid, parent, &key_of(name)), &DirentRow { kind, node });
    }

    /// Takes the name: its dead row goes. Returns the row that vacated it last, 0 for none.
    pub fn take_name(&mut self, parent: TreeNode, name: &str) -> Result<Jid, Cold> {
        let key = key_of(name);
        let Some(dead) = self.tree().dead(parent, &key)? else { return Ok(Jid(0)) };
        base::mark::hit!("meta.name.of_the_dead");
        self.txn.delete(keys::dead(self.nsid, parent, &key));
        Ok(dead.jid)
    }

    /// Vacates the name: the dirent goes, a dead row comes.
    pub fn vacate_name(&mut self, found: &Found, jid: Jid) {
        let (parent, key) = (found.row.parent, key_of(&found.row.name));
        self.txn.delete(keys::dirent(self.nsid, parent, &key));
        let dead = DeadRow { kind: found.row.kind, jid, node: found.node };
        self.txn.put(keys::dead(self.nsid, parent, &key), &dead);
    }

    /// The row at `jid` took the node out of the tree: its name is vacated, and it is dead. Returns its row.
    pub fn bury(&mut self, found: Found, jid: Jid) -> NodeRow {
        self.vacate_name(&found, jid);
        let mut node = found.row;
        node.flags |= NODE_DEAD;
        node.last_jid = jid;
        self.put_node(found.node, &node);
        node
    }

    pub fn new_node(&mut self) -> TreeNode {
        let node = TreeNode(self.namespace.next_node);
        self.namespace.next_node += 1;
        node
    }

    /// The number of a list that is to be written.
    pub fn new_list(&mut self) -> u64 {
        let list = self.namespace.next_list;
        self.namespace.next_list += 1;
        list
    }

    /// Makes one folder in a folder, where nothing is.
    pub fn make_folder(&mut self, parent: TreeNode, name: &str, flags: u8) -> Result<Metadata, Cold> {
        let node = self.new_node();
        let name_prev_jid = self.take_name(parent, name)?;
        let mut row = self.blank_row(Op::Mkdir, NodeKind::Folder, node);
        row.flags = flags;
        row.parent = parent;
        row.name_prev_jid = name_prev_jid;
        name.clone_into(&mut row.name);
        let jid = self.append(&row)?;
        let metadata = row.metadata(self.nsid, jid).expect("a mkdir row holds its node");
        self.put_node(node, &node_of(&metadata));
        self.put_dirent(parent, name, NodeKind::Folder, node);
        Ok(metadata)
    }

    /// Makes what is missing on the way and returns the parent.
    pub fn make_parents(&mut self, located: &Located) -> Result<TreeNode, Cold> {
        let mut parent = located.parent;
        for name in &located.missing {
            base::mark::hit!("meta.parents.made");
            parent = self.make_folder(parent, name, 0)?.node;
        }
        Ok(parent)
    }

    /// `Busy` if the node or a folder above it is frozen: the last round of its copy is under way.
    pub fn check_thawed(&mut self, node: TreeNode) -> Result<(), Halt> {
        if self.namespace.flags & NAMESPACE_FROZEN == 0 {
            return Ok(());
        }
        let mut frozen = Vec::new();
        self.tree().walk_up(node, |node, row| {
            if row.flags & NODE_FROZEN != 0 {
                frozen.push(node);
            }
            true
        })?;
        for node in frozen {
            let row: Option<FreezeRow> = self.txn.row(&keys::freeze(self.nsid, node))?;
            if row.is_some_and(|row| row.renewed_ms + FREEZE_MS > self.txn.stamp_ms) {
                return Err(Outcome::Busy { retry_ms: FREEZE_RETRY_MS }.into());
            }
        }
        Ok(())
    }

    /// `Quota` or `Busy` if the namespace's live bytes would pass the grant.
    pub fn check_quota(&mut self, old_bytes: u64, new_bytes: u64) -> Result<(), Halt> {
        let wanted = (self.namespace.live_bytes - old_bytes).saturating_add(new_bytes);
        let Some(short_bytes) = wanted.checked_sub(self.namespace.grant_bytes).filter(|short| *short > 0) else {
            return Ok(());
        };
        let mut pending = Vec::new();
        self.txn.scan(keys::sweeps(self.nsid), 1, &mut pending)?;
        if pending.is_empty() {
            Err(Outcome::Quota { short_bytes }.into())
        } else {
            Err(Outcome::Busy { retry_ms: SWEEP_RETRY_MS }.into())
        }
    }

    /// Writes a file. `cur`: the live file there, which is replaced; `revived`: the dead node that comes back.
    pub fn put_file(
        &mut self,
        place: (TreeNode, &str),
        cur: Option<&Found>,
        revived: Option<&Found>,
        content: FileContent,
        flags: u8,
    ) -> Result<Metadata, Halt> {
        let (parent, name) = place;
        let node = match cur.or(revived) {
            Some(found) => found.node,
            None => self.new_node(),
        };
        let name_prev_jid = match cur {
            Some(found) => found.row.rev_jid,
            None => self.take_name(parent, name)?,
        };
        let mut row = self.blank_row(Op::Put, NodeKind::File, node);
        row.flags = flags;
        row.parent = parent;
        row.prev_jid = cur.or(revived).map_or(Jid(0), |found| found.row.rev_jid);
        row.name_prev_jid = name_prev_jid;
        row.size = content.size;
        row.client_mtime_ms = content.client_mtime_ms;
        name.clone_into(&mut row.name);
        row.content = Some(self.hold(content)?);
        let jid = self.append(&row)?;
        let metadata = row.metadata(self.nsid, jid).expect("a put row holds its node");
        let linked = cur.or(revived).map_or(0, |found| found.row.flags & NODE_LINKED);
        self.put_node(node, &NodeRow { flags: linked, ..node_of(&metadata) });
        if cur.is_none() {
            self.put_dirent(parent, name, NodeKind::File, node);
            self.namespace.live_files += 1;
        }
        self.namespace.live_bytes -= cur.map_or(0, |found| found.row.size);
        self.namespace.live_bytes += row.size;
        Ok(metadata)
    }

    /// Counts one more held content row of these blocks.
    fn hold(&mut self, content: FileContent) -> Result<Content, Cold> {
        match content.blocks {
            Blocks::Held(held) => {
                self.hold_again(&held)?;
                Ok(held)
            }
            Blocks::Taken(taken) => Ok(taken),
            Blocks::New(blocks) => {
                self.count_refs(&blocks)?;
                let count = blocks.len() as u32;
                if blocks.len() <= INLINE_BLOCKS_MAX {
                    return Ok(Content { hash: content.hash, list: 0, blocks: count, inline: blocks });
                }
                base::mark::hit!("meta.content.long_list");
                let list = self.new_list();
                let row = ListRow { blocks: count, refs: 1, size: content.size, content_hash: content.hash };
                self.txn.put(keys::list(self.nsid, list), &row);
                for (part, blocks) in blocks.chunks(LIST_PART_BLOCKS).enumerate() {
                    let key = keys::list_part(self.nsid, list, part as u32);
                    self.txn.put(key, &ListPartRow { blocks: blocks.to_vec() });
                }
                Ok(Content { hash: content.hash, list, blocks: count, inline: Vec::new() })
            }
        }
    }

    /// Counts one more held content row of an earlier row's content.
    pub fn hold_again(&mut self, content: &Content) -> Result<(), Cold> {
        if content.list == 0 {
            return self.count_refs(&content.inline);
        }
        let key = keys::list(self.nsid, content.list);
        let mut list: ListRow = self.txn.row(&key)?.expect("a held content row keeps its list");
        base::mark::hit!("meta.content.list_shared");
        list.refs += 1;
        self.txn.put(key, &list);
        Ok(())
    }

    /// Counts every position of these once more.
    pub fn count_refs(&mut self, blocks: &[BlockHash]) -> Result<(), Cold> {
        if let [one] = blocks {
            return self.count_ref(one, 1);
        }
        counted(blocks.iter()).into_iter().try_for_each(|(hash, count)| self.count_ref(hash, count))
    }

    fn count_ref(&mut self, hash: &BlockHash, count: u64) -> Result<(), Cold> {
        let key = keys::block(self.nsid, hash);
        let mut block: BlockRow = self.txn.row(&key)?.expect("a block is known before it is referred to");
        block.refs += count;
        block.zero_since_ms = 0;
        self.txn.put(key, &block);
        Ok(())
    }

    /// Counts one held content row less; a list that nobody uses any more goes part by part, by `BlockSweep`.
    pub fn release(&mut self, content: &Content) -> Result<(), Cold> {
        if content.list == 0 {
            return self.uncount_refs(&content.inline);
        }
        self.release_list(content.list)?;
        Ok(())
    }

    /// Counts one user of a list less; returns what its row says then.
    pub fn release_list(&mut self, number: u64) -> Result<ListRow, Cold> {
        let key = keys::list(self.nsid, number);
        let mut list: ListRow = self.txn.row(&key)?.expect("what uses a list keeps it");
        list.refs -= 1;
        self.txn.put(key, &list);
        Ok(list)
    }

    /// Counts every position of these less; what nothing names is forgotten after a while.
    pub fn uncount_refs(&mut self, blocks: &[BlockHash]) -> Result<(), Cold> {
        let mut cold = Ok(());
        let names = blocks.iter().filter(|name| crate::uploads::is_name(name));
        for (hash, count) in counted(names) {
            let key = keys::block(self.nsid, hash);
            match self.txn.row::<BlockRow>(&key) {
                Ok(block) => {
                    let mut block = block.expect("a block that is referred to is known");
                    block.refs -= count;
                    if block.refs == 0 {
                        block.zero_since_ms = self.txn.stamp_ms;
                    }
                    self.txn.put(key, &block);
                }
                // All of them in one prefetch.
                Err(error) => cold = Err(error),
            }
        }
        cold
    }

    /// Makes blocks known. Returns the positions of those whose put is too long ago to be believed.
    pub fn note_present(&mut self, blocks: impl Iterator<Item = (u32, BlockHash, u32, u64)>) -> Result<Vec<u32>, Cold> {
        let mut refused = Vec::new();
        let mut cold = None;
        for (position, hash, bytes, put_at_ms) in blocks {
            if !crate::uploads::is_name(&hash) {
                refused.push(position);
                continue;
            }
            if put_at_ms.saturating_add(PUT_AGE_MS_MAX) < self.txn.stamp_ms {
                base::mark::hit!("meta.blocks.put_too_long_ago");
                refused.push(position);
                continue;
            }
            let key = keys::block(self.nsid, &hash);
            match self.txn.has(&key) {
                Ok(true) => {}
                Ok(false) => {
                    self.txn.put(key, &BlockRow { bytes, refs: 0, zero_since_ms: self.txn.stamp_ms });
                }
                Err(error) => cold = Some(error),
            }
        }
        cold.map_or(Ok(refused), Err)
    }
}

/// The node row of what a content or place row says.
pub(crate) fn node_of(metadata: &Metadata) -> NodeRow {
    NodeRow {
        kind: metadata.kind,
        flags: 0,
        parent: metadata.parent,
        last_jid: metadata.jid,
        rev_jid: metadata.rev_jid,
        size: metadata.size,
        client_mtime_ms: metadata.client_mtime_ms,
        server_mtime_ms: metadata.server_mtime_ms,
        modified_by: metadata.modified_by,
        content_hash: metadata.content_hash,
        name: metadata.name.clone(),
    }
}
