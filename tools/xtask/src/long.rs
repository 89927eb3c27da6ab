//! `cargo xtask long`: what takes minutes. Builds the programs and leaves the rest to `bench/micro`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

const USAGE: &str = "\
usage: cargo xtask long COMMAND

  bench [--update] [FILTER]          instructions of each bench against bench/micro/instructions.txt (needs valgrind)
  profile-instructions               what the latency profile adds to a turn's instructions (needs valgrind)
  profile-overhead [PAIRS [DIR]]     the same, and what it takes of the throughput: PAIRS (10) runs of either build,
                                     data in DIR, else in the target directory: in memory no disk is measured
  scale [AXIS...] [OPTION...]        our own cluster along an axis: cores groups connections in-flight value-size
                                     idle-groups idle-connections cost; pictures and raw figures in docs/pictures, a
                                     table on stdout (options: `dropstone-compare scale --help`)";

/// True when every limit holds.
pub fn run(root: &Path, arguments: &[String]) -> Result<bool> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let builds = Builds { root, target: target(root) };
    match words.as_slice() {
        ["bench", rest @ ..] => {
            let program = builds.build("dropstone-micro", "micro-callgrind", false)?;
            let file = root.join("bench/micro/instructions.txt");
            let mut arguments = vec!["bench".into(), program.into_os_string(), file.into_os_string()];
            arguments.extend(rest.iter().map(Into::into));
            builds.long(&arguments)
        }
        ["profile-instructions"] => instructions(&builds),
        ["profile-overhead", rest @ ..] => {
            let is_good = instructions(&builds)?;
            let mut arguments = vec!["throughput".into()];
            arguments.extend(builds.arms("dropstone", "dropstone")?.map(PathBuf::into_os_string));
            arguments.push(rest.get(1).map_or_else(|| builds.target.clone().into_os_string(), Into::into));
            arguments.extend(rest.first().map(Into::into));
            Ok(builds.long(&arguments)? && is_good)
        }
        ["scale", rest @ ..] => scale(&builds, rest),
        _ => bail!("{USAGE}"),
    }
}

fn scale(builds: &Builds<'_>, rest: &[&str]) -> Result<bool> {
    let dropstone = builds.build("dropstone", "dropstone", false)?;
    let program = builds.build("dropstone-compare", "dropstone-compare", false)?;
    let mut command = Command::new(&program);
    command.current_dir(builds.root).arg("scale").arg("--dropstone").arg(dropstone).args(rest);
    let status = command.status().context("could not run dropstone-compare")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(4) => Ok(false),
        _ => bail!("{} ended with {status}", program.display()),
    }
}

fn instructions(builds: &Builds<'_>) -> Result<bool> {
    let mut arguments = vec!["instructions".into()];
    arguments.extend(builds.arms("dropstone-micro", "micro-callgrind")?.map(PathBuf::into_os_string));
    builds.long(&arguments)
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into)
}

struct Builds<'a> {
    root: &'a Path,
    target: PathBuf,
}

impl Builds<'_> {
    /// A release build of a program, with the latency profile or without, under a name of its own.
    fn build(&self, package: &str, program: &str, is_off: bool) -> Result<PathBuf> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(self.root).args(["build", "--release", "--locked", "--quiet", "-p", package]);
        command.args(["--bin", program]).args(is_off.then_some("--features=profile-off"));
        let status = command.status().context("could not run cargo")?;
        ensure!(status.success(), "{program} does not build");
        let built = self.target.join("release").join(program);
        // The next build takes the place.
        let kept = self.target.join("release").join(format!("{program}-{}", if is_off { "off" } else { "on" }));
        std::fs::copy(&built, &kept).with_context(|| format!("could not copy {}", built.display()))?;
        Ok(kept)
    }

    /// With the profile, and without.
    fn arms(&self, package: &str, program: &str) -> Result<[PathBuf; 2]> {
        let without = self.build(package, program, true)?;
        Ok([self.build(package, program, false)?, without])
    }

    fn long(&self, arguments: &[std::ffi::OsString]) -> Result<bool> {
        let program = self.build("dropstone-micro", "micro-long", false)?;
        let status = Command::new(&program).args(arguments).status().context("could not run micro-long")?;
        match status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => bail!("{} ended with {status}", program.display()),
        }
    }
}
