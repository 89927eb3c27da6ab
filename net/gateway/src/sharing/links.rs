//! `sharing/create_shared_link_with_settings`, `modify_shared_link_settings`, `get_shared_link_metadata`,
//! `list_shared_links`, `revoke_shared_link`.

use base::Nsid;
use meta::{
    Answer, At, Command, Group0Answer, Group0Query, LinkCommand, LinkInfo, LinkSettings, LinksOf, NodeKind, Outcome,
    PasswordHash, Query, ROOT, What,
};
use serde_json::json;
use stone::error::{nested, tagged};
use stone::ids::parse_link_token;
use stone::links::{door_name, metadata, token_of};
use stone::outcome::in_path;
use stone::password::{Door, LINK_TRIES_MAX, PASSWORD_CHARS_MAX, Verdict};
use stone::stamp::now_ms;
use stone::{ApiError, Arg, Call, Found, PathArg, PathKinds, Reply};

use crate::files::path_of;
use crate::state::Shared;

/// Links listed at most.
const LISTED_MAX: usize = 10_000;

/// `sharing/create_shared_link_with_settings`.
pub async fn create(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let path = path_of(&call.arg, "path", PathKinds::READ, in_path)?;
    let wish = match call.arg.opt_object("settings")? {
        Some(settings) => Wish::read(&settings)?,
        None => Wish::default(),
    };
    let found = call.lookup(&path, in_path).await?;
    let (nsid, at) = shown(&found);
    let settings = wish.onto(&call, LinkSettings::default()).await?;
    let command = LinkCommand::Create { at, settings: settings.clone() };
    match call.command(nsid, Command::Link(Box::new(command))).await? {
        Outcome::Made { id } => {
            let (acct, has_password) = (call.acct()?, settings.password.is_set());
            let info = LinkInfo { link: id, acct, created_ms: 0, has_password, settings, entry: found.entry.clone() };
            Ok(Reply::from(metadata(&call.stone, nsid, &info, &found, true)))
        }
        Outcome::Exists { id } => {
            let Answer::Link(info) = call.ask(nsid, Query::Link(id)).await? else { return Err(ApiError::busy()) };
            let there = nested("metadata", metadata(&call.stone, nsid, &info, &found, true));
            Err(ApiError::Route(nested("shared_link_already_exists", there)))
        }
        Outcome::NoAccess => Err(ApiError::tag("access_denied")),
        Outcome::NotFound | Outcome::NotFile | Outcome::NotFolder => Err(ApiError::Route(in_path(tagged("not_found")))),
        Outcome::TooLarge | Outcome::Malformed => Err(ApiError::tag("access_denied")),
        other => Err(ApiError::unexpected(&other)),
    }
}

/// What a caller wants of a link's settings; `None` leaves one as it is.
#[derive(Default)]
struct Wish {
    /// An empty one takes it away.
    password: Option<String>,
    expires_ms: Option<u64>,
    no_download: Option<bool>,
    members_only: Option<bool>,
}

impl Wish {
    /// Errors: `settings_error` with `invalid_settings` for what contradicts itself, `not_authorized` for what only
    /// teams have.
    fn read(settings: &Arg) -> Result<Wish, ApiError> {
        let refused = |tag: &'static str| ApiError::Route(nested("settings_error", tagged(tag)));
        let tag = |field: &str| settings.opt_union(field).map(|union| union.map(|union| union.tag));
        let (visibility, audience, access) = (tag("requested_visibility")?, tag("audience")?, tag("access")?);
        let words = [visibility.as_deref(), audience.as_deref()];
        if words.iter().flatten().any(|word| word.starts_with("team")) || access.as_deref() == Some("editor") {
            return Err(refused("not_authorized"));
        }
        let wants = settings.opt_flag("require_password")?;
        let asks = wants == Some(true) || words.contains(&Some("password"));
        let given = settings.opt_text("link_password")?.filter(|password| !password.is_empty());
        let password = match given {
            Some(_) if wants == Some(false) => return Err(refused("invalid_settings")),
            Some(password) if password.chars().count() > PASSWORD_CHARS_MAX => return Err(refused("invalid_settings")),
            Some(password) => Some(password.to_owned()),
            None if asks => return Err(refused("invalid_settings")),
            None => (wants == Some(false)).then(String::new),
        };
        let expires_ms = match settings.opt_time("expires")? {
            Some(ms) if ms <= i64::try_from(now_ms()).unwrap_or(i64::MAX) => return Err(refused("invalid_settings")),
            other => other.map(|ms| u64::try_from(ms).unwrap_or(0)),
        };
        let members_only = audience.map(|audience| audience == "no_one" || audience == "members");
        let no_download = settings.opt_flag("allow_download")?.map(|allows| !allows);
        Ok(Wish { password, expires_ms, no_download, members_only })
    }

