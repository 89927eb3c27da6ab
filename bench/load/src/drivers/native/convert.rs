//! From operations to commands and queries, and from what they come to, to answers.

use base::mono::Span;
use base::{Jid, TreeNode};
use client::{ClientError, Explained, Operation, Reply};
use meta::query::What;
use meta::{
    Answer as Told, At, Command, CommitBatch, CommitFile, Delete, DeltaCursor, Entry, Mkdir, Move, Outcome,
    PresentPart, PutMode, Query, SetAttr, StoreAndCommit,
};

use super::Home;
use crate::content::Contents;
use crate::driver::{Answer, Breakdown, Failure, Refusal};
use crate::judge::first_8;
use crate::op::{Op, OpKind, Writer};

/// What the client is asked for an operation. Blocks are put at `wall_ms`.
pub fn operation(op: &Op, home: Home, contents: Contents, wall_ms: u64) -> Operation {
    let Home { acct, nsid, .. } = home;
    let command = |command| Operation::Command { acct, nsid, command };
    let query = |query| Operation::Query { acct, nsid, query };
    match op.kind {
        OpKind::Null => unreachable!("the driver makes it, in memory that is shared"),
        OpKind::Put => command(put(op, contents, wall_ms)),
        OpKind::PutBatch => command(batch(op, contents)),
        OpKind::Mkdir => command(Command::Mkdir(Mkdir { at: At::path(&op.path), autorename: false })),
        OpKind::Move | OpKind::MoveFolder => {
            let (source, target) = (At::path(&op.path), At::path(&op.target));
            command(Command::Move(Move { source, target, autorename: false }))
        }
        OpKind::Delete => command(Command::Delete(Delete { at: At::path(&op.path), parent_rev: None })),
        OpKind::Attr => {
            // Each sets another time, so that each is a change.
            let client_mtime_ms = Some(mtime(op.writer));
            command(Command::SetAttr(SetAttr { at: At::path(&op.path), client_mtime_ms }))
        }
        OpKind::Stat => query(Query::Lookup(What::At(At::path(&op.path)))),
        OpKind::Blocklist => query(Query::Blocklist { what: What::At(At::path(&op.path)), first: 0 }),
        OpKind::List => {
            let at = At { node: TreeNode(0), path: op.path.clone() };
            query(Query::ListPage { at, recursive: false, position: Vec::new(), limit: op.count })
        }
        OpKind::Delta => {
            let since = if op.since == 0 { home.head } else { op.since };
            query(Query::Delta { cursor: DeltaCursor::at(Jid(since)), limit: op.count })
        }
        OpKind::Head => query(Query::Head),
        OpKind::HasBlocks => {
            // The first one is the file's as far as the model knows, the others nobody ever put.
            let of = |at| if at == 0 && op.size > 0 { op.writer } else { Writer(u64::MAX - op.index) };
            query(Query::HasBlocks((0..op.count).map(|at| contents.block(of(at), at)).collect()))
        }
    }
}

/// What a server told of one operation's time.
pub fn breakdown(told: &Explained) -> Breakdown {
    let stages = told.server.stages.iter().map(|time| (time.stage.name(), Span(u64::from(time.ns)))).collect();
    Breakdown { class: told.server.class.name(), node: told.server.node.0, net: told.net(), stages }
}

fn mtime(writer: Writer) -> i64 {
    i64::try_from(writer.0).expect("indexes of operations are below 2^62")
}

fn put(op: &Op, contents: Contents, wall_ms: u64) -> Command {
    let blocks: Vec<_> = (0..Contents::blocks(op.size)).map(|at| contents.block(op.writer, at)).collect();
    let present = (0..Contents::blocks(op.size)).map(|position| PresentPart {
        position,
        bytes: Contents::block_bytes(op.size, position),
        put_at_ms: wall_ms,
    });
    let commit = CommitFile {
        at: At::path(&op.path),
        mode: if op.is_update { PutMode::Overwrite } else { PutMode::Add },
        size: op.size,
        client_mtime_ms: Some(mtime(op.writer)),
        content_hash: contents.hash(op.writer, op.size),
        blocks,
        ..CommitFile::default()
    };
    Command::StoreAndCommit(StoreAndCommit { present: present.collect(), commit })
}

