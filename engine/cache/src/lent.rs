//! Memory of a cache that is used again by the next one: for tests, benches and the simulator, which make many.

use std::cell::RefCell;

use crate::memory::{Line, leak};
use crate::sync::Ordering::Relaxed;

thread_local! {
    /// Nobody uses these now.
    static FREE: RefCell<Vec<&'static [Line]>> = const { RefCell::new(Vec::new()) };
}

/// Memory of zeros. It goes to the next who asks on this thread when this is dropped: writer and readers go before.
#[derive(Debug)]
pub struct Lent {
    lines: &'static [Line],
}

impl Lent {
    /// So many bytes, in whole lines.
    #[must_use]
    pub fn new(bytes: usize) -> Lent {
        let count = bytes.div_ceil(size_of::<Line>());
        let found = FREE.with_borrow_mut(|free| {
            let at = free.iter().position(|lines| lines.len() == count)?;
            Some(free.swap_remove(at))
        });
        let lines = found.unwrap_or_else(|| leak(bytes));
        lines.as_flattened().iter().for_each(|word| word.store(0, Relaxed));
        Lent { lines }
    }

    /// The memory.
    #[must_use]
    pub fn lines(&self) -> &'static [Line] {
        self.lines
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // A thread that ends has nobody to lend to.
        let _ = FREE.try_with(|free| free.borrow_mut().push(self.lines));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_again_is_the_same_memory_and_zero() {
        let first = Lent::new(1000);
        first.lines()[3][2].store(7, Relaxed);
        let at = first.lines().as_ptr();
        drop(first);
        let (second, third) = (Lent::new(1000), Lent::new(1000));
        assert_eq!((second.lines().as_ptr(), second.lines().len()), (at, 16));
        assert_ne!(third.lines().as_ptr(), at);
        assert!(second.lines().as_flattened().iter().all(|word| word.load(Relaxed) == 0));
    }
}
