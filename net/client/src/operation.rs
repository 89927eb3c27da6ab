//! What a caller asks, and what it gets.

use std::sync::Arc;

use base::mono::Span;
use base::{Acct, CoreId, GroupId, Jid, NodeId, Nsid};
use meta::{Answer, Command, Outcome, Query};
use wire::client::ChangeMembers;
use wire::{ClusterMap, CoreStatus};

/// Names an operation until it is complete. Never used twice by one core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// What a caller asks.
#[derive(Clone, Debug)]
pub enum Operation {
    /// A command, exactly once.
    Command {
        /// Whose rights.
        acct: Acct,
        /// Where.
        nsid: Nsid,
        /// What.
        command: Command,
    },
    /// A linearizable read.
    Query {
        /// Whose rights.
        acct: Acct,
        /// Where.
        nsid: Nsid,
        /// What.
        query: Query,
    },
    /// The journal's head, told whenever it passes the last one told, until cancelled.
    Watch {
        /// Whose rights.
        acct: Acct,
        /// Where.
        nsid: Nsid,
        /// The last jid known.
        since: Jid,
    },
    /// The cluster map, of any node or of the one at `address`.
    ClusterMap {
        /// `host:port` of a shared client port; then only this one is asked, once.
        address: Option<String>,
    },
    /// The status of the core that listens at `address`; asked once.
    Status {
        /// `host:port`, usually of a core's own port.
        address: String,
    },
    /// Change a group's members.
    ChangeMembers {
        /// Which group.
        group: GroupId,
        /// What to change.
        change: ChangeMembers,
    },
    /// Even the counts and loads of leaders now, at the core that listens at `address`; asked once.
    BalanceLeaders {
        /// `host:port` of a core's own port.
        address: String,
    },
    /// A command of a null machine: it is counted. There is no session, so one in doubt is not sent again.
    NullCommand {
        /// Which group counts it.
        group: GroupId,
        /// Any bytes.
        bytes: Arc<[u8]>,
    },
    /// How many commands a null machine has counted in a group: a linearizable read.
    NullCount {
        /// Which group.
        group: GroupId,
    },
    /// Hand a group's leadership on.
    TransferLeader {
        /// Which group.
        group: GroupId,
        /// To whom.
        target: NodeId,
    },
}

/// What a caller gets, by the operation's kind.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Of a Command.
    Outcome(Outcome),
    /// Of a Query.
    Answer(Answer),
    /// Of a ClusterMap.
    ClusterMap(ClusterMap),
    /// Of a Status.
    Status(Box<CoreStatus>),
    /// Of NullCommand, with it counted, and of NullCount.
    Count(u64),
    /// Of ChangeMembers, BalanceLeaders and TransferLeader.
    Done,
}

/// The random input of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Names this client's sessions: never used by another client, hard to guess.
    pub nonce: [u8; 16],
    /// Of the jitter.
    pub jitter: u64,
}

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// Who owns the sessions; 0, the system, may act for all accounts.
    pub session_acct: Acct,
    /// How long an operation may take, retries included. Default 30 s.
    pub deadline: Span,
    /// How long the first contact may take. Default 5 s.
    pub connect_deadline: Span,
    /// How long one connection may take to be made and greeted. Default 3 s.
    pub link_deadline: Span,
    /// Silence, with answers outstanding, after which a Ping is sent; after three times this the connection is given up.
    /// Default 2 s.
    pub silence: Span,
    /// Servers are asked where the time of each command and query went; see [`crate::Explained`]. Default false.
    pub explain: bool,
    /// What is for a group goes to this core of its leader's node, whichever core has the group: the node takes it there.
    /// For measuring, and where only one port of each node can be reached. Watches go to the owner all the same. Default:
    /// to the owner.
    pub only_core: Option<CoreId>,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            session_acct: Acct(0),
            deadline: Span::from_ms(30_000),
            connect_deadline: Span::from_ms(5_000),
            link_deadline: Span::from_ms(3_000),
            silence: Span::from_ms(2_000),
            explain: false,
            only_core: None,
        }
    }
}
