//! The read cache of this core's groups: filled by reads, kept true by apply, published with the lease.
//!
//! ```text
//! serve ── answer by path or node, head ─▶ insert     apply ── rows of the entry ─▶ invalidate them, or the namespace
//! step  ── lease held, renewed, gone ─▶ publish, give up, before this turn's messages leave
//! join_reads ── lookup by path or node, head ─▶ hit: answered at once, without a position
//! ```
//! What is cached under a path is the encoded answer, for whoever may read the namespace, which is cached by itself; and
//! beside it, under a table of its own, the JSON that the memcached port gives out (`cache_keys.rs`). Nothing here is ever asked whether something is true: without it
//! the same answers come from the rows (docs/design/cache.md).

use base::stages::Stage;
use base::{Acct, Jid, LogIndex, Mono, NodeId, Nsid};
use cache::{Item, Kind, Read as Found, ReadStats, Reader, Rule, ValueBuffer, WriteStats, Writer, key};
use meta::{Answer, Changed, Cold, NodeKind, Query, Rights, Store, Want, What};
use raft::ReadPath;
use seglog::Disk;

use crate::group::{Form, Read};
use crate::metadata_read::path_asked;
use crate::read::Answered;
use crate::{Effect, Shard, cache_keys, metadata_read};

/// One core's cache, as its shard uses it.
pub(crate) struct Cached {
    writer: Writer,
    reader: Reader,
    /// Reads of clients; the reader's own counts have what is looked at for other ends.
    reads: ReadStats,
    buffer: ValueBuffer,
    key: Vec<u8>,
    value: Vec<u8>,
    wants: Vec<Want>,
    /// By local group: what readers know.
    told: Vec<Told>,
    /// By local group: of which namespaces something was put in since the group's state began.
    filled: Vec<Filled>,
}

/// Namespaces by their place among 1,024. What is written to others costs the cache nothing.
type Filled = [u64; 16];

/// The word and the bit of a namespace.
fn place_of(nsid: Nsid) -> (usize, u64) {
    let place = nsid.0 % 1024;
    (place as usize / 64, 1 << (place % 64))
}

#[derive(Clone, Copy, Default)]
struct Told {
    lease: Option<Mono>,
    leader: Option<NodeId>,
}

impl Cached {
    /// Under the key that was set.
    fn insert(&mut self, at: u32, (form, nsid): (Form, Nsid), answer: &Answer, as_of: Jid) {
        self.value.clear();
        let kind = match answer {
            Answer::NotFound => Kind::Absent,
            Answer::Head(_) => {
                answer.encode(&mut self.value);
                Kind::Row
            }
            Answer::Entry(entry) => {
                match form {
                    Form::Native => answer.encode(&mut self.value),
                    Form::Metadata => metadata_read::render_json(entry, &mut self.value),
                }
                match entry.meta.kind {
                    NodeKind::File => Kind::File,
                    NodeKind::Folder => Kind::Folder,
                    NodeKind::Mount => Kind::Mount,
                }
            }
            _ => return,
        };
        self.check(at, kind, as_of);
        base::mark::hit!("shard.cached.filled");
        base::mark::hit!("shard.cached.filled_json", form == Form::Metadata);
        base::mark::hit!("shard.cached.filled_absent", kind == Kind::Absent);
        base::mark::hit!("shard.cached.filled_head", kind == Kind::Row);
        self.note_filled(at, nsid);
        let _ = self.writer.insert(at as usize, &Item { key: &self.key, kind, as_of: as_of.0, value: &self.value });
    }

    fn note_filled(&mut self, at: u32, nsid: Nsid) {
        let (word, bit) = place_of(nsid);
        self.filled[at as usize][word] |= bit;
    }

