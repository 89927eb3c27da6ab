//! The block server as a running thing: its thread, its port, its announcements.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use base::limits::BLOCK_CONNECTIONS_MAX;
use stone::{ConfigError, Running, accept};

use crate::cluster::Cluster;
use crate::config::BlockConfig;
use crate::connection::{self, Shared};
use crate::gc;
use crate::http::ContentHost;
use crate::metaserver::{self, Metaserver};
use crate::store::{BlockStore, OpenStoreError};

/// The time between two announcements.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(30);
/// The time after a failed one.
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(500);
/// What is in flight at a stop gets this long; clients repeat the rest elsewhere or later.
const STOP_TIME_MAX: Duration = Duration::from_secs(3);
/// Puts and reads at once: the disk's queue, not the processors, is what they wait for.
const DISK_THREADS: usize = 32;

/// Why a block server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The object store does not open.
    #[error(transparent)]
    Store(#[from] OpenStoreError),
    /// The data directory cannot be made.
    #[error("could not make data directory {path}: {source}")]
    DataDir {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The port cannot be had.
    #[error("could not listen on {address}: {source}; stop what holds it or choose another port")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The content host has no secret.
    #[error(transparent)]
    Secret(#[from] stone::keys::SecretError),
    /// The content host has no certificate.
    #[error(transparent)]
    Certificate(#[from] stone::CaError),
    /// The content host's port cannot be had.
    #[error(transparent)]
    Https(#[from] stone::ListenError),
    /// The process cannot have threads.
    #[error("could not start the block server's threads: {0}")]
    Threads(std::io::Error),
}

/// A running block server. Dropping it stops it.
#[derive(Debug)]
pub struct BlockServer {
    address: SocketAddr,
    https: Option<SocketAddr>,
    running: Running,
}

impl BlockServer {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is the content host of the HTTP API.
    #[must_use]
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.https
    }

    /// Stops it and waits for it, at most a few seconds. Nothing that was acknowledged is lost by a stop, nor by a kill.
    pub fn stop(self) {
        drop(self.running);
    }
}

/// Starts a block server of the cluster that `config.targets` lead to; the cluster need not be up yet.
///
/// Errors: [`StartError`].
pub fn start(config: &BlockConfig) -> Result<BlockServer, StartError> {
    let cluster = Arc::new(Cluster::new(config.targets.clone()));
    let meta: Arc<dyn stone::Metaserver> = Arc::clone(&cluster) as _;
    start_all(config, cluster, meta)
}

/// Starts a block server that asks `meta` for native clients and `http` for those of the content host, if it is one.
///
/// Errors: [`StartError`].
pub fn start_all<M: Metaserver>(
    config: &BlockConfig,
    meta: M,
    http: Arc<dyn stone::Metaserver>,
) -> Result<BlockServer, StartError> {
    let https = config.https.as_ref().map(|config| ContentHost::open(config, http)).transpose()?;
    start_on(config, meta, https)
}

/// Starts a block server that asks `meta`, without HTTP: opens the store, takes the port, and answers from its own threads on return.
///
/// Errors: [`StartError`].
pub fn start_with<M: Metaserver>(config: &BlockConfig, meta: M) -> Result<BlockServer, StartError> {
    start_on(config, meta, None)
}

fn start_on<M: Metaserver>(
    config: &BlockConfig,
    meta: M,
    https: Option<ContentHost>,
) -> Result<BlockServer, StartError> {
    config.check()?;
    let data_dir = |source| StartError::DataDir { path: config.data_dir.clone(), source };
    std::fs::create_dir_all(&config.data_dir).map_err(data_dir)?;
    let store = BlockStore::open(&config.store)?;
    let listen = |source| StartError::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).map_err(listen)?;
    listener.set_nonblocking(true).map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(DISK_THREADS)
        .thread_name("blocks")
        .enable_all()
        .build()
        .map_err(StartError::Threads)?;
    let listener = {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener).map_err(listen)?
    };
    let https_address = https.as_ref().map(ContentHost::address);
    let gc = config.gc.clone();
    let (server_id, shared) = (config.server_id, Arc::new(Shared::new(store, meta)));
    let work = async move {
        tokio::spawn(announce(Arc::clone(&shared), server_id, address));
        if gc.enabled {
            // Whatever it is at when it is stopped, the next one begins with a listing of its own.
            let shared = Arc::clone(&shared);
            tokio::spawn(async move { gc::collect_forever(&shared.store, &shared.meta, &gc, server_id).await });
        }
        https.map(|https| tokio::spawn(https.serve(shared.store.clone())));
        accept(listener, BLOCK_CONNECTIONS_MAX, |stream, peer| {
            let shared = Arc::clone(&shared);
            async move {
                if let Err(error) = connection::serve(stream, shared).await {
                    tracing::debug!(%peer, %error, "closed a connection");
                }
            }
        })
        .await;
    };
    let running = Running::spawn("blocks", runtime, work, STOP_TIME_MAX).map_err(StartError::Threads)?;
    tracing::info!(%address, "the block server listens");
    if let Some(address) = https_address {
        tracing::info!(%address, "the content host listens");
    }
    Ok(BlockServer { address, https: https_address, running })
}

async fn announce<M: Metaserver>(shared: Arc<Shared<M>>, server_id: u64, address: SocketAddr) {
    let mut is_known = None;
    loop {
        let announced = metaserver::announce(&shared.meta, server_id, address).await;
        match &announced {
            Ok(()) if is_known != Some(true) => tracing::info!(server_id, %address, "announced to the cluster"),
            Err(error) if is_known != Some(false) => {
                tracing::warn!(server_id, %error, "could not announce to the cluster yet; trying again");
            }
            Ok(()) | Err(_) => {}
        }
        is_known = Some(announced.is_ok());
        tokio::time::sleep(if announced.is_ok() { ANNOUNCE_EVERY } else { ANNOUNCE_AGAIN }).await;
    }
}
