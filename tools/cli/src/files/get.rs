//! `dropstone get`: a file or a whole tree out of the cluster.

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::BlockHash;
use base::limits::BLOCK_BYTES;
use blocks::BlockClient;
use blocks::local::{content_hash, hash_file};
use clap::Args;
use meta::{Answer, Entry, NodeKind, Query, What};
use serde_json::json;

use super::Global;
use super::board::Board;
use super::fail::{Code, Fail};
use super::print;
use super::progress::Progress;
use super::remote::{Remote, last_name, parse_path};

/// Arguments of `dropstone get`.
#[derive(Args, Debug)]
pub struct GetArgs {
    /// The file or folder in the cluster, beginning with `/`.
    remote: String,
    /// Where it goes here; a file goes into it if it is a folder.
    local: PathBuf,
    /// Replace files that are there with other content.
    #[arg(long, short)]
    force: bool,
    /// Files on their way at once.
    #[arg(long, short, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Done {
    Got,
    Same,
}

/// A file to get.
struct Wanted {
    entry: Entry,
    local: PathBuf,
}

/// Runs it.
///
/// Errors: [`Fail`].
pub fn run(args: &GetArgs, global: &Global) -> Result<(), Fail> {
    let (remote, source) = Remote::open_at(global, parse_path(&args.remote)?, true)?;
    let entry = remote.entry(&source)?;
    let is_tree = entry.meta.kind != NodeKind::File;
    let mut wanted = Vec::new();
    if is_tree {
        make_folder(&args.local)?;
        remote.list(&source, true, &mut |entry| {
            let local = local_path(&args.local, &source, &entry)?;
            match entry.meta.kind {
                NodeKind::File => wanted.push(Wanted { entry, local }),
                NodeKind::Folder => make_folder(&local)?,
                NodeKind::Mount => {}
            }
            Ok(())
        })?;
    } else {
        let is_into = args.local.is_dir();
        let local = if is_into { args.local.join(last_name(&source)) } else { args.local.clone() };
        wanted.push(Wanted { entry, local });
    }
    get_all(&remote, args, global, &wanted, is_tree)
}

fn get_all(remote: &Remote, args: &GetArgs, global: &Global, wanted: &[Wanted], is_tree: bool) -> Result<(), Fail> {
    let bytes = wanted.iter().map(|wanted| wanted.entry.meta.size).sum();
    let board = Board::new(Progress::new("get", wanted.len(), bytes, global.json), is_tree);
    if !wanted.is_empty() {
        let servers = remote.block_servers()?;
        std::thread::scope(|scope| {
            for at in 0..usize::from(args.jobs).min(wanted.len()) {
                let (board, client) = (&board, remote.block_client(&servers, at));
                scope.spawn(move || work(remote, args.force, board, wanted, client));
            }
        });
    }
    board.progress.finish();
    report(board, global.json)
}

fn report(board: Board, is_json: bool) -> Result<(), Fail> {
    let mut failed = board.failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (got, same) = (board.done.into_inner(), board.same.into_inner());
    if is_json {
        for fail in &failed {
            print::line(json!({ "error": fail.message, "code": fail.code.number() }))?;
        }
        print::line(json!({ "got": got, "same": same, "failed": failed.len() }))?;
    } else {
        print::line(format!("got {got} files, {same} were there already; {} failed", failed.len()))?;
    }
    let unreachable = failed.iter().any(|fail| fail.code == Code::Unreachable);
    match failed.len() {
        0 => Ok(()),
        1 if !board.is_tree => Err(failed.remove(0)),
        _ if unreachable => {
            Err(Fail::new(Code::Unreachable, "gave up: the cluster does not answer; get again to go on"))
        }
        count => Err(Fail::new(Code::Failed, format!("{count} were not got; see above"))),
    }
}

fn work(remote: &Remote, force: bool, board: &Board, wanted: &[Wanted], mut client: BlockClient) {
    while !board.is_given_up.load(Ordering::Relaxed)
        && let Some(wanted) = wanted.get(board.next.fetch_add(1, Ordering::Relaxed))
    {
        match get(remote, force, wanted, &mut client, board) {
            Ok(Done::Got) => board.done.fetch_add(1, Ordering::Relaxed),
            Ok(Done::Same) => {
                board.progress.add(wanted.entry.meta.size);
                board.same.fetch_add(1, Ordering::Relaxed)
            }
            Err(fail) => {
                board.fail(fail);
                continue;
            }
        };
    }
}

