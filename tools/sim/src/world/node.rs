//! A node: its process while it runs, its disks while it does not.

use std::collections::VecDeque;

use base::{CoreId, GroupId, LogIndex, Mono, NodeId, NodeUuid, Term};
use cache::Lent;
use reactor::Doorbell;
use seglog::{OpResult, OpToken, SegLog};
use shard::Shard;
use transport::Mailroom;
use wire::PeerFrameWriter;

use crate::clock::Clock;
use crate::disk::SimDisk;
use crate::observe::{GroupView, LogView, Token};
use crate::store::SimStore;

pub(crate) type SimShard = Shard<SimDisk, SimStore>;

/// What reached a core and waits for its next turn.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Frames of a node; `only` is one message among them or `u16::MAX`.
    Frames {
        from: u8,
        generation: u32,
        buffer: u32,
        only: u16,
    },
    PeerUp {
        node: NodeId,
        incarnation: u64,
    },
    PeerDown {
        node: NodeId,
    },
    Done {
        token: OpToken,
        result: OpResult,
    },
    Bytes {
        connection: u32,
        buffer: u32,
    },
    Closed {
        connection: u32,
    },
    /// Mail of other cores is in the mailroom.
    Parcels,
    /// The store finished something.
    Store,
    Checkpoint,
    Change {
        group: GroupId,
        change: raft::ConfigChange,
    },
    Transfer {
        group: GroupId,
        target: NodeId,
    },
    /// A command of the one who upgrades the cluster.
    Upgrade {
        group: GroupId,
        request: u64,
        command: Vec<u8>,
    },
    /// A probe, by its operation.
    Probe {
        operation: u64,
        group: GroupId,
        kind: super::probes::Kind,
    },
}

/// What a group looked like after its last turn: when it differs, checkers are told.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Look {
    pub term: Term,
    pub vote: NodeId,
    pub leader: NodeId,
    pub role: u8,
    pub health: u8,
    pub first: LogIndex,
    pub last: LogIndex,
    /// Names all entries of the log.
    pub last_crc: u32,
    pub commit: LogIndex,
    pub persisted: LogIndex,
    pub applied: LogIndex,
    pub config: LogIndex,
    pub has_lease: bool,
}

/// A core of a running process.
pub(crate) struct Core {
    pub shard: SimShard,
    /// Of the shard's cache; goes after it.
    pub cache: Option<Lent>,
    /// To and from the other cores of the node; the bell only counts what is in it.
    pub mailroom: Mailroom<Option<Token>>,
    pub doorbell: Doorbell,
    /// Mail is on its way here.
    pub has_parcels_due: bool,
    pub inbox: VecDeque<Mail>,
    /// Its next turn is due then; `u64::MAX` when none is.
    pub wake_at: u64,
    pub busy_until: u64,
    pub turns: u64,
    /// Since then so many turns for which nothing had come, each right behind the one before.
    pub spins: (u64, u64),
    /// PROC6: until then at least this long between two turns.
    pub slow: (u64, u64),
    /// PROC7: until then so many messages fit the mailbox.
    pub mailbox: (u64, u64),
    /// The storage thread is busy until then.
    pub storage_busy: u64,
    /// The disk does not answer until then.
    pub hung_until: u64,
    /// Syncs of the log do not end before then.
    pub syncs_wait: u64,
    /// Reads of the store do not end before then.
    pub reads_wait: u64,
    /// CLK3: its clock was found to have jumped.
    pub has_jumped: bool,
    /// DISK8, DISK9: the next one fails.
    pub fails_write: bool,
    pub fails_sync: Option<u64>,
    /// By seat of the receiver.
    pub writers: Vec<Option<PeerFrameWriter>>,
    pub looks: Vec<Look>,
    /// Applied index and state hash of each group as they were last shown.
    pub states: Vec<(LogIndex, u64)>,
    /// Groups that got a message in this turn, by local place.
    pub touched: u64,
    /// Groups that an alarm has stopped, by local place; and those that it had when this turn began.
    pub stopped: (u64, u64),
}

impl Core {
    pub fn new(
        shard: SimShard,
        room: (Doorbell, Mailroom<Option<Token>>),
        seats: usize,
        groups: usize,
        now: u64,
    ) -> Core {
        let (doorbell, mailroom) = room;
        Core {
            shard,
            cache: None,
            mailroom,
            doorbell,
            has_parcels_due: false,
            inbox: VecDeque::new(),
            wake_at: u64::MAX,
            busy_until: now,
            spins: (0, 0),
            turns: 0,
            slow: (0, 0),
            mailbox: (0, 0),
            storage_busy: now,
            hung_until: 0,
            syncs_wait: 0,
            reads_wait: 0,
            has_jumped: false,
            fails_write: false,
            fails_sync: None,
            writers: (0..seats).map(|_| None).collect(),
            looks: vec![Look::default(); groups],
            states: vec![Default::default(); groups],
            touched: 0,
            stopped: (0, 0),
        }
    }
}

/// What a process leaves behind.
pub(crate) struct Remains {
    pub disk: SimDisk,
    pub store: SimStore,
}

/// Where a node stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Up,
    Down,
    /// It does not come back under any name.
    Gone,
}

