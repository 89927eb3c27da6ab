//! Requests whose keys are cached, answered while they are read: from the bytes that came to the bytes that leave, with
//! nothing kept between.
//!
//! A request is answered here wholly or not at all; from the first one that is not, all goes the usual way.

use base::limits::{CACHE_BATCH_MAX, MEMCACHE_OUT_BYTES_MAX, MEMCACHE_OUT_BYTES_SOFT};
use base::{GroupId, Mono, Nsid, group_of};
use cache::{Asked, Hit, Kind, Read, Writer, key};
use wire::memcache::{Item, Quick, QuickForm, QuickKey, put_end, put_meta_hit, put_meta_miss, put_value};

use crate::config::{NodeConfig, Profile};
use crate::near_cache::{NearCache, NodeCaches};

/// The table of what this port gives out.
pub(super) const TABLE: u8 = key::PATH | key::JSON;

/// What was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Told {
    /// Keys that name something.
    pub hits: u64,
    /// Keys that name nothing.
    pub misses: u64,
    /// Requests that were `mg`.
    pub metas: u64,
}

/// Memory for the keys of a batch.
#[derive(Default)]
pub(super) struct Scratch {
    keys: Vec<u8>,
}

/// A key that is to be looked up.
#[derive(Clone, Copy)]
struct Staged<'a> {
    key: QuickKey<'a>,
    group: GroupId,
    /// In the keys.
    at: (u32, u32),
}

impl Staged<'_> {
    fn asked<'k>(&self, keys: &'k [u8]) -> Asked<'k> {
        Asked { group: self.group, key: &keys[self.at.0 as usize..self.at.1 as usize] }
    }
}

/// Answers requests at the front of `bytes`; returns how many bytes are done with. They had come before `now` was taken.
pub(super) fn answer(
    (near, groups, now): (&mut NearCache, u32, Mono),
    bytes: &[u8],
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> (usize, Told) {
    let mut answers = Answers { done: 0, out_done: out.len(), told: Told::default(), begun: Told::default(), out };
    if !near.is_open(now) {
        return (0, Told::default());
    }
    let mut quick = Quick::new(bytes);
    while answers.out.len() < MEMCACHE_OUT_BYTES_SOFT || answers.is_inside() {
        scratch.keys.clear();
        let Some(first) = stage(&mut quick, groups, &mut scratch.keys) else { break };
        // One alone, as of a client that waits for each answer, needs nothing of a batch.
        let is_alone = first.key.end == Some(bytes.len());
        let is_full = match is_alone {
            true => answer_one((near, now), &first, &scratch.keys, &mut answers),
            false => answer_batch((near, now), (first, &mut quick, groups), &mut scratch.keys, &mut answers),
        };
        if !is_full || is_alone {
            break;
        }
    }
    answers.out.truncate(answers.out_done);
    (answers.done, answers.told)
}

/// True when the key was answered.
fn answer_one((near, now): (&mut NearCache, Mono), one: &Staged<'_>, keys: &[u8], answers: &mut Answers<'_>) -> bool {
    let mut is_cached = false;
    near.get_all(now, &[one.asked(keys)], |_, read| is_cached = answers.put(&one.key, &read));
    near.counts.hits += u64::from(is_cached);
    is_cached
}

/// Looks up as many keys as go into a batch; true when they were all answered, and more may come.
fn answer_batch<'a>(
    (near, now): (&mut NearCache, Mono),
    (first, quick, groups): (Staged<'a>, &mut Quick<'a>, u32),
    keys: &mut Vec<u8>,
    answers: &mut Answers<'_>,
) -> bool {
    let mut staged = [first; CACHE_BATCH_MAX];
    let mut count = 1;
    while count < CACHE_BATCH_MAX {
        let Some(next) = stage(quick, groups, keys) else { break };
        staged[count] = next;
        count += 1;
    }
    let asked = staged.map(|staged| staged.asked(keys));
    // What is not answered here is counted where it is looked up again.
    let mut answered = 0;
    near.get_all(now, &asked[..count], |at, read| {
        answered += usize::from(answered == at && answers.put(&staged[at].key, &read));
    });
    near.counts.hits += answered as u64;
    answered == CACHE_BATCH_MAX
}

/// The next key, with its place in `keys`.
fn stage<'a>(quick: &mut Quick<'a>, groups: u32, keys: &mut Vec<u8>) -> Option<Staged<'a>> {
    let start = keys.len();
    keys.extend_from_slice(&[0; key::PREFIX_BYTES]);
    let found = quick.next(keys)?;
    keys[start..start + key::PREFIX_BYTES].copy_from_slice(&key::prefix(TABLE, found.nsid));
    Some(Staged { key: found, group: group_of(found.nsid, groups), at: (start as u32, keys.len() as u32) })
}

