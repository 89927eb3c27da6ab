//! Real nodes in this process: real rings, real files, real sockets on the loopback.

#[path = "node/forward.rs"]
mod forward;
#[path = "node/memcache.rs"]
mod memcache;
#[path = "node/memcache_oracle.rs"]
mod memcache_oracle;
#[path = "node/null.rs"]
mod null;
#[path = "node/profile.rs"]
mod profile;
#[path = "node/removed.rs"]
mod removed;

use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base::{Acct, ClusterId, NodeId, Nsid};
use client::{Client, ClientOptions};
use meta::{AccountKey, Answer, At, Command, Mkdir, NamespaceKind, Outcome, Query, What};
use reactor::{Backend, BackendWish};
use server::config::{Address, NodeConfig, NodeSeed, Profile};
use server::identity::{self, FormatRequest};
use server::{Node, StartError};

const GROUPS: u32 = 2;
const SEGMENT_BYTES: u64 = 4 << 20;

/// Ports in a row that were free a moment ago, below those of outgoing connections.
fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    (0..500)
        .map(|_| base::mix64(u64::from(std::process::id()) << 32 | NEXT.fetch_add(1, Ordering::Relaxed)))
        .map(|draw| 10_000 + (draw % 20_000) as u16)
        .find(|first| (*first..first + count).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()))
        .expect("some run of ports is free")
}

fn config(dir: &Path, node: u64, nodes: u64, base: u16) -> NodeConfig {
    let mut config = NodeConfig::of_profile(Profile::Dev);
    let address = |port| Address { host: "127.0.0.1".to_owned(), port };
    config.cluster.groups = GROUPS;
    config.cluster.cores = 1;
    config.cluster.nodes = (1..=nodes)
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

fn format(config: &NodeConfig, node: u64) {
    let request = FormatRequest {
        cluster: ClusterId([5; 16]),
        node: NodeId(node),
        cores: config.cluster.cores,
        groups: config.cluster.groups,
        segment_bytes: config.process.segment_bytes,
        joins: false,
        machine: config.cluster.machine,
    };
    identity::format(&config.process.data_dir, request).expect("the directory is fresh");
}

fn connect(config: &NodeConfig) -> Client {
    let targets: Vec<String> = config.cluster.nodes.iter().map(|seed| seed.client.to_string()).collect();
    let began = Instant::now();
    loop {
        match Client::connect(&targets, ClientOptions::default()) {
            Ok(client) => return client,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(20), "no connection: {error}"),
        }
    }
}

/// Makes the first account and its root.
fn make_account(client: &Client) -> Nsid {
    let put = Command::AccountPut { name: "test".to_owned() };
    assert!(client.command(Acct(0), Nsid(0), put).expect("the cluster answers").is_ok());
    let query = Query::Account(AccountKey::Acct(Acct(1)));
    let Answer::Account(account) = client.query(Acct(0), Nsid(0), query).expect("the cluster answers") else {
        panic!("the account is there")
    };
    let init = Command::NamespaceInit { owner: Acct(1), kind: NamespaceKind::Root, grant_bytes: 1 << 40 };
    assert!(client.command(Acct(0), account.root, init).expect("the cluster answers").is_ok());
    account.root
}

fn mkdir(client: &Client, root: Nsid, path: &str) -> Outcome {
    let command = Command::Mkdir(Mkdir { at: At::path(path), autorename: false });
    client.command(Acct(1), root, command).expect("the cluster answers")
}

fn names(client: &Client, root: Nsid) -> Vec<String> {
    let query = Query::ListPage { at: At::path(""), recursive: true, position: Vec::new(), limit: 2000 };
    match client.query(Acct(1), root, query).expect("the cluster answers") {
        Answer::Page { entries, .. } => entries.into_iter().map(|entry| entry.path_display).collect(),
        other => panic!("no page: {other:?}"),
    }
}

