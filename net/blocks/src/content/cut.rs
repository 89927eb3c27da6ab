//! Bytes of any sizes become blocks of 4 MiB in the object store while they come.
//!
//! ```text
//!            head (a tail of before)  │ pieces of the body ...
//! blocks     ├──── 4 MiB ────┤├──── 4 MiB ────┤├─ the rest ─┤
//! call hash                           ├──── 4 MiB ────┤├── 4 MiB ──┤
//! ```
//! A block is hashed and put while the next one fills. What was put and is never named by a commit is garbage, which the
//! collector takes: a call that ends early has committed nothing.

use base::limits::{BLOCK_BYTES, CONTENT_BODY_BYTES_MAX};
use bytes::{Bytes, BytesMut};
use meta::PresentBlock;
use tokio::task::JoinSet;

use super::body::{BlockLease, Body, MemoryShare};
use super::error::ContentError;
use super::hash::{ContentHasher, content_hash_of};
use crate::store::trash::wall_ms;
use crate::store::{BlockStore, PutError, hash_apart};

/// What a call's bytes came to.
#[derive(Debug)]
pub(crate) struct Cut {
    /// Whole blocks, the first with the head in it; and the short last one, if that was asked for.
    pub(crate) blocks: Vec<PresentBlock>,
    /// What follows them, less than a block; with the memory it holds.
    pub(crate) tail: Bytes,
    pub(crate) _tail_lease: Option<BlockLease>,
    /// Bytes of the call, without the head.
    pub(crate) call_bytes: u64,
}

/// How a body is cut.
#[derive(Debug, Default)]
pub(crate) struct CutOptions {
    /// What lies before the call's first byte, back to the last whole block; less than a block.
    pub(crate) head: Bytes,
    /// What the call's bytes must hash to, head not counted.
    pub(crate) content_hash: Option<[u8; 32]>,
    /// What is left at the end becomes a short block, too.
    pub(crate) ends_file: bool,
}

/// Cuts a body. On return all blocks are in the store, durably.
///
/// Errors: [`ContentError`]; of a wrong content hash only after the last byte.
pub(crate) async fn cut<B: Body>(
    store: &BlockStore,
    share: &MemoryShare,
    body: &mut B,
    options: CutOptions,
) -> Result<Cut, ContentError> {
    let too_large = || ContentError::PayloadTooLarge { max: CONTENT_BODY_BYTES_MAX };
    if body.length().is_some_and(|bytes| bytes > CONTENT_BODY_BYTES_MAX) {
        return Err(too_large());
    }
    let CutOptions { head, content_hash, ends_file } = options;
    // The call's own blocks are those of the file where no head shifts them.
    let hasher = (content_hash.is_some() && !head.is_empty()).then(ContentHasher::default);
    let mut cutter = Cutter {
        store,
        share,
        left: body.length().map(|bytes| bytes + head.len() as u64),
        filling: None,
        skip: 0,
        hasher,
        puts: JoinSet::new(),
        blocks: Vec::new(),
    };
    cutter.skip = head.len();
    cutter.push(&head).await?;
    drop(head);
    let mut call_bytes = 0;
    while let Some(piece) = body.next().await {
        let piece = piece?;
        call_bytes += piece.len() as u64;
        if call_bytes > CONTENT_BODY_BYTES_MAX {
            return Err(too_large());
        }
        cutter.push(&piece).await?;
    }
    let (mut blocks, tail, lease, hasher) = cutter.finish(ends_file).await?;
    let found = || match hasher {
        Some(hasher) => hasher.finish(),
        None => {
            let names = blocks.iter().map(|block| block.hash);
            let last = (!tail.is_empty()).then(|| crate::store::hash_of(&tail));
            content_hash_of(&names.chain(last).collect::<Vec<_>>())
        }
    };
    if content_hash.is_some_and(|wanted| wanted != found()) {
        return Err(ContentError::ContentHashMismatch);
    }
    blocks.shrink_to_fit();
    Ok(Cut { blocks, tail, _tail_lease: lease, call_bytes })
}

