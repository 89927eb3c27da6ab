//! `dropstone mv` out of a shared folder, into one, or from one to another.

use std::time::{SystemTime, UNIX_EPOCH};

use base::Nsid;
use base::limits::COMMAND_BLOCKS_MAX;
use meta::{
    Answer, At, Command, CommitFile, Delete, Entry, FlowPlan, Move, NodeKind, Outcome, PresentPart, PutMode, Query,
    StoreAndCommit, What,
};
use serde_json::json;

use super::Global;
use super::fail::{Code, Fail};
use super::flow::System;
use super::print;
use super::remote::{Remote, last_name};

/// Where a path of the account's tree leads: the namespace, and the path there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The root itself, or what hangs in it.
    pub nsid: Nsid,
    /// Normalised; empty is its root.
    pub path: String,
}

/// What is at a place, or nothing.
fn lookup(remote: &Remote, place: &Place) -> Result<Option<Entry>, Fail> {
    match remote.client.query(remote.acct, place.nsid, Query::Lookup(What::At(At::path(&place.path))))? {
        Answer::Entry(entry) => Ok(Some(entry)),
        Answer::NotFound | Answer::NotFolder => Ok(None),
        other => Err(Fail::of_answer(&place.path, &other)),
    }
}

/// Moves between namespaces, or inside a shared one. Paths are those of the account's tree.
///
/// Errors: [`Fail`].
pub fn mv(remote: &Remote, source: (&str, Place), target: (&str, Place), global: &Global) -> Result<(), Fail> {
    let ((source, from), (target, mut to)) = (source, target);
    let moved = lookup(remote, &from)?.ok_or_else(|| Fail::not_found(source))?;
    if moved.meta.kind == NodeKind::Mount {
        return Err(Fail::of_outcome(source, &Outcome::NestedShare));
    }
    let mut target = target.to_owned();
    if let Some(there) = lookup(remote, &to)?
        && there.meta.kind != NodeKind::File
        && (there.meta.nsid, there.meta.node) != (moved.meta.nsid, moved.meta.node)
    {
        let name = last_name(source);
        (target, to.path) = (format!("{target}/{name}"), format!("{}/{name}", to.path));
    }
    if from.nsid == to.nsid {
        let command = Move { source: At::path(&from.path), target: At::path(&to.path), autorename: false };
        let outcome = remote.client.command(remote.acct, from.nsid, Command::Move(command))?;
        if !outcome.is_ok() {
            return Err(Fail::of_outcome(&target, &outcome));
        }
    } else if moved.meta.kind == NodeKind::Folder {
        let (acct, node, at) = (remote.acct, moved.meta.node, At::path(&to.path));
        let plan = FlowPlan::MoveAcross { acct, from: from.nsid, node, to: to.nsid, at, autorename: false };
        System::open(global)?.run(&target, &plan)?;
    } else {
        move_file(remote, (source, &from, &moved), (&target, &to), &System::open(global)?)?;
    }
    if !global.json {
        return Ok(());
    }
    print::line(json!({ "done": "moved", "path": target, "namespace": to.nsid.0 }))
}

/// A file is put where it goes, then taken away where it was, if it is still the same there.
fn move_file(
    remote: &Remote,
    (source, from, moved): (&str, &Place, &Entry),
    (target, to): (&str, &Place),
    system: &System,
) -> Result<(), Fail> {
    let rev = moved.meta.rev_jid;
    let asked = Query::Blocklist { what: What::Rev(rev), first: 0 };
    let (blocks, total) = match remote.client.query(remote.acct, from.nsid, asked)? {
        Answer::Blocklist { blocks, total, .. } => (blocks, total),
        other => return Err(Fail::of_answer(source, &other)),
    };
    if total as usize > COMMAND_BLOCKS_MAX {
        let text = format!("{}: a file over 4 GiB goes with the folder it is in; move that", print::path(source));
        return Err(Fail::new(Code::Refused, text));
    }
    let put_at_ms = wall_ms();
    let present =
        |((_, bytes), position): (&(base::BlockHash, u32), u32)| PresentPart { position, bytes: *bytes, put_at_ms };
    let commit = CommitFile {
        at: At::path(&to.path),
        mode: PutMode::Add,
        size: moved.meta.size,
        client_mtime_ms: moved.meta.client_mtime(),
        content_hash: moved.meta.content_hash,
        blocks: blocks.iter().map(|(hash, _)| *hash).collect(),
        ..CommitFile::default()
    };
    let both = StoreAndCommit { commit, present: blocks.iter().zip(0..).map(present).collect() };
    let put = system.client.command(remote.acct, to.nsid, Command::StoreAndCommit(both))?;
    if !put.is_ok() {
        return Err(Fail::of_outcome(target, &put));
    }
    let delete = Delete { at: At::node(moved.meta.node), parent_rev: Some(rev) };
    match remote.client.command(remote.acct, from.nsid, Command::Delete(delete))? {
        outcome if outcome.is_ok() => Ok(()),
        Outcome::RevMismatch => Err(Fail::of_code(source, Outcome::RevMismatch.code())),
        other => Err(Fail::of_outcome(source, &other)),
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
