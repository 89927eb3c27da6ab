//! Rest: a group that nobody uses sends nothing and waits for nothing, until somebody needs it (docs/design/raft.md,
//! "Quiescence").
//!
//! ```text
//!  leader    in use ──5 s idle, all matched and live──▶ asks (items say `quiesce`) ──all agreed──▶ rests
//!  follower  follows ──asked, and its log ends at the commit index──▶ agrees in its ack, drops its deadline
//! ```
//! Any input but a tick ends it. What may be lost is found by the caller: both sides of a pair of cores compare the sets
//! of groups that rest between them, and a peer core that falls silent wakes them all ([`Raft::wake`]).

use base::{GroupId, LogIndex, Mono, NodeId, Term, mix64, mutate};

use crate::progress::Progress;
use crate::raft::{Raft, Role};
use crate::{Body, Health, Input, Log};

/// Whether a group rests.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct Rest {
    /// A follower has agreed; at a leader all members have.
    is_on: bool,
    /// At a leader: the last proposal, read, change or wake.
    last_use: Mono,
    /// At a leader: since then it asks.
    asked: Option<Mono>,
    /// At a follower at rest: the leader's clock in the question that it agreed to first.
    agreed: Mono,
    /// Not yet told to the caller.
    has_changed: bool,
}

impl Rest {
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }
}

/// One group's share of the hash that both sides of a pair compare. Equal at leader and follower while both rest.
fn share(group: GroupId, term: Term, last_index: LogIndex) -> u64 {
    [term.0, last_index.0].iter().fold(mix64(u64::from(group.0) + 1), |hash, part| mix64(hash ^ part))
}

impl Raft {
    /// The group needs nothing: no tick, no heartbeat.
    #[must_use]
    pub fn is_resting(&self) -> bool {
        self.rest.is_on
    }

    /// Does the group rest between this node and `peer`: its leader, or at the leader a follower that agreed?
    #[must_use]
    pub fn rests_with(&self, peer: NodeId) -> bool {
        match self.role {
            Role::Leader => self.lead.peer(peer).is_some_and(|peer| peer.is_resting),
            _ => self.rest.is_on && self.leader == peer,
        }
    }

    /// The group's share of the pair's hash, while it rests: of group, term and last index.
    #[must_use]
    pub fn rest_hash(&self) -> u64 {
        share(self.group, self.term(), self.commit_index)
    }

    /// True if [`Raft::rests_with`] may answer otherwise than at the last call.
    pub fn take_rest_change(&mut self) -> bool {
        std::mem::take(&mut self.rest.has_changed)
    }

    /// The caller has a reason to doubt the rest: silence of a peer, or sets that differ. `heard` is when a node was last
    /// heard of at all: promises and answers count from there.
    pub fn wake(&mut self, now: Mono, heard: impl Fn(NodeId) -> Mono) {
        self.now = self.now.max(now);
        self.end_rest(heard);
    }

    /// Wakes the group if `input`, about to be stepped, must not meet it asleep; [`Raft::step`] does so by itself, and
    /// then takes every silent peer as heard of just now.
    pub fn wake_for(&mut self, input: &Input<'_>, now: Mono, heard: impl Fn(NodeId) -> Mono) {
        if !self.has_rest() || !self.is_waking(input) {
            return;
        }
        base::mark::hit!("raft.quiesce.woken");
        let is_from_leader = matches!(input, Input::Message { from, .. } if *from == self.leader);
        let told = self.leader().filter(|leader| *leader != self.id && !is_from_leader);
        self.wake(now, heard);
        if let Some(leader) = told {
            base::mark::hit!("raft.quiesce.leader_told");
            // The leader must list the group again: one item, instead of a mismatch that wakes them all.
            let ack = Body::HeartbeatAck {
                term: self.term(),
                read_position: self.seen_position,
                quiesce: false,
                echo_mono: Mono(0),
            };
            self.push_after_sync(leader, ack);
        }
    }

    /// Something of this group rests somewhere, as far as this node knows.
    fn has_rest(&self) -> bool {
        self.rest.is_on || self.lead.peers.iter().any(|peer| peer.is_resting)
    }

    /// Sent before both sides agreed to rest, and come late: it says nothing that they did not know when they agreed, and
    /// is as good as lost.
    pub(crate) fn is_old_news(&self, from: NodeId, body: &Body) -> bool {
        if !self.has_rest() || body.term() != self.term() {
            return false;
        }
        match *body {
            Body::Heartbeat { send_mono, .. } | Body::AppendEntries { send_mono, .. } => {
                from == self.leader && self.rest.is_on && send_mono < self.rest.agreed
            }
            Body::HeartbeatAck { echo_mono, .. } | Body::AppendResp { echo_mono, .. } => {
                let is_resting = self.lead.peer(from).is_some_and(|peer| peer.is_resting);
                is_resting && echo_mono != Mono(0) && self.rest.asked.is_some_and(|asked| echo_mono < asked)
            }
            _ => false,
        }
    }

    fn is_waking(&self, input: &Input<'_>) -> bool {
        match *input {
            // The own disk and machine say nothing new of a group that has nothing unsynced and nothing unapplied.
            Input::Tick { .. } | Input::Synced { .. } | Input::Applied { .. } | Input::DiskSlow { .. } => false,
            Input::PeerUp { peer, .. } | Input::PeerDown { peer } => {
                self.leader == peer || self.lead.peer(peer).is_some()
            }
            // Old news, and what is answered by the term alone.
            Input::Message { from, ref body, .. } if self.is_old_news(from, body) || self.is_of_the_past(body) => {
                base::mark::hit!("raft.quiesce.old_news");
                false
            }
            Input::Message { from, body, .. } => match body {
                Body::Heartbeat { quiesce: true, term, .. } => from != self.leader || term != self.term(),
                Body::HeartbeatAck { quiesce, term, .. } => {
                    let is_resting = self.lead.peer(from).is_some_and(|peer| peer.is_resting);
                    term > self.term() || term == self.term() && is_resting && !quiesce
                }
                _ => true,
            },
            _ => true,
        }
    }

