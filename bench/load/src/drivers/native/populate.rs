//! Brings the population into a cluster: accounts, their roots, folders and files, in batches; unmeasured, and verified
//! by count.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use base::{Acct, BlockHash, GroupId, Nsid};
use client::{Client, ClientError, Operation, Reply};
use meta::{Answer, At, Command, CommitBatch, CommitFile, Mkdir, NamespaceKind, Outcome, PresentBlock, Query};

use super::Home;
use crate::content::Contents;
use crate::op::FileId;
use crate::source::{Source, StreamSettings};
use crate::tree::Tree;

/// Threads, each with one command on its way.
const THREADS: usize = 16;
/// Parts of one batch: their rows and bytes stay far below what one command may have.
const BATCH_PARTS: usize = 400;
/// Bytes that a namespace of a bench may hold: more than any mix puts.
const GRANT_BYTES: u64 = 1 << 60;

/// Why there is no population.
#[derive(Debug, thiserror::Error)]
pub enum PopulateError {
    /// No answer.
    #[error("could not fill the cluster: {0}")]
    Client(#[from] ClientError),
    /// A no.
    #[error("could not fill the cluster: {what} was answered with {answer}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// What came.
        answer: String,
    },
    /// Not all of it is there.
    #[error("could not fill the cluster: namespace {nsid} has {seen} files and should have {wanted}")]
    Count {
        /// Which.
        nsid: u64,
        /// Files there.
        seen: u64,
        /// Files that should be.
        wanted: u64,
    },
    /// A stop was asked for.
    #[error("interrupted while the cluster was filled")]
    Interrupted,
}

/// Fills fresh accounts named after `run`; `each` hears how many namespaces of how many are done.
///
/// Errors: [`PopulateError`]; what was filled until then stays.
pub fn populate(
    client: &Client,
    settings: &StreamSettings,
    run: &str,
    wall_ms: &(dyn Fn() -> u64 + Sync),
    stop: &AtomicBool,
    each: impl Fn(u32, u32) + Sync,
) -> Result<Vec<Home>, PopulateError> {
    let source = Source::new(settings, base::Mono(0), (0, 1));
    let namespaces = settings.mix.population.namespaces;
    let (next, filled) = (AtomicU32::new(0), AtomicU32::new(0));
    let homes = Mutex::new(vec![None; namespaces as usize]);
    let failed = Mutex::new(None);
    let fill = Fill { client, contents: Contents::new(settings.seed), wall_ms };
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(namespaces as usize) {
            scope.spawn(|| {
                loop {
                    let namespace = next.fetch_add(1, Ordering::Relaxed);
                    if namespace >= namespaces {
                        return;
                    }
                    let done = if stop.load(Ordering::Relaxed) {
                        Err(PopulateError::Interrupted)
                    } else {
                        fill.namespace(source.tree(namespace), &format!("bench-{run}-{namespace}"))
                    };
                    match done {
                        Ok(home) => {
                            homes.lock().unwrap_or_else(PoisonError::into_inner)[namespace as usize] = Some(home);
                            each(filled.fetch_add(1, Ordering::Relaxed) + 1, namespaces);
                        }
                        Err(error) => {
                            // The others stop at their next namespace.
                            next.store(namespaces, Ordering::Relaxed);
                            failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                            return;
                        }
                    }
                }
            });
        }
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let homes = homes.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(homes.into_iter().map(|home| home.expect("every namespace was filled, or an error returned")).collect())
}

/// What a null machine has counted in each group: it holds nothing that could be filled.
///
/// Errors: [`PopulateError`], where the cluster's machine is not null.
pub fn counts(client: &Client, groups: u32) -> Result<Vec<Home>, PopulateError> {
    (0..groups)
        .map(|group| {
            let head = client.null_count(GroupId(group))?;
            Ok(Home { acct: Acct(0), nsid: Nsid(group.into()), head })
        })
        .collect()
}

struct Fill<'a> {
    client: &'a Client,
    contents: Contents,
    wall_ms: &'a (dyn Fn() -> u64 + Sync),
}

