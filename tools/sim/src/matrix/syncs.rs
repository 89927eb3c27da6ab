//! The n-th sync of a node fails, for every n of a run of a hundred commits: the process stops, whatever the disk kept, comes
//! back, and nothing acknowledged is lost. In a cluster, and on a node alone, where nobody else holds anything.

use base::mono::Span;

use super::client::Client;
use super::judge::judge;
use super::rig::{Doom, Failure, OpKind, Rig, Shape};
use super::{Cases, Ended, Expected, Verdict};

/// The doubt about a last frame may last 30 s.
const PATIENCE: Span = Span::from_ms(60_000);
/// Commits of a run, one after the other, each in a frame of its own.
const COMMITS: u64 = 100;
/// Commits after the failure.
const MORE: u64 = 5;

/// What a failed sync leaves: the pages are forgotten; they are there until the power goes; it is the space that is missing.
const FAILURES: [Failure; 3] =
    [Failure::Eio { drops_writes: true }, Failure::Eio { drops_writes: false }, Failure::NoSpace];
const NODES: [u64; 2] = [3, 1];

pub(super) struct Syncs;

impl Cases for Syncs {
    fn count(&self) -> u64 {
        COMMITS * FAILURES.len() as u64 * NODES.len() as u64
    }

    fn run(&self, case: u64) -> Ended {
        let after = 1 + case % COMMITS;
        let failure = FAILURES[(case / COMMITS % FAILURES.len() as u64) as usize];
        let nodes = NODES[(case / COMMITS / FAILURES.len() as u64) as usize];
        let at = (case % nodes) as usize;
        let mut rig = Rig::new(Shape::default(), nodes, nodes);
        let mut client = Client::default();
        rig.seats[at].doom = Some(Doom::Fail { kind: OpKind::Sync, after, failure });
        rig.start_all();
        let mut is_answered = client.begin(&mut rig);
        let mut left = MORE;
        for _ in 0..COMMITS {
            is_answered &= client.put(&mut rig, PATIENCE);
            if rig.seats[at].doom.is_none() {
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        let has_struck = rig.seats[at].doom.take().is_none();
        let stopped = rig.seats[at].stopped.clone();
        let verdict = if is_answered {
            // Power goes everywhere: whatever was claimed to be durable must be.
            for at in 0..nodes as usize {
                rig.cut_power(at, case);
                rig.start(at);
            }
            judge(&mut rig, &mut client, PATIENCE)
        } else {
            Verdict::Unavailable("a command was not answered".to_owned())
        };
        let name = format!("sync {after} of node {} of {nodes} ends with {failure:?}, stopped: {stopped:?}", at + 1);
        let mut ended = Expected::Correct { lost_max: 0 }.judge(verdict, &name);
        ended.is_good &= has_struck && stopped.is_some();
        ended
    }
}
