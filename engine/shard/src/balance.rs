//! Leaderships are spread: this core gives some of its own away when the same core of another node leads less.
//!
//! Nobody is asked. Every replica knows who leads a group and sees its commands being applied, so all cores of one number
//! have the same counts and loads in view, and each moves only what it leads itself. In ordinary running nothing is to be
//! done, and nothing is looked at: a look is due when a leader changed, a peer came or a group is used.

mod load;
mod rule;

use base::mono::Span;
use base::{Mono, NodeId, Prng};
use meta::Store;
use raft::Outcome;
use seglog::Disk;

use crate::Shard;
use load::Loads;
use rule::{Side, Wish};

/// Groups that one look gives away, or tries to: with a look or two per beat some hundreds a second and core.
const TRIES_PER_LOOK: usize = 16;
/// Tries for one peer in a look: it may vote in few of the groups.
const REFUSALS_MAX: u32 = 4;
/// On their way at once.
const FLIGHTS_MAX: usize = 64;
/// Between two looks while leaderships are on their way.
const LOOK_EVERY: Span = Span::from_ms(50);
/// Between two looks while groups are used, or what should be done cannot be.
const LOOK_AGAIN: Span = Span::from_ms(1_000);
/// Between two looks while this core leads one more than another: it may be the one to even the nodes.
const LOOK_FOR_NODE: Span = Span::from_ms(5_000);
/// A leader changed: the others see it a little later.
const SETTLE: Span = Span::from_ms(100);
/// A leadership stays so much longer before it is moved for its load: loads are averages of some seconds.
const LOAD_TENURE_MORE: Span = Span::from_ms(25_000);
/// Between two moves for the loads of a core.
const LOAD_EVERY: Span = Span::from_ms(2_000);
/// Where a few are too many in all, whoever leads most gives first; of the others one in so many does in a look.
const OTHERS_GIVE: u64 = 8;
/// Raft gives a transfer up before that.
const FLIGHT_MAX: Span = Span::from_ms(2_000);
/// Entries that a replica which keeps up applies late at most.
const BEHIND_MAX: u64 = 64;
/// A peer that did not take over what it was given is left alone.
const AVOID: Span = Span::from_ms(10_000);
/// Somebody asked: so long nothing but fitness is waited for.
const ASKED: Span = Span::from_ms(10_000);

/// How a core balances its leaderships.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Balancing {
    /// By itself; otherwise only when [`Shard::handle_balance`] asks.
    pub is_on: bool,
    /// Loads that differ by less are equal, in commands per second.
    pub load_gap_min: u64,
    /// A core that was just started gives nothing away before this, and a peer that just came or was slow gets nothing.
    pub fit_after: Span,
    /// A leadership stays so long at least.
    pub tenure: Span,
}

impl Default for Balancing {
    fn default() -> Balancing {
        Balancing { is_on: true, load_gap_min: 500, fit_after: Span::from_ms(5_000), tenure: Span::from_ms(5_000) }
    }
}

/// What a core leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Led {
    /// Groups.
    pub groups: u64,
    /// Commands per second of these groups, averaged over some seconds.
    pub load: u64,
    /// Leaderships that it began to give away for balance since its start.
    pub moved: u64,
}

/// A leadership to give: a group, and the place of the side that takes it.
struct Give {
    at: u32,
    to: usize,
    is_for_load: bool,
}

/// What a look comes to.
enum Next {
    Give(Give),
    /// Something should be given, and cannot be now.
    NotNow,
    Nothing,
}

/// A leadership on its way.
#[derive(Clone, Copy, Debug)]
struct Flight {
    at: u32,
    to: NodeId,
    /// Whatever became of it, it is not counted any more.
    until: Mono,
}

/// What the balancer remembers.
pub(crate) struct Balance {
    settings: Balancing,
    loads: Loads,
    /// Who leads each local group, as far as this node knows; 0 nobody.
    leaders: Vec<NodeId>,
    /// When a group led here may be given away; never while it is on its way.
    free_at: Vec<Mono>,
    /// At most `FLIGHTS_MAX`.
    flights: Vec<Flight>,
    /// Peers that did not take over, and until when they are left alone.
    avoided: Vec<(NodeId, Mono)>,
    /// Groups led by each node over all cores, as the node told last; empty where it tells none.
    by_node: Vec<(NodeId, u32)>,
    /// Of the look under way: groups that cannot go to a peer.
    refused: Vec<(u32, NodeId)>,
    /// In this look a few are given although others lead more.
    is_lucky: bool,
    /// Of the look under way: this node, then the peers that may take over.
    sides: Vec<Side>,
    begun: Mono,
    next_look: Mono,
    asked_until: Mono,
    next_load_move: Mono,
    moved: u64,
    prng: Prng,
}