    /// Ends an answer, if it is there.
    fn forget(&mut self, at: u32, changed: Changed<'_>) {
        match changed {
            Changed::Path(nsid, path) => {
                base::mark::hit!("shard.cached.path_over");
                for table in [key::PATH, key::PATH | key::JSON] {
                    key::encode(table, nsid, path, &mut self.key);
                    self.writer.invalidate(&self.key);
                }
            }
            Changed::Node(nsid, node) => {
                key::encode(key::NODE, nsid, &node.0.to_be_bytes(), &mut self.key);
                self.writer.invalidate(&self.key);
            }
            Changed::Namespace(nsid) => {
                base::mark::hit!("shard.cached.namespace_over");
                self.writer.invalidate_namespace(at as usize, nsid);
            }
            Changed::Head(nsid, rights) => {
                cache_keys::put_head_key(nsid, &mut self.key);
                self.writer.invalidate(&self.key);
                self.keep_rights(at, nsid, rights);
            }
            Changed::Member(nsid, acct) => {
                base::mark::hit!("shard.cached.member_over");
                cache_keys::put_member_key(nsid, acct, &mut self.key);
                self.writer.invalidate(&self.key);
            }
        }
    }

    /// The row that has the rights is written with every change of its namespace: what is cached of it goes when they are
    /// others now.
    fn keep_rights(&mut self, at: u32, nsid: Nsid, rights: Option<Rights>) {
        cache_keys::put_rights_key(nsid, &mut self.key);
        match self.reader.get(at as usize, &self.key, Rule::Applied, &mut self.buffer) {
            Found::Miss => {}
            Found::Hit(hit) if rights.is_some_and(|rights| hit.value == cache_keys::rights_value(rights)) => {}
            Found::Hit(_) | Found::NotHere => {
                base::mark::hit!("shard.cached.rights_over");
                self.writer.invalidate(&self.key);
            }
        }
    }

    /// May the account read, as far as it is cached?
    fn may_read(&mut self, at: u32, (acct, nsid): (Acct, Nsid)) -> bool {
        if acct == Acct(0) {
            return true;
        }
        cache_keys::put_rights_key(nsid, &mut self.key);
        let found = self.reader.get(at as usize, &self.key, Rule::Applied, &mut self.buffer);
        let Found::Hit(hit) = found else { return false };
        let Some(rights) = cache_keys::rights_of(hit.value) else { return false };
        if rights.owner == acct || !rights.is_shared {
            return rights.owner == acct;
        }
        cache_keys::put_member_key(nsid, acct, &mut self.key);
        matches!(self.reader.get(at as usize, &self.key, Rule::Applied, &mut self.buffer), Found::Hit(_))
    }

    /// Of who may read: the namespace's rights, and that the account has joined where that is why.
    fn insert_rights(&mut self, at: u32, (acct, nsid): (Acct, Nsid), rights: Rights) {
        base::mark::hit!("shard.cached.filled_rights");
        self.note_filled(at, nsid);
        let mut insert = |key: &[u8], value: &[u8]| {
            let _ = self.writer.insert(at as usize, &Item { key, kind: Kind::Row, as_of: 0, value });
        };
        cache_keys::put_rights_key(nsid, &mut self.key);
        insert(&self.key, &cache_keys::rights_value(rights));
        if rights.owner != acct {
            cache_keys::put_member_key(nsid, acct, &mut self.key);
            insert(&self.key, &[]);
        }
    }

    /// What is cached equals what the rows say now; looked at by tests and the simulator, at each read of the rows.
    fn check(&mut self, at: u32, kind: Kind, as_of: Jid) {
        if !cfg!(debug_assertions) {
            return;
        }
        if let Found::Hit(hit) = self.reader.get(at as usize, &self.key, Rule::Applied, &mut self.buffer) {
            base::mark::hit!("shard.cached.checked");
            assert!(hit.kind == kind && hit.value == self.value, "an answer is cached that is no longer true");
            // Where nothing is, each look is as new as the head.
            let is_of = if kind == Kind::Absent { hit.as_of <= as_of.0 } else { hit.as_of == as_of.0 };
            assert!(is_of, "a cached answer is as of {}, the same answer of the rows as of {as_of}", hit.as_of);
        }
    }
}

impl<D: Disk, S: Store> Shard<D, S> {
    /// Gives this core its read cache; before its first turn.
    pub fn attach_cache(&mut self, writer: Writer) {
        let (reader, told) = (writer.reader(), vec![Told::default(); self.groups.len()]);
        let (buffer, key, value, wants) = (reader.value_buffer(), Vec::new(), Vec::new(), Vec::new());
        let (filled, reads) = (vec![Filled::default(); self.groups.len()], ReadStats::default());
        self.cached = Some(Box::new(Cached { writer, reader, reads, buffer, key, value, wants, told, filled }));
    }

