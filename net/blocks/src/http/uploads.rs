//! `files/upload` and `files/upload_session/{start, append, append_v2, finish}`.

use serde_json::json;
use stone::outcome::{in_path, in_upload};
use stone::{ApiError, Call, Reply};

use super::args::{caller, content_hash, cursor, finish_entry, is_concurrent, target};
use super::ends;
use super::streams::Incoming;
use crate::content::{Content, StartSession};

/// Takes the body out of a call.
fn incoming(call: &Call) -> Incoming {
    Incoming::new(&call.headers, call.body.take())
}

/// A call that is refused before its body was looked at, or while it was.
async fn refused<T>(body: &mut Incoming, result: Result<T, ApiError>) -> Result<T, ApiError> {
    if result.is_err() {
        body.refuse().await;
    }
    result
}

/// `files/upload`.
pub(super) async fn upload(call: Call, content: Content) -> Result<Reply, ApiError> {
    let mut body = incoming(&call);
    let uploaded = upload_from(&call, &content, &mut body).await;
    refused(&mut body, uploaded).await
}

async fn upload_from(call: &Call, content: &Content, body: &mut Incoming) -> Result<Reply, ApiError> {
    let (caller, hash) = (caller(call)?, content_hash(&call.arg)?);
    let target = target(call, &call.arg, in_upload).await?;
    let put = content.upload(caller, &target, hash, body).await.map_err(ends::content)?;
    match ends::put(call, &target, put).await? {
        Ok(found) => ends::file(call, &found).await,
        Err(error) => Err(ApiError::Route(in_upload(error))),
    }
}

/// `files/upload_session/start`.
pub(super) async fn start(call: Call, content: Content) -> Result<Reply, ApiError> {
    let mut body = incoming(&call);
    let started = start_from(&call, &content, &mut body).await;
    refused(&mut body, started).await
}

async fn start_from(call: &Call, content: &Content, body: &mut Incoming) -> Result<Reply, ApiError> {
    let start = StartSession {
        close: call.arg.flag("close", false)?,
        is_concurrent: is_concurrent(&call.arg)?,
        content_hash: content_hash(&call.arg)?,
    };
    let session_id = content.start_session(caller(call)?, start, body).await.map_err(ends::start)?;
    Ok(Reply::from(json!({ "session_id": session_id })))
}

/// `files/upload_session/append_v2`.
pub(super) async fn append_v2(call: Call, content: Content) -> Result<Reply, ApiError> {
    let mut body = incoming(&call);
    let appended = async {
        let cursor = cursor(&call.arg.object("cursor")?)?;
        append_from(&call, &content, cursor, &mut body).await
    };
    let appended = appended.await;
    refused(&mut body, appended).await
}

/// `files/upload_session/append`: the bare cursor, and never the last call.
pub(super) async fn append(call: Call, content: Content) -> Result<Reply, ApiError> {
    let mut body = incoming(&call);
    let appended = async {
        let cursor = cursor(&call.arg)?;
        append_from(&call, &content, cursor, &mut body).await
    };
    let appended = appended.await;
    refused(&mut body, appended).await
}

async fn append_from(
    call: &Call,
    content: &Content,
    (id, offset): (String, u64),
    body: &mut Incoming,
) -> Result<Reply, ApiError> {
    let (close, hash) = (call.arg.flag("close", false)?, content_hash(&call.arg)?);
    let appended = content.append_session(caller(call)?, (&id, offset), close, hash, body).await;
    appended.map_err(ends::append)?;
    Ok(Reply::null())
}

/// `files/upload_session/finish`.
pub(super) async fn finish(call: Call, content: Content) -> Result<Reply, ApiError> {
    let mut body = incoming(&call);
    let finished = finish_from(&call, &content, &mut body).await;
    refused(&mut body, finished).await
}

async fn finish_from(call: &Call, content: &Content, body: &mut Incoming) -> Result<Reply, ApiError> {
    let (caller, hash) = (caller(call)?, content_hash(&call.arg)?);
    let entry = finish_entry(call, &call.arg, in_path).await?;
    let put = match content.finish_session(caller, &entry, hash, body).await {
        Ok(put) => put,
        Err(error) => return Err(ApiError::Route(ends::finish(error)?)),
    };
    match ends::put(call, &entry.target, put).await? {
        Ok(found) => ends::file(call, &found).await,
        Err(error) => Err(ApiError::Route(in_path(error))),
    }
}
