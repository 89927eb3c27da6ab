//! `dropstone ls`, `stat`, `du`: what is there.

use std::collections::BTreeMap;

use clap::Args;
use meta::{Entry, NodeKind};
use serde_json::json;

use super::Global;
use super::fail::Fail;
use super::print;
use super::remote::{Remote, parent, parse_path};

/// Arguments of `dropstone ls`.
#[derive(Args, Debug)]
pub struct LsArgs {
    /// The folder, or a file.
    #[arg(default_value = "/")]
    path: String,
    /// With kind, size, time and rev.
    #[arg(short)]
    long: bool,
    /// With all below it.
    #[arg(short = 'R', long)]
    recursive: bool,
}

/// Arguments of `dropstone stat`.
#[derive(Args, Debug)]
pub struct StatArgs {
    /// The file or folder.
    path: String,
}

/// Arguments of `dropstone du`.
#[derive(Args, Debug)]
pub struct DuArgs {
    /// The folder, or a file.
    #[arg(default_value = "/")]
    path: String,
    /// The total only.
    #[arg(short, long)]
    summary: bool,
}

/// Lists a folder.
///
/// Errors: [`Fail`].
pub fn ls(args: &LsArgs, global: &Global) -> Result<(), Fail> {
    let (remote, path) = Remote::open_at(global, parse_path(&args.path)?, true)?;
    let entry = remote.entry(&path)?;
    if entry.meta.kind == NodeKind::File {
        return print_entry(&entry, &entry.meta.name, args.long, global.json);
    }
    let below = entry.path_display.len() + 1;
    remote.list(&path, args.recursive, &mut |entry| {
        let shown = entry.path_display.get(below..).unwrap_or(&entry.path_display);
        print_entry(&entry, shown, args.long, global.json)
    })
}

fn print_entry(entry: &Entry, shown: &str, long: bool, is_json: bool) -> Result<(), Fail> {
    if is_json {
        return print::line(print::json_entry(entry));
    }
    let meta = &entry.meta;
    let slash = if meta.kind == NodeKind::File { "" } else { "/" };
    let name = format!("{}{slash}", print::printable(shown));
    if !long {
        return print::line(name);
    }
    let size = if meta.kind == NodeKind::File { meta.size.to_string() } else { "-".to_owned() };
    let time = print::time(meta.client_mtime().unwrap_or(meta.server_mtime_ms));
    let rev = meta.rev().map_or_else(|| "-".to_owned(), |rev| rev.to_string());
    print::line(format!("{:6} {size:>12}  {time}  {rev:31}  {name}", print::kind(meta)))
}

/// Shows one file or folder.
///
/// Errors: [`Fail`].
pub fn stat(args: &StatArgs, global: &Global) -> Result<(), Fail> {
    let (remote, path) = Remote::open_at(global, parse_path(&args.path)?, false)?;
    let entry = remote.entry(&path)?;
    if global.json {
        return print::line(print::json_entry(&entry));
    }
    let meta = &entry.meta;
    print::line(format!("path          {}", print::path(&entry.path_display)))?;
    print::line(format!("kind          {}", print::kind(meta)))?;
    if let Some(rev) = meta.rev() {
        print::line(format!("size          {} ({} bytes)", print::bytes(meta.size), meta.size))?;
        print::line(format!("rev           {rev}"))?;
        print::line(format!("content hash  {}", print::hex(&meta.content_hash)))?;
        if let Some(mtime) = meta.client_mtime() {
            print::line(format!("modified      {} UTC", print::time(mtime)))?;
        }
    }
    print::line(format!("committed     {} UTC, by account {}", print::time(meta.server_mtime_ms), meta.modified_by))?;
    print::line(format!("node          {} in namespace {}, jid {}", meta.node, meta.nsid, meta.jid))
}

/// Files and bytes at or below a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    files: u64,
    bytes: u64,
}

/// Counts per folder.
///
/// Errors: [`Fail`].
pub fn du(args: &DuArgs, global: &Global) -> Result<(), Fail> {
    let (remote, path) = Remote::open_at(global, parse_path(&args.path)?, true)?;
    let top = remote.entry(&path)?;
    let mut sums = BTreeMap::from([(top.path_display.clone(), Sum::default())]);
    if top.meta.kind == NodeKind::File {
        sums.insert(top.path_display.clone(), Sum { files: 1, bytes: top.meta.size });
    } else {
        remote.list(&path, true, &mut |entry| {
            add(&mut sums, &top.path_display, &entry);
            Ok(())
        })?;
    }
    for (path, sum) in &sums {
        if args.summary && *path != top.path_display {
            continue;
        }
        if global.json {
            let shown = if path.is_empty() { "/" } else { path };
            print::line(json!({ "path": shown, "files": sum.files, "bytes": sum.bytes }))?;
        } else {
            print::line(format!("{:>12} {:>9} files  {}", print::bytes(sum.bytes), sum.files, print::path(path)))?;
        }
    }
    Ok(())
}

/// Adds an entry to its folder and to all above it, up to `top`.
fn add(sums: &mut BTreeMap<String, Sum>, top: &str, entry: &Entry) {
    if entry.meta.kind != NodeKind::File {
        sums.entry(entry.path_display.clone()).or_default();
        return;
    }
    let mut folder = parent(&entry.path_display);
    loop {
        let sum = sums.entry(folder.to_owned()).or_default();
        sum.files += 1;
        sum.bytes += entry.meta.size;
        // The path shrinks to the root at last, whatever the cluster sent.
        if folder.len() <= top.len() {
            return;
        }
        folder = parent(folder);
    }
}

#[cfg(test)]
mod tests {
    use base::{Acct, Jid, Nsid, TreeNode};
    use meta::Metadata;

    use super::*;

    fn entry(path: &str, kind: NodeKind, size: u64) -> Entry {
        let meta = Metadata {
            nsid: Nsid(1),
            node: TreeNode(1),
            parent: TreeNode(1),
            jid: Jid(1),
            rev_jid: Jid(1),
            kind,
            name: String::new(),
            size,
            content_hash: [0; 32],
            client_mtime_ms: 0,
            server_mtime_ms: 0,
            modified_by: Acct(1),
        };
        Entry { path_display: path.to_owned(), meta }
    }

    #[test]
    fn folders_count_what_is_in_and_below_them() {
        let mut sums = BTreeMap::from([("/top".to_owned(), Sum::default())]);
        let entries = [
            entry("/top/a", NodeKind::Folder, 0),
            entry("/top/a/b", NodeKind::Folder, 0),
            entry("/top/a/b/one", NodeKind::File, 10),
            entry("/top/two", NodeKind::File, 5),
            entry("/top/empty", NodeKind::Folder, 0),
        ];
        entries.iter().for_each(|entry| add(&mut sums, "/top", entry));
        let shown: Vec<_> = sums.iter().map(|(path, sum)| (path.as_str(), sum.files, sum.bytes)).collect();
        assert_eq!(shown, [("/top", 2, 15), ("/top/a", 1, 10), ("/top/a/b", 1, 10), ("/top/empty", 0, 0)]);
    }
}
