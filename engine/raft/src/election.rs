//! Elections: deadlines, pre-votes, votes, and the leader that notices that nobody listens.

use base::mono::Span;
use base::record::{EntryKind, Records};
use base::{LogIndex, Mono, NodeId, Term, mutate};

use crate::quorum::{Poll, count_poll, reached_by_quorum};
use crate::raft::{Raft, Role};
use crate::{Body, Health, Log, NO_HINT};

/// What a candidate says of itself.
#[derive(Clone, Copy)]
struct Ask {
    from: NodeId,
    term: Term,
    last_index: LogIndex,
    last_term: Term,
    incarnation: u64,
}

impl Raft {
    /// Routes a message by its term (Raft 5.1), then by what it is.
    pub(crate) fn handle_message(&mut self, log: &mut impl Log, from: NodeId, body: Body, entries: Records<'_>) {
        if from == self.id || from == NodeId(0) || self.is_old_news(from, &body) {
            return;
        }
        match body {
            // Questions and answers about lost entries change no term and depose nobody.
            Body::EntryFetch { .. } => return self.handle_entry_fetch(from, body),
            Body::EntryFetchResp { .. } => return self.handle_entry_fetch_resp(log, from, body, entries),
            _ => {}
        }
        let term = body.term();
        if term < self.term() {
            base::mark::hit!("raft.term.lower_answered");
            return mutate!(MUT_30B, self.answer_lower_term(from, body), ());
        }
        let asks_before = mutate!(MUT_30A, matches!(body, Body::PreVote { .. }), false);
        let changes_nothing = asks_before || matches!(body, Body::PreVoteResp { rejected: false, .. });
        if term > self.term() && !changes_nothing {
            if let Body::RequestVote { forced, .. } = body {
                // Thesis 4.2.3: who hears a leader, or may have promised one to stay, does not even learn the term.
                if self.is_loyal(forced) {
                    base::mark::hit!("raft.vote.loyal_to_a_leader");
                    return self.tell_removed(from);
                }
            }
            base::mark::hit!("raft.term.higher_adopted");
            base::mark::hit!("raft.term.leader_deposed", self.role == Role::Leader);
            self.become_follower(term, NodeId(0));
        }
        match body {
            Body::AppendEntries { .. } => self.handle_append(log, from, body, entries),
            Body::Heartbeat { commit_index, read_position, quiesce, send_mono, .. } => {
                if self.follow(from) && self.health() != Health::Quarantined {
                    // The leader knows that this log matches its own up to here.
                    base::mark::hit!("raft.heartbeat.commit_learned", commit_index > self.commit_index);
                    self.commit_up_to(commit_index.min(log.last_index()));
                    let agrees = self.answer_rest(log, quiesce, send_mono);
                    self.ack_heartbeat(from, read_position, agrees, send_mono);
                    self.note_vouched(log, commit_index);
                }
            }
            Body::AppendResp { .. } => self.handle_append_resp(log, from, body),
            Body::HeartbeatAck { read_position, quiesce, echo_mono, .. } => {
                self.handle_heartbeat_ack(log, from, read_position, echo_mono);
                self.note_rest_answer(from, quiesce, echo_mono);
                self.promote_learners(log, from);
            }
            Body::PreVote { last_index, last_term, incarnation, .. } => {
                self.handle_pre_vote(log, Ask { from, term, last_index, last_term, incarnation });
            }
            Body::RequestVote { last_index, last_term, incarnation, forced, .. } => {
                self.handle_request_vote(log, Ask { from, term, last_index, last_term, incarnation }, forced);
            }
            Body::PreVoteResp { rejected, incarnation, .. } => {
                base::mark::hit!("raft.vote.pre_vote_of_another_life", incarnation != self.incarnation);
                let is_mine = incarnation == self.incarnation && (rejected || term == Term(self.term().0 + 1));
                if self.role == Role::PreCandidate && is_mine {
                    self.note_vote(log, from, !rejected);
                }
            }
            Body::VoteResp { rejected, incarnation, .. } => {
                base::mark::hit!("raft.vote.vote_of_another_life", incarnation != self.incarnation);
                if self.role == Role::Candidate && mutate!(MUT_1C, incarnation == self.incarnation, true) {
                    self.note_vote(log, from, !rejected);
                }
            }
            Body::TimeoutNow { read_position, .. } => self.handle_timeout_now(log, from, read_position),
            Body::Removed { config_index, .. } => {
                // Of the same index: it is committed, and this node may not have heard that of its own.
                if config_index >= self.configs.index() && self.role != Role::Leader {
                    base::mark::hit!("raft.membership.learned_removed");
                    self.is_removed = true;
                }
            }
            Body::ReadIndex { read_id, incarnation, .. } => self.handle_read_ask(from, read_id, incarnation),
            Body::ReadIndexResp { read_id, incarnation, read_index, rejected, .. } => {
                self.handle_read_answer(from, (read_id, incarnation), read_index, rejected);
            }
            Body::Amnesia { .. } => {
                if self.role != Role::Leader {
                    self.handle_amnesia();
                }
            }
            Body::EntryFetch { .. } | Body::EntryFetchResp { .. } => unreachable!("handled above, whatever their term"),
        }
    }

