//! What runs came by: the marks of the code, which message reached whom, and in which states groups were seen.
//!
//! The names of all marks are built in, so that those never reached can be told; `marks-unreached.txt` excuses the few
//! that no run of the simulator can reach, each with its reason.

use raft::{Body, Progress, Raft, Role};
use wire::PeerKind;

/// All marks of the code, one a line, sorted; `cargo xtask marks` writes it.
const LISTED: &str = include_str!("../marks.txt");
/// `name: reason` a line.
const EXCUSED: &str = include_str!("../marks-unreached.txt");

/// Kinds of messages between nodes that are of one group.
pub const MESSAGES: [&str; 17] = [
    "append_entries",
    "append_resp",
    "heartbeat",
    "heartbeat_ack",
    "pre_vote",
    "pre_vote_resp",
    "request_vote",
    "vote_resp",
    "timeout_now",
    "read_index",
    "read_index_resp",
    "entry_fetch",
    "entry_fetch_resp",
    "amnesia",
    "removed",
    "snapshot_part",
    "snapshot_ack",
];

/// Roles, by number.
pub const ROLES: [&str; 4] = ["follower", "pre_candidate", "candidate", "leader"];

/// What a log is worth, by number.
pub const HEALTHS: [&str; 4] = ["clean", "faulty", "recovering_head", "quarantined"];

/// How far a leader is with a follower; `none` for who does not lead, or leads nobody.
pub const PROGRESSES: [&str; 4] = ["none", "probe", "replicate", "snapshot"];

/// What one run, or many, came by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Coverage {
    /// How often each mark was reached, in the order of [`marks`].
    pub marks: Vec<u64>,
    /// Messages taken, by kind and by the taker's role.
    pub messages: [[u64; ROLES.len()]; MESSAGES.len()],
    /// Turns that touched a group, by role, health of its log, and progress of each follower.
    pub states: [[[u64; PROGRESSES.len()]; HEALTHS.len()]; ROLES.len()],
}

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage {
            marks: vec![0; marks().count()],
            messages: [[0; ROLES.len()]; MESSAGES.len()],
            states: [[[0; PROGRESSES.len()]; HEALTHS.len()]; ROLES.len()],
        }
    }
}

/// The names of all marks, sorted.
pub fn marks() -> impl Iterator<Item = &'static str> {
    LISTED.lines()
}

/// The marks that the simulator cannot reach, each with the reason.
pub fn excused() -> impl Iterator<Item = (&'static str, &'static str)> {
    EXCUSED.lines().filter_map(|line| line.split_once(": "))
}

/// Forgets what this thread has reached: a run begins.
pub(crate) fn begin() {
    #[cfg(sim)]
    let _ = base::mark::take();
}

impl Coverage {
    /// Takes over the marks that this thread has reached since [`begin`].
    pub(crate) fn take_marks(&mut self) {
        #[cfg(sim)]
        {
            let listed: Vec<&str> = marks().collect();
            for (name, count) in base::mark::take() {
                if let Ok(at) = listed.binary_search(&name) {
                    self.marks[at] += count;
                }
            }
        }
    }

    /// A node takes a message.
    pub(crate) fn note_message(&mut self, taker: Option<&Raft>, message: &PeerKind<'_>) {
        let kind = match message {
            PeerKind::Raft { body, .. } => number_of(body),
            PeerKind::Snapshot(_) => 15,
            PeerKind::SnapshotAck(_) => 16,
            // Of a pair of nodes, not of a group.
            PeerKind::Rest(_) | PeerKind::RestAck { .. } | PeerKind::StateHash(_) => return,
        };
        if let Some(raft) = taker {
            self.messages[kind][raft.role() as usize] += 1;
        }
    }

    /// A turn touched a group.
    pub(crate) fn note_state(&mut self, raft: &Raft) {
        let seen = &mut self.states[raft.role() as usize][raft.health() as usize];
        if raft.role() != Role::Leader || raft.peers().is_empty() {
            seen[0] += 1;
        }
        for peer in raft.peers() {
            let progress = match peer.progress {
                Progress::Probe { .. } => 1,
                Progress::Replicate => 2,
                Progress::Snapshot { .. } => 3,
            };
            seen[progress] += 1;
        }
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Coverage) {
        let add = |sums: &mut [u64], counts: &[u64]| sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        add(&mut self.marks, &other.marks);
        add(self.messages.as_flattened_mut(), other.messages.as_flattened());
        add(self.states.as_flattened_mut().as_flattened_mut(), other.states.as_flattened().as_flattened());
    }

