//! The core against a scripted cluster, without sockets, in simulated time.

mod common;

use std::collections::BTreeMap;

use base::mono::Span;
use base::{Acct, GroupId, Jid, Mono, NodeId, Nsid, Prng, group_of};
use client::{Action, ClientError, ClientOptions, ClusterMap, Core, LinkId, Operation, Reply, Seed, Ticket};
use common::*;
use meta::{Answer, Outcome, Query};
use wire::client::ChangeMembers;

const DEADLINE: Span = Span::from_ms(30_000);

/// Core, cluster and time.
struct World {
    core: Core,
    cluster: Cluster,
    map: ClusterMap,
    now: Mono,
    links: BTreeMap<LinkId, Served>,
    addresses: BTreeMap<LinkId, String>,
    results: BTreeMap<Ticket, Result<Reply, ClientError>>,
    heads: Vec<Jid>,
    connects: usize,
    closes: usize,
    sends: usize,
    /// Instead of the real bytes of every server.
    garbage: Option<Vec<u8>>,
    /// Connections hang: no answer to connect.
    is_black_hole: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let targets = vec![base_address(1), base_address(2)];
        let addresses: Vec<(u64, String)> = (1..=NODES).map(|node| (node, base_address(node))).collect();
        World {
            core: Core::new(targets, ClientOptions::default(), Seed { nonce: [9; 16], jitter: seed }),
            cluster: Cluster::default(),
            map: cluster_map(CORES, GROUPS, &addresses),
            now: Mono(1_000_000_000),
            links: BTreeMap::new(),
            addresses: BTreeMap::new(),
            results: BTreeMap::new(),
            heads: Vec::new(),
            connects: 0,
            closes: 0,
            sends: 0,
            garbage: None,
            is_black_hole: false,
        }
    }

    fn submit(&mut self, operation: Operation) -> Ticket {
        self.core.submit(operation, DEADLINE, self.now)
    }

    fn mkdir(&mut self, name: &str) -> Ticket {
        self.submit(Operation::Command { acct: Acct(7), nsid: HOME, command: mkdir(name) })
    }

    /// Everything that can happen at this time.
    fn turn(&mut self) {
        loop {
            self.core.advance(self.now);
            let mut is_quiet = true;
            while let Some(action) = self.core.poll_action() {
                is_quiet = false;
                self.act(action);
            }
            if is_quiet {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { link, address } => {
                self.connects += 1;
                if self.is_black_hole {
                    return;
                }
                match Served::accept(&self.cluster, &address) {
                    Some(served) => {
                        self.links.insert(link, served);
                        self.addresses.insert(link, address);
                        assert!(self.core.handle_connected(link, self.now));
                    }
                    None => self.core.handle_closed(link, "connection refused", self.now),
                }
            }
            Action::Send { link, bytes } => {
                self.sends += 1;
                let Some(served) = self.links.get_mut(&link) else { return };
                if let Some(garbage) = &self.garbage {
                    self.core.handle_received(link, garbage, self.now);
                    return;
                }
                let answer = served.serve(&mut self.cluster, &self.map, &bytes);
                if !answer.bytes.is_empty() {
                    self.core.handle_received(link, &answer.bytes, self.now);
                }
                if answer.is_closed && self.links.remove(&link).is_some() {
                    self.core.handle_closed(link, "connection reset", self.now);
                }
            }
            Action::Close { link } => {
                self.closes += 1;
                self.links.remove(&link);
            }
            Action::Complete { ticket, result } => assert!(self.results.insert(ticket, result).is_none()),
            Action::Head { head, .. } => self.heads.push(head),
        }
    }

    /// Until `ticket` has ended, or nothing will ever happen.
    fn run(&mut self, ticket: Ticket) -> Result<Reply, ClientError> {
        for _ in 0..100_000 {
            self.turn();
            if let Some(result) = self.results.get(&ticket) {
                return result.clone();
            }
            self.now = self.core.next_deadline().expect("something must happen, or the request hangs").max(self.now);
        }
        panic!("a hundred thousand turns and no end");
    }

    fn run_outcome(&mut self, ticket: Ticket) -> Outcome {
        match self.run(ticket) {
            Ok(Reply::Outcome(outcome)) => outcome,
            other => panic!("no outcome: {other:?}"),
        }
    }

    /// The node is gone with all its connections.
    fn kill(&mut self, node: u64) {
        self.cluster.dead.insert(node);
        let lost: Vec<LinkId> = self.links.iter().filter(|(_, link)| link.node == node).map(|(id, _)| *id).collect();
        for link in lost {
            self.links.remove(&link);
            self.core.handle_closed(link, "connection reset", self.now);
        }
    }

    fn poke(&mut self) {
        let told: Vec<(LinkId, Vec<u8>)> =
            self.links.iter_mut().map(|(id, link)| (*id, link.poke(&self.cluster))).collect();
        for (link, bytes) in told {
            self.core.handle_received(link, &bytes, self.now);
        }
        self.turn();
    }

    fn since(&self, from: Mono) -> Span {
        self.now.since(from)
    }
}

