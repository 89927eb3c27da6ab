//! The crash sweep: short scripts, run once for every I/O of one node, with a power cut right after that I/O and another one
//! while the node recovers. Nothing acknowledged may be lost, and the cluster must be well in the end.

mod scripts;

use std::io::Write as _;

use base::mono::Span;
use clap::Args;

use crate::json::Document;
use crate::matrix::client::Client;
use crate::matrix::judge::judge;
use crate::matrix::rig::{Doom, Rig};
use crate::matrix::{Cases, Ended, Expected, sweep_cases};
use scripts::{SCRIPTS, Script};

const PATIENCE: Span = Span::from_ms(60_000);
/// I/Os of a recovery at one of which power is cut again.
const RECOVERY_IOS: u64 = 8;

/// What is asked for.
#[derive(Args, Debug)]
pub struct SweepArgs {
    /// So many different power cuts at each I/O.
    #[arg(long, default_value_t = 1)]
    times: u64,
    /// This case alone.
    #[arg(long)]
    case: Option<u64>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Which node of a script at which I/O.
#[derive(Clone, Copy, Debug)]
struct Point {
    script: usize,
    at: usize,
    io: u64,
    turn: u64,
}

struct Sweep {
    points: Vec<Point>,
}

impl Sweep {
    fn new(times: u64) -> Sweep {
        let mut points = Vec::new();
        for (script, played) in SCRIPTS.iter().enumerate() {
            let mut rig = played.rig();
            let mut client = Client::default();
            played.play(&mut rig, &mut client);
            // One who leads at first and one who does not, and who joins.
            for at in [0, 2, 3].into_iter().filter(|at| *at < rig.seats.len()) {
                let ios = rig.seats[at].ops;
                points.extend((1..=ios).flat_map(|io| (0..times).map(move |turn| Point { script, at, io, turn })));
            }
        }
        Sweep { points }
    }
}

fn play(script: &Script, point: Point) -> Ended {
    let mut rig = script.rig();
    let mut client = Client::default();
    let seed = base::mix64(point.io << 16 | (point.at as u64) << 8 | point.turn);
    let again = Some(1 + seed % RECOVERY_IOS);
    rig.seats[point.at].doom = Some(Doom::Crash { after: point.io, seed, again });
    script.play(&mut rig, &mut client);
    settle(&mut rig);
    let verdict = judge(&mut rig, &mut client, PATIENCE);
    let name = format!(
        "{}: power cut after I/O {} of node {}, and after {again:?} of its recovery, dice {}",
        script.name,
        point.io,
        point.at + 1,
        point.turn
    );
    Expected::Correct { lost_max: script.lost_max }.judge(verdict, &name)
}

/// Everybody runs and hears everybody; what was still to happen to a node does not.
fn settle(rig: &mut Rig) {
    for at in 0..rig.seats.len() {
        rig.seats[at].doom = None;
        if rig.seats[at].is_isolated {
            rig.isolate(at, false);
        }
        rig.start(at);
    }
}

impl Cases for Sweep {
    fn count(&self) -> u64 {
        self.points.len() as u64
    }

    fn run(&self, case: u64) -> Ended {
        let point = self.points[case as usize];
        play(&SCRIPTS[point.script], point)
    }
}

/// Runs the sweep and prints what came of it; true if all is as it must be.
#[must_use]
pub fn run(args: &SweepArgs, document: &mut Document) -> bool {
    let tally = sweep_cases(
        |times| Box::new(Sweep::new(times)),
        args.times,
        args.case,
        args.threads,
        |done, of| {
            eprint!("\rsweep: {done}/{of}   ");
            let _ = std::io::stderr().flush();
        },
    );
    eprintln!();
    for (case, what) in &tally.bad {
        println!("sweep {case}: {what}");
        println!("  again: dropstone sim sweep --case {case}");
    }
    document.set("sets", vec![tally.to_json("sweep")]);
    println!("sweep: {} scripts, {}/{}, unsafe {}", SCRIPTS.len(), tally.good, tally.cases, tally.unsafes);
    tally.good == tally.cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_points_of_every_script_end_well() {
        let sweep = Sweep::new(1);
        let step = (sweep.points.len() / 60).max(1);
        for case in (0..sweep.points.len()).step_by(step) {
            let ended = sweep.run(case as u64);
            assert!(ended.is_good, "sweep {case}: {}", ended.what);
        }
    }

    #[test]
    fn scripts_do_what_they_say_when_nobody_crashes() {
        for script in &SCRIPTS {
            let mut rig = script.rig();
            let mut client = Client::default();
            script.play(&mut rig, &mut client);
            assert!(client.acknowledged.len() >= 2, "{}", script.name);
            settle(&mut rig);
            let verdict = judge(&mut rig, &mut client, PATIENCE);
            assert!(Expected::Correct { lost_max: script.lost_max }.judge(verdict, script.name).is_good);
        }
    }
}
