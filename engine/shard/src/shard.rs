//! The shard: what happens in one turn, in order.

use std::collections::{BTreeSet, VecDeque};

use base::limits::UNSYNCED_BYTES_MAX;
use base::mono::Span;
use base::record::Records;
use base::{CoreId, GroupId, LogIndex, Mono, NodeId, Nsid, SyncEpoch, core_of, mutate};
use meta::{Applied, Applier, Pressure, Release, Store, StoreEvent};
use raft::{Body, Config, Effects, HardState, Input, Outgoing, Raft};
use seglog::{Disk, DiskOp, OpResult, OpToken, SegLog, Unreadable};

use crate::admit::Admit;
use crate::balance::Balance;
use crate::cached::Cached;
use crate::deadlines::Deadlines;
use crate::disk_lag::DiskLag;
use crate::disk_pace::DiskPace;
use crate::elections::ElectionBudget;
use crate::feed::Feeds;
use crate::group::Group;
use crate::group_log::GroupLog;
use crate::health;
use crate::lease::ReadCounts;
use crate::null::{Counter, MachineKind};
use crate::pairs::Pairs;
use crate::read::ColdReads;
use crate::snapshot::Snapshots;
use crate::stages::Stages;
use crate::upkeep::Upkeep;
use crate::{Balancing, Keep, Notice, Replies, Resting, StateDiffers, StopReason};

/// Committed entries that a group may have unapplied at its leader.
const UNAPPLIED_ENTRIES_MAX: u64 = 4096;

/// What a shard is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This node.
    pub node: NodeId,
    /// This core.
    pub core: CoreId,
    /// Cores of every node.
    pub cores: u16,
    /// Groups of the cluster.
    pub groups: u32,
    /// This node's incarnation: raised at every start.
    pub incarnation: u64,
    /// Seeds the election draws; the caller mixes cluster, node and incarnation into it.
    pub seed: u64,
    /// Timeouts of consensus.
    pub raft: raft::Settings,
    /// The members a new group begins with; empty on a node that joins.
    pub initial: Config,
    /// Entries kept behind a checkpoint for slow followers.
    pub trailing_entries: u64,
    /// When old rows go.
    pub keep: Keep,
    /// The hash of the state behind each entry whose index is a multiple of this goes to the other replicas; 0: none do.
    /// Equal on all nodes, or they compare less often.
    pub state_hash_every: u64,
    /// How leaderships are spread over the nodes.
    pub balance: Balancing,
    /// What this release knows; another than `Release::THIS` in tests alone.
    pub release: Release,
    /// What becomes of committed commands; fixed at format, equal on all nodes.
    pub machine: MachineKind,
}

/// A message for another node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerOut {
    /// Of consensus. Entries of an AppendEntries come by [`Shard::records`].
    Raft {
        /// The receiver.
        to: NodeId,
        /// The group.
        group: GroupId,
        /// The message.
        body: Body,
    },
    /// The end of a beat's list of heartbeats, after its items.
    Resting {
        /// The receiver.
        to: NodeId,
        /// The groups led here that rest with it.
        resting: Resting,
        /// The list's time: the `send_mono` of its items.
        now: Mono,
    },
    /// The answer.
    RestingAck {
        /// Whose list.
        to: NodeId,
        /// The groups that rest here under its lead, when the list was compared.
        resting: Resting,
        /// The list's time.
        list: Mono,
        /// This core's disk is too slow for it to lead.
        is_slow: bool,
    },
    /// A part of a snapshot.
    SnapshotPart {
        /// The receiver.
        to: NodeId,
        /// The group.
        group: GroupId,
        /// The snapshot's last entry.
        index: LogIndex,
        /// Its term.
        index_term: base::Term,
        /// The sender's term.
        term: base::Term,
        /// Names the stream.
        snapshot: u64,
        /// 0 is the machine row.
        part: u32,
        /// No more follow.
        last: bool,
        /// The bytes.
        body: Vec<u8>,
    },
    /// The receiver's answer.
    SnapshotAck {
        /// The sender of the snapshot.
        to: NodeId,
        /// The group.
        group: GroupId,
        /// Names the stream.
        snapshot: u64,
        /// The part wanted next.
        next_part: u32,
        /// It makes no sense (any more): stop sending.
        refused: bool,
    },
    /// What this node's state of a group is behind an entry. Only to who knows `wire::peer_feature::STATE_HASH`.
    StateHash {
        /// The receiver.
        to: NodeId,
        /// The group.
        group: GroupId,
        /// The entry.
        index: LogIndex,
        /// The rolling hash of all that was written up to it.
        hash: u64,
    },
}

