//! The body of a Status reply: one core, its counters, and its groups.
//!
//! ```text
//! core    0 u64 node   8 u16 core   10 u16 cores   12 u16 counters   14 u16 zero   16 u32 groups   20 u32 zero
//!        24 counters x u64, then groups
//! group   0 u32 group   4 u8 role (0 follower, 1 candidate, 2 leader, 3 learner)   5 u8 voters   6 u8 learners
//!         7 u8 low half health (0 clean, 1 faulty, 2 recovering head, 3 quarantined), the three bits above it alarm
//!           (GroupAlarm; 0 none), the highest: its state is lost here
//!         8 u64 term   16 u64 leader (0 unknown)   24 u64 first_index   32 u64 last_index   40 u64 persisted_index
//!        48 u64 commit_index   56 u64 applied_index   64 u64 state_hash   72 voters x u64, learners x u64
//! ```
//! A later version may append counters; a reader takes those it knows and lets the others be 0.

use base::bytes::{get_u16, get_u32, get_u64};
use base::{CoreId, GroupId, LogIndex, NodeId, Term};
use raft::Health;

use crate::client::BodyError;

/// Bytes of one group's status before its members.
const GROUP_BYTES: usize = 72;
/// In the byte of the health: what was applied is gone here.
const STATE_LOST: u8 = 128;

/// A node's role in a group; the numbers are on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(u8)]
pub enum GroupRole {
    /// Follows.
    #[default]
    Follower = 0,
    /// Seeks votes.
    Candidate = 1,
    /// Leads.
    Leader = 2,
    /// Follows without a vote.
    Learner = 3,
}

impl GroupRole {
    fn from_u8(number: u8) -> Option<GroupRole> {
        use GroupRole::*;
        [Follower, Candidate, Leader, Learner].into_iter().find(|role| *role as u8 == number)
    }
}

/// What must never be and is: a human is needed. The numbers are on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum GroupAlarm {
    /// Two leaders in one term. The group has stopped on this node.
    TwoLeaders = 1,
    /// Entries of one term with different bytes. Stopped.
    PrevCrc = 2,
    /// A conflict with what is committed. Stopped.
    CommittedConflict = 3,
    /// A configuration that cannot be read. Stopped.
    BadConfig = 4,
    /// A majority has another state: this node's is wrong. Stopped.
    StateHash = 5,
    /// Another node has another state, and this one's is not known to be wrong. The group goes on.
    StateDiffers = 6,
}

impl GroupAlarm {
    /// `None`: no alarm has this number.
    fn from_u8(number: u8) -> Option<GroupAlarm> {
        use GroupAlarm::*;
        let all = [TwoLeaders, PrevCrc, CommittedConflict, BadConfig, StateHash, StateDiffers];
        all.into_iter().find(|alarm| *alarm as u8 == number)
    }
}

/// One group on one node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupStatus {
    /// Which group.
    pub group: GroupId,
    /// The node's role in it.
    pub role: GroupRole,
    /// The node's term.
    pub term: Term,
    /// The leader, as far as the node knows.
    pub leader: Option<NodeId>,
    /// The first entry held.
    pub first_index: LogIndex,
    /// The last entry held.
    pub last_index: LogIndex,
    /// Invariant: persisted_index <= last_index.
    pub persisted_index: LogIndex,
    /// Invariant: applied_index <= commit_index <= last_index.
    pub commit_index: LogIndex,
    /// The last entry in the state.
    pub applied_index: LogIndex,
    /// Of the state at `applied_index`; equal on all replicas at one index.
    pub state_hash: u64,
    /// Voters of the configuration in force.
    pub voters: Vec<NodeId>,
    /// Its learners.
    pub learners: Vec<NodeId>,
    /// What the node's log of it is worth.
    pub health: Health,
    /// Why a human is needed.
    pub alarm: Option<GroupAlarm>,
    /// What was applied here is gone, or is being applied anew: nothing of the group is served by this node.
    pub is_state_lost: bool,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What a core counted since its start.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct CoreCounters {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl CoreCounters {
            /// Names and values, in the order of the wire.
            #[must_use]
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),+]
            }

            fn set(&mut self, values: impl Iterator<Item = u64>) {
                let fields = [$(&mut self.$name),+];
                fields.into_iter().zip(values).for_each(|(field, value)| *field = value);
            }
        }
    };
}

