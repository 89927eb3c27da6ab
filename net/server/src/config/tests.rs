//! The configuration from outside: what is accepted, and what each refusal says.

use super::*;
use std::ffi::OsString;

const NONE: [(OsString, OsString); 0] = [];

fn env(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

fn parse(text: &str) -> NodeConfig {
    Loaded::parse(text, "node.toml", NONE).expect("valid").config
}

fn refusal(text: &str) -> String {
    Loaded::parse(text, "node.toml", NONE).expect_err("refused").to_string()
}

const THREE: &str = r#"
[cluster]
groups = 8
cores = 2
nodes = [
  { id = 2, peer = "10.0.0.2:7201", client = "10.0.0.2:7100" },
  { id = 1, peer = "10.0.0.1:7201", client = "10.0.0.1:7100" },
  { id = 3, peer = "[::1]:7201", client = "[::1]:7100" },
]
[process]
data_dir = "/data"
listen = "0.0.0.0"
segment_bytes = "8 MiB"
pin = [2, 3]
"#;

#[test]
fn a_whole_file_becomes_checked_values() {
    let config = parse(THREE);
    assert_eq!((config.cluster.groups, config.cluster.cores), (8, 2));
    let ids: Vec<u64> = config.cluster.nodes.iter().map(|seed| seed.id.0).collect();
    assert_eq!(ids, [1, 2, 3], "nodes are sorted by id");
    assert_eq!(config.cluster.nodes[2].peer.to_string(), "[::1]:7201");
    assert_eq!(config.process.segment_bytes, 8 << 20);
    assert_eq!(config.process.pin, Pin::List(vec![2, 3]));
    assert_eq!((config.process.client_port, config.process.peer_port), (7100, 7201));
    assert_eq!(config.process.node, None);
}

#[test]
fn the_log_backend_is_auto_or_one_of_three() {
    use reactor::{Backend, BackendWish};
    assert_eq!(parse(THREE).process.log_backend, BackendWish::Auto);
    for backend in Backend::BY_CHOICE {
        let text = format!("[process]\nlog_backend = \"{backend}\"");
        assert_eq!(parse(&text).process.log_backend, BackendWish::Only(backend));
    }
    let refused = refusal("[process]\nlog_backend = \"uring\"");
    assert_eq!(refused, "node.toml:2: process.log_backend = uring is not auto, direct, pwrite or mmap");
}

#[test]
fn every_profile_has_valid_defaults() {
    for profile in [Profile::Dev, Profile::Shared, Profile::Server] {
        let config = NodeConfig::of_profile(profile);
        assert_eq!(config.process.profile, profile);
    }
    assert_eq!(NodeConfig::of_profile(Profile::Dev).process.segment_bytes, 8 << 20);
    assert_eq!(NodeConfig::of_profile(Profile::Server).process.pin, Pin::Auto);
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse(""), NodeConfig::of_profile(Profile::Server));
}

#[test]
fn an_unknown_key_names_line_and_nearest_key() {
    let text = "[process]\nprofile = \"dev\"\nlissten = \"::1\"\n";
    assert_eq!(refusal(text), "node.toml:3: unknown key process.lissten; did you mean process.listen?");
    let text = "[process]\ngroups = 4\n";
    assert_eq!(refusal(text), "node.toml:2: unknown key process.groups; did you mean cluster.groups?");
    assert_eq!(refusal("[proces]\n"), "node.toml:1: unknown key proces; did you mean [process]?");
    let text = "[process]\nxyzzy_of_doom = 1\n";
    assert_eq!(
        refusal(text),
        "node.toml:2: unknown key process.xyzzy_of_doom; see `dropstone config show` for all keys"
    );
    let text = "[cluster]\nnodes = [{ id = 1, pear = \"a:1\", client = \"a:2\" }]";
    assert_eq!(refusal(text), "node.toml:2: unknown key cluster.nodes.pear; did you mean peer?");
}

#[test]
fn a_wrong_type_or_bound_names_what_would_be_right() {
    assert_eq!(refusal("[cluster]\ngroups = \"x\""), "node.toml:2: cluster.groups wants a whole number, not string");
    assert_eq!(
        refusal("[cluster]\ncores = 65"),
        "node.toml:2: cluster.cores = 65 is out of bounds; it goes from 1 to 64"
    );
    assert_eq!(
        refusal("[cluster]\ncores = 4\ngroups = 2"),
        "node.toml:3: cluster.groups = 2 is out of bounds; it goes from 4 to 65536"
    );
    let text = "[process]\nsegment_bytes = \"9 MiB\"";
    assert_eq!(refusal(text), "node.toml:2: process.segment_bytes = 9 MiB is not a power of two; try \"64 MiB\"");
    assert!(refusal("[process]\nlisten = \"here\"").contains("is not an IP address"));
    assert!(refusal("[cluster]\nelection_ms_min = 100").contains("from 150 to"));
    assert!(refusal("[cluster]\nelection_ms_max = 500").contains("from 501 to"));
    assert!(refusal("[process]\npin = \"all\"").contains("auto, off or a list"));
    assert!(refusal("[process]\nprofile = \"prod\"").contains("is not dev, shared or server"));
    assert!(refusal("process = 1").contains("wants a [section], not integer"));
    assert!(refusal("[cluster]\ngroups = -1").contains("is not a whole number"));
}

