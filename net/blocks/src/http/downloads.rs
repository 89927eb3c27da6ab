//! `files/download`, `files/export`, `sharing/get_shared_link_file`.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use base::Nsid;
use meta::{Answer, At, LinkInfo, NodeKind, Query, What};
use stone::outcome::in_path;
use stone::password::{Door, LINK_TRIES_MAX, Verdict};
use stone::{ApiError, Call, Found, PathArg, PathKinds, Reply, Writer};

use super::args::{caller, path_of};
use super::ends;
use super::streams::Outgoing;
use crate::content::{Caller, Conditions, Content, ReadPlan, Selection};

/// `files/download`.
pub(super) async fn download(call: Call, content: Content) -> Result<Reply, ApiError> {
    let caller = caller(&call)?;
    let plan = plan(&call, &content, caller).await?;
    let found = match &plan.path_display {
        Some(path) => {
            let entry = meta::Entry { path_display: path.clone(), meta: plan.entry.meta.clone() };
            let prefix = prefix_of_argument(&call).await?;
            Found { entry, prefix }
        }
        None => call.found(plan.entry.clone()).await?,
    };
    let result = Writer::of(&call, &found).await?.json(&found, false);
    let result = String::from_utf8(result).map_err(|_| ApiError::Internal("metadata is no UTF-8".to_owned()))?;
    answer(&call.headers, &content, caller, plan, result)
}

/// The read plan of the call's argument.
async fn plan(call: &Call, content: &Content, caller: Caller) -> Result<ReadPlan, ApiError> {
    let (nsid, what) = match argument(call)? {
        PathArg::Rev(rev) => (rev.nsid, What::Rev(rev.jid)),
        path => {
            let (nsid, at) = path.place(call.base).ok_or_else(|| call.arg.bad("path", "names no place"))?;
            (nsid, What::At(at))
        }
    };
    match content.plan(caller, nsid, what).await {
        Ok(plan) => Ok(plan),
        Err(error) => Err(ApiError::Route(in_path(ends::read(error)?))),
    }
}

/// `rev` beside the path is an old way to name a revision.
fn argument(call: &Call) -> Result<PathArg, ApiError> {
    match call.arg.opt_text("rev")? {
        Some(rev) => path_of(&format!("rev:{rev}"), PathKinds::READ, in_path),
        None => path_of(call.arg.text("path")?, PathKinds::READ, in_path),
    }
}

/// Where the namespace hangs that the argument's path begins in.
async fn prefix_of_argument(call: &Call) -> Result<String, ApiError> {
    match argument(call)? {
        PathArg::Ns(nsid, _) => Ok(call.prefix_of(nsid).await?.unwrap_or_default()),
        _ => Ok(String::new()),
    }
}

/// The content, or the part of it that the headers ask for, with the result.
fn answer(
    asked: &HeaderMap,
    content: &Content,
    caller: Caller,
    plan: ReadPlan,
    result: String,
) -> Result<Reply, ApiError> {
    let Selected { status, headers, body } = select(asked, content, caller, plan)?;
    Ok(Reply::Content { result, status, headers, body })
}

/// What goes out of a file.
pub(super) struct Selected {
    pub(super) status: StatusCode,
    /// ETag, lengths and ranges.
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// The content, or the part of it that the headers ask for.
pub(super) fn select(
    asked: &HeaderMap,
    content: &Content,
    caller: Caller,
    plan: ReadPlan,
) -> Result<Selected, ApiError> {
    let rev = plan.entry.meta.rev().ok_or_else(|| ApiError::Internal("a plan for what is no file".to_owned()))?;
    let (rev, size) = (rev.to_string(), plan.size());
    // What is no text is no header of ours.
    let text = |name: header::HeaderName| asked.get(name).and_then(|value| value.to_str().ok());
    let conditions = Conditions {
        range: text(header::RANGE),
        if_range: text(header::IF_RANGE),
        if_none_match: text(header::IF_NONE_MATCH),
    };
    let selection = Selection::of(&conditions, size, &rev);
    let status = match selection {
        Selection::Whole => StatusCode::OK,
        Selection::Part(_) => StatusCode::PARTIAL_CONTENT,
        Selection::NotModified => StatusCode::NOT_MODIFIED,
        Selection::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
    };
    let value =
        |text: String| HeaderValue::from_str(&text).map_err(|_| ApiError::Internal(format!("a header: {text}")));
    let mut headers = HeaderMap::new();
    headers.insert(header::ETAG, value(format!("\"{rev}\""))?);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(range) = selection.content_range(size) {
        headers.insert(header::CONTENT_RANGE, value(range)?);
    }
    let bytes = selection.bytes(size);
    // 304 would tell the length of what it does not send.
    if status != StatusCode::NOT_MODIFIED {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.end - bytes.start));
    }
    let body = if bytes.is_empty() {
        Body::empty()
    } else {
        Body::from_stream(Outgoing::new(content.read(caller, plan, bytes)))
    };
    Ok(Selected { status, headers, body })
}