counters! {
    /// Milliseconds since the core's start.
    uptime_ms,
    /// Turns of its loop.
    turns,
    /// System calls that entered the ring.
    enters,
    /// Client connections open now.
    connections,
    /// Requests taken.
    requests,
    /// Commands among them that were answered with an outcome.
    commands,
    /// Queries answered.
    queries,
    /// Requests refused because a bound was reached.
    overloaded,
    /// Frames and requests refused because they made no sense.
    malformed,
    /// Entries appended to the log, of all groups.
    entries,
    /// Entries applied, of all groups.
    applied,
    /// Syncs of the log.
    syncs,
    /// Bytes written to the log.
    log_bytes,
    /// Frames sent to other nodes.
    peer_frames_sent,
    /// Frames received from other nodes.
    peer_frames_received,
    /// Links to other nodes up now.
    peer_links,
    /// Sync time, median, in microseconds.
    sync_p50_us,
    /// Sync time, 99th percentile, in microseconds.
    sync_p99_us,
    /// The highest feature level that the node's release knows.
    feature_level_known,
    /// Requests that came here for another core's groups and were taken to it.
    forwarded,
    /// And those that were not, because too many are on their way there.
    forward_refused,
    /// Groups that the core leads.
    led_groups,
    /// Commands per second of these groups, averaged over some seconds.
    led_load,
    /// Leaderships that it began to give away for balance.
    leaders_moved,
    /// 1: the cluster's machine is null, it counts commands and holds no files; else 0.
    machine_null,
    /// Reads answered from the node's read cache where they came.
    cache_hits,
    /// Reads that were not, though they could have been.
    cache_misses,
    /// Items that the core has cached.
    cache_items,
    /// Their bytes.
    cache_bytes,
    /// Items that went to make room for others.
    cache_evictions,
}

/// One core of one node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CoreStatus {
    /// The node.
    pub node: NodeId,
    /// The core.
    pub core: CoreId,
    /// Cores of the node.
    pub cores: u16,
    /// What it counted.
    pub counters: CoreCounters,
    /// Its groups, ascending.
    pub groups: Vec<GroupStatus>,
}

