//! Two unmodified Maestral clients, each role a process of its own: gateway, content host, notifier and metaservers are
//! killed in turn and come back while the clients work. They finish, and both trees are what was written.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::cluster::{Cluster, Shape, wait_for};
use super::roles::{Role, Roles};
use super::sdk::{KILLS, python, script};

/// Rounds of changes; each takes a little more than 2 s.
const ROUNDS: &str = "24";
/// Between a server's death and its return, and from there to the next one's.
const AWAY: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_secs(3);
const ALL_TIME_MAX: Duration = Duration::from_secs(420);

pub fn run() -> Result<()> {
    if !Command::new("openssl").arg("version").output().is_ok_and(|output| output.status.success()) {
        println!("  SKIPPED {}: there is no openssl to make a certificate", KILLS.name);
        return Ok(());
    }
    let mut cluster = Cluster::start(KILLS.name, Shape::default())?;
    let dir = cluster.dir.join("clients");
    std::fs::create_dir_all(&dir)?;
    let Some(python) = python(&KILLS, &dir)? else {
        cluster.finish();
        return Ok(());
    };
    let mut roles = Roles::new(&cluster, true)?;
    for role in [Role::Gateway(0), Role::Content, Role::Notifier(0), Role::Notifier(1)] {
        roles.start(role)?;
    }
    roles.wait_well(0)?;
    judge(&mut cluster, &mut roles, &python, &dir)?;
    drop(roles);
    cluster.finish();
    Ok(())
}

fn judge(cluster: &mut Cluster, roles: &mut Roles, python: &Path, dir: &Path) -> Result<()> {
    let secret = roles.secret();
    let secret = secret.to_str().context("the path is not UTF-8")?;
    let made =
        cluster.ok(&["admin", "token", "create", "--of", "tester", "--secret", secret, "--no-expiry", "--json"])?;
    let made: Value = serde_json::from_str(&made)?;
    let token = made["access_token"].as_str().context("no token")?;
    let authority = roles.authority().context("there is TLS")?;
    let mut command = script(&KILLS, python, dir)?;
    command.env("ROUNDS", ROUNDS).env("DROPSTONE_TOKEN", token).env("REQUESTS_CA_BUNDLE", authority);
    for (name, role) in [
        ("DROPBOX_API_HOST", Role::Gateway(0)),
        ("DROPBOX_API_CONTENT_HOST", Role::Content),
        ("DROPBOX_API_NOTIFY_HOST", Role::Notifier(0)),
        ("DROPBOX_WEB_HOST", Role::Gateway(0)),
    ] {
        command.env(name, roles.address(role));
    }
    let mut clients = command.stdin(Stdio::null()).spawn().context("could not start the clients")?;
    let (linked, written) = (dir.join("linked"), dir.join("written"));
    let outcome = wait_for(Duration::from_secs(90), || {
        if let Some(status) = clients.try_wait()? {
            bail!("the clients ended before they were linked: {status}");
        }
        Ok(linked.exists().then_some(()))
    });
    let killed = outcome.and_then(|()| kill_in_turn(cluster, roles, &written));
    let status = killed.and_then(|count| {
        println!("  {count} servers were killed and came back");
        wait_for(ALL_TIME_MAX, || Ok(clients.try_wait()?)).context("the clients do not end")
    });
    // They may have ended by themselves.
    let _ = clients.kill();
    let _ = clients.wait();
    ensure!(status?.success(), "the clients failed");
    Ok(())
}

/// Kills one server after the other until all changes are written; how many.
fn kill_in_turn(cluster: &mut Cluster, roles: &mut Roles, written: &Path) -> Result<usize> {
    let began = Instant::now();
    let mut count = 0;
    while !written.exists() || count < 5 {
        ensure!(began.elapsed() < ALL_TIME_MAX, "the clients do not come to an end of their changes");
        match count % 5 {
            0 => away(roles, Role::Gateway(0))?,
            1 => away(roles, Role::Content)?,
            2 => away(roles, Role::Notifier(0))?,
            3 => {
                let leader = cluster.leader_of_root()?;
                cluster.kill_node(leader)?;
                std::thread::sleep(AWAY);
                cluster.start_node(leader)?;
                cluster.wait_ready(Duration::from_secs(30))?;
            }
            _ => away(roles, Role::Notifier(1))?,
        }
        count += 1;
        std::thread::sleep(BETWEEN);
    }
    Ok(count)
}

fn away(roles: &mut Roles, role: Role) -> Result<()> {
    roles.kill(role)?;
    std::thread::sleep(AWAY);
    roles.start(role)
}
