//! Three shards on one thread, over the twins of disk and store: commands, crashes, lost messages, snapshots. The same
//! seed gives the same run.

#[path = "cluster/balance.rs"]
mod balance;
#[path = "cluster/cached.rs"]
mod cached;
#[path = "cluster/checklist.rs"]
mod checklist;
#[path = "cluster/feed.rs"]
mod feed;
#[path = "cluster/levels.rs"]
mod levels;
#[path = "cluster/lost.rs"]
mod lost;
#[path = "cluster/null.rs"]
mod null;
#[path = "cluster/parted.rs"]
mod parted;
#[path = "cluster/reads.rs"]
mod reads;
#[path = "cluster/removed.rs"]
mod removed;
#[path = "cluster/snapshots.rs"]
mod snapshots;
#[path = "cluster/stages.rs"]
mod stages;
#[path = "cluster/upkeep.rs"]
mod upkeep;
#[path = "cluster/watch.rs"]
mod watch;

use std::collections::BTreeMap;

use base::limits::LIST_PAGE_MAX;
use base::mono::Span;
use base::record::Records;
use base::{Acct, CoreId, GroupId, LogIndex, Mono, NodeId, NodeUuid, Nsid, Prng, Sequence, SessionId};
use meta::memory::MemoryStore;
use meta::{Command, CommandHeader, Outcome, Release};
use raft::Config;
use seglog::testing::{MemDisk, MemLogReader, test_settings};
use seglog::{DiskOp, OpToken, SegLog};
use shard::{Balancing, Keep, MachineKind, PeerOut, Settings, Shard, StateDiffers, Status, StopReason, Ticket};

const GROUPS: u32 = 2;
const STEP: Span = Span::from_us(500);

type TestShard = Shard<MemDisk, MemoryStore>;

/// A message on its way, with its entries' bytes.
struct Mail {
    due: Mono,
    from: NodeId,
    message: PeerOut,
    records: Vec<u8>,
}

struct Node {
    id: NodeId,
    incarnation: u64,
    shard: Option<TestShard>,
    ops: Vec<(Mono, OpToken, DiskOp)>,
    trailing: u64,
    keep: Keep,
    hash_every: u64,
    groups: u32,
    balance: Balancing,
    release: Release,
    machine: MachineKind,
    initial: Vec<NodeId>,
}

struct World {
    now: Mono,
    groups: u32,
    /// Wall clocks show so much more than at the start, beside the time that went by. Milliseconds.
    leapt_ms: u64,
    prng: Prng,
    nodes: BTreeMap<NodeId, Node>,
    mail: Vec<Mail>,
    /// One message in so many is lost; 0 none.
    loss: u64,
    /// Ends of lists and their answers, and all other messages.
    sent: (u64, u64),
    /// Snapshot and part of every part sent.
    parts: Vec<(u64, u32)>,
    answers: BTreeMap<u64, (Status, Vec<u8>)>,
    /// All answers of feeds, in order.
    fed: Vec<(u64, Vec<u8>)>,
    /// Of what was done.
    timings: Vec<shard::Timing>,
    classes: BTreeMap<u64, (u32, base::stages::OpClass)>,
    /// Its disk takes 150 ms longer for a sync.
    slow: Option<NodeId>,
    /// State hashes told.
    told: u64,
    /// Differences of states that nodes found.
    differences: Vec<(NodeId, StateDiffers)>,
    /// Where nodes may stop: why they did.
    stops: Option<BTreeMap<NodeId, StopReason>>,
    /// Where wanted: the hash of a group at an applied index, and a bit for each node that was there.
    hashes: Option<BTreeMap<(GroupId, LogIndex), (u64, u64)>>,
}

fn log_settings(id: NodeId) -> seglog::Settings {
    seglog::Settings { node_uuid: NodeUuid([id.0 as u8; 16]), ..test_settings() }
}

