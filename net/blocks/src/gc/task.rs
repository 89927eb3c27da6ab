//! The collector at work: its clock, its pace, its turn among the block servers, its log lines.
//!
//! Servers of one store take turns by the state in it: whoever has written to it in the last ten minutes collects. That
//! saves work and no more: two that collect at once harm nothing (docs/design/blocks.md, "Garbage").

use std::time::Duration;

use base::{Acct, BlockHash, Nsid};
use meta::{Answer, Query};
use tokio::time::{Instant, sleep, sleep_until};

use super::collector::{Collector, Job};
use super::state::{Counts, GcState};
use crate::config::GcConfig;
use crate::metaserver::{Metaserver, MetaserverError};
use crate::store::trash::wall_ms;
use crate::store::{BlockStore, GetError};

/// How often whoever collects says so.
const BEAT_EVERY: Duration = Duration::from_secs(60);
/// A turn without a word for so long is over. Milliseconds.
const TURN_MS: u64 = 10 * 60 * 1000;
/// Two that take a free turn at once see each other's word within this.
const SETTLE: Duration = Duration::from_secs(2);
/// Between two pages of a mark, so that the groups' own work goes first.
const PAGE_PAUSE: Duration = Duration::from_millis(5);
/// After a failure to read or write the state.
const AGAIN: Duration = Duration::from_secs(30);

/// What a collector works with.
pub(crate) struct Work<'a, M> {
    pub store: &'a BlockStore,
    pub meta: &'a M,
    pub config: &'a GcConfig,
    /// Nothing is moved or deleted, only counted.
    pub is_dry: bool,
}

impl<M: Metaserver> Work<'_, M> {
    /// Does one job; the collector is told what came of it.
    pub(crate) async fn perform(&self, collector: &mut Collector, job: &Job, pace: &mut Pace) {
        match job {
            Job::List(area, byte) => {
                let listed = self.store.list(*area, *byte, |object| collector.handle_object(object)).await;
                if let Err(error) = &listed {
                    tracing::warn!(%error, "could not list the object store");
                }
                collector.handle_listed(listed.is_ok(), wall_ms());
            }
            Job::Mark(scan) => {
                sleep(PAGE_PAUSE).await;
                match self.meta.query(Acct(0), Nsid(0), Query::BlockScan(scan.clone())).await {
                    Ok(Answer::Blocks(page)) => collector.handle_page(&page),
                    Ok(other) => {
                        tracing::warn!(group = scan.group.0, ?other, "a group did not tell its blocks");
                        collector.handle_unreadable();
                    }
                    Err(error) => {
                        tracing::warn!(group = scan.group.0, %error, "could not read the blocks of a group");
                        collector.handle_unreadable();
                    }
                }
            }
            Job::Trash(hash, unless_after_ms) => {
                pace.wait().await;
                let moved = match self.is_dry {
                    true => Ok(true),
                    false => self.store.trash(*hash, *unless_after_ms, wall_ms()).await,
                };
                tracing::debug!(block = %hash, "moved to the trash");
                collector.handle_moved(self.moved(moved));
            }
            Job::Delete(trashed) => {
                pace.wait().await;
                let moved = match self.is_dry {
                    true => Ok(true),
                    false => self.store.delete_trashed(*trashed).await,
                };
                tracing::debug!(block = %trashed.hash, "deleted from the trash");
                collector.handle_moved(self.moved(moved));
            }
            Job::Restore(trashed) => {
                pace.wait().await;
                let moved = match self.is_dry {
                    true => Ok(true),
                    false => self.store.restore(*trashed).await,
                };
                tracing::info!(block = %trashed.hash, "a block in the trash is wanted again");
                collector.handle_moved(self.moved(moved));
            }
            Job::Check(hash) => {
                pace.wait().await;
                let is_there = self.store.is_there(*hash).await;
                if matches!(is_there, Ok(false)) {
                    tracing::error!(block = %hash, "a block that metadata names is not in the object store");
                }
                collector.handle_checked(self.moved(is_there));
            }
            Job::Tails(before_ms) => {
                let deleted = self.store.delete_tails(*before_ms, self.is_dry).await;
                if let Err(error) = &deleted {
                    tracing::warn!(%error, "could not delete old tails; the next cycle tries again");
                }
                collector.handle_tails(deleted.unwrap_or(0));
                self.delete_staged(*before_ms).await;
            }
            Job::GiveUp(why) => tracing::warn!(?why, "gave a pass of the collector up; nothing was swept"),
            Job::Save | Job::Rest(_) => {}
        }
    }

    fn moved<E: std::fmt::Display>(&self, moved: Result<bool, E>) -> Option<bool> {
        moved.map_err(|error| tracing::warn!(%error, "the collector met an object that it could not handle")).ok()
    }

    /// What killed puts have left in a directory.
    async fn delete_staged(&self, before_ms: u64) {
        for byte in 0..=u8::MAX {
            if self.is_dry {
                return;
            }
            match self.store.delete_staged(byte, before_ms).await {
                Ok(0) => {}
                Ok(deleted) => tracing::info!(deleted, byte, "deleted what puts that were killed had left"),
                Err(error) => return tracing::warn!(%error, "could not delete what puts have left"),
            }
        }
    }

    /// Re-hashes the objects of one directory, spread over `time`.
    async fn scrub(&self, byte: u8, time: Duration, counts: &mut Counts) {
        let mut names = Vec::new();
        if let Err(error) = self.store.list(super::Area::Blocks, byte, |object| names.push(object.hash)).await {
            return tracing::warn!(%error, "could not list objects to re-hash");
        }
        let (begun, each) = (Instant::now(), time / (names.len() as u32).max(1));
        for (name, at) in names.into_iter().zip(1..) {
            match self.store.verify(name).await {
                Ok(()) => counts.scrubbed += 1,
                Err(GetError::Missing(_)) => {}
                Err(error @ GetError::Corrupt { .. }) => {
                    counts.scrubbed += 1;
                    counts.corrupt += 1;
                    tracing::error!(%error, "the scrubber found a corrupt block; the next put of it repairs it");
                }
                Err(error) => tracing::warn!(%error, "could not re-hash a block"),
            }
            sleep_until(begun + each * at).await;
        }
        // An empty directory takes its time too: the next one has its own turn.
        sleep_until(begun + time).await;
    }
}

