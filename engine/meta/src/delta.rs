//! What has changed in a namespace since a position of its journal (docs/design/metadata.md, "Delta").

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use base::limits::{ANSWER_BYTES_SOFT, DELTA_ROWS_MAX, POSITION_BYTES_MAX};
use base::{Jid, TreeNode};

use crate::codec::{DecodeError, Put, Reader, len16};
use crate::keys;
use crate::metadata::NodeKind;
use crate::overlay::Source;
use crate::query::{Answer, Change, Entry};
use crate::read::{ENTRY_BYTES, entry_bytes};
use crate::rows::*;
use crate::scope::{Scope, ScopePath, settle};
use crate::store::Rows;
use crate::tree::{Halt, NodePath, Tree};
use crate::walk::{Walk, is_position, walk};

/// Where a reader of the journal stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeltaCursor {
    /// All rows up to here were told.
    pub since: Jid,
    /// The row after `since` is being told: it placed or removed a folder whose subtree did not fit a page.
    pub expansion: Option<Expansion>,
}

/// A subtree that is told page by page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expansion {
    /// Its entries are deletions below the row's old place; else what is below its new place.
    pub is_deleted: bool,
    /// The root of the subtree.
    pub root: TreeNode,
    /// The name keys from there to the last entry told, joined by `/`; empty when only the root was told.
    pub position: Vec<u8>,
}

impl DeltaCursor {
    /// All rows up to `since` were told, or were in a listing.
    #[must_use]
    pub fn at(since: Jid) -> DeltaCursor {
        DeltaCursor { since, expansion: None }
    }

    /// `0 u8 format=1  1 u8 flags {1 expanding,2 deleted}  2 u16 position_len  4 u32 zero  8 u64 since  16 u64 root  24 position`
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (flags, root, position) = match &self.expansion {
            None => (0, 0, &[][..]),
            Some(expansion) => (1 | u8::from(expansion.is_deleted) << 1, expansion.root.0, &expansion.position[..]),
        };
        out.u8(1);
        out.u8(flags);
        out.u16(len16(position.len()));
        out.zero(4);
        out.u64(self.since.0);
        out.u64(root);
        out.bytes(position);
    }

    /// The cursor in exactly these bytes.
    ///
    /// Errors: [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<DeltaCursor, DecodeError> {
        let mut reader = Reader::new(bytes);
        let cursor = Self::decode_next(&mut reader)?;
        reader.end()?;
        Ok(cursor)
    }

    pub(crate) fn decode_next(reader: &mut Reader<'_>) -> Result<DeltaCursor, DecodeError> {
        match reader.u8()? {
            1 => {}
            format => return Err(DecodeError::Format(format)),
        }
        let flags = reader.u8()?;
        let length = reader.u16()? as usize;
        reader.zero(4)?;
        let since = Jid(reader.u64()?);
        let root = TreeNode(reader.u64()?);
        let position = reader.take(length)?.to_vec();
        let expansion = match flags {
            0 if root.0 == 0 && length == 0 => None,
            1 | 3 => Some(Expansion { is_deleted: flags == 3, root, position }),
            _ => return Err(DecodeError::Field("cursor flags")),
        };
        Ok(DeltaCursor { since, expansion })
    }
}

/// Rows of the journal read at once.
const SCAN_ROWS: u32 = 256;
/// Rows looked at after one that is not in memory, so that one prefetch brings what many of them want.
const COLD_ROWS_MAX: u32 = 256;

/// What a reader wants of the changes.
pub(crate) struct Wanted {
    pub scope: Scope,
    pub limit: usize,
    /// A page ends with the first mount told.
    pub stops_at_mounts: bool,
}

/// The changes after a cursor.
pub(crate) fn delta<R: Source>(
    tree: &mut Tree<'_, R>,
    namespace: &NamespaceRow,
    cursor: &DeltaCursor,
    wanted: &Wanted,
) -> Result<Answer, Halt> {
    let scope = match settle(tree, &wanted.scope)? {
        Ok(scope) => scope,
        Err(answer) => return Ok(answer),
    };
    let (floor, head) = (namespace.floor, namespace.head);
    let is_beyond = cursor.since > head || (cursor.expansion.is_some() && cursor.since == head);
    if cursor.since < floor || is_beyond {
        base::mark::hit!("meta.delta.reset");
        return Ok(Answer::Reset);
    }
    base::mark::hit!("meta.delta.expansion_goes_on", cursor.expansion.is_some());
    let Ok(resumed) = Phase::resumed(cursor) else { return Ok(Answer::Malformed) };
    let (limit, stops_at_mounts) = (wanted.limit, wanted.stops_at_mounts);
    let told = Told { scope, limit, stops_at_mounts, changes: Vec::new(), bytes: 0, visits: 0 };
    let mut page = Page { tree, told, since: cursor.since, paths: BTreeMap::new() };
    let (cursor, has_more) = page.fill(head, resumed)?;
    Ok(Answer::Delta { changes: page.told.changes, cursor, has_more })
}

