//! Faults that strike by time, and the operator who changes members.

use super::net::Net;
use super::node::Mail;
use super::plan::COUNTER_FIRST;
use super::probes::Kind;
use super::{CORES_MAX, MS, SEATS_MAX, SECOND, What, World};
use crate::draw::{Stream, log_between, prng};
use crate::fault::Class;
use crate::heap::Due;
use crate::schedule::Fault;

/// Classes that strike a seat by time.
const SEAT_CLASSES: [Class; 9] = [
    Class::Proc1,
    Class::Proc3,
    Class::Proc6,
    Class::Proc7,
    Class::Disk6,
    Class::Disk8,
    Class::Disk9,
    Class::Disk10,
    Class::Clk3,
];
/// Classes that strike the cluster by time.
const CLUSTER_CLASSES: [Class; 3] = [Class::Net9, Class::Net10, Class::Ctl1];
/// Classes that strike where there is a chance, and by time when a plan wants them: see [`World::apply`].
const PLANNED_CLASSES: [Class; 3] = [Class::Net3, Class::Proc4, Class::Disk11];

/// What CTL1 does beside what is drawn: plans give such orders. The other parameter says to whom or how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// The operator wants other members: masks as of [`super::members::Wish`].
    Wish,
    /// One step to such members, at once, at everyone who believes to lead.
    Change,
    /// The lead of a group goes to a seat.
    Transfer,
    /// Clients begin nothing for so many ns.
    Hush,
    /// Faults pause for so many ns (from bit 8), and a mask of seats is cut off (8 bits).
    Calm,
    /// The same without load, and with all seats.
    IdleCalm,
    /// A probe reads at a seat, as if that led.
    Read,
    /// The leader of a group is asked for a change that changes nothing.
    NoChange,
    /// A probe writes at a seat, as if that led.
    Write,
}

impl Order {
    const ALL: [Order; 9] = [
        Order::Wish,
        Order::Change,
        Order::Transfer,
        Order::Hush,
        Order::Calm,
        Order::IdleCalm,
        Order::Read,
        Order::NoChange,
        Order::Write,
    ];
    /// Parameters below this were drawn, and are no orders.
    const FIRST: u64 = 16;

    /// As the second parameter of a fault.
    pub fn parameter(self, group: u32) -> u64 {
        (Order::FIRST + self as u64) | u64::from(group) << 8
    }

    fn from_parameter(parameter: u64) -> Option<(Order, u32)> {
        let at = (parameter & 0xff).checked_sub(Order::FIRST)?;
        Order::ALL.get(at as usize).map(|order| (*order, (parameter >> 8) as u32))
    }
}

/// Of CLK3: not the wall clock jumps, the machine is suspended. Above these 8 bits: ms until its links work again.
pub(super) const SUSPENDS: u64 = 2;
/// Of PROC1: it crashes now, at no operation. Above these 8 bits: ms until it starts again, 0 for a draw.
pub(super) const AT_ONCE: u64 = 3;
/// Of PROC1: it is asked to stop, gives its leads away, and is gone a moment later. Above these 8 bits as with
/// [`AT_ONCE`].
pub(super) const STOPS: u64 = 4;
/// How long who is asked to stop goes on.
const STOPS_IN: u64 = 20 * MS;
/// In the shape of a partition: it lists its links.
const LISTED_LINKS: u64 = 1 << 63;

/// The shape of a partition that cuts the links from the seats of one mask to those of another, and with NET9 back.
pub(super) fn links_between(from: u64, to: u64) -> u64 {
    let seats = (1 << SEATS_MAX) - 1;
    LISTED_LINKS | (to & seats) << SEATS_MAX | from & seats
}

/// In the shape of a partition that lists its links: they hold what they are given, and bring it when it is over.
const HOLDS: u64 = 1 << 62;

/// As [`links_between`], but the links hold everything and release it later.
pub(super) fn held_between(from: u64, to: u64) -> u64 {
    HOLDS | links_between(from, to)
}

