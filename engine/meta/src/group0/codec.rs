//! The bytes of group 0's commands: fields in the order of the structs, texts as blobs (u32 length, zero[4], bytes
//! zero-padded to 8).

use base::{Acct, Nsid};

use super::record::Record;
use super::*;
use crate::codec::{DecodeError, Put, Reader};
use crate::password::PasswordHash;
use crate::query_codec::{blob_text, put_blob};

/// Which fields of an [`AccountSet`] follow.
mod set {
    pub const EMAIL: u8 = 1;
    pub const NAMES: u8 = 2;
    pub const PASSWORD: u8 = 4;
    pub const PLAN: u8 = 8;
    pub const ALLOCATED: u8 = 16;
    pub const SUSPENDED: u8 = 32;
    pub const ALL: u8 = 63;
}

impl Group0Command {
    pub(crate) fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Group0Command::AppPut { client_id, info } => {
                put_blob(client_id.as_bytes(), out);
                info.put(out);
            }
            Group0Command::TokenPut(put) => {
                out.bytes(&put.token);
                [put.acct.0, put.app, put.scopes, put.expires_ms].iter().for_each(|field| out.u64(*field));
                out.bytes(&put.code);
                out.bytes(&put.access);
            }
            Group0Command::TokenRevoke(revoke) => {
                let (kind, acct, expires_ms, token) = match *revoke {
                    TokenRevoke::Refresh(token) => (0, Acct(0), 0, token),
                    TokenRevoke::Access { token, acct, expires_ms } => (1, acct, expires_ms, token),
                    TokenRevoke::Account(acct) => (2, acct, 0, [0; 32]),
                };
                [kind, acct.0, expires_ms].iter().for_each(|field| out.u64(*field));
                out.bytes(&token);
            }
            Group0Command::CodePut(put) => {
                out.bytes(&put.code);
                put.info.put(out);
                out.bytes(&put.challenge);
                put_blob(put.redirect.as_bytes(), out);
            }
            Group0Command::CodeTake(take) => {
                out.bytes(&take.code);
                out.u64(take.app);
                out.bytes(&take.challenge);
                put_blob(take.redirect.as_bytes(), out);
            }
            Group0Command::FlowStart(plan) => plan.put(out),
            Group0Command::FlowStep(step) => {
                out.u64(step.flow);
                out.u32(step.step);
                out.u8(step.code);
                out.zero(3);
                out.u64(step.value);
            }
            Group0Command::GrantReserve(change) | Group0Command::GrantRelease(change) => {
                let fields = [change.acct.0, change.nsid.0, change.before, change.bytes];
                fields.iter().for_each(|field| out.u64(*field));
            }
            Group0Command::FeatureRaise { level } => out.u32(*level),
            Group0Command::AlarmRaise(alarm) | Group0Command::AlarmClear(alarm) => alarm.put(out),
            Group0Command::TicketPut(put) => {
                out.bytes(&put.ticket);
                put.info.put(out);
            }
            Group0Command::TicketTake { ticket } => out.bytes(ticket),
            Group0Command::AccountSet(account) => encode_set(account, out),
            Group0Command::SettingPut { name, value } => {
                put_blob(name.as_bytes(), out);
                put_blob(value.as_bytes(), out);
            }
        }
    }

    pub(crate) fn decode_body(kind: u8, reader: &mut Reader<'_>) -> Result<Group0Command, DecodeError> {
        Ok(match kind {
            65 => Group0Command::AppPut { client_id: blob_text(reader)?, info: AppInfo::take(reader)? },
            66 => Group0Command::TokenPut(TokenPut {
                token: reader.array()?,
                acct: Acct(reader.u64()?),
                app: reader.u64()?,
                scopes: reader.u64()?,
                expires_ms: reader.u64()?,
                code: reader.array()?,
                access: reader.array()?,
            }),
            67 => {
                let (what, acct, expires_ms) = (reader.u64()?, Acct(reader.u64()?), reader.u64()?);
                let token = reader.array()?;
                Group0Command::TokenRevoke(match (what, acct, expires_ms) {
                    (0, Acct(0), 0) => TokenRevoke::Refresh(token),
                    (1, acct, expires_ms) => TokenRevoke::Access { token, acct, expires_ms },
                    (2, acct, 0) if token == [0; 32] => TokenRevoke::Account(acct),
                    _ => return Err(DecodeError::Field("revoke")),
                })
            }
            68 => Group0Command::CodePut(CodePut {
                code: reader.array()?,
                info: CodeInfo::take(reader)?,
                challenge: reader.array()?,
                redirect: blob_text(reader)?,
            }),
            69 => Group0Command::CodeTake(CodeTake {
                code: reader.array()?,
                app: reader.u64()?,
                challenge: reader.array()?,
                redirect: blob_text(reader)?,
            }),
            70 => Group0Command::FlowStart(FlowPlan::take(reader)?),
            71 => {
                let (flow, step, code) = (reader.u64()?, reader.u32()?, reader.u8()?);
                reader.zero(3)?;
                Group0Command::FlowStep(FlowStep { flow, step, code, value: reader.u64()? })
            }
            72 | 73 => {
                let (acct, nsid) = (Acct(reader.u64()?), Nsid(reader.u64()?));
                let change = GrantChange { acct, nsid, before: reader.u64()?, bytes: reader.u64()? };
                let is_reserve = kind == 72;
                if is_reserve { Group0Command::GrantReserve(change) } else { Group0Command::GrantRelease(change) }
            }
            74 => Group0Command::FeatureRaise { level: reader.u32()? },
            75 => Group0Command::AlarmRaise(AlarmInfo::take(reader)?),
            76 => Group0Command::AlarmClear(AlarmInfo::take(reader)?),
            77 => Group0Command::TicketPut(TicketPut { ticket: reader.array()?, info: TicketInfo::take(reader)? }),
            78 => Group0Command::TicketTake { ticket: reader.array()? },
            81 => Group0Command::AccountSet(decode_set(reader)?),
            82 => Group0Command::SettingPut { name: blob_text(reader)?, value: blob_text(reader)? },
            number => return Err(DecodeError::Kind { what: "command", number }),
        })
    }
}

