//! Grants: how much of what an account may have lies in which namespace.

use base::{Acct, Nsid};

use super::{GrantChange, keys};
use crate::keys::account;
use crate::outcome::Outcome;
use crate::overlay::{Source, Txn};
use crate::rows::{AccountRow, NumberRow, STATE_BUILDING, STATE_DEAD};
use crate::store::{Cold, Store};
use crate::tree::Halt;

/// What the account has granted to the namespace.
pub(crate) fn granted<S: Store>(txn: &mut Txn<'_, S>, acct: Acct, nsid: Nsid) -> Result<u64, Cold> {
    Ok(txn.row(&keys::grant(acct, nsid))?.map_or(0, |NumberRow(bytes)| bytes))
}

/// Makes the grant another one; the sum of an account's grants never passes what is allocated.
pub(crate) fn change<S: Store>(txn: &mut Txn<'_, S>, change: &GrantChange) -> Result<Outcome, Halt> {
    let now = granted(txn, change.acct, change.nsid)?;
    if now == change.bytes {
        return Ok(Outcome::Done);
    }
    if now != change.before {
        return Ok(Outcome::RevMismatch);
    }
    // It may be given up, or is about to go, with what its own flow has granted and nothing else.
    let row: Option<AccountRow> = txn.row(&account(change.acct))?;
    if row.is_some_and(|row| matches!(row.state, STATE_BUILDING | STATE_DEAD)) {
        return Ok(Outcome::NotFound);
    }
    set(txn, change.acct, change.nsid, change.bytes)?;
    Ok(Outcome::Done)
}

/// As [`change`], whatever it was; a refusal is the way out.
pub(crate) fn set<S: Store>(txn: &mut Txn<'_, S>, acct: Acct, nsid: Nsid, bytes: u64) -> Result<(), Halt> {
    let before = granted(txn, acct, nsid)?;
    let Some(mut row) = txn.row::<AccountRow>(&account(acct))? else { return Err(Outcome::NotFound.into()) };
    let Some(sum) = (row.profile.granted - before).checked_add(bytes) else { return Err(Outcome::TooLarge.into()) };
    if bytes > before && row.allocated != 0 && sum > row.allocated {
        return Err(Outcome::Quota { short_bytes: sum - row.allocated }.into());
    }
    row.profile.granted = sum;
    txn.put(account(acct), &row);
    if bytes == 0 {
        txn.delete(keys::grant(acct, nsid));
    } else {
        txn.put(keys::grant(acct, nsid), &NumberRow(bytes));
    }
    Ok(())
}
