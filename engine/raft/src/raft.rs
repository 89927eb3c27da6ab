//! One group on one node: its state, what may be asked of it, and who handles which input.
//!
//! ```text
//!             deadline, gate open          pre-vote quorum            vote quorum, own vote persisted
//!  Follower ─────────────────▶ PreCandidate ───────────▶ Candidate ───────────────────────────────▶ Leader
//!     ▲  ▲                          │                       │                                          │
//!     │  └── leader of this term ───┴───────────────────────┘                                          │
//!     └── higher term, no quorum heard, slow disk, no longer a voter ──────────────────────────────────┘
//!         TimeoutNow: Follower ──▶ Candidate, no pre-vote
//! ```

use base::{GroupId, LogIndex, Mono, NodeId, Prng, SyncEpoch, Term, mix64};

use crate::drain::Outbox;
use crate::epochs::{EpochRing, HardStates};
use crate::follower_read::FollowerReads;
use crate::health::Faults;
use crate::history::ConfigHistory;
use crate::lead::Lead;
use crate::progress::Peer;
use crate::quiesce::Rest;
use crate::{Alarm, Body, Config, HardState, Health, Input, Log, Outcome, Settings};

/// What a node is in its group now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Role {
    /// It follows a leader, or waits for one.
    Follower = 0,
    /// It asks whether it could win.
    PreCandidate = 1,
    /// It asks for votes.
    Candidate = 2,
    /// It leads.
    Leader = 3,
}

/// What a group starts from: all of it was persisted before.
#[derive(Clone, Debug)]
pub struct Boot {
    /// This node; not 0.
    pub id: NodeId,
    /// The group.
    pub group: GroupId,
    /// For election deadlines; nodes of one cluster may share it.
    pub seed: u64,
    /// Counts the starts of this node, persisted before any message leaves.
    pub incarnation: u64,
    /// The last term and vote that were persisted.
    pub hard_state: HardState,
    /// The machine has applied so far.
    pub applied_index: LogIndex,
    /// Known to be committed; what the log does not hold of it is ignored.
    pub commit_floor: LogIndex,
    /// The configuration in force at `applied_index`.
    pub config: Config,
    /// Its entry, or 0.
    pub config_index: LogIndex,
    /// What recovery says of the log. Faulty entries are known to the log itself.
    pub health: Health,
    /// The time.
    pub now: Mono,
    /// The times to wait.
    pub settings: Settings,
}

/// One group on one node. Inputs go in by [`Raft::step`], effects come out by [`Raft::drain`].
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Raft {
    pub(crate) id: NodeId,
    pub(crate) group: GroupId,
    pub(crate) incarnation: u64,
    pub(crate) settings: Settings,
    pub(crate) prng: Prng,

    pub(crate) role: Role,
    /// Node 0 is none.
    pub(crate) leader: NodeId,
    pub(crate) hard: HardStates,
    pub(crate) epochs: EpochRing,
    pub(crate) commit_index: LogIndex,
    pub(crate) applied_index: LogIndex,
    pub(crate) configs: ConfigHistory,

    /// The newest time told.
    pub(crate) now: Mono,
    pub(crate) boot: Mono,
    pub(crate) last_contact: Option<Mono>,
    pub(crate) deadline: Mono,
    /// Beyond the bound at which it neither leads nor campaigns.
    pub(crate) is_disk_slow: bool,
    /// Slower than the others' should be: it draws longer deadlines.
    pub(crate) is_disk_tired: bool,
    /// What its machine applied is lost: it cannot serve, and draws longer deadlines.
    pub(crate) is_state_lost: bool,
    /// Told to be out of the group, by a configuration newer than its own.
    pub(crate) is_removed: bool,
    pub(crate) votes: Vec<(NodeId, bool)>,
    /// The highest read position seen from the leader of this term.
    pub(crate) seen_position: u64,
    /// The incarnations of the peers, by their links.
    pub(crate) links: Vec<(NodeId, u64)>,
    pub(crate) lead: Lead,
    pub(crate) follower_reads: FollowerReads,
    pub(crate) rest: Rest,
    pub(crate) faults: Faults,

    pub(crate) outbox: Outbox,
    pub(crate) dirty: bool,
    pub(crate) alarm: Option<Alarm>,
}

