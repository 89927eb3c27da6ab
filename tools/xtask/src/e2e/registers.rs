//! Registers: a file in each group that a few clients read, overwrite and compare-and-set without a pause, and what each
//! was told when.
//!
//! A register's value is the file's modification time, of which no two writes have the same. So its history is judged by
//! values alone ([`client::linear`]), and the times of its acknowledged writes tell how long the group served nobody.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base::mono::Span;
use base::{Acct, Jid, Nsid, Prng};
use client::linear::{Disorder, Register, Timed, Touch, check};
use client::{Client, ClientError, ClientOptions};
use meta::{Answer, At, Command, CommitFile, Metadata, NamespaceKind, Outcome, PutMode, Query, What};

/// Clients, each with connections and sessions of its own, and one operation in flight on each register.
const CLIENTS: usize = 3;
/// Accounts made in search of a root in every group.
const ACCOUNTS_MAX: u32 = 4_096;
/// Outlives every fault, so that nearly every write gets to know its outcome.
const DEADLINE: Span = Span::from_ms(60_000);
/// A connection that says nothing for three times this is given up: well within an election, so that what is measured is
/// the cluster and not the patience of its clients, who wait 2 s unless they are told otherwise.
const SILENCE: Span = Span::from_ms(200);
const LINK_DEADLINE: Span = Span::from_ms(500);
const PATH: &str = "/register";
/// SHA-256 of nothing: a file without blocks.
const NO_CONTENT: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];
/// So many operations apart a value is long gone.
const STALE_BY: usize = 200;

/// What clients saw of one register.
type History = Vec<Timed<Touch>>;

#[derive(Default)]
struct Book {
    history: History,
    /// When writes were acknowledged, ascending. Units: microseconds since the beginning.
    acks: Vec<u64>,
}

struct Shared {
    began: Instant,
    is_over: AtomicBool,
    next_value: AtomicI64,
    unknown: AtomicU64,
    /// Why the first of them is unknown.
    why_unknown: Mutex<Option<String>>,
    /// By group.
    books: Vec<Mutex<Book>>,
    /// The first answer that makes no sense.
    wrong: Mutex<Option<String>>,
}

/// The clients. They end with it.
pub struct Registers {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// A time without an acknowledgement. Units: microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Wait {
    /// How long.
    pub length: u64,
    /// How far in the span that was looked at.
    pub begin: u64,
}

/// What the judge has found.
#[derive(Clone, Copy, Default, Debug)]
pub struct Verdict {
    /// Operations judged.
    pub operations: u64,
    /// Writes among them whose outcome nobody was told.
    pub unknown: u64,
}

/// One client at one register.
struct Worker {
    shared: Arc<Shared>,
    client: Client,
    group: usize,
    place: (Acct, Nsid),
    dice: Prng,
    /// The last revision it was told of, and the value there.
    known: Option<(Jid, u64)>,
}

impl Registers {
    /// Makes a namespace in each of the groups, and begins.
    pub fn start(targets: &[String], groups: u32, seed: u64) -> Result<Registers> {
        let options = ClientOptions {
            deadline: DEADLINE,
            silence: SILENCE,
            link_deadline: LINK_DEADLINE,
            ..ClientOptions::default()
        };
        let connect = || Client::connect(targets, options);
        let clients = (0..CLIENTS).map(|_| connect()).collect::<Result<Vec<_>, _>>()?;
        let places = places(&clients[0], groups)?;
        let shared = Arc::new(Shared {
            began: Instant::now(),
            is_over: AtomicBool::new(false),
            next_value: AtomicI64::new(1),
            unknown: AtomicU64::new(0),
            why_unknown: Mutex::new(None),
            books: places.iter().map(|_| Mutex::default()).collect(),
            wrong: Mutex::new(None),
        });
        let mut registers = Registers { shared: Arc::clone(&shared), workers: Vec::new() };
        for (at, client) in clients.iter().enumerate() {
            for (group, place) in places.iter().enumerate() {
                let dice = Prng::new(base::mix64(seed) ^ (at * places.len() + group) as u64);
                let (shared, client) = (Arc::clone(&shared), client.clone());
                let worker = Worker { shared, client, group, place: *place, dice, known: None };
                registers.workers.push(std::thread::spawn(move || worker.run()));
            }
        }
        Ok(registers)
    }

