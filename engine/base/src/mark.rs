//! Marks: named places in the code that the simulator must reach, counted under `--cfg sim` and nothing otherwise.
//!
//! ```
//! base::mark::hit!("base.mark.example");
//! ```
//! A name is `room.place.what`, unique in the whole tree (`cargo xtask tidy` checks that). A run that never reached a
//! mark has proven nothing about it, so the simulator reports and gates on them (docs/TESTING.md).

/// Counts that control came by here.
#[macro_export]
#[doc(hidden)]
macro_rules! __mark_hit {
    ($name:literal) => {{
        #[cfg(sim)]
        {
            static SITE: $crate::mark::Site = $crate::mark::Site::new($name);
            SITE.hit();
        }
    }};
}

#[doc(inline)]
pub use crate::__mark_hit as hit;

#[cfg(sim)]
pub use counting::{Site, counts};

#[cfg(sim)]
mod counting {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    static REACHED: Mutex<Vec<&'static Site>> = Mutex::new(Vec::new());

    /// One mark.
    #[derive(Debug)]
    pub struct Site {
        name: &'static str,
        hits: AtomicU64,
    }

    impl Site {
        /// A mark that was not reached yet.
        #[must_use]
        pub const fn new(name: &'static str) -> Site {
            Site { name, hits: AtomicU64::new(0) }
        }

        /// Control came by. Counts of two threads may get lost against each other; the first one never does.
        pub fn hit(&'static self) {
            let hits = self.hits.load(Ordering::Relaxed);
            if hits == 0 && self.hits.fetch_add(1, Ordering::Relaxed) == 0 {
                REACHED.lock().expect("nobody panics while holding it").push(self);
                return;
            }
            self.hits.store(hits + 1, Ordering::Relaxed);
        }
    }

    /// All marks reached by this process so far, with how often (about), by name.
    #[must_use]
    pub fn counts() -> Vec<(&'static str, u64)> {
        let reached = REACHED.lock().expect("nobody panics while holding it");
        let mut counts: Vec<_> = reached.iter().map(|site| (site.name, site.hits.load(Ordering::Relaxed))).collect();
        counts.sort_unstable();
        counts
    }
}
