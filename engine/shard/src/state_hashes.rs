//! Replicas tell each other the hash of their state behind certain entries and compare (docs/design/raft.md, "State
//! hashes").
//!
//! ```text
//!  apply, index % every == 0 ──▶ own (index, hash) ──once a turn, the newest──▶ StateHash to every member
//!                                     │ same index
//!  StateHash of a member ────────▶ compare ── equal ─▶ nothing
//!                                     └─ others: a quorum has one hash: who has another is wrong, and stops if it is
//!                                                this node; no quorum: nobody knows, a human must look
//! ```
//! The hash rolls over all rows that were ever written, so replicas that have parted once differ at every later index: a
//! lost message costs nothing but time. What is compared is a function of committed entries alone, so a message that
//! comes late or twice is as true as ever.

use base::{GroupId, LogIndex, NodeId};
use meta::Store;
use raft::Input;
use seglog::Disk;

use crate::{PeerOut, Shard};

/// Hashes kept of each replica: so many periods may one be behind another and still be compared at once.
const KEPT: usize = 4;

/// Whose state is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// This node's: a quorum has another state. The group stops here.
    Here,
    /// The other's: a quorum has this node's state.
    There,
    /// Neither state is that of a quorum, as far as is known.
    Unknown,
}

/// Two replicas of a group have different states behind one entry, which must never be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateDiffers {
    /// Whose.
    pub group: GroupId,
    /// Behind this entry.
    pub index: LogIndex,
    /// This node's hash.
    pub own: u64,
    /// The other node.
    pub peer: NodeId,
    /// Its hash.
    pub other: u64,
    /// Who must be looked at.
    pub wrong: Wrong,
}

/// The newest hashes of one replica. Invariant: ascending; index 0, behind which there is no state, where none was told.
#[derive(Clone, Copy, Default, Debug)]
struct Newest {
    hashes: [(LogIndex, u64); KEPT],
}

impl Newest {
    /// What came before, or is older than all that is kept, changes nothing.
    fn note(&mut self, index: LogIndex, hash: u64) {
        if self.at(index).is_none() && index > self.hashes[0].0 {
            self.hashes[0] = (index, hash);
            self.hashes.sort_unstable();
        }
    }

    fn at(&self, index: LogIndex) -> Option<u64> {
        self.hashes.iter().find(|(of, _)| *of == index && index > LogIndex(0)).map(|(_, hash)| *hash)
    }

    fn last(&self) -> (LogIndex, u64) {
        self.hashes[KEPT - 1]
    }
}

/// What a member told.
#[derive(Debug)]
struct Peer {
    node: NodeId,
    newest: Newest,
    /// What was said of the two of us: it is said once.
    told: Option<Wrong>,
}

/// Of one group.
#[derive(Default, Debug)]
pub(crate) struct StateHashes {
    own: Newest,
    /// Members only.
    peers: Vec<Peer>,
    /// In the shard's list of those that have news.
    is_unsent: bool,
}

impl StateHashes {
    /// Somebody's state differs from this node's, and so it was told.
    pub(crate) fn differs_from(&self) -> Option<NodeId> {
        self.peers.iter().find(|peer| peer.told.is_some()).map(|peer| peer.node)
    }

    fn of(&self, node: NodeId, index: LogIndex) -> Option<u64> {
        self.peers.iter().find(|peer| peer.node == node)?.newest.at(index)
    }

    /// Who has another hash behind an entry than this node (`me`) and whose that is; who agrees, or was told of, is left
    /// out.
    fn differing(&self, me: NodeId, config: &raft::Config, index: LogIndex) -> Option<(NodeId, StateOf)> {
        let own = self.own.at(index)?;
        let has =
            |hash: u64| config.is_quorum(|id| if id == me { own == hash } else { self.of(id, index) == Some(hash) });
        for peer in self.peers.iter().filter(|peer| config.is_member(peer.node)) {
            let Some(other) = peer.newest.at(index).filter(|other| *other != own) else { continue };
            let wrong = match (has(own), has(other)) {
                (true, _) => Wrong::There,
                (false, true) => Wrong::Here,
                (false, false) => Wrong::Unknown,
            };
            if peer.told != Some(wrong) {
                return Some((peer.node, StateOf { own, other, wrong }));
            }
        }
        None
    }
}

