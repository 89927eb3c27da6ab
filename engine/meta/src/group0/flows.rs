//! Flows in group 0: what begins, what a step brings, what is given back when one is refused.
//!
//! The row of a flow and what group 0 keeps of its work change in one command, so a crash finds them as one. Steps
//! elsewhere carry (flow, step) and may be sent again; a step told twice changes nothing here.

use base::names::{name_key, normalize_name};
use base::{Acct, Nsid};

use super::apply::next_number;
use super::record::{FlowOfRow, ReachInfo, ReachState};
use super::{FlowInfo, FlowPlan, FlowState, FlowStep, accounts, grants, keys};
use crate::command::MemberRole;
use crate::keys::{account, account_name, directory, table, whole_table};
use crate::metadata::NamespaceKind;
use crate::outcome::Outcome;
use crate::overlay::{Source, Txn};
use crate::rows::*;
use crate::store::{Cold, Rows, Store};
use crate::tree::Halt;
use crate::trim::BLOCK_KEEP_MS;

/// When to ask again while another flow is open.
const BUSY_RETRY_MS: u32 = 1000;
/// Ended flows that are looked at for being forgotten whenever one begins.
const ENDED_LOOKS: u32 = 4;
/// The code of `RevMismatch`.
const REV_MISMATCH: u8 = 18;
/// The code of `Malformed`.
const MALFORMED: u8 = 30;

/// Begins a flow, or tells what is in its way.
pub(crate) fn start<S: Store>(txn: &mut Txn<'_, S>, plan: &FlowPlan) -> Result<Outcome, Halt> {
    forget_ended(txn)?;
    let mut info = FlowInfo {
        flow: 0,
        state: FlowState::Open,
        step: 1,
        code: 0,
        touched_ms: txn.stamp_ms,
        acct: Acct(0),
        nsid: Nsid(0),
        root: Nsid(0),
        since_ms: 0,
        bytes: 0,
        role: MemberRole::Viewer,
        plan: plan.clone(),
    };
    match plan {
        FlowPlan::Account { name, allocated, grant_bytes } => {
            begin_account(txn, &mut info, name, *allocated, *grant_bytes)?;
        }
        FlowPlan::Share { owner, grant_bytes, .. } => begin_share(txn, &mut info, *owner, *grant_bytes)?,
        FlowPlan::MoveAcross { acct, from, to, .. } => begin_move(txn, &mut info, *acct, (*from, *to))?,
        FlowPlan::AccountEnd { acct } => begin_account_end(txn, &mut info, *acct)?,
        FlowPlan::AddMember { nsid, acct, .. }
        | FlowPlan::Mount { nsid, acct, .. }
        | FlowPlan::Unmount { nsid, acct }
        | FlowPlan::RemoveMember { nsid, acct }
        | FlowPlan::Transfer { nsid, from: acct, .. }
        | FlowPlan::Grant { nsid, acct, .. } => {
            (info.nsid, info.acct) = (*nsid, *acct);
            let Some(row) = txn.row::<AccountRow>(&account(*acct))? else { return Ok(Outcome::NotFound) };
            info.root = row.root;
            for (acct, nsid) in info.holds() {
                let row: FlowOfRow = txn.row(&keys::flow_of(acct, nsid))?.unwrap_or_default();
                match plan {
                    _ if row.open == 0 => {}
                    FlowPlan::RemoveMember { .. } => return note_removal(txn, info, row),
                    _ => {
                        return Ok(Outcome::Busy { retry_ms: BUSY_RETRY_MS });
                    }
                }
            }
            begin_here(txn, &mut info)?;
        }
    }
    info.flow = next_number(txn, "flow")?;
    for (acct, nsid) in info.holds() {
        txn.put(keys::flow_of(acct, nsid), &FlowOfRow { open: info.flow, waiting: 0 });
    }
    txn.put(keys::flow(info.flow), &info);
    Ok(Outcome::Flow(Box::new(info)))
}

fn begin_account<S: Store>(
    txn: &mut Txn<'_, S>,
    info: &mut FlowInfo,
    name: &str,
    allocated: u64,
    grant_bytes: u64,
) -> Result<(), Halt> {
    let Ok(name) = normalize_name(name) else { return Err(Outcome::Malformed.into()) };
    if let Some(NumberRow(acct)) = txn.row(&account_name(&name_key(&name)))? {
        return Err(Outcome::Exists { id: acct }.into());
    }
    (info.acct, info.root) = accounts::new_account(txn, name.into_owned(), allocated, STATE_BUILDING)?;
    (info.nsid, info.bytes) = (info.root, grant_bytes);
    grants::set(txn, info.acct, info.root, grant_bytes)
}

