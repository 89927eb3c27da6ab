//! What clients seldom ask for: batches, earlier revisions, long files, names in other letters, pages that go on where
//! others ended, and what makes no sense. One operation of a couple of dozen is one of these.

use base::{Acct, BlockHash, Jid, Prng};
use client::Operation;
use meta::{
    Answer, At, Command, CommitBatch, CommitFile, Delete, DeltaCursor, Mkdir, Move, NamespaceKind, PresentBlock,
    PresentPart, PutMode, Query, Restore, StoreAndCommit, What,
};
use sha2::{Digest as _, Sha256};

use super::known::{keep_once, pick};
use super::{Effect, GRANT_BYTES, Load, OWNER};

/// Bytes of a whole block.
const BLOCK_BYTES: u64 = base::limits::BLOCK_BYTES;

/// What was told of a namespace and can be asked for again.
#[derive(Default)]
pub(super) struct Told {
    cursors: Vec<DeltaCursor>,
    /// The folder that was listed, and where its next page begins.
    pages: Vec<(String, Vec<u8>)>,
    /// A name, and a revision that was there.
    revisions: Vec<(String, Jid)>,
}

/// No path: it does not begin at the root.
fn misshapen(path: &str) -> String {
    path.trim_start_matches('/').to_owned() + "/"
}

/// The same name in other letters.
fn recased(path: &str) -> String {
    let name_at = path.rfind('/').map_or(0, |slash| slash + 1);
    let name = &path[name_at..];
    let is_lower = name.chars().any(char::is_lowercase);
    path[..name_at].to_owned() + &if is_lower { name.to_uppercase() } else { name.to_lowercase() }
}

impl Load {
    /// One of the rare operations on a namespace.
    pub(super) fn rare(&mut self, at: usize, path: String, dice: &mut Prng) -> (Operation, Effect) {
        let nsid = self.namespaces[at];
        let command = |command| Operation::Command { acct: OWNER, nsid, command };
        let query = |query| Operation::Query { acct: OWNER, nsid, query };
        match dice.below(20) {
            0..3 => (command(self.batch(at, path, dice)), Effect::None),
            3..6 => {
                let known = pick(&self.told[at].revisions, dice).filter(|_| dice.below(4) > 0);
                let (path, rev) = known.unwrap_or_else(|| (path, Jid(dice.below(40))));
                let restore = Restore { at: At::path(&path), rev };
                (command(Command::Restore(restore)), Effect::File(at, path))
            }
            6..8 => {
                let path = self.deleted(at, dice).filter(|_| dice.below(2) == 0).unwrap_or(path);
                let asked = Query::Revisions { at: At::path(&path), before: Jid(0), limit: dice.below(4) as u32 };
                (query(asked), Effect::Revisions(at, path))
            }
            8 => {
                let what = match dice.below(4) {
                    0 => What::Rev(Jid(1 + dice.below(60))),
                    _ => What::At(At::path(&path)),
                };
                (query(Query::Blocklist { what, first: dice.below(3) as u32 }), Effect::None)
            }
            9 => {
                let known = (0..4).map(|_| block(1 + dice.below(self.contents + 1), dice.below(2)));
                (query(Query::HasBlocks(known.collect())), Effect::None)
            }
            10 => {
                // More blocks than a row of the journal holds itself.
                let count = 5 + dice.below(3);
                let both = self.put_of_blocks(&path, count, dice);
                (command(Command::StoreAndCommit(both)), Effect::File(at, path))
            }
            11 => {
                let into = recased(&path);
                let part = Move { source: At::path(&path), target: At::path(&into), autorename: false };
                (command(Command::Move(part)), Effect::Moved(at, path, into))
            }
            12 => {
                let delete = Delete { at: At::path(&path), parent_rev: Some(Jid(dice.below(60))) };
                (command(Command::Delete(delete)), Effect::Gone(at, path))
            }
            13 => {
                // By another owner half of the time: that namespace is there already.
                let owner = if dice.below(2) == 0 { OWNER } else { Acct(3) };
                let command = Command::NamespaceInit { kind: NamespaceKind::Root, owner, grant_bytes: GRANT_BYTES };
                (Operation::Command { acct: Acct(0), nsid, command }, Effect::None)
            }
            14 => {
                let path = misshapen(&path);
                if dice.below(2) == 0 {
                    return (query(Query::Lookup(What::At(At::path(&path)))), Effect::None);
                }
                (command(Command::Mkdir(Mkdir { at: At::path(&path), autorename: false })), Effect::None)
            }
            15 => {
                // The hash is that of nothing, and there is a block.
                let mut both = self.put_of_blocks(&path, 1, dice);
                both.commit.content_hash = Sha256::digest([]).into();
                (command(Command::StoreAndCommit(both)), Effect::None)
            }
            16..18 => {
                let cursor = pick(&self.told[at].cursors, dice).filter(|_| dice.below(3) > 0);
                let cursor = cursor.unwrap_or_else(|| DeltaCursor::at(Jid(dice.below(400))));
                (query(Query::Delta { cursor, limit: 1 + dice.below(3) as u32 }), Effect::Delta(at))
            }
            18 => {
                let (root, position) = pick(&self.told[at].pages, dice).unwrap_or_default();
                let list = Query::ListPage { at: At::path(&root), recursive: true, position, limit: 3 };
                (query(list), Effect::Page(at, root))
            }
            _ => {
                self.contents += 1;
                let name = block(self.contents, 0);
                let present =
                    PresentBlock { hash: name, bytes: 1 + dice.below(100_000) as u32, put_at_ms: self.put_at_ms };
                (command(Command::BlocksPresent(vec![present])), Effect::None)
            }
        }
    }

