//! A node that is voted out of a group drops its rows from real tables and a real log, and gets a state when it is back.

use base::GroupId;
use wire::client::ChangeMembers;
use wire::status::GroupStatus;

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// What a node says of the group, once `is_so` holds of it.
fn wait(client: &Client, config: &NodeConfig, group: GroupId, is_so: impl Fn(&GroupStatus) -> bool) -> GroupStatus {
    let core = format!("127.0.0.1:{}", config.process.client_port + 1);
    let began = Instant::now();
    loop {
        let status = client.status_of(&core).ok();
        let found = status.and_then(|status| status.groups.into_iter().find(|status| status.group == group));
        if let Some(found) = found.as_ref().filter(|found| is_so(found)) {
            return found.clone();
        }
        assert!(began.elapsed() < PATIENCE, "{found:?}");
    }
}

/// Asks until the leader's configuration is that.
fn change(client: &Client, leader: &NodeConfig, group: GroupId, change: ChangeMembers, voters: &[u64]) {
    let voters: Vec<NodeId> = voters.iter().copied().map(NodeId).collect();
    let began = Instant::now();
    while wait(client, leader, group, |_| true).voters != voters {
        // Refused while an earlier one is open.
        let _ = client.change_members(group, change);
        assert!(began.elapsed() < PATIENCE, "the voters did not become {voters:?}");
    }
}

#[test]
fn who_is_voted_out_drops_its_rows_and_has_them_again_when_it_is_back() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let base = free_ports(24);
    let mut configs: Vec<NodeConfig> = (1..=3).map(|id| config(dir.path(), id, 3, base)).collect();
    for (config, id) in configs.iter_mut().zip(1..) {
        config.process.log_trailing_entries = 1;
        format(config, id);
    }
    let mut nodes: Vec<Option<Node>> =
        configs.iter().map(|config| Some(Node::start(config.clone()).expect("the node starts"))).collect();
    let client = connect(&configs[0]);
    let root = make_account(&client);
    let group = base::group_of(root, GROUPS);
    for at in 0..60 {
        assert!(mkdir(&client, root, &format!("/folder {at:02}")).is_ok());
    }
    let leader = wait(&client, &configs[0], group, |status| status.leader.is_some()).leader.unwrap();
    let (lead, id) = (leader.0 as usize - 1, leader.0 % 3 + 1);
    let out = id as usize - 1;
    let stay: Vec<u64> = (1..=3).filter(|other| *other != id).collect();

    let remove = ChangeMembers { add: None, remove: Some(NodeId(id)) };
    change(&client, &configs[lead], group, remove, &stay);
    // Nothing is left of it but the end of its log, and nobody need look after that.
    let is_dropped = |status: &GroupStatus| status.applied_index.0 == 0 && status.first_index.0 > 1;
    let dropped = wait(&client, &configs[out], group, is_dropped);
    assert!(!dropped.is_state_lost && dropped.state_hash == 0, "{dropped:?}");
    assert!(mkdir(&client, root, "/meanwhile").is_ok());

    let add = ChangeMembers { add: Some(NodeId(id)), remove: None };
    change(&client, &configs[lead], group, add, &[1, 2, 3]);
    assert!(mkdir(&client, root, "/again").is_ok());
    let is_equal = |status: &GroupStatus| {
        let there = wait(&client, &configs[lead], group, |_| true);
        (status.applied_index, status.state_hash) == (there.applied_index, there.state_hash)
    };
    let back = wait(&client, &configs[out], group, is_equal);
    assert!(!back.is_state_lost && back.applied_index > dropped.last_index, "{back:?}");

    // It is on its disk, too.
    nodes[out].take().expect("it runs").stop();
    nodes[out] = Some(Node::start(configs[out].clone()).expect("the node starts again"));
    wait(&client, &configs[out], group, is_equal);
    assert_eq!(names(&client, root).len(), 62);
    drop(client);
    for node in nodes.into_iter().flatten() {
        assert_eq!(node.failed(), None);
        node.stop();
    }
}
