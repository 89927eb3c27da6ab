//! `dropstone put`: a file or a whole tree into the cluster.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use base::limits::COMMAND_BLOCKS_MAX;
use blocks::{BlockClient, BlockClientError, LocalBlocks, LocalError};
use clap::Args;
use meta::{At, Command, CommitBatch, CommitFile, Mkdir, NodeKind, Outcome, PutMode};
use serde_json::json;

use super::Global;
use super::board::Board;
use super::fail::{Code, Fail};
use super::print;
use super::progress::Progress;
use super::remote::{Remote, last_name, parse_path};
use super::walk::{LocalFile, Tree, left_out};

/// Tries of a file that changes while it is read.
const CHANGED_TRIES_MAX: u32 = 5;
/// Folders made in one command: far below its bounds of parts and bytes, whatever their paths.
const MKDIR_BATCH: usize = 32;

/// Arguments of `dropstone put`.
#[derive(Args, Debug)]
pub struct PutArgs {
    /// The file or folder here.
    local: PathBuf,
    /// Where it goes, beginning with `/`.
    remote: String,
    /// Files on their way at once.
    #[arg(long, short, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
}

/// What a file came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Done {
    Put,
    Same,
}

/// What is in the cluster already, by path in the form in which paths are compared.
type Present = HashMap<String, (NodeKind, u64, [u8; 32])>;

/// Runs it.
///
/// Errors: [`Fail`].
pub fn run(args: &PutArgs, global: &Global) -> Result<(), Fail> {
    let target = parse_path(&args.remote)?;
    let metadata = fs::symlink_metadata(&args.local).map_err(|error| Fail::local(&args.local, error))?;
    if let Some(what) = left_out(metadata.file_type()) {
        return Err(Fail::local(&args.local, format!("it is {what}, which is not put; name the file itself")));
    }
    let (remote, target) = Remote::open_at(global, target, true)?;
    let tree = if metadata.is_dir() {
        Tree::read(&args.local, &target).map_err(|error| Fail::local(&args.local, error))?
    } else {
        single(&args.local, &metadata, target.clone(), &remote)?
    };
    let present = if metadata.is_dir() { list(&remote, &target)? } else { list_one(&remote, &tree.files)? };
    Job { remote: &remote, global, present, workers: usize::from(args.jobs), is_tree: metadata.is_dir() }.run(tree)
}

/// A tree of one file; into the target if that is a folder.
fn single(local: &Path, metadata: &fs::Metadata, target: String, remote: &Remote) -> Result<Tree, Fail> {
    let target = if remote.is_folder(&target)? {
        let name = local.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Fail::local(local, "its name is not UTF-8; name the remote file"))?;
        parse_path(&format!("{target}/{name}"))?
    } else {
        target
    };
    let file = LocalFile { local: local.to_owned(), remote: target, bytes: metadata.len() };
    Ok(Tree { files: vec![file], ..Tree::default() })
}

fn list(remote: &Remote, target: &str) -> Result<Present, Fail> {
    let mut present = Present::new();
    match remote.lookup(target)? {
        None => {}
        Some(entry) if entry.meta.kind == NodeKind::File => {
            let text = format!("{}: a file is there, and a folder should go there", print::path(target));
            return Err(Fail::new(Code::Conflict, text));
        }
        Some(_) => remote.list(target, true, &mut |entry| {
            let meta = &entry.meta;
            present.insert(entry.path_lower(), (meta.kind, meta.size, meta.content_hash));
            Ok(())
        })?,
    }
    Ok(present)
}

fn list_one(remote: &Remote, files: &[LocalFile]) -> Result<Present, Fail> {
    let mut present = Present::new();
    for file in files {
        if let Some(entry) = remote.lookup(&file.remote)? {
            let meta = &entry.meta;
            present.insert(base::names::path_key(&file.remote), (meta.kind, meta.size, meta.content_hash));
        }
    }
    Ok(present)
}

struct Job<'a> {
    remote: &'a Remote,
    global: &'a Global,
    present: Present,
    workers: usize,
    is_tree: bool,
}

