//! The read cache of this core's groups: filled by reads, kept true by apply, published with the lease.
//!
//! ```text
//! serve ── answer by path ─▶ insert         apply ── rows of the entry ─▶ invalidate paths, or the namespace
//! step  ── lease held, renewed, gone ─▶ publish, give up, before this turn's messages leave
//! join_reads ── lookup by path ─▶ hit: answered at once, without a position
//! ```
//! What is cached under a path is the encoded answer, for whoever may read the namespace, and beside it, under a table of
//! its own, the JSON that the memcached port gives out. Nothing here is ever asked whether something is true: without it
//! the same answers come from the rows (docs/design/cache.md).

use base::stages::Stage;
use base::{Jid, LogIndex, Mono, NodeId, Nsid};
use cache::{Item, Kind, Read as Found, ReadStats, Reader, Rule, ValueBuffer, WriteStats, Writer, key};
use meta::{Answer, Changed, Cold, NodeKind, Query, Store, Want, What};
use raft::ReadPath;
use seglog::Disk;

use crate::group::{Form, Read};
use crate::read::Answered;
use crate::{Effect, Shard, metadata_read};

/// One core's cache, as its shard uses it.
pub(crate) struct Cached {
    writer: Writer,
    reader: Reader,
    buffer: ValueBuffer,
    key: Vec<u8>,
    value: Vec<u8>,
    wants: Vec<Want>,
    /// By local group: what readers know.
    told: Vec<Told>,
}

#[derive(Clone, Copy, Default)]
struct Told {
    lease: Option<Mono>,
    leader: Option<NodeId>,
}

impl Cached {
    /// Puts the key of a path together; false when it is none.
    fn set_key(&mut self, form: Form, nsid: Nsid, path: &str) -> bool {
        key::encode(table_of(form), nsid, &[], &mut self.key);
        meta::path_key(path, &mut self.key)
    }

    /// Under the key that was set.
    fn insert(&mut self, at: u32, form: Form, answer: &Answer, as_of: Jid) {
        self.value.clear();
        let kind = match answer {
            Answer::NotFound => Kind::Absent,
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
        let _ = self.writer.insert(at as usize, &Item { key: &self.key, kind, as_of: as_of.0, value: &self.value });
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
        self.cached = Some(Box::new(Cached { writer, reader, buffer, key, value, wants, told }));
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

    /// What this core itself read of it, other than through the readers it gave away.
    #[must_use]
    pub fn cache_reads(&self) -> ReadStats {
        self.cached.as_ref().map(|cached| cached.reader.stats()).unwrap_or_default()
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
        let Cached { writer, key, .. } = &mut **cached;
        let group = self.groups[at as usize].id;
        meta::changed(&self.store, group, self.applier.batch(), |changed| match changed {
            Changed::Path(nsid, path) => {
                base::mark::hit!("shard.cached.path_over");
                for form in [Form::Native, Form::Metadata] {
                    key::encode(table_of(form), nsid, path, key);
                    writer.invalidate(key);
                }
            }
            Changed::Namespace(nsid) => {
                base::mark::hit!("shard.cached.namespace_over");
                writer.invalidate_namespace(at as usize, nsid);
            }
        });
        writer.publish_applied(at as usize, index);
    }

    /// The group's rows go, or others come in their place.
    pub(crate) fn forget_answers(&mut self, at: u32) {
        if let Some(cached) = &mut self.cached {
            base::mark::hit!("shard.cached.group_over");
            cached.writer.begin_replace(at as usize);
            cached.writer.end_replace(at as usize);
        }
    }

    /// The rows' answer to a read. One by path is cached in its form.
    pub(crate) fn answer(&mut self, at: u32, read: &Read, wants: &mut Vec<Want>) -> Result<Answered, Cold> {
        let slot = &self.groups[at as usize];
        let group = slot.id;
        if read.form == Form::Metadata {
            let asked = metadata_read::path_asked(&read.query);
            let (answer, as_of) = meta::lookup_as_of(&self.store, group, read.nsid, asked, wants)?;
            // Of a namespace that does not exist nothing tells when it does.
            if as_of > Jid(0) {
                self.fill(at, Form::Metadata, (read.nsid, &asked.path), &answer, as_of);
            }
            return Ok(Answered::Metadata(answer, as_of));
        }
        let (true, Some(path)) = (self.cached.is_some(), path_of(&read.query)) else {
            let found = meta::query(&self.store, group, read.acct, read.nsid, &read.query, wants);
            return found.map(Answered::Native);
        };
        let point = meta::point(&self.store, group, (read.acct, read.nsid), path, wants)?;
        if let Some(as_of) = point.as_of {
            self.fill(at, Form::Native, (read.nsid, path), &point.answer, as_of);
        }
        Ok(Answered::Native(point.answer))
    }

    /// Caches what the rows answer now.
    fn fill(&mut self, at: u32, form: Form, (nsid, path): (Nsid, &str), answer: &Answer, as_of: Jid) {
        let slot = &self.groups[at as usize];
        let Some(cached) = &mut self.cached else { return };
        if slot.installing.is_none() && slot.lost.is_none() && cached.set_key(form, nsid, path) {
            cached.insert(at, form, answer, as_of);
        }
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
        // Of a group in quarantine nothing is served to others.
        let confirmed = Read { path: Some(ReadPath::Lease), ..read.clone() };
        if slot.lost.is_some() || !self.may_serve(at, &confirmed) {
            return false;
        }
        let index = self.shown_index(at);
        let (Some(cached), Some(path)) = (&mut self.cached, path_of(&read.query)) else { return false };
        if read.form != Form::Native {
            return false;
        }
        cached.wants.clear();
        let may_read = meta::may_read(&self.store, group, (read.acct, read.nsid), &mut cached.wants);
        if may_read != Ok(true) || !cached.set_key(Form::Native, read.nsid, path) {
            return false;
        }
        let Cached { reader, key, buffer, .. } = &mut **cached;
        let Found::Hit(hit) = reader.get(at as usize, key, Rule::Lease(now), buffer) else { return false };
        base::mark::hit!("shard.cached.hit");
        base::mark::hit!("shard.cached.hit_absent", hit.kind == Kind::Absent);
        let effect = Effect { index, path: Some(ReadPath::Lease), ..Effect::default() };
        self.replies.done(read.ticket, group, effect, |out| match hit.kind {
            Kind::Absent => Answer::NotFound.encode(out),
            _ => out.extend_from_slice(hit.value),
        });
        self.stages.admit(&mut read.slot);
        read.slot.mark(Stage::Cache, self.stages.now);
        self.time_read(read, group, index, false);
        self.read_counts.lease += 1;
        true
    }
}

/// Under which table answers of this form are.
fn table_of(form: Form) -> u8 {
    match form {
        Form::Native => key::PATH,
        Form::Metadata => key::PATH | key::JSON,
    }
}

/// The path that a lookup asks for, from the root.
fn path_of(query: &Query) -> Option<&str> {
    match query {
        Query::Lookup(What::At(at)) if at.node.0 == 0 => Some(&at.path),
        _ => None,
    }
}
