//! Ten thousand clients wait at one notifier: how long from the acknowledgement of a change to the answers of those who
//! wait for it. Prints; asserts that all are woken, and no time.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base::{Acct, Nsid};
use client::{Client, ClientOptions};
use meta::{At, Command, Mkdir, NamespaceKind, Outcome};
use serde_json::{Value, json};

use super::cluster::{Cluster, Shape, wait_for};
use super::roles::{Role, Roles, call};

const CLIENTS: usize = 10_000;
const ACCOUNTS: usize = 50;
/// Changes; each wakes the clients of one account.
const CHANGES: usize = 100;
const GRANT_BYTES: u64 = 1 << 40;
const CALM: Duration = Duration::from_millis(50);
const WAKE_TIME_MAX: Duration = Duration::from_secs(30);

/// One account: whose clients wait together.
struct Account {
    acct: Acct,
    root: Nsid,
    token: String,
}

pub fn run() -> Result<()> {
    let limit = reactor::system::raise_file_limit()?;
    ensure!(limit.soft >= CLIENTS as u64 + 1000, "only {} open files are allowed here", limit.soft);
    let cluster = Cluster::start("notify-wake", Shape::default())?;
    let mut roles = Roles::new(&cluster, false)?;
    for role in [Role::Gateway(0), Role::Notifier(0)] {
        roles.start(role)?;
    }
    roles.wait_well(0)?;
    let client = Client::connect(&cluster.addresses(), ClientOptions::default())?;
    let accounts = (0..ACCOUNTS).map(|at| account(&cluster, &roles, &client, at)).collect::<Result<Vec<_>>>()?;
    spread(&roles, &client, &accounts)?;
    one_folder(&roles, &client, &accounts[0])?;
    drop(roles);
    cluster.finish();
    Ok(())
}

fn account(cluster: &Cluster, roles: &Roles, client: &Client, at: usize) -> Result<Account> {
    let name = format!("waiter{at}");
    let Outcome::Account { acct, root } =
        client.command(Acct(0), Nsid(0), Command::AccountPut { name: name.clone() })?
    else {
        bail!("no account was made")
    };
    let init = Command::NamespaceInit { kind: NamespaceKind::Root, owner: acct, grant_bytes: GRANT_BYTES };
    ensure!(client.command(Acct(0), root, init)?.is_ok(), "no root was made");
    let secret = roles.secret();
    let secret = secret.to_str().context("the path is not UTF-8")?;
    let made = cluster.ok(&["admin", "token", "create", "--of", &name, "--secret", secret, "--no-expiry", "--json"])?;
    let made: Value = serde_json::from_str(&made)?;
    let token = made["access_token"].as_str().context("no token")?.to_owned();
    Ok(Account { acct, root, token })
}

fn cursor(roles: &Roles, account: &Account) -> Result<String> {
    let arg = json!({ "path": "", "recursive": true });
    let gateway = roles.address(Role::Gateway(0));
    let route = "files/list_folder/get_latest_cursor";
    let answer = call(&gateway, route, Some(&account.token), &arg, Duration::from_secs(30))?;
    Ok(answer.json()?["cursor"].as_str().context("no cursor")?.to_owned())
}

/// A connection that is kept, with a longpoll on it.
struct Waiting {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Waiting {
    fn connect(address: &str) -> Result<Waiting> {
        let stream = TcpStream::connect(address)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Waiting { stream, bytes: Vec::new() })
    }

    fn ask(&mut self, cursor: &str) -> Result<()> {
        let body = json!({ "cursor": cursor, "timeout": 480 }).to_string();
        let head =
            "POST /2/files/list_folder/longpoll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
        let text = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        self.bytes.clear();
        self.stream.write_all(text.as_bytes()).context("a request did not fit an empty socket")
    }