fn begin_share<S: Store>(txn: &mut Txn<'_, S>, info: &mut FlowInfo, owner: Acct, grant_bytes: u64) -> Result<(), Halt> {
    let Some(row) = accounts::active(txn, owner)? else { return Err(Outcome::NotFound.into()) };
    let nsid = accounts::new_nsid(txn)?;
    (info.acct, info.root, info.nsid, info.bytes) = (owner, row.root, nsid, grant_bytes);
    info.role = MemberRole::Owner;
    txn.put(directory(nsid), &DirectoryRow { kind: NamespaceKind::Shared, state: STATE_BUILDING, owner });
    grants::set(txn, owner, nsid, grant_bytes)
}

/// The account may write in both namespaces, as far as group 0 knows; they judge it themselves when it comes to them.
fn begin_move<S: Store>(
    txn: &mut Txn<'_, S>,
    info: &mut FlowInfo,
    acct: Acct,
    (from, to): (Nsid, Nsid),
) -> Result<(), Halt> {
    if from == to {
        return Err(Outcome::Malformed.into());
    }
    if accounts::active(txn, acct)?.is_none() {
        return Err(Outcome::NotFound.into());
    }
    for nsid in [from, to] {
        let row: Option<DirectoryRow> = txn.row(&directory(nsid))?;
        let Some(row) = row.filter(|row| row.state == STATE_ACTIVE) else { return Err(Outcome::NotFound.into()) };
        let reach: Option<ReachInfo> = txn.row(&keys::reach(acct, nsid))?;
        let is_in = reach.is_some_and(|reach| reach.state != ReachState::Invited && reach.role != MemberRole::Viewer);
        if row.owner != acct && !is_in {
            return Err(Outcome::NoAccess.into());
        }
    }
    (info.acct, info.root, info.nsid) = (acct, from, to);
    Ok(())
}

/// It may not come in any more, and nothing is granted to it. While it reaches a shared namespace it is told which: that is left, or given away, first.
fn begin_account_end<S: Store>(txn: &mut Txn<'_, S>, info: &mut FlowInfo, acct: Acct) -> Result<(), Halt> {
    let Some(mut row) = txn.row::<AccountRow>(&account(acct))? else { return Err(Outcome::NotFound.into()) };
    (info.acct, info.root, info.nsid) = (acct, row.root, row.root);
    let (mut open, mut reaches) = (Rows::new(), Rows::new());
    txn.scan(keys::flows_of(acct), 1, &mut open)?;
    txn.scan(keys::reaches(acct), 1, &mut reaches)?;
    if row.state == STATE_BUILDING || !open.is_empty() {
        return Err(Outcome::Busy { retry_ms: BUSY_RETRY_MS }.into());
    }
    let mut granted = Rows::new();
    txn.scan(keys::grants(acct), 2, &mut granted)?;
    let elsewhere = granted.iter().find(|(key, _)| crate::read::number_at(key, 9) != row.root.0);
    if let Some((key, _)) = reaches.first().or(elsewhere) {
        return Err(Outcome::Exists { id: crate::read::number_at(key, 9) }.into());
    }
    row.state = STATE_DEAD;
    accounts::void_tokens(txn, acct, &mut row);
    txn.put(account(acct), &row);
    Ok(())
}

