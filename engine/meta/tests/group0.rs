//! What group 0 keeps: accounts, apps, tokens, codes, grants, flows, alarms, tickets, and the feature level.

mod common;

use base::{Acct, GroupId, NodeId, Nsid};
use common::*;
use meta::*;

const SYSTEM: Acct = Acct(0);
const RELEASE: Release = Release::THIS;
const MINUTE: u64 = 60 * 1000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn world() -> World {
    let mut world = World::empty(GroupId(0));
    world.register();
    world
}

fn run(world: &mut World, command: Group0Command) -> Outcome {
    let outcome = world.run_as(SYSTEM, Command::Group0(Box::new(command)));
    world.check();
    outcome
}

fn ask(world: &mut World, query: Group0Query) -> Answer {
    world.ask_as(SYSTEM, &Query::Group0(query))
}

fn flow(outcome: Outcome) -> FlowInfo {
    match outcome {
        Outcome::Flow(info) => *info,
        other => panic!("no flow: {other:?}"),
    }
}

fn start(world: &mut World, plan: FlowPlan) -> Outcome {
    run(world, Group0Command::FlowStart(plan))
}

fn told(world: &mut World, info: &FlowInfo, code: u8) -> FlowInfo {
    flow(run(world, Group0Command::FlowStep(FlowStep { flow: info.flow, step: info.step, code, value: 7 })))
}

/// An account that is there, by the flow that makes it.
fn account(world: &mut World, name: &str, allocated: u64, grant_bytes: u64) -> (Acct, Nsid) {
    let info = flow(start(world, FlowPlan::Account { name: name.to_owned(), allocated, grant_bytes }));
    assert_eq!(told(world, &info, 0).state, FlowState::Done);
    (info.acct, info.nsid)
}

/// A shared namespace of an account, as group 0 sees it.
fn share(world: &mut World, owner: Acct, grant_bytes: u64) -> Nsid {
    let mut info = flow(start(world, FlowPlan::Share { owner, node: base::TreeNode(2), grant_bytes }));
    while info.state == FlowState::Open {
        info = told(world, &info, 0);
    }
    info.nsid
}

fn member(world: &mut World, nsid: Nsid, acct: Acct) {
    let role = MemberRole::Viewer;
    for plan in [FlowPlan::AddMember { nsid, acct, role }, FlowPlan::Mount { nsid, acct, at: At::path("/m") }] {
        let mut info = flow(start(world, plan));
        while info.state == FlowState::Open {
            info = told(world, &info, 0);
        }
    }
}

fn profile(world: &mut World, acct: Acct) -> Profile {
    match ask(world, Group0Query::Profile(AccountKey::Acct(acct))) {
        Answer::Group0(Group0Answer::Profile(profile)) => *profile,
        other => panic!("{other:?}"),
    }
}

