//! The clients' own test suites, which are in no package: run from checkouts that `DROPSTONE_SUITES` names.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::super::cluster::run_ok;
use super::super::served::Served;
use super::{MAESTRAL, SDK, Suite, keep_apart, python};

/// The variable, and what it names: a folder with a checkout for each suite.
const SUITES: &str = "DROPSTONE_SUITES";

/// A suite of pytest.
struct Outside {
    /// The client that it is of.
    client: &'static Suite,
    /// Its checkout's folder, and the version that the counts are for.
    folder: &'static str,
    version: &'static str,
    /// What pytest gets.
    tests: &'static str,
    passed_min: usize,
    /// Parts of the names of cases that may fail: what the server does not have.
    may_fail: &'static [&'static str],
}

const ALL: [Outside; 2] = [
    Outside {
        client: &MAESTRAL,
        folder: "maestral",
        version: "v1.9.6",
        tests: "tests/linked/unit/test_client.py",
        passed_min: 20,
        may_fail: &[],
    },
    Outside {
        client: &SDK,
        folder: "dropbox-sdk-python",
        version: "v12.2.4",
        tests: "test/integration/test_dropbox.py",
        passed_min: 17,
        // Thumbnails, listings of teams, and certificates that the package pins.
        may_fail: &["test_multi_auth", "TestDropboxTeam::test_team", "pin", "ssl", "SSL"],
    },
];

/// Runs those whose checkout is there; the others are named.
pub fn run() -> Result<()> {
    let Some(suites) = std::env::var_os(SUITES).map(PathBuf::from) else {
        let folders: Vec<String> = ALL.iter().map(|suite| format!("{} {}", suite.folder, suite.version)).collect();
        println!("  SKIPPED outside-suites: {SUITES} names no folder with checkouts of {}", folders.join(", "));
        return Ok(());
    };
    let mut failed = Vec::new();
    for suite in &ALL {
        let checkout = suites.join(suite.folder);
        if !checkout.join(suite.tests).is_file() {
            println!("  SKIPPED {}: there is no {}", suite.folder, checkout.join(suite.tests).display());
            continue;
        }
        if let Err(error) = in_a_folder_of_its_own(suite, &checkout) {
            println!("  {}: {error:#}", suite.folder);
            failed.push(suite.folder);
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("outside suites failed: {}", failed.join(", ")) }
}

fn in_a_folder_of_its_own(suite: &Outside, checkout: &Path) -> Result<()> {
    let dir = std::env::temp_dir().join(format!("dropstone-e2e-{}-{}", suite.folder, std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir)?;
    let outcome = judge(suite, checkout, &dir);
    let _ = std::fs::remove_dir_all(&dir);
    outcome
}

fn judge(suite: &Outside, checkout: &Path, dir: &Path) -> Result<()> {
    let Some(python) = python(suite.client, dir)? else { return Ok(()) };
    run_ok(Command::new(&python).args(["-m", "pip", "install", "--quiet", "pytest"]))?;
    let served = Served::start(dir, &[])?;
    let variables = served.variables(&[])?;
    let told = |name: &str| {
        let value = variables.iter().find(|(told, _)| told == name).map(|(_, value)| value.clone());
        value.with_context(|| format!("`dropstone env` has no {name}"))
    };
    let link = shared_link(&python, dir, &variables)?;
    // The script beside the interpreter: `python -m pytest` would find the checkout's package before the installed one.
    let mut pytest = Command::new(python.with_file_name("pytest"));
    pytest.args(["-rA", "-q", "--tb=short", "-p", "no:cacheprovider", suite.tests]).current_dir(checkout);
    pytest.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHON_KEYRING_BACKEND", "keyrings.alt.file.PlaintextKeyring");
    pytest.env("SCOPED_USER_DROPBOX_TOKEN", told("DROPSTONE_TOKEN")?);
    pytest.env("SCOPED_USER_REFRESH_TOKEN", told("DROPBOX_REFRESH_TOKEN")?);
    pytest.envs([("SCOPED_USER_CLIENT_ID", "key"), ("SCOPED_USER_CLIENT_SECRET", "secret")]);
    pytest.env("SCOPED_TEAM_DROPBOX_TOKEN", told("DROPSTONE_TOKEN")?).env("DROPBOX_SHARED_LINK", link);
    pytest.envs(variables.iter().map(|(name, value)| (name, value)));
    keep_apart(&mut pytest, dir)?;
    let output = pytest.output().context("could not run pytest")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let cases = Cases::of(&text);
    let wrong = cases.wrong(suite.may_fail);
    ensure!(wrong.is_empty(), "{wrong:?} failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    let passed = cases.passed.len();
    ensure!(passed >= suite.passed_min, "{passed} cases passed, {} are expected: {text}", suite.passed_min);
    println!("  {} {}: {passed} cases passed, {:?} could not", suite.folder, suite.version, cases.failed);
    Ok(())
}

/// A file that has a link.
fn shared_link(python: &Path, dir: &Path, variables: &[(String, String)]) -> Result<String> {
    const SCRIPT: &str = "import os, dropbox\n\
        dbx = dropbox.Dropbox(os.environ['DROPSTONE_TOKEN'])\n\
        dbx.files_upload(b'linked', '/linked.png')\n\
        print(dbx.sharing_create_shared_link_with_settings('/linked.png').url)\n";
    let mut command = Command::new(python);
    command.args(["-c", SCRIPT]).envs(variables.iter().map(|(name, value)| (name, value))).current_dir(dir);
    Ok(run_ok(&mut command)?.trim().to_owned())
}

/// What became of each case, as pytest tells it with `-rA`.
#[derive(Debug, PartialEq, Eq)]
struct Cases {
    passed: Vec<String>,
    failed: Vec<String>,
}

impl Cases {
    fn of(text: &str) -> Cases {
        let with = |words: [&str; 2]| {
            let case = |line: &str| {
                let rest = words.iter().find_map(|word| line.strip_prefix(word))?;
                Some(rest.split(" - ").next().unwrap_or(rest).trim().to_owned())
            };
            text.lines().filter_map(case).collect()
        };
        Cases { passed: with(["PASSED ", "XPASS "]), failed: with(["FAILED ", "ERROR "]) }
    }

    /// Those that should not have failed.
    fn wrong(&self, may_fail: &[&str]) -> Vec<&String> {
        self.failed.iter().filter(|case| !may_fail.iter().any(|part| case.contains(part))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_read_and_those_that_may_fail_are_known() {
        let text = "..F\n=== short test summary info ===\nPASSED t.py::test_rpc\nPASSED t.py::test_x[a b]\n\
            FAILED t.py::TestDropboxTeam::test_team - dropbox.BadInputError: no\nERROR t.py::test_setup - x\n\
            1 failed, 2 passed, 1 error in 0.1s\n";
        let cases = Cases::of(text);
        assert_eq!(cases.passed, ["t.py::test_rpc", "t.py::test_x[a b]"]);
        assert_eq!(cases.failed, ["t.py::TestDropboxTeam::test_team", "t.py::test_setup"]);
        assert_eq!(cases.wrong(ALL[1].may_fail), ["t.py::test_setup"]);
    }
}
