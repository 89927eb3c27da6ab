//! From a key to its tag and its two buckets.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::layout::key::JSON;

/// Where a key may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Hashed {
    pub tag: u16,
    pub first: u32,
    pub second: u32,
}

impl Hashed {
    /// The bucket to look into next; `None` when both are the same.
    pub fn other(self) -> Option<u32> {
        (self.second != self.first).then_some(self.second)
    }
}

/// The tags of the two forms of an answer differ in these bits.
const JSON_TAG: u16 = 0x5a5a;

/// The JSON form of an answer has the first bucket of the answer itself: what bumps one bumps both.
pub(crate) fn hash(key: &[u8], seed: u64, buckets: u32) -> Hashed {
    let (table, rest) = key.split_first().expect("a key has its table");
    let hash = xxh3_64_with_seed(rest, seed ^ u64::from(table & !JSON) << 56);
    let tag = (hash >> 48) as u16 ^ if table & JSON == 0 { 0 } else { JSON_TAG };
    let first = scale(hash << 16, buckets);
    Hashed { tag, first, second: other_bucket(first, tag, buckets) }
}

/// The other bucket of an item, by one of them and its tag; its own inverse.
pub(crate) fn other_bucket(bucket: u32, tag: u16, buckets: u32) -> u32 {
    let sum = scale(base::mix64(u64::from(tag)), buckets);
    if sum >= bucket { sum - bucket } else { sum + (buckets - bucket) }
}

/// From the whole range of `u64` to `0..buckets`, evenly.
fn scale(value: u64, buckets: u32) -> u32 {
    ((u128::from(value) * u128::from(buckets)) >> 64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Prng;

    #[test]
    fn each_bucket_follows_from_the_other_and_the_tag() {
        let mut prng = Prng::new(1);
        for buckets in [1, 2, 3, 7, 1000, 16_384, u32::MAX] {
            for _ in 0..1000 {
                let hashed = hash(&prng.next_u64().to_le_bytes(), 9, buckets);
                assert!(hashed.first < buckets && hashed.second < buckets);
                assert_eq!(other_bucket(hashed.second, hashed.tag, buckets), hashed.first);
            }
        }
    }

    #[test]
    fn both_forms_of_an_answer_share_their_first_bucket_only() {
        let of = |table| hash(&[table, 0, 0, 0, 0, 0, 0, 0, 7, b'/', b'a'], 3, 1000);
        let (plain, json) = (of(0x40), of(0xc0));
        assert_eq!(plain.first, json.first);
        assert_ne!(plain.tag, json.tag);
        assert_ne!(of(0x40).first, of(0x41).first);
    }

    #[test]
    fn keys_spread_over_all_buckets() {
        let mut counts = [0; 64];
        (0u64..6400).for_each(|n| counts[hash(&n.to_be_bytes(), 5, 64).first as usize] += 1);
        assert!(counts.iter().all(|count| (50..160).contains(count)), "{counts:?}");
    }
}
