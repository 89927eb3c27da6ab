//! Where a reader copies values to.

/// A value that was copied, at its exact bytes. One per reading core: it grows to nothing beyond what it was made with.
#[derive(Debug)]
pub struct ValueBuffer {
    /// The words that held the value, in their order.
    bytes: Box<[u8]>,
}

impl ValueBuffer {
    /// For values of up to `value_bytes_max`. [`crate::Reader::value_buffer`] knows how long they get.
    #[must_use]
    pub fn new(value_bytes_max: usize) -> ValueBuffer {
        // The first word may begin with the end of the key, the last may end in padding.
        ValueBuffer { bytes: vec![0; value_bytes_max.next_multiple_of(8) + 16].into_boxed_slice() }
    }

    /// Room for so many words; `None` if they are more than any item has.
    pub(crate) fn words(&mut self, count: usize) -> Option<&mut [u8]> {
        self.bytes.get_mut(..count * 8)
    }

    pub(crate) fn value(&self, at: usize, bytes: usize) -> &[u8] {
        &self.bytes[at..at + bytes]
    }
}