impl Raft {
    /// A group as the last life of this node left it: a follower that knows no leader.
    ///
    /// Every entry of `log` counts as persisted. Configurations above `config_index` are read from the log, where
    /// [`Log::config_payload`] must answer for Config entries alone; one that is none raises [`Alarm::BadConfig`].
    pub fn new(boot: Boot, log: &impl Log) -> Raft {
        let Boot { id, group, settings, now, .. } = boot;
        assert!(id != NodeId(0), "node 0 is no node");
        assert!(settings.election_min < settings.election_max, "election deadlines are drawn from an empty range");
        settings.check_lease();
        let last_index = log.last_index();
        assert!(boot.applied_index <= last_index, "applied {} beyond the log's end {last_index}", boot.applied_index);
        let mut hard = HardStates::new(boot.hard_state);
        // Entries may have reached the disk before their term did: then no vote of that term was ever answered.
        let last_term = log.term(last_index).unwrap_or_default();
        if last_term > hard.current.term {
            base::mark::hit!("raft.boot.entries_before_their_term");
            hard.current = HardState { term: last_term, vote: NodeId(0) };
        }
        let term = hard.current.term;
        let commit_index = boot.commit_floor.max(boot.applied_index).min(last_index).max(log.first_index().prev());
        let seed = [id.0, u64::from(group.0), boot.incarnation].iter().fold(boot.seed, |seed, part| mix64(seed ^ part));
        base::mark::hit!("raft.boot.faulty", boot.health == Health::Faulty);
        base::mark::hit!("raft.boot.recovering_head", boot.health == Health::RecoveringHead);
        base::mark::hit!("raft.boot.quarantined", boot.health == Health::Quarantined);
        let faults = Faults::new(&boot, term, log);
        let mut raft = Raft {
            id,
            group,
            incarnation: boot.incarnation,
            settings,
            prng: Prng::new(seed),
            role: Role::Follower,
            leader: NodeId(0),
            hard,
            epochs: EpochRing::new(last_index),
            commit_index,
            applied_index: boot.applied_index,
            configs: ConfigHistory::new(boot.config_index, boot.config),
            now,
            boot: now,
            last_contact: None,
            deadline: now,
            is_disk_slow: false,
            is_disk_tired: false,
            is_state_lost: false,
            is_removed: false,
            votes: Vec::new(),
            seen_position: 0,
            links: Vec::new(),
            lead: Lead::default(),
            follower_reads: FollowerReads::default(),
            rest: Rest::default(),
            faults,
            outbox: Outbox::new(boot.applied_index, term),
            dirty: true,
            alarm: None,
        };
        raft.read_configs(log);
        raft.reset_deadline();
        raft
    }

    fn read_configs(&mut self, log: &impl Log) {
        let first = log.first_index().max(self.configs.index().next());
        for index in (first.0..=log.last_index().0).map(LogIndex) {
            let Some(payload) = log.config_payload(index) else { continue };
            match Config::decode(&payload) {
                Ok(config) => self.configs.push(index, config),
                Err(_) => self.alarm = Some(Alarm::BadConfig(index)),
            }
        }
        self.configs.note_committed(self.commit_index);
    }

    /// Changes state; the effects wait for [`Raft::drain`]. Entries are written to `log` here.
    ///
    /// A stopped group (an alarm was raised) answers `NotLeader` to requests and ignores the rest.
    pub fn step(&mut self, log: &mut impl Log, input: Input<'_>) -> Outcome {
        if let Some(now) = input.now() {
            self.now = self.now.max(now);
        }
        if self.alarm.is_some() {
            return Outcome::NotLeader { hint: None };
        }
        let now = self.now;
        self.wake_for(&input, now, |_| now);
        let outcome = self.handle(log, input);
        if self.faults.is_active() || matches!(input, Input::FaultFound { .. }) {
            self.settle_faults(log);
        }
        outcome
    }