    /// True once the answer is whole.
    fn is_answered(&mut self) -> Result<bool> {
        let mut bytes = [0; 2048];
        match self.stream.read(&mut bytes) {
            Ok(0) => bail!("the notifier closed a connection"),
            Ok(count) => self.bytes.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        if !self.bytes.ends_with(b"}") {
            return Ok(false);
        }
        let text = String::from_utf8_lossy(&self.bytes);
        ensure!(text.ends_with("{\"changes\":true}"), "it was told something else: {text}");
        Ok(true)
    }
}

/// Sends all longpolls, not so many at once that the notifier's backlog overflows, and waits until all wait.
fn connect_all(roles: &Roles, cursors: &[String]) -> Result<Vec<Waiting>> {
    let address = roles.address(Role::Notifier(0)).replace("localhost", "127.0.0.1");
    let began = Instant::now();
    let mut waiting = Vec::new();
    for at in 0..CLIENTS {
        let mut one = Waiting::connect(&address)?;
        one.ask(&cursors[at % cursors.len()])?;
        waiting.push(one);
        if at % 100 == 99 {
            wait_until_waiting(roles, (at + 1) as u64 / 2)?;
        }
    }
    wait_until_waiting(roles, CLIENTS as u64)?;
    println!("  {CLIENTS} clients wait, {:.1} s after the first one came", began.elapsed().as_secs_f64());
    Ok(waiting)
}

fn wait_until_waiting(roles: &Roles, count: u64) -> Result<()> {
    wait_for(Duration::from_secs(60), || Ok((roles.counter(0, "edge_watchers")? >= count).then_some(())))
        .context("not all wait")
}

/// Makes one change while these wait for it; from its acknowledgement to each answer, 0 where the answer was first.
fn wake(client: &Client, account: &Account, name: usize, waiting: &mut [&mut Waiting]) -> Result<Vec<Duration>> {
    let command = Command::Mkdir(Mkdir { at: At::path(&format!("/change-{name}")), autorename: false });
    let mut heard: Vec<Option<Instant>> = vec![None; waiting.len()];
    let acknowledged = std::thread::scope(|scope| -> Result<Instant> {
        let change = scope.spawn(|| {
            let outcome = client.command(account.acct, account.root, command);
            (Instant::now(), outcome)
        });
        let began = Instant::now();
        while heard.iter().any(Option::is_none) {
            ensure!(began.elapsed() < WAKE_TIME_MAX, "{} are not woken", heard.iter().filter(|h| h.is_none()).count());
            for (one, heard) in waiting.iter_mut().zip(&mut heard).filter(|(_, heard)| heard.is_none()) {
                if one.is_answered()? {
                    *heard = Some(Instant::now());
                }
            }
            // The notifier has the same two processors.
            std::thread::yield_now();
        }
        let (at, outcome) = change.join().ok().context("the change panicked")?;
        ensure!(outcome?.is_ok(), "the change was refused");
        Ok(at)
    })?;
    Ok(heard.into_iter().flatten().map(|heard| heard.saturating_duration_since(acknowledged)).collect())
}

/// Each change wakes the clients of one account out of many.
fn spread(roles: &Roles, client: &Client, accounts: &[Account]) -> Result<()> {
    let cursors = accounts.iter().map(|account| cursor(roles, account)).collect::<Result<Vec<_>>>()?;
    let mut waiting = connect_all(roles, &cursors)?;
    let (mut all, mut last) = (Vec::new(), Vec::new());
    for at in 0..CHANGES {
        let own = at % ACCOUNTS;
        let mut those: Vec<&mut Waiting> = waiting.iter_mut().skip(own).step_by(ACCOUNTS).collect();
        let times = wake(client, &accounts[own], at, &mut those)?;
        last.push(times.iter().copied().max().unwrap_or_default());
        all.extend(times);
        // They come back, as clients do.
        let cursor = cursor(roles, &accounts[own])?;
        those.iter_mut().try_for_each(|one| one.ask(&cursor))?;
        wait_until_waiting(roles, CLIENTS as u64)?;
        std::thread::sleep(CALM);
    }
    let many = CLIENTS / ACCOUNTS;
    println!(
        "  {CHANGES} changes, each wakes {many} of {CLIENTS}: answers after {}; the last of {many} {}",
        text(all),
        text(last)
    );
    Ok(())
}

/// All clients wait for one folder.
fn one_folder(roles: &Roles, client: &Client, account: &Account) -> Result<()> {
    wait_for(Duration::from_secs(30), || Ok((roles.counter(0, "edge_watchers")? == 0).then_some(())))
        .context("those of before still wait")?;
    let mut waiting = connect_all(roles, &[cursor(roles, account)?])?;
    let mut those: Vec<&mut Waiting> = waiting.iter_mut().collect();
    let times = wake(client, account, CHANGES, &mut those)?;
    println!("  one change wakes all {CLIENTS}: answers after {}", text(times));
    Ok(())
}

fn text(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", at(0.5), at(0.99), at(1.0))
}
