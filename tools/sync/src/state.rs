//! What outlives the process: the base and the cursor, in `.dropstone/state` of the synced folder.
//!
//! The file only grows, record by record, and is written anew, beside itself, when most of it is out of date. It may lag
//! behind what was done: what both sides agree on is found again by comparing. So nothing waits for it to be synced, and a
//! torn or damaged end is cut off.
//!
//! ```text
//! header  0 "DROPSYNC"  8 u32 version=1  12 u32 zero  16 u64 acct  24 u64 nsid  32 u64 root node  40 u32 crc32c of 0..40  44 u32 zero
//! record  0 u32 body_bytes  4 u32 crc32c of kind and body  8 u8 kind  9 body
//!   1 entry   0 u64 node  8 u64 parent  16 u64 rev  24 i64 mtime_ms  32 u64 inode  40 u64 bytes  48 i64 mtime_ns
//!             56 hash[32]  88 u8 kind {1 file,2 folder}  89 name
//!   2 gone    0 u64 node
//!   3 cursor  0 u32 cursor_bytes  4 cursor, then what the cluster has otherwise than the base, each:
//!             0 u64 node  8 u8 kind {0 nothing,1 file,2 folder,3 mount}  and unless nothing:
//!             9 u64 parent  17 u64 rev  25 u64 bytes  33 i64 mtime_ms  41 hash[32]  73 u16 name_bytes  75 name
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use base::checksum::{crc32c, crc32c_append};
use base::{Acct, Jid, Nsid, TreeNode};
use meta::{DeltaCursor, NodeKind};

use crate::base_tree::{BaseEntry, BaseTree};
use crate::remote_tree::{RemoteNode, RemoteTree};
use crate::{Kind, Stamp};

const MAGIC: &[u8; 8] = b"DROPSYNC";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 48;
const RECORD_BYTES: usize = 9;
/// A record is no longer than this: names are short, and what a cursor tells besides is what stays out.
const BODY_BYTES_MAX: usize = 256 << 20;
/// The file is written anew when it is so much longer than what it says.
const SLACK_BYTES: u64 = 1 << 20;

/// What is synced with what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pair {
    /// Whose.
    pub acct: Acct,
    /// In which namespace.
    pub nsid: Nsid,
    /// The remote folder.
    pub root: TreeNode,
}

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The system says so.
    #[error("{path}: {error}")]
    Io {
        /// Of what.
        path: PathBuf,
        /// What.
        error: io::Error,
    },
    /// Another process has it.
    #[error("{0} is being synced by another process; stop that first")]
    Locked(PathBuf),
    /// It is of another remote folder.
    #[error(
        "{path} is synced with folder {} of namespace {} of account {}; use another folder, or remove {path}/.dropstone to compare everything anew",
        found.root, found.nsid, found.acct
    )]
    Other {
        /// The local folder.
        path: PathBuf,
        /// With what it is synced.
        found: Pair,
    },
    /// A newer release wrote it.
    #[error("{0}: written by a newer release; use that, or remove it to compare everything anew")]
    Newer(PathBuf),
}

/// The cluster as of a cursor, where it is not as the base says: `None` is gone.
pub type Otherwise = BTreeMap<TreeNode, Option<RemoteNode>>;

/// What the file said.
pub struct Loaded {
    /// The base.
    pub base: BaseTree,
    /// Where the journal's reader stood, with what the base does not say.
    pub remote: Option<(DeltaCursor, Otherwise)>,
}

/// The open file.
pub struct State {
    path: PathBuf,
    pair: Pair,
    file: File,
    bytes: u64,
    live_bytes: u64,
    _lock: File,
}

