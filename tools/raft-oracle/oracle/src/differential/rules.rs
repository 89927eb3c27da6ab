//! The known differences: what our core does otherwise, on purpose. Each rule says when it holds and turns what the
//! raft crate did into what our core must have done; README.md lists them. Nothing else may differ.

use ours::Body;

use crate::differential::view::{Role, Said, Sending, View};

/// A known difference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// In the first 500 ms of a life nobody votes and nobody takes leadership over: earlier promises are forgotten.
    Boot,
    /// Who heard a leader within 500 ms ignores votes also when it knows no leader now, or in its own term.
    LoyalByTime,
    /// A vote names the incarnation of the asker; one for an earlier life does not count.
    Incarnation,
    /// A granted pre-vote counts for the term that is asked for now, not for one asked for before.
    StalePreGrant,
    /// A pre-candidate that votes for another is a follower again.
    VoterFollows,
    /// An AppendEntries that begins below the commit index and ends above it is taken, not only answered.
    AcrossCommit,
    /// Any ack of the probed follower ends the probe, also one that says nothing new.
    AnyAckEndsProbe,
    /// The next index stays above the match index when a probe is refused.
    NextAboveMatch,
    /// To a follower, the commit index is told up to what it acked and what the leader itself applied.
    AdvertisedCommit,
    /// No empty AppendEntries: a raised commit index rides on what is sent next. After an ack of a heartbeat one may.
    NoEmptyAppends,
    /// After an ack of a heartbeat nothing is sent again within a heartbeat's time.
    ProbePace,
    /// Only the leader that a node follows can tell it to take over; from another one only the term is learned.
    TimeoutNowFromLeader,
    /// TimeoutNow that names a lower read position than the node has seen is of a transfer given up since.
    LateTimeoutNow,
    /// A new read position in an AppendEntries is acked at once, by a HeartbeatAck of its own.
    ReadPosition,
}

/// All rules, for the count.
pub const RULES: [Rule; 14] = [
    Rule::Boot,
    Rule::LoyalByTime,
    Rule::Incarnation,
    Rule::StalePreGrant,
    Rule::VoterFollows,
    Rule::AcrossCommit,
    Rule::AnyAckEndsProbe,
    Rule::NextAboveMatch,
    Rule::AdvertisedCommit,
    Rule::NoEmptyAppends,
    Rule::ProbePace,
    Rule::TimeoutNowFromLeader,
    Rule::LateTimeoutNow,
    Rule::ReadPosition,
];

/// What the rules need to know beside both views.
pub struct Facts<'a> {
    /// Before the step; nothing said.
    pub before: &'a View,
    /// The sender and the message, if the step was one.
    pub message: Option<(u64, &'a Body)>,
    /// The step was a Campaign.
    pub is_campaign: bool,
    /// It is in the first 500 ms of its life.
    pub is_booting: bool,
    /// It heard a leader, or as a leader a quorum, within 500 ms.
    pub hears_leader: bool,
    /// Its incarnation.
    pub incarnation: u64,
    /// The message is an AppendEntries with a read position that it has not seen.
    pub is_new_position: bool,
    /// The message is a TimeoutNow with a lower one than it has seen.
    pub is_late_timeout: bool,
    /// What it has applied.
    pub applied: u64,
    /// The last AppendEntries to the sender left within a heartbeat's time.
    pub was_just_sent: bool,
}

/// Turns `expected`, what the raft crate did, into what our core must do. Returns the rules that changed it.
pub fn apply(facts: &Facts<'_>, expected: &mut View) -> Vec<Rule> {
    let mut used = Vec::new();
    let mut rule = |rule: Rule, expected: &mut View, change: &dyn Fn(&mut View)| {
        let before = expected.clone();
        change(expected);
        if *expected != before {
            expected.said.sort_unstable();
            used.push(rule);
        }
    };
    if facts.is_campaign && (facts.is_booting || facts.hears_leader) {
        let why = if facts.is_booting { Rule::Boot } else { Rule::LoyalByTime };
        rule(why, expected, &|expected| *expected = facts.before.clone());
    }
    if let Some((from, body)) = facts.message {
        of_votes(facts, from, body, expected, &mut rule);
        of_acks(facts, from, body, expected, &mut rule);
        rule(Rule::ReadPosition, expected, &|expected| {
            if facts.is_new_position {
                expected.said.push(Said::HeartbeatAck { to: from, term: expected.term });
            }
        });
    }
    rule(Rule::AdvertisedCommit, expected, &|expected| {
        let (commit, followers) = (expected.commit.min(facts.applied), expected.followers.clone());
        let matched = |id: u64| followers.iter().find(|other| other.id == id).map_or(0, |other| other.match_index);
        for said in &mut expected.said {
            if let Said::Append { to, commit: told, .. } | Said::Heartbeat { to, commit: told, .. } = said {
                *told = commit.min(matched(*to));
            }
        }
    });
    rule(Rule::NoEmptyAppends, expected, &|expected| {
        expected.said.retain(|said| !matches!(said, Said::Append { count: 0, .. }));
    });
    used
}

