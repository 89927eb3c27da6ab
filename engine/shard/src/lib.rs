//! One core's brain: its groups, its log, its store and its machine, visited in order.
//!
//! Pure: events go in by `handle_*`, actions come out by `poll_*`, time is an argument. The core loop of the metaserver
//! (and later the simulator's twin) hands over all that arrived in a turn before [`Shard::advance`] acts on any of it:
//! that is where batches come from.
//!
//! ```text
//!  requests ─▶ turn batch ─▶ raft ─▶ seglog ──ops──▶ disk
//!                             │ ▲                      │
//!               peer messages ▼ │ Synced ◀─────────────┘
//!                            commit ─▶ meta over store ─▶ replies, watchers
//! ```
//! Layer 2: sees base, raft, seglog, meta and cache, and nothing of sockets.

mod admit;
mod apply;
mod balance;
pub mod cache_keys;
mod cached;
mod checkpoint;
mod deadlines;
mod disk_lag;
mod disk_pace;
mod elections;
mod feed;
mod follower_reads;
mod group;
mod group_log;
mod handover;
mod health;
mod lease;
mod level;
mod lost;
mod metadata_read;
mod null;
mod pairs;
mod rate;
mod read;
mod removed;
mod reply;
mod requests;
mod shard;
mod snapshot;
mod stages;
mod state_hashes;
mod status;
mod stop;
mod sweep;
mod turn;
mod upkeep;
mod watch;

pub use balance::{Balancing, Led};
pub use group::GroupStatus;
pub use lease::ReadCounts;
pub use lost::Notice;
pub use metadata_read::{MetadataAnswer, MetadataKind};
pub use null::MachineKind;
pub use pairs::Resting;
pub use reply::{Effect, Replies, Reply, Status, Ticket};
pub use shard::{PeerOut, Settings, Shard};
pub use stages::{Border, QuorumCounts, Timing};
pub use state_hashes::{StateDiffers, Wrong};
pub use stop::StopReason;
pub use upkeep::Keep;