impl State {
    /// Opens the state of the folder `local`, or begins one.
    ///
    /// Errors: [`StateError`].
    pub fn open(local: &Path, pair: Pair) -> Result<(State, Loaded), StateError> {
        let folder = local.join(crate::ignore::STATE_FOLDER);
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| StateError::Io { path, error }
        };
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(&folder)(error)),
            _ => {}
        }
        let lock_path = folder.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(at(&lock_path))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| StateError::Locked(local.to_owned()))?;
        let path = folder.join("state");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(at(&path)(error)),
        };
        let (loaded, good) = match header(&bytes) {
            None => (Loaded { base: BaseTree::new(pair.root), remote: None }, 0),
            Some((version, _)) if version > VERSION => return Err(StateError::Newer(path)),
            Some((_, found)) if found != pair => return Err(StateError::Other { path: local.to_owned(), found }),
            Some(_) => replay(&bytes, pair.root),
        };
        let file = File::options().create(true).append(true).open(&path).map_err(at(&path))?;
        file.set_len(good).map_err(at(&path))?;
        let mut state = State { path, pair, file, bytes: good, live_bytes: 0, _lock: lock };
        if good == 0 {
            state.rewrite(&loaded.base, None).map_err(at(&state.path.clone()))?;
        }
        state.live_bytes = live_bytes(&loaded.base);
        Ok((state, loaded))
    }

    /// Notes what has changed in the base since the last call; with `remote`, also where the cluster's journal was read to.
    ///
    /// Errors: of writing.
    pub fn save(&mut self, base: &mut BaseTree, remote: Option<&RemoteTree>) -> io::Result<()> {
        let changed = base.take_changed();
        self.live_bytes = live_bytes(base);
        if self.bytes > 2 * self.live_bytes + SLACK_BYTES {
            return self.rewrite(base, remote);
        }
        let mut out = Vec::new();
        for node in changed {
            match base.get(node) {
                Some(entry) => put_entry(&mut out, entry),
                None => record(&mut out, 2, |out| out.extend(node.0.to_le_bytes())),
            }
        }
        if let Some(remote) = remote {
            put_cursor(&mut out, base, remote);
        }
        self.file.write_all(&out)?;
        self.bytes += out.len() as u64;
        Ok(())
    }

    fn rewrite(&mut self, base: &BaseTree, remote: Option<&RemoteTree>) -> io::Result<()> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 4]);
        for number in [self.pair.acct.0, self.pair.nsid.0, self.pair.root.0] {
            out.extend(number.to_le_bytes());
        }
        out.extend(crc32c(&out).to_le_bytes());
        out.extend([0; 4]);
        base.nodes().iter().filter_map(|node| base.get(*node)).for_each(|entry| put_entry(&mut out, entry));
        if let Some(remote) = remote {
            put_cursor(&mut out, base, remote);
        }
        let new = self.path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&out)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        self.file = File::options().append(true).open(&self.path)?;
        self.bytes = out.len() as u64;
        Ok(())
    }
}

/// What the state says, without touching anything: for a dry run.
///
/// Errors: [`StateError`], but for a state that another process has open.
pub fn peek(local: &Path, pair: Pair) -> Result<Loaded, StateError> {
    let path = local.join(crate::ignore::STATE_FOLDER).join("state");
    let bytes = fs::read(&path).unwrap_or_default();
    match header(&bytes) {
        None => Ok(Loaded { base: BaseTree::new(pair.root), remote: None }),
        Some((version, _)) if version > VERSION => Err(StateError::Newer(path)),
        Some((_, found)) if found != pair => Err(StateError::Other { path: local.to_owned(), found }),
        Some(_) => Ok(replay(&bytes, pair.root).0),
    }
}

/// About what an anew written file has.
fn live_bytes(base: &BaseTree) -> u64 {
    base.len() as u64 * 128
}

fn header(bytes: &[u8]) -> Option<(u32, Pair)> {
    let header = bytes.get(..HEADER_BYTES)?;
    let mut reader = Reader(header);
    if reader.take(8)? != MAGIC {
        return None;
    }
    let version = reader.u32()?;
    reader.u32()?;
    let pair = Pair { acct: Acct(reader.u64()?), nsid: Nsid(reader.u64()?), root: TreeNode(reader.u64()?) };
    (reader.u32()? == crc32c(&header[..40])).then_some((version, pair))
}

/// Applies the records in order, up to the first that is none; with how many bytes were good.
fn replay(bytes: &[u8], root: TreeNode) -> (Loaded, u64) {
    let mut loaded = Loaded { base: BaseTree::new(root), remote: None };
    let mut at = HEADER_BYTES;
    while let Some(length) = next_record(&bytes[at..], &mut loaded) {
        at += length;
    }
    loaded.base.take_changed();
    (loaded, at as u64)
}