    fn end_rest(&mut self, heard: impl Fn(NodeId) -> Mono) {
        if !self.has_rest() {
            return;
        }
        base::mark::hit!("raft.quiesce.leader_wakes", self.role == Role::Leader);
        base::mark::hit!("raft.quiesce.follower_wakes", self.role != Role::Leader);
        (self.rest.is_on, self.rest.agreed) = (false, Mono(0));
        self.rest.has_changed = true;
        self.dirty = true;
        if self.role == Role::Leader {
            self.note_used();
            for peer in self.lead.peers.iter_mut().filter(|peer| peer.is_resting) {
                peer.is_resting = false;
                // The follower's set must lose the group in the next list, whatever else is sent.
                peer.must_list = true;
                peer.last_answer = peer.last_answer.max(heard(peer.id));
            }
            self.deadline = self.now;
        } else {
            let contact = heard(self.leader);
            self.last_contact = self.last_contact.map(|last| last.max(contact)).or(Some(contact));
            self.reset_deadline();
        }
    }

    /// The role or the leader changes: whatever rested does not any more.
    pub(crate) fn forget_rest(&mut self) {
        base::mark::hit!("raft.quiesce.forgotten", self.has_rest());
        self.rest.has_changed |= self.has_rest();
        (self.rest.is_on, self.rest.agreed) = (false, Mono(0));
        self.rest.asked = None;
        self.rest.last_use = self.now;
    }

    /// A proposal, a read, a change: the leader's idle time starts anew.
    pub(crate) fn note_used(&mut self) {
        self.rest.last_use = self.now;
        self.rest.asked = None;
    }

    /// May the leader ask for rest? Asked at every heartbeat.
    pub(crate) fn asks_rest(&mut self) -> bool {
        let is_asking = self.may_ask_rest();
        if !is_asking {
            self.rest.asked = None;
        } else if self.rest.asked.is_none() {
            base::mark::hit!("raft.quiesce.asks");
            self.rest.asked = Some(self.now);
        }
        is_asking
    }

    fn may_ask_rest(&self) -> bool {
        let Some(idle) = self.settings.quiesce_after else { return false };
        let last = self.lead.last_index;
        let is_live = |heard| self.now.since(heard) < self.settings.election_min;
        self.is_leader()
            && self.now.since(self.rest.last_use) >= idle
            && self.is_own_term_committed()
            && self.is_settled(last)
            && self.lead.transfer.is_none()
            && !self.lead.reads.is_waiting()
            && !self.may_promote()
            && self.lead.peers.iter().all(|peer| {
                peer.progress == Progress::Replicate
                    && mutate!(MUT_31C, peer.match_index == last, true)
                    && (peer.is_resting || is_live(peer.last_answer))
            })
    }

    /// Everything up to `last` is committed, applied and on this disk, and no change is open.
    fn is_settled(&self, last: LogIndex) -> bool {
        self.commit_index == last
            && self.applied_index == last
            && self.persisted_index() == last
            && self.hard.is_persisted()
            && self.health() == Health::Clean
            && !self.config().is_joint()
    }

    /// The leader's item, sent at `send_mono` of its clock, says whether it wants to rest; the ack says whether this
    /// follower does.
    pub(crate) fn answer_rest(&mut self, log: &impl Log, is_asked: bool, send_mono: Mono) -> bool {
        // A read that waits needs its deadline: the ask may be lost, and then it is repeated or given up.
        let is_idle = self.is_settled(log.last_index()) && !self.follower_reads.is_waiting();
        let agrees = is_asked && is_idle && !self.is_installing(log);
        if is_asked && !agrees {
            base::mark::hit!("raft.quiesce.refused");
        }
        base::mark::hit!("raft.quiesce.follower_rests", agrees && !self.rest.is_on);
        if agrees != self.rest.is_on {
            self.rest.agreed = if agrees { send_mono } else { Mono(0) };
        }
        self.rest.has_changed |= agrees != self.rest.is_on;
        self.rest.is_on = agrees;
        agrees
    }

    /// A follower has answered an item; with `agrees` it waits for nothing any more.
    pub(crate) fn note_rest_answer(&mut self, from: NodeId, agrees: bool, echo_mono: Mono) {
        let is_for_this = self.rest.asked.is_some_and(|asked| echo_mono >= asked);
        if !agrees || !is_for_this || !self.may_ask_rest() {
            return;
        }
        let Some(peer) = self.lead.peer_mut(from) else { return };
        if !peer.is_resting {
            base::mark::hit!("raft.quiesce.follower_agreed");
            peer.is_resting = true;
            self.rest.has_changed = true;
        }
        if self.lead.peers.iter().all(|peer| peer.is_resting) && !self.rest.is_on {
            base::mark::hit!("raft.quiesce.rests");
            self.rest.is_on = true;
        }
    }

    /// A leader that has nobody else to ask rests by itself.
    pub(crate) fn rest_alone(&mut self) {
        if self.lead.peers.is_empty() && !self.rest.is_on && self.asks_rest() {
            self.rest.is_on = true;
            self.rest.has_changed = true;
        }
    }
}
