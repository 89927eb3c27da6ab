//! Disks that lie: of the profile `liar`. For stretches of time the syncs of a seat's logs end well and put nothing on the
//! disk; `meta` and tables get there all the same, by another way. A power cut then takes what was said to be durable.

use base::GroupId;
use seglog::{Health, RecoveryReport};

use super::node::SimShard;
use super::{SECOND, World};
use crate::disk::SimDisk;
use crate::draw::{Stream, log_between, prng};
use crate::observe::Event;
use crate::profile::Profile;

/// When which seat's disks lie.
#[derive(Default)]
pub(super) struct Lies {
    /// By seat: from and until, in ns, ascending.
    spans: Vec<Vec<(u64, u64)>>,
}

/// A group that is, or may be, without what was said to be durable.
#[derive(Clone, Copy)]
pub(super) struct Forgotten {
    group: GroupId,
    has_forgotten: bool,
    is_proven: bool,
}

impl Lies {
    /// Nobody lies but in the profile that is about it. There at least one seat does; in half of the runs at most a
    /// minority, in the others each with an even chance.
    pub fn draw(seed: u64, profile: Profile, seats: usize, length: u64) -> Lies {
        if !profile.has_liars() {
            return Lies::default();
        }
        let mut dice = prng(seed, Stream::Lies, 0, 0);
        let mut liars = 1 << dice.below(seats as u64);
        if dice.below(2) == 0 {
            liars |= dice.next_u64();
        } else if seats > 3 {
            liars |= 1 << dice.below(seats as u64);
        }
        let mut lies = Lies { spans: vec![Vec::new(); seats] };
        for (seat, spans) in lies.spans.iter_mut().enumerate().filter(|(seat, _)| liars >> seat & 1 == 1) {
            let mut dice = prng(seed, Stream::Lies, 1 + seat as u64, 0);
            let mut now = 0;
            while now < length {
                let from = now + log_between(&mut dice, SECOND / 2, 16 * SECOND);
                // Long enough for `meta`, which tells of what is persisted every ten seconds, to tell of a lie.
                now = from + log_between(&mut dice, SECOND, 64 * SECOND);
                spans.push((from, now));
            }
        }
        lies
    }

    fn is_lying(&self, seat: usize, now: u64) -> bool {
        self.spans.get(seat).is_some_and(|spans| spans.iter().any(|(from, until)| (*from..*until).contains(&now)))
    }
}

impl World<'_> {
    /// What a sync of this seat that ends now says is not so.
    pub(super) fn disk_lies(&self, seat: usize) -> bool {
        self.lies.is_lying(seat, self.now) && self.injector.is_enabled() && !self.is_calm()
    }

    /// What the groups of a core are without of what their disk had said is durable, behind what recovery stands on. Of
    /// what it lacks before that it knows: it is judged as rot is.
    pub(super) fn forgotten(&self, core: usize, disk: &SimDisk, report: &RecoveryReport) -> Vec<Forgotten> {
        if !disk.has_lied() {
            return Vec::new();
        }
        let (newest, proof) = disk.newest_frame_and_proof();
        let cores = self.shape.cores;
        let here = self.groups().filter(|group| base::core_of(*group, cores).0 as usize == core);
        let of = |group| Forgotten {
            group,
            has_forgotten: disk.has_forgotten(group, report.last_frame_seq),
            is_proven: newest < proof,
        };
        here.map(of).collect()
    }

    /// Tells checkers of it, before the node does anything.
    pub(super) fn show_forgotten(&mut self, seat: usize, forgotten: &[Forgotten], shard: &SimShard) {
        let node = self.nodes[seat].id;
        for Forgotten { group, has_forgotten, is_proven } in forgotten.iter().copied() {
            let is_quarantined = shard.log().health(group) == Health::Quarantined;
            if !is_quarantined && !has_forgotten && !is_proven {
                continue;
            }
            let is_known = is_quarantined || !has_forgotten;
            self.has_forgotten |= !is_known;
            self.tell_trace(|_| {
                format!(
                    "{seat} group {group}: forgot {has_forgotten}, proven {is_proven}, quarantined {is_quarantined}"
                )
            });
            self.observe(&Event::Forgot { node, group, is_proven, is_known });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_lie_for_a_while_and_only_where_it_is_wanted() {
        let length = 100 * SECOND;
        for seed in 0..50 {
            let lies = Lies::draw(seed, Profile::Liar, 5, length);
            let lying = |seat| (0..100).filter(|second| lies.is_lying(seat, second * SECOND)).count();
            let total: usize = (0..5).map(lying).sum();
            assert!(0 < total && total < 500, "seed {seed}: {total}");
            assert!((0..5).all(|seat| !Lies::draw(seed, Profile::Hopeless, 5, length).is_lying(seat, length / 2)));
        }
    }
}
