//! Tests of clusters: real processes where they are installed.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use base::mono::Span;
use load::driver::{Answer, Driver as _, Failure, OpToken, Refusal, Submit};
use load::judge::ErrorKind;
use load::mix::Mix;
use load::op::Op;
use load::verdict::Class;

use super::*;
use crate::block::{self, BlockSettings};
use crate::drivers::etcd::{self as etcd_driver, Etcd};
use crate::drivers::nats::Nats;
use crate::drivers::postgres::{self as postgres_driver, Postgres};
use crate::drivers::redis::{self as redis_driver, Redis};
use crate::drivers::zookeeper::Zookeeper;
use crate::drivers::{PeerDriver, PeerError, Protocol};
use crate::target::Target;
use crate::work::Work;

fn shape(parent: &Path) -> Shape {
    Shape {
        nodes: 3,
        parent: parent.to_owned(),
        dropstone: None,
        cores: 1,
        groups: 1,
        is_null: false,
        cache_bytes: None,
    }
}

#[test]
fn what_is_missing_is_told_with_what_to_install() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let shape = Shape { dropstone: Some(dir.path().join("none")), ..shape(dir.path()) };
    let error = find(System::Dropstone, &shape).expect_err("there is none");
    assert_eq!(crate::exit::code_of(&error), UNAVAILABLE);
    assert!(error.to_string().contains("cargo build --release"), "{error}");
    if let Err(error) = find(System::Etcd, &shape) {
        assert_eq!(error.to_string(), "etcd: not installed: install Debian package etcd-server");
    }
    if let Err(error) = find(System::Valkey, &shape) {
        assert_eq!(crate::exit::code_of(&error), UNAVAILABLE);
        assert!(
            error.to_string().starts_with("valkey: not installed: install Debian package valkey-server"),
            "{error}"
        );
    }
}

#[test]
fn a_process_that_ends_is_told_with_its_last_words() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let words = ["-c".to_owned(), "echo no room >&2; exit 3".to_owned()];
    let mut process =
        Process::spawn("peer 1", Path::new("/bin/sh"), &words, None, &dir.path().join("log")).expect("started");
    let error = loop {
        match process.check() {
            Ok(()) => std::thread::yield_now(),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.starts_with("peer 1 has ended (exit status: 3)") && error.ends_with("no room"), "{error}");
}