fn batch(op: &Op, contents: Contents) -> Command {
    let content_hash = contents.hash(op.writer, 0);
    let parts = op.target.split('/').skip(1).map(|name| {
        Command::CommitFile(CommitFile {
            at: At::path(&format!("{}/{name}", op.path)),
            client_mtime_ms: Some(mtime(op.writer)),
            content_hash,
            ..CommitFile::default()
        })
    });
    Command::CommitBatch(CommitBatch { atomic: true, parts: parts.collect() })
}

/// What an operation of this kind came to.
pub fn answer(kind: OpKind, result: Result<Reply, ClientError>) -> Answer {
    match result {
        Ok(Reply::Outcome(outcome)) => of_outcome(kind, &outcome),
        Ok(Reply::Answer(told)) => of_answer(kind, &told),
        Ok(Reply::Count(count)) => Answer::Applied { jid: count, rev: 0 },
        Ok(_) => Answer::Failed(Failure::Undecodable),
        Err(error) => Answer::Failed(failure(&error)),
    }
}

fn failure(error: &ClientError) -> Failure {
    match error {
        ClientError::Unknown { .. } | ClientError::Closed => Failure::Unknown,
        ClientError::Undecodable { .. } => Failure::Undecodable,
        ClientError::TimedOut { .. } | ClientError::Unreachable { .. } => Failure::TimedOut,
        _ => Failure::Refused,
    }
}

fn of_outcome(kind: OpKind, outcome: &Outcome) -> Answer {
    match outcome {
        Outcome::Applied(meta) | Outcome::Unchanged(meta) => {
            let rev = if matches!(kind, OpKind::Put | OpKind::Move) { meta.rev_jid.0 } else { 0 };
            Answer::Applied { jid: meta.jid.0, rev }
        }
        Outcome::Batch { failed: None, outcomes } => {
            let rows: Option<Vec<u64>> = outcomes.iter().map(|part| Some(part.metadata()?.jid.0)).collect();
            match rows.as_deref() {
                Some([first, .., last]) | Some([first @ last]) => Answer::Applied { jid: *last, rev: *first },
                _ => Answer::Refused(Refusal::Other),
            }
        }
        Outcome::Batch { outcomes, .. } => {
            outcomes.first().map_or(Answer::Refused(Refusal::Other), |part| of_outcome(kind, part))
        }
        Outcome::Conflict { .. } | Outcome::Exists { .. } => Answer::Refused(Refusal::Conflict),
        Outcome::NotFound | Outcome::NotFile | Outcome::NotFolder => Answer::Refused(Refusal::NotFound),
        Outcome::Quota { .. } => Answer::Refused(Refusal::Quota),
        Outcome::Busy { .. } => Answer::Refused(Refusal::Busy),
        _ => Answer::Refused(Refusal::Other),
    }
}

fn of_answer(kind: OpKind, told: &Told) -> Answer {
    let file = |entry: &Entry| Answer::File {
        rev: entry.meta.rev_jid.0,
        size: entry.meta.size,
        content: first_8(&entry.meta.content_hash),
    };
    let count = |entries: usize| u32::try_from(entries).unwrap_or(u32::MAX);
    match told {
        Told::Entry(entry) => file(entry),
        Told::Blocklist { entry, .. } => file(entry),
        Told::Page { entries, head, .. } => Answer::Page { entries: count(entries.len()), head: head.0 },
        Told::Delta { changes, cursor, .. } => Answer::Changes { entries: count(changes.len()), head: cursor.since.0 },
        Told::Head(head) => Answer::Head(head.0),
        Told::HasBlocks(known) => Answer::Known(count(known.iter().filter(|known| **known).count())),
        Told::NotFound | Told::NotFile | Told::NotFolder => Answer::Refused(Refusal::NotFound),
        Told::Reset if kind == OpKind::Delta => Answer::Refused(Refusal::Other),
        _ => Answer::Refused(Refusal::Other),
    }
}