impl Job<'_> {
    fn run(&self, tree: Tree) -> Result<(), Fail> {
        let bytes = tree.files.iter().map(|file| file.bytes).sum();
        let board = Board::new(Progress::new("put", tree.files.len(), bytes, self.global.json), self.is_tree);
        for (path, what) in &tree.skipped {
            board.progress.note(&format!("note: left out {what}: {}", print::printable(&path.display().to_string())));
        }
        for (path, why) in &tree.failed {
            let path = print::printable(&path.display().to_string());
            board.fail(Fail::new(Code::Refused, format!("{path}: {why}")));
        }
        let folders = self.make_folders(&tree.empty_folders, &board)?;
        if !tree.files.is_empty() {
            let servers = self.remote.block_servers()?;
            let workers = self.workers.min(tree.files.len());
            std::thread::scope(|scope| {
                for at in 0..workers {
                    let (board, files, client) = (&board, &tree.files, self.remote.block_client(&servers, at));
                    scope.spawn(move || self.work(board, files, client));
                }
            });
        }
        board.progress.finish();
        self.report(&tree, folders, board)
    }

    fn report(&self, tree: &Tree, folders: usize, board: Board) -> Result<(), Fail> {
        let mut failed = board.failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (put, same, skipped) = (board.done.into_inner(), board.same.into_inner(), tree.skipped.len());
        if self.global.json {
            for fail in &failed {
                print::line(json!({ "error": fail.message, "code": fail.code.number() }))?;
            }
            let count = failed.len();
            print::line(json!({
                "put": put, "same": same, "folders_made": folders, "left_out": skipped, "failed": count,
            }))?;
        } else {
            print::line(format!(
                "put {put} files, {same} were there already; {folders} folders made, {skipped} left out, {} failed",
                failed.len()
            ))?;
        }
        let unreachable = failed.iter().any(|fail| fail.code == Code::Unreachable);
        match failed.len() {
            0 => Ok(()),
            // The only file: its own reason is the command's.
            1 if !self.is_tree => Err(failed.remove(0)),
            _ if unreachable => {
                Err(Fail::new(Code::Unreachable, "gave up: the cluster does not answer; put again to go on"))
            }
            count => Err(Fail::new(Code::Failed, format!("{count} were not put; see above"))),
        }
    }

    /// Makes the folders that no file makes. Gives how many are new.
    fn make_folders(&self, folders: &[String], board: &Board) -> Result<usize, Fail> {
        let is_missing =
            |path: &&String| !matches!(self.present.get(&base::names::path_key(path)), Some((NodeKind::Folder, ..)));
        let missing: Vec<&String> = folders.iter().filter(is_missing).collect();
        let mut made = 0;
        for batch in missing.chunks(MKDIR_BATCH) {
            let mkdir = |path: &&String| Command::Mkdir(Mkdir { at: At::path(path), autorename: false });
            let parts = batch.iter().map(mkdir).collect();
            let outcome = self.remote.command(Command::CommitBatch(CommitBatch { atomic: false, parts }))?;
            let Outcome::Batch { outcomes, .. } = outcome else {
                return Err(Fail::of_outcome("the folders", &outcome));
            };
            for (path, outcome) in batch.iter().zip(&outcomes) {
                match outcome {
                    Outcome::Conflict { folder: true, file: false, file_ancestor: false } => {}
                    outcome if outcome.is_ok() => made += 1,
                    outcome => board.fail(Fail::of_outcome(path, outcome)),
                }
            }
        }
        Ok(made)
    }

    fn work(&self, board: &Board, files: &[LocalFile], mut client: BlockClient) {
        while !board.is_given_up.load(Ordering::Relaxed)
            && let Some(file) = files.get(board.next.fetch_add(1, Ordering::Relaxed))
        {
            match self.put(file, &mut client) {
                Ok(Done::Put) => board.done.fetch_add(1, Ordering::Relaxed),
                Ok(Done::Same) => board.same.fetch_add(1, Ordering::Relaxed),
                Err(fail) => {
                    board.fail(fail);
                    continue;
                }
            };
            board.progress.add(file.bytes);
        }
    }

    fn put(&self, file: &LocalFile, client: &mut BlockClient) -> Result<Done, Fail> {
        for _ in 0..CHANGED_TRIES_MAX {
            let blocks = match LocalBlocks::read(&file.local) {
                Ok(blocks) => blocks,
                Err(LocalError::Changed) => continue,
                Err(error) => return Err(Fail::local(&file.local, error)),
            };
            if self.is_there(file, &blocks) {
                return Ok(Done::Same);
            }
            if blocks.names.len() > COMMAND_BLOCKS_MAX {
                let text = "it is larger than 4 GiB, which put does not support yet";
                return Err(Fail::new(Code::Refused, format!("{}: {text}", file.local.display())));
            }
            match upload(self.remote, client, &file.remote, &blocks) {
                Ok(outcome) if outcome.is_ok() => return Ok(Done::Put),
                Ok(outcome) => return Err(Fail::of_outcome(&file.remote, &outcome)),
                // A block that is no longer what was hashed ends the upload as a local error.
                Err(BlockClientError::Local(_)) if !blocks.is_unchanged() => {}
                Err(error) => return Err(Fail::from(error).at(print::path(&file.remote))),
            }
        }
        Err(Fail::local(&file.local, "it keeps changing while it is read; put it again later"))
    }

    fn is_there(&self, file: &LocalFile, blocks: &LocalBlocks) -> bool {
        let there = self.present.get(&base::names::path_key(&file.remote));
        there == Some(&(NodeKind::File, blocks.bytes, blocks.content_hash))
    }
}

fn upload(
    remote: &Remote,
    client: &mut BlockClient,
    path: &str,
    blocks: &LocalBlocks,
) -> Result<Outcome, BlockClientError> {
    let commit = CommitFile {
        at: At::path(path),
        mode: PutMode::Overwrite,
        size: blocks.bytes,
        client_mtime_ms: blocks.mtime_ms,
        content_hash: blocks.content_hash,
        blocks: blocks.names.clone(),
        ..CommitFile::default()
    };
    debug_assert!(!last_name(path).is_empty(), "the root is a folder");
    client.upload(remote.nsid, &commit, &mut |position| blocks.block(position))
}
