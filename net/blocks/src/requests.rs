//! What one connection asks, and how it is answered: checks, the object store, then one message to a metaserver.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::limits::{BLOCKLISTS_CACHED_MAX, BLOCKS_DELIVERED_MAX};
use base::{Acct, BlockHash, Jid, Nsid};
use bytes::Bytes;
use meta::{Command, CommitFile, PresentPart};
use tokio::time::Instant;
use wire::ReplyStatus;
use wire::block::{BlockKind, GetBlock, PutBlock, StoreAndCommit};

use crate::metaserver::{Metaserver, MetaserverError, blocklist};
use crate::store::{BlockStore, GetError, hash_apart};

/// A delivery older than this is not attested any more: the machine refuses one older than an hour.
const ATTEST_AGE_MAX_MS: u64 = 50 * 60 * 1000;
/// How long a blocklist is believed without asking again: so long may a removed member still read.
const BLOCKLIST_AGE_MAX: Duration = Duration::from_secs(5);

/// An answer: its status and its body.
pub(crate) type Answer = (ReplyStatus, Bytes);

/// What one connection has proved and learnt.
#[derive(Debug)]
pub(crate) struct Session {
    /// Whom its hello speaks for; 0 may name any account.
    acct: Acct,
    delivered: Mutex<Delivered>,
    blocklists: Mutex<Blocklists>,
}

impl Session {
    pub(crate) fn new(acct: Acct) -> Session {
        Session { acct, delivered: Mutex::default(), blocklists: Mutex::default() }
    }

    /// Answers one request. `body` stays shared with its frame: blocks are not copied.
    pub(crate) async fn answer<M: Metaserver>(&self, store: &BlockStore, meta: &M, kind: u8, body: Bytes) -> Answer {
        let answered = match BlockKind::from_u8(kind) {
            Some(BlockKind::PutBlock) => self.put_block(store, &body).await,
            Some(BlockKind::StoreAndCommit) => self.store_and_commit(store, meta, &body).await,
            Some(BlockKind::GetBlock) => self.get_block(store, meta, &body).await,
            None if kind == wire::RequestKind::Ping as u8 => Ok(body),
            None => Err((ReplyStatus::Unsupported, Bytes::new())),
        };
        answered.map_or_else(|refusal| refusal, |body| (ReplyStatus::Ok, body))
    }

    async fn put_block(&self, store: &BlockStore, body: &Bytes) -> Result<Bytes, Answer> {
        let put = PutBlock::parse(body).map_err(malformed)?;
        self.check_account(put.acct)?;
        self.deliver(store, put.hash, body.slice_ref(put.bytes), "the block").await?;
        Ok(Bytes::new())
    }

    async fn store_and_commit<M: Metaserver>(
        &self,
        store: &BlockStore,
        meta: &M,
        body: &Bytes,
    ) -> Result<Bytes, Answer> {
        let request = StoreAndCommit::parse(body).map_err(malformed)?;
        self.check_account(request.acct)?;
        let commit = parse_commit(request.commit)?;
        for block in &request.blocks {
            let what = format!("the block at position {}", block.position);
            let Some(name) = commit.blocks.get(block.position as usize) else {
                return Err(malformed(format!("{what} is beyond the blocklist of {} names", commit.blocks.len())));
            };
            self.deliver(store, *name, body.slice_ref(block.bytes), &what).await?;
        }
        let present = self.attest(&commit.blocks);
        let command = Command::StoreAndCommit(meta::StoreAndCommit { commit, present });
        let outcome = meta.command(request.acct, request.nsid, command).await.map_err(passed_on)?;
        let mut encoded = Vec::new();
        outcome.encode(&mut encoded);
        Ok(Bytes::from(encoded))
    }

    async fn get_block<M: Metaserver>(&self, store: &BlockStore, meta: &M, body: &Bytes) -> Result<Bytes, Answer> {
        let get = GetBlock::parse(body).map_err(malformed)?;
        self.check_account(get.acct)?;
        let key = (get.acct, get.nsid, get.rev);
        let cached = lock(&self.blocklists).get(&key);
        let names = match cached {
            Some(names) => names,
            None => {
                let names = blocklist(meta, get.acct, get.nsid, get.rev).await.map_err(passed_on)?;
                let names: Arc<[BlockHash]> = names.into();
                lock(&self.blocklists).put(key, Arc::clone(&names));
                names
            }
        };
        let Some(hash) = names.get(get.position as usize) else {
            let text = format!("position {} is beyond the {} blocks of that revision", get.position, names.len());
            return Err(refused(text));
        };
        store.get(*hash).await.map_err(|error| match error {
            GetError::Store { .. } => unavailable(error),
            GetError::Missing(_) | GetError::Corrupt { .. } => {
                tracing::error!(%error, "could not serve a block that metadata names");
                refused(error)
            }
        })
    }

