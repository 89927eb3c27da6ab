//! PostgreSQL: a primary and standbys that stream from it, a majority of which, the primary included, has synced a
//! transaction before it is acknowledged.
//!
//! The server refuses to run as root, so it runs as the user `postgres` then, who must reach the directory.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use super::process::Account;
use super::{ASK_EVERY, Cluster, READY_MAX, converse, free_ports, local, text};
use crate::codec::postgres::{Message, put_query, put_startup, take};
use crate::drivers::postgres::{SCHEMA, USER};
use crate::exit::{UNAVAILABLE, exit};

/// Where Debian puts the programs: `VERSION/bin`.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// Sessions of a comparison, the standbys' and ours.
const CONNECTIONS_MAX: u32 = 600;
/// Settings of all nodes beside the defaults: memory, and room for the log so that no window is spent on checkpoints. The
/// last three are defaults too; they are what an acknowledgement rests on.
const SETTINGS: [&str; 6] = [
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "unix_socket_directories=",
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
];

/// The newest of the installed servers.
pub fn find() -> Option<PathBuf> {
    let version = |dir: &Path| dir.file_name()?.to_str()?.parse::<u32>().ok();
    let dirs = std::fs::read_dir(PROGRAMS).ok()?.flatten().map(|entry| entry.path());
    let found = dirs.filter_map(|dir| Some((version(&dir)?, dir.join("bin/postgres"))));
    found.filter(|(_, program)| program.is_file()).max().map(|(_, program)| program)
}

/// Fills the primary's directory, starts it, copies it, and starts the copies as its standbys.
pub fn start(cluster: &mut Cluster, program: &Path, nodes: u16) -> Result<()> {
    let first = free_ports(nodes)?;
    let account = account()?;
    let dirs = (1..=nodes).map(|number| cluster.node_dir(number)).collect::<Result<Vec<PathBuf>>>()?;
    for dir in &dirs {
        // The server wants to be alone in there.
        std::fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        if let Some(account) = account {
            account.own(dir)?;
        }
    }
    let primary = local(first);
    for (number, dir) in (1..=nodes).zip(&dirs) {
        let role = if number == 1 {
            let init = ["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "-D", &text(dir)?];
            run(tool(program, "initdb", account).args(init))?;
            format!("synchronous_standby_names={}", standby_names(nodes))
        } else {
            let port = first.to_string();
            let copy = ["-h", "127.0.0.1", "-p", &port, "-U", USER, "-X", "stream", "-c", "fast", "-D", &text(dir)?];
            run(tool(program, "pg_basebackup", account).args(copy))?;
            let mark = dir.join("standby.signal");
            std::fs::write(&mark, "").with_context(|| format!("could not write {}", mark.display()))?;
            format!("primary_conninfo=host=127.0.0.1 port={first} user={USER} application_name=s{number}")
        };
        let mut words = vec!["-D".to_owned(), text(dir)?];
        let port = first + number - 1;
        let own = ["listen_addresses=127.0.0.1".to_owned(), format!("port={port}"), role];
        let connections = format!("max_connections={CONNECTIONS_MAX}");
        let settings = own.into_iter().chain([connections]).chain(SETTINGS.map(str::to_owned));
        words.extend(settings.flat_map(|setting| ["-c".to_owned(), setting]));
        cluster.spawn_as(program, &words, account)?;
        cluster.addresses.push(local(port));
        if number == 1 {
            await_primary(cluster, primary)?;
            // No standby is there yet that could confirm it.
            ask(primary, &format!("SET synchronous_commit = local; {SCHEMA}")).context("could not make the tables")?;
        }
    }
    Ok(())
}

/// A majority of the nodes has a transaction: the primary, and so many of the others.
fn standby_names(nodes: u16) -> String {
    let names: Vec<String> = (2..=nodes).map(|number| format!("s{number}")).collect();
    if names.is_empty() { String::new() } else { format!("ANY {} ({})", nodes / 2, names.join(", ")) }
}

/// Whom to run as; `None` is ourselves.
fn account() -> Result<Option<Account>> {
    if !Account::is_root()? {
        return Ok(None);
    }
    let missing =
        || exit(UNAVAILABLE, format!("postgres: it does not run as root, and there is no user {USER}; add one"));
    Account::of(USER).map(Some).ok_or_else(missing)
}

/// A program that lies beside the server.
fn tool(server: &Path, name: &str, account: Option<Account>) -> Command {
    let mut command = Command::new(server.with_file_name(name));
    // Ours may be closed to others.
    command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
    if let Some(account) = account {
        account.take(&mut command);
    }
    command
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("could not run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let hint = if said.contains("Permission denied") {
        format!("; name a directory that user {USER} can reach with --dir")
    } else {
        String::new()
    };
    ensure!(output.status.success(), "{name} ended with {}: {}{hint}", output.status, said.trim());
    Ok(())
}

fn await_primary(cluster: &mut Cluster, primary: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    loop {
        cluster.check()?;
        match ask(primary, "SELECT 1") {
            Ok(_) => return Ok(()),
            Err(error) if begun.elapsed() > READY_MAX => return Err(error),
            Err(_) => std::thread::sleep(ASK_EVERY),
        }
    }
}

/// The primary, once all standbys follow it and count for the majority.
pub fn standbys(addresses: &[SocketAddr]) -> Result<usize> {
    let rows = ask(addresses[0], "SELECT state, sync_state FROM pg_stat_replication")?;
    let ready = rows.iter().filter(|row| **row == ["streaming", "quorum"]).count();
    ensure!(ready + 1 == addresses.len(), "{ready} of {} standbys stream from the primary", addresses.len() - 1);
    Ok(0)
}

/// What the servers say of their syncs.
///
/// Errors: one of them does not sync, or nobody else is waited for.
pub fn told(addresses: &[SocketAddr]) -> Result<String> {
    for address in addresses {
        for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
            let value = one(*address, &format!("SHOW {setting}"))?;
            ensure!(value == "on", "{address} runs with {setting} = {value}: it was told to have it on");
        }
    }
    let names = one(addresses[0], "SHOW synchronous_standby_names")?;
    let wanted = standby_names(addresses.len() as u16);
    ensure!(names == wanted, "{} waits for {names:?}: it was told {wanted:?}", addresses[0]);
    let rows = ask(addresses[0], "SELECT application_name, sync_state FROM pg_stat_replication ORDER BY 1")?;
    let standbys: Vec<String> = rows.iter().map(|row| row.join(" ")).collect();
    let standbys = if standbys.is_empty() { "none".to_owned() } else { standbys.join(", ") };
    Ok(format!("fsync on, synchronous_commit on, synchronous_standby_names {names:?}, standbys: {standbys}"))
}

