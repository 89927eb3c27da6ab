//! `dropstone share`, `accept`, `unshare`, `leave`, `members`: folders that several accounts have.

use base::{Acct, Nsid};
use clap::Args;
use meta::{Answer, At, FlowPlan, MemberInfo, MemberRole, MemberState, NodeKind, Query, What};
use serde_json::json;

use super::Global;
use super::fail::{Code, Fail};
use super::flow::System;
use super::print;
use super::remote::{Remote, last_name, parse_path};

/// Arguments of `dropstone share`.
#[derive(Args, Debug)]
pub struct ShareArgs {
    /// The folder.
    #[arg(value_name = "FOLDER")]
    path: String,
    /// Whom to invite: name or number, with `:viewer` for one who only reads. May be given several times.
    #[arg(long = "with", value_name = "ACCOUNT[:ROLE]", value_parser = parse_invitation)]
    with: Vec<(String, Role)>,
    /// Bytes that the shared folder may hold at most.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 50)]
    grant: u64,
}

/// Arguments of `dropstone accept`.
#[derive(Args, Debug)]
pub struct AcceptArgs {
    /// The number of the shared folder's namespace, as `dropstone account show` tells it.
    #[arg(value_name = "NAMESPACE")]
    nsid: u64,
    /// Where it comes in your tree; another name is taken if something is there.
    #[arg(value_name = "PATH")]
    path: String,
}

/// Arguments of `dropstone unshare`.
#[derive(Args, Debug)]
pub struct UnshareArgs {
    /// A shared folder that the account owns.
    #[arg(value_name = "FOLDER")]
    path: String,
    /// Only this member; else all of them.
    #[arg(long, value_name = "ACCOUNT")]
    only: Option<String>,
}

/// Arguments of `dropstone leave` and `dropstone members`.
#[derive(Args, Debug)]
pub struct SharedArgs {
    /// A shared folder.
    #[arg(value_name = "FOLDER")]
    path: String,
}

/// Arguments of `dropstone transfer`.
#[derive(Args, Debug)]
pub struct TransferArgs {
    /// A shared folder that the account owns.
    #[arg(value_name = "FOLDER")]
    path: String,
    /// Whose it will be: a member who has accepted, by name or number.
    #[arg(value_name = "ACCOUNT")]
    heir: String,
}

/// What an invited account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Viewer,
    Editor,
}

fn parse_invitation(text: &str) -> Result<(String, Role), String> {
    let (name, role) = match text.rsplit_once(':') {
        None => (text, Role::Editor),
        Some((name, "editor")) => (name, Role::Editor),
        Some((name, "viewer")) => (name, Role::Viewer),
        Some((_, role)) => return Err(format!("{role:?} is no role; use viewer or editor")),
    };
    if name.is_empty() { Err("an account is missing before ':'".to_owned()) } else { Ok((name.to_owned(), role)) }
}

impl From<Role> for MemberRole {
    fn from(role: Role) -> MemberRole {
        match role {
            Role::Viewer => MemberRole::Viewer,
            Role::Editor => MemberRole::Editor,
        }
    }
}

/// Shares a folder, and invites.
///
/// Errors: [`Fail`].
pub fn share(args: &ShareArgs, global: &Global) -> Result<(), Fail> {
    let path = parse_path(&args.path)?;
    let (remote, system) = (Remote::open(global)?, System::open(global)?);
    // Whoever was mistyped is told before anything is done.
    let invited =
        args.with.iter().map(|(name, role)| Ok((system.account(name)?, *role))).collect::<Result<Vec<_>, Fail>>()?;
    let entry = remote.entry(&path)?;
    let nsid = match entry.meta.kind {
        NodeKind::Mount => Nsid(entry.meta.size),
        NodeKind::File => return Err(Fail::new(Code::Conflict, format!("{}: it is not a folder", print::path(&path)))),
        NodeKind::Folder if path.is_empty() => return Err(Fail::new(Code::Refused, "the root cannot be shared")),
        NodeKind::Folder => {
            let plan = FlowPlan::Share { owner: remote.acct, node: entry.meta.node, grant_bytes: args.grant };
            system.run(&path, &plan)?.nsid
        }
    };
    owned(&system, &remote, &path, nsid)?;
    for ((acct, name), role) in &invited {
        system.run(name, &FlowPlan::AddMember { nsid, acct: *acct, role: (*role).into() })?;
    }
    if global.json {
        let names: Vec<&String> = invited.iter().map(|((_, name), _)| name).collect();
        return print::line(json!({ "done": "shared", "path": path, "namespace": nsid.0, "invited": names }));
    }
    print::line(format!("{} is shared, as namespace {nsid}", print::path(&path)))?;
    for ((acct, name), _) in &invited {
        let name = print::printable(name);
        let at = print::printable(last_name(&path));
        print::line(format!("  {name} was invited: dropstone accept {nsid} '/{at}' --account {acct}"))?;
    }
    Ok(())
}