#[test]
fn a_command_finds_the_leader_by_hint_and_is_done_once() {
    for leader in 1..=NODES {
        let mut world = World::new(leader);
        world.cluster.leader = leader;
        let ticket = world.mkdir("a");
        assert_eq!(world.run_outcome(ticket), Outcome::Exists { id: 1 });
        assert_eq!(world.cluster.executed, ["/a"]);
        assert!(world.since(Mono(1_000_000_000)) < Span::from_ms(20), "hints are followed at once");
    }
}

#[test]
fn queries_and_admin_requests_are_answered() {
    let mut world = World::new(1);
    let query = world.submit(Operation::Query { acct: Acct(7), nsid: HOME, query: Query::Head });
    assert!(matches!(world.run(query), Ok(Reply::Answer(Answer::Head(Jid(5))))));
    let change = ChangeMembers { add: Some(NodeId(4)), remove: None };
    let change = world.submit(Operation::ChangeMembers { group: GroupId(3), change });
    assert!(matches!(world.run(change), Ok(Reply::Done)));
    let transfer = world.submit(Operation::TransferLeader { group: GroupId(2), target: NodeId(2) });
    assert!(matches!(world.run(transfer), Ok(Reply::Done)));
    let map = world.submit(Operation::ClusterMap { address: None });
    assert!(matches!(world.run(map), Ok(Reply::ClusterMap(map)) if map == world.map));
    let status = world.submit(Operation::Status { address: "node-3:7102".into() });
    assert!(matches!(world.run(status), Ok(Reply::Status(status)) if status.node == NodeId(3) && status.core.0 == 1));
}

#[test]
fn namespace_zero_is_of_group_zero() {
    let mut world = World::new(1);
    let ticket = world.submit(Operation::Command { acct: Acct(0), nsid: Nsid(0), command: mkdir("a") });
    world.run_outcome(ticket);
    assert_eq!(world.cluster.sessions.keys().map(|(group, _)| *group).collect::<Vec<_>>(), [0]);
}

#[test]
fn a_group_that_does_not_exist_is_refused_here() {
    let mut world = World::new(1);
    let ticket = world.submit(Operation::TransferLeader { group: GroupId(99), target: NodeId(2) });
    let error = world.run(ticket).unwrap_err().to_string();
    assert_eq!(error, "refused: there is no group 99; the cluster has groups 0 to 3");
}

#[test]
fn a_lost_reply_is_answered_from_what_was_kept() {
    for step in [Step::LoseReply, Step::LoseRequest, Step::Unavailable(true), Step::Unavailable(false)] {
        let mut world = World::new(1);
        let first = world.mkdir("first");
        world.run_outcome(first);
        world.cluster.script = [step.clone()].into();
        let ticket = world.mkdir("second");
        assert_eq!(world.run_outcome(ticket), Outcome::Exists { id: 2 }, "{step:?}");
        assert_eq!(world.cluster.executed, ["/first", "/second"], "{step:?}");
    }
}

#[test]
fn a_registration_whose_reply_is_lost_leaves_one_session() {
    let mut world = World::new(1);
    world.cluster.script = [Step::LoseReply, Step::Overloaded, Step::LoseRequest].into();
    let ticket = world.mkdir("a");
    world.run_outcome(ticket);
    assert_eq!((world.cluster.sessions.len(), world.cluster.executed.len()), (1, 1));
}

