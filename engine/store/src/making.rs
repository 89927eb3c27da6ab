//! Table files that are being made, and the removal of those that an attempt left behind unfinished.
//!
//! The crate leaves the files of a failed flush or compaction where they are until the next open. On a full disk that is
//! the very room that the next attempt wants. Numbers of tables only grow and come from one counter, so what an attempt
//! left lies between the counter before and after it; so may finished tables of the other thread. Therefore every table
//! that was finished is remembered, and files are removed only at an instant when nothing is being made.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;

/// Finished tables remembered; beyond it those whose file is gone are forgotten.
const FINISHED_MAX: usize = 4096;

/// The table files of one tree.
pub(crate) struct Making {
    tables: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Attempts that are at work.
    open: u32,
    finished: BTreeSet<u64>,
    /// Numbers that failed attempts may have used.
    failed: Option<Range<u64>>,
}

impl Making {
    pub(crate) fn new(tables: PathBuf) -> Making {
        Making { tables, state: Mutex::new(State::default()) }
    }

    /// An attempt begins.
    pub(crate) fn begin(&self) {
        self.state().open += 1;
    }

    /// An attempt made these tables, or they are part of the tree.
    pub(crate) fn end_well(&self, tables: impl Iterator<Item = u64>) {
        let mut state = self.state();
        state.finished.extend(tables);
        if state.finished.len() > FINISHED_MAX {
            state.finished.retain(|id| self.tables.join(id.to_string()).exists());
        }
        self.close(&mut state);
    }

    /// An attempt failed that may have begun tables of these numbers.
    pub(crate) fn end_badly(&self, used: Range<u64>) {
        let mut state = self.state();
        let before = state.failed.take().unwrap_or_else(|| used.clone());
        state.failed = Some(before.start.min(used.start)..before.end.max(used.end));
        self.close(&mut state);
    }

    fn close(&self, state: &mut State) {
        state.open -= 1;
        if state.open > 0 {
            return;
        }
        for id in state.failed.take().into_iter().flatten() {
            if !state.finished.contains(&id) {
                // Most numbers have no file. What cannot be removed now goes at the next open.
                let _ = std::fs::remove_file(self.tables.join(id.to_string()));
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the tables in the making")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_attempts_left_goes_when_nothing_is_being_made_and_finished_tables_stay() {
        let dir = tempfile::tempdir().unwrap();
        let touch = |id: u64| std::fs::write(dir.path().join(id.to_string()), b"x").unwrap();
        let left = || {
            let names = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name());
            names.map(|name| name.to_string_lossy().parse().unwrap()).collect::<BTreeSet<u64>>()
        };
        let making = Making::new(dir.path().to_owned());
        making.begin();
        touch(1);
        making.end_well([1].into_iter());
        // A compaction at work, and a flush that fails meanwhile.
        making.begin();
        touch(2);
        making.begin();
        touch(3);
        making.end_badly(2..4);
        assert_eq!(left(), BTreeSet::from([1, 2, 3]), "2 may be the compaction's");
        making.end_well([2].into_iter());
        assert_eq!(left(), BTreeSet::from([1, 2]));
        making.begin();
        touch(4);
        making.end_badly(4..6);
        assert_eq!(left(), BTreeSet::from([1, 2]));
    }
}
