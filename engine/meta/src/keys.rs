//! The keys of all tables: `table u8 | fields`, big-endian, so that scans give journal and directory order.

use std::ops::Range;

use base::{Acct, BlockHash, Jid, NodeId, Nsid, Sequence, SessionId, TreeNode};

use crate::command::Step;

/// The table of a key; the numbers are on disk.
pub mod table {
    #![allow(missing_docs)] // the names are the words of docs/design/metadata.md, "Tables"
    pub const NAMESPACE: u8 = 0x01;
    pub const NODE: u8 = 0x02;
    pub const DIRENT: u8 = 0x03;
    pub const JOURNAL: u8 = 0x04;
    pub const DEAD: u8 = 0x05;
    pub const BLOCK: u8 = 0x06;
    pub const LIST: u8 = 0x07;
    pub const LIST_PART: u8 = 0x08;
    pub const MEMBER: u8 = 0x09;
    pub const MOUNT: u8 = 0x0a;
    pub const UPLOAD: u8 = 0x0b;
    pub const KEPT: u8 = 0x0c;
    pub const LINK: u8 = 0x0d;
    pub const SWEEP: u8 = 0x0e;
    pub const SESSION: u8 = 0x10;
    pub const OUTCOME: u8 = 0x11;
    pub const NONCE: u8 = 0x12;
    pub const PURGE: u8 = 0x13;
    pub const BLOCK_SWEEP: u8 = 0x14;
    pub const FREEZE: u8 = 0x15;
    pub const COPY: u8 = 0x16;
    pub const IMPORT: u8 = 0x17;
    pub const LINK_OF_ACCOUNT: u8 = 0x18;
    pub const LINK_OF_NODE: u8 = 0x19;
    pub const ACCOUNT: u8 = 0x20;
    pub const ACCOUNT_NAME: u8 = 0x21;
    pub const DIRECTORY: u8 = 0x22;
    pub const REACH: u8 = 0x23;
    pub const GRANT: u8 = 0x24;
    pub const TOKEN: u8 = 0x25;
    pub const APP: u8 = 0x26;
    pub const CODE: u8 = 0x27;
    pub const FLOW: u8 = 0x28;
    pub const CLUSTER: u8 = 0x29;
    pub const TICKET: u8 = 0x2a;
    pub const SERVER: u8 = 0x2b;
    pub const CLUSTER_NODE: u8 = 0x2c;
    pub const FLOW_OF: u8 = 0x2d;
    pub const FLOW_ENDED: u8 = 0x2e;
}

pub(crate) fn key(table: u8, fields: &[u64], tail: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + fields.len() * 8 + tail.len());
    out.push(table);
    fields.iter().for_each(|field| out.extend_from_slice(&field.to_be_bytes()));
    out.extend_from_slice(tail);
    out
}

/// All keys that begin with `prefix`, which does not end in 0xff bytes only.
pub(crate) fn prefix_range(prefix: Vec<u8>) -> Range<Vec<u8>> {
    let mut end = prefix.clone();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            break;
        }
    }
    prefix..end
}

/// The key right after `key`: nothing sorts between.
pub(crate) fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

