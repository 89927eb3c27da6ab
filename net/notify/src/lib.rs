//! The notifier.

pub mod edge;
pub mod hub;
mod slab;
