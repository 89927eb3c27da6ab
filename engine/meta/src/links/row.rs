//! Table 0d: `format u8, pad[3], member_gen u32, node u64, acct u64, created_ms u64, settings`.

use base::{Acct, TreeNode};

use super::LinkSettings;
use crate::codec::{DecodeError, Put, Reader};
use crate::rows::RowValue;

/// A link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LinkRow {
    pub node: TreeNode,
    pub acct: Acct,
    pub created_ms: u64,
    /// Of which membership of its account; 0 of an owner.
    pub member_gen: u32,
    pub settings: LinkSettings,
}

impl RowValue for LinkRow {
    fn encode(&self, out: &mut Vec<u8>) {
        out.u8(1);
        out.zero(3);
        out.u32(self.member_gen);
        [self.node.0, self.acct.0, self.created_ms].iter().for_each(|field| out.u64(*field));
        self.settings.encode(out);
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.zero(3)?;
        Ok(LinkRow {
            member_gen: reader.u32()?,
            node: TreeNode(reader.u64()?),
            acct: Acct(reader.u64()?),
            created_ms: reader.u64()?,
            settings: LinkSettings::parse(reader)?,
        })
    }
}
