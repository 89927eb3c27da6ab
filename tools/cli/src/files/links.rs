//! `dropstone links`: what an account shows to whoever has its link.

use base::TreeNode;
use clap::{Args, Subcommand};
use meta::{Answer, At, Command, LinkCommand, LinkInfo, LinkSettings, LinksOf, Outcome, Query};
use serde_json::json;

use super::Global;
use super::fail::{Code, Fail};
use super::print;
use super::remote::{Remote, parse_path};

/// Arguments of `dropstone links`.
#[derive(Args, Debug)]
pub struct LinksArgs {
    #[command(subcommand)]
    command: Option<LinksCommand>,
}

/// What to do with links; without it they are listed.
#[derive(Subcommand, Debug)]
enum LinksCommand {
    /// Make a link to a file or folder; there is one at most for each account.
    Create {
        /// What it shows.
        path: String,
        /// Only to those who may read it anyhow.
        #[arg(long)]
        members_only: bool,
        /// It shows, and does not give.
        #[arg(long)]
        no_download: bool,
    },
    /// Take a link away.
    Rm {
        /// Its number, as the list tells it.
        link: u64,
    },
    /// List the account's links.
    #[command(visible_alias = "ls")]
    List,
}

/// Runs it.
///
/// Errors: [`Fail`].
pub fn run(args: &LinksArgs, global: &Global) -> Result<(), Fail> {
    let remote = Remote::open(global)?;
    match &args.command {
        None | Some(LinksCommand::List) => list(&remote, global),
        Some(LinksCommand::Create { path, members_only, no_download }) => {
            let settings =
                LinkSettings { members_only: *members_only, no_download: *no_download, ..LinkSettings::default() };
            create(&remote, &parse_path(path)?, settings, global)
        }
        Some(LinksCommand::Rm { link }) => {
            let what = format!("link {link}");
            match remote.command(Command::Link(Box::new(LinkCommand::Revoke { link: *link })))? {
                outcome if outcome.is_ok() => done(global, "removed", *link),
                Outcome::NotFound | Outcome::NoAccess => Err(Fail::new(Code::NotFound, format!("{what}: not found"))),
                other => Err(Fail::of_outcome(&what, &other)),
            }
        }
    }
}

fn create(remote: &Remote, path: &str, settings: LinkSettings, global: &Global) -> Result<(), Fail> {
    let create = LinkCommand::Create { at: At::path(path), settings };
    match remote.command(Command::Link(Box::new(create)))? {
        Outcome::Made { id } => done(global, "made", id),
        Outcome::Exists { id } => {
            let text = format!("{}: link {id} shows it already", print::path(path));
            Err(Fail::new(Code::Conflict, text))
        }
        other => Err(Fail::of_outcome(path, &other)),
    }
}

fn done(global: &Global, verb: &str, link: u64) -> Result<(), Fail> {
    if global.json {
        return print::line(json!({ "done": verb, "link": link }));
    }
    print::line(format!("link {link} {verb}"))
}

fn list(remote: &Remote, global: &Global) -> Result<(), Fail> {
    let mut after = 0;
    loop {
        let of = LinksOf::Account(remote.acct);
        match remote.query(Query::Links { of, after, limit: 0 })? {
            Answer::Links { links, next } => {
                links.iter().try_for_each(|link| show(link, global))?;
                match next {
                    Some(next) => after = next,
                    None => return Ok(()),
                }
            }
            other => return Err(Fail::of_answer("the links", &other)),
        }
    }
}

fn show(link: &LinkInfo, global: &Global) -> Result<(), Fail> {
    let TreeNode(node) = link.entry.meta.node;
    if global.json {
        let line = json!({
            "link": link.link,
            "path": link.entry.path_display,
            "node": node,
            "created_ms": link.created_ms,
            "expires_ms": link.settings.expires_ms,
            "members_only": link.settings.members_only,
            "no_download": link.settings.no_download,
        });
        return print::line(line);
    }
    let created = print::time(link.created_ms as i64);
    let only = if link.settings.members_only { "  members only" } else { "" };
    print::line(format!("link {}  {created}  {}{only}", link.link, print::path(&link.entry.path_display)))
}
