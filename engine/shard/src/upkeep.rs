//! The work that nobody asks for: the leader looks through the namespaces of its groups for rows of journals, deleted
//! subtrees and blocks that have been of no use for long, and proposes `JournalTrim`, `Purge` and `BlockSweep` where it
//! finds some (docs/design/metadata.md, "Trimming").
//!
//! ```text
//!  every `look_every`: a pass over the groups led here        every 100 ms of a pass: one step
//!    group ─▶ purges ─▶ pages of namespaces ─▶ journal? blocks? ─▶ tasks ─▶ commands ─▶ applied: more? ─▶ tasks
//!                                    └─ rows not in memory: fetched off-core, the look is repeated
//! ```
//! A step reads a bounded number of rows and proposes a few commands; an overloaded group is passed over, and each step
//! after looks at it again, from where it stood, until it is not.
//! What one leader leaves undone the next finds by its own look: nothing of this is kept.

use std::collections::VecDeque;

use base::mono::Span;
use base::{Acct, Jid, Mono, Nsid, Sequence, SessionId};
use meta::{BlocksDue, Cold, Command, CommandHeader, Outcome, Store, Want};
use seglog::Disk;

use crate::group::Group;
use crate::sweep::SWEEPER;
use crate::{Shard, Ticket};

/// From one step to the next.
const STEP: Span = Span::from_ms(100);
/// What the looks of one step may cost, in rows; the last one may cost more.
const STEP_COST_MAX: u32 = 4096;
/// What a look costs beside the rows of blocks that it reads.
const LOOK_COST: u32 = 64;
/// Groups passed over in one step because they are not led here.
const GROUPS_PER_STEP: u32 = 1024;
/// Namespaces listed at once.
const PAGE: u32 = 64;
/// Tasks that wait; a look waits while there are so many.
const TASKS_MAX: usize = 16;
/// Commands proposed in one step.
const COMMANDS_PER_STEP: usize = 4;
/// Entries that a group may have on their way before it is left alone.
const PROPOSED_MAX: usize = 64;
/// Blocks of a namespace are looked at so often, by the group's stamps: what may go does so at most so much later.
const BLOCKS_EVERY_MS: u64 = 6 * 60 * 60 * 1000;

/// When the machine's old rows go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// Rows of the journal are kept so long, and with them replaced revisions and deleted subtrees. Milliseconds.
    pub journal_ms: u64,
    /// From one look through the groups led here to the next.
    pub look_every: Span,
    /// Rows that one look or command goes through; at least 1.
    pub rows_max: u32,
}

impl Default for Keep {
    /// 30 days, a look every hour.
    fn default() -> Keep {
        Keep { journal_ms: 30 * 24 * 60 * 60 * 1000, look_every: Span::from_ms(60 * 60 * 1000), rows_max: 1024 }
    }
}

/// A command to propose, until nothing is left for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Task {
    at: u32,
    nsid: Nsid,
    work: Work,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Work {
    Trim(Jid),
    Purge,
    Blocks,
}

impl Work {
    /// In the tickets of its commands; a `Sweep` has 0.
    fn kind(self) -> u8 {
        match self {
            Work::Trim(_) => 1,
            Work::Purge => 2,
            Work::Blocks => 3,
        }
    }

    /// A trim goes on to the floor that its namespace has by now.
    fn from_kind(kind: u8) -> Option<Work> {
        match kind {
            1 => Some(Work::Trim(Jid(0))),
            2 => Some(Work::Purge),
            3 => Some(Work::Blocks),
            _ => None,
        }
    }
}

/// Where a pass stands in its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Begin,
    /// Purges of namespaces from this one on.
    Purges(Nsid),
    /// The next page of namespaces begins here.
    Page(Nsid),
    Journal,
    Blocks,
}

/// Where a group was left that others kept busy.
#[derive(Debug)]
struct Left {
    stage: Stage,
    with_blocks: bool,
    page: Vec<Nsid>,
    page_end: Option<Nsid>,
    position: Vec<u8>,
}

/// The pass of one core.
#[derive(Debug)]
pub(crate) struct Upkeep {
    next_pass: Mono,
    next_step: Mono,
    /// The pass under way: the group it is at.
    pass: Option<u32>,
    stage: Stage,
    /// This pass looks at the blocks of the group that it is at.
    with_blocks: bool,
    /// The namespaces of the page, the next one last.
    page: Vec<Nsid>,
    /// The namespace behind the page.
    page_end: Option<Nsid>,
    /// Behind the rows of blocks that were looked at.
    position: Vec<u8>,
    /// What the step may still cost.
    left: u32,
    /// Rows are being fetched under this token.
    waits: Option<u64>,
    /// Of rows fetched for the look at hand.
    tokens: Vec<u64>,
    wants: Vec<Want>,
    tasks: VecDeque<Task>,
    /// By local group: the stamp from which on its blocks are due to be looked at.
    blocks_from_ms: Vec<u64>,
    /// By local group: where it was passed over.
    left_at: Vec<Option<Left>>,
    /// The pass looks only at those.
    is_second_look: bool,
}

