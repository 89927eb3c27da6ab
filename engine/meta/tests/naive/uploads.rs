//! Uploads in the plainest way: what came so far is a list of names and a number of bytes.

use std::collections::BTreeMap;

use meta::*;

use super::{BLOCK, HOUR_MS, Judged, Naive, hash_of_names};

const SESSION_MS: u64 = 7 * 24 * HOUR_MS;
const KEEP_MS: u64 = 8 * 24 * HOUR_MS;

/// An upload session in order, or a staged list.
#[derive(Clone)]
pub struct Upload {
    is_staged: bool,
    acct: Acct,
    issued_ms: u64,
    pub offset: u64,
    is_closed: bool,
    pub names: Vec<BlockHash>,
}

use base::{Acct, BlockHash};

/// Uploads of one namespace.
#[derive(Clone, Default)]
pub struct Uploads {
    pub open: BTreeMap<u64, Upload>,
    /// What was put under an id, and when.
    kept: BTreeMap<(u64, Acct), (Command, Outcome, u64)>,
    /// What was sent on into another namespace: what was asked, where to, and when.
    sent: BTreeMap<(u64, Acct), (Command, Outcome, u64)>,
    /// Lists that nobody uses; their names count until the next round.
    pub unused: Vec<Vec<BlockHash>>,
}

impl Uploads {
    /// Names that count.
    pub fn named(&self) -> impl Iterator<Item = &BlockHash> {
        self.open.values().flat_map(|upload| &upload.names).chain(self.unused.iter().flatten())
    }

    /// 12: lists go a round after what used them.
    pub fn sweep(&mut self, now_ms: u64) {
        self.unused.clear();
        let over: Vec<u64> =
            self.open.iter().filter(|(_, it)| it.issued_ms + SESSION_MS <= now_ms).map(|(nonce, _)| *nonce).collect();
        for nonce in over {
            let upload = self.open.remove(&nonce).expect("it was just there");
            self.unused.push(upload.names);
        }
        self.kept.retain(|_, (_, _, stamp_ms)| *stamp_ms + KEEP_MS > now_ms);
        self.sent.retain(|_, (_, _, stamp_ms)| *stamp_ms + KEEP_MS > now_ms);
    }
}

impl Naive {
    /// What is open under an id; a new one where nothing is.
    fn upload(&self, acct: Acct, id: UploadId, is_staged: bool) -> Result<Option<Upload>, Outcome> {
        let there = self.uploads.open.get(&id.nonce);
        let is_over = id.issued_ms + SESSION_MS <= self.now_ms;
        if is_over || there.is_some_and(|it| it.acct != acct || it.is_staged != is_staged) {
            return Err(Outcome::NotFound);
        }
        Ok(there.cloned())
    }

    fn new_upload(acct: Acct, id: UploadId, is_staged: bool) -> Upload {
        let (issued_ms, names) = (id.issued_ms, Vec::new());
        Upload { is_staged, acct, issued_ms, offset: 0, is_closed: false, names }
    }

    /// Blocks become known and the names are appended.
    fn take(&mut self, upload: &mut Upload, blocks: &[PresentBlock]) -> Result<(), Outcome> {
        let mut late = Vec::new();
        for (block, at) in blocks.iter().zip(0u32..) {
            let is_late = block.put_at_ms.saturating_add(HOUR_MS) < self.now_ms;
            if is_late {
                late.push((at, block.hash));
            } else {
                self.known.entry(block.hash).or_insert(block.bytes);
            }
        }
        late.retain(|(_, hash)| !self.known.contains_key(hash));
        if !late.is_empty() {
            return Err(Outcome::NeedBlocks(late.into_iter().map(|(at, _)| at).collect()));
        }
        if blocks.iter().any(|block| self.known[&block.hash] != block.bytes) {
            return Err(Outcome::BadContentHash);
        }
        upload.names.extend(blocks.iter().map(|block| block.hash));
        Ok(())
    }

