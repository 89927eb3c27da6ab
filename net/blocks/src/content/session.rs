//! Upload sessions: start and append. Calls of any length become blocks of 4 MiB.
//!
//! ```text
//! row     ├─ 4 MiB ─┤├─ 4 MiB ─┤├ tail ┤                the tail is an object beside the blocks
//! call                                  ├── bytes ...
//! then    ├─ 4 MiB ─┤├─ 4 MiB ─┤├─ 4 MiB ─┤├ tail' ┤    one SessionAppend; tail' is another object
//! closed  ├─ 4 MiB ─┤├─ 4 MiB ─┤├─ 4 MiB ─┤├ short ┤    the last one is a block too: the file is complete
//! ```
//! A session of which nothing came yet has no row; its id says all.

use base::limits::{BLOCK_BYTES, FILE_BLOCKS_MAX};
use bytes::Bytes;
use meta::{Answer, Command, Outcome, Query, SessionAppend, UploadState};

use super::body::Body;
use super::cut::{Cut, CutOptions, cut};
use super::error::{AppendError, ContentError, LookupError, StartError, unexpected};
use super::{Caller, Content, UploadSession};
use crate::metaserver::Metaserver;
use crate::store::tails::TailError;
use crate::store::trash::wall_ms;

/// The largest offset of a call: the largest file.
const OFFSET_MAX: u64 = FILE_BLOCKS_MAX * BLOCK_BYTES;
/// A block's name is asked from here on: none, the state alone.
const NO_NAMES: u32 = u32::MAX;

/// How a session starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StartSession {
    /// Nothing comes after the bytes of this call.
    pub close: bool,
    /// Calls come in any order.
    pub is_concurrent: bool,
    /// Of the bytes of this call.
    pub content_hash: Option<[u8; 32]>,
}

/// What an append is to do, beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Appending {
    pub(super) offset: u64,
    pub(super) close: bool,
    pub(super) content_hash: Option<[u8; 32]>,
}

impl<M: Metaserver> Content<M> {
    /// `upload_session/start`: an id; bytes that come along are appended. Without any, nothing is asked of anybody.
    ///
    /// Errors: [`StartError`].
    pub async fn start_session<B: Body>(
        &self,
        caller: Caller,
        start: StartSession,
        body: &mut B,
    ) -> Result<String, StartError> {
        let StartSession { close, is_concurrent, content_hash } = start;
        if is_concurrent && close {
            return Err(StartError::ConcurrentCloseNotAllowed);
        }
        let mut session = self.new_session(caller, is_concurrent)?;
        let options = CutOptions { content_hash, ends_file: close, ..CutOptions::default() };
        let cut = cut(&self.store, &self.uploads.share(), body, options).await?;
        if cut.call_bytes == 0 {
            session.is_closed_empty = close;
            return Ok(session.render(&self.keys));
        }
        if is_concurrent {
            return Err(StartError::ConcurrentDataNotAllowed);
        }
        let appending = Appending { offset: 0, close, content_hash };
        self.append_cut(&session, appending, cut).await.map_err(|error| match error {
            AppendError::Content(error) => error,
            // The session is as new as its nonce.
            AppendError::Lookup(error) => ContentError::Internal(format!("a new session is none: {error}")),
        })?;
        Ok(session.render(&self.keys))
    }

    /// `upload_session/start_batch`: so many ids, which are nowhere yet.
    ///
    /// Errors: [`ContentError`] where the system has no random numbers.
    pub fn start_sessions(
        &self,
        caller: Caller,
        count: usize,
        is_concurrent: bool,
    ) -> Result<Vec<String>, ContentError> {
        (0..count).map(|_| Ok(self.new_session(caller, is_concurrent)?.render(&self.keys))).collect()
    }