#[test]
fn a_command_survives_the_death_of_its_leader() {
    let mut world = World::new(1);
    let first = world.mkdir("first");
    world.run_outcome(first);
    world.cluster.script = [Step::Silence].into();
    let ticket = world.mkdir("second");
    world.turn();
    assert_eq!(world.cluster.executed.len(), 2, "it was executed, and its answer is not there yet");
    world.kill(1);
    // For a second nobody leads.
    let until = world.now + Span::from_ms(1000);
    while world.now < until {
        world.turn();
        world.now = world.core.next_deadline().unwrap().min(until);
    }
    world.cluster.leader = 3;
    assert_eq!(world.run_outcome(ticket), Outcome::Exists { id: 2 });
    assert_eq!(world.cluster.executed, ["/first", "/second"]);
    assert!(world.since(until) < Span::from_ms(600), "the new leader is found soon");
}

#[test]
fn overload_is_met_with_growing_waits() {
    let mut world = World::new(1);
    let first = world.mkdir("first");
    world.run_outcome(first);
    world.cluster.script = vec![Step::Overloaded; 5].into();
    let began = world.now;
    let ticket = world.mkdir("second");
    world.run_outcome(ticket);
    let waited = world.since(began).as_ms();
    assert!((124..=248).contains(&waited), "8 + 16 + 32 + 64 + 128 ms, half of it drawn: {waited}");
}

#[test]
fn nodes_that_name_each_other_are_not_asked_in_a_tight_circle() {
    let mut world = World::new(1);
    let first = world.mkdir("first");
    world.run_outcome(first);
    // Node 1 leads all the while, but says that 2 does, which says that 1 does.
    world.cluster.script = vec![Step::NotLeader(2); 20].into();
    let (began, sends) = (world.now, world.sends);
    let ticket = world.mkdir("second");
    world.run_outcome(ticket);
    assert!(world.since(began) > Span::from_ms(1000));
    assert!(world.sends - sends < 60);
}

#[test]
fn a_session_that_is_gone_is_replaced_when_nothing_is_in_doubt() {
    let mut world = World::new(1);
    let first = world.mkdir("first");
    world.run_outcome(first);
    world.cluster.script = [Step::ForgetSessions].into();
    let ticket = world.mkdir("second");
    assert_eq!(world.run_outcome(ticket), Outcome::Exists { id: 2 });
    assert_eq!(world.cluster.executed, ["/first", "/second"]);
}

#[test]
fn a_session_that_is_gone_leaves_a_command_in_doubt_unknown() {
    let mut world = World::new(1);
    let first = world.mkdir("first");
    world.run_outcome(first);
    world.cluster.script = [Step::LoseReply, Step::ForgetSessions].into();
    let ticket = world.mkdir("second");
    assert!(matches!(world.run(ticket), Err(ClientError::Unknown { .. })));
    assert_eq!(world.cluster.executed, ["/first", "/second"], "it is never sent again blindly");
    // The next one is not touched by that.
    let third = world.mkdir("third");
    assert_eq!(world.run_outcome(third), Outcome::Exists { id: 3 });
}

#[test]
fn membership_changes_in_doubt_are_not_repeated() {
    for step in [Step::LoseReply, Step::Unavailable(false)] {
        let mut world = World::new(1);
        world.cluster.script = [step].into();
        let ticket = world.submit(Operation::TransferLeader { group: GroupId(0), target: NodeId(2) });
        assert!(matches!(world.run(ticket), Err(ClientError::Unknown { .. })));
    }
}

#[test]
fn refusals_are_told_in_the_servers_words() {
    let mut world = World::new(1);
    let first = world.mkdir("first");
    world.run_outcome(first);
    world.cluster.script = [Step::Refused, Step::Malformed].into();
    let ticket = world.mkdir("a");
    assert_eq!(world.run(ticket).unwrap_err(), ClientError::Refused { text: "not today".into() });
    let ticket = world.mkdir("b");
    assert!(matches!(world.run(ticket), Err(ClientError::Malformed { .. })));
    let ticket = world.mkdir("c");
    assert_eq!(world.run_outcome(ticket), Outcome::Exists { id: 2 });
}

#[test]
fn an_unreachable_cluster_is_an_error_that_names_the_targets() {
    let mut world = World::new(1);
    world.cluster.dead.extend(1..=NODES);
    let began = world.now;
    let ticket = world.mkdir("a");
    let error = world.run(ticket).unwrap_err();
    assert_eq!(world.since(began), DEADLINE);
    assert!(matches!(error, ClientError::TimedOut { after_ms: 30_000, .. }));
    let text = error.to_string();
    assert!(text.contains("node-1:7100 (connection refused), node-2:7100 (connection refused)"), "{text}");
    assert!(world.connects < 600, "refused connections are not tried in a tight circle: {}", world.connects);
}