/// One core's state.
pub struct Shard<D: Disk, S: Store> {
    pub(crate) settings: Settings,
    pub(crate) log: SegLog<D>,
    pub(crate) store: S,
    /// Local groups: index = group / cores.
    pub(crate) groups: Vec<Group>,
    pub(crate) dirty: VecDeque<u32>,
    /// Groups with committed entries to apply.
    pub(crate) to_apply: VecDeque<u32>,
    pub(crate) applier: Applier,
    /// In the applier's place where the machine is null.
    pub(crate) counter: Counter,
    pub(crate) applied: Applied,
    pub(crate) stages: Stages,
    pub(crate) cold_reads: ColdReads,
    pub(crate) read_counts: ReadCounts,
    pub(crate) cached: Option<Box<Cached>>,
    pub(crate) snapshots: Snapshots,
    pub(crate) replies: Replies,
    pub(crate) feeds: Feeds,
    pub(crate) peer_out: VecDeque<PeerOut>,
    pub(crate) next_token: u64,
    pub(crate) stop: Option<StopReason>,
    /// Subtrees to sweep: group and namespace.
    pub(crate) sweeps: VecDeque<(u32, Nsid)>,
    pub(crate) upkeep: Upkeep,
    pub(crate) effects: Effects,
    pub(crate) turn_groups: Vec<u32>,
    /// Groups whose entries keep the oldest segments.
    pub(crate) pinning: Vec<GroupId>,
    pub(crate) after_sync: VecDeque<(SyncEpoch, u32, Outgoing)>,
    pub(crate) written: VecDeque<(SyncEpoch, u32)>,
    pub(crate) synced: SyncEpoch,
    pub(crate) frozen: Option<meta::Frozen>,
    /// The newest memtable that was frozen; their numbers rise.
    pub(crate) frozen_last: u64,
    pub(crate) turn_now: Mono,
    pub(crate) turn_wall_ms: u64,
    pub(crate) last_freeze: Mono,
    pub(crate) wants_checkpoint: bool,
    pub(crate) next_heartbeat: Mono,
    pub(crate) pairs: Pairs,
    pub(crate) deadlines: Deadlines,
    /// Groups that are due in this turn.
    pub(crate) due: Vec<u32>,
    pub(crate) elections: ElectionBudget,
    /// Groups with a term or a vote to write found the open epoch full.
    pub(crate) waits_for_slot: bool,
    /// Groups led here that do not rest.
    pub(crate) heartbeating: BTreeSet<u32>,
    pub(crate) heartbeat_turn: Vec<u32>,
    pub(crate) disk_pace: DiskPace,
    pub(crate) admit: Admit,
    /// The disk had no room when the groups were told last.
    pub(crate) is_out_of_room: bool,
    /// Syncs on their way: when what they cover was handed out to be written.
    pub(crate) syncing: Vec<(OpToken, Mono)>,
    /// When the oldest write was handed out that no sync covers yet.
    pub(crate) writing: Option<Mono>,
    /// Of all groups led here.
    pub(crate) uncommitted_bytes: u64,
    /// Where the search for a group to hand over goes on.
    pub(crate) handover_at: usize,
    /// Groups whose lead is on its way to another node, each once; commands wait in their batches.
    pub(crate) handing_over: Vec<u32>,
    pub(crate) balance: Balance,
    /// Everything was given away, for the node stops.
    pub(crate) is_stopping: bool,
    pub(crate) disk_lag: DiskLag,
    pub(crate) members_changed: bool,
    /// Leaders by local group, for everybody who asks.
    pub(crate) leaders_changed: bool,
    /// Not told yet; at most one per group.
    pub(crate) alarms: VecDeque<(GroupId, raft::Alarm)>,
    /// Groups whose state is lost or being applied anew.
    pub(crate) lost: BTreeSet<u32>,
    /// Groups that this node is out of, whose rows are still there.
    pub(crate) leaving: BTreeSet<u32>,
    /// Rows were dropped, and no memtable that says so is frozen yet.
    pub(crate) drops_wait: bool,
    /// Not told yet.
    pub(crate) notices: VecDeque<(GroupId, Notice)>,
    /// Groups whose newest state hash was not told yet.
    pub(crate) untold_states: Vec<u32>,
    /// Not told yet; at most two per group and member.
    pub(crate) differences: VecDeque<StateDiffers>,
    /// Of one look at the log's damage; empty between two.
    pub(crate) fault_changes: Vec<GroupId>,
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// The groups of a core as its log and store hold them.
    ///
    /// Terms and votes are those that the log recovered. Nothing may be sent before the log's first epoch
    /// of this start is persisted: raft's after-sync rule sees to that.
    pub fn new(settings: Settings, mut log: SegLog<D>, store: S, now: Mono) -> Shard<D, S> {
        let mut groups = Vec::new();
        let local = (0..settings.groups).map(GroupId).filter(|g| core_of(*g, settings.cores) == settings.core);
        for id in local {
            groups.push(boot_group(&settings, &mut log, &store, id, now));
        }
        let written = groups.iter().enumerate().map(|(at, _)| (log.open_epoch(), at as u32)).collect();
        // Not at once: a node that was just started has other work.
        let upkeep = Upkeep::new(groups.len(), now + Span(settings.keep.look_every.0 / 8));
        let applier = Applier::of_release(settings.release);
        let seed = base::mix64(settings.seed ^ u64::from(settings.core.0));
        let balance = Balance::new(settings.balance, groups.len(), seed, now);
        let mut shard = Shard {
            settings,
            log,
            store,
            groups,
            dirty: VecDeque::new(),
            to_apply: VecDeque::new(),
            applier,
            counter: Counter::default(),
            applied: Applied::default(),
            stages: Stages::default(),
            cold_reads: ColdReads::default(),
            read_counts: ReadCounts::default(),
            cached: None,
            snapshots: Snapshots::default(),
            replies: Replies::default(),
            feeds: Feeds::default(),
            peer_out: VecDeque::new(),
            next_token: 1,
            stop: None,
            sweeps: VecDeque::new(),
            upkeep,
            effects: Effects::default(),
            turn_groups: Vec::new(),
            pinning: Vec::new(),
            after_sync: VecDeque::new(),
            written,
            synced: SyncEpoch(0),
            frozen: None,
            frozen_last: 0,
            turn_now: now,
            turn_wall_ms: 0,
            last_freeze: now,
            wants_checkpoint: false,
            next_heartbeat: now,
            pairs: Pairs::default(),
            deadlines: Deadlines::default(),
            due: Vec::new(),
            elections: ElectionBudget::default(),
            waits_for_slot: false,
            heartbeating: BTreeSet::new(),
            heartbeat_turn: Vec::new(),
            disk_pace: DiskPace::default(),
            admit: Admit::default(),
            is_out_of_room: false,
            syncing: Vec::new(),
            writing: None,
            uncommitted_bytes: 0,
            handover_at: 0,
            handing_over: Vec::new(),
            balance,
            is_stopping: false,
            disk_lag: DiskLag::default(),
            members_changed: true,
            leaders_changed: true,
            alarms: VecDeque::new(),
            lost: BTreeSet::new(),
            leaving: BTreeSet::new(),
            drops_wait: false,
            notices: VecDeque::new(),
            untold_states: Vec::new(),
            differences: VecDeque::new(),
            fault_changes: Vec::new(),
        };
        shard.find_lost(now);
        for group in &mut shard.groups {
            group.last_epoch = shard.log.open_epoch();
        }
        for at in 0..shard.groups.len() as u32 {
            let slot = &shard.groups[at as usize];
            shard.deadlines.set(at, slot.deadline);
            shard.mark_dirty(at);
            shard.find_level(at);
        }
        shard
    }