fn get(remote: &Remote, force: bool, wanted: &Wanted, client: &mut BlockClient, board: &Board) -> Result<Done, Fail> {
    let (path, meta) = (&wanted.local, &wanted.entry.meta);
    let local = |error: io::Error| Fail::local(path, error);
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => {
            if there.len() == meta.size && hash_file(path).map_err(local)? == Some(meta.content_hash) {
                return Ok(Done::Same);
            }
            if !force {
                let text = format!("{}: another file is there; --force replaces it", path.display());
                return Err(Fail::new(Code::Conflict, text));
            }
        }
        Ok(_) => {
            let text = format!("{}: a folder, link or special file is there; move it away first", path.display());
            return Err(Fail::new(Code::Conflict, text));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(local(error)),
    }
    let names = blocklist(remote, &wanted.entry)?;
    if content_hash(&names) != meta.content_hash {
        let text = format!("{}: its blocklist and its content hash disagree", print::path(&wanted.entry.path_display));
        return Err(Fail::new(Code::Failed, text));
    }
    let mut part = Part::create(path).map_err(local)?;
    part.file.set_len(meta.size).map_err(local)?;
    let fetched = client.download(remote.nsid, meta.rev_jid, &names, &mut |position, bytes| {
        let offset = u64::from(position) * BLOCK_BYTES;
        if offset + bytes.len() as u64 > meta.size {
            return Err(io::Error::other("a block is longer than its file"));
        }
        board.progress.add(bytes.len() as u64);
        part.file.write_all_at(bytes, offset)
    });
    fetched.map_err(|error| Fail::from(error).at(print::path(&wanted.entry.path_display)))?;
    let modified = time_of(meta.client_mtime().unwrap_or(meta.server_mtime_ms));
    part.file.set_times(FileTimes::new().set_modified(modified)).map_err(local)?;
    part.become_file(path, force).map_err(local)?;
    Ok(Done::Got)
}

/// The block names of the revision that the entry shows.
fn blocklist(remote: &Remote, entry: &Entry) -> Result<Vec<BlockHash>, Fail> {
    let mut names = Vec::new();
    let count = entry.meta.size.div_ceil(BLOCK_BYTES);
    while (names.len() as u64) < count {
        let query = Query::Blocklist { what: What::Rev(entry.meta.rev_jid), first: names.len() as u32 };
        match remote.query(query)? {
            Answer::Blocklist { blocks, .. } if !blocks.is_empty() => {
                names.extend(blocks.iter().map(|(name, _)| *name));
            }
            other => return Err(Fail::of_answer(&entry.path_display, &other)),
        }
    }
    Ok(names)
}

/// Where an entry below `source` goes below `root`.
///
/// Errors: [`Fail`] for a name that would lead elsewhere: what the cluster sends is checked like any other input.
fn local_path(root: &Path, source: &str, entry: &Entry) -> Result<PathBuf, Fail> {
    let depth = base::names::components(source).count();
    let mut local = root.to_owned();
    for name in base::names::components(&entry.path_display).skip(depth) {
        base::names::normalize_name(name)
            .map_err(|rule| Fail::new(Code::Failed, format!("{}: {rule}", print::path(&entry.path_display))))?;
        local.push(name);
    }
    Ok(local)
}

fn make_folder(path: &Path) -> Result<(), Fail> {
    match fs::create_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if path.exists() => {
            Err(Fail::new(Code::Conflict, format!("{}: something else is there: {error}", path.display())))
        }
        Err(error) => Err(Fail::local(path, error)),
    }
}

fn time_of(ms: i64) -> SystemTime {
    let span = Duration::from_millis(ms.unsigned_abs());
    let time = if ms < 0 { UNIX_EPOCH.checked_sub(span) } else { UNIX_EPOCH.checked_add(span) };
    time.unwrap_or(UNIX_EPOCH)
}

/// A file on its way, beside its place; removed unless it became the file.
struct Part {
    file: File,
    path: Option<PathBuf>,
}

static PARTS: AtomicUsize = AtomicUsize::new(0);

impl Part {
    fn create(target: &Path) -> io::Result<Part> {
        // A name of its own: the target's plus a suffix could be longer than a name may be.
        let number = PARTS.fetch_add(1, Ordering::Relaxed);
        let path = target.with_file_name(format!(".dropstone-{}-{number}.part", std::process::id()));
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Part { file, path: Some(path) })
    }

    /// Takes its place, whole; over another file only with `force`.
    fn become_file(&mut self, target: &Path, force: bool) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if force {
            fs::rename(path, target)?;
            self.path = None;
            return Ok(());
        }
        // A link, unlike a rename, never replaces what appeared meanwhile. Some file systems have none.
        match fs::hard_link(path, target) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            Err(_) => {
                fs::rename(path, target)?;
                self.path = None;
                Ok(())
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // Best effort: its name tells what it is.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_takes_its_place_whole_and_never_over_another_file_unasked() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("file");
        for (force, wanted) in [(false, "new"), (true, "newer")] {
            let mut part = Part::create(&target).unwrap();
            part.file.write_all_at(wanted.as_bytes(), 0).unwrap();
            part.become_file(&target, force).unwrap();
            drop(part);
            assert_eq!(fs::read_to_string(&target).unwrap(), wanted);
        }
        let mut part = Part::create(&target).unwrap();
        assert!(part.become_file(&target, false).is_err());
        drop(part);
        assert_eq!(fs::read_to_string(&target).unwrap(), "newer");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no part stays");
    }

    #[test]
    fn times_before_1970_and_beyond_the_clock_are_taken() {
        assert_eq!(time_of(-1000), UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(time_of(1500), UNIX_EPOCH + Duration::from_millis(1500));
        let _ = time_of(i64::MIN + 1);
    }
}