struct StateOf {
    own: u64,
    other: u64,
    wrong: Wrong,
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// An entry was applied: its state is told if it is one of those that all replicas tell.
    pub(crate) fn note_state(&mut self, at: u32, index: LogIndex) {
        let every = self.settings.state_hash_every;
        if every == 0 || !index.0.is_multiple_of(every) {
            return;
        }
        let slot = &mut self.groups[at as usize];
        let Some(machine) = self.store.machine(slot.id) else { return };
        slot.hashes.own.note(index, machine.state_hash);
        if !std::mem::replace(&mut slot.hashes.is_unsent, true) {
            self.untold_states.push(at);
        }
        self.compare_states(at, index);
    }

    /// A snapshot took the place of the state: what it was before is nobody's any more.
    pub(crate) fn forget_states(&mut self, at: u32) {
        self.groups[at as usize].hashes.own = Newest::default();
    }

    /// Tells the newest hash of each group that has news; once a turn.
    pub(crate) fn send_state_hashes(&mut self) {
        let me = self.settings.node;
        for at in self.untold_states.drain(..) {
            let slot = &mut self.groups[at as usize];
            slot.hashes.is_unsent = false;
            let (index, hash) = slot.hashes.own.last();
            // A snapshot may have come since. Who was found to be wrong says so still: the others want to know.
            if index == LogIndex(0) {
                continue;
            }
            for to in slot.raft.config().members().filter(|id| *id != me) {
                self.peer_out.push_back(PeerOut::StateHash { to, group: slot.id, index, hash });
            }
        }
    }

    /// The hash of another replica's state behind an entry.
    pub fn handle_state_hash(&mut self, from: NodeId, group: GroupId, index: LogIndex, hash: u64) {
        let Some(at) = self.local(group) else { return };
        let slot = &mut self.groups[at as usize];
        if !slot.raft.config().is_member(from) {
            base::mark::hit!("shard.state_hash.of_a_stranger");
            return;
        }
        let StateHashes { peers, .. } = &mut slot.hashes;
        match peers.iter_mut().find(|peer| peer.node == from) {
            Some(peer) => peer.newest.note(index, hash),
            None => {
                // Who was a member makes room: there are never more than members.
                let config = slot.raft.config();
                peers.retain(|peer| config.is_member(peer.node));
                let mut newest = Newest::default();
                newest.note(index, hash);
                peers.push(Peer { node: from, newest, told: None });
            }
        }
        self.compare_states(at, index);
    }

    fn compare_states(&mut self, at: u32, index: LogIndex) {
        loop {
            let slot = &mut self.groups[at as usize];
            if slot.alarm.is_some() {
                return;
            }
            let me = self.settings.node;
            let Some((peer, found)) = slot.hashes.differing(me, slot.raft.config(), index) else { return };
            let StateOf { own, other, wrong } = found;
            base::mark::hit!("shard.state_hash.wrong_here", wrong == Wrong::Here);
            base::mark::hit!("shard.state_hash.wrong_there", wrong == Wrong::There);
            base::mark::hit!("shard.state_hash.nobody_knows", wrong == Wrong::Unknown);
            for known in slot.hashes.peers.iter_mut().filter(|known| known.node == peer) {
                known.told = Some(wrong);
            }
            self.differences.push_back(StateDiffers { group: slot.id, index, own, peer, other, wrong });
            if wrong == Wrong::Here {
                self.step(at, Input::StateDiffers { index });
                // At once: not even who proposed this very entry is answered.
                return self.stop_group(at, raft::Alarm::StateHash(index));
            }
        }
    }

    /// The next difference that was found between this node's state and another's. A pair is told of once, and again
    /// when it becomes known who is wrong.
    pub fn poll_difference(&mut self) -> Option<StateDiffers> {
        self.differences.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_in_whatever_order_they_come_and_the_first_word_stands() {
        let mut newest = Newest::default();
        assert_eq!((newest.at(LogIndex(0)), newest.last()), (None, (LogIndex(0), 0)));
        for index in [8, 4, 16, 12, 8, 20, 4] {
            newest.note(LogIndex(index), index * 10);
            newest.note(LogIndex(index), 1);
        }
        let kept: Vec<u64> = (0..30).filter(|index| newest.at(LogIndex(*index)).is_some()).collect();
        assert_eq!(kept, [8, 12, 16, 20]);
        assert!(kept.iter().all(|index| newest.at(LogIndex(*index)) == Some(index * 10)));
        assert_eq!(newest.last(), (LogIndex(20), 200));
        newest.note(LogIndex(0), 5);
        assert_eq!(newest.at(LogIndex(0)), None, "there is no state behind nothing");
    }
}
