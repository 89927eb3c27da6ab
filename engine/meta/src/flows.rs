//! Steps of flows between namespaces: members, mounts, freezes and grants (docs/design/metadata.md, "Flows"). The system
//! alone gives them; a step that was done is told again and not done again.

use base::limits::{MEMBERS_PER_NAMESPACE_MAX, MOUNTS_MAX};
use base::{Acct, Jid, Nsid, TreeNode};
use xxhash_rust::xxh3::xxh3_128;

use crate::across;
use crate::command::{Command, CommandHeader, Freeze, MemberPut, MemberState, Mount, MountSwap, Step, Transfer};
use crate::command_codec::encode_command;
use crate::editor::{Editor, FREEZE_MS, node_of};
use crate::files;
use crate::keys;
use crate::metadata::{NamespaceKind, NodeKind};
use crate::outcome::Outcome;
use crate::overlay::Source;
use crate::query::ROOT;
use crate::rows::*;
use crate::store::{Rows, Store};
use crate::tree::{CONFLICT_FOLDER, Found, Halt, conflict_with};

/// The flow step that a command is, if it is one.
pub(crate) fn step_of(command: &Command) -> Option<Step> {
    match command {
        Command::MemberPut(put) => Some(put.step),
        Command::MemberRemove { step, .. }
        | Command::Unmount { step, .. }
        | Command::GrantRaise { step, .. }
        | Command::GrantLower { step, .. } => Some(*step),
        Command::Transfer(transfer) => Some(transfer.step),
        Command::Mount(mount) => Some(mount.step),
        Command::MountSwap(swap) => Some(swap.step),
        Command::ImportEnd(end) => Some(end.step),
        // Freezing again renews, thawing again changes nothing, and parts are counted where they come.
        Command::Freeze(_) | Command::Thaw(_) | Command::Import(_) => Some(Step::default()),
        _ => None,
    }
}

/// Runs a step, or tells again what it came to, also when it was refused: a flow that gave up is not overtaken by a late
/// repeat. Only what was `Busy` may be tried again, and a folder that thawed before it was swapped.
pub(crate) fn execute<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    command: &Command,
    step: Step,
) -> Result<Outcome, Halt> {
    if step.flow == 0 {
        return run(editor, command);
    }
    let mut bytes = Vec::new();
    encode_command(&CommandHeader { nsid: editor.nsid, ..CommandHeader::default() }, command, &mut bytes);
    let (key, digest) = (keys::kept_step(editor.nsid, step), xxh3_128(&bytes).to_le_bytes());
    if let Some(kept) = editor.txn.row::<KeptRow>(&key)? {
        // Another command under the same step is a mistake of the driver.
        let is_same = kept.digest == digest;
        return if is_same { Ok(crate::kept::unpack(editor.txn, &kept.outcome)?) } else { Ok(Outcome::NotFound) };
    }
    let mark = editor.mark();
    let outcome = match run(editor, command) {
        Err(Halt::With(refused)) => {
            editor.rollback(mark);
            refused
        }
        result => result?,
    };
    let is_passing =
        matches!((command, &outcome), (_, Outcome::Busy { .. }) | (Command::MountSwap(_), Outcome::RevMismatch));
    if !is_passing {
        let outcome = crate::kept::pack(editor.nsid, &outcome, false);
        editor.txn.put(key, &KeptRow { digest, stamp_ms: editor.txn.stamp_ms, outcome });
    }
    Ok(outcome)
}

fn run<S: Store>(editor: &mut Editor<'_, '_, S>, command: &Command) -> Result<Outcome, Halt> {
    match command {
        Command::MemberPut(put) => put_member(editor, put),
        Command::MemberRemove { acct, .. } => remove_member(editor, *acct),
        Command::Transfer(transfer) => transfer_namespace(editor, transfer),
        Command::Mount(mount) => mount_namespace(editor, mount),
        Command::MountSwap(swap) => swap_for_mount(editor, swap),
        Command::Unmount { target, .. } => unmount(editor, *target),
        Command::Freeze(freeze) => freeze_node(editor, freeze),
        Command::Thaw(freeze) => thaw_node(editor, freeze),
        Command::Import(import) => across::import(editor, import),
        Command::ImportEnd(end) => across::end(editor, end),
        Command::GrantRaise { owner, bytes, .. } => raise_grant(editor, *owner, *bytes),
        Command::GrantLower { bytes, .. } => lower_grant(editor, *bytes),
        _ => Ok(Outcome::Unsupported),
    }
}