impl Node {
    fn boot(&mut self, log: SegLog<MemDisk>, store: MemoryStore, now: Mono) {
        self.incarnation += 1;
        let settings = Settings {
            node: self.id,
            core: CoreId(0),
            cores: 1,
            groups: self.groups,
            incarnation: self.incarnation,
            seed: self.id.0 * 1000 + self.incarnation,
            // Short, so that groups fall asleep between the commands too.
            raft: raft::Settings { quiesce_after: Some(Span::from_ms(200)), ..raft::Settings::default() },
            initial: Config::single(&self.initial),
            trailing_entries: self.trailing,
            keep: self.keep,
            state_hash_every: self.hash_every,
            balance: self.balance,
            release: self.release,
            machine: self.machine,
        };
        self.shard = Some(Shard::new(settings, log, store, now));
    }

    fn boot_new(&mut self, now: Mono) {
        let settings = log_settings(self.id);
        let log = SegLog::start(seglog::create(&settings), settings.clone(), MemDisk::new(&settings));
        self.boot(log, MemoryStore::new(), now);
    }

    fn restart(&mut self, mut disk: MemDisk, mut store: MemoryStore, now: Mono) {
        let settings = log_settings(self.id);
        store.crash();
        let recovered = seglog::recover(&mut MemLogReader::new(&disk), &settings).expect("a crash leaves a good log");
        for segment in recovered.segments() {
            disk.open_existing(segment.slot, segment.segment_seq);
        }
        let log = SegLog::start(recovered, settings, disk);
        self.ops.clear();
        self.boot(log, store, now);
    }
}

impl World {
    fn new(seed: u64, trailing: u64) -> World {
        World::of_groups(GROUPS, seed, trailing)
    }

    fn of_groups(groups: u32, seed: u64, trailing: u64) -> World {
        let now = Mono(1_000_000_000);
        let ids: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let mut world = World {
            now,
            groups,
            leapt_ms: 0,
            prng: Prng::new(seed),
            nodes: BTreeMap::new(),
            mail: Vec::new(),
            loss: 0,
            sent: (0, 0),
            parts: Vec::new(),
            answers: BTreeMap::new(),
            fed: Vec::new(),
            timings: Vec::new(),
            classes: BTreeMap::new(),
            slow: None,
            told: 0,
            differences: Vec::new(),
            stops: None,
            hashes: None,
        };
        for id in &ids {
            world.add_node(*id, trailing, ids.clone());
        }
        world.link_all();
        world
    }

    fn add_node(&mut self, id: NodeId, trailing: u64, initial: Vec<NodeId>) {
        let keep = Keep::default();
        let mut node = Node {
            id,
            incarnation: 0,
            shard: None,
            ops: Vec::new(),
            trailing,
            keep,
            hash_every: 4,
            groups: self.groups,
            balance: Balancing::default(),
            release: Release::THIS,
            machine: MachineKind::Files,
            initial,
        };
        node.boot_new(self.now);
        self.nodes.insert(id, node);
    }

    fn link_all(&mut self) {
        let up: Vec<(NodeId, u64)> =
            self.nodes.values().filter(|n| n.shard.is_some()).map(|n| (n.id, n.incarnation)).collect();
        for (id, _) in &up {
            for (peer, incarnation) in up.iter().filter(|(peer, _)| peer != id) {
                self.shard(*id).handle_peer_up(*peer, *incarnation);
            }
        }
    }

    fn shard(&mut self, id: NodeId) -> &mut TestShard {
        self.nodes.get_mut(&id).and_then(|node| node.shard.as_mut()).expect("the node runs")
    }

    fn turn(&mut self) {
        self.now = self.now + STEP;
        let now = self.now;
        let wall_ms = 1_700_000_000_000 + now.0 / 1_000_000 + self.leapt_ms;
        let mail = std::mem::take(&mut self.mail);
        let (due, later): (Vec<Mail>, Vec<Mail>) = mail.into_iter().partition(|mail| mail.due <= now);
        self.mail = later;
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in &ids {
            if let Some(shard) = self.nodes.get_mut(id).and_then(|node| node.shard.as_mut()) {
                shard.begin_stages(base::stages::Stamp::at(now.0));
                shard.begin_turn(now, wall_ms);
            }
        }
        due.into_iter().for_each(|mail| self.deliver(&mail));
        for id in ids {
            self.turn_of(id, wall_ms);
        }
        self.compare_hashes();
    }