    // Peers.

    /// A message of consensus; entries were checked by the codec.
    pub fn handle_peer(&mut self, from: NodeId, group: GroupId, body: Body, entries: Records<'_>, now: Mono) {
        let Some(at) = self.local(group) else { return };
        self.note_message(from, at, &body, now);
        self.note_asker(from, at, &body, now);
        let is_append = matches!(body, Body::AppendEntries { .. });
        if matches!(body, Body::EntryFetchResp { .. }) && self.is_full() {
            base::mark::hit!("shard.full.repair_refused");
            return;
        }
        if is_append && (self.groups[at as usize].installing.is_some() || self.is_full()) {
            base::mark::hit!("shard.full.append_refused", self.is_full());
            base::mark::hit!("shard.snapshot.append_refused", self.groups[at as usize].installing.is_some());
            // As if lost: the leader probes again after its heartbeat interval.
            return;
        }
        if is_append && !self.may_ack(at) {
            return self.note_entries_refused(at);
        }
        self.step(at, Input::Message { from, body, entries, now });
    }

    /// A link to a node came up, spoken by this incarnation of it.
    pub fn handle_peer_up(&mut self, peer: NodeId, incarnation: u64) {
        self.pairs.note_heard(peer, self.turn_now);
        self.pairs.set_up(peer, true, self.turn_now);
        self.balance.note_fit(self.turn_now);
        for at in 0..self.groups.len() as u32 {
            self.step(at, Input::PeerUp { peer, incarnation });
        }
    }

