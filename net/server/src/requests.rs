//! Requests of clients: those for a group go to the shard, or to the core that has the group, at once; the others are
//! answered at the end of the turn.

use std::ops::Range;

use base::stages::Stamp;
use base::{CoreId, GroupId, Mono, NodeId};
use raft::ConfigChange;
use shard::Ticket;
use transport::{Asked, ClientEvent, Clients};
use wire::client::{ChangeMembers, Watch, parse_node, parse_query, put_core};
use wire::explain::EXPLAIN;
use wire::{CoreCounters, CoreStatus, GroupAlarm, GroupRole, GroupStatus, ReplyStatus, RequestItem, RequestKind};

use crate::core::{Hands, NodeShard};
use crate::forward::{self, Rooms};
use crate::near_cache::NearCache;

/// Requests that wait for an explanation at a time; others go without.
const EXPLAINS_MAX: usize = 256;

/// Requests that no group answers, kept until the end of the turn. Bounded by the requests of a turn.
pub(crate) enum Ask {
    ClusterMap(Ticket),
    Status(Ticket),
    /// Done already.
    Done(Ticket),
    Ping(Ticket, Vec<u8>),
    WrongCore(Ticket, GroupId, CoreId),
    Malformed(Ticket, GroupId, String),
    Unsupported(Ticket, GroupId),
    Overloaded(Ticket, GroupId),
    /// Answered from the read cache: the bytes are in [`Hands::near_answers`].
    Cached(Ticket, GroupId, Range<usize>),
}

impl Ask {
    /// Who asked.
    pub(crate) fn ticket(&self) -> Ticket {
        let (Ask::ClusterMap(ticket)
        | Ask::Status(ticket)
        | Ask::Done(ticket)
        | Ask::Ping(ticket, _)
        | Ask::WrongCore(ticket, ..)
        | Ask::Malformed(ticket, ..)
        | Ask::Unsupported(ticket, _)
        | Ask::Overloaded(ticket, _)
        | Ask::Cached(ticket, ..)) = self;
        *ticket
    }
}

/// What a request of this core's clients meets: the shard, another core, or a note to answer it at the end of the turn.
pub(crate) struct Desk<'a> {
    pub shard: &'a mut NodeShard,
    pub counters: &'a mut CoreCounters,
    pub asks: &'a mut Vec<Ask>,
    pub core: CoreId,
    pub now: Mono,
    /// When this turn began.
    pub begun: Stamp,
    pub explains: &'a mut Vec<(u64, u64)>,
    pub mailroom: &'a mut Rooms,
    /// What is cached of all cores.
    pub near: Option<&'a mut NearCache>,
    pub near_answers: &'a mut Vec<u8>,
}

impl Desk<'_> {
    pub(crate) fn handle(&mut self, event: &ClientEvent<'_>) {
        self.counters.requests += 1;
        let ClientEvent::Request { connection, item, .. } = event;
        let ticket = Ticket { connection: *connection, request: item.request_id, kind: item.kind };
        let Some(kind) = item.request_kind() else { return self.asks.push(Ask::Unsupported(ticket, item.group)) };
        use RequestKind::{Command, NullCommand, NullCount, Query};
        let may_tell = matches!(kind, Command | Query | NullCommand | NullCount);
        if item.flags & EXPLAIN != 0 && may_tell && self.explains.len() < EXPLAINS_MAX {
            self.explains.push((ticket.connection, ticket.request));
        }
        match kind {
            RequestKind::ClusterMap => return self.asks.push(Ask::ClusterMap(ticket)),
            RequestKind::Status => return self.asks.push(Ask::Status(ticket)),
            RequestKind::BalanceLeaders => {
                self.shard.handle_balance(self.now);
                return self.asks.push(Ask::Done(ticket));
            }
            RequestKind::Feed => return self.feed(ticket, item),
            RequestKind::Ping => return self.asks.push(Ask::Ping(ticket, item.body.to_vec())),
            RequestKind::Command
            | RequestKind::Query
            | RequestKind::Watch
            | RequestKind::ChangeMembers
            | RequestKind::TransferLeader
            | RequestKind::NullCommand
            | RequestKind::NullCount => {}
        }
        let right = self.shard.core_of(item.group);
        if right == self.core {
            serve(self.shard, self.asks, ticket, kind, (item.group, item.body), self.now);
        } else if kind == RequestKind::Watch {
            // It is answered for as long as it lives, which is no parcel's way: its client goes where the head is.
            self.asks.push(Ask::WrongCore(ticket, item.group, right));
        } else if kind != RequestKind::Query || item.flags & EXPLAIN != 0 || !self.answer_cached(ticket, item) {
            self.forward(right, ticket, item);
        }
    }

    /// A hub wants to hear of all journals of this core.
    fn feed(&mut self, ticket: Ticket, item: &RequestItem<'_>) {
        match wire::notify::Place::parse(item.body) {
            Ok(place) => self.shard.handle_feed(ticket, place.place, place.places),
            Err(error) => self.asks.push(Ask::Malformed(ticket, item.group, error.to_string())),
        }
    }

    /// Answers a query for another core's group if its answer is cached.
    fn answer_cached(&mut self, ticket: Ticket, item: &RequestItem<'_>) -> bool {
        let Some(near) = &mut self.near else { return false };
        let start = self.near_answers.len();
        let is_cached = near.answer_query(self.now, item.group, item.body, self.near_answers);
        if is_cached {
            self.asks.push(Ask::Cached(ticket, item.group, start..self.near_answers.len()));
        }
        is_cached
    }

    fn forward(&mut self, right: CoreId, ticket: Ticket, item: &RequestItem<'_>) {
        let Ticket { connection, request, kind } = ticket;
        let asked = Asked { connection, request, kind, group: item.group, begun: self.begun };
        if self.mailroom.forward(right, asked, item.body) {
            self.counters.forwarded += 1;
        } else {
            self.counters.forward_refused += 1;
            self.asks.push(Ask::Overloaded(ticket, item.group));
        }
    }
}