    fn deliver(&mut self, mail: &Mail) {
        let now = self.now;
        let target = match &mail.message {
            PeerOut::Raft { to, .. }
            | PeerOut::SnapshotPart { to, .. }
            | PeerOut::SnapshotAck { to, .. }
            | PeerOut::Resting { to, .. }
            | PeerOut::RestingAck { to, .. }
            | PeerOut::StateHash { to, .. } => *to,
        };
        let Some(shard) = self.nodes.get_mut(&target).and_then(|node| node.shard.as_mut()) else { return };
        match &mail.message {
            PeerOut::Raft { group, body, .. } => {
                let (first, count) = body.entries().unwrap_or_default();
                let entries = Records::check_entries(&mail.records, count, *group, first).expect("sent whole");
                shard.handle_peer(mail.from, *group, *body, entries, now);
            }
            PeerOut::SnapshotPart { group, index, term, snapshot, part, last, body, .. } => {
                shard.handle_snapshot_part(mail.from, *group, *index, *term, *snapshot, *part, *last, body);
            }
            PeerOut::Resting { resting, now: list, .. } => shard.handle_resting(mail.from, *resting, *list, now),
            PeerOut::RestingAck { resting, list, is_slow, .. } => {
                shard.handle_resting_ack(mail.from, *resting, *list, *is_slow, now);
            }
            PeerOut::SnapshotAck { group, snapshot, next_part, refused, .. } => {
                shard.handle_snapshot_ack(mail.from, *group, *snapshot, *next_part, *refused);
            }
            PeerOut::StateHash { group, index, hash, .. } => {
                shard.handle_state_hash(mail.from, *group, *index, *hash);
            }
        }
    }

