//! What each follower has acked since it started, and which life of it its leader knows: for [`super::watermarks`].

use base::{GroupId, LogIndex, NodeId};

use crate::checker::slots::Slots;
use crate::observe::{GroupView, PeerMark};

#[derive(Clone, Copy, Default)]
struct Life {
    incarnation: u64,
    /// The most that it acked in this life, to anybody.
    acked: LogIndex,
}

/// See above.
#[derive(Default)]
pub(crate) struct Lives {
    lives: Slots<(GroupId, NodeId), Life>,
    /// By group, reader and writer: their incarnations when the one last read something of the other. A connection
    /// carries nothing of an earlier life, and who reads knows by then with which life it is connected.
    heard: Slots<(GroupId, NodeId, NodeId), (u64, u64)>,
}

impl Lives {
    /// A node as it stands.
    pub(crate) fn note_view(&mut self, view: &GroupView<'_>) {
        let life = self.lives.of((view.group, view.node));
        if life.incarnation != view.incarnation {
            *life = Life { incarnation: view.incarnation, acked: LogIndex(0) };
        }
    }

    /// `from` acks so much.
    pub(crate) fn note_ack(&mut self, group: GroupId, from: NodeId, incarnation: u64, index: LogIndex) {
        let life = self.lives.of((group, from));
        if life.incarnation == incarnation {
            life.acked = life.acked.max(index);
        }
    }

    /// `to`, in this life of it, reads a message of `from`.
    pub(crate) fn note_read(&mut self, group: GroupId, from: NodeId, to: NodeId, incarnation: u64) {
        let writer = self.lives.get((group, from)).map_or(0, |life| life.incarnation);
        *self.heard.of((group, to, from)) = (incarnation, writer);
    }

    /// A follower that is counted for more than it acked in the life that the leader knows of, and how much it acked.
    pub(crate) fn overrated(&self, view: &GroupView<'_>) -> Option<(PeerMark, LogIndex)> {
        (0..).map_while(|at| view.peers.peer(at)).find_map(|peer| {
            let life = self.lives.get((view.group, peer.id))?;
            let heard = *self.heard.get((view.group, view.node, peer.id))?;
            let is_known = heard == (view.incarnation, life.incarnation);
            (is_known && peer.match_index > life.acked).then_some((peer, life.acked))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::testing::{GROUP, Seat};

    #[test]
    fn what_an_earlier_life_acked_counts_until_the_leader_hears_of_the_next() {
        let peers = vec![PeerMark { id: NodeId(2), match_index: LogIndex(3), next_index: LogIndex(4) }];
        let leader = Seat { peers, ..Seat::with(1, &[1, 1, 1], 3).leading() };
        let mut lives = Lives::default();
        lives.note_view(&Seat::with(2, &[1, 1, 1], 0).view());
        lives.note_view(&leader.view());
        lives.note_ack(GROUP, NodeId(2), 1, LogIndex(3));
        lives.note_read(GROUP, NodeId(2), NodeId(1), 1);
        assert!(lives.overrated(&leader.view()).is_none());
        lives.note_view(&Seat { incarnation: 2, ..Seat::with(2, &[1, 1], 0) }.view());
        assert!(lives.overrated(&leader.view()).is_none());
        lives.note_ack(GROUP, NodeId(2), 2, LogIndex(2));
        lives.note_read(GROUP, NodeId(2), NodeId(1), 1);
        let (peer, acked) = lives.overrated(&leader.view()).expect("it is counted for 3");
        assert_eq!((peer.id, acked), (NodeId(2), LogIndex(2)));
        // A new life of the leader has heard of nobody.
        assert!(lives.overrated(&Seat { incarnation: 2, ..leader.clone() }.view()).is_none());
        lives.note_ack(GROUP, NodeId(2), 1, LogIndex(9));
        assert!(lives.overrated(&leader.view()).is_some());
        lives.note_ack(GROUP, NodeId(2), 2, LogIndex(3));
        assert!(lives.overrated(&leader.view()).is_none());
    }
}
