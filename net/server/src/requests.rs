//! Requests of clients: those for a group go to the shard at once, the others are answered at the end of the turn.

use base::{CoreId, GroupId, Mono, NodeId};
use raft::ConfigChange;
use shard::Ticket;
use wire::client::{ChangeMembers, Watch, parse_node, parse_query, put_core};
use wire::{CoreStatus, GroupAlarm, GroupRole, GroupStatus, ReplyStatus, RequestItem, RequestKind};

use crate::core::{Hands, NodeShard};

/// Requests that no group answers, kept until the end of the turn. Bounded by the requests of a turn.
pub(crate) enum Ask {
    ClusterMap(Ticket),
    Status(Ticket),
    Ping(Ticket, Vec<u8>),
    WrongCore(Ticket, GroupId, CoreId),
    Malformed(Ticket, GroupId, String),
    Unsupported(Ticket, GroupId),
}

impl Ask {
    /// Who asked.
    pub(crate) fn ticket(&self) -> Ticket {
        let (Ask::ClusterMap(ticket)
        | Ask::Status(ticket)
        | Ask::Ping(ticket, _)
        | Ask::WrongCore(ticket, ..)
        | Ask::Malformed(ticket, ..)
        | Ask::Unsupported(ticket, _)) = self;
        *ticket
    }
}

/// Hands a request to the shard, or notes it in `asks`.
pub(crate) fn handle(
    shard: &mut NodeShard,
    asks: &mut Vec<Ask>,
    core: CoreId,
    ticket: Ticket,
    item: &RequestItem<'_>,
    now: Mono,
) {
    let Some(kind) = item.request_kind() else { return asks.push(Ask::Unsupported(ticket, item.group)) };
    match kind {
        RequestKind::ClusterMap => return asks.push(Ask::ClusterMap(ticket)),
        RequestKind::Status => return asks.push(Ask::Status(ticket)),
        RequestKind::Ping => return asks.push(Ask::Ping(ticket, item.body.to_vec())),
        RequestKind::Command
        | RequestKind::Query
        | RequestKind::Watch
        | RequestKind::ChangeMembers
        | RequestKind::TransferLeader => {}
    }
    let group = item.group;
    let right = shard.core_of(group);
    if right != core {
        return asks.push(Ask::WrongCore(ticket, group, right));
    }
    let mut malformed = |error: wire::client::BodyError| asks.push(Ask::Malformed(ticket, group, error.to_string()));
    match kind {
        RequestKind::Command => shard.handle_command(ticket, group, item.body),
        RequestKind::Query => match parse_query(item.body) {
            Ok((acct, nsid, query)) => shard.handle_query(ticket, group, acct, nsid, query),
            Err(error) => malformed(error),
        },
        RequestKind::Watch => match Watch::parse(item.body) {
            Ok(watch) => shard.handle_watch(ticket, group, watch.acct, watch.nsid),
            Err(error) => malformed(error),
        },
        RequestKind::ChangeMembers => match ChangeMembers::parse(item.body) {
            Ok(change) => {
                let change = ConfigChange {
                    add_voters: change.add.into_iter().collect(),
                    add_learners: Vec::new(),
                    remove: change.remove.into_iter().collect(),
                };
                shard.handle_change_members(ticket, group, &change, now);
            }
            Err(error) => malformed(error),
        },
        RequestKind::TransferLeader => match parse_node(item.body) {
            Ok(target) => shard.handle_transfer(ticket, group, target, now),
            Err(error) => malformed(error),
        },
        RequestKind::ClusterMap | RequestKind::Status | RequestKind::Ping => {
            unreachable!("answered above")
        }
    }
}

