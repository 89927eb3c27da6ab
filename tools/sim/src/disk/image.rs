//! Memory of tail images and of files, kept for reuse: an image is zeroed as far as it was written, not whole.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut, Range};

thread_local! {
    /// Images that nobody uses, all zero, by no order that could matter.
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Images kept per thread.
const KEPT_MAX: usize = 64;

/// The memory of one segment's tail.
#[derive(Clone, Debug)]
pub(super) struct Image {
    bytes: Vec<u8>,
    /// Nothing was written from here on.
    dirty_end: usize,
}

impl Image {
    /// A zeroed image.
    pub fn new(bytes: usize) -> Image {
        let kept = POOL.with_borrow_mut(|pool| {
            let at = pool.iter().position(|image| image.len() == bytes)?;
            Some(pool.swap_remove(at))
        });
        Image { bytes: kept.unwrap_or_else(|| vec![0; bytes]), dirty_end: 0 }
    }

    pub fn slice(&self, range: Range<u32>) -> &[u8] {
        &self.bytes[range.start as usize..range.end as usize]
    }

    pub fn slice_mut(&mut self, range: Range<u32>) -> &mut [u8] {
        self.dirty_end = self.dirty_end.max(range.end as usize);
        &mut self.bytes[range.start as usize..range.end as usize]
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes[..self.dirty_end].fill(0);
        POOL.with_borrow_mut(|pool| {
            if pool.len() < KEPT_MAX {
                pool.push(bytes);
            }
        });
    }
}

thread_local! {
    /// Memory of files that are gone, empty.
    static CONTENTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The bytes of a file. Their memory is used again by another file, so that it is neither grown nor cleared each time.
#[derive(Clone, Debug, Default)]
pub(super) struct Content(Vec<u8>);

impl Content {
    /// To be grown: with memory, if there is some.
    pub fn grow(&mut self) -> &mut Vec<u8> {
        if self.0.capacity() == 0 {
            self.0 = CONTENTS.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        &mut self.0
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Content {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0);
        bytes.clear();
        CONTENTS.with_borrow_mut(|pool| {
            if bytes.capacity() > 0 && pool.len() < KEPT_MAX {
                pool.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_comes_back_zeroed() {
        let mut image = Image::new(8192);
        image.slice_mut(4000..4100).fill(7);
        drop(image);
        let image = Image::new(8192);
        assert!(image.slice(0..8192).iter().all(|byte| *byte == 0));
    }
}
