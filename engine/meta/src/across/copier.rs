//! Copies a folder into another namespace, part by part; pure: it says what to ask, and is told the answer.
//!
//! ```text
//! look ─▶ read ─▶ (stage long lists) ─▶ write ─▶ read ... ─▶ end
//!  ▲                                      │ another part was next
//!  └──────────────────────────────────────┘
//! ```
//! It knows nothing that is not in the target: two of them with one task are one copy, in which now one and now the
//! other brings a part.

use std::collections::VecDeque;

use base::limits::COMMAND_BLOCKS_MAX;
use base::{Acct, BlockHash, Nsid, TreeNode};

use super::{
    Carried, CarriedItem, CarryPlace, Export, Import, PART_BLOCKS_MAX, PART_ITEMS_MAX, PART_PATH_BYTES_MAX, stage_nonce,
};
use crate::command::{Command, Freeze, ListStage, PresentBlock, UploadId};
use crate::outcome::Outcome;
use crate::query::{Answer, Query, What};

/// Rows of the journal that are left for the round under the freeze.
const NEAR_ROWS: u64 = 1024;
/// Pages of changes read before the folder is frozen all the same: it changes faster than it is copied.
const PAGES_MAX: u32 = 256;
/// A freeze lasts 60 s; it is renewed this often.
const RENEW_MS: u64 = 15_000;
/// What to wait for a member that is busy and does not say how long.
const BUSY_MS: u32 = 1000;
/// Looks at the target in a row that brought nothing; then others get a turn.
const LOOKS_MAX: u32 = 8;

/// What is to be copied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CopyTask {
    /// Of which flow.
    pub flow: u64,
    /// In whose name.
    pub acct: Acct,
    /// From where.
    pub from: Nsid,
    /// Which folder.
    pub node: TreeNode,
    /// To where.
    pub to: Nsid,
    /// Below a hidden folder there.
    pub is_hidden: bool,
    /// The last round, to the very end: since when the folder is frozen. Else until little is left.
    pub frozen_ms: Option<u64>,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Send this; then [`Copier::hear_outcome`].
    Command {
        /// To the group of which namespace.
        nsid: Nsid,
        /// What.
        command: Command,
    },
    /// Ask this; then [`Copier::hear_answer`].
    Query {
        /// The group of which namespace.
        nsid: Nsid,
        /// What.
        query: Query,
    },
    /// Wait, then ask for the next again.
    Pause {
        /// So long.
        ms: u32,
    },
    /// It has ended: 0 is done, `RevMismatch` that the folder thawed, else what refused it.
    End {
        /// The code of an outcome.
        code: u8,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Look,
    Read,
    /// The list of the chunk's next large file, from this position on.
    Stage {
        first: u32,
        blocks: VecDeque<(BlockHash, u32)>,
        total: u32,
    },
    Write,
    End {
        code: u8,
    },
}

/// A copy under way.
#[derive(Clone, Debug)]
pub struct Copier {
    task: CopyTask,
    state: State,
    /// Parts that came before.
    part: u64,
    /// Where the last part read up to.
    place: CarryPlace,
    /// Where the page that is being brought reads up to; true: that is not the end.
    page: (CarryPlace, bool, u64),
    left: VecDeque<CarriedItem>,
    chunk: Vec<CarriedItem>,
    /// Large files of the chunk whose lists are still to be staged.
    large: VecDeque<usize>,
    read_ms: u64,
    renewed_ms: u64,
    asked_ms: u64,
    is_renewing: bool,
    pause_ms: u32,
    pages: u32,
    looks: u32,
}

impl Copier {
    /// A copy that begins, or goes on where the target says.
    #[must_use]
    pub fn new(task: CopyTask) -> Copier {
        Copier {
            task,
            state: State::Look,
            part: 0,
            place: CarryPlace::default(),
            page: (CarryPlace::default(), true, 0),
            left: VecDeque::new(),
            chunk: Vec::new(),
            large: VecDeque::new(),
            read_ms: 0,
            renewed_ms: 0,
            asked_ms: 0,
            is_renewing: false,
            pause_ms: 0,
            pages: 0,
            looks: 0,
        }
    }

