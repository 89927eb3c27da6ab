//! The client proxy: an HTTP CONNECT proxy on loopback for clients that know no host but those of the hosted service.
//!
//! ```text
//! client ─ CONNECT api.dropboxapi.com:443 ─▶ proxy ─▶ gateway          TLS goes from end to end: the server shows
//!        ─ CONNECT content.dropboxapi.com ─▶       ─▶ content host     a certificate for those names
//! ```
//!
//! It reads heads and joins streams, and sees no content. Protocol and limits: docs/design/gateway.md, "Client proxy".

mod head;
mod join;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use head::{Head, Refusal};

/// Connections at once; one more is told 503.
const CONNECTIONS_MAX: usize = 1000;
/// Refusals for want of a place that are being told; beyond them a connection is closed.
const REFUSALS_MAX: usize = 64;
/// A request's head at most, and how long it may take.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// A server answers a dial within this.
const DIAL_TIME_MAX: Duration = Duration::from_secs(10);
/// Longer than the longest longpoll.
const IDLE_TIME_MAX: Duration = Duration::from_secs(600);
/// The names that clients ask for, and so what the certificate of the servers must have.
pub const HOSTED_NAMES: [&str; 4] =
    ["api.dropboxapi.com", "content.dropboxapi.com", "notify.dropboxapi.com", "www.dropbox.com"];

/// Where the hosts of the API are, each as one or more `host:port`: connections go to them by turns, and past one that
/// cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servers {
    /// The gateways: `api` and `www`.
    pub api: Vec<String>,
    /// The block servers.
    pub content: Vec<String>,
    /// The notifiers.
    pub notify: Vec<String>,
}

impl Servers {
    /// One that serves all of them, as `dropstone dev` does.
    #[must_use]
    pub fn one(address: &str) -> Servers {
        let all = vec![address.to_owned()];
        Servers { api: all.clone(), content: all.clone(), notify: all }
    }

    /// The servers that stand for one of [`HOSTED_NAMES`], in lower case.
    fn of(&self, host: &str) -> Option<&[String]> {
        match host {
            "api.dropboxapi.com" | "www.dropbox.com" => Some(&self.api),
            "content.dropboxapi.com" => Some(&self.content),
            "notify.dropboxapi.com" => Some(&self.notify),
            _ => None,
        }
    }
}

/// What a proxy is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Where it listens: loopback; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where it leads.
    pub servers: Servers,
    /// Other hosts are dialled as asked; else they are refused.
    pub passes_others: bool,
}

/// Why a proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// Whoever reaches it could dial through this machine.
    #[error("{0} is not a loopback address, and the proxy asks nobody who they are; listen on 127.0.0.1")]
    NotLoopback(SocketAddr),
    /// The port cannot be had.
    #[error("could not listen on {address}: {source}; stop what holds it, or choose another with --listen")]
    Port {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The process cannot have threads.
    #[error("could not start the proxy's thread: {0}")]
    Threads(std::io::Error),
}

/// A running proxy. Dropping it stops it, and cuts what goes through it.
#[derive(Debug)]
pub struct ClientProxy {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl ClientProxy {
    /// Takes the port and serves on a thread of its own.
    ///
    /// Errors: [`ProxyError`].
    pub fn start(config: ProxyConfig) -> Result<ClientProxy, ProxyError> {
        ClientProxy::start_within(config, Limits::default())
    }