/// Invites, lets in who was invited, or changes a role.
fn put_member<S: Store>(editor: &mut Editor<'_, '_, S>, put: &MemberPut) -> Result<Outcome, Halt> {
    if editor.namespace.kind != NamespaceKind::Shared || put.acct == Acct(0) {
        return Ok(Outcome::Malformed);
    }
    if put.acct == editor.namespace.owner {
        return Ok(Outcome::Exists { id: put.acct.0 });
    }
    let key = keys::member(editor.nsid, put.acct);
    let row = match (editor.txn.row::<MemberRow>(&key)?, put.state) {
        (None, MemberState::Joined) => return Ok(Outcome::NotFound),
        (None, MemberState::Invited) => {
            if editor.namespace.members as usize >= MEMBERS_PER_NAMESPACE_MAX {
                return Ok(Outcome::TooLarge);
            }
            editor.namespace.members += 1;
            let invited_ms = editor.txn.stamp_ms;
            let member_gen = editor.namespace.auth_gen.wrapping_add(1);
            MemberRow { role: put.role, state: MemberState::Invited, since: Jid(0), invited_ms, member_gen }
        }
        (Some(row), MemberState::Joined) if row.state == MemberState::Invited => {
            MemberRow { role: put.role, state: MemberState::Joined, since: editor.namespace.head, ..row }
        }
        // Who has joined stays so; an invitation to a member is another role.
        (Some(row), _) => MemberRow { role: put.role, ..row },
    };
    editor.namespace.auth_gen = editor.namespace.auth_gen.wrapping_add(1);
    editor.txn.put(key, &row);
    Ok(Outcome::Done)
}

fn remove_member<S: Store>(editor: &mut Editor<'_, '_, S>, acct: Acct) -> Result<Outcome, Halt> {
    let key = keys::member(editor.nsid, acct);
    if !editor.txn.has(&key)? {
        return Ok(Outcome::NotFound);
    }
    editor.namespace.members -= 1;
    editor.namespace.auth_gen = editor.namespace.auth_gen.wrapping_add(1);
    editor.txn.delete(key);
    editor.revoked = Some(acct);
    Ok(Outcome::Done)
}

/// A member who joined becomes the owner, and the owner an editor. Both sides' grants were reserved for what is named.
fn transfer_namespace<S: Store>(editor: &mut Editor<'_, '_, S>, transfer: &Transfer) -> Result<Outcome, Halt> {
    if editor.namespace.kind != NamespaceKind::Shared {
        return Ok(Outcome::Malformed);
    }
    if (editor.namespace.owner, editor.namespace.grant_bytes) != (transfer.from, transfer.grant_bytes) {
        return Ok(Outcome::RevMismatch);
    }
    let key = keys::member(editor.nsid, transfer.to);
    let member: Option<MemberRow> = editor.txn.row(&key)?;
    let Some(member) = member.filter(|member| member.state == MemberState::Joined) else {
        return Ok(Outcome::NotFound);
    };
    editor.txn.delete(key);
    let before = MemberRow {
        role: crate::command::MemberRole::Editor,
        since: editor.namespace.head,
        invited_ms: editor.txn.stamp_ms,
        // What it showed as the owner it shows as a member.
        member_gen: 0,
        ..member
    };
    editor.txn.put(keys::member(editor.nsid, transfer.from), &before);
    editor.namespace.owner = transfer.to;
    editor.namespace.auth_gen = editor.namespace.auth_gen.wrapping_add(1);
    Ok(Outcome::Done)
}

/// A mount row of the journal, at a name where nothing is; the node is new, or the one that was there.
fn write_mount<S: Store>(
    editor: &mut Editor<'_, '_, S>,
    node: TreeNode,
    target: Nsid,
    (parent, name): (TreeNode, &str),
    (name_prev_jid, flags): (Jid, u8),
) -> Result<Outcome, Halt> {
    let mut row = editor.blank_row(Op::Mount, NodeKind::Mount, node);
    row.flags = flags;
    row.parent = parent;
    row.name_prev_jid = name_prev_jid;
    row.size = target.0;
    name.clone_into(&mut row.name);
    let jid = editor.append(&row)?;
    let metadata = row.metadata(editor.nsid, jid).expect("a mount row holds its node");
    editor.put_node(node, &node_of(&metadata));
    editor.put_dirent(parent, name, NodeKind::Mount, node);
    editor.txn.put(keys::mount(editor.nsid, target), &NumberRow(node.0));
    Ok(Outcome::Applied(metadata))
}

