//! `files/move` and `files/copy`, both versions.

use meta::{Command, Copy, CopyStep, Entry, Metadata, Move, NodeKind, Outcome};
use serde_json::Value;
use stone::error::tagged;
use stone::outcome::{in_from_lookup, in_from_write, in_to, relocation_error};
use stone::{ApiError, Call, Found, PathArg, PathKinds, Reply, Spot};

use super::across;
use super::change::metadata_reply;
use super::path_of;
use crate::state::Shared;

/// Steps of one copy: 1024 nodes each.
const COPY_STEPS_MAX: usize = 10_000;

/// `files/move_v2`.
pub async fn move_v2(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let found = relocate(&call, &gateway, false).await?;
    metadata_reply(&call, &found, true, true).await
}

/// `files/move`.
pub async fn move_v1(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let found = relocate(&call, &gateway, false).await?;
    metadata_reply(&call, &found, true, false).await
}

/// `files/copy_v2`.
pub async fn copy_v2(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let found = relocate(&call, &gateway, true).await?;
    metadata_reply(&call, &found, true, true).await
}

/// `files/copy`.
pub async fn copy_v1(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let found = relocate(&call, &gateway, true).await?;
    metadata_reply(&call, &found, true, false).await
}

/// From where to where, looked up.
pub struct Relocation {
    /// What goes.
    pub source: Found,
    /// Where it is, for the command.
    pub from: Spot,
    /// Where it goes.
    pub to: Spot,
    /// Another name instead of a conflict.
    pub autorename: bool,
}

async fn relocate(call: &Call, gateway: &Shared, is_copy: bool) -> Result<Found, ApiError> {
    let from = path_of(&call.arg, "from_path", PathKinds::WRITE_OR_ID, in_from_lookup)?;
    let to = path_of(&call.arg, "to_path", PathKinds::WRITE_OR_ID, in_to)?;
    let autorename = call.arg.flag("autorename", false)?;
    if from.is_root() {
        return Err(route(in_from_lookup(tagged("malformed_path"))));
    }
    if to.is_root() || matches!(to, PathArg::Id(..)) {
        return Err(route(in_to(tagged("malformed_path"))));
    }
    let source = call.lookup(&from, in_from_lookup).await?;
    let from = spot_of(&source.entry);
    let relocation = Relocation { source, from, to: call.spot(&to).await?, autorename };
    let is_mount = relocation.source.entry.meta.kind == NodeKind::Mount;
    if is_copy && is_mount {
        return Err(ApiError::tag("cant_copy_shared_folder"));
    }
    if relocation.from.nsid != relocation.to.nsid {
        if is_mount {
            return Err(ApiError::tag("cant_nest_shared_folder"));
        }
        return across::relocate(call, gateway, &relocation, is_copy).await;
    }
    let outcome = if is_copy { copy(call, &relocation).await? } else { mv(call, &relocation).await? };
    match outcome {
        Outcome::Applied(meta) | Outcome::Unchanged(meta) => call.placed(&meta, &relocation.to).await,
        Outcome::NoAccess if !is_copy => Err(route(in_from_write(tagged("no_write_permission")))),
        other => Err(route(relocation_error(&other)?)),
    }
}

/// By path, so that what is judged is what is at that path then.
fn spot_of(entry: &Entry) -> Spot {
    Spot { nsid: entry.meta.nsid, at: meta::At::path(&entry.path_display) }
}

async fn mv(call: &Call, relocation: &Relocation) -> Result<Outcome, ApiError> {
    let Relocation { from, to, autorename, .. } = relocation;
    let command = Move { source: from.at.clone(), target: to.at.clone(), autorename: *autorename };
    call.command(from.nsid, Command::Move(command)).await
}

/// A large folder is copied in steps, hidden until the last one.
async fn copy(call: &Call, relocation: &Relocation) -> Result<Outcome, ApiError> {
    let Relocation { source, from, to, autorename } = relocation;
    let command = Copy { source: from.at.clone(), target: to.at.clone(), autorename: *autorename };
    let outcome = call.command(from.nsid, Command::Copy(command)).await?;
    if outcome != Outcome::TooLarge || source.entry.meta.kind != NodeKind::Folder {
        return Ok(outcome);
    }
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(|error| ApiError::Internal(error.to_string()))?;
    let step = CopyStep {
        id: u64::from_le_bytes(id).max(1),
        source: from.at.clone(),
        target: to.at.clone(),
        autorename: *autorename,
        gives_up: false,
        limit: 0,
    };
    for _ in 0..COPY_STEPS_MAX {
        match call.command(from.nsid, Command::CopyStep(step.clone())).await? {
            Outcome::Swept { .. } => {}
            outcome if outcome.is_ok() => return Ok(outcome),
            outcome => {
                // What was copied so far is taken away; a day without a step would do it too.
                let _ = call.command(from.nsid, Command::CopyStep(CopyStep { gives_up: true, ..step })).await;
                return Ok(outcome);
            }
        }
    }
    Ok(Outcome::TooLarge)
}

/// Where something went, as one that is there.
pub async fn arrived(call: &Call, meta: &Metadata, to: &Spot) -> Result<Found, ApiError> {
    call.placed(meta, to).await
}

/// A RelocationError.
pub fn route(error: Value) -> ApiError {
    ApiError::Route(error)
}