/// The node in one seat. A seat outlives its nodes: an empty disk is a new node in the same seat.
pub(crate) struct Node {
    pub id: NodeId,
    pub state: State,
    /// Counts the starts and stops of processes in this seat: what belongs to an older one is void.
    pub life: u32,
    /// As persisted by the node.
    pub incarnation: u64,
    pub clock: Clock,
    pub cores: Vec<Option<Box<Core>>>,
    pub remains: Vec<Remains>,
    /// No turn before then.
    pub paused_until: u64,
    /// PROC1: it crashes at the operation after so many, before it (0), during it (1) or after it (2).
    pub doom: Option<(u64, u64)>,
    /// PROC1: for so many ms; 0 is as drawn.
    pub down_ms: u64,
    /// The members it was formed with; none when it joins.
    pub initial: Vec<NodeId>,
    /// Believed leaders, by group.
    pub leaders: Vec<NodeId>,
    /// What was durable on its disk is, or may be, another.
    pub is_damaged: bool,
    /// Its machine has no power: nobody there even refuses a connection.
    pub is_dark: bool,
    /// What its binary knows.
    pub release: meta::Release,
    /// Times that it stopped because of a newer level.
    pub refusals: u32,
    /// The operations of the current start may fail as its recovery did.
    pub restarts: u32,
}

impl Node {
    pub fn uuid(&self) -> NodeUuid {
        let mut bytes = [7; 16];
        bytes[..8].copy_from_slice(&self.id.0.to_le_bytes());
        NodeUuid(bytes)
    }

    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub fn core(&self, core: usize) -> Option<&Core> {
        self.cores.get(core)?.as_deref()
    }

    /// The shard of a group, while the process runs.
    pub fn shard_of(&self, group: GroupId) -> Option<&SimShard> {
        let core = base::core_of(group, self.cores.len().max(1) as u16);
        self.core(core.0 as usize).map(|core| &core.shard)
    }
}

pub(crate) fn log_settings(node: &Node, core: usize, shape: &super::Shape, salt_seed: u64) -> seglog::Settings {
    seglog::Settings {
        cluster_id: base::ClusterId([3; 16]),
        node_uuid: node.uuid(),
        core: CoreId(core as u16),
        cores: shape.cores,
        segment_bytes: shape.segment_bytes,
        log_bytes_max: 32 << 20,
        salt_seed,
        batches_in_flight: shape.log_batches,
    }
}

/// A group's log as checkers see it.
pub(crate) struct ShardLog<'a> {
    log: &'a SegLog<SimDisk>,
    group: GroupId,
    /// Every checker asks for these.
    first: LogIndex,
    last: LogIndex,
}

impl<'a> ShardLog<'a> {
    pub fn new(log: &'a SegLog<SimDisk>, group: GroupId) -> ShardLog<'a> {
        ShardLog { log, group, first: log.first_index(group), last: log.last_index(group) }
    }
}

impl LogView for ShardLog<'_> {
    fn first_index(&self) -> LogIndex {
        self.first
    }

    fn last_index(&self) -> LogIndex {
        self.last
    }

    fn term(&self, index: LogIndex) -> Option<Term> {
        self.log.term(self.group, index)
    }

    fn crc(&self, index: LogIndex) -> Option<u32> {
        self.log.crc(self.group, index)
    }

    fn is_faulty(&self, index: LogIndex) -> bool {
        self.log.is_faulty(self.group, index)
    }

    fn payload(&self, index: LogIndex, out: &mut Vec<u8>) -> bool {
        if index < self.first_index() || self.last_index() < index {
            return false;
        }
        match self.log.entry(self.group, index) {
            seglog::Slice::InMemory(record) => {
                out.extend_from_slice(record.payload());
                true
            }
            seglog::Slice::Cold | seglog::Slice::Faulty => false,
        }
    }
}

/// Calls `see` with the view of a group at `now` by its node's clock, without its lease.
pub(crate) fn with_view<T>(
    node: &Node,
    shard: &SimShard,
    group: GroupId,
    now: Mono,
    state: (LogIndex, u64),
    see: impl FnOnce(&GroupView<'_>) -> T,
) -> Option<T> {
    let raft = shard.raft(group)?;
    let log = ShardLog::new(shard.log(), group);
    let mut view = GroupView::of(now, node.incarnation, raft, &log, state);
    if state.0 <= shard.applied_index(group) {
        return Some(see(&view));
    }
    // Until the log's restart is on disk consensus is not told of a snapshot that is installed: it is committed, and its
    // members are in force unless a later entry has others.
    use meta::Store as _;
    let is_held = state.0 < view.config_index && view.config_index <= log.last_index();
    let is_news = state.0 > view.commit && !is_held;
    let config = shard.store().machine(group).and_then(|machine| raft::Config::decode(&machine.config).ok());
    // One with the same members may have been an entry of the tail that is gone.
    let is_other = |config: &raft::Config| config != view.config || view.config_index > log.last_index();
    let config = config.filter(|config| is_news && is_other(config));
    if let Some(config) = &config {
        (view.config, view.config_index) = (config, state.0);
    }
    view.commit = view.commit.max(state.0);
    view.persisted = view.persisted.min(log.last_index()).max(state.0);
    Some(see(&view))
}

/// Applied index and state hash of a group, as its store has them. None in the moment in which a snapshot is in the store
/// and the log has not yet restarted behind it.
pub(crate) fn state_of(shard: &SimShard, group: GroupId) -> Option<(LogIndex, u64)> {
    use meta::Store as _;
    let Some(machine) = shard.store().machine(group) else { return Some((shard.applied_index(group), 0)) };
    let applied = machine.applied_index;
    let fits = shard.log().first_index(group) == applied.next();
    (applied == shard.applied_index(group) || fits).then_some((applied, machine.state_hash))
}
