//! Rows of sessions, and of what group 0 keeps.

use base::{Acct, Nsid, Sequence, SessionId};

use super::RowValue;
use crate::codec::{DecodeError, Put, Reader, len16, len32};
use crate::metadata::NamespaceKind;
use crate::password::PasswordHash;
use crate::query_codec::{blob_text, put_blob};

/// Table 10, 56 B.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SessionRow {
    pub acct: Acct,
    pub nonce: [u8; 16],
    pub ack_below: Sequence,
    pub last_stamp_ms: u64,
    /// The highest sequence executed.
    pub high: Sequence,
}

impl RowValue for SessionRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.zero(7);
        out.u64(self.acct.0);
        out.bytes(&self.nonce);
        out.u64(self.ack_below.0);
        out.u64(self.last_stamp_ms);
        out.u64(self.high.0);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        Ok(SessionRow {
            acct: Acct(reader.u64()?),
            nonce: reader.array()?,
            ack_below: Sequence(reader.u64()?),
            last_stamp_ms: reader.u64()?,
            high: Sequence(reader.u64()?),
        })
    }
}

/// Table 10 at session 0, 24 B: how many sessions the group has, and where the search for idle ones stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct SessionsRow {
    pub count: u64,
    pub looked_at: SessionId,
}

impl RowValue for SessionsRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.zero(7);
        out.u64(self.count);
        out.u64(self.looked_at.0);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        Ok(SessionsRow { count: reader.u64()?, looked_at: SessionId(reader.u64()?) })
    }
}

/// Tables 0A, 12 and 21: `format u8, pad[7], a number`: the node of a mount, the session of a nonce, the account of a
/// name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct NumberRow(pub u64);

impl RowValue for NumberRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.zero(7);
        out.u64(self.0);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        Ok(NumberRow(reader.u64()?))
    }
}

/// Table 29 at `counters`, 24 B: the next ids that group 0 hands out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CountersRow {
    pub next_acct: u64,
    pub next_nsid: u64,
}

impl Default for CountersRow {
    fn default() -> CountersRow {
        CountersRow { next_acct: 1, next_nsid: 10_000_000_000 }
    }
}

impl RowValue for CountersRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.zero(7);
        out.u64(self.next_acct);
        out.u64(self.next_nsid);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(7)?;
        Ok(CountersRow { next_acct: reader.u64()?, next_nsid: reader.u64()? })
    }
}

/// Table 20: `format u8, state u8, name_len u16, token_gen u32, root u64, allocated u64, created_ms u64, name`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AccountRow {
    pub state: u8,
    pub token_gen: u32,
    pub root: Nsid,
    /// Bytes of all its grants; 0 while nothing limits them.
    pub allocated: u64,
    pub created_ms: u64,
    pub name: String,
    pub profile: ProfileRow,
}

/// Of [`AccountRow::state`] and [`DirectoryRow::state`]: it is in use.
pub(crate) const STATE_ACTIVE: u8 = 1;
/// A flow makes it.
pub(crate) const STATE_BUILDING: u8 = 2;
/// It may not come in.
pub(crate) const STATE_SUSPENDED: u8 = 3;
/// The flow that was to make it gave up.
pub(crate) const STATE_DEAD: u8 = 4;

/// After the name in table 20, if there is any of it: `plan u8, zero[7], granted u64`, then e-mail, given name, surname and
/// password hash, blobs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ProfileRow {
    pub plan: u8,
    /// Bytes of all its grants.
    pub granted: u64,
    pub email: String,
    pub given: String,
    pub surname: String,
    pub password: PasswordHash,
}

impl ProfileRow {
    fn put(&self, out: &mut Vec<u8>) {
        out.u8(self.plan);
        out.zero(7);
        out.u64(self.granted);
        [&self.email, &self.given, &self.surname].iter().for_each(|text| put_blob(text.as_bytes(), out));
        self.password.encode(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<ProfileRow, DecodeError> {
        let plan = reader.u8()?;
        reader.zero(7)?;
        Ok(ProfileRow {
            plan,
            granted: reader.u64()?,
            email: blob_text(reader)?,
            given: blob_text(reader)?,
            surname: blob_text(reader)?,
            password: PasswordHash::parse(reader)?,
        })
    }
}

impl RowValue for AccountRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.u8(self.state);
        out.u16(len16(self.name.len()));
        out.u32(self.token_gen);
        out.u64(self.root.0);
        out.u64(self.allocated);
        out.u64(self.created_ms);
        out.bytes(self.name.as_bytes());
        if self.profile != ProfileRow::default() {
            self.profile.put(out);
        }
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let state = reader.u8()?;
        let name_bytes = reader.u16()? as usize;
        Ok(AccountRow {
            state,
            token_gen: reader.u32()?,
            root: Nsid(reader.u64()?),
            allocated: reader.u64()?,
            created_ms: reader.u64()?,
            name: reader.text(name_bytes)?,
            profile: if reader.left() == 0 { ProfileRow::default() } else { ProfileRow::take(reader)? },
        })
    }
}

/// Table 22: `format u8, kind u8, state u8, pad[5], owner u64`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DirectoryRow {
    pub kind: NamespaceKind,
    pub state: u8,
    pub owner: Acct,
}

impl RowValue for DirectoryRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.u8(self.kind as u8);
        out.u8(self.state);
        out.zero(5);
        out.u64(self.owner.0);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = NamespaceKind::from_u8(reader.u8()?).ok_or(DecodeError::Field("namespace kind"))?;
        let state = reader.u8()?;
        reader.zero(5)?;
        Ok(DirectoryRow { kind, state, owner: Acct(reader.u64()?) })
    }
}

/// Table 2B: `format u8, role u8, address_len u16, pad[4], last_seen_ms u64, address`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ServerRow {
    pub role: u8,
    pub last_seen_ms: u64,
    pub address: String,
}

impl RowValue for ServerRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.u8(self.role);
        out.u16(len16(self.address.len()));
        out.zero(4);
        out.u64(self.last_seen_ms);
        out.bytes(self.address.as_bytes());
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let role = reader.u8()?;
        let length = reader.u16()? as usize;
        reader.zero(4)?;
        Ok(ServerRow { role, last_seen_ms: reader.u64()?, address: reader.text(length)? })
    }
}

/// Table 2C: `format u8, flags u8 {1 removed}, peer_len u16, client_len u32, uuid[16], peer address, client address`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ClusterNodeRow {
    pub is_removed: bool,
    pub uuid: [u8; 16],
    pub peer_address: String,
    pub client_address: String,
}

impl RowValue for ClusterNodeRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.u8(u8::from(self.is_removed));
        out.u16(len16(self.peer_address.len()));
        out.u32(len32(self.client_address.len()));
        out.bytes(&self.uuid);
        out.bytes(self.peer_address.as_bytes());
        out.bytes(self.client_address.as_bytes());
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let is_removed = reader.u8()? != 0;
        let (peer, client) = (reader.u16()? as usize, reader.u32()? as usize);
        let uuid = reader.array()?;
        Ok(ClusterNodeRow { is_removed, uuid, peer_address: reader.text(peer)?, client_address: reader.text(client)? })
    }
}
