//! Memory of a node: receive buffers that the kernel picks from, and the words of its read cache.
//!
//! Receive buffers are a provided-buffer ring and the memory behind it.
//!
//! ```text
//!  ring: entries[n], 16 B each   addr u64 | len u32 | id u16 | (first entry: tail u16)
//!  data: n buffers of buffer_bytes; buffer i at i * buffer_bytes
//!  a buffer is the kernel's ──completion names it──▶ ours ──put + publish──▶ the kernel's
//! ```

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use io_uring::types::BufRingEntry;
use memmap2::{Advice, MmapMut, UncheckedAdvice};

const PAGE_BYTES: usize = 4096;

/// The pool of one ring.
pub(crate) struct BufferPool {
    entries: NonNull<BufRingEntry>,
    entries_layout: Layout,
    data: NonNull<u8>,
    data_layout: Layout,
    count: u16,
    buffer_bytes: u32,
    /// The next entry to fill; the kernel sees it when published.
    tail: u16,
    /// Who has each buffer: what we lend to the loop must not be the kernel's to write.
    is_kernels: Box<[bool]>,
    /// Set when an operation may still write here: the memory then outlives us.
    is_leaked: bool,
}

impl BufferPool {
    /// `count` buffers (a power of two, at most 32,768) of `buffer_bytes` each, all ready to be published.
    pub(crate) fn new(count: u16, buffer_bytes: u32) -> BufferPool {
        assert!(count.is_power_of_two(), "the kernel masks the tail");
        assert!(buffer_bytes > 0, "a buffer holds something");
        let entries_layout = layout(usize::from(count) * size_of::<BufRingEntry>());
        let data_layout = layout(usize::from(count) * buffer_bytes as usize);
        let entries = zeroed(entries_layout).cast::<BufRingEntry>();
        let data = zeroed(data_layout);
        let is_kernels = vec![false; usize::from(count)].into_boxed_slice();
        let mut pool = BufferPool {
            entries,
            entries_layout,
            data,
            data_layout,
            count,
            buffer_bytes,
            tail: 0,
            is_kernels,
            is_leaked: false,
        };
        for id in 0..count {
            pool.put(id);
        }
        pool.publish();
        pool
    }

    /// Where the ring begins, for registering it.
    pub(crate) fn ring_address(&self) -> u64 {
        self.entries.as_ptr() as u64
    }

    /// How many buffers there are.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// A completion named buffer `id`: it is ours until `put`.
    pub(crate) fn take(&mut self, id: u16) {
        let owner = &mut self.is_kernels[usize::from(id)];
        assert!(*owner, "the kernel names only buffers that it was given");
        *owner = false;
    }

    /// The first `bytes` of a buffer that was taken.
    pub(crate) fn bytes(&self, id: u16, bytes: u32) -> &[u8] {
        assert!(!self.is_kernels[usize::from(id)], "a buffer of the kernel is not read");
        assert!(bytes <= self.buffer_bytes, "a buffer holds no more than its size");
        // SAFETY: `id < count` (indexed above), so the buffer lies inside `data`.
        let start = unsafe { self.data.as_ptr().add(usize::from(id) * self.buffer_bytes as usize) };
        // SAFETY: `bytes` of that buffer are inside `data`, initialised (zeroed when allocated), and written by nobody:
        // the kernel writes only to buffers it was given, and `put` needs `&mut self`.
        unsafe { std::slice::from_raw_parts(start, bytes as usize) }
    }

    /// Gives a buffer back; the kernel may use it after the next `publish`.
    pub(crate) fn put(&mut self, id: u16) {
        let owner = &mut self.is_kernels[usize::from(id)];
        assert!(!*owner, "a buffer is given back once");
        *owner = true;
        let address = self.data.as_ptr() as u64 + u64::from(id) * u64::from(self.buffer_bytes);
        let place = self.tail & (self.count - 1);
        // SAFETY: `place < count`, so the entry lies inside the ring.
        let entry = unsafe { self.entries.as_ptr().add(usize::from(place)) };
        // SAFETY: inside the ring, aligned, initialised; the kernel reads entries only below the published tail, and
        // this one is not: there are `count` buffers, and this one was out. The setters leave the tail field alone.
        let entry = unsafe { &mut *entry };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel all that was put: one store.
    pub(crate) fn publish(&mut self) {
        // SAFETY: `entries` is the first entry of the ring, initialised; its tail field is part of it.
        let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) }.cast::<AtomicU16>();
        // SAFETY: aligned u16 inside the ring's memory, which lives as long as `self`; both sides access it atomically.
        let tail = unsafe { &*tail };
        tail.store(self.tail, Ordering::Release);
    }

    /// The memory is never freed: an operation may still write to it.
    pub(crate) fn leak(&mut self) {
        self.is_leaked = true;
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        if self.is_leaked {
            return;
        }
        // SAFETY: allocated with this layout, not freed before; the ring has drained and unregistered it (else leaked).
        unsafe { dealloc(self.entries.as_ptr().cast(), self.entries_layout) };
        // SAFETY: as above.
        unsafe { dealloc(self.data.as_ptr(), self.data_layout) };
    }
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, PAGE_BYTES).expect("a pool is far smaller than the address space")
}