/// Answers what `handle` noted.
pub(crate) fn answer(hands: &mut Hands, ask: &Ask) {
    match ask {
        Ask::ClusterMap(ticket) => {
            let map = hands.shared.cluster_map();
            reply(hands, *ticket, GroupId(0), ReplyStatus::Ok, |out| map.encode(out));
        }
        Ask::Status(ticket) => {
            let status = status(hands);
            reply(hands, *ticket, GroupId(0), ReplyStatus::Ok, |out| status.encode(out));
        }
        Ask::Ping(ticket, bytes) => {
            reply(hands, *ticket, GroupId(0), ReplyStatus::Ok, |out| out.extend_from_slice(bytes));
        }
        Ask::WrongCore(ticket, group, core) => {
            reply(hands, *ticket, *group, ReplyStatus::WrongCore, |out| put_core(out, *core));
        }
        Ask::Malformed(ticket, group, text) => {
            hands.counters.malformed += 1;
            reply(hands, *ticket, *group, ReplyStatus::Malformed, |out| out.extend_from_slice(text.as_bytes()));
        }
        Ask::Unsupported(ticket, group) => reply(hands, *ticket, *group, ReplyStatus::Unsupported, |_| ()),
    }
}

fn reply(hands: &mut Hands, ticket: Ticket, group: GroupId, status: ReplyStatus, write: impl FnOnce(&mut Vec<u8>)) {
    hands.clients.reply(ticket.connection, ticket.request, ticket.kind, status, group, true, write);
}

fn status(hands: &mut Hands) -> CoreStatus {
    let groups = hands.shard.status();
    let mut counters = hands.counters;
    counters.uptime_ms = hands.now.since(hands.started).as_ms();
    counters.connections = hands.clients.count() as u64;
    counters.malformed += hands.clients.malformed();
    (counters.peer_frames_sent, counters.peer_frames_received) = hands.peers.frames();
    counters.peer_links = hands.peers.up().count() as u64;
    (counters.sync_p50_us, counters.sync_p99_us) = hands.sync_percentiles();
    counters.feature_level_known = u64::from(meta::Release::THIS.level_known);
    counters.entries = groups.iter().map(|group| group.last_index.0).sum();
    counters.applied = groups.iter().map(|group| group.applied_index.0).sum();
    let groups = groups
        .into_iter()
        .map(|group| GroupStatus {
            group: group.group,
            role: role(group.role),
            term: group.term,
            leader: Some(group.leader).filter(|leader| leader.0 != 0),
            first_index: group.first_index,
            last_index: group.last_index,
            persisted_index: group.persisted_index,
            commit_index: group.commit_index,
            applied_index: group.applied_index,
            state_hash: group.state_hash,
            voters: group.voters,
            learners: Vec::new(),
            health: group.health,
            alarm: alarm(group.alarm, group.differs_from),
            is_state_lost: group.is_state_lost,
        })
        .collect();
    CoreStatus { node: hands.node, core: hands.id, cores: hands.cores, counters, groups }
}

/// What stopped the group is told before what did not.
fn alarm(stopped: Option<raft::Alarm>, differs_from: Option<NodeId>) -> Option<GroupAlarm> {
    match stopped {
        Some(raft::Alarm::TwoLeaders) => Some(GroupAlarm::TwoLeaders),
        Some(raft::Alarm::PrevCrc) => Some(GroupAlarm::PrevCrc),
        Some(raft::Alarm::CommittedConflict) => Some(GroupAlarm::CommittedConflict),
        Some(raft::Alarm::BadConfig(_)) => Some(GroupAlarm::BadConfig),
        Some(raft::Alarm::StateHash(_)) => Some(GroupAlarm::StateHash),
        // Another node's fault: it stops nothing here.
        Some(raft::Alarm::Amnesia(_)) | None => differs_from.map(|_| GroupAlarm::StateDiffers),
    }
}

fn role(role: raft::Role) -> GroupRole {
    match role {
        raft::Role::Follower => GroupRole::Follower,
        raft::Role::PreCandidate | raft::Role::Candidate => GroupRole::Candidate,
        raft::Role::Leader => GroupRole::Leader,
    }
}
