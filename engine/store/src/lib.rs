//! The state store behind `meta`: one tree of sorted tables per core, without a log of its own (docs/design/store.md).
//!
//! The core thread never touches the tree. It owns a single-writer memtable, at most two frozen ones and the rows that
//! were read ahead; three threads started by [`LsmStore::open`] read, flush and compact. A flush is the checkpoint: an
//! atomic, durable prefix of the applied entries of every group, with the applied index inside. Layer 2: it imports
//! `base` and `meta`'s `Store` seam.

mod arena;
mod asked;
pub mod backup;
mod block_cache;
mod block_load;
mod block_rows;
mod compactor;
mod condemned;
mod hash_index;
mod job;
mod keeper;
mod key;
mod life_rows;
mod machine_row;
mod making;
mod memtable;
mod merge;
mod packed;
mod part;
mod pins;
mod range_reads;
mod reader;
mod row_cache;
mod row_filter;
mod scrub;
mod settings;
mod sorted;
mod space;
mod store;
mod table_reads;
mod tables;
mod tree;
mod worker;
mod writer;

pub use settings::{OpenError, OpenSettings, SpaceProbe, Wake};
pub use store::LsmStore;
