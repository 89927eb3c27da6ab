//! Plans: runs that are driven to where drawn faults seldom get, one plan a run at most.
//!
//! A plan looks at the world and strikes with the timed classes of [`super::strikes`], through [`World::strike_now`]: what it
//! did is in the run's record like any other fault, so that `replay` and `shrink` need to know nothing of plans.

mod figure8;
mod full;
mod leader_only;
mod learners;
mod members;
mod quiet;
mod quiet_end;
mod reads;
mod scrub;
mod slow_leader;
mod snapshots;
mod suspend;
mod swizzle;
mod tails;
mod unsynced;

use base::GroupId;

use super::{MS, Shape, What, World};
use crate::draw::{Stream, prng};
use crate::fault::Class;
use crate::heap::Due;
use crate::profile::Profile;
use crate::schedule::Fault;

pub(super) use reads::Episode;

/// Counters of faults that plans made begin here: drawn ones never get so far.
pub(super) const COUNTER_FIRST: u64 = 1 << 40;

/// What a run is driven towards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plan {
    /// Nowhere: faults are drawn, and that is all.
    Drawn,
    /// Whoever leads is crashed, paused, cut off.
    LeaderOnly,
    /// Links stop one by one and come back in random order.
    Swizzle,
    /// Figure 8 of the Raft paper.
    Figure8,
    /// Members come and go.
    Members,
    /// Terms fall apart, then all is quiet.
    Quiet,
    /// All but one stand still.
    Suspend,
    /// Clients rest before the end, leaders change.
    QuietEnd,
    /// Old leaders are asked while others lead.
    Reads,
    /// The node with the slowest clock is to lead, and is cut off: only where leases cannot hold.
    SlowLeader,
    /// Followers need snapshots, which meet entries, old snapshots and slow stores.
    Snapshots,
    /// Disks that do not sync in time meet new leaders, checkpoints and power cuts.
    Unsynced,
    /// Disks are full until no prepared segment is left.
    Full,
    /// Learners become voters without being told to.
    Learners,
    /// Rot is found by reading what nobody wants.
    Scrub,
    /// A snapshot meets what another leader has appended above it.
    Tails,
}

/// Of a hundred runs, how many have each plan; the others have none.
const SHARES: &[(Plan, u64)] = &[
    (Plan::LeaderOnly, 3),
    (Plan::Swizzle, 3),
    (Plan::Figure8, 4),
    (Plan::Members, 10),
    (Plan::Quiet, 9),
    (Plan::Suspend, 6),
    (Plan::QuietEnd, 4),
    (Plan::Reads, 14),
    (Plan::Snapshots, 10),
    (Plan::Unsynced, 9),
    (Plan::Full, 4),
    (Plan::Learners, 3),
    (Plan::Scrub, 3),
    (Plan::Tails, 4),
];

/// A round of a plan: what was drawn at its first step.
#[derive(Clone, Copy, Default, Debug)]
struct Round {
    step: u8,
    kind: u64,
    group: GroupId,
    seat: usize,
    leader: usize,
    span: u64,
}

/// Where a plan stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Driver {
    pub plan: Plan,
    /// Looks so far: the counter of its draws.
    pub looks: u64,
    /// The seat that the plan is about just now.
    pub target: usize,
    strikes: u64,
    scene: figure8::Scene,
    /// The round under way, for plans that go in rounds: its step, and whom it is about.
    round: Round,
}

impl Driver {
    /// Draws the plan of a seed.
    pub fn draw(seed: u64, profile: Profile) -> Driver {
        let (scene, round) = Default::default();
        Driver { plan: plan_of(seed, profile), looks: 0, target: 0, strikes: 0, scene, round }
    }

    /// What a plan wants of the cluster beside what was drawn.
    pub fn shape(self, shape: &mut Shape) {
        match self.plan {
            // Learners stay learners until the operator wants them to vote.
            Plan::Members => shape.raft.promote_learners = false,
            // All groups share their timers, and none rests without.
            Plan::Suspend => (shape.cores, shape.raft.quiesce_after) = (1, None),
            // Segments are used up while a disk is full.
            Plan::Full => shape.segment_bytes = seglog::SEGMENT_BYTES_LEAST,
            // A stall must last over the end of a segment now and then.
            Plan::Unsynced => shape.segment_bytes = seglog::SEGMENT_BYTES_LEAST,
            // Segments end soon, and are kept for a while.
            Plan::Scrub => {
                shape.segment_bytes = seglog::SEGMENT_BYTES_LEAST;
                shape.scrub_every = Some(base::Span::from_ms(400));
            }
            // A short absence must be enough for a snapshot, and a follower must be able to wait for rows.
            Plan::Snapshots => (shape.trailing, shape.is_cold) = (4, true),
            // A leader's first entry is enough to forget what came before it.
            Plan::Tails => shape.trailing = 0,
            _ => {}
        }
    }
}

fn plan_of(seed: u64, profile: Profile) -> Plan {
    if profile == Profile::ClockBroken {
        return Plan::SlowLeader;
    }
    let mut left = prng(seed, Stream::Plan, 0, 0).below(100);
    for &(candidate, share) in SHARES {
        if left < share {
            return candidate;
        }
        left -= share;
    }
    Plan::Drawn
}

impl World<'_> {
    /// The first look of a plan. A run that follows a schedule has its plan's faults in there.
    pub(super) fn begin_plan(&mut self) {
        if self.driver.plan == Plan::Drawn {
            return;
        }
        self.note(What::Plan, self.driver.plan as u64, 0, |world| format!("{:?}", world.driver.plan));
        if self.options.schedule.is_none() {
            self.push(1_500 * MS, Due::Plan);
        }
    }

    /// A look: the plan acts and says in how many ns it looks again.
    pub(super) fn advance_plan(&mut self) {
        if !self.injector.is_enabled() {
            return;
        }
        self.driver.looks += 1;
        let mut dice = prng(self.seed, Stream::Plan, 1, self.driver.looks);
        let wait = match self.driver.plan {
            Plan::Drawn => return,
            Plan::LeaderOnly => self.strike_leaders(&mut dice),
            Plan::Swizzle => self.swizzle(&mut dice),
            Plan::Figure8 => self.drive_figure8(&mut dice),
            Plan::Members => self.change_members(&mut dice),
            Plan::Quiet => self.strand_and_rest(&mut dice),
            Plan::Suspend => self.suspend_all_but_one(&mut dice),
            Plan::QuietEnd => self.cut_leaders(),
            Plan::Reads => self.depose_leaders(&mut dice),
            Plan::SlowLeader => self.isolate_slow_leader(&mut dice),
            Plan::Snapshots => self.strike_snapshots(&mut dice),
            Plan::Unsynced => self.strike_unsynced(&mut dice),
            Plan::Full => self.fill_disks(&mut dice),
            Plan::Learners => self.promote_learners(&mut dice),
            Plan::Scrub => self.rot_for_scrubs(&mut dice),
            Plan::Tails => self.strand_tails(&mut dice),
        };
        self.push(self.now + wait.max(MS), Due::Plan);
    }

    /// Strikes at once with a class that strikes by time. False when the class is not wanted, or nothing was there to strike.
    pub(super) fn strike_now(&mut self, class: Class, entity: usize, a: u64, b: u64) -> bool {
        if !self.injector.is_enabled() || self.options.off().contains(&class) {
            return false;
        }
        let counter = COUNTER_FIRST + self.driver.strikes;
        self.driver.strikes += 1;
        self.strike(Fault { class, entity: entity as u32, counter, parameters: [self.now, a, b] })
    }
}
