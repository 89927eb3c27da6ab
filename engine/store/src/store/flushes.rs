//! Memtables on their way to the tables, in the order in which they were frozen.

use std::sync::Arc;

use base::GroupId;
use meta::{Frozen, StoreEvent};

use super::{FrozenTable, LsmStore, Progress, Retired, first_live, newest_first};
use crate::job::{CompactJob, WriteJob};
use crate::machine_row::MachineRow;
use crate::memtable::Memtable;

impl LsmStore {
    pub(super) fn handle_flushed(&mut self, id: u64) {
        let Some(at) = self.frozen.iter().position(|frozen| frozen.id == id) else { return };
        let Some(FrozenTable { table, .. }) = self.frozen.remove(at) else { return };
        // A group that changed its life meanwhile has a newer checkpoint than this one.
        let current = |(group, row): &(&GroupId, &MachineRow)| self.life(**group) == row.life;
        let applied =
            table.machines().iter().filter(current).map(|(group, row)| (*group, row.machine.applied_index)).collect();
        self.ready.push_back(StoreEvent::Flushed(Frozen { id, applied }));
        if self.asked_flush.take_if(|asked| *asked == id).is_some() {
            self.asked.done();
        }
        // That a group was dropped is durable, if it has begun anew or not: what it had before may go.
        for (group, row) in table.machines() {
            let Some(state) = self.groups.get_mut(group) else { continue };
            if state.drop_pending && first_live(row) > state.gone {
                state.drop_pending = false;
                self.compactor.push(CompactJob::DropLivesBefore { group: *group, life: first_live(row) });
            }
        }
        self.retired.push_back(Retired { table, barrier: self.flight_next });
        self.drop_retired();
    }

    /// Lets go of flushed memtables that no prefetch can be older than.
    pub(super) fn drop_retired(&mut self) {
        let oldest = self.flights.keys().next().copied().unwrap_or(u64::MAX);
        while let Some(retired) = self.retired.pop_front_if(|retired| retired.barrier <= oldest) {
            for (group, row) in retired.table.machines() {
                if let Some(state) = self.groups.get_mut(group).filter(|state| state.life == row.life) {
                    state.in_tables = true;
                }
            }
            // A snapshot may still read it: then it goes with that.
            if let Some(mut table) = Arc::into_inner(retired.table) {
                table.give_back(&self.leftovers);
                self.writer.push(WriteJob::Dispose(Box::new(table)));
            }
        }
    }

    pub(super) fn submit_flushes(&mut self) {
        for frozen in &mut self.frozen {
            match frozen.progress {
                Progress::Waits => return,
                Progress::Submitted => {}
                Progress::Allowed => {
                    frozen.progress = Progress::Submitted;
                    self.writer.push(WriteJob::Flush { id: frozen.id, memtable: frozen.table.clone() });
                }
            }
        }
    }

    /// Lets go of the filters of memtables that are gone, and their tables too.
    pub(super) fn forget_filters(&mut self) {
        let tables = newest_first(&self.active, &self.frozen, &self.retired).map(Memtable::filter);
        if let Some(oldest) = tables.chain(self.view.filters()).min() {
            self.filters.forget_before(oldest);
        }
    }
}
