//! The two stores under the same commits: ours, and the tree that it stands on used the usual way.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use base::{CoreId, GroupId, LogIndex, Term};
use lsm_tree::compaction::Leveled;
use lsm_tree::config::{CompressionPolicy, PinningPolicy};
use lsm_tree::{AbstractTree, AnyTree, Cache, CompressionType, Config, SequenceNumberCounter};
use meta::{Machine, Pressure, RowBatch, Store, StoreEvent};
use store::{LsmStore, OpenSettings};

/// All rows are of this group.
pub const GROUP: GroupId = GroupId(0);
/// Bytes at which a memtable is frozen.
const MEMTABLE_BYTES: u64 = 64 << 20;
/// Block cache of either store.
const CACHE_BYTES: u64 = 128 << 20;
/// No store is silent for so long.
const QUIET_MAX: Duration = Duration::from_secs(180);
/// Frozen memtables that may wait.
const FROZEN_MAX: usize = 2;

/// A store that takes batches.
pub trait Arm {
    /// Takes a batch; waits where the store says that it is full.
    ///
    /// # Errors
    /// The store failed.
    fn apply(&mut self, batch: &RowBatch) -> Result<()>;

    /// Sees to what its threads have to say.
    ///
    /// # Errors
    /// The store failed.
    fn tend(&mut self) -> Result<()>;

    /// Everything taken so far is in tables afterwards.
    ///
    /// # Errors
    /// The store failed.
    fn flush(&mut self) -> Result<()>;

    /// Ends its threads.
    ///
    /// # Errors
    /// The store failed.
    fn close(self) -> Result<()>;
}

/// Takes batches and drops them: what the load itself costs.
pub struct Nothing;

impl Nothing {
    /// One.
    ///
    /// # Errors
    /// None.
    pub fn open(_: &Path) -> Result<Nothing> {
        Ok(Nothing)
    }
}

impl Arm for Nothing {
    fn apply(&mut self, batch: &RowBatch) -> Result<()> {
        black_box(batch);
        Ok(())
    }

    fn tend(&mut self) -> Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

/// `engine/store`.
pub struct Ours {
    /// It.
    pub store: LsmStore,
    bell: Receiver<()>,
    applied: u64,
    /// Freezes that are not flushed yet.
    open: usize,
}

impl Ours {
    /// A new one in this directory.
    ///
    /// # Errors
    /// It does not open.
    pub fn open(dir: &Path) -> Result<Ours> {
        let (ring, bell) = sync_channel(1);
        // One ring is enough: it is taken before the events are looked at.
        let wake = Arc::new(move || {
            let _ = ring.try_send(());
        });
        let settings = OpenSettings {
            memtable_bytes: MEMTABLE_BYTES as usize,
            block_cache_bytes: CACHE_BYTES,
            ..OpenSettings::new(dir.to_owned(), CoreId(0), wake)
        };
        Ok(Ours { store: LsmStore::open(settings)?, bell, applied: 0, open: 0 })
    }

    fn freeze(&mut self) {
        if let Some(frozen) = self.store.freeze() {
            self.open += 1;
            self.store.flush(frozen.id);
        }
    }

