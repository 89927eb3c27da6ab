//! Is this answer right? Each answer is held against what the generator knows for sure when it arrives.
//!
//! Sure is only what was acknowledged before an operation was sent. Operations on one file that overlap may be executed in
//! any order, so an answer that such an order explains is a race and no error; it is counted apart. What no order
//! explains is a violation: an older revision than was acknowledged, other content than was put, a file that is gone
//! though nobody took it, a journal that went back.

use crate::content::Contents;
use crate::driver::{Answer, Failure, Refusal};
use crate::op::{FileId, Op, OpKind, Writer};
use crate::tree::Tree;

/// What an answer turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// As it must be.
    Right,
    /// A no that operations on the same file, on their way at the same time, explain.
    Raced,
    /// A no that nothing explains, or no answer.
    Error(ErrorKind),
    /// No order of operations explains it.
    Violation(ViolationKind),
}

/// Errors, by name in results.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ErrorKind {
    /// By the target.
    Refused(Refusal),
    /// No answer.
    Failed(Failure),
    /// An answer of another kind than was asked for.
    Strange,
}

impl ErrorKind {
    /// The name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::Refused(Refusal::Conflict) => "conflict",
            ErrorKind::Refused(Refusal::NotFound) => "not_found",
            ErrorKind::Refused(Refusal::Quota) => "quota",
            ErrorKind::Refused(Refusal::Busy) => "busy",
            ErrorKind::Refused(Refusal::Other) => "refused",
            ErrorKind::Failed(Failure::TimedOut) => "timed_out",
            ErrorKind::Failed(Failure::Unknown) => "unknown",
            ErrorKind::Failed(Failure::Refused) => "rejected",
            ErrorKind::Failed(Failure::Undecodable) => "undecodable",
            ErrorKind::Strange => "strange",
        }
    }
}

/// Wrong answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ViolationKind {
    /// A read told an older revision than was acknowledged before it was sent.
    StaleRead,
    /// A revision holds other content than was put.
    WrongContent,
    /// A revision that nobody wrote.
    Phantom,
    /// An acknowledged file is gone though nothing took it away.
    Missing,
    /// The journal's head is lower than one told before.
    HeadWentBack,
    /// A write was acknowledged at a place that another one has.
    JidTwice,
    /// A batch has not as many rows as parts.
    TornBatch,
    /// A write that was acknowledged is not in the journal.
    LostAck,
    /// Rows that no write explains: something was done twice.
    DoubledWrite,
    /// The listing differs from what the journal's order makes of the writes.
    WrongListing,
}

/// Before an operation of which nothing is known.
pub const NOTHING_SURE: Before = Before { rev: 0, head: 0, vacated: 0, is_settled: false, is_known: false };

impl ViolationKind {
    /// The name in results.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ViolationKind::StaleRead => "stale_read",
            ViolationKind::WrongContent => "wrong_content",
            ViolationKind::Phantom => "phantom",
            ViolationKind::Missing => "missing",
            ViolationKind::HeadWentBack => "head_went_back",
            ViolationKind::JidTwice => "jid_twice",
            ViolationKind::TornBatch => "torn_batch",
            ViolationKind::LostAck => "lost_ack",
            ViolationKind::DoubledWrite => "doubled_write",
            ViolationKind::WrongListing => "wrong_listing",
        }
    }
}

/// What was sure when an operation was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Before {
    /// The file's highest revision, 0 if unknown.
    rev: u64,
    /// The journal's head that was told.
    head: u64,
    /// Writes that had vacated the place, this one included.
    vacated: u32,
    /// Nothing was on its way that names the file.
    is_settled: bool,
    /// There was a version that is known.
    is_known: bool,
}

/// An operation as far as its judge must know it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judged {
    /// Its kind.
    pub kind: OpKind,
    /// On which file; of a batch the first.
    pub file: FileId,
    /// Files of a batch.
    pub count: u32,
    /// Bytes of a put.
    pub size: u64,
    /// Of a put.
    pub writer: Writer,
    /// What was sure.
    pub before: Before,
}