/// How far a row has been told. A row tells its vacated side first, then its present side.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing yet.
    Start,
    /// The vacated path is told, its former descendants up to this position.
    Vacated(String),
    /// The present path is told, what is below it up to this position.
    Present(String),
}

impl Phase {
    fn resumed(cursor: &DeltaCursor) -> Result<Phase, DecodeError> {
        let Some(expansion) = &cursor.expansion else { return Ok(Phase::Start) };
        let position = String::from_utf8(expansion.position.clone()).map_err(|_| DecodeError::Text)?;
        if !is_position(&position) {
            return Err(DecodeError::Field("position"));
        }
        Ok(if expansion.is_deleted { Phase::Vacated(position) } else { Phase::Present(position) })
    }

    fn cursor(self, since: Jid, root: TreeNode) -> DeltaCursor {
        let expansion =
            |is_deleted, position: String| Some(Expansion { is_deleted, root, position: position.into_bytes() });
        let expansion = match self {
            Phase::Start => None,
            Phase::Vacated(position) => expansion(true, position),
            Phase::Present(position) => expansion(false, position),
        };
        DeltaCursor { since, expansion }
    }
}

/// Why a row was not told to its end.
enum Stop {
    /// The page is full; go on from there.
    Full(Phase),
    Halt(Halt),
}

impl<E: Into<Halt>> From<E> for Stop {
    fn from(error: E) -> Stop {
        Stop::Halt(error.into())
    }
}

/// What a page tells so far.
struct Told {
    scope: ScopePath,
    limit: usize,
    stops_at_mounts: bool,
    changes: Vec<Change>,
    bytes: usize,
    /// Rows of subtrees looked at, told or not.
    visits: u32,
}

impl Told {
    fn is_full(&self) -> bool {
        let is_long = self.changes.len() >= self.limit || self.bytes >= ANSWER_BYTES_SOFT;
        is_long || self.visits >= DELTA_ROWS_MAX || self.is_at_mount()
    }

    /// Changes that it takes still.
    fn room(&self) -> usize {
        self.limit.saturating_sub(self.changes.len())
    }

    /// What hangs at the mount just told comes next, before any other row.
    fn is_at_mount(&self) -> bool {
        let is_mount = |last: &Change| matches!(last, Change::Present(entry) if entry.meta.kind == NodeKind::Mount);
        self.stops_at_mounts && self.changes.last().is_some_and(is_mount)
    }

    fn push_deleted(&mut self, path_display: String) {
        self.bytes += ENTRY_BYTES + path_display.len();
        self.changes.push(Change::Deleted { path_display });
    }

    fn push_present(&mut self, entry: Entry) {
        self.bytes += entry_bytes(&entry.path_display, &entry.meta);
        self.changes.push(Change::Present(entry));
    }
}

/// One page of changes being made.
struct Page<'t, 'a, R> {
    tree: &'t mut Tree<'a, R>,
    told: Told,
    since: Jid,
    paths: BTreeMap<TreeNode, NodePath>,
}