    fn handle(&mut self, log: &mut impl Log, input: Input<'_>) -> Outcome {
        match input {
            Input::Propose { payload, .. } => return self.handle_propose(log, payload),
            Input::Read { .. } => return self.handle_read(),
            Input::FollowerRead { .. } => return self.handle_follower_read(log),
            Input::ClockJump { .. } => self.handle_clock_jump(),
            Input::ChangeConfig { change, .. } => return self.handle_change_config(log, change),
            Input::Transfer { target, .. } => return self.handle_transfer(log, target),
            Input::Tick { .. } => self.handle_tick(log),
            Input::Message { from, body, entries, .. } => self.handle_message(log, from, body, entries),
            Input::Synced { epoch } => self.handle_synced(log, epoch),
            Input::Applied { index } => self.handle_applied(index),
            Input::SnapshotInstalled { index, term, config } => self.handle_installed(log, index, term, config),
            Input::SnapshotReport { peer, installed } => self.handle_snapshot_report(log, peer, installed),
            Input::PeerUp { peer, incarnation } => self.handle_peer_up(peer, incarnation),
            Input::PeerDown { peer } => self.handle_peer_down(peer),
            Input::DiskLag { oldest_unsynced_us, .. } => self.handle_disk_lag(oldest_unsynced_us),
            Input::DiskSlow { is_slow } => self.is_disk_tired = is_slow,
            Input::FaultFound { .. } => self.handle_fault_found(log),
            Input::StateLost { is_lost, .. } => self.handle_state_lost(is_lost),
            Input::StateDiffers { index } => self.handle_state_differs(index),
            Input::Campaign { .. } => self.handle_campaign(log),
        }
        Outcome::Done
    }

    /// Told right after [`crate::Effects::hard_state`] was put into the open epoch: its number.
    pub fn hard_state_epoch(&mut self, epoch: SyncEpoch) {
        self.hard.note_epoch(epoch);
    }

    fn handle_synced(&mut self, log: &mut impl Log, epoch: SyncEpoch) {
        let was_persisted = self.hard.is_persisted();
        self.hard.handle_synced(epoch);
        let is_repaired = self.faults.handle_synced(epoch);
        let rose = self.epochs.handle_synced(epoch) || is_repaired;
        self.dirty = true;
        match self.role {
            // Raft figure 2: a vote is persisted before it counts, the own one too.
            Role::Candidate if !was_persisted && self.hard.is_persisted() => self.count_own_vote(log),
            Role::Leader if rose => self.maybe_commit(log),
            _ => {}
        }
    }

    fn handle_applied(&mut self, index: LogIndex) {
        assert!(index <= self.commit_index, "applied {index} beyond the commit index {}", self.commit_index);
        self.applied_index = self.applied_index.max(index);
        self.lead.backlog.note_applied(self.applied_index);
        self.dirty |= self.follower_reads.is_waiting();
    }

    /// The log is good and what was made of it is not. A start would serve it again, so the group is quarantined on disk.
    fn handle_state_differs(&mut self, index: LogIndex) {
        base::mark::hit!("raft.alarm.state_differs");
        self.faults.base = crate::Health::Quarantined;
        self.stop(Alarm::StateHash(index));
    }

    /// The group stops: what happened must never happen, and a human is needed.
    pub(crate) fn stop(&mut self, alarm: Alarm) {
        self.become_follower(self.term(), NodeId(0));
        self.follower_reads.drop_all();
        self.alarm = Some(alarm);
        self.dirty = true;
    }

    /// Follows `leader` (node 0: nobody yet) in `term`, which is not below the own one.
    pub(crate) fn become_follower(&mut self, term: Term, leader: NodeId) {
        assert!(term >= self.term(), "term {term} after {}", self.term());
        self.forget_rest();
        if self.role == Role::Leader {
            base::mark::hit!("raft.read.dropped_with_the_lead", self.lead.reads.is_waiting());
            base::mark::hit!("raft.lead.given_up");
            self.outbox.reads_dropped |= self.lead.reads.is_waiting();
            self.lead.clear();
        }
        if term > self.term() || leader != self.leader {
            base::mark::hit!("raft.follower_read.leader_changed", self.follower_reads.is_waiting());
            self.follower_reads.drop_all();
        }
        if term > self.term() {
            self.hard.current = HardState { term, vote: NodeId(0) };
            self.seen_position = 0;
        }
        self.role = Role::Follower;
        self.leader = leader;
        self.votes.clear();
        self.reset_deadline();
        self.dirty = true;
    }