#[test]
fn a_cluster_without_leaders_is_an_error_that_names_the_nodes() {
    let mut world = World::new(1);
    let first = world.mkdir("first");
    world.run_outcome(first);
    world.cluster.leader = 4;
    let ticket = world.mkdir("second");
    let text = world.run(ticket).unwrap_err().to_string();
    assert!(text.starts_with("no answer within 30000 ms; tried node-1:710"), "{text}");
    assert!(text.contains("(is not the leader)"), "{text}");
}

#[test]
fn connections_that_hang_are_given_up() {
    let mut world = World::new(1);
    world.is_black_hole = true;
    let ticket = world.mkdir("a");
    let text = world.run(ticket).unwrap_err().to_string();
    assert!(text.contains("node-1:7100 (no connection in time)"), "{text}");
    assert!(world.closes > 2);
}

#[test]
fn a_connection_that_comes_too_late_is_not_wanted() {
    let mut world = World::new(1);
    world.is_black_hole = true;
    world.mkdir("a");
    world.turn();
    world.now = world.now + Span::from_ms(3_001);
    world.turn();
    assert!(!world.core.handle_connected(LinkId(1), world.now));
}

#[test]
fn what_is_no_server_is_an_error_that_says_so() {
    for (garbage, words) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "not a hello of this protocol"),
        (vec![0; 64], "not a hello of this protocol"),
    ] {
        let mut world = World::new(1);
        world.garbage = Some(garbage);
        let ticket = world.mkdir("a");
        let text = world.run(ticket).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn another_cluster_behind_a_known_address_is_not_spoken_to() {
    let mut world = World::new(1);
    let first = world.mkdir("first");
    world.run_outcome(first);
    world.kill(1);
    world.cluster.dead.clear();
    world.cluster.cluster_id = base::ClusterId([8; 16]);
    let ticket = world.mkdir("second");
    let text = world.run(ticket).unwrap_err().to_string();
    assert!(text.contains("belongs to another cluster"), "{text}");
    assert_eq!(world.cluster.executed, ["/first"]);
}

#[test]
fn a_silent_server_is_pinged_and_given_up() {
    let mut world = World::new(1);
    let first = world.mkdir("first");
    world.run_outcome(first);
    world.cluster.is_silent = true;
    let began = world.now;
    let ticket = world.mkdir("second");
    world.turn();
    for after_ms in [1_999, 2_000, 5_999] {
        world.now = began + Span::from_ms(after_ms);
        world.turn();
        assert_eq!(world.closes, 0, "after {after_ms} ms");
    }
    world.now = began + Span::from_ms(6_000);
    world.turn();
    assert_eq!(world.closes, 1);
    world.cluster.is_silent = false;
    assert_eq!(world.run_outcome(ticket), Outcome::Exists { id: 2 });
}

#[test]
fn a_slow_answer_keeps_its_connection_as_long_as_pings_are_answered() {
    let mut world = World::new(1);
    let first = world.mkdir("first");
    world.run_outcome(first);
    world.cluster.script = [Step::Silence].into();
    let ticket = world.mkdir("second");
    let result = world.run(ticket);
    assert!(matches!(result, Err(ClientError::Unknown { .. })), "sent and never answered: {result:?}");
    assert_eq!(world.closes, 0);
}

#[test]
fn pinned_requests_fail_at_once_when_their_address_does() {
    let mut world = World::new(1);
    world.kill(3);
    let ticket = world.submit(Operation::Status { address: "node-3:7101".into() });
    let error = world.run(ticket).unwrap_err();
    let (address, reason) = ("node-3:7101".to_owned(), "connection refused".to_owned());
    assert_eq!(error, ClientError::Unreachable { address, reason });
}

#[test]
fn requests_of_one_turn_leave_in_one_frame_and_outcomes_are_acknowledged() {
    let mut world = World::new(1);
    let first = world.mkdir("first");
    world.run_outcome(first);
    let sends = world.sends;
    let tickets: Vec<Ticket> = (0..500).map(|i| world.mkdir(&format!("d{i}"))).collect();
    world.turn();
    assert_eq!(world.sends - sends, 1);
    assert!(tickets.iter().all(|ticket| matches!(world.results[ticket], Ok(Reply::Outcome(_)))));
    let last = world.mkdir("last");
    world.run_outcome(last);
    assert_eq!((world.cluster.sequence_max, world.cluster.ack_below_max), (502, 502));
}

#[test]
fn only_the_operation_that_asks_is_explained_and_in_each_of_its_tries() {
    let mut world = World::new(1);
    let plain = world.mkdir("/plain");
    let command = Operation::Command { acct: Acct(7), nsid: HOME, command: mkdir("/asks") };
    let asks = world.core.submit_explained(command, DEADLINE, world.now);
    world.cluster.script.extend([Step::Serve, Step::Overloaded]);
    for ticket in [asks, plain] {
        assert!(matches!(world.run_outcome(ticket), Outcome::Exists { .. }));
    }
    let mut asked = world.cluster.explained.clone();
    asked.dedup();
    assert_eq!(asked, [asks.0]);
    // This cluster tells nothing.
    assert_eq!(world.core.poll_explained(), None);
}

#[test]
fn five_thousand_commands_at_once_stay_within_the_window() {
    let mut world = World::new(1);
    // The fake machine asserts the window.
    let tickets: Vec<Ticket> = (0..5000).map(|i| world.mkdir(&format!("d{i}"))).collect();
    tickets.iter().for_each(|ticket| drop(world.run_outcome(*ticket)));
    assert_eq!((world.cluster.executed.len(), world.cluster.sequence_max), (5000, 5000));
}

#[test]
fn a_window_of_given_up_commands_does_not_block_the_group() {
    let mut world = World::new(1);
    let first = world.mkdir("first");
    world.run_outcome(first);
    world.cluster.script = vec![Step::LoseRequest; 1].into();
    let tickets: Vec<Ticket> = (0..1024).map(|i| world.mkdir(&format!("d{i}"))).collect();
    world.turn();
    world.cluster.leader = 4;
    while tickets.iter().any(|ticket| !world.results.contains_key(ticket)) {
        world.turn();
        world.now = world.now + Span::from_ms(250);
    }
    assert!(tickets.iter().all(|ticket| world.results[ticket].is_err()));
    world.cluster.leader = 1;
    let ticket = world.mkdir("last");
    world.run_outcome(ticket);
    assert_eq!(world.cluster.executed, ["/first", "/last"]);
    assert_eq!(world.cluster.sessions.len(), 2);
}

#[test]
fn more_requests_than_the_bound_are_refused() {
    let mut world = World::new(1);
    world.is_black_hole = true;
    let query = || Operation::Query { acct: Acct(7), nsid: HOME, query: Query::Head };
    let max = base::limits::CLIENT_REQUESTS_MAX;
    for _ in 0..max {
        world.submit(query());
    }
    let ticket = world.submit(query());
    world.turn();
    assert_eq!(world.results.get(&ticket).unwrap().clone().unwrap_err(), ClientError::Overloaded { max });
}

#[test]
fn a_watch_tells_every_advance_over_changes_of_leader() {
    let mut world = World::new(1);
    let watch = world.submit(Operation::Watch { acct: Acct(7), nsid: HOME, since: Jid(5) });
    world.turn();
    assert_eq!(world.heads, [], "nothing is newer than what is known");
    let advance = |world: &mut World| {
        world.cluster.head += 1;
        world.poke();
    };
    advance(&mut world);
    assert_eq!(world.heads, [Jid(6)]);
    // The leader changes, and the head moves before the watch has found the new one.
    world.cluster.leader = 2;
    world.poke();
    world.cluster.head += 1;
    while world.heads.len() < 2 {
        world.poke();
        world.now = world.core.next_deadline().unwrap().max(world.now);
    }
    assert_eq!(world.heads, [Jid(6), Jid(7)]);
    // The leader dies, and another one takes over a while later.
    world.kill(2);
    world.cluster.head += 3;
    for _ in 0..20 {
        world.turn();
        world.now = world.core.next_deadline().unwrap().max(world.now);
    }
    world.cluster.leader = 3;
    while world.heads.len() < 3 {
        world.poke();
        world.now = world.core.next_deadline().unwrap().max(world.now);
    }
    assert_eq!(world.heads, [Jid(6), Jid(7), Jid(10)]);
    // It has no deadline while it stands.
    for _ in 0..100 {
        world.turn();
        world.now = world.core.next_deadline().unwrap().max(world.now);
    }
    assert!(world.since(Mono(1_000_000_000)) > DEADLINE);
    advance(&mut world);
    assert_eq!(world.heads.last(), Some(&Jid(11)));
    let closes = world.closes;
    world.core.cancel(watch);
    world.turn();
    assert_eq!(world.closes, closes + 1, "the connection of the last watch is closed with it");
    assert!(world.results.is_empty());
}

#[test]
fn a_watch_that_cannot_be_kept_up_ends_after_its_deadline() {
    let mut world = World::new(1);
    let watch = world.submit(Operation::Watch { acct: Acct(7), nsid: HOME, since: Jid(0) });
    world.turn();
    assert_eq!(world.heads, [Jid(5)]);
    (1..=NODES).for_each(|node| world.kill(node));
    let began = world.now;
    assert!(matches!(world.run(watch), Err(ClientError::TimedOut { after_ms: 30_000, .. })));
    assert_eq!(world.since(began), DEADLINE);
}

#[test]
fn whatever_fails_no_command_is_done_twice_and_none_is_lost() {
    for seed in 0..60 {
        let mut world = World::new(seed);
        let mut prng = Prng::new(seed);
        let mut tickets: Vec<(Ticket, String)> = Vec::new();
        for _ in 0..40 {
            for _ in 0..prng.below(20) {
                let name = format!("d{}", tickets.len());
                let nsid = Nsid(HOME.0 + prng.below(8));
                let command = mkdir(&name);
                let ticket = world.submit(Operation::Command { acct: Acct(7), nsid, command });
                tickets.push((ticket, format!("/{name}")));
            }
            for _ in 0..prng.below(6) {
                let hint = prng.below(5);
                let steps = [
                    Step::Serve,
                    Step::NotLeader(hint),
                    Step::Overloaded,
                    Step::LoseReply,
                    Step::LoseRequest,
                    Step::Unavailable(true),
                    Step::Unavailable(false),
                ];
                world.cluster.script.push_back(steps[prng.below(7) as usize].clone());
            }
            match prng.below(6) {
                0 => world.cluster.leader = prng.below(NODES + 1) + 1,
                1 => world.kill(prng.below(NODES) + 1),
                2 => world.cluster.dead.clear(),
                _ => {}
            }
            world.turn();
            world.now = world.now + Span::from_us(prng.below(40_000));
        }
        world.cluster.dead.clear();
        world.cluster.leader = 1;
        world.cluster.script.clear();
        for (ticket, _) in &tickets {
            world.run_outcome(*ticket);
        }
        let mut executed = world.cluster.executed.clone();
        let mut wanted: Vec<String> = tickets.iter().map(|(_, name)| name.clone()).collect();
        executed.sort();
        wanted.sort();
        assert_eq!(executed, wanted, "seed {seed}");
        // Each was told its own outcome: the place at which it was executed.
        for (ticket, name) in &tickets {
            let Outcome::Exists { id } = world.run_outcome(*ticket) else { panic!("seed {seed}") };
            assert_eq!(&world.cluster.executed[id as usize - 1], name, "seed {seed}");
        }
    }
}

#[test]
fn random_bytes_from_a_server_never_panic() {
    let mut prng = Prng::new(4);
    for seed in 0..200 {
        let mut world = World::new(seed);
        let first = world.mkdir("first");
        world.run_outcome(first);
        world.mkdir("second");
        world.mkdir("third");
        world.cluster.script = vec![Step::Silence; 2].into();
        world.turn();
        let link = *world.links.keys().last().unwrap();
        for _ in 0..5 {
            let bytes: Vec<u8> = (0..prng.below(100)).map(|_| prng.next_u64() as u8).collect();
            world.core.handle_received(link, &bytes, world.now);
            world.turn();
        }
    }
}

#[test]
fn groups_of_the_test_namespaces_are_spread() {
    let groups: std::collections::BTreeSet<GroupId> = (0..8).map(|i| group_of(Nsid(HOME.0 + i), GROUPS)).collect();
    assert!(groups.len() > 2);
}
