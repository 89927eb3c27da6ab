//! The block server: content in an object store.
//!
//! Clients deliver blocks and say what file they make; the server hashes, puts them into the object store, durably, and
//! sends one `StoreAndCommit` to the metaserver, attesting only what it has seen. Reads are authorised by the
//! metaserver's blocklist and checked against the block's name. Protocol: `wire::block`; design: docs/design/blocks.md.
//!
//! [`start`] runs a server on its own threads; [`BlockClient`] is the blocking client of the command line.

mod block_client;
mod cluster;
pub mod config;
mod connection;
pub mod content;
pub mod gc;
pub mod http;
pub mod local;
pub mod metaserver;
mod requests;
pub mod server;
pub mod store;

pub use block_client::{BlockClient, BlockClientError, BlockSource};
pub use config::{BlockConfig, GcConfig, HttpsConfig};
pub use local::{LocalBlocks, LocalError};
pub use server::{BlockServer, StartError, start, start_all, start_with};
pub use store::BlockStore;
