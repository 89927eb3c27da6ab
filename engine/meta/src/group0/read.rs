//! Answers the queries of group 0.

use base::limits::LIST_PAGE_MAX;
use base::names::{name_key, normalize_name};
use base::{Acct, Nsid};

use super::cluster::CLUSTER_ROWS_MAX;
use super::record::SettingRow;
use super::{AlarmInfo, AppInfo, FlowInfo, Group0Answer, Group0Query, Profile, ReachInfo, TokenInfo, keys, tokens};
use crate::keys::{account, account_name, after, directory, table, whole_table};
use crate::overlay::Source;
use crate::password::PasswordHash;
use crate::query::{AccountKey, Answer};
use crate::read::at_most;
use crate::rows::{AccountRow, DirectoryRow, NumberRow, RowValue};
use crate::store::{Cold, Rows};
use crate::tree::Halt;

/// What `asker` is told. The system is told all, an account what is about itself; what is not there and what is not the
/// asker's look the same to an account.
pub(crate) fn answer<R: Source>(source: &mut R, asker: Acct, now_ms: u64, query: &Group0Query) -> Result<Answer, Halt> {
    let is_system = asker == Acct(0);
    let (about, limit) = match query {
        Group0Query::Profile(key) => (account_of(source, key)?, 0),
        Group0Query::Reach { acct, limit, .. } | Group0Query::Grants { acct, limit, .. } => (Some(*acct), *limit),
        Group0Query::Apps { limit, .. }
        | Group0Query::Tokens { limit, .. }
        | Group0Query::Revoked { limit, .. }
        | Group0Query::Flows { limit, .. } => (None, *limit),
        _ => (None, 0),
    };
    if !is_system && about != Some(asker) {
        return Ok(Answer::NoAccess);
    }
    let limit = at_most(limit, LIST_PAGE_MAX);
    let told = match query {
        Group0Query::Profile(_) => match about {
            Some(acct) => profile(source, acct, is_system)?,
            None => None,
        },
        Group0Query::App(client_id) => source.row::<AppInfo>(&keys::app(client_id))?.map(Group0Answer::App),
        Group0Query::Apps { after: last, limit: _ } => {
            let begin = if last.is_empty() { keys::app("").to_vec() } else { after(keys::app(last)) };
            let rows = scan(source, begin..whole_table(table::APP).end, limit)?;
            let app = |(key, value): (Vec<u8>, Vec<u8>)| {
                (String::from_utf8(key[1..].to_vec()).expect("client ids are text"), AppInfo::decode(&value))
            };
            Some(Group0Answer::Apps(rows.into_iter().map(app).collect()))
        }
        Group0Query::Token(token) => match source.row::<TokenInfo>(&keys::token(keys::REFRESH, token))? {
            Some(info) if tokens::is_good(source, &info, now_ms)? => {
                let row: Option<AccountRow> = source.row(&account(info.acct))?;
                row.map(|row| Group0Answer::Token { info, root: row.root })
            }
            _ => None,
        },
        Group0Query::Tokens { after: last, .. } => {
            let mut range = keys::refresh_tokens();
            if *last != [0; 32] {
                range.start = after(keys::token(keys::REFRESH, last));
            }
            let rows = scan(source, range, limit)?;
            Some(Group0Answer::Tokens(rows.iter().map(|(key, row)| (digest(key), TokenInfo::decode(row))).collect()))
        }
        Group0Query::Revoked { after: last, .. } => return revoked(source, last, limit),
        Group0Query::Reach { acct, after: last, .. } => {
            let range = keys::reach(*acct, Nsid(last.0.saturating_add(1))).to_vec()..keys::reaches(*acct).end;
            let rows = scan(source, range, limit)?;
            Some(Group0Answer::Reach(rows.iter().map(|(key, row)| (nsid(key), ReachInfo::decode(row))).collect()))
        }
        Group0Query::Grants { acct, after: last, .. } => {
            let range = keys::grant(*acct, Nsid(last.0.saturating_add(1))).to_vec()..keys::grants(*acct).end;
            let rows = scan(source, range, limit)?;
            Some(Group0Answer::Grants(rows.iter().map(|(key, row)| (nsid(key), NumberRow::decode(row).0)).collect()))
        }
        Group0Query::Flow(flow) => match source.row::<FlowInfo>(&keys::flow(*flow))? {
            Some(open) => Some(open),
            None => source.row(&keys::ended(*flow))?,
        }
        .map(|flow| Group0Answer::Flow(Box::new(flow))),
        Group0Query::Flows { after: last, .. } => {
            let range = keys::flow(last.saturating_add(1)).to_vec()..whole_table(table::FLOW).end;
            let rows = scan(source, range, limit)?;
            Some(Group0Answer::Flows(rows.iter().map(|(_, row)| FlowInfo::decode(row)).collect()))
        }
        Group0Query::Cluster => Some(cluster(source)?),
        Group0Query::Directory(nsid) => source
            .row::<DirectoryRow>(&directory(*nsid))?
            .map(|row| Group0Answer::Directory { kind: row.kind, state: row.state, owner: row.owner }),
    };
    Ok(told.map_or(Answer::NotFound, Answer::Group0))
}

