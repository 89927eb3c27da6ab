//! The newest tables as the core sees them: their filters, which lie in memory, tell it which rows are nowhere.
//!
//! Most commands ask for a row that is not there, a free name above all. Without this each of them would wait for the
//! reading thread once tables exist.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use base::limits::KEY_BYTES_MAX;

use crate::key::{self, GroupLife, PREFIX_BYTES};
use crate::life_rows::table_of;
use crate::row_filter::{FilterNumber, Told};
use crate::table_reads;
use crate::tables::{Newest, Run, TableSet};

/// So many rows of a table of rows, one after the other, may have been somewhere: the next ones are taken to be there too.
const STREAK: u8 = 64;
/// Of those one in so many is asked for all the same.
const SAMPLE: u8 = 16;

/// A set of tables that has every row that was flushed before the last [`View::refresh`].
pub(super) struct View {
    pub(super) newest: Arc<Newest>,
    changes: u64,
    set: Arc<TableSet>,
    /// What knows the rows of each run, if this process had them in memory.
    filters: Vec<Option<FilterNumber>>,
    /// Where the key asked for is put together.
    full: RefCell<Vec<u8>>,
    /// By the first byte of a key: how many rows in a row may have been somewhere. A listing asks for nothing but rows that
    /// are there, and the filters of large tables are memory that no cache of the processor holds.
    streaks: Box<[Cell<u8>; 256]>,
}

impl View {
    pub(super) fn new(newest: Arc<Newest>) -> View {
        let changes = newest.changes();
        let set = newest.get();
        let full = RefCell::new(Vec::with_capacity(PREFIX_BYTES + KEY_BYTES_MAX));
        let streaks = Box::new(std::array::from_fn(|_| Cell::new(0)));
        let filters = filters_of(&set);
        View { newest, changes, set, filters, full, streaks }
    }

    /// Takes over the newest tables; returns the old ones, if others are there now.
    pub(super) fn refresh(&mut self) -> Option<Arc<TableSet>> {
        let changes = self.newest.changes();
        if changes == self.changes {
            return None;
        }
        self.changes = changes;
        let new = self.newest.get();
        self.filters = filters_of(&new);
        Some(std::mem::replace(&mut self.set, new))
    }

    /// Those of its runs.
    pub(super) fn filters(&self) -> impl Iterator<Item = FilterNumber> {
        self.filters.iter().flatten().copied()
    }

    /// False when no table has a row of the key; `told`: by the store's own filters. Of thousands of rows that are nowhere
    /// one may be somewhere, as far as the filter of a run knows; and after many rows that were somewhere the next few are
    /// not looked for.
    pub(super) fn may_have(&self, (group, life): GroupLife, key: &[u8], told: Told) -> bool {
        let streak = &self.streaks[usize::from(table_of(key))];
        if streak.get() > STREAK {
            streak.set(streak.get() - 1);
            return true;
        }
        let may_have = |filter: &Option<FilterNumber>| filter.is_none_or(|filter| told.may_have(filter));
        let mut runs = self.set.runs.iter().zip(&self.filters).filter(|(_, filter)| may_have(filter)).peekable();
        let may_have = runs.peek().is_some() && {
            let mut full = self.full.borrow_mut();
            full.clear();
            full.extend_from_slice(&key::prefix(group, life));
            full.extend_from_slice(key);
            table_reads::may_have(runs.map(|(run, _)| run), &full)
        };
        streak.set(match streak.get() {
            _ if !may_have => 0,
            STREAK => STREAK + SAMPLE - 1,
            short => short + 1,
        });
        may_have
    }

    /// A row was looked for in the tables, and it is nowhere.
    pub(super) fn note_absent(&self, key: &[u8]) {
        self.streaks[usize::from(table_of(key))].set(0);
    }
}

/// Nothing for a run whose tables were memtables of several filters.
fn filters_of(set: &TableSet) -> Vec<Option<FilterNumber>> {
    let of_run = |run: &Run| {
        let filter = run.first()?.filter();
        filter.filter(|_| run.iter().all(|table| table.filter() == filter))
    };
    set.runs.iter().map(of_run).collect()
}
