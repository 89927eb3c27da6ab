//! The metaserver: the core loop, the ports, boot and recovery.

mod address_book;
mod announce;
pub mod backup;
pub mod config;
mod core;
pub mod exit;
mod flow_runner;
pub mod identity;
pub mod node;
mod recovery;
mod requests;
pub mod shared;

pub use node::{Node, StartError};
