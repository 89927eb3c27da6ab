//! Maps whose keys are ids that this process or cluster gave out: their hash is one mix instead of SipHash's rounds.
//!
//! Not for keys that a client chooses: who can choose them could make them meet. The order of iteration follows from the
//! keys and the history of the map alone, and still means nothing.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::mix64;

/// A map by ids. `IdMap::default()` makes one.
pub type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// [`mix64`] over the numbers of an id.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher {
    state: u64,
}

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.state = mix64(self.state ^ number);
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(u64::from(number));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::{BuildHasher, Hash};

    use super::*;
    use crate::{GroupId, NodeId};

    fn hash(key: impl Hash) -> u64 {
        BuildHasherDefault::<IdHasher>::default().hash_one(key)
    }

    #[test]
    fn ids_in_a_row_and_pairs_of_them_spread_over_low_and_high_bits() {
        // A map takes its place from the low bits and its tag from the high ones.
        let hashes: Vec<u64> =
            (0..64u32).flat_map(|a| (0..64u32).map(move |b| hash((GroupId(a), GroupId(b))))).collect();
        let all: BTreeSet<u64> = hashes.iter().copied().collect();
        assert_eq!(all.len(), hashes.len(), "no two pairs meet");
        for shift in [0, 57] {
            let mut seen = [0u32; 128];
            hashes.iter().for_each(|hash| seen[(hash >> shift & 127) as usize] += 1);
            assert!(seen.iter().all(|count| (8..64).contains(count)), "of 32 expected: {seen:?}");
        }
        assert_ne!(hash((GroupId(1), GroupId(2))), hash((GroupId(2), GroupId(1))));
    }

    #[test]
    fn a_map_by_ids_finds_what_was_put_in() {
        let map: IdMap<NodeId, u64> = (0..1000).map(|id| (NodeId(id), id * 3)).collect();
        assert!((0..1000).all(|id| map.get(&NodeId(id)) == Some(&(id * 3))) && !map.contains_key(&NodeId(1000)));
    }
}
