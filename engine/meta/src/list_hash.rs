//! SHA-256 over block names, one after the other, whose state is kept in a row between commands.

use base::BlockHash;
use sha2::block_api::compress256;

/// FIPS 180-4, 5.3.3: the state before the first block.
const BEGIN: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The hash of the names so far. Two names are one block of SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ListHash {
    pub state: [u32; 8],
    /// The last name, when their count is odd; else zeros.
    pub rest: [u8; 32],
    pub names: u64,
}

impl ListHash {
    pub fn new() -> ListHash {
        ListHash { state: BEGIN, rest: [0; 32], names: 0 }
    }

    pub fn push(&mut self, name: &BlockHash) {
        self.names += 1;
        if self.names % 2 == 1 {
            self.rest = name.0;
            return;
        }
        let mut block = [0; 64];
        block[..32].copy_from_slice(&self.rest);
        block[32..].copy_from_slice(&name.0);
        compress256(&mut self.state, &[block]);
        self.rest = [0; 32];
    }

    pub fn finish(mut self) -> [u8; 32] {
        // FIPS 180-4, 5.1.1: a one, zeros, and the length in bits. 32 bytes or none are left, so it is one block.
        let mut block = [0; 64];
        let left = if self.names % 2 == 1 { 32 } else { 0 };
        block[..left].copy_from_slice(&self.rest[..left]);
        block[left] = 0x80;
        block[56..].copy_from_slice(&(self.names * 256).to_be_bytes());
        compress256(&mut self.state, &[block]);
        let mut out = [0; 32];
        for (bytes, word) in out.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn it_is_the_sha_256_of_the_names_joined() {
        let mut hash = ListHash::new();
        let mut joined = Vec::new();
        for n in 0..40u8 {
            assert_eq!(hash.finish(), <[u8; 32]>::from(Sha256::digest(&joined)), "of {n} names");
            hash.push(&BlockHash([n; 32]));
            joined.extend([n; 32]);
        }
    }
}