/// Applies the first record; its length, or `None` where there is no whole one.
fn next_record(bytes: &[u8], loaded: &mut Loaded) -> Option<usize> {
    let mut reader = Reader(bytes);
    let (length, crc) = (reader.u32()? as usize, reader.u32()?);
    if length > BODY_BYTES_MAX {
        return None;
    }
    let kind = reader.take(1)?;
    let body = reader.take(length)?;
    if crc32c_append(crc32c(kind), body) != crc {
        return None;
    }
    let mut reader = Reader(body);
    match kind[0] {
        1 => {
            let entry = entry(&mut reader)?;
            if let Some((_, otherwise)) = &mut loaded.remote {
                otherwise.remove(&entry.node);
            }
            loaded.base.put(entry);
        }
        2 => {
            let node = TreeNode(reader.u64()?);
            if let Some((_, otherwise)) = &mut loaded.remote {
                otherwise.remove(&node);
            }
            loaded.base.remove(node);
        }
        3 => loaded.remote = Some(cursor(&mut reader)?),
        _ => return None,
    }
    Some(RECORD_BYTES + length)
}

fn record(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend([0; 8]);
    out.push(kind);
    body(out);
    let length = u32::try_from(out.len() - begin - RECORD_BYTES).expect("a body is far below 4 GiB");
    let crc = crc32c(&out[begin + 8..]);
    out[begin..begin + 4].copy_from_slice(&length.to_le_bytes());
    out[begin + 4..begin + 8].copy_from_slice(&crc.to_le_bytes());
}

fn put_entry(out: &mut Vec<u8>, entry: &BaseEntry) {
    record(out, 1, |out| {
        for number in [entry.node.0, entry.parent.0, entry.rev.0] {
            out.extend(number.to_le_bytes());
        }
        out.extend(entry.mtime_ms.to_le_bytes());
        out.extend(entry.stamp.inode.to_le_bytes());
        out.extend(entry.stamp.bytes.to_le_bytes());
        out.extend(entry.stamp.mtime_ns.to_le_bytes());
        out.extend(entry.hash);
        out.push(if entry.kind == Kind::File { 1 } else { 2 });
        out.extend(entry.name.as_bytes());
    });
}

fn entry(reader: &mut Reader<'_>) -> Option<BaseEntry> {
    let (node, parent, rev) = (TreeNode(reader.u64()?), TreeNode(reader.u64()?), Jid(reader.u64()?));
    let mtime_ms = reader.i64()?;
    let stamp = Stamp { inode: reader.u64()?, bytes: reader.u64()?, mtime_ns: reader.i64()? };
    let hash = reader.take(32)?.try_into().ok()?;
    let kind = match reader.take(1)? {
        [1] => Kind::File,
        [2] => Kind::Folder,
        _ => return None,
    };
    let name = std::str::from_utf8(reader.0).ok()?.to_owned();
    Some(BaseEntry { node, parent, name, kind, rev, hash, mtime_ms, stamp })
}

fn put_cursor(out: &mut Vec<u8>, base: &BaseTree, remote: &RemoteTree) {
    record(out, 3, |out| {
        let mut cursor = Vec::new();
        remote.cursor.encode(&mut cursor);
        out.extend((cursor.len() as u32).to_le_bytes());
        out.extend(cursor);
        for there in remote.nodes() {
            if base.get(there.node).map(as_remote).as_ref() != Some(there) {
                put_otherwise(out, there.node, Some(there));
            }
        }
        for node in base.nodes().into_iter().filter(|node| remote.get(*node).is_none()) {
            put_otherwise(out, node, None);
        }
    });
}

fn put_otherwise(out: &mut Vec<u8>, node: TreeNode, there: Option<&RemoteNode>) {
    out.extend(node.0.to_le_bytes());
    let Some(there) = there else { return out.push(0) };
    out.push(there.kind as u8);
    for number in [there.parent.0, there.rev.0, there.bytes] {
        out.extend(number.to_le_bytes());
    }
    out.extend(there.mtime_ms.to_le_bytes());
    out.extend(there.hash);
    out.extend((there.name.len() as u16).to_le_bytes());
    out.extend(there.name.as_bytes());
}

fn cursor(reader: &mut Reader<'_>) -> Option<(DeltaCursor, Otherwise)> {
    let length = reader.u32()? as usize;
    let cursor = DeltaCursor::decode(reader.take(length)?).ok()?;
    let mut otherwise = Otherwise::new();
    while !reader.0.is_empty() {
        let node = TreeNode(reader.u64()?);
        let kind = reader.take(1)?[0];
        if kind == 0 {
            otherwise.insert(node, None);
            continue;
        }
        let kind = NodeKind::from_u8(kind)?;
        let (parent, rev, bytes) = (TreeNode(reader.u64()?), Jid(reader.u64()?), reader.u64()?);
        let mtime_ms = reader.i64()?;
        let hash = reader.take(32)?.try_into().ok()?;
        let length = u16::from_le_bytes(reader.take(2)?.try_into().ok()?);
        let name = std::str::from_utf8(reader.take(usize::from(length))?).ok()?.to_owned();
        otherwise.insert(node, Some(RemoteNode { node, parent, name, kind, rev, bytes, hash, mtime_ms }));
    }
    Some((cursor, otherwise))
}

