//! `files/create_folder` and `files/delete`, both versions.

use meta::{Command, Delete, FlowPlan, Mkdir, NodeKind, Outcome, Rev};
use serde_json::Value;
use stone::error::{nested, tagged};
use stone::outcome::{in_path, in_path_lookup, in_path_write, write_error};
use stone::{ApiError, Arg, Call, Found, PathArg, PathKinds, Reply, Spot, Writer};

use super::path_of;
use crate::sharing::flows;
use crate::state::Shared;

/// A result that is one metadata, alone (version 1) or as `metadata` (version 2).
pub async fn metadata_reply(call: &Call, found: &Found, has_tag: bool, is_v2: bool) -> Result<Reply, ApiError> {
    let writer = Writer::of(call, found).await?;
    let mut out = Vec::with_capacity(512);
    if is_v2 {
        out.extend_from_slice(b"{\"metadata\":");
    }
    writer.found(found, has_tag, &mut out);
    if is_v2 {
        out.push(b'}');
    }
    Ok(Reply::Json(out))
}

/// `files/create_folder_v2`.
pub async fn create_folder_v2(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let found = create(&call).await?;
    metadata_reply(&call, &found, false, true).await
}

/// `files/create_folder`.
pub async fn create_folder(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let found = create(&call).await?;
    metadata_reply(&call, &found, false, false).await
}

async fn create(call: &Call) -> Result<Found, ApiError> {
    let path = path_of(&call.arg, "path", PathKinds::WRITE, in_path)?;
    let autorename = call.arg.flag("autorename", false)?;
    make_folder(call, &path, autorename).await
}

/// Makes a folder with the parents that it lacks.
///
/// Errors: `path` with a WriteError.
pub async fn make_folder(call: &Call, path: &PathArg, autorename: bool) -> Result<Found, ApiError> {
    if path.is_root() {
        return Err(ApiError::Route(in_path(folder_conflict())));
    }
    let make = |spot: &Spot| Command::Mkdir(Mkdir { at: spot.at.clone(), autorename });
    let (spot, outcome) = call.command_at(path, make).await?;
    match outcome {
        Outcome::Applied(meta) | Outcome::Unchanged(meta) => call.placed(&meta, &spot).await,
        // The path of a mount leads into it, and there is nothing left of it.
        _ if spot.at.path.is_empty() => Err(ApiError::Route(in_path(folder_conflict()))),
        other => Err(ApiError::Route(in_path(write_error(&other)?))),
    }
}

/// A folder is there.
pub fn folder_conflict() -> Value {
    nested("conflict", tagged("folder"))
}

/// `files/delete_v2`.
pub async fn delete_v2(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let found = delete(&call, &gateway, &call.arg).await?;
    metadata_reply(&call, &found, true, true).await
}

/// `files/delete`.
pub async fn delete_v1(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let found = delete(&call, &gateway, &call.arg).await?;
    metadata_reply(&call, &found, true, false).await
}

/// Deletes what a DeleteArg names; the state before.
///
/// Errors: DeleteError.
pub async fn delete(call: &Call, gateway: &Shared, arg: &Arg) -> Result<Found, ApiError> {
    let path = path_of(arg, "path", PathKinds::WRITE_OR_ID, in_path_lookup)?;
    let parent_rev = rev_of(arg, "parent_rev")?;
    if path.is_root() {
        return Err(ApiError::Route(in_path_write(tagged("no_write_permission"))));
    }
    let found = call.lookup(&path, in_path_lookup).await?;
    if found.entry.meta.kind == NodeKind::Mount {
        unmount(call, gateway, &found).await?;
        return Ok(found);
    }
    let make = |spot: &Spot| {
        let parent_rev = parent_rev.map(|rev| spot.jid_of(rev));
        Command::Delete(Delete { at: spot.at.clone(), parent_rev })
    };
    let (spot, outcome) = call.command_at(&path, make).await?;
    match outcome {
        // It was put or moved anew in between: what was deleted is told, at the path that was named.
        Outcome::Applied(meta) if (meta.node, meta.rev_jid) != (found.entry.meta.node, found.entry.meta.rev_jid) => {
            call.placed(&meta, &spot).await
        }
        Outcome::Applied(_) | Outcome::Unchanged(_) => Ok(found),
        other => Err(delete_error(&other)?),
    }
}

/// The DeleteError of an outcome.
///
/// Errors: an outcome that is none.
pub fn delete_error(outcome: &Outcome) -> Result<ApiError, ApiError> {
    Ok(ApiError::Route(match outcome {
        Outcome::NotFound | Outcome::NotFolder => in_path_lookup(tagged("not_found")),
        other => in_path_write(write_error(other)?),
    }))
}

/// Deleting the place where a shared folder hangs takes it out of the tree; the member stays one.
async fn unmount(call: &Call, gateway: &Shared, found: &Found) -> Result<(), ApiError> {
    let (acct, nsid) = (call.acct()?, base::Nsid(found.entry.meta.size));
    let info = flows::run(&gateway.stone, &FlowPlan::Unmount { nsid, acct }).await?;
    match flows::refusal(&info) {
        None => Ok(()),
        Some(_) => Err(ApiError::Route(in_path_write(tagged("no_write_permission")))),
    }
}

/// A revision of the argument, if there is one.
///
/// Errors: 400 for a text that is none.
pub fn rev_of(arg: &Arg, field: &str) -> Result<Option<Rev>, ApiError> {
    match arg.opt_text(field)? {
        None => Ok(None),
        Some(text) => parse_rev(text).map(Some).ok_or_else(|| arg.bad(field, "did not match pattern '[0-9a-f]{9,}'")),
    }
}

/// A revision; one that has the form of one but is none of ours is never current, and known nowhere.
pub fn parse_rev(text: &str) -> Option<Rev> {
    let has_form = text.len() >= 9 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    has_form.then(|| text.parse().unwrap_or_default())
}