impl CoreStatus {
    /// Appends the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let counters = self.counters.list();
        out.extend_from_slice(&self.node.0.to_le_bytes());
        out.extend_from_slice(&self.core.0.to_le_bytes());
        out.extend_from_slice(&self.cores.to_le_bytes());
        out.extend_from_slice(&(counters.len() as u16).to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(self.groups.len() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        counters.iter().for_each(|(_, value)| out.extend_from_slice(&value.to_le_bytes()));
        self.groups.iter().for_each(|group| group.encode(out));
    }

    /// Reads the body.
    ///
    /// Errors: [`BodyError`].
    pub fn parse(body: &[u8]) -> Result<CoreStatus, BodyError> {
        Self::read(body).ok_or(BodyError { what: "status", bytes: body.len() })
    }

    fn read(body: &[u8]) -> Option<CoreStatus> {
        let mut status = CoreStatus {
            node: NodeId(get_u64(body, 0)?),
            core: CoreId(get_u16(body, 8)?),
            cores: get_u16(body, 10)?,
            ..CoreStatus::default()
        };
        let counters = usize::from(get_u16(body, 12)?) * 8;
        let groups = get_u32(body, 16)?;
        let counters = body.get(24..24 + counters)?;
        let mut rest = &body[24 + counters.len()..];
        status.counters.set(counters.chunks_exact(8).filter_map(|bytes| get_u64(bytes, 0)));
        for _ in 0..groups {
            let (group, after) = GroupStatus::read(rest)?;
            status.groups.push(group);
            rest = after;
        }
        rest.is_empty().then_some(status)
    }
}

impl GroupStatus {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.group.0.to_le_bytes());
        let count = |nodes: &[NodeId]| u8::try_from(nodes.len()).expect("members are bounded by MEMBERS_MAX");
        let alarm = self.alarm.map_or(0, |alarm| (alarm as u8) << 4);
        let worth = self.health as u8 | alarm | if self.is_state_lost { STATE_LOST } else { 0 };
        out.extend_from_slice(&[self.role as u8, count(&self.voters), count(&self.learners), worth]);
        let fields = [
            self.term.0,
            self.leader.unwrap_or_default().0,
            self.first_index.0,
            self.last_index.0,
            self.persisted_index.0,
            self.commit_index.0,
            self.applied_index.0,
            self.state_hash,
        ];
        fields.iter().for_each(|field| out.extend_from_slice(&field.to_le_bytes()));
        let members = self.voters.iter().chain(&self.learners);
        members.for_each(|node| out.extend_from_slice(&node.0.to_le_bytes()));
    }

    fn read(bytes: &[u8]) -> Option<(GroupStatus, &[u8])> {
        let members = bytes.get(GROUP_BYTES..)?;
        let (voters, learners) = (usize::from(bytes[5]), usize::from(bytes[6]));
        let nodes = |range: std::ops::Range<usize>| -> Option<Vec<NodeId>> {
            let bytes = members.get(range.start * 8..range.end * 8)?;
            Some(bytes.chunks_exact(8).filter_map(|bytes| get_u64(bytes, 0).map(NodeId)).collect())
        };
        let index = |offset| get_u64(bytes, offset).map(LogIndex);
        let status = GroupStatus {
            group: GroupId(get_u32(bytes, 0)?),
            role: GroupRole::from_u8(bytes[4])?,
            term: Term(get_u64(bytes, 8)?),
            leader: get_u64(bytes, 16).filter(|node| *node != 0).map(NodeId),
            first_index: index(24)?,
            last_index: index(32)?,
            persisted_index: index(40)?,
            commit_index: index(48)?,
            applied_index: index(56)?,
            state_hash: get_u64(bytes, 64)?,
            voters: nodes(0..voters)?,
            learners: nodes(voters..voters + learners)?,
            health: Health::from_u32(u32::from(bytes[7] & 0xf))?,
            alarm: match (bytes[7] & !STATE_LOST) >> 4 {
                0 => None,
                number => Some(GroupAlarm::from_u8(number)?),
            },
            is_state_lost: bytes[7] & STATE_LOST != 0,
        };
        Some((status, &members[(voters + learners) * 8..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_of_a_group_comes_through_and_an_unknown_one_is_refused() {
        for health in [Health::Clean, Health::Faulty, Health::RecoveringHead, Health::Quarantined] {
            for is_state_lost in [false, true] {
                let sent = GroupStatus { health, is_state_lost, voters: vec![NodeId(1)], ..GroupStatus::default() };
                let mut bytes = Vec::new();
                sent.encode(&mut bytes);
                assert_eq!(bytes[7], health as u8 + if is_state_lost { 128 } else { 0 });
                assert_eq!(GroupStatus::read(&bytes), Some((sent, &[][..])));
                bytes[7] = 4;
                assert_eq!(GroupStatus::read(&bytes), None);
            }
        }
    }

    #[test]
    fn an_alarm_comes_through_beside_the_health_and_an_unknown_one_is_refused() {
        for number in 1..=6 {
            let alarm = GroupAlarm::from_u8(number);
            assert!(alarm.is_some());
            let sent = GroupStatus { health: Health::Quarantined, alarm, ..GroupStatus::default() };
            let mut bytes = Vec::new();
            sent.encode(&mut bytes);
            assert_eq!(bytes[7], 3 | number << 4);
            assert_eq!(GroupStatus::read(&bytes), Some((sent, &[][..])));
        }
        let mut bytes = Vec::new();
        GroupStatus::default().encode(&mut bytes);
        bytes[7] = 7 << 4;
        assert_eq!(GroupStatus::read(&bytes), None);
    }
}