fn reach(world: &mut World, acct: Acct) -> Vec<(Nsid, ReachInfo)> {
    match ask(world, Group0Query::Reach { acct, after: Nsid(0), limit: 0 }) {
        Answer::Group0(Group0Answer::Reach(reach)) => reach,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_account_is_made_by_a_flow_and_found_by_name_and_address() {
    let mut world = world();
    let plan = FlowPlan::Account { name: "Ada".to_owned(), allocated: 100, grant_bytes: 101 };
    assert_eq!(start(&mut world, plan), Outcome::Quota { short_bytes: 1 });
    let plan = FlowPlan::Account { name: "Ada".to_owned(), allocated: 100, grant_bytes: 60 };
    let info = flow(start(&mut world, plan.clone()));
    assert_eq!((info.state, info.step, info.acct, info.nsid), (FlowState::Open, 1, Acct(1), Nsid(10_000_000_000)));
    assert_eq!(profile(&mut world, Acct(1)).state, 2, "it is being made");
    assert_eq!(start(&mut world, plan.clone()), Outcome::Exists { id: 1 });
    assert_eq!(told(&mut world, &info, 0).state, FlowState::Done);
    let done = told(&mut world, &info, 0);
    assert_eq!((done.state, profile(&mut world, Acct(1)).state), (FlowState::Done, 1), "told twice");
    let set = |acct, email: &str| AccountSet { acct, email: Some(email.to_owned()), ..AccountSet::default() };
    assert_eq!(run(&mut world, Group0Command::AccountSet(set(Acct(1), "Ada@Example.com"))), Outcome::Done);
    let (bob, _) = account(&mut world, "bob", 0, 1 << 40);
    assert_eq!(run(&mut world, Group0Command::AccountSet(set(bob, "ADA@example.com"))), Outcome::Exists { id: 1 });
    assert_eq!(run(&mut world, Group0Command::AccountSet(set(bob, "no address"))), Outcome::Malformed);
    assert_eq!(run(&mut world, Group0Command::AccountSet(set(Acct(9), "a@b"))), Outcome::NotFound);
    for name in ["ada", "ADA@EXAMPLE.COM"] {
        let key = AccountKey::Name(name.to_owned());
        let answer = ask(&mut world, Group0Query::Profile(key.clone()));
        let Answer::Group0(Group0Answer::Profile(profile)) = answer else { panic!("{name}") };
        assert_eq!((profile.acct, &profile.email[..], profile.granted), (Acct(1), "Ada@Example.com", 60));
        assert_eq!(world.ask_as(bob, &Query::Group0(Group0Query::Profile(key.clone()))), Answer::NoAccess);
        assert!(matches!(world.ask_as(Acct(1), &Query::Group0(Group0Query::Profile(key))), Answer::Group0(_)));
    }
    // Another address, and the old one is free.
    assert_eq!(run(&mut world, Group0Command::AccountSet(set(Acct(1), "ada@new"))), Outcome::Done);
    assert_eq!(run(&mut world, Group0Command::AccountSet(set(bob, "ada@example.com"))), Outcome::Done);
    let failed = flow(start(&mut world, FlowPlan::Account { name: "carl".to_owned(), allocated: 0, grant_bytes: 5 }));
    assert_eq!(told(&mut world, &failed, 23).state, FlowState::Failed);
    let key = AccountKey::Name("carl".to_owned());
    assert_eq!(ask(&mut world, Group0Query::Profile(key)), Answer::NotFound, "the name is free again");
}

#[test]
fn a_password_is_told_to_nobody_but_the_system() {
    let mut world = world();
    let (ada, _) = account(&mut world, "ada", 0, 0);
    let password = Some(PasswordHash(b"salted".to_vec()));
    let names = Some(("Ada".to_owned(), "Lovelace".to_owned()));
    let set = AccountSet { acct: ada, password: password.clone(), names, plan: Some(3), ..AccountSet::default() };
    assert_eq!(run(&mut world, Group0Command::AccountSet(set)), Outcome::Done);
    let seen = profile(&mut world, ada);
    assert_eq!((Some(seen.password.clone()), seen.plan, &seen.surname[..]), (password, 3, "Lovelace"));
    let own = world.ask_as(ada, &Query::Group0(Group0Query::Profile(AccountKey::Acct(ada))));
    let hidden = Profile { password: PasswordHash::default(), ..seen };
    assert_eq!(own, Answer::Group0(Group0Answer::Profile(Box::new(hidden))));
}

#[test]
fn only_the_system_changes_and_asks() {
    let mut world = world();
    let (ada, root) = account(&mut world, "ada", 0, 0);
    let (bob, _) = account(&mut world, "bob", 0, 0);
    for command in [
        Group0Command::AppPut { client_id: "c".to_owned(), info: AppInfo::default() },
        Group0Command::TokenPut(TokenPut { token: [1; 32], acct: ada, ..TokenPut::default() }),
        Group0Command::TokenRevoke(TokenRevoke::Account(ada)),
        Group0Command::FlowStart(FlowPlan::RemoveMember { nsid: root, acct: bob }),
        Group0Command::FeatureRaise { level: 2 },
        Group0Command::AccountSet(AccountSet { acct: ada, allocated: Some(1), ..AccountSet::default() }),
    ] {
        assert_eq!(world.run_as(ada, Command::Group0(Box::new(command))), Outcome::NoAccess);
    }
    for query in [
        Group0Query::Token([1; 32]),
        Group0Query::Cluster,
        Group0Query::Flow(1),
        Group0Query::Flows { after: 0, limit: 0 },
        Group0Query::Reach { acct: ada, after: Nsid(0), limit: 0 },
        Group0Query::Grants { acct: ada, after: Nsid(0), limit: 0 },
        Group0Query::Directory(root),
        Group0Query::Revoked { after: Vec::new(), limit: 0 },
    ] {
        assert_eq!(world.ask_as(bob, &Query::Group0(query)), Answer::NoAccess);
    }
    assert_eq!(
        ask(&mut world, Group0Query::Directory(root)),
        Answer::Group0(Group0Answer::Directory { kind: NamespaceKind::Root, state: 1, owner: ada })
    );
    let mut elsewhere = World::new();
    let flow = Group0Command::FlowStart(FlowPlan::Unmount { nsid: root, acct: ada });
    assert_eq!(elsewhere.run_as(SYSTEM, Command::Group0(Box::new(flow))), Outcome::Malformed, "of group 0");
}

#[test]
fn grants_never_pass_what_is_allocated() {
    let mut world = world();
    let (ada, root) = account(&mut world, "ada", 100, 60);
    let change = |before, bytes| GrantChange { acct: ada, nsid: Nsid(7), before, bytes };
    assert_eq!(run(&mut world, Group0Command::GrantReserve(change(0, 41))), Outcome::Quota { short_bytes: 1 });
    assert_eq!(run(&mut world, Group0Command::GrantReserve(change(0, 30))), Outcome::Done);
    assert_eq!(run(&mut world, Group0Command::GrantReserve(change(0, 30))), Outcome::Done, "again, nothing more");
    assert_eq!(run(&mut world, Group0Command::GrantReserve(change(0, 31))), Outcome::RevMismatch);
    assert_eq!(run(&mut world, Group0Command::GrantReserve(change(30, u64::MAX))), Outcome::TooLarge);
    assert_eq!(run(&mut world, Group0Command::GrantReserve(change(30, 20))), Outcome::Malformed);
    let less = AccountSet { acct: ada, allocated: Some(89), ..AccountSet::default() };
    assert_eq!(run(&mut world, Group0Command::AccountSet(less.clone())), Outcome::Quota { short_bytes: 1 });
    assert_eq!(run(&mut world, Group0Command::GrantRelease(change(30, 29))), Outcome::Done);
    assert_eq!(run(&mut world, Group0Command::AccountSet(less)), Outcome::Done);
    for limit in [0, 1] {
        let answer = ask(&mut world, Group0Query::Grants { acct: ada, after: Nsid(0), limit });
        let Answer::Group0(Group0Answer::Grants(grants)) = answer else { panic!("grants") };
        assert_eq!(grants[0], (Nsid(7), 29));
        let next = ask(&mut world, Group0Query::Grants { acct: ada, after: Nsid(7), limit: 1 });
        assert_eq!(next, Answer::Group0(Group0Answer::Grants(vec![(root, 60)])));
    }
    // By flows: reserved when it begins, given back when it is refused.
    let raise = FlowPlan::Grant { nsid: root, acct: ada, is_raise: true, bytes: 1 };
    assert_eq!(start(&mut world, raise.clone()), Outcome::Quota { short_bytes: 1 });
    run(&mut world, Group0Command::GrantRelease(change(29, 0)));
    let info = flow(start(&mut world, raise.clone()));
    assert_eq!((profile(&mut world, ada).granted, start(&mut world, raise).code()), (61, 20));
    told(&mut world, &info, 18);
    assert_eq!(profile(&mut world, ada).granted, 60);
    let lower = FlowPlan::Grant { nsid: root, acct: ada, is_raise: false, bytes: 10 };
    let info = flow(start(&mut world, lower));
    assert_eq!(profile(&mut world, ada).granted, 60, "until the namespace has given it back");
    told(&mut world, &info, 0);
    assert_eq!(profile(&mut world, ada).granted, 50);
}

fn app(world: &mut World) -> u64 {
    let info =
        AppInfo { scopes: 7, name: "App".to_owned(), redirects: vec!["http://a".to_owned()], ..AppInfo::default() };
    let put = Group0Command::AppPut { client_id: "client".to_owned(), info };
    let Outcome::Made { id } = run(world, put.clone()) else { panic!("made") };
    assert_eq!(run(world, put), Outcome::Made { id }, "the same app");
    id
}

fn token(world: &mut World, token: u8) -> Option<TokenInfo> {
    match ask(world, Group0Query::Token([token; 32])) {
        Answer::Group0(Group0Answer::Token { info, .. }) => Some(info),
        Answer::NotFound => None,
        other => panic!("{other:?}"),
    }
}

fn revoked(world: &mut World, limit: u32) -> (Vec<[u8; 32]>, Vec<(Acct, u32)>) {
    let (mut all, mut after) = ((Vec::new(), Vec::new()), Vec::new());
    loop {
        match ask(world, Group0Query::Revoked { after, limit }) {
            Answer::Group0(Group0Answer::Revoked { tokens, generations, next }) => {
                all.0.extend(tokens);
                all.1.extend(generations);
                match next {
                    Some(next) => after = next,
                    None => return all,
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_code_is_taken_once_and_taken_twice_voids_what_it_gave() {
    let mut world = world();
    let (ada, _) = account(&mut world, "ada", 0, 0);
    let app = app(&mut world);
    let info = CodeInfo { acct: ada, app, scopes: 6, is_offline: true };
    let put = |n: u8| {
        let redirect = "http://a".to_owned();
        Group0Command::CodePut(CodePut { code: [n; 32], info: info.clone(), challenge: [9; 32], redirect })
    };
    let take = CodeTake { code: [1; 32], app, challenge: [9; 32], redirect: "http://a".to_owned() };
    let taking = |take: &CodeTake| Group0Command::CodeTake(take.clone());
    assert_eq!(run(&mut world, taking(&take)), Outcome::NotFound);
    assert_eq!(run(&mut world, put(1)), Outcome::Done);
    for wrong in [
        CodeTake { app: app + 1, ..take.clone() },
        CodeTake { challenge: [8; 32], ..take.clone() },
        CodeTake { redirect: "http://b".to_owned(), ..take.clone() },
    ] {
        assert_eq!(run(&mut world, taking(&wrong)), Outcome::NoAccess);
    }
    let mut gives = TokenPut { token: [2; 32], acct: ada, app, scopes: 6, code: [1; 32], ..TokenPut::default() };
    gives.access = [3; 32];
    assert_eq!(run(&mut world, Group0Command::TokenPut(gives.clone())), Outcome::NoAccess, "not taken yet");
    assert_eq!(run(&mut world, taking(&take)), Outcome::Code(Box::new(info.clone())));
    let wider = TokenPut { scopes: 7, ..gives.clone() };
    assert_eq!(run(&mut world, Group0Command::TokenPut(wider)), Outcome::NoAccess);
    assert_eq!(run(&mut world, Group0Command::TokenPut(gives.clone())), Outcome::Done);
    let second = TokenPut { token: [4; 32], ..gives.clone() };
    assert_eq!(run(&mut world, Group0Command::TokenPut(second)), Outcome::NoAccess, "one token for one code");
    assert!(token(&mut world, 2).is_some_and(|token| token.scopes == 6 && token.acct == ada));
    assert_eq!(run(&mut world, taking(&take)), Outcome::NotFound);
    assert_eq!(token(&mut world, 2), None);
    assert_eq!(revoked(&mut world, 0).0, [[3; 32]]);
    assert_eq!(run(&mut world, Group0Command::TokenPut(gives.clone())), Outcome::NoAccess, "burnt");
    // Ten minutes.
    run(&mut world, put(5));
    world.stamp_ms += 10 * MINUTE;
    assert_eq!(run(&mut world, taking(&CodeTake { code: [5; 32], ..take })), Outcome::NotFound);
}

#[test]
fn tokens_end_by_time_by_name_and_all_at_once() {
    let mut world = world();
    let (ada, root) = account(&mut world, "ada", 0, 0);
    let app = app(&mut world);
    let put = |n: u8, expires_ms| {
        Group0Command::TokenPut(TokenPut {
            token: [n; 32],
            acct: ada,
            app,
            scopes: 1,
            expires_ms,
            ..TokenPut::default()
        })
    };
    let soon = world.stamp_ms + HOUR;
    for (n, expires_ms) in [(1, 0), (2, 0), (3, soon)] {
        assert_eq!(run(&mut world, put(n, expires_ms)), Outcome::Done);
    }
    assert!((1..=3).all(|n| token(&mut world, n).is_some()));
    assert!(matches!(ask(&mut world, Group0Query::Token([1; 32])),
        Answer::Group0(Group0Answer::Token { root: told, .. }) if told == root));
    assert_eq!(run(&mut world, Group0Command::TokenRevoke(TokenRevoke::Refresh([1; 32]))), Outcome::Done);
    assert_eq!(run(&mut world, Group0Command::TokenRevoke(TokenRevoke::Refresh([1; 32]))), Outcome::NotFound);
    assert_eq!((token(&mut world, 1), token(&mut world, 2).is_some()), (None, true));
    let access = TokenRevoke::Access { token: [8; 32], acct: ada, expires_ms: soon };
    assert_eq!(run(&mut world, Group0Command::TokenRevoke(access)), Outcome::Done);
    assert_eq!(run(&mut world, Group0Command::TokenRevoke(TokenRevoke::Account(ada))), Outcome::Done);
    assert_eq!((token(&mut world, 2), token(&mut world, 3)), (None, None));
    for limit in [0, 1] {
        assert_eq!(revoked(&mut world, limit), (vec![[8; 32]], vec![(ada, 1)]), "limit {limit}");
    }
    run(&mut world, put(4, 0));
    assert!(token(&mut world, 4).is_some_and(|token| token.token_gen == 1));
    let suspend = |is_suspended| {
        let is_suspended = Some(is_suspended);
        Group0Command::AccountSet(AccountSet { acct: ada, is_suspended, ..AccountSet::default() })
    };
    assert_eq!(run(&mut world, suspend(true)), Outcome::Done);
    assert_eq!((token(&mut world, 4), run(&mut world, put(5, 0))), (None, Outcome::NotFound));
    assert_eq!(run(&mut world, suspend(false)), Outcome::Done);
    assert_eq!(token(&mut world, 4), None, "it has to sign in again");
    // What is void or has ended is dropped as others come.
    world.stamp_ms += 2 * HOUR;
    for n in 10..60 {
        run(&mut world, put(n, 0));
    }
    let Answer::Group0(Group0Answer::Tokens(left)) = ask(&mut world, Group0Query::Tokens { after: [0; 32], limit: 0 })
    else {
        panic!("tokens")
    };
    assert_eq!(left.iter().map(|(token, _)| token[0]).collect::<Vec<_>>(), (10..60).collect::<Vec<u8>>());
    assert_eq!(revoked(&mut world, 0), (Vec::new(), vec![(ada, 2)]));
}

#[test]
fn apps_are_found_and_listed() {
    let mut world = world();
    let id = app(&mut world);
    let other = Group0Command::AppPut { client_id: "b".to_owned(), info: AppInfo::default() };
    assert_eq!(run(&mut world, other), Outcome::Made { id: id + 1 });
    assert_eq!(ask(&mut world, Group0Query::App("none".to_owned())), Answer::NotFound);
    assert!(matches!(ask(&mut world, Group0Query::App("client".to_owned())),
        Answer::Group0(Group0Answer::App(info)) if info.app == id && info.scopes == 7));
    let page =
        |world: &mut World, after: &str| match ask(world, Group0Query::Apps { after: after.to_owned(), limit: 1 }) {
            Answer::Group0(Group0Answer::Apps(apps)) => apps.into_iter().map(|(id, _)| id).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
    assert_eq!(page(&mut world, ""), ["b"]);
    assert_eq!(page(&mut world, "b"), ["client"]);
    assert!(page(&mut world, "client").is_empty());
}

#[test]
fn one_flow_at_a_time_works_on_an_account_and_namespace_and_a_removal_is_next() {
    let mut world = world();
    let (ada, _) = account(&mut world, "ada", 0, 0);
    let (bob, root) = account(&mut world, "bob", 0, 0);
    let nsid = share(&mut world, ada, 10);
    let add = FlowPlan::AddMember { nsid, acct: bob, role: MemberRole::Viewer };
    let remove = FlowPlan::RemoveMember { nsid, acct: bob };
    assert_eq!(start(&mut world, remove.clone()), Outcome::NotFound, "no member");
    assert_eq!(start(&mut world, FlowPlan::Mount { nsid, acct: bob, at: At::path("/m") }), Outcome::NotFound);
    let owner = FlowPlan::AddMember { nsid, acct: ada, role: MemberRole::Viewer };
    assert_eq!(start(&mut world, owner), Outcome::Exists { id: ada.0 });
    let of_root = FlowPlan::AddMember { nsid: root, acct: ada, role: MemberRole::Viewer };
    assert_eq!(start(&mut world, of_root), Outcome::NotFound, "not shared");
    let info = flow(start(&mut world, add.clone()));
    assert_eq!((info.root, start(&mut world, add)), (root, Outcome::Busy { retry_ms: 1000 }));
    told(&mut world, &info, 0);
    assert_eq!(reach(&mut world, bob), [(nsid, ReachInfo { role: MemberRole::Viewer, state: ReachState::Invited })]);
    let mount = FlowPlan::Mount { nsid, acct: bob, at: At::path("/m") };
    let open = flow(start(&mut world, mount.clone()));
    let waiting = flow(start(&mut world, remove.clone()));
    assert_eq!(waiting.state, FlowState::Waiting);
    assert_eq!(flow(start(&mut world, remove.clone())), waiting, "noted once");
    assert_eq!(start(&mut world, mount.clone()).code(), 20);
    let step = FlowStep { flow: waiting.flow, step: 1, code: 0, value: 0 };
    assert_eq!(run(&mut world, Group0Command::FlowStep(step)), Outcome::Malformed, "not its turn");
    let Answer::Group0(Group0Answer::Flows(flows)) = ask(&mut world, Group0Query::Flows { after: 0, limit: 0 }) else {
        panic!("flows")
    };
    assert_eq!(flows, [open.clone(), waiting.clone()]);
    let half = told(&mut world, &open, 0);
    assert_eq!((half.step, reach(&mut world, bob)[0].1.state), (2, ReachState::Joined));
    assert_eq!(told(&mut world, &open, 0), half, "told late");
    let ahead = FlowStep { flow: open.flow, step: 3, code: 0, value: 0 };
    assert_eq!(run(&mut world, Group0Command::FlowStep(ahead)), Outcome::Malformed);
    told(&mut world, &half, 0);
    let Answer::Group0(Group0Answer::Flow(mut next)) = ask(&mut world, Group0Query::Flow(waiting.flow)) else {
        panic!("flow")
    };
    assert_eq!((next.state, next.step), (FlowState::Open, 1), "the removal is next");
    assert_eq!(start(&mut world, mount).code(), 20);
    assert_eq!(flow(start(&mut world, remove.clone())).flow, next.flow, "under way already");
    while next.state == FlowState::Open {
        *next = told(&mut world, &next, 0);
    }
    assert_eq!(reach(&mut world, bob), []);
    // Ended flows are known for eight days.
    let ended = |world: &mut World| matches!(ask(world, Group0Query::Flow(next.flow)), Answer::Group0(_));
    assert!(ended(&mut world));
    world.stamp_ms += 8 * DAY;
    for n in 0..10 {
        account(&mut world, &format!("another {n}"), 0, 0);
    }
    assert!(!ended(&mut world));
    assert_eq!(run(&mut world, Group0Command::FlowStep(step)), Outcome::NotFound);
}

#[test]
fn a_transfer_reserves_for_the_heir_and_a_waiting_removal_of_the_heir_gives_up() {
    let mut world = world();
    let (ada, _) = account(&mut world, "ada", 100, 50);
    let (bob, _) = account(&mut world, "bob", 100, 70);
    let nsid = share(&mut world, ada, 40);
    let plan = FlowPlan::Transfer { nsid, from: ada, to: bob };
    assert_eq!(start(&mut world, plan.clone()), Outcome::NotFound, "not in");
    member(&mut world, nsid, bob);
    assert_eq!(start(&mut world, plan.clone()), Outcome::Quota { short_bytes: 10 });
    let more = AccountSet { acct: bob, allocated: Some(110), ..AccountSet::default() };
    run(&mut world, Group0Command::AccountSet(more));
    let info = flow(start(&mut world, plan.clone()));
    assert_eq!((info.bytes, profile(&mut world, ada).granted, profile(&mut world, bob).granted), (40, 90, 110));
    let raise = FlowPlan::Grant { nsid, acct: ada, is_raise: true, bytes: 1 };
    assert_eq!(start(&mut world, raise).code(), 20, "the owner's side is held too");
    assert_eq!(told(&mut world, &info, 18).state, FlowState::Failed);
    assert_eq!((profile(&mut world, ada).granted, profile(&mut world, bob).granted), (90, 70));
    let info = flow(start(&mut world, plan));
    let removal = flow(start(&mut world, FlowPlan::RemoveMember { nsid, acct: bob }));
    assert_eq!(removal.state, FlowState::Waiting);
    assert_eq!(told(&mut world, &info, 0).state, FlowState::Done);
    assert_eq!((profile(&mut world, ada).granted, profile(&mut world, bob).granted), (50, 110));
    assert_eq!(reach(&mut world, bob)[0].1.role, MemberRole::Owner);
    assert_eq!(reach(&mut world, ada)[0].1, ReachInfo { role: MemberRole::Editor, state: ReachState::Mounted });
    let Answer::Group0(Group0Answer::Flow(gave_up)) = ask(&mut world, Group0Query::Flow(removal.flow)) else {
        panic!("flow")
    };
    assert_eq!((gave_up.state, gave_up.code), (FlowState::Failed, 30), "owners are not removed");
    assert_eq!(start(&mut world, FlowPlan::RemoveMember { nsid, acct: bob }), Outcome::Malformed);
    let info = flow(start(&mut world, FlowPlan::RemoveMember { nsid, acct: ada }));
    assert_eq!(info.state, FlowState::Open);
}

#[test]
fn a_share_that_thawed_goes_back_and_one_that_fails_gives_its_room_back() {
    let mut world = world();
    let (ada, root) = account(&mut world, "ada", 100, 50);
    let plan = FlowPlan::Share { owner: ada, node: base::TreeNode(2), grant_bytes: 50 };
    let mut info = flow(start(&mut world, plan.clone()));
    assert_eq!((info.root, profile(&mut world, ada).granted), (root, 100));
    for step in [2, 3, 4, 5] {
        info = told(&mut world, &info, 0);
        assert_eq!(info.step, step);
    }
    info = told(&mut world, &info, 18);
    assert_eq!((info.state, info.step, info.code), (FlowState::Open, 3, 0));
    // What it made is taken back first, whatever each of these steps comes to; its room is reserved until then.
    info = told(&mut world, &info, 6);
    for (step, code) in [(101, 0), (102, 6), (103, 0)] {
        assert_eq!((info.state, info.step, info.code), (FlowState::Open, step, 6));
        assert_eq!(profile(&mut world, ada).granted, 100);
        info = told(&mut world, &info, code);
    }
    assert_eq!((info.state, info.code), (FlowState::Failed, 6));
    assert_eq!(profile(&mut world, ada).granted, 50);
    assert_eq!(reach(&mut world, ada), []);
    let add = FlowPlan::AddMember { nsid: info.nsid, acct: ada, role: MemberRole::Viewer };
    assert_eq!(start(&mut world, add), Outcome::NotFound, "given up");
    let nsid = share(&mut world, ada, 10);
    assert_ne!(nsid, info.nsid);
    assert_eq!(reach(&mut world, ada), [(nsid, ReachInfo { role: MemberRole::Owner, state: ReachState::Mounted })]);
}

fn cluster(world: &mut World) -> (u32, Vec<AlarmInfo>, Vec<(String, String)>) {
    match ask(world, Group0Query::Cluster) {
        Answer::Group0(Group0Answer::Cluster { level, alarms, settings }) => (level, alarms, settings),
        other => panic!("{other:?}"),
    }
}

#[test]
fn alarms_and_settings_are_kept_and_a_ticket_is_taken_once() {
    let mut world = world();
    let alarm = |node, text: &str| AlarmInfo {
        raised_ms: 0,
        node: NodeId(node),
        name: "nospace".to_owned(),
        text: text.to_owned(),
    };
    assert_eq!(run(&mut world, Group0Command::AlarmRaise(alarm(1, "full"))), Outcome::Done);
    let since = world.stamp_ms;
    assert_eq!(run(&mut world, Group0Command::AlarmRaise(alarm(2, "full"))), Outcome::Done);
    assert_eq!(run(&mut world, Group0Command::AlarmRaise(alarm(1, "fuller"))), Outcome::Done);
    let (_, alarms, _) = cluster(&mut world);
    assert_eq!(alarms[0], AlarmInfo { raised_ms: since, ..alarm(1, "fuller") }, "since the first time");
    assert_eq!(alarms.len(), 2);
    assert_eq!(run(&mut world, Group0Command::AlarmClear(alarm(1, ""))), Outcome::Done);
    assert_eq!(run(&mut world, Group0Command::AlarmClear(alarm(1, ""))), Outcome::NotFound);
    let bad = AlarmInfo { name: "No space".to_owned(), ..alarm(1, "") };
    assert_eq!(run(&mut world, Group0Command::AlarmRaise(bad)), Outcome::Malformed);
    let setting = |value: &str| Group0Command::SettingPut { name: "keep.days".to_owned(), value: value.to_owned() };
    assert_eq!(run(&mut world, setting("30")), Outcome::Done);
    assert_eq!(cluster(&mut world).2, [("keep.days".to_owned(), "30".to_owned())]);
    assert_eq!(run(&mut world, setting("")), Outcome::Done);
    assert_eq!((cluster(&mut world).1.len(), cluster(&mut world).2.len()), (1, 0));

    let info = TicketInfo { node: NodeId(4), expires_ms: 0, peer_address: "h:1".to_owned() };
    let put = |n: u8| Group0Command::TicketPut(TicketPut { ticket: [n; 32], info: info.clone() });
    let take = |n: u8| Group0Command::TicketTake { ticket: [n; 32] };
    assert_eq!((run(&mut world, put(1)), run(&mut world, put(2))), (Outcome::Done, Outcome::Done));
    let Outcome::Ticket(taken) = run(&mut world, take(1)) else { panic!("ticket") };
    assert_eq!((taken.node, &taken.peer_address[..]), (NodeId(4), "h:1"));
    assert_eq!(run(&mut world, take(1)), Outcome::NotFound);
    world.stamp_ms += HOUR;
    assert_eq!(run(&mut world, take(2)), Outcome::NotFound, "an hour");
}

/// The release to come: links are of its level 2.
fn next_release(kind: u8) -> Option<u32> {
    if (24..=26).contains(&kind) { Some(2) } else { feature::level_of(kind) }
}

/// The one before: it has never heard of links.
fn this_release(kind: u8) -> Option<u32> {
    if (24..=26).contains(&kind) { None } else { feature::level_of(kind) }
}

#[test]
fn nodes_of_two_releases_stay_one_group_until_the_level_is_raised() {
    let mut worlds = [World::new(), World::new()];
    worlds[0].applier = Applier::of_release(Release { level_known: 1, level_of: this_release });
    worlds[1].applier = Applier::of_release(Release { level_known: 2, level_of: next_release });
    let create = Command::Link(Box::new(LinkCommand::Create { at: At::path("/f"), settings: LinkSettings::default() }));
    for world in &mut worlds {
        assert!(world.put("/f", b"x").is_ok());
        assert_eq!(world.run(create.clone()), Outcome::Unsupported);
        // Neither its session nor its body was looked at.
        let header = world.header(OWNER);
        let mut bytes = Vec::new();
        encode_command(&header, &create, &mut bytes);
        bytes.truncate(56);
        bytes[4..8].copy_from_slice(&8u32.to_le_bytes());
        let mut builder = payload::Builder::default();
        builder.push(&bytes);
        let payload = builder.finish(world.stamp_ms).to_vec();
        assert_eq!(world.payload(base::record::EntryKind::Commands, &payload), [Outcome::Unsupported]);
        assert!(world.put("/g", b"x").is_ok());
    }
    assert_eq!(worlds[0].state_hash(), worlds[1].state_hash());
    let [_, world] = &mut worlds;
    let raise = |level| Command::Group0(Box::new(Group0Command::FeatureRaise { level }));
    assert_eq!(feature_level(&world.store, world.group, &mut Vec::new()), Ok(1));
    assert_eq!(world.run_as(SYSTEM, raise(2)), Outcome::Done);
    assert_eq!(world.run_as(SYSTEM, raise(2)), Outcome::Done);
    assert_eq!(world.run_as(SYSTEM, raise(1)), Outcome::Exists { id: 2 }, "never lower");
    assert_eq!(feature_level(&world.store, world.group, &mut Vec::new()), Ok(2));
    assert_eq!(world.run(create).code(), 40);
}

#[test]
fn a_leader_is_told_what_to_do_and_an_older_release_stops_at_a_level_it_does_not_know() {
    let encoded = |command: Command| {
        let mut bytes = Vec::new();
        encode_command(&CommandHeader::default(), &command, &mut bytes);
        bytes
    };
    let raise = |level| encoded(Command::Group0(Box::new(Group0Command::FeatureRaise { level })));
    let mut mkdir = encoded(Command::Mkdir(Mkdir::default()));
    assert_eq!(RELEASE.admit(&mkdir, 1), Ok(()));
    let low = RELEASE.admit(&mkdir, 0).unwrap_err().to_string();
    assert!(low.contains("needs feature level 1 and the group has 0") && low.contains("upgrade finalize"), "{low}");
    assert_eq!(RELEASE.admit(&raise(feature::LEVEL_KNOWN), 1), Ok(()));
    let ahead = RELEASE.admit(&raise(feature::LEVEL_KNOWN + 1), 1).unwrap_err().to_string();
    assert!(ahead.contains("upgrade all nodes first"), "{ahead}");
    mkdir[1] = 250;
    assert!(RELEASE.admit(&mkdir, 1).unwrap_err().to_string().contains("upgrade this node"));
    let payload = |commands: &[Vec<u8>]| {
        let mut builder = payload::Builder::default();
        commands.iter().for_each(|command| builder.push(command));
        builder.finish(STAMP).to_vec()
    };
    mkdir[1] = 3;
    assert_eq!(RELEASE.unknown_level(&payload(&[mkdir.clone(), raise(feature::LEVEL_KNOWN)])), None);
    assert_eq!(RELEASE.unknown_level(&payload(&[mkdir, raise(feature::LEVEL_KNOWN + 1)])), Some(2));
    let mut of_a_user = raise(feature::LEVEL_KNOWN + 1);
    of_a_user[32..40].copy_from_slice(&1u64.to_le_bytes());
    assert_eq!(RELEASE.unknown_level(&payload(&[of_a_user])), None, "it will be refused, and raises nothing");
    assert_eq!(feature::raises_to(&payload(&[raise(1), raise(3), raise(2)])), Some(3));
}

#[test]
fn an_account_that_is_given_up_leaves_neither_its_address_nor_grants() {
    let mut world = world();
    let plan = || FlowPlan::Account { name: "Ada".to_owned(), allocated: 0, grant_bytes: 7 };
    let info = flow(start(&mut world, plan()));
    let set = AccountSet { acct: info.acct, email: Some("ada@example.org".to_owned()), ..AccountSet::default() };
    assert_eq!(run(&mut world, Group0Command::AccountSet(set.clone())), Outcome::Done);
    let other = GrantChange { acct: info.acct, nsid: Nsid(10_000_000_777), before: 0, bytes: 5 };
    assert_eq!(run(&mut world, Group0Command::GrantReserve(other)), Outcome::NotFound, "it is not there yet");
    assert_eq!(told(&mut world, &info, 15).state, FlowState::Failed);
    let key = AccountKey::Name("ADA@example.org".to_owned());
    assert_eq!(ask(&mut world, Group0Query::Profile(key)), Answer::NotFound);
    let again = flow(start(&mut world, plan()));
    assert_ne!(again.acct, info.acct);
    let set = AccountSet { acct: again.acct, ..set };
    assert_eq!(run(&mut world, Group0Command::AccountSet(set)), Outcome::Done, "the address is free");
}