    /// The settings with what is wanted. Errors: too many passwords are hashed at once.
    async fn onto(self, call: &Call, mut settings: LinkSettings) -> Result<LinkSettings, ApiError> {
        match self.password {
            Some(password) if password.is_empty() => settings.password = PasswordHash::default(),
            Some(password) => {
                let busy = ApiError::TooMany { reason: "too_many_requests", retry_after: 5 };
                settings.password = call.stone.guard.hash(&password).await?.ok_or(busy)?;
            }
            None => {}
        }
        settings.expires_ms = self.expires_ms.unwrap_or(settings.expires_ms);
        settings.no_download = self.no_download.unwrap_or(settings.no_download);
        settings.members_only = self.members_only.unwrap_or(settings.members_only);
        Ok(settings)
    }
}

/// `sharing/modify_shared_link_settings`: what is not named stays.
pub async fn modify(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let (nsid, link) = link_of(&call)?;
    let wish = Wish::read(&call.arg.object("settings")?)?;
    // As the system, who alone is told the hash that is to stay; the command is judged with the caller's rights.
    let mut info = match call.ask_system(nsid, Query::Link(link)).await? {
        Answer::Link(info) => *info,
        _ => return Err(not_found()),
    };
    let mut settings = wish.onto(&call, info.settings).await?;
    if call.arg.flag("remove_expiration", false)? {
        settings.expires_ms = 0;
    }
    let command = LinkCommand::Modify { link, settings: settings.clone() };
    match call.command(nsid, Command::Link(Box::new(command))).await? {
        Outcome::Done | Outcome::Unchanged(_) => {}
        Outcome::NotFound | Outcome::NoAccess => return Err(not_found()),
        other => return Err(ApiError::unexpected(&other)),
    }
    info.has_password = settings.password.is_set();
    info.settings = settings;
    let found = call.found(info.entry.clone()).await?;
    Ok(Reply::from(metadata(&call.stone, nsid, &info, &found, info.acct == call.acct()?)))
}

/// `sharing/get_shared_link_metadata`: what a link shows, or what is below the folder that it shows.
pub async fn get_metadata(call: Call, _: Shared) -> Result<Reply, ApiError> {
    let (nsid, link) = link_of(&call)?;
    let mut info = match call.ask_system(nsid, Query::Link(link)).await? {
        Answer::Link(info) => *info,
        Answer::NotFound | Answer::NoAccess => return Err(not_found()),
        other => return Err(ApiError::unexpected(&other)),
    };
    let denied = || ApiError::tag("shared_link_access_denied");
    let is_own = call.caller.is_some_and(|caller| caller.acct == info.acct);
    if info.has_password && !is_own {
        let name = door_name(nsid, link);
        let door = Door { name: &name, tries_max: LINK_TRIES_MAX, address: None };
        let given = call.arg.opt_text("link_password")?.unwrap_or_default();
        match call.stone.guard.judge(&door, &info.settings.password, given).await? {
            Verdict::Right => {}
            Verdict::Wrong => return Err(denied()),
            Verdict::TooMany => return Err(ApiError::TooMany { reason: "too_many_requests", retry_after: 600 }),
        }
    }
    let reader = match call.caller {
        Some(caller) if info.settings.members_only => caller.acct,
        None if info.settings.members_only => return Err(denied()),
        _ => info.acct,
    };
    let path = match call.arg.opt_text("path")?.map(|path| PathArg::parse(path, PathKinds { id: false, rev: false })) {
        None => String::new(),
        Some(Ok(PathArg::Path(path))) => path,
        Some(_) => return Err(not_found()),
    };
    let what = What::At(At { node: info.entry.meta.node, path });
    info.entry = match call.stone.meta.query(reader, nsid, Query::Lookup(what)).await? {
        Answer::Entry(entry) => entry,
        Answer::NoAccess => return Err(denied()),
        _ => return Err(not_found()),
    };
    let found = match call.caller {
        Some(_) if is_own => call.found(info.entry.clone()).await?,
        _ => Found { entry: info.entry.clone(), prefix: String::new() },
    };
    Ok(Reply::from(metadata(&call.stone, nsid, &info, &found, is_own)))
}

fn not_found() -> ApiError {
    ApiError::tag("shared_link_not_found")
}

/// The link of the URL in the argument. Errors: `shared_link_not_found`.
fn link_of(call: &Call) -> Result<(Nsid, u64), ApiError> {
    let token = token_of(&call.stone.www, call.arg.text("url")?).ok_or_else(not_found)?;
    parse_link_token(&call.stone.keys, &token).ok_or_else(not_found)
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
        let found = call.found(info.entry.clone()).await?;
        told.push(metadata(&call.stone, nsid, &info, &found, true));
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
    let (nsid, link) = parse_link_token(&call.stone.keys, &token).ok_or_else(not_found)?;
    let command = LinkCommand::Revoke { link };
    match call.command(nsid, Command::Link(Box::new(command))).await? {
        Outcome::Done => Ok(Reply::null()),
        Outcome::NotFound | Outcome::NoAccess => Err(not_found()),
        other => Err(ApiError::unexpected(&other)),
    }
}
