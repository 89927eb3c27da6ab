//! `cargo xtask models`: the long runs of the models, of which `cargo test` does a few seconds.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// Runs of the store's model, 400 steps each.
const STORE_RUNS: &str = "2000";

/// True when no model saw a difference.
pub(crate) fn run(root: &Path) -> anyhow::Result<bool> {
    let meta = ["-p", "dropstone-meta", "--test", "differential", "--", "--ignored"];
    let store = ["-p", "dropstone-store", "--test", "model"];
    Ok(test(root, &meta)? && test(root, &store)?)
}

fn test(root: &Path, arguments: &[&str]) -> anyhow::Result<bool> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["test", "--locked", "--release"]).args(arguments);
    cargo.env("STORE_MODEL_RUNS", STORE_RUNS);
    println!("cargo test --locked --release {}", arguments.join(" "));
    Ok(cargo.status().context("could not start cargo")?.success())
}
