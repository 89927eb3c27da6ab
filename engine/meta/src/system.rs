//! The commands of the system itself: namespaces, sweeps, and what group 0 keeps.

use base::names::{name_key, normalize_name};
use base::{Acct, Jid, Nsid, TreeNode};

use crate::command::{Command, CommandHeader, NodePut, ServerPut};
use crate::editor::Editor;
use crate::keys::{self, after};
use crate::metadata::{NamespaceKind, NodeKind};
use crate::outcome::Outcome;
use crate::overlay::{Source, Txn};
use crate::query::ROOT;
use crate::read::at_most;
use crate::rows::*;
use crate::store::{Rows, Store};
use crate::tree::Halt;

/// Nodes that one sweep marks at most.
const SWEEP_NODES_MAX: u32 = 1024;
/// Bytes of a `host:port`.
const ADDRESS_BYTES_MAX: usize = 512;

/// Runs a command that only the system may give.
pub(crate) fn execute<S: Store>(
    txn: &mut Txn<'_, S>,
    header: &CommandHeader,
    command: &Command,
) -> Result<Outcome, Halt> {
    if header.acct != Acct(0) {
        return Ok(Outcome::NoAccess);
    }
    let is_of_group_0 = matches!(command, Command::AccountPut { .. } | Command::ServerPut(_) | Command::NodePut(_));
    if is_of_group_0 && txn.view.group.0 != 0 {
        return Ok(Outcome::Malformed);
    }
    match command {
        Command::NamespaceInit { kind, owner, grant_bytes } => {
            init_namespace(txn, header.nsid, *kind, *owner, *grant_bytes)
        }
        Command::AccountPut { name } => put_account(txn, name),
        Command::ServerPut(server) => put_server(txn, server),
        Command::NodePut(node) => put_cluster_node(txn, node),
        _ => Ok(Outcome::Unsupported),
    }
}

fn init_namespace<S: Store>(
    txn: &mut Txn<'_, S>,
    nsid: Nsid,
    kind: NamespaceKind,
    owner: Acct,
    grant_bytes: u64,
) -> Result<Outcome, Halt> {
    if nsid.0 == 0 || owner.0 == 0 {
        return Ok(Outcome::Malformed);
    }
    if let Some(row) = txn.row::<NamespaceRow>(&keys::namespace(nsid))? {
        base::mark::hit!("meta.namespace.begun_again");
        let is_same = row.owner == owner && row.kind == kind;
        return Ok(if is_same { Outcome::Done } else { Outcome::Exists { id: row.owner.0 } });
    }
    let row = NamespaceRow {
        kind,
        owner,
        members: 1,
        next_node: ROOT.0 + 1,
        next_list: 1,
        next_link: 1,
        grant_bytes,
        created_ms: txn.stamp_ms,
        ..NamespaceRow::default()
    };
    let root = NodeRow {
        kind: NodeKind::Folder,
        flags: 0,
        parent: TreeNode(0),
        last_jid: Jid(0),
        rev_jid: Jid(0),
        size: 0,
        client_mtime_ms: i64::MIN,
        server_mtime_ms: txn.stamp_ms as i64,
        modified_by: owner,
        content_hash: [0; 32],
        name: String::new(),
    };
    txn.put(keys::namespace(nsid), &row);
    txn.put(keys::node(nsid, ROOT), &root);
    Ok(Outcome::Done)
}

fn put_account<S: Store>(txn: &mut Txn<'_, S>, name: &str) -> Result<Outcome, Halt> {
    let Ok(name) = normalize_name(name) else { return Ok(Outcome::Malformed) };
    let name_row_key = keys::account_name(&name_key(&name));
    if let Some(NumberRow(acct)) = txn.row(&name_row_key)? {
        let row: AccountRow = txn.row(&keys::account(Acct(acct)))?.expect("a name leads to an account");
        return Ok(Outcome::Account { acct: Acct(acct), root: row.root });
    }
    let (acct, root) = crate::group0::new_account(txn, name.into_owned(), 0, STATE_ACTIVE)?;
    Ok(Outcome::Account { acct, root })
}

fn put_server<S: Store>(txn: &mut Txn<'_, S>, server: &ServerPut) -> Result<Outcome, Halt> {
    if server.server == 0 || server.address.is_empty() || server.address.len() > ADDRESS_BYTES_MAX {
        return Ok(Outcome::Malformed);
    }
    let row = ServerRow { role: server.role as u8, last_seen_ms: txn.stamp_ms, address: server.address.clone() };
    txn.put(keys::server(server.server), &row);
    Ok(Outcome::Done)
}