    fn turn_of(&mut self, id: NodeId, wall_ms: u64) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("ids come from the map");
        let Some(shard) = &mut node.shard else { return };
        let (done, later): (Vec<_>, Vec<_>) = node.ops.drain(..).partition(|(due, ..)| *due <= now);
        node.ops = later;
        shard.end_stage(shard::Border::Decode, base::stages::Stamp::at(now.0));
        for (_, token, op) in done {
            let result = shard.log_mut().disk_mut().perform(&op);
            shard.handle_op_done(token, result);
        }
        shard.handle_store_events();
        shard.handle_tick(now);
        self.timings.extend(stages::advance(shard, now, wall_ms));
        // The ring keeps the order of its operations; the twin's disk is as slow as the seed says.
        let mut due = now;
        while let Some((token, op)) = shard.poll_op() {
            due = due + Span::from_us(100 + self.prng.below(1500));
            if self.slow == Some(id) && matches!(op, DiskOp::Sync { .. }) {
                due = due + Span::from_ms(150);
            }
            node.ops.push((due, token, op));
        }
        while let Some(message) = shard.poll_peer() {
            if let PeerOut::SnapshotPart { snapshot, part, .. } = &message {
                self.parts.push((*snapshot, *part));
            }
            match message {
                PeerOut::Resting { .. } | PeerOut::RestingAck { .. } => self.sent.0 += 1,
                PeerOut::StateHash { .. } => self.told += 1,
                _ => self.sent.1 += 1,
            }
            let mut records = Vec::new();
            if let PeerOut::Raft { group, body, .. } = &message
                && let Some((first, count)) = body.entries()
                && count > 0
                && !shard.records(*group, first, LogIndex(first.0 + u64::from(count) - 1), &mut records)
            {
                continue;
            }
            if self.loss > 0 && self.prng.one_in(self.loss) {
                continue;
            }
            // Parts of a snapshot keep their order, as on a link; messages of consensus may overtake each other.
            let is_part = matches!(message, PeerOut::SnapshotPart { .. });
            let due = now + Span::from_us(if is_part { 1000 } else { self.prng.below(2000) });
            self.mail.push(Mail { due, from: id, message, records });
        }
        for reply in shard.replies().iter() {
            if reply.ticket.kind == feed::KIND {
                self.fed.push((reply.ticket.request, reply.body.to_vec()));
            }
            self.answers.insert(reply.ticket.request, (reply.status, reply.body.to_vec()));
            self.classes.extend(reply.timing.map(|timing| (reply.ticket.request, timing)));
        }
        shard.replies().clear();
        while let Some(found) = shard.poll_difference() {
            self.differences.push((id, found));
        }
        if let Some(reason) = shard.stop_reason() {
            assert!(self.stops.is_some(), "node {id}: {reason:?}");
            self.stops.as_mut().map(|stops| stops.insert(id, reason.clone()));
        }
    }

    fn run(&mut self, span: Span) {
        let end = self.now + span;
        while self.now < end {
            self.turn();
        }
    }

    fn leader(&mut self, group: GroupId) -> Option<NodeId> {
        let led = self.nodes.values().filter_map(|node| {
            let status = node.shard.as_ref()?.status();
            let led = status.iter().find(|s| s.group == group && s.leader == node.id)?;
            Some((led.term, node.id))
        });
        led.max().map(|(_, id)| id)
    }

    /// Sends a command until it is answered, as a client does: with the same session and sequence.
    fn command(&mut self, request: u64, header: CommandHeader, command: &Command) -> Outcome {
        let group = base::group_of(header.nsid, self.groups);
        let mut bytes = Vec::new();
        meta::encode_command(&header, command, &mut bytes);
        for _ in 0..40 {
            let Some(leader) = self.leader(group) else {
                self.run(Span::from_ms(100));
                continue;
            };
            self.answers.remove(&request);
            let ticket = Ticket { connection: 1, request, kind: 1 };
            self.shard(leader).handle_command(ticket, group, &bytes);
            for _ in 0..2000 {
                self.turn();
                match self.answers.remove(&request) {
                    Some((Status::Ok, body)) => return Outcome::decode(&body).expect("outcomes decode"),
                    Some(_) => break,
                    None => {}
                }
            }
        }
        panic!("request {request} was never answered");
    }

    fn kill(&mut self, id: NodeId) -> (MemDisk, MemoryStore) {
        let node = self.nodes.get_mut(&id).expect("the node is there");
        let mut shard = node.shard.take().expect("the node runs");
        let disk = shard.log().disk().clone();
        let store = std::mem::take(shard.store_mut());
        for other in self.nodes.values_mut().filter_map(|node| node.shard.as_mut()) {
            other.handle_peer_down(id);
        }
        (disk, store)
    }

    /// Power is cut at a node and comes back.
    fn crash(&mut self, id: NodeId) {
        let (mut disk, store) = self.kill(id);
        disk.crash(&mut self.prng);
        let now = self.now;
        self.nodes.get_mut(&id).expect("the node is there").restart(disk, store, now);
        self.link_all();
    }

    /// Parts of snapshots and their answers are as lost as the link that carried them.
    fn lose_parts(&mut self) {
        self.mail.retain(|mail| !matches!(mail.message, PeerOut::SnapshotPart { .. } | PeerOut::SnapshotAck { .. }));
    }

    fn ensure_same(&mut self, ids: &[u64]) {
        for _ in 0..200 {
            self.run(Span::from_ms(50));
            let all: Vec<Vec<(LogIndex, u64)>> = ids
                .iter()
                .map(|id| self.shard(NodeId(*id)).status().iter().map(|s| (s.applied_index, s.state_hash)).collect())
                .collect();
            let indexes = |status: &Vec<(LogIndex, u64)>| status.iter().map(|s| s.0).collect::<Vec<_>>();
            if all.iter().all(|status| indexes(status) == indexes(&all[0])) {
                assert!(all.iter().all(|status| status == &all[0]), "replicas diverged: {all:?}");
                return;
            }
        }
        let all: Vec<_> = ids.iter().map(|id| self.shard(NodeId(*id)).status()).collect();
        panic!("replicas did not reach one applied index: {all:#?}");
    }
}