/// A short load of each target against a real cluster: every put is acknowledged, a sample is read back, nothing is left.
fn carries_file_commits(targets: &[Target]) {
    let dir = tempfile::tempdir().expect("temporary directory");
    // Servers that refuse to run as root must reach it.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).expect("it is ours");
    let (shape, stop) = (shape(dir.path()), AtomicBool::new(false));
    let system = targets[0].system();
    if let Err(error) = find(system, &shape) {
        eprintln!("SKIPPED: carries_file_commits of {}: {error}", system.name());
        return;
    }
    let cluster = Cluster::start(system, &shape, &stop).expect("it starts");
    assert_eq!((cluster.addresses.len(), cluster.pids().len()), (3, 3));
    let mix = Mix::parse("file-commit.toml", include_str!("../../file-commit.toml")).expect("well formed");
    let mix = Arc::new(mix);
    let settings = |in_flight| {
        let mix = mix.clone();
        BlockSettings {
            mix,
            is_mixed: false,
            seed: 1,
            in_flight,
            warm_s: 2,
            window_s: 1,
            connections: Some(2),
            replicas: 1,
        }
    };
    for (target, in_flight) in targets.iter().flat_map(|target| [(*target, 1), (*target, 100)]) {
        let settings = settings(in_flight);
        // A disk that stands still for all of a window is the machine's, too: another window then.
        let mut tried = (0..4).map(|at| {
            let run = format!("{}-{in_flight}-{at}", target.name());
            let place = block::Place { target, cluster: &cluster, others: &[], run: &run, at_edge: None };
            (block::run(&place, &settings, &stop).expect("it runs"), run)
        });
        let has_answers = |(block, _): &(block::Block, String)| block.record.counts.achieved > 0;
        let (block, run) = tried.find(has_answers).expect("a window with an answer in it, of four");
        let seen = format!("{run}: {:?} {:?}", block.reasons, block.read_back);
        assert!(block.record.counts.achieved > 0 && block.read_back.looked_for > 0, "{seen}");
        assert_eq!((block.wrong(), block.read_back.unanswered), (0, 0), "{seen}");
        // How long an answer takes is the machine's: one that did not come in time says nothing of the codec.
        let counts = &block.record.counts;
        let late = counts.errors.get(&ErrorKind::Failed(Failure::Unknown)).copied().unwrap_or(0);
        assert_eq!(counts.errors_in_all(), late, "{seen}");
        assert!(late < counts.achieved, "{seen}");
        assert!(block.class <= Class::Invalid && !block.reasons.iter().any(|why| why.contains("given up")), "{seen}");
    }
    let (lead, work) = ([cluster.addresses[0]], Work::new("twice", 1));
    match system {
        System::Etcd => {
            keeps_the_first(PeerDriver::connect(Etcd::new(etcd_driver::Commit::Both, work, "x:1", 1), &lead))
        }
        System::Postgres => {
            keeps_the_first(PeerDriver::connect(Postgres::new(postgres_driver::Commit::Both, work, 1), &lead))
        }
        System::Nats | System::NatsSync => keeps_the_first(PeerDriver::connect(Nats::new(work, 1), &lead)),
        System::Redis | System::Valkey => {
            keeps_the_first(PeerDriver::connect(Redis::new(redis_driver::Commit::Both, work, 1, 1), &lead))
        }
        System::Zookeeper => keeps_the_first(PeerDriver::connect(Zookeeper::new(work, 1), &lead)),
        // It compares nothing.
        System::Memcached | System::Dropstone => {}
    }
    drop(cluster);
    let left: Vec<_> = std::fs::read_dir(dir.path()).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A file that is there already is not put again, and the answer says so.
fn keeps_the_first<P: Protocol>(driver: Result<PeerDriver<P>, PeerError>) {
    let mut driver = driver.expect("connected");
    let op = Op { path: "/a/b".to_owned(), size: 4096, ..Op::default() };
    let mut answers = Vec::new();
    for slot in 0..2 {
        let now = driver.now();
        assert_eq!(driver.submit(&op, OpToken { slot, generation: 0 }, now), Submit::Queued);
        let mut done = Vec::new();
        driver.poll(now + Span::from_ms(30_000), &mut done);
        answers.extend(done.iter().map(|done| done.answer));
    }
    assert!(matches!(answers[..], [Answer::Applied { .. }, Answer::Refused(Refusal::Conflict)]), "{answers:?}");
}

#[test]
fn etcd_carries_file_commits() {
    carries_file_commits(&[Target::Etcd, Target::EtcdPut]);
}

#[test]
fn zookeeper_carries_file_commits() {
    carries_file_commits(&[Target::Zookeeper]);
}

#[test]
fn postgres_carries_file_commits() {
    carries_file_commits(&[Target::Postgres, Target::PostgresPut]);
}

#[test]
fn a_directory_that_the_servers_user_cannot_reach_is_told() {
    // Only its owner may enter it, and root's servers run as somebody else.
    let dir = tempfile::tempdir().expect("temporary directory");
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).expect("it is ours");
    let (shape, is_root) = (shape(dir.path()), Account::is_root().expect("/proc is there"));
    if !is_root || find(System::Postgres, &shape).is_err() {
        eprintln!("SKIPPED: a_directory_that_the_servers_user_cannot_reach_is_told: not root, or no PostgreSQL");
        return;
    }
    let error = Cluster::start(System::Postgres, &shape, &AtomicBool::new(false)).expect_err("it is closed");
    let said = format!("{error:#}");
    assert!(said.contains("name a directory that user postgres can reach with --dir"), "{said}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 0);
}

#[test]
fn nats_carries_file_commits() {
    carries_file_commits(&[Target::Nats]);
}

#[test]
fn nats_that_syncs_carries_file_commits() {
    carries_file_commits(&[Target::NatsSync]);
}

#[test]
fn valkey_carries_file_commits() {
    carries_file_commits(&[Target::Valkey]);
}

#[test]
fn redis_carries_file_commits() {
    carries_file_commits(&[Target::Redis, Target::RedisSet]);
}

#[test]
fn memcached_carries_file_commits() {
    carries_file_commits(&[Target::Memcached]);
}
