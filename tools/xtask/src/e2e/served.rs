//! `dropstone dev` under a client: its data, the variables that clients read, and which routes it has served.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::cluster::{binary, free_ports, run_ok, wait_for, workspace};

/// Ports that one `dev` takes.
const PORTS: u16 = 344;
/// Each answer is a line of its log.
const LOG: &str = "warn,stone::route=debug";
/// The table that says which client covers which route.
const TABLE: (&str, &str) = ("docs/design/gateway.md", "## Which client covers which route");

/// It ends with this value.
pub struct Served {
    /// Its data directory.
    pub data: PathBuf,
    child: Child,
    log: PathBuf,
    target: String,
}

impl Served {
    /// One node in `dir`, once its gateway is up; `more` are further arguments.
    pub fn start(dir: &Path, more: &[&str]) -> Result<Served> {
        let (data, log) = (dir.join("data"), dir.join("dev.log"));
        let port = free_ports(PORTS)?.to_string();
        let child = Command::new(binary()?)
            .args(["dev", "--nodes", "1", "--log", LOG, "--port", &port, "--data"])
            .arg(&data)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .context("could not start dropstone dev")?;
        let mut served = Served { data, child, log, target: format!("127.0.0.1:{port}") };
        let env = served.data.join("http/env");
        let up = wait_for(Duration::from_secs(60), || {
            if let Some(status) = served.child.try_wait()? {
                bail!("dev ended by itself: {status}");
            }
            Ok(env.exists().then_some(()))
        });
        up.with_context(|| format!("dev has no gateway: {}", served.last_words()))?;
        Ok(served)
    }

    /// A command of the same binary against it, which must succeed; what it prints.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        run_ok(Command::new(binary()?).args(arguments).env("DROPSTONE_TARGET", &self.target))
    }

    /// What `dropstone env` tells, with its arguments.
    pub fn variables(&self, arguments: &[&str]) -> Result<Vec<(String, String)>> {
        let text = run_ok(Command::new(binary()?).args(["env", "--data"]).arg(&self.data).args(arguments))?;
        let variable = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.strip_prefix('\'')?.strip_suffix('\'')?.to_owned()))
        };
        text.lines().map(|line| variable(line).with_context(|| format!("`dropstone env` printed {line:?}"))).collect()
    }

    /// The routes that it has answered.
    pub fn routes(&self) -> Result<BTreeSet<String>> {
        let log = std::fs::read_to_string(&self.log)?;
        let route = |line: &str| Some(line.split_once(" route=\"")?.1.split_once('"')?.0.to_owned());
        Ok(log.lines().filter(|line| line.contains("answered")).filter_map(route).collect())
    }

    /// Checks that it has answered every route that the table says `client` covers; tells how many, and what the table
    /// does not know of.
    pub fn check_covered(&self, client: &str) -> Result<()> {
        let (served, table) = (self.routes()?, Coverage::read()?);
        let promised = table.of(client)?;
        let missed: Vec<&String> = promised.difference(&served).collect();
        ensure!(missed.is_empty(), "{} says that {client} covers {missed:?}, which it never called", TABLE.0);
        println!("  {} routes, all that the table has for {client}", promised.len());
        let more: Vec<&String> = served.difference(&promised).collect();
        if !more.is_empty() {
            println!("  NOTE: {client} called {more:?} too, which the table does not say");
        }
        Ok(())
    }

    /// The last lines of its log.
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself; the suite has failed then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The table, row by row.
struct Coverage {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Coverage {
    fn read() -> Result<Coverage> {
        let text = std::fs::read_to_string(workspace().join(TABLE.0))?;
        Coverage::parse(&text).with_context(|| format!("{} has no table below {:?}", TABLE.0, TABLE.1))
    }

    fn parse(text: &str) -> Option<Coverage> {
        let section = text.split_once(TABLE.1)?.1;
        let section = section.split("\n## ").next()?;
        let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
        let mut lines = section.lines().filter(|line| line.starts_with("| ")).map(cells);
        let head = lines.next()?;
        let rows = lines.filter(|row: &Vec<String>| !row[0].starts_with("---")).collect();
        Some(Coverage { head, rows })
    }

    /// The routes with a mark in a client's column; rows that are no route of `/2/` are left out.
    fn of(&self, client: &str) -> Result<BTreeSet<String>> {
        let at = self.head.iter().position(|cell| cell == client);
        let at = at.with_context(|| format!("the table of {} has no column {client:?}", TABLE.0))?;
        let is_marked = |row: &&Vec<String>| row.get(at).is_some_and(|cell| cell == "x");
        let routes = self.rows.iter().filter(is_marked).map(|row| row[0].clone());
        Ok(routes.filter(|route| !route.contains(' ')).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_of_the_table_has_its_routes() {
        let text = format!(
            "# Title\n{}\nProse.\n\n| route | One | Two |\n| --- | --- | --- |\n| a/b | x | |\n| GET / | x | x |\n\
             | c | | x |\n\n## Next\n| d | x | x |\n",
            TABLE.1
        );
        let table = Coverage::parse(&text).expect("a table");
        let of = |client: &str| table.of(client).expect("a column").into_iter().collect::<Vec<_>>();
        assert_eq!(of("One"), ["a/b"]);
        assert_eq!(of("Two"), ["c"]);
        assert!(table.of("Three").is_err());
    }
}
