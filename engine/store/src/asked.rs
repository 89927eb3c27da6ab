//! A checkpoint that somebody outside this process asks for, by a file beside the tree: a backup does.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::settings::Wake;

const NONE: u8 = 0;
const WANTED: u8 = 1;
const DONE: u8 = 2;

/// The file, and how far the store is with it. The keeping thread looks at the one, the core at the other.
pub(crate) struct Asked {
    path: PathBuf,
    state: AtomicU8,
    wake: Wake,
}

impl Asked {
    pub(crate) fn new(path: PathBuf, wake: Wake) -> Asked {
        Asked { path, state: AtomicU8::new(NONE), wake }
    }

    /// Off-core, once a second: is there a file; may it go?
    pub(crate) fn look(&self) {
        match self.state.load(Ordering::Acquire) {
            NONE if self.path.exists() => {
                self.state.store(WANTED, Ordering::Release);
                (self.wake)();
            }
            // What cannot be removed is asked for again.
            DONE => {
                let _ = std::fs::remove_file(&self.path);
                self.state.store(NONE, Ordering::Release);
            }
            _ => {}
        }
    }

    /// On the core: is one wanted?
    pub(crate) fn is_wanted(&self) -> bool {
        self.state.load(Ordering::Acquire) == WANTED
    }

    /// On the core: all that was applied when it was asked for is durable.
    pub(crate) fn done(&self) {
        self.state.store(DONE, Ordering::Release);
    }
}
