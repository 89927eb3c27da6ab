//! `files/get_metadata`, also of what was deleted, and `files/get_temporary_link`.

use base::Nsid;
use base::names::path_key;
use meta::{Answer, At, Change, Query};
use stone::error::tagged;
use stone::form::escape;
use stone::outcome::{in_path, lookup_error};
use stone::stamp::now_ms;
use stone::temporary::TEMPORARY_LINK_S;
use stone::{ApiError, Call, PathArg, PathKinds, Reply, Temporary, Writer};

use super::path_of;
use crate::state::Shared;

/// `files/get_metadata`.
pub async fn get_metadata(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let path = path_of(&call.arg, "path", PathKinds::READ, in_path)?;
    if path.is_root() {
        return Err(call.arg.bad("path", "The root folder is unsupported."));
    }
    let refusal = match call.look(&path).await? {
        Ok(found) => return Ok(Reply::Json(Writer::of(&call, &found).await?.json(&found, true))),
        Err(refusal) => refusal,
    };
    if call.arg.flag("include_deleted", false)?
        && let Some(deleted) = look_for_dead(&call, &path).await?
    {
        let mut out = Vec::new();
        Writer::new(&call, false).await?.change(&deleted, &mut out);
        return Ok(Reply::Json(out));
    }
    Err(lookup_error(&refusal).map_or_else(|error| error, |error| ApiError::Route(in_path(error))))
}

/// `files/get_temporary_link`: an address on the content host that gives the file as it is now, for four hours.
pub async fn get_temporary_link(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let path = path_of(&call.arg, "path", PathKinds::READ, in_path)?;
    let Some(content) = &gateway.content else {
        return Err(ApiError::Bad("this gateway does not know its content host; set gateway.content".to_owned()));
    };
    let found = call.lookup(&path, in_path).await?;
    let rev = found.entry.meta.rev().ok_or_else(|| ApiError::Route(in_path(tagged("not_file"))))?;
    let caller = call.user()?;
    let expires_s = u32::try_from(now_ms() / 1000 + TEMPORARY_LINK_S).unwrap_or(u32::MAX);
    let link = Temporary { expires_s, acct: caller.acct, home: caller.root, rev };
    let mut out = b"{\"metadata\":".to_vec();
    Writer::of(&call, &found).await?.found(&found, false, &mut out);
    let url = format!("{content}/t/{}/{}", link.text(&call.stone.keys), escape(&found.entry.meta.name));
    out.extend_from_slice(format!(",\"link\":\"{url}\"}}").as_bytes());
    Ok(Reply::Json(out))
}

/// What was at a path and is not any more; one entry of the listing that tells the deleted ones too.
async fn look_for_dead(call: &Call, path: &PathArg) -> Result<Option<Change>, ApiError> {
    let (PathArg::Path(_) | PathArg::Ns(..)) = path else { return Ok(None) };
    let (nsid, path) = mount_of(call, path).await?;
    let Some(position) = before(&path_key(&path)) else { return Ok(None) };
    let query = Query::ListAll { at: At::default(), recursive: true, position: position.into_bytes(), limit: 1 };
    let Answer::All { changes, .. } = call.ask(nsid, query).await? else { return Ok(None) };
    match changes.into_iter().next() {
        Some(Change::Deleted { path_display }) if path_key(&path_display) == path_key(&path) => {
            let prefix = call.prefix_of(nsid).await?.unwrap_or_default();
            Ok(Some(Change::Deleted { path_display: format!("{prefix}{path_display}") }))
        }
        _ => Ok(None),
    }
}

/// The namespace that a path leads to, and the path there.
async fn mount_of(call: &Call, path: &PathArg) -> Result<(Nsid, String), ApiError> {
    let spot = call.spot(path).await?;
    Ok((spot.nsid, spot.at.path))
}

/// A position of a listing right before this path: its last character becomes the one before it, and the highest behind.
fn before(path_lower: &str) -> Option<String> {
    let mut position = path_lower.strip_prefix('/')?.to_owned();
    let last = position.pop()?;
    let one_less = (0..u32::from(last)).rev().find_map(char::from_u32).filter(|c| *c != '/' && *c != '\0')?;
    position.push(one_less);
    position.push(char::MAX);
    Some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_lies_right_before_its_path() {
        assert_eq!(before("/a/b").as_deref(), Some("a/a\u{10ffff}"));
        assert_eq!(before("/\u{e000}").as_deref(), Some("\u{d7ff}\u{10ffff}"));
        assert_eq!(before("/a0").as_deref(), None, "a slash would begin another name");
        assert_eq!(before(""), None);
        assert!(before("/b").is_some_and(|position| "az" < position.as_str() && position.as_str() < "b"));
    }
}
