//! How a case ended.

use base::LogIndex;
use base::mono::Span;
use raft::Health;

use super::client::Client;
use super::rig::Rig;

/// What became of the data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// All that was acknowledged is served, by all nodes that may serve alike; new commands are taken.
    Correct {
        /// Nodes that do not take part any more: quarantined, or their log refused.
        lost: u32,
        /// What they say.
        why: String,
    },
    /// Nothing is served, and why is told.
    Unavailable(String),
    /// Wrong, lost or invented.
    Unsafe(String),
}

/// Runs until all is well or `patience` is over.
pub(crate) fn judge(rig: &mut Rig, client: &mut Client, patience: Span) -> Verdict {
    judge_with(rig, client, patience, &[])
}

/// As [`judge`]; the seats of `down` are not expected to run.
pub(crate) fn judge_with(rig: &mut Rig, client: &mut Client, patience: Span, down: &[usize]) -> Verdict {
    let end = rig.now + patience;
    let mut has_written = false;
    while rig.now < end && rig.broken.is_none() {
        // Cheap: a turn moves little; whether all is well is asked now and then.
        let again = end.min(rig.now + Span::from_ms(20));
        while rig.now < again {
            rig.turn(again);
        }
        if !has_written {
            if rig.leader(Client::group(rig)).is_some() {
                let left = Span::from_ms((end.since(rig.now).as_ms()).min(3_000));
                has_written = client.put(rig, left);
            }
        } else if let Some(takers) = converged(rig, down) {
            return compare(rig, client, &takers);
        }
    }
    if let Some(what) = rig.broken.clone() {
        return Verdict::Unsafe(what);
    }
    for at in 0..rig.seats.len() {
        if let Some(listing) = client.listing(rig, at)
            && let Some(path) = listing.difference(&client.asked).next()
        {
            return Verdict::Unsafe(format!("node {} invented {path}", rig.seats[at].id));
        }
    }
    Verdict::Unavailable(names(rig, down))
}

/// The seats that take part, once all of them are at the same point.
fn converged(rig: &Rig, down: &[usize]) -> Option<Vec<usize>> {
    let group = Client::group(rig);
    let leader = rig.leader(group)?;
    let config = rig.seats[leader].shard.as_ref()?.raft(group)?.config();
    let members: Vec<_> = config.members().collect();
    let goal = rig.seats[leader].shard.as_ref()?.raft(group)?.commit_index();
    let mut takers = Vec::new();
    for (at, seat) in rig.seats.iter().enumerate() {
        if down.contains(&at) || seat.refused.is_some() || !members.contains(&seat.id) {
            continue;
        }
        let shard = seat.shard.as_ref()?;
        let raft = shard.raft(group)?;
        match raft.health() {
            Health::Quarantined => continue,
            Health::Clean => {}
            _ => return None,
        }
        if shard.applied_index(group) < goal || shard.applied_index(group) == LogIndex(0) {
            return None;
        }
        takers.push(at);
    }
    Some(takers)
}

fn compare(rig: &mut Rig, client: &mut Client, takers: &[usize]) -> Verdict {
    for at in takers {
        let id = rig.seats[*at].id;
        let Some(listing) = client.listing(rig, *at) else {
            return Verdict::Unavailable(format!("node {id} answers no list"));
        };
        if let Some(path) = client.acknowledged.difference(&listing).next() {
            let lost = client.acknowledged.difference(&listing).count();
            return Verdict::Unsafe(format!("node {id} has lost {lost} acknowledged folders, {path} for one"));
        }
        if let Some(path) = listing.difference(&client.asked).next() {
            return Verdict::Unsafe(format!("node {id} invented {path}"));
        }
    }
    match rig.broken.clone() {
        Some(what) => Verdict::Unsafe(what),
        None => Verdict::Correct { lost: (rig.seats.len() - takers.len()) as u32, why: names(rig, &[]) },
    }
}

/// Group and range of what is missing, node by node.
fn names(rig: &Rig, down: &[usize]) -> String {
    let group = Client::group(rig);
    let mut lines = Vec::new();
    for (at, seat) in rig.seats.iter().enumerate() {
        let id = seat.id;
        if let Some(reason) = &seat.refused {
            lines.push(format!("node {id} refuses: {reason}"));
        }
        let Some(shard) = &seat.shard else { continue };
        let Some(raft) = shard.raft(group) else { continue };
        let faulty: Vec<LogIndex> = shard.log().faulty(group).collect();
        match (raft.health(), faulty.first(), faulty.last()) {
            (Health::Faulty, Some(first), Some(last)) => {
                lines.push(format!("node {id}: group {group}: entries {first} to {last} lost"));
            }
            (Health::Clean, ..) => {}
            (health, ..) => {
                let last = shard.log().last_index(group);
                lines.push(format!("node {id}: group {group}: {health:?} behind entry {last}"));
            }
        }
        if down.contains(&at) {
            lines.push(format!("node {id} is down"));
        }
    }
    lines.join("; ")
}
