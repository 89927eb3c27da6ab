//! How calls of the engine end, as answers of the API.

use meta::Outcome;
use serde_json::{Value, json};
use stone::error::{nested, tagged};
use stone::outcome::write_error;
use stone::{ApiError, Call, Found, Reply, Spot, Writer};

use crate::content::{
    AppendError, BodyError, ContentError, FinishError, LookupError, Put, PutTarget, ReadError, StartError,
};

/// What any call can end in. `payload_too_large` and `content_hash_mismatch` are tags of every upload's union.
pub(super) fn content(error: ContentError) -> ApiError {
    match error {
        ContentError::Body(BodyError::Truncated(_)) => {
            ApiError::Bad("the body broke off; nothing was stored".to_owned())
        }
        ContentError::Body(BodyError::Slow) => ApiError::Status(408, "the body came too slowly".to_owned()),
        ContentError::PayloadTooLarge { .. } => ApiError::tag("payload_too_large"),
        ContentError::ContentHashMismatch => ApiError::tag("content_hash_mismatch"),
        ContentError::Unavailable(text) => ApiError::Unavailable(text),
        ContentError::Overloaded(_) => ApiError::TooMany { reason: "too_many_requests", retry_after: 1 },
        ContentError::Internal(text) => ApiError::Internal(text),
    }
}

/// An UploadSessionLookupError.
fn lookup(error: LookupError) -> Value {
    tagged(match error {
        LookupError::NotFound => "not_found",
        LookupError::IncorrectOffset { correct_offset } => {
            return json!({ ".tag": "incorrect_offset", "correct_offset": correct_offset });
        }
        LookupError::Closed => "closed",
        LookupError::NotClosed => "not_closed",
        LookupError::TooLarge => "too_large",
        LookupError::ConcurrentInvalidOffset => "concurrent_session_invalid_offset",
        LookupError::ConcurrentInvalidDataSize => "concurrent_session_invalid_data_size",
    })
}

/// An UploadSessionStartError.
pub(super) fn start(error: StartError) -> ApiError {
    match error {
        StartError::Content(error) => content(error),
        StartError::ConcurrentDataNotAllowed => ApiError::tag("concurrent_session_data_not_allowed"),
        StartError::ConcurrentCloseNotAllowed => ApiError::tag("concurrent_session_close_not_allowed"),
    }
}

/// An UploadSessionAppendError.
pub(super) fn append(error: AppendError) -> ApiError {
    match error {
        AppendError::Content(error) => content(error),
        AppendError::Lookup(error) => ApiError::Route(lookup(error)),
    }
}

/// An UploadSessionFinishError, which may be one entry of a batch.
///
/// Errors: what is no error of the entry but of the call.
pub(super) fn finish(error: FinishError) -> Result<Value, ApiError> {
    Ok(match error {
        FinishError::Content(error) => match content(error) {
            ApiError::Route(error) => error,
            error => return Err(error),
        },
        FinishError::Lookup(error) => nested("lookup_failed", lookup(error)),
        FinishError::ConcurrentDataNotAllowed => tagged("concurrent_session_data_not_allowed"),
        FinishError::ConcurrentNotClosed => tagged("concurrent_session_not_closed"),
        FinishError::ConcurrentMissingData => tagged("concurrent_session_missing_data"),
    })
}

/// A LookupError in `path`.
pub(super) fn read(error: ReadError) -> Result<Value, ApiError> {
    Ok(tagged(match error {
        ReadError::Content(error) => return Err(content(error)),
        ReadError::NotFound => "not_found",
        ReadError::NotFile => "not_file",
        ReadError::NotFolder => "not_folder",
        ReadError::MalformedPath => "malformed_path",
    }))
}

/// The file that a put has made, or the WriteError for why it has not.
///
/// Errors: those of the cluster, and a busy namespace.
pub(super) async fn put(call: &Call, target: &PutTarget, put: Put) -> Result<Result<Found, Value>, ApiError> {
    let Some(meta) = put.outcome.metadata() else {
        return match &put.outcome {
            Outcome::Busy { .. } => Err(ApiError::busy()),
            Outcome::SessionGone | Outcome::Acknowledged => {
                Err(ApiError::Unavailable(format!("the outcome is in doubt: {:?}", put.outcome)))
            }
            Outcome::Unsupported => Err(ApiError::Unavailable("the cluster does not take this command yet".to_owned())),
            outcome => Ok(Err(write_error(outcome)?)),
        };
    };
    let Some(path_display) = put.path_display else {
        let spot = Spot { nsid: meta.nsid, at: target.at.clone() };
        return call.placed(meta, &spot).await.map(Ok);
    };
    // The path is told from where it was asked: that costs no further question.
    let prefix = if target.nsid == call.base { None } else { call.prefix_of(target.nsid).await? };
    let entry = meta::Entry { path_display, meta: meta.clone() };
    Ok(Ok(Found { entry, prefix: prefix.unwrap_or_default() }))
}

/// A FileMetadata as the whole answer.
pub(super) async fn file(call: &Call, found: &Found) -> Result<Reply, ApiError> {
    Ok(Reply::Json(Writer::of(call, found).await?.json(found, false)))
}