/// A flow of a namespace that is there; nothing else is open for its accounts.
fn begin_here<S: Store>(txn: &mut Txn<'_, S>, info: &mut FlowInfo) -> Result<(), Halt> {
    let (nsid, acct) = (info.nsid, info.acct);
    let row: Option<DirectoryRow> = txn.row(&directory(nsid))?;
    let Some(row) = row.filter(|row| row.state == STATE_ACTIVE) else { return Err(Outcome::NotFound.into()) };
    let is_of_shared = !matches!(info.plan, FlowPlan::Grant { .. });
    if is_of_shared && row.kind != NamespaceKind::Shared {
        return Err(Outcome::NotFound.into());
    }
    let reach: Option<ReachInfo> = txn.row(&keys::reach(acct, nsid))?;
    match info.plan {
        FlowPlan::AddMember { acct, role, .. } => {
            if row.owner == acct {
                return Err(Outcome::Exists { id: acct.0 }.into());
            }
            if role == MemberRole::Owner {
                return Err(Outcome::Malformed.into());
            }
            if accounts::active(txn, acct)?.is_none() {
                return Err(Outcome::NotFound.into());
            }
            info.role = role;
        }
        FlowPlan::Mount { .. } | FlowPlan::Unmount { .. } => {
            let Some(reach) = reach else { return Err(Outcome::NotFound.into()) };
            info.role = reach.role;
        }
        FlowPlan::RemoveMember { .. } => {
            if row.owner == acct {
                return Err(Outcome::Malformed.into());
            }
            let Some(reach) = reach else { return Err(Outcome::NotFound.into()) };
            info.role = reach.role;
        }
        FlowPlan::Transfer { from, to, .. } => {
            let heir: Option<ReachInfo> = txn.row(&keys::reach(to, nsid))?;
            let is_in = heir.is_some_and(|heir| heir.state != ReachState::Invited);
            if row.owner != from || from == to || !is_in || accounts::active(txn, to)?.is_none() {
                return Err(Outcome::NotFound.into());
            }
            info.role = MemberRole::Owner;
            info.bytes = grants::granted(txn, from, nsid)?;
            // Both have it until the namespace says whose it is.
            grants::set(txn, to, nsid, info.bytes)?;
        }
        FlowPlan::Grant { is_raise, bytes, .. } => {
            if row.owner != acct {
                return Err(Outcome::NotFound.into());
            }
            (info.role, info.bytes) = (MemberRole::Owner, bytes);
            let before = grants::granted(txn, acct, nsid)?;
            if is_raise {
                let Some(sum) = before.checked_add(bytes) else { return Err(Outcome::TooLarge.into()) };
                grants::set(txn, acct, nsid, sum)?;
            } else if bytes > before {
                return Err(Outcome::RevMismatch.into());
            }
        }
        FlowPlan::Account { .. }
        | FlowPlan::Share { .. }
        | FlowPlan::MoveAcross { .. }
        | FlowPlan::AccountEnd { .. } => {
            unreachable!("they begin elsewhere")
        }
    }
    Ok(())
}

/// A removal comes next, whatever is open; one that is open or noted already is told again.
fn note_removal<S: Store>(txn: &mut Txn<'_, S>, mut info: FlowInfo, mut row: FlowOfRow) -> Result<Outcome, Halt> {
    let open: FlowInfo = txn.row(&keys::flow(row.open))?.expect("what is open has a row");
    if matches!(open.plan, FlowPlan::RemoveMember { .. }) {
        return Ok(Outcome::Flow(Box::new(open)));
    }
    if row.waiting != 0 {
        let waiting: FlowInfo = txn.row(&keys::flow(row.waiting))?.expect("what waits has a row");
        return Ok(Outcome::Flow(Box::new(waiting)));
    }
    info.flow = next_number(txn, "flow")?;
    info.state = FlowState::Waiting;
    row.waiting = info.flow;
    txn.put(keys::flow_of(info.acct, info.nsid), &row);
    txn.put(keys::flow(info.flow), &info);
    Ok(Outcome::Flow(Box::new(info)))
}

/// What a step elsewhere came to. Told again, or told late, it changes nothing.
pub(crate) fn step<S: Store>(txn: &mut Txn<'_, S>, told: FlowStep) -> Result<Outcome, Halt> {
    let Some(mut info) = txn.row::<FlowInfo>(&keys::flow(told.flow))? else {
        let ended: Option<FlowInfo> = txn.row(&keys::ended(told.flow))?;
        return Ok(ended.map_or(Outcome::NotFound, |ended| Outcome::Flow(Box::new(ended))));
    };
    if info.state == FlowState::Waiting || told.step > info.step {
        return Ok(Outcome::Malformed);
    }
    if told.step < info.step {
        return Ok(Outcome::Flow(Box::new(info)));
    }
    info.touched_ms = txn.stamp_ms;
    let undo = info.plan.undo_steps(info.step);
    let thawed = info.plan.freeze_step().filter(|freeze| (freeze + 1..=freeze + 2).contains(&info.step));
    if info.code != 0 {
        // Whatever it came to: what could not be taken back is not there.
        info.step += 1;
        if info.step > undo_end(&info) {
            give_back(txn, &info)?;
            let code = info.code;
            return end(txn, info, FlowState::Failed, code);
        }
    } else if let (REV_MISMATCH, Some(freeze)) = (told.code, thawed) {
        base::mark::hit!("meta.flow.thawed");
        // Something may have been written since it was copied.
        info.step = freeze;
    } else if let (1.., Some((first, _))) = (told.code, undo) {
        base::mark::hit!("meta.flow.undone");
        (info.code, info.step) = (told.code, first);
    } else if told.code != 0 {
        give_back(txn, &info)?;
        return end(txn, info, FlowState::Failed, told.code);
    } else if info.step < info.plan.steps() {
        on_the_way(txn, &mut info, told.value);
        info.step += 1;
    } else {
        bring_about(txn, &info)?;
        return end(txn, info, FlowState::Done, 0);
    }
    txn.put(keys::flow(info.flow), &info);
    Ok(Outcome::Flow(Box::new(info)))
}

