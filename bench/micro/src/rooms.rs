//! The bodies, one file for each room.

pub mod base;
pub mod cache;
pub mod core_rig;
pub mod flat_disk;
pub mod load;
pub mod machine_rig;
pub mod meta;
pub mod raft;
pub mod reactor;
pub mod scripted;
pub mod seglog;
pub mod server;
pub mod shard;
pub mod store;
pub mod wire;
