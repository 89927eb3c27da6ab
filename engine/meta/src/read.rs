//! Answers queries (docs/design/metadata.md, "Queries").

use std::ops::ControlFlow;

use base::limits::{
    ANSWER_BYTES_SOFT, BLOCK_BYTES, BLOCKLIST_ANSWER_MAX, HAS_BLOCKS_MAX, LIST_PAGE_MAX, REVISIONS_MAX,
    ROWS_PER_COMMAND_MAX,
};
use base::names::{components, name_key, normalize_path};
use base::{Acct, BlockHash, GroupId, Jid, NodeId, NodeUuid, Nsid, TreeNode};

use crate::access::{Access, access};
use crate::across;
use crate::command::{At, ServerRole};
use crate::delta::Wanted;
use crate::keys::{self, table};
use crate::links::{self, Asked};
use crate::metadata::{Metadata, NodeKind};
use crate::outcome::Outcome;
use crate::overlay::{Source, View};
use crate::query::{AccountInfo, AccountKey, Answer, DeltaIn, Entry, NodeInfo, Query, ROOT, ServerInfo, What};
use crate::read_feed;
use crate::rows::*;
use crate::scope::Scope;
use crate::store::{Cold, Rows, Store, Want};
use crate::tree::{Halt, Tree};
use crate::walk::{Walk, is_position, walk};

/// Servers or nodes told at most.
const MEMBERS_TOLD_MAX: u32 = 2000;
/// Bytes of an encoded entry beside its path and name.
pub(crate) const ENTRY_BYTES: usize = 136;

/// Answers a query of `acct` about namespace `nsid` from the rows of `group` as they are now.
///
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn query<S: Store>(
    store: &S,
    group: GroupId,
    acct: Acct,
    nsid: Nsid,
    query: &Query,
    wants: &mut Vec<Want>,
) -> Result<Answer, Cold> {
    let mut view = View { store, group, wants };
    match answer(&mut view, acct, nsid, query) {
        Ok(answer) => Ok(answer),
        Err(Halt::With(outcome)) => Ok(refusal(outcome)),
        Err(Halt::Cold) => Err(Cold),
    }
}

/// The head of a namespace's journal; 0 where there is no such namespace.
///
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn head<S: Store>(store: &S, group: GroupId, nsid: Nsid, wants: &mut Vec<Want>) -> Result<Jid, Cold> {
    let mut view = View { store, group, wants };
    Ok(Tree { source: &mut view, nsid }.namespace()?.map_or(Jid(0), |row| row.head))
}

/// What is at a path of a namespace, for the system, with the newest change that shaped the answer (`as_of`): of what is
/// there, the newest row that names it or a folder above it; of what is not, the journal's head. For one path that never
/// runs back. It is 0 where there is no such namespace.
///
/// Shape: the answers of [`Query::Lookup`].
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn lookup_as_of<S: Store>(
    store: &S,
    group: GroupId,
    nsid: Nsid,
    at: &At,
    wants: &mut Vec<Want>,
) -> Result<(Answer, Jid), Cold> {
    let mut view = View { store, group, wants };
    let mut tree = Tree { source: &mut view, nsid };
    let Some(namespace) = tree.namespace()? else { return Ok((Answer::NotFound, Jid(0))) };
    match entry_at(&mut tree, at) {
        Ok((entry, newest)) => Ok((Answer::Entry(entry), newest)),
        Err(Halt::With(outcome)) => Ok((refusal(outcome), namespace.head)),
        Err(Halt::Cold) => Err(Cold),
    }
}

/// A namespace of the group in which a sweep is pending, for a new leader: it proposes `Sweep` there.
///
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn pending_sweep<S: Store>(store: &S, group: GroupId, wants: &mut Vec<Want>) -> Result<Option<Nsid>, Cold> {
    let mut rows = Rows::new();
    View { store, group, wants }.scan(keys::whole_table(table::SWEEP), 1, &mut rows)?;
    Ok(rows.first().map(|(key, _)| Nsid(number_at(key, 1))))
}

