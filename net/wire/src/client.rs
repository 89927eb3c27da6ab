//! What the items of client frames mean to a metaserver: kinds, statuses and the small bodies.
//!
//! ```text
//! kind              request body                                     reply body when Ok
//! 1 Command         a command as docs/design/metadata.md 6 lays out  the outcome
//! 2 Query           0 u64 acct  8 u64 nsid  16 query                 the answer
//! 3 Watch           0 u64 nsid  8 u64 acct  16 u64 since jid         0 u64 head jid; see below
//! 4 ClusterMap      empty                                            crate::cluster
//! 5 Status          empty                                            crate::status, of the core asked
//! 6 Ping            any bytes                                        the same bytes
//! 7 ChangeMembers   0 u64 node to add  8 u64 node to remove; 0 none  empty
//! 8 TransferLeader  0 u64 target node                                empty
//! 9 BalanceLeaders  empty                                            empty
//! 10 NullCommand    any bytes; of a null machine alone               0 u64 the group's count with it
//! 11 NullCount      empty; of a null machine alone                   0 u64 the group's count
//! 12 Feed           crate::notify                                    crate::notify, again and again
//! ```
//! A Watch is answered many times with its request id: at once with the head of that moment, then whenever the head has
//! passed the last one told. It ends with any status but Ok, or with the connection.

use base::bytes::{get_u16, get_u64};
use base::{Acct, CoreId, GroupId, Jid, NodeId, Nsid};

/// Bytes of a query's body before the query itself.
pub const QUERY_PREFIX_BYTES: usize = 16;

/// What a metaserver is asked. 32 to 63 belong to the block server, 64 and above to hubs ([`crate::notify`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum RequestKind {
    /// A command of the state machine, Register included; through the group's log.
    Command = 1,
    /// A linearizable read.
    Query = 2,
    /// Tell of a namespace's new journal rows.
    Watch = 3,
    /// Nodes, ports and leaders. Any node answers.
    ClusterMap = 4,
    /// The groups of the core asked, and its counters. Any node answers.
    Status = 5,
    /// Are you there?
    Ping = 6,
    /// Change the members of the item's group.
    ChangeMembers = 7,
    /// Hand the leadership of the item's group to another node.
    TransferLeader = 8,
    /// Even the counts and loads of leaders now; for the core asked.
    BalanceLeaders = 9,
    /// A command of the null machine, which counts it; through the group's log. No session: sent twice, it counts twice.
    NullCommand = 10,
    /// How many the null machine has counted in the item's group; a linearizable read.
    NullCount = 11,
    /// Tell of every journal of this core that has moved: for hubs of the notifiers.
    Feed = 12,
}

impl RequestKind {
    /// The kind of a number on the wire.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<RequestKind> {
        use RequestKind::*;
        let files = [Command, Query, Watch, ClusterMap, Status, Ping, ChangeMembers, TransferLeader, BalanceLeaders];
        files.into_iter().chain([NullCommand, NullCount, Feed]).find(|kind| *kind as u8 == number)
    }
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum ReplyStatus {
    /// Done; the body is the kind's.
    Ok = 0,
    /// Ask the node in the body (u64; 0 is unknown). Nothing was done.
    NotLeader = 1,
    /// A bound is reached. Nothing was done; try again a little later.
    Overloaded = 2,
    /// The item's group lives on the core in the body (u16). Nothing was done.
    WrongCore = 3,
    /// The request makes no sense; the body says why (UTF-8).
    Malformed = 4,
    /// It may or may not have been done: leadership was lost, or the node is stopping.
    Unavailable = 5,
    /// This server does not know the kind.
    Unsupported = 6,
    /// Understood and not allowed; the body says why (UTF-8).
    Refused = 7,
}

impl ReplyStatus {
    /// The status of a number on the wire.
    #[must_use]
    pub fn from_u8(number: u8) -> Option<ReplyStatus> {
        use ReplyStatus::*;
        [Ok, NotLeader, Overloaded, WrongCore, Malformed, Unavailable, Unsupported, Refused]
            .into_iter()
            .find(|status| *status as u8 == number)
    }
}

/// One request, borrowed from its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestItem<'a> {
    /// Chosen by the client, unique among its requests in flight on the connection.
    pub request_id: u64,
    /// The number; see [`RequestItem::request_kind`].
    pub kind: u8,
    /// [`crate::explain::EXPLAIN`] with a Command or Query of a metaserver, which others leave unheeded; else by kind.
    pub flags: u8,
    /// The group addressed; 0 where the kind has none.
    pub group: GroupId,
    /// Meaning by kind.
    pub body: &'a [u8],
}

impl RequestItem<'_> {
    /// The kind, where a metaserver knows it.
    #[must_use]
    pub fn request_kind(&self) -> Option<RequestKind> {
        RequestKind::from_u8(self.kind)
    }
}

/// One reply, borrowed from its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyItem<'a> {
    /// As in the request.
    pub request_id: u64,
    /// The number; see [`ReplyItem::reply_status`].
    pub status: u8,
    /// As in the request.
    pub kind: u8,
    /// As in the request.
    pub group: GroupId,
    /// Meaning by status and kind.
    pub body: &'a [u8],
    /// What [`crate::Explanation::parse`] reads; empty unless it was asked for.
    pub explanation: &'a [u8],
}

