//! Moves and copies from one namespace to another.
//!
//! A file is put where it goes, on the word of this server that its blocks are known where it comes from; moved, it is
//! then deleted where it was, if it is still the same there. A crash in between leaves both. A folder that moves is a
//! flow of the cluster; one that is copied is made anew, file by file.

use std::collections::VecDeque;

use base::limits::COMMAND_BLOCKS_MAX;
use meta::{
    Answer, At, Command, CommitFile, Delete, Entry, FlowPlan, Metadata, Mkdir, NodeKind, Outcome, PresentPart, PutMode,
    Query, StoreAndCommit, What,
};
use stone::error::tagged;
use stone::outcome::{in_from_lookup, in_from_write, in_to, relocation_error, write_error};
use stone::stamp::now_ms;
use stone::{ApiError, Call, Found, Spot};

use super::relocate::{Relocation, arrived, route};
use crate::sharing::flows;
use crate::state::Shared;

/// Entries of a folder that is copied into another namespace.
const COPIED_MAX: usize = 10_000;

/// Moves or copies between namespaces.
///
/// Errors: RelocationError.
pub async fn relocate(
    call: &Call,
    gateway: &Shared,
    relocation: &Relocation,
    is_copy: bool,
) -> Result<Found, ApiError> {
    let Relocation { source, from, to, autorename } = relocation;
    if source.entry.meta.kind == NodeKind::Folder {
        if is_copy {
            return copy_folder(call, relocation).await;
        }
        return move_folder(call, gateway, relocation).await;
    }
    let put = put_file(call, &source.entry, to, *autorename).await?;
    if !is_copy {
        let delete = Delete { at: At::node(source.entry.meta.node), parent_rev: Some(source.entry.meta.rev_jid) };
        match call.command(from.nsid, Command::Delete(delete)).await? {
            Outcome::Applied(_) | Outcome::NotFound => {}
            // Written to meanwhile: both stay, and nothing is lost.
            other => return Err(route(in_from_write(write_error(&other)?))),
        }
    }
    arrived(call, &put, to).await
}

/// Puts the content of a file of another namespace.
async fn put_file(call: &Call, source: &Entry, to: &Spot, autorename: bool) -> Result<Metadata, ApiError> {
    let meta = &source.meta;
    let put_at_ms = now_ms();
    let asked = Query::Blocklist { what: What::Rev(meta.rev_jid), first: 0 };
    let (blocks, total) = match call.ask(meta.nsid, asked).await? {
        Answer::Blocklist { blocks, total, .. } => (blocks, total),
        _ => return Err(route(in_from_lookup(tagged("not_found")))),
    };
    if total as usize > COMMAND_BLOCKS_MAX {
        return Err(ApiError::tag("too_many_files"));
    }
    let part =
        |((_, bytes), position): (&(base::BlockHash, u32), u32)| PresentPart { position, bytes: *bytes, put_at_ms };
    let commit = CommitFile {
        at: to.at.clone(),
        mode: PutMode::Add,
        // Even the same content there is in the way: a move ends with one file, not with none.
        strict: true,
        autorename,
        size: meta.size,
        client_mtime_ms: meta.client_mtime(),
        content_hash: meta.content_hash,
        blocks: blocks.iter().map(|(hash, _)| *hash).collect(),
        ..CommitFile::default()
    };
    let both = StoreAndCommit { commit, present: blocks.iter().zip(0..).map(part).collect() };
    match call.command(to.nsid, Command::StoreAndCommit(both)).await? {
        Outcome::Applied(meta) | Outcome::Unchanged(meta) => Ok(meta),
        other => Err(route(relocation_error(&other)?)),
    }
}

async fn move_folder(call: &Call, gateway: &Shared, relocation: &Relocation) -> Result<Found, ApiError> {
    let Relocation { source, from, to, autorename } = relocation;
    let (acct, node) = (call.acct()?, source.entry.meta.node);
    let (at, autorename) = (to.at.clone(), *autorename);
    let plan = FlowPlan::MoveAcross { acct, from: from.nsid, node, to: to.nsid, at: at.clone(), autorename };
    let info = flows::run(&gateway.stone, &plan).await?;
    if let Some(code) = flows::refusal(&info) {
        return Err(route(code_error(code)));
    }
    match call.ask(to.nsid, Query::Lookup(What::At(at))).await? {
        Answer::Entry(entry) => call.found(entry).await,
        _ => Err(route(in_to(tagged("no_write_permission")))),
    }
}

/// A RelocationError by the code of the outcome that refused a flow.
fn code_error(code: u8) -> serde_json::Value {
    let conflict = Outcome::Conflict { file: false, folder: true, file_ancestor: false };
    let known = [
        Outcome::NestedShare,
        Outcome::NotFound,
        conflict,
        Outcome::Quota { short_bytes: 0 },
        Outcome::NoAccess,
        Outcome::IntoItself,
    ];
    let outcome = known.iter().find(|outcome| outcome.code() == code);
    outcome.and_then(|outcome| relocation_error(outcome).ok()).unwrap_or_else(|| tagged("internal_error"))
}

/// A folder with all in it, made anew where it goes.
async fn copy_folder(call: &Call, relocation: &Relocation) -> Result<Found, ApiError> {
    let Relocation { source, from, to, autorename } = relocation;
    let all = below(call, from, source).await?;
    let root = make(call, to, *autorename).await?;
    for entry in &all {
        let rest = &entry.path_display[source.entry.path_display.len()..];
        let spot = Spot { nsid: to.nsid, at: At { node: root.node, path: rest.to_owned() } };
        match entry.meta.kind {
            NodeKind::File => put_file(call, entry, &spot, false).await.map(drop)?,
            NodeKind::Folder => make(call, &spot, false).await.map(drop)?,
            NodeKind::Mount => {}
        }
    }
    arrived(call, &root, to).await
}

async fn make(call: &Call, to: &Spot, autorename: bool) -> Result<Metadata, ApiError> {
    match call.command(to.nsid, Command::Mkdir(Mkdir { at: to.at.clone(), autorename })).await? {
        Outcome::Applied(meta) | Outcome::Unchanged(meta) => Ok(meta),
        other => Err(route(relocation_error(&other)?)),
    }
}

/// All entries of a folder, parents first.
async fn below(call: &Call, from: &Spot, source: &Found) -> Result<VecDeque<Entry>, ApiError> {
    let (mut all, mut position) = (VecDeque::new(), Vec::new());
    loop {
        let at = At::node(source.entry.meta.node);
        match call.ask(from.nsid, Query::ListPage { at, recursive: true, position, limit: 0 }).await? {
            Answer::Page { entries, next, .. } => {
                all.extend(entries);
                if all.len() > COPIED_MAX {
                    return Err(ApiError::tag("too_many_files"));
                }
                match next {
                    Some(next) => position = next,
                    None => return Ok(all),
                }
            }
            _ => return Err(route(in_from_lookup(tagged("not_found")))),
        }
    }
}
