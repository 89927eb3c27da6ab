//! The bytes of links and of group 0, pinned: commands, outcomes, queries, answers, rows and keys.

use std::collections::BTreeSet;
use std::fmt::Debug;

use base::{Acct, Jid, NodeId, Nsid, TreeNode};

use super::keys as keys0;
use super::record::{CodeRow, CodeState, FlowOfRow, SettingRow};
use super::*;
use crate::command::{At, Command, CommandHeader, MemberRole};
use crate::command_codec::{decode_command, encode_command};
use crate::links::{LinkCommand, LinkInfo, LinkRow, LinkSettings, LinksOf};
use crate::metadata::{Metadata, NamespaceKind, NodeKind};
use crate::outcome::Outcome;
use crate::password::PasswordHash;
use crate::query::{AccountKey, Answer, Entry, Query};
use crate::rows::*;
use crate::{golden, keys};

const DIGEST: [u8; 32] = [0xd1; 32];
const OTHER: [u8; 32] = [0xd2; 32];
const ACCT: Acct = Acct(5);
const NSID: Nsid = Nsid(10_000_000_001);

fn text(text: &str) -> String {
    text.to_owned()
}

fn settings() -> LinkSettings {
    LinkSettings { no_download: true, members_only: true, expires_ms: 9, password: PasswordHash(b"hash".to_vec()) }
}

fn app() -> AppInfo {
    AppInfo { app: 1, scopes: 2, secret: DIGEST, name: text("App"), redirects: vec![text("http://a"), text("b")] }
}

fn code() -> CodeInfo {
    CodeInfo { acct: ACCT, app: 1, scopes: 2, is_offline: true }
}

fn ticket() -> TicketInfo {
    TicketInfo { node: NodeId(3), expires_ms: 4, peer_address: text("p:1") }
}

fn alarm() -> AlarmInfo {
    AlarmInfo { raised_ms: 1, node: NodeId(2), name: text("nospace"), text: text("full") }
}

fn token() -> TokenInfo {
    TokenInfo { token_gen: 1, acct: ACCT, app: 2, scopes: 3, expires_ms: 4, created_ms: 5 }
}

fn plans() -> Vec<FlowPlan> {
    let (nsid, acct) = (NSID, ACCT);
    vec![
        FlowPlan::Account { name: text("Ada"), allocated: 1, grant_bytes: 2 },
        FlowPlan::Share { owner: acct, node: TreeNode(6), grant_bytes: 7 },
        FlowPlan::AddMember { nsid, acct, role: MemberRole::Viewer },
        FlowPlan::Mount { nsid, acct, at: At { node: TreeNode(6), path: text("/m") } },
        FlowPlan::Unmount { nsid, acct },
        FlowPlan::RemoveMember { nsid, acct },
        FlowPlan::Transfer { nsid, from: acct, to: Acct(8) },
        FlowPlan::Grant { nsid, acct, is_raise: true, bytes: 9 },
        FlowPlan::Grant { nsid, acct, is_raise: false, bytes: 9 },
        FlowPlan::MoveAcross {
            acct,
            from: nsid,
            node: TreeNode(6),
            to: Nsid(10_000_000_002),
            at: At { node: TreeNode(7), path: text("/m") },
            autorename: true,
        },
        FlowPlan::AccountEnd { acct },
    ]
}

fn flow(plan: FlowPlan) -> FlowInfo {
    FlowInfo {
        flow: 1,
        state: FlowState::Failed,
        step: 2,
        code: 18,
        touched_ms: 3,
        acct: ACCT,
        nsid: NSID,
        root: Nsid(4),
        since_ms: 5,
        bytes: 6,
        role: MemberRole::Editor,
        plan,
    }
}