/// Replies, of which those of whole requests count.
struct Answers<'o> {
    out: &'o mut Vec<u8>,
    /// Bytes of requests that are answered, and how far their replies go.
    done: usize,
    out_done: usize,
    told: Told,
    /// With the request that is being answered.
    begun: Told,
}

impl Answers<'_> {
    /// Some keys of a request are answered, and not all.
    fn is_inside(&self) -> bool {
        self.out.len() > self.out_done || self.begun != self.told
    }

    /// Puts the answer to a key; false when there is none.
    fn put(&mut self, key: &QuickKey<'_>, read: &Read<'_>) -> bool {
        let Read::Hit(hit) = read else { return false };
        if self.out.len() + hit.value.len() > MEMCACHE_OUT_BYTES_MAX {
            return false;
        }
        match &key.form {
            QuickForm::Get { has_cas } => {
                if hit.kind != Kind::Absent {
                    put_value(key.key, &item(hit), *has_cas, self.out);
                }
                if key.end.is_some() {
                    put_end(self.out);
                }
            }
            QuickForm::Meta(get) if hit.kind == Kind::Absent => put_meta_miss(get, self.out),
            QuickForm::Meta(get) => put_meta_hit(get, &item(hit), self.out),
        }
        self.begun.hits += u64::from(hit.kind != Kind::Absent);
        self.begun.misses += u64::from(hit.kind == Kind::Absent);
        self.begun.metas += u64::from(matches!(key.form, QuickForm::Meta(_)));
        if let Some(end) = key.end {
            (self.done, self.out_done, self.told) = (end, self.out.len(), self.begun);
        }
        true
    }
}

fn item<'v>(hit: &Hit<'v>) -> Item<'v> {
    Item { flags: u32::from(hit.kind as u8), cas: hit.as_of, is_fetched: hit.was_used, value: hit.value }
}

const NOW: Mono = Mono(1_000);
const GROUPS: u32 = 2;

/// The way of a hit by itself, over a cache of one core that is filled here: for benches and tests.
pub struct HitPath {
    writer: Writer,
    near: NearCache,
    scratch: Scratch,
    out: Vec<u8>,
    _memory: Option<reactor::CacheMemory>,
}

impl HitPath {
    /// An empty cache of so many bytes, under a lease.
    #[must_use]
    pub fn new(cache_bytes: u64) -> HitPath {
        let mut config = NodeConfig::of_profile(Profile::Dev);
        (config.cluster.cores, config.cluster.groups, config.process.cache_bytes) = (1, GROUPS, cache_bytes);
        let NodeCaches { memory, mut cores } = NodeCaches::of(&config, 7);
        let (writer, near) = cores.pop().expect("it has one core");
        (0..GROUPS as usize).for_each(|place| writer.publish_lease(place, Mono(1 << 60)));
        HitPath { writer, near, scratch: Scratch::default(), out: Vec::new(), _memory: memory }
    }

    /// Caches what is at a path, in lower case.
    pub fn insert(&mut self, nsid: Nsid, path: &str, kind: Kind, as_of: u64, value: &[u8]) {
        let mut cached = key::prefix(TABLE, nsid).to_vec();
        cached.extend_from_slice(path.as_bytes());
        let place = group_of(nsid, GROUPS).0 as usize;
        let _ = self.writer.insert(place, &cache::Item { key: &cached, kind, as_of, value });
    }

    /// Answers requests; tells how many of their bytes were done with, and the replies.
    pub fn answer(&mut self, requests: &[u8]) -> (usize, &[u8]) {
        self.out.clear();
        let (used, _) = self.answer_more(requests);
        (used, &self.out)
    }