    /// Of a lower term, and no question about lost entries, which has a meaning of its own.
    pub(crate) fn is_of_the_past(&self, body: &Body) -> bool {
        let asks = matches!(body, Body::EntryFetch { .. } | Body::EntryFetchResp { .. });
        body.term() < self.term() && !asks
    }

    /// A leader or pre-candidate of the past learns the term, else it is stuck; the rest is old news.
    fn answer_lower_term(&mut self, from: NodeId, body: Body) {
        let term = self.term();
        match body {
            Body::AppendEntries { prev_index, .. } => {
                base::mark::hit!("raft.term.old_append_answered");
                let resp = Body::AppendResp {
                    term,
                    index: prev_index,
                    rejected: true,
                    busy: false,
                    faulty: self.is_doubtful(),
                    hint_index: NO_HINT,
                    hint_term: Term(0),
                    read_position: 0,
                    echo_mono: Mono(0),
                };
                self.push_after_sync(from, resp);
            }
            Body::Heartbeat { .. } => {
                base::mark::hit!("raft.term.old_heartbeat_answered");
                let ack = Body::HeartbeatAck { term, read_position: 0, quiesce: false, echo_mono: Mono(0) };
                self.push_after_sync(from, ack);
            }
            Body::PreVote { incarnation, .. } => {
                base::mark::hit!("raft.term.old_pre_vote_answered");
                self.push_after_sync(from, Body::PreVoteResp { term, rejected: true, incarnation });
            }
            _ => {}
        }
    }

    /// A message of this term's leader arrived. False if the group had to stop.
    pub(crate) fn follow(&mut self, from: NodeId) -> bool {
        let is_second = self.leader != NodeId(0) && self.leader != from;
        if self.role == Role::Leader || is_second {
            self.stop(crate::Alarm::TwoLeaders);
            return false;
        }
        if self.role != Role::Follower || self.leader != from {
            base::mark::hit!("raft.follow.candidate_yields", self.role == Role::Candidate);
            base::mark::hit!("raft.follow.pre_candidate_yields", self.role == Role::PreCandidate);
            self.become_follower(self.term(), from);
        }
        self.last_contact = Some(self.now);
        self.reset_deadline();
        true
    }

    pub(crate) fn reset_deadline(&mut self) {
        base::mark::hit!("raft.election.tired_disk_waits_longer", self.is_disk_tired);
        let Span(min) = self.settings.election_min;
        let Span(max) = self.settings.election_max;
        let Span(extra) =
            if self.is_disk_tired || self.is_state_lost { self.settings.slow_disk_extra } else { Span(0) };
        self.deadline = self.now + Span(min + self.prng.below(max - min) + extra);
    }

