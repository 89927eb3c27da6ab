//! The collector's decisions, without a clock and without I/O: it says what to do next and is told what came of it.
//!
//! ```text
//!  rest ─▶ list blocks/ and trash/ ─▶ mark every group ─▶ trash, delete, restore ─▶ save ─┐
//!   ▲           ▲     │ a range of names       │ too long, unreadable, clocks apart       │
//!   │           └─────┼────────────────────────┼──────── next range ◀─────────────────────┤
//!   └── tails ◀───────┴── rest, same range ◀───┘                       after the last one │
//!         ▲───────────────────────────────────────────────────────────────────────────────┘
//! ```
//! A pass is whole for its range: what it decides of a name rests on its own listing and its own mark of all groups. So
//! memory is bounded by the pass, and a restart costs one pass.

use base::{BlockHash, GroupId};
use meta::{BlockPage, BlockPlace, BlockScan};

use super::found::{Found, Object, Standing, Trashed, successor};
use super::state::Counts;

/// Times and bounds; all times in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// An object younger than this is no candidate.
    pub grace_ms: u64,
    /// An object goes for good if a mark that began so long after it went to the trash has not found it.
    pub trash_ms: u64,
    /// A mark longer than this is worth nothing.
    pub mark_ms_max: u64,
    /// A tail object older than this goes.
    pub tail_ms: u64,
    /// From the end of a cycle to the next.
    pub rest_ms: u64,
    /// From a pass that was given up to its repetition.
    pub again_ms: u64,
    /// So far the collector's clock and the groups' may be apart.
    pub skew_ms_max: u64,
    /// Names of one pass, about; twice as many are held at most.
    pub names_max: usize,
}

/// Missing blocks that one pass looks for; more are counted by the next.
const SUSPECTS_MAX: usize = 4096;
/// Failed moves of one pass, after which the store is left alone for a while.
const FAILURES_MAX: u64 = 16;

/// A part of the object store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Area {
    /// Blocks in use.
    Blocks,
    /// Blocks on their way out.
    Trash,
}

/// Why a pass ended early. Nothing is swept then; the range is begun again after a rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Abandoned {
    /// A group did not answer, or not what was asked.
    Unreadable(GroupId),
    /// The mark took longer than a block row outlives its last reference.
    TooLong,
    /// This clock and the groups' disagree.
    Clock,
    /// The object store failed too often.
    Store,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Job {
    /// List the objects of this area whose name begins with this byte: [`Collector::handle_object`] for each, then
    /// [`Collector::handle_listed`].
    List(Area, u8),
    /// Ask a group: [`Collector::handle_page`], or [`Collector::handle_unreadable`].
    Mark(BlockScan),
    /// Move a block to the trash unless it has become younger than this time: [`Collector::handle_moved`].
    Trash(BlockHash, u64),
    /// Delete an object of the trash: [`Collector::handle_moved`].
    Delete(Trashed),
    /// Bring an object of the trash back: [`Collector::handle_moved`].
    Restore(Trashed),
    /// Is this block anywhere? [`Collector::handle_checked`].
    Check(BlockHash),
    /// A pass was given up. Nothing to tell.
    GiveUp(Abandoned),
    /// Delete tail objects written before this time: [`Collector::handle_tails`].
    Tails(u64),
    /// Keep [`Collector::place`], durably: [`Collector::handle_saved`].
    Save,
    /// Nothing before this time.
    Rest(u64),
}

/// An object as a listing shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its block.
    pub hash: BlockHash,
    /// When it came to where it is, at the latest: milliseconds since 1970.
    pub since_ms: u64,
    /// In the trash: the time in its name.
    pub trashed_ms: u64,
}

#[derive(Debug)]
enum Phase {
    Rest { until_ms: u64 },
    List { area: Area, byte: u8 },
    Mark { group: u32, place: BlockPlace },
    Sweep { at: usize },
    Check { at: usize },
    GiveUp(Abandoned),
    Tails,
    Save,
}

/// One collector.
#[derive(Debug)]
pub struct Collector {
    rules: Rules,
    groups: u32,
    /// First name of the pass; of the first one of a cycle the least there is.
    from: BlockHash,
    last: BlockHash,
    found: Found,
    suspects: Vec<BlockHash>,
    phase: Phase,
    listed_at_ms: u64,
    mark_began_ms: u64,
    newest_stamp_ms: u64,
    failures: u64,
    cycle: u64,
    counts: Counts,
}

