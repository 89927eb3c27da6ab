//! `dropstone doctor`: what of this machine a node needs, with the command that mends it. It changes nothing.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use server::config::NodeConfig;
use server::identity::{Identity, IdentityError};

use crate::exit::usage;

const GIB: u64 = 1 << 30;

/// Check this machine: kernel, io_uring, limits, file system, space, data directory.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  dropstone doctor                         for `dropstone dev` in this directory
  dropstone doctor --config n1.toml --json

Exit codes: 0 all OK, 1 a WARN, 2 a FAIL")]
pub struct DoctorArgs {
    /// A node's configuration; its data_dir is looked at.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory to look at.
    #[arg(long, value_name = "DIR", default_value = crate::dev::DATA_DEFAULT, conflicts_with = "config")]
    data: PathBuf,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Verdict::Ok => "OK",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    area: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What is wanted and how to get it; empty when all is well.
    advice: String,
}

impl Check {
    fn new(area: &'static str, verdict: Verdict, found: impl Into<String>, advice: &str) -> Check {
        let advice = if verdict == Verdict::Ok { String::new() } else { advice.to_owned() };
        Check { area, verdict, found: found.into(), advice }
    }
}

/// Runs it.
pub fn run(args: &DoctorArgs, json: bool) -> Result<ExitCode> {
    let data_dir = match &args.config {
        Some(file) => NodeConfig::load(file).map_err(usage)?.process.data_dir,
        None => args.data.clone(),
    };
    let checks = all(&data_dir);
    for check in &checks {
        if json {
            let Check { area, verdict, found, advice } = check;
            println!(
                "{}",
                serde_json::json!({"area": area, "verdict": verdict.name(), "found": found, "advice": advice})
            );
        } else {
            println!("{:<4}  {:<14}{}", check.verdict.name(), check.area, check.found);
            if !check.advice.is_empty() {
                println!("                     {}", check.advice);
            }
        }
    }
    let worst = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok);
    Ok(ExitCode::from(worst as u8))
}

fn all(data_dir: &Path) -> Vec<Check> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let place = existing_parent(data_dir);
    let mut checks = vec![
        kernel(read("/proc/sys/kernel/osrelease").trim()),
        io_uring(),
        open_files(limit(&read("/proc/self/limits"), "Max open files")),
        locked_memory(limit(&read("/proc/self/limits"), "Max locked memory")),
        file_system(file_system_of(&read("/proc/self/mountinfo"), &place), &place),
        space(&place),
    ];
    checks.extend(identity(data_dir));
    checks
}

fn kernel(release: &str) -> Check {
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.parse::<u32>().ok());
    let verdict = match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) if (major, minor) >= (6, 12) => Verdict::Ok,
        (Some(major), Some(minor)) if (major, minor) >= (6, 1) => Verdict::Warn,
        _ => Verdict::Fail,
    };
    Check::new("kernel", verdict, format!("Linux {release}"), "Linux 6.1 is needed, 6.12 or later is recommended")
}

/// Asks for a ring as a core does; the error says what forbids it.
fn io_uring() -> Check {
    match reactor::Ring::new(&reactor::RingConfig::default()) {
        Ok(_) => Check::new("io_uring", Verdict::Ok, "a ring with our flags and operations", ""),
        Err(error) => Check::new("io_uring", Verdict::Fail, error.to_string(), "without io_uring no node starts"),
    }
}

/// Soft and hard value of a line of /proc/self/limits; `unlimited` is the largest number.
fn limit(limits: &str, name: &str) -> Option<(u64, u64)> {
    let line = limits.lines().find(|line| line.starts_with(name))?;
    let mut words = line[name.len()..].split_whitespace();
    let mut number = || match words.next()? {
        "unlimited" => Some(u64::MAX),
        digits => digits.parse().ok(),
    };
    Some((number()?, number()?))
}

fn open_files(limit: Option<(u64, u64)>) -> Check {
    let area = "open files";
    let Some((_, hard)) = limit else {
        return Check::new(area, Verdict::Warn, "unknown", "could not read /proc/self/limits");
    };
    let verdict = match hard {
        4096.. => Verdict::Ok,
        1024.. => Verdict::Warn,
        _ => Verdict::Fail,
    };
    let advice = "enough to try; for many clients raise it: ulimit -Hn 1048576, or LimitNOFILE= of the unit";
    Check::new(area, verdict, format!("at most {}", amount(hard)), advice)
}

fn locked_memory(limit: Option<(u64, u64)>) -> Check {
    let area = "locked memory";
    let Some((soft, _)) = limit else {
        return Check::new(area, Verdict::Warn, "unknown", "could not read /proc/self/limits");
    };
    let verdict = if soft >= 8 << 20 { Verdict::Ok } else { Verdict::Warn };
    let found = if soft == u64::MAX { "unlimited".to_owned() } else { format!("at most {} KiB", soft >> 10) };
    Check::new(
        area,
        verdict,
        found,
        "8 MiB is the usual default; raise it: ulimit -l 8192, or LimitMEMLOCK= of the unit",
    )
}

/// Type of the file system that `path` lies on: the longest mount point that is a prefix of it.
fn file_system_of(mounts: &str, path: &Path) -> Option<String> {
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let point = before.split_whitespace().nth(4)?.replace("\\040", " ");
        let kind = after.split_whitespace().next()?.to_owned();
        path.starts_with(&point).then_some((point.len(), kind))
    };
    // Of two mounts at one point the later one is seen.
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