/// What the cluster has if it is as the base says.
pub fn as_remote(entry: &BaseEntry) -> RemoteNode {
    RemoteNode {
        node: entry.node,
        parent: entry.parent,
        name: entry.name.clone(),
        kind: if entry.kind == Kind::File { NodeKind::File } else { NodeKind::Folder },
        rev: entry.rev,
        bytes: entry.stamp.bytes,
        hash: entry.hash,
        mtime_ms: entry.mtime_ms,
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn i64(&mut self) -> Option<i64> {
        self.u64().map(u64::cast_signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Pair = Pair { acct: Acct(1), nsid: Nsid(10_000_000_001), root: TreeNode(1) };

    fn entry_of(node: u64) -> BaseEntry {
        let stamp = Stamp { inode: 100 + node, bytes: 5, mtime_ns: -1 };
        BaseEntry {
            node: TreeNode(node),
            parent: TreeNode(1),
            name: format!("näme {node}"),
            kind: Kind::File,
            rev: Jid(node),
            hash: [node as u8; 32],
            mtime_ms: 1_000,
            stamp,
        }
    }

    fn sorted(base: &BaseTree) -> Vec<BaseEntry> {
        base.nodes().iter().map(|node| base.get(*node).unwrap().clone()).collect()
    }

    #[test]
    fn what_was_saved_is_found_again_up_to_a_torn_end() {
        let directory = tempfile::tempdir().unwrap();
        let (mut state, mut loaded) = State::open(directory.path(), PAIR).unwrap();
        assert!(loaded.base.is_empty() && loaded.remote.is_none());
        let base = &mut loaded.base;
        (2..6).for_each(|node| base.put(entry_of(node)));
        state.save(base, None).unwrap();
        base.remove(TreeNode(3));
        let mut remote = RemoteTree::new(TreeNode(1));
        remote.cursor = DeltaCursor::at(Jid(77));
        [2, 5].into_iter().for_each(|node| remote.put(as_remote(&entry_of(node))));
        let mut other = as_remote(&entry_of(9));
        other.kind = NodeKind::Mount;
        remote.put(other.clone());
        state.save(base, Some(&remote)).unwrap();
        let wanted = sorted(base);
        base.put(entry_of(8));
        state.save(base, None).unwrap();
        drop(state);
        let path = directory.path().join(".dropstone/state");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let (state, loaded) = State::open(directory.path(), PAIR).unwrap();
        assert_eq!(sorted(&loaded.base), wanted);
        let (cursor, otherwise) = loaded.remote.unwrap();
        assert_eq!(cursor, DeltaCursor::at(Jid(77)));
        assert_eq!(otherwise, Otherwise::from([(TreeNode(4), None), (TreeNode(9), Some(other))]));
        assert!(matches!(State::open(directory.path(), PAIR), Err(StateError::Locked(_))));
        drop(state);
        let other = Pair { root: TreeNode(2), ..PAIR };
        assert!(matches!(State::open(directory.path(), other), Err(StateError::Other { found: PAIR, .. })));
    }

    #[test]
    fn a_state_of_any_bytes_is_read_without_harm() {
        let mut bytes = Vec::new();
        put_entry(&mut bytes, &entry_of(2));
        let mut prng = base::Prng::new(3);
        for _ in 0..2_000 {
            let mut bad = bytes.clone();
            let at = prng.next_u64() as usize % bad.len();
            bad[at] ^= 1 << (prng.next_u64() % 8);
            let mut loaded = Loaded { base: BaseTree::new(TreeNode(1)), remote: None };
            assert_eq!(next_record(&bad, &mut loaded), None, "a flipped bit at {at}");
        }
    }

    #[test]
    fn the_bytes_of_a_record_are_these() {
        let mut bytes = Vec::new();
        put_entry(&mut bytes, &BaseEntry { name: "a".to_owned(), hash: [0; 32], ..entry_of(2) });
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let wanted = "5a000000CRC01\
            020000000000000001000000000000000200000000000000e803000000000000\
            66000000000000000500000000000000ffffffffffffffff\
            00000000000000000000000000000000000000000000000000000000000000000161";
        let crc: String = crc32c(&bytes[8..]).to_le_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, wanted.replace("CRC", &crc));
    }
}