/// So many objects a second.
pub(crate) struct Pace {
    next: Instant,
    each: Duration,
}

impl Pace {
    pub(crate) fn new(per_second: u32) -> Pace {
        Pace { next: Instant::now(), each: Duration::from_secs(1) / per_second.max(1) }
    }

    async fn wait(&mut self) {
        sleep_until(self.next).await;
        self.next = Instant::now().max(self.next) + self.each;
    }
}

/// Collects whenever it is this server's turn, until it is dropped.
pub(crate) async fn collect_forever<M: Metaserver>(store: &BlockStore, meta: &M, config: &GcConfig, server: u64) {
    if let Some(ms) = config.unsafe_short_ms {
        tracing::error!(
            ms,
            "UNSAFE: the collector deletes after a few moments; data in use can be lost; for tests alone"
        );
    }
    let work = Work { store, meta, config, is_dry: false };
    loop {
        match take_turn(store, server, config).await {
            Ok(Some(state)) => {
                if let Err(error) = work.turn(server, state).await {
                    tracing::warn!(%error, "the collector stops for a while");
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "could not read or write the collector's state"),
        }
        sleep(config.pause(AGAIN)).await;
    }
}

/// Why a turn ended.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error("could not keep the collector's state: {0}")]
    State(#[from] object_store::Error),
    #[error("could not learn how many groups there are: {0}")]
    Groups(#[from] MetaserverError),
}

async fn read_state(store: &BlockStore) -> object_store::Result<GcState> {
    let text = store.gc_state().await?;
    Ok(text.and_then(|text| GcState::parse(&text)).unwrap_or_default())
}

/// The state, when it is this server's turn.
async fn take_turn(store: &BlockStore, server: u64, config: &GcConfig) -> object_store::Result<Option<GcState>> {
    let mut state = read_state(store).await?;
    if state.owner != server {
        let is_taken = state.owner != 0 && wall_ms().abs_diff(state.beat_ms) < TURN_MS;
        if is_taken {
            return Ok(None);
        }
        (state.owner, state.beat_ms) = (server, wall_ms());
        store.put_gc_state(state.encode()).await?;
        sleep(config.pause(SETTLE)).await;
        state = read_state(store).await?;
    }
    Ok((state.owner == server).then_some(state))
}

impl<M: Metaserver> Work<'_, M> {
    /// Collects and re-hashes until the turn is another's.
    async fn turn(&self, server: u64, state: GcState) -> Result<(), TurnError> {
        let groups = self.meta.groups().await?;
        let rules = self.config.rules();
        let rest_ms = if state.from == BlockHash::default() { state.ended_ms + rules.rest_ms } else { 0 };
        // A time far ahead is a clock that was wrong.
        let rest_ms = rest_ms.min(wall_ms() + rules.rest_ms);
        let mut collector = Collector::new(rules, groups, state.cycle, state.from, rest_ms);
        let turn = Turn { server, kept: tokio::sync::Mutex::new(state) };
        tracing::info!(server, groups, cycle = collector.place().0, "this server collects garbage");
        tokio::select! {
            ended = self.collect(&mut collector, &turn) => ended,
            ended = self.scrub_forever(&turn) => ended,
            ended = turn.beat_forever(self.store) => ended,
        }
    }

    async fn collect(&self, collector: &mut Collector, turn: &Turn) -> Result<(), TurnError> {
        let mut pace = Pace::new(self.config.objects_per_second);
        let mut counted = Counts::default();
        loop {
            let job = collector.next(wall_ms());
            match job {
                Job::Rest(until_ms) => sleep(Duration::from_millis(until_ms.saturating_sub(wall_ms()))).await,
                Job::Save | Job::GiveUp(_) => {
                    self.perform(collector, &job, &mut pace).await;
                    let counts = *collector.counts();
                    let news = counts.minus(&std::mem::replace(&mut counted, counts));
                    turn.keep(self.store, collector.place(), &news).await?;
                    collector.handle_saved(wall_ms());
                }
                job => self.perform(collector, &job, &mut pace).await,
            }
        }
    }

    async fn scrub_forever(&self, turn: &Turn) -> Result<(), TurnError> {
        if self.config.scrub_days == 0 {
            return std::future::pending().await;
        }
        let time = Duration::from_secs(self.config.scrub_days * 24 * 60 * 60) / 256;
        loop {
            let byte = turn.kept.lock().await.scrub_byte;
            let mut counts = Counts::default();
            self.scrub(byte, time, &mut counts).await;
            let mut state = turn.kept.lock().await;
            state.scrub_byte = byte.wrapping_add(1);
            state.counts = state.counts.plus(&counts);
            self.store.put_gc_state(state.encode()).await?;
        }
    }
}

/// The state while it is this server's turn; it is written under its lock.
struct Turn {
    server: u64,
    kept: tokio::sync::Mutex<GcState>,
}

impl Turn {
    async fn keep(&self, store: &BlockStore, place: (u64, BlockHash), news: &Counts) -> Result<(), TurnError> {
        let mut state = self.kept.lock().await;
        let has_ended = place.0 != state.cycle;
        (state.cycle, state.from) = place;
        state.counts = state.counts.plus(news);
        state.beat_ms = wall_ms();
        if has_ended {
            state.ended_ms = state.beat_ms;
        }
        store.put_gc_state(state.encode()).await?;
        let Counts { trashed, deleted, restored, tails, missing, .. } = *news;
        let what = if has_ended { "ended a cycle of the collector" } else { "ended a pass of the collector" };
        tracing::info!(cycle = state.cycle, next = %state.from, trashed, deleted, restored, tails, missing, "{what}");
        Ok(())
    }

    /// Says that this server still collects; ends when another has taken over.
    async fn beat_forever(&self, store: &BlockStore) -> Result<(), TurnError> {
        loop {
            sleep(BEAT_EVERY).await;
            let mut state = self.kept.lock().await;
            if read_state(store).await?.owner != self.server {
                tracing::info!("another block server collects from now on");
                return Ok(());
            }
            state.beat_ms = wall_ms();
            store.put_gc_state(state.encode()).await?;
        }
    }
}
