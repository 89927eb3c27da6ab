//! `files/list_revisions` and `files/restore`.

use base::Jid;
use meta::{Answer, At, Command, Entry, Outcome, Query, Restore};
use serde_json::Value;
use stone::error::{nested, tagged};
use stone::outcome::{in_path, in_path_lookup, in_path_write, lookup_error, write_error};
use stone::{ApiError, Call, Found, PathArg, PathKinds, Reply, Spot, Writer};

use super::change::{metadata_reply, parse_rev, rev_of};
use super::path_of;
use crate::state::Shared;

/// `files/list_revisions`.
pub async fn list_revisions(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let arg = &call.arg;
    let path = path_of(arg, "path", PathKinds { id: true, rev: false }, in_path)?;
    let is_by_id = arg.opt_union("mode")?.is_some_and(|mode| mode.tag == "id");
    let limit = arg.opt_number("limit", 1, 100)?.unwrap_or(10) as u32;
    let before = rev_of(arg, "before_rev")?;
    if is_by_id && before.is_some() {
        return Err(ApiError::tag("before_rev_not_supported"));
    }
    let mut spot = call.spot(&path).await?;
    let mut shown = None;
    if is_by_id || matches!(path, PathArg::Id(..)) {
        let found = call.lookup(&path, in_path).await?;
        spot = Spot { nsid: found.entry.meta.nsid, at: At::node(found.entry.meta.node) };
        shown = Some(found.entry.path_display);
    }
    let before = match before {
        None => Jid(0),
        Some(rev) if rev.nsid == spot.nsid => rev.jid,
        Some(_) => return Err(ApiError::tag("invalid_before_rev")),
    };
    let answer = call.ask(spot.nsid, Query::Revisions { at: spot.at.clone(), before, limit }).await?;
    let Answer::Revisions { deleted_ms, revisions, has_more } = answer else {
        let error = lookup_error(&answer)?;
        // A folder has no revisions.
        let error = if error[".tag"] == "not_folder" { tagged("not_file") } else { error };
        return Err(ApiError::Route(nested("path", error)));
    };
    let prefix = call.prefix_of(spot.nsid).await?.unwrap_or_default();
    let parent = shown.unwrap_or(spot.at.path);
    let parent = parent.rsplit_once('/').map_or("", |(parent, _)| parent);
    let writer = Writer::new(&call, call.caller.is_some_and(|caller| caller.root != spot.nsid)).await?;
    let mut out = b"{\"is_deleted\":".to_vec();
    out.extend_from_slice(if deleted_ms.is_some() { b"true" } else { b"false" });
    if let Some(deleted_ms) = deleted_ms {
        out.extend_from_slice(b",\"server_deleted\":\"");
        meta::render::timestamp(i64::try_from(deleted_ms).unwrap_or(i64::MAX), &mut out);
        out.push(b'"');
    }
    out.extend_from_slice(b",\"entries\":[");
    for (meta, at) in revisions.into_iter().zip(0..) {
        if at > 0 {
            out.push(b',');
        }
        // A revision is told with the name that it had, in the folder where it is looked for.
        let path_display = format!("{parent}/{}", meta.name);
        let found = Found { entry: Entry { path_display, meta }, prefix: prefix.clone() };
        writer.found(&found, false, &mut out);
    }
    out.extend_from_slice(if has_more { b"],\"has_more\":true}" } else { b"],\"has_more\":false}" });
    Ok(Reply::Json(out))
}

/// `files/restore`.
pub async fn restore(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let path = path_of(&call.arg, "path", PathKinds::WRITE, in_path_lookup)?;
    let text = call.arg.text("rev")?;
    let rev = parse_rev(text).ok_or_else(|| call.arg.bad("rev", "did not match pattern '[0-9a-f]{9,}'"))?;
    if path.is_root() {
        return Err(ApiError::Route(in_path_lookup(tagged("not_file"))));
    }
    let make = |spot: &Spot| Command::Restore(Restore { at: spot.at.clone(), rev: spot.jid_of(rev) });
    let (spot, outcome) = call.command_at(&path, make).await?;
    match outcome {
        Outcome::Applied(meta) | Outcome::Unchanged(meta) => {
            let found = call.placed(&meta, &spot).await?;
            metadata_reply(&call, &found, false, false).await
        }
        other => Err(ApiError::Route(restore_error(&other)?)),
    }
}

fn restore_error(outcome: &Outcome) -> Result<Value, ApiError> {
    Ok(match outcome {
        Outcome::NotFound => in_path_lookup(tagged("not_found")),
        Outcome::InvalidRev | Outcome::NotFile => tagged("invalid_revision"),
        other => in_path_write(write_error(other)?),
    })
}