    fn start_within(config: ProxyConfig, limits: Limits) -> Result<ClientProxy, ProxyError> {
        if !config.listen.ip().is_loopback() {
            return Err(ProxyError::NotLoopback(config.listen));
        }
        let port = |source| ProxyError::Port { address: config.listen, source };
        let socket = std::net::TcpListener::bind(config.listen).map_err(port)?;
        socket.set_nonblocking(true).map_err(port)?;
        let address = socket.local_addr().map_err(port)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ProxyError::Threads)?;
        let (stop, mut stopped) = watch::channel(false);
        let main = move || {
            runtime.block_on(async move {
                tokio::select! {
                    () = serve(socket, config, limits) => {}
                    // An error is a dropped handle: a stop as well.
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
            // A look-up of a name may hang in the system: nobody waits for it.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("client-proxy".to_owned()).spawn(main);
        Ok(ClientProxy { address, stop, thread: Some(thread.map_err(ProxyError::Threads)?) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ClientProxy {
    fn drop(&mut self) {
        // The thread may have ended already; then nobody listens.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the proxy's thread had panicked");
        }
    }
}

/// Bounds, smaller ones for tests.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connections: usize,
    idle: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections: CONNECTIONS_MAX, idle: IDLE_TIME_MAX }
    }
}

async fn serve(socket: std::net::TcpListener, config: ProxyConfig, limits: Limits) {
    let listener = match TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the proxy's port was lost"),
    };
    let config = Arc::new(config);
    let (places, refusals) = (Arc::new(Semaphore::new(limits.connections)), Arc::new(Semaphore::new(REFUSALS_MAX)));
    for turn in 0.. {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Usually too many open files: those in use must end first, so a busy loop would only burn.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let config = Arc::clone(&config);
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            tokio::spawn(async move {
                lead(stream, &config, turn, limits.idle).await;
                drop(place);
            });
        } else if let Ok(place) = Arc::clone(&refusals).try_acquire_owned() {
            tokio::spawn(async move {
                refuse(stream, &Refusal::Full).await;
                drop(place);
            });
        }
    }
}

/// One connection, from its head to its end.
async fn lead(mut client: TcpStream, config: &ProxyConfig, turn: usize, idle: Duration) {
    // A socket that takes no option has gone already.
    let _ = client.set_nodelay(true);
    let (server, rest) = match connect(&mut client, config, turn).await {
        Ok(connected) => connected,
        Err(refusal) => {
            if let Some(refusal) = refusal {
                refuse(client, &refusal).await;
            }
            return;
        }
    };
    if let Err(error) = join::join(client, server, &rest, idle).await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// Reads the head, dials, and tells the client that it may go on. `None`: the client has gone.
async fn connect(
    client: &mut TcpStream,
    config: &ProxyConfig,
    turn: usize,
) -> Result<(TcpStream, Vec<u8>), Option<Refusal>> {
    let read = tokio::time::timeout(HEAD_TIME_MAX, read_head(client));
    let (head, rest) = read.await.map_err(|_| Some(Refusal::Slow))??;
    let server = dial(&head, &route(&head, config)?, turn).await?;
    // A socket that takes no option has gone already.
    let _ = server.set_nodelay(true);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.map_err(|_| None)?;
    Ok((server, rest))
}

/// The first of the servers that answers, beginning with the one whose turn it is.
async fn dial(head: &Head, servers: &[String], turn: usize) -> Result<TcpStream, Refusal> {
    let mut why = Vec::new();
    for at in 0..servers.len() {
        let address = servers[(turn + at) % servers.len()].as_str();
        let error = match tokio::time::timeout(DIAL_TIME_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {DIAL_TIME_MAX:?}"),
        };
        tracing::warn!(host = head.host, address, error, "could not reach a server");
        why.push(format!("{address}: {error}"));
    }
    Err(Refusal::Unreachable { host: head.host.clone(), why: why.join("; ") })
}

/// The head, and what came behind it.
async fn read_head(client: &mut TcpStream) -> Result<(Head, Vec<u8>), Option<Refusal>> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if client.read_buf(&mut bytes).await.map_err(|_| None)? == 0 {
            return Err(None);
        }
        if let Some((head, length)) = Head::parse(&bytes)? {
            return Ok((head, bytes.split_off(length)));
        }
        if bytes.len() >= HEAD_BYTES_MAX {
            return Err(Some(Refusal::TooLarge));
        }
    }
}

/// The addresses to dial for a head.
fn route(head: &Head, config: &ProxyConfig) -> Result<Vec<String>, Refusal> {
    match config.servers.of(&head.host) {
        Some(servers) if head.port == 443 => Ok(servers.to_vec()),
        None if config.passes_others => Ok(vec![head.authority()]),
        _ => Err(Refusal::Foreign(head.authority())),
    }
}

/// Tells a client why not. What it sent beyond the head is read, since a reset would take the answer away.
async fn refuse(mut client: TcpStream, refusal: &Refusal) {
    let told = async {
        client.write_all(refusal.answer().as_bytes()).await?;
        client.shutdown().await?;
        let mut sink = [0; 1024];
        while client.read(&mut sink).await? != 0 {}
        std::io::Result::Ok(())
    };
    // Whoever has gone needs no answer.
    let _ = tokio::time::timeout(Duration::from_secs(2), told).await;
}

#[cfg(test)]
mod tests;
