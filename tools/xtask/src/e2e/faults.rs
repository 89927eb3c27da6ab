//! Nodes are killed, paused and cut off under full load, each in a network namespace of its own.
//!
//! ```text
//! generator  ── 256 clients put files without a pause; every acknowledged write is looked for at the end ──────▶
//! registers  ── 3 clients read, overwrite and compare-and-set a file of each group; judged for linearizability ─▶
//! faults         │strike   heal│  until every group acknowledges   │strike ...
//! ```
//!
//! Of each fault the longest time is told that a group acknowledged nothing, beside two election timeouts: printed, never
//! asserted. What fails the suite: a lost, doubled or wrong answer, a history that no one copy could have had, a node that
//! ends by itself, a group that serves nobody 30 s after the heal, replicas that part.
//!
//! Long runs: `DROPSTONE_FAULTS` faults from `DROPSTONE_FAULT_SEED`; `DROPSTONE_FAULT_KIND` names one kind, e.g. `Unplug`,
//! and no other strikes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base::Prng;

use super::cluster::{Cluster, Shape, wait_for};
use super::generator::{Generator, Seen};
use super::network::{self, Network};
use super::powercut::number;
use super::registers::{Registers, Verdict, Wait, millis};

/// Faults, unless `DROPSTONE_FAULTS` says how many: one round of [`ROUND`].
const FAULTS: u64 = ROUND.len() as u64;
/// Unless `DROPSTONE_FAULT_SEED` names another.
const SEED: u64 = 1;
const NODES: u64 = 3;
const GROUPS: u32 = 8;
/// Twice the longest election timeout, `cluster.election_ms_max`. Units: microseconds.
const TWO_ELECTIONS_US: u64 = 2 * 1_000_000;
/// Every group must acknowledge again within this after a heal.
const SERVES_WITHIN: Duration = Duration::from_secs(30);
/// Between a heal that is over and the next fault.
const SETTLE: Duration = Duration::from_millis(1_500);
/// Waits without a fault are told of so long a time.
const QUIET: Duration = Duration::from_secs(5);

/// What is done to a node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    /// SIGKILL; started again at the end.
    Kill,
    /// SIGSTOP, then SIGCONT.
    Pause,
    /// Its link is down: nobody reaches it.
    Unplug,
    /// It hears nobody's answer: what it sends to other nodes is lost, clients reach it.
    Mute,
    /// It hears no other node, and is heard by all.
    Deaf,
    /// What it sends to one other node is lost.
    OneWay,
    /// It and all other nodes are apart, clients reach all.
    Isolate,
    /// It and one other node are apart; the third reaches both.
    Bridge,
}

use Kind::{Bridge, Deaf, Isolate, Kill, Mute, OneWay, Pause, Unplug};

/// A round: as often as each occurs.
const ROUND: [Kind; 16] =
    [Kill, Kill, Kill, Kill, Kill, Kill, Pause, Pause, Pause, Pause, Unplug, Mute, Deaf, OneWay, Isolate, Bridge];

/// One fault as it was drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fault {
    kind: Kind,
    /// Whether it strikes whoever leads most groups; else [`Fault::draw`] says whom.
    hits_leader: bool,
    hold: Duration,
    draw: u64,
}

/// What becomes of it.
struct Struck {
    fault: Fault,
    victim: u64,
    /// Whose messages to whom are lost.
    cuts: Vec<(u64, u64)>,
}

/// The faults of a run: the same for the same seed. `only`: no others than of this kind.
fn plan(seed: u64, count: u64, only: Option<Kind>) -> Vec<Fault> {
    let mut dice = Prng::new(seed);
    let mut faults = Vec::new();
    while (faults.len() as u64) < count {
        let mut round: Vec<Kind> = ROUND.into_iter().filter(|kind| only.is_none_or(|only| only == *kind)).collect();
        while !round.is_empty() {
            let kind = round.swap_remove(dice.below(round.len() as u64) as usize);
            let hold_ms = match kind {
                Kill => 200 + dice.below(2_800),
                // Each of a tenth of a second and of ten is as likely.
                Pause => ((100 << dice.below(7)) + dice.below(100)).min(10_000),
                _ => 1_000 + dice.below(4_000),
            };
            let (hits_leader, draw) = (dice.below(3) > 0, dice.next_u64());
            faults.push(Fault { kind, hits_leader, hold: Duration::from_millis(hold_ms), draw });
        }
    }
    faults.truncate(count as usize);
    faults
}

