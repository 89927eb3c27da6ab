//! Shared links: a node of a namespace that one account shows to whoever has the link (docs/design/metadata.md, "Links").
//!
//! A link lives as long as its account may read the namespace without a break: who was removed and invited again has to
//! make new ones.

mod check;
mod command;
mod read;
mod row;

use base::{Acct, Nsid, TreeNode};

pub(crate) use self::check::check;
pub use self::command::{LinkCommand, LinkSettings};
pub(crate) use self::read::{Asked, link, links};
pub use self::read::{LinkInfo, LinksOf};
pub(crate) use self::row::LinkRow;
use crate::access::{Access, access};
use crate::command::{At, CommandHeader, MemberState};
use crate::keys;
use crate::metadata::{NamespaceKind, NodeKind};
use crate::outcome::Outcome;
use crate::overlay::{Source, Txn};
use crate::query::ROOT;
use crate::rows::{MemberRow, NODE_LINKED, NamespaceRow, NodeRow, NumberRow, RowValue};
use crate::store::{Cold, Rows, Store};
use crate::tree::{Halt, Tree};

/// Runs a command of links. Whoever may read may show; the journal has no row of it.
pub(crate) fn execute<S: Store>(
    txn: &mut Txn<'_, S>,
    header: &CommandHeader,
    command: &LinkCommand,
) -> Result<Outcome, Halt> {
    let (nsid, acct) = (header.nsid, header.acct);
    let Some(namespace) = txn.row::<NamespaceRow>(&keys::namespace(nsid))? else {
        return Ok(if acct == Acct(0) { Outcome::NotFound } else { Outcome::NoAccess });
    };
    if access(txn, nsid, &namespace, acct)? == Access::Nothing {
        return Ok(Outcome::NoAccess);
    }
    match command {
        LinkCommand::Create { at, settings } => create(txn, header, namespace, at, settings),
        LinkCommand::Modify { link, settings } => {
            if settings.password.is_too_long() {
                return Ok(Outcome::Malformed);
            }
            let Some(mut row) = changeable(txn, header, &namespace, *link)? else { return Ok(Outcome::NotFound) };
            row.settings = settings.clone();
            txn.put(keys::link(nsid, *link), &row);
            Ok(Outcome::Done)
        }
        LinkCommand::Revoke { link } => {
            let Some(row) = changeable(txn, header, &namespace, *link)? else { return Ok(Outcome::NotFound) };
            remove(txn, nsid, *link, &row)?;
            Ok(Outcome::Done)
        }
    }
}

fn create<S: Store>(
    txn: &mut Txn<'_, S>,
    header: &CommandHeader,
    mut namespace: NamespaceRow,
    at: &At,
    settings: &LinkSettings,
) -> Result<Outcome, Halt> {
    let (nsid, acct) = (header.nsid, header.acct);
    if acct == Acct(0) || settings.password.is_too_long() {
        return Ok(Outcome::Malformed);
    }
    let found = Tree { source: txn, nsid }.find(at)?;
    if found.row.kind == NodeKind::Mount {
        return Ok(Outcome::Elsewhere { nsid: Nsid(found.row.size), rest: String::new() });
    }
    if found.node == ROOT && namespace.kind != NamespaceKind::Shared {
        return Ok(Outcome::Malformed);
    }
    let member_gen = membership(txn, nsid, &namespace, acct)?.unwrap_or(0);
    if let Some(NumberRow(link)) = txn.row(&keys::link_of_account(nsid, acct, found.node))? {
        let row: LinkRow = txn.row(&keys::link(nsid, link))?.expect("an index leads to a link");
        if is_of_member(txn, nsid, &namespace, &row)? && !row.settings.is_over(txn.stamp_ms) {
            return Ok(Outcome::Exists { id: link });
        }
        remove(txn, nsid, link, &row)?;
    }
    let link = namespace.next_link;
    namespace.next_link += 1;
    txn.put(keys::namespace(nsid), &namespace);
    let (node, created_ms) = (found.node, txn.stamp_ms);
    txn.put(keys::link(nsid, link), &LinkRow { node, acct, created_ms, member_gen, settings: settings.clone() });
    txn.put(keys::link_of_account(nsid, acct, node), &NumberRow(link));
    txn.put(keys::link_of_node(nsid, node, acct), &NumberRow(link));
    set_linked(txn, nsid, node, true)?;
    Ok(Outcome::Made { id: link })
}

