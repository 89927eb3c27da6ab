//! Leaders are deposed without being told, one way after the other, so that probes find old leaders that still believe
//! to lead (docs/TESTING.md 4, schedules a to e; RAFT.md 8).
//!
//! ```text
//!  cut       the leader and a minority see nobody else
//!  pause     the leader stands still, cut off
//!  race      a round of reads is on its way back when the leader stands still: what is read after it joins no old round
//!  transfer  the lead is handed on, and nothing reaches the old leader any more
//!  reboot    voters cut from the leader wait for one that heard it; that one is killed, forgets, and meets them
//!  suspend   the leader's machine stops, its clock too
//! ```

use base::{GroupId, Prng, Term};
use raft::Role;

use super::super::strikes::{AT_ONCE, Order, SUSPENDS, links_between};
use super::super::{MS, SECOND, World};
use crate::draw::between;
use crate::fault::Class;

/// A way to depose a leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Cut,
    Pause,
    Race,
    Transfer,
    Reboot,
    Suspend,
}

/// With leases, and without.
const WITH_LEASE: [Way; 5] = [Way::Cut, Way::Pause, Way::Transfer, Way::Reboot, Way::Suspend];
const WITHOUT_LEASE: [Way; 3] = [Way::Cut, Way::Pause, Way::Race];

/// After the first read: its round, or the lease, is through.
const SETTLE: u64 = 150 * MS;
/// Looks that wait for something in an instant or two.
const LOOK_AT_ONCE: u64 = 20_000;

/// A leader that is being deposed.
#[derive(Clone, Copy, Debug)]
pub(in crate::world) struct Episode {
    way: Way,
    group: GroupId,
    leader: usize,
    term: Term,
    stage: Stage,
    /// Given up then; of a race, when the pause ends.
    until: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// It has read once.
    Begun,
    /// Race: the read of this probe is to leave.
    Reads(u64),
    /// Race: the leader is paused, acks reach it still.
    Paused,
    /// Transfer: this seat is to ask for votes.
    Asks(usize),
    /// Reboot: the voters of this mask do not hear the leader, and ask for votes now and then.
    Deaf(u64),
}