    pub(crate) fn handle_tick(&mut self, log: &mut impl Log) {
        if self.rest.is_on() {
            return;
        }
        self.tick_faults(log);
        if self.role == Role::Leader {
            return self.handle_leader_tick(log);
        }
        self.tick_follower_reads();
        if self.now < self.deadline {
            return;
        }
        // A candidate whose own vote still waits for the disk has not even asked: a slow disk makes no storm.
        let waits_for_disk = self.role == Role::Candidate && !self.hard.is_persisted();
        if waits_for_disk || !self.may_campaign(log) || self.is_booting() {
            base::mark::hit!("raft.election.own_vote_waits_for_disk", waits_for_disk);
            base::mark::hit!("raft.election.barred_by_disk", self.is_disk_slow);
            base::mark::hit!("raft.election.barred_by_install", self.is_installing(log));
            base::mark::hit!("raft.election.barred_by_health", self.is_doubtful());
            base::mark::hit!("raft.election.barred_as_removed", self.is_removed);
            return self.reset_deadline();
        }
        self.become_pre_candidate(log);
    }

    fn handle_leader_tick(&mut self, log: &impl Log) {
        if let Some(transfer) =
            self.lead.transfer.take_if(|transfer| mutate!(MUT_8B, self.now >= transfer.deadline, false))
            && transfer.is_asked
        {
            self.note_transfer_given_up();
        }
        let (now, abort) = (self.now, self.settings.snapshot_abort);
        let first = log.first_index();
        self.lead.peers.iter_mut().for_each(|peer| peer.expire_snapshot(now, abort, first));
        self.rest_alone();
        if self.yield_stuck_lead() {
            return;
        }
        let heard = self.heard_by_quorum();
        if self.now.since(heard) >= self.settings.check_quorum {
            base::mark::hit!("raft.lead.quorum_silent");
            return self.become_follower(self.term(), NodeId(0));
        }
        self.deadline = heard + self.settings.check_quorum;
    }

    /// The latest time at which a quorum, this leader included, had answered.
    fn heard_by_quorum(&self) -> Mono {
        let heard = |id| match self.lead.peer(id) {
            _ if id == self.id => Some(self.now),
            // Who rests is not asked; its core is watched by the caller.
            Some(peer) if peer.is_resting => Some(self.now),
            peer => peer.map(|peer| peer.last_answer),
        };
        reached_by_quorum(self.config(), |id| heard(id).unwrap_or_default()).unwrap_or(self.now)
    }

    pub(crate) fn handle_disk_lag(&mut self, oldest_unsynced_us: u64) {
        self.is_disk_slow = mutate!(MUT_22A, oldest_unsynced_us > self.settings.disk_lag_max.as_us(), false);
        if self.is_disk_slow && self.role != Role::Follower {
            base::mark::hit!("raft.disk_lag.leader_yields", self.role == Role::Leader);
            base::mark::hit!("raft.disk_lag.candidate_yields", self.role != Role::Leader);
            self.become_follower(self.term(), NodeId(0));
        }
    }

    pub(crate) fn handle_campaign(&mut self, log: &mut impl Log) {
        // The own vote is promised like any other: who campaigned earlier could break a lease.
        if self.role != Role::Leader && self.may_campaign(log) && !self.is_loyal(false) {
            self.become_pre_candidate(log);
        }
    }

    /// The gate: a voter, or one until lately, whose log and disk are in order.
    pub(crate) fn may_campaign(&self, log: &impl Log) -> bool {
        let is_clean = self.health() == Health::Clean;
        self.configs.may_lead(self.id) && is_clean && !self.is_removed && !self.is_disk_slow && !self.is_installing(log)
    }

    /// Promises made before this start are forgotten, so for the least timeout all of them are kept.
    fn is_booting(&self) -> bool {
        self.now.since(self.boot) < self.settings.election_min
    }

    /// Must a vote be refused because a leader was heard, or may have been, within the least timeout?
    pub(crate) fn is_loyal(&self, forced: bool) -> bool {
        let hears_leader = match self.role {
            // While a lease holds, too: what a quorum echoed was sent before its answer was heard.
            Role::Leader => {
                let has_lease = self.lease_until(self.now).is_some();
                has_lease || self.now.since(self.heard_by_quorum()) < self.settings.election_min
            }
            _ => self.last_contact.is_some_and(|contact| self.now.since(contact) < self.settings.election_min),
        };
        mutate!(MUT_29B, self.is_booting(), false) || mutate!(MUT_29A, hears_leader && !forced, false)
    }

