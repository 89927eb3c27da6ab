//! One turn of a core, as `net/server` takes it: mail, store, deadlines, advance, replies, messages, operations.

use base::stages::Stamp;
use base::{GroupId, LogIndex, Mono, NodeId};
use seglog::{DiskOp, OpToken};
use shard::{Border, PeerOut, Resting, Ticket};
use wire::{PeerFrame, PeerKind, RestPair, SnapshotAck, SnapshotPart, StateHash};

use super::net::{cut_frame, link_of, open_writer};
use super::node::{Core, Look, Mail, SimShard, state_of, with_view};
use super::{MS, SECOND, What, World};
use crate::draw::{Stream, draw, log_between, prng};
use crate::fault::Class;
use crate::heap::Due;
use crate::observe::{Event, GroupView};

/// A core turns at least this often.
const IDLE_MAX: u64 = 500 * MS;
/// Messages that wait for a core at most; more are lost.
const INBOX_MAX: usize = 4096;
/// The connection of the operator's requests.
pub(super) const OPERATOR: u64 = u64::MAX;

/// Turns in a second for which nothing had come, each right behind the one before: more is a busy loop.
const SPINS_MAX: u64 = 3000;

impl World<'_> {
    /// Something reaches a core, which takes a turn for it as soon as it can.
    pub(super) fn mail(&mut self, seat: usize, core: usize, mail: Mail) {
        let node = &mut self.nodes[seat];
        let is_up = node.is_up();
        let paused_until = node.paused_until;
        let Some(Some(cell)) = node.cores.get_mut(core) else { return self.lose(mail) };
        let room = if cell.mailbox.0 > self.now { cell.mailbox.1 as usize } else { INBOX_MAX };
        if !is_up || (matches!(mail, Mail::Frames { .. }) && cell.inbox.len() >= room) {
            return self.lose(mail);
        }
        cell.inbox.push_back(mail);
        let at = cell.busy_until.max(self.now).max(paused_until);
        self.wake(seat, core, at);
    }

    /// Mail that nobody reads.
    pub(super) fn lose(&mut self, mail: Mail) {
        if let Mail::Frames { buffer, .. } | Mail::Bytes { buffer, .. } = mail {
            self.buffers.release(buffer);
        }
    }

    pub(super) fn wake(&mut self, seat: usize, core: usize, at: u64) {
        let Some(Some(cell)) = self.nodes[seat].cores.get_mut(core) else { return };
        if at < cell.wake_at {
            cell.wake_at = at;
            self.heap.wake(seat, core, at);
        }
    }

    pub(super) fn take_turn(&mut self, seat: usize, core: usize) {
        let now = self.now;
        let node = &mut self.nodes[seat];
        let paused_until = node.paused_until;
        let Some(slot) = node.cores.get_mut(core) else { return };
        // A turn that was put forward leaves its old place in the heap behind.
        if slot.as_ref().is_none_or(|cell| cell.wake_at != now) {
            return;
        }
        let mut cell = slot.take().expect("it was just seen");
        cell.wake_at = u64::MAX;
        if paused_until > now {
            self.nodes[seat].cores[core] = Some(cell);
            return self.wake(seat, core, paused_until);
        }
        let is_spinning = cell.inbox.is_empty() && now <= cell.busy_until;
        if cell.spins.0 + SECOND <= now {
            cell.spins = (now, 0);
        }
        cell.spins.1 += u64::from(is_spinning);
        if cell.spins.1 > SPINS_MAX {
            let id = self.nodes[seat].id;
            let away = i128::from(cell.shard.next_deadline().0) - i128::from(self.nodes[seat].clock.mono(now).0);
            let has_work = cell.shard.has_work();
            let what =
                format!("took {SPINS_MAX} turns in a second for nothing; work: {has_work}, deadline: {away} ns away");
            self.fail("bounds", format!("core {core} of node {id} {what}"));
        }
        let cost = self.turn(seat, core, &mut cell);
        let end = now + cost;
        cell.busy_until = if cell.slow.0 > now { now + cell.slow.1.max(cost) } else { end };
        let next = self.next_turn(seat, &cell, end);
        self.nodes[seat].cores[core] = Some(cell);
        self.wake(seat, core, next);
        self.after_turn(seat, core);
    }

    /// When the next turn is due if nothing comes.
    fn next_turn(&self, seat: usize, cell: &Core, end: u64) -> u64 {
        if cell.shard.has_work() || !cell.inbox.is_empty() {
            return cell.busy_until.max(end);
        }
        let deadline = self.nodes[seat].clock.time_of(cell.shard.next_deadline());
        deadline.min(self.now + IDLE_MAX).max(cell.busy_until).max(end)
    }

    /// Returns what it cost, in ns.
    fn turn(&mut self, seat: usize, core: usize, cell: &mut Core) -> u64 {
        let entity = (seat * super::CORES_MAX + core) as u64;
        let cost = 1_000 + draw(self.seed, Stream::Turn as u8, entity, cell.turns) % 49_000;
        cell.turns += 1;
        self.counts.turns += 1;
        cell.touched = 0;
        cell.stopped.1 = cell.stopped.0;
        let at = self.now + cost;
        let (now, wall_ms) = {
            let clock = &self.nodes[seat].clock;
            (clock.mono(self.now), clock.wall_ms(self.now))
        };
        let mail = cell.inbox.len() as u64;
        // The profile's clock is the simulation's own: it neither stands still nor jumps with the node's.
        let begun = Stamp::at(self.now);
        cell.shard.begin_stages(begun);
        cell.shard.begin_turn(now, wall_ms);
        if std::mem::take(&mut cell.has_jumped) {
            cell.shard.handle_clock_jump(now);
        }
        for _ in 0..cell.inbox.len() {
            let Some(mail) = cell.inbox.pop_front() else { break };
            self.read_mail(seat, core, cell, mail, now);
        }
        cell.shard.end_stage(Border::Decode, begun);
        cell.shard.handle_store_events();
        cell.shard.handle_tick(now);
        cell.shard.end_stage(Border::Admit, begun);
        cell.shard.advance_proposals(now, wall_ms);
        cell.shard.end_stage(Border::Propose, begun);
        cell.shard.advance_groups(now);
        // What a turn costs is its end's.
        cell.shard.end_stage(Border::Apply, Stamp::at(at));
        let leaders = &mut self.nodes[seat].leaders;
        cell.shard.poll_leaders(|group, leader| leaders[group.0 as usize] = leader);
        self.note(What::Turn, entity, mail, |_| format!("{seat}.{core}: {mail} in the mail, costs {cost} ns"));
        self.show_groups(seat, core, cell, now);
        self.deliver_replies(seat, core, cell, at);
        self.send_messages(seat, core, cell, now, at);
        self.begin_operations(seat, core, cell, at);
        self.begin_store(seat, core, cell, at);
        self.send_parcels(seat, core, cell, at);
        cost
    }

    /// What was asked of the store ends after a while.
    fn begin_store(&mut self, seat: usize, core: usize, cell: &mut Core, at: u64) {
        let (flushes, reads) = (cell.shard.store_mut().take_asked(), cell.shard.store_mut().take_unseen());
        if flushes + reads == 0 {
            return;
        }
        let entity = (seat * super::CORES_MAX + core) as u64;
        let life = self.nodes[seat].life;
        let mut dice = prng(self.seed, Stream::Disk, entity << 8 | 1, cell.turns ^ u64::from(life) << 40);
        let (seat, core) = (seat as u8, core as u8);
        for _ in 0..flushes {
            self.push(at + log_between(&mut dice, MS, 200 * MS), Due::Flush { seat, core, life });
        }
        for _ in 0..reads {
            self.push(at.max(cell.reads_wait) + log_between(&mut dice, 10_000, MS), Due::Store { seat, core, life });
        }
    }

    pub(super) fn end_read(&mut self, seat: u8, core: u8, life: u32) {
        let (seat, core) = (seat as usize, core as usize);
        if self.nodes[seat].life != life {
            return;
        }
        let Some(Some(cell)) = self.nodes[seat].cores.get_mut(core) else { return };
        cell.shard.store_mut().tell();
        self.mail(seat, core, Mail::Store);
    }

    fn read_mail(&mut self, seat: usize, core: usize, cell: &mut Core, mail: Mail, now: Mono) {
        match mail {
            Mail::Frames { from, generation, buffer, only } => {
                self.read_frames(from as usize, seat, core, cell, (generation, buffer, only), now);
            }
            Mail::PeerUp { node, incarnation } => cell.shard.handle_peer_up(node, incarnation),
            Mail::PeerDown { node } => cell.shard.handle_peer_down(node),
            Mail::Done { token, result } => cell.shard.handle_op_done(token, result),
            Mail::Bytes { connection, buffer } => {
                self.read_requests(core, cell, connection, buffer, now);
                self.buffers.release(buffer);
            }
            Mail::Closed { connection } => cell.shard.handle_connection_closed(u64::from(connection)),
            Mail::Store => {}
            Mail::Parcels => self.read_parcels(cell),
            Mail::Checkpoint => cell.shard.checkpoint_soon(),
            Mail::Change { group, change } => {
                let ticket = Ticket { connection: OPERATOR, request: 0, kind: 7 };
                cell.touched |= 1 << (group.0 / u32::from(self.shape.cores));
                cell.shard.handle_change_members(ticket, group, &change, now);
            }
            Mail::Transfer { group, target } => {
                let ticket = Ticket { connection: OPERATOR, request: 0, kind: 8 };
                cell.touched |= 1 << (group.0 / u32::from(self.shape.cores));
                cell.shard.handle_transfer(ticket, group, target, now);
            }
            Mail::Upgrade { group, request, command } => {
                let ticket = Ticket { connection: super::upgrade::UPGRADER, request, kind: 1 };
                cell.touched |= 1 << (group.0 / u32::from(self.shape.cores)).min(63);
                cell.shard.handle_command(ticket, group, &command);
            }
            Mail::Probe { operation, group, kind } => self.read_probe(cell, operation, group, kind),
        }
    }

    fn read_frames(
        &mut self,
        from: usize,
        seat: usize,
        core: usize,
        cell: &mut Core,
        (generation, buffer, only): (u32, u32, u16),
        now: Mono,
    ) {
        let link = link_of(from, seat, core);
        let sender = self.sender(link);
        let bytes = self.buffers.lend(buffer);
        let mut rest = bytes.as_slice();
        let mut ordinal = 0;
        let is_current = self.generation(link) == generation;
        'frames: while is_current && !rest.is_empty() {
            let is_unknown = rest.get(4).is_some_and(|version| u16::from(*version) != wire::WIRE_VERSION);
            let Some((frame, more)) = cut_frame(rest) else {
                if is_unknown {
                    self.note_unknown_frame(true);
                }
                self.reset(from, seat, core);
                break;
            };
            rest = more;
            let Ok(frame) = PeerFrame::parse(frame) else {
                self.reset(from, seat, core);
                break;
            };
            if is_unknown {
                self.note_unknown_frame(false);
            }
            for message in frame.messages() {
                let Ok(message) = message else {
                    self.reset(from, seat, core);
                    break 'frames;
                };
                let number = ordinal;
                ordinal += 1;
                let is_wanted =
                    if only == u16::MAX { self.filter(link, generation, buffer, number) } else { only == number };
                if !is_wanted {
                    continue;
                }
                cell.touched |= 1 << (message.group.0 / u32::from(self.shape.cores)).min(63);
                self.coverage.note_message(cell.shard.raft(message.group), &message.kind);
                match message.kind {
                    PeerKind::Raft { body, entries } => {
                        self.tell_trace(|_| format!("{seat}.{core} reads of node {sender}: {body:?}"));
                        let (to, incarnation) = (self.nodes[seat].id, self.nodes[seat].incarnation);
                        let group = message.group;
                        self.observe(&Event::Read { from: sender, to, incarnation, group, body: &body });
                        cell.shard.handle_peer(sender, message.group, body, entries, now);
                    }
                    PeerKind::Snapshot(SnapshotPart { leader_term, index, snapshot_id, part, last, body, .. }) => cell
                        .shard
                        .handle_snapshot_part(sender, message.group, index, leader_term, snapshot_id, part, last, body),
                    PeerKind::Rest(RestPair { count, hash, mono }) => {
                        cell.shard.handle_resting(sender, Resting { count, hash }, mono, now);
                    }
                    PeerKind::RestAck { pair: RestPair { count, hash, mono }, is_slow } => {
                        cell.shard.handle_resting_ack(sender, Resting { count, hash }, mono, is_slow, now);
                    }
                    PeerKind::StateHash(StateHash { index, hash }) => {
                        cell.shard.handle_state_hash(sender, message.group, index, hash);
                    }
                    PeerKind::SnapshotAck(ack) => {
                        cell.shard.handle_snapshot_ack(
                            sender,
                            message.group,
                            ack.snapshot_id,
                            ack.next_part,
                            ack.rejected,
                        );
                    }
                }
            }
        }
        self.buffers.put_back(buffer, bytes);
        self.buffers.release(buffer);
    }

    /// Tells checkers of the groups that this turn touched.
    fn show_groups(&mut self, seat: usize, core: usize, cell: &mut Core, now: Mono) {
        let cores = u32::from(self.shape.cores);
        for local in 0..cell.looks.len() {
            let group = GroupId(local as u32 * cores + core as u32);
            let Some(raft) = cell.shard.raft(group) else { continue };
            let log = cell.shard.log();
            let is_touched = cell.touched & 1 << local.min(63) != 0;
            let lease_until = if raft.is_leader() { raft.lease_until(now) } else { None };
            let look = Look {
                term: raft.term(),
                vote: raft.vote().unwrap_or_default(),
                leader: raft.leader().unwrap_or_default(),
                role: raft.role() as u8,
                health: raft.health() as u8,
                first: log.first_index(group),
                last: log.last_index(group),
                last_crc: log.crc(group, log.last_index(group)).unwrap_or(0),
                commit: raft.commit_index(),
                persisted: raft.persisted_index(),
                applied: cell.shard.applied_index(group),
                config: raft.config_index(),
                has_lease: lease_until.is_some(),
            };
            let before = std::mem::replace(&mut cell.looks[local], look);
            if look == before && !is_touched {
                continue;
            }
            self.coverage.note_state(raft);
            if look != before {
                self.tell_trace(|_| format!("{seat}.{core} group {group}: {look:?}"));
                let state = look.term.0 << 20 ^ look.commit.0 << 40 ^ look.last.0 ^ look.leader.0 << 56;
                self.trace.fold(self.now, 100 + u64::from(group.0), seat as u64, state);
                if raft.is_leader() && before.role != look.role {
                    self.counts.elections += 1;
                }
            }
            // Others are asked as well when they are shown: only a leader may have one.
            let lease_until = if raft.is_leader() { lease_until } else { raft.lease_until(now) };
            let World { nodes, panel, violation, now: time, .. } = self;
            // While a snapshot is in the store and not yet in the log, the state before it is what the group has.
            let state = state_of(&cell.shard, group).unwrap_or(cell.states[local]);
            let is_news = look != before || state != cell.states[local];
            cell.states[local] = state;
            with_view(&nodes[seat], &cell.shard, group, now, state, |view| {
                let (at, event) = (crate::observe::Time(*time), Event::Turn(GroupView { lease_until, ..*view }));
                let found = if is_news { panel.show(at, &event) } else { panel.show_same(at, &event) };
                if let Some(found) = found {
                    violation.get_or_insert(found);
                }
            });
            if look.first != before.first && look.first == look.applied.next() {
                // A snapshot was installed, most likely.
                self.show_content(seat, &cell.shard, group);
            }
        }
        while let Some((group, alarm)) = cell.shard.poll_alarm() {
            if alarm.stops() {
                cell.stopped.0 |= 1 << (group.0 / cores).min(63);
            }
            let node = self.nodes[seat].id;
            let is_allowed = match alarm {
                raft::Alarm::Amnesia(other) => self.seat_of(other).is_none_or(|seat| self.nodes[seat].is_damaged),
                raft::Alarm::StateHash(_) if self.errs(seat) => self.note_caught(seat, group),
                // Two leaders of a term, or a conflict below what is committed: it may stop, and says so.
                _ => self.has_forgotten,
            };
            if !is_allowed {
                self.fail("alarm", format!("node {node}: group {group}: {alarm:?}"));
            }
        }
        while let Some(found) = cell.shard.poll_difference() {
            self.judge_difference(seat, &found);
        }
    }

    fn send_messages(&mut self, seat: usize, core: usize, cell: &mut Core, now: Mono, at: u64) {
        let mut has_sent = 0u32;
        while let Some(message) = cell.shard.poll_peer() {
            let (PeerOut::Raft { to, .. }
            | PeerOut::Resting { to, .. }
            | PeerOut::RestingAck { to, .. }
            | PeerOut::SnapshotPart { to, .. }
            | PeerOut::SnapshotAck { to, .. }
            | PeerOut::StateHash { to, .. }) = message;
            let Some(peer) = self.seat_of(to) else { continue };
            if peer == seat || self.net.up(link_of(seat, peer, core)).is_none() {
                continue;
            }
            let mut records = std::mem::take(&mut self.records);
            records.clear();
            let is_whole = match &message {
                PeerOut::Raft { group, body, .. } => {
                    body.entries().filter(|(_, count)| *count > 0).is_none_or(|(first, count)| {
                        let last = LogIndex(first.0 + u64::from(count) - 1);
                        cell.shard.records(*group, first, last, &mut records)
                    })
                }
                _ => true,
            };
            if let PeerOut::SnapshotPart { group, part: 0, .. } = message {
                self.show_content(seat, &cell.shard, group);
            }
            if is_whole {
                self.show_sent(seat, cell, to, &message);
                has_sent |= 1 << peer;
                for _ in 0..2 {
                    let writer = open_writer(&mut cell.writers[peer], core, now);
                    if write(writer, &message, &records) {
                        break;
                    }
                    let mut writer = cell.writers[peer].take().expect("it was just written to");
                    self.send_frames(seat, peer, core, &mut writer, at);
                    cell.writers[peer] = Some(writer);
                }
            }
            if !is_whole {
                self.tell_trace(|_| format!("{seat} to node {to}: not in memory: {message:?}"));
            }
            self.records = records;
        }
        for peer in 0..self.shape.seats {
            if has_sent & 1 << peer != 0 {
                let mut writer = cell.writers[peer].take().expect("it was written to");
                self.send_frames(seat, peer, core, &mut writer, at);
                cell.writers[peer] = Some(writer);
            }
        }
    }

    /// Tells checkers what rows a group has.
    pub(super) fn show_content(&mut self, seat: usize, shard: &SimShard, group: GroupId) {
        let Some((applied, _)) = state_of(shard, group) else { return };
        let (node, hash) = (self.nodes[seat].id, shard.store().content(group));
        self.observe(&Event::Content { node, group, applied, hash });
    }

    fn show_sent(&mut self, seat: usize, cell: &mut Core, to: NodeId, message: &PeerOut) {
        let PeerOut::Raft { group, body, .. } = message else { return };
        self.show_durable(seat, cell, *group);
        let (from, incarnation) = (self.nodes[seat].id, self.nodes[seat].incarnation);
        self.tell_trace(|_| format!("{seat} to node {to}, group {group}: {body:?}"));
        self.observe(&Event::Sent { from, incarnation, to, group: *group, body });
    }

    /// Tells checkers what a power cut would leave of a group, if that has moved.
    fn show_durable(&mut self, seat: usize, cell: &mut Core, group: GroupId) {
        let Some(news) = cell.shard.log_mut().disk_mut().take_news(group) else { return };
        let (term, vote, last_index, last_term) = (news.term, news.vote, news.last, news.last_term());
        let node = self.nodes[seat].id;
        self.tell_trace(|_| {
            format!("{seat} group {group}: on disk term {term} vote {vote} to {last_index} of {last_term}")
        });
        self.observe(&Event::Durable { node, group, term, vote, last_index, last_term });
    }

    /// The same of all nodes that run, before a write of the group is acknowledged by the core that is out.
    pub(super) fn show_all_durable(&mut self, seat: usize, cell: &mut Core, group: GroupId) {
        self.show_durable(seat, cell, group);
        let core = base::core_of(group, self.shape.cores).0 as usize;
        for other in (0..self.shape.seats).filter(|other| *other != seat) {
            let Some(mut cell) = self.nodes[other].cores.get_mut(core).and_then(Option::take) else { continue };
            self.show_durable(other, &mut cell, group);
            self.nodes[other].cores[core] = Some(cell);
        }
    }

    // The disk.

    fn begin_operations(&mut self, seat: usize, core: usize, cell: &mut Core, at: u64) {
        while let Some((token, op)) = cell.shard.poll_op() {
            let due = self.operation_due(seat, core, cell, &op, token, at);
            if let Some((left, phase)) = &mut self.nodes[seat].doom {
                if *left == 0 {
                    let (phase, life) = (*phase, self.nodes[seat].life);
                    self.nodes[seat].doom = None;
                    let crash = match phase {
                        0 => at,
                        1 => at + (due - at) / 2,
                        _ => due + 1,
                    };
                    self.push(crash, Due::Crash { seat: seat as u8, life });
                } else {
                    *left -= 1;
                }
            }
            cell.shard.log_mut().disk_mut().submit(token, op);
            self.push(due, Due::operation(seat as u8, core as u8, self.nodes[seat].life, token));
        }
    }

    /// When an operation ends.
    fn operation_due(
        &mut self,
        seat: usize,
        core: usize,
        cell: &mut Core,
        op: &DiskOp,
        token: OpToken,
        at: u64,
    ) -> u64 {
        let entity = (seat * super::CORES_MAX + core) as u32;
        let mut dice =
            prng(self.seed, Stream::Disk, u64::from(entity), token.0 ^ u64::from(self.nodes[seat].life) << 40);
        let mut span = match op {
            DiskOp::Write { .. } => log_between(&mut dice, 20_000, 400_000),
            DiskOp::Sync { .. } => log_between(&mut dice, 80_000, 4 * MS),
            DiskOp::FaultIn { .. } => log_between(&mut dice, 50_000, 5 * MS),
            DiskOp::Prepare | DiskOp::Activate { .. } => log_between(&mut dice, MS, 60 * MS),
            DiskOp::Retire { .. } | DiskOp::WriteMeta { .. } => log_between(&mut dice, MS / 2, 20 * MS),
        };
        if let Some([slow, hung, _]) = self.injector.strike(Class::Disk11, entity, |d| {
            let hangs = d.below(50) == 0;
            [log_between(d, MS, 10 * SECOND), if hangs { log_between(d, 3 * SECOND, 60 * SECOND) } else { 0 }, 0]
        }) {
            span += slow;
            cell.hung_until = cell.hung_until.max(at + hung);
        }
        let begin = if op.is_ring() { at } else { at.max(cell.storage_busy) };
        let due = (begin + span).max(cell.hung_until + 1);
        let due = if matches!(op, DiskOp::Sync { .. }) { due.max(cell.syncs_wait + span) } else { due };
        if !op.is_ring() {
            cell.storage_busy = due;
        }
        due
    }

    pub(super) fn end_operation(&mut self, seat: u8, core: u8, life: u32, token: u64) {
        let (seat, core, token) = (seat as usize, core as usize, OpToken(token));
        if self.nodes[seat].life != life || !self.nodes[seat].is_up() {
            return;
        }
        let entity = (seat * super::CORES_MAX + core) as u32;
        let (is_damageable, is_lying) = (self.may_be_damaged(seat), self.disk_lies(seat));
        let World { nodes, injector, now, .. } = self;
        let Some(Some(cell)) = nodes[seat].cores.get_mut(core) else { return };
        let (mut fails_write, mut fails_sync) = (cell.fails_write, cell.fails_sync);
        let disk = cell.shard.log_mut().disk_mut();
        (disk.is_full, disk.is_lying) = (disk.full_until > *now, is_lying);
        let result = match disk.pending_op(token) {
            Some(DiskOp::Write { .. }) if fails_write => {
                fails_write = false;
                disk.fail(token, 5, false)
            }
            Some(DiskOp::Sync { .. }) if fails_sync.is_some() => {
                let kind = fails_sync.take().unwrap_or_default();
                if kind == 2 {
                    // The journal tells of it one sync too late; nothing is lost.
                    fails_sync = Some(3);
                    disk.complete(token, u32::MAX)
                } else {
                    disk.fail(token, 5, kind == 1)
                }
            }
            Some(DiskOp::FaultIn { .. }) if injector.strike(Class::Disk7, entity, |d| [d.below(2), 0, 0]).is_some() => {
                disk.fail(token, 5, false)
            }
            Some(DiskOp::FaultIn { .. }) if is_damageable => {
                let misread = injector.strike(Class::Disk5, entity, |d| [d.next_u64(), 0, 0]);
                match misread {
                    Some([dice, ..]) => disk.complete_misread(token, dice),
                    None => disk.complete(token, u32::MAX),
                }
            }
            Some(DiskOp::Write { bytes, .. }) if *bytes > 4096 => {
                let blocks = u64::from(*bytes / 4096);
                let short = injector.strike(Class::Disk12, entity, |d| {
                    let least = u64::from(d.below(64) != 0);
                    [512 * (8 * least + d.below(8 * (blocks - 1))), 0, 0]
                });
                disk.complete(token, short.map_or(u32::MAX, |[written, ..]| written as u32))
            }
            Some(_) => disk.complete(token, u32::MAX),
            None => return,
        };
        let astrays = super::astray::lead_astray(disk, injector, entity);
        (cell.fails_write, cell.fails_sync) = (fails_write, fails_sync);
        self.note_astray(seat, core, &astrays);
        let outcome = result.map_or(1, u64::from);
        self.note(What::Op, u64::from(entity), token.0 ^ outcome << 32, |_| {
            format!("{seat}.{core}: operation {} ends: {result:?}", token.0)
        });
        self.mail(seat, core, Mail::Done { token, result });
    }

    pub(super) fn end_flush(&mut self, seat: u8, core: u8, life: u32) {
        let (seat, core) = (seat as usize, core as usize);
        if self.nodes[seat].life != life {
            return;
        }
        let Some(Some(cell)) = self.nodes[seat].cores.get_mut(core) else { return };
        if cell.shard.store_mut().finish_flush() {
            let held = cell.shard.store().checkpointed();
            let node = self.nodes[seat].id;
            for (group, applied) in held {
                self.observe(&Event::Checkpoint { node, group, applied });
            }
            self.mail(seat, core, Mail::Store);
        }
    }
}

