//! Random clusters: one seed is one run of three or five nodes under faults, then healed. What must hold is checked
//! after every step (`swarm/truth.rs`) and once more at the end.
//!
//! `RAFT_SEEDS=n` runs more seeds, `RAFT_SEED=n` one, `RAFT_TRACE=1` prints its messages.

#[path = "swarm/cluster.rs"]
mod cluster;
#[path = "swarm/damage.rs"]
mod damage;
#[path = "swarm/faults.rs"]
mod faults;
#[path = "swarm/log_twin.rs"]
mod log_twin;
#[path = "swarm/node.rs"]
mod node;
#[path = "swarm/truth.rs"]
mod truth;

use base::mono::Span;
use base::{LogIndex, Mono, NodeId, Term};
use cluster::Cluster;
use raft::{ConfigChange, Outcome};

/// By how much clocks are wrong at most: as much as leases allow for (docs/design/raft.md, Leases).
const PPM_MAX: u64 = 10_000;
/// One step of the scenario.
const STEP: Span = Span::from_ms(10);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

fn run_seeds(first: u64, voters: u64, count: u64) {
    run_many(first, voters, count, run_seed);
}

fn run_many(first: u64, voters: u64, count: u64, run_seed: fn(u64, u64) -> [u64; 3]) {
    if let Some(seed) = number("RAFT_SEED") {
        run_seed(seed, voters);
        return;
    }
    let mut served = [0; 3];
    for seed in first..first + number("RAFT_SEEDS").unwrap_or(count) {
        match std::panic::catch_unwind(|| run_seed(seed, voters)) {
            Ok(more) => served.iter_mut().zip(more).for_each(|(sum, more)| *sum += more),
            Err(panic) => {
                eprintln!("{voters} voters, seed {seed} failed; again: RAFT_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("reads by a round, a lease, a follower: {served:?}");
    // Where nothing is lost on the way a lease confirms whatever a round could.
    assert!(served[1..].iter().all(|count| *count > 0), "one kind of read was never served: {served:?}");
}

#[test]
fn three_voters_and_a_newcomer_stay_one_log_under_faults() {
    run_seeds(0, 3, 120);
}

#[test]
fn five_voters_and_a_newcomer_stay_one_log_under_faults() {
    run_seeds(1_000_000, 5, 60);
}

/// A leader whose clock is slow is cut off from voters whose clocks are fast, while it serves reads. Within the bound
/// that leases allow for nothing happens; far beyond it the checks must find reads that are stale.
#[test]
fn a_lease_outlives_the_loyalty_of_voters_only_with_clocks_beyond_the_bound() {
    let caught = |ppm| (0..20).filter(|seed| is_stale(*seed, ppm)).count();
    assert_eq!(caught(PPM_MAX as i64), 0);
    assert_eq!(caught(500_000), 20);
}

/// Did a check find that a lease held while another leader committed?
fn is_stale(seed: u64, ppm: i64) -> bool {
    let result = std::panic::catch_unwind(|| {
        let mut cluster = Cluster::new(seed, 3, 0);
        cluster.faults.heal();
        let run = |cluster: &mut Cluster, ms: u64| {
            for _ in 0..ms / 10 {
                let until = cluster.now + STEP;
                cluster.run(until);
                for at in cluster.leaders() {
                    cluster.propose(at);
                    cluster.read(at);
                }
            }
        };
        run(&mut cluster, 3000);
        let leader = cluster.leaders().pop().expect("nothing disturbs an election");
        for at in 0..cluster.nodes.len() {
            let (now, clock) = (cluster.now, &mut cluster.nodes[at].clock);
            clock.set_rate(if at == leader { -ppm } else { ppm }, now);
        }
        run(&mut cluster, 1000);
        let leader = cluster.leaders().pop().expect("its heartbeats arrive");
        cluster.faults.isolate(leader);
        run(&mut cluster, 2000);
        assert!(cluster.leaders().len() > 1 || cluster.leaders() != [leader], "the others elected nobody");
    });
    let Err(panic) = result else { return false };
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    assert!(text.contains("has a lease while") || text.contains("stale"), "{text}");
    true
}

#[test]
fn what_was_committed_comes_back_from_damaged_disks() {
    run_many(2_000_000, 3, 40, damage::run_seed);
    run_many(3_000_000, 5, 120, damage::run_seed);
}

/// Work, work, rest.
const PHASE: Span = Span::from_ms(700);

/// Returns the reads served by a round, a lease, a follower.
fn run_seed(seed: u64, voters: u64) -> [u64; 3] {
    let mut cluster = Cluster::new(seed, voters, PPM_MAX);
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
    cluster.served
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
    let at = cluster.prng.below(cluster.nodes.len() as u64) as usize;
    if cluster.is_awake(at) && cluster.prng.one_in(2) {
        cluster.follower_read(at);
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
    if cluster.is_awake(at) && happens(cluster, cluster.faults.suspend) {
        let span = Span::from_ms(1 + cluster.prng.below(1500));
        cluster.suspend(at, span);
    }
    if cluster.is_awake(at) && happens(cluster, cluster.faults.checkpoint) {
        let trailing = cluster.faults.trailing;
        cluster.nodes[at].checkpoint(trailing);
    }
    if cluster.is_awake(at) && happens(cluster, cluster.faults.campaign) {
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
    let mut target = propose(cluster, healed);
    while !has_converged(cluster, target.0) {
        let until = cluster.now + STEP;
        cluster.run(until);
        assert!(cluster.now.since(healed) < Span::from_ms(40_000), "entry {target:?} is not applied everywhere");
        // A leader that was about to fall took it.
        let newest = cluster.leaders().pop().and_then(|at| cluster.nodes[at].raft.as_ref()).map(raft::Raft::term);
        if newest > Some(target.1) {
            target = propose(cluster, healed);
        }
    }
    check_quiet(cluster);
    assert!(cluster.rests > 0 || cluster.has_damage, "nobody rested, and a healthy cluster was idle for seconds");
}

/// Proposes at whoever leads, until it is taken: its index and term.
fn propose(cluster: &mut Cluster, healed: Mono) -> (LogIndex, Term) {
    loop {
        let until = cluster.now + STEP;
        cluster.run(until);
        assert!(cluster.now.since(healed) < Span::from_ms(20_000), "no leader takes a proposal");
        let outcome = cluster.leaders().pop().map(|leader| cluster.propose(leader));
        if let Some(Outcome::Proposed { index, term }) = outcome {
            return (index, term);
        }
    }
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
