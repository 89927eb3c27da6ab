//! The `content_hash` of clients: SHA-256 over the SHA-256 of each 4 MiB (HTTP API, content_hash).

use base::BlockHash;
use base::limits::BLOCK_BYTES;
use sha2::{Digest, Sha256};

/// SHA-256 over block names.
#[must_use]
pub fn content_hash_of(names: &[BlockHash]) -> [u8; 32] {
    let mut hash = Sha256::new();
    names.iter().for_each(|name| hash.update(name.0));
    hash.finalize().into()
}

/// The content hash of bytes that come in pieces of any sizes.
#[derive(Clone, Default)]
pub struct ContentHasher {
    names: Sha256,
    block: Sha256,
    /// Bytes in `block`, less than 4 MiB.
    filled: u64,
}

impl ContentHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(BLOCK_BYTES - self.filled).unwrap_or(usize::MAX);
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.block.update(now);
            self.filled += now.len() as u64;
            if self.filled == BLOCK_BYTES {
                self.end_block();
            }
            bytes = later;
        }
    }

    /// The hash of all that came.
    #[must_use]
    pub fn finish(mut self) -> [u8; 32] {
        if self.filled > 0 {
            self.end_block();
        }
        self.names.finalize().into()
    }

    fn end_block(&mut self) {
        self.names.update(std::mem::take(&mut self.block).finalize());
        self.filled = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(hash: [u8; 32]) -> String {
        BlockHash(hash).to_string()
    }

    fn hash_in_pieces(bytes: &[u8], piece: usize) -> String {
        let mut hasher = ContentHasher::default();
        bytes.chunks(piece).for_each(|piece| hasher.update(piece));
        hex(hasher.finish())
    }

    /// The vectors of the HTTP API.
    #[test]
    fn the_hash_is_that_of_the_public_test_vectors_however_the_bytes_come() {
        let counted: Vec<u8> = (0..12_595_257_u32).map(|i| (i % 251) as u8).collect();
        let zeros = vec![0; 4_194_305];
        let vectors: [(&[u8], &str); 6] = [
            (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            (b"a", "bf5d3affb73efd2ec6c36ad3112dd933efed63c4e1cbffcfa88e2759c144f2d8"),
            (&zeros[..4_194_303], "839e2d868a885f260431d186466f0f3c189ee0eee5cc444b54e717740ad7f1c3"),
            (&zeros[..4_194_304], "c7e946d101855255d919ef0c70718633adf77d3dfb3adeeecf5d0cb4e951be58"),
            (&zeros, "14a4d47f23a30177885d9820122f17d2d3a55fe63f7f5c27b95f689e0b2accd6"),
            (&counted, "39a74ce1597e7583ffa9ff839cc903b8b0a1b2195b28c5f820a120e9677a5436"),
        ];
        for (bytes, wanted) in vectors {
            for piece in [1_000_003, 4_194_304, 20_000_000] {
                assert_eq!(hash_in_pieces(bytes, piece), wanted, "{} bytes in pieces of {piece}", bytes.len());
            }
            let names: Vec<BlockHash> = bytes.chunks(4 << 20).map(crate::store::hash_of).collect();
            assert_eq!(hex(content_hash_of(&names)), wanted);
        }
    }
}
