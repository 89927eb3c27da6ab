//! What the tree must keep: the views of open snapshots, each named by the seqno it reads below.

use std::collections::BTreeMap;
use std::sync::Mutex;

use base::mutate;
use lsm_tree::SequenceNumberCounter;

/// The counter of one tree, and the open views of it.
///
/// The counter is read together with the pins, so that no thread can compute a watermark above a view that is just
/// being opened. The lock is held for a few instructions and never over I/O.
pub(crate) struct Pins {
    counter: SequenceNumberCounter,
    open: Mutex<BTreeMap<u64, u32>>,
}

impl Pins {
    pub(crate) fn new(counter: SequenceNumberCounter) -> Pins {
        Pins { counter, open: Mutex::new(BTreeMap::new()) }
    }

    /// Opens a view of everything registered so far; it sees seqnos below the one returned.
    pub(crate) fn open(&self) -> u64 {
        let mut open = self.open.lock().expect("no thread panics while it holds the pins");
        let seqno = self.counter.get();
        *open.entry(seqno).or_insert(0) += 1;
        seqno
    }

    /// Ends a view.
    pub(crate) fn close(&self, seqno: u64) {
        let mut open = self.open.lock().expect("no thread panics while it holds the pins");
        if let Some(count) = open.get_mut(&seqno) {
            *count -= 1;
            if *count == 0 {
                open.remove(&seqno);
            }
        }
    }

    /// Versions of a row and of the tree that are older than this may go.
    pub(crate) fn watermark(&self) -> u64 {
        let open = self.open.lock().expect("no thread panics while it holds the pins");
        let now = self.counter.get();
        let oldest = mutate!(MUT_21C, open.keys().next(), None);
        oldest.map_or(now, |oldest| now.min(*oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_is_never_above_an_open_view() {
        let counter = SequenceNumberCounter::new(5);
        let pins = Pins::new(counter.clone());
        let first = pins.open();
        let again = pins.open();
        counter.fetch_max(9);
        let later = pins.open();
        assert_eq!((first, again, later, pins.watermark()), (5, 5, 9, 5));
        pins.close(first);
        assert_eq!(pins.watermark(), 5, "the second view of the same seqno is open still");
        pins.close(again);
        counter.fetch_max(12);
        assert_eq!(pins.watermark(), 9);
        pins.close(later);
        assert_eq!(pins.watermark(), 12);
    }
}
