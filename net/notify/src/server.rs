//! The notifier as a running thing: its threads, its ports, its announcements.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use base::{Acct, Nsid};
use meta::{Command, Outcome, ServerPut, ServerRole};
use stone::ca::tls_of_files;
use stone::keys::SecretError;
use stone::{
    CaError, ConfigError, Host, Keys, ListenError, Listener, Metaserver, Running, Secret, Stone, listen, router,
    unknown,
};
use tokio::net::TcpListener;
use wire::notify::Place;

use crate::admin;
use crate::cluster::Cluster;
use crate::config::{EdgeConfig, HubConfig, Listen, NotifyConfig};
use crate::edge_tier::EdgeTier;
use crate::hub_tier::HubTier;
use crate::longpoll::{Longpoll, ROUTES};

/// The time between two announcements, and after a failed one.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(30);
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(500);
/// What is in flight at a stop gets this long.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);
/// Connections of an edge beside those that wait: each may be on its way.
const CONNECTIONS_MORE: usize = 1000;

/// Why a notifier does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A value that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] CaError),
    /// A port cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The hub's port cannot be had.
    #[error("could not listen on {address}: {source}; stop what holds it or choose another port")]
    Port {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The process cannot have threads.
    #[error("could not start the notifier's threads: {0}")]
    Threads(std::io::Error),
}

/// A running notifier. Dropping it stops it at once.
pub struct Notifier {
    hub: Option<SocketAddr>,
    edge: Option<(Option<SocketAddr>, Longpoll, Duration)>,
    running: Running,
}

impl Notifier {
    /// Where edges reach the hub, if it is one.
    #[must_use]
    pub fn hub_address(&self) -> Option<SocketAddr> {
        self.hub
    }

    /// Where clients reach the edge, if it is one with a port.
    #[must_use]
    pub fn edge_address(&self) -> Option<SocketAddr> {
        self.edge.as_ref().and_then(|edge| edge.0)
    }

    /// The routes of the edge for another listener; none if it is no edge.
    pub fn routes(&self, stone: &Arc<Stone>) -> Router {
        self.edge.as_ref().map_or_else(Router::new, |(_, longpoll, _)| router(ROUTES, stone, longpoll))
    }

    /// Wakes all that wait, spread over the time of the configuration, then stops.
    pub fn stop(self) {
        if let Some((_, longpoll, span)) = &self.edge {
            longpoll.tier.drain(*span);
        }
        drop(self.running);
    }
}

/// Starts a notifier of the cluster that `config.targets` lead to; the cluster need not be up yet.
///
/// Errors: [`StartError`].
pub fn start(config: &NotifyConfig) -> Result<Notifier, StartError> {
    config.check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("notify")
        .enable_all()
        .build()
        .map_err(StartError::Threads)?;
    let _entered = runtime.enter();
    let cluster = Arc::new(Cluster::new(config.targets.clone()));
    let hub = config.hub.as_ref().map(|hub| Hub::open(hub, &cluster)).transpose()?;
    let edge = config.edge.as_ref().map(|edge| EdgePort::open(edge, &cluster)).transpose()?;
    let hub_address = hub.as_ref().map(|hub| hub.address);
    let admin_tiers =
        (hub.as_ref().map(|hub| Arc::clone(&hub.tier)), edge.as_ref().map(|edge| edge.longpoll.tier.clone()));
    let admin = config.admin_listen.map(|address| listen(address, None)).transpose()?;
    let handle = edge.as_ref().zip(config.edge.as_ref()).map(|(edge, config)| {
        (edge.port.as_ref().map(|port| port.0.address()), edge.longpoll.clone(), Duration::from_secs(config.drain_s))
    });
    let work = async move {
        let hub = async { hub.map_or_else(never, |hub| Box::pin(hub.tier.run(hub.listener))).await };
        let edge = async { edge.map_or_else(never, |edge| Box::pin(edge.run())).await };
        let admin = async { admin.map_or_else(never, |port| Box::pin(serve(port, admin::routes(admin_tiers)))).await };
        tokio::join!(hub, edge, admin);
    };
    drop(_entered);
    let running = Running::spawn("notify", runtime, work, STOP_TIME_MAX).map_err(StartError::Threads)?;
    tracing::info!(hub = ?hub_address, edge = ?handle.as_ref().and_then(|edge| edge.0), "the notifier listens");
    Ok(Notifier { hub: hub_address, edge: handle, running })
}

