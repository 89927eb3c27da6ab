//! A cache of answers by path beside a replica: what no entry is said to have changed is still true, and no answer is as
//! of an earlier row than one before it.

use std::collections::BTreeMap;

use super::*;

/// Answers that are kept, of random paths.
pub struct Answers {
    prng: Prng,
    kept: BTreeMap<(Nsid, Vec<u8>), (String, Point)>,
    newest: BTreeMap<(Nsid, Vec<u8>), Jid>,
    /// Paths and namespaces that were said to have changed, and answers that were compared.
    pub counts: [u64; 3],
}

impl Answers {
    pub fn new() -> Answers {
        let (kept, newest) = Default::default();
        Answers { prng: Prng::new(5), kept, newest, counts: [0; 3] }
    }

    /// An entry was applied.
    pub fn follow(&mut self, store: &MemoryStore, group: GroupId, batch: &RowBatch) {
        let Answers { kept, counts, .. } = self;
        changed(store, group, batch, |changed| match changed {
            Changed::Path(nsid, path) => {
                counts[0] += 1;
                kept.remove(&(nsid, path.to_vec()));
            }
            Changed::Namespace(gone) => {
                counts[1] += 1;
                kept.retain(|(nsid, _), _| *nsid != gone);
            }
        });
        for ((nsid, key), (path, point)) in std::mem::take(&mut self.kept) {
            // What is not in memory now is another time.
            let Some(now) = self.look(store, group, nsid, &key, &path) else { continue };
            self.counts[2] += 1;
            assert_eq!(now.answer, point.answer, "{nsid}{path}: it changed, and nobody said so");
            if point.answer != Answer::NotFound {
                assert_eq!(now.as_of, point.as_of, "{nsid}{path}");
            }
            self.kept.insert((nsid, key), (path, point));
        }
        for _ in 0..4 {
            let (nsid, path) = (Nsid(NSID.0 + self.prng.below(2)), random_path(&mut self.prng, 3));
            let mut key = Vec::new();
            assert!(path_key(&path, &mut key), "{path} is a path");
            if let Some(point) = self.look(store, group, nsid, &key, &path)
                && point.as_of.is_some()
            {
                self.kept.insert((nsid, key), (path, point));
            }
        }
    }

    fn look(&mut self, store: &MemoryStore, group: GroupId, nsid: Nsid, key: &[u8], path: &str) -> Option<Point> {
        let point = point(store, group, (Acct(0), nsid), path, &mut Vec::new()).ok()?;
        if let Some(as_of) = point.as_of {
            let newest = self.newest.entry((nsid, key.to_vec())).or_default();
            assert!(as_of >= *newest, "{nsid}{path} is as of {as_of}, after {newest}");
            *newest = as_of;
        }
        Some(point)
    }
}