const ROOT: Nsid = Nsid(10_000_000_000);

fn header(session: SessionId, sequence: u64, nsid: Nsid) -> CommandHeader {
    CommandHeader { session, sequence: Sequence(sequence), ack_below: Sequence(1), acct: Acct(1), nsid }
}

fn mkdir(path: &str) -> Command {
    Command::Mkdir(meta::Mkdir { at: meta::At::path(path), autorename: false })
}

/// Makes the namespace and a session in it.
fn begin(world: &mut World) -> SessionId {
    world.run(Span::from_ms(2500));
    let system = CommandHeader { acct: Acct(0), ..header(SessionId(0), 0, ROOT) };
    let init = Command::NamespaceInit { owner: Acct(1), kind: meta::NamespaceKind::Root, grant_bytes: 1 << 40 };
    let outcome = world.command(1, system, &init);
    assert!(outcome.is_ok(), "{outcome:?}");
    match world.command(2, header(SessionId(0), 0, ROOT), &Command::Register { nonce: [9; 16] }) {
        Outcome::Registered { session } => session,
        other => panic!("no session: {other:?}"),
    }
}

fn listing(world: &mut World, id: NodeId) -> Vec<String> {
    let group = base::group_of(ROOT, GROUPS);
    let query =
        meta::Query::ListPage { at: meta::At::path(""), recursive: true, position: Vec::new(), limit: LIST_PAGE_MAX };
    let ticket = Ticket { connection: 1, request: 77, kind: 2 };
    world.shard(id).handle_stale_query(ticket, group, ROOT, query);
    world.turn();
    let (_, body) = world.answers.remove(&77).expect("a stale query is answered at once");
    match meta::Answer::decode(&body).expect("answers decode") {
        meta::Answer::Page { entries, .. } => entries.into_iter().map(|entry| entry.path_display).collect(),
        other => panic!("no page: {other:?}"),
    }
}

#[test]
fn acknowledged_commands_survive_crashes_and_lost_messages() {
    for seed in 0..12 {
        let mut world = World::new(seed, 10_000);
        let session = begin(&mut world);
        world.loss = 25;
        let mut made = Vec::new();
        for at in 0..60 {
            if at % 9 == 4 {
                let victim = NodeId(1 + world.prng.below(3));
                world.crash(victim);
            }
            let path = format!("/folder {at}");
            let outcome = world.command(100 + at, header(session, at + 1, ROOT), &mkdir(&path));
            assert!(outcome.is_ok(), "seed {seed}, {path}: {outcome:?}");
            made.push(path);
        }
        world.loss = 0;
        world.ensure_same(&[1, 2, 3]);
        made.sort();
        for id in 1..=3 {
            let mut listed = listing(&mut world, NodeId(id));
            listed.sort();
            assert_eq!(listed, made, "seed {seed}, node {id}");
        }
    }
}

#[test]
fn a_command_sent_twice_changes_nothing_and_answers_the_same() {
    let mut world = World::new(5, 10_000);
    let session = begin(&mut world);
    let first = world.command(10, header(session, 1, ROOT), &mkdir("/once"));
    let again = world.command(11, header(session, 1, ROOT), &mkdir("/once"));
    assert_eq!(first, again);
    let another = world.command(12, header(session, 2, ROOT), &mkdir("/once"));
    assert!(matches!(another, Outcome::Conflict { .. }), "{another:?}");
}

