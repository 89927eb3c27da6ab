//! One core's shard between scripted peers: it leads its groups, its disk takes no time, its store is the one that ships.
//!
//! ```text
//! turn  begin ─▶ requests ─▶ answers of peers ─▶ completions of the disk ─▶ proposals ─▶
//!       groups ─▶ replies ─▶ messages ─▶ operations
//! ```
//! What a turn hands out, the disk's operations and the messages to peers, is done and answered in the next one.

use base::mono::Span;
use base::record::Records;
use base::{CoreId, GroupId, LogIndex, Mono, NodeId, Nsid, Sequence, SessionId};
use meta::{Command, CommandHeader};
use raft::{Body, Config};
use seglog::{DiskOp, OpToken};
use shard::{Keep, PeerOut, Settings, Shard, Status, Ticket};
use store::LsmStore;
use tempfile::TempDir;

use super::flat_disk::{FlatDisk, new_log};
use super::machine_rig::{OWNER, STAMP_MS, namespace, open_store, owner, session_of, system};
use super::scripted::answer;

/// Between two turns: what a small batch takes on a good disk.
const STEP: Span = Span::from_us(100);
const SEGMENT_BYTES: u64 = 64 << 20;

/// See the file's head.
pub struct CoreRig {
    /// It.
    pub shard: Shard<FlatDisk, LsmStore>,
    /// The turn's time.
    pub now: Mono,
    /// A namespace of each group, with the session of its owner.
    pub places: Vec<Place>,
    /// Operations on their way.
    waiting: Vec<(OpToken, DiskOp)>,
    /// What the peers say next.
    mail: Vec<(NodeId, GroupId, Body)>,
    scratch: Vec<u8>,
    /// Log writes that have ended.
    pub syncs: u64,
    // Dropped after the store, whose threads may be writing there.
    _dir: TempDir,
}

/// A namespace, and who writes in it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its group.
    pub group: GroupId,
    /// It.
    pub nsid: Nsid,
    /// The owner's.
    pub session: SessionId,
    /// The owner's last command.
    pub sequence: u64,
}

impl Place {
    /// Of the owner's next command; outcomes of the last `kept` commands are wanted still.
    pub fn next_header(&mut self, kept: u64) -> CommandHeader {
        self.sequence += 1;
        CommandHeader {
            session: self.session,
            sequence: Sequence(self.sequence),
            ack_below: Sequence(self.sequence.saturating_sub(kept).max(1)),
            acct: OWNER,
            nsid: self.nsid,
        }
    }
}

impl CoreRig {
    /// So many groups, led, each with a namespace.
    #[must_use]
    pub fn leading(groups: u32) -> CoreRig {
        let (now, voters) = (Mono(1_000_000_000), [1, 2, 3].map(NodeId));
        let settings = Settings {
            node: voters[0],
            core: CoreId(0),
            cores: 1,
            groups,
            incarnation: 1,
            seed: 5,
            raft: raft::Settings { quiesce_after: None, ..raft::Settings::default() },
            initial: Config::single(&voters),
            trailing_entries: 10_000,
            keep: Keep::default(),
            state_hash_every: 0,
            balance: shard::Balancing { is_on: false, ..Default::default() },
            release: meta::Release::THIS,
            machine: shard::MachineKind::Files,
        };
        let (store, dir) = open_store();
        let mut rig = CoreRig {
            shard: Shard::new(settings, new_log(SEGMENT_BYTES), store, now),
            now,
            places: Vec::new(),
            waiting: Vec::new(),
            mail: Vec::new(),
            scratch: Vec::new(),
            syncs: 0,
            _dir: dir,
        };
        for peer in &voters[1..] {
            rig.shard.handle_peer_up(*peer, 1);
        }
        while rig.shard.status().iter().any(|status| status.leader != voters[0]) {
            rig.now = rig.now + Span::from_ms(5);
            rig.plain_turn();
        }
        (0..groups).for_each(|group| rig.make_place(GroupId(group), groups));
        rig
    }

    fn make_place(&mut self, group: GroupId, groups: u32) {
        let numbers = (10_000_000_001..).map(Nsid);
        let nsid = { numbers }.find(|nsid| base::group_of(*nsid, groups) == group).expect("they are spread");
        self.command(group, system(nsid), &namespace());
        let session = session_of(&self.command(group, owner(), &Command::Register { nonce: [9; 16] }));
        self.places.push(Place { group, nsid, session, sequence: 0 });
    }

    /// One command, until it is done: its outcome.
    pub fn command(&mut self, group: GroupId, header: CommandHeader, command: &Command) -> Vec<u8> {
        let mut bytes = Vec::new();
        meta::encode_command(&header, command, &mut bytes);
        self.shard.handle_command(Ticket { connection: 0, request: 0, kind: 1 }, group, &bytes);
        for _ in 0..100 {
            self.begin();
            self.take_turn();
            let reply = self.shard.replies().iter().next().map(|reply| (reply.status, reply.body.to_vec()));
            self.end();
            if let Some((status, body)) = reply {
                assert_eq!(status, Status::Ok, "{command:?} was not done");
                return body;
            }
        }
        panic!("{command:?} is not done after a hundred turns");
    }

    /// A turn without stamps whose replies nobody wants.
    fn plain_turn(&mut self) {
        self.begin();
        self.take_turn();
        self.end();
    }

    fn take_turn(&mut self) {
        self.hear();
        self.complete();
        self.shard.advance(self.now, STAMP_MS);
    }

    fn end(&mut self) {
        self.shard.replies().clear();
        self.leave(|_, _, _, _| ());
        self.begin_operations();
    }

    /// The turn's time.
    pub fn begin(&mut self) {
        self.now = self.now + STEP;
        self.shard.begin_turn(self.now, STAMP_MS);
    }

    /// The peers' answers.
    pub fn hear(&mut self) {
        for (from, group, body) in self.mail.drain(..) {
            self.shard.handle_peer(from, group, body, Records::EMPTY, self.now);
        }
    }

    /// The disk's completions, the store's news, deadlines.
    pub fn complete(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        for (token, op) in waiting.drain(..) {
            let bytes = self.shard.log_mut().disk_mut().perform(&op);
            self.syncs += u64::from(op.is_ring());
            self.shard.handle_op_done(token, Ok(bytes));
        }
        self.waiting = waiting;
        self.begin_operations();
        self.shard.handle_store_events();
        self.shard.handle_tick(self.now);
    }

    /// Messages to peers, with the records beside them, go to `each`; the answers come in the next turn.
    pub fn leave(&mut self, mut each: impl FnMut(NodeId, GroupId, &Body, &[u8])) {
        while let Some(message) = self.shard.poll_peer() {
            let PeerOut::Raft { to, group, body } = message else { continue };
            self.scratch.clear();
            if let Some((first, count)) = body.entries()
                && count > 0
            {
                let last = LogIndex(first.0 + u64::from(count) - 1);
                assert!(self.shard.records(group, first, last, &mut self.scratch), "all entries are in memory");
            }
            each(to, group, &body, &self.scratch);
            self.mail.extend(answer(&body).map(|body| (to, group, body)));
        }
    }

    /// The log's operations go to the disk; a sync has nothing to do, since the disk's writes are durable.
    pub fn begin_operations(&mut self) {
        while let Some((token, op)) = self.shard.poll_op() {
            if matches!(op, DiskOp::Sync { .. }) {
                self.shard.handle_op_done(token, Ok(0));
            } else {
                self.waiting.push((token, op));
            }
        }
    }
}
