//! What an owner keeps of a key while it reads the store for it, so that an older value never follows a newer one.

/// A key's state when the read of the store began: its bucket's sequence, its stripe, its group's generation.
///
/// Every change of the key bumps the bucket, also when the key was not cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    pub(crate) sequence: u64,
    pub(crate) stripe: u64,
    pub(crate) generation: u64,
}

/// What came of a fill.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filled {
    /// It is cached, and may answer all who wait.
    Inserted,
    /// It is not cached, for want of room, but may answer all who wait.
    Refused,
    /// Something came between: the value may be older than what has been answered. Drop it and read again.
    Changed,
}