#[test]
fn one_node_keeps_what_it_acknowledged_over_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = config(dir.path(), 1, 1, free_ports(8));
    format(&config, 1);
    let node = Node::start(config.clone()).expect("the node starts");
    let client = connect(&config);
    let root = make_account(&client);
    for at in 0..50 {
        assert!(mkdir(&client, root, &format!("/folder {at:02}")).is_ok());
    }
    let before = names(&client, root);
    assert_eq!(before.len(), 50);
    drop(client);
    node.stop();

    let node = Node::start(config.clone()).expect("the node starts again");
    let client = connect(&config);
    assert_eq!(names(&client, root), before);
    assert!(mkdir(&client, root, "/after").is_ok());
    drop(client);
    node.stop();
}

#[test]
fn a_node_goes_on_with_another_log_backend_each_time_it_starts() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut config = config(dir.path(), 1, 1, free_ports(8));
    format(&config, 1);
    let mut root = None;
    let [direct, pwrite, mmap] = Backend::BY_CHOICE.map(BackendWish::Only);
    for (at, wish) in [mmap, pwrite, direct, mmap, BackendWish::Auto].into_iter().enumerate() {
        config.process.log_backend = wish;
        let node = Node::start(config.clone()).expect("the node starts");
        assert!(wish == BackendWish::Auto || wish == BackendWish::Only(node.log_backend()));
        let client = connect(&config);
        let root = *root.get_or_insert_with(|| make_account(&client));
        for folder in 0..8 {
            assert!(mkdir(&client, root, &format!("/{at} {folder}")).is_ok());
        }
        assert_eq!(names(&client, root).len(), 8 * (at + 1));
        assert_eq!(node.failed(), None);
        drop(client);
        node.stop();
    }
}

#[test]
fn three_nodes_go_on_when_one_of_them_stops() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let base = free_ports(24);
    let configs: Vec<NodeConfig> = (1..=3).map(|id| config(dir.path(), id, 3, base)).collect();
    for (config, id) in configs.iter().zip(1..) {
        format(config, id);
    }
    let mut nodes: Vec<Option<Node>> =
        configs.iter().map(|config| Some(Node::start(config.clone()).expect("the node starts"))).collect();
    let client = connect(&configs[0]);
    let root = make_account(&client);
    for at in 0..30 {
        if at % 10 == 5 {
            let victim = at / 10;
            nodes[victim].take().expect("it runs").stop();
            assert!(mkdir(&client, root, &format!("/while {victim} is away")).is_ok());
            nodes[victim] = Some(Node::start(configs[victim].clone()).expect("the node starts again"));
        }
        assert!(mkdir(&client, root, &format!("/folder {at:02}")).is_ok());
    }
    assert_eq!(names(&client, root).len(), 33);
    for node in nodes.into_iter().flatten() {
        assert_eq!(node.failed(), None);
        node.stop();
    }
}

#[test]
fn a_node_that_stops_hands_its_leaderships_on() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let base = free_ports(24);
    let mut configs: Vec<NodeConfig> = (1..=3).map(|id| config(dir.path(), id, 3, base)).collect();
    for (config, id) in configs.iter_mut().zip(1..) {
        // So long would the others wait for a leader that is just gone.
        (config.cluster.election_ms_min, config.cluster.election_ms_max) = (4_000, 4_500);
        format(config, id);
    }
    let mut nodes: Vec<Option<Node>> =
        configs.iter().map(|config| Some(Node::start(config.clone()).expect("the node starts"))).collect();
    let client = connect(&configs[0]);
    let root = make_account(&client);
    let group = base::group_of(root, GROUPS);
    // Of the node itself: who leads the group, and in which term.
    let seen = |client: &Client, node: usize| {
        let core = format!("127.0.0.1:{}", configs[node].process.client_port + 1);
        let status = client.status_of(&core).expect("the core answers");
        let there = status.groups.iter().find(|status| status.group == group).expect("it has the group");
        (there.leader, there.term)
    };
    let (leader, term) = seen(&client, 0);
    let leader = leader.expect("it took commands").0 as usize - 1;
    let began = Instant::now();
    nodes[leader].take().expect("it runs").stop();
    assert!(mkdir(&client, root, "/after").is_ok());
    let took = began.elapsed();
    let (next, after) = seen(&client, (leader + 1) % 3);
    assert!(next.is_some_and(|next| next.0 as usize - 1 != leader), "{next:?}");
    assert_eq!(after.0, term.0 + 1);
    assert!(took < Duration::from_millis(4_000), "{took:?}: somebody waited for a timeout");
    for node in nodes.into_iter().flatten() {
        node.stop();
    }
}

