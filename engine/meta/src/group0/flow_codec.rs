//! The bytes of flows.
//!
//! ```text
//! plan  0 u8 kind   1 u8 role or flag   2 zero[6]   8 three u64: nsid or 0, acct, node, other acct or bytes
//!       then, of an account its name and of a mount its path, a blob; of a move across the namespace and node that it
//!       goes to, u64 each, and the path
//! flow  0 u64 number   8 u8 state   9 u8 code   10 u8 role   11 zero   12 u32 step   16 touched_ms   24 acct   32 nsid
//!      40 root   48 since_ms   56 bytes   64 the plan
//! ```

use base::{Acct, Nsid, TreeNode};

use super::record::Record;
use super::{FlowInfo, FlowPlan, FlowState};
use crate::codec::{DecodeError, Put, Reader};
use crate::command::{At, MemberRole};
use crate::query_codec::{blob_text, put_blob};

impl Record for FlowPlan {
    fn put(&self, out: &mut Vec<u8>) {
        let mut fields = |kind: u8, small: u8, numbers: [u64; 3]| {
            out.u8(kind);
            out.u8(small);
            out.zero(6);
            numbers.iter().for_each(|number| out.u64(*number));
        };
        match self {
            FlowPlan::Account { name, allocated, grant_bytes } => {
                fields(1, 0, [*allocated, *grant_bytes, 0]);
                put_blob(name.as_bytes(), out);
            }
            FlowPlan::Share { owner, node, grant_bytes } => fields(2, 0, [owner.0, node.0, *grant_bytes]),
            FlowPlan::AddMember { nsid, acct, role } => fields(3, *role as u8, [nsid.0, acct.0, 0]),
            FlowPlan::Mount { nsid, acct, at } => {
                fields(4, 0, [nsid.0, acct.0, at.node.0]);
                put_blob(at.path.as_bytes(), out);
            }
            FlowPlan::Unmount { nsid, acct } => fields(5, 0, [nsid.0, acct.0, 0]),
            FlowPlan::RemoveMember { nsid, acct } => fields(6, 0, [nsid.0, acct.0, 0]),
            FlowPlan::Transfer { nsid, from, to } => fields(7, 0, [nsid.0, from.0, to.0]),
            FlowPlan::MoveAcross { acct, from, node, to, at, autorename } => {
                fields(9, u8::from(*autorename), [from.0, acct.0, node.0]);
                out.u64(to.0);
                out.u64(at.node.0);
                put_blob(at.path.as_bytes(), out);
            }
            FlowPlan::AccountEnd { acct } => fields(10, 0, [0, acct.0, 0]),
            FlowPlan::Grant { nsid, acct, is_raise, bytes } => {
                fields(8, u8::from(*is_raise), [nsid.0, acct.0, *bytes]);
            }
        }
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (kind, small) = (reader.u8()?, reader.u8()?);
        reader.zero(6)?;
        let (first, second, third) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let (nsid, acct) = (Nsid(first), Acct(second));
        let is_plain = small == 0 || matches!(kind, 3 | 8 | 9);
        let has_three = matches!(kind, 2 | 4 | 7 | 8 | 9);
        if !is_plain || (!has_three && third != 0) {
            return Err(DecodeError::Field("flow plan"));
        }
        Ok(match kind {
            1 => FlowPlan::Account { allocated: first, grant_bytes: second, name: blob_text(reader)? },
            2 => FlowPlan::Share { owner: Acct(first), node: TreeNode(second), grant_bytes: third },
            3 => {
                let role = MemberRole::from_u8(small).ok_or(DecodeError::Field("role"))?;
                FlowPlan::AddMember { nsid, acct, role }
            }
            4 => FlowPlan::Mount { nsid, acct, at: At { node: TreeNode(third), path: blob_text(reader)? } },
            5 => FlowPlan::Unmount { nsid, acct },
            6 => FlowPlan::RemoveMember { nsid, acct },
            7 => FlowPlan::Transfer { nsid, from: acct, to: Acct(third) },
            8 if small <= 1 => FlowPlan::Grant { nsid, acct, is_raise: small == 1, bytes: third },
            8 => return Err(DecodeError::Field("flow plan")),
            9 if small <= 1 => {
                let (to, node) = (Nsid(reader.u64()?), TreeNode(reader.u64()?));
                let at = At { node, path: blob_text(reader)? };
                let (from, node, autorename) = (nsid, TreeNode(third), small == 1);
                FlowPlan::MoveAcross { acct, from, node, to, at, autorename }
            }
            10 if first == 0 => FlowPlan::AccountEnd { acct },
            9 | 10 => return Err(DecodeError::Field("flow plan")),
            number => return Err(DecodeError::Kind { what: "flow", number }),
        })
    }
}

impl Record for FlowInfo {
    fn put(&self, out: &mut Vec<u8>) {
        out.u64(self.flow);
        out.u8(self.state as u8);
        out.u8(self.code);
        out.u8(self.role as u8);
        out.zero(1);
        out.u32(self.step);
        for field in [self.touched_ms, self.acct.0, self.nsid.0, self.root.0, self.since_ms, self.bytes] {
            out.u64(field);
        }
        self.plan.put(out);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flow = reader.u64()?;
        let state = FlowState::from_u8(reader.u8()?).ok_or(DecodeError::Field("flow state"))?;
        let code = reader.u8()?;
        let role = MemberRole::from_u8(reader.u8()?).ok_or(DecodeError::Field("role"))?;
        reader.zero(1)?;
        Ok(FlowInfo {
            flow,
            state,
            code,
            role,
            step: reader.u32()?,
            touched_ms: reader.u64()?,
            acct: Acct(reader.u64()?),
            nsid: Nsid(reader.u64()?),
            root: Nsid(reader.u64()?),
            since_ms: reader.u64()?,
            bytes: reader.u64()?,
            plan: FlowPlan::take(reader)?,
        })
    }
}