    /// A reader of this core's cache, for any core; `None` without a cache.
    #[must_use]
    pub fn cache_reader(&self) -> Option<Reader> {
        self.cached.as_ref().map(|cached| cached.writer.reader())
    }

    /// What the cache did; `None` without one.
    #[must_use]
    pub fn cache_stats(&self) -> Option<WriteStats> {
        self.cached.as_ref().map(|cached| cached.writer.stats())
    }

    /// Reads that came to this core and were answered from it, and those that were not though they could have been.
    #[must_use]
    pub fn cache_reads(&self) -> ReadStats {
        self.cached.as_ref().map(|cached| cached.reads).unwrap_or_default()
    }

    /// Tells readers on other cores how long the group may be read here, and whom to ask otherwise. Called with every
    /// step, so that a lease that ends early is taken back before the message leaves that ends it.
    pub(crate) fn publish_lease(&mut self, at: u32) {
        let Some(cached) = &mut self.cached else { return };
        let slot = &self.groups[at as usize];
        let told = &mut cached.told[at as usize];
        let leader = slot.raft.leader();
        if told.leader != leader {
            told.leader = leader;
            cached.writer.publish_leader(at as usize, leader);
        }
        if told.lease.is_none() && !slot.raft.is_leader() {
            return;
        }
        let is_trusted = slot.alarm.is_none() && slot.raft.health() != raft::Health::Quarantined;
        let is_whole = slot.lost.is_none() && is_trusted && slot.raft.is_own_term_applied();
        let lease = slot.raft.lease_until(self.turn_now).filter(|_| is_whole);
        match lease {
            None if told.lease.is_some() => {
                base::mark::hit!("shard.cached.lease_given_up");
                cached.writer.give_up_lease(at as usize);
            }
            Some(until) if told.lease != Some(until) => cached.writer.publish_lease(at as usize, until),
            _ => {}
        }
        told.lease = lease;
    }

    /// The store has an entry: the answers that it changed are over.
    pub(crate) fn forget_changed(&mut self, at: u32, index: LogIndex) {
        let Some(cached) = &mut self.cached else { return };
        let group = self.groups[at as usize].id;
        let filled = cached.filled[at as usize];
        let is_filled = |nsid| {
            let (word, bit) = place_of(nsid);
            filled[word] & bit != 0
        };
        meta::changed(&self.store, group, self.applier.batch(), is_filled, |changed| cached.forget(at, changed));
        cached.writer.publish_applied(at as usize, index);
    }

    /// The group's rows go, or others come in their place.
    pub(crate) fn forget_answers(&mut self, at: u32) {
        if let Some(cached) = &mut self.cached {
            base::mark::hit!("shard.cached.group_over");
            cached.writer.begin_replace(at as usize);
            cached.writer.end_replace(at as usize);
            cached.filled[at as usize] = Filled::default();
        }
    }

    /// The rows' answer to a read, which is cached where answers of its kind are.
    pub(crate) fn answer(&mut self, at: u32, read: &Read, wants: &mut Vec<Want>) -> Result<Answered, Cold> {
        let group = self.groups[at as usize].id;
        let Read { acct, nsid, query, form, .. } = read;
        if *form == Form::Metadata {
            let (answer, as_of) = meta::lookup_as_of(&self.store, group, *nsid, path_asked(query), wants)?;
            // Of a namespace that does not exist nothing tells when it does.
            self.fill(at, read, &answer, Some(as_of).filter(|as_of| *as_of > Jid(0)));
            return Ok(Answered::Metadata(answer, as_of));
        }
        let answer = match query {
            Query::Lookup(What::At(place)) if self.cached.is_some() => {
                let point = meta::point(&self.store, group, (*acct, *nsid), place, wants)?;
                self.fill(at, read, &point.answer, point.as_of);
                point.answer
            }
            _ => {
                let answer = meta::query(&self.store, group, *acct, *nsid, query, wants)?;
                if let Answer::Head(head) = answer {
                    self.fill(at, read, &answer, Some(head).filter(|head| *head > Jid(0)));
                }
                answer
            }
        };
        Ok(Answered::Native(answer))
    }

