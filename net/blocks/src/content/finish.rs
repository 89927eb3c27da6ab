//! The end of upload sessions: one file, or up to a thousand, each put by one command where its session is at home.
//!
//! What the file's hash is the session knows itself, and a finish that is asked again is known by its offset, size and
//! target; so a server that knows nothing of the first try is told the same.

use base::limits::{BLOCK_BYTES, COMMAND_BLOCKS_MAX, COMMAND_BYTES_MAX, FINISH_BATCH_MAX};
use base::{BlockHash, Nsid, TreeNode};
use bytes::Bytes;
use meta::{
    Answer, At, Attested, Command, CommitBatch, CommitFile, HASH_OF_SESSION, ListStage, Outcome, PresentBlock, Query,
    SessionFinish, StoreAndCommit,
};

use super::body::Body;
use super::cut::{CutOptions, cut};
use super::error::{ContentError, FinishError, LookupError, unexpected};
use super::hash::content_hash_of;
use super::put::{Put, PutTarget, present_parts};
use super::{Caller, Content, UploadSession};
use crate::metaserver::Metaserver;
use crate::store::trash::wall_ms;

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

/// What a batch keeps for its encoding beside the parts.
const BATCH_ROOM_BYTES: usize = 64 << 10;

impl<M: Metaserver> Content<M> {
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
        let session = self.session_of(caller, &entry.session_id)?;
        if session.is_concurrent {
            if body.length().is_some_and(|bytes| bytes > 0) {
                return Err(FinishError::ConcurrentDataNotAllowed);
            }
            let cut = cut(&self.store, &self.uploads.share(), body, hashed(content_hash, Bytes::new())).await?;
            if cut.call_bytes > 0 {
                return Err(FinishError::ConcurrentDataNotAllowed);
            }
            self.seal(&session).await?;
            return self.finish_one(&session, entry, (Vec::new(), entry.offset)).await;
        }
        let (head, tail, is_complete) = self.last_head(&session, entry.offset).await?;
        let cut = cut(&self.store, &self.uploads.share(), body, hashed(content_hash, head)).await?;
        if (is_complete || session.is_closed_empty) && cut.call_bytes > 0 {
            return Err(LookupError::Closed.into());
        }
        let put = self.finish_one(&session, entry, (cut.blocks, entry.offset + cut.call_bytes)).await?;
        if let Some(tail) = tail.filter(|_| put.outcome.is_ok()) {
            self.store.delete_tail(session.nonce, tail).await;
        }
        Ok(put)
    }

    /// What the last bytes come behind: the tail, its object, and whether the session is closed and needs none.
    async fn last_head(&self, session: &UploadSession, offset: u64) -> Result<(Bytes, Option<u64>, bool), FinishError> {
        // A session that ends with a whole block has no tail.
        if offset.is_multiple_of(BLOCK_BYTES) {
            return Ok((Bytes::new(), None, false));
        }
        match self.state_of(session).await? {
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

    async fn finish_one(
        &self,
        session: &UploadSession,
        entry: &FinishEntry,
        (mut rest, size): (Vec<PresentBlock>, u64),
    ) -> Result<Put, FinishError> {
        self.refresh(&mut rest).await?;
        let finish = finish_command(session, entry, rest, size);
        let command = Command::SessionFinish(Box::new(finish.clone()));
        let mut outcome = self.command(session.acct, session.home, command).await?;
        if is_foreign(session, entry) && outcome == Outcome::NotFound {
            let at = entry.target.at.clone();
            outcome = self.finish_elsewhere(session, entry, finish.clone(), (entry.target.nsid, at)).await?;
        }
        self.end_of(session, entry, finish, outcome).await
    }

    /// What an outcome of a finish means to its caller.
    async fn end_of(
        &self,
        session: &UploadSession,
        entry: &FinishEntry,
        finish: SessionFinish,
        outcome: Outcome,
    ) -> Result<Put, FinishError> {
        let outcome = match outcome {
            Outcome::Elsewhere { nsid, rest } => {
                self.finish_elsewhere(session, entry, finish, (nsid, At::path(&rest))).await?
            }
            outcome => outcome,
        };
        match outcome {
            Outcome::NotFound => Err(LookupError::NotFound.into()),
            Outcome::IncorrectOffset { correct } => {
                Err(LookupError::IncorrectOffset { correct_offset: correct }.into())
            }
            Outcome::Closed => Err(LookupError::Closed.into()),
            Outcome::NotClosed => Err(FinishError::ConcurrentNotClosed),
            Outcome::MissingData => Err(FinishError::ConcurrentMissingData),
            Outcome::TooLarge => Err(LookupError::TooLarge.into()),
            // The session's own hash cannot be wrong: it has bytes that are no block yet, so it is open.
            Outcome::BadContentHash => Err(LookupError::NotClosed.into()),
            outcome @ (Outcome::NeedBlocks(_) | Outcome::Elsewhere { .. }) => {
                Err(unexpected("a finish", &outcome).into())
            }
            outcome => Ok(Put::of(&entry.target, outcome)),
        }
    }

    /// Hashes the names of a concurrent session, some at a time.
    async fn seal(&self, session: &UploadSession) -> Result<(), FinishError> {
        loop {
            match self.command(session.acct, session.home, Command::SessionSeal(session.id())).await? {
                Outcome::Swept { has_more: true, .. } => {}
                Outcome::Swept { .. } => return Ok(()),
                // It may be finished; then the finish is told again.
                Outcome::NotFound => return Ok(()),
                Outcome::NotClosed => return Err(FinishError::ConcurrentNotClosed),
                Outcome::MissingData => return Err(FinishError::ConcurrentMissingData),
                Outcome::NoAccess => return Err(LookupError::NotFound.into()),
                outcome => return Err(unexpected("a seal", &outcome).into()),
            }
        }
    }

    /// The target is in another namespace: the file is put there once, under the session's id, and then the session ends.
    async fn finish_elsewhere(
        &self,
        session: &UploadSession,
        entry: &FinishEntry,
        mut finish: SessionFinish,
        (nsid, at): (Nsid, At),
    ) -> Result<Outcome, FinishError> {
        // The session holds these blocks as long as it lives, which is from before they are attested.
        let asked_at_ms = wall_ms();
        let mut blocks = self.blocks_of(session, asked_at_ms).await?;
        blocks.extend(finish.rest.iter().copied());
        let names: Vec<BlockHash> = blocks.iter().map(|block| block.hash).collect();
        let is_staged = names.len() > COMMAND_BLOCKS_MAX;
        let mut commit = CommitFile {
            size: finish.commit.size,
            content_hash: content_hash_of(&names),
            attested: Some(Box::new(Attested { id: session.id(), is_staged })),
            ..entry.target.commit(nsid, at)
        };
        if u64::from(commit.size > 0) > blocks.len() as u64 {
            // The row is gone.
            return Ok(Outcome::NotFound);
        }
        let command = if is_staged {
            self.stage(session, nsid, &blocks).await?;
            Command::CommitFile(commit)
        } else {
            commit.blocks = names;
            Command::StoreAndCommit(StoreAndCommit { commit, present: present_parts(&blocks) })
        };
        let outcome = self.command(session.acct, nsid, command).await?;
        let Some(meta) = outcome.metadata() else { return Ok(outcome) };
        finish.result = Some(meta.clone());
        let ended = Command::SessionFinish(Box::new(finish));
        match self.command(session.acct, session.home, ended).await? {
            ended if ended.is_ok() => Ok(outcome),
            ended => Err(unexpected("the end of a session elsewhere", &ended).into()),
        }
    }

    /// The parts of a blocklist that is too long for one command.
    async fn stage(&self, session: &UploadSession, nsid: Nsid, blocks: &[PresentBlock]) -> Result<(), FinishError> {
        for (part, blocks) in (0..).zip(blocks.chunks(COMMAND_BLOCKS_MAX)) {
            let stage = ListStage { id: session.id(), part, blocks: blocks.to_vec() };
            match self.command(session.acct, nsid, Command::ListStage(stage)).await? {
                Outcome::Done => {}
                // It was put already; the put is told again.
                Outcome::NotFound => return Ok(()),
                outcome => return Err(unexpected("a staged blocklist", &outcome).into()),
            }
        }
        Ok(())
    }

    /// All blocks that a session has; none for one without a row.
    async fn blocks_of(&self, session: &UploadSession, put_at_ms: u64) -> Result<Vec<PresentBlock>, ContentError> {
        let mut all = Vec::new();
        loop {
            let query = Query::Upload { id: session.id(), first: all.len() as u32 };
            let state = match self.meta.query(session.acct, session.home, query).await? {
                Answer::Upload(state) => state,
                Answer::NotFound => return Ok(Vec::new()),
                other => {
                    return Err(ContentError::Internal(format!("unexpected answer about a session: {other:?}")));
                }
            };
            all.extend(state.blocks.iter().map(|&(hash, bytes)| PresentBlock { hash, bytes, put_at_ms }));
            if all.len() >= state.total as usize || state.blocks.is_empty() {
                return Ok(all);
            }
        }
    }

    /// `upload_session/finish_batch`: puts the files of closed sessions, by one `CommitBatch` as a rule.
    ///
    /// The ends are in the order of the entries, [`FINISH_BATCH_MAX`] of them at most. Errors: [`ContentError`]; then some
    /// of the files may be there, and the same batch tells which.
    pub async fn finish_sessions(
        &self,
        caller: Caller,
        entries: &[FinishEntry],
    ) -> Result<Vec<Result<Put, FinishError>>, ContentError> {
        assert!(entries.len() <= FINISH_BATCH_MAX, "the caller bounds a batch");
        let mut ends: Vec<Option<Result<Put, FinishError>>> = Vec::new();
        let mut parts = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            match self.ready(caller, entry).await {
                Ok(session) if is_foreign(&session, entry) => {
                    ends.push(Some(match self.finish_one(&session, entry, (Vec::new(), entry.offset)).await {
                        Err(FinishError::Content(error)) => return Err(error),
                        end => end,
                    }));
                }
                Ok(session) => {
                    ends.push(None);
                    parts.push((at, session, finish_command(&session, entry, Vec::new(), entry.offset)));
                }
                Err(FinishError::Content(error)) => return Err(error),
                Err(error) => ends.push(Some(Err(error))),
            }
        }
        while !parts.is_empty() {
            let batch: Vec<_> = parts.drain(..batch_length(&parts)).collect();
            let outcomes = self.commit_batch(&batch).await?;
            let is_full = |outcome: &Outcome| *outcome == Outcome::TooLarge;
            let is_progress = !outcomes.iter().all(is_full);
            let mut again = Vec::new();
            for ((at, session, finish), outcome) in batch.into_iter().zip(outcomes) {
                // One command changes so many rows; what is beyond comes with the next one.
                if is_progress && is_full(&outcome) {
                    again.push((at, session, finish));
                    continue;
                }
                ends[at] = Some(match self.end_of(&session, &entries[at], finish, outcome).await {
                    Err(FinishError::Content(error)) => return Err(error),
                    end => end,
                });
            }
            parts.splice(..0, again);
        }
        Ok(ends.into_iter().map(|end| end.expect("every entry has its end")).collect())
    }

    /// Is the session of an entry closed, as far as the batch itself cannot tell?
    async fn ready(&self, caller: Caller, entry: &FinishEntry) -> Result<UploadSession, FinishError> {
        let session = self.session_of(caller, &entry.session_id)?;
        if session.is_concurrent {
            self.seal(&session).await?;
            return Ok(session);
        }
        // Of a session that ends with a whole block the machine takes a finish whether it is closed or not.
        if session.is_closed_empty || !entry.offset.is_multiple_of(BLOCK_BYTES) {
            return Ok(session);
        }
        match self.state_of(&session).await? {
            Some(state) if !state.is_closed && state.offset == entry.offset => Err(LookupError::NotClosed.into()),
            Some(_) => Ok(session),
            // Finished, and told again; or nothing came yet, so it is open.
            None => match FinishError::from(self.why_there_is_none(&session, entry.offset).await) {
                FinishError::Lookup(LookupError::NotFound) => Ok(session),
                FinishError::Lookup(LookupError::IncorrectOffset { .. }) if entry.offset == 0 => {
                    Err(LookupError::NotClosed.into())
                }
                error => Err(error),
            },
        }
    }

    async fn commit_batch(
        &self,
        batch: &[(usize, UploadSession, SessionFinish)],
    ) -> Result<Vec<Outcome>, ContentError> {
        let (_, session, _) = batch.first().expect("a batch has parts");
        let parts = batch.iter().map(|(.., finish)| Command::SessionFinish(Box::new(finish.clone()))).collect();
        let command = Command::CommitBatch(CommitBatch { atomic: false, parts });
        match self.command(session.acct, session.home, command).await? {
            Outcome::Batch { failed: None, outcomes } if outcomes.len() == batch.len() => Ok(outcomes),
            // The whole of it is for nobody there.
            Outcome::NoAccess => Ok(vec![Outcome::NoAccess; batch.len()]),
            outcome => Err(unexpected("a batch of finishes", &outcome)),
        }
    }
}