    fn new_session(&self, caller: Caller, is_concurrent: bool) -> Result<UploadSession, ContentError> {
        let nonce = loop {
            let drawn = getrandom::u64().map_err(|error| ContentError::Unavailable(error.to_string()))?;
            if drawn != 0 {
                break drawn;
            }
        };
        let issued_s = u32::try_from(wall_ms() / 1000).unwrap_or(u32::MAX);
        let Caller { acct, home } = caller;
        Ok(UploadSession { home, acct, issued_s, nonce, is_concurrent, is_closed_empty: false })
    }

    /// The caller's session of an id.
    ///
    /// Errors: [`LookupError::NotFound`] for another's too.
    pub(super) fn session_of(&self, caller: Caller, id: &str) -> Result<UploadSession, LookupError> {
        let session = UploadSession::parse(id, &self.keys).map_err(|_| LookupError::NotFound)?;
        if session.acct != caller.acct || session.is_over(wall_ms()) {
            return Err(LookupError::NotFound);
        }
        Ok(session)
    }

    /// `upload_session/append_v2`: the bytes come behind what the session has, by one `SessionAppend`.
    ///
    /// `content_hash` is that of the call's bytes. Errors: [`AppendError`]; then the session is as it was.
    pub async fn append_session<B: Body>(
        &self,
        caller: Caller,
        (id, offset): (&str, u64),
        close: bool,
        content_hash: Option<[u8; 32]>,
        body: &mut B,
    ) -> Result<(), AppendError> {
        let session = self.session_of(caller, id)?;
        if offset > OFFSET_MAX {
            return Err(LookupError::TooLarge.into());
        }
        if session.is_closed_empty {
            return Err(LookupError::Closed.into());
        }
        let appending = Appending { offset, close, content_hash };
        if session.is_concurrent {
            self.append_anywhere(&session, appending, body).await
        } else {
            self.append_in_order(&session, appending, body).await
        }
    }

    async fn append_in_order<B: Body>(
        &self,
        session: &UploadSession,
        appending: Appending,
        body: &mut B,
    ) -> Result<(), AppendError> {
        let Appending { offset, close, content_hash } = appending;
        let (head, tail) = self.head_of(session, offset).await?;
        let options = CutOptions { head, content_hash, ends_file: close };
        let cut = cut(&self.store, &self.uploads.share(), body, options).await?;
        let new_tail = self.append_cut(session, appending, cut).await?;
        if let Some(tail) = tail.filter(|tail| *tail != new_tail) {
            self.store.delete_tail(session.nonce, tail).await;
        }
        Ok(())
    }

    async fn append_anywhere<B: Body>(
        &self,
        session: &UploadSession,
        appending: Appending,
        body: &mut B,
    ) -> Result<(), AppendError> {
        let Appending { offset, close, content_hash } = appending;
        if !offset.is_multiple_of(BLOCK_BYTES) {
            return Err(LookupError::ConcurrentInvalidOffset.into());
        }
        let is_odd = |bytes: u64| !close && !bytes.is_multiple_of(BLOCK_BYTES);
        if body.length().is_some_and(is_odd) {
            return Err(LookupError::ConcurrentInvalidDataSize.into());
        }
        let options = CutOptions { content_hash, ends_file: close, ..CutOptions::default() };
        let cut = cut(&self.store, &self.uploads.share(), body, options).await?;
        if is_odd(cut.call_bytes) {
            return Err(LookupError::ConcurrentInvalidDataSize.into());
        }
        self.append_cut(session, appending, cut).await.map(drop)
    }

    /// What lies between the session's last whole block and `offset`, and the name of the object that has it.
    ///
    /// Errors: also when the session is not at `offset`, or closed.
    async fn head_of(&self, session: &UploadSession, offset: u64) -> Result<(Bytes, Option<u64>), AppendError> {
        // A session at its beginning has no tail, and mostly no row. The command judges.
        if offset == 0 {
            return Ok((Bytes::new(), None));
        }
        let Some(state) = self.state_of(session).await? else {
            return Err(self.why_there_is_none(session, offset).await);
        };
        check_state(&state, offset)?;
        self.tail_of(session, state).await
    }

