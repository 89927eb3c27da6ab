//! Plans: runs that are driven to where drawn faults seldom get, one plan a run at most.
//!
//! A plan looks at the world and strikes with the timed classes of [`super::strikes`], through [`World::strike_now`]: what it
//! did is in the run's record like any other fault, so that `replay` and `shrink` need to know nothing of plans.

mod leader_only;
mod quiet_end;

use super::{MS, What, World};
use crate::draw::{Stream, prng};
use crate::fault::Class;
use crate::heap::Due;
use crate::schedule::Fault;

/// Counters of faults that plans made begin here: drawn ones never get so far.
const COUNTER_FIRST: u64 = 1 << 40;

/// What a run is driven towards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plan {
    /// Nowhere: faults are drawn, and that is all.
    Drawn,
    /// Whoever leads is crashed, paused, cut off.
    LeaderOnly,
    /// Clients rest before the end, leaders change.
    QuietEnd,
}

/// Of a hundred runs, how many have each plan; the others have none.
const SHARES: [(Plan, u64); 2] = [(Plan::LeaderOnly, 5), (Plan::QuietEnd, 6)];

/// Where a plan stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Driver {
    pub plan: Plan,
    /// Looks so far: the counter of its draws.
    pub looks: u64,
    strikes: u64,
}

impl Driver {
    /// Draws the plan of a seed.
    pub fn draw(seed: u64) -> Driver {
        let mut left = prng(seed, Stream::Plan, 0, 0).below(100);
        let mut plan = Plan::Drawn;
        for (candidate, share) in SHARES {
            if left < share {
                plan = candidate;
                break;
            }
            left -= share;
        }
        Driver { plan, looks: 0, strikes: 0 }
    }
}

impl World<'_> {
    /// The first look of a plan. A run that follows a schedule has its plan's faults in there.
    pub(super) fn begin_plan(&mut self) {
        if self.options.schedule.is_none() && self.driver.plan != Plan::Drawn {
            self.note(What::Plan, self.driver.plan as u64, 0, |world| format!("{:?}", world.driver.plan));
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
            Plan::QuietEnd => self.cut_leaders(),
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
