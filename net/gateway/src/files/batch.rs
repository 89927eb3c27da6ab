//! `files/create_folder_batch` and `files/delete_batch`: entries are judged one by one, in one command for each namespace.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use base::{Nsid, TreeNode};
use meta::command::BATCH_PARTS_MAX;
use meta::{
    Answer, At, Command, CommitBatch, Delete, Entry, Metadata, Mkdir, NodeKind, Outcome, Query, ROOT, Rev, What,
};
use serde_json::Value;
use stone::error::{nested, tagged};
use stone::outcome::{in_path, in_path_lookup, in_path_write, write_error};
use stone::{ApiError, Call, Found, PathArg, PathKinds, Reply, Spot, Writer};

use super::change::{delete, delete_error, folder_conflict, rev_of};
use super::{parse_path, path_of};
use crate::state::Shared;

/// Paths of one create_folder_batch.
const FOLDERS_MAX: usize = 10_000;
/// Bytes of paths in one command, well below what a command may have.
const BATCH_BYTES_MAX: usize = 256 << 10;
const MOUNTS_CROSSED_MAX: usize = 3;

/// What became of an entry: metadata, or the error of its union.
type Ended = Result<Found, Value>;

/// One entry on its way.
struct Part {
    /// Its place in the answer.
    at: usize,
    spot: Spot,
    rev: Option<Rev>,
}

/// `files/create_folder_batch`.
pub async fn create_folder_batch(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let paths = call.arg.texts("paths", 0, FOLDERS_MAX)?;
    let autorename = call.arg.flag("autorename", false)?;
    let mut ended: Vec<Option<Ended>> = paths.iter().map(|_| None).collect();
    let mut parts = Vec::new();
    for (text, at) in paths.iter().zip(0..) {
        match parse_path(text, PathKinds::WRITE) {
            Err(error) => ended[at] = Some(Err(in_path(error))),
            Ok(path) if path.is_root() => ended[at] = Some(Err(in_path(folder_conflict()))),
            Ok(path) => parts.push(part(&call, at, &path, None)),
        }
    }
    let make = |part: &Part| Command::Mkdir(Mkdir { at: part.spot.at.clone(), autorename });
    let mut parents = Parents::default();
    for (part, outcome) in run(&call, parts, make).await? {
        ended[part.at] = Some(match outcome {
            Outcome::Applied(meta) | Outcome::Unchanged(meta) => Ok(parents.placed(&call, meta, &part.spot).await?),
            _ if part.spot.at.path.is_empty() => Err(in_path(folder_conflict())),
            other => Err(in_path(write_error(&other)?)),
        });
    }
    answer(&call, &gateway, ended, false).await
}

/// `files/delete_batch`.
pub async fn delete_batch(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let entries = call.arg.objects("entries", 0, BATCH_PARTS_MAX)?;
    let mut ended: Vec<Option<Ended>> = entries.iter().map(|_| None).collect();
    let (mut parts, mut before) = (Vec::new(), HashMap::new());
    for (entry, at) in entries.iter().zip(0..) {
        let rev = rev_of(entry, "parent_rev")?;
        let path = match path_of(entry, "path", PathKinds::WRITE_OR_ID, in_path_lookup) {
            Ok(path) if path.is_root() => {
                ended[at] = Some(Err(in_path_write(tagged("no_write_permission"))));
                continue;
            }
            Ok(path) => path,
            Err(error) => {
                ended[at] = Some(Err(refused(error)?));
                continue;
            }
        };
        match call.lookup(&path, in_path_lookup).await {
            Ok(found) if found.entry.meta.kind == NodeKind::Mount => {
                ended[at] = Some(ended_of(delete(&call, &gateway, entry).await)?);
            }
            Ok(found) => {
                before.insert(at, found);
                parts.push(part(&call, at, &path, rev));
            }
            Err(error) => ended[at] = Some(Err(refused(error)?)),
        }
    }
    let make = |part: &Part| {
        let parent_rev = part.rev.map(|rev| part.spot.jid_of(rev));
        Command::Delete(Delete { at: part.spot.at.clone(), parent_rev })
    };
    for (part, outcome) in run(&call, parts, make).await? {
        ended[part.at] = Some(match (outcome, before.remove(&part.at)) {
            (Outcome::Applied(_) | Outcome::Unchanged(_), Some(found)) => Ok(found),
            (other, _) => Err(refused(delete_error(&other)?)?),
        });
    }
    answer(&call, &gateway, ended, true).await
}

/// `files/create_folder_batch/check` and `files/delete_batch/check`.
pub async fn check(call: Call, gateway: Shared) -> Result<Reply, ApiError> {
    let id = call.arg.text("async_job_id")?;
    match gateway.jobs.result(&call.stone.keys, call.acct()?, id) {
        Some(result) => Ok(Reply::Json(result)),
        None => Err(ApiError::tag("invalid_async_job_id")),
    }
}

fn part(call: &Call, at: usize, path: &PathArg, rev: Option<Rev>) -> Part {
    let (nsid, place) = path.place(call.base).expect("no revision is parsed here");
    Part { at, spot: Spot { nsid, at: place }, rev }
}

/// The route's own error, for one entry; any other ends the call.
fn refused(error: ApiError) -> Result<Value, ApiError> {
    match error {
        ApiError::Route(error) => Ok(error),
        other => Err(other),
    }
}

fn ended_of(result: Result<Found, ApiError>) -> Result<Ended, ApiError> {
    match result {
        Ok(found) => Ok(Ok(found)),
        Err(error) => refused(error).map(Err),
    }
}

