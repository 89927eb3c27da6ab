//! `sharing/create_shared_link_with_settings`, `list_shared_links`, `revoke_shared_link`.

use base::Nsid;
use meta::{
    Answer, At, Command, Group0Answer, Group0Query, LinkCommand, LinkInfo, LinkSettings, LinksOf, NodeKind, Outcome,
    Query, ROOT,
};
use serde_json::json;
use stone::error::{nested, tagged};
use stone::ids::parse_link_token;
use stone::links::{metadata, token_of};
use stone::outcome::in_path;
use stone::{ApiError, Call, Found, PathKinds, Reply};

use crate::files::path_of;
use crate::state::Shared;

/// Links listed at most.
const LISTED_MAX: usize = 10_000;

/// `sharing/create_shared_link_with_settings`.
pub async fn create(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let path = path_of(&call.arg, "path", PathKinds::READ, in_path)?;
    if let Some(settings) = call.arg.opt_object("settings")? {
        let visibility = settings.opt_union("requested_visibility")?;
        let asks_password = settings.flag("require_password", false)? || settings.has("link_password");
        let is_private = visibility.is_some_and(|visibility| visibility.tag != "public");
        // All accounts are basic ones, which may neither lock links nor let them end.
        if asks_password || settings.has("expires") || is_private {
            return Err(ApiError::Route(nested("settings_error", tagged("not_authorized"))));
        }
    }
    let found = call.lookup(&path, in_path).await?;
    let (nsid, at) = shown(&found);
    let command = LinkCommand::Create { at, settings: LinkSettings::default() };
    match call.command(nsid, Command::Link(Box::new(command))).await? {
        Outcome::Made { id } => Ok(Reply::from(metadata(&call.stone, (nsid, id), &found, true))),
        Outcome::Exists { id } => {
            let there = nested("metadata", metadata(&call.stone, (nsid, id), &found, true));
            Err(ApiError::Route(nested("shared_link_already_exists", there)))
        }
        Outcome::NoAccess => Err(ApiError::tag("access_denied")),
        Outcome::NotFound | Outcome::NotFile | Outcome::NotFolder => Err(ApiError::Route(in_path(tagged("not_found")))),
        Outcome::TooLarge | Outcome::Malformed => Err(ApiError::tag("access_denied")),
        other => Err(ApiError::unexpected(&other)),
    }
}

/// What a link of something shows: of a mount, what hangs there.
fn shown(found: &Found) -> (Nsid, At) {
    let meta = &found.entry.meta;
    match meta.kind {
        NodeKind::Mount => (Nsid(meta.size), At::node(ROOT)),
        _ => (meta.nsid, At::node(meta.node)),
    }
}

/// `sharing/list_shared_links`.
pub async fn list(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let arg = &call.arg;
    if arg.has("cursor") {
        // All are told on one page, so no cursor was ever given.
        return Err(ApiError::tag("reset"));
    }
    let mut links = Vec::new();
    if arg.has("path") && !arg.text("path")?.is_empty() {
        let path = path_of(arg, "path", PathKinds::READ, in_path)?;
        let found = call.lookup(&path, in_path).await?;
        let (nsid, at) = shown(&found);
        let of = LinksOf::Node { at, above: !arg.flag("direct_only", false)? };
        collect(&call, nsid, of, &mut links).await?;
        let acct = call.acct()?;
        links.retain(|(_, info)| info.acct == acct);
    } else {
        for nsid in reached(&call).await? {
            collect(&call, nsid, LinksOf::Account(call.acct()?), &mut links).await?;
        }
    }
    let mut told = Vec::with_capacity(links.len());
    for (nsid, info) in links {
        let link = info.link;
        let found = call.found(info.entry).await?;
        told.push(metadata(&call.stone, (nsid, link), &found, true));
    }
    Ok(Reply::from(json!({ "links": told, "has_more": false })))
}

/// The namespaces of the caller: its root, and what it has joined.
async fn reached(call: &Call) -> Result<Vec<Nsid>, ApiError> {
    let caller = call.user()?;
    let (mut all, mut after) = (vec![caller.root], Nsid(0));
    loop {
        let query = Query::Group0(Group0Query::Reach { acct: caller.acct, after, limit: 0 });
        let Answer::Group0(Group0Answer::Reach(reach)) = call.ask(Nsid(0), query).await? else { return Ok(all) };
        let Some((last, _)) = reach.last() else { return Ok(all) };
        after = *last;
        all.extend(reach.iter().map(|(nsid, _)| *nsid));
    }
}

async fn collect(call: &Call, nsid: Nsid, of: LinksOf, links: &mut Vec<(Nsid, LinkInfo)>) -> Result<(), ApiError> {
    let mut after = 0;
    loop {
        match call.ask(nsid, Query::Links { of: of.clone(), after, limit: 0 }).await? {
            Answer::Links { links: some, next } => {
                links.extend(some.into_iter().map(|info| (nsid, info)));
                match next {
                    Some(next) if links.len() < LISTED_MAX => after = next,
                    _ => return Ok(()),
                }
            }
            // Invited and not in yet, or gone meanwhile.
            _ => return Ok(()),
        }
    }
}

/// `sharing/revoke_shared_link`.
pub async fn revoke(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let token = token_of(&call.stone.www, call.arg.text("url")?).ok_or(ApiError::tag("shared_link_malformed"))?;
    let not_found = || ApiError::tag("shared_link_not_found");
    let (nsid, link) = parse_link_token(&call.stone.keys, &token).ok_or_else(not_found)?;
    let command = LinkCommand::Revoke { link };
    match call.command(nsid, Command::Link(Box::new(command))).await? {
        Outcome::Done => Ok(Reply::null()),
        Outcome::NotFound | Outcome::NoAccess => Err(not_found()),
        other => Err(ApiError::unexpected(&other)),
    }
}

/// What a link shows to whoever has it; nothing where it is none, or no more.
///
/// Errors: those of the cluster.
pub async fn open(stone: &stone::Stone, token: &str) -> Result<Option<LinkInfo>, ApiError> {
    let Some((nsid, link)) = parse_link_token(&stone.keys, token) else { return Ok(None) };
    match stone.meta.query(base::Acct(0), nsid, Query::Link(link)).await? {
        Answer::Link(info) => Ok(Some(*info)),
        Answer::NotFound | Answer::NoAccess => Ok(None),
        other => Err(ApiError::unexpected(&other)),
    }
}