fn zeroed(layout: Layout) -> NonNull<u8> {
    // SAFETY: the size is not zero: `new` asserts that neither the count nor the buffer size is.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

/// 64 bytes of a cache's memory, on a line of the processor.
pub type Line = [AtomicU64; 8];

/// The memory of a node's read cache: zeros, mapped, in use until the process ends.
///
/// Dropping it gives the pages back and keeps the addresses, so that whoever still has the lines reads zeros.
pub struct CacheMemory {
    map: ManuallyDrop<MmapMut>,
    lines: &'static [Line],
}

impl CacheMemory {
    /// Maps so many bytes, rounded down to whole lines, at least one. With `is_populated` the pages are there at once;
    /// else each comes with its first use. What the system refuses of huge pages and of that is told beside it: the
    /// memory is as good without, only slower.
    ///
    /// Errors: the system has no such memory.
    pub fn map(bytes: usize, is_populated: bool) -> std::io::Result<(CacheMemory, Option<std::io::Error>)> {
        let count = (bytes / size_of::<Line>()).max(1);
        let mut map = MmapMut::map_anon(count * size_of::<Line>())?;
        let mut refusal = None;
        if is_populated {
            refusal = map.advise(Advice::HugePage).and_then(|()| map.advise(Advice::PopulateWrite)).err();
        }
        let start = map.as_mut_ptr().cast::<Line>();
        // SAFETY: the mapping has `count` lines, begins on a page, is zeros, which are atomic words, and is never
        // unmapped (`ManuallyDrop`, nothing takes it out); nobody makes another reference to its bytes.
        let lines = unsafe { std::slice::from_raw_parts(start, count) };
        Ok((CacheMemory { map: ManuallyDrop::new(map), lines }, refusal))
    }

    /// All of it.
    #[must_use]
    pub fn lines(&self) -> &'static [Line] {
        self.lines
    }
}

impl Drop for CacheMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is anonymous and private, so its pages are zeros afterwards, which are atomic words; they
        // are read and written as such only, so whoever does it meanwhile meets the old word or zero.
        let given_back = unsafe { self.map.unchecked_advise(UncheckedAdvice::DontNeed) };
        // Refused, the pages stay: nothing depends on it.
        drop(given_back);
    }
}

/// The line that `word` lies in will be read soon.
#[inline]
pub fn prefetch(word: &AtomicU64) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(word).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::hint::black_box(word.load(Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_cache_is_zeros_and_zeros_again_once_it_was_given_up() {
        for is_populated in [false, true] {
            let (memory, _) = CacheMemory::map((1 << 20) + 63, is_populated).expect("there is a megabyte");
            let lines = memory.lines();
            assert_eq!((lines.len(), lines.as_ptr().align_offset(64)), ((1 << 20) / 64, 0));
            assert!(lines.as_flattened().iter().all(|word| word.load(Ordering::Relaxed) == 0));
            lines.as_flattened().iter().for_each(|word| word.store(7, Ordering::Relaxed));
            prefetch(&lines[5][3]);
            drop(memory);
            assert!(lines.as_flattened().iter().all(|word| word.load(Ordering::Relaxed) == 0));
        }
    }

    #[test]
    fn a_buffer_goes_round_between_the_kernel_and_us() {
        let mut pool = BufferPool::new(4, 64);
        pool.take(2);
        assert_eq!(pool.bytes(2, 64), [0; 64]);
        pool.put(2);
        pool.publish();
        assert_eq!(pool.tail, 5);
        pool.take(2);
    }

    #[test]
    #[should_panic(expected = "not read")]
    fn a_buffer_of_the_kernel_is_never_read() {
        BufferPool::new(4, 64).bytes(0, 1);
    }

    #[test]
    #[should_panic(expected = "given back once")]
    fn a_buffer_is_never_given_back_twice() {
        BufferPool::new(4, 64).put(0);
    }
}