    /// The tail that a state names.
    pub(super) async fn tail_of(
        &self,
        session: &UploadSession,
        state: UploadState,
    ) -> Result<(Bytes, Option<u64>), AppendError> {
        if state.tail_bytes == 0 {
            return Ok((Bytes::new(), None));
        }
        match self.store.get_tail(session.nonce, state.tail, state.tail_bytes).await {
            Ok(head) => Ok((head, Some(state.tail))),
            Err(TailError::Missing) => match self.state_of(session).await? {
                // Another call was faster, and took it away.
                Some(now) if now != state => Err(LookupError::IncorrectOffset { correct_offset: now.offset }.into()),
                Some(_) => Err(ContentError::Internal("the tail of an upload session is lost".to_owned()).into()),
                None => Err(LookupError::NotFound.into()),
            },
            Err(error @ TailError::Store(_)) => Err(ContentError::Unavailable(error.to_string()).into()),
            Err(error @ TailError::Corrupt) => {
                tracing::error!(%error, nonce = session.nonce, "could not go on with an upload session");
                Err(ContentError::Internal(error.to_string()).into())
            }
        }
    }

    /// Puts what is left as a tail, and appends. Returns the tail's name, 0 for none.
    pub(super) async fn append_cut(
        &self,
        session: &UploadSession,
        appending: Appending,
        cut: Cut,
    ) -> Result<u64, AppendError> {
        let Cut { mut blocks, tail, .. } = cut;
        let tail_bytes = u32::try_from(tail.len()).expect("a tail is less than a block");
        let mut name = 0;
        if !tail.is_empty() {
            let put = self.store.put_tail(session.nonce, tail).await;
            name = put.map_err(|error| ContentError::Unavailable(error.to_string()))?;
        }
        self.refresh(&mut blocks).await?;
        let Appending { offset, close, .. } = appending;
        let append = SessionAppend { id: session.id(), offset, blocks, tail_bytes, tail: name, close };
        match self.command(session.acct, session.home, Command::SessionAppend(append)).await? {
            Outcome::Done => Ok(name),
            Outcome::NotFound | Outcome::NoAccess => Err(LookupError::NotFound.into()),
            Outcome::IncorrectOffset { correct } => {
                Err(LookupError::IncorrectOffset { correct_offset: correct }.into())
            }
            Outcome::Closed => Err(LookupError::Closed.into()),
            Outcome::TooLarge => Err(LookupError::TooLarge.into()),
            outcome => Err(unexpected("an append", &outcome).into()),
        }
    }

    /// Where a session is, without its names; `None` when it has no row.
    pub(super) async fn state_of(&self, session: &UploadSession) -> Result<Option<UploadState>, ContentError> {
        let query = Query::Upload { id: session.id(), first: NO_NAMES };
        match self.meta.query(session.acct, session.home, query).await? {
            Answer::Upload(state) => Ok(Some(state)),
            Answer::NotFound | Answer::NoAccess => Ok(None),
            other => Err(ContentError::Internal(format!("unexpected answer about an upload session: {other:?}"))),
        }
    }

    /// No row: nothing came yet, or it is finished. An append of nothing beyond the beginning changes neither and is told
    /// which.
    pub(super) async fn why_there_is_none(&self, session: &UploadSession, offset: u64) -> AppendError {
        let empty = Cut { blocks: Vec::new(), tail: Bytes::new(), _tail_lease: None, call_bytes: 0 };
        let appending = Appending { offset: offset.max(1), close: false, content_hash: None };
        match self.append_cut(session, appending, empty).await {
            Err(error) => error,
            Ok(_) => ContentError::Internal("an append beyond the end was taken".to_owned()).into(),
        }
    }
}

/// Is a session in order open, and there?
fn check_state(state: &UploadState, offset: u64) -> Result<(), LookupError> {
    if state.is_closed {
        return Err(LookupError::Closed);
    }
    if state.offset != offset {
        return Err(LookupError::IncorrectOffset { correct_offset: state.offset });
    }
    Ok(())
}
