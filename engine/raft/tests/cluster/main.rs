//! A whole cluster on one thread from one seed: a network that drops, repeats, delays and parts, nodes that crash and
//! lose what was not synced, disks that are slow, members that come and go. Nothing forbidden may happen meanwhile,
//! and after it all is healed the cluster must work again.
//!
//! `RAFT_CLUSTER_SEEDS=first..last`, or a count, runs other seeds; a failure prints its own.

#[path = "../common/mod.rs"]
mod common;
mod node;
mod oracle;
mod world;

use world::{Plan, World};

fn seeds(default_count: u64) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("RAFT_CLUSTER_SEEDS") else { return 0..default_count };
    let (first, last) = text.split_once("..").unwrap_or(("0", &text));
    first.parse().expect("a number")..last.parse().expect("a number")
}

/// Runs every seed; one that fails is named. Returns what happened in all of them.
fn run(default_count: u64, plan: impl Fn(u64) -> Plan) -> [u64; 6] {
    let mut sum = [0; 6];
    for seed in seeds(default_count) {
        let plan = plan(seed);
        let told = format!("seed {seed}, {plan:?}");
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed, plan);
            world.run_faults();
            world.heal_and_check();
            world.figures()
        });
        match result {
            Ok(figures) => sum.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure),
            Err(_) => panic!("failed: {told}"),
        }
    }
    println!("committed, elections, reads, snapshots, configurations, rests: {sum:?}");
    sum
}

#[test]
fn three_nodes_survive_what_networks_and_disks_do() {
    let sum = run(80, |seed| Plan { voters: 3, spares: 0, is_harsh: seed % 2 == 0 });
    assert!(sum[..4].iter().all(|figure| *figure > 0) && sum[5] > 0, "nothing was tested: {sum:?}");
}

#[test]
fn five_nodes_survive_what_networks_and_disks_do() {
    let sum = run(35, |seed| Plan { voters: 5, spares: 0, is_harsh: seed % 2 == 0 });
    assert!(sum[..4].iter().all(|figure| *figure > 0), "nothing was tested: {sum:?}");
}

#[test]
fn members_are_replaced_while_everything_fails() {
    let sum = run(80, |seed| Plan { voters: 3, spares: 2, is_harsh: seed % 3 == 0 });
    assert!(sum.iter().all(|figure| *figure > 0), "nothing was tested: {sum:?}");
}

#[test]
fn a_group_of_one_elects_itself_and_grows() {
    let sum = run(30, |_| Plan { voters: 1, spares: 3, is_harsh: false });
    assert!(sum[0] > 0 && sum[4] > 0, "nothing was tested: {sum:?}");
}