#[test]
fn the_memcached_port_is_off_until_an_address_is_named() {
    assert_eq!(parse("").process.memcache_listen, None);
    let set = parse("[memcache]\nlisten = \"127.0.0.1:11211\"");
    assert_eq!(set.process.memcache_listen, Some(([127, 0, 0, 1], 11_211).into()));
    assert!(refusal("[memcache]\nlisten = \"11211\"").contains("write for example 127.0.0.1:11211"));
    assert!(refusal("[memcache]\nlisten = \"127.0.0.1:0\"").contains("is not an IP address and a port"));
}

#[test]
fn the_rules_of_consensus_are_set_by_name_and_default_to_its_own() {
    assert_eq!(parse("").cluster.raft_settings(), raft::Settings::default());
    let text = "[cluster]\nlease = \"off\"\nquiesce_after_s = 60\npromote_learners = \"off\"\ndoubt_wait_s = 0\n";
    let set = parse(text).cluster;
    let wanted = raft::Settings {
        lease: None,
        quiesce_after: Some(Span::from_ms(60_000)),
        promote_learners: false,
        doubt_wait: None,
        ..raft::Settings::default()
    };
    assert_eq!(set.raft_settings(), wanted);
    assert_eq!(set.hash(), parse("").cluster.hash(), "nodes may change them one after another");
    assert_eq!(parse("[cluster]\nquiesce_after_s = 0").cluster.raft_settings().quiesce_after, None);
    // The lease follows the loyalty of voters.
    let patient = parse("[cluster]\nelection_ms_min = 1000\nelection_ms_max = 2000").cluster;
    assert_eq!(patient.raft_settings().lease, Some(Span::from_ms(900)));

    assert_eq!(refusal("[cluster]\nlease = \"maybe\""), "node.toml:2: cluster.lease = maybe is not \"on\" or \"off\"");
    assert!(refusal("[cluster]\npromote_learners = \"yes\"").contains("is not \"on\" or \"off\""));
    assert!(refusal("[cluster]\nquiesce_after_s = 86401").contains("it goes from 0 to 86400"));
    assert!(refusal("[cluster]\ndoubt_wait_s = 86401").contains("it goes from 0 to 86400"));
}

#[test]
fn old_rows_are_kept_thirty_days_or_as_many_as_set() {
    assert_eq!(parse("").cluster.keep(), shard::Keep::default());
    let set = parse("[cluster]\nkeep_days = 90").cluster;
    assert_eq!(set.keep().journal_ms, 3 * shard::Keep::default().journal_ms);
    assert_eq!(set.hash(), parse("").cluster.hash(), "nodes may change it one after another");
    assert!(refusal("[cluster]\nkeep_days = 0").contains("it goes from 1 to 36500"));
}

#[test]
fn broken_toml_names_its_line() {
    let message = refusal("[cluster]\ngroups = \n");
    assert!(message.starts_with("node.toml:2: "), "{message}");
    assert!(refusal("[process]\nlisten = \"::1\"\nlisten = \"::1\"").starts_with("node.toml:3: "));
}

#[test]
fn the_member_list_is_judged() {
    let nodes = |list: &str| refusal(&format!("[cluster]\nnodes = [{list}]"));
    assert!(nodes("{ id = 0, peer = \"a:1\", client = \"a:2\" }").contains("ids begin at 1"));
    let twice = "{ id = 1, peer = \"a:1\", client = \"a:2\" }, { id = 1, peer = \"b:1\", client = \"b:2\" }";
    assert!(nodes(twice).contains("names node 1 twice"));
    assert!(nodes("{ id = 1, peer = \"a\", client = \"a:2\" }").contains("host:port"));
    assert!(nodes("{ id = 1, peer = \"a:1\" }").contains("cluster.nodes.client wants \"host:port\", not nothing"));
    let eight: Vec<String> =
        (1..9).map(|id| format!("{{ id = {id}, peer = \"n{id}:1\", client = \"n{id}:2\" }}")).collect();
    assert!(nodes(&eight.join(",")).contains("more than 7"));
}

#[test]
fn port_ranges_never_meet() {
    let message = refusal("[process]\nclient_port = 7199\n");
    assert!(message.contains("client ports are 7199 to 7201, peer ports 7201 to 7202"), "{message}");
    assert!(refusal("[process]\nclient_port = 65534").contains("65533"));
    assert_eq!(parse("[process]\nclient_port = 7198").process.client_port, 7198);
}

