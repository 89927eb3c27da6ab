//! Listening sockets, one per core and port, and the check that the port is ours.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use base::Mono;
use base::limits::LISTEN_BACKLOG_MAX;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::io::Patience;

/// Addresses on which this process listens, with the number of its listeners. SO_REUSEPORT lets any process of the same
/// user share a port, and a second server on our port by mistake would get half of our connections in silence: so the
/// first listener of an address makes sure that nobody else has it.
static BOUND: Mutex<Option<HashMap<SocketAddr, u32>>> = Mutex::new(None);

/// One listener of one ring.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) fd: OwnedFd,
    pub(crate) tag: u64,
    pub(crate) address: SocketAddr,
    /// A multishot accept is in flight.
    pub(crate) is_armed: bool,
    /// No slot is left: not armed until some are.
    pub(crate) is_paused: bool,
    /// Out of descriptors or memory: not armed before this time.
    pub(crate) rearm_at: Mono,
}

impl Listener {
    /// Binds and listens. Accepted sockets inherit TCP_NODELAY and the patience, so no call is needed for each.
    ///
    /// Errors: the address is in use by another process, or not of this machine, or its port is not allowed.
    pub(crate) fn bind(tag: u64, address: SocketAddr, patience: Patience) -> io::Result<Listener> {
        let mut bound = BOUND.lock().unwrap_or_else(PoisonError::into_inner);
        let bound = bound.get_or_insert_with(HashMap::new);
        if address.port() != 0 && !bound.contains_key(&address) {
            // Without SO_REUSEPORT: fails if any socket listens there.
            let trial = socket(address)?;
            trial.bind(&address.into())?;
        }
        let socket = socket(address)?;
        socket.set_reuse_port(true)?;
        socket.set_tcp_nodelay(true)?;
        set_patience(&socket, patience)?;
        socket.bind(&address.into())?;
        socket.listen(LISTEN_BACKLOG_MAX)?;
        let address = socket.local_addr()?.as_socket().expect("an IP socket has an IP address");
        *bound.entry(address).or_insert(0) += 1;
        Ok(Listener { fd: socket.into(), tag, address, is_armed: false, is_paused: false, rearm_at: Mono(0) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut bound = BOUND.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bound) = bound.as_mut() else { return };
        if let Some(count) = bound.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                bound.remove(&self.address);
            }
        }
    }
}

/// What the kernel does about a silent other end.
pub(crate) fn set_patience(socket: &Socket, patience: Patience) -> io::Result<()> {
    let probes = TcpKeepalive::new().with_time(patience.probe).with_interval(patience.probe);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(patience.unacknowledged))
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cores_share_a_port() {
        let first = Listener::bind(1, "127.0.0.1:0".parse().unwrap(), Patience::PEER).unwrap();
        let second = Listener::bind(2, first.address, Patience::PEER).unwrap();
        assert_eq!(first.address, second.address);
    }

    #[test]
    fn accepted_sockets_inherit_no_delay_and_patience() {
        let listener = Listener::bind(1, "127.0.0.1:0".parse().unwrap(), Patience::PEER).unwrap();
        let _peer = std::net::TcpStream::connect(listener.address).unwrap();
        let listening = std::net::TcpListener::from(listener.fd.try_clone().unwrap());
        let accepted = listening.accept().unwrap().0;
        assert!(accepted.nodelay().unwrap());
        let accepted = socket2::SockRef::from(&accepted);
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(Patience::PEER.unacknowledged));
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), Patience::PEER.probe);
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), Patience::PEER.probe);
    }

    #[test]
    fn a_port_of_somebody_else_is_refused_even_if_they_would_share_it() {
        let theirs = socket("127.0.0.1:0".parse().unwrap()).unwrap();
        theirs.set_reuse_port(true).unwrap();
        theirs.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        theirs.listen(1).unwrap();
        let address = theirs.local_addr().unwrap().as_socket().unwrap();
        let error = Listener::bind(1, address, Patience::PEER).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(theirs);
        Listener::bind(1, address, Patience::PEER).unwrap();
    }
}