/// The last row of a journal that was written before `before_ms`: the floor for a `JournalTrim`. At least the floor that
/// it has; 0 where there is no such namespace. Reads as many rows as the journal's length has binary digits.
///
/// Units: milliseconds since 1970, by the group's stamps, which never run back.
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn trim_floor<S: Store>(
    store: &S,
    group: GroupId,
    nsid: Nsid,
    before_ms: u64,
    wants: &mut Vec<Want>,
) -> Result<Jid, Cold> {
    let mut view = View { store, group, wants };
    let mut tree = Tree { source: &mut view, nsid };
    let Some(namespace) = tree.namespace()? else { return Ok(Jid(0)) };
    // Invariant: rows up to `low` are older, or below the floor; rows from `high` on are not.
    let (mut low, mut high) = (namespace.floor.0, namespace.head.0 + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let row = tree.journal(Jid(middle))?.expect("the journal has every row above its floor");
        *if row.stamp_ms < before_ms { &mut low } else { &mut high } = middle;
    }
    Ok(Jid(low))
}

/// A command's way to end, as a query's answer.
pub(crate) fn refusal(outcome: Outcome) -> Answer {
    base::mark::hit!("meta.query.not_found", outcome == Outcome::NotFound);
    base::mark::hit!("meta.query.malformed", outcome == Outcome::Malformed);
    match outcome {
        Outcome::NotFile => Answer::NotFile,
        Outcome::NotFolder => Answer::NotFolder,
        Outcome::Elsewhere { nsid, rest } => Answer::Elsewhere { nsid, rest },
        Outcome::NoAccess => Answer::NoAccess,
        Outcome::TooLarge => Answer::TooLarge,
        Outcome::Malformed => Answer::Malformed,
        _ => Answer::NotFound,
    }
}

fn answer<S: Store>(view: &mut View<'_, S>, acct: Acct, nsid: Nsid, query: &Query) -> Result<Answer, Halt> {
    match query {
        Query::Account(key) => return account(view, acct, key),
        Query::Servers => return servers(view),
        Query::Nodes => return nodes(view),
        Query::Group0(query) => {
            let now_ms = view.store.machine(view.group).map_or(0, |machine| machine.stamp_ms);
            return crate::group0::answer(view, acct, now_ms, query);
        }
        Query::BlockScan(_) | Query::Export(_) | Query::Import(_) if acct != Acct(0) => return Ok(Answer::NoAccess),
        Query::BlockScan(scan) => return Ok(crate::block_scan::scan(view, scan)?),
        _ => {}
    }
    let now_ms = view.store.machine(view.group).map_or(0, |machine| machine.stamp_ms);
    let mut tree = Tree { source: view, nsid };
    let Some(namespace) = tree.namespace()? else {
        return Ok(if acct == Acct(0) { Answer::NotFound } else { Answer::NoAccess });
    };
    // Which blocks are known is for those who may name them in a put.
    let wanted = if matches!(query, Query::HasBlocks(_)) { Access::Write } else { Access::Read };
    if access(tree.source, nsid, &namespace, acct)? < wanted {
        return Ok(Answer::NoAccess);
    }
    match query {
        Query::Lookup(what) => Ok(Answer::Entry(lookup(&mut tree, what)?.0)),
        Query::ListPage { at, recursive, position, limit } => {
            let position = std::str::from_utf8(position).ok().filter(|position| is_position(position));
            let Some(position) = position else { return Ok(Answer::Malformed) };
            list_page(&mut tree, namespace.head, at, position, *recursive, page_limit(*limit))
        }
        Query::Delta { cursor, limit } => {
            let wanted = Wanted { scope: Scope::whole(), limit: page_limit(*limit), stops_at_mounts: false };
            crate::delta::delta(&mut tree, &namespace, cursor, &wanted)
        }
        Query::DeltaIn(asked) => {
            let DeltaIn { scope, limit, stops_at_mounts, .. } = **asked;
            let wanted = Wanted { scope, limit: page_limit(limit), stops_at_mounts };
            crate::delta::delta(&mut tree, &namespace, &asked.cursor, &wanted)
        }
        Query::ListAll { at, recursive, position, limit } => {
            let position = std::str::from_utf8(position).ok().filter(|position| is_position(position));
            let Some(position) = position else { return Ok(Answer::Malformed) };
            read_feed::list_all(&mut tree, namespace.head, at, (position, *recursive), page_limit(*limit))
        }
        Query::Mounts { after } => read_feed::mounts(&mut tree, *after),
        Query::Export(export) => across::export(&mut tree, &namespace, export),
        Query::Import(flow) => across::state(&mut tree, *flow),
        Query::Members { after } => across::members(&mut tree, *after),
        Query::Upload { id, first } => read_feed::upload(&mut tree, acct, *id, *first),
        Query::Revisions { at, before, limit } => {
            revisions(&mut tree, at, *before, at_most(*limit, REVISIONS_MAX) as usize)
        }
        Query::Blocklist { what, first } => blocklist(&mut tree, what, *first),
        Query::HasBlocks(hashes) => has_blocks(&mut tree, hashes),
        Query::Head => Ok(Answer::Head(namespace.head)),
        Query::SpaceUsage => {
            let mut pending = Rows::new();
            tree.source.scan(keys::sweeps(nsid), 1, &mut pending)?;
            Ok(Answer::SpaceUsage {
                live_files: namespace.live_files,
                live_bytes: namespace.live_bytes,
                grant_bytes: namespace.grant_bytes,
                is_sweeping: !pending.is_empty(),
            })
        }
        Query::Link(link) => links::link(&mut tree, &Asked { asker: acct, namespace: &namespace, now_ms }, *link),
        Query::Links { of, after, limit } => {
            let asked = Asked { asker: acct, namespace: &namespace, now_ms };
            links::links(&mut tree, &asked, of, *after, at_most(*limit, LIST_PAGE_MAX))
        }
        Query::Account(_) | Query::Servers | Query::Nodes | Query::Group0(_) | Query::BlockScan(_) => {
            unreachable!("answered above")
        }
    }
}

