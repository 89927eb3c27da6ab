//! A plan as stateright searches it, and when the search is to stop.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base::NodeId;
use stateright::{Model, Property};

use crate::names::Names;
use crate::plan::Plan;
use crate::store::{Event, Store};
use crate::truth::Rule;
use crate::world::{Action, World};

/// Where a search stops although there is more.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// It may take so long.
    pub time: Duration,
    /// States that are looked at; each pending one takes about half a KiB.
    pub states: usize,
    /// Count states that differ in more than their messages.
    pub counts_shapes: bool,
}

/// A plan that is being searched.
pub struct Search {
    /// The plan.
    pub plan: Plan,
    store: Mutex<Store>,
    bounds: Bounds,
    began: Instant,
    looked: AtomicUsize,
    /// The states but for their messages, if they are counted.
    shapes: Option<Mutex<BTreeSet<u64>>>,
    /// Paths are being told: no bound counts.
    is_over: AtomicBool,
    /// The depth of the first state that was not looked at; `usize::MAX` for none.
    cut: AtomicUsize,
}

impl Search {
    /// Begins now.
    #[must_use]
    pub fn new(plan: &Plan, bounds: Bounds) -> Search {
        let names = Names::new(plan.voters + plan.spares, plan.alike);
        Search {
            plan: plan.clone(),
            store: Mutex::new(Store::new(names)),
            bounds,
            began: Instant::now(),
            looked: AtomicUsize::new(0),
            shapes: bounds.counts_shapes.then(Mutex::default),
            is_over: AtomicBool::new(false),
            cut: AtomicUsize::new(usize::MAX),
        }
    }

    /// All states of fewer actions than this were looked at; `None`: all there are.
    #[must_use]
    pub fn cut(&self) -> Option<usize> {
        Some(self.cut.load(Ordering::Relaxed)).filter(|cut| *cut != usize::MAX)
    }

    /// The search has ended; paths may be walked again.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// How many states differ in more than their messages; 0 if they were not counted.
    #[must_use]
    pub fn shapes(&self) -> usize {
        self.shapes.as_ref().map_or(0, |shapes| shapes.lock().expect("no thread has panicked").len())
    }

    fn is_cut(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
            && (self.began.elapsed() >= self.bounds.time
                || self.looked.fetch_add(1, Ordering::Relaxed) >= self.bounds.states)
    }

    fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.store.lock().expect("nothing panics while it is held")
    }

    /// In the words of a path.
    #[must_use]
    pub fn tell(&self, action: Action) -> String {
        match action {
            Action::At(_, Event::Deliver(message) | Event::DeliverLoyal(message)) => {
                let store = self.store();
                let message = store.message(message);
                format!("{} -> {}: {:?}, {} entries", message.from, message.to, message.body, message.entries.len())
            }
            Action::At(id, event) => format!("{id}: {event:?}"),
            Action::Wait => "time passes".to_string(),
        }
    }

    /// Whether a state shows what the plan is about; told if none does.
    fn marks(&self, world: &World, mark: Mark) -> bool {
        let store = self.store();
        let mut ids = self.plan.ids();
        match mark {
            Mark::Elected => world.truth.leaders() > 0,
            Mark::Committed => world.truth.committed() > 0,
            Mark::SecondCommit => world.truth.has_second_commit(),
            Mark::Changed => ids.any(|id| {
                let raft = &world.node(&store, id).raft;
                let last = NodeId(self.plan.voters + self.plan.spares);
                let config = raft.config();
                !config.is_joint() && config.is_voter(last) && raft.commit_index() >= raft.config_index()
            }),
            Mark::Recovered => ids.any(|id| {
                let node = world.node(&store, id);
                node.incarnation > 1 && node.raft.health() == ours::Health::Clean
            }),
            Mark::Resumed => {
                let now = self.plan.time(world.clock);
                world.left.transfers < self.plan.transfers
                    && ids.any(|id| world.node(&store, id).raft.lease_until(now).is_some())
            }
            Mark::Rests => ids.any(|id| {
                let raft = &world.node(&store, id).raft;
                raft.is_leader() && raft.is_resting()
            }),
        }
    }
}

