//! The newest tables as the core sees them: their filters, which lie in memory, tell it which rows are nowhere.
//!
//! Most commands ask for a row that is not there, a free name above all. Without this each of them would wait for the
//! reading thread once tables exist.

use std::cell::RefCell;
use std::sync::Arc;

use base::limits::KEY_BYTES_MAX;

use crate::key::{self, GroupLife, PREFIX_BYTES};
use crate::table_reads;
use crate::tables::{Newest, TableSet};

/// A set of tables that has every row that was flushed before the last [`View::refresh`].
pub(super) struct View {
    pub(super) newest: Arc<Newest>,
    changes: u64,
    set: Arc<TableSet>,
    /// Where the key asked for is put together.
    full: RefCell<Vec<u8>>,
}

impl View {
    pub(super) fn new(newest: Arc<Newest>) -> View {
        let changes = newest.changes();
        let set = newest.get();
        View { newest, changes, set, full: RefCell::new(Vec::with_capacity(PREFIX_BYTES + KEY_BYTES_MAX)) }
    }

    /// Takes over the newest tables; returns the old ones, if others are there now.
    pub(super) fn refresh(&mut self) -> Option<Arc<TableSet>> {
        let changes = self.newest.changes();
        if changes == self.changes {
            return None;
        }
        self.changes = changes;
        Some(std::mem::replace(&mut self.set, self.newest.get()))
    }

    /// False when no table has a row of the key. About one in a hundred rows that are nowhere may be somewhere, as far as
    /// the filter of a run knows.
    pub(super) fn may_have(&self, (group, life): GroupLife, key: &[u8]) -> bool {
        let mut full = self.full.borrow_mut();
        full.clear();
        full.extend_from_slice(&key::prefix(group, life));
        full.extend_from_slice(key);
        table_reads::may_have(&self.set, &full)
    }
}
