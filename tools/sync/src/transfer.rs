//! One file on its way, in a thread of its own: everything it needs is in the job, nothing of the trees is touched.

use std::collections::{HashMap, VecDeque};
use std::fs::FileTimes;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::limits::{BLOCK_BYTES, COMMAND_BLOCKS_MAX};
use base::{BlockHash, Jid};
use blocks::local::content_hash;
use blocks::{LocalBlocks, LocalError};
use meta::{Answer, At, CommitFile, Metadata, Outcome, PutMode, Query, What};

use crate::cloud::{Cloud, CloudError, Line};
use crate::disk::{Part, changed};
use crate::plan::Action;
use crate::tell::Tell;
use crate::{ContentHash, Stamp};

/// What one worker does.
#[derive(Debug)]
pub struct Job {
    /// As planned.
    pub action: Action,
    /// Below the folder, for people.
    pub shown: String,
    /// For the progress bar.
    pub bytes: u64,
    /// How.
    pub work: Work,
}

/// The kinds of work.
#[derive(Debug)]
pub enum Work {
    /// Read a file.
    Hash {
        /// Where.
        path: PathBuf,
    },
    /// Put one.
    Put {
        /// Where it is.
        path: PathBuf,
        /// Where it goes.
        at: At,
        /// What it replaces.
        mode: PutMode,
        /// Of what it replaces: with this content it need not go.
        old_hash: Option<ContentHash>,
    },
    /// Get one.
    Get {
        /// Which revision.
        rev: Jid,
        /// Its content.
        hash: ContentHash,
        /// When it was written.
        mtime_ms: i64,
        /// Where it goes.
        target: PathBuf,
        /// What it replaces, and that only.
        over: Option<(PathBuf, Stamp)>,
    },
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// This content goes with this stamp.
    Hashed(Stamp, ContentHash),
    /// It is there.
    Put(Stamp, ContentHash, Box<Metadata>),
    /// It is here.
    Got(Stamp),
    /// Something changed meanwhile: look again.
    Again,
    /// Not done, and why.
    Failed(String),
    /// The cluster does not answer.
    Unreachable(String),
}

impl Job {
    /// Does it.
    pub fn run(&self, cloud: &dyn Cloud, line: &mut Option<Box<dyn Line + '_>>, tell: &dyn Tell) -> Done {
        let done = match &self.work {
            Work::Hash { path } => hash(path),
            Work::Put { path, at, mode, old_hash } => put(line, path, at, *mode, *old_hash),
            Work::Get { .. } => self.get(cloud, line, tell),
        };
        let done = done.unwrap_or_else(|error| match error {
            CloudError::Unreachable(text) => Done::Unreachable(text),
            CloudError::Refused(text) => Done::Failed(text),
            CloudError::Local(error) => of_io(&error),
        });
        if !matches!(self.work, Work::Get { .. }) {
            tell.advance(self.bytes);
        }
        done
    }

    fn get(
        &self,
        cloud: &dyn Cloud,
        line: &mut Option<Box<dyn Line + '_>>,
        tell: &dyn Tell,
    ) -> Result<Done, CloudError> {
        let Work::Get { rev, hash, mtime_ms, target, over } = &self.work else { return Ok(Done::Again) };
        let Some(names) = block_names(cloud, *rev, self.bytes)? else { return Ok(Done::Again) };
        if content_hash(&names) != *hash {
            return Ok(Done::Failed("its blocklist and its content hash disagree".to_owned()));
        }
        let part = Part::create(target)?;
        part.file.set_len(self.bytes)?;
        let missing = reuse(&part, &names, over.as_ref().map(|(path, _)| path.as_path()))?;
        let reused = names.len() as u64 - missing.len() as u64;
        tell.advance((reused * BLOCK_BYTES).min(self.bytes));
        if !missing.is_empty() {
            let line = line.as_mut().ok_or_else(|| CloudError::Unreachable("no block server".to_owned()))?;
            line.get(*rev, &names, missing, &mut |position, bytes| {
                let offset = u64::from(position) * BLOCK_BYTES;
                if offset + bytes.len() as u64 > self.bytes {
                    return Err(io::Error::other("a block is longer than its file"));
                }
                tell.advance(bytes.len() as u64);
                part.file.write_all_at(bytes, offset)
            })?;
        }
        part.file.set_times(FileTimes::new().set_modified(time_of(*mtime_ms)))?;
        Ok(Done::Got(part.finish(over.as_ref().map(|(_, stamp)| *stamp))?))
    }
}

/// What an error of the system means for a plan: what is missing or in the way changed since.
pub fn of_io(error: &io::Error) -> Done {
    match error.kind() {
        io::ErrorKind::ResourceBusy
        | io::ErrorKind::NotFound
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::DirectoryNotEmpty => Done::Again,
        _ => Done::Failed(error.to_string()),
    }
}

fn hash(path: &Path) -> Result<Done, CloudError> {
    Ok(match read(path)? {
        Some(blocks) => Done::Hashed(Stamp::of(&blocks.metadata), blocks.content_hash),
        None => Done::Again,
    })
}