    fn deleted(&self, at: usize, dice: &mut Prng) -> Option<String> {
        pick(&self.names[at].deleted, dice)
    }

    /// A few commands in one: half of them all or nothing.
    fn batch(&mut self, at: usize, path: String, dice: &mut Prng) -> Command {
        let atomic = dice.below(2) == 0;
        let mut paths = vec![path];
        (0..1 + dice.below(3)).for_each(|_| paths.push(self.path(at, dice)));
        let parts = paths.iter().map(|path| match dice.below(8) {
            0..3 => Command::Mkdir(Mkdir { at: At::path(path), autorename: dice.below(2) == 0 }),
            3..5 => Command::CommitFile(CommitFile {
                at: At::path(path),
                mode: if dice.below(2) == 0 { PutMode::Add } else { PutMode::Overwrite },
                autorename: dice.below(2) == 0,
                content_hash: Sha256::digest([]).into(),
                ..CommitFile::default()
            }),
            5..7 => Command::Delete(Delete { at: At::path(path), parent_rev: None }),
            _ => {
                let target = At::path(&format!("{path} moved"));
                Command::Move(Move { source: At::path(path), target, autorename: dice.below(2) == 0 })
            }
        });
        Command::CommitBatch(CommitBatch { atomic, parts: parts.collect() })
    }

    /// Puts content that no other put has, with all its blocks.
    fn put_of_blocks(&mut self, path: &str, count: u64, dice: &mut Prng) -> StoreAndCommit {
        self.contents += 1;
        let blocks: Vec<BlockHash> = (0..count).map(|place| block(self.contents, place)).collect();
        let last = 1 + dice.below(100_000);
        let mut hash = Sha256::new();
        blocks.iter().for_each(|block| hash.update(block.0));
        let bytes = |place: u64| if place + 1 == count { last } else { BLOCK_BYTES };
        let present = (0..count).map(|place| PresentPart {
            position: place as u32,
            bytes: bytes(place) as u32,
            put_at_ms: self.put_at_ms,
        });
        let present = present.collect();
        let commit = CommitFile {
            at: At::path(path),
            mode: PutMode::Overwrite,
            size: (count - 1) * BLOCK_BYTES + last,
            content_hash: hash.finalize().into(),
            blocks,
            ..CommitFile::default()
        };
        StoreAndCommit { commit, present }
    }

    /// A query was answered: what may be asked for next.
    pub fn note_answer(&mut self, effect: Effect, answer: &Answer) {
        match (effect, answer) {
            (Effect::Wide(wish), answer) => self.note_wide_answer(&wish, answer),
            // Amid a folder that was moved or deleted: what is there then may be another one.
            (Effect::Delta(at), Answer::Delta { cursor, .. }) if cursor.expansion.is_some() => {
                keep_once(&mut self.told[at].cursors, cursor.clone());
            }
            (Effect::Page(at, root), Answer::Page { next: Some(next), .. }) => {
                keep_once(&mut self.told[at].pages, (root, next.clone()));
            }
            (Effect::Revisions(at, path), Answer::Revisions { revisions, .. }) => {
                for revision in revisions {
                    keep_once(&mut self.told[at].revisions, (path.clone(), revision.rev_jid));
                }
            }
            _ => {}
        }
    }
}

/// The name of a block: which content it is of, and its place there.
pub(super) fn block(content: u64, place: u64) -> BlockHash {
    let mut name = [0; 32];
    name[..8].copy_from_slice(&content.to_le_bytes());
    name[8..16].copy_from_slice(&place.to_le_bytes());
    BlockHash(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_change_and_change_back_and_what_is_misshapen_is_no_path() {
        assert_eq!(recased("/a b/name 3"), "/a b/NAME 3");
        assert_eq!(recased("/a b/NAME 3"), "/a b/name 3");
        assert!(base::names::normalize_path(&misshapen("/a/b")).is_err());
        assert!(base::names::normalize_path(&misshapen("/a")).is_err());
    }

    #[test]
    fn every_kind_of_operation_is_drawn_and_names_its_namespace() {
        let mut load = Load::new(7, 2, false, false);
        let mut dice = Prng::new(3);
        let mut commands = std::collections::BTreeSet::new();
        for _ in 0..400 {
            let (operation, _) = load.rare(1, "/name 1".to_owned(), &mut dice);
            match operation {
                Operation::Command { nsid, command, .. } => {
                    assert_eq!(nsid, load.namespaces[1]);
                    commands.insert(command.kind());
                }
                Operation::Query { nsid, .. } => assert_eq!(nsid, load.namespaces[1]),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(commands.into_iter().collect::<Vec<_>>(), [2, 3, 4, 5, 7, 9, 10, 15]);
    }
}
