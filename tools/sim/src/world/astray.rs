//! Writes and reads that go astray: the chances of DISK3, DISK4, and of DISK5 in recovery.

use super::World;
use crate::disk::{Misread, SimDisk};
use crate::fault::Class;
use crate::inject::Injector;

/// After an operation: each frame that is now known to be persisted may not be where it was written. True when one is not.
pub(super) fn lead_astray(disk: &mut SimDisk, injector: &mut Injector, entity: u32) -> bool {
    let mut has_struck = false;
    while let Some(frame) = disk.pop_proven() {
        if injector.strike(Class::Disk3, entity, |_| [0; 3]).is_some() {
            has_struck |= disk.lose(&frame);
        } else if let Some([dice, ..]) = injector.strike(Class::Disk4, entity, |d| [d.next_u64(), 0, 0]) {
            has_struck |= disk.misdirect(&frame, &mut base::Prng::new(dice));
        }
    }
    has_struck
}

impl World<'_> {
    /// What recovery of a core will read wrongly, if anything.
    pub(super) fn draw_misread(&mut self, seat: usize, core: usize, disk: &SimDisk) -> Option<Misread> {
        if !self.may_be_damaged(seat) {
            return None;
        }
        let entity = (seat * super::CORES_MAX + core) as u32;
        let [dice, ..] = self.injector.strike(Class::Disk5, entity, |d| [d.next_u64(), 0, 0])?;
        let misread = disk.draw_misread(&mut base::Prng::new(dice));
        // What is read wrongly once may be found to be damaged for good.
        self.nodes[seat].is_damaged |= misread.is_some();
        misread
    }
}