#[test]
fn a_named_node_listens_on_the_ports_of_its_entry() {
    let text = "[cluster]\nnodes = [{ id = 4, peer = \"h:9201\", client = \"h:9100\" }]\n[process]\nnode = 4";
    let config = parse(text);
    assert_eq!((config.process.client_port, config.process.peer_port), (9100, 9201));
    assert_eq!(parse(&format!("{text}\npeer_port = 9300")).process.peer_port, 9300);
}

#[test]
fn a_node_known_by_its_directory_listens_where_the_list_says() {
    let loaded =
        || Loaded::parse("[cluster]\nnodes = [{ id = 4, peer = \"10.0.0.4:9201\", client = \"h:9100\" }]", "n", NONE);
    let config = loaded().expect("valid").for_node(NodeId(4)).expect("valid");
    let process = &config.process;
    assert_eq!((process.listen.to_string().as_str(), process.client_port, process.peer_port), ("10.0.0.4", 9100, 9201));
    let stranger = loaded().expect("valid").for_node(NodeId(5)).expect("valid");
    assert_eq!((stranger.process.node, stranger.process.client_port), (Some(NodeId(5)), 7100));
}

#[test]
fn the_environment_wins_over_the_file_and_keeps_its_origin() {
    let set =
        env(&[("DROPSTONE_PROCESS__LOG_LEVEL", "debug"), ("DROPSTONE_CLUSTER__NODES", "7=a:1/a:2"), ("HOME", "/")]);
    let loaded = Loaded::parse(THREE, "node.toml", set).expect("valid");
    assert_eq!(loaded.config.process.log_level, "debug");
    assert_eq!(loaded.config.cluster.nodes[0].id, NodeId(7));
    let origin = |key: &str| loaded.values.iter().find(|value| value.0 == key).expect("shown").2.to_string();
    assert_eq!(origin("process.log_level"), "environment DROPSTONE_PROCESS__LOG_LEVEL");
    assert_eq!(origin("cluster.groups"), "node.toml:3");
    assert_eq!(origin("cluster.heartbeat_ms"), "default");
    let dev = Loaded::parse("[process]\nprofile = \"dev\"", "n", NONE).expect("valid");
    assert!(dev.values.iter().any(|value| value.2 == Origin::Profile("dev")));
}

#[test]
fn an_unknown_variable_is_an_error_and_other_variables_are_not_ours() {
    let refused = Loaded::parse("", "n", env(&[("DROPSTONE_PROCESS__LISTN", "::1")])).expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "environment DROPSTONE_PROCESS__LISTN: unknown key process.listn; did you mean process.listen?"
    );
    assert!(Loaded::parse("", "n", env(&[("DROPSTONE_TARGET", "a:1")])).is_ok());
}

#[test]
fn the_hash_covers_what_must_match_and_not_the_members() {
    let one = parse(THREE).cluster;
    let mut other = one.clone();
    other.nodes.clear();
    assert_eq!(one.hash(), other.hash());
    for change in [
        |c: &mut ClusterConfig| c.groups += 1,
        |c: &mut ClusterConfig| c.cores += 1,
        |c: &mut ClusterConfig| c.election_ms_min += 1,
        |c: &mut ClusterConfig| c.election_ms_max += 1,
        |c: &mut ClusterConfig| c.heartbeat_ms += 1,
        |c: &mut ClusterConfig| c.machine = MachineKind::Null,
    ] {
        let mut other = one.clone();
        change(&mut other);
        assert_ne!(one.hash(), other.hash());
    }
    // Golden: nodes of different releases compare this number.
    assert_eq!(NodeConfig::of_profile(Profile::Server).cluster.hash(), GOLDEN_HASH);
}
const GOLDEN_HASH: u32 = 2_129_066_062;

#[test]
fn addresses_parse_and_print() {
    for text in ["a:1", "10.0.0.1:7100", "[::1]:7100", "node-1.example:65535"] {
        assert_eq!(text.parse::<Address>().expect("valid").to_string(), text);
    }
    for text in ["", "a", ":1", "a:0", "a:65536", "::1:7100", "[::1:7100", "a b:1", "a/b:1", "[]:1"] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
    let local: Address = "127.0.0.1:7100".parse().expect("valid");
    assert_eq!(local.resolve(3).expect("an IP resolves").port(), 7103);
}

#[test]
fn a_missing_file_says_so() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let message = NodeConfig::load(&dir.path().join("none.toml")).expect_err("refused").to_string();
    assert!(message.starts_with("could not read configuration"), "{message}");
}

#[test]
fn leaders_are_balanced_unless_the_file_says_otherwise() {
    assert!(parse("").process.balance_leaders);
    assert!(!parse("[process]\nbalance_leaders = \"off\"").process.balance_leaders);
    assert!(refusal("[process]\nbalance_leaders = true").contains("process.balance_leaders"));
}