impl Upkeep {
    pub fn new(groups: usize, first_pass: Mono) -> Upkeep {
        Upkeep {
            next_pass: first_pass,
            next_step: Mono(0),
            pass: None,
            stage: Stage::Begin,
            with_blocks: false,
            page: Vec::new(),
            page_end: None,
            position: Vec::new(),
            left: 0,
            waits: None,
            tokens: Vec::new(),
            wants: Vec::new(),
            tasks: VecDeque::new(),
            blocks_from_ms: vec![0; groups],
            left_at: (0..groups).map(|_| None).collect(),
            is_second_look: false,
        }
    }

    /// When the next step is due.
    pub fn deadline(&self) -> Mono {
        let is_busy = self.pass.is_some() || !self.tasks.is_empty();
        if is_busy { self.next_step } else { self.next_pass.max(self.next_step) }
    }

    fn note_task(&mut self, task: Task) {
        let is_same =
            |other: &Task| (other.at, other.nsid, other.work.kind()) == (task.at, task.nsid, task.work.kind());
        if !self.tasks.iter().any(is_same) {
            self.tasks.push_back(task);
        }
    }

    /// A look found work. While a command of its kind is on its way there, what it found is what that one is about to
    /// take: a second sweep of blocks would begin anew as the first one ends, and looks that come sooner than a sweep ends
    /// would go on so for ever.
    fn note_found(&mut self, slot: &Group, task: Task) {
        let is_its_own = |ticket: &Ticket| {
            (ticket.connection, ticket.request, ticket.kind) == (SWEEPER, task.nsid.0, task.work.kind())
        };
        let is_on_its_way = slot.batch_tickets.iter().any(is_its_own)
            || slot.proposed.iter().any(|entry| entry.tickets.iter().any(is_its_own));
        if is_on_its_way {
            base::mark::hit!("shard.upkeep.on_its_way");
            return;
        }
        self.note_task(task);
    }

    fn enter_group(&mut self, at: u32) {
        (self.pass, self.stage) = (Some(at), Stage::Begin);
        self.page.clear();
        self.position.clear();
    }

    /// Others keep the group busy: it waits, as it stands.
    fn leave_group(&mut self, at: u32) {
        self.left_at[at as usize] = Some(Left {
            stage: self.stage,
            with_blocks: self.with_blocks,
            page: std::mem::take(&mut self.page),
            page_end: self.page_end,
            position: std::mem::take(&mut self.position),
        });
    }

    /// Goes on in a group that was passed over.
    fn come_back(&mut self, at: u32) {
        if let Some(left) = self.left_at[at as usize].take() {
            base::mark::hit!("shard.upkeep.comes_back");
            let Left { stage, with_blocks, page, page_end, position } = left;
            (self.stage, self.with_blocks, self.page_end) = (stage, with_blocks, page_end);
            (self.page, self.position) = (page, position);
        }
    }

    /// All groups were looked at; those that were passed over are with the next step, if there are any.
    fn end_round(&mut self) {
        self.is_second_look = self.left_at.iter().any(Option::is_some);
        match self.is_second_look {
            true => self.enter_group(0),
            false => self.pass = None,
        }
    }
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// Takes the step that is due, if one is.
    pub(crate) fn keep_up(&mut self, now: Mono) {
        if now < self.upkeep.deadline() {
            return;
        }
        self.upkeep.next_step = now + STEP;
        self.upkeep.left = STEP_COST_MAX;
        // Groups that stay busy hold no other one up.
        let is_between = self.upkeep.stage == Stage::Begin && self.upkeep.waits.is_none();
        let may_begin = self.upkeep.pass.is_none() || (self.upkeep.is_second_look && is_between);
        if may_begin && self.upkeep.next_pass <= now {
            self.upkeep.next_pass = now + self.settings.keep.look_every;
            self.upkeep.is_second_look = false;
            self.upkeep.enter_group(0);
        }
        self.propose_tasks();
        self.look_around();
    }

