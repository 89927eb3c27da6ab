//! The network of a model: a set of messages that were sent. Each may arrive at any time, any number of times, or
//! never, so loss, duplicates and any order need no action of their own. What can do nothing any more is forgotten:
//! that is a loss, too.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use base::{NodeId, mix64};
use ours::{Body, NO_HINT, Progress, Role};

use crate::log::Entry;
use crate::names::Names;
use crate::node::Node;
use crate::plan::Plan;

/// A message with its entries.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its sender.
    pub from: NodeId,
    /// Its receiver.
    pub to: NodeId,
    /// The lives of both that the connection joins; 0 where nobody looks at them.
    pub lives: (u64, u64),
    /// What it says.
    pub body: Body,
    /// Beside an AppendEntries or an EntryFetchResp.
    pub entries: Vec<Arc<Entry>>,
    /// What stands for it, by the way in which nodes are renamed.
    pub prints: Vec<u64>,
}

impl Message {
    /// With its prints.
    #[must_use]
    pub fn with_prints(mut self, names: &Names) -> Message {
        let print_of = |way| {
            let ends = (names.name(way, self.from), names.name(way, self.to));
            print(&(ends, self.lives, &self.body, &self.entries))
        };
        self.prints = (0..names.ways()).map(print_of).collect();
        self
    }
}

/// Does the plan have this kind of message at all?
pub(crate) fn is_kept(plan: &Plan, body: &Body) -> bool {
    match *body {
        // A refusal only ends a campaign early, or tells a term that others tell, too.
        Body::VoteResp { rejected, .. } => !rejected || plan.has_refusals,
        Body::AppendResp { rejected: true, busy: false, hint_index, .. } if hint_index == NO_HINT => plan.has_refusals,
        Body::PreVote { .. } | Body::PreVoteResp { .. } | Body::Removed { .. } => false,
        Body::HeartbeatAck { .. } => plan.has_heartbeat_acks,
        _ => true,
    }
}

/// Can the message still change anything, now or in a later life of its receiver? `is_mortal`: it may have one.
pub(crate) fn may_matter(plan: &Plan, message: &Message, receiver: &Node, is_mortal: bool) -> bool {
    let (term, disk_term) = (message.body.term(), receiver.disk.hard_state.term);
    let (role, own_term) = (receiver.raft.role(), receiver.raft.term());
    if plan.has_links && message.lives.1 != receiver.incarnation && !plan.driver.keeps_connections() {
        return false;
    }
    match message.body {
        Body::EntryFetch { .. } => true,
        Body::EntryFetchResp { .. } => is_mortal || receiver.raft.health() != ours::Health::Clean,
        // Where refusals are told, a lower term is answered, so it is never outgrown.
        Body::AppendEntries { .. } | Body::Heartbeat { .. } if plan.has_refusals => true,
        _ if term < disk_term => false,
        Body::HeartbeatAck { .. } => term == own_term && role == Role::Leader,
        // Only the candidate of this very term counts it, and a former life is another candidate.
        Body::VoteResp { .. } => term > disk_term || role == Role::Candidate,
        Body::AppendResp { index, rejected, .. } if !plan.has_refusals => {
            let known = receiver.raft.peers().iter().find(|peer| peer.id == message.from);
            let is_news = known.is_some_and(|peer| match (rejected, peer.progress) {
                (false, Progress::Replicate) => index > peer.match_index,
                (false, _) => true,
                (true, Progress::Probe { .. }) => index == peer.next_index.prev(),
                (true, _) => index > peer.match_index,
            });
            term == own_term && role == Role::Leader && is_news
        }
        Body::AppendResp { .. } => term > disk_term || role != Role::Follower,
        Body::RequestVote { .. } if term == own_term && !is_mortal && !plan.has_refusals => {
            receiver.raft.vote().is_none() && receiver.raft.leader().is_none()
        }
        // It holds all that, and its ack says so already.
        Body::AppendEntries { prev_index, prev_term, commit_index, .. } if !is_mortal && !plan.has_heartbeat_acks => {
            let is_known = term == own_term && receiver.raft.leader() == Some(message.from);
            let last_term = message.entries.last().map_or(prev_term, |entry| entry.term);
            let last = prev_index.0 + message.entries.len() as u64;
            let is_held = last == 0 || receiver.disk.entry(last).is_some_and(|entry| entry.term == last_term);
            let is_sound = receiver.disk.faulty.is_none() && receiver.raft.health() == ours::Health::Clean;
            !(is_known && is_held && is_sound && commit_index <= receiver.raft.commit_index())
        }
        Body::Heartbeat { commit_index, quiesce: false, .. } if !is_mortal && !plan.has_heartbeat_acks => {
            let is_known = term == own_term && receiver.raft.leader() == Some(message.from);
            !(is_known && commit_index <= receiver.raft.commit_index())
        }
        _ => true,
    }
}

/// A fingerprint that is the same in every run: the mixer of `base`, over the bytes that `Hash` gives.
pub fn print(value: &(impl Hash + ?Sized)) -> u64 {
    struct Mixer(u64);
    impl Hasher for Mixer {
        fn write(&mut self, bytes: &[u8]) {
            for chunk in bytes.chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                self.write_u64(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
            }
        }
        fn write_u64(&mut self, word: u64) {
            self.0 = mix64(self.0 ^ word).rotate_left(23);
        }
        fn finish(&self) -> u64 {
            mix64(self.0)
        }
    }
    let mut mixer = Mixer(0);
    value.hash(&mut mixer);
    mixer.finish()
}
