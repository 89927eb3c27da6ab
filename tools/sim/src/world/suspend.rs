//! Machines that are suspended, as by a hypervisor or a closed lid: nothing runs, and the monotonic clock stands still.
//!
//! BOOTTIME goes on, so that each core finds in its first turn that the clocks have come apart. Links of a suspended
//! machine hold what is on its way until TCP has repeated it, a while after it runs again.

use super::{SEATS_MAX, World};

impl World<'_> {
    /// Suspends the machine of a seat until `until`; its links work again `grace` ns later.
    pub(super) fn suspend(&mut self, seat: usize, until: u64, grace: u64) {
        let now = self.now;
        let node = &mut self.nodes[seat];
        node.clock.suspend(now, until);
        node.paused_until = node.paused_until.max(until);
        node.cores.iter_mut().flatten().for_each(|cell| cell.has_jumped = true);
        for other in (0..SEATS_MAX).filter(|other| *other != seat) {
            self.net.clog(seat, other, until + grace);
            self.net.clog(other, seat, until + grace);
        }
    }
}