    /// Microseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.shared.now()
    }

    /// Of each group the longest time within the span without an acknowledged write.
    pub fn waits(&self, from: u64, until: u64) -> Vec<Wait> {
        self.shared.books.iter().map(|book| longest_wait(&lock(book).acks, from, until)).collect()
    }

    /// Median and p99 of the operations that ended within the span, of all groups; `None` without any. Units: microseconds.
    pub fn latencies(&self, from: u64, until: u64) -> Option<(u64, u64)> {
        let mut all = Vec::new();
        for book in &self.shared.books {
            let book = lock(book);
            let ended = book.history.iter().filter_map(|timed| Some((timed.invoked, timed.returned?)));
            let within = ended.filter(|(_, returned)| (from..until).contains(returned));
            all.extend(within.map(|(invoked, returned)| returned - invoked));
        }
        all.sort_unstable();
        Some((*all.get(all.len() / 2)?, *all.get(all.len() * 99 / 100)?))
    }

    /// The first group that has acknowledged no write since then.
    pub fn silent_since(&self, from: u64) -> Option<usize> {
        self.shared.books.iter().position(|book| lock(book).acks.last().is_none_or(|last| *last < from))
    }

    /// Refuses if some answer made no sense.
    pub fn check_answers(&self) -> Result<()> {
        match lock(&self.shared.wrong).take() {
            Some(what) => bail!("{what}"),
            None => Ok(()),
        }
    }

    /// Ends all clients, after what they have in flight, and judges every history; then once more with one answer altered
    /// in each, which must be seen.
    pub fn finish(mut self) -> Result<Verdict> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            ensure!(worker.join().is_ok(), "a client panicked");
        }
        self.check_answers()?;
        if let Some(why) = lock(&self.shared.why_unknown).take() {
            println!("  the first write of unknown outcome: {why}");
        }
        let mut verdict = Verdict { unknown: self.shared.unknown.load(Ordering::Relaxed), ..Verdict::default() };
        for (group, book) in self.shared.books.iter().enumerate() {
            let history = &mut lock(book).history;
            verdict.operations += history.len() as u64;
            judge(history).with_context(|| format!("the register of group {group}"))?;
            control(history).with_context(|| format!("the control of group {group}"))?;
        }
        Ok(verdict)
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with the lock held")
}

/// An account and its root in each group, in order.
fn places(client: &Client, groups: u32) -> Result<Vec<(Acct, Nsid)>> {
    let mut found = BTreeMap::new();
    for at in 0..ACCOUNTS_MAX {
        if found.len() == groups as usize {
            break;
        }
        let put = Command::AccountPut { name: format!("register {at}") };
        let Outcome::Account { acct, root } = client.command(Acct(0), Nsid(0), put)? else {
            bail!("the cluster made no account");
        };
        let group = base::group_of(root, groups).0;
        if found.contains_key(&group) {
            continue;
        }
        let init = Command::NamespaceInit { kind: NamespaceKind::Root, owner: acct, grant_bytes: 1 << 50 };
        let made = client.command(Acct(0), root, init)?;
        ensure!(made.is_ok(), "the cluster made no root for account {acct}: {made:?}");
        found.insert(group, (acct, root));
    }
    ensure!(found.len() == groups as usize, "{ACCOUNTS_MAX} accounts have no root in some of {groups} groups");
    Ok(found.into_values().collect())
}

