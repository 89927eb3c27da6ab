//! The records of group 0: rows, and what is told of them. A row is `format u8, pad[7]`, then the record.

use base::{Acct, NodeId};

use crate::codec::{DecodeError, Put, Reader};
use crate::command::MemberRole;
use crate::query_codec::{blob_text, count, put_blob, put_count};
use crate::rows::RowValue;

/// Something with bytes of its own.
pub(crate) trait Record: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

macro_rules! rows_of {
    ($($record:ty),*) => {$(
        impl RowValue for $record {
            fn encode(&self, out: &mut Vec<u8>) {
                out.u8(1);
                out.zero(7);
                self.put(out);
            }

            fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.zero(7)?;
                Self::take(reader)
            }
        }
    )*};
}
rows_of!(AppInfo, TokenInfo, CodeRow, TicketInfo, AlarmInfo, ReachInfo, SettingRow, super::FlowInfo, FlowOfRow);

/// Table 26, by client id: `app u64, scopes u64, secret[32], name, count u32, zero[4], redirect URIs`, texts as blobs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AppInfo {
    /// Its number, which access tokens carry; given by the machine.
    pub app: u64,
    /// What its tokens may ask for at most.
    pub scopes: u64,
    /// SHA-256 of its secret; zeros for a public one, which has none.
    pub secret: [u8; 32],
    /// As users see it.
    pub name: String,
    /// Where codes may be sent.
    pub redirects: Vec<String>,
}

impl Record for AppInfo {
    fn put(&self, out: &mut Vec<u8>) {
        out.u64(self.app);
        out.u64(self.scopes);
        out.bytes(&self.secret);
        put_blob(self.name.as_bytes(), out);
        put_count(self.redirects.len(), out);
        self.redirects.iter().for_each(|redirect| put_blob(redirect.as_bytes(), out));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (app, scopes, secret) = (reader.u64()?, reader.u64()?, reader.array()?);
        let name = blob_text(reader)?;
        let count = count(reader, 8, "redirect URIs")?;
        let redirects = (0..count).map(|_| blob_text(reader)).collect::<Result<_, _>>()?;
        Ok(AppInfo { app, scopes, secret, name, redirects })
    }
}

/// Table 25, by kind u8 {0 refresh token, 1 access token that was revoked} and SHA-256:
/// `token_gen u32, zero[4], acct u64, app u64, scopes u64, expires_ms u64, created_ms u64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TokenInfo {
    /// Of the account when it was made; another one now, and the token is void.
    pub token_gen: u32,
    /// Whose.
    pub acct: Acct,
    /// Through which app.
    pub app: u64,
    /// What it may.
    pub scopes: u64,
    /// Until when, milliseconds since 1970; 0 is for ever.
    pub expires_ms: u64,
    /// Since when.
    pub created_ms: u64,
}

impl TokenInfo {
    /// Its time has come.
    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        self.expires_ms != 0 && self.expires_ms <= now_ms
    }
}

impl Record for TokenInfo {
    fn put(&self, out: &mut Vec<u8>) {
        out.u32(self.token_gen);
        out.zero(4);
        for field in [self.acct.0, self.app, self.scopes, self.expires_ms, self.created_ms] {
            out.u64(field);
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let token_gen = reader.u32()?;
        reader.zero(4)?;
        Ok(TokenInfo {
            token_gen,
            acct: Acct(reader.u64()?),
            app: reader.u64()?,
            scopes: reader.u64()?,
            expires_ms: reader.u64()?,
            created_ms: reader.u64()?,
        })
    }
}

/// Who gave a code to which app, and for what.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CodeInfo {
    /// Whose.
    pub acct: Acct,
    /// To which app.
    pub app: u64,
    /// What its tokens may.
    pub scopes: u64,
    /// A refresh token was asked for.
    pub is_offline: bool,
}

impl Record for CodeInfo {
    fn put(&self, out: &mut Vec<u8>) {
        [self.acct.0, self.app, self.scopes, u64::from(self.is_offline)].iter().for_each(|field| out.u64(*field));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (acct, app, scopes) = (Acct(reader.u64()?), reader.u64()?, reader.u64()?);
        let is_offline = match reader.u64()? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Field("offline")),
        };
        Ok(CodeInfo { acct, app, scopes, is_offline })
    }
}

/// How far a code has come; the numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum CodeState {
    Fresh = 1,
    Taken = 2,
    /// Twice: whatever it gave is void.
    Burnt = 3,
}