impl ReplyItem<'_> {
    /// The status, where this code knows it.
    #[must_use]
    pub fn reply_status(&self) -> Option<ReplyStatus> {
        ReplyStatus::from_u8(self.status)
    }

    /// The hint of a NotLeader; `None` when the server knew none.
    #[must_use]
    pub fn leader_hint(&self) -> Option<NodeId> {
        get_u64(self.body, 0).filter(|node| *node != 0).map(NodeId)
    }

    /// The core of a WrongCore.
    #[must_use]
    pub fn right_core(&self) -> Option<CoreId> {
        get_u16(self.body, 0).map(CoreId)
    }

    /// The text of a Malformed or Refused; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.body)
    }
}

/// A body is not what its kind wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} body of {bytes} bytes is malformed")]
pub struct BodyError {
    /// Of which kind.
    pub what: &'static str,
    /// Its length.
    pub bytes: usize,
}

/// Splits the body of a Query into whose rights, which namespace, and the encoded query.
///
/// Errors: [`BodyError`] when it is too short.
pub fn parse_query(body: &[u8]) -> Result<(Acct, Nsid, &[u8]), BodyError> {
    let parse = || Some((Acct(get_u64(body, 0)?), Nsid(get_u64(body, 8)?), body.get(QUERY_PREFIX_BYTES..)?));
    parse().ok_or(BodyError { what: "query", bytes: body.len() })
}

/// Writes the prefix of a Query's body; the encoded query follows.
pub fn put_query_prefix(out: &mut Vec<u8>, acct: Acct, nsid: Nsid) {
    out.extend_from_slice(&acct.0.to_le_bytes());
    out.extend_from_slice(&nsid.0.to_le_bytes());
}

/// The body of a Watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watch {
    /// Which namespace.
    pub nsid: Nsid,
    /// Whose rights.
    pub acct: Acct,
    /// The last jid known; told as soon as the head passes it.
    pub since: Jid,
}

impl Watch {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        [self.nsid.0, self.acct.0, self.since.0].iter().for_each(|field| out.extend_from_slice(&field.to_le_bytes()));
    }

    /// Reads the body.
    ///
    /// Errors: [`BodyError`] unless it has exactly 24 bytes.
    pub fn parse(body: &[u8]) -> Result<Watch, BodyError> {
        let [nsid, acct, since] = fields(body, "watch")?;
        Ok(Watch { nsid: Nsid(nsid), acct: Acct(acct), since: Jid(since) })
    }
}

/// The body of a ChangeMembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChangeMembers {
    /// Becomes a voter.
    pub add: Option<NodeId>,
    /// Leaves.
    pub remove: Option<NodeId>,
}

impl ChangeMembers {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for node in [self.add, self.remove] {
            out.extend_from_slice(&node.unwrap_or_default().0.to_le_bytes());
        }
    }

    /// Reads the body.
    ///
    /// Errors: [`BodyError`] unless it has exactly 16 bytes and names a node.
    pub fn parse(body: &[u8]) -> Result<ChangeMembers, BodyError> {
        let [add, remove] = fields(body, "change of members")?.map(|node: u64| (node != 0).then_some(NodeId(node)));
        if add.is_none() && remove.is_none() {
            return Err(BodyError { what: "change of members", bytes: body.len() });
        }
        Ok(ChangeMembers { add, remove })
    }
}

/// Appends the body of a TransferLeader, or of a NotLeader (`None` is an unknown leader).
pub fn put_node(out: &mut Vec<u8>, node: Option<NodeId>) {
    out.extend_from_slice(&node.unwrap_or_default().0.to_le_bytes());
}

/// Reads the target of a TransferLeader.
///
/// Errors: [`BodyError`] unless it has exactly 8 bytes and names a node.
pub fn parse_node(body: &[u8]) -> Result<NodeId, BodyError> {
    match fields(body, "transfer")? {
        [0] => Err(BodyError { what: "transfer", bytes: body.len() }),
        [node] => Ok(NodeId(node)),
    }
}

/// Appends the body of a WrongCore.
pub fn put_core(out: &mut Vec<u8>, core: CoreId) {
    out.extend_from_slice(&core.0.to_le_bytes());
}

/// Appends the body of a Watch's reply.
pub fn put_jid(out: &mut Vec<u8>, head: Jid) {
    out.extend_from_slice(&head.0.to_le_bytes());
}

/// Reads the body of a Watch's reply.
///
/// Errors: [`BodyError`] unless it has exactly 8 bytes.
pub fn parse_jid(body: &[u8]) -> Result<Jid, BodyError> {
    let [jid] = fields(body, "watch reply")?;
    Ok(Jid(jid))
}

/// Reads the body of a NullCommand's or NullCount's reply.
///
/// Errors: [`BodyError`] unless it has exactly 8 bytes.
pub fn parse_count(body: &[u8]) -> Result<u64, BodyError> {
    let [count] = fields(body, "count")?;
    Ok(count)
}

/// Exactly `N` u64 fields.
fn fields<const N: usize>(body: &[u8], what: &'static str) -> Result<[u64; N], BodyError> {
    if body.len() != N * 8 {
        return Err(BodyError { what, bytes: body.len() });
    }
    Ok(std::array::from_fn(|i| get_u64(body, i * 8).expect("the length was checked")))
}
