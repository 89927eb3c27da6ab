//! A cache of answers beside a replica, by path and by node, of heads and of who may read: what no entry is said to have
//! changed is still true, and no answer is as of an earlier row than one before it.

use std::collections::BTreeMap;

use super::*;

/// The largest number of a node that is looked at.
const NODES: u64 = 200;
/// And of an account.
const ACCTS: u64 = 6;

/// Answers that are kept, of random paths and nodes.
pub struct Answers {
    prng: Prng,
    /// By path key, or by a node's number after a byte that no path begins with.
    kept: BTreeMap<(Nsid, Vec<u8>), (At, Point)>,
    newest: BTreeMap<(Nsid, Vec<u8>), Jid>,
    heads: BTreeMap<Nsid, Jid>,
    rights: BTreeMap<Nsid, Option<Rights>>,
    joined: BTreeMap<(Nsid, Acct), bool>,
    /// Paths and namespaces that were said to have changed, and answers that were compared.
    pub counts: [u64; 3],
}

fn node_key(node: TreeNode) -> Vec<u8> {
    [&b"#"[..], &node.0.to_be_bytes()].concat()
}

impl Answers {
    pub fn new() -> Answers {
        let ((kept, newest), (heads, rights, joined)) = Default::default();
        Answers { prng: Prng::new(5), kept, newest, heads, rights, joined, counts: [0; 3] }
    }

    /// An entry was applied.
    pub fn follow(&mut self, store: &MemoryStore, group: GroupId, batch: &RowBatch) {
        let Answers { kept, counts, heads, rights, joined, .. } = self;
        changed(
            store,
            group,
            batch,
            |_| true,
            |changed| match changed {
                Changed::Path(nsid, path) => {
                    counts[0] += 1;
                    kept.remove(&(nsid, path.to_vec()));
                }
                Changed::Node(nsid, node) => {
                    kept.remove(&(nsid, node_key(node)));
                }
                Changed::Head(nsid, now) => {
                    heads.remove(&nsid);
                    // What it is told to be now is true as well.
                    rights.insert(nsid, now);
                }
                Changed::Member(nsid, acct) => {
                    joined.remove(&(nsid, acct));
                }
                Changed::Namespace(gone) => {
                    counts[1] += 1;
                    kept.retain(|(nsid, _), _| *nsid != gone);
                }
            },
        );
        for ((nsid, key), (at, point)) in std::mem::take(&mut self.kept) {
            // What is not in memory now is another time.
            let Some(now) = self.look(store, group, nsid, &key, &at) else { continue };
            self.counts[2] += 1;
            assert_eq!(now.answer, point.answer, "{nsid} {at:?}: it changed, and nobody said so");
            if point.answer != Answer::NotFound {
                assert_eq!(now.as_of, point.as_of, "{nsid} {at:?}");
            }
            self.kept.insert((nsid, key), (at, point));
        }
        for _ in 0..4 {
            let (nsid, path) = (Nsid(NSID.0 + self.prng.below(2)), random_path(&mut self.prng, 3));
            let mut key = Vec::new();
            assert!(path_key(&path, &mut key), "{path} is a path");
            self.keep(store, group, (nsid, key), At::path(&path));
            let node = TreeNode(1 + self.prng.below(NODES));
            self.keep(store, group, (nsid, node_key(node)), At { node, path: String::new() });
        }
        self.follow_heads(store, group);
    }

    fn keep(&mut self, store: &MemoryStore, group: GroupId, (nsid, key): (Nsid, Vec<u8>), at: At) {
        if let Some(point) = self.look(store, group, nsid, &key, &at)
            && point.as_of.is_some()
        {
            self.kept.insert((nsid, key), (at, point));
        }
    }

    /// Heads and rights are what they were, where nobody said otherwise.
    fn follow_heads(&mut self, store: &MemoryStore, group: GroupId) {
        let mut wants = Vec::new();
        for nsid in [NSID, Nsid(NSID.0 + 1)] {
            if let Ok(head) = head(store, group, nsid, &mut wants) {
                assert_eq!(*self.heads.entry(nsid).or_insert(head), head, "{nsid}: the head moved, and nobody said so");
            }
            if let Ok(now) = rights(store, group, nsid, &mut wants) {
                assert_eq!(*self.rights.entry(nsid).or_insert(now), now, "{nsid}: it has another owner or kind");
            }
            for acct in (1..=ACCTS).map(Acct) {
                let Ok(now) = has_joined(store, group, (acct, nsid), &mut wants) else { continue };
                assert_eq!(*self.joined.entry((nsid, acct)).or_insert(now), now, "{nsid}: account {acct} came or went");
                let Some(Some(rights)) = self.rights.get(&nsid) else { continue };
                let Ok(may) = may_read(store, group, (acct, nsid), &mut wants) else { continue };
                assert_eq!(rights.owner == acct || rights.is_shared && now, may, "{nsid}: account {acct}");
            }
        }
    }

    fn look(&mut self, store: &MemoryStore, group: GroupId, nsid: Nsid, key: &[u8], at: &At) -> Option<Point> {
        let point = point(store, group, (Acct(0), nsid), at, &mut Vec::new()).ok()?;
        if let Some(as_of) = point.as_of {
            let newest = self.newest.entry((nsid, key.to_vec())).or_default();
            assert!(as_of >= *newest, "{nsid} {at:?} is as of {as_of}, after {newest}");
            *newest = as_of;
        }
        Some(point)
    }
}