    pub(super) fn append(&mut self, acct: Acct, append: &SessionAppend) -> Judged {
        let id = append.id;
        let found = self.upload(acct, id, false)?;
        if found.is_none() && self.uploads.kept.contains_key(&(id.nonce, acct)) {
            return Err(Outcome::NotFound);
        }
        let mut upload = found.unwrap_or_else(|| Self::new_upload(acct, id, false));
        if upload.is_closed {
            return Err(Outcome::Closed);
        }
        if append.offset != upload.offset {
            return Err(Outcome::IncorrectOffset { correct: upload.offset });
        }
        let lengths: Vec<u64> = append.blocks.iter().map(|block| u64::from(block.bytes)).collect();
        let end = upload.names.len() as u64 * BLOCK + lengths.iter().sum::<u64>() + u64::from(append.tail_bytes);
        let mut to_be_whole = &lengths[..];
        if append.close && append.tail_bytes == 0 && !lengths.is_empty() {
            to_be_whole = &lengths[..lengths.len() - 1];
        }
        if to_be_whole.iter().any(|bytes| *bytes != BLOCK) || end < upload.offset {
            return Err(Outcome::Malformed);
        }
        self.take(&mut upload, &append.blocks)?;
        (upload.offset, upload.is_closed) = (end, append.close);
        self.uploads.open.insert(id.nonce, upload);
        Ok(Outcome::Done)
    }

    /// Once: what was put under the id before ends it.
    fn once(&self, id: UploadId, acct: Acct, command: &Command) -> Result<(), Outcome> {
        match self.uploads.kept.get(&(id.nonce, acct)) {
            None => Ok(()),
            Some((before, outcome, _)) if before == command => Err(outcome.clone()),
            Some(_) => Err(Outcome::NotFound),
        }
    }

    fn keep(&mut self, id: UploadId, acct: Acct, command: Command, outcome: &Outcome) {
        self.uploads.kept.insert((id.nonce, acct), (command, outcome.clone(), self.now_ms));
    }

    /// The upload is over; the list of one whose content was there already is of no use.
    fn end(&mut self, id: UploadId, outcome: &Outcome) {
        if let Some(upload) = self.uploads.open.remove(&id.nonce)
            && matches!(outcome, Outcome::Unchanged(_))
        {
            self.uploads.unused.push(upload.names);
        }
    }

    fn whole(
        &mut self,
        mut upload: Upload,
        commit: &CommitFile,
        rest: &[PresentBlock],
    ) -> Result<Vec<BlockHash>, Outcome> {
        let count = (upload.names.len() + rest.len()) as u64;
        let last = rest.len().saturating_sub(1);
        let is_length = |(at, block): (usize, &PresentBlock)| {
            let wanted = if at == last { commit.size.wrapping_sub((count - 1) * BLOCK) } else { BLOCK };
            u64::from(block.bytes) == wanted
        };
        let is_count = commit.size.div_ceil(BLOCK) == count && commit.size >= upload.offset;
        let is_end = !rest.is_empty() || commit.size == upload.offset;
        if !is_count || !is_end || !commit.blocks.is_empty() || !rest.iter().enumerate().all(is_length) {
            return Err(Outcome::BadContentHash);
        }
        self.take(&mut upload, rest)?;
        let is_hash = hash_of_names(&upload.names) == commit.content_hash;
        if is_hash { Ok(upload.names) } else { Err(Outcome::BadContentHash) }
    }

    pub(super) fn finish(&mut self, acct: Acct, finish: &SessionFinish) -> Judged {
        let command = Command::SessionFinish(Box::new(SessionFinish { rest: Vec::new(), ..finish.clone() }));
        self.once(finish.id, acct, &command)?;
        let key = (finish.id.nonce, acct);
        let sent = self.uploads.sent.get(&key).cloned();
        if let Some((asked, elsewhere, _)) = &sent
            && *asked == command
        {
            return Ok(elsewhere.clone());
        }
        let before = self.clone();
        match (self.finish_here(acct, finish, &command), sent) {
            (Err(Outcome::Elsewhere { nsid, rest }), sent) => {
                *self = before;
                let is_same = |to: &Outcome| matches!(to, Outcome::Elsewhere { nsid: to, .. } if *to == nsid);
                if sent.is_some_and(|(_, to, _)| !is_same(&to)) {
                    return Err(Outcome::NotFound);
                }
                let elsewhere = Outcome::Elsewhere { nsid, rest };
                self.uploads.sent.insert(key, (command, elsewhere.clone(), self.now_ms));
                Ok(elsewhere)
            }
            // It may be there already.
            (Ok(_), Some(_)) => Err(Outcome::NotFound),
            (judged, _) => judged,
        }
    }