    /// What to do next.
    ///
    /// Units: `now_ms` in milliseconds since 1970, by the caller's clock.
    pub fn next(&mut self, now_ms: u64) -> Next {
        if self.pause_ms > 0 {
            return Next::Pause { ms: std::mem::take(&mut self.pause_ms) };
        }
        let CopyTask { flow, from, node, to, frozen_ms, .. } = self.task;
        if let State::End { code } = self.state {
            return Next::End { code };
        }
        self.asked_ms = now_ms;
        self.is_renewing = frozen_ms.is_some() && now_ms.saturating_sub(self.renewed_ms) >= RENEW_MS;
        if self.is_renewing {
            return Next::Command { nsid: from, command: Command::Freeze(Freeze { flow, node }) };
        }
        match &self.state {
            State::Look => Next::Query { nsid: to, query: Query::Import(flow) },
            State::Read => {
                let export = Export { node, place: self.place.clone(), limit: 0 };
                Next::Query { nsid: from, query: Query::Export(Box::new(export)) }
            }
            State::Stage { first, blocks, .. } => self.next_stage(*first, blocks),
            State::Write => Next::Command { nsid: to, command: Command::Import(Box::new(self.import())) },
            State::End { .. } => unreachable!("answered above"),
        }
    }

    fn import(&self) -> Import {
        let CopyTask { flow, acct, is_hidden, .. } = self.task;
        // Whoever goes on after a part that is not the page's last reads the page again.
        let place = if self.left.is_empty() { self.page.0.clone() } else { self.place.clone() };
        Import { flow, part: self.part, is_hidden, acct, read_ms: self.read_ms, place, items: self.chunk.clone() }
    }

    fn next_stage(&self, first: u32, blocks: &VecDeque<(BlockHash, u32)>) -> Next {
        let Some(Carried::File(file)) = self.large.front().map(|at| &self.chunk[*at].what) else {
            unreachable!("only large files are staged")
        };
        if blocks.is_empty() {
            return Next::Query { nsid: self.task.from, query: Query::Blocklist { what: What::Rev(file.rev), first } };
        }
        let put_at_ms = self.read_ms;
        let part = blocks.iter().take(COMMAND_BLOCKS_MAX).map(|(hash, bytes)| PresentBlock {
            hash: *hash,
            bytes: *bytes,
            put_at_ms,
        });
        let nonce = stage_nonce(self.task.flow, file.rev);
        let id = UploadId { nonce, issued_ms: put_at_ms, is_concurrent: false };
        let stage = ListStage { id, part: first / COMMAND_BLOCKS_MAX as u32, blocks: part.collect() };
        Next::Command { nsid: self.task.to, command: Command::ListStage(stage) }
    }

    /// What the command came to that [`Copier::next`] said.
    pub fn hear_outcome(&mut self, outcome: &Outcome) {
        if let Outcome::Busy { retry_ms } = outcome {
            self.pause_ms = (*retry_ms).max(1);
            return;
        }
        if self.is_renewing {
            match outcome {
                Outcome::Exists { id } if Some(*id) == self.task.frozen_ms => self.renewed_ms = self.asked_ms,
                // It thawed and froze anew: what was written between is not copied.
                Outcome::Done | Outcome::Exists { .. } => self.end(Outcome::RevMismatch.code()),
                refused => self.end(refused.code()),
            }
            return;
        }
        match (&mut self.state, outcome) {
            (State::Stage { first, blocks, total }, Outcome::Done) => {
                let staged = blocks.len().min(COMMAND_BLOCKS_MAX);
                blocks.drain(..staged);
                *first += staged as u32;
                if *first == *total {
                    self.large.pop_front();
                    self.stage_or_write();
                }
            }
            (State::Write, Outcome::Done) => {
                self.part += 1;
                self.looks = 0;
                self.cut_chunk();
            }
            // Somebody else brought this part, or it was read too long ago.
            (State::Stage { .. }, Outcome::NotFound | Outcome::IncorrectOffset { .. } | Outcome::NeedBlocks(_))
            | (State::Write, Outcome::RevMismatch | Outcome::NeedBlocks(_)) => {
                self.looks += 1;
                if self.looks.is_multiple_of(LOOKS_MAX) {
                    self.pause_ms = BUSY_MS;
                }
                self.state = State::Look;
            }
            (_, refused) => self.end(refused.code()),
        }
    }