/// `files/export`: no file here is an export.
pub(super) async fn export(call: Call, content: Content) -> Result<Reply, ApiError> {
    plan(&call, &content, caller(&call)?).await?;
    Err(ApiError::tag("non_exportable"))
}

/// `sharing/get_shared_link_file`: the content that a link shows, or of a file below the folder that it shows.
pub(super) async fn get_shared_link_file(call: Call, content: Content) -> Result<Reply, ApiError> {
    let not_found = || ApiError::tag("shared_link_not_found");
    let token = stone::links::token_of(&call.stone.www, call.arg.text("url")?).ok_or_else(not_found)?;
    let (nsid, link) = stone::ids::parse_link_token(&call.stone.keys, &token).ok_or_else(not_found)?;
    let info = match call.ask_system(nsid, Query::Link(link)).await? {
        Answer::Link(info) => *info,
        Answer::NotFound | Answer::NoAccess => return Err(not_found()),
        other => return Err(ApiError::unexpected(&other)),
    };
    let reader = reader(&call, nsid, &info).await?;
    let plan = content.plan(reader, nsid, What::At(place(&call, &info)?)).await;
    let plan = match plan {
        Ok(plan) => plan,
        Err(crate::content::ReadError::NotFile) => return Err(ApiError::tag("shared_link_is_directory")),
        Err(error) => {
            ends::read(error)?;
            return Err(not_found());
        }
    };
    let shown = Found { entry: plan.entry.clone(), prefix: String::new() };
    let is_own = call.caller.is_some_and(|caller| caller.acct == info.acct);
    let metadata = stone::links::metadata(&call.stone, nsid, &info, &shown, is_own);
    answer(&call.headers, &content, reader, plan, metadata.to_string())
}

/// In whose name a link's content is read: whoever made it, who may have lost the right to; or the caller, where the link
/// is for members.
async fn reader(call: &Call, nsid: Nsid, info: &LinkInfo) -> Result<Caller, ApiError> {
    if info.settings.no_download {
        return Err(ApiError::tag("shared_link_access_denied"));
    }
    if info.has_password {
        let given = call.arg.opt_text("link_password")?.unwrap_or_default();
        let name = stone::links::door_name(nsid, info.link);
        let door = Door { name: &name, tries_max: LINK_TRIES_MAX, address: None };
        match call.stone.guard.judge(&door, &info.settings.password, given).await? {
            Verdict::Right => {}
            Verdict::Wrong => return Err(ApiError::tag("shared_link_access_denied")),
            Verdict::TooMany => return Err(ApiError::TooMany { reason: "too_many_requests", retry_after: 600 }),
        }
    }
    match call.caller {
        Some(user) if info.settings.members_only => Ok(Caller { acct: user.acct, home: user.root }),
        None if info.settings.members_only => Err(ApiError::tag("shared_link_access_denied")),
        _ => Ok(Caller { acct: info.acct, home: Nsid(0) }),
    }
}

/// The node that the link shows, and below it the path asked for.
fn place(call: &Call, info: &LinkInfo) -> Result<At, ApiError> {
    let node = info.entry.meta.node;
    let below = match call.arg.opt_text("path")? {
        None | Some("" | "/") => return Ok(At::node(node)),
        Some(below) => below,
    };
    let is_folder = info.entry.meta.kind == NodeKind::Folder;
    match PathArg::parse(below, PathKinds { id: false, rev: false }) {
        Ok(PathArg::Path(path)) if is_folder => Ok(At { node, path }),
        _ => Err(ApiError::tag("shared_link_not_found")),
    }
}
