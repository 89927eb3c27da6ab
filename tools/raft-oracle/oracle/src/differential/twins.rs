//! The raft crate, made anew in the state that a node of our core is in.

use std::cell::RefCell;
use std::rc::Rc;

use base::{LogIndex, Mono};
use ours::Progress;
use raft::{Config, ProgressState, StateRole};
use slog::Logger;

use crate::differential::member::Member;
use crate::differential::view::{Role, role_of_ours};
use crate::twin::{HardState, Shared, Twin};

/// Ticks within which the raft crate is loyal to a leader; it is told by hand how many have passed.
const ELECTION_TICKS: usize = 10;

/// The raft crate in the state of `member` at `now`: same log, term, vote, role, leader, commit, votes and followers.
///
/// What our core does not keep is derived: loyalty from `hears_leader`, activity of a follower from its last answer.
#[must_use]
pub fn theirs_like(member: &Member, hears_leader: bool, now: Mono, logger: &Logger) -> raft::Raft<Shared> {
    let ours = &member.raft;
    let mut twin = Twin::new();
    twin.memory = member.log.memory.clone();
    twin.memory.hard =
        HardState { term: ours.term(), vote: ours.vote().unwrap_or_default(), commit: ours.commit_index() };
    let shared = Shared { twin: Rc::new(RefCell::new(twin)), voters: member.voters.clone() };
    let config = Config {
        id: ours.id().0,
        election_tick: ELECTION_TICKS,
        heartbeat_tick: 1,
        applied: ours.applied_index().0,
        max_size_per_msg: raft::NO_LIMIT,
        check_quorum: true,
        pre_vote: true,
        ..Config::default()
    };
    let mut theirs = raft::Raft::new(&config, shared, logger).expect("a configuration that is sound");
    theirs.raft_log.persisted = ours.persisted_index().0;
    theirs.election_elapsed = if hears_leader { 0 } else { ELECTION_TICKS };
    theirs.leader_id = ours.leader().unwrap_or_default().0;
    match role_of_ours(ours) {
        Role::Follower => {}
        role @ (Role::PreCandidate | Role::Candidate) => {
            theirs.state = if role == Role::Candidate { StateRole::Candidate } else { StateRole::PreCandidate };
            for (voter, is_granted) in &member.votes {
                theirs.mut_prs().record_vote(*voter, *is_granted);
            }
        }
        Role::Leader => make_leader(&mut theirs, member, now),
    }
    theirs
}

fn make_leader(theirs: &mut raft::Raft<Shared>, member: &Member, now: Mono) {
    let ours = &member.raft;
    theirs.state = StateRole::Leader;
    theirs.lead_transferee = member.transfer.map(|transfer| transfer.target.0);
    let (id, persisted): (u64, LogIndex) = (ours.id().0, ours.persisted_index());
    let own = theirs.mut_prs().get_mut(id).expect("a leader is a voter");
    (own.matched, own.next_idx, own.state) = (persisted.0, persisted.0 + 1, ProgressState::Replicate);
    for peer in ours.peers() {
        let progress = theirs.mut_prs().get_mut(peer.id.0).expect("both know the same voters");
        (progress.matched, progress.next_idx) = (peer.match_index.0, peer.next_index.0);
        progress.recent_active = now.since(peer.last_answer) < member.settings.check_quorum;
        (progress.state, progress.paused) = match peer.progress {
            Progress::Probe { is_paused } => (ProgressState::Probe, is_paused),
            Progress::Replicate => (ProgressState::Replicate, false),
            Progress::Snapshot { .. } => (ProgressState::Snapshot, false),
        };
    }
}