/// Sends the parts, one batch for each namespace and 1000 of them; those that lead elsewhere go there.
async fn run(
    call: &Call,
    mut parts: Vec<Part>,
    make: impl Fn(&Part) -> Command,
) -> Result<Vec<(Part, Outcome)>, ApiError> {
    let mut ended = Vec::with_capacity(parts.len());
    for _ in 0..MOUNTS_CROSSED_MAX {
        let mut elsewhere = Vec::new();
        for batch in batches(parts) {
            let nsid = batch[0].spot.nsid;
            let command = CommitBatch { atomic: false, parts: batch.iter().map(&make).collect() };
            let outcomes = match call.command(nsid, Command::CommitBatch(command)).await? {
                Outcome::Batch { outcomes, .. } if outcomes.len() == batch.len() => outcomes,
                // Refused as a whole, say for lack of rights: so is each part.
                other if !other.is_ok() => batch.iter().map(|_| other.clone()).collect(),
                other => return Err(ApiError::unexpected(&other)),
            };
            for (mut part, outcome) in batch.into_iter().zip(outcomes) {
                match outcome {
                    Outcome::Elsewhere { nsid, rest } => {
                        part.spot = Spot { nsid, at: At { node: ROOT, path: rest } };
                        elsewhere.push(part);
                    }
                    Outcome::Busy { .. } => return Err(ApiError::busy()),
                    outcome => ended.push((part, outcome)),
                }
            }
        }
        if elsewhere.is_empty() {
            return Ok(ended);
        }
        parts = elsewhere;
    }
    Err(ApiError::busy())
}

/// Parts of one namespace go together, in their order.
fn batches(parts: Vec<Part>) -> Vec<Vec<Part>> {
    let mut batches: Vec<(usize, Vec<Part>)> = Vec::new();
    let mut last: HashMap<Nsid, usize> = HashMap::new();
    for part in parts {
        let bytes = part.spot.at.path.len() + 64;
        let open = last.get(&part.spot.nsid).copied().filter(|at| {
            let (used, batch) = &batches[*at];
            batch.len() < BATCH_PARTS_MAX && used + bytes <= BATCH_BYTES_MAX
        });
        let at = open.unwrap_or_else(|| {
            batches.push((0, Vec::new()));
            last.insert(part.spot.nsid, batches.len() - 1);
            batches.len() - 1
        });
        batches[at].0 += bytes;
        batches[at].1.push(part);
    }
    batches.into_iter().map(|(_, batch)| batch).collect()
}

/// Paths of folders that were looked up already: many entries of a batch are in one.
#[derive(Default)]
struct Parents(HashMap<(Nsid, TreeNode), Option<(String, String)>>);

impl Parents {
    async fn placed(&mut self, call: &Call, meta: Metadata, spot: &Spot) -> Result<Found, ApiError> {
        let known = match self.0.entry((meta.nsid, meta.parent)) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(slot) => {
                let parent = What::At(At::node(meta.parent));
                slot.insert(match call.ask(meta.nsid, Query::Lookup(parent)).await? {
                    Answer::Entry(entry) => {
                        Some((call.prefix_of(meta.nsid).await?.unwrap_or_default(), entry.path_display))
                    }
                    _ => None,
                })
            }
        };
        match known {
            Some((prefix, parent)) => {
                let path_display = format!("{parent}/{}", meta.name);
                Ok(Found { entry: Entry { path_display, meta }, prefix: prefix.clone() })
            }
            None => call.placed(&meta, spot).await,
        }
    }
}

/// The answer, or the id of a job that has it.
async fn answer(call: &Call, gateway: &Shared, ended: Vec<Option<Ended>>, has_tag: bool) -> Result<Reply, ApiError> {
    let home = call.user()?.root;
    let is_shared = ended.iter().flatten().flatten().any(|found| found.entry.meta.nsid != home);
    let writer = Writer::new(call, is_shared).await?;
    let mut out = b"{\".tag\":\"complete\",\"entries\":[".to_vec();
    for (ended, at) in ended.iter().zip(0..) {
        if at > 0 {
            out.push(b',');
        }
        match ended {
            Some(Ok(found)) => {
                out.extend_from_slice(b"{\".tag\":\"success\",\"metadata\":");
                writer.found(found, has_tag, &mut out);
                out.push(b'}');
            }
            Some(Err(error)) => out.extend_from_slice(nested("failure", error.clone()).to_string().as_bytes()),
            None => return Err(ApiError::Internal("an entry of a batch has no outcome".to_owned())),
        }
    }
    out.extend_from_slice(b"]}");
    if call.arg.flag("force_async", false)? {
        let id = gateway.jobs.keep(&call.stone.keys, call.acct()?, out)?;
        return Ok(Reply::from(serde_json::json!({ ".tag": "async_job_id", "async_job_id": id })));
    }
    Ok(Reply::Json(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_grouped_by_namespace_and_bounded() {
        let part =
            |at, nsid, bytes| Part { at, spot: Spot { nsid: Nsid(nsid), at: At::path(&"x".repeat(bytes)) }, rev: None };
        let parts = (0..2500).map(|at| part(at, at as u64 % 2, 1)).collect();
        let batches = super::batches(parts);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 250, 250]);
        assert!(batches.iter().all(|batch| batch.iter().all(|part| part.spot.nsid == batch[0].spot.nsid)));
        assert!(batches.iter().all(|batch| batch.is_sorted_by_key(|part| part.at)));
        let long = (0..100).map(|at| part(at, 1, 8000)).collect();
        assert!(super::batches(long).len() > 3);
    }
}