    fn finish_here(&mut self, acct: Acct, finish: &SessionFinish, command: &Command) -> Judged {
        let upload = match self.upload(acct, finish.id, false)? {
            Some(upload) => upload,
            None if finish.offset == 0 => Self::new_upload(acct, finish.id, false),
            None => return Err(Outcome::NotFound),
        };
        if finish.offset != upload.offset {
            return Err(Outcome::IncorrectOffset { correct: upload.offset });
        }
        let has_tail = upload.offset > upload.names.len() as u64 * BLOCK;
        if upload.is_closed && !has_tail && !finish.rest.is_empty() {
            return Err(Outcome::Closed);
        }
        let mut commit = finish.commit.clone();
        if commit.content_hash == HASH_OF_SESSION {
            let rest = finish.rest.iter().map(|block| block.hash);
            let names: Vec<BlockHash> = upload.names.iter().copied().chain(rest).collect();
            commit.content_hash = hash_of_names(&names);
        }
        let outcome = self.put_judged(acct, &commit, |it| it.whole(upload, &commit, &finish.rest))?;
        self.end(finish.id, &outcome);
        self.keep(finish.id, acct, command.clone(), &outcome);
        Ok(outcome)
    }

    pub(super) fn stage(&mut self, acct: Acct, stage: &ListStage) -> Judged {
        if acct != Acct(0) {
            return Err(Outcome::NoAccess);
        }
        let Some((last, whole)) = stage.blocks.split_last() else { return Err(Outcome::Malformed) };
        if whole.iter().any(|block| u64::from(block.bytes) != BLOCK) {
            return Err(Outcome::Malformed);
        }
        let found = self.upload(acct, stage.id, true)?;
        if found.is_none() && self.uploads.kept.contains_key(&(stage.id.nonce, acct)) {
            return Err(Outcome::NotFound);
        }
        let mut upload = found.unwrap_or_else(|| Self::new_upload(acct, stage.id, true));
        let offset = Outcome::IncorrectOffset { correct: upload.offset };
        if stage.part > 0 {
            return Err(offset);
        }
        if !upload.names.is_empty() {
            let is_same = upload.names.iter().eq(stage.blocks.iter().map(|block| &block.hash));
            return if is_same { Ok(Outcome::Done) } else { Err(offset) };
        }
        self.take(&mut upload, &stage.blocks)?;
        upload.offset = whole.len() as u64 * BLOCK + u64::from(last.bytes);
        upload.is_closed = true;
        self.uploads.open.insert(stage.id.nonce, upload);
        Ok(Outcome::Done)
    }

    pub(super) fn commit_attested(&mut self, acct: Acct, commit: &CommitFile, attested: Attested) -> Judged {
        if acct != Acct(0) {
            return Err(Outcome::NoAccess);
        }
        let command = Command::CommitFile(commit.clone());
        self.once(attested.id, acct, &command)?;
        let outcome = match (attested.is_staged, self.upload(acct, attested.id, true)?) {
            (false, None) => self.put_named(acct, commit)?,
            (true, Some(upload)) => {
                let outcome = self.put_judged(acct, commit, |it| it.whole(upload, commit, &[]))?;
                self.end(attested.id, &outcome);
                outcome
            }
            (true, None) => return Err(Outcome::NotFound),
            (false, Some(_)) => return Err(Outcome::Malformed),
        };
        self.keep(attested.id, acct, command, &outcome);
        Ok(outcome)
    }
}
