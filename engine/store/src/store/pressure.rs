//! How full the active memtable is, and checkpoints that somebody outside asks for.

use super::LsmStore;

impl LsmStore {
    /// A checkpoint is asked for and the active memtable holds nothing: the newest frozen one ends it, or it is done.
    pub(super) fn look_asked(&mut self) {
        if self.asked_flush.is_none() && self.asked.is_wanted() && self.active.is_empty() {
            self.asked_flush = self.frozen.back().map(|frozen| frozen.id);
            if self.asked_flush.is_none() {
                self.asked.done();
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.active.bytes() >= self.memtable_bytes
    }
}