/// Notes an operation that is about to be sent.
pub fn begin(tree: &mut Tree, op: &Op) -> Judged {
    let mut before = Before { head: tree.head, is_settled: true, ..Before::default() };
    if op.file != FileId::NONE {
        let parts = if op.kind == OpKind::PutBatch { op.count } else { 1 };
        let told = tree.file(op.file).told;
        before.rev = told.rev;
        before.is_settled = told.pending == 0 && !told.is_unsure;
        before.vacated = told.vacated;
        before.is_known = told.content.is_some();
        if op.kind.is_write() {
            for part in 0..parts {
                let told = &mut tree.file_mut(FileId(op.file.0 + part)).told;
                let vacates = matches!(op.kind, OpKind::Move | OpKind::Delete);
                told.is_unsure |= told.pending > 0 && (vacates || told.is_vacating);
                told.is_vacating |= vacates;
                told.pending += 1;
            }
        }
    }
    Judged { kind: op.kind, file: op.file, count: op.count, size: op.size, writer: op.writer, before }
}

/// Fills in what an operation takes from replies; it is no part of the stream.
pub fn fill_in(tree: &Tree, op: &mut Op) {
    match op.kind {
        OpKind::Delta => op.since = tree.cursor,
        // Who moves a file where a move is a delete and a put must have its row.
        OpKind::Move => {
            if let Some(content) = tree.file(op.file).told.content {
                (op.writer, op.size) = content;
            }
        }
        OpKind::HasBlocks => {
            (op.writer, op.size) = tree.file(op.file).told.content.unwrap_or((Writer::op(op.index), 0));
        }
        _ => {}
    }
}

/// The operation is never sent: what it would have made is never there.
pub fn skip(tree: &mut Tree, op: &Op) {
    // It stays pending for ever, so that nothing is sure of its file any more.
    begin(tree, op);
}

/// Judges the answer of an operation and learns from it.
pub fn end(tree: &mut Tree, contents: Contents, op: &Judged, answer: Answer) -> Judgement {
    let judgement = match answer {
        Answer::Applied { jid, rev } => applied(tree, op, jid, rev),
        Answer::File { rev, size, content } => file(tree, contents, op, (rev, size, content)),
        Answer::Page { head, .. } | Answer::Changes { head, .. } | Answer::Head(head) => told_head(tree, op, head),
        Answer::Known(count) => known(tree, op, count),
        Answer::Refused(refusal) => refused(tree, op, refusal),
        Answer::Failed(failure) => Judgement::Error(ErrorKind::Failed(failure)),
    };
    // Whatever may still be done stays pending: nothing is sure of its file any more.
    if op.kind.is_write() && op.file != FileId::NONE && answer != Answer::Failed(Failure::Unknown) {
        let parts = if op.kind == OpKind::PutBatch { op.count } else { 1 };
        for part in 0..parts {
            let told = &mut tree.file_mut(FileId(op.file.0 + part)).told;
            told.pending = told.pending.saturating_sub(1);
            told.is_vacating &= told.pending > 0;
        }
    }
    judgement
}

fn applied(tree: &mut Tree, op: &Judged, jid: u64, rev: u64) -> Judgement {
    if !op.kind.is_write() {
        return Judgement::Error(ErrorKind::Strange);
    }
    if jid == 0 || jid <= op.before.head {
        // Its row must be new: the head was told before it was sent.
        return Judgement::Violation(ViolationKind::JidTwice);
    }
    tree.head = tree.head.max(jid);
    match op.kind {
        OpKind::Put => {
            let told = &mut tree.file_mut(op.file).told;
            told.rev = told.rev.max(rev);
            if rev > told.content_rev {
                (told.content_rev, told.content) = (rev, Some((op.writer, op.size)));
            }
        }
        OpKind::PutBatch => {
            if rev + u64::from(op.count) - 1 != jid {
                return Judgement::Violation(ViolationKind::TornBatch);
            }
            for part in 0..op.count {
                let told = &mut tree.file_mut(FileId(op.file.0 + part)).told;
                let rev = rev + u64::from(part);
                (told.rev, told.content_rev, told.content) = (rev, rev, Some((op.writer, 0)));
            }
        }
        OpKind::Move => {
            let told = &mut tree.file_mut(op.file).told;
            told.rev = told.rev.max(rev);
        }
        _ => {}
    }
    Judgement::Right
}