#[test]
fn a_node_with_an_empty_disk_takes_the_place_of_another_by_snapshot() {
    for seed in 0..4 {
        let mut world = World::new(seed, 8);
        let session = begin(&mut world);
        for at in 0..120 {
            world.command(100 + at, header(session, at + 1, ROOT), &mkdir(&format!("/folder {at}")));
            if at % 20 == 0 {
                for id in 1..=3 {
                    world.shard(NodeId(id)).checkpoint_soon();
                }
            }
        }
        drop(world.kill(NodeId(3)));
        world.nodes.remove(&NodeId(3));
        world.add_node(NodeId(4), 8, Vec::new());
        world.link_all();
        for group in (0..GROUPS).map(GroupId) {
            let change =
                raft::ConfigChange { add_voters: vec![NodeId(4)], add_learners: Vec::new(), remove: vec![NodeId(3)] };
            for _ in 0..50 {
                let Some(leader) = world.leader(group) else {
                    world.run(Span::from_ms(100));
                    continue;
                };
                let now = world.now;
                let ticket = Ticket { connection: 1, request: 5, kind: 7 };
                world.shard(leader).handle_change_members(ticket, group, &change, now);
                world.turn();
                if matches!(world.answers.remove(&5), Some((Status::Ok, _))) {
                    break;
                }
                world.run(Span::from_ms(100));
            }
        }
        world.ensure_same(&[1, 2, 4]);
        let group = base::group_of(ROOT, GROUPS);
        let status = world.shard(NodeId(4)).status();
        let there = status.iter().find(|s| s.group == group).expect("node 4 has the group");
        assert!(there.first_index > LogIndex(1), "seed {seed}: no snapshot was needed");
        assert_eq!(there.voters, [1, 2, 4].map(NodeId), "seed {seed}");
        assert_eq!(listing(&mut world, NodeId(4)).len(), 120);
        // It survives a crash, and it counts: without another node it commits.
        world.crash(NodeId(4));
        drop(world.kill(NodeId(1)));
        let outcome = world.command(1000, header(session, 121, ROOT), &mkdir("/after"));
        assert!(outcome.is_ok(), "{outcome:?}");
    }
}

/// Messages of consensus that left during `span`, by whether they are the lists' ends and answers.
fn traffic(world: &mut World, span: Span) -> (u64, u64) {
    let end = world.now + span;
    let (mut lists, mut others) = (0, 0);
    while world.now < end {
        let before = world.sent;
        world.turn();
        lists += world.sent.0 - before.0;
        others += world.sent.1 - before.1;
    }
    (lists, others)
}

#[test]
fn an_idle_cluster_says_one_list_per_pair_and_beat_and_wakes_for_a_command() {
    let mut world = World::new(3, 10_000);
    let session = begin(&mut world);
    world.ensure_same(&[1, 2, 3]);
    // Leaders are spread in the first seconds, once.
    world.run(Span::from_ms(8_000));
    for id in 1..=3 {
        for group in (0..GROUPS).map(GroupId) {
            assert!(world.shard(NodeId(id)).raft(group).unwrap().is_resting(), "node {id}, group {group}");
        }
    }
    let terms = |world: &mut World| world.shard(NodeId(1)).status().iter().map(|s| s.term).collect::<Vec<_>>();
    let before = terms(&mut world);
    let (lists, others) = traffic(&mut world, Span::from_ms(10_000));
    assert_eq!(others, 0, "a group at rest sends nothing");
    // At most three leaders' cores, two peers each, a list and its answer, 20 times a second.
    assert!(lists <= 3 * 2 * 2 * 201, "{lists} in 10 s");
    assert!(lists >= 2 * 2 * 190, "{lists}: the pairs must hear of each other");
    assert_eq!(terms(&mut world), before, "nobody campaigned");
    let outcome = world.command(50, header(session, 1, ROOT), &mkdir("/awake"));
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(terms(&mut world), before);
}

#[test]
fn groups_at_rest_find_a_new_leader_when_theirs_is_gone_or_silent() {
    for is_silent in [false, true] {
        let mut world = World::new(4, 10_000);
        let session = begin(&mut world);
        world.ensure_same(&[1, 2, 3]);
        world.run(Span::from_ms(1_000));
        let group = base::group_of(ROOT, GROUPS);
        let old = world.leader(group).unwrap();
        assert!(world.shard(old).raft(group).unwrap().is_resting());
        if is_silent {
            // No link breaks: the node just says nothing any more.
            world.nodes.get_mut(&old).unwrap().shard = None;
        } else {
            drop(world.kill(old));
        }
        world.run(Span::from_ms(3_000));
        let new = world.leader(group).expect("somebody leads");
        assert_ne!(new, old);
        let outcome = world.command(60, header(session, 1, ROOT), &mkdir("/after"));
        assert!(outcome.is_ok(), "silent: {is_silent}, {outcome:?}");
    }
}

