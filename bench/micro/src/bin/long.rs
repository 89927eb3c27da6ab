//! What takes long: `cargo xtask long` builds the programs and runs this.
//!
//! ```text
//! micro-long bench PROGRAM FILE [--update] [FILTER]          instructions against the committed file
//! micro-long instructions WITH WITHOUT                       of the latency profile, two builds of micro-callgrind
//! micro-long throughput WITH WITHOUT DIR [PAIRS]             of the latency profile, two builds of dropstone
//! ```

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use micro::callgrind::{self, Wish};
use micro::overhead::{self, Arms};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("micro-long: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// True when every limit holds.
fn run() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let arms = |with: &str, without: &str| Arms { with: with.into(), without: without.into() };
    match words.as_slice() {
        ["bench", program, file, rest @ ..] => {
            let update = rest.contains(&"--update");
            let filter = rest.iter().find(|word| **word != "--update").map(|word| (*word).to_owned());
            callgrind::run(Path::new(program), Path::new(file), &Wish { filter, update })
        }
        ["instructions", with, without] => overhead::instructions(&arms(with, without)),
        ["throughput", with, without, dir, rest @ ..] => {
            let pairs = rest.first().map_or(Ok(10), |pairs| pairs.parse()).context("PAIRS is a number")?;
            overhead::throughput(&arms(with, without), pairs, Path::new(dir))
        }
        _ => bail!("it is started by `cargo xtask long`"),
    }
}