impl Balance {
    pub(crate) fn new(settings: Balancing, groups: usize, seed: u64, now: Mono) -> Balance {
        Balance {
            settings,
            loads: Loads::new(groups, now),
            leaders: vec![NodeId(0); groups],
            free_at: vec![Mono(0); groups],
            flights: Vec::with_capacity(FLIGHTS_MAX),
            avoided: Vec::new(),
            by_node: Vec::new(),
            refused: Vec::new(),
            is_lucky: false,
            sides: Vec::new(),
            begun: now,
            next_look: now + settings.fit_after,
            asked_until: Mono(0),
            next_load_move: now,
            moved: 0,
            prng: Prng::new(seed),
        }
    }

    /// When [`Shard::watch_balance`] has something to do.
    pub(crate) fn deadline(&self) -> Mono {
        self.next_look.min(self.loads.deadline())
    }

    /// Commands of a group were applied, `behind` entries behind what is committed. A replica that catches up is not busy
    /// with what it applies then.
    pub(crate) fn note_applied(&mut self, at: u32, commands: usize, behind: u64, now: Mono) {
        if behind <= BEHIND_MAX {
            self.loads.note(at, commands as u32, now);
        }
    }

    /// A group has this leader now; 0: none is known.
    pub(crate) fn note_leader(&mut self, at: u32, leader: NodeId, now: Mono) {
        if std::mem::replace(&mut self.leaders[at as usize], leader) != leader {
            self.free_at[at as usize] = now + self.settings.tenure;
            self.look_at(now + SETTLE);
        }
    }

    /// A peer, or this core itself, may be fit to lead from then on.
    pub(crate) fn note_fit(&mut self, now: Mono) {
        self.look_at(now + self.settings.fit_after);
    }

    fn look_at(&mut self, when: Mono) {
        self.next_look = self.next_look.min(when.max(self.begun + self.settings.fit_after));
    }

    fn ask(&mut self, now: Mono) {
        self.asked_until = now + ASKED;
        self.next_look = now;
        self.avoided.clear();
    }

    fn is_asked(&self, now: Mono) -> bool {
        now < self.asked_until
    }

    fn led_by_node(&self, node: NodeId) -> u32 {
        self.by_node.iter().find(|(id, _)| *id == node).map_or(0, |(_, led)| *led)
    }

    /// Does it move anything at this time?
    fn is_wanted(&self, now: Mono) -> bool {
        self.is_asked(now) || self.settings.is_on && now >= self.begun + self.settings.fit_after
    }

    /// Whoever is fit since then may be given something.
    fn fit_since(&self, now: Mono) -> Mono {
        if self.is_asked(now) { now } else { now - self.settings.fit_after }
    }

    /// Takes in what happened since the last look: seconds that passed, leaderships that arrived or did not.
    fn begin_look(&mut self, me: NodeId, is_transferring: impl Fn(u32) -> bool, now: Mono) {
        self.loads.tick(now);
        self.next_look = Mono::MAX;
        self.refused.clear();
        self.is_lucky = self.prng.one_in(OTHERS_GIVE);
        self.avoided.retain(|(_, until)| *until > now);
        let Balance { settings, flights, leaders, free_at, avoided, .. } = self;
        flights.retain(|Flight { at, to, until }| {
            let leader = leaders[*at as usize];
            let is_open = if leader == me { is_transferring(*at) } else { leader == NodeId(0) };
            if is_open && now < *until {
                return true;
            }
            base::mark::hit!("shard.balance.landed", leader == *to);
            if leader == me {
                base::mark::hit!("shard.balance.not_taken_over");
                avoided.retain(|(id, _)| id != to);
                avoided.push((*to, now + AVOID));
                free_at[*at as usize] = now + settings.tenure;
            }
            false
        });
    }

