//! The keys of all tables: `table u8 | fields`, big-endian, so that scans give journal and directory order.

use std::ops::{Deref, Range};

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

/// Bytes of a key that need no allocation: three fields, or two and a name of common length.
const INLINE_BYTES: usize = 63;

/// The key of one row.
#[derive(Clone)]
pub(crate) struct Key(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Vec<u8>),
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Vec<u8> {
        match key.0 {
            Repr::Inline { .. } => key.to_vec(),
            Repr::Heap(bytes) => bytes,
        }
    }
}

pub(crate) fn key<const FIELDS: usize>(table: u8, fields: [u64; FIELDS], tail: &[u8]) -> Key {
    let len = 1 + FIELDS * 8 + tail.len();
    if len > INLINE_BYTES {
        let mut out = Vec::with_capacity(len);
        out.push(table);
        fields.iter().for_each(|field| out.extend_from_slice(&field.to_be_bytes()));
        out.extend_from_slice(tail);
        return Key(Repr::Heap(out));
    }
    let mut bytes = [0; INLINE_BYTES];
    bytes[0] = table;
    for (at, field) in fields.iter().enumerate() {
        bytes[1 + at * 8..9 + at * 8].copy_from_slice(&field.to_be_bytes());
    }
    bytes[1 + FIELDS * 8..len].copy_from_slice(tail);
    Key(Repr::Inline { len: len as u8, bytes })
}

/// All keys that begin with `prefix`, which does not end in 0xff bytes only.
pub(crate) fn prefix_range(prefix: impl Into<Vec<u8>>) -> Range<Vec<u8>> {
    let prefix = prefix.into();
    let mut end = prefix.clone();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            break;
        }
    }
    prefix..end
}

/// From one row up to before another.
pub(crate) fn between(from: Key, to: Key) -> Range<Vec<u8>> {
    from.into()..to.into()
}

/// The key right after `key`: nothing sorts between.
pub(crate) fn after(key: impl Into<Vec<u8>>) -> Vec<u8> {
    let mut key = key.into();
    key.push(0);
    key
}