struct Cutter<'a> {
    store: &'a BlockStore,
    share: &'a MemoryShare,
    /// Bytes still to come, where that is known.
    left: Option<u64>,
    filling: Option<(BytesMut, BlockLease)>,
    /// Bytes of the first block that are not the call's.
    skip: usize,
    hasher: Option<ContentHasher>,
    puts: JoinSet<Result<(usize, PresentBlock), PutError>>,
    /// By position; those whose put is not over have no time yet.
    blocks: Vec<PresentBlock>,
}

type Rest = (Vec<PresentBlock>, Bytes, Option<BlockLease>, Option<ContentHasher>);

impl Cutter<'_> {
    async fn push(&mut self, mut bytes: &[u8]) -> Result<(), ContentError> {
        while !bytes.is_empty() {
            if self.filling.is_none() {
                // A sender that tells too small a length is cut off by the layer below; were it not, a block is enough.
                let room = self.left.map_or(BLOCK_BYTES, |left| left.max(bytes.len() as u64)).min(BLOCK_BYTES);
                let lease = self.share.lease(room).await;
                self.filling = Some((BytesMut::with_capacity(room as usize), lease));
            }
            let (block, _) = self.filling.as_mut().expect("it was just put there");
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES as usize - block.len()));
            block.extend_from_slice(now);
            self.left = self.left.map(|left| left.saturating_sub(now.len() as u64));
            bytes = later;
            if block.len() as u64 == BLOCK_BYTES {
                self.put().await?;
            }
        }
        Ok(())
    }

    /// Sends the block on its way to the store.
    async fn put(&mut self) -> Result<(), ContentError> {
        let Some((block, mut lease)) = self.filling.take() else { return Ok(()) };
        let bytes = frozen(block);
        lease.shrink(bytes.len() as u64);
        self.hash_call(&bytes).await;
        let position = self.blocks.len();
        self.blocks.push(PresentBlock { hash: base::BlockHash::default(), bytes: bytes.len() as u32, put_at_ms: 0 });
        let store = self.store.clone();
        self.puts.spawn(async move {
            let length = bytes.len() as u32;
            let (hash, bytes) = hash_apart(bytes).await;
            // From before the put: the collector counts from here.
            let put_at_ms = wall_ms();
            store.put(hash, bytes).await?;
            drop(lease);
            Ok((position, PresentBlock { hash, bytes: length, put_at_ms }))
        });
        // A put that failed ends the call at once.
        while let Some(put) = self.puts.try_join_next() {
            self.note(put)?;
        }
        Ok(())
    }

    async fn finish(mut self, ends_file: bool) -> Result<Rest, ContentError> {
        let (mut tail, mut tail_lease) = (Bytes::new(), None);
        if ends_file {
            self.put().await?;
        } else if let Some((block, mut lease)) = self.filling.take() {
            tail = frozen(block);
            lease.shrink(tail.len() as u64);
            self.hash_call(&tail).await;
            tail_lease = Some(lease);
        }
        while let Some(put) = self.puts.join_next().await {
            self.note(put)?;
        }
        Ok((self.blocks, tail, tail_lease, self.hasher))
    }

    /// Hashes the call's part of a block on a thread that may be kept busy.
    async fn hash_call(&mut self, block: &Bytes) {
        let part = block.slice(std::mem::take(&mut self.skip).min(block.len())..);
        if let Some(mut hasher) = self.hasher.take() {
            let hashed = tokio::task::spawn_blocking(move || {
                hasher.update(&part);
                hasher
            });
            // A runtime that is stopping hashes nothing, and sends no answer either; the call then ends in a mismatch.
            self.hasher = Some(hashed.await.unwrap_or_default());
        }
    }

    fn note(
        &mut self,
        put: Result<Result<(usize, PresentBlock), PutError>, tokio::task::JoinError>,
    ) -> Result<(), ContentError> {
        let (position, block) = put.map_err(|error| ContentError::Unavailable(error.to_string()))??;
        self.blocks[position] = block;
        Ok(())
    }
}

/// A body of unknown length gets room for a whole block, and mostly is a small file.
fn frozen(block: BytesMut) -> Bytes {
    if block.len() < block.capacity() / 2 { Bytes::copy_from_slice(&block) } else { block.freeze() }
}
