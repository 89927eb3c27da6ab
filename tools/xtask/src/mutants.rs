//! `cargo xtask mutants`: seeded bugs that the simulator cannot reach, each shown by the test that its list names.
//!
//! The test runs once as it is and must pass, and once for each of its bugs with `DROPSTONE_MUTATION` naming that: then it
//! must fail. Target directories of their own keep seeded bugs away from what ships.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

const LIST: &str = "engine/base/src/mutations.rs";
const VARIABLE: &str = "DROPSTONE_MUTATION";

/// What shows a seeded bug.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Shown {
    /// Under loom.
    is_model: bool,
    /// Of `cargo test`.
    arguments: Vec<String>,
}

/// Runs the tests of the bugs named, or of all; true when each bug is shown.
pub fn run(root: &Path, wanted: &[String]) -> Result<bool> {
    let list = std::fs::read_to_string(root.join(LIST)).with_context(|| format!("could not read {LIST}"))?;
    let mut tests: BTreeMap<Shown, Vec<String>> = BTreeMap::new();
    for (id, shown) in parse(&list) {
        if wanted.is_empty() || wanted.contains(&id) {
            tests.entry(shown).or_default().push(id);
        }
    }
    ensure!(!tests.is_empty(), "no seeded bug of a test has such a name");
    let mut is_well = true;
    for (shown, ids) in tests {
        let words = shown.arguments.join(" ");
        if !passes(root, &shown, None)? {
            bail!("`cargo test {words}` fails without a seeded bug");
        }
        for id in ids {
            let survives = passes(root, &shown, Some(&id))?;
            println!("{id:>4}  {}  cargo test {words}", if survives { "SURVIVES" } else { "shown by" });
            is_well &= !survives;
        }
    }
    Ok(is_well)
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

fn passes(root: &Path, shown: &Shown, mutation: Option<&str>) -> Result<bool> {
    // A test that does not build would fail as well.
    let is_built = cargo_test(root, shown).arg("--no-run").status().context("could not run cargo")?.success();
    ensure!(is_built, "`cargo test {}` does not build", shown.arguments.join(" "));
    // In silence, since it is to fail.
    let output = cargo_test(root, shown).envs(mutation.map(|id| (VARIABLE, id))).stdin(Stdio::null()).output();
    Ok(output.context("could not run cargo")?.status.success())
}

fn cargo_test(root: &Path, shown: &Shown) -> Command {
    let (flags, directory) =
        if shown.is_model { ("--cfg mutations --cfg loom", "models") } else { ("--cfg mutations", "mutants") };
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
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
}