#[test]
fn a_directory_in_use_and_a_port_in_use_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let base = free_ports(16);
    let first = config(dir.path(), 1, 1, base);
    format(&first, 1);
    let node = Node::start(first.clone()).expect("the node starts");
    let again = Node::start(first.clone()).err().expect("the directory is in use");
    assert!(matches!(again, StartError::Lock(_)), "{again}");

    node.stop();

    // Another program has one of the ports: a node never shares it.
    let taken = TcpListener::bind(("127.0.0.1", first.process.peer_port)).expect("the node has left its ports");
    let refused = Node::start(first).err().expect("the port is in use");
    assert!(matches!(refused, StartError::Listen { .. }), "{refused}");
    drop(taken);
}

#[test]
fn a_backup_of_a_node_that_serves_becomes_the_state_of_a_new_cluster_of_three() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let source = config(dir.path(), 1, 1, free_ports(8));
    format(&source, 1);
    let node = Node::start(source.clone()).expect("the node starts");
    let client = connect(&source);
    let root = make_account(&client);
    for at in 0..40 {
        assert!(mkdir(&client, root, &format!("/folder {at:02}")).is_ok());
    }
    let before = names(&client, root);
    let saved = dir.path().join("saved");
    let made = server::backup::create(&source, &saved, 1, &mut |_| {}).expect("a backup is made");
    // What the backup says of a group is what the node says, unless the node's own upkeep has gone on since.
    let mut same = 0;
    let status = client.status().expect("it answers");
    let cores = status.iter().flat_map(|node| node.cores.as_ref().expect("its cores answer"));
    let groups: Vec<_> = cores.flat_map(|core| &core.groups).collect();
    for state in &made.states {
        let group = groups.iter().find(|group| group.group == state.group).expect("the node has it");
        assert!(group.applied_index.0 >= state.applied_index, "group {}: {group:?} {state:?}", state.group);
        if group.applied_index.0 == state.applied_index {
            assert_eq!(group.state_hash, state.state_hash, "group {}", state.group);
            same += 1;
        }
    }
    assert!(same > 0, "some group was quiet");
    assert_eq!(made.states.len(), GROUPS as usize);
    assert!(mkdir(&client, root, "/too late").is_ok());
    drop(client);
    node.stop();

    let base = free_ports(24);
    let ids = [4, 5, 6];
    let targets: Vec<NodeConfig> = (1..=3)
        .map(|node| {
            let mut config = config(&dir.path().join("new"), node, 3, base);
            config.cluster.nodes.iter_mut().for_each(|seed| seed.id.0 += 3);
            config
        })
        .collect();
    for (target, id) in targets.iter().zip(ids) {
        let cluster = ClusterId([6; 16]);
        std::fs::create_dir_all(dir.path().join("new")).expect("made");
        server::backup::restore(&saved, target, cluster, NodeId(id), &mut |_| {}).expect("it is restored");
    }
    let nodes: Vec<Node> = targets.iter().map(|target| Node::start(target.clone()).expect("it starts")).collect();
    let client = connect(&targets[0]);
    assert_eq!(names(&client, root), before);
    assert!(mkdir(&client, root, "/after").is_ok());
    assert_eq!(names(&client, root).len(), 41);
    assert!(nodes.iter().all(|node| node.failed().is_none()));
    drop(client);
    nodes.into_iter().for_each(Node::stop);
}
