//! Upload sessions as the metaservers have them: who they are, where they stand, and how they become files. No content
//! passes here, so the api host needs no more than this.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base::limits::{BLOCK_BYTES, COMMAND_BLOCKS_MAX, COMMAND_BYTES_MAX, FINISH_BATCH_MAX};
use base::{Acct, BlockHash, Nsid, TreeNode};
use meta::{
    Answer, At, Attested, Command, CommitBatch, CommitFile, HASH_OF_SESSION, ListStage, Outcome, PresentBlock, Query,
    SessionAppend, SessionFinish, StoreAndCommit, UploadId, UploadState,
};
use stone::ids::{SessionName, parse_session_id, session_id};
use stone::{Keys, Metaserver};

use super::error::{AppendError, ContentError, FinishError, LookupError, unexpected};
use super::hash::content_hash_of;
use super::put::{Put, present_parts};
use super::{Caller, FinishEntry};
use crate::store::trash::wall_ms;

/// Milliseconds that a session lives.
const LIFE_MS: u64 = 7 * 24 * 60 * 60 * 1000;
/// A block's name is asked from here on: none, the state alone.
const NO_NAMES: u32 = u32::MAX;
/// What a batch keeps for its encoding beside the parts.
const BATCH_ROOM_BYTES: usize = 64 << 10;
/// Waits for a folder that is frozen, in all; after that the caller is told to come again.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// The upload sessions of a cluster. Clones share all.
#[derive(Clone)]
pub struct Sessions {
    pub(super) meta: Arc<dyn Metaserver>,
    keys: Arc<Keys>,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(..)")
    }
}

impl Sessions {
    /// Of the cluster behind `meta`, whose servers share `keys`.
    #[must_use]
    pub fn new(meta: Arc<dyn Metaserver>, keys: Arc<Keys>) -> Sessions {
        Sessions { meta, keys }
    }

    /// `upload_session/start_batch`: so many ids, which are nowhere yet.
    ///
    /// Errors: [`ContentError`] where the system has no random numbers.
    pub fn start(&self, caller: Caller, count: usize, is_concurrent: bool) -> Result<Vec<String>, ContentError> {
        (0..count).map(|_| Ok(self.render(&self.new_session(caller, is_concurrent)?))).collect()
    }

    /// A session that nobody has seen yet.
    pub(super) fn new_session(&self, caller: Caller, is_concurrent: bool) -> Result<SessionName, ContentError> {
        let nonce = loop {
            let drawn = getrandom::u64().map_err(|error| ContentError::Unavailable(error.to_string()))?;
            if drawn != 0 {
                break drawn;
            }
        };
        // Its id has whole seconds.
        let issued_ms = wall_ms() / 1000 * 1000;
        let Caller { acct, home } = caller;
        Ok(SessionName { is_closed_empty: false, home, acct, id: UploadId { nonce, issued_ms, is_concurrent } })
    }

    pub(super) fn render(&self, session: &SessionName) -> String {
        session_id(&self.keys, session)
    }

    /// The caller's session of an id.
    ///
    /// Errors: [`LookupError::NotFound`] for another's too.
    pub(super) fn session_of(&self, caller: Caller, id: &str) -> Result<SessionName, LookupError> {
        let session = parse_session_id(&self.keys, id).ok_or(LookupError::NotFound)?;
        // The machine has the last word about its age.
        if session.acct != caller.acct || session.id.issued_ms.saturating_add(LIFE_MS) <= wall_ms() {
            return Err(LookupError::NotFound);
        }
        Ok(session)
    }

    /// A command; one that is held off by a freeze is sent again for a while.
    pub(super) async fn command(&self, acct: Acct, nsid: Nsid, command: Command) -> Result<Outcome, ContentError> {
        let begun = tokio::time::Instant::now();
        loop {
            let outcome = self.meta.command(acct, nsid, command.clone()).await?;
            let Outcome::Busy { retry_ms } = outcome else { return Ok(outcome) };
            if begun.elapsed() >= BUSY_TIME_MAX {
                return Ok(outcome);
            }
            tokio::time::sleep(Duration::from_millis(u64::from(retry_ms.clamp(10, 1000)))).await;
        }
    }

    /// Where a session is, without its names; `None` when it has no row.
    pub(super) async fn state_of(&self, session: &SessionName) -> Result<Option<UploadState>, ContentError> {
        let query = Query::Upload { id: session.id, first: NO_NAMES };
        match self.meta.query(session.acct, session.home, query).await? {
            Answer::Upload(state) => Ok(Some(state)),
            Answer::NotFound | Answer::NoAccess => Ok(None),
            other => Err(ContentError::Internal(format!("unexpected answer about an upload session: {other:?}"))),
        }
    }

