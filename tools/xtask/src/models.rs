//! `cargo xtask models`: the long runs of the models, of which `cargo test` does a few seconds.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// Runs of the store's model, 400 steps each; each waits for the disk some tenths of a second.
const STORE_RUNS: &str = "400";
/// Runs of the metadata machine over the store, 400 entries each.
const MACHINE_RUNS: &str = "60";

/// True when no model saw a difference.
pub(crate) fn run(root: &Path) -> anyhow::Result<bool> {
    let meta = ["-p", "dropstone-meta", "--test", "differential", "--test", "differential_group0", "--", "--ignored"];
    let store = ["-p", "dropstone-store", "--test", "model"];
    let machine = ["-p", "dropstone-store", "--test", "machine"];
    Ok(test(root, &meta, None)? && test(root, &store, Some(STORE_RUNS))? && test(root, &machine, Some(MACHINE_RUNS))?)
}

/// `runs` is for the store's tests.
fn test(root: &Path, arguments: &[&str], runs: Option<&str>) -> anyhow::Result<bool> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["test", "--locked", "--release"]).args(arguments);
    cargo.envs(runs.map(|runs| ("STORE_MODEL_RUNS", runs)));
    println!("cargo test --locked --release {}", arguments.join(" "));
    Ok(cargo.status().context("could not start cargo")?.success())
}