/// The link, if this account may change it: its own, or any of a namespace that it owns.
fn changeable<S: Store>(
    txn: &mut Txn<'_, S>,
    header: &CommandHeader,
    namespace: &NamespaceRow,
    link: u64,
) -> Result<Option<LinkRow>, Cold> {
    let Some(row) = txn.row::<LinkRow>(&keys::link(header.nsid, link))? else { return Ok(None) };
    let may = header.acct == Acct(0) || header.acct == namespace.owner || header.acct == row.acct;
    Ok((may && is_of_member(txn, header.nsid, namespace, &row)?).then_some(row))
}

/// Which membership of the account this is; `None` for one that is no member, the owner among them.
fn membership<R: Source>(
    source: &mut R,
    nsid: Nsid,
    namespace: &NamespaceRow,
    acct: Acct,
) -> Result<Option<u32>, Cold> {
    if acct == namespace.owner {
        return Ok(None);
    }
    let row: Option<MemberRow> = source.row(&keys::member(nsid, acct))?;
    Ok(row.filter(|row| row.state == MemberState::Joined).map(|row| row.member_gen))
}

/// The link's account may read the namespace, and never lost that since it made the link.
pub(crate) fn is_of_member<R: Source>(
    source: &mut R,
    nsid: Nsid,
    namespace: &NamespaceRow,
    row: &LinkRow,
) -> Result<bool, Cold> {
    if row.acct == namespace.owner {
        return Ok(true);
    }
    Ok(membership(source, nsid, namespace, row.acct)? == Some(row.member_gen))
}

/// Takes a link away, and the node's flag with its last one.
pub(crate) fn remove<S: Store>(txn: &mut Txn<'_, S>, nsid: Nsid, link: u64, row: &LinkRow) -> Result<(), Cold> {
    txn.delete(keys::link(nsid, link));
    txn.delete(keys::link_of_account(nsid, row.acct, row.node));
    txn.delete(keys::link_of_node(nsid, row.node, row.acct));
    let mut left = Rows::new();
    txn.scan(keys::links_of_node(nsid, row.node), 1, &mut left)?;
    if left.is_empty() { set_linked(txn, nsid, row.node, false) } else { Ok(()) }
}

fn set_linked<S: Store>(txn: &mut Txn<'_, S>, nsid: Nsid, node: TreeNode, is_linked: bool) -> Result<(), Cold> {
    let key = keys::node(nsid, node);
    let Some(mut row) = txn.row::<NodeRow>(&key)? else { return Ok(()) };
    let flags = if is_linked { row.flags | NODE_LINKED } else { row.flags & !NODE_LINKED };
    if flags != row.flags {
        row.flags = flags;
        txn.put(key, &row);
    }
    Ok(())
}

/// Asks for all that a sweep of these links reads, so that one prefetch brings it; true when some is not in memory.
pub(crate) fn warm<S: Store>(txn: &mut Txn<'_, S>, nsid: Nsid, rows: &Rows) -> bool {
    rows.iter().fold(false, |is_cold, (_, value)| {
        let row = LinkRow::decode(value);
        let is_node_cold = txn.has(&keys::node(nsid, row.node)).is_err();
        is_cold | is_node_cold | txn.has(&keys::member(nsid, row.acct)).is_err()
    })
}

/// A link that serves nobody any more: its node is gone, it ended long ago, or its account lost the namespace.
pub(crate) fn sweep<S: Store>(
    txn: &mut Txn<'_, S>,
    nsid: Nsid,
    namespace: &NamespaceRow,
    (key, value): (&[u8], &[u8]),
    keep_ms: u64,
) -> Result<bool, Cold> {
    let row = LinkRow::decode(value);
    let is_gone = !txn.has(&keys::node(nsid, row.node))?;
    let is_past = row.settings.is_over(txn.stamp_ms.saturating_sub(keep_ms));
    if !is_gone && !is_past && is_of_member(txn, nsid, namespace, &row)? {
        return Ok(false);
    }
    let link = u64::from_be_bytes(key[9..17].try_into().expect("a link's key ends with its number"));
    remove(txn, nsid, link, &row)?;
    Ok(true)
}
