//! `cargo xtask sim`: the simulator with all checks compiled in, and with seeded bugs where they are wanted.
//!
//! Each kind of build has a target directory of its own: their flags would else rebuild everything at each change of
//! mind, and a seeded bug must never be near a binary that ships.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// Builds the simulator under `--cfg sim` (for `mutations` under `--cfg mutations` too) and runs it with `arguments`.
/// Ends this process with its exit code when that is not 0: 3 is a thin run, 4 a violation.
pub fn run(root: &Path, arguments: &[String]) -> anyhow::Result<bool> {
    let has_mutations = arguments.first().is_some_and(|argument| argument == "mutations");
    let (flags, directory) =
        if has_mutations { ("--cfg sim --cfg mutations", "sim-mutations") } else { ("--cfg sim", "sim") };
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(root)
        .env("RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", target.join(directory))
        .env("DROPSTONE_REVISION", revision(root))
        // A seed's memory is kept for the next one: giving it back and taking it again is a twentieth of the time.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        .args(["run", "--quiet", "--locked", "--profile", "sim", "-p", "dropstone-sim", "--bin", "dropstone-sim", "--"])
        .args(arguments)
        .status()
        .context("could not run cargo")?;
    match status.code() {
        Some(0) => Ok(true),
        Some(code) => std::process::exit(code),
        None => anyhow::bail!("the simulator was killed by a signal"),
    }
}

/// The commit that is built, for reports, as told or as git says; empty when nobody knows.
fn revision(root: &Path) -> String {
    if let Ok(told) = std::env::var("DROPSTONE_REVISION") {
        return told;
    }
    let asked = Command::new("git").current_dir(root).args(["rev-parse", "HEAD"]).output();
    let said = asked.ok().filter(|output| output.status.success()).map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).trim().to_owned()
}