/// Where a mounted namespace hangs, if that is still live.
fn mounted<S: Store>(editor: &mut Editor<'_, '_, S>, target: Nsid) -> Result<Option<Found>, Halt> {
    let Some(NumberRow(node)) = editor.txn.row(&keys::mount(editor.nsid, target))? else { return Ok(None) };
    let node = TreeNode(node);
    let Some(row) = editor.tree().node(node)? else { return Ok(None) };
    Ok(editor.tree().is_live(node)?.then_some(Found { node, row }))
}

/// Hangs a namespace into a root. What hangs there already gets a new row, so that whoever lost it sees it again.
fn mount_namespace<S: Store>(editor: &mut Editor<'_, '_, S>, mount: &Mount) -> Result<Outcome, Halt> {
    if editor.namespace.kind != NamespaceKind::Root {
        return Ok(Outcome::NestedShare);
    }
    if mount.target.0 == 0 || mount.target == editor.nsid {
        return Ok(Outcome::Malformed);
    }
    if let Some(Found { node, row }) = mounted(editor, mount.target)? {
        editor.check_thawed(row.parent)?;
        return write_mount(editor, node, mount.target, (row.parent, &row.name), (row.rev_jid, 0));
    }
    if !editor.txn.has(&keys::mount(editor.nsid, mount.target))? {
        let mut rows = Rows::new();
        editor.txn.scan(keys::of_namespace(keys::table::MOUNT, editor.nsid), MOUNTS_MAX as u32, &mut rows)?;
        if rows.len() >= MOUNTS_MAX {
            return Ok(Outcome::TooLarge);
        }
    }
    let Some(mut located) = editor.tree().locate(&mount.at)? else { return Err(CONFLICT_FOLDER.into()) };
    // A folder that is being shared was empty when it was looked at: what came to hang there would go with it.
    editor.check_thawed(located.parent)?;
    let mut flags = 0;
    if let Some(cur) = &located.cur {
        let conflict = conflict_with(cur.row.kind);
        if !mount.autorename {
            return Err(conflict.into());
        }
        files::rename(editor, &mut located, "", conflict)?;
        flags = ROW_AUTORENAMED;
    }
    editor.check_thawed(located.parent)?;
    let parent = editor.make_parents(&located)?;
    let node = editor.new_node();
    let name_prev_jid = editor.take_name(parent, &located.name)?;
    write_mount(editor, node, mount.target, (parent, &located.name), (name_prev_jid, flags))
}

/// A folder goes and the namespace that was made of it comes, seen by no reader apart; or it went to another namespace,
/// and nothing comes. Refused when the folder thawed
/// meanwhile: what was written since would be lost.
fn swap_for_mount<S: Store>(editor: &mut Editor<'_, '_, S>, swap: &MountSwap) -> Result<Outcome, Halt> {
    if editor.namespace.kind != NamespaceKind::Root && swap.target != Nsid(0) {
        return Ok(Outcome::NestedShare);
    }
    let freeze: Option<FreezeRow> = editor.txn.row(&keys::freeze(editor.nsid, swap.node))?;
    let is_held = |freeze: FreezeRow| {
        let is_its = (freeze.flow, freeze.since_ms) == (swap.flow, swap.since_ms);
        is_its && freeze.renewed_ms + FREEZE_MS > editor.txn.stamp_ms
    };
    if !freeze.is_some_and(is_held) {
        return Ok(Outcome::RevMismatch);
    }
    let Some(row) = editor.tree().node(swap.node)? else { return Ok(Outcome::NotFound) };
    if row.kind != NodeKind::Folder || swap.node == ROOT {
        return Ok(Outcome::NotFolder);
    }
    if !editor.tree().is_live(swap.node)? {
        return Ok(Outcome::NotFound);
    }
    let found = Found { node: swap.node, row };
    let (parent, name) = (found.row.parent, found.row.name.clone());
    thaw_node(editor, &Freeze { flow: swap.flow, node: swap.node })?;
    let gone = files::write_delete(editor, found)?;
    if swap.target == Nsid(0) {
        base::mark::hit!("meta.flow.moved_away");
        return Ok(Outcome::Applied(gone));
    }
    let node = editor.new_node();
    let name_prev_jid = editor.take_name(parent, &name)?;
    write_mount(editor, node, swap.target, (parent, &name), (name_prev_jid, 0))
}

