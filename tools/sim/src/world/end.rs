//! The end of a run: faults stop, a random quorum is healed and must become live, then all is healed and must converge.

use base::{GroupId, LogIndex};
use meta::Store as _;
use seglog::Health;

use super::node::{ShardLog, State, state_of, with_view};
use super::{MS, SECOND, What, World};
use crate::draw::{Stream, prng};
use crate::heap::Due;
use crate::observe::{Event, GroupView};
use crate::profile::Profile;

/// How often the end looks around.
const LOOK_EVERY: u64 = 100 * MS;
/// A quorum leads again within this; a node in doubt of its log waits up to 30 s before it votes.
const QUORUM_MAX: u64 = 45 * SECOND;
/// All nodes run and no log is in doubt within this.
const SETTLE_MAX: u64 = 45 * SECOND;
/// Watches and the changes after them are answered within this: each has 8 s.
const LAST_WORDS_MAX: u64 = 60 * SECOND;
/// All replicas are equal within this, once nothing is in doubt.
const CONVERGE_MAX: u64 = 20 * SECOND;
/// Leaders are spread evenly within this: slow disks are forgotten after ten seconds, and loads after a minute.
const BALANCE_MAX: u64 = 120 * SECOND;
/// Once they are, nothing moves any more, looked at for so long.
const BALANCED: u64 = 15 * SECOND;
/// A late election, of a slow disk or of clocks that are wrong, may begin it anew so often.
const STIRRED_MAX: u32 = 3;
/// Old rows go within this beyond it: every look at cold rows waits for the store.
const SWEEP_MAX: u64 = 40 * SECOND;

/// Where the run stands; times are when the phase began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Faults strike, clients work.
    Faults,
    /// A quorum is healed, the others are down; clients go on.
    Quorum(u64),
    /// Everything is healed; doubts run out.
    Settle(u64),
    /// What is watched changes a last time.
    LastWords(u64),
    /// Everything must become equal.
    Converge(u64),
    /// Leaders must be spread evenly.
    Balance(u64),
    /// Nothing moves any more: leaderships given away until then, and terms of all groups.
    Balanced(u64, u64, u64),
    /// It is over.
    Over,
}

