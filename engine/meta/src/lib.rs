//! The metadata state machine: commands, queries, apply, over a [`Store`] trait.

pub mod store;

pub use store::{Cold, Frozen, Machine, Pressure, Row, RowBatch, Rows, Store, StoreEvent, Want};
