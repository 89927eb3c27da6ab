//! The bytes on disk, version 1: little-endian, explicit, reserved bytes zero and checked, CRC-32C everywhere.

pub mod footer;
pub mod frame;
pub mod meta;
pub mod segment_header;

/// The version of every format here.
pub const FORMAT: u16 = 1;

/// True when the range is all zero; reserved bytes must be.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
