//! The storage-fault matrix: lost bytes, lost files, failed operations and torn tails, each in a small cluster over the
//! real log, consensus, shard and repair (docs/design/raft.md, "Storage faults").
//!
//! | set | what is lost | what must be |
//! | --- | --- | --- |
//! | masks, frames | every corruption of 4 entries on 3 nodes; of their whole frames | correct where each is intact somewhere, else unavailable |
//! | blocks, errors, lagging, stranded | random records, blocks and sectors | correct while each is intact somewhere |
//! | snapshots | entries of a log that was compacted | correct |
//! | doubts | a node's last frames, or an entry that few have, while others are away | correct once they are back |
//! | files | whole segment files and `meta` | never unsafe |
//! | segments | minorities and helices over several segments | correct |
//! | tails | all after a frame, or a part of the last one | what was persisted is there, and is Clean |
//! | syncs, failures | one operation fails; every one of the first hundred syncs | the process stops where it must; nothing acknowledged is lost |

mod base_run;
pub(crate) mod client;
mod doubts;
mod failures;
mod files;
pub(crate) mod judge;
mod layout;
mod masks;
mod random;
pub(crate) mod rig;
mod syncs;
mod tails;

use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Args;
use judge::Verdict;

use crate::json::Document;

/// One case's end.
#[derive(Clone, Debug)]
pub struct Ended {
    /// It is as it must be.
    pub is_good: bool,
    /// Data is wrong, lost or invented.
    pub is_unsafe: bool,
    /// It must be unavailable.
    pub is_hopeless: bool,
    /// Nodes that will not take part any more although the cluster is well.
    pub lost: u32,
    /// The case and its verdict, in words.
    pub what: String,
}

/// What a case must end as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expected {
    /// Correct; so many nodes may be lost to it.
    Correct { lost_max: u32 },
    /// Unavailable, and says where.
    Unavailable,
    /// Anything but unsafe.
    Safe,
}

impl Expected {
    pub fn judge(self, verdict: Verdict, case: &str) -> Ended {
        let (is_good, is_unsafe, lost) = match (self, &verdict) {
            (_, Verdict::Unsafe(_)) => (false, true, 0),
            (Expected::Correct { lost_max }, Verdict::Correct { lost, .. }) => (*lost <= lost_max, false, *lost),
            (Expected::Unavailable, Verdict::Unavailable(why)) => (!why.is_empty(), false, 0),
            (Expected::Safe, Verdict::Correct { lost, .. }) => (true, false, *lost),
            (Expected::Safe, _) => (true, false, 0),
            _ => (false, false, 0),
        };
        let is_hopeless = self == Expected::Unavailable;
        Ended { is_good, is_unsafe, is_hopeless, lost, what: format!("{case}: {verdict:?}, expected {self:?}") }
    }
}

/// The cases of one set. Built once per thread.
pub(crate) trait Cases {
    fn count(&self) -> u64;
    fn run(&self, case: u64) -> Ended;
}

/// Names a set and makes its cases.
#[derive(Clone, Copy)]
pub struct Set {
    /// As on the command line.
    pub name: &'static str,
    /// Cases of a set that is drawn: by default, and as many as the published experiment made.
    counts: Option<(u64, u64)>,
    /// From the number of cases, where a set is drawn.
    make: fn(u64) -> Box<dyn Cases>,
}

impl Set {
    const fn whole(name: &'static str, make: fn(u64) -> Box<dyn Cases>) -> Set {
        Set { name, counts: None, make }
    }

    const fn drawn(name: &'static str, least: u64, full: u64, make: fn(u64) -> Box<dyn Cases>) -> Set {
        Set { name, counts: Some((least, full)), make }
    }

    fn cases(&self, times: u64, is_full: bool) -> u64 {
        self.counts.map_or(0, |(least, full)| if is_full { full } else { least * times })
    }
}

/// All sets.
pub const SETS: [Set; 13] = [
    Set::whole("masks", |_| Box::new(masks::Masks::of_entries())),
    Set::whole("frames", |_| Box::new(masks::Masks::of_frames())),
    Set::drawn("blocks", 300, 5000, |cases| Box::new(random::Random::new(random::Kind::Blocks, cases))),
    Set::drawn("errors", 300, 5000, |cases| Box::new(random::Random::new(random::Kind::Errors, cases))),
    Set::drawn("lagging", 300, 5000, |cases| Box::new(random::Random::new(random::Kind::Lagging, cases))),
    Set::drawn("snapshots", 300, 1000, |cases| Box::new(random::Random::new(random::Kind::Snapshots, cases))),
    Set::drawn("stranded", 300, 1000, |cases| Box::new(random::Random::new(random::Kind::Stranded, cases))),
    Set::drawn("doubts", 60, 500, |cases| Box::new(doubts::Doubts::new(cases))),
    Set::drawn("files", 300, 1000, |cases| Box::new(files::Files::new(cases))),
    Set::drawn("segments", 96, 500, |cases| Box::new(masks::Segments::new(cases))),
    Set::whole("tails", |_| Box::new(tails::Tails::new())),
    Set::whole("syncs", |_| Box::new(syncs::Syncs)),
    Set::drawn("failures", 156, 1248, |cases| Box::new(failures::Failures::new(cases))),
];

/// What came of a set.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Cases run.
    pub cases: u64,
    /// That ended as they must.
    pub good: u64,
    /// Cases that must be unavailable, and those of them that are.
    pub hopeless: (u64, u64),
    /// Unsafe ones.
    pub unsafes: u64,
    /// Nodes lost in good ones.
    pub lost: u64,
    /// The first that did not, by number.
    pub bad: Vec<(u64, String)>,
}