/// Table 27, by SHA-256: `state u64, the info, challenge[32], expires_ms u64, refresh token[32], access token[32],
/// redirect URI`. The tokens are what it gave, zeros for none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CodeRow {
    pub state: CodeState,
    pub info: CodeInfo,
    pub challenge: [u8; 32],
    pub expires_ms: u64,
    pub refresh: [u8; 32],
    pub access: [u8; 32],
    pub redirect: String,
}

impl Record for CodeRow {
    fn put(&self, out: &mut Vec<u8>) {
        out.u64(self.state as u64);
        self.info.put(out);
        out.bytes(&self.challenge);
        out.u64(self.expires_ms);
        out.bytes(&self.refresh);
        out.bytes(&self.access);
        put_blob(self.redirect.as_bytes(), out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let state = match reader.u64()? {
            1 => CodeState::Fresh,
            2 => CodeState::Taken,
            3 => CodeState::Burnt,
            _ => return Err(DecodeError::Field("code state")),
        };
        let (info, challenge, expires_ms) = (CodeInfo::take(reader)?, reader.array()?, reader.u64()?);
        let (refresh, access) = (reader.array()?, reader.array()?);
        Ok(CodeRow { state, info, challenge, expires_ms, refresh, access, redirect: blob_text(reader)? })
    }
}

/// Table 2a, by SHA-256: `node u64, expires_ms u64, peer address`: who may join the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TicketInfo {
    /// The node id that is kept for it.
    pub node: NodeId,
    /// Until when, milliseconds since 1970.
    pub expires_ms: u64,
    /// Where its peers will reach it, `host:port`.
    pub peer_address: String,
}

impl Record for TicketInfo {
    fn put(&self, out: &mut Vec<u8>) {
        out.u64(self.node.0);
        out.u64(self.expires_ms);
        put_blob(self.peer_address.as_bytes(), out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (node, expires_ms) = (NodeId(reader.u64()?), reader.u64()?);
        Ok(TicketInfo { node, expires_ms, peer_address: blob_text(reader)? })
    }
}

/// Table 29 at `alarm/`: `raised_ms u64, node u64, name, text`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AlarmInfo {
    /// Since when, milliseconds since 1970.
    pub raised_ms: u64,
    /// On which node; 0 is the cluster.
    pub node: NodeId,
    /// Which one, e.g. `nospace`.
    pub name: String,
    /// What is wrong, and what to do.
    pub text: String,
}

impl Record for AlarmInfo {
    fn put(&self, out: &mut Vec<u8>) {
        out.u64(self.raised_ms);
        out.u64(self.node.0);
        put_blob(self.name.as_bytes(), out);
        put_blob(self.text.as_bytes(), out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (raised_ms, node) = (reader.u64()?, NodeId(reader.u64()?));
        Ok(AlarmInfo { raised_ms, node, name: blob_text(reader)?, text: blob_text(reader)? })
    }
}

/// Table 29 at `setting/`: the value, a blob.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct SettingRow(pub String);

impl Record for SettingRow {
    fn put(&self, out: &mut Vec<u8>) {
        put_blob(self.0.as_bytes(), out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        blob_text(reader).map(SettingRow)
    }
}

/// How far an account has come into a shared namespace; the numbers are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ReachState {
    /// It may come in.
    Invited = 1,
    /// It is in.
    Joined = 2,
    /// And has it in its tree.
    Mounted = 3,
}

/// Table 23, by acct and nsid: `role u8, state u8, zero[6]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReachInfo {
    /// As what.
    pub role: MemberRole,
    /// How far.
    pub state: ReachState,
}

impl Record for ReachInfo {
    fn put(&self, out: &mut Vec<u8>) {
        out.u8(self.role as u8);
        out.u8(self.state as u8);
        out.zero(6);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        use ReachState::*;
        let role = MemberRole::from_u8(reader.u8()?).ok_or(DecodeError::Field("role"))?;
        let state = reader.u8()?;
        let state = [Invited, Joined, Mounted].into_iter().find(|known| *known as u8 == state);
        reader.zero(6)?;
        Ok(ReachInfo { role, state: state.ok_or(DecodeError::Field("reach state"))? })
    }
}

/// Table 2d, by acct and nsid: `open u64, waiting u64`: the flow that is open, and the removal that is next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct FlowOfRow {
    pub open: u64,
    pub waiting: u64,
}

impl Record for FlowOfRow {
    fn put(&self, out: &mut Vec<u8>) {
        out.u64(self.open);
        out.u64(self.waiting);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(FlowOfRow { open: reader.u64()?, waiting: reader.u64()? })
    }
}