/// As many as are asked for, and there may be; 0 asks for all of those.
pub(crate) fn at_most(limit: u32, max: u32) -> u32 {
    if limit == 0 { max } else { limit.min(max) }
}

fn page_limit(limit: u32) -> usize {
    at_most(limit, LIST_PAGE_MAX) as usize
}

/// What is at a place, and the last journal row that names it or a folder above it.
pub(crate) fn entry_at<R: Source>(tree: &mut Tree<'_, R>, at: &At) -> Result<(Entry, Jid), Halt> {
    let found = tree.find(at)?;
    let path = tree.path_of(found.node)?;
    Ok((Entry { path_display: path.display, meta: found.row.metadata(tree.nsid, found.node) }, path.newest))
}

/// The entry, and the content row of a file.
fn lookup<R: Source>(tree: &mut Tree<'_, R>, what: &What) -> Result<(Entry, Option<JournalRow>), Halt> {
    match what {
        What::At(at) => Ok((entry_at(tree, at)?.0, None)),
        What::Rev(jid) => {
            let row = if jid.0 == 0 { None } else { tree.journal(*jid)? };
            let Some(row) = row.filter(|row| row.content.is_some()) else { return Err(Outcome::NotFound.into()) };
            let meta = row.metadata(tree.nsid, *jid).expect("a content row holds its node");
            let path_display = format!("{}/{}", tree.path_of(row.parent)?.display, row.name);
            Ok((Entry { path_display, meta }, Some(row)))
        }
    }
}

/// The folder to be listed with its path, or the answer when it is none here.
pub(crate) fn listed_folder<R: Source>(
    tree: &mut Tree<'_, R>,
    at: &At,
) -> Result<Result<(TreeNode, String), Answer>, Halt> {
    let folder = tree.find(at)?;
    Ok(match folder.row.kind {
        NodeKind::Folder => Ok((folder.node, tree.path_of(folder.node)?.display)),
        NodeKind::File => Err(Answer::NotFolder),
        NodeKind::Mount => Err(Answer::Elsewhere { nsid: Nsid(folder.row.size), rest: String::new() }),
    })
}

