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
use meta::{SessionAppend, UploadState};
use stone::ids::SessionName;

use super::body::Body;
use super::cut::{Cut, CutOptions, cut};
use super::error::{AppendError, ContentError, LookupError, StartError};
use super::{Caller, Content};
use crate::store::tails::TailError;

/// The largest offset of a call: the largest file.
const OFFSET_MAX: u64 = FILE_BLOCKS_MAX * BLOCK_BYTES;

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

impl Content {
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
        let mut session = self.sessions.new_session(caller, is_concurrent)?;
        let options = CutOptions { content_hash, ends_file: close, ..CutOptions::default() };
        let cut = cut(&self.store, &self.uploads.share(), body, options).await?;
        if cut.call_bytes == 0 {
            session.is_closed_empty = close;
            return Ok(self.sessions.render(&session));
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
        Ok(self.sessions.render(&session))
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
        let session = self.sessions.session_of(caller, id)?;
        if offset > OFFSET_MAX {
            return Err(LookupError::TooLarge.into());
        }
        if session.is_closed_empty {
            return Err(LookupError::Closed.into());
        }
        let appending = Appending { offset, close, content_hash };
        if session.id.is_concurrent {
            self.append_anywhere(&session, appending, body).await
        } else {
            self.append_in_order(&session, appending, body).await
        }
    }

    async fn append_in_order<B: Body>(
        &self,
        session: &SessionName,
        appending: Appending,
        body: &mut B,
    ) -> Result<(), AppendError> {
        let Appending { offset, close, content_hash } = appending;
        let (head, tail) = match self.head_of(session, offset).await {
            // Clients whose answer was lost say it again; some give a file up if that is refused.
            Err(AppendError::Lookup(LookupError::Closed)) if close && self.closed_at(session, offset, body).await? => {
                return Ok(());
            }
            head => head?,
        };
        let options = CutOptions { head, content_hash, ends_file: close };
        let cut = cut(&self.store, &self.uploads.share(), body, options).await?;
        let new_tail = self.append_cut(session, appending, cut).await?;
        if let Some(tail) = tail.filter(|tail| *tail != new_tail) {
            self.store.delete_tail(session.id.nonce, tail).await;
        }
        Ok(())
    }

    /// Does a call that brings nothing close a session that is closed there already? The body is not read yet.
    async fn closed_at<B: Body>(&self, session: &SessionName, offset: u64, body: &mut B) -> Result<bool, AppendError> {
        let state = self.sessions.state_of(session).await?;
        if !state.is_some_and(|state| state.is_closed && state.offset == offset) {
            return Ok(false);
        }
        loop {
            match body.next().await {
                None => return Ok(true),
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(_)) => return Ok(false),
                Some(Err(error)) => return Err(ContentError::Body(error).into()),
            }
        }
    }

    async fn append_anywhere<B: Body>(
        &self,
        session: &SessionName,
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
    async fn head_of(&self, session: &SessionName, offset: u64) -> Result<(Bytes, Option<u64>), AppendError> {
        // A session at its beginning has no tail, and mostly no row. The command judges.
        if offset == 0 {
            return Ok((Bytes::new(), None));
        }
        let Some(state) = self.sessions.state_of(session).await? else {
            return Err(self.sessions.why_there_is_none(session, offset).await);
        };
        check_state(&state, offset)?;
        self.tail_of(session, state).await
    }

    /// The tail that a state names.
    pub(super) async fn tail_of(
        &self,
        session: &SessionName,
        state: UploadState,
    ) -> Result<(Bytes, Option<u64>), AppendError> {
        if state.tail_bytes == 0 {
            return Ok((Bytes::new(), None));
        }
        match self.store.get_tail(session.id.nonce, state.tail, state.tail_bytes).await {
            Ok(head) => Ok((head, Some(state.tail))),
            Err(TailError::Missing) => match self.sessions.state_of(session).await? {
                // Another call was faster, and took it away.
                Some(now) if now != state => Err(LookupError::IncorrectOffset { correct_offset: now.offset }.into()),
                Some(_) => Err(ContentError::Internal("the tail of an upload session is lost".to_owned()).into()),
                None => Err(LookupError::NotFound.into()),
            },
            Err(error @ TailError::Store(_)) => Err(ContentError::Unavailable(error.to_string()).into()),
            Err(error @ TailError::Corrupt) => {
                tracing::error!(%error, nonce = session.id.nonce, "could not go on with an upload session");
                Err(ContentError::Internal(error.to_string()).into())
            }
        }
    }

    /// Puts what is left as a tail, and appends. Returns the tail's name, 0 for none.
    pub(super) async fn append_cut(
        &self,
        session: &SessionName,
        appending: Appending,
        cut: Cut,
    ) -> Result<u64, AppendError> {
        let Cut { mut blocks, tail, .. } = cut;
        let tail_bytes = u32::try_from(tail.len()).expect("a tail is less than a block");
        let mut name = 0;
        if !tail.is_empty() {
            let put = self.store.put_tail(session.id.nonce, tail).await;
            name = put.map_err(|error| ContentError::Unavailable(error.to_string()))?;
        }
        self.refresh(&mut blocks).await?;
        let Appending { offset, close, .. } = appending;
        let append = SessionAppend { id: session.id, offset, blocks, tail_bytes, tail: name, close };
        self.sessions.append(session, append).await?;
        Ok(name)
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