fn commands() -> Vec<Command> {
    let at = At { node: TreeNode(7), path: text("/a") };
    let change = GrantChange { acct: ACCT, nsid: NSID, before: 1, bytes: 2 };
    let put = TokenPut { token: DIGEST, acct: ACCT, app: 1, scopes: 2, expires_ms: 3, code: OTHER, access: DIGEST };
    let group0 = |command| Command::Group0(Box::new(command));
    let mut all = vec![
        Command::Link(Box::new(LinkCommand::Create { at, settings: settings() })),
        Command::Link(Box::new(LinkCommand::Modify { link: 8, settings: LinkSettings::default() })),
        Command::Link(Box::new(LinkCommand::Revoke { link: 8 })),
        group0(Group0Command::AppPut { client_id: text("client"), info: app() }),
        group0(Group0Command::TokenPut(put)),
        group0(Group0Command::TokenRevoke(TokenRevoke::Refresh(DIGEST))),
        group0(Group0Command::TokenRevoke(TokenRevoke::Access { token: DIGEST, acct: ACCT, expires_ms: 1 })),
        group0(Group0Command::TokenRevoke(TokenRevoke::Account(ACCT))),
        group0(Group0Command::CodePut(CodePut {
            code: DIGEST,
            info: code(),
            challenge: OTHER,
            redirect: text("http://a"),
        })),
        group0(Group0Command::CodeTake(CodeTake { code: DIGEST, app: 1, challenge: OTHER, redirect: text("b") })),
        group0(Group0Command::FlowStep(FlowStep { flow: 1, step: 2, code: 3, value: 4 })),
        group0(Group0Command::GrantReserve(change)),
        group0(Group0Command::GrantRelease(change)),
        group0(Group0Command::FeatureRaise { level: 2 }),
        group0(Group0Command::AlarmRaise(alarm())),
        group0(Group0Command::AlarmClear(alarm())),
        group0(Group0Command::TicketPut(TicketPut { ticket: DIGEST, info: ticket() })),
        group0(Group0Command::TicketTake { ticket: DIGEST }),
        group0(Group0Command::AccountSet(AccountSet { acct: ACCT, plan: Some(1), ..AccountSet::default() })),
        group0(Group0Command::AccountSet(AccountSet {
            acct: ACCT,
            email: Some(text("a@b")),
            names: Some((text("Ada"), text("L"))),
            password: Some(PasswordHash(b"hash".to_vec())),
            plan: Some(2),
            allocated: Some(3),
            is_suspended: Some(true),
        })),
        group0(Group0Command::SettingPut { name: text("name"), value: text("value") }),
    ];
    all.extend(plans().into_iter().map(|plan| group0(Group0Command::FlowStart(plan))));
    all
}

#[test]
fn commands_are_pinned_and_every_kind_has_a_level() {
    let header = CommandHeader { acct: ACCT, nsid: NSID, ..CommandHeader::default() };
    let mut lines = Vec::new();
    for command in commands() {
        let mut bytes = Vec::new();
        encode_command(&header, &command, &mut bytes);
        assert_eq!(decode_command(&bytes), Ok((header, command.clone())));
        assert!((0..bytes.len()).all(|cut| decode_command(&bytes[..cut]).is_err()));
        lines.push((format!("{} {command:?}", command.kind()), bytes));
    }
    let kinds: BTreeSet<u8> = commands().iter().map(Command::kind).collect();
    assert!(kinds.into_iter().eq((24..=26).chain(65..=78).chain([81, 82])));
    golden::check("group0-commands", &lines);
    // What decodes has a level, or no group would take it.
    for kind in 0..=u8::MAX {
        let mut bytes = Vec::new();
        encode_command(&header, &Command::Register { nonce: [1; 16] }, &mut bytes);
        bytes[1] = kind;
        let is_unknown = matches!(decode_command(&bytes), Err(crate::DecodeError::Kind { what: "command", .. }));
        assert!(is_unknown || crate::feature::level_of(kind).is_some(), "kind {kind}");
    }
}

