//! Linearizable reads at a node that does not lead: the group asks its leader for a read index (docs/design/raft.md).

use base::stages::Stage;
use base::{Acct, GroupId, Mono, Nsid};
use meta::Store;
use raft::{Effects, Input, Outcome};
use seglog::Disk;

use crate::group::{Form, Read};
use crate::stages::class_of_query;
use crate::{Shard, Status, Ticket};

impl<D: Disk, S: Store> Shard<D, S> {
    /// Takes a query that this node may answer although it does not lead: as linearizable as [`Shard::handle_query`],
    /// for one message to the leader and back. A node that knows no leader, is too far behind it, or hears nothing from
    /// it in time answers `NotLeader`. At the leader the same as `handle_query`.
    pub fn handle_follower_query(&mut self, ticket: Ticket, group: GroupId, acct: Acct, nsid: Nsid, query: &[u8]) {
        let Some((at, query)) = self.take_query(ticket, group, query) else { return };
        let slot = &mut self.groups[at as usize];
        let class = class_of_query(&query);
        let (form, timed) = (Form::Native, self.stages.begin_slot());
        let read = Read { ticket, acct, nsid, query, form, path: None, slot: timed, class };
        if slot.is_leader {
            base::mark::hit!("shard.follower_read.at_the_leader");
            slot.turn_reads.push(read);
        } else {
            slot.turn_follower_reads.push(read);
        }
        self.note_turn(at);
    }

    /// The follower reads of one turn share one ask.
    pub(crate) fn join_follower_reads(&mut self, at: u32, now: Mono) {
        if self.groups[at as usize].turn_follower_reads.is_empty() {
            return;
        }
        let outcome = self.step(at, Input::FollowerRead { now });
        let slot = &mut self.groups[at as usize];
        let stages = &self.stages;
        let reads = slot.turn_follower_reads.drain(..).map(|mut read| {
            stages.admit(&mut read.slot);
            read
        });
        let status = match outcome {
            Outcome::FollowerReadJoined { position } => {
                return slot.follower_joined.extend(reads.map(|read| (position, read)));
            }
            // It leads since the query was taken.
            Outcome::ReadJoined { position } => return slot.joined.extend(reads.map(|read| (position, read))),
            Outcome::NotLeader { hint } => Status::NotLeader(hint.unwrap_or_default()),
            _ => Status::Overloaded,
        };
        base::mark::hit!("shard.follower_read.refused");
        for read in reads {
            self.replies.bare(read.ticket, slot.id, status);
        }
    }

    /// Serves what the leader confirmed and is applied here, and answers what will never be.
    pub(crate) fn settle_follower_reads(&mut self, at: u32, effects: &Effects) {
        if let Some(confirmed) = effects.follower_reads {
            let is_due = |(position, _): &mut (u64, Read)| *position <= confirmed.position;
            while let Some((_, mut read)) = self.groups[at as usize].follower_joined.pop_front_if(is_due) {
                read.path = Some(raft::ReadPath::Follower);
                read.slot.mark(Stage::Lease, self.stages.now);
                base::mark::hit!("shard.follower_read.served");
                self.read_counts.follower += 1;
                self.serve(at, read, Vec::new());
            }
        }
        if let Some(through) = effects.follower_reads_dropped {
            let slot = &mut self.groups[at as usize];
            let status = Status::NotLeader(slot.raft.leader().unwrap_or_default());
            while let Some((_, read)) = slot.follower_joined.pop_front_if(|(position, _)| *position <= through) {
                base::mark::hit!("shard.follower_read.dropped");
                self.replies.bare(read.ticket, slot.id, status);
            }
        }
    }
}
