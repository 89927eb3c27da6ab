//! Uploads of the first root that end in a shared namespace which hangs there: as a block server does it, with each call
//! sent again now and then, and a crash between any two of them.

use base::limits::BLOCK_BYTES;
use base::{Acct, BlockHash, Nsid, Prng};
use client::Operation;
use meta::{
    At, Attested, Command, CommitFile, ListStage, Metadata, Outcome, PresentBlock, PresentPart, Query, SessionAppend,
    SessionFinish, StoreAndCommit, UploadId,
};
use sha2::{Digest as _, Sha256};

use super::super::known::KEPT_MAX;
use super::super::rare::block;
use super::super::{Load, OWNER};
use super::{Wide, Wish, command, query};

/// Parts of a block that an upload ends with.
const LAST_BYTES: u64 = 77;

/// One upload, as its server knows it.
#[derive(Clone, Debug)]
pub(in crate::world) struct Upload {
    id: UploadId,
    blocks: Vec<PresentBlock>,
    /// Blocks that the session has.
    appended: usize,
    /// Where the root says that it leads.
    target: Option<(Nsid, String)>,
    /// Its blocklist is staged there first.
    is_staged: bool,
    staged: bool,
    /// What was put there.
    result: Option<Metadata>,
}

/// A call of an upload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::world) enum Call {
    Append,
    Finish,
    Stage,
    Put,
    End,
}

impl Upload {
    fn size(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.bytes)).sum()
    }

    fn names(&self) -> Vec<BlockHash> {
        self.blocks.iter().map(|block| block.hash).collect()
    }

    fn commit(&self, path: &str) -> CommitFile {
        let mut hash = Sha256::new();
        self.names().iter().for_each(|name| hash.update(name.0));
        let content_hash = hash.finalize().into();
        CommitFile { at: At::path(path), autorename: true, size: self.size(), content_hash, ..CommitFile::default() }
    }

    /// What comes next.
    fn next(&self) -> Call {
        match (&self.target, &self.result) {
            _ if self.appended + 1 < self.blocks.len() => Call::Append,
            (None, _) => Call::Finish,
            (Some(_), None) if self.is_staged && !self.staged => Call::Stage,
            (Some(_), None) => Call::Put,
            (Some(_), Some(_)) => Call::End,
        }
    }

    fn finish(&self, path: &str) -> SessionFinish {
        let offset = self.appended as u64 * BLOCK_BYTES;
        let rest = self.blocks[self.appended..].to_vec();
        SessionFinish { id: self.id, offset, rest, commit: self.commit(path), result: None }
    }

    fn put(&self, path: &str) -> Command {
        let attested = Some(Box::new(Attested { id: self.id, is_staged: self.is_staged }));
        let commit = CommitFile { attested, ..self.commit(path) };
        if self.is_staged {
            return Command::CommitFile(commit);
        }
        let commit = CommitFile { blocks: self.names(), ..commit };
        let part = |(block, position): (&PresentBlock, u32)| PresentPart {
            position,
            bytes: block.bytes,
            put_at_ms: block.put_at_ms,
        };
        let present = self.blocks.iter().zip(0..).map(part).collect();
        Command::StoreAndCommit(StoreAndCommit { commit, present })
    }
}

impl Load {
    pub(super) fn upload_elsewhere(&mut self, wide: &mut Wide, dice: &mut Prng) -> (Operation, Wish) {
        let root = self.namespaces[0];
        if wide.uploads.is_empty() || dice.below(5) == 0 {
            let upload = self.begin_upload(dice);
            if wide.uploads.len() >= KEPT_MAX {
                wide.uploads.remove(0);
            }
            wide.uploads.push(upload);
        }
        let which = dice.below(wide.uploads.len() as u64) as usize;
        let upload = wide.uploads[which].clone();
        let nonce = upload.id.nonce;
        if dice.below(12) == 0 {
            let question = Query::Upload { id: upload.id, first: dice.below(3) as u32 };
            return (query(OWNER, root, question), Wish::Nothing);
        }
        // The same name each time, so that a repeat is one; some finish somewhere else.
        let inside = format!("/upload {}", nonce % 4);
        let path = wide.mounted(dice).unwrap_or_default() + &inside;
        // Another server begins again, not knowing how far this one came.
        let is_again = upload.target.is_some() && dice.below(6) == 0;
        let call = if is_again { Call::Finish } else { upload.next() };
        let (acct, nsid, made): (Acct, Nsid, Command) = match (call, &upload.target) {
            (Call::Stage, Some((nsid, _))) => {
                let stage = ListStage { id: upload.id, part: 0, blocks: upload.blocks.clone() };
                (OWNER, *nsid, Command::ListStage(stage))
            }
            (Call::Put, Some((nsid, rest))) => (OWNER, *nsid, upload.put(rest)),
            (Call::End, Some(_)) => {
                let finish = SessionFinish { result: upload.result.clone(), ..upload.finish(&path) };
                (OWNER, root, Command::SessionFinish(Box::new(finish)))
            }
            (Call::Append, _) => {
                let blocks = vec![upload.blocks[upload.appended]];
                let offset = upload.appended as u64 * BLOCK_BYTES;
                let append = SessionAppend { id: upload.id, offset, blocks, tail_bytes: 0, tail: 0, close: false };
                (OWNER, root, Command::SessionAppend(append))
            }
            _ => (OWNER, root, Command::SessionFinish(Box::new(upload.finish(&path)))),
        };
        (command(acct, nsid, made), Wish::Upload(nonce, call))
    }

    /// Whole blocks and a last one that is none, of content that nothing else has.
    fn begin_upload(&mut self, dice: &mut Prng) -> Upload {
        self.contents += 1;
        let count = 1 + dice.below(3);
        let one = |place: u64| PresentBlock {
            hash: block(self.contents, 2 << 32 | place),
            bytes: if place + 1 == count { LAST_BYTES } else { BLOCK_BYTES } as u32,
            put_at_ms: self.put_at_ms,
        };
        let blocks = (0..count).map(one).collect();
        let id = UploadId { nonce: 1 + (dice.next_u64() >> 1), issued_ms: self.wall_ms, is_concurrent: false };
        let is_staged = dice.below(2) == 0;
        Upload { id, blocks, appended: 0, target: None, is_staged, staged: false, result: None }
    }
}

impl Wide {
    pub(super) fn note_upload(&mut self, nonce: u64, call: &Call, outcome: &Outcome) {
        let Some(at) = self.uploads.iter().position(|upload| upload.id.nonce == nonce) else { return };
        let upload = &mut self.uploads[at];
        match (call, outcome) {
            (Call::Append, Outcome::Done) => upload.appended += 1,
            (Call::Append, Outcome::IncorrectOffset { correct }) => upload.appended = (correct / BLOCK_BYTES) as usize,
            (Call::Finish, Outcome::Elsewhere { nsid, rest }) => upload.target = Some((*nsid, rest.clone())),
            (Call::Stage, Outcome::Done) => upload.staged = true,
            (Call::Put, Outcome::Applied(meta) | Outcome::Unchanged(meta)) => upload.result = Some(meta.clone()),
            // It was sent elsewhere before: that goes on.
            (Call::Finish, Outcome::NotFound) if upload.target.is_some() => {}
            (Call::Finish | Call::End, Outcome::Applied(_) | Outcome::Unchanged(_) | Outcome::NotFound) => {
                self.uploads.remove(at);
            }
            _ => {}
        }
    }
}
