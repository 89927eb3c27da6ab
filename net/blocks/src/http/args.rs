//! Arguments of content routes.

use base::Jid;
use meta::{Answer, Group0Answer, Group0Query, Query, Rev};
use serde_json::Value;
use stone::error::tagged;
use stone::ids::hex32;
use stone::{ApiError, Arg, Call, PathArg, PathKinds};

use crate::content::{Caller, FinishEntry, Mode, PutTarget};

/// Offsets above this are no JSON numbers of this API; those of no file are told apart by the engine.
const OFFSET_MAX: u64 = u64::MAX >> 1;

/// Who calls, for the engine.
///
/// Errors: an app is nobody.
pub(super) fn caller(call: &Call) -> Result<Caller, ApiError> {
    let user = call.user()?;
    Ok(Caller { acct: user.acct, home: user.root })
}

/// A path; one that is none is a `malformed_path` in the route's own wrapper.
pub(super) fn path_of(text: &str, kinds: PathKinds, wrap: fn(Value) -> Value) -> Result<PathArg, ApiError> {
    PathArg::parse(text, kinds).map_err(|_| ApiError::Route(wrap(tagged("malformed_path"))))
}

/// A `content_hash`, if there is one.
pub(super) fn content_hash(arg: &Arg) -> Result<Option<[u8; 32]>, ApiError> {
    let wrong = || arg.bad("content_hash", "expected 64 hex digits");
    arg.opt_text("content_hash")?.map(|text| hex32(&text.to_ascii_lowercase()).ok_or_else(wrong)).transpose()
}

/// A CommitInfo: where a file is to be, and how.
pub(super) async fn target(call: &Call, arg: &Arg, wrap: fn(Value) -> Value) -> Result<PutTarget, ApiError> {
    if arg.has("property_groups") && !arg.objects("property_groups", 0, 100)?.is_empty() {
        return Err(arg.bad("property_groups", "properties are not kept here"));
    }
    let path = path_of(arg.text("path")?, PathKinds::WRITE_OR_ID, wrap)?;
    let (nsid, at) = path.place(call.base).ok_or_else(|| arg.bad("path", "names a revision"))?;
    let mode = mode(arg)?;
    let autorename = arg.flag("autorename", false)?;
    // Only the name of a conflicted copy needs it.
    let has_label = autorename && matches!(mode, Mode::Update(_));
    Ok(PutTarget {
        nsid,
        at,
        mode,
        autorename,
        strict: arg.flag("strict_conflict", false)?,
        label: if has_label { label(call).await? } else { String::new() },
        client_mtime_ms: arg.opt_time("client_modified")?,
    })
}

fn mode(arg: &Arg) -> Result<Mode, ApiError> {
    let Some(mode) = arg.opt_union("mode")? else { return Ok(Mode::Add) };
    match &mode.tag[..] {
        "add" => Ok(Mode::Add),
        "overwrite" => Ok(Mode::Overwrite),
        "update" => {
            let text = mode.fields.text("update")?;
            let is_rev = text.len() >= 9 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            if !is_rev {
                return Err(mode.fields.bad("update", "did not match pattern '[0-9a-f]{9,}'"));
            }
            // One that is not of this cluster is never current.
            Ok(Mode::Update(text.parse().unwrap_or(Rev { nsid: base::Nsid(0), jid: Jid(0) })))
        }
        other => Err(arg.bad("mode", &format!("unknown tag '{}'", other.escape_default()))),
    }
}

/// As clients expect a conflicted copy to be called.
async fn label(call: &Call) -> Result<String, ApiError> {
    let key = meta::AccountKey::Acct(call.acct()?);
    match call.ask(base::Nsid(0), Query::Group0(Group0Query::Profile(key))).await? {
        Answer::Group0(Group0Answer::Profile(profile)) => {
            let both = format!("{} {}", profile.given, profile.surname);
            let name = if both.trim().is_empty() { &profile.name[..] } else { both.trim() };
            Ok(format!("{name}'s conflicted copy"))
        }
        // An account that has no profile yet: the copy is numbered.
        _ => Ok(String::new()),
    }
}

/// An UploadSessionCursor: id and offset.
pub(super) fn cursor(arg: &Arg) -> Result<(String, u64), ApiError> {
    Ok((arg.text("session_id")?.to_owned(), arg.number("offset", 0, OFFSET_MAX)?))
}

/// The entry of a finish, without its content hash.
pub(super) async fn finish_entry(call: &Call, arg: &Arg, wrap: fn(Value) -> Value) -> Result<FinishEntry, ApiError> {
    let (session_id, offset) = cursor(&arg.object("cursor")?)?;
    let target = target(call, &arg.object("commit")?, wrap).await?;
    Ok(FinishEntry { session_id, offset, target })
}

/// `session_type`: is it concurrent?
pub(super) fn is_concurrent(arg: &Arg) -> Result<bool, ApiError> {
    match arg.opt_union("session_type")?.as_ref().map(|kind| &kind.tag[..]) {
        None | Some("sequential") => Ok(false),
        Some("concurrent") => Ok(true),
        Some(other) => Err(arg.bad("session_type", &format!("unknown tag '{}'", other.escape_default()))),
    }
}
