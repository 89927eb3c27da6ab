//! Runs the commands of group 0.

use base::Acct;

use super::{Group0Command, accounts, cluster, flows, grants, tokens};
use crate::command::CommandHeader;
use crate::keys::after;
use crate::outcome::Outcome;
use crate::overlay::{Source, Txn};
use crate::rows::{NumberRow, SweepRow};
use crate::store::{Cold, Rows, Store};
use crate::tree::Halt;

/// Rows that are looked at for being over whenever one comes.
const TIDY_LOOKS: u32 = 16;

/// Runs a command that only the system may give; but for the feature level it is of group 0 alone.
pub(crate) fn execute<S: Store>(
    txn: &mut Txn<'_, S>,
    header: &CommandHeader,
    command: &Group0Command,
) -> Result<Outcome, Halt> {
    if header.acct != Acct(0) {
        return Ok(Outcome::NoAccess);
    }
    if txn.view.group.0 != 0 && !matches!(command, Group0Command::FeatureRaise { .. }) {
        return Ok(Outcome::Malformed);
    }
    match command {
        Group0Command::AppPut { client_id, info } => tokens::put_app(txn, client_id, info),
        Group0Command::TokenPut(put) => tokens::put_token(txn, put),
        Group0Command::TokenRevoke(revoke) => tokens::revoke(txn, *revoke),
        Group0Command::CodePut(put) => tokens::put_code(txn, put),
        Group0Command::CodeTake(take) => tokens::take_code(txn, take),
        Group0Command::FlowStart(plan) => flows::start(txn, plan),
        Group0Command::FlowStep(step) => flows::step(txn, *step),
        Group0Command::GrantReserve(change) if change.bytes < change.before => Ok(Outcome::Malformed),
        Group0Command::GrantRelease(change) if change.bytes > change.before => Ok(Outcome::Malformed),
        Group0Command::GrantReserve(change) | Group0Command::GrantRelease(change) => grants::change(txn, change),
        Group0Command::FeatureRaise { level } => cluster::raise_level(txn, *level),
        Group0Command::AlarmRaise(alarm) => cluster::raise_alarm(txn, alarm),
        Group0Command::AlarmClear(alarm) => cluster::clear_alarm(txn, alarm),
        Group0Command::TicketPut(put) => cluster::put_ticket(txn, put),
        Group0Command::TicketTake { ticket } => cluster::take_ticket(txn, ticket),
        Group0Command::AccountSet(account) => accounts::set_account(txn, account),
        Group0Command::SettingPut { name, value } => cluster::put_setting(txn, name, value),
    }
}

/// The next number of a kind, from 1; none is given twice.
pub(crate) fn next_number<S: Store>(txn: &mut Txn<'_, S>, what: &str) -> Result<u64, Cold> {
    let key = super::keys::next(what);
    let NumberRow(next) = txn.row(&key)?.unwrap_or(NumberRow(1));
    txn.put(key, &NumberRow(next + 1));
    Ok(next)
}

/// Looks at the next few rows of a table, in a circle, and drops those that are over.
pub(crate) fn tidy<S: Store>(
    txn: &mut Txn<'_, S>,
    table: u8,
    mut is_over: impl FnMut(&mut Txn<'_, S>, &[u8], &[u8]) -> Result<bool, Cold>,
) -> Result<(), Cold> {
    let place = super::keys::tidied(table);
    let begin = txn.row::<SweepRow>(&place)?.unwrap_or_default().position;
    let range = crate::keys::whole_table(table);
    let start = if begin.is_empty() { range.start } else { after(begin.clone()) };
    let mut rows = Rows::new();
    txn.scan(start..range.end, TIDY_LOOKS, &mut rows)?;
    let mut is_cold = false;
    for (key, value) in &rows {
        match is_over(txn, key, value) {
            Ok(true) => txn.delete(key.clone()),
            Ok(false) => {}
            Err(Cold) => is_cold = true,
        }
    }
    if is_cold {
        return Err(Cold);
    }
    match rows.last() {
        Some((key, _)) if rows.len() == TIDY_LOOKS as usize => {
            txn.put(place, &SweepRow { position: key.clone() });
        }
        _ if !begin.is_empty() => txn.delete(place),
        _ => {}
    }
    Ok(())
}