/// A node id belongs to the first directory that took it, for ever; one that has left does not come back.
fn put_cluster_node<S: Store>(txn: &mut Txn<'_, S>, node: &NodePut) -> Result<Outcome, Halt> {
    let is_too_long = node.peer_address.len().max(node.client_address.len()) > ADDRESS_BYTES_MAX;
    if node.node.0 == 0 || is_too_long {
        return Ok(Outcome::Malformed);
    }
    let key = keys::cluster_node(node.node);
    let bound: Option<ClusterNodeRow> = txn.row(&key)?;
    if bound.as_ref().is_some_and(|bound| bound.uuid != node.uuid.0) {
        return Ok(Outcome::Exists { id: node.node.0 });
    }
    let row = ClusterNodeRow {
        is_removed: node.is_removed || bound.is_some_and(|bound| bound.is_removed),
        uuid: node.uuid.0,
        peer_address: node.peer_address.clone(),
        client_address: node.client_address.clone(),
    };
    txn.put(key, &row);
    Ok(Outcome::Done)
}

/// Marks nodes below detached folders dead and lowers the live counters, at most `limit` of them.
///
/// One row stands for one folder whose children are to be marked; a folder among them gets a row of its own, so no
/// position grows with depth.
pub(crate) fn sweep<S: Store>(editor: &mut Editor<'_, '_, S>, limit: u32) -> Result<Outcome, Halt> {
    let limit = at_most(limit, SWEEP_NODES_MAX);
    let nsid = editor.nsid;
    let (mut nodes, mut rows_done) = (0, 0);
    while nodes < limit && rows_done < SWEEP_NODES_MAX {
        let Some((jid, folder, row)) = first_sweep(editor)? else { break };
        rows_done += 1;
        let key = keys::sweep(nsid, jid, folder);
        let range = keys::prefix_range(keys::dirent(nsid, folder, ""));
        let start = if row.position.is_empty() {
            range.start.clone()
        } else {
            after([&range.start, &row.position[..]].concat())
        };
        let wanted = limit - nodes;
        let mut children = Rows::new();
        editor.txn.scan(start..range.end, wanted, &mut children)?;
        // All of them in one prefetch: one at a time would run the command again for each.
        let mut is_cold = false;
        for (_, value) in &children {
            is_cold |= editor.txn.has(&keys::node(nsid, DirentRow::decode(value).node)).is_err();
        }
        if is_cold {
            base::mark::hit!("meta.sweep.cold");
            return Err(Halt::Cold);
        }
        for (child_key, value) in &children {
            mark_dead(editor, jid, DirentRow::decode(value).node)?;
            nodes += 1;
            if nodes == limit {
                base::mark::hit!("meta.sweep.limit");
                let position = child_key[keys::DIRENT_PREFIX_BYTES..].to_vec();
                editor.txn.put(key.clone(), &SweepRow { position });
            }
        }
        if (children.len() as u32) < wanted {
            base::mark::hit!("meta.sweep.folder_done");
            editor.txn.delete(key);
        }
    }
    let has_more = first_sweep(editor)?.is_some();
    Ok(Outcome::Swept { nodes, has_more })
}

fn first_sweep<S: Store>(editor: &mut Editor<'_, '_, S>) -> Result<Option<(Jid, TreeNode, SweepRow)>, Halt> {
    let mut rows = Rows::new();
    editor.txn.scan(keys::sweeps(editor.nsid), 1, &mut rows)?;
    let Some((key, value)) = rows.first() else { return Ok(None) };
    let number = |at: usize| u64::from_be_bytes(key[at..at + 8].try_into().expect("a sweep key has three numbers"));
    Ok(Some((Jid(number(9)), TreeNode(number(17)), SweepRow::decode(value))))
}

fn mark_dead<S: Store>(editor: &mut Editor<'_, '_, S>, jid: Jid, node: TreeNode) -> Result<(), Halt> {
    let mut row = editor.tree().known_node(node)?;
    row.flags |= NODE_DEAD;
    editor.put_node(node, &row);
    match row.kind {
        NodeKind::File => {
            editor.namespace.live_files -= 1;
            editor.namespace.live_bytes -= row.size;
        }
        NodeKind::Folder => editor.txn.put(keys::sweep(editor.nsid, jid, node), &SweepRow::default()),
        NodeKind::Mount => {}
    }
    Ok(())
}