#[test]
fn outcomes_are_pinned() {
    let lines: Vec<_> = [
        Outcome::Made { id: 1 },
        Outcome::Flow(Box::new(flow(FlowPlan::Unmount { nsid: NSID, acct: ACCT }))),
        Outcome::Code(Box::new(code())),
        Outcome::Ticket(Box::new(ticket())),
    ]
    .into_iter()
    .map(|outcome| {
        let mut bytes = Vec::new();
        outcome.encode(&mut bytes);
        assert_eq!(Outcome::decode(&bytes), Ok(outcome.clone()));
        assert!((0..bytes.len()).all(|cut| Outcome::decode(&bytes[..cut]).is_err()));
        (format!("{} {outcome:?}", outcome.code()), bytes)
    })
    .collect();
    golden::check("group0-outcomes", &lines);
}

#[test]
fn queries_and_answers_are_pinned() {
    let (acct, after, limit) = (ACCT, NSID, 9);
    let node = LinksOf::Node { at: At { node: TreeNode(7), path: text("/a") }, above: true };
    let queries = [
        Query::Link(8),
        Query::Links { of: LinksOf::Account(ACCT), after: 1, limit: 2 },
        Query::Links { of: node, after: 1, limit: 2 },
        Query::Group0(Group0Query::Profile(AccountKey::Acct(ACCT))),
        Query::Group0(Group0Query::Profile(AccountKey::Name(text("a@b")))),
        Query::Group0(Group0Query::App(text("client"))),
        Query::Group0(Group0Query::Apps { after: text("client"), limit }),
        Query::Group0(Group0Query::Token(DIGEST)),
        Query::Group0(Group0Query::Tokens { after: DIGEST, limit }),
        Query::Group0(Group0Query::Revoked { after: vec![1, 2, 3], limit }),
        Query::Group0(Group0Query::Reach { acct, after, limit }),
        Query::Group0(Group0Query::Grants { acct, after, limit }),
        Query::Group0(Group0Query::Flow(1)),
        Query::Group0(Group0Query::Flows { after: 1, limit }),
        Query::Group0(Group0Query::Cluster),
        Query::Group0(Group0Query::Directory(NSID)),
    ];
    let mut lines = Vec::new();
    for query in queries {
        let mut bytes = Vec::new();
        query.encode(&mut bytes);
        assert_eq!(Query::decode(&bytes), Ok(query.clone()));
        assert!((0..bytes.len()).all(|cut| Query::decode(&bytes[..cut]).is_err()));
        lines.push((format!("{} {query:?}", query.kind()), bytes));
    }
    for answer in answers() {
        let mut bytes = Vec::new();
        answer.encode(&mut bytes);
        assert_eq!(Answer::decode(&bytes), Ok(answer.clone()));
        assert!((0..bytes.len()).all(|cut| Answer::decode(&bytes[..cut]).is_err()));
        lines.push((format!("{} {answer:?}", answer.kind()), bytes));
    }
    golden::check("group0-queries", &lines);
}

fn answers() -> Vec<Answer> {
    let meta = Metadata {
        nsid: NSID,
        node: TreeNode(7),
        parent: TreeNode(1),
        jid: Jid(4),
        rev_jid: Jid(3),
        kind: NodeKind::File,
        name: text("b.txt"),
        size: 5,
        content_hash: DIGEST,
        client_mtime_ms: -2,
        server_mtime_ms: 6,
        modified_by: ACCT,
    };
    let entry = Entry { path_display: text("/b.txt"), meta };
    let link = LinkInfo { link: 8, acct: ACCT, created_ms: 1, has_password: true, settings: settings(), entry };
    let profile = Profile {
        acct: ACCT,
        root: NSID,
        state: 1,
        plan: 2,
        token_gen: 3,
        allocated: 4,
        granted: 5,
        created_ms: 6,
        name: text("Ada"),
        email: text("a@b"),
        given: text("A"),
        surname: text("L"),
        password: PasswordHash(b"hash".to_vec()),
    };
    let reach = ReachInfo { role: MemberRole::Viewer, state: ReachState::Joined };
    let (tokens, generations) = (vec![DIGEST], vec![(ACCT, 6)]);
    let told = vec![
        Group0Answer::Profile(Box::new(profile)),
        Group0Answer::App(app()),
        Group0Answer::Apps(vec![(text("client"), app())]),
        Group0Answer::Token { info: token(), root: NSID },
        Group0Answer::Tokens(vec![(DIGEST, token())]),
        Group0Answer::Revoked { tokens, generations, next: Some(vec![1, 2, 3]) },
        Group0Answer::Reach(vec![(NSID, reach)]),
        Group0Answer::Grants(vec![(NSID, 7)]),
        Group0Answer::Flow(Box::new(flow(plans().remove(0)))),
        Group0Answer::Flows(plans().into_iter().map(flow).collect()),
        Group0Answer::Cluster { level: 1, alarms: vec![alarm()], settings: vec![(text("name"), text("value"))] },
        Group0Answer::Directory { kind: NamespaceKind::Shared, state: 2, owner: ACCT },
    ];
    let links = Answer::Links { links: vec![link.clone()], next: Some(8) };
    [Answer::Link(Box::new(link)), links].into_iter().chain(told.into_iter().map(Answer::Group0)).collect()
}