impl Fault {
    /// Whose messages to whom are lost when it strikes `victim`.
    fn cuts(&self, victim: u64) -> Vec<(u64, u64)> {
        let others: Vec<u64> = (1..=NODES).filter(|id| *id != victim).collect();
        let one = others[(self.draw >> 32) as usize % others.len()];
        let from = |peers: &[u64]| peers.iter().map(|peer| (victim, *peer)).collect::<Vec<_>>();
        let to = |peers: &[u64]| peers.iter().map(|peer| (*peer, victim)).collect::<Vec<_>>();
        match self.kind {
            Kill | Pause | Unplug => Vec::new(),
            Mute => from(&others),
            Deaf => to(&others),
            OneWay => from(&[one]),
            Isolate => [from(&others), to(&others)].concat(),
            Bridge => [from(&[one]), to(&[one])].concat(),
        }
    }
}

pub fn run() -> Result<()> {
    network::run_with_network("faults")
}

/// The suite itself.
pub fn run_inside() -> Result<()> {
    let (count, seed) = (number("DROPSTONE_FAULTS", FAULTS)?, number("DROPSTONE_FAULT_SEED", SEED)?);
    let only = std::env::var("DROPSTONE_FAULT_KIND").ok().map(|name| kind(&name)).transpose()?;
    println!("  {count} faults from seed {seed}");
    let mut bench = Bench::new(seed)?;
    bench.strike_all(&plan(seed, count, only)).with_context(|| format!("seed {seed}"))?;
    bench.finish(count, seed)
}

fn kind(name: &str) -> Result<Kind> {
    let found = ROUND.into_iter().find(|kind| format!("{kind:?}") == name);
    found.with_context(|| format!("DROPSTONE_FAULT_KIND is no kind of fault: {name:?}; name one of {ROUND:?}"))
}

/// Cluster, network and what runs against them.
struct Bench {
    // In this order of dropping: clients end before nodes do.
    registers: Registers,
    generator: Generator,
    cluster: Cluster,
    network: Network,
    /// The longest wait of each fault, by its kind.
    waits: BTreeMap<Kind, Vec<u64>>,
}

impl Bench {
    fn new(seed: u64) -> Result<Bench> {
        let network = Network::make(NODES)?;
        let shape = Shape { groups: GROUPS, seats: network.seats(), ..Shape::default() };
        let cluster = Cluster::start("faults", shape)?;
        let load = ["--closed", "--clients", "256", "--duration", "12h"];
        let mut generator = Generator::start(&cluster, "generator", &load)?;
        generator.wait_loading(2)?;
        let registers = Registers::start(&cluster.addresses(), GROUPS, seed)?;
        Ok(Bench { registers, generator, cluster, network, waits: BTreeMap::new() })
    }

    fn strike_all(&mut self, faults: &[Fault]) -> Result<()> {
        let from = self.registers.now();
        std::thread::sleep(QUIET);
        let quiet = self.registers.waits(from, self.registers.now());
        println!("  without a fault: {}", tell(&quiet));
        for (fault, number) in faults.iter().zip(1..) {
            let line = self.strike_once(*fault).with_context(|| format!("fault {number}: {fault:?}"))?;
            println!("  {number:3} {line}");
        }
        Ok(())
    }

    /// Strikes, heals, and waits until every group serves again.
    fn strike_once(&mut self, fault: Fault) -> Result<String> {
        let leads = self.leads()?;
        let most = leads.iter().max_by_key(|(_, groups)| **groups).map_or(1, |(node, _)| *node);
        let victim = if fault.hits_leader { most } else { fault.draw % NODES + 1 };
        let struck = Struck { fault, victim, cuts: fault.cuts(victim) };
        let (at, from) = (Instant::now(), self.registers.now());
        self.strike(&struck)?;
        std::thread::sleep(fault.hold.saturating_sub(at.elapsed()));
        self.heal(&struck)?;
        let held = at.elapsed();
        self.wait_served(victim)?;
        let current = self.wait_current()?;
        std::thread::sleep(SETTLE);
        let waits = self.registers.waits(from, self.registers.now());
        self.waits.entry(fault.kind).or_default().extend(waits.iter().map(|wait| wait.length).max());
        self.check()?;
        Ok(format!(
            "{:?} of node {victim} (leads {} of {GROUPS}){} for {:.2} s: {}; all current {:.1} s later",
            fault.kind,
            leads.get(&victim).unwrap_or(&0),
            struck.cuts.iter().map(|(source, target)| format!(" {source}-x>{target}")).collect::<String>(),
            held.as_secs_f64(),
            tell(&waits),
            current.as_secs_f64()
        ))
    }

