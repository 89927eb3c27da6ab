//! What is in a file: block names that follow from who wrote it, and their hash.

use base::BlockHash;
use base::limits::BLOCK_BYTES;
use sha2::{Digest, Sha256};

use crate::op::Writer;
use crate::stream::{Draws, Stream};

/// Contents of one seed.
#[derive(Clone, Copy, Debug)]
pub struct Contents {
    draws: Draws,
}

impl Contents {
    /// Those of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Contents {
        Contents { draws: Draws::new(seed, Stream::Content) }
    }

    /// Blocks of a file of `size` bytes.
    #[must_use]
    pub fn blocks(size: u64) -> u32 {
        u32::try_from(size.div_ceil(BLOCK_BYTES)).expect("the bounds of a mix keep files below 2^32 blocks")
    }

    /// Bytes of block `position` of a file of `size` bytes.
    #[must_use]
    pub fn block_bytes(size: u64, position: u32) -> u32 {
        let left = size - u64::from(position) * BLOCK_BYTES;
        left.min(BLOCK_BYTES) as u32
    }

    /// The name of block `position` of what `writer` wrote.
    #[must_use]
    pub fn block(self, writer: Writer, position: u32) -> BlockHash {
        let mut prng = self.draws.prng(writer.0 ^ u64::from(position).rotate_right(20));
        let mut name = [0; 32];
        name.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&prng.next_u64().to_le_bytes()));
        BlockHash(name)
    }

    /// SHA-256 of the block names in order.
    #[must_use]
    pub fn hash(self, writer: Writer, size: u64) -> [u8; 32] {
        let mut hasher = Sha256::new();
        (0..Contents::blocks(size)).for_each(|position| hasher.update(self.block(writer, position).0));
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_follows_from_seed_and_writer() {
        let contents = Contents::new(1);
        let size = 2 * BLOCK_BYTES + 1;
        assert_eq!(Contents::blocks(size), 3);
        assert_eq!((Contents::block_bytes(size, 1), Contents::block_bytes(size, 2)), (BLOCK_BYTES as u32, 1));
        assert_eq!(contents.hash(Writer(5), size), contents.hash(Writer(5), size));
        assert_ne!(contents.hash(Writer(5), size), contents.hash(Writer(6), size));
        assert_ne!(contents.block(Writer(5), 0), contents.block(Writer(5), 1));
        assert_ne!(contents.block(Writer(5), 0), Contents::new(2).block(Writer(5), 0));
        let by_hand = Sha256::digest(contents.block(Writer(5), 0).0);
        assert_eq!(contents.hash(Writer(5), 1)[..], by_hand[..]);
    }
}