impl World<'_> {
    /// One look; ns until the next.
    pub(super) fn depose_leaders(&mut self, dice: &mut Prng) -> u64 {
        let Some(episode) = self.episode.take() else { return self.begin_episode(dice) };
        let wait = match episode.stage {
            Stage::Paused => self.cut_paused(&episode, dice),
            _ if !self.still_leads(&episode) => None,
            Stage::Begun => self.depose(&episode, dice),
            Stage::Reads(probe) => self.race(&episode, probe, dice),
            Stage::Asks(target) => self.cut_from_successor(&episode, target, dice),
            Stage::Deaf(deaf) => self.forget_promise(&episode, deaf, dice),
        };
        // The cluster finds a leader again, and some load gets through.
        wait.unwrap_or_else(|| between(dice, 2000, 3500) * MS)
    }

    fn begin_episode(&mut self, dice: &mut Prng) -> u64 {
        let group = GroupId(dice.below(u64::from(self.shape.groups)) as u32);
        let ways: &[Way] = if self.shape.raft.lease.is_some() { &WITH_LEASE } else { &WITHOUT_LEASE };
        let way = ways[dice.below(ways.len() as u64) as usize];
        let leader = self.rivals(group).and_then(|(leader, others)| (others == 0).then_some(leader));
        let leader = leader.filter(|leader| self.nodes[*leader].paused_until <= self.now && self.shape.seats > 2);
        let Some((leader, term)) = leader.and_then(|leader| Some((leader, self.term_of(leader, group)?))) else {
            return 200 * MS;
        };
        self.read_at(leader, group);
        self.go_on(Episode { way, group, leader, term, stage: Stage::Begun, until: 0 }, SETTLE)
    }

    /// Looks at the episode again after `wait` ns.
    fn go_on(&mut self, episode: Episode, wait: u64) -> u64 {
        self.episode = Some(episode);
        wait
    }

    /// A probe reads at a seat; its operation, or `None` when that is not to be had. Struck, so that a replay reads too.
    fn read_at(&mut self, seat: usize, group: GroupId) -> Option<u64> {
        let has_begun = self.strike_now(Class::Ctl1, 0, seat as u64, Order::Read.parameter(group.0));
        has_begun.then_some(self.counts.operations)
    }

    /// The first strike; `None` when it was the last.
    fn depose(&mut self, episode: &Episode, dice: &mut Prng) -> Option<u64> {
        let Episode { way, group, leader, .. } = *episode;
        let alone = 1 << leader;
        match way {
            Way::Cut => {
                let side = alone | self.others(alone, dice.below((self.shape.seats as u64 - 1) / 2), dice);
                self.strike_now(Class::Net9, 0, between(dice, 1000, 2000) * MS, links_between(side, !side));
                None
            }
            Way::Pause => {
                let span = between(dice, 600, 1400) * MS;
                let cut = span + between(dice, 20, 300) * MS;
                self.strike_now(Class::Net9, 0, cut, links_between(alone, !alone));
                self.strike_now(Class::Proc3, leader, span, 0);
                None
            }
            Way::Race => {
                let probe = self.read_at(leader, group)?;
                let until = self.now + 50 * MS;
                Some(self.go_on(Episode { stage: Stage::Reads(probe), until, ..*episode }, LOOK_AT_ONCE))
            }
            Way::Transfer => {
                let target = self.others(alone, 1, dice).trailing_zeros() as usize;
                self.strike_now(Class::Ctl1, 0, 1 | u64::from(group.0) << 8 | (target as u64) << 40, 0);
                let until = self.now + 200 * MS;
                Some(self.go_on(Episode { stage: Stage::Asks(target), until, ..*episode }, LOOK_AT_ONCE))
            }
            Way::Reboot => {
                let deaf = self.others(alone, (self.shape.seats as u64 - 1) / 2, dice);
                self.strike_now(Class::Net9, 0, 4 * SECOND, links_between(alone, deaf));
                let until = self.now + 3500 * MS;
                Some(self.go_on(Episode { stage: Stage::Deaf(deaf), until, ..*episode }, 250 * MS))
            }
            Way::Suspend => {
                let (span_ms, grace_ms) = (between(dice, 700, 3000), between(dice, 50, 400));
                self.strike_now(Class::Clk3, leader, span_ms, SUSPENDS | grace_ms << 8);
                None
            }
        }
    }

    /// Race: once the round has left the leader stands still, before an ack is back.
    fn race(&mut self, episode: &Episode, probe: u64, dice: &mut Prng) -> Option<u64> {
        if !self.is_probe_taken(probe) {
            return (self.now < episode.until).then(|| self.go_on(*episode, LOOK_AT_ONCE));
        }
        let span = between(dice, 1200, 1800) * MS;
        self.strike_now(Class::Proc3, episode.leader, span, 0);
        let until = self.now + span;
        // Acks arrive meanwhile, and nobody asks for votes yet.
        Some(self.go_on(Episode { stage: Stage::Paused, until, ..*episode }, between(dice, 200, 400) * MS))
    }

    /// Race: the leader is to find the acks when it goes on, and nothing of what came after.
    fn cut_paused(&mut self, episode: &Episode, dice: &mut Prng) -> Option<u64> {
        let alone = 1 << episode.leader;
        let span = episode.until.saturating_sub(self.now) + between(dice, 50, 300) * MS;
        self.strike_now(Class::Net9, 0, span, links_between(alone, !alone));
        None
    }

    /// Transfer: the old leader does not hear who asks for votes now.
    fn cut_from_successor(&mut self, episode: &Episode, target: usize, dice: &mut Prng) -> Option<u64> {
        let raft = self.nodes[target].shard_of(episode.group).and_then(|shard| shard.raft(episode.group))?;
        if raft.role() == Role::Candidate {
            let alone = 1 << episode.leader;
            self.strike_now(Class::Net10, 0, between(dice, 800, 1500) * MS, links_between(!alone, alone));
            return None;
        }
        (self.now < episode.until).then(|| self.go_on(*episode, LOOK_AT_ONCE))
    }

    /// Reboot: just before one of the deaf asks for votes, a voter that hears the leader is killed, starts at once, and
    /// hears it no more.
    fn forget_promise(&mut self, episode: &Episode, deaf: u64, dice: &mut Prng) -> Option<u64> {
        if !self.asks_soon(episode, deaf) {
            return (self.now < episode.until).then(|| self.go_on(*episode, 10 * MS));
        }
        let alone = 1 << episode.leader;
        let heard = self.others(alone | deaf, 1, dice).trailing_zeros() as usize;
        self.strike_now(Class::Proc1, heard, 0, AT_ONCE | between(dice, 10, 30) << 8);
        self.strike_now(Class::Net9, 0, between(dice, 800, 1500) * MS, links_between(alone, !alone));
        None
    }

    /// One of the seats campaigns in about a tenth of a second, with a log as long as the leader's.
    fn asks_soon(&self, episode: &Episode, seats: u64) -> bool {
        let group = episode.group;
        let last = |seat: usize| Some(self.nodes[seat].shard_of(group)?.log().last_index(group));
        let wanted = last(episode.leader);
        (0..self.shape.seats).filter(|seat| seats & 1 << seat != 0 && last(*seat) == wanted).any(|seat| {
            let node = &self.nodes[seat];
            let raft = node.shard_of(group).and_then(|shard| shard.raft(group));
            let away = raft.map(|raft| raft.next_deadline().since(node.clock.mono(self.now)).0);
            node.is_up() && away.is_some_and(|away| (70 * MS..180 * MS).contains(&away))
        })
    }

    /// Clients begin nothing: an entry that the deaf do not hear of would keep them from being elected.
    pub(in crate::world) fn wants_quiet(&self) -> bool {
        self.episode.is_some_and(|episode| episode.way == Way::Reboot)
    }

    /// A mask of `count` seats that are not in `but`.
    fn others(&self, but: u64, count: u64, dice: &mut Prng) -> u64 {
        let mut mask = 0u64;
        while u64::from(mask.count_ones()) < count && (mask | but).count_ones() < self.shape.seats as u32 {
            mask |= 1 << dice.below(self.shape.seats as u64) & !but;
        }
        mask
    }

    fn still_leads(&self, episode: &Episode) -> bool {
        self.leader_of(episode.group) == Some(episode.leader)
            && self.term_of(episode.leader, episode.group) == Some(episode.term)
    }
}
