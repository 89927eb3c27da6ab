//! The segmented log of one core, over a [`Disk`] that gives memory and takes operations.

pub mod disk;

pub use disk::{Disk, DiskOp, FoundSegment, LogReader, OpError, OpResult, OpToken, Slot};
