//! The three ways in which a frame gets from its tail image into the segment's file. Format and order are the same.
//!
//! | | the frame's bytes | its sync | where a write error shows |
//! | --- | --- | --- | --- |
//! | `direct` | by the ring, past the page cache | by the ring | on the write |
//! | `pwrite` | by a call of the core, into the page cache | by the ring | on the sync |
//! | `mmap` | copied into the mapped file | by the ring | on the sync |
//!
//! Which one a node takes: `log_selftest.rs`. Reading is the same in all three: the tail image, later a map.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;

/// A way to append to the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Backend {
    /// `O_DIRECT` writes from the image. Where the file system refuses them, the same writes go through the page cache.
    Direct,
    /// Writes from the image into the page cache, at once.
    Pwrite,
    /// Copies from the image into a map of the file, whose pages were brought in ahead.
    Mmap,
}

impl Backend {
    /// All of them, in the order in which a node would rather have them: docs/adr/2026-11-21-log-backend-by-self-test.md.
    pub const BY_CHOICE: [Backend; 3] = [Backend::Direct, Backend::Pwrite, Backend::Mmap];

    /// Its name in configurations and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Backend::Direct => "direct",
            Backend::Pwrite => "pwrite",
            Backend::Mmap => "mmap",
        }
    }

    /// How often the core copies a command's bytes on their way to the file: into the tail image, and out of it.
    #[must_use]
    pub fn copies(self) -> u32 {
        match self {
            Backend::Direct => 1,
            Backend::Pwrite | Backend::Mmap => 2,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Backend, UnknownBackend> {
        let found = Backend::BY_CHOICE.into_iter().find(|backend| backend.name() == text);
        found.ok_or_else(|| UnknownBackend(text.to_owned()))
    }
}

/// What a node was told to take.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum BackendWish {
    /// What the self-test finds.
    #[default]
    Auto,
    /// This one, or no start.
    Only(Backend),
}

impl fmt::Display for BackendWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackendWish::Auto => f.pad("auto"),
            BackendWish::Only(backend) => backend.fmt(f),
        }
    }
}

impl FromStr for BackendWish {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<BackendWish, UnknownBackend> {
        if text == "auto" { Ok(BackendWish::Auto) } else { text.parse().map(BackendWish::Only) }
    }
}

/// A text that names no way to append.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is no log backend; write auto, direct, pwrite or mmap")]
pub struct UnknownBackend(pub String);