fn unmount<S: Store>(editor: &mut Editor<'_, '_, S>, target: Nsid) -> Result<Outcome, Halt> {
    let key = keys::mount(editor.nsid, target);
    if !editor.txn.has(&key)? {
        return Ok(Outcome::NotFound);
    }
    let found = mounted(editor, target)?;
    editor.txn.delete(key);
    // Its folder was deleted: readers know already.
    let Some(found) = found else { return Ok(Outcome::Done) };
    let mut row = editor.blank_row(Op::Unmount, NodeKind::Mount, found.node);
    row.old_parent = found.row.parent;
    found.row.name.clone_into(&mut row.old_name);
    row.name_prev_jid = found.row.rev_jid;
    row.size = target.0;
    let jid = editor.append(&row)?;
    editor.bury(found, jid);
    Ok(Outcome::Done)
}

/// Holds off writes below a folder: `Done` when it froze now, `Exists` with the time since when it is frozen already.
fn freeze_node<S: Store>(editor: &mut Editor<'_, '_, S>, freeze: &Freeze) -> Result<Outcome, Halt> {
    if freeze.flow == 0 || freeze.node == ROOT {
        return Ok(Outcome::Malformed);
    }
    let Some(mut row) = editor.tree().node(freeze.node)? else { return Ok(Outcome::NotFound) };
    if !editor.tree().is_live(freeze.node)? {
        return Ok(Outcome::NotFound);
    }
    let (key, now) = (keys::freeze(editor.nsid, freeze.node), editor.txn.stamp_ms);
    let before: Option<FreezeRow> = editor.txn.row(&key)?;
    let before = before.filter(|before| before.renewed_ms + FREEZE_MS > now);
    if before.is_some_and(|before| before.flow != freeze.flow) {
        return Ok(Outcome::Busy { retry_ms: FREEZE_MS as u32 });
    }
    let since_ms = before.map_or(now, |before| before.since_ms);
    editor.txn.put(key, &FreezeRow { flow: freeze.flow, since_ms, renewed_ms: now });
    row.flags |= NODE_FROZEN;
    editor.put_node(freeze.node, &row);
    editor.namespace.flags |= NAMESPACE_FROZEN;
    Ok(before.map_or(Outcome::Done, |before| Outcome::Exists { id: before.since_ms }))
}

fn thaw_node<S: Store>(editor: &mut Editor<'_, '_, S>, freeze: &Freeze) -> Result<Outcome, Halt> {
    let key = keys::freeze(editor.nsid, freeze.node);
    let before: Option<FreezeRow> = editor.txn.row(&key)?;
    if before.is_none_or(|before| before.flow != freeze.flow) {
        return Ok(Outcome::NotFound);
    }
    editor.txn.delete(key);
    if let Some(mut row) = editor.tree().node(freeze.node)? {
        row.flags &= !NODE_FROZEN;
        editor.put_node(freeze.node, &row);
    }
    let mut left = Rows::new();
    editor.txn.scan(keys::of_namespace(keys::table::FREEZE, editor.nsid), 1, &mut left)?;
    if left.is_empty() {
        editor.namespace.flags &= !NAMESPACE_FROZEN;
    }
    Ok(Outcome::Done)
}

/// The owner is named: a transfer meanwhile moved the grant to another account.
fn raise_grant<S: Store>(editor: &mut Editor<'_, '_, S>, owner: Acct, bytes: u64) -> Result<Outcome, Halt> {
    if editor.namespace.owner != owner {
        return Ok(Outcome::RevMismatch);
    }
    let Some(grant) = editor.namespace.grant_bytes.checked_add(bytes) else { return Ok(Outcome::TooLarge) };
    editor.namespace.grant_bytes = grant;
    Ok(Outcome::Done)
}

fn lower_grant<S: Store>(editor: &mut Editor<'_, '_, S>, bytes: u64) -> Result<Outcome, Halt> {
    let left = editor.namespace.grant_bytes.saturating_sub(bytes);
    if left < editor.namespace.live_bytes {
        return Ok(Outcome::Quota { short_bytes: editor.namespace.live_bytes - left });
    }
    editor.namespace.grant_bytes = left;
    Ok(Outcome::Done)
}
