//! End to end: real processes of the release binary, real files, real kills.
//!
//! Each suite makes its own cluster in a temporary directory, on free ports of the loopback, and leaves nothing behind
//! but on failure, when it names the directory with all logs.

mod bad_input;
mod bench;
mod cluster;
mod compare;
mod damaged_log;
mod damaged_store;
mod dev;
mod disk;
mod faults;
mod files;
mod full_log;
mod full_store;
mod generator;
mod http_load;
mod load;
mod maestral_kills;
mod members;
mod memcache;
mod network;
mod notify;
mod overload;
mod powercut;
mod rclone;
mod registers;
mod roles;
mod sdk;
mod served;
mod small_disk;
mod sync;
mod syscalls;
mod tree;
mod wake;
mod watch;

use std::time::Instant;

use anyhow::{Context, Result, bail};

type Suite = (&'static str, &'static str, fn() -> Result<()>);

const SUITES: &[Suite] = &[
    ("tree", "put and get of a real tree while the leader is killed; state hashes; restart of all", tree::run),
    ("members", "a wiped disk is replaced under a new id and catches up by snapshot", members::run),
    ("memcache", "tools of libmemcached read what was put, and change nothing", memcache::run),
    ("watch", "watch wakes at once and misses nothing over a change of leader", watch::run),
    ("notify", "200 clients wait while notifiers, gateways and metaservers are killed: nobody sleeps", notify::run),
    ("notify-wake", "10,000 clients wait: how long from a commit to their answers", wake::run),
    ("bad-input", "bad requests, garbage on every port, a full disk, a directory in use", bad_input::run),
    ("syscalls", "one io_uring_enter loop per core; fewer syncs than commits", syscalls::run),
    ("powercut", "the power of ext4 disks is cut under a live load; nothing acknowledged is lost", powercut::run),
    (
        "faults",
        "nodes are killed, paused and cut off under full load; nothing is lost, histories are linearizable",
        faults::run,
    ),
    (
        "overload",
        "twice the load that saturates: nothing is lost, memory is bounded, and it is over when it is",
        overload::run,
    ),
    (
        "full-log",
        "a disk is full until the log can take no more; it is answered, and goes on when there is space",
        full_log::run,
    ),
    (
        "full-store",
        "a disk is below its reserve, then full: reads and deletes go on, the rest is refused with the reason",
        full_store::run,
    ),
    (
        "damaged-log",
        "missing and short segment files are refused by name, and are all there again when put back",
        damaged_log::run,
    ),
    (
        "damaged-store",
        "a table rots: its groups get their state from their leaders, the node and all others go on",
        damaged_store::run,
    ),
    ("dev", "dev proves itself, restarts on its data, stops cleanly", dev::run),
    ("dropbox-sdk", "the unmodified Python SDK does all that the gateway serves, over HTTPS", sdk::run),
    ("dropbox-js", "the unmodified JS SDK, oldest and newest, does the same", sdk::run_js),
    ("rclone", "Debian's rclone through client-proxy: a real tree goes there, is changed, and comes back", rclone::run),
    ("rclone-kills", "servers of every role are killed while rclone copies there and back", rclone::run_kills),
    ("maestral", "two unmodified Maestral clients keep two folders in sync, conflicts too", sdk::run_maestral),
    (
        "http-load",
        "256 writers in one folder, a file of 10 GiB, a listing of a million files, over HTTPS",
        http_load::run,
    ),
    ("outside-suites", "the clients' own test suites, from checkouts that DROPSTONE_SUITES names", sdk::run_outside),
    (
        "web",
        "the web page in headless Chromium: mouse, keyboard, live updates, resumed uploads, pictures",
        sdk::run_web,
    ),
    (
        "maestral-kills",
        "two Maestral clients while gateway, content host, notifier and metaservers are killed in turn",
        maestral_kills::run,
    ),
    ("sync", "two `dropstone sync` keep two folders equal while nodes and clients are killed", sync::run),
    ("bench", "bench quick finds nothing wrong and leaves nothing; an interrupt keeps its files", bench::run),
    ("compare", "the same commits to us and to peers, by turns; all come back, nothing is left", compare::run),
    ("dev-limits", "the same as an ordinary user with default limits", dev::run_with_limits),
];

/// What runs when it is named: a measurement, and what maestral-kills shows as well. CI has to end in 90 minutes.
const WHEN_NAMED: &[&str] = &["notify-wake", "rclone-kills"];

/// Runs the suites named, or all; a suite that cannot run here says so by name.
pub fn run(names: &[String]) -> Result<()> {
    if names.iter().any(|name| matches!(name.as_str(), "list" | "--list" | "--help")) {
        SUITES.iter().for_each(|(name, what, _)| println!("{name:12} {what}"));
        return Ok(());
    }
    if let [inside, name] = names
        && inside == disk::INSIDE
    {
        return match name.as_str() {
            "powercut" => powercut::run_inside(),
            "full-log" => full_log::run_inside(),
            "full-store" => full_store::run_inside(),
            other => bail!("suite {other:?} has no part that runs in a namespace of its own"),
        };
    }
    if let [inside, name] = names
        && inside == network::INSIDE
    {
        return match name.as_str() {
            "faults" => faults::run_inside(),
            other => bail!("suite {other:?} has no part that runs in a network of its own"),
        };
    }
    if let Some(unknown) = names.iter().find(|name| !SUITES.iter().any(|(suite, ..)| suite == name)) {
        bail!("no suite {unknown:?}; `cargo xtask e2e list` names them");
    }
    if names.is_empty() {
        println!("left out, since these run when they are named: {}", WHEN_NAMED.join(", "));
    }
    cluster::binary().context("the suites run the release binary: `cargo build --release` first")?;
    let mut failed = Vec::new();
    let is_meant = |name: &str| match names {
        [] => !WHEN_NAMED.contains(&name),
        names => names.iter().any(|named| named == name),
    };
    for (name, what, suite) in SUITES.iter().filter(|(name, ..)| is_meant(name)) {
        println!("e2e {name}: {what}");
        let began = Instant::now();
        match suite() {
            Ok(()) => println!("e2e {name}: ok in {:.1} s", began.elapsed().as_secs_f64()),
            Err(error) => {
                println!("e2e {name}: FAILED after {:.1} s: {error:#}", began.elapsed().as_secs_f64());
                failed.push(*name);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("e2e suites failed: {}", failed.join(", ")) }
}