/// The last of the steps that take back what a flow has made.
fn undo_end(info: &FlowInfo) -> u32 {
    info.plan.undo_steps(info.plan.steps()).map_or(0, |(_, last)| last)
}

/// A step was done, and it is not the last.
fn on_the_way<S: Store>(txn: &mut Txn<'_, S>, info: &mut FlowInfo, value: u64) {
    match info.plan {
        FlowPlan::Mount { .. } => set_reach(txn, info.acct, info.nsid, info.role, ReachState::Joined),
        _ if info.plan.freeze_step() == Some(info.step) => info.since_ms = value,
        _ => {}
    }
}

fn set_reach<S: Store>(txn: &mut Txn<'_, S>, acct: Acct, nsid: Nsid, role: MemberRole, state: ReachState) {
    txn.put(keys::reach(acct, nsid), &ReachInfo { role, state });
}

/// The last step was done: what group 0 has to say of it.
fn bring_about<S: Store>(txn: &mut Txn<'_, S>, info: &FlowInfo) -> Result<(), Halt> {
    let (acct, nsid) = (info.acct, info.nsid);
    let kept: Option<ReachInfo> = txn.row(&keys::reach(acct, nsid))?;
    match info.plan {
        FlowPlan::Account { .. } => {
            let mut row: AccountRow = txn.row(&account(acct))?.expect("the flow made it");
            row.state = STATE_ACTIVE;
            txn.put(account(acct), &row);
            set_directory(txn, nsid, |row| row.state = STATE_ACTIVE)?;
        }
        FlowPlan::Share { .. } => {
            set_directory(txn, nsid, |row| row.state = STATE_ACTIVE)?;
            set_reach(txn, acct, nsid, MemberRole::Owner, ReachState::Mounted);
        }
        FlowPlan::AddMember { .. } => {
            set_reach(txn, acct, nsid, info.role, kept.map_or(ReachState::Invited, |kept| kept.state));
        }
        FlowPlan::Mount { .. } => set_reach(txn, acct, nsid, info.role, ReachState::Mounted),
        FlowPlan::Unmount { .. } => {
            let is_invited = kept.is_some_and(|kept| kept.state == ReachState::Invited);
            let state = if is_invited { ReachState::Invited } else { ReachState::Joined };
            set_reach(txn, acct, nsid, info.role, state);
        }
        FlowPlan::RemoveMember { .. } => txn.delete(keys::reach(acct, nsid)),
        FlowPlan::MoveAcross { .. } => {}
        FlowPlan::AccountEnd { .. } => {
            let row: AccountRow = txn.row(&account(acct))?.expect("it was there when the flow began");
            for name in [&row.name, &row.profile.email].into_iter().filter(|name| !name.is_empty()) {
                txn.delete(account_name(&name_key(name)));
            }
            grants::set(txn, acct, nsid, 0)?;
            txn.delete(account(acct));
            set_directory(txn, nsid, |row| row.state = STATE_DEAD)?;
        }
        FlowPlan::Transfer { from, to, .. } => {
            let heir: Option<ReachInfo> = txn.row(&keys::reach(to, nsid))?;
            grants::set(txn, from, nsid, 0)?;
            set_directory(txn, nsid, |row| row.owner = to)?;
            set_reach(txn, from, nsid, MemberRole::Editor, kept.map_or(ReachState::Joined, |kept| kept.state));
            set_reach(txn, to, nsid, MemberRole::Owner, heir.map_or(ReachState::Joined, |heir| heir.state));
        }
        FlowPlan::Grant { is_raise: true, .. } => {}
        FlowPlan::Grant { is_raise: false, bytes, .. } => {
            let before = grants::granted(txn, acct, nsid)?;
            grants::set(txn, acct, nsid, before.saturating_sub(bytes))?;
        }
    }
    Ok(())
}

