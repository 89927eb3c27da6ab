//! Connections and peer links over the reactor's [`reactor::io::Io`].
//!
//! A [`Connection`] owns a socket's bytes: what came in and is not yet a whole frame, and what waits to go out. Over it
//! stand [`Clients`], the client connections of one core, and [`Peers`], its links to the same core of other nodes. A
//! [`Mailroom`] takes requests that came to the wrong core to the right one of the same node.
//! Layer 3: sees the reactor and the codec; knows nothing of groups or commands.

mod clients;
mod connection;
mod mailroom;
mod peers;

pub use clients::{ClientEvent, Clients, Mark};
pub use connection::Connection;
pub use mailroom::{Asked, Incoming, Mailroom, Returned};
pub use peers::{PeerEvent, PeerSettings, Peers, Registry};
