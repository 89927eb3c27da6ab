//! A live load that remembers: writers that make folders without a pause, and what each was asked and told.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::{Result, bail, ensure};
use base::mono::Span;
use base::{Acct, Nsid};
use client::{Client, ClientError, ClientOptions};
use meta::{Answer, At, Command, Mkdir, NamespaceKind, Outcome, Query};

/// Namespaces that are written to, of several groups.
const ACCOUNTS: usize = 3;
/// Writers of each namespace, each with one command in flight.
const WRITERS: usize = 24;
/// A command may outlive two power cuts and the doubt about a last frame.
const DEADLINE: Span = Span::from_ms(90_000);

/// One namespace in one round.
#[derive(Default)]
struct Book {
    asked: BTreeSet<String>,
    acknowledged: BTreeSet<String>,
}

struct Shared {
    client: Client,
    accounts: Vec<(Acct, Nsid)>,
    is_over: AtomicBool,
    round: AtomicU32,
    next: AtomicU64,
    /// By round, then by account. Round 0 has none.
    books: Mutex<Vec<[Book; ACCOUNTS]>>,
    /// The first answer that is wrong.
    wrong: Mutex<Option<String>>,
    unknown: AtomicU64,
}

/// The load. Begun with no writer; [`Load::next_round`] starts them.
pub struct Load {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<()>>,
}

/// What a load has done.
#[derive(Clone, Copy, Default, Debug)]
pub struct Totals {
    /// Commands that were sent.
    pub asked: u64,
    /// Commands that were acknowledged.
    pub acknowledged: u64,
    /// Commands whose end the client could not tell.
    pub unknown: u64,
}

fn folder(round: u32) -> String {
    format!("/round-{round:05}")
}

fn mkdir(path: &str) -> Command {
    Command::Mkdir(Mkdir { at: At::path(path), autorename: false })
}

impl Load {
    /// Connects, and makes the namespaces.
    pub fn new(targets: &[String]) -> Result<Load> {
        let options = ClientOptions { deadline: DEADLINE, ..ClientOptions::default() };
        let client = Client::connect(targets, options)?;
        let mut accounts = Vec::new();
        for at in 0..ACCOUNTS {
            let put = Command::AccountPut { name: format!("writer {at}") };
            let Outcome::Account { acct, root } = client.command(Acct(0), Nsid(0), put)? else {
                bail!("the cluster made no account");
            };
            let init = Command::NamespaceInit { kind: NamespaceKind::Root, owner: acct, grant_bytes: 1 << 50 };
            let made = client.command(Acct(0), root, init)?;
            ensure!(made.is_ok(), "the cluster made no root for account {acct}: {made:?}");
            accounts.push((acct, root));
        }
        let shared = Arc::new(Shared {
            client,
            accounts,
            is_over: AtomicBool::new(false),
            round: AtomicU32::new(0),
            next: AtomicU64::new(0),
            books: Mutex::new(vec![Default::default()]),
            wrong: Mutex::new(None),
            unknown: AtomicU64::new(0),
        });
        Ok(Load { shared, writers: Vec::new() })
    }

    /// Makes the folders of the next round, and writers go on in them. Waits until the cluster takes them.
    pub fn next_round(&mut self) -> Result<()> {
        let round = self.round() + 1;
        for (acct, root) in &self.shared.accounts {
            let made = self.shared.client.command(*acct, *root, mkdir(&folder(round)))?;
            ensure!(made.is_ok(), "{} was not made: {made:?}", folder(round));
        }
        self.shared.books.lock().expect("no writer panics with the lock held").push(Default::default());
        self.shared.round.store(round, Ordering::SeqCst);
        while self.writers.len() < ACCOUNTS * WRITERS {
            let (shared, at) = (Arc::clone(&self.shared), self.writers.len() % ACCOUNTS);
            self.writers.push(std::thread::spawn(move || shared.write(at)));
        }
        Ok(())
    }

    fn round(&self) -> u32 {
        self.shared.round.load(Ordering::SeqCst)
    }

    /// Ends all writers, after what they have in flight.
    pub fn stop(&mut self) -> Result<()> {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for writer in self.writers.drain(..) {
            if writer.join().is_err() {
                bail!("a writer panicked");
            }
        }
        self.shared.check_answers()
    }

