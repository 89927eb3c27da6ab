//! The scripts of the crash sweep.

use base::mono::Span;
use base::{LogIndex, NodeId};
use raft::ConfigChange;
use shard::Status;

use crate::matrix::client::Client;
use crate::matrix::rig::{Rig, Shape};

/// A command may wait for an election or two, and for the doubt about a last frame.
const PATIENCE: Span = Span::from_ms(40_000);

/// What happens next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// So many folders.
    Put(u64),
    /// All nodes make a checkpoint.
    Checkpoint,
    /// The lead goes to this seat.
    Transfer(usize),
    /// A seat stops and stays down.
    Down(usize),
    /// It comes back.
    Up(usize),
    /// Node 4 comes in; or node 3 leaves; or both in one change.
    Add,
    Remove,
    Replace,
    /// Who leads is cut off and takes commands that nobody will see; the others go on.
    Strand,
    /// Nobody is cut off any more.
    Heal,
    /// Power is cut everywhere, and all come back.
    Blackout,
    /// Time passes.
    Wait(u64),
}

use Step::{Add, Blackout, Checkpoint, Down, Heal, Put, Remove, Replace, Strand, Transfer, Up, Wait};

/// A short story.
#[derive(Debug)]
pub(super) struct Script {
    pub name: &'static str,
    nodes: u64,
    groups: u32,
    trailing: u64,
    steps: &'static [Step],
    /// Nodes that are members no more in the end.
    pub lost_max: u32,
}

const fn script(name: &'static str, nodes: u64, trailing: u64, lost_max: u32, steps: &'static [Step]) -> Script {
    Script { name, nodes, groups: 1, trailing, steps, lost_max }
}

/// All of them.
pub(super) const SCRIPTS: [Script; 14] = [
    script("puts", 3, 10_000, 0, &[Put(8)]),
    Script { groups: 3, ..script("puts beside other groups", 3, 10_000, 0, &[Put(4), Wait(100), Put(4)]) },
    script("checkpoint", 3, 2, 0, &[Put(4), Checkpoint, Wait(50), Put(4), Checkpoint, Put(2)]),
    script("transfer", 3, 10_000, 0, &[Put(2), Transfer(2), Put(2), Transfer(0), Put(2)]),
    script("down and up", 3, 10_000, 0, &[Put(2), Down(1), Put(3), Up(1), Put(2)]),
    script("snapshot", 3, 1, 0, &[Put(2), Down(2), Put(6), Checkpoint, Wait(50), Put(2), Up(2), Wait(500), Put(2)]),
    script("add", 4, 10_000, 0, &[Put(2), Add, Put(2), Wait(1500), Put(2)]),
    script("add by snapshot", 4, 1, 0, &[Put(6), Checkpoint, Wait(50), Put(2), Add, Wait(1500), Put(2)]),
    script("remove", 3, 10_000, 1, &[Put(2), Remove, Put(2), Wait(500), Put(2)]),
    script("replace", 4, 1, 1, &[Put(4), Checkpoint, Wait(50), Down(2), Replace, Put(2), Wait(1500), Put(2)]),
    script("stranded", 3, 10_000, 0, &[Put(2), Strand, Put(3), Heal, Wait(500), Put(2)]),
    script("stranded twice", 3, 10_000, 0, &[Put(1), Strand, Put(2), Heal, Wait(700), Strand, Put(2), Heal, Put(2)]),
    script("blackout", 3, 10_000, 0, &[Put(3), Blackout, Put(3), Blackout, Put(2)]),
    script(
        "blackout after a checkpoint",
        3,
        2,
        0,
        &[Put(5), Checkpoint, Wait(20), Blackout, Put(3), Strand, Put(2), Heal, Put(1)],
    ),
];

impl Script {
    pub fn rig(&self) -> Rig {
        let shape = Shape { groups: self.groups, trailing: self.trailing, ..Shape::default() };
        Rig::new(shape, self.nodes, 3)
    }

    /// Plays it from the first start of all nodes on.
    pub fn play(&self, rig: &mut Rig, client: &mut Client) {
        rig.start_all();
        if !client.begin(rig) {
            return rig.break_claim("the first commands were not answered".to_owned());
        }
        for step in self.steps {
            play(rig, client, *step);
        }
    }
}

fn play(rig: &mut Rig, client: &mut Client, step: Step) {
    match step {
        Put(count) => {
            for _ in 0..count {
                // Who is down for good, and who crashes at this moment, may be a majority: then nothing is answered, and
                // the client goes on.
                client.put(rig, PATIENCE);
                rig.run(Span::from_ms(8));
            }
        }
        Checkpoint => {
            rig.seats.iter_mut().filter_map(|seat| seat.shard.as_mut()).for_each(|shard| shard.checkpoint_soon())
        }
        Transfer(to) => {
            let (ticket, group, now) = (client.ticket(7), Client::group(rig), rig.now);
            let target = rig.seats[to].id;
            if let Some(leader) = rig.leader(group)
                && let Some(shard) = &mut rig.seats[leader].shard
            {
                shard.handle_transfer(ticket, group, target, now);
            }
            rig.run(Span::from_ms(20));
        }
        Down(at) => rig.kill(at, 7),
        Up(at) => rig.start(at),
        Add => change(rig, client, &[4], &[]),
        Remove => change(rig, client, &[], &[3]),
        Replace => change(rig, client, &[4], &[3]),
        Strand => {
            if let Some(leader) = rig.leader(Client::group(rig)) {
                rig.isolate(leader, true);
                for _ in 0..3 {
                    client.put_at(rig, leader);
                    rig.run(Span::from_ms(10));
                }
            }
        }
        Heal => {
            for at in (0..rig.seats.len()).filter(|at| rig.seats[*at].is_isolated).collect::<Vec<_>>() {
                rig.isolate(at, false);
            }
        }
        Blackout => {
            for at in 0..rig.seats.len() {
                rig.cut_power(at, at as u64);
            }
            rig.start_all();
        }
        Wait(ms) => rig.run(Span::from_ms(ms)),
    }
}

/// Asks for a change until it is in force.
fn change(rig: &mut Rig, client: &mut Client, add: &[u64], remove: &[u64]) {
    let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    let change = ConfigChange { add_voters: nodes(add), remove: nodes(remove), ..ConfigChange::default() };
    let group = Client::group(rig);
    let end = rig.now + PATIENCE;
    while rig.now < end {
        let (ticket, now) = (client.ticket(8), rig.now);
        let Some(leader) = rig.leader(group) else {
            rig.run(Span::from_ms(20));
            continue;
        };
        let Some(shard) = &mut rig.seats[leader].shard else { continue };
        let voters: Vec<NodeId> = shard.raft(group).map(|raft| raft.config().voters().collect()).unwrap_or_default();
        let is_done =
            nodes(add).iter().all(|id| voters.contains(id)) && !nodes(remove).iter().any(|id| voters.contains(id));
        if is_done && shard.applied_index(group) > LogIndex(0) {
            return;
        }
        shard.handle_change_members(ticket, group, &change, now);
        rig.run(Span::from_ms(20));
        if matches!(rig.answers.remove(&ticket.request), Some((Status::Refused, _))) {
            return;
        }
    }
}