fn list_page<R: Source>(
    tree: &mut Tree<'_, R>,
    head: Jid,
    at: &At,
    position: &str,
    is_recursive: bool,
    limit: usize,
) -> Result<Answer, Halt> {
    let (folder, display) = match listed_folder(tree, at)? {
        Ok(folder) => folder,
        Err(answer) => return Ok(answer),
    };
    let (mut entries, mut bytes, mut last) = (Vec::new(), 0, String::new());
    let walked = Walk { root: folder, display: &display, position, is_recursive, has_dead: false, limit };
    let is_end = walk(tree, &walked, |tree, item| {
        let row = item.row.expect("only a walk with the dead comes to what is not there");
        let entry_bytes = ENTRY_BYTES + item.display.len() + row.name.len();
        if entries.len() >= limit || (bytes > 0 && bytes + entry_bytes > ANSWER_BYTES_SOFT) {
            base::mark::hit!("meta.query.page_full");
            return Ok(ControlFlow::Break(()));
        }
        bytes += entry_bytes;
        item.position.clone_into(&mut last);
        entries.push(Entry { path_display: item.display, meta: row.metadata(tree.nsid, item.node) });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Answer::Page { entries, next: (!is_end).then(|| last.into_bytes()), head })
}

/// Where the history of a name begins: parent, name key, and the row that last put something there or vacated it.
fn history_of_name<R: Source>(
    tree: &mut Tree<'_, R>,
    at: &At,
    path: &str,
) -> Result<(TreeNode, String, Jid, bool), Halt> {
    let mut folder = if at.node.0 == 0 { ROOT } else { at.node };
    if tree.node(folder)?.is_none_or(|row| row.kind != NodeKind::Folder) {
        return Err(Outcome::NotFound.into());
    }
    let mut names: Vec<&str> = components(path).collect();
    let name = name_key(names.pop().expect("an empty path has no name and is asked by node"));
    for name in names {
        let key = name_key(name);
        folder = match tree.dirent(folder, &key)? {
            Some(dirent) if dirent.kind == NodeKind::Folder => dirent.node,
            Some(_) => return Err(Outcome::NotFound.into()),
            // Names stay resolvable under a deleted folder.
            None => match tree.dead(folder, &key)? {
                Some(dead) if dead.kind == NodeKind::Folder => dead.node,
                _ => return Err(Outcome::NotFound.into()),
            },
        };
    }
    if let Some(dirent) = tree.dirent(folder, &name)? {
        if dirent.kind != NodeKind::File {
            return Err(Outcome::NotFile.into());
        }
        let row = tree.known_node(dirent.node)?;
        let is_live = tree.is_live(dirent.node)?;
        return Ok((folder, name, row.rev_jid, is_live));
    }
    match tree.dead(folder, &name)? {
        Some(dead) => Ok((folder, name, dead.jid, false)),
        None => Err(Outcome::NotFound.into()),
    }
}

/// Newest first. By path: whatever was a file under this name in this folder. By node: the revisions of the file.
fn revisions<R: Source>(tree: &mut Tree<'_, R>, at: &At, before: Jid, limit: usize) -> Result<Answer, Halt> {
    let path = normalize_path(&at.path).map_err(|_| Outcome::Malformed)?;
    let (place, mut jid, is_live) = if path.is_empty() {
        let Some(row) = tree.node(if at.node.0 == 0 { ROOT } else { at.node })? else { return Ok(Answer::NotFound) };
        if row.kind != NodeKind::File {
            return Ok(Answer::NotFile);
        }
        let is_live = tree.is_live(at.node)?;
        (None, if row.is_dead() { row.last_jid } else { row.rev_jid }, is_live)
    } else {
        let (parent, name, jid, is_live) = history_of_name(tree, at, &path)?;
        (Some((parent, name)), jid, is_live)
    };
    base::mark::hit!("meta.query.revisions");
    let (mut deleted_ms, mut revisions, mut has_more) = (None, Vec::new(), false);
    for step in 0.. {
        if jid.0 == 0 {
            break;
        }
        if step >= ROWS_PER_COMMAND_MAX {
            has_more = true;
            break;
        }
        let Some(row) = tree.journal(jid)? else { break };
        if step == 0 && !is_live {
            deleted_ms = Some(row.stamp_ms);
        }
        let next = match &place {
            None => row.prev_jid,
            Some((parent, name)) => {
                let is_put_here = row.op != Op::Delete && row.parent == *parent && name_key(&row.name) == *name;
                if row.op == Op::Move && !is_put_here { row.prev_jid } else { row.name_prev_jid }
            }
        };
        let is_here = place.as_ref().is_none_or(|(parent, name)| row.parent == *parent && name_key(&row.name) == *name);
        if row.content.is_some() && is_here && (before.0 == 0 || jid < before) {
            if revisions.len() == limit {
                has_more = true;
                break;
            }
            revisions.push(row.metadata(tree.nsid, jid).expect("a content row holds its node"));
        }
        jid = next;
    }
    Ok(Answer::Revisions { deleted_ms, revisions, has_more })
}

fn blocklist<R: Source>(tree: &mut Tree<'_, R>, what: &What, first: u32) -> Result<Answer, Halt> {
    base::mark::hit!("meta.query.blocklist");
    let (entry, row) = lookup(tree, what)?;
    if entry.meta.kind != NodeKind::File {
        return Ok(Answer::NotFile);
    }
    let row = match row {
        Some(row) => row,
        None => tree.journal(entry.meta.rev_jid)?.expect("a file keeps its content row"),
    };
    let content = row.content.expect("a file's revision is a content row");
    let end = content.blocks.min(first.saturating_add(BLOCKLIST_ANSWER_MAX));
    let mut names = Vec::new();
    if content.list == 0 {
        names.extend(content.inline.iter().skip(first as usize).copied());
    } else if first < end {
        let per_part = LIST_PART_BLOCKS as u32;
        let mut is_cold = false;
        for part in first / per_part..=(end - 1) / per_part {
            match tree.source.row::<ListPartRow>(&keys::list_part(tree.nsid, content.list, part)) {
                Ok(row) => names.extend(row.expect("a held list keeps its parts").blocks),
                Err(Cold) => is_cold = true,
            }
        }
        if is_cold {
            return Err(Halt::Cold);
        }
        names.drain(..(first % per_part) as usize);
    }
    let length = |position: u32| {
        let left = entry.meta.size - u64::from(position) * BLOCK_BYTES;
        left.min(BLOCK_BYTES) as u32
    };
    let blocks = (first..end).zip(names).map(|(position, name)| (name, length(position))).collect();
    Ok(Answer::Blocklist { entry, first, total: content.blocks, blocks })
}

fn has_blocks<R: Source>(tree: &mut Tree<'_, R>, hashes: &[BlockHash]) -> Result<Answer, Halt> {
    base::mark::hit!("meta.query.has_blocks");
    if hashes.len() > HAS_BLOCKS_MAX {
        return Ok(Answer::TooLarge);
    }
    // All of them are asked, so that one prefetch brings all.
    let known: Vec<_> = hashes.iter().map(|hash| tree.source.has(&keys::block(tree.nsid, hash))).collect();
    Ok(Answer::HasBlocks(known.into_iter().collect::<Result<_, _>>()?))
}

fn account<S: Store>(view: &mut View<'_, S>, asker: Acct, key: &AccountKey) -> Result<Answer, Halt> {
    let acct = match key {
        AccountKey::Acct(acct) => *acct,
        AccountKey::Name(name) => {
            let Ok(name) = base::names::normalize_name(name) else { return Ok(Answer::Malformed) };
            match view.row(&keys::account_name(&name_key(&name)))? {
                Some(NumberRow(acct)) => Acct(acct),
                None if asker == Acct(0) => return Ok(Answer::NotFound),
                None => return Ok(Answer::NoAccess),
            }
        }
    };
    if asker != Acct(0) && asker != acct {
        return Ok(Answer::NoAccess);
    }
    let row: Option<AccountRow> = view.row(&keys::account(acct))?;
    Ok(row.map_or(Answer::NotFound, |row| Answer::Account(AccountInfo { acct, root: row.root, name: row.name })))
}

pub(crate) fn number_at(key: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(key[at..at + 8].try_into().expect("the key has a number there"))
}

fn servers<S: Store>(view: &mut View<'_, S>) -> Result<Answer, Halt> {
    let mut rows = Rows::new();
    view.scan(keys::whole_table(table::SERVER), MEMBERS_TOLD_MAX, &mut rows)?;
    let server = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let row = ServerRow::decode(value);
        let role = ServerRole::from_u8(row.role).expect("only known roles are written");
        ServerInfo { server: number_at(key, 1), role, last_seen_ms: row.last_seen_ms, address: row.address }
    };
    Ok(Answer::Servers(rows.iter().map(server).collect()))
}

fn nodes<S: Store>(view: &mut View<'_, S>) -> Result<Answer, Halt> {
    let mut rows = Rows::new();
    view.scan(keys::whole_table(table::CLUSTER_NODE), MEMBERS_TOLD_MAX, &mut rows)?;
    let node = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let row = ClusterNodeRow::decode(value);
        NodeInfo {
            node: NodeId(number_at(key, 1)),
            uuid: NodeUuid(row.uuid),
            is_removed: row.is_removed,
            peer_address: row.peer_address,
            client_address: row.client_address,
        }
    };
    Ok(Answer::Nodes(rows.iter().map(node).collect()))
}

/// Metadata with the bytes it takes in an answer.
pub(crate) fn entry_bytes(path: &str, meta: &Metadata) -> usize {
    ENTRY_BYTES + path.len() + meta.name.len()
}
