//! Writes that do not get where they should, and reads that bring something else: DISK3, DISK4, DISK5.
//!
//! Only writes of frames go astray, and only once their loss can be seen ([`super::unproven`]). `meta` is left alone: an
//! old `meta` in all its copies is what a crash before its write leaves, which no checksum could show either.

use std::ops::Range;

use base::Prng;
use base::limits::LOG_BLOCK_BYTES;

use super::SimDisk;
use super::unproven::Issued;

const BLOCK: u32 = LOG_BLOCK_BYTES as u32;

/// A block that a reader gets instead of another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Misread {
    pub(super) segment_seq: u64,
    /// The block that was asked for; bytes from segment start.
    pub(super) at: u32,
    /// The block that came: segment and bytes from its start. `None`: zeros, as before anything was written there.
    pub(super) instead: Option<(u64, u32)>,
    /// Reads of it that bring what is there, before the one that does not.
    pub(super) after: u32,
}

/// Bytes of a map that are not those of the disk.
#[derive(Clone, Debug)]
pub(super) struct Stale {
    segment_seq: u64,
    at: u32,
    right: Vec<u8>,
}

/// A frame whose write may have gone astray: it is durable, and a later one says so.
pub struct Astray(Issued);

impl SimDisk {
    /// From now on proven frames are kept for [`SimDisk::pop_proven`].
    pub fn keep_proven(&mut self) {
        self.unproven.is_wanted = true;
    }

    /// The next frame of which it is proven that it was persisted.
    pub fn pop_proven(&mut self) -> Option<Astray> {
        self.unproven.pop_proven().map(Astray)
    }

    /// The device said that the frame was written and has kept the old bytes. False when its segment is gone.
    pub fn lose(&mut self, frame: &Astray) -> bool {
        let Issued { segment_seq, range, before, .. } = &frame.0;
        let Some(at) = self.place(*segment_seq) else { return false };
        let mut old = before.clone();
        old.resize(range.len(), 0);
        self.files[at].1.put(range.start as usize, &old);
        true
    }

    /// The frame was written elsewhere in the core's files: its own place has kept the old bytes, and those of another
    /// are gone. False when there is no place for it that may be damaged.
    pub fn misdirect(&mut self, frame: &Astray, dice: &mut Prng) -> bool {
        let Issued { segment_seq, range, .. } = &frame.0;
        let Some(from) = self.place(*segment_seq) else { return false };
        let mut bytes = vec![0; range.len()];
        self.files[from].1.read(range.start as usize, &mut bytes);
        let Some((to, at)) = self.victim(dice, range.len() as u32) else { return false };
        if (self.files[to].0, at) == (*segment_seq, range.start) || !self.lose(frame) {
            return false;
        }
        self.files[to].1.put(at as usize, &bytes);
        true
    }

    /// A run of blocks, written to before, that may be damaged: file and bytes from its start.
    fn victim(&self, dice: &mut Prng, bytes: u32) -> Option<(usize, u32)> {
        let to = dice.below(self.files.len().max(1) as u64) as usize;
        let (segment_seq, file) = self.files.get(to)?;
        let at = dice.below(u64::from((file.sectors() * 512 / BLOCK).max(1))) as u32 * BLOCK;
        let range = at..at + bytes;
        let fits = range.end as usize <= self.segment_bytes() && !self.unproven.spares(*segment_seq, &range);
        fits.then_some((to, at))
    }

    /// A block that recovery will read as another, or as it was long ago, once. `None` when none may be.
    #[must_use]
    pub fn draw_misread(&self, dice: &mut Prng) -> Option<Misread> {
        let (to, at) = self.victim(dice, BLOCK)?;
        let from = dice.below(self.files.len() as u64) as usize;
        let block = dice.below(u64::from((self.files[from].1.sectors() * 512 / BLOCK).max(1))) as u32 * BLOCK;
        let instead = (dice.below(2) == 0).then_some((self.files[from].0, block));
        // Recovery reads twice: it looks for frames, and then takes them.
        let after = u32::from(dice.below(2) == 0);
        Some(Misread { segment_seq: self.files[to].0, at, instead, after })
    }

    /// The block that comes instead.
    pub(super) fn misread_block(&self, misread: &Misread) -> Vec<u8> {
        let mut out = vec![0; LOG_BLOCK_BYTES];
        if let Some((segment_seq, at)) = misread.instead
            && let Some(place) = self.place(segment_seq)
        {
            self.files[place].1.read(at as usize, &mut out);
        }
        out
    }

    /// A map of a range shows another block in one place, until the process ends or the range is brought in again.
    pub(super) fn make_stale(&mut self, segment_seq: u64, range: Range<u32>, dice: &mut Prng) {
        let Some(place) = self.place(segment_seq) else { return };
        let blocks = (range.end - range.start) / BLOCK;
        let at = range.start / BLOCK * BLOCK + dice.below(u64::from(blocks.max(1))) as u32 * BLOCK;
        let wrong = match self.draw_misread(dice) {
            Some(misread) => self.misread_block(&misread),
            None => vec![0; LOG_BLOCK_BYTES],
        };
        let file = &mut self.files[place].1;
        let mut right = file.durable_in(&(at..at + BLOCK)).to_vec();
        right.resize(LOG_BLOCK_BYTES, 0);
        file.put(at as usize, &wrong);
        self.stale.push(Stale { segment_seq, at, right });
    }

    /// What is in the page cache is forgotten, as far as it overlaps a range, or all of it.
    pub(super) fn refresh(&mut self, of: Option<(u64, &Range<u32>)>) {
        for stale in std::mem::take(&mut self.stale) {
            let is_hit = of.is_none_or(|(segment_seq, range)| {
                segment_seq == stale.segment_seq && stale.at < range.end && range.start < stale.at + BLOCK
            });
            match self.place(stale.segment_seq).filter(|_| is_hit) {
                Some(place) => self.files[place].1.put(stale.at as usize, &stale.right),
                None if is_hit => {}
                None => self.stale.push(stale),
            }
        }
    }
}
