//! Counts instructions with valgrind: of the iterations alone, twice as many less once as many, so that what is made before
//! and what only the first of them do fall out.
//!
//! The committed counts are compared; docs/adr/2026-11-22-instructions-by-difference.md says why no crate does this.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::counts::{Change, Counts, GROWTH_MAX};

/// The function that is counted; callgrind knows it with a hash behind its name.
pub const COUNTED: &str = "micro::iterate*";

/// A build of `micro-callgrind`.
#[derive(Clone, Debug)]
pub struct Counter {
    program: PathBuf,
}

/// One that is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its id.
    pub id: String,
    /// Iterations that are counted.
    pub iterations: u64,
    /// Operations of an iteration.
    pub operations: u64,
}

/// Is valgrind here? Its version.
#[must_use]
pub fn valgrind() -> Option<String> {
    let output = Command::new("valgrind").arg("--version").output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

impl Counter {
    /// That program.
    #[must_use]
    pub fn new(program: &Path) -> Counter {
        Counter { program: program.to_owned() }
    }

    /// All that it counts.
    ///
    /// # Errors
    /// It does not run.
    pub fn list(&self) -> Result<Vec<Counted>> {
        let output = Command::new(&self.program).output().with_context(|| self.cannot())?;
        ensure!(output.status.success(), "{} ended with {}", self.program.display(), output.status);
        String::from_utf8(output.stdout)?.lines().map(parse_counted).collect()
    }

    /// Instructions of an operation.
    ///
    /// # Errors
    /// valgrind does not run it, or tells no total.
    pub fn count(&self, counted: &Counted) -> Result<f64> {
        let once = self.total(&counted.id, counted.iterations)?;
        let twice = self.total(&counted.id, 2 * counted.iterations)?;
        let operations = counted.iterations * counted.operations;
        Ok((twice as f64 - once as f64) / operations as f64)
    }

    fn total(&self, id: &str, iterations: u64) -> Result<u64> {
        // The environment lies on the stack: the same one each time. Hash maps of the standard library draw their seeds.
        let directory = std::env::temp_dir();
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(format!("--toggle-collect={COUNTED}"))
            .arg(&self.program)
            .args([id, &iterations.to_string()])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("TMPDIR", directory)
            .output()
            .context("could not run valgrind")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{id} under valgrind ended with {}:\n{told}", output.status);
        let total = total_of(&told).with_context(|| format!("valgrind told no total of {id}:\n{told}"))?;
        ensure!(total > 0, "{id} never came by {COUNTED}; build dropstone-micro with its symbols");
        Ok(total)
    }

    fn cannot(&self) -> String {
        format!("could not run {}; build it with `cargo build --release -p dropstone-micro`", self.program.display())
    }
}

fn parse_counted(line: &str) -> Result<Counted> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [id, iterations, operations] = words[..] else { bail!("{line:?} is not `ID ITERATIONS OPERATIONS`") };
    Ok(Counted { id: id.to_owned(), iterations: iterations.parse()?, operations: operations.parse()? })
}

/// Of `==123== Collected : 4567`.
fn total_of(told: &str) -> Option<u64> {
    let line = told.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(':').next()?.split_whitespace().next()?.parse().ok()
}

/// What to do with the counts.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Only ids with this in them.
    pub filter: Option<String>,
    /// Write the committed file anew.
    pub update: bool,
}

/// Counts all, compares with the committed file, prints a line for each; true when nothing grew too much.
///
/// # Errors
/// valgrind or the program does not run; the file is no file of counts.
pub fn run(program: &Path, committed: &Path, wish: &Wish) -> Result<bool> {
    let Some(version) = valgrind() else {
        println!("SKIPPED: long bench: there is no valgrind here (Debian package valgrind)");
        return Ok(true);
    };
    let tools = format!("{}, {version}, {}", rustc()?, processor());
    let text = std::fs::read_to_string(committed).with_context(|| format!("could not read {}", committed.display()))?;
    let mut before = Counts::parse(&text).with_context(|| committed.display().to_string())?;
    let is_comparable = before.tools == tools;
    if !is_comparable && !wish.update {
        println!("the committed counts are of {}; this is {tools}: told, not judged", before.tools);
    }
    let counter = Counter::new(program);
    let mut is_good = true;
    println!("{:<44} {:>12} {:>12} {:>8}", "instructions of an operation", "before", "now", "");
    for counted in counter.list()?.iter().filter(|counted| wish.takes(&counted.id)) {
        let now = counter.count(counted)?;
        let change = before.judge(&counted.id, now);
        is_good &= !matches!(change, Change::More(_));
        let was = before.of.get(&counted.id).map_or("-".to_owned(), |was| format!("{was:.1}"));
        println!("{:<44} {was:>12} {now:>12.1} {}", counted.id, words(change));
        before.of.insert(counted.id.clone(), now);
    }
    if wish.update {
        before.tools = tools;
        let known: Vec<String> = counter.list()?.into_iter().map(|counted| counted.id).collect();
        before.of.retain(|id, _| known.contains(id));
        std::fs::write(committed, before.to_text())?;
        println!("written to {}", committed.display());
        return Ok(true);
    }
    if !is_good && is_comparable {
        let percent = GROWTH_MAX * 100.0;
        println!(
            "some grew by more than {percent} %: make them cheaper, or `cargo xtask long bench --update` and say why"
        );
    }
    Ok(is_good || !is_comparable)
}

impl Wish {
    fn takes(&self, id: &str) -> bool {
        self.filter.as_ref().is_none_or(|part| id.contains(part.as_str()))
    }
}

fn words(change: Change) -> String {
    match change {
        Change::Same(part) => format!("{:+8.2} %", part * 100.0),
        Change::Fewer(part) => format!("{:+8.2} %  fewer: write the file anew", part * 100.0),
        Change::More(part) => format!("{:+8.2} %  TOO MANY", part * 100.0),
        Change::New => "     new".to_owned(),
    }
}

fn rustc() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output().context("could not run rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The C library takes its copies and comparisons by the processor.
fn processor() -> String {
    processor_of(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default())
}

fn processor_of(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let of_name = |line: &str| {
            line.split_once(':').filter(|(left, _)| left.trim() == name).map(|pair| pair.1.trim().to_owned())
        };
        cpuinfo.lines().find_map(of_name).unwrap_or_else(|| "?".to_owned())
    };
    format!("{} family {} model {}", field("model name"), field("cpu family"), field("model"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_named_by_its_model() {
        let text = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\nprocessor\t: 1\n";
        assert_eq!(processor_of(text), "AMD EPYC family 25 model 17");
        assert_eq!(processor_of(""), "? family ? model ?");
    }

    #[test]
    fn a_total_and_a_line_of_the_list_are_read() {
        let told =
            "==7== Callgrind, a call-graph generating cache profiler\n==7== Events    : Ir\n==7== Collected : 211533\n";
        assert_eq!(total_of(told), Some(211_533));
        assert_eq!(total_of("==7== nothing"), None);
        let counted = Counted { id: "base/crc32c/n=64B".to_owned(), iterations: 200, operations: 64 };
        assert_eq!(parse_counted("base/crc32c/n=64B 200 64").unwrap(), counted);
        assert!(parse_counted("base/crc32c/n=64B 200").is_err());
    }

    #[test]
    fn a_filter_takes_what_has_it_and_none_takes_all() {
        let wish = Wish { filter: Some("raft/".to_owned()), update: false };
        assert!(wish.takes("raft/propose/b=1") && !wish.takes("base/crc32c/n=64B"));
        assert!(Wish::default().takes("base/crc32c/n=64B"));
    }
}
