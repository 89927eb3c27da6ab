//! Random clusters: one seed is one run of three or five nodes under faults, then healed. What must hold is checked
//! after every step (`swarm/truth.rs`) and once more at the end.
//!
//! `RAFT_SEEDS=n` runs more seeds, `RAFT_SEED=n` one, `RAFT_TRACE=1` prints its messages.

#[path = "swarm/cluster.rs"]
mod cluster;
#[path = "swarm/faults.rs"]
mod faults;
#[path = "swarm/log_twin.rs"]
mod log_twin;
#[path = "swarm/node.rs"]
mod node;
#[path = "swarm/truth.rs"]
mod truth;

use base::mono::Span;
use base::{LogIndex, NodeId};
use cluster::Cluster;
use raft::{ConfigChange, Outcome};

/// One step of the scenario.
const STEP: Span = Span::from_ms(10);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

fn run_seeds(first: u64, voters: u64, count: u64) {
    if let Some(seed) = number("RAFT_SEED") {
        return run_seed(seed, voters);
    }
    for seed in first..first + number("RAFT_SEEDS").unwrap_or(count) {
        if let Err(panic) = std::panic::catch_unwind(|| run_seed(seed, voters)) {
            eprintln!("{voters} voters, seed {seed} failed; again: RAFT_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn three_voters_and_a_newcomer_stay_one_log_under_faults() {
    run_seeds(0, 3, 120);
}

#[test]
fn five_voters_and_a_newcomer_stay_one_log_under_faults() {
    run_seeds(1_000_000, 5, 60);
}

/// Work, work, rest.
const PHASE: Span = Span::from_ms(700);

fn run_seed(seed: u64, voters: u64) {
    let mut cluster = Cluster::new(seed, voters);
    let steps = 200 + cluster.prng.below(600);
    for _ in 0..steps {
        let until = cluster.now + STEP;
        cluster.run(until);
        // Now and then nobody wants anything for a while, and the group may rest.
        if !(cluster.now.0 / PHASE.0).is_multiple_of(3) {
            work(&mut cluster);
        }
        disturb(&mut cluster);
    }
    heal(&mut cluster);
}

/// Clients: some write, some read, at every node that believes to lead.
fn work(cluster: &mut Cluster) {
    for at in cluster.leaders() {
        for _ in 0..cluster.prng.below(3) {
            cluster.propose(at);
        }
        if cluster.prng.one_in(2) {
            cluster.read(at);
        }
    }
}

fn disturb(cluster: &mut Cluster) {
    let count = cluster.nodes.len() as u64;
    let at = cluster.prng.below(count) as usize;
    let happens = |cluster: &mut Cluster, per_mille: u64| cluster.prng.below(1000) < per_mille;
    if cluster.nodes[at].raft.is_some() && happens(cluster, cluster.faults.crash) {
        let most = if cluster.prng.one_in(4) { 3000 } else { 300 };
        let down = Span::from_ms(1 + cluster.prng.below(most));
        cluster.crash(at, down);
    }
    if happens(cluster, cluster.faults.partition) {
        let Cluster { faults, prng, .. } = cluster;
        faults.repartition(prng);
    }
    if cluster.nodes[at].raft.is_some() && happens(cluster, cluster.faults.checkpoint) {
        let trailing = cluster.faults.trailing;
        cluster.nodes[at].checkpoint(trailing);
    }
    if cluster.nodes[at].raft.is_some() && happens(cluster, cluster.faults.campaign) {
        cluster.campaign(at);
    }
    let Some(leader) = cluster.leaders().pop() else { return };
    if happens(cluster, cluster.faults.transfer) {
        cluster.transfer(leader, NodeId(at as u64 + 1));
    }
    if happens(cluster, cluster.faults.change) {
        let change = draw_change(cluster, leader, NodeId(at as u64 + 1));
        cluster.change(leader, &change);
    }
}

/// Mostly a replacement of `id` by a node that is not there; else one node comes, goes, or becomes a learner.
fn draw_change(cluster: &mut Cluster, leader: usize, id: NodeId) -> ConfigChange {
    let config = cluster.nodes[leader].raft.as_ref().expect("a leader is up").config().clone();
    let absent = (1..=cluster.nodes.len() as u64).map(NodeId).find(|id| !config.is_member(*id));
    let mut change = ConfigChange::default();
    match (absent, cluster.prng.below(4)) {
        (Some(absent), 0 | 1) if absent != id => {
            change.add_voters = vec![absent];
            change.remove = vec![id];
        }
        (Some(absent), _) => change.add_voters = vec![absent],
        (None, 0) => change.add_learners = vec![id],
        (None, 1) => change.add_voters = vec![id],
        (None, _) => change.remove = vec![id],
    }
    change
}

/// Ends all faults; then there must be a leader soon, and everything must be everywhere.
fn heal(cluster: &mut Cluster) {
    cluster.faults.heal();
    let healed = cluster.now;
    for at in 0..cluster.nodes.len() {
        if cluster.nodes[at].raft.is_none() {
            let now = cluster.now;
            cluster.schedule(now, at, cluster::Event::Restart);
        }
    }
    let mut led_since = None;
    while cluster.now.since(healed) < Span::from_ms(5000) && led_since.is_none() {
        let until = cluster.now + STEP;
        cluster.run(until);
        led_since = cluster.leaders().pop().map(|_| cluster.now);
    }
    assert!(led_since.is_some(), "no leader 5 s after the faults ended");
    let target = loop {
        let until = cluster.now + STEP;
        cluster.run(until);
        assert!(cluster.now.since(healed) < Span::from_ms(10_000), "no leader takes a proposal");
        if let Some(Outcome::Proposed { index, .. }) = cluster.leaders().pop().map(|leader| cluster.propose(leader)) {
            break index;
        }
    };
    while !has_converged(cluster, target) {
        let until = cluster.now + STEP;
        cluster.run(until);
        assert!(cluster.now.since(healed) < Span::from_ms(40_000), "entry {target} is not applied everywhere");
    }
    check_quiet(cluster);
    assert!(cluster.rests > 0, "nobody rested, and a healthy cluster was idle for seconds");
}

fn has_converged(cluster: &Cluster, target: LogIndex) -> bool {
    let leaders = cluster.leaders();
    let Some(leader) = leaders.last().and_then(|at| cluster.nodes[*at].raft.as_ref()) else { return false };
    let is_there = |id: NodeId| cluster.nodes[id.0 as usize - 1].machine.applied >= target;
    !leader.config().is_joint() && leader.config().members().all(is_there) && cluster.truth.commit() >= target
}

/// Nobody disturbs a healthy leader, it serves reads, and all machines are the same.
fn check_quiet(cluster: &mut Cluster) {
    let until = cluster.now + Span::from_ms(1500);
    cluster.run(until);
    let leader = cluster.leaders().pop().expect("a healthy cluster keeps its leader");
    let term = cluster.nodes[leader].raft.as_ref().map(raft::Raft::term);
    let confirmed = cluster.nodes[leader].confirmed;
    cluster.read(leader);
    let until = cluster.now + Span::from_ms(1500);
    cluster.run(until);
    let raft = cluster.nodes[leader].raft.as_ref().expect("nobody crashes any more");
    assert!(raft.is_leader() && Some(raft.term()) == term, "a healthy leader was disturbed");
    assert!(cluster.nodes[leader].confirmed > confirmed, "a read at a healthy leader was not confirmed");
    let commit = cluster.truth.commit();
    for member in raft.config().members() {
        let machine = &cluster.nodes[member.0 as usize - 1].machine;
        assert_eq!((machine.applied, machine.hash), (commit, cluster.truth.hash(commit)), "{member} differs");
    }
}
