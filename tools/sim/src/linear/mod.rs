//! History checking: were the operations that clients saw those of one copy, in an order that fits time
//! (docs/TESTING.md)? Pure: values in, a verdict out.
//!
//! [`log_check`] believes the indexes that servers tell and the log that a healed node holds, and is fast;
//! [`client::linear`], which process tests share, believes values alone.

pub(crate) mod batch;
pub mod history;
pub mod log_check;
pub mod path;
pub mod replay;
pub(crate) mod shared;
pub(crate) mod tree;
