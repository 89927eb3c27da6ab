//! `dropstone watch`: changes as they are committed.

use base::Jid;
use clap::Args;
use meta::{Answer, Change, DeltaCursor, Query};
use serde_json::json;

use super::Global;
use super::fail::{Code, Fail};
use super::print;
use super::remote::{Remote, parse_path};

/// Arguments of `dropstone watch`.
#[derive(Args, Debug)]
pub struct WatchArgs {
    /// Only what happens to it or below it.
    #[arg(default_value = "/")]
    path: String,
    /// Begin after this journal row instead of now; 0 tells everything that is there.
    #[arg(long, value_name = "JID")]
    since: Option<u64>,
    /// End after so many changes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// Runs it.
///
/// Errors: [`Fail`].
pub fn run(args: &WatchArgs, global: &Global) -> Result<(), Fail> {
    let scope = base::names::path_key(&parse_path(&args.path)?);
    let remote = Remote::open(global)?;
    let since = match args.since {
        Some(jid) => Jid(jid),
        None => remote.head()?,
    };
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut cursor = DeltaCursor::at(since);
    // The watch only wakes; what is told comes from the journal, from the cursor on. So nothing is missed, whatever
    // happens to the watch, and a wake for nothing tells nothing.
    let watch = remote.client.watch(remote.acct, remote.nsid, since)?;
    loop {
        loop {
            let (changes, next, has_more) = match remote.query(Query::Delta { cursor: cursor.clone(), limit: 0 })? {
                Answer::Delta { changes, cursor, has_more } => (changes, cursor, has_more),
                Answer::Reset => {
                    let text = format!(
                        "the journal does not hold row {} any more; list again and watch from now",
                        cursor.since
                    );
                    return Err(Fail::new(Code::Failed, text));
                }
                other => return Err(Fail::of_answer("the journal", &other)),
            };
            for change in changes.iter().filter(|change| is_in(&scope, path_of(change))) {
                tell(change, global.json)?;
                left -= 1;
                if left == 0 {
                    return Ok(());
                }
            }
            cursor = next;
            if !has_more {
                break;
            }
        }
        while watch.next_head()? <= cursor.since {}
    }
}

fn path_of(change: &Change) -> &str {
    match change {
        Change::Present(entry) => &entry.path_display,
        Change::Deleted { path_display } => path_display,
    }
}

/// True for the scope itself, what is below it, and what is above it: a folder above that goes or comes takes it along.
fn is_in(scope: &str, path: &str) -> bool {
    let path = base::names::path_key(path);
    let is_below =
        |low: &str, high: &str| low.strip_prefix(high).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    is_below(&path, scope) || is_below(scope, &path)
}

fn tell(change: &Change, is_json: bool) -> Result<(), Fail> {
    match change {
        Change::Present(entry) if is_json => {
            let mut object = print::json_entry(entry);
            object["change"] = json!("present");
            print::line(object)
        }
        Change::Present(entry) => {
            let (meta, path) = (&entry.meta, print::path(&entry.path_display));
            let rev = meta.rev().map_or_else(String::new, |rev| format!("  {}  rev {rev}", print::bytes(meta.size)));
            print::line(format!("{:>8}  {:7}  {path}{rev}", meta.jid, print::kind(meta)))
        }
        Change::Deleted { path_display } if is_json => {
            print::line(json!({ "change": "deleted", "path": path_display }))
        }
        Change::Deleted { path_display } => {
            print::line(format!("{:>8}  {:7}  {}", "", "deleted", print::path(path_display)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_holds_what_is_at_it_below_it_and_above_it() {
        let inside: Vec<bool> =
            ["/a/B", "/a/b/c", "/a", "", "/a/bc", "/x"].into_iter().map(|path| is_in("/a/b", path)).collect();
        assert_eq!(inside, [true, true, true, true, false, false]);
        assert!(is_in("", "/anything"));
    }
}