/// Bad cases that are kept in words.
const BAD_MAX: usize = 20;

/// Runs cases `from..` of a set, at most `most`, on so many threads. `progress` is told how many are done, of how many.
pub fn run_set(set: &Set, cases: u64, only: Option<u64>, threads: usize, progress: impl Fn(u64, u64) + Sync) -> Tally {
    sweep_cases(set.make, cases, only, threads, progress)
}

/// The first case of a set that does not end as it must, and how it ended.
#[must_use]
pub fn first_bad(set: &Set) -> Option<(u64, String)> {
    let cases = (set.make)(set.cases(1, false));
    (0..cases.count())
        .find_map(|case| Some(cases.run(case)).filter(|ended| !ended.is_good).map(|ended| (case, ended.what)))
}

pub(crate) fn sweep_cases(
    make: fn(u64) -> Box<dyn Cases>,
    times: u64,
    only: Option<u64>,
    threads: usize,
    progress: impl Fn(u64, u64) + Sync,
) -> Tally {
    let next = AtomicU64::new(only.unwrap_or(0));
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let cases = make(times);
                let end = only.map_or(cases.count(), |only| (only + 1).min(cases.count()));
                loop {
                    let case = next.fetch_add(1, Ordering::Relaxed);
                    if case >= end {
                        return;
                    }
                    let ended = cases.run(case);
                    let mut tally = tally.lock().expect("no thread panics while it holds this");
                    tally.add(case, ended);
                    if tally.cases % 64 == 0 {
                        progress(tally.cases, end);
                    }
                }
            });
        }
    });
    let mut tally = tally.into_inner().expect("no thread panicked");
    tally.bad.sort();
    tally
}

impl Tally {
    /// For a report.
    pub(crate) fn to_json(&self, name: &str) -> serde_json::Value {
        serde_json::json!({
            "name": name,
            "cases": self.cases,
            "good": self.good,
            "unsafe": self.unsafes,
            "nodes_lost": self.lost,
            "bad": self.bad,
        })
    }

    fn add(&mut self, case: u64, ended: Ended) {
        self.cases += 1;
        self.good += u64::from(ended.is_good);
        self.hopeless.0 += u64::from(ended.is_hopeless);
        self.hopeless.1 += u64::from(ended.is_hopeless && ended.is_good);
        self.unsafes += u64::from(ended.is_unsafe);
        if ended.is_good {
            self.lost += u64::from(ended.lost);
        } else if self.bad.len() < BAD_MAX {
            self.bad.push((case, ended.what));
        }
    }
}

/// What is asked for.
#[derive(Args, Debug)]
pub struct MatrixArgs {
    /// Sets to run; all by default.
    #[arg(long = "set", value_delimiter = ',', value_parser = SETS.map(|set| set.name))]
    sets: Vec<String>,
    /// So many times the least number of cases, where a set is drawn.
    #[arg(long, default_value_t = 1)]
    times: u64,
    /// As many cases as the published experiment made, and more where it made fewer.
    #[arg(long, conflicts_with = "times")]
    full: bool,
    /// This case alone, of each set.
    #[arg(long)]
    case: Option<u64>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

/// Runs the sets that are named, or all, and prints what came of it; true if all is as it must be.
#[must_use]
pub fn run(args: &MatrixArgs, document: &mut Document) -> bool {
    let MatrixArgs { sets: names, times, full, case: only, threads } = args;
    let (only, threads) = (*only, *threads);
    let wanted = |set: &&Set| names.is_empty() || names.iter().any(|name| name == set.name);
    let (mut is_green, mut unsafes) = (true, 0);
    let mut summary = Vec::new();
    let mut sets = Vec::new();
    for set in SETS.iter().filter(wanted) {
        let tally = run_set(set, set.cases(*times, *full), only, threads, |done, of| {
            eprint!("\r{}: {done}/{of}   ", set.name);
            let _ = std::io::stderr().flush();
        });
        eprintln!("\r{}: {} of {} as they must be, {} nodes lost", set.name, tally.good, tally.cases, tally.lost);
        for (case, what) in &tally.bad {
            println!("{} {case}: {what}", set.name);
            println!("  again: dropstone sim matrix --full --set {} --case {case}", set.name);
        }
        sets.push(tally.to_json(set.name));
        is_green &= tally.good == tally.cases;
        unsafes += tally.unsafes;
        let (hopeless, refused) = tally.hopeless;
        let mut line = format!("{} {}/{}", set.name, tally.good - refused, tally.cases - hopeless);
        if hopeless > 0 {
            line.push_str(&format!(" and {refused}/{hopeless}"));
        }
        summary.push(line);
    }
    document.set("sets", sets);
    println!("faults: {}, unsafe {unsafes}", summary.join(", "));
    is_green
}

#[cfg(test)]
mod tests {
    use super::*;

    fn few(name: &str, cases: impl Iterator<Item = u64>) {
        let set = SETS.iter().find(|set| set.name == name).expect("the set is there");
        let made = (set.make)(set.cases(1, false));
        for case in cases {
            let ended = made.run(case);
            assert!(ended.is_good, "{name} {case}: {}", ended.what);
        }
    }

    #[test]
    fn every_61st_mask_ends_as_it_must() {
        few("masks", (0..4096).step_by(61));
    }

    #[test]
    fn a_few_of_each_other_set_end_as_they_must() {
        for set in SETS.iter().filter(|set| set.name != "masks") {
            let count = (set.make)(set.cases(1, false)).count();
            few(set.name, (0..count).step_by((count / 8).max(1) as usize));
        }
    }
}