    fn is_up_to_date(&self, log: &impl Log, ask: &Ask) -> bool {
        let last_index = log.last_index();
        // Raft 5.4.1: the later term wins, then the longer log; unsynced entries count.
        let asked = (ask.last_term, ask.last_index);
        let own = (log.term(last_index).unwrap_or_default(), last_index);
        base::mark::hit!("raft.vote.log_of_earlier_term", asked.0 < own.0);
        base::mark::hit!("raft.vote.log_too_short", asked.0 == own.0 && asked.1 < own.1);
        base::mark::hit!("raft.vote.later_term_shorter_log", asked.0 > own.0 && asked.1 < own.1);
        mutate!(MUT_5A, asked >= own, (asked.1, asked.0) >= (own.1, own.0)) && self.may_vote_for(asked)
    }

    fn is_vote_free_for(&self, from: NodeId) -> bool {
        match self.vote() {
            Some(vote) => vote == from,
            None => self.leader == NodeId(0),
        }
    }

    fn handle_pre_vote(&mut self, log: &impl Log, ask: Ask) {
        if self.is_loyal(false) {
            base::mark::hit!("raft.vote.loyal_to_pre_vote");
            return self.tell_removed(ask.from);
        }
        let is_term_open = ask.term > self.term() || self.is_vote_free_for(ask.from);
        let rejected = !(is_term_open && self.is_up_to_date(log, &ask));
        base::mark::hit!("raft.vote.pre_vote_granted", !rejected);
        base::mark::hit!("raft.vote.pre_vote_of_taken_term", !is_term_open);
        base::mark::hit!("raft.vote.pre_vote_log_behind", is_term_open && rejected);
        let term = if rejected { self.term() } else { ask.term };
        self.push_after_sync(ask.from, Body::PreVoteResp { term, rejected, incarnation: ask.incarnation });
    }

    /// Of the own term: a higher one was adopted before.
    fn handle_request_vote(&mut self, log: &impl Log, ask: Ask, forced: bool) {
        let grants = matches!(self.role, Role::Follower | Role::PreCandidate)
            && self.is_vote_free_for(ask.from)
            && self.is_up_to_date(log, &ask)
            && !self.is_loyal(forced);
        if grants {
            base::mark::hit!("raft.vote.granted_forced", forced);
            base::mark::hit!("raft.vote.granted_again", self.vote() == Some(ask.from));
            self.become_follower(self.term(), self.leader);
            self.hard.current.vote = ask.from;
        }
        base::mark::hit!("raft.vote.rejected", !grants);
        let resp = Body::VoteResp { term: self.term(), rejected: !grants, incarnation: ask.incarnation };
        self.push_after_sync(ask.from, resp);
    }

    /// Asks whether an election could be won. Raises no term: who cannot win does not disturb (thesis 9.6).
    fn become_pre_candidate(&mut self, log: &mut impl Log) {
        self.become_follower(self.term(), NodeId(0));
        base::mark::hit!("raft.election.pre_candidate");
        self.role = Role::PreCandidate;
        let body = Body::PreVote {
            term: Term(self.term().0 + 1),
            last_index: log.last_index(),
            last_term: log.term(log.last_index()).unwrap_or_default(),
            incarnation: self.incarnation,
        };
        for voter in self.voters_but_self() {
            self.push_now(voter, body);
        }
        self.note_vote(log, self.id, true);
    }

    /// Asks for votes. The messages and the own vote wait for the disk: term, vote and last entry must survive, or a
    /// late answer could elect this node's next life with a shorter log.
    pub(crate) fn become_candidate(&mut self, log: &impl Log, forced: bool) {
        let term = Term(self.term().0 + 1);
        self.become_follower(term, NodeId(0));
        base::mark::hit!("raft.election.candidate", !forced);
        base::mark::hit!("raft.election.forced", forced);
        self.role = Role::Candidate;
        self.hard.current.vote = self.id;
        let body = Body::RequestVote {
            term,
            last_index: log.last_index(),
            last_term: log.term(log.last_index()).unwrap_or_default(),
            incarnation: self.incarnation,
            forced,
        };
        for voter in self.voters_but_self() {
            self.push_after_sync(voter, body);
        }
    }