    /// A link went down.
    pub fn handle_peer_down(&mut self, peer: NodeId) {
        self.pairs.set_up(peer, false, self.turn_now);
        for at in 0..self.groups.len() as u32 {
            self.step(at, Input::PeerDown { peer });
        }
        self.park_snapshots_to(peer);
    }

    // The disk and the store.

    /// An operation of the log is done.
    pub fn handle_op_done(&mut self, token: OpToken, result: OpResult) {
        if let Some(which) = self.syncing.iter().position(|(syncing, _)| *syncing == token) {
            let (_, since) = self.syncing.swap_remove(which);
            self.disk_pace.note_sync(self.turn_now.since(since), self.turn_now);
        }
        if let Err(failure) = self.log.handle_op_done(token, result) {
            base::mark::hit!("shard.stop.log_failed");
            self.stop.get_or_insert(StopReason::Log(failure.to_string()));
            return;
        }
        self.stages.follow(&self.log);
        // Before a sync of the same turn counts: nothing is counted that is known to be damaged.
        self.watch_faults(self.turn_now);
        let persisted = self.log.persisted_epoch();
        if persisted > self.synced {
            self.synced = persisted;
            self.disk_lag.handle_synced(persisted);
            self.handle_synced(persisted);
        }
        self.wake_log_waiters();
    }

    fn handle_synced(&mut self, persisted: SyncEpoch) {
        while let Some(&(epoch, at)) = self.written.front() {
            if epoch > persisted {
                break;
            }
            self.written.pop_front();
            self.time_synced(at, persisted);
            self.step(at, Input::Synced { epoch: persisted });
            self.note_installed(at, persisted);
        }
        while let Some(&(epoch, at, message)) = self.after_sync.front() {
            if epoch > persisted {
                break;
            }
            self.after_sync.pop_front();
            self.release(at, &message);
        }
        self.end_batches(persisted);
    }

    fn note_installed(&mut self, at: u32, persisted: SyncEpoch) {
        let group = &mut self.groups[at as usize];
        let Some(installed) = group.installed.take_if(|installed| mutate!(MUT_20C, installed.epoch <= persisted, true))
        else {
            return;
        };
        base::mark::hit!("shard.snapshot.installed");
        group.installing = None;
        self.forget_answers(at);
        let group = &mut self.groups[at as usize];
        // The state that came may have been found damaged since: then the log alone has begun anew behind it.
        if self.store.machine(group.id).is_some_and(|machine| machine.applied_index >= installed.index) {
            group.applied = installed.index;
        }
        group.commit = group.commit.max(installed.index);
        let (index, term) = (installed.index, installed.term);
        self.step(at, Input::SnapshotInstalled { index, term, config: &installed.config });
        self.members_changed = true;
        self.end_drop(at);
        self.note_rebuilt(at);
        self.serve_confirmed(at);
        self.forget_level(at);
        self.forget_states(at);
        self.queue_apply(at);
    }