    fn answer_more(&mut self, requests: &[u8]) -> (usize, Told) {
        answer((&mut self.near, GROUPS, NOW), requests, &mut self.scratch, &mut self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig(HitPath);

    impl Rig {
        /// A cache under a lease with files `/0` to `/39` of namespace 9, each with its number as value and version.
        fn new() -> Rig {
            let mut rig = Rig(HitPath::new(64 << 20));
            (0..40).for_each(|number| rig.insert(&format!("/{number}"), Kind::File, number));
            rig
        }

        fn insert(&mut self, path: &str, kind: Kind, number: u64) {
            let value = if kind == Kind::Absent { String::new() } else { number.to_string() };
            self.0.insert(Nsid(9), path, kind, number, value.as_bytes());
        }

        /// What is left of the requests, and the replies to the others.
        fn answer<'r>(&mut self, requests: &'r str) -> (&'r str, String, Told) {
            self.0.out.clear();
            self.0.out.extend_from_slice(b"before ");
            let (used, told) = self.0.answer_more(requests.as_bytes());
            let replies = std::str::from_utf8(&self.0.out).expect("text").strip_prefix("before ").expect("it stays");
            (&requests[used..], replies.to_owned(), told)
        }
    }

    #[test]
    fn requests_are_answered_in_order_up_to_the_first_that_is_not_cached() {
        let mut rig = Rig::new();
        let requests = "get 9/1\r\ngets 9/2 9/3\r\nmg 9/4 v k\r\nget 9/5 9/none\r\nget 9/6\r\n";
        let (left, replies, told) = rig.answer(requests);
        assert_eq!(left, "get 9/5 9/none\r\nget 9/6\r\n");
        let got =
            "VALUE 9/1 1 1\r\n1\r\nEND\r\nVALUE 9/2 1 1 2\r\n2\r\nVALUE 9/3 1 1 3\r\n3\r\nEND\r\nVA 1 k9/4\r\n4\r\n";
        assert_eq!(replies, got);
        assert_eq!(told, Told { hits: 4, misses: 0, metas: 1 });
        assert_eq!(rig.answer("version\r\nget 9/1\r\n"), ("version\r\nget 9/1\r\n", String::new(), Told::default()));
        assert_eq!(rig.answer("get 9/1").0, "get 9/1", "it is not whole");
    }

    #[test]
    fn what_is_known_to_be_absent_is_answered_and_what_is_not_known_is_not() {
        let mut rig = Rig::new();
        rig.insert("/gone", Kind::Absent, 50);
        let (left, replies, told) = rig.answer("get 9/Gone\r\nget 9/1 9/gone 9/2\r\nmg 9/gone v k\r\nmg 9/gone q\r\n");
        assert_eq!(left, "");
        assert_eq!(replies, "END\r\nVALUE 9/1 1 1\r\n1\r\nVALUE 9/2 1 1\r\n2\r\nEND\r\nEN k9/gone\r\n");
        assert_eq!(told, Told { hits: 2, misses: 4, metas: 2 });
        assert_eq!(rig.answer("get 9/other\r\n").0, "get 9/other\r\n");
    }

    #[test]
    fn more_keys_than_a_batch_are_answered_wholly_or_not_at_all() {
        let mut rig = Rig::new();
        let keys: Vec<String> = (0..100).map(|at| format!("9/{}", at % 40)).collect();
        let many = format!("get {}\r\nget 9/7\r\n", keys.join(" "));
        let (left, replies, told) = rig.answer(&many);
        assert_eq!((left, told), ("", Told { hits: 101, ..Told::default() }));
        assert_eq!(replies.matches("VALUE ").count(), 101);
        assert!(replies.ends_with("END\r\nVALUE 9/7 1 1\r\n7\r\nEND\r\n"));
        let missing = format!("get 9/3\r\nget {} 9/none\r\n", keys.join(" "));
        let (left, replies, told) = rig.answer(&missing);
        assert_eq!((left, told), (&missing["get 9/3\r\n".len()..], Told { hits: 1, ..Told::default() }));
        assert_eq!(replies, "VALUE 9/3 1 1\r\n3\r\nEND\r\n");
        let single: String = keys.iter().map(|key| format!("get {key}\r\n")).collect();
        assert_eq!(rig.answer(&single).2.hits, 100);
    }

    #[test]
    fn without_a_lease_nothing_is_answered_here() {
        let mut rig = Rig::new();
        rig.0.writer.give_up_lease(group_of(Nsid(9), GROUPS).0 as usize);
        assert_eq!(rig.answer("get 9/1\r\n"), ("get 9/1\r\n", String::new(), Told::default()));
    }

    #[test]
    fn a_hit_allocates_nothing() {
        let mut rig = Rig::new();
        let pipelined = "get 9/1\r\n".repeat(64) + "mg 9/2 v k Oa1\r\nget 9/3 9/4 9/5\r\n";
        let mut work = |requests: &str| {
            let (used, _) = rig.0.answer(requests.as_bytes());
            assert_eq!(used, requests.len());
        };
        work(&pipelined);
        let counted = allocation_counter::measure(|| {
            for _ in 0..1_000 {
                work("get 9/1\r\n");
                work(&pipelined);
            }
        });
        assert_eq!(counted.count_total, 0);
    }
}
