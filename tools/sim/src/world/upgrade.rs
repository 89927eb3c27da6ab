//! Nodes of two releases: some seats begin with the release before, which never heard of links. An operator raises the
//! feature level of every group, too early in many runs: who is still of the release before must stop, lose nothing, and
//! go on as the next one. And a machine that errs: one seat applies a kind of command otherwise, is found out by the
//! hashes of its states, and is replaced.

use base::{GroupId, NodeId, Nsid};
use meta::{At, Command, CommandHeader, Group0Command, LinkCommand, LinkSettings, Outcome, Release};
use shard::{Reply, StateDiffers, Status, Wrong};

use super::load::OWNER;
use super::node::Mail;
use super::{MS, Shape, What, World};
use crate::draw::{Stream, prng};
use crate::heap::Due;
use crate::profile::Profile;

/// The connection of the operator's commands.
pub(super) const UPGRADER: u64 = u64::MAX - 32;
/// Between two looks.
const LOOK_EVERY: u64 = 200 * MS;
/// Commands whose answers are waited for.
const OPEN_MAX: usize = 64;
/// The level of links.
const LEVEL: u32 = 2;

const NEXT: Release = Release { level_known: LEVEL, level_of: next_release };
const BEFORE: Release = Release { level_known: 1, level_of: release_before };
/// It takes deletes for something that it has never heard of.
const ERRING: Release = Release { level_known: meta::feature::LEVEL_KNOWN, level_of: erring_release };

fn next_release(kind: u8) -> Option<u32> {
    if (24..=26).contains(&kind) { Some(LEVEL) } else { meta::feature::level_of(kind) }
}

fn release_before(kind: u8) -> Option<u32> {
    if (24..=26).contains(&kind) { None } else { meta::feature::level_of(kind) }
}

fn erring_release(kind: u8) -> Option<u32> {
    if kind == 4 { None } else { meta::feature::level_of(kind) }
}

/// The seats that begin with the release before: some and never all, in runs that are about that.
pub(super) fn draw(seed: u64, profile: Profile, seats: usize) -> u32 {
    let drawn = 1 + prng(seed, Stream::Shape, 10, 0).below((1 << seats) - 2) as u32;
    if profile.has_two_releases() { drawn } else { 0 }
}

/// What the binary in a seat knows at the beginning.
pub(super) fn release_of(shape: &Shape, seat: usize) -> Release {
    match (shape.old_release, shape.erring) {
        (0, Some(erring)) if erring == seat => ERRING,
        (0, _) => Release::THIS,
        (old, _) if old & 1 << seat != 0 => BEFORE,
        _ => NEXT,
    }
}

/// A command on its way.
struct Open {
    request: u64,
    group: GroupId,
    is_raise: bool,
    /// The raise had been acknowledged when this was sent.
    was_raised: bool,
}

/// How far a group is.
#[derive(Clone, Copy, Default)]
struct Stage {
    /// The raise may be in the log.
    is_asked: bool,
    /// The leader that was asked last is of the release before.
    is_led_by_before: bool,
    /// It was acknowledged.
    is_raised: bool,
    /// A link was tried since, and not refused.
    has_links: bool,
}

/// See the file's head.
pub(super) struct Upgrade {
    stages: Vec<Stage>,
    asked: u64,
    open: Vec<Open>,
    /// Nodes whose machine errs or erred.
    erring: Vec<NodeId>,
    /// The seat has a machine that does not.
    is_mended: bool,
}

impl Upgrade {
    pub fn new(shape: &Shape) -> Upgrade {
        let stages = vec![Stage::default(); shape.groups as usize];
        Upgrade { stages, asked: 0, open: Vec::new(), erring: Vec::new(), is_mended: false }
    }
}

