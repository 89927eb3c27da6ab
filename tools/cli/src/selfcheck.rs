//! A short load through the real client that proves a cluster: writes, reads back, and says how fast and at which cost.
//!
//! It makes empty files in `/.selfcheck` of the account, as many at once as asked, lists the folder, compares with what
//! was acknowledged, and removes it. **Closed loop**: each of the writers waits for its answer before it sends again, so
//! a stall delays the commands that would have come meanwhile, and they are missing from the percentiles. The figures
//! say what so many writers get, not how latency behaves at a given rate of arrival (docs/BENCHMARKING.md).

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base::Acct;
use clap::Args;
use client::Client;
use hdrhistogram::Histogram;
use meta::{Answer, At, Command, CommitFile, Delete, Mkdir, Outcome, PutMode, Query};

use crate::cluster::{self, Account, NodeReport, Target};

/// The folder that is used and removed.
pub const FOLDER: &str = "/.selfcheck";
/// SHA-256 of no block names: the content hash of an empty file.
const EMPTY_CONTENT_HASH: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// Prove a cluster: write empty files for a while, read them back, print commits/s, p50 and p99.
///
/// Works in the folder /.selfcheck of the account, and removes it at the end.
/// A closed loop: it says what so many writers get, not the latency at a given rate.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  dropstone selfcheck --seconds 10 --in-flight 64")]
pub struct SelfcheckArgs {
    /// How long to write.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Writers, each with one command in flight.
    #[arg(long, default_value_t = IN_FLIGHT_DEFAULT, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
}

/// Writers of `dev`'s check.
pub const IN_FLIGHT_DEFAULT: u16 = 64;

/// What a check has seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Files made and acknowledged.
    pub commits: u64,
    /// From the first command to the last answer.
    pub took: Duration,
    /// Median of the writers' time from command to answer.
    pub p50_us: u64,
    /// 99th percentile of it.
    pub p99_us: u64,
    /// Log syncs of all nodes meanwhile; `None` when one did not tell.
    pub syncs: Option<u64>,
    /// Nodes that were asked for their syncs.
    pub nodes: usize,
    /// Writers.
    pub in_flight: u16,
}

impl Figures {
    /// Commands per second whose outcome is durable on a majority.
    pub fn rate(&self) -> f64 {
        self.commits as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// Three lines for people.
    pub fn text(&self) -> String {
        let Figures { commits, p50_us, p99_us, in_flight, .. } = self;
        let ms = |us: &u64| *us as f64 / 1000.0;
        let mut text = format!(
            "  {:.0} durable commits/s with {in_flight} in flight ({commits} in {:.1} s, all read back)\n  p50 {:.2} ms, p99 {:.2} ms (closed loop)\n",
            self.rate(),
            self.took.as_secs_f64(),
            ms(p50_us),
            ms(p99_us)
        );
        if let Some(syncs) = self.syncs {
            let each = syncs as f64 / self.nodes.max(1) as f64 / (*commits).max(1) as f64;
            text += &format!("  {each:.3} fsyncs per commit on a node ({syncs} on {} nodes)\n", self.nodes);
        } else {
            text += "  fsyncs per commit: unknown, a node did not answer\n";
        }
        text
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "commits": self.commits, "seconds": self.took.as_secs_f64(), "commits_per_s": self.rate(),
            "p50_us": self.p50_us, "p99_us": self.p99_us, "syncs": self.syncs, "nodes": self.nodes,
            "in_flight": self.in_flight, "loop": "closed",
        })
    }
}

