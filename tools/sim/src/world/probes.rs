//! Probes: reads and writes that go straight to one seat, whatever anybody believes about who leads there.
//!
//! Clients follow the leader that they know, so a node that was cut off, paused or deposed hears little of them, and just
//! that node may answer with old state. While two nodes lead a group, a probe writes at the newer one, and once that is
//! acknowledged another one reads at the older: what it is told must have seen the write. Now and then a probe reads at
//! any node, by its leader's word.
//!
//! ```text
//!  older leader (cut off, paused) ◀── read ───┐ 2.
//!  newer leader ◀── write ── acknowledged ────┘ 1.
//! ```

use base::{Acct, GroupId, Nsid, Sequence, SessionId};
use meta::{Answer, At, Command, CommandHeader, Delete, Mkdir, Outcome, Query};
use shard::{Reply, Status, Ticket};
use wire::RequestKind;

use super::load::OWNER;
use super::node::{Core, Mail};
use super::{MS, SEATS_MAX, SECOND, What, World};
use crate::draw::{Stream, between, prng};
use crate::heap::Due;
use crate::observe::{Asked, Ended, Event, Token};

/// The connection of all probes; the highest numbers belong to the operator and to the shard's own sweeps.
pub(super) const PROBER: u64 = u64::MAX - 16;
/// The client that they are, for checkers.
const CLIENT: u64 = 1 << 32;
/// Between two looks.
const LOOK_EVERY: u64 = 20 * MS;
/// The same while a group has two leaders.
const LOOK_CLOSELY: u64 = 5 * MS;
/// Between two writes while the same two nodes lead: doubles from the first up to the second.
const GAP: (u64, u64) = (5 * MS, SECOND);
/// An answer that takes longer is given up.
const WITHIN: u64 = 3 * SECOND;
/// Probes on their way.
const OPEN_MAX: usize = 32;
/// Reads on their way to one seat and group.
const READS_MAX: usize = 3;
/// The same of writes, which a plan may want in a row.
const WRITES_MAX: usize = 8;

/// What a probe does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Moves the head of a namespace.
    Write,
    /// Reads it where the node is taken for the leader.
    Read,
    /// Reads it wherever it is.
    ReadAnywhere,
}

/// A probe on its way.
#[derive(Clone, Copy, Debug)]
struct Open {
    operation: u64,
    seat: usize,
    /// Of the seat: a later one knows nothing of it.
    life: u32,
    group: GroupId,
    kind: Kind,
    until: u64,
    /// Its node has read it.
    is_taken: bool,
}

/// Two leaders of a group, as they were last seen.
#[derive(Clone, Copy, Default)]
struct Rivalry {
    /// Newest leader and the others, as a mask of seats.
    seats: (usize, u64),
    gap: u64,
    next_write_at: u64,
    /// A write was acknowledged and not read at the others yet.
    wants_reads: bool,
}

/// All probes of a run.
pub(super) struct Probes {
    wake_at: u64,
    begun: u64,
    open: Vec<Open>,
    /// By group.
    rivalries: Vec<Rivalry>,
    next_tour_at: u64,
}

impl Probes {
    pub fn new(groups: u32) -> Probes {
        Probes {
            wake_at: u64::MAX,
            begun: 0,
            open: Vec::new(),
            rivalries: vec![Rivalry::default(); groups as usize],
            next_tour_at: 2 * SECOND,
        }
    }

    /// None is on its way.
    pub fn is_idle(&self) -> bool {
        self.open.is_empty()
    }
}