fn file_system(kind: Option<String>, place: &Path) -> Check {
    let kind = kind.unwrap_or_else(|| "unknown".to_owned());
    let verdict = match kind.as_str() {
        "ext4" | "xfs" => Verdict::Ok,
        "tmpfs" | "ramfs" | "nfs" | "nfs4" | "cifs" | "smb3" | "9p" | "ceph" => Verdict::Fail,
        _ => Verdict::Warn,
    };
    let advice = "data belongs on a local ext4 or xfs; memory and network file systems lose or stall it";
    Check::new("file system", verdict, format!("{kind} at {}", place.display()), advice)
}

fn space(place: &Path) -> Check {
    let area = "space";
    match reactor::system::disk_space(place) {
        Ok(space) => judge_space(space.free_bytes, space.total_bytes),
        Err(error) => Check::new(area, Verdict::Warn, error.to_string(), "could not ask the file system"),
    }
}

fn judge_space(free: u64, total: u64) -> Check {
    let reserve = (total / 20).max(2 * GIB);
    let verdict = match free {
        free if free >= reserve => Verdict::Ok,
        free if free >= GIB / 2 => Verdict::Warn,
        _ => Verdict::Fail,
    };
    let found = format!("{} MiB free of {} MiB", free >> 20, total >> 20);
    Check::new("space", verdict, found, "keep 5 % and 2 GiB free; a dev cluster needs about 0.5 GiB to begin with")
}

/// The nearest folder that is there, for a data directory that is not made yet.
fn existing_parent(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut parents = absolute.ancestors();
    let found = parents.find_map(|parent| parent.canonicalize().ok());
    found.unwrap_or_else(|| PathBuf::from("/"))
}

/// Of a node's directory, or of the nodes of a dev cluster.
fn identity(data_dir: &Path) -> Vec<Check> {
    let nodes = (1..=crate::ports::NODES_MAX).map(|node| data_dir.join(format!("n{node}")));
    let all = std::iter::once(data_dir.to_owned()).chain(nodes);
    all.filter_map(|dir| judge_identity(&dir, Identity::read(&dir))).collect()
}

fn judge_identity(dir: &Path, found: Result<Identity, IdentityError>) -> Option<Check> {
    let check =
        |verdict, found: String| Some(Check::new("identity", verdict, found, "the node does not start with it"));
    match found {
        Ok(identity) => {
            let Identity { node, cluster, incarnation, .. } = identity;
            check(Verdict::Ok, format!("{}: node {node} of cluster {cluster}, {incarnation} boots", dir.display()))
        }
        Err(IdentityError::Missing { .. }) => None,
        Err(error) => check(Verdict::Fail, error.to_string()),
    }
}

fn amount(number: u64) -> String {
    if number == u64::MAX { "unlimited".to_owned() } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_judged_by_their_first_two_numbers() {
        for (release, verdict) in [
            ("6.18.3-amd64", Verdict::Ok),
            ("7.0.0", Verdict::Ok),
            ("6.12", Verdict::Ok),
            ("6.1.0-1", Verdict::Warn),
            ("5.15.0", Verdict::Fail),
            ("", Verdict::Fail),
        ] {
            assert_eq!(kernel(release).verdict, verdict, "{release}");
        }
    }

    #[test]
    fn limits_are_read_from_their_line() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max open files            1024                 524288               files\n\
                    Max locked memory         8388608              unlimited            bytes\n";
        assert_eq!(limit(text, "Max open files"), Some((1024, 524_288)));
        assert_eq!(limit(text, "Max locked memory"), Some((8 << 20, u64::MAX)));
        assert_eq!(limit("", "Max open files"), None);
        assert_eq!(open_files(Some((1024, 1024))).verdict, Verdict::Warn);
        assert_eq!(open_files(Some((256, 256))).verdict, Verdict::Fail);
        assert_eq!(locked_memory(Some((64 << 10, 64 << 10))).verdict, Verdict::Warn);
    }

    #[test]
    fn the_longest_mount_point_decides() {
        let mounts = "22 1 8:1 / / rw shared:1 - ext4 /dev/a rw\n\
                      30 22 0:30 / /tmp rw - tmpfs tmpfs rw\n\
                      31 22 0:31 / /data\\040x rw master:3 - nfs4 server:/x rw\n";
        let kind = |path: &str| file_system_of(mounts, Path::new(path));
        assert_eq!(kind("/var/lib").as_deref(), Some("ext4"));
        assert_eq!(kind("/tmp/a").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/tmpfile").as_deref(), Some("ext4"));
        assert_eq!(kind("/data x/y").as_deref(), Some("nfs4"));
        assert_eq!(file_system(kind("/tmp/a"), Path::new("/tmp/a")).verdict, Verdict::Fail);
        assert_eq!(file_system(kind("/"), Path::new("/")).verdict, Verdict::Ok);
        assert_eq!(file_system(Some("overlay".to_owned()), Path::new("/")).verdict, Verdict::Warn);
    }

    #[test]
    fn space_is_judged_with_a_reserve() {
        assert_eq!(judge_space(50 * GIB, 100 * GIB).verdict, Verdict::Ok);
        assert_eq!(judge_space(4 * GIB, 100 * GIB).verdict, Verdict::Warn);
        assert_eq!(judge_space(GIB / 4, 100 * GIB).verdict, Verdict::Fail);
    }

    #[test]
    fn a_damaged_identity_fails_and_a_missing_one_is_no_matter() {
        let dir = tempfile::tempdir().expect("temporary directory");
        assert!(identity(dir.path()).is_empty());
        std::fs::create_dir(dir.path().join("n1")).expect("made");
        std::fs::write(dir.path().join("n1/identity"), b"rubbish").expect("written");
        assert_eq!(identity(dir.path())[0].verdict, Verdict::Fail);
    }
}