impl World<'_> {
    pub(super) fn begin_upgrade(&mut self) {
        if self.shape.old_release != 0 {
            self.push(self.shape.length / 8, Due::Upgrade);
        }
    }

    /// One command for each group: links all the time, the raise when it is time.
    pub(super) fn upgrade(&mut self) {
        let is_time = self.now > self.shape.length / 3;
        for group in self.groups() {
            if std::mem::take(&mut self.upgrade.stages[group.0 as usize].is_led_by_before) {
                self.give_to_next(group);
            }
            self.upgrade.asked += 1;
            let (request, stage) = (self.upgrade.asked, self.upgrade.stages[group.0 as usize]);
            let Some(leader) = self.leader_of(group) else { continue };
            let round = (request - 1) / u64::from(self.shape.groups);
            let is_raise = is_time && !stage.is_raised && round.is_multiple_of(2);
            let command = self.step_of(group, is_raise);
            self.upgrade.stages[group.0 as usize].is_asked |= is_raise;
            if self.upgrade.open.len() == OPEN_MAX {
                self.upgrade.open.remove(0);
            }
            self.upgrade.open.push(Open { request, group, is_raise, was_raised: stage.is_raised });
            let core = base::core_of(group, self.shape.cores).0 as usize;
            self.note(What::Operator, u64::from(group.0), request, |_| format!("group {group}: raise: {is_raise}"));
            self.tell(leader, core, Mail::Upgrade { group, request, command });
        }
        if !self.is_upgraded() {
            self.push(self.now + LOOK_EVERY, Due::Upgrade);
        }
    }

    fn step_of(&self, group: GroupId, is_raise: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        if is_raise {
            let command = Command::Group0(Box::new(Group0Command::FeatureRaise { level: LEVEL }));
            meta::encode_command(&CommandHeader::default(), &command, &mut bytes);
        } else {
            let of_group = |nsid: &&Nsid| base::group_of(**nsid, self.shape.groups) == group;
            let nsid = self.load.namespaces.iter().find(of_group).copied().unwrap_or_default();
            let at = At::path("/nothing is here");
            let create = LinkCommand::Create { at, settings: LinkSettings::default() };
            let header = CommandHeader { acct: OWNER, nsid, ..CommandHeader::default() };
            meta::encode_command(&header, &Command::Link(Box::new(create)), &mut bytes);
        }
        bytes
    }

    pub(super) fn end_upgrade_step(&mut self, reply: &Reply<'_>) {
        let Some(at) = self.upgrade.open.iter().position(|open| open.request == reply.ticket.request) else { return };
        let Open { group, is_raise, was_raised, .. } = self.upgrade.open.remove(at);
        let stage = &mut self.upgrade.stages[group.0 as usize];
        match (reply.status, is_raise) {
            (Status::Ok, true) => stage.is_raised |= Outcome::decode(reply.body) == Ok(Outcome::Done),
            (Status::Ok, false) => {
                let is_executed = Outcome::decode(reply.body) != Ok(Outcome::Unsupported);
                stage.has_links |= was_raised && is_executed;
                if !stage.is_asked || !is_executed {
                    self.fail("upgrade", format!("group {group}: a link before its level: {:?}", reply.body));
                }
            }
            // The core that answers is in the middle of its turn: what follows waits for the next look.
            (Status::Unsupported, true) => stage.is_led_by_before = true,
            (Status::Unsupported, false) if was_raised => {
                let text = String::from_utf8_lossy(reply.body);
                self.fail("upgrade", format!("group {group}: a link is refused after the raise: {text}"));
            }
            _ => {}
        }
    }

    /// The leader of a group hands it to a node of the next release.
    fn give_to_next(&mut self, group: GroupId) {
        let is_next = |seat: &usize| self.nodes[*seat].is_up() && self.nodes[*seat].release.level_known == LEVEL;
        if let Some(seat) = (0..self.shape.seats).find(is_next) {
            self.order_transfer(group, seat);
        }
    }

    /// Every group has the level and uses it.
    pub(super) fn is_upgraded(&self) -> bool {
        self.shape.old_release == 0 || self.upgrade.stages.iter().all(|stage| stage.has_links)
    }

    /// A node stopped because of a level that its release does not know.
    pub(super) fn note_newer(&mut self, seat: usize, level: u32) {
        let node = &mut self.nodes[seat];
        node.refusals += 1;
        let known = node.release.level_known;
        if known >= level || self.upgrade.stages.iter().all(|stage| !stage.is_asked) {
            self.fail("upgrade", format!("seat {seat} stops at level {level} and knows {known}"));
        }
    }

    /// Before a start: the binary of the release before is replaced now and then, and once it has stopped twice.
    pub(super) fn perhaps_upgrade(&mut self, seat: usize) {
        let node = &self.nodes[seat];
        if self.shape.old_release == 0 || node.release.level_known == LEVEL || node.incarnation == 0 {
            return;
        }
        let mut dice = prng(self.seed, Stream::Seed, 1 << 41 | seat as u64, node.incarnation);
        if node.refusals >= 2 || node.refusals == 0 && dice.below(4) == 0 {
            self.note(What::Operator, seat as u64, 1 << 40, |_| format!("{seat}: the next release"));
            self.nodes[seat].release = NEXT;
        }
    }

    // A machine that errs.

    /// Does the machine in this seat err?
    pub(super) fn errs(&self, seat: usize) -> bool {
        self.shape.erring == Some(seat) && !self.upgrade.is_mended
    }

    /// An erring machine was found out: its alarm is right.
    pub(super) fn note_caught(&mut self, seat: usize, group: GroupId) -> bool {
        let id = self.nodes[seat].id;
        self.upgrade.erring.push(id);
        self.note(What::Operator, seat as u64, 2 << 40, |_| format!("{seat}: node {id} errs in group {group}"));
        true
    }

    /// The node in a seat was found out, and is replaced by one that does not err.
    pub(super) fn mend(&mut self, seat: usize) -> bool {
        if !self.errs(seat) || !self.upgrade.erring.contains(&self.nodes[seat].id) {
            return false;
        }
        self.upgrade.is_mended = true;
        self.nodes[seat].release = Release::THIS;
        true
    }

    /// An erring machine, if there is one, has been replaced.
    pub(super) fn is_mended(&self) -> bool {
        self.shape.erring.is_none() || self.upgrade.is_mended
    }

    /// Two nodes found that their states differ: only where one errs, or has forgotten something.
    pub(super) fn judge_difference(&mut self, seat: usize, found: &StateDiffers) {
        let (id, group) = (self.nodes[seat].id, found.group);
        self.tell_trace(|_| format!("{seat}: {found:?}"));
        let erring = self.shape.erring.map(|seat| self.nodes[seat].id);
        let errs = |node: NodeId| erring == Some(node) || self.upgrade.erring.contains(&node);
        let is_true = match found.wrong {
            Wrong::Here => errs(id),
            Wrong::There => errs(found.peer),
            Wrong::Unknown => errs(id) || errs(found.peer),
        };
        if !is_true && !self.has_forgotten {
            self.fail("alarm", format!("node {id}: group {group}: {found:?}"));
        }
    }
}