type Work = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn never() -> Work {
    Box::pin(std::future::pending())
}

async fn serve(listener: Listener, routes: Router) {
    if let Err(error) = listener.serve(routes).await {
        tracing::error!(%error, "a port of the notifier was lost");
    }
}

/// A hub that is to run.
struct Hub {
    address: SocketAddr,
    listener: TcpListener,
    tier: Arc<HubTier>,
}

impl Hub {
    fn open(config: &HubConfig, cluster: &Arc<Cluster>) -> Result<Hub, StartError> {
        let port = |source| StartError::Port { address: config.listen, source };
        let listener = std::net::TcpListener::bind(config.listen).map_err(port)?;
        listener.set_nonblocking(true).map_err(port)?;
        let address = listener.local_addr().map_err(port)?;
        let listener = TcpListener::from_std(listener).map_err(port)?;
        let place = Place { place: config.place, places: config.places };
        let tier = HubTier::new(place, Arc::clone(cluster), tokio::runtime::Handle::current());
        Ok(Hub { address, listener, tier })
    }
}

/// An edge that is to run.
struct EdgePort {
    longpoll: Longpoll,
    /// The port, what is shared, and its number.
    port: Option<(Listener, Arc<Stone>, u64)>,
}

impl EdgePort {
    fn open(config: &EdgeConfig, cluster: &Arc<Cluster>) -> Result<EdgePort, StartError> {
        let runtime = tokio::runtime::Handle::current();
        let tier = EdgeTier::new(config.hubs.clone(), config.watchers_max, Arc::clone(cluster), runtime);
        let longpoll = Longpoll { tier, jitter_percent: config.jitter_percent };
        let connections = config.watchers_max + CONNECTIONS_MORE;
        let port = config.listen.as_ref().map(|port| open_port(port, connections, cluster)).transpose()?;
        Ok(EdgePort { longpoll, port })
    }

    async fn run(self) {
        let tier = self.longpoll.tier.clone().run();
        let Some((listener, stone, server)) = self.port else { return tier.await };
        let address = listener.address();
        let routes =
            router(ROUTES, &stone, &self.longpoll).fallback_service(Router::new().fallback(unknown(ELSEWHERE)));
        tokio::join!(tier, announce(stone, server, address), serve(listener, routes));
    }
}

/// Routes that clients may look for here.
const ELSEWHERE: &[(&str, Host)] = &[
    ("files/list_folder", Host::Api),
    ("files/list_folder/continue", Host::Api),
    ("files/list_folder/get_latest_cursor", Host::Api),
    ("files/upload", Host::Content),
    ("files/download", Host::Content),
];

fn open_port(
    config: &Listen,
    connections_max: usize,
    cluster: &Arc<Cluster>,
) -> Result<(Listener, Arc<Stone>, u64), StartError> {
    let secret = Secret::load(&config.secret_file)?;
    let tls = config.tls.as_ref().map(|(certificate, key)| tls_of_files(certificate, key)).transpose()?;
    let listener = listen(config.address, tls)?.with_connections_max(connections_max);
    let meta: Arc<dyn Metaserver> = Arc::clone(cluster) as _;
    // No page is made here.
    let www = format!("https://{}", listener.address());
    Ok((listener, Arc::new(Stone::new(meta, Keys::new(&secret), false, www)), config.server_id))
}

async fn announce(stone: Arc<Stone>, server: u64, address: SocketAddr) {
    let mut is_known = None;
    loop {
        let put = ServerPut { server, role: ServerRole::Notify, address: address.to_string() };
        let announced = stone.meta.command(Acct(0), Nsid(0), Command::ServerPut(put)).await;
        let is_announced = announced.as_ref().is_ok_and(Outcome::is_ok);
        if is_known != Some(is_announced) {
            match (&announced, is_announced) {
                (_, true) => tracing::info!(server, %address, "announced to the cluster"),
                _ => tracing::warn!(server, ?announced, "could not announce to the cluster yet; trying again"),
            }
        }
        is_known = Some(is_announced);
        tokio::time::sleep(if is_announced { ANNOUNCE_EVERY } else { ANNOUNCE_AGAIN }).await;
    }
}
