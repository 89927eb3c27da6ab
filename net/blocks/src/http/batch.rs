//! `files/upload_session/{start_batch, finish_batch, finish_batch_v2, finish_batch/check}`, which carry no content.

use base::limits::FINISH_BATCH_MAX;
use meta::Outcome;
use serde_json::{Value, json};
use stone::error::{nested, tagged};
use stone::outcome::in_path;
use stone::{ApiError, Call, Reply, Writer};

use super::args::{caller, content_hash, finish_entry, is_concurrent};
use super::ends;
use crate::content::{FinishEntry, FinishError, Put, Sessions, content_hash_of};

/// `start_batch`.
pub(super) async fn start(call: Call, sessions: Sessions) -> Result<Reply, ApiError> {
    let count = call.arg.number("num_sessions", 1, FINISH_BATCH_MAX as u64)? as usize;
    let ids = sessions.start(caller(&call)?, count, is_concurrent(&call.arg)?).map_err(ends::content)?;
    Ok(Reply::from(json!({ "session_ids": ids })))
}

/// `finish_batch_v2`.
pub(super) async fn finish_v2(call: Call, sessions: Sessions) -> Result<Reply, ApiError> {
    let entries = finish_all(&call, &sessions).await?;
    let mut json = b"{\"entries\":[".to_vec();
    push_all(&entries, &mut json);
    json.extend_from_slice(b"]}");
    Ok(Reply::Json(json))
}

/// `finish_batch`: it never takes long enough for a job.
pub(super) async fn finish(call: Call, sessions: Sessions) -> Result<Reply, ApiError> {
    let entries = finish_all(&call, &sessions).await?;
    let mut json = b"{\".tag\":\"complete\",\"entries\":[".to_vec();
    push_all(&entries, &mut json);
    json.extend_from_slice(b"]}");
    Ok(Reply::Json(json))
}

/// `finish_batch/check`: no job was ever given.
pub(super) async fn check(call: Call, _: Sessions) -> Result<Reply, ApiError> {
    call.arg.text("async_job_id")?;
    Err(ApiError::tag("invalid_async_job_id"))
}

fn push_all(entries: &[Vec<u8>], json: &mut Vec<u8>) {
    for (at, entry) in entries.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        json.extend_from_slice(entry);
    }
}

/// The UploadSessionFinishBatchResultEntry of each entry, as JSON.
async fn finish_all(call: &Call, sessions: &Sessions) -> Result<Vec<Vec<u8>>, ApiError> {
    let caller = caller(call)?;
    let args = call.arg.objects("entries", 0, FINISH_BATCH_MAX)?;
    // An entry whose argument is refused is a failure of its own.
    let mut told: Vec<Option<Vec<u8>>> = Vec::with_capacity(args.len());
    let mut entries = Vec::with_capacity(args.len());
    for arg in &args {
        let refusal = match finish_entry(call, arg, in_path).await {
            // No bytes come along, so there is one hash that is right.
            Ok(_) if content_hash(arg)?.is_some_and(|hash| hash != content_hash_of(&[])) => {
                tagged("content_hash_mismatch")
            }
            Ok(entry) => {
                entries.push(entry);
                told.push(None);
                continue;
            }
            Err(ApiError::Route(error)) => error,
            Err(error) => return Err(error),
        };
        told.push(Some(failure(refusal)));
    }
    let ends = sessions.finish_sessions(caller, &entries).await.map_err(ends::content)?;
    let has_shared = ends.iter().flatten().any(|put| is_shared(put, caller.home));
    let writer = Writer::new(call, has_shared).await?;
    let mut ended = entries.iter().zip(ends);
    let mut all = Vec::with_capacity(told.len());
    for told in told {
        match told {
            Some(refusal) => all.push(refusal),
            None => {
                let (entry, end) = ended.next().expect("every entry has its end");
                all.push(result_of(call, &writer, entry, end).await?);
            }
        }
    }
    Ok(all)
}

fn is_shared(put: &Put, home: base::Nsid) -> bool {
    put.outcome.metadata().is_some_and(|meta| meta.nsid != home)
}

async fn result_of(
    call: &Call,
    writer: &Writer<'_>,
    entry: &FinishEntry,
    end: Result<Put, FinishError>,
) -> Result<Vec<u8>, ApiError> {
    let put = match end {
        Ok(Put { outcome: Outcome::Busy { .. }, .. }) => return Ok(failure(tagged("too_many_write_operations"))),
        Ok(put) => put,
        Err(error) => return Ok(failure(ends::finish(error)?)),
    };
    match ends::put(call, &entry.target, put).await? {
        Ok(found) => {
            // A struct in a union is flattened beside the tag.
            let file = writer.json(&found, false);
            let mut json = b"{\".tag\":\"success\",".to_vec();
            json.extend_from_slice(&file[1..]);
            Ok(json)
        }
        Err(error) => Ok(failure(in_path(error))),
    }
}

fn failure(error: Value) -> Vec<u8> {
    nested("failure", error).to_string().into_bytes()
}
