//! The gateway as a running thing: its threads, its port, its announcements.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::{any, post};
use base::{Acct, Nsid};
use meta::{Command, ServerPut, ServerRole};
use stone::ca::tls_of_files;
use stone::keys::SecretError;
use stone::{
    CaError, ConfigError, DevCa, Host, Keys, ListenError, Listener, Metaserver, Running, Secret, Stone, listen, router,
    unknown,
};

use crate::cluster::Cluster;
use crate::config::{GatewayConfig, Tls};
use crate::jobs::Jobs;
use crate::state::Gateway;
use crate::table::{ELSEWHERE, ROUTES};
use crate::{link_page, oauth, sign_in, web};

/// The time between two announcements, and after a failed one.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(30);
const ANNOUNCE_AGAIN: Duration = Duration::from_millis(500);
/// What is in flight at a stop gets this long.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);
/// Nothing is elsewhere where one listener serves everything.
const NOTHING: &[(&str, Host)] = &[];

/// Why a gateway does not start.
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
    /// The port cannot be had.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The process cannot have threads.
    #[error("could not start the gateway's threads: {0}")]
    Threads(std::io::Error),
}

/// A running gateway. Dropping it stops it.
#[derive(Debug)]
pub struct GatewayServer {
    address: SocketAddr,
    running: Running,
}

impl GatewayServer {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it and waits for it, at most a few seconds.
    pub fn stop(self) {
        drop(self.running);
    }
}

/// Which hosts a listener serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hosts {
    /// The api host; routes of the content and notify hosts are refused with their names.
    Api,
    /// All of them, on one listener (`--all-routes`).
    All,
}

/// Starts a gateway. `more` makes a router of routes that other rooms bring, without a fallback, over the same keys and
/// cluster: of the api host, or with [`Hosts::All`] of the others too. It is called inside the runtime.
///
/// Errors: [`StartError`].
pub fn start(
    config: &GatewayConfig,
    hosts: Hosts,
    more: impl FnOnce(&Arc<Stone>) -> Router,
) -> Result<GatewayServer, StartError> {
    config.check()?;
    let secret = match &config.tls {
        Tls::Dev { .. } | Tls::Plain => Secret::load_or_make(&config.secret_file)?,
        Tls::Files { .. } => Secret::load(&config.secret_file)?,
    };
    let tls = match &config.tls {
        Tls::Files { certificate, key } => Some(tls_of_files(certificate, key)?),
        Tls::Dev { dir, names } => Some(DevCa::open(dir)?.tls(names)?),
        Tls::Plain => None,
    };
    let listener = listen(config.listen, tls)?;
    let address = listener.address();
    let www = config.www.clone().unwrap_or_else(|| own_url(&config.tls, address));
    let meta: Arc<dyn Metaserver> = Arc::new(Cluster::new(config.targets.clone()));
    let stone = Arc::new(Stone::new(meta, Keys::new(&secret), config.dev.is_some(), www));
    let content = match hosts {
        Hosts::All => Some(stone.www.clone()),
        Hosts::Api => config.content.clone(),
    };
    let (jobs, dev) = (Jobs::default(), config.dev);
    let gateway = Arc::new(Gateway { stone: Arc::clone(&stone), jobs, content, dev });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("gateway")
        .enable_all()
        .build()
        .map_err(StartError::Threads)?;
    let entered = runtime.enter();
    let routes = routes(&gateway, hosts).merge(more(&stone));
    drop(entered);
    let work = serve(listener, routes, stone, config.server_id, address);
    let running = Running::spawn("gateway", runtime, work, STOP_TIME_MAX).map_err(StartError::Threads)?;
    tracing::info!(%address, "the gateway listens");
    Ok(GatewayServer { address, running })
}

/// How clients name a gateway that has no name: the leaf of `dev` is for `localhost`.
fn own_url(tls: &Tls, address: SocketAddr) -> String {
    match tls {
        Tls::Plain => format!("http://{address}"),
        _ if address.ip().is_loopback() => format!("https://localhost:{}", address.port()),
        _ => format!("https://{address}"),
    }
}

/// All that it serves.
fn routes(gateway: &Arc<Gateway>, hosts: Hosts) -> Router {
    let token = |gateway: &Arc<Gateway>| {
        let gateway = Arc::clone(gateway);
        post(move |request: Request| oauth::token(Arc::clone(&gateway), request))
    };
    let (for_authorize, for_link) = (Arc::clone(gateway), Arc::clone(gateway));
    let elsewhere = if hosts == Hosts::All { NOTHING } else { ELSEWHERE };
    router(ROUTES, &gateway.stone, gateway)
        .merge(web::pages(gateway.content.as_deref()))
        .route("/oauth2/token", token(gateway))
        .route("/1/oauth2/token", token(gateway))
        .route(
            "/oauth2/authorize",
            any(move |request: Request| sign_in::authorize(Arc::clone(&for_authorize), request)),
        )
        .route("/s/{*rest}", any(move |request: Request| link_page::link(Arc::clone(&for_link), request)))
        .fallback_service(Router::new().fallback(unknown(elsewhere)))
}

async fn serve(listener: Listener, routes: Router, stone: Arc<Stone>, server_id: u64, address: SocketAddr) {
    tokio::spawn(announce(Arc::clone(&stone), server_id, address));
    tokio::spawn(async move { stone.auth.keep_fresh().await });
    if let Err(error) = listener.serve(routes).await {
        tracing::error!(%error, "the gateway's port was lost");
    }
}

async fn announce(stone: Arc<Stone>, server: u64, address: SocketAddr) {
    let mut is_known = None;
    loop {
        let put = ServerPut { server, role: ServerRole::Gateway, address: address.to_string() };
        let announced = stone.meta.command(Acct(0), Nsid(0), Command::ServerPut(put)).await;
        let is_announced = announced.as_ref().is_ok_and(meta::Outcome::is_ok);
        if is_known != Some(is_announced) {
            match (&announced, is_announced) {
                (_, true) => tracing::info!(server, %address, "announced to the cluster"),
                (Err(error), _) => {
                    tracing::warn!(server, %error, "could not announce to the cluster yet; trying again")
                }
                (Ok(outcome), _) => tracing::warn!(server, ?outcome, "the cluster did not take the announcement"),
            }
        }
        is_known = Some(is_announced);
        tokio::time::sleep(if is_announced { ANNOUNCE_EVERY } else { ANNOUNCE_AGAIN }).await;
    }
}
