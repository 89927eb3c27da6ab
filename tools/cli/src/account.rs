//! `dropstone account`: accounts, each with a root namespace of its own.

use std::fs::File;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use base::{Acct, Nsid};
use clap::Subcommand;
use client::Client;
use meta::{
    AccountKey, AccountSet, Answer, Command, FlowPlan, Group0Answer, Group0Command, Group0Query, MemberRole, Outcome,
    PasswordHash, Profile, Query, ReachInfo, ReachState,
};
use serde_json::json;

use crate::cluster::{self, Account, Target};
use crate::files::flow::System;
use crate::files::print;

/// Accounts listed at most; numbers are dense from 1, but for those that ended.
const ACCOUNTS_SHOWN_MAX: u64 = 100_000;
/// Numbers without an account in a row, after which no more are looked for.
const GAP_MAX: u64 = 1000;

/// Make, show, list and end accounts.
#[derive(Subcommand, Debug)]
pub enum AccountCommand {
    /// Make an account with an empty tree; the same name again finds the same account.
    #[command(after_help = "Example:\n  dropstone account create ada\n  dropstone ls / --account 1")]
    Create {
        /// Its name, 1 to 255 letters, compared in lower case.
        name: String,
    },
    /// Show an account: what it has granted, and the shared folders that it reaches.
    #[command(after_help = "Example:\n  dropstone account show ada")]
    Show {
        /// Its name, e-mail address or number.
        #[arg(value_name = "ACCOUNT")]
        who: String,
    },
    /// List all accounts.
    #[command(visible_alias = "list")]
    Ls,
    /// Set an account's e-mail address, names and password, with which it signs in; or suspend it.
    #[command(after_help = "\
Example:
  dropstone account set ada --email ada@example.com --given Ada --surname Lovelace --password-file -

The password is the first line of the file; - is the standard input. What is not named stays as it is.
A suspended account cannot sign in, and its tokens are void within a minute.")]
    Set {
        /// Its name, e-mail address or number.
        #[arg(value_name = "ACCOUNT")]
        who: String,
        /// Its e-mail address; empty for none.
        #[arg(long)]
        email: Option<String>,
        /// Its given name.
        #[arg(long, requires = "surname")]
        given: Option<String>,
        /// Its surname; may be empty.
        #[arg(long, requires = "given")]
        surname: Option<String>,
        /// A file whose first line is the password.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// It may not come in.
        #[arg(long, conflicts_with = "resume")]
        suspend: bool,
        /// It may come in again.
        #[arg(long)]
        resume: bool,
    },
    /// End an account for good, with all files in its tree.
    ///
    /// It leaves the shared folders that others own. Those that it owns go to one of their members first, by `dropstone
    /// transfer`; while it owns one it does not end.
    #[command(after_help = "Example:\n  dropstone account end ada --yes")]
    End {
        /// Its name, e-mail address or number.
        #[arg(value_name = "ACCOUNT")]
        who: String,
        /// Without it nothing is done.
        #[arg(long)]
        yes: bool,
    },
}

