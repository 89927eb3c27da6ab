//! A segment as the running log knows it.

use crate::disk::Slot;
use crate::format::footer::FooterBuilder;

/// Where a live segment is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Takes frames, or will when the one before is full.
    Open,
    /// Its last frame, footer and trailer are closed; not all persisted yet.
    Sealing,
    /// Never written again: sealed and persisted, or found by recovery.
    Sealed,
}

/// One live segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub seq: u64,
    pub slot: Slot,
    pub salt: u64,
    pub stage: Stage,
    /// The file is there and open; frames may be written.
    pub has_file: bool,
    /// Reads come from the tail image, which is trusted; else from the map, which is checked.
    pub has_image: bool,
    pub footer: FooterBuilder,
}