    /// Appends what was put.
    pub(super) async fn append(&self, session: &SessionName, append: SessionAppend) -> Result<(), AppendError> {
        match self.command(session.acct, session.home, Command::SessionAppend(append)).await? {
            Outcome::Done => Ok(()),
            Outcome::NotFound | Outcome::NoAccess => Err(LookupError::NotFound.into()),
            Outcome::IncorrectOffset { correct } => {
                Err(LookupError::IncorrectOffset { correct_offset: correct }.into())
            }
            Outcome::Closed => Err(LookupError::Closed.into()),
            Outcome::TooLarge => Err(LookupError::TooLarge.into()),
            outcome => Err(unexpected("an append", &outcome).into()),
        }
    }

    /// No row: nothing came yet, or it is finished. An append of nothing beyond the beginning changes neither and is told
    /// which.
    pub(super) async fn why_there_is_none(&self, session: &SessionName, offset: u64) -> AppendError {
        let append = SessionAppend { id: session.id, offset: offset.max(1), ..SessionAppend::default() };
        match self.append(session, append).await {
            Err(error) => error,
            Ok(()) => ContentError::Internal("an append beyond the end was taken".to_owned()).into(),
        }
    }

    pub(super) async fn finish_one(
        &self,
        session: &SessionName,
        entry: &FinishEntry,
        (rest, size): (Vec<PresentBlock>, u64),
    ) -> Result<Put, FinishError> {
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
        session: &SessionName,
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
    pub(super) async fn seal(&self, session: &SessionName) -> Result<(), FinishError> {
        loop {
            match self.command(session.acct, session.home, Command::SessionSeal(session.id)).await? {
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
        session: &SessionName,
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
            attested: Some(Box::new(Attested { id: session.id, is_staged })),
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
    async fn stage(&self, session: &SessionName, nsid: Nsid, blocks: &[PresentBlock]) -> Result<(), FinishError> {
        for (part, blocks) in (0..).zip(blocks.chunks(COMMAND_BLOCKS_MAX)) {
            let stage = ListStage { id: session.id, part, blocks: blocks.to_vec() };
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
    async fn blocks_of(&self, session: &SessionName, put_at_ms: u64) -> Result<Vec<PresentBlock>, ContentError> {
        let mut all = Vec::new();
        loop {
            let query = Query::Upload { id: session.id, first: all.len() as u32 };
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
    async fn ready(&self, caller: Caller, entry: &FinishEntry) -> Result<SessionName, FinishError> {
        let session = self.session_of(caller, &entry.session_id)?;
        if session.id.is_concurrent {
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

    async fn commit_batch(&self, batch: &[(usize, SessionName, SessionFinish)]) -> Result<Vec<Outcome>, ContentError> {
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

/// The target is not named from the session's home on.
fn is_foreign(session: &SessionName, entry: &FinishEntry) -> bool {
    entry.target.nsid != session.home
}

/// A node that no namespace has.
const NOWHERE: TreeNode = TreeNode(u64::MAX);

/// The finish as it is asked at home.
///
/// A target that is named from another namespace on cannot be put there: it is asked for below a node that is nowhere,
/// so that what was done before is told, and all else is `NotFound`.
fn finish_command(session: &SessionName, entry: &FinishEntry, rest: Vec<PresentBlock>, size: u64) -> SessionFinish {
    let target = &entry.target;
    let at = if is_foreign(session, entry) {
        At { node: NOWHERE, path: format!("/{}/{}{}", target.nsid, target.at.node.0, target.at.path) }
    } else {
        target.at.clone()
    };
    let mut commit = target.commit(session.home, at);
    commit.size = size;
    commit.content_hash = HASH_OF_SESSION;
    SessionFinish { id: session.id, offset: entry.offset, rest, commit, result: None }
}

/// How many of these fit one command: of one home, and within its bytes.
fn batch_length(parts: &[(usize, SessionName, SessionFinish)]) -> usize {
    let home = parts[0].1.home;
    let mut bytes = BATCH_ROOM_BYTES;
    let fits = |(_, session, finish): &&(usize, SessionName, SessionFinish)| {
        bytes += 256 + finish.commit.at.path.len() + finish.commit.label.len();
        session.home == home && bytes <= COMMAND_BYTES_MAX
    };
    parts.iter().take_while(fits).count().max(1)
}