    /// How many groups each node leads, as it says itself.
    fn leads(&self) -> Result<BTreeMap<u64, usize>> {
        let lines = wait_for(SERVES_WITHIN, || Ok(self.cluster.groups().ok()))?;
        let mut leads = BTreeMap::new();
        for line in lines.iter().filter(|line| line.leader == line.node) {
            *leads.entry(line.node).or_default() += 1;
        }
        Ok(leads)
    }

    fn strike(&mut self, Struck { fault, victim, cuts }: &Struck) -> Result<()> {
        match fault.kind {
            Kill => return self.cluster.kill_node(*victim),
            Pause => return self.cluster.pause_node(*victim, true),
            Unplug => self.network.unplug(*victim)?,
            _ => cuts.iter().try_for_each(|(source, target)| self.network.mute(*source, *target))?,
        }
        // A fault that does not bite would prove nothing.
        let (source, target) = cuts.first().copied().unwrap_or((*victim, *victim % NODES + 1));
        ensure!(!self.is_open(source, target)?, "node {source} still reaches node {target}");
        Ok(())
    }

    fn heal(&mut self, Struck { fault, victim, .. }: &Struck) -> Result<()> {
        match fault.kind {
            Kill => self.cluster.start_node(*victim),
            Pause => self.cluster.pause_node(*victim, false),
            _ => self.network.heal(),
        }
    }

    fn is_open(&self, source: u64, target: u64) -> Result<bool> {
        self.network.is_open(source, target, self.cluster.node(target).port)
    }

    /// Waits until the victim runs, every path is there, and every group has acknowledged a write since the heal.
    fn wait_served(&mut self, victim: u64) -> Result<()> {
        let healed = self.registers.now();
        wait_for(SERVES_WITHIN, || Ok(self.cluster.is_serving(victim).then_some(())))
            .with_context(|| format!("node {victim} does not come back: {}", self.cluster.last_words(victim)))?;
        for peer in (1..=NODES).filter(|peer| *peer != victim) {
            wait_for(SERVES_WITHIN, || Ok(self.is_open(victim, peer)?.then_some(())))
                .with_context(|| format!("the path from node {victim} to node {peer} stays cut"))?;
        }
        let served = wait_for(SERVES_WITHIN, || Ok(self.registers.silent_since(healed).is_none().then_some(())));
        served.with_context(|| format!("group {:?} serves nobody after the heal", self.registers.silent_since(healed)))
    }

    /// Waits until every node has applied what any had applied by now: only then does a next fault leave a quorum that is
    /// worth its name. Returns how long that took.
    fn wait_current(&self) -> Result<Duration> {
        let began = Instant::now();
        let mut wanted: BTreeMap<u64, u64> = BTreeMap::new();
        let current = wait_for(SERVES_WITHIN, || {
            let Ok(lines) = self.cluster.groups() else { return Ok(None) };
            if wanted.is_empty() {
                for line in &lines {
                    let applied = wanted.entry(line.group).or_default();
                    *applied = line.applied.max(*applied);
                }
            }
            let is_all = lines.len() as u64 == NODES * u64::from(GROUPS);
            Ok((is_all && lines.iter().all(|line| wanted.get(&line.group).is_some_and(|index| line.applied >= *index)))
                .then_some(()))
        });
        current.context("a node does not catch up after the heal")?;
        Ok(began.elapsed())
    }

    /// Nothing has ended by itself, and no answer was wrong so far.
    fn check(&mut self) -> Result<()> {
        for id in 1..=NODES {
            if let Some(code) = self.cluster.exited(id)? {
                bail!("node {id} ended by itself with {code:?}: {}", self.cluster.last_words(id));
            }
        }
        self.generator.check_running()?;
        self.registers.check_answers()
    }

