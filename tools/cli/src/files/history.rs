//! `dropstone history`: the revisions of a file, and back to one of them.

use base::Jid;
use clap::Args;
use meta::{Answer, At, Command, Query, Restore, Rev};
use serde_json::json;

use super::Global;
use super::fail::{Code, Fail};
use super::print;
use super::remote::{Remote, parse_path};

/// Arguments of `dropstone history`.
#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// The file, which may have been removed.
    path: String,
    /// Put this revision's content again, as a new revision.
    #[arg(long, value_name = "REV")]
    restore: Option<String>,
}

/// Runs it.
///
/// Errors: [`Fail`].
pub fn run(args: &HistoryArgs, global: &Global) -> Result<(), Fail> {
    let path = parse_path(&args.path)?;
    match &args.restore {
        Some(rev) => restore(&path, rev, global),
        None => show(&path, global),
    }
}

fn restore(path: &str, rev: &str, global: &Global) -> Result<(), Fail> {
    let rev: Rev = rev.parse().map_err(|error| Fail::new(Code::Usage, format!("bad rev {rev:?}: {error}")))?;
    let (remote, path) = &Remote::open_at(global, path.to_owned(), false)?;
    let unknown = || Fail::new(Code::NotFound, format!("{}: there is no revision {rev}", print::path(path)));
    if rev.nsid != remote.nsid {
        return Err(unknown());
    }
    let outcome = remote.command(Command::Restore(Restore { at: At::path(path), rev: rev.jid }))?;
    match outcome.metadata() {
        Some(meta) if global.json => {
            print::line(json!({ "done": "restored", "path": path, "metadata": print::json_meta(meta) }))
        }
        Some(_) => Ok(()),
        None if outcome == meta::Outcome::NotFound => Err(unknown()),
        None => Err(Fail::of_outcome(path, &outcome)),
    }
}

fn show(path: &str, global: &Global) -> Result<(), Fail> {
    let (remote, path) = &Remote::open_at(global, path.to_owned(), false)?;
    let mut before = Jid(0);
    loop {
        let query = Query::Revisions { at: At::path(path), before, limit: 0 };
        let (deleted_ms, revisions, has_more) = match remote.query(query)? {
            Answer::Revisions { deleted_ms, revisions, has_more } => (deleted_ms, revisions, has_more),
            other => return Err(Fail::of_answer(path, &other)),
        };
        if let Some(ms) = deleted_ms
            && before == Jid(0)
        {
            match global.json {
                true => print::line(json!({ "deleted_ms": ms }))?,
                false => print::line(format!("{}  removed", print::time(i64::try_from(ms).unwrap_or(i64::MAX))))?,
            }
        }
        for meta in &revisions {
            if global.json {
                print::line(print::json_meta(meta))?;
                continue;
            }
            let rev = meta.rev().map(|rev| rev.to_string()).unwrap_or_default();
            let name = print::printable(&meta.name);
            print::line(format!("{}  {rev}  {:>12}  {name}", print::time(meta.server_mtime_ms), meta.size))?;
        }
        match revisions.last() {
            // Only older ones follow, so this ends.
            Some(last) if has_more => before = last.rev_jid,
            _ => return Ok(()),
        }
    }
}