type Apply<'a> = dyn FnMut(Rule, &mut View, &dyn Fn(&mut View)) + 'a;

fn of_votes(facts: &Facts<'_>, from: u64, body: &Body, expected: &mut View, rule: &mut Apply<'_>) {
    let term = body.term().0;
    let is_late = term < facts.before.term;
    match *body {
        Body::PreVote { .. } if !is_late => {
            let silence = |expected: &mut View| *expected = facts.before.clone();
            if facts.is_booting {
                rule(Rule::Boot, expected, &silence);
            } else if facts.hears_leader {
                rule(Rule::LoyalByTime, expected, &silence);
            }
        }
        Body::RequestVote { forced, .. } if !is_late => {
            let why = if facts.is_booting {
                Some(Rule::Boot)
            } else if facts.hears_leader && !forced {
                Some(Rule::LoyalByTime)
            } else {
                None
            };
            let refused = Said::VoteResp { to: from, term, rejected: true };
            match why {
                // The term is not even learned.
                Some(why) if term > facts.before.term => {
                    rule(why, expected, &|expected| *expected = facts.before.clone());
                }
                Some(why) => rule(why, expected, &|expected| {
                    *expected = facts.before.clone();
                    expected.said = vec![refused];
                }),
                None => rule(Rule::VoterFollows, expected, &|expected| {
                    let votes = Said::VoteResp { to: from, term, rejected: false };
                    if expected.said.contains(&votes) && expected.role == Role::PreCandidate {
                        expected.role = Role::Follower;
                    }
                }),
            }
        }
        Body::PreVoteResp { rejected, incarnation, .. } if term == facts.before.term || !is_late && !rejected => {
            if incarnation != facts.incarnation {
                rule(Rule::Incarnation, expected, &|expected| *expected = facts.before.clone());
            } else if !rejected && term != facts.before.term + 1 {
                rule(Rule::StalePreGrant, expected, &|expected| *expected = facts.before.clone());
            }
        }
        Body::VoteResp { incarnation, .. } if term == facts.before.term && incarnation != facts.incarnation => {
            rule(Rule::Incarnation, expected, &|expected| *expected = facts.before.clone());
        }
        Body::TimeoutNow { .. } if !is_late => {
            let is_followed = term == facts.before.term && facts.before.leader == from;
            let why = match (is_followed, facts.is_booting, facts.is_late_timeout) {
                (false, ..) => Rule::TimeoutNowFromLeader,
                (true, true, _) => Rule::Boot,
                (true, false, true) => Rule::LateTimeoutNow,
                (true, false, false) => return,
            };
            rule(why, expected, &|expected| {
                *expected = facts.before.clone();
                if term > expected.term {
                    (expected.term, expected.vote, expected.leader, expected.role) = (term, 0, 0, Role::Follower);
                    expected.followers.clear();
                }
            });
        }
        _ => {}
    }
}

fn of_acks(facts: &Facts<'_>, from: u64, body: &Body, expected: &mut View, rule: &mut Apply<'_>) {
    let leads_on = facts.before.role == Role::Leader && expected.role == Role::Leader;
    if !leads_on || body.term().0 != facts.before.term {
        return;
    }
    let old = facts.before.followers.iter().find(|follower| follower.id == from).copied();
    let Some(old) = old else { return };
    match *body {
        Body::AppendResp { rejected: false, busy: false, .. } => {
            let last = facts.before.log.len() as u64;
            rule(Rule::AnyAckEndsProbe, expected, &|expected| {
                let Some(follower) = expected.followers.iter_mut().find(|follower| follower.id == from) else { return };
                if follower.sending == Sending::Probe {
                    let first = follower.match_index + 1;
                    (follower.sending, follower.next_index) = (Sending::Replicate, last + 1);
                    if first <= last {
                        expected.said.retain(|said| !matches!(said, Said::Append { to, .. } if *to == from));
                        expected.said.push(Said::Append {
                            to: from,
                            term: expected.term,
                            prev_index: first - 1,
                            prev_term: first.checked_sub(2).map_or(0, |at| expected.log[at as usize]),
                            count: (last + 1 - first) as usize,
                            commit: 0,
                        });
                    }
                }
            });
        }
        Body::AppendResp { rejected: true, .. } => rule(Rule::NextAboveMatch, expected, &|expected| {
            let (log, term) = (expected.log.clone(), expected.term);
            let Some(follower) = expected.followers.iter_mut().find(|follower| follower.id == from) else { return };
            if old.sending == Sending::Probe && follower.next_index <= follower.match_index {
                follower.next_index = follower.match_index + 1;
                let prev_index = follower.match_index;
                expected.said.retain(|said| !matches!(said, Said::Append { to, .. } if *to == from));
                expected.said.push(Said::Append {
                    to: from,
                    term,
                    prev_index,
                    prev_term: prev_index.checked_sub(1).map_or(0, |at| log[at as usize]),
                    count: log.len() - prev_index as usize,
                    commit: 0,
                });
            }
        }),
        Body::HeartbeatAck { .. } if facts.was_just_sent => {
            rule(Rule::ProbePace, expected, &|expected| *expected = facts.before.clone());
        }
        _ => {}
    }
}