    /// The own vote is on disk: it counts, and the time to wait for the others begins.
    pub(crate) fn count_own_vote(&mut self, log: &mut impl Log) {
        self.reset_deadline();
        self.note_vote(log, self.id, true);
    }

    fn note_vote(&mut self, log: &mut impl Log, from: NodeId, is_granted: bool) {
        if !self.votes.iter().any(|(voter, _)| *voter == from) && self.config().is_voter(from) {
            self.votes.push((from, is_granted));
        }
        let vote_of = |id| self.votes.iter().find(|(voter, _)| *voter == id).map(|(_, is_granted)| *is_granted);
        base::mark::hit!("raft.election.lost", count_poll(self.config(), vote_of) == Poll::Lost);
        match count_poll(self.config(), vote_of) {
            Poll::Open => {}
            Poll::Lost => self.become_follower(self.term(), NodeId(0)),
            // The log may have been restarted behind a snapshot meanwhile, whose configuration is not known yet.
            Poll::Won if !self.may_campaign(log) => self.become_follower(self.term(), NodeId(0)),
            Poll::Won if self.role == Role::PreCandidate => self.become_candidate(log, false),
            Poll::Won => self.become_leader(log),
        }
    }

    fn become_leader(&mut self, log: &mut impl Log) {
        assert!(self.role == Role::Candidate, "{}: leader without an election", self.id);
        assert!(self.hard.is_persisted(), "{}: leader before its own vote is persisted", self.id);
        base::mark::hit!("raft.election.won");
        base::mark::hit!("raft.election.won_in_joint", self.config().is_joint());
        base::mark::hit!("raft.election.won_by_who_leaves", !self.config().is_voter(self.id));
        self.role = Role::Leader;
        self.leader = self.id;
        self.votes.clear();
        self.lead.clear();
        self.lead.lease = crate::lease::Lease::new(self.now);
        self.forget_rest();
        self.deadline = self.now + self.settings.check_quorum;
        // Before the no-op: then the first probe carries it to every follower that is up to date.
        self.renew_peers(log.last_index());
        // Thesis 6.4: an entry of the own term, so that what is committed becomes known.
        self.lead.first_index = self.append_own(log, EntryKind::Noop, &[]);
    }

    fn voters_but_self(&self) -> Vec<NodeId> {
        self.config().voters().filter(|voter| *voter != self.id).collect()
    }

    /// A leader tells a node that is in no configuration of its log any more, when it asks for votes.
    fn tell_removed(&mut self, from: NodeId) {
        let is_settled = self.configs.index() <= self.commit_index && !self.config().is_joint();
        if self.role == Role::Leader && is_settled && !self.config().is_member(from) {
            base::mark::hit!("raft.membership.asker_told_removed");
            self.push_now(from, Body::Removed { term: self.term(), config_index: self.configs.index() });
        }
    }

    /// A leader gives its office to this node: no pre-vote, and the voters' loyalty is lifted.
    fn handle_timeout_now(&mut self, log: &impl Log, from: NodeId, read_position: u64) {
        // Who has not heard of this leader in this life cannot know which positions it had seen before.
        let is_from_leader = self.role == Role::Follower && self.leader == from;
        // A higher position was joined after this message left: the leader gave the transfer up since.
        let is_late = self.seen_position > read_position;
        base::mark::hit!("raft.transfer.timeout_now_of_another", !is_from_leader);
        base::mark::hit!("raft.transfer.refused_after_boot", is_from_leader && self.is_booting());
        base::mark::hit!("raft.transfer.refused_by_target", is_from_leader && !self.may_campaign(log));
        if is_late {
            base::mark::hit!("raft.transfer.late_timeout_now");
        }
        if is_from_leader && !is_late && !self.is_booting() && self.may_campaign(log) {
            self.become_candidate(log, true);
        }
    }
}