impl<R: Source> Page<'_, '_, R> {
    /// Tells rows up to `head`, or until the page is full. A command's rows stay on one page, unless they are the first
    /// thing on it.
    fn fill(&mut self, head: Jid, resumed: Phase) -> Result<(DeltaCursor, bool), Halt> {
        let mut phase = resumed;
        let mut command = (self.since, 0);
        let mut is_command_start = true;
        let (mut rows_read, mut cold_rows) = (0, 0);
        while self.since < head {
            let mut rows = Rows::new();
            let (first, last) = (self.since.next(), head.next());
            let range = keys::between(keys::journal(self.tree.nsid, first), keys::journal(self.tree.nsid, last));
            self.tree.source.scan(range, SCAN_ROWS, &mut rows)?;
            assert!(!rows.is_empty(), "the journal has every row up to its head");
            for (_, value) in rows {
                let row = JournalRow::decode(&value);
                if is_command_start {
                    if self.told.is_full() || rows_read >= DELTA_ROWS_MAX {
                        base::mark::hit!("meta.delta.page_full");
                        return self.end(cold_rows, DeltaCursor::at(self.since));
                    }
                    command = (self.since, self.told.changes.len());
                }
                let jid = self.since.next();
                let phase = std::mem::replace(&mut phase, Phase::Start);
                let told = if self.told.is_at_mount() { Err(Stop::Full(phase)) } else { self.tell(jid, &row, phase) };
                match told {
                    Ok(()) => {}
                    Err(Stop::Full(phase)) if command.1 == 0 => {
                        base::mark::hit!("meta.delta.expansion_cut");
                        return self.end(cold_rows, phase.cursor(self.since, row.node));
                    }
                    Err(Stop::Full(_)) => {
                        base::mark::hit!("meta.delta.command_put_off");
                        self.told.changes.truncate(command.1);
                        return self.end(cold_rows, DeltaCursor::at(command.0));
                    }
                    Err(Stop::Halt(Halt::Cold)) => cold_rows = cold_rows.max(1),
                    // A walk that is too long: this row cannot be told, and listings leave it out too.
                    Err(Stop::Halt(Halt::With(_))) => {}
                }
                if cold_rows > 0 {
                    base::mark::hit!("meta.delta.cold");
                    cold_rows += 1;
                    if cold_rows > COLD_ROWS_MAX {
                        return Err(Halt::Cold);
                    }
                }
                is_command_start = row.flags & ROW_CONTINUES == 0;
                rows_read += 1;
                self.since = jid;
            }
        }
        let (cursor, _) = self.end(cold_rows, DeltaCursor::at(self.since))?;
        Ok((cursor, false))
    }

    fn end(&self, cold_rows: u32, cursor: DeltaCursor) -> Result<(DeltaCursor, bool), Halt> {
        if cold_rows > 0 { Err(Halt::Cold) } else { Ok((cursor, true)) }
    }

    /// Tells one row, from `phase` on.
    fn tell(&mut self, jid: Jid, row: &JournalRow, phase: Phase) -> Result<(), Stop> {
        let mut phase = phase;
        if row.has_vacated() && !matches!(phase, Phase::Present(_)) {
            self.tell_vacated(row, &mut phase)?;
        }
        if !matches!(row.op, Op::Delete | Op::Unmount) {
            self.tell_present(jid, row, phase)?;
        }
        Ok(())
    }

    /// The old place: told as deleted where nothing is live now. Where something is, its own later row tells it.
    fn tell_vacated(&mut self, row: &JournalRow, phase: &mut Phase) -> Result<(), Stop> {
        // What was hidden all the time was never seen.
        if row.old_parent == TreeNode(0) {
            return Ok(());
        }
        let above = self.path_of(row.old_parent)?;
        if above.is_hidden {
            return Ok(());
        }
        let old_path = format!("{}/{}", above.display, row.old_name);
        if old_path.len() > POSITION_BYTES_MAX || !self.told.scope.covers(&old_path) {
            return Ok(());
        }
        let live = self.tree.live_at(&old_path)?;
        if *phase == Phase::Start {
            // The old place of a moved node, or of a mount, that is another folder now: all in that folder follows from later rows.
            let is_other_folder = (row.op != Op::Delete || row.kind == NodeKind::Mount)
                && live.is_some_and(|live| live.kind != NodeKind::File && live.node != row.node);
            if live.is_none() || is_other_folder {
                self.push_deleted(old_path.clone(), Phase::Start)?;
            }
            *phase = Phase::Vacated(String::new());
        }
        let is_file_there = live.is_some_and(|live| live.kind == NodeKind::File);
        if row.kind == NodeKind::Folder && self.told.scope.is_recursive && (row.op == Op::Delete || is_file_there) {
            base::mark::hit!("meta.delta.folder_gone");
            self.expand_deleted(row, &old_path, live, phase)?;
        }
        Ok(())
    }

