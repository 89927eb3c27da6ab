//! Flows by themselves: three real nodes, whoever leads group 0 drives what was begun, a folder is shared and moved while
//! another client writes to it, and leads change hands meanwhile.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base::{Acct, BlockHash, ClusterId, GroupId, Jid, NodeId, Nsid, TreeNode};
use client::{Client, ClientError, ClientOptions};
use meta::{
    AccountKey, Answer, At, Command, CommitBatch, CommitFile, FlowInfo, FlowPlan, FlowState, Group0Answer,
    Group0Command, Group0Query, MemberRole, Mkdir, NodeKind, Outcome, PresentPart, PutMode, Query, StoreAndCommit,
};
use server::Node;
use server::config::{Address, NodeConfig, NodeSeed, Profile};
use server::identity::{self, FormatRequest};
use sha2::{Digest, Sha256};

const GROUPS: u32 = 4;
const SEGMENT_BYTES: u64 = 4 << 20;
const SYSTEM: Acct = Acct(0);
const PATIENCE: Duration = Duration::from_secs(120);

/// Ports in a row that were free a moment ago, below those of outgoing connections.
fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    (0..500)
        .map(|_| base::mix64(u64::from(std::process::id()) << 32 | NEXT.fetch_add(1, Ordering::Relaxed)))
        .map(|draw| 10_000 + (draw % 20_000) as u16)
        .find(|first| (*first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()))
        .expect("some run of ports is free")
}

fn config(dir: &Path, node: u64, base: u16) -> NodeConfig {
    let mut config = NodeConfig::of_profile(Profile::Dev);
    let address = |port| Address { host: "127.0.0.1".to_owned(), port };
    config.cluster.groups = GROUPS;
    config.cluster.cores = 1;
    config.cluster.nodes = (1..=3)
        .map(|id| {
            let port = base + (id as u16 - 1) * 8;
            NodeSeed { id: NodeId(id), client: address(port), peer: address(port + 4) }
        })
        .collect();
    config.process.data_dir = dir.join(format!("n{node}"));
    config.process.listen = "127.0.0.1".parse().expect("a literal address");
    config.process.client_port = base + (node as u16 - 1) * 8;
    config.process.peer_port = config.process.client_port + 4;
    config.process.segment_bytes = SEGMENT_BYTES;
    config
}

/// Three nodes in this process, and a client of them.
struct Three {
    configs: Vec<NodeConfig>,
    nodes: Vec<Option<Node>>,
    client: Client,
    _dir: tempfile::TempDir,
}

impl Three {
    fn start() -> Three {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let base = free_ports(24);
        let configs: Vec<NodeConfig> = (1..=3).map(|id| config(dir.path(), id, base)).collect();
        for (config, id) in configs.iter().zip(1..) {
            let request = FormatRequest {
                cluster: ClusterId([5; 16]),
                node: NodeId(id),
                cores: 1,
                groups: GROUPS,
                segment_bytes: SEGMENT_BYTES,
                joins: false,
                machine: identity::MachineKind::Files,
            };
            identity::format(&config.process.data_dir, request).expect("the directory is fresh");
        }
        let nodes = configs.iter().map(|config| Some(Node::start(config.clone()).expect("the node starts"))).collect();
        let client = connect(&configs);
        Three { configs, nodes, client, _dir: dir }
    }

    /// Who leads group 0, by its own word.
    fn leader(&self) -> usize {
        let began = Instant::now();
        loop {
            for (at, config) in self.configs.iter().enumerate().filter(|(at, _)| self.nodes[*at].is_some()) {
                let status = self.client.status_of(&format!("127.0.0.1:{}", config.process.client_port + 1));
                let leads = |status: &client::CoreStatus| {
                    let group = status.groups.iter().find(|status| status.group == GroupId(0));
                    group.is_some_and(|group| group.leader == Some(NodeId(at as u64 + 1)))
                };
                if status.as_ref().is_ok_and(leads) {
                    return at;
                }
            }
            assert!(began.elapsed() < PATIENCE, "nobody leads group 0");
        }
    }