    fn finish(mut self, faults: u64, seed: u64) -> Result<()> {
        self.check()?;
        let Bench { registers, generator, cluster, waits, .. } = self;
        let verdict = registers.finish().with_context(|| format!("seed {seed}"))?;
        let seen = generator.interrupt().with_context(|| format!("seed {seed}"))?;
        let nodes: Vec<u64> = (1..=NODES).collect();
        cluster.wait_same_state(&nodes, SERVES_WITHIN)?;
        cluster.finish();
        for (kind, mut waits) in waits.clone() {
            waits.sort_unstable();
            let (median, longest) = (waits[waits.len() / 2], waits[waits.len() - 1]);
            println!(
                "  {kind:?}: {}, longest wait {} ms in the median, {} ms at most",
                waits.len(),
                millis(median),
                millis(longest)
            );
        }
        println!("  {}", summary(faults, &waits.into_values().flatten().collect::<Vec<_>>(), &seen, verdict));
        Ok(())
    }
}

/// Waits of all groups, for eyes.
fn tell(waits: &[Wait]) -> String {
    let mut sorted = waits.to_vec();
    sorted.sort_unstable();
    let (median, longest) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    let beyond = sorted.iter().filter(|wait| wait.length > TWO_ELECTIONS_US).count();
    let group = waits.iter().position(|wait| *wait == longest).unwrap_or(0);
    format!(
        "longest wait {} ms (group {group}, {} ms after the strike), {} ms in the median group, {beyond} groups beyond {} ms",
        millis(longest.length),
        millis(longest.begin),
        millis(median.length),
        millis(TWO_ELECTIONS_US)
    )
}

fn summary(faults: u64, waits: &[u64], seen: &Seen, verdict: Verdict) -> String {
    let within = waits.iter().filter(|wait| **wait <= TWO_ELECTIONS_US).count();
    format!(
        "faults: {faults}; {within} of them with every group back within two election timeouts; {} writes acknowledged to \
         the generator at {:.0}/s, 0 lost, 0 doubled, {} in doubt; {} operations of registers linearizable ({} unknown), an \
         altered answer seen in each of {GROUPS}; errors: {}; {}",
        seen.acks(),
        seen.rate(),
        seen.in_doubt(),
        verdict.operations,
        verdict.unknown,
        seen.errors(),
        silent_seconds(seen)
    )
}

/// How long the generator's clients, which give up a silent connection after 6 s, had no answer at all.
fn silent_seconds(seen: &Seen) -> String {
    let seconds: Vec<bool> = seen.result["throughput"]["intervals"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|second| second["achieved"].as_f64().unwrap_or(0.0) < 1.0)
        .collect();
    let silent = seconds.iter().filter(|is_silent| **is_silent).count();
    let longest = seconds.split(|is_silent| !is_silent).map(<[bool]>::len).max().unwrap_or(0);
    format!("{silent} of {} seconds without an answer to the generator, at most {longest} in a row", seconds.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_follows_from_its_seed_and_each_round_has_every_kind() {
        assert_eq!(plan(7, 40, None), plan(7, 40, None));
        assert_ne!(plan(7, 16, None), plan(8, 16, None));
        for round in plan(3, 48, None).chunks(16) {
            let mut kinds: Vec<Kind> = round.iter().map(|fault| fault.kind).collect();
            kinds.sort_unstable();
            assert_eq!(kinds, ROUND);
        }
        assert!(plan(3, 20, Some(Bridge)).iter().all(|fault| fault.kind == Bridge));
        assert!(kind("Unplug").is_ok() && kind("unplug everything").is_err());
        assert!(plan(5, 160, None).iter().all(|fault| (100..=10_000).contains(&fault.hold.as_millis())));
    }

    #[test]
    fn what_is_cut_is_what_the_kind_says() {
        let cuts = |kind| Fault { kind, hits_leader: true, hold: SETTLE, draw: 0 }.cuts(2);
        assert_eq!(cuts(Kill), []);
        assert_eq!(cuts(Mute), [(2, 1), (2, 3)]);
        assert_eq!(cuts(Deaf), [(1, 2), (3, 2)]);
        assert_eq!(cuts(OneWay), [(2, 1)]);
        assert_eq!(cuts(Bridge), [(2, 1), (1, 2)]);
        assert_eq!(cuts(Isolate).len(), 4);
    }
}
