//! Accounts: who they are, and whether they may come in.

use base::names::{name_key, normalize_name};
use base::{Acct, Nsid};

use super::{AccountSet, keys};
use crate::keys::{account, account_name, counters, directory};
use crate::metadata::NamespaceKind;
use crate::outcome::Outcome;
use crate::overlay::{Source, Txn};
use crate::rows::*;
use crate::store::{Cold, Store};
use crate::tree::Halt;

/// Allocates an account and its root; its name is free and normalised.
pub(crate) fn new_account<S: Store>(
    txn: &mut Txn<'_, S>,
    name: String,
    allocated: u64,
    state: u8,
) -> Result<(Acct, Nsid), Cold> {
    let mut numbers: CountersRow = txn.row(&counters())?.unwrap_or_default();
    let (acct, root) = (Acct(numbers.next_acct), Nsid(numbers.next_nsid));
    numbers.next_acct += 1;
    numbers.next_nsid += 1;
    txn.put(counters(), &numbers);
    txn.put(account_name(&name_key(&name)), &NumberRow(acct.0));
    let profile = ProfileRow::default();
    let row = AccountRow { state, token_gen: 0, root, allocated, created_ms: txn.stamp_ms, name, profile };
    txn.put(account(acct), &row);
    txn.put(directory(root), &DirectoryRow { kind: NamespaceKind::Root, state, owner: acct });
    Ok((acct, root))
}

/// Allocates a namespace.
pub(crate) fn new_nsid<S: Store>(txn: &mut Txn<'_, S>) -> Result<Nsid, Cold> {
    let mut numbers: CountersRow = txn.row(&counters())?.unwrap_or_default();
    let nsid = Nsid(numbers.next_nsid);
    numbers.next_nsid += 1;
    txn.put(counters(), &numbers);
    Ok(nsid)
}

/// An account that may be worked for.
pub(crate) fn active<S: Store>(txn: &mut Txn<'_, S>, acct: Acct) -> Result<Option<AccountRow>, Cold> {
    Ok(txn.row::<AccountRow>(&account(acct))?.filter(|row| row.state == STATE_ACTIVE))
}

/// All tokens of the account are void.
pub(crate) fn void_tokens<S: Store>(txn: &mut Txn<'_, S>, acct: Acct, row: &mut AccountRow) {
    row.token_gen = row.token_gen.wrapping_add(1);
    txn.put(keys::generation(acct), &NumberRow(u64::from(row.token_gen)));
}

pub(crate) fn set_account<S: Store>(txn: &mut Txn<'_, S>, set: &AccountSet) -> Result<Outcome, Halt> {
    let Some(mut row) = txn.row::<AccountRow>(&account(set.acct))? else { return Ok(Outcome::NotFound) };
    if let Some(allocated) = set.allocated {
        if allocated != 0 && allocated < row.profile.granted {
            return Ok(Outcome::Quota { short_bytes: row.profile.granted - allocated });
        }
        row.allocated = allocated;
    }
    if set.password.as_ref().is_some_and(|password| password.is_too_long()) {
        return Ok(Outcome::Malformed);
    }
    if let Some((given, surname)) = &set.names {
        let is_name = |name: &str| name.is_empty() || normalize_name(name).is_ok();
        if !is_name(given) || !is_name(surname) {
            return Ok(Outcome::Malformed);
        }
        (row.profile.given, row.profile.surname) = (given.clone(), surname.clone());
    }
    if let Some(email) = &set.email {
        change_email(txn, set.acct, &mut row, email)?;
    }
    if let Some(password) = &set.password {
        row.profile.password = password.clone();
    }
    row.profile.plan = set.plan.unwrap_or(row.profile.plan);
    match set.is_suspended {
        Some(true) if row.state == STATE_ACTIVE => {
            row.state = STATE_SUSPENDED;
            void_tokens(txn, set.acct, &mut row);
        }
        Some(false) if row.state == STATE_SUSPENDED => row.state = STATE_ACTIVE,
        _ => {}
    }
    txn.put(account(set.acct), &row);
    Ok(Outcome::Done)
}

/// The new address leads to the account, the old one no more.
fn change_email<S: Store>(txn: &mut Txn<'_, S>, acct: Acct, row: &mut AccountRow, email: &str) -> Result<(), Halt> {
    let name = name_key(&row.name);
    let is_address = email.is_empty() || (email.matches('@').count() == 1 && normalize_name(email).is_ok());
    if !is_address {
        return Err(Outcome::Malformed.into());
    }
    let (before, now) = (name_key(&row.profile.email), name_key(email));
    if !now.is_empty() {
        if let Some(NumberRow(other)) = txn.row(&account_name(&now))?
            && other != acct.0
        {
            return Err(Outcome::Exists { id: other }.into());
        }
        txn.put(account_name(&now), &NumberRow(acct.0));
    }
    if !before.is_empty() && before != now && before != name {
        txn.delete(account_name(&before));
    }
    email.clone_into(&mut row.profile.email);
    Ok(())
}