    /// What the question was answered that [`Copier::next`] said.
    pub fn hear_answer(&mut self, answer: &Answer) {
        match (&mut self.state, answer) {
            (State::Look, Answer::NotFound) => {
                (self.part, self.place) = (0, CarryPlace::default());
                self.state = State::Read;
            }
            // The flow has come further than whoever began this knew.
            (State::Look, Answer::Import(info)) if info.is_ended => self.end(0),
            (State::Look, Answer::Import(info)) => {
                (self.part, self.place) = (info.parts, info.place.clone());
                self.state = State::Read;
            }
            (State::Read, Answer::Export(page)) => {
                self.read_ms = self.asked_ms;
                self.page = (page.next.clone(), page.has_more, page.behind);
                self.left = page.items.iter().cloned().collect();
                let is_news = self.part == 0 || !self.left.is_empty() || page.next != self.place;
                if is_news {
                    self.fill_chunk();
                } else {
                    self.page_done();
                }
            }
            (
                State::Stage { first, blocks, total },
                Answer::Blocklist { first: told, total: all, blocks: some, .. },
            ) if *told == *first && !some.is_empty() => {
                *total = *all;
                blocks.extend(some);
            }
            // The revision was trimmed meanwhile: a later one is told by the changes.
            (State::Stage { .. }, Answer::NotFound) => self.state = State::Look,
            (State::Read, Answer::Elsewhere { .. }) => self.end(Outcome::NestedShare.code()),
            (State::Read, Answer::NotFolder) => self.end(Outcome::NotFolder.code()),
            // The journal was trimmed beyond where the copy stands.
            (State::Read, Answer::Reset | Answer::TooLarge) => self.end(Outcome::TooLarge.code()),
            _ => self.end(Outcome::NotFound.code()),
        }
    }

    fn end(&mut self, code: u8) {
        self.state = State::End { code };
    }

    /// The chunk was brought: the next one of the page, or the next page.
    fn cut_chunk(&mut self) {
        if self.left.is_empty() {
            self.place = self.page.0.clone();
            self.page_done();
        } else {
            self.fill_chunk();
        }
    }

    fn fill_chunk(&mut self) {
        self.chunk.clear();
        let (mut blocks, mut path_bytes) = (0, 0);
        while let Some(item) = self.left.front() {
            let item_blocks = if let Carried::File(file) = &item.what { file.blocks.len() } else { 0 };
            let is_full = self.chunk.len() >= PART_ITEMS_MAX
                || blocks + item_blocks > PART_BLOCKS_MAX
                || path_bytes + item.path.len() > PART_PATH_BYTES_MAX;
            if is_full && !self.chunk.is_empty() {
                break;
            }
            blocks += item_blocks;
            path_bytes += item.path.len();
            self.chunk.extend(self.left.pop_front());
        }
        let is_large = |item: &CarriedItem| matches!(&item.what, Carried::File(file) if file.is_staged());
        self.large = (0..self.chunk.len()).filter(|at| is_large(&self.chunk[*at])).collect();
        self.stage_or_write();
    }

    fn stage_or_write(&mut self) {
        self.state = match self.large.is_empty() {
            true => State::Write,
            false => State::Stage { first: 0, blocks: VecDeque::new(), total: u32::MAX },
        };
    }

    fn page_done(&mut self) {
        let (place, has_more, behind) = &self.page;
        let is_listed = matches!(place, CarryPlace::Changes(_));
        self.pages += u32::from(is_listed);
        let is_end = match self.task.frozen_ms {
            Some(_) => is_listed && !has_more,
            None => is_listed && (*behind <= NEAR_ROWS || self.pages >= PAGES_MAX),
        };
        self.state = if is_end { State::End { code: 0 } } else { State::Read };
    }
}
