//! What answers and outcomes of the machine are for clients (docs/design/gateway.md, "Errors").

use meta::{Answer, Outcome};
use serde_json::{Value, json};

use crate::error::{ApiError, nested, tagged};

/// A LookupError for an answer that shows nothing. What may not be seen is not there.
///
/// Errors: [`ApiError`] where the answer is none of those.
pub fn lookup_error(answer: &Answer) -> Result<Value, ApiError> {
    let tag = match answer {
        Answer::NotFound | Answer::NoAccess => "not_found",
        Answer::NotFile => "not_file",
        Answer::NotFolder => "not_folder",
        Answer::Malformed | Answer::TooLarge => "malformed_path",
        other => return Err(ApiError::unexpected(other)),
    };
    Ok(tagged(tag))
}

/// A LookupError for the outcome of a command whose source is not there.
#[must_use]
pub fn lookup_error_of(outcome: &Outcome) -> Option<Value> {
    let tag = match outcome {
        Outcome::NotFound => "not_found",
        Outcome::NotFile => "not_file",
        Outcome::NotFolder => "not_folder",
        _ => return None,
    };
    Some(tagged(tag))
}

/// A WriteError for the outcome of a command whose target cannot be written.
///
/// Errors: [`ApiError`] where the outcome is none of those.
pub fn write_error(outcome: &Outcome) -> Result<Value, ApiError> {
    let conflict = |kind| nested("conflict", tagged(kind));
    Ok(match outcome {
        Outcome::Conflict { file_ancestor: true, .. } => conflict("file_ancestor"),
        Outcome::Conflict { folder: true, .. } => conflict("folder"),
        Outcome::Conflict { .. } | Outcome::RevMismatch => conflict("file"),
        Outcome::NotFolder => conflict("file_ancestor"),
        Outcome::Quota { .. } => tagged("insufficient_space"),
        Outcome::NoAccess | Outcome::NotFound => tagged("no_write_permission"),
        Outcome::Malformed | Outcome::TooLarge => tagged("malformed_path"),
        other => return Err(ApiError::unexpected(other)),
    })
}

/// `path`, as most routes wrap it.
#[must_use]
pub fn in_path(error: Value) -> Value {
    nested("path", error)
}

/// `path_lookup`: delete and restore.
#[must_use]
pub fn in_path_lookup(error: Value) -> Value {
    nested("path_lookup", error)
}

/// `path_write`: delete and restore.
#[must_use]
pub fn in_path_write(error: Value) -> Value {
    nested("path_write", error)
}

/// `from_lookup`: move and copy.
#[must_use]
pub fn in_from_lookup(error: Value) -> Value {
    nested("from_lookup", error)
}

/// `from_write`: move and copy.
#[must_use]
pub fn in_from_write(error: Value) -> Value {
    nested("from_write", error)
}

/// `to`: move and copy.
#[must_use]
pub fn in_to(error: Value) -> Value {
    nested("to", error)
}

/// An UploadError: its path member is a flattened struct.
#[must_use]
pub fn in_upload(write: Value) -> Value {
    json!({ ".tag": "path", "reason": write, "upload_session_id": "pid_upload_session:none" })
}

/// An upload session's error by its outcome: an UploadSessionLookupError or AppendError, unwrapped.
#[must_use]
pub fn session_error(outcome: &Outcome) -> Option<Value> {
    Some(match outcome {
        Outcome::NotFound | Outcome::NoAccess => tagged("not_found"),
        Outcome::IncorrectOffset { correct } => json!({ ".tag": "incorrect_offset", "correct_offset": correct }),
        Outcome::Closed => tagged("closed"),
        Outcome::NotClosed => tagged("not_closed"),
        Outcome::TooLarge => tagged("too_large"),
        _ => return None,
    })
}

/// A RelocationError for a move or copy that was refused.
///
/// Errors: [`ApiError`] where the outcome is none of those.
pub fn relocation_error(outcome: &Outcome) -> Result<Value, ApiError> {
    Ok(match outcome {
        Outcome::NotFound | Outcome::NotFile | Outcome::NotFolder => {
            in_from_lookup(lookup_error_of(outcome).unwrap_or_else(|| tagged("not_found")))
        }
        Outcome::IntoItself => tagged("cant_move_folder_into_itself"),
        Outcome::NestedShare => tagged("cant_nest_shared_folder"),
        Outcome::Quota { .. } => tagged("insufficient_quota"),
        Outcome::TooLarge => tagged("too_many_files"),
        other => in_to(write_error(other)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_the_errors_of_the_table() {
        let conflict = Outcome::Conflict { file: true, folder: false, file_ancestor: false };
        assert_eq!(write_error(&conflict).unwrap().to_string(), r#"{".tag":"conflict","conflict":{".tag":"file"}}"#);
        let ancestor = Outcome::Conflict { file: true, folder: false, file_ancestor: true };
        assert_eq!(write_error(&ancestor).unwrap()["conflict"][".tag"], "file_ancestor");
        assert_eq!(write_error(&Outcome::Quota { short_bytes: 1 }).unwrap()[".tag"], "insufficient_space");
        assert_eq!(relocation_error(&Outcome::Quota { short_bytes: 1 }).unwrap()[".tag"], "insufficient_quota");
        assert_eq!(relocation_error(&Outcome::NotFound).unwrap()["from_lookup"][".tag"], "not_found");
        assert_eq!(relocation_error(&conflict).unwrap()["to"]["conflict"][".tag"], "file");
        assert_eq!(
            session_error(&Outcome::IncorrectOffset { correct: 5 }).unwrap().to_string(),
            r#"{".tag":"incorrect_offset","correct_offset":5}"#
        );
        assert!(matches!(write_error(&Outcome::Done), Err(ApiError::Internal(_))));
    }

    #[test]
    fn what_may_not_be_seen_is_told_as_what_is_not_there() {
        assert_eq!(lookup_error(&Answer::NoAccess), lookup_error(&Answer::NotFound));
        assert_eq!(session_error(&Outcome::NoAccess), session_error(&Outcome::NotFound));
    }
}