/// The longest time within the span without one of `times`, which ascend.
fn longest_wait(times: &[u64], from: u64, until: u64) -> Wait {
    let first = times.partition_point(|time| *time <= from);
    let (mut last, mut longest) = (from, Wait::default());
    for time in times[first..].iter().copied().take_while(|time| *time < until).chain([until]) {
        longest = longest.max(Wait { length: time - last, begin: last - from });
        last = time;
    }
    longest
}

fn judge(history: &mut History) -> Result<()> {
    let Err(disorder) = check(&Register, history) else { return Ok(()) };
    let near = match disorder {
        Disorder::None { stuck: at } | Disorder::TooWide { at } => at,
        Disorder::TooMany { .. } => 0,
    };
    let told = &history[near.saturating_sub(6)..(near + 6).min(history.len())];
    bail!("not linearizable: {disorder}; of {} operations these are near: {told:#?}", history.len())
}

/// Alters one answer to a value that is long gone, which must be refused, and puts it back. The search may end at the limit
/// of its window before it has shown that there is no order: a history that is right never does.
fn control(history: &mut History) -> Result<()> {
    let (at, stale) = stale_read(history).context("the history is too short to be spoiled: it proves nothing")?;
    let good = std::mem::replace(&mut history[at].operation, Touch::Read(stale));
    let verdict = check(&Register, history);
    history[at].operation = good;
    ensure!(
        matches!(verdict, Err(Disorder::None { .. } | Disorder::TooWide { .. })),
        "a read of a value that was replaced long ago, put in for operation {at}, was not seen: {verdict:?}"
    );
    Ok(())
}

/// A read in the second half of a history sorted by invocation, and a value that was written and replaced long before it.
fn stale_read(history: &History) -> Option<(usize, u64)> {
    let read = |at: usize| match history[at].operation {
        Touch::Read(value) => Some(value),
        _ => None,
    };
    let at = (history.len() / 2..history.len()).find(|at| read(*at).is_some())?;
    let old = (0..at.checked_sub(STALE_BY)?).rev().filter_map(read).find(|value| Some(*value) != read(at))?;
    Some((at, old))
}

impl Shared {
    fn now(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }
}

impl Worker {
    fn run(mut self) {
        while !self.shared.is_over.load(Ordering::SeqCst) {
            let done = match (self.dice.below(8), self.known) {
                (0..4, _) => self.read(),
                (4..7, Some((rev, from))) => self.swap(rev, from),
                _ => self.overwrite(),
            };
            match done {
                Ok(()) | Err(ClientError::TimedOut { .. }) => {}
                Err(ClientError::Closed) => return,
                Err(error) => {
                    let what = format!("group {}: {error}", self.group);
                    lock(&self.shared.wrong).get_or_insert(what);
                    return;
                }
            }
        }
    }

    fn read(&mut self) -> Result<(), ClientError> {
        let invoked = self.shared.now();
        let query = Query::Lookup(What::At(At::path(PATH)));
        match self.client.query(self.place.0, self.place.1, query)? {
            Answer::Entry(entry) => {
                let value = self.learn(&entry.meta);
                self.note(invoked, Touch::Read(value), false);
            }
            Answer::NotFound => self.note(invoked, Touch::Read(0), false),
            other => self.is_wrong(&format!("a lookup was answered with {other:?}")),
        }
        Ok(())
    }

    fn overwrite(&mut self) -> Result<(), ClientError> {
        let value = self.value();
        self.write(PutMode::Overwrite, value, Touch::Write(value), None)
    }

    fn swap(&mut self, rev: Jid, from: u64) -> Result<(), ClientError> {
        let value = self.value();
        self.write(PutMode::Update(rev), value, Touch::Swap(from, value), Some(Touch::SwapRefused(from)))
    }

