//! Answers what readers of whole trees ask: deleted entries too, what hangs in a root, an upload session's state
//! (docs/design/metadata.md, "Feeds").

use std::ops::ControlFlow;

use base::limits::{ANSWER_BYTES_SOFT, BLOCK_BYTES, BLOCKLIST_ANSWER_MAX};
use base::{Acct, Jid, Nsid, TreeNode};

use crate::command::{At, UploadId};
use crate::keys::{self, after, table};
use crate::overlay::Source;
use crate::query::{Answer, Change, Entry, MountPlace, UploadState};
use crate::read::{ENTRY_BYTES, entry_bytes, listed_folder};
use crate::rows::*;
use crate::store::Rows;
use crate::tree::{Halt, Tree};
use crate::walk::{Walk, walk};

/// Mounts told at once.
const MOUNTS_TOLD_MAX: u32 = 256;

/// A page of a folder with the names that were vacated in it.
pub(crate) fn list_all<R: Source>(
    tree: &mut Tree<'_, R>,
    head: Jid,
    at: &At,
    (position, is_recursive): (&str, bool),
    limit: usize,
) -> Result<Answer, Halt> {
    let (folder, display) = match listed_folder(tree, at)? {
        Ok(folder) => folder,
        Err(answer) => return Ok(answer),
    };
    let (mut changes, mut bytes, mut last) = (Vec::new(), 0, String::new());
    let walked = Walk { root: folder, display: &display, position, is_recursive, has_dead: true, limit };
    let is_end = walk(tree, &walked, |tree, item| {
        if changes.len() >= limit || bytes >= ANSWER_BYTES_SOFT {
            return Ok(ControlFlow::Break(()));
        }
        item.position.clone_into(&mut last);
        changes.push(match item.row {
            Some(row) => {
                let meta = row.metadata(tree.nsid, item.node);
                bytes += entry_bytes(&item.display, &meta);
                Change::Present(Entry { path_display: item.display, meta })
            }
            None => {
                base::mark::hit!("meta.query.listed_deleted");
                bytes += ENTRY_BYTES + item.display.len();
                Change::Deleted { path_display: item.display }
            }
        });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Answer::All { changes, next: (!is_end).then(|| last.into_bytes()), head })
}

/// What hangs in the namespace and is live, by target.
pub(crate) fn mounts<R: Source>(tree: &mut Tree<'_, R>, after_target: Nsid) -> Result<Answer, Halt> {
    let range = keys::of_namespace(table::MOUNT, tree.nsid);
    let start = after(keys::mount(tree.nsid, after_target));
    let mut rows = Rows::new();
    tree.source.scan(start..range.end, MOUNTS_TOLD_MAX, &mut rows)?;
    let (mut mounts, mut bytes, mut is_cold) = (Vec::new(), 0, false);
    let (mut last, mut is_cut) = (after_target, rows.len() == MOUNTS_TOLD_MAX as usize);
    for (key, value) in &rows {
        let target = Nsid(u64::from_be_bytes(key[9..17].try_into().expect("a mount's key ends with its target")));
        if bytes >= ANSWER_BYTES_SOFT {
            is_cut = true;
            break;
        }
        let node = TreeNode(NumberRow::decode(value).0);
        last = target;
        // Its folder may have been purged meanwhile.
        match tree.node(node).map_err(Halt::from).and_then(|row| row.map(|_| tree.path_of(node)).transpose()) {
            Ok(Some(path)) if path.is_live => {
                bytes += 32 + path.display.len();
                mounts.push(MountPlace { target, node, path_display: path.display });
            }
            Ok(_) => {}
            // All of them in one prefetch.
            Err(Halt::Cold) => is_cold = true,
            Err(halt) => return Err(halt),
        }
    }
    if is_cold {
        return Err(Halt::Cold);
    }
    Ok(Answer::Mounts { mounts, next: is_cut.then_some(last) })
}

/// How far an upload session has come, with a part of the names it has; for its account and the system.
pub(crate) fn upload<R: Source>(tree: &mut Tree<'_, R>, acct: Acct, id: UploadId, first: u32) -> Result<Answer, Halt> {
    let row: Option<UploadRow> = tree.source.row(&keys::upload(tree.nsid, id.nonce))?;
    let Some(row) = row.filter(|row| acct == Acct(0) || row.acct == acct) else { return Ok(Answer::NotFound) };
    let end = row.blocks.min(first.saturating_add(BLOCKLIST_ANSWER_MAX));
    let (mut names, mut is_cold) = (Vec::new(), false);
    if first < end {
        let per_part = LIST_PART_BLOCKS as u32;
        for part in first / per_part..=(end - 1) / per_part {
            match tree.source.row::<ListPartRow>(&keys::list_part(tree.nsid, row.list, part)) {
                Ok(row) => names.extend(row.map(|row| row.blocks).unwrap_or_default()),
                Err(_) => is_cold = true,
            }
        }
        if is_cold {
            return Err(Halt::Cold);
        }
        names.drain(..((first % per_part) as usize).min(names.len()));
        names.truncate((end - first) as usize);
    }
    let length = |position: u32| row.offset.saturating_sub(u64::from(position) * BLOCK_BYTES).min(BLOCK_BYTES) as u32;
    let blocks = (first..end).zip(names).map(|(position, name)| (name, length(position))).collect();
    let UploadRow { is_closed, offset, tail_bytes, tail, blocks: total, .. } = row;
    Ok(Answer::Upload(UploadState { is_closed, offset, tail_bytes, tail, total, first, blocks }))
}