impl World<'_> {
    pub(super) fn begin_strikes(&mut self) {
        let mut timed = SEAT_CLASSES.to_vec();
        timed.extend(CLUSTER_CLASSES);
        timed.push(Class::Ctl2);
        let drawn = timed.len();
        timed.extend(PLANNED_CLASSES);
        // In the order of the schedule, which is that of faults that struck in one instant.
        let listed = self.options.schedule.clone().unwrap_or_default();
        for fault in listed.into_iter().filter(|fault| timed.contains(&fault.class)) {
            if timed[..drawn].contains(&fault.class) || fault.counter >= COUNTER_FIRST {
                self.push_timed(fault);
            }
        }
        for seat in 0..self.shape.seats as u32 {
            SEAT_CLASSES.iter().for_each(|class| self.next_timed(*class, seat));
            self.next_timed(Class::Ctl2, seat);
        }
        CLUSTER_CLASSES.iter().for_each(|class| self.next_timed(*class, 0));
    }

    fn next_timed(&mut self, class: Class, entity: u32) {
        let now = self.now;
        let cores = u64::from(self.shape.cores);
        let fault = self.injector.next_timed(class, entity, now, |d| match class {
            Class::Net9 | Class::Net10 => [log_between(d, 100 * MS, 20 * SECOND), d.next_u64() >> 1],
            // More often during an operation than before or after it: that is what tears writes.
            Class::Proc1 => [d.below(8), [0, 1, 1, 2][d.below(4) as usize]],
            Class::Proc3 if d.below(2) == 0 => [log_between(d, 10 * MS, 500 * MS), 0],
            Class::Proc3 => [log_between(d, SECOND / 2, 60 * SECOND), 0],
            Class::Proc6 => {
                [log_between(d, SECOND, 30 * SECOND), log_between(d, MS, 50 * MS) * CORES_MAX as u64 + d.below(cores)]
            }
            Class::Proc7 => [log_between(d, SECOND, 30 * SECOND), (1 + d.below(4)) * CORES_MAX as u64 + d.below(cores)],
            Class::Disk10 => [log_between(d, SECOND, 30 * SECOND), d.below(cores)],
            Class::Clk3 => match d.below(3) {
                SUSPENDS => [log_between(d, 10, 10_000), SUSPENDS | d.below(400) << 8],
                direction => [log_between(d, SECOND / MS, 30 * 24 * 3600 * 1000), direction],
            },
            Class::Disk9 => [d.below(3), d.below(cores)],
            _ => [d.next_u64(), d.below(cores)],
        });
        if let Some(fault) = fault {
            self.push_timed(fault);
        }
    }

    fn push_timed(&mut self, fault: Fault) {
        self.timed.push(fault);
        self.push(fault.parameters[0], Due::Fault { which: self.timed.len() as u32 - 1 });
    }

    pub(super) fn strike_timed(&mut self, which: u32) {
        if !self.injector.is_enabled() {
            return;
        }
        let fault = self.timed[which as usize];
        if !self.is_calm() {
            self.strike(fault);
        }
        self.next_timed(fault.class, fault.entity);
    }

    /// True when there was something to strike.
    pub(super) fn strike(&mut self, fault: Fault) -> bool {
        let Fault { class, entity, parameters: [_, a, b], .. } = fault;
        let has_struck = self.apply(class, entity as usize, a, b);
        if has_struck {
            self.injector.note(fault);
            self.note(What::Fault, class as u64, a, |_| format!("{} on {entity}: {a} {b}", class.name()));
        }
        has_struck
    }

    /// True when there was something to strike.
    fn apply(&mut self, class: Class, seat: usize, a: u64, b: u64) -> bool {
        let now = self.now;
        match class {
            Class::Net9 | Class::Net10 => self.partition(now + a, b, class == Class::Net10),
            Class::Ctl1 => return self.control(a, b),
            // The node in a seat loses power.
            Class::Proc4 => {
                let is_up = self.nodes[seat].is_up();
                if is_up {
                    self.cut_power_of(seat, a);
                }
                return is_up;
            }
            // Whatever a seat sends to another within `b` ns arrives once more, in order, `a` ns later.
            Class::Net3 => self.net.echo(seat / SEATS_MAX, seat % SEATS_MAX, a, now + b),
            _ => return self.nodes[seat].is_up() && self.strike_seat(class, seat, a, b),
        }
        true
    }

    fn strike_seat(&mut self, class: Class, seat: usize, a: u64, b: u64) -> bool {
        let now = self.now;
        let is_damageable = self.may_be_damaged(seat);
        let node = &mut self.nodes[seat];
        let core = (b as usize % CORES_MAX).min(node.cores.len() - 1);
        let cell = node.cores[core].as_mut().expect("a core is at home between turns");
        match class {
            Class::Proc1 => {
                node.down_ms = b >> 8;
                if b & 0xff == AT_ONCE {
                    let life = node.life;
                    self.push(now, Due::Crash { seat: seat as u8, life });
                } else if b & 0xff == STOPS {
                    let life = node.life;
                    self.give_leads_away(seat);
                    self.push(now + STOPS_IN, Due::Crash { seat: seat as u8, life });
                } else {
                    node.doom = Some((a, b & 0xff));
                }
            }
            Class::Proc3 => node.paused_until = node.paused_until.max(now + a),
            Class::Proc6 => cell.slow = (now + a, b / CORES_MAX as u64),
            Class::Proc7 => cell.mailbox = (now + a, b / CORES_MAX as u64),
            // What the store reads for a snapshot: nothing is lost by that.
            Class::Disk6 if b >= CORES_MAX as u64 => cell.shard.store_mut().rot_snapshot(a),
            Class::Disk6 => {
                let is_struck = is_damageable && cell.shard.log_mut().disk_mut().rot(&mut base::Prng::new(a));
                node.is_damaged |= is_struck;
                return is_struck;
            }
            Class::Disk8 => cell.fails_write = true,
            Class::Disk9 => cell.fails_sync = Some(a),
            // Syncs of a core's log, or reads of its store, do not end within `a` ns.
            Class::Disk11 if b / CORES_MAX as u64 == 0 => cell.syncs_wait = cell.syncs_wait.max(now + a),
            Class::Disk11 => cell.reads_wait = cell.reads_wait.max(now + a),
            Class::Disk10 => cell.shard.log_mut().disk_mut().full_until = now + a,
            // BOOTTIME against MONOTONIC.
            Class::Clk3 if b & 0xff == SUSPENDS => self.suspend(seat, now + a * MS, (b >> 8) * MS),
            Class::Clk3 => node.clock.wall_start_ms += if b == 0 { a as i64 } else { -(a as i64) },
            Class::Ctl2 => {
                for core in 0..node.cores.len() {
                    self.tell(seat, core, Mail::Checkpoint);
                }
            }
            _ => return false,
        }
        true
    }

    /// As a server does that was told to stop: between two turns, whose messages and answers the next one sends.
    fn give_leads_away(&mut self, seat: usize) {
        let now = self.nodes[seat].clock.mono(self.now);
        for core in 0..self.nodes[seat].cores.len() {
            let cell = self.nodes[seat].cores[core].as_mut().expect("a core is at home between turns");
            cell.shard.hand_over_all(now);
            self.tell(seat, core, Mail::Store);
        }
    }

    /// Cuts links by one of the shapes of the table, or just those that [`links_between`] names.
    fn partition(&mut self, until: u64, shape: u64, is_one_way: bool) {
        let seats = self.shape.seats;
        let mut dice = base::Prng::new(shape);
        let cut = |world: &mut Self, from: usize, to: usize| {
            let holds = shape & (LISTED_LINKS | HOLDS) == LISTED_LINKS | HOLDS;
            let stop = if holds { Net::clog } else { Net::block };
            stop(&mut world.net, from, to, until);
            if !is_one_way {
                stop(&mut world.net, to, from, until);
            }
        };
        let side = |mask: u64, seat: usize| mask >> seat & 1;
        if shape & LISTED_LINKS != 0 {
            for (from, to) in (0..seats).flat_map(|from| (0..seats).map(move |to| (from, to))) {
                if from != to && side(shape, from) == 1 && side(shape >> SEATS_MAX, to) == 1 {
                    cut(self, from, to);
                }
            }
            return;
        }
        let kind = dice.below(5);
        let one = match kind {
            1 => dice.below(seats as u64) as usize,
            _ => {
                let group = base::GroupId(dice.below(u64::from(self.shape.groups)) as u32);
                self.leader_of(group).unwrap_or(0)
            }
        };
        let mask = if kind == 0 { dice.next_u64() } else { 1 << one };
        for from in 0..seats {
            for to in 0..seats {
                let is_cut = match kind {
                    // Halves, one node, a leader.
                    0..3 => side(mask, from) == 1 && side(mask, to) == 0,
                    // A bridge: one node sees both halves, which do not see each other.
                    3 => from != one && to != one && from % 2 == 0 && to % 2 == 1,
                    // A ring: each sees its neighbours only.
                    _ => from < to && to - from != 1 && to - from != seats - 1,
                };
                if is_cut {
                    cut(self, from, to);
                }
            }
        }
    }

    /// The operator hands a lead on, or takes a node out for good and puts an empty one in its place.
    fn control(&mut self, kind: u64, order: u64) -> bool {
        if let Some((order, group)) = Order::from_parameter(order) {
            let group = base::GroupId(group % self.shape.groups);
            return match order {
                Order::Wish => self.order_wish(kind),
                Order::Change => self.order_change(group, kind),
                Order::Transfer => self.order_transfer(group, kind as usize),
                Order::Hush => self.order_hush(kind),
                Order::Calm => self.order_calm(kind >> 8, kind as u32 & 0xff, false),
                Order::IdleCalm => self.order_calm(kind >> 8, 0, true),
                Order::Read => self.probe(kind as usize % self.shape.seats, group, Kind::Read).is_some(),
                Order::NoChange => self.order_no_change(group),
                Order::Write => self.probe(kind as usize % self.shape.seats, group, Kind::Write).is_some(),
            };
        }
        let group = base::GroupId((kind >> 8) as u32 % self.shape.groups);
        if !kind.is_multiple_of(8) {
            let Some(leader) = self.leader_of(group) else { return false };
            let target = self.nodes[(kind >> 40) as usize % self.shape.seats].id;
            let core = base::core_of(group, self.shape.cores).0 as usize;
            self.tell(leader, core, Mail::Transfer { group, target });
            return true;
        }
        let seat = self.shape.damageable.trailing_zeros() as usize;
        let is_settled =
            self.wanted.iter().all(|node| self.seat_of(*node).is_some_and(|seat| self.nodes[seat].is_up()));
        let is_member = self.groups().all(|group| self.is_as_wanted(group));
        if seat >= self.shape.seats || !is_settled || !is_member {
            return false;
        }
        self.crash(seat);
        if !self.nodes[seat].is_up() && self.nodes[seat].incarnation != 0 {
            self.replace_disk(seat);
        }
        true
    }

    /// The operator looks whether every group has the members that it is to have.
    pub(super) fn operate(&mut self) {
        self.operator_draws += 1;
        let span = log_between(&mut prng(self.seed, Stream::Operator, 0, self.operator_draws), 100 * MS, SECOND);
        self.push(self.now + span, Due::Operator);
        (0..self.shape.seats).for_each(|seat| self.replace_if_quarantined(seat));
        for group in self.groups() {
            if self.is_as_wanted(group) {
                continue;
            }
            let Some(leader) = self.leader_of(group) else { continue };
            let Some(raft) = self.nodes[leader].shard_of(group).and_then(|shard| shard.raft(group)) else { continue };
            let config = raft.config();
            if config.is_joint() {
                continue;
            }
            let change = self.step_to_wish(config);
            let core = base::core_of(group, self.shape.cores).0 as usize;
            self.note(What::Operator, u64::from(group.0), leader as u64, |_| format!("group {group}: {change:?}"));
            self.tell(leader, core, Mail::Change { group, change });
        }
    }

    /// A node that may have forgotten what it promised is replaced under another id.
    fn replace_if_quarantined(&mut self, seat: usize) {
        let is_lost = |group| {
            let shard = self.nodes[seat].shard_of(group);
            shard.is_some_and(|shard| shard.log().health(group) == seglog::Health::Quarantined)
        };
        let Some(group) = self.groups().find(|group| is_lost(*group)) else { return };
        let id = self.nodes[seat].id;
        if !self.mend(seat) && !self.nodes[seat].is_damaged {
            return self.fail("quarantine", format!("node {id}, group {group}: quarantined with an undamaged disk"));
        }
        self.crash(seat);
        if self.nodes[seat].id == id {
            self.replace_disk(seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_lead_back_and_drawn_parameters_are_none() {
        for order in Order::ALL {
            assert_eq!(Order::from_parameter(order.parameter(5)), Some((order, 5)));
        }
        assert!((0..CORES_MAX as u64).all(|drawn| Order::from_parameter(drawn).is_none()));
    }
}
