//! Clients from their packages, against `dropstone dev` over HTTPS: the unmodified Python and JS SDKs of the API,
//! Maestral, and a browser with the web page.

mod outside;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::cluster::{binary, run_ok};
use super::served::Served;
pub use outside::run as run_outside;

/// A client and what it does.
pub struct Suite {
    /// As it is called.
    pub name: &'static str,
    /// Its column in the table of docs/design/gateway.md, if it has one.
    client: Option<&'static str>,
    /// What is installed, at the versions that the script was written for.
    packages: &'static [&'static str],
    /// The script's name: never that of a module which it imports.
    file: &'static str,
    script: &'static str,
}

const SDK: Suite = Suite {
    name: "dropbox-sdk",
    client: Some("Python SDK"),
    packages: &["dropbox==12.2.4"],
    file: "flow.py",
    script: include_str!("sdk/flow.py"),
};

// Later SDKs break this Maestral, and later watchdogs no longer tell of changed modes.
const MAESTRAL: Suite = Suite {
    name: "maestral",
    client: Some("Maestral"),
    packages: &["maestral==1.9.6", "dropbox<12.1", "watchdog<6", "keyrings.alt"],
    file: "two_clients.py",
    script: include_str!("sdk/two_clients.py"),
};

// The oldest and the newest that the script was run with: both names lead to the same package.
const JS: Suite = Suite {
    name: "dropbox-js",
    client: Some("JS SDK"),
    packages: &["dropbox-old@npm:dropbox@10.34.0", "dropbox@npm:dropbox@10.47.0"],
    file: "flow.js",
    script: include_str!("sdk/flow.js"),
};

// Drives the system's Chromium; the script says so where there is none.
const WEB: Suite = Suite {
    name: "web",
    client: None,
    packages: &["playwright==1.65.2"],
    file: "page.py",
    script: include_str!("web/page.py"),
};

/// Two Maestral clients while servers are killed (`maestral_kills.rs`).
pub const KILLS: Suite =
    Suite { name: "maestral-kills", file: "under_kills.py", script: include_str!("sdk/under_kills.py"), ..MAESTRAL };

/// The Python SDK.
pub fn run() -> Result<()> {
    run_suite(&SDK, python)
}

/// Two Maestral clients.
pub fn run_maestral() -> Result<()> {
    run_suite(&MAESTRAL, python)
}

/// The web page in Chromium. Pictures go to the directory that DROPSTONE_PICTURES names.
pub fn run_web() -> Result<()> {
    run_suite(&WEB, python)
}

/// The JS SDK.
pub fn run_js() -> Result<()> {
    run_suite(&JS, node)
}

/// Makes what a script runs in; `None`, and a line that says so, where it cannot be had.
type Environment = fn(&Suite, &Path) -> Result<Option<PathBuf>>;

fn run_suite(suite: &Suite, environment: Environment) -> Result<()> {
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-{}-{}", suite.name, std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let outcome = judge(suite, environment, &dir);
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

fn judge(suite: &Suite, environment: Environment, dir: &Path) -> Result<()> {
    let Some(program) = environment(suite, dir)? else { return Ok(()) };
    let served = Served::start(dir, &[])?;
    let mut command = script(suite, &program, dir)?;
    command.envs(served.variables(&[])?);
    print!("{}", run_ok(&mut command)?);
    suite.client.map_or(Ok(()), |client| served.check_covered(client))
}

/// The suite's script, with `dir` as its home.
pub fn script(suite: &Suite, program: &Path, dir: &Path) -> Result<Command> {
    let script = dir.join(suite.file);
    std::fs::write(&script, suite.script)?;
    let mut command = Command::new(program);
    command.arg(&script).arg(dir);
    keep_apart(&mut command, dir)?;
    command.env("DROPSTONE_BINARY", binary()?);
    command.env("PYTHON_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring");
    Ok(command)
}

/// What a client keeps of its own lies in `dir`, and goes with the suite.
pub fn keep_apart(command: &mut Command, dir: &Path) -> Result<()> {
    for (name, folder) in
        [("HOME", "home"), ("XDG_CONFIG_HOME", "config"), ("XDG_DATA_HOME", "share"), ("XDG_CACHE_HOME", "cache")]
    {
        std::fs::create_dir_all(dir.join(folder))?;
        command.env(name, dir.join(folder));
    }
    Ok(())
}

/// A virtual environment with the packages; the path of its interpreter.
pub fn python(suite: &Suite, dir: &Path) -> Result<Option<PathBuf>> {
    let (venv, name) = (dir.join("venv"), suite.name);
    let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).output();
    if !made.is_ok_and(|output| output.status.success()) {
        println!("  SKIPPED {name}: python3 cannot make a virtual environment here");
        return Ok(None);
    }
    let python = venv.join("bin/python");
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet"]).args(suite.packages);
    Ok(is_installed(suite, "pip", &mut install)?.then_some(python))
}

/// A folder with the packages, in which node finds them.
fn node(suite: &Suite, dir: &Path) -> Result<Option<PathBuf>> {
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if let Some(missing) = ["node", "npm"].into_iter().find(|program| !is_there(program)) {
        println!("  SKIPPED {}: {missing} is not installed here", suite.name);
        return Ok(None);
    }
    std::fs::write(dir.join("package.json"), "{\"private\":true}\n")?;
    let mut install = Command::new("npm");
    install.args(["install", "--no-audit", "--no-fund", "--loglevel=error"]).args(suite.packages).current_dir(dir);
    Ok(is_installed(suite, "npm", &mut install)?.then(|| PathBuf::from("node")))
}

fn is_installed(suite: &Suite, installer: &str, install: &mut Command) -> Result<bool> {
    let output = install.output()?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let why = why.lines().last().unwrap_or_default();
        println!("  SKIPPED {}: {installer} could not install {}: {why}", suite.name, suite.packages.join(" "));
    }
    Ok(output.status.success())
}
