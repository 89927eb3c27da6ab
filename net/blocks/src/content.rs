//! The content host's calls without HTTP: uploads, upload sessions, downloads. Docs: docs/design/blocks.md.
//!
//! A [`Content`] keeps nothing about a call or a session once the call is over: what a session has is in its row at the
//! metaservers and in the object store, who it is in its id. So any block server takes any call.

mod body;
mod cut;
mod download;
mod error;
mod finish;
mod hash;
mod put;
mod range;
mod session;
mod sessions;

use std::sync::Arc;

use stone::{Keys, Metaserver};

use crate::store::BlockStore;
use crate::store::trash::wall_ms;

pub use body::{BlockMemory, Body, BodyError, EmptyBody};
pub use download::{Download, ReadPlan};
pub use error::{AppendError, ContentError, FinishError, LookupError, ReadError, StartError};
pub use finish::FinishEntry;
pub use hash::{ContentHasher, content_hash_of};
pub use put::{Mode, Put, PutTarget};
pub use range::{Conditions, Selection};
pub use session::StartSession;
pub use sessions::Sessions;

/// Who asks, and where its paths begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Whose rights.
    pub acct: base::Acct,
    /// The root namespace of the account: its upload sessions are kept there.
    pub home: base::Nsid,
}

/// The engine behind the content routes. Clones share all.
#[derive(Clone, Debug)]
pub struct Content {
    store: BlockStore,
    sessions: Sessions,
    uploads: Arc<BlockMemory>,
    /// A pool of its own: whoever reads slowly keeps nobody from writing.
    downloads: Arc<BlockMemory>,
}

impl Content {
    /// Over this store and these metaservers; all block servers of a cluster have the same keys.
    #[must_use]
    pub fn new(store: BlockStore, meta: Arc<dyn Metaserver>, keys: Arc<Keys>) -> Content {
        let (uploads, downloads) = (Arc::default(), Arc::default());
        Content { store, sessions: Sessions::new(meta, keys), uploads, downloads }
    }

    /// What its calls hold of bodies that come.
    #[must_use]
    pub fn uploads(&self) -> &BlockMemory {
        &self.uploads
    }

    /// What its calls hold of content that goes out.
    #[must_use]
    pub fn downloads(&self) -> &BlockMemory {
        &self.downloads
    }

    /// What needs no content: batches, and starts without bytes.
    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Takes what is left of a body, so that a client that sends all before it reads can read the refusal. As much as a
    /// call may bring, at most.
    pub async fn drain<B: Body>(body: &mut B) {
        let mut taken = 0;
        while let Some(Ok(piece)) = body.next().await {
            taken += piece.len() as u64;
            if taken > base::limits::CONTENT_BODY_BYTES_MAX {
                return;
            }
        }
    }
}

/// A block put longer ago than this is looked at again before it is attested: the machine refuses what is older than an
/// hour. Milliseconds.
const ATTEST_AGE_MAX_MS: u64 = 50 * 60 * 1000;

impl Content {
    /// Puts blocks again that were put too long ago to be believed, as of a slow body.
    async fn refresh(&self, blocks: &mut [meta::PresentBlock]) -> Result<(), ContentError> {
        for block in blocks {
            let now_ms = wall_ms();
            if block.put_at_ms.saturating_add(ATTEST_AGE_MAX_MS) < now_ms {
                let bytes = self.store.get(block.hash).await?;
                self.store.put(block.hash, bytes).await?;
                block.put_at_ms = now_ms;
            }
        }
        Ok(())
    }
}
