//! One request on its way through tries, nodes and connections.

use base::mono::Span;
use base::{GroupId, Mono, Sequence, SessionId};
use wire::RequestKind;

use crate::core::LinkId;
use crate::error::Tried;
use crate::operation::Operation;

/// Whose request it is.
#[expect(clippy::large_enum_variant, reason = "nearly all work is operations; a box for each would cost more")]
pub(crate) enum Work {
    /// A caller's.
    Operation(Operation),
    /// The core's own: open a session in this group.
    Register(GroupId),
    /// The core's own: learn the cluster map.
    Map,
}

/// Where a request stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// About to be routed.
    Ready,
    /// Waits for the cluster map.
    NoMap,
    /// Waits for its group's session.
    Session,
    /// Waits until then.
    Delayed(Mono),
    /// Waits for this connection.
    Queued(LinkId),
    /// Sent on this connection.
    InFlight(LinkId),
}

/// One request.
pub(crate) struct Request {
    pub(crate) work: Work,
    pub(crate) place: Place,
    /// [`Mono::MAX`] is none.
    pub(crate) deadline: Mono,
    /// What the caller gave it, for the error.
    pub(crate) within: Span,
    /// Known once the map is.
    pub(crate) group: Option<GroupId>,
    /// A command's place in its session, once it has one.
    pub(crate) session: Option<(SessionId, Sequence)>,
    /// An earlier try may have done it.
    pub(crate) in_doubt: bool,
    pub(crate) tries: u32,
    pub(crate) tried: Tried,
    /// When its caller gave it.
    pub(crate) begun: Mono,
    /// When it was sent last.
    pub(crate) sent: Mono,
    /// The server is asked where its time goes.
    pub(crate) is_explained: bool,
}

impl Request {
    /// A caller's request, which ends `within` from now on.
    pub(crate) fn of_caller(operation: Operation, within: Span, now: Mono) -> Request {
        let group = match &operation {
            Operation::ChangeMembers { group, .. }
            | Operation::TransferLeader { group, .. }
            | Operation::NullCommand { group, .. }
            | Operation::NullCount { group } => Some(*group),
            _ => None,
        };
        Request { deadline: now + within, within, begun: now, ..Request::own(Work::Operation(operation), group) }
    }

    /// The core's own request, which lives as long as it is needed.
    pub(crate) fn own(work: Work, group: Option<GroupId>) -> Request {
        Request {
            work,
            place: Place::Ready,
            deadline: Mono::MAX,
            within: Span(0),
            group,
            session: None,
            in_doubt: false,
            tries: 0,
            tried: Tried::default(),
            begun: Mono(0),
            sent: Mono(0),
            is_explained: false,
        }
    }

    pub(crate) fn kind(&self) -> RequestKind {
        match &self.work {
            Work::Register(_) | Work::Operation(Operation::Command { .. }) => RequestKind::Command,
            Work::Map | Work::Operation(Operation::ClusterMap { .. }) => RequestKind::ClusterMap,
            Work::Operation(Operation::Query { .. }) => RequestKind::Query,
            Work::Operation(Operation::Watch { .. }) => RequestKind::Watch,
            Work::Operation(Operation::Status { .. }) => RequestKind::Status,
            Work::Operation(Operation::NullCommand { .. }) => RequestKind::NullCommand,
            Work::Operation(Operation::NullCount { .. }) => RequestKind::NullCount,
            Work::Operation(Operation::ChangeMembers { .. }) => RequestKind::ChangeMembers,
            Work::Operation(Operation::BalanceLeaders { .. }) => RequestKind::BalanceLeaders,
            Work::Operation(Operation::TransferLeader { .. }) => RequestKind::TransferLeader,
        }
    }

    pub(crate) fn is_command(&self) -> bool {
        matches!(self.work, Work::Operation(Operation::Command { .. }))
    }

    /// Its server can tell where its time goes.
    pub(crate) fn may_be_explained(&self) -> bool {
        use RequestKind::{Command, NullCommand, NullCount, Query};
        matches!(self.kind(), Command | Query | NullCommand | NullCount)
    }

    pub(crate) fn is_watch(&self) -> bool {
        self.kind() == RequestKind::Watch
    }

    /// Done twice, it may do harm, and no session keeps it from that.
    pub(crate) fn is_once_only(&self) -> bool {
        matches!(
            self.work,
            Work::Operation(
                Operation::ChangeMembers { .. } | Operation::TransferLeader { .. } | Operation::NullCommand { .. }
            )
        )
    }

    /// The one address it is for.
    pub(crate) fn pinned(&self) -> Option<&str> {
        match &self.work {
            Work::Operation(Operation::Status { address } | Operation::BalanceLeaders { address }) => Some(address),
            Work::Operation(Operation::ClusterMap { address }) => address.as_deref(),
            _ => None,
        }
    }
}