    /// Former descendants: one deletion for each whose path is not live. Of a folder that was moved, names that were
    /// vacated in it before too: their own rows tell them at its new place.
    fn expand_deleted(
        &mut self,
        row: &JournalRow,
        old_path: &str,
        live: Option<DirentRow>,
        phase: &mut Phase,
    ) -> Result<(), Stop> {
        let Phase::Vacated(mut position) = phase.clone() else { return Ok(()) };
        let may_be_live = live.is_some_and(|live| live.kind == NodeKind::Folder);
        let from = position.clone();
        let has_dead = row.op != Op::Delete;
        let (nsid, told) = (self.tree.nsid, &mut self.told);
        let limit = told.room();
        let walked = Walk { root: row.node, display: old_path, position: &from, is_recursive: true, has_dead, limit };
        let is_end = walk(&mut Tree { source: self.tree.source, nsid }, &walked, |tree, item| {
            if told.is_full() {
                return Ok(ControlFlow::Break(()));
            }
            told.visits += 1;
            let live = if may_be_live { tree.live_at(&item.display)? } else { None };
            // What hung in a mount is in no row here, so a folder in its place does not clear it away.
            let is_other_folder = live.is_some_and(|live| live.kind != NodeKind::File && live.node != item.node);
            let is_mount = || item.row.as_ref().is_some_and(|row| row.kind == NodeKind::Mount);
            if live.is_none() || (is_other_folder && is_mount()) {
                told.push_deleted(item.display);
            }
            item.position.clone_into(&mut position);
            Ok(ControlFlow::Continue(()))
        })?;
        *phase = Phase::Vacated(position);
        if is_end { Ok(()) } else { Err(Stop::Full(phase.clone())) }
    }

    /// The present place: told if no later row will.
    fn tell_present(&mut self, jid: Jid, row: &JournalRow, phase: Phase) -> Result<(), Stop> {
        let Some(node) = self.tree.node(row.node)? else { return Ok(()) };
        let is_placed = row.has_placed() && node.rev_jid == jid;
        if !is_placed && node.last_jid != jid {
            return Ok(());
        }
        let path = self.path_of(row.node)?;
        if !path.is_live || path.display.len() > POSITION_BYTES_MAX || !self.told.scope.covers(&path.display) {
            return Ok(());
        }
        let position = match phase {
            Phase::Present(position) => position,
            phase => {
                let entry = Entry { path_display: path.display.clone(), meta: node.metadata(self.tree.nsid, row.node) };
                self.push_present(entry, phase)?;
                String::new()
            }
        };
        if is_placed && self.told.scope.is_recursive {
            self.expand_present(row.node, &path.display, position)
        } else {
            Ok(())
        }
    }

    /// All that is below a folder that was moved.
    fn expand_present(&mut self, root: TreeNode, display: &str, mut position: String) -> Result<(), Stop> {
        base::mark::hit!("meta.delta.folder_moved");
        let from = position.clone();
        let (nsid, told) = (self.tree.nsid, &mut self.told);
        let limit = told.room();
        let walked = Walk { root, display, position: &from, is_recursive: true, has_dead: false, limit };
        let is_end = walk(&mut Tree { source: self.tree.source, nsid }, &walked, |tree, item| {
            if told.is_full() {
                return Ok(ControlFlow::Break(()));
            }
            told.visits += 1;
            if let Some(row) = item.row {
                let meta = row.metadata(tree.nsid, item.node);
                told.push_present(Entry { path_display: item.display, meta });
            }
            item.position.clone_into(&mut position);
            Ok(ControlFlow::Continue(()))
        })?;
        if is_end { Ok(()) } else { Err(Stop::Full(Phase::Present(position))) }
    }

    /// Adds a deletion; when the page is full, the row goes on from `phase`.
    fn push_deleted(&mut self, path_display: String, phase: Phase) -> Result<(), Stop> {
        if self.told.is_full() {
            return Err(Stop::Full(phase));
        }
        self.told.push_deleted(path_display);
        Ok(())
    }

    fn push_present(&mut self, entry: Entry, phase: Phase) -> Result<(), Stop> {
        if self.told.is_full() {
            return Err(Stop::Full(phase));
        }
        self.told.push_present(entry);
        Ok(())
    }

    fn path_of(&mut self, node: TreeNode) -> Result<NodePath, Halt> {
        if let Some(path) = self.paths.get(&node) {
            return Ok(path.clone());
        }
        let path = self.tree.path_of(node)?;
        self.paths.insert(node, path.clone());
        Ok(path)
    }
}