/// Joins a shared folder, and hangs it into the tree.
///
/// Errors: [`Fail`].
pub fn accept(args: &AcceptArgs, global: &Global) -> Result<(), Fail> {
    let path = parse_path(&args.path)?;
    let (remote, system) = (Remote::open(global)?, System::open(global)?);
    let (nsid, acct) = (Nsid(args.nsid), remote.acct);
    let what = format!("namespace {nsid}");
    system.run(&what, &FlowPlan::Mount { nsid, acct, at: At::path(&path) }).map_err(|fail| match fail.code {
        Code::NotFound => Fail::new(Code::NotFound, format!("{what}: account {acct} was not invited to it")),
        _ => fail,
    })?;
    if global.json {
        return print::line(json!({ "done": "accepted", "path": path, "namespace": nsid.0 }));
    }
    print::line(format!("joined; it is in the tree of account {acct} now, at {} or beside it", print::path(&path)))
}

/// Takes members out.
///
/// Errors: [`Fail`]; those taken out before stay out.
pub fn unshare(args: &UnshareArgs, global: &Global) -> Result<(), Fail> {
    let path = parse_path(&args.path)?;
    let (remote, system) = (Remote::open(global)?, System::open(global)?);
    let nsid = shared(&remote, &path)?;
    owned(&system, &remote, &path, nsid)?;
    let mut members = list_members(&remote, &path, nsid)?;
    if let Some(only) = &args.only {
        let (acct, name) = system.account(only)?;
        members.retain(|member| member.acct == acct);
        if members.is_empty() {
            return Err(Fail::new(Code::NotFound, format!("{}: {name} is no member of it", print::path(&path))));
        }
    }
    // Each of them is a flow of its own from here on, whatever becomes of this command.
    let flows = members
        .iter()
        .map(|member| Ok(system.start(&path, &FlowPlan::RemoveMember { nsid, acct: member.acct })?.flow))
        .collect::<Result<Vec<u64>, Fail>>()?;
    flows.iter().try_for_each(|flow| system.wait(&path, *flow).map(drop))?;
    if global.json {
        let out: Vec<u64> = members.iter().map(|member| member.acct.0).collect();
        return print::line(json!({ "done": "unshared", "path": path, "namespace": nsid.0, "removed": out }));
    }
    print::line(format!("{}: {} members were taken out", print::path(&path), members.len()))
}

/// Leaves a shared folder.
///
/// Errors: [`Fail`].
pub fn leave(args: &SharedArgs, global: &Global) -> Result<(), Fail> {
    let path = parse_path(&args.path)?;
    let (remote, system) = (Remote::open(global)?, System::open(global)?);
    let (nsid, acct) = (shared(&remote, &path)?, remote.acct);
    if system.owner(nsid)? == acct {
        let text = format!(
            "{}: account {acct} owns it; `dropstone unshare` takes the others out, `dropstone members` shows them",
            print::path(&path)
        );
        return Err(Fail::new(Code::Refused, text));
    }
    system.run(&path, &FlowPlan::RemoveMember { nsid, acct })?;
    if global.json {
        return print::line(json!({ "done": "left", "path": path, "namespace": nsid.0 }));
    }
    print::line(format!("left {}", print::path(&path)))
}

