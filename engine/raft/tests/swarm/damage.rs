//! Disks that lose what they held, while each entry stays whole somewhere: everything committed must come back, and
//! nothing that was not there before.

use base::LogIndex;
use base::mono::Span;
use raft::Health;

use crate::cluster::Cluster;
use crate::{PPM_MAX, STEP, heal, work};

/// One run: clients work, nodes crash with damaged disks, alone or all at once; then the faults end. Returns the reads
/// served by a round, a lease, a follower.
pub fn run_seed(seed: u64, voters: u64) -> [u64; 3] {
    let mut cluster = Cluster::new(seed, voters, PPM_MAX);
    cluster.has_damage = true;
    cluster.nodes.iter_mut().for_each(|node| node.log.keeps_frames = true);
    // Past the wait a quorum must do, and then an entry may be lost whose only copy is at a node that stays away.
    cluster.settings.doubt_wait = None;
    let (one_in, all_one_in) = (20 + cluster.prng.below(60), 100 + cluster.prng.below(200));
    let steps = 200 + cluster.prng.below(400);
    for _ in 0..steps {
        let until = cluster.now + STEP;
        cluster.run(until);
        work(&mut cluster);
        if cluster.prng.one_in(one_in) {
            let at = cluster.prng.below(cluster.nodes.len() as u64) as usize;
            crash(&mut cluster, at);
        }
        if cluster.prng.one_in(all_one_in) {
            // In a random order: the first to be damaged finds the most whole copies elsewhere.
            let (count, first) = (cluster.nodes.len(), cluster.prng.below(16) as usize);
            (0..count).for_each(|at| crash(&mut cluster, (first + at) % count));
        }
        if cluster.prng.one_in(60) {
            let Cluster { faults, prng, .. } = &mut cluster;
            faults.repartition(prng);
        }
        let at = cluster.prng.below(cluster.nodes.len() as u64) as usize;
        // Nor is a copy forgotten while somebody may ask for it.
        let is_damaged = cluster.nodes.iter().any(|node| !node.log.disk.lost.is_empty());
        if !is_damaged && cluster.nodes[at].raft.is_some() && cluster.prng.below(1000) < cluster.faults.checkpoint {
            let trailing = cluster.faults.trailing;
            cluster.nodes[at].checkpoint(trailing);
        }
    }
    heal(&mut cluster);
    cluster.served
}

fn crash(cluster: &mut Cluster, at: usize) {
    if cluster.nodes[at].raft.is_none() {
        return;
    }
    let down = Span::from_ms(1 + cluster.prng.below(1500));
    cluster.crash(at, down);
    match cluster.prng.below(4) {
        0 => {}
        1 => lose_head(cluster, at),
        _ => lose_entries(cluster, at),
    }
}

/// The newest frame is gone, and it may have been acked.
fn lose_head(cluster: &mut Cluster, at: usize) {
    let node = &cluster.nodes[at];
    let Some(end) = node.log.head().filter(|end| *end >= node.disk_machine.applied) else { return };
    let cut = (end.0 + 1..=node.log.disk.last().0).map(LogIndex);
    let cut: Vec<Id> = cut.map(|index| (index, node.log.disk.crc(index))).collect();
    let is_whole_again = |index: &LogIndex| is_whole(cluster, at, (*index, node.log.disk.crc(*index)));
    if !node.log.head_rewrites().iter().all(is_whole_again) {
        return;
    }
    let is_spared =
        cut.iter().all(|id| is_whole(cluster, at, *id) || !(is_held(cluster, at, *id) || cluster.gone.contains(id)));
    // Whoever lost its head cannot say that it never had an entry: so none may be asked for that is whole nowhere.
    let is_lost_whole = |other: usize| {
        let disk = &cluster.nodes[other].log.disk;
        let mut ids = disk.lost.iter().map(|index| (*index, disk.crc(*index)));
        ids.all(|id| (0..cluster.nodes.len()).any(|third| third != at && has_whole(cluster, third, id)))
    };
    if is_spared && (0..cluster.nodes.len()).filter(|other| *other != at).all(is_lost_whole) {
        let node = &mut cluster.nodes[at];
        node.log.lose_head();
        node.was_damaged = true;
        cluster.gone.extend(cut);
    }
}

/// Some entries lose their bytes: those that are whole on another disk, and those that no other disk ever had.
fn lose_entries(cluster: &mut Cluster, at: usize) {
    let node = &cluster.nodes[at];
    let first = node.log.disk.first().max(node.disk_machine.applied.next());
    let last = node.log.disk.last();
    let one_in = [1, 1, 2, 4, 8][cluster.prng.below(5) as usize];
    for index in (first.0..=last.0).map(LogIndex) {
        let id = (index, cluster.nodes[at].log.disk.crc(index));
        let is_in_doubt = || cluster.nodes.iter().any(|node| node.log.disk.health != Health::Clean);
        let is_alone = || !is_held(cluster, at, id) && !cluster.gone.contains(&id) && !is_in_doubt();
        let may_lose = is_whole(cluster, at, id) || is_alone();
        if may_lose && cluster.prng.one_in(one_in) {
            let node = &mut cluster.nodes[at];
            node.log.lose(index);
            node.was_damaged = true;
        }
    }
}

/// An entry by its place and what it is.
pub type Id = (LogIndex, Option<u32>);

/// The state is no copy: it travels as a snapshot, which only a leader sends.
fn has_whole(cluster: &Cluster, at: usize, (index, crc): Id) -> bool {
    let log = &cluster.nodes[at].log;
    // In memory too: there it may have been forgotten already, and the disk follows.
    [&log.disk, &log.memory]
        .iter()
        .all(|image| image.get(index).is_some() && image.crc(index) == crc && !image.lost.contains(&index))
}

/// Another disk has it, bytes and all.
fn is_whole(cluster: &Cluster, at: usize, id: Id) -> bool {
    (0..cluster.nodes.len()).any(|other| other != at && has_whole(cluster, other, id))
}

/// Another disk has it, at least by name.
fn is_held(cluster: &Cluster, at: usize, (index, crc): Id) -> bool {
    let holds = |other: usize| {
        let node = &cluster.nodes[other];
        node.log.disk.crc(index) == crc || node.disk_machine.applied >= index
    };
    (0..cluster.nodes.len()).any(|other| other != at && holds(other))
}