impl Collector {
    /// A collector of a cluster with so many groups, which goes on in `cycle` with the name `from`, not before
    /// `rest_until_ms`.
    #[must_use]
    pub fn new(rules: Rules, groups: u32, cycle: u64, from: BlockHash, rest_until_ms: u64) -> Collector {
        Collector {
            rules,
            groups,
            from,
            last: from,
            found: Found::new(from, rules.names_max),
            suspects: Vec::new(),
            phase: Phase::Rest { until_ms: rest_until_ms },
            listed_at_ms: 0,
            mark_began_ms: 0,
            newest_stamp_ms: 0,
            failures: 0,
            cycle,
            counts: Counts::default(),
        }
    }

    /// Where it stands: the cycle and the name with which the next pass begins. What is kept over a restart.
    #[must_use]
    pub fn place(&self) -> (u64, BlockHash) {
        (self.cycle, self.from)
    }

    /// What was done since it was made.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// True between two cycles.
    #[must_use]
    pub fn is_between_cycles(&self) -> bool {
        matches!(self.phase, Phase::Rest { .. } | Phase::Save) && self.from == BlockHash::default()
    }

    /// What to do now. Each job but `Rest` and `GiveUp` is answered before the next is asked for.
    ///
    /// Units: milliseconds since 1970.
    pub fn next(&mut self, now_ms: u64) -> Job {
        loop {
            match self.phase {
                Phase::Rest { until_ms } if now_ms < until_ms => return Job::Rest(until_ms),
                Phase::Rest { .. } => self.begin_pass(now_ms),
                Phase::List { area, byte } => return Job::List(area, byte),
                Phase::Mark { group, place } if group < self.groups => {
                    if !self.is_mark_young(now_ms) {
                        self.give_up(Abandoned::TooLong);
                        continue;
                    }
                    let (first, last) = (self.from, self.last);
                    return Job::Mark(BlockScan { group: GroupId(group), first, last, place, limit: 0 });
                }
                Phase::Mark { .. } => self.end_mark(now_ms),
                Phase::Sweep { .. } | Phase::Check { .. } if !self.is_mark_young(now_ms) => {
                    self.give_up(Abandoned::TooLong);
                }
                Phase::Sweep { at } => match self.found.get(at).map(|object| self.fate(*object)) {
                    Some(Some(job)) => return job,
                    Some(None) => self.phase = Phase::Sweep { at: at + 1 },
                    None => self.phase = Phase::Check { at: 0 },
                },
                Phase::Check { at } => match self.suspects.get(at) {
                    Some(name) => return Job::Check(*name),
                    None => self.end_pass(),
                },
                Phase::GiveUp(why) => {
                    self.counts.given_up += 1;
                    self.reset();
                    self.phase = Phase::Rest { until_ms: now_ms.saturating_add(self.rules.again_ms) };
                    return Job::GiveUp(why);
                }
                Phase::Tails => return Job::Tails(now_ms.saturating_sub(self.rules.tail_ms)),
                Phase::Save => return Job::Save,
            }
        }
    }

    fn reset(&mut self) {
        self.found = Found::new(self.from, self.rules.names_max);
        self.suspects = Vec::new();
        (self.newest_stamp_ms, self.failures) = (0, 0);
    }

    fn begin_pass(&mut self, now_ms: u64) {
        self.reset();
        self.listed_at_ms = now_ms;
        self.phase = Phase::List { area: Area::Blocks, byte: self.from.0[0] };
    }

    /// Takes an object of the listing that was asked for.
    pub fn handle_object(&mut self, listed: Listed) {
        let Phase::List { area, .. } = self.phase else { return };
        let age_ms = self.listed_at_ms.saturating_sub(listed.since_ms);
        let standing = match area {
            Area::Blocks if age_ms >= self.rules.grace_ms => Standing::Old,
            // The mark will begin later than the listing did.
            Area::Trash if age_ms >= self.rules.trash_ms => Standing::Due,
            Area::Blocks | Area::Trash => Standing::Young,
        };
        self.counts.listed += 1;
        self.found.add(Object { hash: listed.hash, standing, at_ms: listed.trashed_ms, is_marked: false });
    }

    /// The listing is whole, or failed: then nothing it said is used.
    pub fn handle_listed(&mut self, is_whole: bool, now_ms: u64) {
        let Phase::List { area, byte } = self.phase else { return };
        if !is_whole {
            return self.give_up(Abandoned::Store);
        }
        self.phase = match area {
            Area::Blocks => Phase::List { area: Area::Trash, byte },
            Area::Trash if !self.found.is_full_after(byte) => Phase::List { area: Area::Blocks, byte: byte + 1 },
            Area::Trash => {
                self.last = self.found.close(byte);
                self.mark_began_ms = now_ms;
                Phase::Mark { group: 0, place: BlockPlace::default() }
            }
        };
    }