    /// Caches what the rows answer now; `None` as `as_of` is not to be cached.
    fn fill(&mut self, at: u32, read: &Read, answer: &Answer, as_of: Option<Jid>) {
        let slot = &self.groups[at as usize];
        let (Some(cached), Some(as_of)) = (&mut self.cached, as_of) else { return };
        if slot.installing.is_some() || slot.lost.is_some() {
            return;
        }
        let Read { nsid, query, form, .. } = read;
        let is_key = match form {
            Form::Native => cache_keys::put_query_key(*nsid, query, &mut cached.key),
            Form::Metadata => {
                key::encode(key::PATH | key::JSON, *nsid, &[], &mut cached.key);
                meta::path_key(&path_asked(query).path, &mut cached.key)
            }
        };
        if is_key {
            cached.insert(at, (*form, *nsid), answer, as_of);
        }
    }

    /// May the asker of a read be told? By what is cached, else by the rows, which are cached then. `false` also when
    /// rows are not in memory.
    fn may_read(&mut self, at: u32, asker: (Acct, Nsid)) -> bool {
        let group = self.groups[at as usize].id;
        let Some(cached) = &mut self.cached else { return false };
        if cached.may_read(at, asker) {
            base::mark::hit!("shard.cached.rights_hit", asker.0 != Acct(0));
            return true;
        }
        cached.wants.clear();
        let (acct, nsid) = asker;
        if meta::may_read(&self.store, group, asker, &mut cached.wants) != Ok(true) {
            return false;
        }
        if let Ok(Some(rights)) = meta::rights(&self.store, group, nsid, &mut cached.wants)
            && self.groups[at as usize].installing.is_none()
            && (rights.owner == acct || rights.is_shared)
        {
            cached.insert_rights(at, asker, rights);
        }
        true
    }

    /// Answers those of this turn's reads whose answers are cached, under the lease.
    pub(crate) fn answer_cached_reads(&mut self, at: u32, now: Mono) {
        if self.cached.is_none() {
            return;
        }
        let mut reads = std::mem::take(&mut self.groups[at as usize].turn_reads);
        reads.retain_mut(|read| !self.answer_cached(at, read, now));
        self.groups[at as usize].turn_reads = reads;
    }

    /// True when the read was answered.
    fn answer_cached(&mut self, at: u32, read: &mut Read, now: Mono) -> bool {
        let slot = &self.groups[at as usize];
        let group = slot.id;
        // Of a group in quarantine nothing is served to others. What is cached lies under the namespace alone, whichever
        // group is asked.
        let is_right = base::group_of(read.nsid, self.settings.groups) == group;
        if slot.lost.is_some() || !is_right || !self.may_serve(at, Some(ReadPath::Lease)) {
            return false;
        }
        let index = self.shown_index(at);
        // Rights are looked at before the answer, which is right here alone, where nothing changes between.
        if read.form != Form::Native || !is_cached(&read.query) || !self.may_read(at, (read.acct, read.nsid)) {
            return false;
        }
        let Some(cached) = &mut self.cached else { return false };
        let Cached { reader, reads, key, buffer, .. } = &mut **cached;
        if !cache_keys::put_query_key(read.nsid, &read.query, key) {
            return false;
        }
        let Found::Hit(hit) = reader.get(at as usize, key, Rule::Lease(now), buffer) else {
            reads.misses += 1;
            return false;
        };
        reads.hits += 1;
        base::mark::hit!("shard.cached.hit");
        base::mark::hit!("shard.cached.hit_absent", hit.kind == Kind::Absent);
        let effect = Effect { index, path: Some(ReadPath::Lease), ..Effect::default() };
        self.replies.done(read.ticket, group, effect, |out| cache_keys::put_answer(&hit, out));
        self.stages.admit(&mut read.slot);
        read.slot.mark(Stage::Cache, self.stages.now);
        self.time_read(read, group, index, false);
        self.read_counts.lease += 1;
        true
    }
}

/// Are answers to such queries cached?
fn is_cached(query: &Query) -> bool {
    match query {
        Query::Lookup(What::At(at)) => at.node.0 == 0 || at.path.is_empty(),
        query => *query == Query::Head,
    }
}
