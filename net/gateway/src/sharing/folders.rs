//! `sharing/share_folder` and its job.

use base::{Acct, Nsid};
use meta::{Answer, Entry, FlowInfo, FlowPlan, FlowState, MemberRole, NodeKind, Outcome, Query, ReachInfo};
use serde_json::{Value, json};
use stone::error::{nested, tagged};
use stone::ids::{JobKind, job_id, parse_job_id};
use stone::stamp;
use stone::{ApiError, Call, Found, PathArg, PathKinds, Reply};

use super::{flows, reached};
use crate::files::change::make_folder;
use crate::files::parse_path;
use crate::state::Shared;
use crate::tokens::profile;

/// What a shared folder may hold at most, where nothing limits its owner.
const GRANT_BYTES: u64 = 1 << 50;

/// `sharing/share_folder`.
pub async fn share_folder(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let caller = call.user()?;
    let path = parse_path(call.arg.text("path")?, PathKinds::WRITE_OR_ID).map_err(|_| bad_path("invalid_path"))?;
    if path.is_root() {
        return Err(bad_path("invalid_path"));
    }
    let found = folder_at(&call, &path).await?;
    if let Some(nsid) = call.shared_by(&found.entry) {
        let already = with_tag("already_shared", folder(&call, nsid).await?);
        return Err(ApiError::Route(nested("bad_path", already)));
    }
    match found.entry.meta.kind {
        NodeKind::File => return Err(bad_path("is_file")),
        _ if found.entry.meta.nsid != caller.root => return Err(bad_path("inside_shared_folder")),
        _ => {}
    }
    let grant_bytes = room(&call).await?;
    let plan = FlowPlan::Share { owner: caller.acct, node: found.entry.meta.node, grant_bytes };
    let info = match flows::start(&gateway.stone, &plan).await? {
        Ok(info) => info,
        Err(Outcome::Quota { .. }) => return Err(ApiError::tag("no_permission")),
        Err(Outcome::NestedShare) => return Err(bad_path("contains_shared_folder")),
        Err(Outcome::NoAccess | Outcome::NotFound) => return Err(bad_path("invalid_path")),
        Err(other) => return Err(ApiError::unexpected(&other)),
    };
    let id = || job_id(&call.stone.keys, JobKind::Flow, caller.acct, info.flow);
    if call.arg.flag("force_async", false)? {
        return Ok(Reply::from(json!({ ".tag": "async_job_id", "async_job_id": id() })));
    }
    let ended = flows::wait(&gateway.stone, info.clone()).await?;
    match ended.state {
        FlowState::Done => Ok(Reply::from(with_tag("complete", folder(&call, ended.nsid).await?))),
        FlowState::Failed => Err(ApiError::Route(refused(&ended))),
        _ => Ok(Reply::from(json!({ ".tag": "async_job_id", "async_job_id": id() }))),
    }
}

/// `sharing/check_share_job_status`.
pub async fn check_share_job_status(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let unknown = || ApiError::tag("invalid_async_job_id");
    let id = call.arg.text("async_job_id")?;
    let Some((JobKind::Flow, flow)) = parse_job_id(&call.stone.keys, call.acct()?, id) else { return Err(unknown()) };
    let info = flows::look(&gateway.stone, flow).await?.ok_or_else(unknown)?;
    Ok(Reply::from(match info.state {
        FlowState::Done => with_tag("complete", folder(&call, info.nsid).await?),
        FlowState::Failed => nested("failed", refused(&info)),
        FlowState::Open | FlowState::Waiting => tagged("in_progress"),
    }))
}

/// What is at the path; a folder is made where nothing is.
async fn folder_at(call: &Call, path: &PathArg) -> Result<Found, ApiError> {
    match call.look(path).await? {
        Ok(found) => Ok(found),
        Err(Answer::NotFound) if !matches!(path, PathArg::Id(..)) => {
            make_folder(call, path, false).await.map_err(|error| match error {
                ApiError::Route(_) => bad_path("invalid_path"),
                other => other,
            })
        }
        Err(_) => Err(bad_path("invalid_path")),
    }
}

/// What the caller can still grant.
async fn room(call: &Call) -> Result<u64, ApiError> {
    let profile = profile(&*call.stone.meta, call.acct()?).await?;
    let left = profile.filter(|profile| profile.allocated != 0).map(|profile| profile.allocated - profile.granted);
    Ok(left.unwrap_or(GRANT_BYTES))
}

fn refused(info: &FlowInfo) -> Value {
    let nested_share = Outcome::NestedShare.code();
    match info.code {
        code if code == nested_share => nested("bad_path", tagged("contains_shared_folder")),
        code if code == (Outcome::Quota { short_bytes: 0 }).code() => tagged("no_permission"),
        _ => nested("bad_path", tagged("invalid_path")),
    }
}

fn bad_path(tag: &str) -> ApiError {
    ApiError::Route(nested("bad_path", tagged(tag)))
}

/// A struct beside a tag.
fn with_tag(tag: &str, mut value: Value) -> Value {
    value[".tag"] = tag.into();
    value
}

/// The SharedFolderMetadata of a namespace that the caller reaches.
///
/// Errors: `no_permission` where it does not.
pub async fn folder(call: &Call, nsid: Nsid) -> Result<Value, ApiError> {
    let no_permission = || ApiError::tag("no_permission");
    let info = reached::reach_of(call, nsid).await?.ok_or_else(no_permission)?;
    describe(call, nsid, info).await?.ok_or_else(no_permission)
}

/// The SharedFolderMetadata of a namespace that the caller reaches so far, if it is in; `None`: it has gone.
///
/// Errors: those of the cluster.
pub async fn describe(call: &Call, nsid: Nsid, info: ReachInfo) -> Result<Option<Value>, ApiError> {
    // An account that was invited may read nothing of it yet, and is told its name and age all the same.
    let root = Query::Lookup(meta::What::At(meta::At::node(meta::ROOT)));
    let since = match call.stone.meta.query(Acct(0), nsid, root).await? {
        Answer::Entry(Entry { meta, .. }) => meta.server_mtime_ms,
        _ => return Ok(None),
    };
    let path = call.prefix_of(nsid).await?.filter(|path| !path.is_empty());
    let name = match &path {
        Some(path) => base::names::name_of(path).to_owned(),
        None => reached::owners_name(call, nsid).await?.unwrap_or_else(|| nsid.to_string()),
    };
    let mut folder = json!({
        "access_type": tagged(match info.role {
            MemberRole::Viewer => "viewer",
            MemberRole::Editor => "editor",
            MemberRole::Owner => "owner",
        }),
        "is_inside_team_folder": false,
        "is_team_folder": false,
        "name": name,
        "policy": { "acl_update_policy": tagged("owner"), "shared_link_policy": tagged("anyone") },
        "preview_url": format!("{}/home{}", call.stone.www, path.as_deref().map(escaped).unwrap_or_default()),
        "shared_folder_id": nsid.to_string(),
        "time_invited": stamp::text(since),
    });
    if let Some(path) = path {
        folder["path_lower"] = base::names::path_key(&path).into();
        folder["path_display"] = path.into();
    }
    Ok(Some(folder))
}

fn escaped(path: &str) -> String {
    let names = path.split('/').map(stone::form::escape);
    names.collect::<Vec<_>>().join("/")
}
