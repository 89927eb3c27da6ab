//! What is told about a file or folder, and the rev that names one of its revisions.

use std::fmt;
use std::str::FromStr;

use base::{Acct, Jid, Nsid, TreeNode};

use crate::codec::{DecodeError, Put, Reader, len16};

/// What a namespace is; the numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum NamespaceKind {
    /// An account's own tree.
    #[default]
    Root = 1,
    /// A shared folder.
    Shared = 2,
    /// An application's folder.
    App = 3,
}

impl NamespaceKind {
    /// The kind of a number on disk.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<NamespaceKind> {
        use NamespaceKind::*;
        [Root, Shared, App].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// What a node of the tree is; the numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum NodeKind {
    /// A file.
    File = 1,
    /// A folder.
    Folder = 2,
    /// The place where another namespace hangs.
    Mount = 3,
}

impl NodeKind {
    /// The kind of a number on disk.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<NodeKind> {
        use NodeKind::*;
        [File, Folder, Mount].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// One revision of a file, for ever: the journal row that put or moved it.
///
/// Text: `{jid:015x}{nsid:016x}`, 31 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord, Default)]
pub struct Rev {
    /// Whose journal.
    pub nsid: Nsid,
    /// The row, below 2^60.
    pub jid: Jid,
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:015x}{:016x}", self.jid.0, self.nsid.0)
    }
}

/// A text is no rev.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a rev is 31 lower-case hex digits")]
pub struct ParseRevError;

impl FromStr for Rev {
    type Err = ParseRevError;

    fn from_str(text: &str) -> Result<Rev, ParseRevError> {
        if text.len() != 31 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(ParseRevError);
        }
        let number = |digits: &str| u64::from_str_radix(digits, 16).map_err(|_| ParseRevError);
        Ok(Rev { jid: Jid(number(&text[..15])?), nsid: Nsid(number(&text[15..])?) })
    }
}

/// What is told about one file, folder or mount. Its path is not part of it: see [`crate::query::Entry`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// The namespace it is in.
    pub nsid: Nsid,
    /// Its id there; stays through moves and renames.
    pub node: TreeNode,
    /// The folder it is in; 0 for the root.
    pub parent: TreeNode,
    /// The journal row told about: in an outcome the change itself, else the last one that names the node.
    pub jid: Jid,
    /// Files: jid of the revision. Folders and mounts: the row that placed them.
    pub rev_jid: Jid,
    /// What it is.
    pub kind: NodeKind,
    /// Its name, case preserved; empty for the root.
    pub name: String,
    /// Files: bytes. Mounts: the target namespace. Else 0.
    pub size: u64,
    /// Files: SHA-256 of the block names. Else zeros.
    pub content_hash: [u8; 32],
    /// Files: as the client said, milliseconds since 1970; `i64::MIN` is none.
    pub client_mtime_ms: i64,
    /// When the revision was made, milliseconds since 1970.
    pub server_mtime_ms: i64,
    /// Who made it.
    pub modified_by: Acct,
}

impl Metadata {
    /// The rev, of files.
    #[must_use]
    pub fn rev(&self) -> Option<Rev> {
        (self.kind == NodeKind::File).then_some(Rev { nsid: self.nsid, jid: self.rev_jid })
    }

    /// The client's modification time, if it gave one.
    #[must_use]
    pub fn client_mtime(&self) -> Option<i64> {
        (self.client_mtime_ms != i64::MIN).then_some(self.client_mtime_ms)
    }

    /// ```text
    ///  0 u8 kind  1 u8 zero  2 u16 name_len  4 u32 zero  8 nsid  16 node  24 parent  32 jid  40 rev_jid  48 size
    /// 56 i64 client_mtime_ms  64 i64 server_mtime_ms  72 modified_by  80 content_hash[32]  112 name, padded to 8
    /// ```
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        Put::u8(out, self.kind as u8);
        out.zero(1);
        out.u16(len16(self.name.len()));
        out.zero(4);
        let fields = [self.nsid.0, self.node.0, self.parent.0, self.jid.0, self.rev_jid.0, self.size];
        fields.iter().for_each(|field| out.u64(*field));
        out.i64(self.client_mtime_ms);
        out.i64(self.server_mtime_ms);
        out.u64(self.modified_by.0);
        out.bytes(&self.content_hash);
        out.bytes(self.name.as_bytes());
        out.pad(start);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Metadata, DecodeError> {
        let kind = reader.u8()?;
        let kind = NodeKind::from_u8(kind).ok_or(DecodeError::Kind { what: "node kind", number: kind })?;
        reader.zero(1)?;
        let name_bytes = reader.u16()? as usize;
        reader.zero(4)?;
        let mut meta = Metadata {
            kind,
            nsid: Nsid(reader.u64()?),
            node: TreeNode(reader.u64()?),
            parent: TreeNode(reader.u64()?),
            jid: Jid(reader.u64()?),
            rev_jid: Jid(reader.u64()?),
            size: reader.u64()?,
            client_mtime_ms: reader.i64()?,
            server_mtime_ms: reader.i64()?,
            modified_by: Acct(reader.u64()?),
            content_hash: reader.array()?,
            name: String::new(),
        };
        meta.name = reader.text(name_bytes)?;
        reader.zero(base::bytes::align_up(name_bytes, 8) - name_bytes)?;
        Ok(meta)
    }
}
