//! Two hundred clients wait at two notifiers while notifiers, gateways and metaservers are killed and come back: nobody
//! sleeps past a change. Everything runs from configuration files, as on several machines.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::cluster::{Cluster, Shape, wait_for};
use super::roles::{Role, Roles, call};

const ACCOUNTS: usize = 20;
const WAITERS: usize = 200;
/// What a waiter asks for. Whoever comes back no sooner was not woken.
const POLL: Duration = Duration::from_secs(60);
/// Nobody hears of a change later than this, whatever has just been killed: elections, dials and new cursors included.
const LATE: Duration = Duration::from_secs(12);
/// While all is well.
const PROMPT: Duration = Duration::from_secs(2);

/// One waiter's account and what it has seen.
struct Waiter {
    account: usize,
    seen: AtomicU64,
}

/// What all threads share.
struct World {
    /// The addresses are fixed; the processes come and go.
    gateways: [String; 2],
    edges: [String; 2],
    tokens: Vec<String>,
    waiters: Vec<Waiter>,
    is_over: AtomicBool,
    woken: AtomicU64,
    asleep: AtomicU64,
    /// Longpolls whose notifier was not there, or went.
    cut: AtomicU64,
    trouble: Mutex<Vec<String>>,
}

pub fn run() -> Result<()> {
    let mut cluster = Cluster::start("notify", Shape::default())?;
    let mut roles = Roles::new(&cluster, false)?;
    for role in [Role::Gateway(0), Role::Gateway(1), Role::Notifier(0), Role::Notifier(1)] {
        roles.start(role)?;
    }
    (0..2).try_for_each(|which| roles.wait_well(which))?;
    let world = Arc::new(world(&cluster, &roles)?);
    let threads: Vec<JoinHandle<()>> = (0..WAITERS)
        .map(|at| {
            let world = Arc::clone(&world);
            std::thread::spawn(move || wait_for_ever(&world, at))
        })
        .collect();
    let outcome = judge(&world, &mut cluster, &mut roles);
    world.is_over.store(true, Ordering::Relaxed);
    outcome?;
    let trouble = world.trouble.lock().expect("no waiter panics").clone();
    ensure!(trouble.is_empty(), "waiters were told what should not be: {:?}", &trouble[..trouble.len().min(5)]);
    // They are in their last call; the roles go, and so do they.
    drop(roles);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    cluster.finish();
    Ok(())
}

fn world(cluster: &Cluster, roles: &Roles) -> Result<World> {
    let secret = roles.secret();
    let secret = secret.to_str().context("the path is not UTF-8")?;
    let mut tokens = Vec::new();
    for account in 0..ACCOUNTS {
        let name = format!("waiter{account}");
        cluster.ok(&["account", "create", &name])?;
        let made =
            cluster.ok(&["admin", "token", "create", "--of", &name, "--secret", secret, "--no-expiry", "--json"])?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        tokens.push(made["access_token"].as_str().context("no token")?.to_owned());
    }
    let waiter = |at| Waiter { account: at % ACCOUNTS, seen: AtomicU64::new(0) };
    Ok(World {
        gateways: [0, 1].map(|which| roles.address(Role::Gateway(which))),
        edges: [0, 1].map(|which| roles.address(Role::Notifier(which))),
        tokens,
        waiters: (0..WAITERS).map(waiter).collect(),
        is_over: AtomicBool::new(false),
        woken: AtomicU64::new(0),
        asleep: AtomicU64::new(0),
        cut: AtomicU64::new(0),
        trouble: Mutex::default(),
    })
}