fn file(tree: &mut Tree, contents: Contents, op: &Judged, (rev, size, content): (u64, u64, u64)) -> Judgement {
    if !matches!(op.kind, OpKind::Stat | OpKind::Blocklist) {
        return Judgement::Error(ErrorKind::Strange);
    }
    let told = &mut tree.file_mut(op.file).told;
    if told.is_unsure {
        return Judgement::Right;
    }
    if rev < op.before.rev {
        return Judgement::Violation(ViolationKind::StaleRead);
    }
    let is_settled = told.pending == 0 && op.before.is_settled && told.vacated == op.before.vacated;
    if is_settled && told.rev > 0 && rev > told.rev {
        return Judgement::Violation(ViolationKind::Phantom);
    }
    told.rev = told.rev.max(rev);
    // A put that came and went while the read was on its way may have brought other content than the read saw.
    let is_newest = rev >= told.content_rev;
    if is_settled
        && is_newest
        && let Some((writer, expected)) = told.content
    {
        let hash = contents.hash(writer, expected);
        if size != expected || content != first_8(&hash) {
            return Judgement::Violation(ViolationKind::WrongContent);
        }
    }
    Judgement::Right
}

/// The first 8 bytes of a content hash, as answers carry them.
#[must_use]
pub fn first_8(hash: &[u8; 32]) -> u64 {
    u64::from_le_bytes(*hash.first_chunk().expect("32 bytes have a first 8"))
}

fn told_head(tree: &mut Tree, op: &Judged, head: u64) -> Judgement {
    let is_asked = matches!(op.kind, OpKind::List | OpKind::Delta | OpKind::Head);
    if !is_asked {
        return Judgement::Error(ErrorKind::Strange);
    }
    // A Delta that has more to tell stops before the head.
    if head < op.before.head && op.kind != OpKind::Delta {
        return Judgement::Violation(ViolationKind::HeadWentBack);
    }
    tree.head = tree.head.max(head);
    if op.kind == OpKind::Delta {
        tree.cursor = tree.cursor.max(head);
    }
    Judgement::Right
}

fn known(tree: &Tree, op: &Judged, count: u32) -> Judgement {
    let told = &tree.file(op.file).told;
    // The first block asked for is the file's; the others nobody ever put.
    let has_block = told.content.is_some_and(|(_, size)| size > 0);
    match count {
        0 if !told.is_unsure && op.before.is_settled && op.before.is_known && has_block => {
            Judgement::Violation(ViolationKind::Missing)
        }
        0 | 1 => Judgement::Right,
        _ => Judgement::Violation(ViolationKind::Phantom),
    }
}

fn refused(tree: &Tree, op: &Judged, refusal: Refusal) -> Judgement {
    let error = Judgement::Error(ErrorKind::Refused(refusal));
    if op.kind == OpKind::MoveFolder && refusal == Refusal::NotFound {
        // Two moves of one folder on their way at once.
        return Judgement::Raced;
    }
    if op.file == FileId::NONE || !matches!(refusal, Refusal::NotFound | Refusal::Conflict) {
        return error;
    }
    let told = &tree.file(op.file).told;
    let own = u32::from(op.kind.is_write());
    let is_alone = !told.is_unsure && op.before.is_settled && told.pending <= own && told.vacated == op.before.vacated;
    match (is_alone, refusal) {
        (false, _) => Judgement::Raced,
        (true, Refusal::NotFound) if op.before.is_known => Judgement::Violation(ViolationKind::Missing),
        (true, _) => error,
    }
}

#[cfg(test)]
mod tests;