pub(crate) fn namespace(nsid: Nsid) -> Vec<u8> {
    key(table::NAMESPACE, &[nsid.0], &[])
}
pub(crate) fn node(nsid: Nsid, node: TreeNode) -> Vec<u8> {
    key(table::NODE, &[nsid.0, node.0], &[])
}
pub(crate) fn dirent(nsid: Nsid, parent: TreeNode, name_key: &str) -> Vec<u8> {
    key(table::DIRENT, &[nsid.0, parent.0], name_key.as_bytes())
}
/// Bytes of a dirent's key before the name key.
pub(crate) const DIRENT_PREFIX_BYTES: usize = 17;
pub(crate) fn journal(nsid: Nsid, jid: Jid) -> Vec<u8> {
    key(table::JOURNAL, &[nsid.0, jid.0], &[])
}
pub(crate) fn dead(nsid: Nsid, parent: TreeNode, name_key: &str) -> Vec<u8> {
    key(table::DEAD, &[nsid.0, parent.0], name_key.as_bytes())
}
pub(crate) fn block(nsid: Nsid, hash: &BlockHash) -> Vec<u8> {
    key(table::BLOCK, &[nsid.0], &hash.0)
}
pub(crate) fn list(nsid: Nsid, list: u64) -> Vec<u8> {
    key(table::LIST, &[nsid.0, list], &[])
}
pub(crate) fn list_part(nsid: Nsid, list: u64, part: u32) -> Vec<u8> {
    key(table::LIST_PART, &[nsid.0, list], &part.to_be_bytes())
}
pub(crate) fn member(nsid: Nsid, acct: Acct) -> Vec<u8> {
    key(table::MEMBER, &[nsid.0, acct.0], &[])
}
/// In the table of a root: another namespace that hangs in it.
pub(crate) fn mount(nsid: Nsid, target: Nsid) -> Vec<u8> {
    key(table::MOUNT, &[nsid.0, target.0], &[])
}
pub(crate) fn upload(nsid: Nsid, nonce: u64) -> Vec<u8> {
    key(table::UPLOAD, &[nsid.0, nonce], &[])
}
/// What a finished upload session came to.
pub(crate) fn kept_upload(nsid: Nsid, nonce: u64, acct: Acct) -> Vec<u8> {
    key(table::KEPT, &[nsid.0, nonce, crate::uploads::kept_half(acct)], &[])
}
/// The id of a kept result is 16 bytes: of a step, the flow, the step and zeros.
pub(crate) fn kept_step(nsid: Nsid, step: Step) -> Vec<u8> {
    key(table::KEPT, &[nsid.0, step.flow, u64::from(step.step) << 32], &[])
}
pub(crate) fn freeze(nsid: Nsid, node: TreeNode) -> Vec<u8> {
    key(table::FREEZE, &[nsid.0, node.0], &[])
}
pub(crate) fn link(nsid: Nsid, link: u64) -> Vec<u8> {
    key(table::LINK, &[nsid.0, link], &[])
}
pub(crate) fn link_of_account(nsid: Nsid, acct: Acct, node: TreeNode) -> Vec<u8> {
    key(table::LINK_OF_ACCOUNT, &[nsid.0, acct.0, node.0], &[])
}
pub(crate) fn links_of_account(nsid: Nsid, acct: Acct) -> Range<Vec<u8>> {
    prefix_range(key(table::LINK_OF_ACCOUNT, &[nsid.0, acct.0], &[]))
}
pub(crate) fn link_of_node(nsid: Nsid, node: TreeNode, acct: Acct) -> Vec<u8> {
    key(table::LINK_OF_NODE, &[nsid.0, node.0, acct.0], &[])
}
pub(crate) fn links_of_node(nsid: Nsid, node: TreeNode) -> Range<Vec<u8>> {
    prefix_range(key(table::LINK_OF_NODE, &[nsid.0, node.0], &[]))
}
/// One detached folder whose children are still to be marked; `jid` is the row that detached the subtree's root.
pub(crate) fn sweep(nsid: Nsid, jid: Jid, folder: TreeNode) -> Vec<u8> {
    key(table::SWEEP, &[nsid.0, jid.0, folder.0], &[])
}
pub(crate) fn sweeps(nsid: Nsid) -> Range<Vec<u8>> {
    prefix_range(key(table::SWEEP, &[nsid.0], &[]))
}
/// One deleted folder whose content is still to be removed; the deepest of a subtree sorts first.
pub(crate) fn purge(nsid: Nsid, jid: Jid, depth: u64, folder: TreeNode) -> Vec<u8> {
    key(table::PURGE, &[nsid.0, jid.0, !depth, folder.0], &[])
}
pub(crate) fn purges(nsid: Nsid) -> Range<Vec<u8>> {
    of_namespace(table::PURGE, nsid)
}
/// Where the sweep of a namespace's blocks stands.
pub(crate) fn block_sweep(nsid: Nsid) -> Vec<u8> {
    key(table::BLOCK_SWEEP, &[nsid.0], &[])
}
/// A copy that goes in steps.
pub(crate) fn copy(nsid: Nsid, acct: Acct, id: u64) -> Vec<u8> {
    key(table::COPY, &[nsid.0, acct.0, id], &[])
}
/// What comes from another namespace, by its flow.
pub(crate) fn import(nsid: Nsid, flow: u64) -> Vec<u8> {
    key(table::IMPORT, &[nsid.0, flow], &[])
}
/// All rows of a table whose key begins with the namespace.
pub(crate) fn of_namespace(table: u8, nsid: Nsid) -> Range<Vec<u8>> {
    prefix_range(key(table, &[nsid.0], &[]))
}
pub(crate) fn session(session: SessionId) -> Vec<u8> {
    key(table::SESSION, &[session.0], &[])
}
pub(crate) fn outcome(session: SessionId, sequence: Sequence) -> Vec<u8> {
    key(table::OUTCOME, &[session.0, sequence.0], &[])
}
pub(crate) fn nonce(acct: Acct, nonce: &[u8; 16]) -> Vec<u8> {
    key(table::NONCE, &[acct.0], nonce)
}
pub(crate) fn nonces(acct: Acct) -> Range<Vec<u8>> {
    prefix_range(key(table::NONCE, &[acct.0], &[]))
}
pub(crate) fn account(acct: Acct) -> Vec<u8> {
    key(table::ACCOUNT, &[acct.0], &[])
}
pub(crate) fn account_name(name_key: &str) -> Vec<u8> {
    key(table::ACCOUNT_NAME, &[], name_key.as_bytes())
}
pub(crate) fn directory(nsid: Nsid) -> Vec<u8> {
    key(table::DIRECTORY, &[nsid.0], &[])
}
pub(crate) fn counters() -> Vec<u8> {
    key(table::CLUSTER, &[], b"counters")
}
pub(crate) fn server(server: u64) -> Vec<u8> {
    key(table::SERVER, &[server], &[])
}
pub(crate) fn cluster_node(node: NodeId) -> Vec<u8> {
    key(table::CLUSTER_NODE, &[node.0], &[])
}
pub(crate) fn whole_table(table: u8) -> Range<Vec<u8>> {
    vec![table]..vec![table + 1]
}