    /// Waits until the store takes a batch again.
    ///
    /// # Errors
    /// The store failed.
    pub fn make_room(&mut self) -> Result<()> {
        if self.store.wants_freeze() {
            self.freeze();
        }
        while self.store.pressure() == Pressure::Full {
            // It may be for the end of a compaction, which no event tells.
            while let Some(event) = self.store.poll_event() {
                self.see(event)?;
            }
            if self.store.wants_freeze() {
                self.freeze();
            }
            if self.store.pressure() == Pressure::Full {
                self.bell.recv_timeout(QUIET_MAX).context("the store has no room for minutes")?;
            }
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<()> {
        let event = self.next_event()?;
        self.see(event)
    }

    /// What the store has to say next; waits for it.
    ///
    /// # Errors
    /// It says nothing for minutes.
    pub fn next_event(&mut self) -> Result<StoreEvent> {
        loop {
            if let Some(event) = self.store.poll_event() {
                return Ok(event);
            }
            self.bell.recv_timeout(QUIET_MAX).context("the store says nothing for minutes")?;
        }
    }

    /// Sees to an event.
    ///
    /// # Errors
    /// The store failed.
    pub fn see(&mut self, event: StoreEvent) -> Result<()> {
        match event {
            StoreEvent::Flushed(_) => self.open -= 1,
            StoreEvent::Failed { reason } => bail!("the store failed: {reason}"),
            _ => {}
        }
        Ok(())
    }
}

impl Arm for Ours {
    fn apply(&mut self, batch: &RowBatch) -> Result<()> {
        self.make_room()?;
        self.applied += 1;
        let machine = Machine { applied_index: LogIndex(self.applied), applied_term: Term(1), ..Machine::default() };
        self.store.write(GROUP, batch, &machine);
        self.tend()
    }

    fn tend(&mut self) -> Result<()> {
        while let Some(event) = self.store.poll_event() {
            self.see(event)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        while self.open > 0 {
            self.wait()?;
        }
        self.freeze();
        while self.open > 0 {
            self.wait()?;
        }
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.store.close();
        Ok(())
    }
}

/// The `lsm-tree` crate with its own memtable, flushed and compacted by two threads.
pub struct Direct {
    tree: AnyTree,
    counter: SequenceNumberCounter,
    flusher: Option<SyncSender<()>>,
    threads: Vec<JoinHandle<lsm_tree::Result<()>>>,
    /// As the tree reckons it.
    memtable_bytes: u64,
}

impl Direct {
    /// A new one in this directory.
    ///
    /// # Errors
    /// It does not open.
    pub fn open(dir: &Path) -> Result<Direct> {
        let counter = SequenceNumberCounter::default();
        let config = Config::new(dir, counter.clone(), counter.clone())
            .use_cache(Arc::new(Cache::with_capacity_bytes(CACHE_BYTES)))
            .filter_block_pinning_policy(PinningPolicy::all(true))
            .index_block_pinning_policy(PinningPolicy::all(true))
            .data_block_compression_policy(CompressionPolicy::new([
                CompressionType::None,
                CompressionType::None,
                CompressionType::Lz4,
            ]));
        let tree = config.open().map_err(failed)?;
        let (flusher, flushes) = sync_channel(FROZEN_MAX);
        let (compactor, compactions) = sync_channel(1);
        let (flushed, compacted, below) = (tree.clone(), tree.clone(), counter.clone());
        let flush = move || {
            while flushes.recv().is_ok() {
                flushed.flush(&flushed.get_flush_lock(), below.get())?;
                let _ = compactor.try_send(());
            }
            Ok(())
        };
        let below = counter.clone();
        let compact = move || {
            while compactions.recv().is_ok() {
                loop {
                    let version = compacted.current_version().id();
                    compacted.compact(Arc::new(Leveled::default()), below.get())?;
                    if compacted.current_version().id() == version {
                        break;
                    }
                }
            }
            Ok(())
        };
        let threads = vec![std::thread::spawn(flush), std::thread::spawn(compact)];
        Ok(Direct { tree, counter, flusher: Some(flusher), threads, memtable_bytes: 0 })
    }

    fn rotate(&mut self) -> Result<()> {
        self.tree.rotate_memtable();
        self.memtable_bytes = 0;
        let flusher = self.flusher.as_ref().ok_or_else(|| anyhow!("the tree is closed"))?;
        flusher.send(()).map_err(|_| anyhow!("the flushing thread ended"))
    }
}

impl Arm for Direct {
    fn apply(&mut self, batch: &RowBatch) -> Result<()> {
        let seqno = self.counter.next();
        for (key, value) in batch.iter() {
            (_, self.memtable_bytes) = match value {
                Some(value) => self.tree.insert(key, value, seqno),
                None => self.tree.remove(key, seqno),
            };
        }
        if self.memtable_bytes >= MEMTABLE_BYTES { self.rotate() } else { Ok(()) }
    }

    fn tend(&mut self) -> Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.rotate()
    }

    fn close(mut self) -> Result<()> {
        self.flusher = None;
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow!("a thread of the tree panicked"))?.map_err(failed)?;
        }
        Ok(())
    }
}

fn failed(error: lsm_tree::Error) -> anyhow::Error {
    anyhow!("the tree failed: {error:?}")
}
