//! `dropstone mv`, `rm`, `mkdir`: changes to the tree.

use clap::Args;
use meta::{At, Command, Delete, Mkdir, Move, NodeKind, Outcome};
use serde_json::json;

use super::Global;
use super::across::{self, Place};
use super::fail::{Code, Fail};
use super::print;
use super::remote::{Remote, last_name, parent, parse_path};

/// Arguments of `dropstone mv`.
#[derive(Args, Debug)]
pub struct MvArgs {
    /// What moves.
    #[arg(value_name = "SOURCE")]
    from: String,
    /// Where to; missing folders are made.
    #[arg(value_name = "TARGET")]
    to: String,
}

/// Arguments of `dropstone rm`.
#[derive(Args, Debug)]
pub struct RmArgs {
    /// What goes.
    #[arg(required = true)]
    paths: Vec<String>,
    /// Folders too, with all in them.
    #[arg(short, long)]
    recursive: bool,
}

/// Arguments of `dropstone mkdir`.
#[derive(Args, Debug)]
pub struct MkdirArgs {
    /// The folders.
    #[arg(required = true)]
    paths: Vec<String>,
    /// Make missing parents too, and take a folder that is there for done.
    #[arg(short, long)]
    parents: bool,
}

/// Moves or renames.
///
/// Errors: [`Fail`].
pub fn mv(args: &MvArgs, global: &Global) -> Result<(), Fail> {
    let (source, target) = (parse_path(&args.from)?, parse_path(&args.to)?);
    if source.is_empty() {
        return Err(Fail::new(Code::Refused, "the root cannot be moved"));
    }
    let remote = Remote::open(global)?;
    let (from, there) = remote.follow(source.clone(), false)?;
    // Another casing of a shared folder's own name does not lead into it.
    let is_recased = base::names::path_key(&source) == base::names::path_key(&target);
    let (to, here) = remote.follow(target.clone(), !is_recased)?;
    if from.nsid != remote.nsid || to.nsid != remote.nsid {
        let (from, to) = (Place { nsid: from.nsid, path: there }, Place { nsid: to.nsid, path: here });
        return across::mv(&remote, (&source, from), (&target, to), global);
    }
    let moved = remote.entry(&source)?;
    let target = match remote.lookup(&target)? {
        // The same node under another casing is a rename, not a move into itself.
        Some(there) if there.meta.kind != NodeKind::File && there.meta.node != moved.meta.node => {
            parse_path(&format!("{target}/{}", last_name(&source)))?
        }
        _ => target,
    };
    let command = Move { source: At::path(&source), target: At::path(&target), autorename: false };
    let outcome = remote.command(Command::Move(command))?;
    if outcome == Outcome::NotFound {
        return Err(Fail::not_found(&source));
    }
    done(global, "moved", &target, &outcome)
}

/// Removes.
///
/// Errors: [`Fail`]: of the only path, or that some were not removed.
pub fn rm(args: &RmArgs, global: &Global) -> Result<(), Fail> {
    each(&args.paths, global, |remote, path| {
        if path.is_empty() {
            return Err(Fail::new(Code::Refused, "the root cannot be removed"));
        }
        if !args.recursive && remote.entry(path)?.meta.kind != NodeKind::File {
            let text = format!("{}: it is a folder; -r removes it with all in it", print::path(path));
            return Err(Fail::new(Code::Refused, text));
        }
        let outcome = remote.command(Command::Delete(Delete { at: At::path(path), parent_rev: None }))?;
        done(global, "removed", path, &outcome)
    })
}

/// Makes folders.
///
/// Errors: [`Fail`]: of the only path, or that some were not made.
pub fn mkdir(args: &MkdirArgs, global: &Global) -> Result<(), Fail> {
    each(&args.paths, global, |remote, path| {
        if path.is_empty() {
            return if args.parents { Ok(()) } else { Err(Fail::new(Code::Conflict, "/: a folder is there")) };
        }
        if !args.parents && remote.entry(parent(path))?.meta.kind == NodeKind::File {
            return Err(Fail::new(Code::Conflict, format!("{}: it is not a folder", print::path(parent(path)))));
        }
        let outcome = remote.command(Command::Mkdir(Mkdir { at: At::path(path), autorename: false }))?;
        match outcome {
            Outcome::Conflict { folder: true, file: false, file_ancestor: false } if args.parents => Ok(()),
            outcome => done(global, "made", path, &outcome),
        }
    })
}

/// Does it for each path; all are tried, each failure is named.
fn each(paths: &[String], global: &Global, work: impl Fn(&Remote, &str) -> Result<(), Fail>) -> Result<(), Fail> {
    let parsed = paths.iter().map(|path| parse_path(path)).collect::<Result<Vec<_>, _>>()?;
    let remote = Remote::open(global)?;
    let work = |path: &str| {
        let (remote, path) = remote.follow(path.to_owned(), false)?;
        work(&remote, &path)
    };
    if let [path] = &parsed[..] {
        return work(path);
    }
    let mut failed = 0;
    for path in &parsed {
        match work(path) {
            Ok(()) => {}
            Err(fail) if matches!(fail.code, Code::Unreachable | Code::OutputClosed) => return Err(fail),
            Err(fail) => {
                eprintln!("dropstone: {fail}");
                failed += 1;
            }
        }
    }
    if failed == 0 {
        Ok(())
    } else {
        Err(Fail::new(Code::Failed, format!("{failed} of {} were not done", parsed.len())))
    }
}

fn done(global: &Global, verb: &str, path: &str, outcome: &Outcome) -> Result<(), Fail> {
    if !outcome.is_ok() {
        return Err(Fail::of_outcome(path, outcome));
    }
    if !global.json {
        return Ok(());
    }
    let meta = outcome.metadata().map(print::json_meta);
    print::line(json!({ "done": verb, "path": path, "metadata": meta }))
}
