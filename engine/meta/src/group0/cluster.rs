//! What concerns the cluster as a whole: its feature level, alarms, settings, and who may join.

use super::apply::tidy;
use super::record::{AlarmInfo, SettingRow, TicketInfo};
use super::{TicketPut, keys};
use crate::feature::LEVEL_BORN;
use crate::keys::table;
use crate::outcome::Outcome;
use crate::overlay::{Source, Txn};
use crate::rows::{NumberRow, RowValue};
use crate::store::{Cold, Rows, Store};
use crate::tree::Halt;

/// A ticket is good for so long.
const TICKET_MS: u64 = 60 * 60 * 1000;
/// Bytes of the name of an alarm or setting, of an alarm's text and of a setting's value.
const NAME_BYTES_MAX: usize = 64;
const TEXT_BYTES_MAX: usize = 4096;
/// Alarms, and settings, at most: so many one answer tells.
pub(crate) const CLUSTER_ROWS_MAX: u32 = 2000;
/// Bytes of a `host:port`.
const ADDRESS_BYTES_MAX: usize = 512;

/// The level of a group; it has one from its first entry on.
pub(crate) fn level<R: Source>(source: &mut R) -> Result<u32, Cold> {
    Ok(source.row(&keys::level())?.map_or(LEVEL_BORN, |NumberRow(level)| level as u32))
}

/// Never lower: what was written by the rules of a level stays.
pub(crate) fn raise_level<S: Store>(txn: &mut Txn<'_, S>, wanted: u32) -> Result<Outcome, Halt> {
    let now = level(txn)?;
    if wanted < now {
        return Ok(Outcome::Exists { id: u64::from(now) });
    }
    if wanted > now {
        txn.put(keys::level(), &NumberRow(u64::from(wanted)));
    }
    Ok(Outcome::Done)
}

fn is_name(name: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

fn is_full<S: Store>(txn: &mut Txn<'_, S>, range: std::ops::Range<Vec<u8>>) -> Result<bool, Cold> {
    let mut rows = Rows::new();
    txn.scan(range, CLUSTER_ROWS_MAX, &mut rows)?;
    Ok(rows.len() == CLUSTER_ROWS_MAX as usize)
}

/// One that is on already keeps its time.
pub(crate) fn raise_alarm<S: Store>(txn: &mut Txn<'_, S>, alarm: &AlarmInfo) -> Result<Outcome, Halt> {
    if !is_name(&alarm.name) || alarm.text.len() > TEXT_BYTES_MAX {
        return Ok(Outcome::Malformed);
    }
    let key = keys::alarm(&alarm.name, alarm.node);
    let raised_ms = match txn.row::<AlarmInfo>(&key)? {
        Some(before) => before.raised_ms,
        None if is_full(txn, keys::alarms())? => return Ok(Outcome::TooLarge),
        None => txn.stamp_ms,
    };
    txn.put(key, &AlarmInfo { raised_ms, ..alarm.clone() });
    Ok(Outcome::Done)
}

pub(crate) fn clear_alarm<S: Store>(txn: &mut Txn<'_, S>, alarm: &AlarmInfo) -> Result<Outcome, Halt> {
    let key = keys::alarm(&alarm.name, alarm.node);
    if !txn.has(&key)? {
        return Ok(Outcome::NotFound);
    }
    txn.delete(key);
    Ok(Outcome::Done)
}

pub(crate) fn put_setting<S: Store>(txn: &mut Txn<'_, S>, name: &str, value: &str) -> Result<Outcome, Halt> {
    if !is_name(name) || value.len() > TEXT_BYTES_MAX {
        return Ok(Outcome::Malformed);
    }
    let key = keys::setting(name);
    if value.is_empty() {
        txn.delete(key);
    } else if !txn.has(&key)? && is_full(txn, keys::settings())? {
        return Ok(Outcome::TooLarge);
    } else {
        txn.put(key, &SettingRow(value.to_owned()));
    }
    Ok(Outcome::Done)
}

pub(crate) fn put_ticket<S: Store>(txn: &mut Txn<'_, S>, put: &TicketPut) -> Result<Outcome, Halt> {
    tidy(txn, table::TICKET, |txn, _, value| Ok(TicketInfo::decode(value).expires_ms <= txn.stamp_ms))?;
    let address = &put.info.peer_address;
    if put.info.node.0 == 0 || address.is_empty() || address.len() > ADDRESS_BYTES_MAX {
        return Ok(Outcome::Malformed);
    }
    let expires_ms = txn.stamp_ms + TICKET_MS;
    txn.put(keys::ticket(&put.ticket), &TicketInfo { expires_ms, ..put.info.clone() });
    Ok(Outcome::Done)
}

pub(crate) fn take_ticket<S: Store>(txn: &mut Txn<'_, S>, ticket: &[u8; 32]) -> Result<Outcome, Halt> {
    let key = keys::ticket(ticket);
    let row = txn.row::<TicketInfo>(&key)?.filter(|row| row.expires_ms > txn.stamp_ms);
    let Some(row) = row else { return Ok(Outcome::NotFound) };
    txn.delete(key);
    Ok(Outcome::Ticket(Box::new(row)))
}