fn row<R: RowValue + PartialEq + Debug>(name: &str, row: R) -> (String, Vec<u8>) {
    let bytes = row.to_bytes();
    assert_eq!(bytes[0], 1, "{name}: byte 0 is the format");
    assert_eq!(R::decode(&bytes), row, "{name}");
    (text(name), bytes)
}

#[test]
fn rows_and_keys_are_pinned() {
    let profile = ProfileRow {
        plan: 1,
        granted: 2,
        email: text("a@b"),
        given: text("A"),
        surname: text("L"),
        password: PasswordHash(b"hash".to_vec()),
    };
    let account =
        AccountRow { state: 3, token_gen: 2, root: NSID, allocated: 4, created_ms: 5, name: text("Ada"), profile };
    let code = CodeRow {
        state: CodeState::Burnt,
        info: code(),
        challenge: OTHER,
        expires_ms: 1,
        refresh: DIGEST,
        access: OTHER,
        redirect: text("http://a"),
    };
    let link =
        LinkRow { node: TreeNode(7), acct: ACCT, created_ms: 1, member_gen: 2, settings: LinkSettings::default() };
    let line = |name: &str, key: &[u8]| (text(name), key.to_vec());
    golden::check(
        "group0-rows",
        &[
            row("link", link),
            row("account", account),
            row("reach", ReachInfo { role: MemberRole::Viewer, state: ReachState::Mounted }),
            row("app", app()),
            row("token", token()),
            row("code", code),
            row("flow", flow(plans().remove(3))),
            row("flow of", FlowOfRow { open: 1, waiting: 2 }),
            row("ticket", ticket()),
            row("alarm", alarm()),
            row("setting", SettingRow(text("value"))),
            line("key of link", &keys::link(NSID, 8)),
            line("key of link of account", &keys::link_of_account(NSID, ACCT, TreeNode(7))),
            line("key of link of node", &keys::link_of_node(NSID, TreeNode(7), ACCT)),
            line("key of reach", &keys0::reach(ACCT, NSID)),
            line("key of grant", &keys0::grant(ACCT, NSID)),
            line("key of refresh token", &keys0::token(keys0::REFRESH, &DIGEST)),
            line("key of revoked token", &keys0::token(keys0::REVOKED, &DIGEST)),
            line("key of generation", &keys0::generation(ACCT)),
            line("key of app", &keys0::app("client")),
            line("key of code", &keys0::code(&DIGEST)),
            line("key of flow", &keys0::flow(1)),
            line("key of flow of", &keys0::flow_of(ACCT, NSID)),
            line("key of ended flow", &keys0::ended(1)),
            line("key of ticket", &keys0::ticket(&DIGEST)),
            line("key of alarm", &keys0::alarm("nospace", NodeId(2))),
            line("key of setting", &keys0::setting("name")),
            line("key of level", &keys0::level()),
            line("key of next flow", &keys0::next("flow")),
            line("key of tidied", &keys0::tidied(0x25)),
        ],
    );
}
