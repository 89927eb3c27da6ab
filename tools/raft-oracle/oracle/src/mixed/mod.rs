//! Three simulated nodes, one or two of which run the raft crate: one log, whoever leads.

mod cluster;
mod faults;
mod node;
mod theirs;
mod truth;

use std::panic::{AssertUnwindSafe, catch_unwind};

use base::mono::Span;
use base::{LogIndex, NodeId, Prng};

use self::cluster::Cluster;

/// One step of the scenario.
const STEP: Span = Span::from_ms(10);

/// What a run, or many, did.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Runs.
    pub seeds: u64,
    /// Runs with two nodes of the raft crate; the others have one.
    pub two_theirs: u64,
    /// Terms led by a node of ours.
    pub won_by_ours: u64,
    /// Terms led by a node of the raft crate.
    pub won_by_theirs: u64,
    /// Entries committed.
    pub commits: u64,
    /// Crashes.
    pub crashes: u64,
    /// Runs that healed and converged without a new proposal.
    pub quiet: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.seeds += other.seeds;
        self.two_theirs += other.two_theirs;
        self.won_by_ours += other.won_by_ours;
        self.won_by_theirs += other.won_by_theirs;
        self.commits += other.commits;
        self.crashes += other.crashes;
        self.quiet += other.quiet;
    }
}

/// Runs the seeds `from..to`; each is a run of its own. Returns what they did and the seeds that failed.
pub fn run_seeds(from: u64, to: u64, trace: bool) -> (Counts, Vec<u64>) {
    let (mut counts, mut failed) = (Counts::default(), Vec::new());
    for seed in from..to {
        match catch_unwind(AssertUnwindSafe(|| run_seed(seed, trace))) {
            Ok(of_seed) => counts.add(&of_seed),
            Err(_) => {
                eprintln!("seed {seed} failed; again, with its messages: mixed --seeds {seed}..{} --trace", seed + 1);
                failed.push(seed);
            }
        }
    }
    (counts, failed)
}

/// One run: faults, then none. Panics at the first thing that must not be.
#[must_use]
pub fn run_seed(seed: u64, trace: bool) -> Counts {
    let theirs = 1 + seed % 2;
    let first = (seed / 2) % 3;
    let is_ours: Vec<bool> = (0..3).map(|at| (at + 3 - first) % 3 >= theirs).collect();
    let mut cluster = Cluster::new(seed, &is_ours, trace);
    for _ in 0..200 + cluster.prng.below(600) {
        let until = cluster.now + STEP;
        cluster.run(until);
        work(&mut cluster);
        disturb(&mut cluster);
    }
    let quiet = heal(&mut cluster);
    let won_by_ours = cluster.truth.leaders().filter(|id| is_ours[id.0 as usize - 1]).count() as u64;
    Counts {
        seeds: 1,
        two_theirs: theirs - 1,
        won_by_ours,
        won_by_theirs: cluster.truth.leaders().count() as u64 - won_by_ours,
        commits: cluster.truth.commit().0,
        crashes: cluster.crashes,
        quiet: u64::from(quiet),
    }
}

/// Clients write at every node that believes to lead.
fn work(cluster: &mut Cluster) {
    for at in cluster.leaders() {
        for _ in 0..cluster.prng.below(3) {
            cluster.propose(at);
        }
    }
}

fn happens(prng: &mut Prng, per_mille: u64) -> bool {
    prng.below(1000) < per_mille
}

fn disturb(cluster: &mut Cluster) {
    let count = cluster.nodes.len();
    let at = cluster.prng.below(count as u64) as usize;
    let is_blackout = happens(&mut cluster.prng, cluster.faults.blackout);
    if is_blackout || happens(&mut cluster.prng, cluster.faults.crash) {
        let most = if cluster.prng.one_in(4) { 3000 } else { 300 };
        for victim in (0..count).filter(|victim| is_blackout || *victim == at) {
            let down = Span::from_ms(1 + cluster.prng.below(most));
            cluster.crash(victim, down);
        }
    }
    if happens(&mut cluster.prng, cluster.faults.partition) {
        let Cluster { faults, prng, .. } = cluster;
        faults.repartition(prng);
    }
    if happens(&mut cluster.prng, cluster.faults.checkpoint) {
        cluster.nodes[at].checkpoint();
    }
    if happens(&mut cluster.prng, cluster.faults.campaign) {
        cluster.campaign(at);
    }
    let Some(leader) = cluster.leaders().pop() else { return };
    if happens(&mut cluster.prng, cluster.faults.transfer) {
        cluster.transfer(leader, NodeId(at as u64 + 1));
    }
}

/// Ends all faults; then there must be a leader soon, and everything must be everywhere. True if that held before
/// anything new was proposed.
fn heal(cluster: &mut Cluster) -> bool {
    cluster.faults.heal();
    cluster.restart_all();
    let healed = cluster.now;
    run_until(cluster, healed + Span::from_ms(10_000), |cluster| !cluster.leaders().is_empty());
    assert!(!cluster.leaders().is_empty(), "no leader 10 s after the faults ended");
    // Long enough for late messages to be gone.
    let until = cluster.now + Span::from_ms(6_000);
    cluster.run(until);
    let is_quiet = has_converged(cluster);
    let is_taken = |cluster: &mut Cluster| cluster.leaders().pop().is_some_and(|leader| cluster.propose(leader));
    let until = cluster.now + Span::from_ms(5_000);
    while !is_taken(cluster) {
        assert!(cluster.now < until, "no leader takes a proposal");
        let next = cluster.now + STEP;
        cluster.run(next);
    }
    let until = cluster.now + Span::from_ms(10_000);
    run_until(cluster, until, has_converged);
    assert!(has_converged(cluster), "not everything is applied everywhere 10 s after the last proposal");
    check_quiet(cluster);
    is_quiet
}

fn run_until(cluster: &mut Cluster, until: base::Mono, is_done: impl Fn(&Cluster) -> bool) {
    while cluster.now < until && !is_done(cluster) {
        let next = cluster.now + STEP;
        cluster.run(next);
    }
}

fn has_converged(cluster: &Cluster) -> bool {
    let Some(leader) = cluster.leaders().pop() else { return false };
    let last = cluster.nodes[leader].twin.borrow().memory.last();
    last > LogIndex(0) && cluster.nodes.iter().all(|node| node.machine.0 >= last)
}

/// Nobody disturbs a healthy leader, and all machines are the same.
fn check_quiet(cluster: &mut Cluster) {
    let of_leader = |cluster: &Cluster| {
        let at = cluster.leaders().pop().expect("a healthy cluster keeps its leader");
        (at, cluster.nodes[at].engine.as_ref().map(node::Engine::term))
    };
    let before = of_leader(cluster);
    let until = cluster.now + Span::from_ms(3000);
    cluster.run(until);
    assert_eq!(of_leader(cluster), before, "a healthy leader was disturbed");
    let commit = cluster.truth.commit();
    for node in &cluster.nodes {
        assert_eq!(node.machine, (commit, cluster.truth.hash(commit)), "{} differs", node.id);
    }
}
