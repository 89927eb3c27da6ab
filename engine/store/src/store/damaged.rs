//! Damaged tables: whose rows they may hold is told, and once those groups were dropped the tables go.

use std::collections::BTreeMap;

use super::{CompactJob, LsmStore, StoreEvent, WriteJob, first_live};
use crate::condemned::{Span, grave};
use crate::machine_row::MachineRow;
use crate::scrub::Damage;
use base::GroupId;

/// A table that was found damaged.
pub(super) enum Condemned {
    /// Its groups are told; it goes when they have no state here.
    Waits { span: Span, groups: Vec<GroupId> },
    /// The writing thread has it, or it is gone.
    Going,
}

impl LsmStore {
    /// A table is damaged: each group that may have rows in it is told, once.
    pub(super) fn handle_damaged(&mut self, damage: &Damage) {
        if self.damaged.contains_key(&damage.table) {
            return;
        }
        let span = Span::from(damage);
        // A group without state counts if its machine row lies there: that must stay, so that no life is used twice.
        let touched = self.groups.iter().filter(|(group, state)| {
            let is_known = state.life_high != 0;
            is_known && (damage.touches(**group, state.life) || damage.has_machine(**group))
        });
        let mut groups: Vec<GroupId> = touched.map(|(group, _)| *group).collect();
        groups.sort_unstable();
        for group in &groups {
            if self.life(*group) != 0 {
                self.ready.push_back(StoreEvent::Damaged { group: *group, reason: damage.reason.clone() });
            }
            if self.installs.remove(group).is_some() {
                // Its life would lie in the span, and a table of it may be registered before that is dropped.
                let reason = "a table that is damaged goes first".to_owned();
                self.ready.push_back(StoreEvent::InstallFailed { group: *group, reason });
            }
        }
        self.damaged.insert(damage.table, Condemned::Waits { span, groups });
        self.condemn_tables();
    }

    /// Hands out the damaged tables none of whose groups has state here any more.
    pub(super) fn condemn_tables(&mut self) {
        let LsmStore { damaged, groups: all, writer, .. } = self;
        for (table, condemned) in damaged.iter_mut() {
            let Condemned::Waits { span, groups } = condemned else { continue };
            if groups.iter().any(|group| all.get(group).is_some_and(|state| state.life != 0)) {
                continue;
            }
            let mut graves: BTreeMap<GroupId, MachineRow> = BTreeMap::new();
            for group in groups.iter() {
                let Some(state) = all.get_mut(group) else { continue };
                // What a thread still brings of these lives is late.
                state.gone = state.life_high;
                graves.insert(*group, grave(state.life_high));
            }
            writer.push(WriteJob::Condemn { table: *table, span: span.clone(), graves });
            *condemned = Condemned::Going;
        }
    }

    /// A damaged table is gone, and so are its groups' lives, durably.
    pub(super) fn handle_condemned(&mut self, table: u64, groups: &[GroupId]) {
        self.damaged.insert(table, Condemned::Going);
        for group in groups {
            let Some(state) = self.groups.get_mut(group) else { continue };
            state.drop_pending = false;
            let life = match state.life {
                0 => first_live(&grave(state.gone)),
                life => life,
            };
            self.compactor.push(CompactJob::DropLivesBefore { group: *group, life });
        }
    }
}