#[test]
fn a_difference_of_the_sets_wakes_the_pair() {
    let mut world = World::new(6, 10_000);
    begin(&mut world);
    world.ensure_same(&[1, 2, 3]);
    world.run(Span::from_ms(1_000));
    let group = base::group_of(ROOT, GROUPS);
    let leader = world.leader(group).unwrap();
    let follower = (1..=3).map(NodeId).find(|id| *id != leader).unwrap();
    let wrong = shard::Resting { count: 9, hash: 9 };
    let now = world.now;
    let list = |at: u64| Mono(now.0 + at);
    for at in [1, 2, 3, 4, 5, 5, 3] {
        world.shard(follower).handle_resting(leader, wrong, list(at), now);
        let rests = world.shard(follower).raft(group).unwrap().is_resting();
        assert!(rests, "{at}: lists may have crossed a wake, and one that comes again or late is none");
    }
    world.shard(follower).handle_resting(leader, wrong, list(6), now);
    assert!(!world.shard(follower).raft(group).unwrap().is_resting());
    world.run(Span::from_ms(1_500));
    assert_eq!(world.leader(group), Some(leader));
    assert!(world.shard(follower).raft(group).unwrap().is_resting(), "and it rests again");
}

#[test]
fn a_clean_stop_hands_leadership_on_first() {
    let mut world = World::new(7, 10_000);
    begin(&mut world);
    world.ensure_same(&[1, 2, 3]);
    let group = base::group_of(ROOT, GROUPS);
    let old = world.leader(group).unwrap();
    let now = world.now;
    assert!(world.shard(old).hand_over_all(now) >= 1);
    // No election timeout passes before there is another leader.
    world.run(Span::from_ms(100));
    let new = world.leader(group).expect("the best follower was asked");
    assert_ne!(new, old);
}

#[test]
fn a_lead_is_not_said_to_be_handed_on_to_a_node_that_is_down() {
    let mut world = World::new(12, 10_000);
    begin(&mut world);
    world.ensure_same(&[1, 2, 3]);
    let group = base::group_of(ROOT, GROUPS);
    let leader = world.leader(group).unwrap();
    let target = (1..=3).map(NodeId).find(|id| *id != leader).unwrap();
    world.kill(target);
    let (now, ticket) = (world.now, Ticket { connection: 1, request: 900, kind: 8 });
    world.shard(leader).handle_transfer(ticket, group, target, now);
    world.turn();
    let (status, text) = world.answers.remove(&900).expect("it is refused at once");
    assert_eq!(status, Status::Refused);
    assert_eq!(text, format!("node {target} has no link to the leader: start it, then repeat").into_bytes());
}

#[test]
fn a_slow_disk_gives_its_leaderships_away_and_gets_none_back() {
    let mut world = World::new(8, 10_000);
    let session = begin(&mut world);
    world.ensure_same(&[1, 2, 3]);
    let group = base::group_of(ROOT, GROUPS);
    let slow = world.leader(group).unwrap();
    let term = |world: &mut World| world.shard(NodeId(1)).raft(group).unwrap().term().0;
    let before = term(&mut world);
    world.slow = Some(slow);
    let mut made = 0;
    while world.leader(group) == Some(slow) {
        made += 1;
        assert!(made <= 100, "it still leads");
        world.run(Span::from_ms(20));
        let outcome = world.command(100 + made, header(session, made, ROOT), &mkdir(&format!("/folder {made}")));
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    assert_eq!(term(&mut world), before + 1, "handed over, not lost");
    for _ in 0..20 {
        made += 1;
        let outcome = world.command(100 + made, header(session, made, ROOT), &mkdir(&format!("/folder {made}")));
        assert!(outcome.is_ok(), "{outcome:?}");
        for group in (0..GROUPS).map(GroupId) {
            assert_ne!(world.leader(group), Some(slow));
        }
    }
    world.ensure_same(&[1, 2, 3]);
}