    /// Puts `value`: `done` is what it did if it was applied, `refused` if something else was there.
    fn write(&mut self, mode: PutMode, value: u64, done: Touch, refused: Option<Touch>) -> Result<(), ClientError> {
        let commit = CommitFile {
            at: At::path(PATH),
            mode,
            // No content is like another one here: only the time tells.
            strict: true,
            content_hash: NO_CONTENT,
            client_mtime_ms: Some(value as i64),
            ..CommitFile::default()
        };
        let invoked = self.shared.now();
        match (self.client.command(self.place.0, self.place.1, Command::CommitFile(commit)), refused) {
            (Ok(Outcome::Applied(meta)), _) => {
                if self.learn(&meta) != value {
                    self.is_wrong(&format!("a put of {value} was answered with {meta:?}"));
                }
                self.note(invoked, done, true);
            }
            (Ok(Outcome::Conflict { .. }), Some(refused)) => {
                self.known = None;
                self.note(invoked, refused, true);
            }
            (Ok(other), _) => self.is_wrong(&format!("a put was answered with {other:?}")),
            (Err(error @ ClientError::Unknown { .. }), _) => {
                lock(&self.shared.why_unknown).get_or_insert(error.to_string());
                self.shared.unknown.fetch_add(1, Ordering::Relaxed);
                let mut book = lock(&self.shared.books[self.group]);
                book.history.push(Timed { invoked, returned: None, operation: done });
            }
            (Err(error), _) => return Err(error),
        }
        Ok(())
    }

    fn value(&self) -> u64 {
        self.shared.next_value.fetch_add(1, Ordering::Relaxed) as u64
    }

    fn learn(&mut self, meta: &Metadata) -> u64 {
        let value = meta.client_mtime_ms as u64;
        self.known = Some((meta.rev_jid, value));
        value
    }

    fn note(&self, invoked: u64, operation: Touch, is_write: bool) {
        let mut book = lock(&self.shared.books[self.group]);
        // Read with the lock held, so that times of acknowledgements ascend.
        let returned = self.shared.now();
        book.history.push(Timed { invoked, returned: Some(returned), operation });
        if is_write {
            book.acks.push(returned);
        }
    }

    fn is_wrong(&self, what: &str) {
        lock(&self.shared.wrong).get_or_insert(format!("group {}: {what}", self.group));
    }
}

/// A span in whole milliseconds, for eyes.
pub fn millis(us: u64) -> u128 {
    Duration::from_micros(us).as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_counts_from_the_begin_and_to_the_end_of_the_span() {
        let acks = [5, 10, 20, 50, 60];
        let wait = |length, begin| Wait { length, begin };
        assert_eq!(longest_wait(&acks, 10, 55), wait(30, 10));
        assert_eq!(longest_wait(&acks, 21, 45), wait(24, 0), "nothing within");
        assert_eq!(longest_wait(&acks, 52, 100), wait(40, 8), "up to the end");
        assert_eq!(longest_wait(&[], 7, 9), wait(2, 0));
    }

    /// One client after the other: each write is read by the next operation.
    fn good() -> History {
        let operation = |at: u64| if at.is_multiple_of(2) { Touch::Write(at + 1) } else { Touch::Read(at) };
        let timed = |at: u64| Timed { invoked: at * 10, returned: Some(at * 10 + 5), operation: operation(at) };
        (0..1000).map(timed).collect()
    }

    #[test]
    fn a_good_history_passes_and_its_control_is_seen() {
        let mut history = good();
        judge(&mut history).unwrap();
        control(&mut history).unwrap();
        assert_eq!(history, good(), "the control puts back what it altered");
    }

    #[test]
    fn a_history_that_reads_what_was_replaced_is_refused() {
        let mut history = good();
        let (at, stale) = stale_read(&history).unwrap();
        history[at].operation = Touch::Read(stale);
        assert!(judge(&mut history).unwrap_err().to_string().contains("not linearizable"));
    }

    #[test]
    fn a_history_that_is_too_short_to_be_spoiled_proves_nothing() {
        let mut history: History = good().into_iter().take(100).collect();
        assert!(control(&mut history).is_err());
    }
}
