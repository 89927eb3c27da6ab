//! Downloads: one read plan for each, then blocks in order, one read ahead, each checked against its name.

use std::collections::VecDeque;
use std::ops::Range;

use base::limits::BLOCK_BYTES;
use base::{Acct, BlockHash, Nsid};
use bytes::Bytes;
use meta::{Answer, At, Entry, Query, What};
use tokio::task::JoinHandle;

use super::body::{BlockLease, MemoryShare};
use super::error::{ContentError, ReadError};
use super::put::HOPS_MAX;
use super::{Caller, Content};
use crate::store::GetError;

/// Blocks held at once: one that is sent and one that is read.
const READ_AHEAD: usize = 1;

/// A revision of a file and the names of its first blocks, as one query tells them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadPlan {
    /// The file; its path is that in its own namespace.
    pub entry: Entry,
    /// Its path as it was asked for, with the casing of today from the last namespace on; `None` if it was asked by id or
    /// by revision.
    pub path_display: Option<String>,
    /// Names from position `first` on.
    names: Vec<BlockHash>,
    first: u32,
    total: u32,
}

impl ReadPlan {
    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entry.meta.size
    }
}

impl Content {
    /// What is to be read: metadata and blocklist of one revision, by one query (one more for each mount on the path).
    ///
    /// Errors: [`ReadError`].
    pub async fn plan(&self, caller: Caller, nsid: Nsid, what: What) -> Result<ReadPlan, ReadError> {
        let (mut nsid, mut what, mut asked) = (nsid, what, None);
        if let What::At(at) = &what
            && at.node.0 == 0
        {
            asked = Some(at.path.clone());
        }
        for _ in 0..HOPS_MAX {
            let query = Query::Blocklist { what: what.clone(), first: 0 };
            match self.sessions.meta.query(caller.acct, nsid, query).await.map_err(ContentError::from)? {
                Answer::Blocklist { entry, first, total, blocks } => {
                    let path_display = asked.as_deref().map(|asked| path_as_asked(asked, &what, &entry));
                    let names = blocks.into_iter().map(|(name, _)| name).collect();
                    return Ok(ReadPlan { entry, path_display, names, first, total });
                }
                Answer::Elsewhere { nsid: next, rest } => (nsid, what) = (next, What::At(At::path(&rest))),
                // What others have is not told from what is not there.
                Answer::NotFound | Answer::NoAccess => return Err(ReadError::NotFound),
                Answer::NotFile => return Err(ReadError::NotFile),
                Answer::NotFolder => return Err(ReadError::NotFolder),
                Answer::Malformed => return Err(ReadError::MalformedPath),
                other => return Err(ContentError::Internal(format!("unexpected answer to a read: {other:?}")).into()),
            }
        }
        Err(ContentError::Internal(format!("a path leads through more than {HOPS_MAX} namespaces")).into())
    }

    /// Reads bytes of a planned file, which lie inside it.
    #[must_use]
    pub fn read(&self, caller: Caller, plan: ReadPlan, bytes: Range<u64>) -> Download {
        assert!(bytes.end <= plan.size(), "the range was judged by the same plan");
        let position = u32::try_from(bytes.start / BLOCK_BYTES).expect("a file has fewer blocks");
        Download {
            content: self.clone(),
            share: self.downloads.share(),
            acct: caller.acct,
            plan,
            bytes,
            position,
            reads: VecDeque::new(),
        }
    }
}

/// The path asked for, where the names from its last namespace on are as they are written there.
fn path_as_asked(asked: &str, what: &What, entry: &Entry) -> String {
    let What::At(at) = what else { return entry.path_display.clone() };
    let mount = asked.len().saturating_sub(at.path.len());
    format!("{}{}", asked.get(..mount).unwrap_or_default(), entry.path_display)
}

/// The bytes of a download, in order.
#[derive(Debug)]
pub struct Download {
    content: Content,
    share: MemoryShare,
    acct: Acct,
    plan: ReadPlan,
    /// What is still to be told.
    bytes: Range<u64>,
    /// The block that is read next.
    position: u32,
    reads: VecDeque<JoinHandle<Result<Leased, GetError>>>,
}

/// A block that holds its memory until the last byte of it is sent.
#[derive(Debug)]
struct Leased {
    bytes: Bytes,
    _lease: BlockLease,
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Download {
    /// The next bytes, of one block; `None` after the last. An error ends the download before any byte of the block that
    /// is missing or corrupt.
    pub async fn next(&mut self) -> Option<Result<Bytes, ContentError>> {
        if self.bytes.is_empty() {
            return None;
        }
        let block = match self.next_block().await {
            Ok(block) => block,
            Err(error) => {
                self.bytes = 0..0;
                self.reads.clear();
                return Some(Err(error));
            }
        };
        let skip = (self.bytes.start % BLOCK_BYTES) as usize;
        let count = (block.len().saturating_sub(skip) as u64).min(self.bytes.end - self.bytes.start);
        if count == 0 {
            self.bytes = 0..0;
            let text = "a block is shorter than its file says".to_owned();
            return Some(Err(ContentError::Internal(text)));
        }
        self.bytes.start += count;
        Some(Ok(block.slice(skip..skip + count as usize)))
    }

    async fn next_block(&mut self) -> Result<Bytes, ContentError> {
        while self.reads.len() <= READ_AHEAD && u64::from(self.position) * BLOCK_BYTES < self.bytes.end {
            let name = self.name(self.position).await?;
            let length = (self.plan.size() - u64::from(self.position) * BLOCK_BYTES).min(BLOCK_BYTES);
            self.position += 1;
            let (store, share) = (self.content.store.clone(), self.share.clone());
            self.reads.push_back(tokio::spawn(async move {
                let lease = share.lease(length).await;
                Ok(Leased { bytes: store.get(name).await?, _lease: lease })
            }));
        }
        let read = self.reads.pop_front().expect("a range that is not empty has a block");
        let read = read.await.map_err(|error| ContentError::Unavailable(error.to_string()))?;
        let block = read.map_err(|error| {
            if !matches!(error, GetError::Store { .. }) {
                tracing::error!(%error, rev = ?self.plan.entry.meta.rev(), "ended a download before a bad block");
            }
            ContentError::from(error)
        })?;
        Ok(Bytes::from_owner(block))
    }

    /// The name at a position; the plan's page is left for another when it is beyond it.
    async fn name(&mut self, position: u32) -> Result<BlockHash, ContentError> {
        let plan = &mut self.plan;
        let at = |plan: &ReadPlan| plan.names.get(position.checked_sub(plan.first)? as usize).copied();
        if let Some(name) = at(plan) {
            return Ok(name);
        }
        let meta = &plan.entry.meta;
        // By its revision: another may be there by now.
        let query = Query::Blocklist { what: What::Rev(meta.rev_jid), first: position };
        match self.content.sessions.meta.query(self.acct, meta.nsid, query).await? {
            Answer::Blocklist { first, total, blocks, .. } if total == plan.total => {
                plan.first = first;
                plan.names = blocks.into_iter().map(|(name, _)| name).collect();
            }
            other => {
                return Err(ContentError::Internal(format!("a revision that was being read is {other:?}")));
            }
        }
        at(plan).ok_or_else(|| ContentError::Internal(format!("a blocklist ends before position {position}")))
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.reads.iter().for_each(JoinHandle::abort);
    }
}
