//! Prefetches that the reading thread has answered.

use meta::StoreEvent;

use super::{Flight, LsmStore, newest_first};
use crate::job::{RangeDone, ReadJob};

impl LsmStore {
    /// What was read goes into the row cache and the ranges; what a range still lacks is read next.
    pub(super) fn handle_prefetched(
        &mut self,
        seq: u64,
        keys: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        ranges: Vec<RangeDone>,
    ) {
        let Some(&Flight { token, group, is_released }) = self.flights.get(&seq) else { return };
        let mut missing = Vec::new();
        if self.life(group.0) == group.1 {
            let LsmStore { active, frozen, retired, cache, tokens, view, hasher, filters, .. } = self;
            let mut holds = Vec::with_capacity(keys.len());
            for (key, value) in keys {
                if value.is_none() {
                    view.note_absent(&key);
                }
                // A memtable knows better than the tables did when they were read.
                let told = filters.ask(hasher.hash(group, &key));
                let mut newer = newest_first(active, frozen, retired).filter(|table| told.may_have(table.filter()));
                let newer = newer.find_map(|table| table.get(group, &key));
                let value = newer.map_or(value, |newer| newer.map(<[u8]>::to_vec));
                holds.extend(cache.fill(group, key, value, !is_released));
            }
            if !holds.is_empty() {
                tokens.entry(token).or_default().holds.append(&mut holds);
            }
            for RangeDone { at, rows, complete } in ranges {
                let more = self.ranges.extend(group, (seq, at), rows, complete, |start, end| {
                    newest_first(active, frozen, retired).map(|table| table.range(group, start, Some(end))).collect()
                });
                missing.extend(more.map(|more| (at, more)));
            }
        }
        if !missing.is_empty() {
            let (group, life) = group;
            return self.reader.push(ReadJob::Prefetch { seq, group, life, keys: Vec::new(), ranges: missing });
        }
        self.flights.remove(&seq);
        if !is_released {
            self.ready.push_back(StoreEvent::Prefetched { token });
        }
        self.drop_retired();
    }
}