/// A sync client: its cursor, a longpoll, and when that says so the changes.
fn wait_for_ever(world: &World, at: usize) {
    let me = &world.waiters[at];
    let latest = json!({ "path": "", "recursive": true });
    let Some(first) = ask_any(world, at, "files/list_folder", &latest) else { return };
    let mut cursor = note(me, &first);
    let mut edge = at % 2;
    while !world.is_over.load(Ordering::Relaxed) {
        let arg = json!({ "cursor": cursor, "timeout": POLL.as_secs() });
        let limit = POLL + Duration::from_secs(30);
        let answer = call(&world.edges[edge], "files/list_folder/longpoll", None, &arg, limit);
        let counter = match answer.and_then(|answer| Ok((answer.status, answer.json()?))) {
            Ok((200, value)) if value["changes"] == true => &world.woken,
            Ok((200, _)) => &world.asleep,
            Ok(other) => {
                world.trouble.lock().expect("nobody panics with it").push(format!("{other:?}"));
                return;
            }
            // It was killed, or is not there: the other one has the same to tell. A client waits a little.
            Err(_) => {
                edge = 1 - edge;
                std::thread::sleep(Duration::from_millis(100 + at as u64));
                &world.cut
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let Some(page) = ask_any(world, at, "files/list_folder/continue", &json!({ "cursor": cursor })) else { return };
        cursor = note(me, &page);
    }
}

/// Counts what a page tells; its cursor.
fn note(me: &Waiter, page: &serde_json::Value) -> String {
    let entries = page["entries"].as_array().map_or(0, Vec::len) as u64;
    me.seen.fetch_add(entries, Ordering::Relaxed);
    page["cursor"].as_str().unwrap_or_default().to_owned()
}

/// Asks one gateway or the other until one answers; `None`: it is over.
fn ask_any(world: &World, at: usize, route: &str, arg: &serde_json::Value) -> Option<serde_json::Value> {
    let token = Some(world.tokens[world.waiters[at].account].as_str());
    for attempt in at.. {
        if world.is_over.load(Ordering::Relaxed) {
            return None;
        }
        let answer = call(&world.gateways[attempt % 2], route, token, arg, Duration::from_secs(40));
        match answer.and_then(|answer| Ok((answer.status, answer.json()?))) {
            Ok((200, value)) => return Some(value),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    None
}

/// One change for every account, through whichever gateway answers, and how long until all waiters have seen theirs.
fn change(world: &World, round: u64, limit: Duration, what: &str) -> Result<Duration> {
    for account in 0..ACCOUNTS {
        let arg = json!({ "path": format!("/round-{round}") });
        ask_any(world, account, "files/create_folder_v2", &arg).context("no gateway took the change")?;
    }
    let began = Instant::now();
    let behind = || world.waiters.iter().filter(|waiter| waiter.seen.load(Ordering::Relaxed) < round).count();
    wait_for(limit, || Ok((behind() == 0).then_some(())))
        .with_context(|| format!("{what}: {} of {WAITERS} sleep past round {round}", behind()))?;
    println!(
        "  {what}: all {WAITERS} have seen it {:.2} s after the last of {ACCOUNTS} changes",
        began.elapsed().as_secs_f64()
    );
    Ok(began.elapsed())
}

fn judge(world: &World, cluster: &mut Cluster, roles: &mut Roles) -> Result<()> {
    let wait_all = |limit| {
        let waiting = || Ok::<u64, anyhow::Error>(roles_waiting(roles, 0)? + roles_waiting(roles, 1)?);
        wait_for(limit, || Ok((waiting().unwrap_or(0) == WAITERS as u64).then_some(()))).context("not all wait")
    };
    wait_all(Duration::from_secs(30))?;
    change(world, 1, PROMPT, "all is well")?;
    change(world, 2, PROMPT, "and again")?;

    roles.kill(Role::Notifier(0))?;
    change(world, 3, LATE, "a notifier was killed")?;
    roles.start(Role::Notifier(0))?;
    change(world, 4, LATE, "it has come back")?;

    roles.kill(Role::Gateway(1))?;
    change(world, 5, LATE, "a gateway was killed")?;
    roles.start(Role::Gateway(1))?;

    let leader = cluster.leader_of_root()?;
    cluster.kill_node(leader)?;
    change(world, 6, LATE, "a metaserver was killed")?;
    cluster.start_node(leader)?;
    cluster.wait_ready(Duration::from_secs(30))?;
    change(world, 7, LATE, "it has come back")?;

    roles.kill(Role::Notifier(1))?;
    cluster.kill_node(leader % 3 + 1)?;
    change(world, 8, LATE, "a notifier and a metaserver were killed at once")?;
    cluster.start_node(leader % 3 + 1)?;
    roles.start(Role::Notifier(1))?;
    cluster.wait_ready(Duration::from_secs(30))?;
    (0..2).try_for_each(|which| roles.wait_well(which))?;
    change(world, 9, LATE, "all are back")?;
    change(world, 10, PROMPT, "all is well again")?;

    let took = roles.stop(Role::Notifier(0))?;
    change(world, 11, LATE, "a notifier was stopped in order")?;
    // Who was cut off looks for itself before it waits again; by now all of them wait at the other one.
    std::thread::sleep(Duration::from_secs(1));
    change(world, 12, LATE, "they wait at the other one")?;
    let repairs = roles.counter(1, "hub_repairs_total")?;
    let wakes = roles.counter(1, "edge_wakes_total")?;
    let [woken, asleep, cut] = [&world.woken, &world.asleep, &world.cut].map(|counter| counter.load(Ordering::Relaxed));
    println!(
        "  it ended {:.2} s after SIGTERM; {woken} longpolls ended with a change, {asleep} without, {cut} were cut off",
        took.as_secs_f64()
    );
    println!("  the other notifier woke {wakes} since its start and repaired {repairs}");
    ensure!(wakes > 0 && repairs == 0, "a hub had to be repaired, or an edge woke nobody");
    ensure!(asleep == 0, "{asleep} longpolls ran to their end although changes came all the time");
    Ok(())
}

fn roles_waiting(roles: &Roles, which: u16) -> Result<u64> {
    roles.counter(which, "edge_watchers")
}
