//! The read cache: volatile copies of rows and answers, written by the core that owns them and read by every core.
//!
//! ```text
//! owner core ─writes─▶ Writer ─▶ words of memory ◀─ Reader, on any core: no lock, no store but a use counter
//! ```
//! It is never the truth: losing it costs time only, and a miss is never an answer. Memory is a slice of atomic words
//! that the caller gives and that is never given back, so plain safe code may race: what a reader copied counts only if
//! the sequence of its bucket was the same before and after.
//!
//! Layer 1, pure: no clock, no thread, no `unsafe`. It does not know what keys and values mean beyond the key's first
//! nine bytes. Formats and protocol: docs/design/cache.md.

mod batch;
mod bucket;
mod buffer;
mod eviction;
mod hash;
mod index;
mod invariants;
mod layout;
mod lent;
mod memory;
#[cfg(all(test, loom))]
mod models;
mod node;
mod publish;
mod reader;
mod segments;
mod settings;
mod stats;
mod sync;
mod token;
mod writer;

pub use batch::{EarlyLoad, Prefetch};
pub use buffer::ValueBuffer;
pub use layout::{Kind, key};
pub use lent::Lent;
pub use memory::{Line, leak};
pub use node::{Asked, NodeCache};
pub use publish::LEASE_GUARD;
pub use reader::{Hit, Read, Reader, Rule};
pub use settings::{Settings, SettingsError, segment_bytes_for};
pub use stats::{ReadStats, WriteStats};
pub use token::{Filled, Token};
pub use writer::{Inserted, Item, Writer};