pub(crate) fn namespace(nsid: Nsid) -> Key {
    key(table::NAMESPACE, [nsid.0], &[])
}
pub(crate) fn node(nsid: Nsid, node: TreeNode) -> Key {
    key(table::NODE, [nsid.0, node.0], &[])
}
pub(crate) fn dirent(nsid: Nsid, parent: TreeNode, name_key: &str) -> Key {
    key(table::DIRENT, [nsid.0, parent.0], name_key.as_bytes())
}
/// Bytes of a dirent's key before the name key.
pub(crate) const DIRENT_PREFIX_BYTES: usize = 17;
pub(crate) fn journal(nsid: Nsid, jid: Jid) -> Key {
    key(table::JOURNAL, [nsid.0, jid.0], &[])
}
pub(crate) fn dead(nsid: Nsid, parent: TreeNode, name_key: &str) -> Key {
    key(table::DEAD, [nsid.0, parent.0], name_key.as_bytes())
}
pub(crate) fn block(nsid: Nsid, hash: &BlockHash) -> Key {
    key(table::BLOCK, [nsid.0], &hash.0)
}
pub(crate) fn list(nsid: Nsid, list: u64) -> Key {
    key(table::LIST, [nsid.0, list], &[])
}
pub(crate) fn list_part(nsid: Nsid, list: u64, part: u32) -> Key {
    key(table::LIST_PART, [nsid.0, list], &part.to_be_bytes())
}
pub(crate) fn member(nsid: Nsid, acct: Acct) -> Key {
    key(table::MEMBER, [nsid.0, acct.0], &[])
}
/// In the table of a root: another namespace that hangs in it.
pub(crate) fn mount(nsid: Nsid, target: Nsid) -> Key {
    key(table::MOUNT, [nsid.0, target.0], &[])
}
pub(crate) fn upload(nsid: Nsid, nonce: u64) -> Key {
    key(table::UPLOAD, [nsid.0, nonce], &[])
}
/// What a finished upload session came to.
pub(crate) fn kept_upload(nsid: Nsid, nonce: u64, acct: Acct) -> Key {
    key(table::KEPT, [nsid.0, nonce, crate::uploads::kept_half(acct)], &[])
}
/// The id of a kept result is 16 bytes: of a step, the flow, the step and zeros.
pub(crate) fn kept_step(nsid: Nsid, step: Step) -> Key {
    key(table::KEPT, [nsid.0, step.flow, u64::from(step.step) << 32], &[])
}
pub(crate) fn freeze(nsid: Nsid, node: TreeNode) -> Key {
    key(table::FREEZE, [nsid.0, node.0], &[])
}
pub(crate) fn link(nsid: Nsid, link: u64) -> Key {
    key(table::LINK, [nsid.0, link], &[])
}
pub(crate) fn link_of_account(nsid: Nsid, acct: Acct, node: TreeNode) -> Key {
    key(table::LINK_OF_ACCOUNT, [nsid.0, acct.0, node.0], &[])
}
pub(crate) fn links_of_account(nsid: Nsid, acct: Acct) -> Range<Vec<u8>> {
    prefix_range(key(table::LINK_OF_ACCOUNT, [nsid.0, acct.0], &[]))
}
pub(crate) fn link_of_node(nsid: Nsid, node: TreeNode, acct: Acct) -> Key {
    key(table::LINK_OF_NODE, [nsid.0, node.0, acct.0], &[])
}
pub(crate) fn links_of_node(nsid: Nsid, node: TreeNode) -> Range<Vec<u8>> {
    prefix_range(key(table::LINK_OF_NODE, [nsid.0, node.0], &[]))
}
/// One detached folder whose children are still to be marked; `jid` is the row that detached the subtree's root.
pub(crate) fn sweep(nsid: Nsid, jid: Jid, folder: TreeNode) -> Key {
    key(table::SWEEP, [nsid.0, jid.0, folder.0], &[])
}
pub(crate) fn sweeps(nsid: Nsid) -> Range<Vec<u8>> {
    prefix_range(key(table::SWEEP, [nsid.0], &[]))
}
/// One deleted folder whose content is still to be removed; the deepest of a subtree sorts first.
pub(crate) fn purge(nsid: Nsid, jid: Jid, depth: u64, folder: TreeNode) -> Key {
    key(table::PURGE, [nsid.0, jid.0, !depth, folder.0], &[])
}
pub(crate) fn purges(nsid: Nsid) -> Range<Vec<u8>> {
    of_namespace(table::PURGE, nsid)
}
/// Where the sweep of a namespace's blocks stands.
pub(crate) fn block_sweep(nsid: Nsid) -> Key {
    key(table::BLOCK_SWEEP, [nsid.0], &[])
}
/// A copy that goes in steps.
pub(crate) fn copy(nsid: Nsid, acct: Acct, id: u64) -> Key {
    key(table::COPY, [nsid.0, acct.0, id], &[])
}
/// What comes from another namespace, by its flow.
pub(crate) fn import(nsid: Nsid, flow: u64) -> Key {
    key(table::IMPORT, [nsid.0, flow], &[])
}
/// All rows of a table whose key begins with the namespace.
pub(crate) fn of_namespace(table: u8, nsid: Nsid) -> Range<Vec<u8>> {
    prefix_range(key(table, [nsid.0], &[]))
}
pub(crate) fn session(session: SessionId) -> Key {
    key(table::SESSION, [session.0], &[])
}
pub(crate) fn outcome(session: SessionId, sequence: Sequence) -> Key {
    key(table::OUTCOME, [session.0, sequence.0], &[])
}
pub(crate) fn nonce(acct: Acct, nonce: &[u8; 16]) -> Key {
    key(table::NONCE, [acct.0], nonce)
}
pub(crate) fn nonces(acct: Acct) -> Range<Vec<u8>> {
    prefix_range(key(table::NONCE, [acct.0], &[]))
}
pub(crate) fn account(acct: Acct) -> Key {
    key(table::ACCOUNT, [acct.0], &[])
}
pub(crate) fn account_name(name_key: &str) -> Key {
    key(table::ACCOUNT_NAME, [], name_key.as_bytes())
}
pub(crate) fn directory(nsid: Nsid) -> Key {
    key(table::DIRECTORY, [nsid.0], &[])
}
pub(crate) fn counters() -> Key {
    key(table::CLUSTER, [], b"counters")
}
pub(crate) fn server(server: u64) -> Key {
    key(table::SERVER, [server], &[])
}
pub(crate) fn cluster_node(node: NodeId) -> Key {
    key(table::CLUSTER_NODE, [node.0], &[])
}
pub(crate) fn whole_table(table: u8) -> Range<Vec<u8>> {
    vec![table]..vec![table + 1]
}
