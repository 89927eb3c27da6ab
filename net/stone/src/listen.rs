//! A port with HTTPS: handshakes, bounds on connections, HTTP/1.1 and 2 by ALPN.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// Connections of one listener, unless it is told otherwise.
const CONNECTIONS_MAX: usize = 10_000;
/// Handshakes at once, and how long one may take.
const HANDSHAKES_MAX: usize = 256;
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// A head takes so long at most, and so does the wait for the next one on a connection that is kept.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);
/// Bytes of a request's head: the argument, the other headers and the request line.
const HEAD_BYTES_MAX: usize = 96 << 10;
const HEADERS_MAX: usize = 100;
const STREAMS_MAX: u32 = 100;
const HEADER_LIST_MAX: u32 = 80 << 10;

/// Who is at the other end; in the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port cannot be had.
    #[error("could not listen on {address}: {source}; stop what holds it or choose another port")]
    Port {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody but this machine may speak without TLS.
    #[error("{0} is not a loopback address, and HTTP without TLS listens nowhere else")]
    Plain(SocketAddr),
}

/// A port that was taken.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    connections_max: usize,
}

/// Takes a port; 0 is a free one. Without `tls` it is HTTP, on loopback only.
///
/// Errors: [`ListenError`].
pub fn listen(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Result<Listener, ListenError> {
    if tls.is_none() && !address.ip().is_loopback() {
        return Err(ListenError::Plain(address));
    }
    let port = |source| ListenError::Port { address, source };
    let socket = std::net::TcpListener::bind(address).map_err(port)?;
    socket.set_nonblocking(true).map_err(port)?;
    let address = socket.local_addr().map_err(port)?;
    Ok(Listener { socket, address, tls, connections_max: CONNECTIONS_MAX })
}

impl Listener {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// With another bound on its connections.
    #[must_use]
    pub fn with_connections_max(self, connections_max: usize) -> Listener {
        Listener { connections_max, ..self }
    }

    /// Serves until it is dropped; inside a tokio runtime.
    ///
    /// Errors: the runtime does not take the socket.
    pub async fn serve(self, router: Router) -> std::io::Result<()> {
        let listener = TcpListener::from_std(self.socket)?;
        let tls = self.tls.map(TlsAcceptor::from);
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        accept(listener, self.connections_max, |stream, peer| {
            let (tls, router, handshakes) = (tls.clone(), router.clone(), Arc::clone(&handshakes));
            async move { greet(stream, peer, tls, &handshakes, router).await }
        })
        .await;
        Ok(())
    }
}

/// Accepts connections for ever and runs `each` on a task of its own, `places_max` at once; then accept waits.
pub async fn accept<F>(listener: TcpListener, places_max: usize, each: impl Fn(TcpStream, SocketAddr) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(places_max));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("this semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => {
                let work = each(stream, peer);
                tokio::spawn(async move {
                    work.await;
                    drop(place);
                });
            }
            Err(error) => {
                // Usually too many open files: those in use must end first, so a busy loop would only burn.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn greet(stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>, handshakes: &Semaphore, router: Router) {
    // A socket that takes no option has gone already.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return speak(TokioIo::new(stream), peer, router).await };
    let shaken = {
        let _place = handshakes.acquire().await.expect("this semaphore is never closed");
        tokio::time::timeout(HANDSHAKE_TIME_MAX, tls.accept(stream)).await
    };
    match shaken {
        Ok(Ok(stream)) => speak(TokioIo::new(stream), peer, router).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a handshake failed"),
        Err(_) => tracing::debug!(%peer, "a handshake took too long"),
    }
}

async fn speak<I>(io: I, peer: SocketAddr, router: Router)
where
    I: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let inner = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        inner.call(request)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX).max_buf_size(HEAD_BYTES_MAX);
    builder.http1().max_headers(HEADERS_MAX);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX).max_header_list_size(HEADER_LIST_MAX);
    if let Err(error) = builder.serve_connection(io, service).await {
        tracing::debug!(%peer, %error, "a connection ended");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_tls_it_listens_on_loopback_alone() {
        let listener = listen("127.0.0.1:0".parse().expect("an address"), None).expect("a port");
        assert_ne!(listener.address().port(), 0);
        assert!(matches!(listen("0.0.0.0:0".parse().expect("an address"), None), Err(ListenError::Plain(_))));
        assert!(matches!(listen(listener.address(), None), Err(ListenError::Port { .. })));
    }
}