/// Runs it.
pub fn run(command: &AccountCommand, target: &Target) -> Result<ExitCode> {
    let client = target.connect()?;
    match command {
        AccountCommand::Create { name } => {
            let Account { acct, root } = cluster::ensure_account(&client, name)?;
            print_account(target.json, acct, root, name);
        }
        AccountCommand::Show { who } => show(&client, who, target.json)?,
        AccountCommand::Ls => list(&client, target.json)?,
        AccountCommand::Set { who, email, given, surname, password_file, suspend, resume } => {
            let acct = profile(&client, who)?.acct;
            let change = AccountSet {
                acct,
                email: email.clone(),
                names: given.clone().zip(surname.clone()),
                password: password_file.as_deref().map(password).transpose()?,
                is_suspended: (*suspend || *resume).then_some(*suspend),
                ..AccountSet::default()
            };
            set(&client, who, change)?;
        }
        AccountCommand::End { who, yes } => end(client, who, *yes, target.json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(client: &Client, json: bool) -> Result<()> {
    let mut gap = 0;
    for acct in (1..=ACCOUNTS_SHOWN_MAX).map(Acct) {
        match cluster::find_account(client, acct)? {
            Some(info) => {
                gap = 0;
                print_account(json, info.acct, info.root, &info.name);
            }
            None if gap == GAP_MAX => break,
            None => gap += 1,
        }
    }
    Ok(())
}

/// What is kept of the password in a file.
fn password(path: &Path) -> Result<PasswordHash> {
    let mut line = String::new();
    match path.to_str() {
        Some("-") => io::stdin().lock().read_line(&mut line),
        _ => io::BufReader::new(File::open(path).with_context(|| format!("could not open {}", path.display()))?)
            .read_line(&mut line),
    }
    .with_context(|| format!("could not read a password from {}", path.display()))?;
    stone::password::hash_now(line.trim_end_matches(['\r', '\n'])).map_err(|why| anyhow!("{}: {why}", path.display()))
}

fn set(client: &Client, who: &str, change: AccountSet) -> Result<()> {
    let command = Command::Group0(Box::new(Group0Command::AccountSet(change)));
    match client.command(Acct(0), Nsid(0), command)? {
        Outcome::Done => println!("account {} is changed", print::printable(who)),
        Outcome::Exists { id } => bail!("this e-mail address is that of account {id}"),
        Outcome::Malformed => bail!("this is no e-mail address, or a name is too long"),
        Outcome::NotFound => bail!("no account {who:?} on this cluster"),
        other => bail!("the cluster refused: {other:?}"),
    }
    Ok(())
}

fn print_account(json: bool, acct: Acct, root: Nsid, name: &str) {
    if json {
        println!("{}", json!({ "account": acct.0, "root": root.0, "name": name }));
    } else {
        println!("account {acct}  root {root}  {}", print::printable(name));
    }
}

fn ask(client: &Client, question: Group0Query) -> Result<Option<Group0Answer>> {
    match client.query(Acct(0), Nsid(0), Query::Group0(question))? {
        Answer::Group0(answer) => Ok(Some(answer)),
        Answer::NotFound | Answer::NoAccess => Ok(None),
        other => bail!("the cluster did not answer: {other:?}"),
    }
}

fn profile(client: &Client, text: &str) -> Result<Profile> {
    let key = match text.parse() {
        Ok(number) => AccountKey::Acct(Acct(number)),
        Err(_) => AccountKey::Name(text.to_owned()),
    };
    match ask(client, Group0Query::Profile(key))? {
        Some(Group0Answer::Profile(profile)) => Ok(*profile),
        _ => bail!("no account {text:?} on this cluster; `dropstone account list` shows them all"),
    }
}

/// The shared namespaces that an account reaches.
fn reach(client: &Client, acct: Acct) -> Result<Vec<(Nsid, ReachInfo)>> {
    let mut all: Vec<(Nsid, ReachInfo)> = Vec::new();
    loop {
        let after = all.last().map_or(Nsid(0), |(nsid, _)| *nsid);
        match ask(client, Group0Query::Reach { acct, after, limit: 0 })? {
            Some(Group0Answer::Reach(some)) if !some.is_empty() => all.extend(some),
            _ => return Ok(all),
        }
    }
}

fn role(role: MemberRole) -> &'static str {
    match role {
        MemberRole::Viewer => "viewer",
        MemberRole::Editor => "editor",
        MemberRole::Owner => "owner",
    }
}

fn how_far(state: ReachState) -> &'static str {
    match state {
        ReachState::Invited => "invited",
        ReachState::Joined => "joined",
        ReachState::Mounted => "mounted",
    }
}

fn show(client: &Client, text: &str, json: bool) -> Result<()> {
    let profile = profile(client, text)?;
    let state = match profile.state {
        1 => "active",
        2 => "being made",
        3 => "suspended",
        _ => "ended",
    };
    let reach = reach(client, profile.acct)?;
    let used = match client.query(Acct(0), profile.root, Query::SpaceUsage)? {
        Answer::SpaceUsage { live_bytes, .. } => live_bytes,
        _ => 0,
    };
    if json {
        let shared = |(nsid, info): &(Nsid, ReachInfo)| {
            let (role, state) = (role(info.role), how_far(info.state));
            json!({ "namespace": nsid.0, "role": role, "state": state })
        };
        let object = json!({
            "account": profile.acct.0, "name": profile.name, "email": profile.email, "state": state,
            "root": profile.root.0, "root_bytes": used, "allocated": profile.allocated, "granted": profile.granted,
            "created_ms": profile.created_ms, "shared": reach.iter().map(shared).collect::<Vec<_>>(),
        });
        println!("{object}");
        return Ok(());
    }
    println!("account {}: {}", profile.acct, print::printable(&profile.name));
    println!("  state      {state}, since {} UTC", print::time(profile.created_ms as i64));
    println!("  root       namespace {}, {} in it", profile.root, print::bytes(used));
    let allocated = if profile.allocated == 0 { "no limit".to_owned() } else { print::bytes(profile.allocated) };
    println!("  granted    {} of {allocated}", print::bytes(profile.granted));
    for (nsid, info) in reach {
        println!("  shared     namespace {nsid}, {}, {}", role(info.role), how_far(info.state));
    }
    Ok(())
}

/// Out of what others share, then the account itself.
fn end(client: Client, text: &str, yes: bool, json: bool) -> Result<()> {
    let profile = profile(&client, text)?;
    let acct = profile.acct;
    let name = print::printable(&profile.name);
    let reach = reach(&client, acct)?;
    if let Some((nsid, _)) = reach.iter().find(|(_, info)| info.role == MemberRole::Owner) {
        bail!("account {acct} ({name}) owns shared folder {nsid}; give it to a member with `dropstone transfer` first");
    }
    if !yes {
        bail!("account {acct} ({name}) and all files in its tree would go for good; say --yes to do it");
    }
    let system = System { client };
    for (nsid, _) in reach {
        let plan = FlowPlan::RemoveMember { nsid, acct };
        system.run(&format!("namespace {nsid}"), &plan).map_err(|fail| anyhow::anyhow!("{fail}"))?;
    }
    system.run(&format!("account {acct}"), &FlowPlan::AccountEnd { acct }).map_err(|fail| anyhow::anyhow!("{fail}"))?;
    if json {
        println!("{}", json!({ "done": "ended", "account": acct.0 }));
    } else {
        println!("account {acct} ({name}) has ended");
    }
    Ok(())
}