/// Runs it as a command.
pub fn run(args: &SelfcheckArgs, target: &Target) -> Result<ExitCode> {
    let client = target.connect()?;
    let acct = Acct(target.account);
    let Some(info) = cluster::find_account(&client, acct)? else {
        bail!("there is no account {acct}; `dropstone account create NAME` makes one");
    };
    let account = Account { acct, root: info.root };
    let figures = check(&client, account, Duration::from_secs(args.seconds), args.in_flight)?;
    if target.json {
        println!("{}", figures.json());
    } else {
        print!("self-check of account {acct}:\n{}", figures.text());
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes for `time` with `in_flight` writers, reads back, removes.
pub fn check(client: &Client, account: Account, time: Duration, in_flight: u16) -> Result<Figures> {
    let Account { acct, root } = account;
    remove_folder(client, account).context("could not remove what an earlier self-check left")?;
    let folder = Command::Mkdir(Mkdir { at: At::path(FOLDER), autorename: false });
    match client.command(acct, root, folder)? {
        outcome if outcome.is_ok() => {}
        other => bail!("could not make {FOLDER}: {other:?}"),
    }
    let before = syncs(client);
    let (commits, took, histogram) = write(client, account, time, in_flight)?;
    let after = syncs(client);
    let listed = count_entries(client, account)?;
    if listed != commits {
        bail!("{commits} files were acknowledged in {FOLDER} and {listed} are there: the cluster is not sound");
    }
    remove_folder(client, account)?;
    let syncs = before.zip(after).map(|((before, _), (after, _))| after.saturating_sub(before));
    let nodes = after.map_or(0, |(_, nodes)| nodes);
    let (p50_us, p99_us) = (histogram.value_at_quantile(0.5), histogram.value_at_quantile(0.99));
    Ok(Figures { commits, took, p50_us, p99_us, syncs, nodes, in_flight })
}

/// Threads, each with one command at a time: the client puts those of all threads into its pipeline.
fn write(client: &Client, account: Account, time: Duration, in_flight: u16) -> Result<(u64, Duration, Histogram<u64>)> {
    let next = AtomicU64::new(0);
    let is_failed = AtomicBool::new(false);
    let all = Mutex::new((new_histogram(), None));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..in_flight {
            scope.spawn(|| {
                let mut mine = new_histogram();
                let mut error = None;
                while begun.elapsed() < time && !is_failed.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let sent = Instant::now();
                    if let Err(why) = put_empty(client, account, number) {
                        is_failed.store(true, Ordering::Relaxed);
                        error = Some(why);
                        break;
                    }
                    // Longer than the bound counts as the bound.
                    mine.saturating_record(sent.elapsed().as_micros() as u64);
                }
                let mut all = all.lock().expect("no writer panics with the lock held");
                all.0.add(&mine).expect("all histograms have the same bounds");
                all.1 = all.1.take().or(error);
            });
        }
    });
    let took = begun.elapsed();
    let (histogram, error) = all.into_inner().expect("no writer panicked");
    match error {
        Some(error) => Err(error),
        None => Ok((histogram.len(), took, histogram)),
    }
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid")
}

fn put_empty(client: &Client, Account { acct, root }: Account, number: u64) -> Result<()> {
    let commit = CommitFile {
        at: At::path(&format!("{FOLDER}/{number:08}")),
        mode: PutMode::Add,
        strict: true,
        content_hash: EMPTY_CONTENT_HASH,
        ..CommitFile::default()
    };
    match client.command(acct, root, Command::CommitFile(commit))? {
        Outcome::Applied(_) => Ok(()),
        other => bail!("file {number} of the self-check was not made: {other:?}"),
    }
}

/// Lists the folder page by page, through a linearizable read each.
fn count_entries(client: &Client, Account { acct, root }: Account) -> Result<u64> {
    let mut position = Vec::new();
    let mut count = 0;
    loop {
        let query = Query::ListPage { at: At::path(FOLDER), recursive: false, position, limit: 0 };
        match client.query(acct, root, query)? {
            Answer::Page { entries, next, .. } => {
                count += entries.len() as u64;
                match next {
                    Some(next) => position = next,
                    None => return Ok(count),
                }
            }
            other => bail!("could not list {FOLDER}: {other:?}"),
        }
    }
}

fn remove_folder(client: &Client, Account { acct, root }: Account) -> Result<()> {
    let delete = Command::Delete(Delete { at: At::path(FOLDER), parent_rev: None });
    match client.command(acct, root, delete)? {
        Outcome::NotFound => Ok(()),
        outcome if outcome.is_ok() => Ok(()),
        other => bail!("could not remove {FOLDER}: {other:?}"),
    }
}

/// Log syncs of all nodes since their start, and how many nodes that are; `None` when one does not answer.
fn syncs(client: &Client) -> Option<(u64, usize)> {
    let map = client.cluster_map().ok()?;
    let reports: Vec<NodeReport> = cluster::reports(client, &map);
    let mut sum = 0;
    for report in &reports {
        sum += report.cores.as_ref().ok()?.iter().map(|core| core.counters.syncs).sum::<u64>();
    }
    Some((sum, reports.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_what_was_counted() {
        let figures = Figures {
            commits: 10_000,
            took: Duration::from_secs(2),
            p50_us: 1500,
            p99_us: 9000,
            syncs: Some(1500),
            nodes: 3,
            in_flight: 64,
        };
        let text = figures.text();
        assert!(text.contains("5000 durable commits/s with 64 in flight (10000 in 2.0 s, all read back)"), "{text}");
        assert!(text.contains("p50 1.50 ms, p99 9.00 ms"), "{text}");
        assert!(text.contains("0.050 fsyncs per commit on a node (1500 on 3 nodes)"), "{text}");
        assert_eq!(figures.json()["commits_per_s"], 5000.0);
        assert!(Figures { syncs: None, ..figures }.text().contains("unknown"));
    }

    #[test]
    fn the_hash_of_nothing_is_the_documented_one() {
        use sha2::{Digest, Sha256};
        assert_eq!(EMPTY_CONTENT_HASH[..], Sha256::digest([])[..]);
    }
}