    /// Takes what the store finished; called when it rang and once a turn.
    pub fn handle_store_events(&mut self) {
        while let Some(event) = self.store.poll_event() {
            match event {
                StoreEvent::Prefetched { token } => self.handle_prefetched(token),
                StoreEvent::Flushed(frozen) => self.handle_flushed(&frozen),
                StoreEvent::SnapshotPart { snapshot, part, body, last } => {
                    self.handle_snapshot_read(snapshot, part, body, last);
                }
                StoreEvent::Installed { group, machine } => self.handle_installed(group, &machine),
                StoreEvent::InstallFailed { group, reason } => self.handle_install_failed(group, &reason),
                StoreEvent::Damaged { group, reason } => self.handle_damaged(group, reason),
                StoreEvent::Failed { reason } => {
                    self.stop.get_or_insert(StopReason::Store(reason));
                }
            }
        }
    }

    // Questions.

    pub(crate) fn local(&self, group: GroupId) -> Option<u32> {
        let is_here = group.0 < self.settings.groups && core_of(group, self.settings.cores) == self.settings.core;
        is_here.then(|| group.0 / u32::from(self.settings.cores))
    }

    /// The core that owns a group.
    #[must_use]
    pub fn core_of(&self, group: GroupId) -> CoreId {
        core_of(group, self.settings.cores)
    }

    /// Applied entries of a local group; 0 for any other.
    #[must_use]
    pub fn applied_index(&self, group: GroupId) -> LogIndex {
        self.local(group).map_or(LogIndex(0), |at| self.groups[at as usize].applied)
    }

    fn is_full(&self) -> bool {
        self.log.unsynced_bytes() >= UNSYNCED_BYTES_MAX || self.store.pressure() == Pressure::Full || self.log.is_full()
    }

    pub(crate) fn is_overloaded(&self, at: u32) -> bool {
        let slot = &self.groups[at as usize];
        self.is_full() || slot.commit.0 - slot.applied.0 > UNAPPLIED_ENTRIES_MAX
    }

