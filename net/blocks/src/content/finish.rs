//! The end of an upload session with its last bytes: one file, put by one command where the session is at home.
//!
//! What the file's hash is the session knows itself, and a finish that is asked again is known by its offset, size and
//! target; so a server that knows nothing of the first try is told the same.

use base::limits::BLOCK_BYTES;
use bytes::Bytes;
use stone::ids::SessionName;

use super::body::Body;
use super::cut::{CutOptions, cut};
use super::error::{FinishError, LookupError};
use super::put::{Put, PutTarget};
use super::{Caller, Content};

/// One entry of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FinishEntry {
    /// The session's id.
    pub session_id: String,
    /// Bytes appended before.
    pub offset: u64,
    /// Where the file is to be.
    pub target: PutTarget,
}

impl Content {
    /// `upload_session/finish`: puts the file of a session, with the last bytes, by one command.
    ///
    /// What the machine refuses for the target is the [`Put::outcome`], and the session stays as it was.
    /// Errors: [`FinishError`]; then nothing was put.
    pub async fn finish_session<B: Body>(
        &self,
        caller: Caller,
        entry: &FinishEntry,
        content_hash: Option<[u8; 32]>,
        body: &mut B,
    ) -> Result<Put, FinishError> {
        let session = self.sessions.session_of(caller, &entry.session_id)?;
        if session.id.is_concurrent {
            if body.length().is_some_and(|bytes| bytes > 0) {
                return Err(FinishError::ConcurrentDataNotAllowed);
            }
            let cut = cut(&self.store, &self.uploads.share(), body, hashed(content_hash, Bytes::new())).await?;
            if cut.call_bytes > 0 {
                return Err(FinishError::ConcurrentDataNotAllowed);
            }
            self.sessions.seal(&session).await?;
            return self.sessions.finish_one(&session, entry, (Vec::new(), entry.offset)).await;
        }
        let (head, tail, is_complete) = self.last_head(&session, entry.offset).await?;
        let mut cut = cut(&self.store, &self.uploads.share(), body, hashed(content_hash, head)).await?;
        if (is_complete || session.is_closed_empty) && cut.call_bytes > 0 {
            return Err(LookupError::Closed.into());
        }
        self.refresh(&mut cut.blocks).await?;
        let put = self.sessions.finish_one(&session, entry, (cut.blocks, entry.offset + cut.call_bytes)).await?;
        if let Some(tail) = tail.filter(|_| put.outcome.is_ok()) {
            self.store.delete_tail(session.id.nonce, tail).await;
        }
        Ok(put)
    }

    /// What the last bytes come behind: the tail, its object, and whether the session is closed and needs none.
    async fn last_head(&self, session: &SessionName, offset: u64) -> Result<(Bytes, Option<u64>, bool), FinishError> {
        // A session that ends with a whole block has no tail.
        if offset.is_multiple_of(BLOCK_BYTES) {
            return Ok((Bytes::new(), None, false));
        }
        match self.sessions.state_of(session).await? {
            // Finished before, or never begun: the command tells, and needs no bytes for that.
            None => Ok((Bytes::new(), None, false)),
            Some(state) if state.offset != offset => {
                Err(LookupError::IncorrectOffset { correct_offset: state.offset }.into())
            }
            Some(state) if state.is_closed && state.tail_bytes == 0 => Ok((Bytes::new(), None, true)),
            Some(state) => {
                let (head, tail) = self.tail_of(session, state).await?;
                Ok((head, tail, false))
            }
        }
    }
}

fn hashed(content_hash: Option<[u8; 32]>, head: Bytes) -> CutOptions {
    CutOptions { head, content_hash, ends_file: true }
}
