//! A mix of all kinds on etcd: what each operation is there.
//!
//! | operation | etcd |
//! | --- | --- |
//! | put of a new file, mkdir | one transaction: the key is not there; put its row and the journal's |
//! | put of new content | one transaction: put its row and the journal's |
//! | move | one transaction: the key is there and the new one is not; delete it, put the row at the new key, put the journal's row |
//! | delete | one transaction: the key is there; delete it, put the journal's row |
//! | attr | one transaction: the key is there; put a key of attributes and the journal's row |
//! | stat, blocklist | a linearizable read of the key |
//! | list | a linearizable read of at most so many keys that begin as the folder's do |
//!
//! It is the least that a user would have to do: whoever moves a file is taken to know its row, and nobody counts blocks,
//! checks folders or quotas.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail, ensure};
use base::mono::Span;
use load::driver::{Answer, Driver as _, OpToken, Submit};
use load::mix::Mix;
use load::op::{FileId, Op, OpKind};
use load::source::{Source, StreamSettings};

use super::{Etcd, Flight};
use crate::codec::etcd::{self, Pair, Part};
use crate::drivers::PeerDriver;
use crate::work::{Journal, Work, put_entry_key, put_folder_key};

/// What can be asked of etcd.
const KINDS: [OpKind; 8] = [
    OpKind::Put,
    OpKind::Mkdir,
    OpKind::Move,
    OpKind::Delete,
    OpKind::Attr,
    OpKind::Stat,
    OpKind::Blocklist,
    OpKind::List,
];
/// Files of one transaction of the population: a frame holds so many with paths of 16 folders, and a server takes 128.
const FILES_AT_ONCE: usize = 32;
/// How long one may take.
const CHUNK_TIME_MAX: Span = Span::from_ms(10_000);

/// The first kind of a mix that etcd is not asked for.
#[must_use]
pub fn lacks(mix: &Mix) -> Option<OpKind> {
    OpKind::ALL.into_iter().find(|kind| mix.weights[*kind as usize] > 0.0 && !KINDS.contains(kind))
}

/// Makes the message of an operation; returns the method. Invariant: its kind is none that [`lacks`] tells.
pub(super) fn request(work: &mut Work, op: &Op, wall_ms: u64, out: &mut Vec<u8>) -> &'static str {
    let run = work.run().to_owned();
    let (mut key, mut target) = (Vec::new(), Vec::new());
    put_entry_key(&run, op.namespace, &op.path, &mut key);
    match op.kind {
        OpKind::Stat | OpKind::Blocklist => {
            etcd::range(&key, out);
            return etcd::RANGE;
        }
        OpKind::List => {
            key.clear();
            put_folder_key(&run, op.namespace, &op.path, &mut key);
            etcd::range_of(&key, op.count, out);
            return etcd::RANGE;
        }
        _ => {}
    }
    work.fill_row(op.writer, if op.kind == OpKind::Mkdir { 0 } else { op.size }, wall_ms);
    work.fill_journal(op, Journal::Keys);
    let Work { row, journal_key, journal_row, .. } = work;
    let journal = Part::Put(Pair { key: journal_key, value: journal_row });
    let here = Part::Put(Pair { key: &key, value: row });
    match op.kind {
        OpKind::Put if op.is_update => etcd::txn(&[], &[here, journal], out),
        OpKind::Move => {
            put_entry_key(&run, op.namespace, &op.target, &mut target);
            let there = Part::Put(Pair { key: &target, value: row });
            etcd::txn(&[(&key, true), (&target, false)], &[Part::Delete(&key), there, journal], out);
        }
        OpKind::Delete => etcd::txn(&[(&key, true)], &[Part::Delete(&key), journal], out),
        OpKind::Attr => {
            target.extend_from_slice(format!("{run}/a/{}{}", op.namespace, op.path).as_bytes());
            let mtime = op.writer.0.to_le_bytes();
            etcd::txn(&[(&key, true)], &[Part::Put(Pair { key: &target, value: &mtime }), journal], out);
        }
        _ => etcd::txn(&[(&key, false)], &[here, journal], out),
    }
    etcd::TXN
}

