//! Writes and reads that go astray: the chances of DISK3, DISK4, and of DISK5 in recovery.

use super::World;
use crate::disk::{Misread, SimDisk};
use crate::fault::Class;
use crate::inject::Injector;

/// Frames of which an operation has just shown that they were persisted.
pub(super) struct Astrays {
    struck: Vec<(Class, bool)>,
}

/// Each frame that is now known to be persisted may not be where it was written.
pub(super) fn lead_astray(disk: &mut SimDisk, injector: &mut Injector, entity: u32) -> Astrays {
    let mut struck = Vec::new();
    while let Some(frame) = disk.pop_proven() {
        if injector.strike(Class::Disk3, entity, |_| [0; 3]).is_some() {
            struck.push((Class::Disk3, disk.lose(&frame)));
        } else if let Some([dice, ..]) = injector.strike(Class::Disk4, entity, |d| [d.next_u64(), 0, 0]) {
            struck.push((Class::Disk4, disk.misdirect(&frame, &mut base::Prng::new(dice))));
        }
    }
    Astrays { struck }
}

impl World<'_> {
    /// The seat's disk is damaged if a write went astray.
    pub(super) fn note_astray(&mut self, seat: usize, core: usize, astrays: &Astrays) {
        for (class, has_damaged) in &astrays.struck {
            self.nodes[seat].is_damaged |= has_damaged;
            self.tell_trace(|_| format!("{seat}.{core} {}: {has_damaged}", class.name()));
        }
    }

    /// What recovery of a core will read wrongly, if anything.
    pub(super) fn draw_misread(&mut self, seat: usize, core: usize, disk: &SimDisk) -> Option<Misread> {
        if !self.may_be_damaged(seat) {
            return None;
        }
        let entity = (seat * super::CORES_MAX + core) as u32;
        let [dice, ..] = self.injector.strike(Class::Disk5, entity, |d| [d.next_u64(), 0, 0])?;
        let misread = disk.draw_misread(&mut base::Prng::new(dice));
        self.tell_trace(|_| format!("{seat}.{core} DISK5 in recovery: {misread:?}"));
        // What is read wrongly once may be found to be damaged for good.
        self.nodes[seat].is_damaged |= misread.is_some();
        misread
    }
}