    /// Reads this round and the one before it, in which commands may have been in flight: see [`Load::check_all`].
    pub fn check(&self) -> Result<()> {
        let round = self.round();
        (round.saturating_sub(1).max(1)..=round).try_for_each(|round| self.shared.check(round))
    }

    /// Reads all rounds: whatever was acknowledged is there, and nothing that was not asked for.
    pub fn check_all(&self) -> Result<()> {
        (1..=self.round()).try_for_each(|round| self.shared.check(round))
    }

    /// What was done so far.
    pub fn totals(&self) -> Totals {
        let books = self.shared.books.lock().expect("no writer panics with the lock held");
        let mut totals = Totals { unknown: self.shared.unknown.load(Ordering::Relaxed), ..Totals::default() };
        for book in books.iter().flatten() {
            totals.asked += book.asked.len() as u64;
            totals.acknowledged += book.acknowledged.len() as u64;
        }
        totals
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    /// One writer's life.
    fn write(&self, at: usize) {
        let (acct, root) = self.accounts[at];
        while !self.is_over.load(Ordering::SeqCst) {
            let round = self.round.load(Ordering::SeqCst);
            // Of odd lengths, some of a few hundred bytes: frames of one block and of several.
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let name = format!("{number:09}{}", "x".repeat((base::mix64(number) % 200) as usize));
            self.note(|books| {
                books[round as usize][at].asked.insert(name.clone());
            });
            match self.client.command(acct, root, mkdir(&format!("{}/{name}", folder(round)))) {
                Ok(Outcome::Applied(_)) => {
                    self.note(|books| {
                        books[round as usize][at].acknowledged.insert(name);
                    });
                }
                Ok(other) => {
                    let what = format!("folder {name} of round {round} was answered with {other:?}");
                    self.wrong.lock().expect("nobody panics with the lock held").get_or_insert(what);
                    return;
                }
                Err(ClientError::Closed) => return,
                // Done or not: both are right.
                Err(_) => {
                    self.unknown.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn note(&self, change: impl FnOnce(&mut Vec<[Book; ACCOUNTS]>)) {
        change(&mut self.books.lock().expect("no writer panics with the lock held"));
    }

    fn check_answers(&self) -> Result<()> {
        match self.wrong.lock().expect("nobody panics with the lock held").take() {
            Some(what) => bail!("{what}"),
            None => Ok(()),
        }
    }

    fn check(&self, round: u32) -> Result<()> {
        self.check_answers()?;
        for at in 0..ACCOUNTS {
            // What is acknowledged before the list is read must be in it; what is in it must be asked for by its end.
            let mut acknowledged = BTreeSet::new();
            self.note(|books| acknowledged.clone_from(&books[round as usize][at].acknowledged));
            let listed = self.list(at, round)?;
            let mut asked = BTreeSet::new();
            self.note(|books| asked.clone_from(&books[round as usize][at].asked));
            if let Some(name) = acknowledged.difference(&listed).next() {
                let lost = acknowledged.difference(&listed).count();
                bail!("{lost} of {} acknowledged folders of round {round} are lost, {name}", acknowledged.len());
            }
            if let Some(name) = listed.difference(&asked).next() {
                bail!("{name} is in round {round} and nobody asked for it");
            }
        }
        Ok(())
    }

    /// All names of a round, by linearizable reads.
    fn list(&self, at: usize, round: u32) -> Result<BTreeSet<String>> {
        let (acct, root) = self.accounts[at];
        let (mut names, mut position) = (BTreeSet::new(), Vec::new());
        loop {
            let query = Query::ListPage { at: At::path(&folder(round)), recursive: false, position, limit: 0 };
            match self.client.query(acct, root, query)? {
                Answer::Page { entries, next, .. } => {
                    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
                    names.extend(entries.iter().map(|entry| name(&entry.path_display)));
                    match next {
                        Some(next) => position = next,
                        None => return Ok(names),
                    }
                }
                Answer::NotFound => bail!("{} of account {acct}, acknowledged, is lost", folder(round)),
                other => bail!("could not list {}: {other:?}", folder(round)),
            }
        }
    }
}
