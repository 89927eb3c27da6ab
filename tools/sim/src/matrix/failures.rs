//! One operation of one node fails once: the process stops where it must, comes back, and nothing acknowledged is lost.

use base::Prng;
use base::limits::LOG_BLOCK_BYTES;
use base::mono::Span;

use super::client::Client;
use super::judge::judge;
use super::rig::{Doom, Failure, OpKind, Rig, Shape};
use super::{Cases, Ended, Expected, Verdict};

const PATIENCE: Span = Span::from_ms(60_000);
/// Calls of each kind that fail, one case each, before the load is another.
const CALLS: u64 = 12;

/// Kind, failure, and whether the process must stop: docs/design/log.md, "Failures".
const PLANS: [(OpKind, Failure, bool); 13] = [
    (OpKind::Sync, Failure::Eio { drops_writes: true }, true),
    (OpKind::Sync, Failure::Eio { drops_writes: false }, true),
    (OpKind::Sync, Failure::NoSpace, true),
    (OpKind::Write, Failure::Eio { drops_writes: false }, true),
    (OpKind::Write, Failure::NoSpace, true),
    (OpKind::Write, Failure::Short, false),
    (OpKind::Prepare, Failure::Eio { drops_writes: false }, true),
    (OpKind::Prepare, Failure::NoSpace, false),
    (OpKind::Activate, Failure::Eio { drops_writes: false }, true),
    (OpKind::Activate, Failure::NoSpace, false),
    (OpKind::Retire, Failure::Eio { drops_writes: false }, true),
    (OpKind::WriteMeta, Failure::Eio { drops_writes: false }, true),
    (OpKind::FaultIn, Failure::Eio { drops_writes: false }, false),
];

pub(super) struct Failures {
    count: u64,
}

impl Failures {
    pub fn new(count: u64) -> Failures {
        Failures { count }
    }
}

impl Cases for Failures {
    fn count(&self) -> u64 {
        self.count
    }

    fn run(&self, case: u64) -> Ended {
        let (kind, failure, must_stop) = PLANS[(case % PLANS.len() as u64) as usize];
        let after = 1 + case / PLANS.len() as u64 % CALLS;
        let turn = case / PLANS.len() as u64 / CALLS;
        let at = ((after + turn) % 3) as usize;
        let mut dice = Prng::new(turn);
        let (wide, pause) = if turn == 0 { (60, 15) } else { (1 + dice.below(100), 1 + dice.below(40)) };
        let shape = Shape { trailing: 4, ..Shape::default() };
        let mut rig = Rig::new(shape, 3, 3);
        let mut client = Client::default();
        rig.seats[at].doom = Some(Doom::Fail { kind, after, failure });
        rig.start_all();
        let mut is_answered = client.begin(&mut rig);
        for put in 0..40 {
            if rig.seats[at].doom.is_none() && put > 8 {
                break;
            }
            if put % 2 == 0
                && let Some(leader) = rig.leader(Client::group(&rig))
            {
                // Frames of more than one block.
                for _ in 0..wide {
                    client.put_at(&mut rig, leader);
                }
            }
            is_answered &= client.put(&mut rig, Span::from_ms(15_000));
            rig.run(Span::from_ms(pause));
            if put % 6 == 5 {
                rig.seats.iter_mut().filter_map(|seat| seat.shard.as_mut()).for_each(|shard| shard.checkpoint_soon());
            }
            // New segments, old ones to read and to retire.
            if put % 10 == 9 && rig.is_up(at) {
                rig.kill(at, put);
                rig.start(at);
            }
        }
        let has_struck = rig.seats[at].doom.take().is_none();
        let name =
            format!("{kind:?} {after} of node {} ends with {failure:?}, load {turn}, struck: {has_struck}", at + 1);
        // Less than a block of progress is a failure.
        let must_stop = rig.seats[at].short_write.map_or(must_stop, |bytes| bytes < LOG_BLOCK_BYTES as u32);
        let stopped = rig.seats[at].stopped.clone();
        let verdict = if !is_answered {
            Verdict::Unavailable("a command was not answered in 15 s".to_owned())
        } else {
            // A power cut at the end: whatever was claimed to be durable must be.
            rig.run(Span::from_ms(100));
            for at in 0..3 {
                rig.cut_power(at, case);
                rig.start(at);
            }
            judge(&mut rig, &mut client, PATIENCE)
        };
        let mut ended = Expected::Correct { lost_max: 0 }.judge(verdict, &name);
        if has_struck && stopped.is_some() != must_stop {
            ended.is_good = false;
            ended.what = format!("{}; stopped: {stopped:?}, must stop: {must_stop}", ended.what);
        }
        ended
    }
}