    /// Proposes the next commands.
    fn propose_tasks(&mut self) {
        for _ in 0..COMMANDS_PER_STEP.min(self.upkeep.tasks.len()) {
            let Some(task) = self.upkeep.tasks.pop_front() else { return };
            let Task { at, nsid, work } = task;
            if !self.groups[at as usize].is_leader {
                base::mark::hit!("shard.upkeep.lead_lost");
                continue;
            }
            if self.is_busy(at) {
                base::mark::hit!("shard.upkeep.command_gives_way");
                // With a full queue nothing else would be looked at: what is dropped is found again by the next pass.
                if self.upkeep.tasks.len() + 1 < TASKS_MAX {
                    self.upkeep.tasks.push_back(task);
                } else {
                    self.find_old_rows(at);
                }
                continue;
            }
            let command = match work {
                Work::Trim(floor) => Command::JournalTrim { floor },
                Work::Purge => Command::Purge { limit: self.settings.keep.rows_max },
                Work::Blocks => Command::BlockSweep { limit: self.settings.keep.rows_max },
            };
            self.propose_own(at, nsid, work.kind(), &command);
        }
    }

    /// Proposes a command of the shard's own, by the system, in a group that it leads.
    pub(crate) fn propose_own(&mut self, at: u32, nsid: Nsid, kind: u8, command: &Command) {
        let header =
            CommandHeader { session: SessionId(0), sequence: Sequence(0), ack_below: Sequence(0), acct: Acct(0), nsid };
        let mut bytes = Vec::new();
        meta::encode_command(&header, command, &mut bytes);
        let group = self.groups[at as usize].id;
        self.handle_command(Ticket { connection: SWEEPER, request: nsid.0, kind }, group, &bytes);
    }

    /// A command is done: another one is due if something is left.
    pub(crate) fn handle_kept_up(&mut self, at: u32, nsid: Nsid, kind: u8, outcome: &[u8]) {
        let Some(work) = Work::from_kind(kind) else { return };
        let Ok(Outcome::Swept { nodes, has_more }) = Outcome::decode(outcome) else { return };
        base::mark::hit!("shard.upkeep.trimmed", matches!(work, Work::Trim(_)));
        base::mark::hit!("shard.upkeep.purged", work == Work::Purge && nodes > 0);
        base::mark::hit!("shard.upkeep.blocks_dropped", work == Work::Blocks && nodes > 0);
        if work == Work::Blocks {
            // What was dropped may have been the last to hold something else, and a sweep that another leader began looks
            // at the end only: the next pass looks again.
            self.upkeep.blocks_from_ms[at as usize] = 0;
        }
        // A purge that a sweep holds up is found again by the next pass.
        let is_held_up = work == Work::Purge && nodes == 0;
        if has_more && !is_held_up && self.groups[at as usize].is_leader {
            base::mark::hit!("shard.upkeep.goes_on");
            self.upkeep.note_task(Task { at, nsid, work });
        }
    }

    /// This node leads the group from now on: what its predecessor found and did not do is found again.
    pub(crate) fn find_old_rows(&mut self, at: u32) {
        self.upkeep.blocks_from_ms[at as usize] = 0;
        self.upkeep.left_at[at as usize] = None;
    }

    /// Goes on with the pass, as far as this step may.
    fn look_around(&mut self) {
        let mut passed = 0;
        while self.upkeep.left > 0 && self.upkeep.waits.is_none() && self.upkeep.tasks.len() < TASKS_MAX {
            let Some(at) = self.upkeep.pass else { return };
            if at as usize == self.groups.len() {
                self.upkeep.end_round();
                return;
            }
            if !self.may_look(at) {
                self.release_looked();
                self.upkeep.enter_group(at + 1);
                passed += 1;
                if passed == GROUPS_PER_STEP {
                    return;
                }
                continue;
            }
            self.upkeep.wants.clear();
            if self.look(at).is_err() {
                base::mark::hit!("shard.upkeep.rows_cold");
                let token = self.next_token();
                self.upkeep.waits = Some(token);
                self.upkeep.tokens.push(token);
                self.store.prefetch(token, self.groups[at as usize].id, &self.upkeep.wants);
                return;
            }
            self.release_looked();
            self.upkeep.left = self.upkeep.left.saturating_sub(LOOK_COST);
        }
    }

    /// Is something to be looked at in this group now? Where others keep it busy the place is noted for later.
    fn may_look(&mut self, at: u32) -> bool {
        let is_begun = self.upkeep.stage != Stage::Begin;
        if !self.groups[at as usize].is_leader {
            base::mark::hit!("shard.upkeep.lead_lost_in_pass", is_begun);
            self.upkeep.left_at[at as usize] = None;
            return false;
        }
        let was_left = self.upkeep.left_at[at as usize].is_some();
        if self.upkeep.is_second_look && !was_left && !is_begun {
            return false;
        }
        if self.is_busy(at) {
            base::mark::hit!("shard.upkeep.look_gives_way");
            if !was_left {
                self.upkeep.leave_group(at);
            }
            return false;
        }
        self.upkeep.come_back(at);
        true
    }