    /// Counts who leads what. `peers` are fit to take over; those that failed to lately are left out.
    fn tally(&mut self, me: NodeId, peers: impl Iterator<Item = NodeId>) {
        let mut sides = std::mem::take(&mut self.sides);
        sides.clear();
        let is_avoided = |peer: &NodeId| self.avoided.iter().any(|(id, _)| id == peer);
        let all = std::iter::once(me).chain(peers.filter(|peer| !is_avoided(peer)));
        sides.extend(all.map(|node| Side { led_by_node: self.led_by_node(node), ..Side::of(node) }));
        for (at, leader) in (0..).zip(&self.leaders) {
            if let Some(side) = sides.iter_mut().find(|side| side.node == *leader) {
                side.led += 1;
                side.load += self.loads.of(at);
            }
        }
        for Flight { at, to, .. } in &self.flights {
            let load = self.loads.of(*at);
            let leader = self.leaders[*at as usize];
            if leader == me {
                sides[0].gives(load);
            }
            let is_open = leader == me || leader == NodeId(0);
            if let Some(side) = sides.iter_mut().find(|side| side.node == *to && is_open) {
                side.takes(load);
            }
        }
        self.sides = sides;
    }

    /// The best group for a wish, of those that this node leads and may give.
    fn find(&self, wish: Wish, to: usize, now: Mono) -> Option<u32> {
        let target = self.sides[to].node;
        let is_asked = self.is_asked(now);
        let stays = if matches!(wish, Wish::Load { .. }) { LOAD_TENURE_MORE } else { Span(0) };
        let me = self.sides[0].node;
        let is_free = |free_at: Mono| free_at != Mono::MAX && (is_asked || free_at + stays <= now);
        let led = (0..).zip(&self.leaders).zip(&self.free_at);
        let free = led.filter(|((_, leader), free_at)| **leader == me && is_free(**free_at));
        let is_refused = |at: u32| self.refused.contains(&(at, target));
        let fit = free
            .filter(|((at, _), _)| !is_refused(*at))
            .filter_map(|((at, _), free_at)| Some((wish.distance(self.loads.of(at))?, *free_at, at)));
        // Of equal ones whichever was led longest: what just came does not go back.
        fit.min().map(|(_, _, at)| at)
    }

    /// What should be given next, as the tally stands. The counts come first: when a hot group has to go, a cold one comes
    /// back for the count.
    fn next(&mut self, now: Mono) -> Next {
        if self.flights.len() >= FLIGHTS_MAX {
            return Next::NotNow;
        }
        self.sides[1..].sort_unstable_by_key(|side| (side.led, side.load, side.node));
        let (sides, gap_min) = (&self.sides, self.settings.load_gap_min);
        let nodes = sides.len() as u32;
        let is_largest = sides[1..].iter().all(|side| (side.led, side.node) < (sides[0].led, sides[0].node));
        let mut next = Next::Nothing;
        for to in (1..sides.len()).filter(|to| sides[*to].refusals < REFUSALS_MAX) {
            let Some(wish @ Wish::Count { .. }) = rule::wish(&sides[0], &sides[to], nodes, gap_min) else { continue };
            let is_mine = is_largest || self.is_lucky || sides[0].led - sides[to].led >= nodes;
            if is_mine && let Some(at) = self.find(wish, to, now) {
                return Next::Give(Give { at, to, is_for_load: false });
            }
            next = Next::NotNow;
        }
        let tried = (1..sides.len()).filter(|to| sides[*to].refusals < REFUSALS_MAX);
        let Some(to) = tried.min_by_key(|to| sides[*to].load) else { return next };
        if let Some(wish @ Wish::Load { .. }) = rule::wish(&sides[0], &sides[to], nodes, gap_min) {
            next = Next::NotNow;
            if self.flights.is_empty()
                && self.next_load_move <= now
                && let Some(at) = self.find(wish, to, now)
            {
                return Next::Give(Give { at, to, is_for_load: true });
            }
        }
        next
    }

    /// It is on its way.
    fn begin(&mut self, give: &Give, now: Mono) {
        let load = self.loads.of(give.at);
        self.sides[0].gives(load);
        self.sides[give.to].takes(load);
        self.free_at[give.at as usize] = Mono::MAX;
        self.flights.push(Flight { at: give.at, to: self.sides[give.to].node, until: now + FLIGHT_MAX });
        self.moved += 1;
        if give.is_for_load {
            self.next_load_move = now + LOAD_EVERY;
        }
    }

