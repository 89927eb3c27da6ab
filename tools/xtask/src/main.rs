//! What CI runs beside cargo itself: `cargo xtask tidy` keeps the house in order, `cargo xtask sim` simulates clusters,
//! `cargo xtask e2e` runs real processes.

mod e2e;
mod long;
mod models;
mod mutants;
mod sim;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  tidy         check layers, unsafe, clocks and threads, dependencies, headers, lengths and words
  marks        write tools/sim/marks.txt, the list of the code's marks
  sim ARGS     build the simulator with all its checks and run it: `cargo xtask sim help`
  models       a million random commands to the metadata machine and a naive one, and long runs of the store's model
  mutants [ID] show by tests the seeded bugs that the simulator cannot reach
  e2e [SUITE]  run the end-to-end suites with real processes, or those named; `e2e list` names them
  long COMMAND what takes minutes: counts of instructions, what the latency profile costs; `long help`";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// True when all is well.
fn run() -> anyhow::Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["tidy"] => tidy::run(&root()?),
        ["marks"] => tidy::write_marks(&root()?).map(|()| true),
        ["sim", ..] => sim::run(&root()?, &arguments[1..]),
        ["models"] => models::run(&root()?),
        ["mutants", ..] => mutants::run(&root()?, &arguments[1..]),
        ["long", ..] => long::run(&root()?, &arguments[1..]),
        ["e2e", ..] => e2e::run(&arguments[1..]).map(|()| true),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(true)
        }
        [] => bail!("no command\n{USAGE}"),
        [other, ..] => bail!("unknown command {other:?}\n{USAGE}"),
    }
}

/// The workspace: two levels above this crate's manifest.
fn root() -> anyhow::Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").context("run it through cargo: `cargo xtask ...`")?;
    let root = PathBuf::from(manifest).ancestors().nth(2).map(PathBuf::from);
    root.context("this crate is not where it belongs, in tools/xtask")
}