    /// Rows are in memory; true if it was the pass that wanted them.
    pub(crate) fn note_upkeep_fetched(&mut self, token: u64) -> bool {
        let is_ours = self.upkeep.waits.take_if(|waits| *waits == token).is_some();
        if is_ours {
            base::mark::hit!("shard.upkeep.rows_fetched");
            self.look_around();
        }
        is_ours
    }

    fn release_looked(&mut self) {
        for token in self.upkeep.tokens.drain(..) {
            self.store.release(token);
        }
    }

    /// Others come first.
    fn is_busy(&self, at: u32) -> bool {
        self.is_overloaded(at) || self.groups[at as usize].proposed.len() >= PROPOSED_MAX
    }

    /// One look: the next rows in the order of the pass.
    fn look(&mut self, at: u32) -> Result<(), Cold> {
        let Shard { upkeep, store, groups, turn_wall_ms, settings, .. } = self;
        let slot = &groups[at as usize];
        let group = slot.id;
        // As the machine will stamp it.
        let now_ms = store.machine(group).map_or(0, |machine| machine.stamp_ms).max(*turn_wall_ms);
        let Upkeep { wants, .. } = upkeep;
        match upkeep.stage {
            Stage::Begin => {
                let from_ms = &mut upkeep.blocks_from_ms[at as usize];
                upkeep.with_blocks = *from_ms <= now_ms;
                if upkeep.with_blocks {
                    *from_ms = now_ms.saturating_add(BLOCKS_EVERY_MS);
                }
                upkeep.stage = Stage::Purges(Nsid(0));
            }
            Stage::Purges(from) => match meta::purge_due(store, group, from, wants)? {
                Some(nsid) => {
                    upkeep.note_found(slot, Task { at, nsid, work: Work::Purge });
                    upkeep.stage = Stage::Purges(Nsid(nsid.0.saturating_add(1)));
                }
                None => upkeep.stage = Stage::Page(Nsid(0)),
            },
            Stage::Page(from) => {
                upkeep.page.clear();
                meta::namespaces(store, group, from, PAGE, &mut upkeep.page, wants)?;
                let last = upkeep.page.last().copied();
                upkeep.page_end = last.filter(|_| upkeep.page.len() == PAGE as usize).and_then(behind);
                upkeep.page.reverse();
                upkeep.stage = Stage::Journal;
                if upkeep.page.is_empty() {
                    upkeep.enter_group(at + 1);
                }
            }
            Stage::Journal => {
                let nsid = *upkeep.page.last().expect("a page is left when it is empty");
                let before_ms = now_ms.saturating_sub(settings.keep.journal_ms);
                if let Some(floor) = meta::trim_due(store, group, nsid, before_ms, wants)? {
                    upkeep.note_found(slot, Task { at, nsid, work: Work::Trim(floor) });
                }
                upkeep.position.clear();
                match upkeep.with_blocks {
                    true => upkeep.stage = Stage::Blocks,
                    false => upkeep.leave_namespace(at),
                }
            }
            Stage::Blocks => {
                let nsid = *upkeep.page.last().expect("a page is left when it is empty");
                let (rows_max, mut looked) = (settings.keep.rows_max, 0);
                let position = &mut upkeep.position;
                match meta::blocks_due(store, group, nsid, now_ms, rows_max, position, &mut looked, wants)? {
                    BlocksDue::Yes => {
                        upkeep.note_found(slot, Task { at, nsid, work: Work::Blocks });
                        upkeep.leave_namespace(at);
                    }
                    BlocksDue::NotYet => base::mark::hit!("shard.upkeep.many_blocks"),
                    BlocksDue::No => upkeep.leave_namespace(at),
                }
                upkeep.left = upkeep.left.saturating_sub(looked);
            }
        }
        Ok(())
    }
}

impl Upkeep {
    fn leave_namespace(&mut self, at: u32) {
        self.page.pop();
        if !self.page.is_empty() {
            self.stage = Stage::Journal;
            return;
        }
        match self.page_end {
            Some(from) => self.stage = Stage::Page(from),
            None => self.enter_group(at + 1),
        }
    }
}

fn behind(nsid: Nsid) -> Option<Nsid> {
    nsid.0.checked_add(1).map(Nsid)
}