    /// Takes a page of a group's blocks.
    pub fn handle_page(&mut self, page: &BlockPage) {
        let Phase::Mark { group, place } = self.phase else { return };
        // A page that does not go on would go on for ever.
        if page.group.0 != group || page.next.is_some_and(|next| next <= place) {
            return self.give_up(Abandoned::Unreadable(GroupId(group)));
        }
        self.newest_stamp_ms = self.newest_stamp_ms.max(page.stamp_ms);
        self.counts.marks += page.names.len() as u64;
        for name in &page.names {
            if !self.found.mark(name) && self.suspects.len() < SUSPECTS_MAX && self.suspects.last() != Some(name) {
                self.suspects.push(*name);
            }
        }
        self.phase = match page.next {
            Some(place) => Phase::Mark { group, place },
            None => Phase::Mark { group: group + 1, place: BlockPlace::default() },
        };
    }

    /// A group could not be read: nobody knows what it refers to.
    pub fn handle_unreadable(&mut self) {
        if let Phase::Mark { group, .. } = self.phase {
            self.give_up(Abandoned::Unreadable(GroupId(group)));
        }
    }

    fn is_mark_young(&self, now_ms: u64) -> bool {
        now_ms >= self.mark_began_ms && now_ms - self.mark_began_ms <= self.rules.mark_ms_max
    }

    fn end_mark(&mut self, now_ms: u64) {
        if !self.is_mark_young(now_ms) {
            return self.give_up(Abandoned::TooLong);
        }
        // A block server tells group 0 every half a minute that it is there, so the newest stamp is a fresh one.
        let skew_ms = self.rules.skew_ms_max;
        let is_near = self.mark_began_ms.saturating_sub(skew_ms)..=now_ms.saturating_add(skew_ms);
        if !is_near.contains(&self.newest_stamp_ms) {
            return self.give_up(Abandoned::Clock);
        }
        self.phase = Phase::Sweep { at: 0 };
    }

    /// What becomes of an object; `None`: it stays where it is.
    fn fate(&self, object: Object) -> Option<Job> {
        let trashed = Trashed { hash: object.hash, at_ms: object.at_ms };
        match (object.standing, object.is_marked) {
            (Standing::Old, false) => {
                Some(Job::Trash(object.hash, self.listed_at_ms.saturating_sub(self.rules.grace_ms)))
            }
            (Standing::Due, false) => Some(Job::Delete(trashed)),
            (Standing::Due, true) => Some(Job::Restore(trashed)),
            (Standing::Old, true) | (Standing::Young, _) => None,
        }
    }

    /// The move that was asked for: true is done, false found nothing to do, `None` failed.
    pub fn handle_moved(&mut self, moved: Option<bool>) {
        let Phase::Sweep { at } = self.phase else { return };
        let count = match self.found.get(at).and_then(|object| self.fate(*object)) {
            Some(Job::Trash(..)) => &mut self.counts.trashed,
            Some(Job::Delete(_)) => &mut self.counts.deleted,
            _ => &mut self.counts.restored,
        };
        *count += u64::from(moved == Some(true));
        self.phase = Phase::Sweep { at: at + 1 };
        if moved.is_none() {
            self.counts.failed += 1;
            self.failures += 1;
            if self.failures >= FAILURES_MAX {
                self.give_up(Abandoned::Store);
            }
        }
    }

    /// Whether the block that was asked for is there; `None` when the store could not say.
    pub fn handle_checked(&mut self, is_there: Option<bool>) {
        let Phase::Check { at } = self.phase else { return };
        self.counts.missing += u64::from(is_there == Some(false));
        self.phase = Phase::Check { at: at + 1 };
    }

    fn end_pass(&mut self) {
        self.counts.passes += 1;
        match successor(self.last) {
            Some(next) => {
                self.from = next;
                self.phase = Phase::Save;
            }
            None => self.phase = Phase::Tails,
        }
        self.found = Found::new(self.from, self.rules.names_max);
        self.suspects = Vec::new();
    }

    /// So many tail objects are gone. That was the end of the cycle.
    pub fn handle_tails(&mut self, deleted: u64) {
        let Phase::Tails = self.phase else { return };
        self.counts.tails += deleted;
        self.cycle += 1;
        self.from = BlockHash::default();
        self.phase = Phase::Save;
    }

    /// The place is kept: the next range at once, the next cycle after a rest.
    pub fn handle_saved(&mut self, now_ms: u64) {
        let Phase::Save = self.phase else { return };
        let rest_ms = if self.from == BlockHash::default() { self.rules.rest_ms } else { 0 };
        self.phase = Phase::Rest { until_ms: now_ms.saturating_add(rest_ms) };
    }

    fn give_up(&mut self, why: Abandoned) {
        self.phase = Phase::GiveUp(why);
    }
}
