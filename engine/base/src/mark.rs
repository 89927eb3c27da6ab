//! Marks: named places in the code that the simulator must reach, counted under `--cfg sim` and nothing otherwise.
//!
//! ```
//! # let is_rare = true;
//! base::mark::hit!("base.mark.example");
//! base::mark::hit!("base.mark.rare_example", is_rare);
//! ```
//! A name is `room.place.what`, unique in the whole tree (`cargo xtask tidy` checks that). A run that never reached a
//! mark has proven nothing about it, so the simulator reports and gates on them (docs/TESTING.md).
//!
//! Counts are kept by thread: a run is on one thread, and a swarm adds up what its runs report.

/// Counts that control came by here; with a condition, that it held here. The condition changes nothing, and is not
/// even looked at without `--cfg sim`.
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
    ($name:literal, $condition:expr) => {{
        #[cfg(sim)]
        if $condition {
            $crate::mark::hit!($name);
        }
        #[cfg(not(sim))]
        let _ = || $condition;
    }};
}

#[doc(inline)]
pub use crate::__mark_hit as hit;

#[cfg(sim)]
pub use counting::{SITES_MAX, Site, take};

#[cfg(sim)]
mod counting {
    use std::cell::Cell;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Marks that one process may reach.
    pub const SITES_MAX: usize = 2048;

    static REACHED: Mutex<Vec<&'static str>> = Mutex::new(Vec::new());

    thread_local! {
        static COUNTS: [Cell<u64>; SITES_MAX] = const { [const { Cell::new(0) }; SITES_MAX] };
    }

    /// One mark.
    #[derive(Debug)]
    pub struct Site {
        name: &'static str,
        /// Its place in `REACHED`, plus 1; 0 until it is reached first.
        place: AtomicUsize,
    }

    impl Site {
        /// A mark that was not reached yet.
        #[must_use]
        pub const fn new(name: &'static str) -> Site {
            Site { name, place: AtomicUsize::new(0) }
        }

        /// Control came by, on this thread.
        pub fn hit(&self) {
            let place = match self.place.load(Ordering::Relaxed) {
                0 => self.enter(),
                place => place,
            };
            COUNTS.with(|counts| counts[place - 1].update(|count| count + 1));
        }

        #[cold]
        fn enter(&self) -> usize {
            let mut reached = REACHED.lock().expect("nobody panics while holding it");
            // Another thread may have been faster.
            if self.place.load(Ordering::Relaxed) == 0 {
                reached.push(self.name);
                assert!(reached.len() <= SITES_MAX, "more marks than SITES_MAX; raise it");
                self.place.store(reached.len(), Ordering::Relaxed);
            }
            self.place.load(Ordering::Relaxed)
        }
    }

    /// The marks that this thread has reached since it asked last, with how often, by name. The counts begin anew.
    #[must_use]
    pub fn take() -> Vec<(&'static str, u64)> {
        let reached = REACHED.lock().expect("nobody panics while holding it");
        let mut counts: Vec<_> =
            COUNTS.with(|counts| reached.iter().copied().zip(counts.iter().map(Cell::take)).collect());
        counts.retain(|(_, count)| *count > 0);
        counts.sort_unstable();
        counts
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn come_by(times: u64) {
            // By hand: what the macro names is a mark of the product.
            static EACH: Site = Site::new("base.mark.each");
            static ODD: Site = Site::new("base.mark.odd");
            for time in 0..times {
                EACH.hit();
                if time % 2 == 1 {
                    ODD.hit();
                }
            }
        }

        #[test]
        fn each_thread_counts_for_itself_and_taking_begins_anew() {
            let of_thread = |times| {
                come_by(times);
                take()
            };
            let other = std::thread::spawn(move || of_thread(5));
            assert_eq!(of_thread(2), [("base.mark.each", 2), ("base.mark.odd", 1)]);
            let other = other.join().expect("it does not panic");
            assert_eq!(other, [("base.mark.each", 5), ("base.mark.odd", 2)]);
            assert_eq!(take(), []);
            assert_eq!(of_thread(1), [("base.mark.each", 1)]);
        }
    }
}