    /// It cannot go there now. Another look tries others first.
    fn note_refused(&mut self, give: &Give, now: Mono) {
        self.sides[give.to].refusals += 1;
        self.refused.push((give.at, self.sides[give.to].node));
        self.free_at[give.at as usize] = now;
    }

    /// When to look again. `has_wish`: something should be done, or may have to be, and could not be now.
    fn plan(&mut self, has_wish: bool, now: Mono) {
        let jitter = Span(self.prng.below(LOOK_EVERY.0));
        let me = self.sides.first();
        let is_ahead = me.is_some_and(|me| self.sides.iter().any(|side| side.led < me.led));
        let wait = if !self.flights.is_empty() {
            LOOK_EVERY
        } else if has_wish {
            LOOK_AGAIN
        } else if is_ahead && !self.by_node.is_empty() {
            LOOK_FOR_NODE
        } else {
            return;
        };
        self.next_look = self.next_look.min(now + wait + jitter);
    }
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// Somebody asks for even counts and loads now, whether it is done without being asked or not.
    pub fn handle_balance(&mut self, now: Mono) {
        base::mark::hit!("shard.balance.asked");
        self.balance.ask(now);
    }

    /// Does the balancer want [`Shard::handle_led_by_node`] before the next [`Shard::handle_tick`]?
    #[must_use]
    pub fn wants_led_by_node(&self, now: Mono) -> bool {
        self.balance.deadline() <= now
    }

    /// Groups led by each node over all cores, as this node knows: where a core can even them without making its own
    /// counts less even, it does.
    pub fn handle_led_by_node(&mut self, led: impl Iterator<Item = NodeId>) {
        let by_node = &mut self.balance.by_node;
        by_node.clear();
        for node in led {
            match by_node.iter_mut().find(|(id, _)| *id == node) {
                Some((_, count)) => *count += 1,
                None => by_node.push((node, 1)),
            }
        }
    }

    /// Groups led here, their commands per second over the last seconds, and how many leaderships were given away for
    /// balance since the start.
    #[must_use]
    pub fn led(&self) -> Led {
        let Balance { leaders, loads, moved, .. } = &self.balance;
        let here = (0..).zip(leaders).filter(|(_, leader)| **leader == self.settings.node);
        let counted = here.fold((0, 0), |(groups, load), (at, _)| (groups + 1, load + loads.of(at)));
        Led { groups: counted.0, load: counted.1, moved: *moved }
    }

    /// Looks whether something should be given away, if it is time.
    pub(crate) fn watch_balance(&mut self, now: Mono) {
        if now < self.balance.deadline() {
            return;
        }
        let Shard { balance, groups, settings, pairs, .. } = self;
        balance.begin_look(settings.node, |at| groups[at as usize].raft.is_transferring(), now);
        let is_wanted = balance.is_wanted(now);
        let fit = pairs.fit(balance.fit_since(now), now, settings.raft.election_min);
        balance.tally(settings.node, fit);
        // Whoever should not lead gives everything away as it is.
        if !is_wanted || self.should_not_lead() {
            return;
        }
        let is_somebody_unfit = self.pairs.count_up() >= self.balance.sides.len();
        let has_wish = self.give_some(now);
        self.balance.plan(has_wish || is_somebody_unfit, now);
    }

    /// Gives away what one look may. True if more is wished for.
    fn give_some(&mut self, now: Mono) -> bool {
        for _ in 0..TRIES_PER_LOOK {
            let give = match self.balance.next(now) {
                Next::Give(give) => give,
                Next::NotNow => return true,
                Next::Nothing => return false,
            };
            let (at, target) = (give.at, self.balance.sides[give.to].node);
            let may = self.groups[at as usize].raft.may_hand_over(target);
            if may && self.begin_transfer(at, target, now) == Outcome::Done {
                base::mark::hit!("shard.balance.for_count", !give.is_for_load);
                base::mark::hit!("shard.balance.for_load", give.is_for_load);
                self.balance.begin(&give, now);
            } else {
                base::mark::hit!("shard.balance.cannot_now");
                self.balance.note_refused(&give, now);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