    fn group0(&self, command: Group0Command) -> Outcome {
        self.command(SYSTEM, Nsid(0), Command::Group0(Box::new(command)))
    }

    fn command(&self, acct: Acct, nsid: Nsid, command: Command) -> Outcome {
        self.client.command(acct, nsid, command).expect("the cluster answers")
    }

    fn start_flow(&self, plan: &FlowPlan) -> FlowInfo {
        let began = Instant::now();
        loop {
            match self.group0(Group0Command::FlowStart(plan.clone())) {
                Outcome::Flow(info) => return *info,
                Outcome::Busy { .. } if began.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(50)),
                other => panic!("{plan:?}: {other:?}"),
            }
        }
    }

    fn flow(&self, flow: u64) -> FlowInfo {
        let query = Query::Group0(Group0Query::Flow(flow));
        match self.client.query(SYSTEM, Nsid(0), query).expect("the cluster answers") {
            Answer::Group0(Group0Answer::Flow(info)) => *info,
            other => panic!("{other:?}"),
        }
    }

    /// Nobody drives it but the nodes.
    fn wait(&self, flow: u64) -> FlowInfo {
        let began = Instant::now();
        loop {
            let info = self.flow(flow);
            if matches!(info.state, FlowState::Done | FlowState::Failed) {
                return info;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end: {info:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn done(&self, plan: &FlowPlan) -> FlowInfo {
        let info = self.wait(self.start_flow(plan).flow);
        assert_eq!(info.state, FlowState::Done, "{info:?}");
        info
    }

    fn account(&self, name: &str) -> (Acct, Nsid) {
        let info = self.done(&FlowPlan::Account { name: name.to_owned(), allocated: 0, grant_bytes: 1 << 40 });
        (info.acct, info.nsid)
    }

    fn node(&self, acct: Acct, nsid: Nsid, path: &str) -> TreeNode {
        let query = Query::Lookup(meta::What::At(At::path(path)));
        match self.client.query(acct, nsid, query).expect("the cluster answers") {
            Answer::Entry(entry) => entry.meta.node,
            other => panic!("{path}: {other:?}"),
        }
    }

    fn stop(self) {
        for node in self.nodes.into_iter().flatten() {
            assert_eq!(node.failed(), None);
            node.stop();
        }
    }
}

fn connect(configs: &[NodeConfig]) -> Client {
    let targets: Vec<String> = configs[0].cluster.nodes.iter().map(|seed| seed.client.to_string()).collect();
    let began = Instant::now();
    loop {
        match Client::connect(&targets, ClientOptions::default()) {
            Ok(client) => return client,
            Err(error) => assert!(began.elapsed() < PATIENCE, "no connection: {error}"),
        }
    }
}

/// Paths of files below a folder, each as often as it is told.
fn files(client: &Client, acct: Acct, nsid: Nsid, at: &str) -> Vec<String> {
    let (mut all, mut position) = (Vec::new(), Vec::new());
    loop {
        let query = Query::ListPage { at: At::path(at), recursive: true, position, limit: 0 };
        match client.query(acct, nsid, query).expect("the cluster answers") {
            Answer::Page { entries, next, .. } => {
                let files = entries.into_iter().filter(|entry| entry.meta.kind == NodeKind::File);
                all.extend(files.map(|entry| entry.path_display[at.len()..].to_owned()));
                match next {
                    Some(next) => position = next,
                    None => return all,
                }
            }
            other => panic!("no page: {other:?}"),
        }
    }
}

fn put(path: &str, content: &[u8]) -> Command {
    let hash = BlockHash(Sha256::digest(content).into());
    let commit = CommitFile {
        at: At::path(path),
        mode: PutMode::Add,
        size: content.len() as u64,
        content_hash: Sha256::digest(hash.0).into(),
        blocks: vec![hash],
        ..CommitFile::default()
    };
    let present = vec![PresentPart { position: 0, bytes: content.len() as u32, put_at_ms: u64::MAX }];
    Command::StoreAndCommit(StoreAndCommit { commit, present })
}

/// Puts files below a folder until it is told to stop, and follows the folder where it goes. Returns what was acknowledged.
fn keep_writing(client: Client, acct: Acct, root: Nsid, is_over: Arc<AtomicBool>) -> (BTreeSet<String>, u64) {
    let (mut written, mut followed) = (BTreeSet::new(), 0);
    for serial in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("/by another/{}/{serial}", serial % 13);
        let (mut nsid, mut path) = (root, format!("/s{name}"));
        loop {
            match client.command(acct, nsid, put(&path, name.as_bytes())).expect("the cluster answers") {
                outcome if outcome.is_ok() => break,
                Outcome::Busy { retry_ms } => std::thread::sleep(Duration::from_millis(u64::from(retry_ms.min(50)))),
                Outcome::Elsewhere { nsid: other, rest } => {
                    (nsid, path) = (other, rest);
                    followed += 1;
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        written.insert(name);
    }
    (written, followed)
}

#[test]
fn a_folder_shared_while_another_writes_and_leads_change_is_whole_and_once() {
    let mut three = Three::start();
    let (ada, root) = three.account("ada");
    let (bob, bobs) = three.account("bob");
    assert!(three.command(ada, root, Command::Mkdir(Mkdir { at: At::path("/s"), autorename: false })).is_ok());
    let mut expected = BTreeSet::new();
    for batch in 0..20 {
        let names: Vec<String> = (0..150).map(|at| format!("/{}/{batch}-{at}", at % 11)).collect();
        // All of them are one block, which the first one makes known.
        let content = b"the same in all of them";
        let parts = names.iter().map(|name| match put(&format!("/s{name}"), content) {
            Command::StoreAndCommit(both) => Command::CommitFile(both.commit),
            _ => unreachable!("a put is one"),
        });
        if batch == 0 {
            assert!(three.command(ada, root, put("/s/first", content)).is_ok());
            expected.insert("/first".to_owned());
        }
        let outcome =
            three.command(ada, root, Command::CommitBatch(CommitBatch { atomic: true, parts: parts.collect() }));
        assert!(outcome.is_ok(), "{outcome:?}");
        expected.extend(names);
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (client, is_over) = (connect(&three.configs), is_over.clone());
        std::thread::spawn(move || keep_writing(client, ada, root, is_over))
    };
    let node = three.node(ada, root, "/s");
    let flow = three.start_flow(&FlowPlan::Share { owner: ada, node, grant_bytes: 1 << 40 }).flow;
    // The lead goes on while it is copied: the old leader may still have a part in flight. Then the leader goes away.
    let leader = three.leader();
    let next = NodeId((leader as u64 + 1) % 3 + 1);
    three.client.transfer_leader(GroupId(0), next).expect("the lead is handed on");
    std::thread::sleep(Duration::from_millis(100));
    let leader = three.leader();
    three.nodes[leader].take().expect("it runs").stop();
    let info = three.wait(flow);
    assert_eq!(info.state, FlowState::Done, "{info:?}");
    three.nodes[leader] = Some(Node::start(three.configs[leader].clone()).expect("the node starts again"));
    // Somebody writes on for a while, now to the namespace.
    std::thread::sleep(Duration::from_millis(200));
    is_over.store(true, Ordering::Relaxed);
    let (written, followed) = writer.join().expect("it wrote to the end");
    assert!(followed > 0, "the folder became a mount while it was written to");
    expected.extend(written);
    let found = files(&three.client, ada, info.nsid, "");
    assert_eq!(found.len(), expected.len(), "everything is there once");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);

    // Another one comes in, and sees it all; and is put out again, and sees nothing.
    three.done(&FlowPlan::AddMember { nsid: info.nsid, acct: bob, role: MemberRole::Editor });
    three.done(&FlowPlan::Mount { nsid: info.nsid, acct: bob, at: At::path("/from ada") });
    assert_eq!(files(&three.client, bob, info.nsid, "").len(), expected.len());
    let watch = three.client.watch(bob, info.nsid, Jid(0)).expect("it watches");
    assert!(watch.next_head().expect("a member is told") > Jid(0));
    three.done(&FlowPlan::RemoveMember { nsid: info.nsid, acct: bob });
    let end = (0..10).find_map(|_| watch.next_head().err());
    assert!(matches!(&end, Some(ClientError::Refused { text }) if text.contains("taken away")), "{end:?}");
    let again = three.client.watch(bob, info.nsid, Jid(0)).expect("it asks").next_head();
    assert!(matches!(again, Err(ClientError::Refused { .. })), "{again:?}");
    assert_eq!(three.client.query(bob, info.nsid, Query::Head).expect("it answers"), Answer::NoAccess);
    let reach = Query::Group0(Group0Query::Reach { acct: bob, after: Nsid(0), limit: 0 });
    let reach = three.client.query(SYSTEM, Nsid(0), reach).expect("it answers");
    assert_eq!(reach, Answer::Group0(Group0Answer::Reach(Vec::new())));
    assert_eq!(files(&three.client, bob, bobs, ""), Vec::<String>::new());

    // And all of it goes into another root's folder, and back nothing is left.
    let plan = FlowPlan::Share { owner: bob, node: made(&three, bob, bobs, "/b"), grant_bytes: 1 << 40 };
    let shared = three.done(&plan).nsid;
    three.done(&FlowPlan::AddMember { nsid: shared, acct: ada, role: MemberRole::Editor });
    three.done(&FlowPlan::Mount { nsid: shared, acct: ada, at: At::path("/from bob") });
    let node = three.node(ada, info.nsid, "/by another");
    let plan = FlowPlan::MoveAcross {
        acct: ada,
        from: info.nsid,
        node,
        to: shared,
        at: At::path("/moved"),
        autorename: false,
    };
    let before: BTreeSet<String> = files(&three.client, ada, info.nsid, "/by another").into_iter().collect();
    three.done(&plan);
    let after: BTreeSet<String> = files(&three.client, bob, shared, "/moved").into_iter().collect();
    assert_eq!(after, before);
    assert!(files(&three.client, ada, info.nsid, "").iter().all(|path| !path.starts_with("/by another")));
    three.stop();
}

fn made(three: &Three, acct: Acct, root: Nsid, path: &str) -> TreeNode {
    let outcome = three.command(acct, root, Command::Mkdir(Mkdir { at: At::path(path), autorename: false }));
    outcome.metadata().expect("it is made").node
}

#[test]
fn a_flow_that_is_refused_is_taken_back_by_the_nodes_themselves() {
    let three = Three::start();
    let (ada, root) = three.account("ada");
    let node = made(&three, ada, root, "/s");
    let inner = made(&three, ada, root, "/s/inner");
    let shared = three.done(&FlowPlan::Share { owner: ada, node: inner, grant_bytes: 1 << 30 }).nsid;
    let begun = three.start_flow(&FlowPlan::Share { owner: ada, node, grant_bytes: 1 << 30 });
    let info = three.wait(begun.flow);
    assert_eq!((info.state, info.code), (FlowState::Failed, Outcome::NestedShare.code()));
    assert!(three.command(ada, root, put("/s/file", b"x")).is_ok(), "the folder thawed");
    let grants = Query::Group0(Group0Query::Grants { acct: ada, after: Nsid(0), limit: 0 });
    let Answer::Group0(Group0Answer::Grants(grants)) = three.client.query(SYSTEM, Nsid(0), grants).expect("it answers")
    else {
        panic!("grants")
    };
    assert!(grants.iter().all(|(nsid, _)| *nsid != info.nsid) && grants.iter().any(|(nsid, _)| *nsid == shared));
    // An account ends with all it has, once it has nothing shared.
    let (bob, _) = three.account("bob");
    three.done(&FlowPlan::AccountEnd { acct: bob });
    let known = three.client.query(SYSTEM, Nsid(0), Query::Account(AccountKey::Acct(bob))).expect("it answers");
    assert_eq!(known, Answer::NotFound);
    three.stop();
}
