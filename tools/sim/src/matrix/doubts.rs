//! Nodes that lost what they acked, and voters that know less than they do: who may vote meanwhile, and whose word that
//! an entry was never there counts (docs/design/raft.md, "Storage faults").
//!
//! ```text
//! Heads    A, B hold X, C lags     A loses its last frames, B is down    A must not elect C
//! Answers  L, A hold X             A loses X; C, D, E never had it, and C follows L still: A must not cut X
//! ```

use base::mono::Span;
use base::record::RECORD_HEADER_BYTES;
use base::{LogIndex, Prng, Term};

use super::base_run::{Past, Story};
use super::judge::judge;
use super::layout::{Layout, PlacedEntry};
use super::rig::Rig;
use super::{Cases, Ended, Expected};
use crate::disk::Spoil;

/// The doubt about a last frame may last 30 s.
const PATIENCE: Span = Span::from_ms(60_000);

/// Half of the cases are about heads, half about answers.
pub(super) struct Doubts {
    /// Node 3 lags in these, by so many entries.
    lagging: Vec<(u64, Past)>,
    /// Of five nodes.
    wide: Past,
    count: u64,
}

impl Doubts {
    pub fn new(count: u64) -> Doubts {
        let lagging = |lag| (lag, Past::new(Story { puts: 6, lag, ..Story::FOUR }));
        let wide = Past::new(Story { nodes: 5, ..Story::FOUR });
        Doubts { lagging: [1, 2, 4].map(lagging).into(), wide, count }
    }

    /// A node cannot read its last frames. Who has them too is down for a while; who never had them asks for its vote.
    fn heads(&self, dice: &mut Prng) -> Ended {
        let (lag, past) = &self.lagging[dice.below(self.lagging.len() as u64) as usize];
        let (mut rig, mut client) = past.begin();
        let at = dice.below(2) as usize;
        let last_of =
            |at: usize| past.layouts[at].entries.iter().filter(|e| e.group == past.group).map(|e| e.index).max();
        // Whoever asks for its vote has all that is left of its log, in half of the cases.
        let known = last_of(2).expect("it has begun");
        let beyond = past.targets.iter().filter(|(index, _)| *index > known).count() as u64;
        let kept = if dice.one_in(2) { 0 } else { dice.below(beyond) };
        let is_lost = |e: &&PlacedEntry| e.group == past.group && e.index.0 > known.0 + kept;
        let first = past.layouts[at].entries.iter().find(is_lost).expect("who does not lag has all").frame;
        if let Some(remains) = &mut rig.seats[at].remains {
            for frame in &past.layouts[at].frames[first..] {
                remains.disk.spoil(frame.segment_seq, frame.place.clone(), Spoil::Unreadable);
            }
        }
        rig.start(at);
        rig.start(2);
        rig.run(Span::from_ms(2_000 + dice.below(4_000)));
        rig.start(1 - at);
        let verdict = judge(&mut rig, &mut client, PATIENCE);
        // What says that these frames were persisted may be elsewhere too: then it is told that it cannot be trusted.
        let case = format!("node {} lost all behind entry {}, node 3 lags by {lag}", at + 1, known.0 + kept);
        Expected::Correct { lost_max: 1 }.judge(verdict, &case)
    }

    /// A follower loses an entry that it alone acked. Three voters have none of it, of whom one gets it after it was
    /// asked, from the leader of old, which commits on the ack of old.
    fn answers(&self, dice: &mut Prng) -> Ended {
        let past = &self.wide;
        let (mut rig, mut client) = past.begin();
        rig.start_all();
        if !client.put(&mut rig, Span::from_ms(20_000)) {
            return Expected::Safe.judge(judge(&mut rig, &mut client, PATIENCE), "nobody leads five nodes");
        }
        rig.run(Span::from_ms(300));
        let leader = rig.leader(past.group).expect("who answered leads");
        let mut others: Vec<usize> = (0..5).filter(|at| *at != leader).collect();
        let loser = others.swap_remove(dice.below(4) as usize);
        let late = others[dice.below(3) as usize];
        others.iter().for_each(|at| rig.kill(*at, 1));
        let settled = last_of(&rig, leader, past).0;
        let asked: Vec<_> = (0..=dice.below(3)).map(|_| client.put_at(&mut rig, leader)).collect();
        rig.run(Span::from_ms(40 + dice.below(60)));
        rig.cut(leader, loser, true);
        others.iter().for_each(|at| rig.cut(leader, *at, true));
        let target = (settled.next(), last_of(&rig, leader, past).1);
        rig.kill(loser, 1);
        let is_spoilt = spoil(&mut rig, loser, past, target);
        rig.start(loser);
        others.iter().for_each(|at| rig.start(*at));
        rig.run(Span::from_ms(2 + dice.below(100)));
        rig.cut(leader, late, false);
        rig.run(Span::from_ms(100 + dice.below(200)));
        let acknowledged = asked.iter().filter(|asked| client.take_answer(&mut rig, asked)).count();
        rig.kill(leader, 1);
        rig.kill(late, 1);
        rig.run(Span::from_ms(3_000 + dice.below(2_000)));
        (0..5).filter(|at| *at != leader).for_each(|at| rig.cut(leader, at, false));
        rig.start(leader);
        rig.start(late);
        let verdict = judge(&mut rig, &mut client, PATIENCE);
        let case = format!(
            "node {} led, node {} lost entry {} ({is_spoilt}), node {} got it late, {acknowledged} acknowledged",
            leader + 1,
            loser + 1,
            target.0,
            late + 1
        );
        Expected::Correct { lost_max: 0 }.judge(verdict, &case)
    }
}

/// The last entry of a node that runs.
fn last_of(rig: &Rig, at: usize, past: &Past) -> (LogIndex, Term) {
    let log = rig.seats[at].shard.as_ref().expect("it runs").log();
    let last = log.last_index(past.group);
    (last, log.term(past.group, last).unwrap_or_default())
}

/// Spoils an entry of a node that does not run; false when it is not there.
fn spoil(rig: &mut Rig, at: usize, past: &Past, target: (LogIndex, Term)) -> bool {
    let Some(remains) = &mut rig.seats[at].remains else { return false };
    let layout = Layout::of(&remains.disk);
    let Some(entry) = layout.entry(past.group, target) else { return false };
    let range = entry.record.start + RECORD_HEADER_BYTES as u32..entry.record.end;
    remains.disk.spoil(entry.segment_seq, range, Spoil::Garble);
    true
}

impl Cases for Doubts {
    fn count(&self) -> u64 {
        self.count
    }

    fn run(&self, case: u64) -> Ended {
        let mut dice = Prng::new(case ^ 0x0d0b_0000);
        if case.is_multiple_of(2) { self.heads(&mut dice) } else { self.answers(&mut dice) }
    }
}