    /// Each mark with how often it was reached.
    pub fn reached(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        marks().zip(self.marks.iter().copied())
    }

    /// Marks that were never reached and have no excuse.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let excused: Vec<&str> = excused().map(|(name, _)| name).collect();
        let missing = self.reached().filter(|(name, count)| *count == 0 && !excused.contains(name));
        missing.map(|(name, _)| name).collect()
    }

    /// Excused marks that were reached all the same: their excuse is wrong.
    #[must_use]
    pub fn wrongly_excused(&self) -> Vec<&'static str> {
        let excused: Vec<&str> = excused().map(|(name, _)| name).collect();
        self.reached().filter(|(name, count)| *count > 0 && excused.contains(name)).map(|(name, _)| name).collect()
    }

    /// Marks that were reached, of how many that can be.
    #[must_use]
    pub fn share(&self) -> (usize, usize) {
        let wanted = marks().count() - excused().count();
        (wanted - self.missing().len(), wanted)
    }

    /// Kinds of messages by role of who took them, and states of groups, of which at least one was seen.
    #[must_use]
    pub fn kinds_seen(&self) -> (usize, usize) {
        let seen = |counts: &[u64]| counts.iter().filter(|count| **count > 0).count();
        (seen(self.messages.as_flattened()), seen(self.states.as_flattened().as_flattened()))
    }

    /// Why this is too little when so many percent of the marks are wanted; none when it is enough.
    #[must_use]
    pub fn thin(&self, percent: u32) -> Vec<String> {
        let (reached, wanted) = self.share();
        if reached as u64 * 100 >= u64::from(percent) * wanted as u64 {
            return Vec::new();
        }
        let mut why = vec![format!("{reached} of {wanted} marks reached, {percent} % wanted; never reached:")];
        why.extend(self.missing().into_iter().map(str::to_owned));
        why
    }
}

fn number_of(body: &Body) -> usize {
    match body {
        Body::AppendEntries { .. } => 0,
        Body::AppendResp { .. } => 1,
        Body::Heartbeat { .. } => 2,
        Body::HeartbeatAck { .. } => 3,
        Body::PreVote { .. } => 4,
        Body::PreVoteResp { .. } => 5,
        Body::RequestVote { .. } => 6,
        Body::VoteResp { .. } => 7,
        Body::TimeoutNow { .. } => 8,
        Body::ReadIndex { .. } => 9,
        Body::ReadIndexResp { .. } => 10,
        Body::EntryFetch { .. } => 11,
        Body::EntryFetchResp { .. } => 12,
        Body::Amnesia { .. } => 13,
        Body::Removed { .. } => 14,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_sorted_and_excuses_name_listed_ones_with_a_reason() {
        let listed: Vec<&str> = marks().collect();
        assert!(listed.is_sorted_by(|a, b| a < b));
        assert_eq!(excused().count(), EXCUSED.lines().count());
        for (name, reason) in excused() {
            assert!(listed.binary_search(&name).is_ok() && reason.len() > 10, "{name}: {reason}");
        }
    }

    #[test]
    fn a_gate_names_what_was_not_reached_and_leaves_out_what_is_excused() {
        let mut coverage = Coverage::default();
        let wanted = marks().count() - excused().count();
        assert_eq!(coverage.share(), (0, wanted));
        assert_eq!(coverage.thin(0), Vec::<String>::new());
        assert_eq!(coverage.thin(90).len(), 1 + wanted);
        coverage.marks.fill(1);
        assert_eq!((coverage.share(), coverage.thin(100)), ((wanted, wanted), Vec::new()));
        assert_eq!(coverage.wrongly_excused().len(), excused().count());
        let first = marks().find(|name| excused().all(|(excused, _)| excused != *name)).expect("not all are excused");
        let at = marks().position(|name| name == first).expect("it is listed");
        coverage.marks[at] = 0;
        assert_eq!(coverage.missing(), [first]);
        assert!(coverage.thin(100)[1].contains(first));
    }

    #[test]
    fn runs_add_up() {
        let mut one = Coverage::default();
        (one.marks[0], one.messages[3][2], one.states[3][1][2]) = (1, 2, 3);
        let other = one.clone();
        one.add(&other);
        assert_eq!((one.marks[0], one.messages[3][2], one.states[3][1][2]), (2, 4, 6));
        assert_eq!(one.kinds_seen(), (1, 1));
    }
}