/// `None` for one that is being written.
fn read(path: &Path) -> io::Result<Option<LocalBlocks>> {
    match LocalBlocks::read(path) {
        Ok(blocks) => Ok(Some(blocks)),
        Err(LocalError::Changed) => Ok(None),
        Err(LocalError::Io(error)) => Err(error),
    }
}

fn put(
    line: &mut Option<Box<dyn Line + '_>>,
    path: &Path,
    at: &At,
    mode: PutMode,
    old_hash: Option<ContentHash>,
) -> Result<Done, CloudError> {
    let Some(blocks) = read(path)? else { return Ok(Done::Again) };
    let stamp = Stamp::of(&blocks.metadata);
    if old_hash == Some(blocks.content_hash) {
        return Ok(Done::Hashed(stamp, blocks.content_hash));
    }
    if blocks.names.len() > COMMAND_BLOCKS_MAX {
        return Ok(Done::Failed("it is larger than 4 GiB, which sync does not support yet".to_owned()));
    }
    let commit = CommitFile {
        at: at.clone(),
        mode,
        size: blocks.bytes,
        client_mtime_ms: blocks.mtime_ms,
        content_hash: blocks.content_hash,
        blocks: blocks.names.clone(),
        ..CommitFile::default()
    };
    let line = line.as_mut().ok_or_else(|| CloudError::Unreachable("no block server".to_owned()))?;
    let outcome = match line.put(&commit, &mut |position| blocks.block(position)) {
        Err(CloudError::Local(_)) if !blocks.is_unchanged() => return Ok(Done::Again),
        other => other?,
    };
    Ok(match outcome {
        Outcome::Applied(meta) | Outcome::Unchanged(meta) => Done::Put(stamp, blocks.content_hash, Box::new(meta)),
        other => of_outcome(&other),
    })
}

/// What an outcome that is no success means for a plan.
pub fn of_outcome(outcome: &Outcome) -> Done {
    match outcome {
        Outcome::Conflict { .. }
        | Outcome::NotFound
        | Outcome::NotFile
        | Outcome::NotFolder
        | Outcome::RevMismatch
        | Outcome::IntoItself
        | Outcome::Busy { .. } => Done::Again,
        Outcome::Quota { short_bytes } => {
            Done::Failed(format!("over the quota by {short_bytes} bytes; remove something first"))
        }
        Outcome::NoAccess => Done::Failed("no access".to_owned()),
        Outcome::NestedShare => Done::Failed("shared folders do not nest".to_owned()),
        Outcome::Elsewhere { .. } => Done::Failed("it is inside a shared folder".to_owned()),
        Outcome::TooLarge => Done::Failed("over a limit of the cluster".to_owned()),
        Outcome::Malformed => Done::Failed("the cluster finds it malformed".to_owned()),
        other => Done::Failed(format!("the cluster answered {other:?}")),
    }
}

/// The block names of a revision; `None` when it is not held any more.
fn block_names(cloud: &dyn Cloud, rev: Jid, bytes: u64) -> Result<Option<Vec<BlockHash>>, CloudError> {
    let mut names = Vec::new();
    let count = bytes.div_ceil(BLOCK_BYTES);
    while (names.len() as u64) < count {
        let first = u32::try_from(names.len()).map_err(|_| CloudError::Refused("too many blocks".to_owned()))?;
        match cloud.query(Query::Blocklist { what: What::Rev(rev), first })? {
            Answer::Blocklist { blocks, .. } if !blocks.is_empty() => {
                names.extend(blocks.iter().map(|(name, _)| *name))
            }
            _ => return Ok(None),
        }
    }
    Ok(Some(names))
}

/// Copies the blocks that the old file has; gives the positions of the others.
fn reuse(part: &Part, names: &[BlockHash], old: Option<&Path>) -> Result<VecDeque<u32>, CloudError> {
    let all = 0..u32::try_from(names.len()).map_err(|_| CloudError::Refused("too many blocks".to_owned()))?;
    let old = old.filter(|_| names.len() > 1).and_then(|path| read(path).ok().flatten());
    let Some(old) = old else { return Ok(all.collect()) };
    let at: HashMap<BlockHash, u32> = old.names.iter().copied().zip(0..).collect();
    let mut missing = VecDeque::new();
    for position in all {
        // A block that changed since it was hashed is got like any other.
        let block = at.get(&names[position as usize]).and_then(|at| old.block(*at).ok());
        match block {
            Some(block) => part.file.write_all_at(&block, u64::from(position) * BLOCK_BYTES)?,
            None => missing.push_back(position),
        }
    }
    if !old.is_unchanged() {
        return Err(changed().into());
    }
    Ok(missing)
}

fn time_of(ms: i64) -> SystemTime {
    let span = Duration::from_millis(ms.unsigned_abs());
    let time = if ms < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) };
    time.unwrap_or(UNIX_EPOCH)
}