    /// Hashes, compares, puts, and remembers the delivery.
    async fn deliver(&self, store: &BlockStore, name: BlockHash, bytes: Bytes, what: &str) -> Result<(), Answer> {
        let length = bytes.len() as u32;
        let (hash, bytes) = hash_apart(bytes).await;
        if hash != name {
            return Err(refused(format!("{what} has the hash {hash} and not {name}; nothing was committed")));
        }
        // From before the put: the collector of unused objects counts from here.
        let put_at_ms = now_ms();
        store.put(hash, bytes).await.map_err(|error| {
            tracing::warn!(%error, "could not put a block");
            unavailable(error)
        })?;
        lock(&self.delivered).note(hash, Delivery { bytes: length, put_at_ms });
        Ok(())
    }

    /// What of `names` this connection has delivered. Names it only knows are left to the machine, which answers
    /// `NeedBlocks` for those that the namespace does not have: knowing a hash grants nothing.
    fn attest(&self, names: &[BlockHash]) -> Vec<PresentPart> {
        let delivered = lock(&self.delivered);
        let oldest_ms = now_ms().saturating_sub(ATTEST_AGE_MAX_MS);
        let mut seen = std::collections::HashSet::new();
        let attest = |(position, name): (usize, &BlockHash)| {
            let delivery = delivered.by_hash.get(name).filter(|delivery| delivery.put_at_ms >= oldest_ms)?;
            let position = u32::try_from(position).expect("a blocklist in a command is short");
            seen.insert(*name).then_some(PresentPart { position, bytes: delivery.bytes, put_at_ms: delivery.put_at_ms })
        };
        names.iter().enumerate().filter_map(attest).collect()
    }

    fn check_account(&self, acct: Acct) -> Result<(), Answer> {
        if self.acct == Acct(0) || self.acct == acct {
            return Ok(());
        }
        Err(refused(format!("this connection speaks for account {}, not for {acct}", self.acct)))
    }
}

#[derive(Clone, Copy, Debug)]
struct Delivery {
    bytes: u32,
    put_at_ms: u64,
}

/// The blocks whose bytes came over this connection; the oldest are forgotten first.
#[derive(Debug, Default)]
struct Delivered {
    by_hash: HashMap<BlockHash, Delivery>,
    order: VecDeque<BlockHash>,
}

impl Delivered {
    fn note(&mut self, hash: BlockHash, delivery: Delivery) {
        if self.by_hash.insert(hash, delivery).is_some() {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > BLOCKS_DELIVERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_hash.remove(&oldest);
        }
    }
}

type BlocklistKey = (Acct, Nsid, Jid);

/// The last few blocklists asked for; each block of a file needs the same one.
#[derive(Debug, Default)]
struct Blocklists {
    kept: VecDeque<(BlocklistKey, Instant, Arc<[BlockHash]>)>,
}

impl Blocklists {
    fn get(&mut self, key: &BlocklistKey) -> Option<Arc<[BlockHash]>> {
        self.kept.retain(|(_, since, _)| since.elapsed() < BLOCKLIST_AGE_MAX);
        self.kept.iter().find(|(kept, ..)| kept == key).map(|(_, _, names)| Arc::clone(names))
    }

    fn put(&mut self, key: BlocklistKey, names: Arc<[BlockHash]>) {
        if self.kept.len() == BLOCKLISTS_CACHED_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back((key, Instant::now(), names));
    }
}

/// The commit of a request: a command without a session, since the session is between this server and the metaserver.
fn parse_commit(bytes: &[u8]) -> Result<CommitFile, Answer> {
    match meta::decode_command(bytes) {
        // What a server attests a client may not: the put goes on in this server's own session.
        Ok((_, Command::CommitFile(commit))) if commit.attested.is_some() => {
            Err(malformed("a client's commit attests what only a server may"))
        }
        Ok((_, Command::CommitFile(commit))) => Ok(commit),
        Ok((_, other)) => Err(malformed(format!("a command of kind {} came where a commit was due", other.kind()))),
        Err(error) => Err(malformed(format!("could not read the commit: {error}"))),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is behind these locks is whole after every statement, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn now_ms() -> u64 {
    // A clock before 1970 gives 0: such an attestation is refused by the machine as too old, and seen.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn malformed(why: impl ToString) -> Answer {
    (ReplyStatus::Malformed, Bytes::from(why.to_string()))
}

fn refused(why: impl ToString) -> Answer {
    (ReplyStatus::Refused, Bytes::from(why.to_string()))
}

fn unavailable(why: impl ToString) -> Answer {
    (ReplyStatus::Unavailable, Bytes::from(why.to_string()))
}

fn passed_on(error: MetaserverError) -> Answer {
    match error {
        MetaserverError::Unavailable(why) => unavailable(why),
        MetaserverError::Refused(why) => refused(why),
    }
}