impl PeerDriver<Etcd> {
    /// Puts the population of a stream, unmeasured. `false` when a stop was asked for.
    ///
    /// Errors: a transaction was refused, or not answered in time.
    pub fn populate(&mut self, stream: &StreamSettings, stop: &AtomicBool) -> Result<bool> {
        let source = Source::new(stream, base::Mono(0), (0, 1));
        let mut in_flight = 0;
        for namespace in 0..stream.mix.population.namespaces {
            let files: Vec<FileId> = source.tree(namespace).live().collect();
            for chunk in files.chunks(FILES_AT_ONCE) {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                // It is full when the server's window is: what is on its way must be answered first.
                while self.put_chunk(&source, namespace, chunk) == Submit::Full {
                    ensure!(in_flight > 0, "etcd takes no transaction while it is being filled");
                    in_flight -= self.await_chunks()?;
                }
                in_flight += 1;
            }
        }
        while in_flight > 0 {
            in_flight -= self.await_chunks()?;
        }
        Ok(true)
    }

    fn put_chunk(&mut self, source: &Source, namespace: u32, chunk: &[FileId]) -> Submit {
        let Self { protocol, sockets, wall_ms, .. } = self;
        let (tree, run) = (source.tree(namespace), protocol.work.run().to_owned());
        let (mut path, mut pairs) = (String::new(), Vec::new());
        for id in chunk {
            let file = tree.file(*id);
            let (writer, size) = file.told.content.expect("a file of a population has its content");
            tree.path(file.place, &mut path);
            let mut key = Vec::new();
            put_entry_key(&run, namespace, &path, &mut key);
            protocol.work.fill_row(writer, size, *wall_ms);
            pairs.push((key, protocol.work.row.clone()));
        }
        let parts: Vec<Part<'_>> = pairs.iter().map(|(key, row)| Part::Put(Pair { key, value: row })).collect();
        protocol.message.clear();
        etcd::txn(&[], &parts, &mut protocol.message);
        let flight = Flight { token: OpToken::default(), kind: OpKind::Put, sent: sockets.now() };
        protocol.call(etcd::TXN, flight, sockets.outs())
    }

    /// Waits until some are done; returns how many.
    fn await_chunks(&mut self) -> Result<usize> {
        let mut done = Vec::new();
        let until = self.now() + CHUNK_TIME_MAX;
        while done.is_empty() {
            self.poll(until, &mut done);
            ensure!(!done.is_empty() || self.now() < until, "etcd did not answer while it was being filled");
        }
        for done in &done {
            if !matches!(done.answer, Answer::Applied { .. }) {
                bail!("etcd was being filled and answered {:?}", done.answer);
            }
        }
        Ok(done.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: OpKind) -> (&'static str, String) {
        let mut work = Work::new("r", 1);
        let op = Op { kind, path: "/a/b".into(), target: "/c".into(), size: 4096, count: 7, ..Op::default() };
        let mut out = Vec::new();
        let method = request(&mut work, &op, 1, &mut out);
        (method, String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn each_kind_names_the_keys_it_needs() {
        let (method, list) = message(OpKind::List);
        assert!(method == etcd::RANGE && list.contains("r/0/a/b//") && list.contains("r/0/a/b/0"), "{list:?}");
        let (method, stat) = message(OpKind::Stat);
        assert!(method == etcd::RANGE && stat.ends_with("r/0/a//b"), "{stat:?}");
        let (method, moved) = message(OpKind::Move);
        assert!(method == etcd::TXN && moved.matches("r/0/a//b").count() == 2, "{moved:?}");
        assert!(moved.matches("r/0//c").count() == 2 && moved.contains("r/j/0/"), "{moved:?}");
        let (_, deleted) = message(OpKind::Delete);
        assert!(deleted.matches("r/0/a//b").count() == 2 && deleted.contains("r/j/0/"), "{deleted:?}");
        assert!(message(OpKind::Attr).1.contains("r/a/0/a/b"));
    }

    #[test]
    fn a_mix_that_etcd_cannot_do_is_told_by_its_kind() {
        assert_eq!(lacks(&Mix::built_in("spotify").expect("built in")), None);
        assert_eq!(lacks(&Mix::built_in("sync").expect("built in")), Some(OpKind::Delta));
    }
}
