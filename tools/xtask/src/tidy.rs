//! The rules of the house that the compiler does not know, each with a test that shows a bad sample failing.
//!
//! Source: docs/ARCHITECTURE.md ("The house", "Never"), docs/HACKING.md.

mod code;
mod dependencies;
mod layers;
mod marks;
mod sources;

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// One place where a rule does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// True when the check still passes.
    pub is_warning: bool,
    /// `path:line`, or a package.
    pub place: String,
    /// The rule's name.
    pub rule: &'static str,
    /// What is wrong, and what to do.
    pub what: String,
}

impl Finding {
    /// A finding that fails the check.
    pub fn error(rule: &'static str, place: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding { is_warning: false, place: place.into(), rule, what: what.into() }
    }

    /// A finding that is only shown.
    pub fn warning(rule: &'static str, place: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding { is_warning: true, ..Finding::error(rule, place, what) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.is_warning { "warning" } else { "error" };
        write!(f, "{level}: {}: [{}] {}", self.place, self.rule, self.what)
    }
}

/// A text file of the project, by its path from the root with `/`.
#[derive(Clone, Debug)]
pub struct Source {
    /// `engine/raft/src/lib.rs`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Runs every rule over the workspace at `root`; false when one fails.
pub fn run(root: &Path) -> anyhow::Result<bool> {
    let sources = project_files(root)?;
    let packages = dependencies::read(root)?;
    let mut findings = Vec::new();
    findings.extend(layers::check_manifests(&packages));
    findings.extend(layers::check_paths(&sources));
    findings.extend(dependencies::check(&packages));
    findings.extend(sources::check(&sources));
    findings.extend(marks::check(&sources));
    findings.sort();
    let errors = findings.iter().filter(|finding| !finding.is_warning).count();
    for finding in &findings {
        eprintln!("{finding}");
    }
    println!("tidy: {} files, {errors} errors, {} warnings", sources.len(), findings.len() - errors);
    Ok(errors == 0)
}

/// Writes the list of marks that the simulator reports on.
pub fn write_marks(root: &Path) -> anyhow::Result<()> {
    let list = marks::list(&project_files(root)?);
    std::fs::write(root.join(marks::LIST), &list).with_context(|| format!("could not write {}", marks::LIST))?;
    println!("{}: {} marks", marks::LIST, list.lines().count());
    Ok(())
}

/// What git tracks or would track; so build output and data directories are not looked at.
fn project_files(root: &Path) -> anyhow::Result<Vec<Source>> {
    const SUFFIXES: [&str; 8] = [".rs", ".toml", ".md", ".yml", ".sh", ".ci/run", marks::LIST, marks::UNREACHED];
    let listed = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("could not run git, which knows the project's files; install it")?;
    if !listed.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr).trim());
    }
    let names = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
    let mut sources = Vec::new();
    for path in names.split('\0').filter(|path| SUFFIXES.iter().any(|suffix| path.ends_with(suffix))) {
        // A file that is deleted but still in the index is no source.
        if let Ok(text) = std::fs::read_to_string(root.join(path)) {
            sources.push(Source { path: path.to_owned(), text });
        }
    }
    if sources.is_empty() {
        bail!("git lists no source file here; run it in a checkout");
    }
    Ok(sources)
}
