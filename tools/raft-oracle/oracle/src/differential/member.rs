//! A node of our core in the generator of states, and what its driver knows of it without asking it.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use base::{LogIndex, Mono, NodeId, SyncEpoch, Term};
use ours::{Body, Boot, Config, Effects, Input, Outcome, Outgoing, Raft, Settings};

use crate::differential::view::{Role, role_of_ours};
use crate::twin::{GROUP, HardState, Twin};

/// A transfer that a leader accepted.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// To whom.
    pub target: NodeId,
    /// Since when.
    pub since: Mono,
}

/// One node. Everything but `raft` and `log` is the driver's own account.
pub struct Member {
    /// The core.
    pub raft: Raft,
    /// Its log.
    pub log: Twin,
    /// The members of the group.
    pub voters: Vec<u64>,
    /// Its times.
    pub settings: Settings,
    /// Counts its starts.
    pub incarnation: u64,
    /// When it started.
    pub boot: Mono,
    /// When it last heard a leader, as a follower.
    pub contact: Option<Mono>,
    /// The highest read position that a leader told it, and in which term.
    pub seen_position: (Term, u64),
    /// The votes of its candidacy.
    pub votes: BTreeMap<u64, bool>,
    /// The transfer under way.
    pub transfer: Option<Transfer>,
    /// When entries last went to whom.
    pub last_append: BTreeMap<u64, Mono>,
    /// What waits for an epoch.
    pub after_sync: VecDeque<(u64, Outgoing)>,
    /// The newest epoch that holds something.
    pub last_epoch: u64,
}

impl Member {
    /// A node that starts from what `log` holds on its disk.
    #[must_use]
    pub fn boot(id: NodeId, voters: &[u64], log: Twin, incarnation: u64, seed: u64, now: Mono) -> Member {
        let settings = crate::settings();
        let ids: Vec<NodeId> = voters.iter().copied().map(NodeId).collect();
        let boot = Boot {
            id,
            group: GROUP,
            seed,
            incarnation,
            hard_state: ours::HardState { term: log.disk.hard.term, vote: log.disk.hard.vote },
            applied_index: LogIndex(0),
            commit_floor: LogIndex(0),
            config: Config::single(&ids),
            config_index: LogIndex(0),
            health: ours::Health::Clean,
            now,
            settings,
        };
        Member {
            raft: Raft::new(boot, &log),
            log,
            voters: voters.to_vec(),
            settings,
            incarnation,
            boot: now,
            contact: None,
            seen_position: (Term(0), 0),
            votes: BTreeMap::new(),
            transfer: None,
            last_append: BTreeMap::new(),
            after_sync: VecDeque::new(),
            last_epoch: 0,
        }
    }

    /// In the first 500 ms of its life?
    #[must_use]
    pub fn is_booting(&self, now: Mono) -> bool {
        now.since(self.boot) < self.settings.election_min
    }

    /// Did it hear a leader, or as a leader a quorum, within 500 ms?
    #[must_use]
    pub fn hears_leader(&self, now: Mono) -> bool {
        let heard =
            if role_of_ours(&self.raft) == Role::Leader { Some(self.heard_by_quorum(now)) } else { self.contact };
        heard.is_some_and(|heard| now.since(heard) < self.settings.election_min)
    }

    /// Does this AppendEntries tell it of a read position that it has not seen?
    #[must_use]
    pub fn is_new_position(&self, body: &Body) -> bool {
        let Body::AppendEntries { term, read_position, .. } = *body else { return false };
        term >= self.raft.term() && read_position > 0 && (term, read_position) > self.seen_position
    }

    /// Is this a TimeoutNow older than a read position that it has seen?
    #[must_use]
    pub fn is_late_timeout(&self, body: &Body) -> bool {
        matches!(*body, Body::TimeoutNow { term, read_position, .. } if self.seen_position > (term, read_position))
    }

    /// When a quorum, this leader included, had last answered.
    fn heard_by_quorum(&self, now: Mono) -> Mono {
        let mut answers: Vec<Mono> = self.raft.peers().iter().map(|peer| peer.last_answer).collect();
        answers.push(now);
        answers.sort_unstable();
        answers[answers.len() - (answers.len() / 2 + 1)]
    }

    /// Steps, drains until nothing is left, and keeps the accounts.
    pub fn step(&mut self, input: Input<'_>, now: Mono) -> (Outcome, Vec<Effects>) {
        let before = (role_of_ours(&self.raft), self.raft.term());
        self.note_input(&input, now);
        let outcome = self.raft.step(&mut self.log, input);
        let mut all = Vec::new();
        self.note_written();
        while self.raft.is_dirty() && all.len() < 8 {
            let mut effects = Effects::default();
            self.raft.drain(&self.log, &mut effects);
            if let Some(ours::HardState { term, vote }) = effects.hard_state {
                let epoch = self.log.set_hard(HardState { term, vote, commit: LogIndex(0) });
                self.raft.hard_state_epoch(epoch);
            }
            self.note_written();
            self.note_said(&effects, now);
            all.push(effects);
        }
        let after = (role_of_ours(&self.raft), self.raft.term());
        // A pre-candidate may ask anew, without a change of role or term.
        let asks = all.iter().flat_map(|effects| &effects.send_now).any(|out| matches!(out.body, Body::PreVote { .. }));
        if after != before || asks {
            self.votes = BTreeMap::from([(self.raft.id().0, true)]);
        }
        if after.0 != Role::Leader || after != before {
            self.transfer = None;
        }
        (outcome, all)
    }

    fn note_written(&mut self) {
        self.last_epoch = self.log.newest_unsynced().unwrap_or(0).max(self.last_epoch);
    }

    fn note_input(&mut self, input: &Input<'_>, now: Mono) {
        let Input::Message { from, body, .. } = input else { return };
        let (role, term) = (role_of_ours(&self.raft), self.raft.term().0);
        match *body {
            Body::AppendEntries { term: of, read_position, .. } | Body::Heartbeat { term: of, read_position, .. }
                if of.0 >= term =>
            {
                self.contact = Some(now);
                self.seen_position = self.seen_position.max((of, read_position));
            }
            Body::PreVoteResp { term: of, rejected, incarnation } => {
                let counts = if rejected { of.0 == term } else { of.0 == term + 1 };
                if role == Role::PreCandidate && incarnation == self.incarnation && counts {
                    self.votes.entry(from.0).or_insert(!rejected);
                }
            }
            Body::VoteResp { term: of, rejected, incarnation }
                if role == Role::Candidate && incarnation == self.incarnation && of.0 == term =>
            {
                self.votes.entry(from.0).or_insert(!rejected);
            }
            _ => {}
        }
    }

    fn note_said(&mut self, effects: &Effects, now: Mono) {
        for outgoing in &effects.send_now {
            if matches!(outgoing.body, Body::AppendEntries { .. }) {
                self.last_append.insert(outgoing.to.0, now);
            }
        }
    }

    /// All that was written is on disk now; the number of its epoch.
    pub fn sync_log(&mut self) -> SyncEpoch {
        let epoch = self.log.close();
        self.log.sync(epoch);
        SyncEpoch(epoch)
    }

    /// What may leave now that everything is synced.
    pub fn release(&mut self) -> Vec<Outgoing> {
        let mut released = Vec::new();
        while let Some((_, message)) = self.after_sync.pop_front_if(|(epoch, _)| *epoch <= self.log.persisted) {
            released.extend(self.raft.release(&message));
        }
        released
    }
}
