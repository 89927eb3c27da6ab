//! Upload sessions, where time leaps: begun, gone on with, finished or forgotten, each while it is young or too late.

use base::{BlockHash, Prng};
use client::Operation;
use meta::{At, Command, CommitFile, PresentBlock, PutMode, SessionAppend, SessionFinish, UploadId};
use sha2::{Digest as _, Sha256};

use super::rare::block;
use super::{Effect, Load, OWNER};

const BLOCK_BYTES: u64 = base::limits::BLOCK_BYTES;
/// Sessions that are known to the clients.
const OPEN_MAX: usize = 12;

/// A session as whoever appends to it knows it.
#[derive(Clone, Debug)]
pub(super) struct Upload {
    at: usize,
    id: UploadId,
    blocks: Vec<BlockHash>,
}

impl Load {
    /// The clocks of the clients show this now. Milliseconds since 1970.
    pub(in crate::world) fn set_wall_ms(&mut self, wall_ms: u64) {
        self.wall_ms = wall_ms;
    }

    /// The next call of a session, or the first one of a new one. A block is new, or one of a file that may be gone.
    pub(super) fn upload(&mut self, at: usize, path: String, dice: &mut Prng) -> (Operation, Effect) {
        let known = self.uploads.iter().position(|upload| upload.at == at).filter(|_| dice.below(3) > 0);
        let which = known.unwrap_or_else(|| {
            if self.uploads.len() == OPEN_MAX {
                self.uploads.remove(0);
            }
            let id = UploadId { nonce: 1 + (dice.next_u64() >> 1), issued_ms: self.wall_ms, is_concurrent: false };
            self.uploads.push(Upload { at, id, blocks: Vec::new() });
            self.uploads.len() - 1
        });
        let nsid = self.namespaces[at];
        let is_finished = !self.uploads[which].blocks.is_empty() && dice.below(3) == 0;
        if is_finished {
            let Upload { id, blocks, .. } = self.uploads.remove(which);
            let mut hash = Sha256::new();
            blocks.iter().for_each(|name| hash.update(name.0));
            let size = blocks.len() as u64 * BLOCK_BYTES;
            let commit = CommitFile {
                at: At::path(&path),
                mode: PutMode::Overwrite,
                size,
                content_hash: hash.finalize().into(),
                ..CommitFile::default()
            };
            let finish = SessionFinish { id, offset: size, rest: Vec::new(), commit, result: None };
            let command = Command::SessionFinish(Box::new(finish));
            return (Operation::Command { acct: OWNER, nsid, command }, Effect::File(at, path));
        }
        self.contents += 1;
        let content = if dice.below(2) == 0 { self.contents } else { 1 + dice.below(self.contents) };
        // Of whole blocks, that no put of less than a block has.
        let name = block(content, 1 << 32);
        let upload = &mut self.uploads[which];
        let offset = upload.blocks.len() as u64 * BLOCK_BYTES;
        upload.blocks.push(name);
        let blocks = vec![PresentBlock { hash: name, bytes: BLOCK_BYTES as u32, put_at_ms: self.put_at_ms }];
        let append = SessionAppend { id: upload.id, offset, blocks, tail_bytes: 0, tail: 0, close: false };
        (Operation::Command { acct: OWNER, nsid, command: Command::SessionAppend(append) }, Effect::None)
    }
}
