//! Claim: each step of each node is a step of the executable specification of Raft (docs/TESTING.md, "Oracles").

use base::{GroupId, NodeId};

use crate::checker::slots::Slots;
use crate::observe::{Checker, Event, GroupView, Time, Violation, Wants};
use crate::spec::{self, Group, Step};

const NAME: &str = "refinement";

/// See the claim above.
#[derive(Default)]
pub struct Refinement {
    groups: Slots<GroupId, Group>,
}

fn violation(group: GroupId, node: NodeId, step: Step, what: impl FnOnce() -> String) -> Result<(), Violation> {
    step.map_err(|refused| Violation { checker: NAME, what: spec::describe(group, node, &what(), &refused) })
}

/// The step in words: where the turn left the node.
fn words(view: &GroupView<'_>) -> String {
    format!(
        "the turn of its life {} to {:?} in term {} with vote {}, log {} to {}, persisted {}, commit {}, applied {}",
        view.incarnation,
        view.role,
        view.term,
        view.vote,
        view.log.first_index(),
        view.log.last_index(),
        view.persisted,
        view.commit,
        view.applied
    )
}

impl Checker for Refinement {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wants(&self) -> Wants {
        Wants::NEWS.and(Wants::SENT)
    }

    fn observe(&mut self, _at: Time, event: &Event<'_>) -> Result<(), Violation> {
        match *event {
            Event::Turn(ref view) => {
                let step = self.groups.of(view.group).note_turn(view);
                violation(view.group, view.node, step, || words(view))
            }
            Event::Boot { groups, .. } => groups.iter().try_for_each(|view| {
                let step = self.groups.of(view.group).note_boot(view);
                violation(view.group, view.node, step, || format!("the start: {}", words(view)))
            }),
            Event::Sent { from, to, group, body, .. } => {
                let step = self.groups.of(group).note_sent(from, to, body);
                violation(group, from, step, || format!("{body:?} to node {to}"))
            }
            Event::Crash { node, .. } | Event::DiskLost { node } => {
                self.groups.iter_mut().for_each(|(_, group)| group.note_crash(node));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use base::{LogIndex, Mono, Term};
    use raft::{Body, Config, ConfigChange};

    use super::*;
    use crate::checker::testing::{GROUP, Seat, Seen, boot, ms, turn};

    /// A group of the nodes 1 to 3, step by step; each step is legal unless a test says otherwise.
    #[derive(Default)]
    struct Story {
        checker: Refinement,
    }

    impl Story {
        fn new() -> Story {
            let mut story = Story::default();
            (1..=3).for_each(|node| boot(&mut story.checker, &Seat::new(node)).unwrap());
            story
        }

        fn turn(&mut self, seat: &Seat) -> Seen {
            turn(&mut self.checker, seat)
        }

        fn send(&mut self, from: u64, to: u64, body: Body) -> Seen {
            let (from, to) = (NodeId(from), NodeId(to));
            self.checker.observe(ms(0), &Event::Sent { from, incarnation: 1, to, group: GROUP, body: &body })
        }

        /// Node 1 leads in term 1 with the votes of `voters`; its no-op is entry 1.
        fn elect(&mut self, voters: &[u64]) -> Result<Seat, Violation> {
            self.turn(&Seat { role: raft::Role::PreCandidate, ..Seat::new(1) })?;
            for to in [2, 3] {
                self.send(1, to, pre_vote(1))?;
            }
            self.send(2, 1, Body::PreVoteResp { term: Term(1), rejected: false, incarnation: 1 })?;
            self.turn(&Seat { role: raft::Role::Candidate, term: 1, vote: 1, ..Seat::new(1) })?;
            for to in [2, 3] {
                self.send(1, to, request(1, (0, 0)))?;
            }
            for voter in voters {
                self.turn(&Seat { term: 1, vote: 1, ..Seat::new(*voter) })?;
                self.send(*voter, 1, grant(1))?;
            }
            let leader = Seat::with(1, &[1], 0).leading();
            self.turn(&leader)?;
            Ok(leader)
        }

        /// The same, and node 2 has acked the no-op, which is committed.
        fn commit(&mut self) -> Result<(Seat, Seat), Violation> {
            let leader = self.elect(&[2])?;
            self.send(1, 2, append((0, 0), 1, 0))?;
            let follower = Seat { vote: 1, ..Seat::with(2, &[1], 0) };
            self.turn(&follower)?;
            self.send(2, 1, ack(1, 1))?;
            let leader = Seat { commit: 1, applied: 1, ..leader };
            self.turn(&leader)?;
            Ok((leader, follower))
        }
    }

    fn pre_vote(term: u64) -> Body {
        Body::PreVote { term: Term(term), last_index: LogIndex(0), last_term: Term(0), incarnation: 1 }
    }

    fn request(term: u64, last: (u64, u64)) -> Body {
        let (last_term, last_index) = (Term(last.0), LogIndex(last.1));
        Body::RequestVote { term: Term(term), last_index, last_term, incarnation: 1, forced: false }
    }

    fn grant(term: u64) -> Body {
        Body::VoteResp { term: Term(term), rejected: false, incarnation: 1 }
    }

    /// Of term 1.
    fn append((prev_term, prev_index): (u64, u64), count: u16, commit: u64) -> Body {
        Body::AppendEntries {
            term: Term(1),
            prev_index: LogIndex(prev_index),
            prev_term: Term(prev_term),
            prev_crc: 0,
            commit_index: LogIndex(commit),
            read_position: 0,
            count,
            send_mono: Mono(1),
        }
    }

    fn ack(term: u64, index: u64) -> Body {
        crate::checker::testing::ack(term, index, 1)
    }

    fn beat(commit: u64) -> Body {
        let (term, commit_index) = (Term(1), LogIndex(commit));
        Body::Heartbeat { term, commit_index, read_position: 0, quiesce: false, send_mono: Mono(1) }
    }

    fn refused(action: &str, seen: Seen) {
        let violation = seen.expect_err("the step was taken for legal");
        assert!(violation.what.contains(&format!("the nearest is {action},")), "{violation}, not by {action}");
    }

    #[test]
    fn an_election_a_commit_and_its_news_are_legal() {
        let mut story = Story::new();
        let (_, follower) = story.commit().unwrap();
        story.send(1, 2, beat(1)).unwrap();
        story.turn(&Seat { commit: 1, applied: 1, ..follower }).unwrap();
        // The other one hears of it much later, and twice.
        story.send(1, 3, append((0, 0), 1, 0)).unwrap();
        let late = Seat::with(3, &[1], 0);
        story.turn(&late).unwrap();
        story.send(3, 1, ack(1, 1)).unwrap();
        story.send(3, 1, ack(1, 1)).unwrap();
        story.send(1, 3, beat(1)).unwrap();
        story.turn(&Seat { commit: 1, ..late }).unwrap();
    }

    #[test]
    fn a_term_needs_a_message_or_a_candidacy_that_a_quorum_wants() {
        refused("Learn", Story::new().turn(&Seat { term: 1, ..Seat::new(1) }));
        let candidate = Seat { role: raft::Role::Candidate, term: 1, vote: 1, ..Seat::new(1) };
        refused("Timeout", Story::new().turn(&candidate));
        refused("Timeout", Story::new().turn(&Seat { term: 2, vote: 1, ..candidate }));
        let mut story = Story::new();
        story.commit().unwrap();
        refused("Learn", story.turn(&Seat { term: 0, ..Seat::new(2) }));
        refused("PreVote", story.send(3, 2, Body::PreVoteResp { term: Term(2), rejected: false, incarnation: 1 }));
    }

    #[test]
    fn a_vote_goes_once_to_who_asked_with_a_log_that_is_not_behind() {
        let mut story = Story::new();
        refused("Refuse", story.send(3, 1, grant(1)));
        let (_, follower) = story.commit().unwrap();
        refused("Grant", story.send(3, 2, grant(1)));
        refused("Grant", story.turn(&Seat { vote: 3, ..follower.clone() }));
        refused("Grant", story.turn(&Seat { vote: 0, ..follower.clone() }));
        // Node 3 campaigns without the committed entry, which node 2 holds.
        story.send(3, 2, pre_vote(2)).unwrap();
        story.send(2, 3, Body::PreVoteResp { term: Term(2), rejected: false, incarnation: 1 }).unwrap();
        story.turn(&Seat { role: raft::Role::Candidate, term: 2, vote: 3, ..Seat::new(3) }).unwrap();
        refused("RequestVote", story.send(3, 2, request(2, (1, 1))));
        story.send(3, 2, request(2, (0, 0))).unwrap();
        refused("Grant", story.turn(&Seat { term: 2, vote: 3, ..follower }));
    }

    #[test]
    fn a_leader_needs_a_quorum_and_is_alone() {
        refused("BecomeLeader", Story::new().elect(&[]).map(|_| ()));
        let mut story = Story::new();
        story.elect(&[2]).unwrap();
        refused("BecomeLeader", story.turn(&Seat { vote: 1, term: 1, role: raft::Role::Leader, ..Seat::new(2) }));
        let led = |from, body| {
            refused("Confirm", {
                let mut story = Story::new();
                story.elect(&[2, 3]).unwrap();
                story.send(from, 1, body)
            })
        };
        led(2, beat(0));
        led(2, append((0, 0), 0, 0));
        let urge = Body::TimeoutNow { term: Term(1), read_position: 0 };
        led(3, urge);
        refused("Transfer", story.send(1, 4, urge));
        story.send(1, 2, urge).unwrap();
        // Asked by its leader, node 2 needs no pre-votes.
        story.turn(&Seat { role: raft::Role::Candidate, term: 2, vote: 2, ..Seat::new(2) }).unwrap();
        refused("Learn", story.turn(&Seat { term: 3, ..Seat::new(3) }));
    }

    #[test]
    fn entries_come_from_the_leader_that_sent_them() {
        let mut story = Story::new();
        let leader = story.elect(&[2, 3]).unwrap();
        let follower = Seat { vote: 1, ..Seat::with(2, &[1], 0) };
        refused("AcceptAppend", story.turn(&follower));
        let mut other = follower.clone();
        other.log.rot(1);
        let mut story = Story::new();
        story.elect(&[2, 3]).unwrap();
        story.send(1, 2, append((0, 0), 1, 0)).unwrap();
        refused("AcceptAppend", story.turn(&other));
        let mut story = Story::new();
        story.elect(&[2, 3]).unwrap();
        story.send(1, 2, append((0, 0), 1, 0)).unwrap();
        refused("Append", story.turn(&Seat { vote: 1, ..Seat::with(2, &[1, 1], 0) }));
        let mut story = Story::new();
        story.elect(&[2, 3]).unwrap();
        refused("SendAppend", story.send(1, 2, append((0, 0), 2, 0)));
        refused("SendAppend", story.send(1, 2, append((7, 1), 0, 0)));
        story.send(1, 2, append((0, 0), 1, 0)).unwrap();
        refused("Persist", story.turn(&Seat { persisted: 2, ..follower.clone() }));
        let mut story = Story::new();
        story.elect(&[2, 3]).unwrap();
        story.send(1, 2, append((0, 0), 1, 0)).unwrap();
        story.turn(&Seat { persisted: 0, ..follower }).unwrap();
        refused("AcceptAppend", story.send(2, 1, ack(1, 1)));
        refused("AcceptAppend", story.send(2, 3, ack(1, 0)));
        refused("Truncate", story.turn(&Seat { log: Default::default(), persisted: 0, ..leader }));
    }

    #[test]
    fn what_is_committed_stays_and_nothing_goes_without_a_conflict() {
        let mut story = Story::new();
        let (leader, follower) = story.commit().unwrap();
        refused("Truncate", story.turn(&Seat { log: Default::default(), persisted: 0, ..follower.clone() }));
        let mut story = Story::new();
        story.commit().unwrap();
        refused("AdvanceCommit", story.turn(&Seat { commit: 0, applied: 0, ..leader }));
    }

    #[test]
    fn a_commit_needs_acks_and_its_news_a_leader() {
        let mut story = Story::new();
        let leader = story.elect(&[2, 3]).unwrap();
        refused("AdvanceCommit", story.turn(&Seat { commit: 1, persisted: 0, ..leader }));
        let mut story = Story::new();
        let (_, follower) = story.commit().unwrap();
        refused("AdvanceCommit", story.turn(&Seat { commit: 1, ..follower.clone() }));
        refused("SendAppend", story.send(1, 2, beat(2)));
        refused("SendAppend", story.send(1, 3, beat(1)));
        story.send(1, 2, beat(1)).unwrap();
        refused("Apply", story.turn(&Seat { commit: 1, applied: 2, ..follower }));
        let index = |index| Body::ReadIndexResp {
            term: Term(1),
            read_id: 1,
            incarnation: 1,
            read_index: LogIndex(index),
            rejected: false,
        };
        story.send(1, 2, index(1)).unwrap();
        refused("Confirm", story.send(1, 2, index(2)));
        refused("Confirm", story.send(1, 2, Body::Amnesia { term: Term(1), acked_index: LogIndex(2) }));
        refused("Confirm", story.send(1, 2, Body::Removed { term: Term(1), config_index: LogIndex(0) }));
        refused(
            "Refuse",
            story.send(
                1,
                2,
                Body::HeartbeatAck { term: Term(2), read_position: 0, quiesce: false, echo_mono: Mono(0) },
            ),
        );
    }

    #[test]
    fn members_change_by_a_joint_step_behind_a_committed_entry() {
        let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        let change = ConfigChange { add_voters: ids(&[4]), ..ConfigChange::default() };
        let joint = Config::single(&ids(&[1, 2, 3])).change(&change).unwrap();
        let with = |leader: &Seat, config: &Config| {
            let mut seat = Seat { config: config.clone(), config_index: 2, ..leader.clone() };
            seat.log.push(1, &config.encode());
            seat
        };
        let mut story = Story::new();
        let (leader, _) = story.commit().unwrap();
        let open = with(&leader, &joint);
        story.turn(&open).unwrap();
        let mut left = Seat { config: joint.leave(), config_index: 3, ..open.clone() };
        left.log.push(1, &joint.leave().encode());
        refused("ChangeConfig", story.turn(&left));
        let mut story = Story::new();
        let (leader, _) = story.commit().unwrap();
        refused("ChangeConfig", story.turn(&with(&leader, &joint.leave())));
        let mut story = Story::new();
        let leader = story.elect(&[2]).unwrap();
        refused("ChangeConfig", story.turn(&with(&leader, &joint)));
    }

    #[test]
    fn only_who_is_out_for_good_drops_what_it_applied() {
        let change = ConfigChange { remove: vec![NodeId(3)], ..ConfigChange::default() };
        let joint = Config::single(&[1, 2, 3].map(NodeId)).change(&change).unwrap();
        let next = joint.leave();
        // Node 3 has applied entry 1; node 1 removes it by entries 2 and 3, which node 2 acks.
        let story = || {
            let mut story = Story::new();
            let (leader, follower) = story.commit().unwrap();
            story.send(1, 3, append((0, 0), 1, 0)).unwrap();
            story.turn(&Seat::with(3, &[1], 0)).unwrap();
            story.send(3, 1, ack(1, 1)).unwrap();
            story.send(1, 3, beat(1)).unwrap();
            let leaving = Seat::with(3, &[1], 1);
            story.turn(&leaving).unwrap();
            let mut seat = leader;
            let mut held = follower;
            for (config, index) in [(&joint, 2), (&next, 3)] {
                seat.log.push(1, &config.encode());
                (seat.config, seat.config_index, seat.persisted) = (config.clone(), index, index);
                story.turn(&seat).unwrap();
                story.send(1, 2, append((1, index - 1), 1, 0)).unwrap();
                (held.log, held.persisted) = (seat.log.clone(), index);
                (held.config, held.config_index) = (config.clone(), index);
                story.turn(&held).unwrap();
                story.send(2, 1, ack(1, index)).unwrap();
                (seat.commit, seat.applied) = (index, index);
                if index == 2 {
                    // What follows is appended in the turn that commits it, or later.
                    story.turn(&seat).unwrap();
                }
            }
            (story, leaving, seat)
        };
        let removed = Body::Removed { term: Term(1), config_index: LogIndex(3) };
        let (mut early, leaving, _) = story();
        refused("Confirm", early.send(1, 3, removed));
        let (mut early, ..) = story();
        refused("DropState", early.turn(&Seat { applied: 0, ..leaving.clone() }));
        let (mut told, _, leader) = story();
        told.turn(&leader).unwrap();
        told.send(1, 3, removed).unwrap();
        told.turn(&Seat { applied: 0, ..leaving.clone() }).unwrap();
        // A member is no such node, and a part of what was applied goes nowhere.
        let (mut other, _, leader) = story();
        other.turn(&leader).unwrap();
        refused("DropState", other.turn(&Seat { applied: 0, ..leader.clone() }));
        let (mut other, _, leader) = story();
        other.turn(&leader).unwrap();
        refused("Apply", other.turn(&Seat { applied: 2, ..leader }));
    }

    #[test]
    fn a_start_keeps_what_was_told_and_invents_nothing() {
        let again = |seat: &Seat| {
            let mut story = Story::new();
            story.commit().unwrap();
            story.checker.observe(ms(1), &Event::Crash { node: NodeId(2), is_power_cut: true }).unwrap();
            boot(&mut story.checker, &Seat { node: 2, incarnation: 2, ..seat.clone() })
        };
        let kept = Seat { vote: 1, ..Seat::with(2, &[1], 0) };
        again(&kept).unwrap();
        refused("Restart", again(&Seat { vote: 0, ..kept.clone() }));
        refused("Restart", again(&Seat { vote: 3, ..kept.clone() }));
        refused("Restart", again(&Seat { term: 0, vote: 0, ..kept.clone() }));
        refused("Restart", again(&Seat { term: 2, vote: 0, ..kept.clone() }));
        // It may have learned that in the turn in which it died.
        again(&Seat { commit: 1, ..kept.clone() }).unwrap();
        refused("Restart", again(&Seat { commit: 2, ..Seat::with(2, &[1], 0) }));
        refused("Restart", again(&Seat { vote: 1, ..Seat::with(2, &[1, 1], 0) }));
    }

    #[test]
    fn a_state_is_of_what_is_committed() {
        let installed = |term: u64, index: u64| {
            let mut story = Story::new();
            story.commit().unwrap();
            story.send(1, 3, beat(0)).unwrap();
            let mut seat = Seat::with(3, &vec![term; index as usize], index);
            seat.log.compact(index);
            story.turn(&Seat { term: 1, ..seat })
        };
        installed(1, 1).unwrap();
        refused("InstallSnapshot", installed(1, 2));
        refused("InstallSnapshot", installed(2, 1));
    }
}