impl Hands {
    /// The clients, and what their requests meet.
    pub(crate) fn desk(&mut self) -> (&mut Clients, Desk<'_>) {
        let begun = self.profile.begun();
        let Hands { clients, shard, counters, asks, id, now, explains, mailroom, near, near_answers, .. } = self;
        let (core, now, near) = (*id, *now, near.as_mut());
        (clients, Desk { shard, counters, asks, core, now, begun, explains, mailroom, near, near_answers })
    }
}

/// Hands a request for one of this core's groups to the shard, or notes it in `asks`.
pub(crate) fn serve(
    shard: &mut NodeShard,
    asks: &mut Vec<Ask>,
    ticket: Ticket,
    kind: RequestKind,
    (group, body): (GroupId, &[u8]),
    now: Mono,
) {
    let mut malformed = |error: wire::client::BodyError| asks.push(Ask::Malformed(ticket, group, error.to_string()));
    match kind {
        RequestKind::Command => shard.handle_command(ticket, group, body),
        RequestKind::NullCommand => shard.handle_null_command(ticket, group, body),
        RequestKind::NullCount => shard.handle_null_count(ticket, group),
        RequestKind::Query => match parse_query(body) {
            Ok((acct, nsid, query)) => shard.handle_query(ticket, group, acct, nsid, query),
            Err(error) => malformed(error),
        },
        RequestKind::Watch => match Watch::parse(body) {
            Ok(watch) => shard.handle_watch(ticket, group, watch.acct, watch.nsid),
            Err(error) => malformed(error),
        },
        RequestKind::ChangeMembers => match ChangeMembers::parse(body) {
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
        RequestKind::TransferLeader => match parse_node(body) {
            Ok(target) => shard.handle_transfer(ticket, group, target, now),
            Err(error) => malformed(error),
        },
        // Any core answers these: they are not for a group.
        RequestKind::ClusterMap
        | RequestKind::Status
        | RequestKind::Ping
        | RequestKind::BalanceLeaders
        | RequestKind::Feed => {
            asks.push(Ask::Unsupported(ticket, group));
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
        Ask::Done(ticket) => reply(hands, *ticket, GroupId(0), ReplyStatus::Ok, |_| ()),
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
        Ask::Cached(ticket, group, range) => {
            hands.counters.queries += 1;
            let answers = std::mem::take(&mut hands.near_answers);
            reply(hands, *ticket, *group, ReplyStatus::Ok, |out| out.extend_from_slice(&answers[range.clone()]));
            hands.near_answers = answers;
        }
        Ask::Overloaded(ticket, group) => {
            hands.counters.overloaded += 1;
            reply(hands, *ticket, *group, ReplyStatus::Overloaded, |_| ());
        }
    }
}

fn reply(hands: &mut Hands, ticket: Ticket, group: GroupId, status: ReplyStatus, write: impl FnOnce(&mut Vec<u8>)) {
    match forward::place_of(ticket) {
        Some(place) => hands.mailroom.answer(place, status, None, write),
        None => hands.clients.reply(ticket.connection, ticket.request, ticket.kind, status, group, true, write),
    }
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
    note_led(&mut counters, &hands.shard);
    counters.machine_null = u64::from(hands.shard.machine().is_null());
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

/// What the core leads, into its counters.
pub(crate) fn note_led(counters: &mut CoreCounters, shard: &NodeShard) {
    let led = shard.led();
    (counters.led_groups, counters.led_load, counters.leaders_moved) = (led.groups, led.load, led.moved);
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