/// Gives a shared folder to one of its members.
///
/// Errors: [`Fail`].
pub fn transfer(args: &TransferArgs, global: &Global) -> Result<(), Fail> {
    let path = parse_path(&args.path)?;
    let (remote, system) = (Remote::open(global)?, System::open(global)?);
    let (nsid, (to, name)) = (shared(&remote, &path)?, system.account(&args.heir)?);
    owned(&system, &remote, &path, nsid)?;
    let plan = FlowPlan::Transfer { nsid, from: remote.acct, to };
    system.run(&path, &plan).map_err(|fail| match fail.code {
        Code::NotFound => {
            let text = format!("{}: {name} is no member who has accepted it", print::path(&path));
            Fail::new(Code::NotFound, text)
        }
        _ => fail,
    })?;
    if global.json {
        return print::line(json!({ "done": "transferred", "path": path, "namespace": nsid.0, "owner": to.0 }));
    }
    print::line(format!(
        "{} is {}'s now; account {} stays a member",
        print::path(&path),
        print::printable(&name),
        remote.acct
    ))
}

/// Shows who has a folder.
///
/// Errors: [`Fail`].
pub fn members(args: &SharedArgs, global: &Global) -> Result<(), Fail> {
    let path = parse_path(&args.path)?;
    let (remote, system) = (Remote::open(global)?, System::open(global)?);
    let nsid = shared(&remote, &path)?;
    let owner = system.owner(nsid)?;
    show(&system, global, nsid, (owner, "owner", "in"))?;
    for member in list_members(&remote, &path, nsid)? {
        let role = if member.role == MemberRole::Viewer { "viewer" } else { "editor" };
        let state = if member.state == MemberState::Joined { "in" } else { "invited" };
        show(&system, global, nsid, (member.acct, role, state))?;
    }
    Ok(())
}

fn show(system: &System, global: &Global, nsid: Nsid, (acct, role, state): (Acct, &str, &str)) -> Result<(), Fail> {
    let (_, name) = system.account(&acct.to_string())?;
    if global.json {
        let line = json!({ "namespace": nsid.0, "account": acct.0, "name": name, "role": role, "state": state });
        return print::line(line);
    }
    print::line(format!("{role:<7}{state:<9}account {acct}  {}", print::printable(&name)))
}

/// The namespace that hangs at a path.
fn shared(remote: &Remote, path: &str) -> Result<Nsid, Fail> {
    match remote.query(Query::Lookup(What::At(At::path(path))))? {
        Answer::Entry(entry) if entry.meta.kind == NodeKind::Mount => Ok(Nsid(entry.meta.size)),
        Answer::Entry(_) => Err(Fail::new(Code::Conflict, format!("{}: it is not shared", print::path(path)))),
        Answer::Elsewhere { .. } => {
            let text = format!("{}: it is in a shared folder; name that one itself", print::path(path));
            Err(Fail::new(Code::Conflict, text))
        }
        other => Err(Fail::of_answer(path, &other)),
    }
}

fn owned(system: &System, remote: &Remote, path: &str, nsid: Nsid) -> Result<(), Fail> {
    match system.owner(nsid)? {
        owner if owner == remote.acct => Ok(()),
        owner => {
            let text = format!("{}: account {owner} owns it, and alone says who has it", print::path(path));
            Err(Fail::new(Code::Refused, text))
        }
    }
}

/// All members but the owner.
fn list_members(remote: &Remote, path: &str, nsid: Nsid) -> Result<Vec<MemberInfo>, Fail> {
    let mut all: Vec<MemberInfo> = Vec::new();
    loop {
        let after = all.last().map_or(Acct(0), |member| member.acct);
        match remote.client.query(remote.acct, nsid, Query::Members { after })? {
            Answer::Members(some) if some.is_empty() => return Ok(all),
            Answer::Members(some) => all.extend(some),
            other => return Err(Fail::of_answer(path, &other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_an_account_and_may_say_a_role() {
        assert_eq!(parse_invitation("bob"), Ok(("bob".to_owned(), Role::Editor)));
        assert_eq!(parse_invitation("7:viewer"), Ok(("7".to_owned(), Role::Viewer)));
        assert_eq!(parse_invitation("a:b:editor"), Ok(("a:b".to_owned(), Role::Editor)));
        assert!(parse_invitation("bob:owner").is_err());
        assert!(parse_invitation(":viewer").is_err());
    }
}
