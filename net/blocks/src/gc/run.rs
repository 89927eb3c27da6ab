//! One cycle by hand, and the state, for the command line.

use super::collector::{Abandoned, Collector, Job};
use super::state::{Counts, GcState};
use super::task::{Pace, Work};
use crate::cluster::Cluster;
use crate::config::BlockConfig;
use crate::metaserver::{Metaserver, MetaserverError};
use crate::store::trash::wall_ms;
use crate::store::{BlockStore, OpenStoreError};

/// Why a cycle did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The object store does not open.
    #[error(transparent)]
    Open(#[from] OpenStoreError),
    /// The object store does not answer.
    #[error("could not read the object store: {0}")]
    Store(#[from] object_store::Error),
    /// The metaservers do not answer.
    #[error("could not learn how many groups there are: {0}")]
    Groups(#[from] MetaserverError),
    /// A pass was given up; nothing of its range was swept.
    #[error("gave up: {}", reason(*.0))]
    GivenUp(Abandoned),
    /// No runtime.
    #[error("could not start threads: {0}")]
    Threads(std::io::Error),
}

fn reason(why: Abandoned) -> String {
    match why {
        Abandoned::Unreadable(group) => format!("group {group} could not be read; see whether it has a leader"),
        Abandoned::TooLong => "the mark took longer than 7 days, or the clock ran back".to_owned(),
        Abandoned::Clock => {
            "this machine's clock and the cluster's are apart, or no block server is running".to_owned()
        }
        Abandoned::Store => "the object store failed; see the log".to_owned(),
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(RunError::Threads)?.block_on(work)
}

/// Runs one cycle over all names, beside whatever the servers do. With `is_dry` nothing is moved or deleted, and the
/// counts say what would be. `each` hears of every job before it is done.
///
/// Errors: [`RunError`].
pub fn run_cycle(config: &BlockConfig, is_dry: bool, each: impl FnMut(&Job)) -> Result<Counts, RunError> {
    let store = BlockStore::open(&config.store)?;
    block_on(run_cycle_with(&store, &Cluster::new(config.targets.clone()), config, is_dry, each))
}

/// As [`run_cycle`], over a store and metaservers that are at hand.
///
/// Errors: [`RunError`].
pub async fn run_cycle_with<M: Metaserver>(
    store: &BlockStore,
    meta: &M,
    config: &BlockConfig,
    is_dry: bool,
    mut each: impl FnMut(&Job),
) -> Result<Counts, RunError> {
    let mut collector = Collector::new(config.gc.rules(), meta.groups().await?, 0, Default::default(), 0);
    let mut pace = Pace::new(if is_dry { u32::MAX } else { config.gc.objects_per_second });
    let work = Work { store, meta, config: &config.gc, is_dry };
    loop {
        let job = collector.next(wall_ms());
        each(&job);
        match job {
            Job::GiveUp(why) => return Err(RunError::GivenUp(why)),
            Job::Save if collector.is_between_cycles() => return Ok(*collector.counts()),
            Job::Save => collector.handle_saved(wall_ms()),
            job => work.perform(&mut collector, &job, &mut pace).await,
        }
    }
}

/// What the servers' collector has kept; `None` when none has run.
///
/// Errors: [`RunError`].
pub fn state(config: &BlockConfig) -> Result<Option<GcState>, RunError> {
    let store = BlockStore::open(&config.store)?;
    let text = block_on(async { Ok(store.gc_state().await?) })?;
    Ok(text.and_then(|text| GcState::parse(&text)))
}