    /// When `handle_tick` is wanted next.
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        let raft = self.deadlines.earliest();
        let raft = raft.min(self.pairs.deadline(self.settings.raft.election_min)).min(self.snapshots.next_deadline());
        let leads = !self.heartbeating.is_empty() || self.pairs.leads();
        let heartbeat = if leads { self.next_heartbeat } else { Mono::MAX };
        let raft = raft.min(self.upkeep.deadline()).min(self.lost_deadline()).min(self.drops_deadline());
        let raft = raft.min(self.balance.deadline()).min(self.feeds.deadline());
        raft.min(heartbeat).min(self.disk_lag_deadline()).min(self.log.next_deadline().unwrap_or(Mono::MAX))
    }

    /// Nothing is unsynced and nothing is in flight: the point of a clean stop.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.log.is_quiet()
    }

    /// Writes the log's `meta` soon: asked once before a clean stop.
    pub fn prepare_stop(&mut self) {
        self.log.request_meta();
    }

    /// True when another turn would find work at once.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.to_apply.is_empty()
            // What ends an overload is itself a reason for a turn: until then a core must not spin.
            || self.sweeps.iter().any(|(at, _)| !self.is_overloaded(*at))
            || !self.turn_groups.is_empty()
            || (!self.dirty.is_empty() && self.log.is_quiet())
    }

    /// Why the node must stop, if it must.
    #[must_use]
    pub fn stop_reason(&self) -> Option<&StopReason> {
        self.stop.as_ref()
    }

    // Actions.

    /// The next message for a peer.
    pub fn poll_peer(&mut self) -> Option<PeerOut> {
        self.peer_out.pop_front()
    }

    /// Appends the record bytes of entries `first..=last` to `out`. False when some are not in memory: they are being
    /// brought in, and the message counts as lost.
    pub fn records(&mut self, group: GroupId, first: LogIndex, last: LogIndex, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        match self.log.records(group, first, last, out) {
            Ok(()) => return true,
            Err(Unreadable::Cold { .. }) => self.log.fault_in(group, first, last),
            Err(Unreadable::Faulty(_)) => {}
        }
        base::mark::hit!("shard.peer.entries_not_in_memory");
        out.truncate(start);
        false
    }

    /// The next operation for the disk.
    pub fn poll_op(&mut self) -> Option<(OpToken, DiskOp)> {
        let next = self.log.poll_op();
        match &next {
            Some((_, DiskOp::Write { .. })) => {
                self.stages.follow(&self.log);
                self.writing.get_or_insert(self.turn_now);
            }
            // Some disks sync while they write, and have nothing to do now.
            Some((token, DiskOp::Sync { .. })) => {
                self.syncing.push((*token, self.writing.take().unwrap_or(self.turn_now)));
            }
            _ => {}
        }
        next
    }

    /// This turn's answers.
    pub fn replies(&mut self) -> &mut Replies {
        &mut self.replies
    }

    /// Are there answers that were not taken yet?
    #[must_use]
    pub fn has_replies(&self) -> bool {
        !self.replies.is_empty()
    }

    /// The log's memory, for the executor of its operations.
    pub fn log_mut(&mut self) -> &mut SegLog<D> {
        &mut self.log
    }

    /// The log.
    pub fn log(&self) -> &SegLog<D> {
        &self.log
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The store.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// The store alone, at the end: it wants to be closed.
    #[must_use]
    pub fn into_store(self) -> S {
        self.store
    }

    /// All nodes that some group here names as a member, if that may have changed since the last call.
    pub fn poll_members(&mut self) -> Option<Vec<NodeId>> {
        if !std::mem::take(&mut self.members_changed) {
            return None;
        }
        let mut members: Vec<NodeId> = self.groups.iter().flat_map(|group| group.raft.config().members()).collect();
        members.sort_unstable();
        members.dedup();
        Some(members)
    }

    /// The next group that stopped because something happened that must never happen.
    pub fn poll_alarm(&mut self) -> Option<(GroupId, raft::Alarm)> {
        self.alarms.pop_front()
    }

    /// The next thing that happened to a group's state here.
    pub fn poll_notice(&mut self) -> Option<(GroupId, Notice)> {
        self.notices.pop_front()
    }

    /// Calls `each` for the leader of every local group, if one may have changed since the last call.
    pub fn poll_leaders(&mut self, mut each: impl FnMut(GroupId, NodeId)) {
        if std::mem::take(&mut self.leaders_changed) {
            self.groups.iter().for_each(|group| each(group.id, group.raft.leader().unwrap_or_default()));
        }
    }
}

/// One group as log and store hold it.
fn boot_group<D: Disk, S: Store>(settings: &Settings, log: &mut SegLog<D>, store: &S, id: GroupId, now: Mono) -> Group {
    if !log.has_group(id) {
        base::mark::hit!("shard.boot.group_begun");
        log.new_group(id, &settings.initial.encode());
    }
    let machine = store.machine(id).cloned().unwrap_or_default();
    let initial = log.group_config_prefix(id).to_vec();
    let config_bytes = if machine.config.is_empty() { initial.clone() } else { machine.config.clone() };
    // A snapshot was installed and the stop came before the log heard of it: the machine row is ahead of the log.
    let reaches = log.term(id, machine.applied_index) == Some(machine.applied_term);
    // (Behind the log's first entry it is no such snapshot: the state is lost, and the log stays as it is.)
    if machine.applied_index >= log.first_index(id).prev() && machine.applied_index > LogIndex(0) && !reaches {
        base::mark::hit!("shard.boot.store_ahead_of_log");
        log.install(id, machine.applied_index, machine.applied_term, machine.applied_crc, &config_bytes, false);
    }
    let config = Config::decode(&config_bytes).expect("configurations are written by raft and checked by the log");
    let mut wrote = None;
    let (term, vote) = log.state(id);
    let boot = raft::Boot {
        id: settings.node,
        group: id,
        seed: base::mix64(settings.seed ^ u64::from(id.0)),
        incarnation: settings.incarnation,
        hard_state: HardState { term, vote },
        applied_index: machine.applied_index,
        commit_floor: machine.applied_index,
        config,
        config_index: machine.config_index,
        health: health::of_log(log.health(id)),
        now,
        settings: settings.raft,
    };
    let group_log = GroupLog { log, group: id, wrote: &mut wrote };
    let raft = Raft::new(boot, &group_log);
    Group::new(id, raft, machine.applied_index, initial)
}
