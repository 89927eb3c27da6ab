//! A cluster whose machine counts commands: through real nodes and the real client, over restarts.

use base::GroupId;
use client::ClientError;
use server::identity::MachineKind;

use super::*;

/// Three nodes of a null machine, formatted, none started.
fn three(dir: &Path) -> Vec<NodeConfig> {
    let base = free_ports(24);
    let configs: Vec<NodeConfig> = (1..=3)
        .map(|node| {
            let mut config = config(dir, node, 3, base);
            config.cluster.machine = MachineKind::Null;
            config
        })
        .collect();
    for (config, node) in configs.iter().zip(1..) {
        format(config, node);
    }
    configs
}

/// One that is in doubt, because its node stops, the client does not send again: this does, and it may count twice.
fn acknowledged(client: &Client, group: GroupId) -> u64 {
    loop {
        match client.count_null(group, b"sixteen bytes ..") {
            Ok(count) => return count,
            Err(ClientError::Unknown { .. }) => {}
            Err(error) => panic!("the cluster counts: {error}"),
        }
    }
}

fn start(configs: &[NodeConfig]) -> Vec<Node> {
    configs.iter().map(|config| Node::start(config.clone()).expect("the node starts")).collect()
}

#[test]
fn every_acknowledged_command_is_counted_over_restarts_of_one_node_and_of_all() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let configs = three(dir.path());
    let mut nodes = start(&configs);
    let client = connect(&configs[0]);
    let mut counted = [0; GROUPS as usize];
    let mut count = |client: &Client, times: usize| {
        for _ in 0..times {
            for group in (0..GROUPS).map(GroupId) {
                let now = acknowledged(client, group);
                assert!(now > counted[group.0 as usize], "{now} after {}", counted[group.0 as usize]);
                counted[group.0 as usize] = now;
            }
        }
        counted
    };
    assert_eq!(count(&client, 50), [50; GROUPS as usize]);
    nodes.remove(0).stop();
    count(&client, 50);
    nodes.insert(0, Node::start(configs[0].clone()).expect("the node starts again"));
    let counted = count(&client, 50);
    drop(client);
    nodes.into_iter().for_each(Node::stop);

    let nodes = start(&configs);
    let client = connect(&configs[0]);
    for group in (0..GROUPS).map(GroupId) {
        assert_eq!(client.null_count(group).expect("it is told"), counted[group.0 as usize]);
    }
    let status = client.status_of(&format!("127.0.0.1:{}", configs[0].process.client_port + 1)).expect("it answers");
    assert_eq!(status.counters.machine_null, 1);
    drop(client);
    nodes.into_iter().for_each(Node::stop);
}

#[test]
fn a_null_cluster_refuses_files_and_its_directory_another_configuration() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let configs = three(dir.path());
    let nodes = start(&configs);
    let client = connect(&configs[0]);
    let put = Command::AccountPut { name: "test".to_owned() };
    let Err(ClientError::Refused { text }) = client.command(Acct(0), Nsid(0), put) else {
        panic!("it must be refused")
    };
    assert!(text.contains("machine is null"), "{text}");
    drop(client);
    nodes.into_iter().for_each(Node::stop);
    let mut wrong = configs[0].clone();
    wrong.cluster.machine = MachineKind::Files;
    let Err(error) = Node::start(wrong) else { panic!("it must be refused") };
    assert!(error.to_string().contains("cluster.machine is null there and files"), "{error}");
}

#[test]
fn a_cluster_of_files_refuses_to_count() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = config(dir.path(), 1, 1, free_ports(8));
    format(&config, 1);
    let node = Node::start(config.clone()).expect("the node starts");
    let client = connect(&config);
    for refused in [client.count_null(GroupId(0), &[1; 16]), client.null_count(GroupId(1))] {
        let Err(ClientError::Refused { text }) = refused else { panic!("it must be refused: {refused:?}") };
        assert!(text.contains("machine is files"), "{text}");
    }
    drop(client);
    node.stop();
}
