//! The notifier: clients that wait are told that a journal has moved, and then fetch the changes themselves.
//!
//! Two tiers, in one process or in several: *hubs* ([`hub`]) hear every journal that moves from the metaservers and know
//! which edges care, *edges* ([`edge`]) hold the clients. Both tables are pure; the rest of this room gives them sockets,
//! time and the HTTP route `files/list_folder/longpoll`. A notification is a hint, `(nsid, jid)` and nothing else: one
//! that is lost repairs itself, because jids only grow. Nothing is stored; any of them may be killed at any time.
//! Protocol and rules: docs/design/notify.md.

mod admin;
mod clock;
mod cluster;
mod config;
pub mod edge;
mod edge_tier;
pub mod hub;
mod hub_tier;
mod link;
mod longpoll;
mod server;
mod slab;

pub use config::{EdgeConfig, HubConfig, Listen, NotifyConfig};
pub use longpoll::route_names;
pub use server::{Notifier, StartError, start};