/// It was refused: what was reserved for it is free again.
fn give_back<S: Store>(txn: &mut Txn<'_, S>, info: &FlowInfo) -> Result<(), Halt> {
    let (acct, nsid) = (info.acct, info.nsid);
    match info.plan {
        FlowPlan::Account { .. } => {
            let row: AccountRow = txn.row(&account(acct))?.expect("the flow made it");
            txn.delete(account_name(&name_key(&row.name)));
            if !row.profile.email.is_empty() {
                txn.delete(account_name(&name_key(&row.profile.email)));
            }
            txn.delete(account(acct));
            txn.delete(keys::grant(acct, nsid));
            set_directory(txn, nsid, |row| row.state = STATE_DEAD)?;
        }
        FlowPlan::Share { .. } => {
            set_directory(txn, nsid, |row| row.state = STATE_DEAD)?;
            grants::set(txn, acct, nsid, 0)?;
        }
        FlowPlan::AccountEnd { .. } => {
            let mut row: AccountRow = txn.row(&account(acct))?.expect("it was there when the flow began");
            row.state = STATE_SUSPENDED;
            txn.put(account(acct), &row);
        }
        FlowPlan::Transfer { to, .. } => grants::set(txn, to, nsid, 0)?,
        FlowPlan::Grant { is_raise: true, bytes, .. } => {
            let before = grants::granted(txn, acct, nsid)?;
            grants::set(txn, acct, nsid, before.saturating_sub(bytes))?;
        }
        FlowPlan::Grant { is_raise: false, .. }
        | FlowPlan::AddMember { .. }
        | FlowPlan::Mount { .. }
        | FlowPlan::Unmount { .. }
        | FlowPlan::MoveAcross { .. }
        | FlowPlan::RemoveMember { .. } => {}
    }
    Ok(())
}

fn set_directory<S: Store>(
    txn: &mut Txn<'_, S>,
    nsid: Nsid,
    change: impl FnOnce(&mut DirectoryRow),
) -> Result<(), Cold> {
    let mut row: DirectoryRow = txn.row(&directory(nsid))?.expect("a flow's namespace is in the directory");
    change(&mut row);
    txn.put(directory(nsid), &row);
    Ok(())
}

/// Ends a flow; the removal that waits for it begins.
fn end<S: Store>(txn: &mut Txn<'_, S>, info: FlowInfo, state: FlowState, code: u8) -> Result<Outcome, Halt> {
    let ended = FlowInfo { state, code, touched_ms: txn.stamp_ms, ..info };
    txn.delete(keys::flow(ended.flow));
    txn.put(keys::ended(ended.flow), &ended);
    for (acct, nsid) in ended.holds() {
        let key = keys::flow_of(acct, nsid);
        let row: FlowOfRow = txn.row(&key)?.expect("a flow holds what it works on");
        if row.waiting == 0 {
            txn.delete(key);
            continue;
        }
        let mut next: FlowInfo = txn.row(&keys::flow(row.waiting))?.expect("what waits has a row");
        (next.state, next.touched_ms) = (FlowState::Open, txn.stamp_ms);
        txn.put(keys::flow(next.flow), &next);
        txn.put(key, &FlowOfRow { open: next.flow, waiting: 0 });
        let owner = txn.row::<DirectoryRow>(&directory(nsid))?.map(|row| row.owner);
        if owner == Some(acct) {
            // It became the owner meanwhile, and an owner is not removed.
            end(txn, next, FlowState::Failed, MALFORMED)?;
        }
    }
    Ok(Outcome::Flow(Box::new(ended)))
}

/// Drops flows that ended long ago; the oldest come first.
fn forget_ended<S: Store>(txn: &mut Txn<'_, S>) -> Result<(), Cold> {
    let mut rows = Rows::new();
    txn.scan(whole_table(table::FLOW_ENDED), ENDED_LOOKS, &mut rows)?;
    for (key, value) in rows {
        if FlowInfo::decode(&value).touched_ms.saturating_add(BLOCK_KEEP_MS) <= txn.stamp_ms {
            txn.delete(key);
        }
    }
    Ok(())
}