/// The one value that answers a question.
fn one(address: SocketAddr, sql: &str) -> Result<String> {
    let rows = ask(address, sql)?;
    let value = rows.into_iter().next().and_then(|row| row.into_iter().next());
    value.with_context(|| format!("{address} does not answer {sql}"))
}

/// Asks one question; rows as text, null as an empty one.
fn ask(address: SocketAddr, sql: &str) -> Result<Vec<Vec<String>>> {
    let mut out = Vec::new();
    put_startup(USER, USER, &mut out);
    put_query(sql, &mut out);
    let (mut rows, mut readies) = (Vec::new(), 0);
    converse(address, out, |input, _| {
        let mut at = 0;
        while let Some((message, taken)) = take(&input[at..])? {
            at += taken;
            match message {
                Message::Row(columns) => {
                    let text = |column: Option<&[u8]>| String::from_utf8_lossy(column.unwrap_or_default()).into_owned();
                    rows.push(columns.into_iter().map(text).collect());
                }
                Message::Error(trouble) => bail!("{address} answered {trouble}"),
                Message::WantsProof(_) => bail!("{address} does not trust {USER} on loopback"),
                // The first one ends the greeting.
                Message::Ready if readies == 1 => return Ok((at, Some(std::mem::take(&mut rows)))),
                Message::Ready => readies += 1,
                _ => {}
            }
        }
        Ok((at, None))
    })
}

/// Ends the nodes of a cluster at once, and waits until their processes, of which each node has many, are gone.
pub fn stop(cluster: &Cluster) {
    let Ok(account) = account() else { return };
    let nodes = (1..=cluster.processes.len()).map(|number| cluster.dir.join(format!("n{number}")));
    let stop = |dir: PathBuf| {
        let mut command = tool(&cluster.program, "pg_ctl", account);
        command.args(["stop", "-m", "immediate", "-t", "10", "-s", "-D"]).arg(dir).stderr(Stdio::null()).spawn().ok()
    };
    let stops: Vec<Child> = nodes.filter_map(stop).collect();
    for mut stop in stops {
        // One that was not running has nothing to be stopped; what is left is killed.
        let _ = stop.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_all_nodes_is_waited_for() {
        assert_eq!([1, 2, 3, 5].map(standby_names), ["", "ANY 1 (s2)", "ANY 1 (s2, s3)", "ANY 2 (s2, s3, s4, s5)"]);
    }
}
