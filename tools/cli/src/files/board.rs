//! What the workers of a put or a get share: the next file, counts, failures, progress.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::fail::{Code, Fail};
use super::progress::Progress;

/// Shared by the workers of one command.
pub struct Board {
    /// The next file to take.
    pub next: AtomicUsize,
    /// Files transferred.
    pub done: AtomicUsize,
    /// Files that were there already.
    pub same: AtomicUsize,
    /// The cluster cannot be reached: no further file is taken.
    pub is_given_up: AtomicBool,
    /// What failed so far.
    pub failed: Mutex<Vec<Fail>>,
    /// The bar, or lines.
    pub progress: Progress,
    /// More than one file is meant.
    pub is_tree: bool,
}

impl Board {
    /// A fresh one.
    pub fn new(progress: Progress, is_tree: bool) -> Board {
        Board {
            next: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
            same: AtomicUsize::new(0),
            is_given_up: AtomicBool::new(false),
            failed: Mutex::default(),
            progress,
            is_tree,
        }
    }

    /// Names a failure; one of the cluster itself ends the work, since all the others would wait for it in turn.
    pub fn fail(&self, fail: Fail) {
        if fail.code == Code::Unreachable {
            self.is_given_up.store(true, Ordering::Relaxed);
        }
        // The failure of the only file is the command's own, and is printed as such.
        if self.is_tree {
            self.progress.note(&format!("dropstone: {fail}"));
        }
        self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(fail);
    }
}
