//! The bytes of group 0's queries and answers.

use base::{Acct, Nsid};

use super::record::Record;
use super::*;
use crate::codec::{DecodeError, Put, Reader};
use crate::metadata::NamespaceKind;
use crate::password::PasswordHash;
use crate::query::AccountKey;
use crate::query_codec::{blob, blob_text, count, flag, put_blob, put_count};

impl Group0Query {
    pub(crate) fn kind(&self) -> u8 {
        use Group0Query::*;
        match self {
            Profile(_) => 32,
            App(_) => 33,
            Apps { .. } => 34,
            Token(_) => 35,
            Tokens { .. } => 36,
            Revoked { .. } => 37,
            Reach { .. } => 38,
            Grants { .. } => 39,
            Flow(_) => 40,
            Flows { .. } => 41,
            Cluster => 42,
            Directory(_) => 43,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Group0Query::Profile(key) => {
                let (acct, name) = match key {
                    AccountKey::Acct(acct) => (acct.0, ""),
                    AccountKey::Name(name) => (0, &name[..]),
                };
                out.u64(acct);
                put_blob(name.as_bytes(), out);
            }
            Group0Query::App(client_id) => put_blob(client_id.as_bytes(), out),
            Group0Query::Apps { after, limit } => {
                out.u64(u64::from(*limit));
                put_blob(after.as_bytes(), out);
            }
            Group0Query::Token(token) => out.bytes(token),
            Group0Query::Tokens { after, limit } => {
                out.u64(u64::from(*limit));
                out.bytes(after);
            }
            Group0Query::Revoked { after, limit } => {
                out.u64(u64::from(*limit));
                put_blob(after, out);
            }
            Group0Query::Reach { acct, after, limit } | Group0Query::Grants { acct, after, limit } => {
                [u64::from(*limit), acct.0, after.0].iter().for_each(|field| out.u64(*field));
            }
            Group0Query::Flow(flow) => out.u64(*flow),
            Group0Query::Flows { after, limit } => {
                out.u64(u64::from(*limit));
                out.u64(*after);
            }
            Group0Query::Cluster => {}
            Group0Query::Directory(nsid) => out.u64(nsid.0),
        }
    }

    pub(crate) fn decode(kind: u8, reader: &mut Reader<'_>) -> Result<Group0Query, DecodeError> {
        Ok(match kind {
            32 => match (reader.u64()?, blob_text(reader)?) {
                (0, name) => Group0Query::Profile(AccountKey::Name(name)),
                (acct, name) if name.is_empty() => Group0Query::Profile(AccountKey::Acct(Acct(acct))),
                _ => return Err(DecodeError::Field("account")),
            },
            33 => Group0Query::App(blob_text(reader)?),
            34 => Group0Query::Apps { limit: limit(reader)?, after: blob_text(reader)? },
            35 => Group0Query::Token(reader.array()?),
            36 => Group0Query::Tokens { limit: limit(reader)?, after: reader.array()? },
            37 => Group0Query::Revoked { limit: limit(reader)?, after: blob(reader)?.to_vec() },
            38 | 39 => {
                let (limit, acct, after) = (limit(reader)?, Acct(reader.u64()?), Nsid(reader.u64()?));
                let is_reach = kind == 38;
                if is_reach {
                    Group0Query::Reach { acct, after, limit }
                } else {
                    Group0Query::Grants { acct, after, limit }
                }
            }
            40 => Group0Query::Flow(reader.u64()?),
            41 => Group0Query::Flows { limit: limit(reader)?, after: reader.u64()? },
            42 => Group0Query::Cluster,
            43 => Group0Query::Directory(Nsid(reader.u64()?)),
            number => return Err(DecodeError::Kind { what: "query", number }),
        })
    }
}

fn limit(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let limit = reader.u32()?;
    reader.zero(4)?;
    Ok(limit)
}

/// A count, then what `put` writes of each.
fn put_all<T>(all: &[T], out: &mut Vec<u8>, mut put: impl FnMut(&T, &mut Vec<u8>)) {
    put_count(all.len(), out);
    all.iter().for_each(|one| put(one, out));
}

