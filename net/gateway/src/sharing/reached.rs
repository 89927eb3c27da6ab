//! The shared folders that an account reaches: `sharing/list_folders`, `get_folder_metadata`, `mount_folder`, and
//! `list_received_files`, which is always empty.

use base::{Acct, Nsid};
use meta::{
    AccountKey, Answer, At, FlowPlan, FlowState, Group0Answer, Group0Query, Outcome, Query, ReachInfo, ReachState,
};
use serde_json::json;
use stone::error::{nested, tagged};
use stone::ids::{folders_cursor, parse_folders_cursor};
use stone::path::parse_nsid;
use stone::{ApiError, Call, Reply};

use super::flows;
use super::folders::describe;
use crate::state::Shared;

/// Folders of one page at most, and by default.
const PAGE_MAX: u64 = 1000;

/// `sharing/list_folders`: those that hang in the tree, those that were taken out of it, and those that the account is
/// invited to.
pub async fn list_folders(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let limit = call.arg.opt_number("limit", 1, PAGE_MAX)?.unwrap_or(PAGE_MAX);
    page(&call, Nsid(0), limit as u32).await
}

/// `sharing/list_folders/continue`.
pub async fn list_folders_continue(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let place = parse_folders_cursor(&call.stone.keys, call.acct()?, call.arg.text("cursor")?);
    let (after, limit) = place.ok_or(ApiError::tag("invalid_cursor"))?;
    page(&call, after, limit).await
}

async fn page(call: &Call, after: Nsid, limit: u32) -> Result<Reply, ApiError> {
    let acct = call.acct()?;
    let reach = reach(call, after, limit).await?;
    let mut entries = Vec::with_capacity(reach.len());
    for (nsid, info) in &reach {
        // One that has gone meanwhile is not told.
        entries.extend(describe(call, *nsid, *info).await?);
    }
    let mut told = json!({ "entries": entries });
    if let Some((last, _)) = reach.last().filter(|_| reach.len() == limit as usize) {
        told["cursor"] = folders_cursor(&call.stone.keys, acct, *last, limit).into();
    }
    Ok(Reply::from(told))
}

/// `sharing/get_folder_metadata`.
pub async fn get_folder_metadata(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let invalid = || ApiError::tag("invalid_id");
    let (nsid, info) = wanted(&call).await?.ok_or_else(invalid)?;
    describe(&call, nsid, info).await?.map(Reply::from).ok_or_else(invalid)
}

/// `sharing/mount_folder`.
pub async fn mount_folder(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let (nsid, info) = wanted(&call).await?.ok_or_else(no_such_folder)?;
    if info.state == ReachState::Mounted {
        return Err(ApiError::tag("already_mounted"));
    }
    // The owner's name for it; where that is taken, another is made of it.
    let name = owners_name(&call, nsid).await?.unwrap_or_else(|| nsid.to_string());
    let plan = FlowPlan::Mount { nsid, acct: call.acct()?, at: At::path(&format!("/{name}")) };
    let ended = match flows::start(&gateway.stone, &plan).await? {
        Ok(info) => flows::wait(&gateway.stone, info).await?,
        Err(Outcome::NoAccess | Outcome::NotFound) => return Err(no_such_folder()),
        Err(other) => return Err(ApiError::unexpected(&other)),
    };
    match ended.state {
        FlowState::Done => {}
        FlowState::Failed => return Err(ApiError::tag("not_mountable")),
        FlowState::Open | FlowState::Waiting => {
            return Err(ApiError::Unavailable(format!("flow {} goes on; ask again", ended.flow)));
        }
    }
    let (nsid, info) = wanted(&call).await?.ok_or_else(no_such_folder)?;
    describe(&call, nsid, info).await?.map(Reply::from).ok_or_else(no_such_folder)
}

/// `sharing/list_received_files`: files are shared with their folder or by a link, never one by one.
pub async fn list_received_files(_: Call, _: Shared) -> Result<Reply, ApiError> {
    Ok(Reply::from(json!({ "entries": [] })))
}

/// `sharing/list_received_files/continue`: no cursor was ever given.
pub async fn list_received_files_continue(call: Call, _: Shared) -> Result<Reply, ApiError> {
    call.arg.text("cursor")?;
    Err(ApiError::tag("invalid_cursor"))
}

/// Unknown, and another's, are one answer.
fn no_such_folder() -> ApiError {
    ApiError::Route(nested("access_error", tagged("invalid_id")))
}

/// The namespace that the argument names, and how far the caller reaches it.
async fn wanted(call: &Call) -> Result<Option<(Nsid, ReachInfo)>, ApiError> {
    match parse_nsid(call.arg.text("shared_folder_id")?) {
        Some(nsid) => Ok(reach_of(call, nsid).await?.map(|info| (nsid, info))),
        None => Ok(None),
    }
}

/// How far the caller reaches a shared namespace; `None`: not at all.
///
/// Errors: those of the cluster.
pub async fn reach_of(call: &Call, nsid: Nsid) -> Result<Option<ReachInfo>, ApiError> {
    let Some(before) = nsid.0.checked_sub(1) else { return Ok(None) };
    let first = reach(call, Nsid(before), 1).await?.into_iter().next();
    Ok(first.filter(|(reached, _)| *reached == nsid).map(|(_, info)| info))
}

async fn reach(call: &Call, after: Nsid, limit: u32) -> Result<Vec<(Nsid, ReachInfo)>, ApiError> {
    let query = Query::Group0(Group0Query::Reach { acct: call.acct()?, after, limit });
    match call.ask(Nsid(0), query).await? {
        Answer::Group0(Group0Answer::Reach(reach)) => Ok(reach),
        _ => Ok(Vec::new()),
    }
}

/// What its owner calls a shared folder. Only for those who reach it: a namespace has no name of its own.
///
/// Errors: those of the cluster.
pub async fn owners_name(call: &Call, nsid: Nsid) -> Result<Option<String>, ApiError> {
    let system = |nsid: Nsid, query: Query| call.stone.meta.query(Acct(0), nsid, query);
    let owner = match system(Nsid(0), Query::Group0(Group0Query::Directory(nsid))).await? {
        Answer::Group0(Group0Answer::Directory { owner, .. }) => owner,
        _ => return Ok(None),
    };
    let root = match system(Nsid(0), Query::Group0(Group0Query::Profile(AccountKey::Acct(owner)))).await? {
        Answer::Group0(Group0Answer::Profile(profile)) => profile.root,
        _ => return Ok(None),
    };
    let Answer::Mounts { mounts, .. } = system(root, Query::Mounts { after: Nsid(nsid.0.saturating_sub(1)) }).await?
    else {
        return Ok(None);
    };
    let place = mounts.into_iter().find(|place| place.target == nsid);
    Ok(place.map(|place| base::names::name_of(&place.path_display).to_owned()))
}
