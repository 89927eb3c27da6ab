//! Who may read and write a namespace; judged at apply and at every query.

use base::{Acct, Nsid};

use crate::command::{MemberRole, MemberState};
use crate::keys;
use crate::metadata::NamespaceKind;
use crate::overlay::Source;
use crate::rows::{MemberRow, NamespaceRow};
use crate::store::Cold;

/// What an account may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
pub(crate) enum Access {
    Nothing,
    Read,
    Write,
}

/// A namespace serves its owner, and the system; a shared one serves members who joined, of whom viewers only read.
pub(crate) fn access<R: Source>(
    source: &mut R,
    nsid: Nsid,
    namespace: &NamespaceRow,
    acct: Acct,
) -> Result<Access, Cold> {
    if acct == Acct(0) || namespace.owner == acct {
        return Ok(Access::Write);
    }
    if namespace.kind != NamespaceKind::Shared {
        return Ok(Access::Nothing);
    }
    let member: Option<MemberRow> = source.row(&keys::member(nsid, acct))?;
    Ok(match member.filter(|member| member.state == MemberState::Joined).map(|member| member.role) {
        Some(MemberRole::Editor | MemberRole::Owner) => Access::Write,
        Some(MemberRole::Viewer) => Access::Read,
        None => Access::Nothing,
    })
}
