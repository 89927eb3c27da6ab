//! `dropstone flow`: work that changes several namespaces, as an operator needs to see it.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use base::{Acct, Nsid, group_of};
use clap::Subcommand;
use client::Client;
use meta::driver::{Task, task};
use meta::{Answer, CarryPlace, Command, FlowInfo, FlowPlan, FlowState, Group0Answer, Group0Query, ImportInfo, Query};
use serde_json::{Value, json};

use crate::cluster::Target;
use crate::files::fail::code_text;
use crate::files::print;

/// Look at flows: shares, moves between namespaces, invitations, accounts being made or ended.
///
/// The node that leads group 0 drives them by itself; one that stands still waits for the group that `show` names.
#[derive(Subcommand, Debug)]
pub enum FlowCommand {
    /// List the flows that are open or wait, oldest first.
    #[command(visible_alias = "ls", after_help = "Example:\n  dropstone flow list --json")]
    List,
    /// Show all that is known of a flow, for eight days after its end too.
    #[command(after_help = "\
Example:
  dropstone flow show 12

A flow that was refused takes back what it had made, in steps from 101 on, and ends as failed.")]
    Show {
        /// Its number.
        flow: u64,
    },
}

/// Runs it.
pub fn run(command: &FlowCommand, target: &Target) -> Result<ExitCode> {
    let client = target.connect()?;
    match command {
        FlowCommand::List => list(&client, target.json)?,
        FlowCommand::Show { flow } => show(&client, *flow, target.json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn ask(client: &Client, question: Group0Query) -> Result<Option<Group0Answer>> {
    match client.query(Acct(0), Nsid(0), Query::Group0(question))? {
        Answer::Group0(answer) => Ok(Some(answer)),
        Answer::NotFound | Answer::NoAccess => Ok(None),
        other => bail!("the cluster did not answer for its flows: {other:?}"),
    }
}

fn list(client: &Client, json: bool) -> Result<()> {
    let (mut after, now_ms) = (0, wall_ms());
    loop {
        let Some(Group0Answer::Flows(flows)) = ask(client, Group0Query::Flows { after, limit: 0 })? else {
            bail!("the cluster did not tell its flows")
        };
        let Some(last) = flows.last() else { return Ok(()) };
        after = last.flow;
        for info in &flows {
            if json {
                println!("{}", json_flow(info));
            } else {
                let idle = now_ms.saturating_sub(info.touched_ms) / 1000;
                let step = step_text(info);
                println!("flow {:<6} {:<8} step {step}, since {idle} s  {}", info.flow, state(info), plan(&info.plan));
            }
        }
    }
}

fn show(client: &Client, flow: u64, json: bool) -> Result<()> {
    let Some(Group0Answer::Flow(info)) = ask(client, Group0Query::Flow(flow))? else {
        bail!("flow {flow} is not known; it never was, or ended more than eight days ago");
    };
    let import = import_of(client, &info)?;
    let next = next_of(client, &info)?;
    if json {
        let mut object = json_flow(&info);
        object["next"] = json!(next.as_ref().map(|(what, _)| what));
        object["parts"] = json!(import.as_ref().map(|import| import.parts));
        println!("{object}");
        return Ok(());
    }
    println!("flow {flow}: {}", plan(&info.plan));
    println!("  state      {}", state(&info));
    println!("  step       {}", step_text(&info));
    if info.code != 0 {
        println!("  refused    {}", code_text(info.code));
    }
    println!("  touched    {} UTC", print::time(info.touched_ms as i64));
    println!("  account    {}, namespace {}, root {}", info.acct, info.nsid, info.root);
    if let Some(import) = import {
        println!("  copied     {} parts; {}", import.parts, place(&import.place));
    }
    if let Some((what, group)) = next {
        println!("  next       {what}");
        println!("             {group}");
    }
    Ok(())
}

/// How far what it copies has come, if it copies.
fn import_of(client: &Client, info: &FlowInfo) -> Result<Option<ImportInfo>> {
    if !matches!(info.plan, FlowPlan::Share { .. } | FlowPlan::MoveAcross { .. }) {
        return Ok(None);
    }
    match client.query(Acct(0), info.nsid, Query::Import(info.flow))? {
        Answer::Import(import) => Ok(Some(import)),
        _ => Ok(None),
    }
}

/// What it waits for: the command, and the group that must take it with its leader.
fn next_of(client: &Client, info: &FlowInfo) -> Result<Option<(String, String)>> {
    let (what, nsids) = match task(info) {
        None => return Ok(None),
        Some(Task::Send { nsid, command }) => (command_name(&command).to_owned(), vec![nsid]),
        Some(Task::Copy(copy)) => {
            let last = if copy.frozen_ms.is_some() { "the rest, while it is frozen" } else { "what is in it" };
            (format!("copy {last}, from namespace {} to {}", copy.from, copy.to), vec![copy.from, copy.to])
        }
        Some(Task::Empty { nsid }) => (format!("take away what is in namespace {nsid}"), vec![nsid]),
    };
    let map = client.cluster_map()?;
    let group = |nsid: &Nsid| {
        let group = group_of(*nsid, map.groups());
        match map.leaders.get(group.0 as usize).copied().flatten() {
            Some(leader) => format!("namespace {nsid} is in group {group}, led by node {leader}"),
            None => format!("namespace {nsid} is in group {group}, WHICH HAS NO LEADER: see `dropstone admin status`"),
        }
    };
    Ok(Some((what, nsids.iter().map(group).collect::<Vec<_>>().join("\n             "))))
}

fn command_name(command: &Command) -> &'static str {
    match command {
        Command::NamespaceInit { .. } => "make the namespace",
        Command::MemberPut(_) => "put the member",
        Command::MemberRemove { .. } => "remove the member",
        Command::Transfer(_) => "make it another's",
        Command::Mount(_) => "hang it into the root",
        Command::MountSwap(swap) if swap.target == Nsid(0) => "take the folder away where it was",
        Command::MountSwap(_) => "put the namespace in the folder's place",
        Command::Unmount { .. } => "take it out of the root",
        Command::Freeze(_) => "freeze the folder",
        Command::Thaw(_) => "thaw the folder",
        Command::GrantRaise { .. } => "give it more room",
        Command::GrantLower { .. } => "give it less room",
        Command::ImportEnd(_) => "end the copy where it goes",
        _ => "something that this release does not know",
    }
}

fn state(info: &FlowInfo) -> &'static str {
    match info.state {
        FlowState::Open if info.code != 0 => "undoing",
        FlowState::Open => "open",
        FlowState::Waiting => "waiting",
        FlowState::Done => "done",
        FlowState::Failed => "failed",
    }
}

fn step_text(info: &FlowInfo) -> String {
    format!("{} of {}", info.step, info.plan.steps())
}

fn plan(plan: &FlowPlan) -> String {
    match plan {
        FlowPlan::Account { name, .. } => format!("make account {}", print::printable(name)),
        FlowPlan::Share { owner, node, .. } => format!("share folder {node} of account {owner}"),
        FlowPlan::AddMember { nsid, acct, .. } => format!("invite account {acct} to namespace {nsid}"),
        FlowPlan::Mount { nsid, acct, at } => {
            format!("mount namespace {nsid} for account {acct} at {}", print::path(&at.path))
        }
        FlowPlan::Unmount { nsid, acct } => format!("unmount namespace {nsid} of account {acct}"),
        FlowPlan::RemoveMember { nsid, acct } => format!("remove account {acct} from namespace {nsid}"),
        FlowPlan::Transfer { nsid, from, to } => format!("give namespace {nsid} of account {from} to account {to}"),
        FlowPlan::MoveAcross { from, node, to, at, .. } => {
            format!("move folder {node} of namespace {from} to {} of namespace {to}", print::path(&at.path))
        }
        FlowPlan::AccountEnd { acct } => format!("end account {acct}"),
        FlowPlan::Grant { nsid, is_raise, bytes, .. } => {
            let more = if *is_raise { "more" } else { "less" };
            format!("give namespace {nsid} {} {more}", print::bytes(*bytes))
        }
    }
}

fn place(place: &CarryPlace) -> String {
    match place {
        CarryPlace::Listing { position, .. } => format!("in the listing, after {}", print::path(position)),
        CarryPlace::Changes(cursor) => format!("up to row {} of the journal", cursor.since),
    }
}

fn json_flow(info: &FlowInfo) -> Value {
    json!({
        "flow": info.flow,
        "state": state(info),
        "step": info.step,
        "steps": info.plan.steps(),
        "code": info.code,
        "touched_ms": info.touched_ms,
        "account": info.acct.0,
        "namespace": info.nsid.0,
        "root": info.root.0,
        "plan": plan(&info.plan),
    })
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use meta::Outcome;

    use super::*;

    #[test]
    fn a_refused_code_is_told_in_words() {
        assert_eq!(code_text(Outcome::NestedShare.code()), "shared folders do not nest");
        assert!(code_text(200).contains("200"));
    }
}