fn hashed(content_hash: Option<[u8; 32]>, head: Bytes) -> CutOptions {
    CutOptions { head, content_hash, ends_file: true }
}

/// The target is not named from the session's home on.
fn is_foreign(session: &UploadSession, entry: &FinishEntry) -> bool {
    entry.target.nsid != session.home
}

/// A node that no namespace has.
const NOWHERE: TreeNode = TreeNode(u64::MAX);

/// The finish as it is asked at home.
///
/// A target that is named from another namespace on cannot be put there: it is asked for below a node that is nowhere,
/// so that what was done before is told, and all else is `NotFound`.
fn finish_command(session: &UploadSession, entry: &FinishEntry, rest: Vec<PresentBlock>, size: u64) -> SessionFinish {
    let target = &entry.target;
    let at = if is_foreign(session, entry) {
        At { node: NOWHERE, path: format!("/{}/{}{}", target.nsid, target.at.node.0, target.at.path) }
    } else {
        target.at.clone()
    };
    let mut commit = target.commit(session.home, at);
    commit.size = size;
    commit.content_hash = HASH_OF_SESSION;
    SessionFinish { id: session.id(), offset: entry.offset, rest, commit, result: None }
}

/// How many of these fit one command: of one home, and within its bytes.
fn batch_length(parts: &[(usize, UploadSession, SessionFinish)]) -> usize {
    let home = parts[0].1.home;
    let mut bytes = BATCH_ROOM_BYTES;
    let fits = |(_, session, finish): &&(usize, UploadSession, SessionFinish)| {
        bytes += 256 + finish.commit.at.path.len() + finish.commit.label.len();
        session.home == home && bytes <= COMMAND_BYTES_MAX
    };
    parts.iter().take_while(fits).count().max(1)
}