impl Fill<'_> {
    fn namespace(&self, tree: &Tree, name: &str) -> Result<Home, PopulateError> {
        let put = Command::AccountPut { name: name.to_owned() };
        let (acct, nsid) = match self.command(Acct(0), Nsid(0), put)? {
            Outcome::Account { acct, root } => (acct, root),
            other => return Err(refused("an account", &other)),
        };
        let init = Command::NamespaceInit { kind: NamespaceKind::Root, owner: acct, grant_bytes: GRANT_BYTES };
        self.wanted(Acct(0), nsid, init, "a namespace")?;
        self.folders(tree, acct, nsid)?;
        self.files(tree, acct, nsid)?;
        let wanted = tree.live().count() as u64;
        match self.client.query(acct, nsid, Query::SpaceUsage)? {
            Answer::SpaceUsage { live_files, .. } if live_files == wanted => {}
            Answer::SpaceUsage { live_files: seen, .. } => {
                return Err(PopulateError::Count { nsid: nsid.0, seen, wanted });
            }
            other => return Err(refused("a count", &other)),
        }
        match self.client.query(acct, nsid, Query::Head)? {
            Answer::Head(head) => Ok(Home { acct, nsid, head: head.0 }),
            other => Err(refused("a head", &other)),
        }
    }

    /// Parents come before their children, in the order of their numbers.
    fn folders(&self, tree: &Tree, acct: Acct, nsid: Nsid) -> Result<(), PopulateError> {
        let mut path = String::new();
        let homes: Vec<u32> = tree.homes().collect();
        for some in homes.chunks(BATCH_PARTS) {
            let parts = some.iter().map(|folder| {
                tree.folder_path(*folder, &mut path);
                Command::Mkdir(Mkdir { at: At::path(&path), autorename: false })
            });
            let batch = Command::CommitBatch(CommitBatch { atomic: true, parts: parts.collect() });
            self.wanted(acct, nsid, batch, "a batch of folders")?;
        }
        Ok(())
    }

    fn files(&self, tree: &Tree, acct: Acct, nsid: Nsid) -> Result<(), PopulateError> {
        let files: Vec<FileId> = tree.live().collect();
        for some in files.chunks(BATCH_PARTS) {
            let mut blocks = Vec::new();
            let parts = some.iter().map(|id| self.file(tree, *id, &mut blocks)).collect();
            if !blocks.is_empty() {
                self.wanted(acct, nsid, Command::BlocksPresent(blocks), "a batch of blocks")?;
            }
            let batch = Command::CommitBatch(CommitBatch { atomic: true, parts });
            self.wanted(acct, nsid, batch, "a batch of files")?;
        }
        Ok(())
    }

    /// The put of a file of one block at most; its block is added to `blocks`.
    fn file(&self, tree: &Tree, id: FileId, blocks: &mut Vec<PresentBlock>) -> Command {
        let file = tree.file(id);
        let (writer, size) = file.told.content.expect("a file of a population has its content");
        let hashes: Vec<BlockHash> = (0..Contents::blocks(size)).map(|at| self.contents.block(writer, at)).collect();
        let put_at_ms = (self.wall_ms)();
        blocks.extend(hashes.iter().zip(0..).map(|(hash, at)| PresentBlock {
            hash: *hash,
            bytes: Contents::block_bytes(size, at),
            put_at_ms,
        }));
        let mut path = String::new();
        tree.path(file.place, &mut path);
        Command::CommitFile(CommitFile {
            at: At::path(&path),
            size,
            content_hash: self.contents.hash(writer, size),
            blocks: hashes,
            ..CommitFile::default()
        })
    }

    fn wanted(&self, acct: Acct, nsid: Nsid, command: Command, what: &'static str) -> Result<(), PopulateError> {
        match self.command(acct, nsid, command)? {
            outcome if outcome.is_ok() => Ok(()),
            other => Err(refused(what, &other)),
        }
    }

    fn command(&self, acct: Acct, nsid: Nsid, command: Command) -> Result<Outcome, PopulateError> {
        match self.client.submit(Operation::Command { acct, nsid, command }).wait()? {
            Reply::Outcome(outcome) => Ok(outcome),
            other => Err(refused("a command", &other)),
        }
    }
}

fn refused(what: &'static str, answer: &impl std::fmt::Debug) -> PopulateError {
    let mut answer = format!("{answer:?}");
    // A batch of four hundred parts says the same four hundred times.
    answer.truncate(answer.floor_char_boundary(200));
    PopulateError::Refused { what, answer }
}