impl World<'_> {
    /// Looks for groups with two leaders, not later than `at`.
    pub(super) fn probe_at(&mut self, at: u64) {
        if at < self.probes.wake_at {
            self.probes.wake_at = at;
            self.push(at, Due::Probe);
        }
    }

    pub(super) fn look_for_rivals(&mut self) {
        if self.probes.wake_at != self.now {
            return;
        }
        self.probes.wake_at = u64::MAX;
        self.end_probes();
        let mut wait = LOOK_EVERY;
        if self.is_loading() && self.now < self.calm.hushed_until {
            wait = self.calm.hushed_until - self.now;
        } else if self.is_loading() {
            for group in self.groups() {
                if self.probe_rivals(group) {
                    wait = LOOK_CLOSELY;
                }
            }
            self.tour();
        } else if self.probes.is_idle() {
            return;
        }
        self.probe_at(self.now + wait);
    }

    /// Leader of the highest term, and a mask of the seats whose nodes believe to lead in lower ones.
    pub(super) fn rivals(&self, group: GroupId) -> Option<(usize, u64)> {
        let newest = self.leader_of(group)?;
        let leads = |seat: &usize| {
            let node = &self.nodes[*seat];
            *seat != newest
                && node.is_up()
                && node.shard_of(group).and_then(|shard| shard.raft(group)).is_some_and(raft::Raft::is_leader)
        };
        Some((newest, (0..self.shape.seats).filter(leads).fold(0, |mask, seat| mask | 1 << seat)))
    }

    /// True while the group has two leaders.
    fn probe_rivals(&mut self, group: GroupId) -> bool {
        let seats = self.rivals(group).filter(|(_, others)| *others != 0);
        let now = self.now;
        let rivalry = &mut self.probes.rivalries[group.0 as usize];
        let Some((newest, others)) = seats else {
            *rivalry = Rivalry::default();
            return false;
        };
        if rivalry.seats != (newest, others) {
            *rivalry = Rivalry { seats: (newest, others), gap: GAP.0, ..Rivalry::default() };
        }
        let wants_reads = std::mem::take(&mut rivalry.wants_reads);
        let wants_write = rivalry.next_write_at <= now;
        if wants_write {
            rivalry.next_write_at = now + rivalry.gap;
            rivalry.gap = (rivalry.gap * 2).min(GAP.1);
        }
        if wants_reads {
            for seat in (0..SEATS_MAX).filter(|seat| others & 1 << seat != 0) {
                self.probe(seat, group, Kind::Read);
            }
        }
        let is_writing = self.probes.open.iter().any(|open| open.group == group && open.kind == Kind::Write);
        if wants_write && !is_writing {
            self.probe(newest, group, Kind::Write);
        }
        true
    }

    /// A read at any node, now and then.
    fn tour(&mut self) {
        if self.now < self.probes.next_tour_at {
            return;
        }
        let mut dice = prng(self.seed, Stream::Load, 1 << 40, self.probes.begun);
        self.probes.next_tour_at = self.now + between(&mut dice, SECOND / 4, 2 * SECOND);
        let seat = dice.below(self.shape.seats as u64) as usize;
        let group = GroupId(dice.below(u64::from(self.shape.groups)) as u32);
        self.probe(seat, group, Kind::ReadAnywhere);
    }

    fn probed_namespace(&self, group: GroupId) -> Nsid {
        let of_group = |nsid: &&Nsid| base::group_of(**nsid, self.shape.groups) == group;
        self.load.namespaces.iter().find(of_group).copied().expect("every group has a namespace")
    }

    /// Sends a probe; its operation, or `None` when the node does not run or too many are on their way.
    pub(super) fn probe(&mut self, seat: usize, group: GroupId, kind: Kind) -> Option<u64> {
        let is_there = |open: &&Open| open.seat == seat && open.group == group && open.kind == kind;
        let beside = self.probes.open.iter().filter(is_there).count();
        let beside_max = if kind == Kind::Write { WRITES_MAX } else { READS_MAX };
        if !self.nodes[seat].is_up() || beside >= beside_max || self.probes.open.len() >= OPEN_MAX {
            return None;
        }
        self.probes.begun += 1;
        self.counts.operations += 1;
        let (operation, nsid) = (self.counts.operations, self.probed_namespace(group));
        self.note(What::Ask, operation, nsid.0, |_| format!("probe {operation} at {seat}, group {group}: {kind:?}"));
        let command = command_of(operation);
        let (acct, asked) = match kind {
            Kind::Write => (Acct(0), Asked::Write(&command)),
            _ => (OWNER, Asked::Read { query: &Query::Head, is_stale_allowed: false }),
        };
        self.observe(&Event::Invoke { operation, client: CLIENT, acct, nsid, asked });
        let (life, until) = (self.nodes[seat].life, self.now + WITHIN);
        self.probes.open.push(Open { operation, seat, life, group, kind, until, is_taken: false });
        let core = base::core_of(group, self.shape.cores).0 as usize;
        self.mail(seat, core, Mail::Probe { operation, group, kind });
        Some(operation)
    }

    /// The core reads a probe.
    pub(super) fn read_probe(&mut self, cell: &mut Core, operation: u64, group: GroupId, kind: Kind) {
        let nsid = self.probed_namespace(group);
        cell.touched |= 1 << (group.0 / u32::from(self.shape.cores)).min(63);
        if let Some(open) = self.probes.open.iter_mut().find(|open| open.operation == operation) {
            open.is_taken = true;
        }
        let ticket = |kind| Ticket { connection: PROBER, request: operation, kind: kind as u8 };
        let mut bytes = Vec::new();
        match kind {
            Kind::Write => {
                // The system's own commands need no session: this one is sent once.
                let (session, sequence) = (SessionId(0), Sequence(0));
                let header = CommandHeader { session, sequence, ack_below: Sequence(0), acct: Acct(0), nsid };
                meta::encode_command(&header, &command_of(operation), &mut bytes);
                cell.shard.handle_command(ticket(RequestKind::Command), group, &bytes);
            }
            Kind::Read | Kind::ReadAnywhere => {
                Query::Head.encode(&mut bytes);
                let ticket = ticket(RequestKind::Query);
                match kind {
                    Kind::Read => cell.shard.handle_query(ticket, group, OWNER, nsid, &bytes),
                    _ => cell.shard.handle_follower_query(ticket, group, OWNER, nsid, &bytes),
                }
            }
        }
    }

    /// Has the node of a probe read it, or will it never?
    pub(super) fn is_probe_taken(&self, operation: u64) -> bool {
        self.probes.open.iter().find(|open| open.operation == operation).is_none_or(|open| open.is_taken)
    }

    /// A probe is answered.
    pub(super) fn end_probe(&mut self, reply: &Reply<'_>, token: Option<Token>) {
        let operation = reply.ticket.request;
        let Some(at) = self.probes.open.iter().position(|open| open.operation == operation) else { return };
        let Open { group, kind, .. } = self.probes.open.swap_remove(at);
        let is_write = kind == Kind::Write;
        self.note(What::Answer, operation, token.map_or(0, |token| token.index.0), |_| {
            format!("probe {operation}: {:?} at {token:?}", reply.status)
        });
        let token = token.filter(|_| reply.status == Status::Ok);
        let outcome = token.filter(|_| is_write).and_then(|token| Some((Outcome::decode(reply.body).ok()?, token)));
        let answer = token.filter(|_| !is_write).and_then(|token| Some((Answer::decode(reply.body).ok()?, token)));
        let ended = match (&outcome, &answer) {
            (Some((outcome, token)), _) => Ended::Outcome(outcome, *token),
            (_, Some((answer, token))) => Ended::Answer(answer, *token),
            // A command that was proposed and lost its leader may still be done.
            _ if is_write && !matches!(reply.status, Status::NotLeader(_) | Status::Overloaded) => Ended::Unknown,
            _ => Ended::NotDone,
        };
        self.observe(&Event::Return { operation, ended });
        if token.is_some() {
            self.counts.acknowledged += 1;
        }
        if is_write && token.is_some() {
            self.probes.rivalries[group.0 as usize].wants_reads = true;
            self.probe_at(self.now + 1);
        }
    }

    /// Probes whose process is gone, or whose time is over.
    fn end_probes(&mut self) {
        let World { probes, nodes, now, .. } = self;
        let is_lost = |open: &mut Open| nodes[open.seat].life != open.life || open.until <= *now;
        let lost: Vec<Open> = probes.open.extract_if(.., is_lost).collect();
        for Open { operation, kind, .. } in lost {
            self.note(What::Answer, operation, 0, |_| format!("probe {operation}: given up"));
            let ended = if kind == Kind::Write { Ended::Unknown } else { Ended::NotDone };
            self.observe(&Event::Return { operation, ended });
        }
    }
}

/// What a writing probe asks: a folder that comes and goes.
fn command_of(operation: u64) -> Command {
    let at = At::path("/probe");
    match operation % 2 {
        0 => Command::Mkdir(Mkdir { at, autorename: false }),
        _ => Command::Delete(Delete { at, parent_rev: None }),
    }
}