/// Writes a message into the open frame; false when it is full.
fn write(writer: &mut wire::PeerFrameWriter, message: &PeerOut, records: &[u8]) -> bool {
    match message {
        PeerOut::Raft { group, body, .. } => writer.push(*group, body, |out| out.extend_from_slice(records)).is_ok(),
        PeerOut::Resting { resting: Resting { count, hash }, now, .. } => {
            writer.push_rest(&RestPair { count: *count, hash: *hash, mono: *now }).is_ok()
        }
        PeerOut::RestingAck { resting: Resting { count, hash }, list, is_slow, .. } => {
            writer.push_rest_ack(&RestPair { count: *count, hash: *hash, mono: *list }, *is_slow).is_ok()
        }
        PeerOut::SnapshotPart { group, index, index_term, term, snapshot, part, last, body, .. } => {
            let part = SnapshotPart {
                leader_term: *term,
                index: *index,
                term: *index_term,
                snapshot_id: *snapshot,
                part: *part,
                last: *last,
                body,
            };
            writer.push_snapshot(*group, &part).is_ok()
        }
        PeerOut::SnapshotAck { group, snapshot, next_part, refused, .. } => {
            let ack = SnapshotAck {
                term: base::Term(0),
                snapshot_id: *snapshot,
                next_part: *next_part,
                credit_parts: base::limits::SNAPSHOT_WINDOW,
                rejected: *refused,
            };
            writer.push_snapshot_ack(*group, &ack).is_ok()
        }
        PeerOut::StateHash { group, index, hash, .. } => {
            writer.push_state_hash(*group, &StateHash { index: *index, hash: *hash }).is_ok()
        }
    }
}