fn scan<R: Source>(source: &mut R, range: std::ops::Range<Vec<u8>>, limit: u32) -> Result<Rows, Cold> {
    let mut rows = Rows::new();
    if range.start < range.end {
        source.scan(range, limit, &mut rows)?;
    }
    Ok(rows)
}

fn nsid(key: &[u8]) -> Nsid {
    Nsid(u64::from_be_bytes(key[9..17].try_into().expect("the key has an account and a namespace")))
}

fn digest(key: &[u8]) -> [u8; 32] {
    key[2..].try_into().expect("a token's key ends with its digest")
}

fn account_of<R: Source>(source: &mut R, key: &AccountKey) -> Result<Option<Acct>, Halt> {
    match key {
        AccountKey::Acct(acct) => Ok(Some(*acct)),
        AccountKey::Name(name) => {
            let Ok(name) = normalize_name(name) else { return Ok(None) };
            Ok(source.row(&account_name(&name_key(&name)))?.map(|NumberRow(acct)| Acct(acct)))
        }
    }
}

fn profile<R: Source>(source: &mut R, acct: Acct, is_system: bool) -> Result<Option<Group0Answer>, Cold> {
    let row: Option<AccountRow> = source.row(&account(acct))?;
    Ok(row.map(|row| {
        let password = if is_system { row.profile.password } else { PasswordHash::default() };
        Group0Answer::Profile(Box::new(Profile {
            acct,
            root: row.root,
            state: row.state,
            plan: row.profile.plan,
            token_gen: row.token_gen,
            allocated: row.allocated,
            granted: row.profile.granted,
            created_ms: row.created_ms,
            name: row.name,
            email: row.profile.email,
            given: row.profile.given,
            surname: row.profile.surname,
            password,
        }))
    }))
}

fn revoked<R: Source>(source: &mut R, last: &[u8], limit: u32) -> Result<Answer, Halt> {
    let mut range = keys::revoked();
    if !last.is_empty() {
        let start = after([&[table::TOKEN][..], last].concat());
        if start < range.start {
            return Ok(Answer::Malformed);
        }
        range.start = start;
    }
    let rows = scan(source, range, limit)?;
    let next = rows.last().filter(|_| rows.len() == limit as usize).map(|(key, _)| key[1..].to_vec());
    let (mut tokens, mut generations) = (Vec::new(), Vec::new());
    for (key, value) in &rows {
        if keys::is_generation(key) {
            let acct = u64::from_be_bytes(key[2..10].try_into().expect("the key of a generation has an account"));
            generations.push((Acct(acct), NumberRow::decode(value).0 as u32));
        } else {
            tokens.push(digest(key));
        }
    }
    Ok(Answer::Group0(Group0Answer::Revoked { tokens, generations, next }))
}

fn cluster<R: Source>(source: &mut R) -> Result<Group0Answer, Cold> {
    let level = super::level(source)?;
    let alarms = scan(source, keys::alarms(), CLUSTER_ROWS_MAX)?;
    let settings = scan(source, keys::settings(), CLUSTER_ROWS_MAX)?;
    let setting = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let name = String::from_utf8(keys::setting_name(key).to_vec()).expect("names of settings are text");
        (name, SettingRow::decode(value).0)
    };
    Ok(Group0Answer::Cluster {
        level,
        alarms: alarms.iter().map(|(_, value)| AlarmInfo::decode(value)).collect(),
        settings: settings.iter().map(setting).collect(),
    })
}
