//! `files/list_folder` and what goes on from there.

use meta::feed::{End, Feed, FeedCursor, FeedPage, Next};
use meta::{At, ROOT};
use stone::error::tagged;
use stone::ids::cursor;
use stone::keys::KEY_ID;
use stone::outcome::in_path;
use stone::{ApiError, Call, PathKinds, Reply, Writer};

use super::path_of;
use crate::state::Shared;

/// A folder may be behind a mount, and that may move while it is looked for.
const MOUNTS_CROSSED_MAX: usize = 3;
const LIMIT_DEFAULT: u64 = 2000;

/// `files/list_folder`.
pub async fn list_folder(call: Call, _: Shared) -> Result<Reply, ApiError> {
    page_reply(&call, first(&call, false).await?).await
}

/// `files/list_folder/get_latest_cursor`.
pub async fn get_latest_cursor(call: Call, _: Shared) -> Result<Reply, ApiError> {
    match first(&call, true).await? {
        End::Page(page) => Ok(Reply::from(serde_json::json!({ "cursor": cursor(&call.stone.keys, &page.cursor) }))),
        end => Err(refusal(end)),
    }
}

/// `files/list_folder/continue`.
pub async fn list_continue(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let cursor = call.cursor()?;
    if call.acct()? != cursor.acct {
        return Err(call.malformed_cursor());
    }
    let prefix = call.prefix_of(cursor.nsid).await?.unwrap_or_default();
    let end = drive(&call, Feed::resume(cursor, prefix)).await?;
    page_reply(&call, end).await
}

/// The first page of a folder, or its cursor alone.
async fn first(call: &Call, is_latest: bool) -> Result<End, ApiError> {
    let arg = &call.arg;
    if arg.has("shared_link") {
        return Err(arg.bad("shared_link", "listing by a link is not supported"));
    }
    let path = path_of(arg, "path", PathKinds::WRITE_OR_ID, in_path)?;
    let limit = arg.opt_number("limit", 1, LIMIT_DEFAULT)?.unwrap_or(LIMIT_DEFAULT);
    let is_recursive = arg.flag("recursive", false)?;
    // Where nothing goes below a folder, nothing goes below a mount either: it is told.
    let has_mounted = arg.flag("include_mounted_folders", true)? || !is_recursive;
    let has_deleted = arg.flag("include_deleted", false)?;
    let (mut nsid, mut at) = path.place(call.base).expect("no revision is parsed here");
    for _ in 0..MOUNTS_CROSSED_MAX {
        let limit = u16::try_from(limit).expect("it was checked above");
        let wanted = Feed::wanted(call.acct()?, nsid, limit);
        let wanted = FeedCursor { is_recursive, has_mounted, has_deleted, key_id: KEY_ID, ..wanted };
        let prefix = call.prefix_of(nsid).await?.unwrap_or_default();
        let begin = if is_latest { Feed::latest } else { Feed::list };
        match drive(call, begin(wanted, at, prefix)).await? {
            End::Elsewhere { nsid: target, rest } => (nsid, at) = (target, At { node: ROOT, path: rest }),
            end => return Ok(end),
        }
    }
    Ok(End::NotFound)
}

async fn drive(call: &Call, mut feed: Feed) -> Result<End, ApiError> {
    loop {
        match feed.next() {
            Next::Ask(nsid, query) => feed.tell(call.ask(nsid, query).await?),
            Next::End(end) => return Ok(end),
        }
    }
}

async fn page_reply(call: &Call, end: End) -> Result<Reply, ApiError> {
    let FeedPage { changes, cursor: next, has_more } = match end {
        End::Page(page) => page,
        end => return Err(refusal(end)),
    };
    let writer = Writer::new(call, Writer::is_needed_for(call, &changes)).await?;
    let mut out = Vec::with_capacity(128 + changes.len() * 480);
    out.extend_from_slice(b"{\"entries\":[");
    for (change, at) in changes.iter().zip(0..) {
        if at > 0 {
            out.push(b',');
        }
        writer.change(change, &mut out);
    }
    out.extend_from_slice(b"],\"cursor\":\"");
    out.extend_from_slice(cursor(&call.stone.keys, &next).as_bytes());
    out.extend_from_slice(if has_more { b"\",\"has_more\":true}" } else { b"\",\"has_more\":false}" });
    Ok(Reply::Json(out))
}

fn refusal(end: End) -> ApiError {
    let tag = match end {
        End::Reset => return ApiError::tag("reset"),
        End::NotFound | End::NoAccess => "not_found",
        End::NotFolder => "not_folder",
        End::Malformed | End::TooLarge => "malformed_path",
        other => return ApiError::unexpected(&other),
    };
    ApiError::Route(in_path(tagged(tag)))
}