/// What should happen in some state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// A leader is elected.
    Elected,
    /// An entry is committed.
    Committed,
    /// A second leader commits.
    SecondCommit,
    /// The members have changed.
    Changed,
    /// A node that lost something is clean again.
    Recovered,
    /// A leader has a lease after a transfer.
    Resumed,
    /// A leader rests.
    Rests,
}

impl Mark {
    const ALL: [(Mark, &'static str); 7] = [
        (Mark::Elected, "a leader is elected"),
        (Mark::Committed, "an entry is committed"),
        (Mark::SecondCommit, "a second leader commits"),
        (Mark::Changed, "the members have changed"),
        (Mark::Recovered, "a node that lost something is clean again"),
        (Mark::Resumed, "a leader has a lease after a transfer"),
        (Mark::Rests, "a leader rests"),
    ];
}

/// The condition of a property is a plain function: one for each rule and mark.
macro_rules! conditions {
    ($($which:expr => $ask:expr),* $(,)?) => {
        [$(($which, $ask as fn(&Search, &World) -> bool)),*]
    };
}

impl Model for Search {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        World::first(&self.plan, &mut self.store())
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        if self.is_cut() {
            self.cut.fetch_min(usize::from(world.depth), Ordering::Relaxed);
            return;
        }
        if let Some(shapes) = &self.shapes {
            shapes.lock().expect("no thread has panicked").insert(world.shape(&self.store()));
        }
        let is_broken = Rule::ALL.iter().any(|(rule, _)| self.plan.watches(*rule) && !world.truth.holds(*rule));
        if !is_broken && world.truth.leaders() < self.plan.leaders_max {
            world.actions(&self.plan, &self.store(), actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.depth += 1;
        next.act(&self.plan, &mut self.store(), action).then_some(next)
    }

    fn format_step(&self, _: &World, action: Action) -> Option<String> {
        Some(self.tell(action))
    }

    fn properties(&self) -> Vec<Property<Search>> {
        let rules = conditions![
            Rule::ElectionSafety => |_, world| world.truth.holds(Rule::ElectionSafety),
            Rule::LogMatching => |_, world| world.truth.holds(Rule::LogMatching),
            Rule::LeaderCompleteness => |_, world| world.truth.holds(Rule::LeaderCompleteness),
            Rule::StateMachineSafety => |_, world| world.truth.holds(Rule::StateMachineSafety),
            Rule::CommittedIsDurable => |_, world| world.truth.holds(Rule::CommittedIsDurable),
            Rule::DiskFirst => |_, world| world.truth.holds(Rule::DiskFirst),
            Rule::LeaseExclusion => |_, world| world.truth.holds(Rule::LeaseExclusion),
            Rule::RestIsWhole => |_, world| world.truth.holds(Rule::RestIsWhole),
            Rule::NoAlarm => |_, world| world.truth.holds(Rule::NoAlarm),
            Rule::NoAssertFails => |_, world| world.truth.holds(Rule::NoAssertFails),
        ];
        let marks = conditions![
            Mark::Elected => |search, world| search.marks(world, Mark::Elected),
            Mark::Committed => |search, world| search.marks(world, Mark::Committed),
            Mark::SecondCommit => |search, world| search.marks(world, Mark::SecondCommit),
            Mark::Changed => |search, world| search.marks(world, Mark::Changed),
            Mark::Recovered => |search, world| search.marks(world, Mark::Recovered),
            Mark::Resumed => |search, world| search.marks(world, Mark::Resumed),
            Mark::Rests => |search, world| search.marks(world, Mark::Rests),
        ];
        let watched = rules.into_iter().filter(|(rule, _)| self.plan.watches(*rule));
        let always = watched.map(|(rule, condition)| Property::always(rule.name(), condition));
        let shown = marks.into_iter().filter(|(mark, _)| self.plan.shows.contains(mark));
        let sometimes = shown.map(|(mark, condition)| Property::sometimes(Mark::ALL[mark as usize].1, condition));
        always.chain(sometimes).collect()
    }
}