impl World<'_> {
    /// Clients begin new operations.
    pub(super) fn is_loading(&self) -> bool {
        matches!(self.phase, Phase::Faults | Phase::Quorum(_)) && !self.is_quiet()
    }

    pub(super) fn next_phase(&mut self) {
        match self.phase {
            Phase::Faults if self.options.stops_with_faults => {
                (self.phase, self.has_stopped_early) = (Phase::Over, true);
                return;
            }
            Phase::Faults => self.heal_quorum(),
            Phase::Quorum(since) => {
                if self.groups().all(|group| self.leads(group)) {
                    self.enter(Phase::Settle(self.now));
                    self.start_all();
                } else if self.now - since > QUORUM_MAX {
                    if self.give_up() {
                        return;
                    }
                    let group = self.groups().find(|group| !self.leads(*group)).expect("one does not lead");
                    let what =
                        format!("group {group} has no leader {} s after a quorum was healed", QUORUM_MAX / SECOND);
                    return self.fail("leader", self.describe(&what));
                }
            }
            Phase::Settle(since) => {
                if self.is_settled() {
                    if self.last_words.is_over() {
                        self.begin_to_converge();
                    } else {
                        self.enter(Phase::LastWords(self.now));
                    }
                } else if self.now - since > SETTLE_MAX {
                    if self.give_up() {
                        return;
                    }
                    return self.fail("converge", self.describe("not all nodes run without doubt"));
                }
            }
            Phase::LastWords(since) => {
                if self.wants_last_word() {
                    self.begin_last_word();
                } else if self.last_words.is_over() {
                    self.begin_to_converge();
                } else if self.now - since > LAST_WORDS_MAX {
                    if self.give_up() {
                        return;
                    }
                    return self.fail("wakeup", self.describe("a watch or the change after it was not answered"));
                }
            }
            Phase::Converge(since) => {
                let is_converged = self.is_converged();
                let left_over = if is_converged { self.find_left_over() } else { None };
                if is_converged && left_over.is_none() {
                    if !self.must_balance() {
                        return self.finish();
                    }
                    self.enter(Phase::Balance(self.now));
                }
                if left_over.is_some() {
                    self.leap_at_the_end(self.now - since);
                }
                let sweeping = if left_over.is_some() { SWEEP_MAX } else { 0 };
                if self.now - since > CONVERGE_MAX + sweeping {
                    if self.give_up() {
                        return;
                    }
                    if let Some((group, what)) = left_over {
                        return self.fail("trims", self.describe(&format!("group {group} does not let go of {what}")));
                    }
                    return self.fail("converge", self.describe("replicas differ"));
                }
            }
            Phase::Balance(since) => {
                if self.uneven_core().is_none() {
                    self.enter(Phase::Balanced(self.now, self.leaders_moved(), self.terms()));
                } else if self.now - since > BALANCE_MAX {
                    return self.fail("balance", self.describe("leaders are not spread evenly"));
                }
            }
            Phase::Balanced(since, moved, terms) => {
                let moves = self.leaders_moved().saturating_sub(moved);
                // A term more than a move each: somebody was elected, and what moves then is for that.
                let is_stirred = self.terms() > terms + moves;
                if is_stirred && self.stirred < STIRRED_MAX {
                    self.stirred += 1;
                    self.enter(Phase::Balance(self.now));
                } else if moves > 0 || is_stirred {
                    return self.fail("balance", self.describe("leaders move although they are spread evenly,"));
                } else if self.now - since > BALANCED {
                    return self.finish();
                }
            }
            Phase::Over => return,
        }
        self.push(self.now + LOOK_EVERY, Due::Phase);
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.note(What::Phase, 0, 0, |world| format!("{:?}", world.phase));
    }

    fn begin_to_converge(&mut self) {
        self.enter(Phase::Converge(self.now));
        self.leap_at_the_end(0);
        self.observe(&Event::Healed);
    }

    fn heal_quorum(&mut self) {
        self.injector.end();
        self.stir();
        (self.calm.hushed_until, self.wish) = (0, super::members::Wish::default());
        self.heal_links();
        let mut dice = prng(self.seed, Stream::Heal, 0, 0);
        // While members change, which nodes are a quorum depends on who knows of it: then all are healed at once.
        let is_stable = self.nodes.iter().filter(|node| node.is_up()).all(|node| {
            self.groups().all(|group| {
                let raft = node.shard_of(group).and_then(|shard| shard.raft(group));
                raft.is_some_and(|raft| {
                    let config = raft.config();
                    // Who is down may hold the only other copy of what a quorum node's disk lost, or may have told one in
                    // doubt of an entry without which it votes for nobody.
                    !matches!(raft.health(), raft::Health::Faulty | raft::Health::RecoveringHead)
                        && !config.is_joint()
                        && config.incoming().len() == self.wanted.len()
                        && config.voters().all(|id| self.wanted.contains(&id))
                })
            })
        }) && self.counts.disks_lost == 0
            && self.options.profile.has_atlas_rule();
        let is_damaged = self.nodes.iter().any(|node| node.is_damaged);
        let mut excluded = 0u32;
        while is_stable && excluded.count_ones() < (self.shape.seats as u32 - 1) / 2 {
            let seat = dice.below(self.shape.seats as u64) as usize;
            // Nor may those be down that are the only ones to be intact.
            if !is_damaged || self.may_be_damaged(seat) {
                excluded |= 1 << seat;
            }
        }
        self.enter(Phase::Quorum(self.now));
        for seat in 0..self.shape.seats {
            if excluded & 1 << seat == 0 {
                self.heal_seat(seat);
            } else {
                if self.nodes[seat].is_up() {
                    self.crash(seat);
                }
                // Its start, if one is due, is void.
                self.nodes[seat].life += 1;
            }
        }
    }

    fn start_all(&mut self) {
        (0..self.shape.seats).for_each(|seat| self.heal_seat(seat));
        self.close_dead_connections();
    }

    pub(super) fn heal_seat(&mut self, seat: usize) {
        // A disk that could not be read for a while has all its bytes: whoever sees to it starts the node anew.
        let is_misled = |group: GroupId| {
            let shard = self.nodes[seat].shard_of(group);
            shard.is_some_and(|shard| shard.log().health(group) == Health::Faulty)
        };
        let is_restarted = self.nodes[seat].is_up() && !self.nodes[seat].is_damaged && self.groups().any(is_misled);
        if is_restarted && !self.is_calm() {
            self.crash(seat);
        }
        let soon = self.now + MS;
        let node = &mut self.nodes[seat];
        node.paused_until = 0;
        node.clock.resume(self.now);
        node.doom = None;
        let (mut late, mut reads) = (Vec::new(), Vec::new());
        for (core, cell) in node.cores.iter_mut().flatten().enumerate() {
            cell.slow = (0, 0);
            cell.mailbox = (0, 0);
            if cell.reads_wait > self.now {
                reads.extend((0..cell.shard.store_mut().reads_waiting()).map(|_| core as u8));
            }
            (cell.hung_until, cell.syncs_wait, cell.reads_wait) = (0, 0, 0);
            // Its queue goes with it: the operations that made the storage thread busy end now.
            cell.storage_busy = cell.storage_busy.min(soon);
            (cell.fails_write, cell.fails_sync) = (false, None);
            let disk = cell.shard.log_mut().disk_mut();
            disk.full_until = 0;
            late.extend(disk.pending_tokens().map(|token| (core, token)));
        }
        // Of a node that is down too.
        node.remains.iter_mut().for_each(|remains| remains.disk.full_until = 0);
        // What a slow disk would have answered much later it answers now.
        let life = node.life;
        for (core, token) in late {
            self.heap.push(soon, Due::operation(seat as u8, core as u8, life, token));
        }
        for core in reads {
            self.heap.push(soon, Due::Store { seat: seat as u8, core, life });
        }
        let node = &mut self.nodes[seat];
        if node.state == State::Down {
            self.start(seat);
        }
        for core in 0..self.shape.cores as usize {
            self.wake(seat, core, self.now);
        }
    }

    /// Leaders are to become even: every node may lead every group.
    fn must_balance(&self) -> bool {
        let is_fit = |node: &super::Node| {
            self.groups().all(|group| {
                let shard = node.shard_of(group);
                let raft = shard.and_then(|shard| shard.raft(group));
                let is_clean =
                    raft.is_some_and(|raft| raft.health() == raft::Health::Clean && !raft.config().is_joint());
                is_clean && shard.is_some_and(|shard| shard.status().iter().all(|status| status.alarm.is_none()))
            })
        };
        // Clocks that are far off have elections for ever.
        let is_wanted = self.shape.balance.is_on && self.options.profile != Profile::ClockBroken;
        is_wanted && self.nodes.iter().all(is_fit)
    }

    /// A core whose leaders are not spread over the nodes as evenly as they can be.
    fn uneven_core(&self) -> Option<u16> {
        (0..self.shape.cores).find(|core| {
            let mut led = vec![0u32; self.shape.seats];
            for group in self.groups().filter(|group| base::core_of(*group, self.shape.cores).0 == *core) {
                if let Some(leader) = self.leader_of(group) {
                    led[leader] += 1;
                }
            }
            led.iter().max().zip(led.iter().min()).is_some_and(|(most, least)| most - least > 1)
        })
    }

    /// The highest term of each group, all together.
    fn terms(&self) -> u64 {
        let term = |group: GroupId| {
            let shards = self.nodes.iter().filter_map(|node| node.shard_of(group)?.raft(group));
            shards.map(|raft| raft.term().0).max().unwrap_or(0)
        };
        self.groups().map(term).sum()
    }

    fn leaders_moved(&self) -> u64 {
        let cores = self.nodes.iter().flat_map(|node| node.cores.iter().flatten());
        cores.map(|core| core.shard.led().moved).sum()
    }

    /// The group has a leader that has committed in its own term.
    fn leads(&self, group: GroupId) -> bool {
        let Some(seat) = self.leader_of(group) else { return false };
        let Some(shard) = self.nodes[seat].shard_of(group) else { return false };
        let raft = shard.raft(group).expect("a leader has the group");
        shard.log().term(group, raft.commit_index()) == Some(raft.term())
    }

    fn is_settled(&self) -> bool {
        // A log that found no space looks for it again ten seconds later.
        let is_sure = |node: &super::Node| {
            node.is_up()
                && self.groups().all(|group| {
                    node.shard_of(group).is_some_and(|shard| {
                        matches!(shard.log().health(group), Health::Clean | Health::Faulty) && !shard.log().is_full()
                    })
                })
        };
        self.is_upgraded()
            && self.is_mended()
            && self.nodes.iter().all(is_sure)
            && self.groups().all(|group| self.leads(group) && self.is_as_wanted(group))
    }

    fn is_converged(&self) -> bool {
        self.operations_running() == 0
            && self.probes.is_idle()
            && self.groups().all(|group| {
                let Some(leader) = self.leader_of(group) else { return false };
                let last = self.nodes[leader].shard_of(group).map(|shard| shard.log().last_index(group));
                let Some(state) = self.applied(leader, group) else { return false };
                Some(state.0) == last && (0..self.shape.seats).all(|seat| self.applied(seat, group) == Some(state))
            })
    }

    fn describe(&self, what: &str) -> String {
        let mut text = format!("{what} in time; {} operations are open;", self.operations_running());
        for (seat, node) in self.nodes.iter().enumerate() {
            text += &format!("\n  seat {seat}, node {}, {:?}:", node.id, node.state);
            for group in self.groups() {
                let Some(shard) = node.shard_of(group) else { continue };
                let Some(raft) = shard.raft(group) else { continue };
                let hash = shard.store().machine(group).map_or(0, |machine| machine.state_hash);
                text += &format!(
                    " [group {group}: {:?} term {} leader {:?} log {}..={} persisted {} commit {} applied {} hash {:x} health {:?} voters {:?}]",
                    raft.role(),
                    raft.term(),
                    raft.leader(),
                    shard.log().first_index(group),
                    shard.log().last_index(group),
                    raft.persisted_index(),
                    raft.commit_index(),
                    shard.applied_index(group),
                    hash & 0xffff,
                    shard.log().health(group),
                    raft.config().voters().collect::<Vec<_>>(),
                );
            }
        }
        text
    }

    /// Where anything may be lost a group may be dead: checkers look whether it had to be, and the run is over. False where
    /// the atlas rule keeps it alive, or when no group is to blame.
    fn give_up(&mut self) -> bool {
        if self.options.profile.has_atlas_rule() && !self.groups().any(|group| self.is_beyond_the_rule(group)) {
            return false;
        }
        let is_equal = |group: GroupId| {
            let mut states = (0..self.shape.seats).map(|seat| self.applied(seat, group));
            let first = states.next().flatten();
            first.is_some() && states.all(|state| state == first)
        };
        // As much as the phase asks for: in the first ones groups are at work still.
        let is_live = |group: &GroupId| match self.phase {
            Phase::Faults | Phase::Quorum(_) | Phase::Over => self.leads(*group),
            Phase::Settle(_) | Phase::LastWords(_) => self.leads(*group) && self.is_as_wanted(*group),
            Phase::Converge(_) | Phase::Balance(_) | Phase::Balanced(..) => {
                self.leads(*group) && self.is_as_wanted(*group) && is_equal(*group)
            }
        };
        let stuck: Vec<GroupId> = self.groups().filter(|group| !is_live(group)).collect();
        for group in &stuck {
            self.show_stuck(*group);
        }
        // Who answers for what was forgotten is not known any more.
        let is_over = !stuck.is_empty() || self.has_forgotten;
        if is_over {
            self.counts.given_up = 1;
            self.note(What::Phase, stuck.len() as u64, 2, |world| world.describe(&format!("given up: {stuck:?}")));
            self.phase = Phase::Over;
        }
        is_over
    }

    /// The atlas rule speaks of what is committed. With one log in doubt of its torn end, and one that lost an entry which
    /// only these two may have had, nobody can tell that the entry is committed nowhere: that nobody can is then claimed by
    /// `unrecoverable`.
    fn is_beyond_the_rule(&self, group: GroupId) -> bool {
        let any_is = |health: Health| {
            let is_so =
                |node: &super::Node| node.shard_of(group).is_some_and(|shard| shard.log().health(group) == health);
            self.nodes.iter().any(is_so)
        };
        !self.leads(group) && any_is(Health::RecoveringHead) && any_is(Health::Faulty)
    }

    fn show_stuck(&mut self, group: GroupId) {
        let World { nodes, panel, violation, now, .. } = self;
        let logs: Vec<_> = nodes
            .iter()
            .filter(|node| node.is_up())
            .filter_map(|node| Some((node, node.shard_of(group)?)))
            .map(|(node, shard)| (node, shard, ShardLog::new(shard.log(), group)))
            .collect();
        let mut views = Vec::new();
        for (node, shard, log) in &logs {
            let Some(raft) = shard.raft(group) else { continue };
            let state = state_of(shard, group).unwrap_or((shard.applied_index(group), 0));
            views.push(GroupView::of(node.clock.mono(*now), node.incarnation, raft, log, state));
        }
        if let Some(found) = panel.show(crate::observe::Time(*now), &Event::Stuck { group, views: &views }) {
            violation.get_or_insert(found);
        }
    }

    /// Checkers see every group once more.
    fn finish(&mut self) {
        let mut digest = LogIndex(0);
        for seat in 0..self.shape.seats {
            for group in self.groups() {
                let World { nodes, panel, violation, now, .. } = self;
                let Some(shard) = nodes[seat].shard_of(group) else { continue };
                digest = LogIndex(digest.0.wrapping_mul(31) ^ shard.store().machine(group).map_or(0, |m| m.state_hash));
                let Some(state) = state_of(shard, group) else { continue };
                let mono = nodes[seat].clock.mono(*now);
                let lease_until = shard.raft(group).and_then(|raft| raft.lease_until(mono));
                with_view(&nodes[seat], shard, group, mono, state, |view| {
                    let event = Event::Turn(GroupView { lease_until, ..*view });
                    if let Some(found) = panel.show_all(crate::observe::Time(*now), &event) {
                        violation.get_or_insert(found);
                    }
                });
                let (node, hash) = (nodes[seat].id, shard.store().content(group));
                if let Err(found) = meta::invariants::check(&shard.store().warm().rows(group)) {
                    let what = format!("group {group} on node {node}: {found}");
                    violation.get_or_insert(crate::observe::Violation { checker: "invariants", what });
                }
                self.observe(&Event::Content { node, group, applied: state.0, hash });
            }
        }
        self.check_readers();
        self.phase = Phase::Over;
        self.note(What::Phase, digest.0, 1, |_| "over".to_owned());
    }

    /// Readers of feeds come to the end of what there is, by the rows of the leaders.
    fn check_readers(&mut self) {
        let Some(mut wide) = self.load.wide.take() else { return };
        let store_of = |group: GroupId| {
            let shard = self.nodes[self.leader_of(group)?].shard_of(group)?;
            Some(shard.store().warm())
        };
        let stores: Vec<_> = self.groups().map(store_of).collect();
        let checked = wide.check_readers(|acct, nsid, query| {
            let group = base::group_of(nsid, self.shape.groups);
            let store = stores[group.0 as usize].as_ref().expect("each group is led once all are equal");
            meta::query(store, group, acct, nsid, query, &mut Vec::new()).expect("all rows are in memory")
        });
        if let Err(what) = checked {
            self.fail("feeds", what);
        }
    }
}
