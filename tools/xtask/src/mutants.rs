//! `cargo xtask mutants`: seeded bugs that the simulator cannot reach, each shown by the test that its list names.
//!
//! The test runs once as it is and must pass, and once for each of its bugs with `DROPSTONE_MUTATION` naming that: then it
//! must fail. A run that does not end in time shows nothing. Target directories of their own keep seeded bugs away from
//! what ships.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

const LIST: &str = "engine/base/src/mutations.rs";
const VARIABLE: &str = "DROPSTONE_MUTATION";
/// A run of a test that takes longer is ended; the slowest takes a twentieth of it on a free core.
const RUN_SECONDS_MAX: u32 = 120;
/// How `timeout` says that it had to.
const TIMED_OUT: i32 = 124;

/// What shows a seeded bug.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Shown {
    /// Under loom.
    is_model: bool,
    /// Of `cargo test`.
    arguments: Vec<String>,
}

/// How a test ended.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Ended {
    /// So many tests ran, and all passed.
    Passed(u64),
    /// Failed, first in this test; empty when the process ended otherwise.
    Failed(String),
    /// It had to be ended.
    TooLate,
}

/// Runs the tests of the bugs named, or of all; true when each bug is shown.
pub fn run(root: &Path, wanted: &[String]) -> Result<bool> {
    let list = std::fs::read_to_string(root.join(LIST)).with_context(|| format!("could not read {LIST}"))?;
    let listed = parse(&list);
    if let Some(unknown) = wanted.iter().find(|wanted| !listed.iter().any(|(id, _)| id == *wanted)) {
        bail!("no seeded bug of a test is called {unknown}; `{LIST}` lists them");
    }
    let mut tests: BTreeMap<Shown, Vec<String>> = BTreeMap::new();
    for (id, shown) in listed.into_iter().filter(|(id, _)| wanted.is_empty() || wanted.contains(id)) {
        tests.entry(shown).or_default().push(id);
    }
    let begin = Instant::now();
    let (mut shown_count, mut not_shown) = (0, Vec::new());
    for (shown, ids) in tests {
        let words = shown.arguments.join(" ");
        tell(&format!("      cargo test {words}: "));
        let clock = Instant::now();
        build(root, &shown)?;
        tell(&format!("built in {:.1} s", clock.elapsed().as_secs_f64()));
        let clock = Instant::now();
        match run_test(root, &shown, None)? {
            Ended::Passed(0) => bail!("`cargo test {words}` runs no test; mend its line in {LIST}"),
            Ended::Passed(count) => println!(", {count} pass without a bug in {:.1} s", clock.elapsed().as_secs_f64()),
            Ended::Failed(test) => bail!("`cargo test {words}` fails without a seeded bug: {test}; mend it first"),
            Ended::TooLate => {
                bail!("`cargo test {words}` does not end within {RUN_SECONDS_MAX} s without a seeded bug")
            }
        }
        for id in ids {
            tell(&format!("{id:>4}  "));
            let clock = Instant::now();
            let ended = run_test(root, &shown, Some(&id))?;
            let what = match &ended {
                Ended::Failed(test) if test.is_empty() => "shown, its process ended".to_owned(),
                Ended::Failed(test) => format!("shown by {test}"),
                Ended::Passed(_) => format!("SURVIVES cargo test {words}"),
                Ended::TooLate => format!("TOO LATE: cargo test {words} does not end within {RUN_SECONDS_MAX} s"),
            };
            println!("{what}, {:.1} s", clock.elapsed().as_secs_f64());
            match ended {
                Ended::Failed(_) => shown_count += 1,
                Ended::Passed(_) | Ended::TooLate => not_shown.push(id),
            }
        }
    }
    println!("mutants: {shown_count} shown, {} not, {:.0} s", not_shown.len(), begin.elapsed().as_secs_f64());
    if !not_shown.is_empty() {
        println!("NOT SHOWN: {}; their tests do not see them any more", not_shown.join(", "));
    }
    Ok(not_shown.is_empty())
}

/// The beginning of a line that [`println`] ends.
fn tell(text: &str) {
    print!("{text}");
    // Nobody is left to be told of a closed pipe.
    let _ = std::io::stdout().flush();
}

