//! The metaserver: the core loop, the ports, boot and recovery.

mod address_book;
pub mod admin;
mod announce;
pub mod backup;
pub mod config;
mod core;
pub mod exit;
mod flow_runner;
mod forward;
pub mod identity;
mod memcache;
mod near_cache;
pub mod node;
pub mod profile;
mod recovery;
mod requests;
pub mod shared;
pub mod stall;
mod tell;

pub use memcache::HitPath;
pub use node::{Node, StartError};
