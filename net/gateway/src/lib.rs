//! The gateway: the rpc routes of files, accounts and sharing, sign-in, and the pages of links.
//!
//! It keeps nothing: kill it at any moment, run as many as you like. What a route means is in docs/design/gateway.md;
//! who may call it, and how arguments and errors look, is `stone`'s.

pub mod client_proxy;
mod cluster;
pub mod config;
mod files;
mod jobs;
mod link_page;
mod oauth;
mod pages;
mod server;
mod sharing;
mod sign_in;
mod state;
mod table;
mod tokens;
mod users;
mod web;

pub use cluster::Cluster;
pub use config::{GatewayConfig, Tls};
pub use server::{GatewayServer, Hosts, StartError, start};
pub use table::ROUTES;
pub use tokens::{GrantError, Granted, grant};