/// Ids with what shows them, in the order of the list.
fn parse(list: &str) -> Vec<(String, Shown)> {
    let mut found = Vec::new();
    for line in list.lines().filter(|line| line.trim_start().starts_with("MUT_")) {
        let mut words = line.split('"').skip(1).step_by(2);
        let (Some(id), Some(shown)) = (words.next(), words.nth(1)) else { continue };
        if let Some((kind @ ("test" | "model"), arguments)) = shown.split_once(':') {
            let arguments = arguments.split_whitespace().map(str::to_owned).collect();
            found.push((id.to_owned(), Shown { is_model: kind == "model", arguments }));
        }
    }
    found
}

/// A test that does not build would fail as well.
fn build(root: &Path, shown: &Shown) -> Result<()> {
    let mut command = cargo_test(root, shown, Command::new(cargo()));
    let is_built = command.arg("--no-run").status().context("could not run cargo")?.success();
    ensure!(is_built, "`cargo test {}` does not build", shown.arguments.join(" "));
    Ok(())
}

fn run_test(root: &Path, shown: &Shown, mutation: Option<&str>) -> Result<Ended> {
    // It ends the test's process with cargo.
    let mut timeout = Command::new("timeout");
    timeout.args(["--kill-after=5", &RUN_SECONDS_MAX.to_string()]).arg(cargo());
    let mut command = cargo_test(root, shown, timeout);
    // In silence, since it is to fail.
    let output = command.envs(mutation.map(|id| (VARIABLE, id))).stdin(Stdio::null()).output();
    let output = output.context("could not run `timeout cargo test`")?;
    if output.status.code() == Some(TIMED_OUT) {
        return Ok(Ended::TooLate);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(if output.status.success() { Ended::Passed(passed(&text)) } else { Ended::Failed(first_failed(&text)) })
}

/// Tests that passed, by the summaries of their processes.
fn passed(text: &str) -> u64 {
    let counts = text.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split_once(" passed"));
    counts.filter_map(|(count, _)| count.parse::<u64>().ok()).sum()
}

/// The first test whose output is shown because it failed.
fn first_failed(text: &str) -> String {
    let name = |line: &str| Some(line.strip_prefix("---- ")?.strip_suffix(" stdout ----")?.to_owned());
    text.lines().find_map(name).unwrap_or_default()
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Makes `command`, which runs cargo, that of the test that shows a bug.
fn cargo_test(root: &Path, shown: &Shown, mut command: Command) -> Command {
    let (flags, directory) =
        if shown.is_model { ("--cfg mutations --cfg loom", "models") } else { ("--cfg mutations", "mutants") };
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    command.current_dir(root).env("RUSTFLAGS", flags).env("CARGO_TARGET_DIR", target.join(directory));
    command.env_remove(VARIABLE).args(["test", "--quiet", "--locked"]).args(&shown.arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_a_test_is_taken() {
        let list = r#"
        MUT_1A "1a" "a vote is early" ["election" "hard_state"]
        MUT_33A "33a" "no generation" ["test: -p dropstone-reactor --lib slots"]
        MUT_40B "40b" "no fences" ["model: -p dropstone-reactor --lib models"]
        "#;
        let found = parse(list);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].0.as_str(), found[0].1.is_model), ("33a", false));
        assert_eq!(found[0].1.arguments, ["-p", "dropstone-reactor", "--lib", "slots"]);
        assert_eq!((found[1].0.as_str(), found[1].1.is_model), ("40b", true));
    }

    #[test]
    fn the_words_of_the_test_harness_are_understood() {
        let passes = "\nrunning 3 tests\n...\ntest result: ok. 3 passed; 0 failed; 0 ignored; 0 measured\n\n";
        assert_eq!(passed(&passes.repeat(2)), 6);
        assert_eq!(passed("test result: FAILED. 2 passed; 1 failed"), 0);
        let fails =
            "running 2 tests\nF.\nfailures:\n\n---- slots::tests::one stdout ----\nboom\n---- two stdout ----\n";
        assert_eq!(first_failed(fails), "slots::tests::one");
        assert_eq!(first_failed(passes), "");
    }
}