    /// The log was restarted behind a snapshot that this group has not been told of yet.
    pub(crate) fn is_installing(&self, log: &impl Log) -> bool {
        log.first_index().prev() > self.commit_index
    }

    /// When a [`Input::Tick`] is due. [`Mono::MAX`] for a node that never campaigns.
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        if self.alarm.is_some() || self.rest.is_on() {
            return Mono::MAX;
        }
        let deadline = match (self.role, &self.lead.transfer) {
            (Role::Leader, Some(transfer)) => self.deadline.min(transfer.deadline),
            (Role::Follower, _) if !self.configs.may_lead(self.id) || self.is_removed => Mono::MAX,
            _ => self.deadline,
        };
        deadline.min(self.follower_reads_deadline()).min(self.faults_deadline())
    }

    /// Something waits for [`Raft::drain`].
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// The next drain will hand out a term or a vote: a state slot of the open epoch must be free.
    #[must_use]
    pub fn wants_hard_state(&self) -> bool {
        self.hard.is_unwritten()
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// The current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.hard.current.term
    }

    /// The vote given in it, if any.
    #[must_use]
    pub fn vote(&self) -> Option<NodeId> {
        Some(self.hard.current.vote).filter(|vote| *vote != NodeId(0))
    }

    /// Who leads, as far as known.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        Some(self.leader).filter(|leader| *leader != NodeId(0))
    }

    /// Does this node lead?
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.role == Role::Leader
    }

    /// What this node is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The last entry known to be committed.
    #[must_use]
    pub fn commit_index(&self) -> LogIndex {
        self.commit_index
    }

    /// The last entry that the machine has applied.
    #[must_use]
    pub fn applied_index(&self) -> LogIndex {
        self.applied_index
    }

    /// The last entry known to be on this node's disk.
    #[must_use]
    pub fn persisted_index(&self) -> LogIndex {
        self.epochs.persisted_index().min(self.faults.sound_index())
    }

    /// The last entry of the log.
    #[must_use]
    pub fn last_index(&self, log: &impl Log) -> LogIndex {
        log.last_index()
    }

    /// The configuration in force: the newest in the log.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.configs.in_force()
    }

    /// Its entry, or the snapshot that brought it.
    #[must_use]
    pub fn config_index(&self) -> LogIndex {
        self.configs.index()
    }

    /// The configuration that was in force at `index`, for a snapshot there, and its own index.
    /// `None` below the commit index, when a newer one has replaced it.
    #[must_use]
    pub fn config_at(&self, index: LogIndex) -> Option<(LogIndex, &Config)> {
        self.configs.at(index)
    }

    /// Bytes of this leader's proposals that are not committed; 0 on others.
    #[must_use]
    pub fn uncommitted_bytes(&self) -> u64 {
        self.lead.backlog.uncommitted_bytes()
    }

    /// The followers, as their leader sees them; empty on others.
    #[must_use]
    pub fn peers(&self) -> &[Peer] {
        &self.lead.peers
    }

    /// When a leader of the group was last heard. It speaks only to who is a member by its newest configuration.
    #[must_use]
    pub fn heard_leader_at(&self) -> Option<Mono> {
        self.last_contact
    }

    /// Another node said that this one is out of the group.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.is_removed
    }

    /// Why the group stopped, if it did.
    #[must_use]
    pub fn alarm(&self) -> Option<Alarm> {
        self.alarm
    }
}

impl Raft {
    pub(crate) fn push_now(&mut self, to: NodeId, body: Body) {
        self.outbox.push_now(to, body);
        self.dirty = true;
    }

    /// For a message that promises something: it leaves when the promise is on disk, at once if it is.
    pub(crate) fn push_after_sync(&mut self, to: NodeId, body: Body) {
        self.outbox.push_after_sync(to, body);
        self.dirty = true;
    }
}
