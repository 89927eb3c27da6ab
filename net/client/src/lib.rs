//! The client library: pipelined, exactly once, follows leaders.
//!
//! [`Core`] is the whole protocol without I/O: operations and bytes in, actions out, `now` an argument. Two drivers give
//! it sockets: [`Client`] (threads; callable from many at once, which makes the pipelining) and, behind the feature
//! `tokio`, `AsyncClient`. Formats: docs/design/wire.md; sessions: docs/design/metadata.md 10.

mod backoff;
mod blocking;
mod codec;
mod core;
mod deadlines;
mod error;
mod explained;
pub mod linear;
mod link;
mod operation;
mod request;
mod routes;
mod session;

#[cfg(feature = "tokio")]
mod asynchronous;
mod driver;
#[cfg(feature = "tokio")]
mod lazy;

pub use crate::core::{Action, Core, LinkId};
#[cfg(feature = "tokio")]
pub use asynchronous::{AsyncClient, HeadWatch};
pub use blocking::{Client, NodeStatus, Submitted, Watch};
pub use error::{ClientError, ConnectError, Failure, Tried};
pub use explained::Explained;
#[cfg(feature = "tokio")]
pub use lazy::LazyClient;
pub use operation::{ClientOptions, Operation, Reply, Seed, Ticket};
pub use wire::{ClusterMap, CoreStatus, GroupStatus, NodeAddress};