/// `0 u64 acct   8 u8 which fields   9 u8 suspended   10 u8 plan   11 zero[5]   16 u64 allocated`, then e-mail, given name,
/// surname and password, those of the fields that follow.
fn encode_set(account: &AccountSet, out: &mut Vec<u8>) {
    let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    out.u64(account.acct.0);
    out.u8(bit(account.email.is_some(), set::EMAIL)
        | bit(account.names.is_some(), set::NAMES)
        | bit(account.password.is_some(), set::PASSWORD)
        | bit(account.plan.is_some(), set::PLAN)
        | bit(account.allocated.is_some(), set::ALLOCATED)
        | bit(account.is_suspended.is_some(), set::SUSPENDED));
    out.u8(u8::from(account.is_suspended.unwrap_or_default()));
    out.u8(account.plan.unwrap_or_default());
    out.zero(5);
    out.u64(account.allocated.unwrap_or_default());
    account.email.iter().for_each(|email| put_blob(email.as_bytes(), out));
    if let Some((given, surname)) = &account.names {
        put_blob(given.as_bytes(), out);
        put_blob(surname.as_bytes(), out);
    }
    account.password.iter().for_each(|password| password.encode(out));
}

fn decode_set(reader: &mut Reader<'_>) -> Result<AccountSet, DecodeError> {
    let acct = Acct(reader.u64()?);
    let (fields, suspended, plan) = (reader.u8()?, reader.u8()?, reader.u8()?);
    reader.zero(5)?;
    let allocated = reader.u64()?;
    let has = |bit: u8| fields & bit != 0;
    let is_clean = fields & !set::ALL == 0
        && suspended <= u8::from(has(set::SUSPENDED))
        && (plan == 0 || has(set::PLAN))
        && (allocated == 0 || has(set::ALLOCATED));
    if !is_clean {
        return Err(DecodeError::Field("account fields"));
    }
    Ok(AccountSet {
        acct,
        email: has(set::EMAIL).then(|| blob_text(reader)).transpose()?,
        names: has(set::NAMES).then(|| Ok((blob_text(reader)?, blob_text(reader)?))).transpose()?,
        password: has(set::PASSWORD).then(|| PasswordHash::parse(reader)).transpose()?,
        plan: has(set::PLAN).then_some(plan),
        allocated: has(set::ALLOCATED).then_some(allocated),
        is_suspended: has(set::SUSPENDED).then_some(suspended == 1),
    })
}