/// As many as a count says; each takes at least `least` bytes.
fn take_all<T>(
    reader: &mut Reader<'_>,
    least: usize,
    what: &'static str,
    mut take: impl FnMut(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = count(reader, least, what)?;
    (0..count).map(|_| take(reader)).collect()
}

impl Record for Profile {
    fn put(&self, out: &mut Vec<u8>) {
        out.u64(self.acct.0);
        out.u64(self.root.0);
        out.u8(self.state);
        out.u8(self.plan);
        out.zero(2);
        out.u32(self.token_gen);
        [self.allocated, self.granted, self.created_ms].iter().for_each(|field| out.u64(*field));
        let texts = [&self.name, &self.email, &self.given, &self.surname];
        texts.iter().for_each(|text| put_blob(text.as_bytes(), out));
        self.password.encode(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (acct, root) = (Acct(reader.u64()?), Nsid(reader.u64()?));
        let (state, plan) = (reader.u8()?, reader.u8()?);
        reader.zero(2)?;
        Ok(Profile {
            acct,
            root,
            state,
            plan,
            token_gen: reader.u32()?,
            allocated: reader.u64()?,
            granted: reader.u64()?,
            created_ms: reader.u64()?,
            name: blob_text(reader)?,
            email: blob_text(reader)?,
            given: blob_text(reader)?,
            surname: blob_text(reader)?,
            password: PasswordHash::parse(reader)?,
        })
    }
}

impl Group0Answer {
    pub(crate) fn kind(&self) -> u8 {
        use Group0Answer::*;
        match self {
            Profile(_) => 40,
            App(_) => 41,
            Apps(_) => 42,
            Token { .. } => 43,
            Tokens(_) => 44,
            Revoked { .. } => 45,
            Reach(_) => 46,
            Grants(_) => 47,
            Flow(_) => 48,
            Flows(_) => 49,
            Cluster { .. } => 50,
            Directory { .. } => 51,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Group0Answer::Profile(profile) => profile.put(out),
            Group0Answer::App(app) => app.put(out),
            Group0Answer::Apps(apps) => put_all(apps, out, |(client_id, app), out| {
                put_blob(client_id.as_bytes(), out);
                app.put(out);
            }),
            Group0Answer::Token { info, root } => {
                info.put(out);
                out.u64(root.0);
            }
            Group0Answer::Tokens(tokens) => put_all(tokens, out, |(token, info), out| {
                out.bytes(token);
                info.put(out);
            }),
            Group0Answer::Revoked { tokens, generations, next } => {
                put_all(tokens, out, |token, out| out.bytes(token));
                put_all(generations, out, |(acct, generation), out| {
                    out.u64(acct.0);
                    out.u64(u64::from(*generation));
                });
                out.u8(u8::from(next.is_some()));
                out.zero(7);
                put_blob(next.as_deref().unwrap_or(&[]), out);
            }
            Group0Answer::Reach(all) => put_all(all, out, |(nsid, reach), out| {
                out.u64(nsid.0);
                reach.put(out);
            }),
            Group0Answer::Grants(all) => put_all(all, out, |(nsid, bytes), out| {
                out.u64(nsid.0);
                out.u64(*bytes);
            }),
            Group0Answer::Flow(flow) => flow.put(out),
            Group0Answer::Flows(flows) => put_all(flows, out, |flow, out| flow.put(out)),
            Group0Answer::Cluster { level, alarms, settings } => {
                out.u64(u64::from(*level));
                put_all(alarms, out, |alarm, out| alarm.put(out));
                put_all(settings, out, |(name, value), out| {
                    put_blob(name.as_bytes(), out);
                    put_blob(value.as_bytes(), out);
                });
            }
            Group0Answer::Directory { kind, state, owner } => {
                out.u8(*kind as u8);
                out.u8(*state);
                out.zero(6);
                out.u64(owner.0);
            }
        }
    }

    pub(crate) fn decode(kind: u8, reader: &mut Reader<'_>) -> Result<Group0Answer, DecodeError> {
        Ok(match kind {
            40 => Group0Answer::Profile(Box::new(Profile::take(reader)?)),
            41 => Group0Answer::App(AppInfo::take(reader)?),
            42 => Group0Answer::Apps(take_all(reader, 72, "apps", |reader| {
                Ok((blob_text(reader)?, AppInfo::take(reader)?))
            })?),
            43 => Group0Answer::Token { info: TokenInfo::take(reader)?, root: Nsid(reader.u64()?) },
            44 => Group0Answer::Tokens(take_all(reader, 80, "tokens", |reader| {
                Ok((reader.array()?, TokenInfo::take(reader)?))
            })?),
            45 => {
                let tokens = take_all(reader, 32, "tokens", |reader| reader.array())?;
                let generations = take_all(reader, 16, "generations", |reader| {
                    let acct = Acct(reader.u64()?);
                    let generation = reader.u32()?;
                    reader.zero(4)?;
                    Ok((acct, generation))
                })?;
                let has_next = flag(reader)?;
                reader.zero(7)?;
                let next = blob(reader)?.to_vec();
                Group0Answer::Revoked { tokens, generations, next: has_next.then_some(next) }
            }
            46 => Group0Answer::Reach(take_all(reader, 16, "namespaces", |reader| {
                Ok((Nsid(reader.u64()?), ReachInfo::take(reader)?))
            })?),
            47 => {
                Group0Answer::Grants(take_all(reader, 16, "grants", |reader| Ok((Nsid(reader.u64()?), reader.u64()?)))?)
            }
            48 => Group0Answer::Flow(Box::new(FlowInfo::take(reader)?)),
            49 => Group0Answer::Flows(take_all(reader, 96, "flows", FlowInfo::take)?),
            50 => {
                let level = limit(reader)?;
                let alarms = take_all(reader, 32, "alarms", AlarmInfo::take)?;
                let settings = take_all(reader, 16, "settings", |reader| Ok((blob_text(reader)?, blob_text(reader)?)))?;
                Group0Answer::Cluster { level, alarms, settings }
            }
            51 => {
                let kind = NamespaceKind::from_u8(reader.u8()?).ok_or(DecodeError::Field("namespace kind"))?;
                let state = reader.u8()?;
                reader.zero(6)?;
                Group0Answer::Directory { kind, state, owner: Acct(reader.u64()?) }
            }
            number => return Err(DecodeError::Kind { what: "answer", number }),
        })
    }
}
