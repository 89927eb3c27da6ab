//! What is told while it works: one event a change, in words that fit on a line.

use std::fmt;

/// Something was done, or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A file was put.
    Put(String),
    /// A file was got.
    Got(String),
    /// A folder was made there.
    MadeThere(String),
    /// A folder was made here.
    MadeHere(String),
    /// Moved there.
    MovedThere(String, String),
    /// Moved here.
    MovedHere(String, String),
    /// Deleted there.
    DeletedThere(String),
    /// Deleted here.
    DeletedHere(String),
    /// Both sides were written: what was here has another name now.
    Conflict(String, String),
    /// Written there while its folder was deleted: it is back.
    Restored(String),
    /// Something stays out, and why.
    LeftOut(String, String),
    /// Something was not done, and why; it is tried again.
    Failed(String, String),
}

impl Event {
    /// One word for machines.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        match self {
            Event::Put(_) => "put",
            Event::Got(_) => "get",
            Event::MadeThere(_) => "mkdir-remote",
            Event::MadeHere(_) => "mkdir-local",
            Event::MovedThere(..) => "move-remote",
            Event::MovedHere(..) => "move-local",
            Event::DeletedThere(_) => "delete-remote",
            Event::DeletedHere(_) => "delete-local",
            Event::Conflict(..) => "conflict",
            Event::Restored(_) => "restore",
            Event::LeftOut(..) => "left-out",
            Event::Failed(..) => "failed",
        }
    }

    /// The path it is about, below the folder.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Event::Put(path)
            | Event::Got(path)
            | Event::MadeThere(path)
            | Event::MadeHere(path)
            | Event::MovedThere(path, _)
            | Event::MovedHere(path, _)
            | Event::DeletedThere(path)
            | Event::DeletedHere(path)
            | Event::Conflict(path, _)
            | Event::Restored(path)
            | Event::LeftOut(path, _)
            | Event::Failed(path, _) => path,
        }
    }

    /// Where it went, or why it did not.
    #[must_use]
    pub fn more(&self) -> Option<&str> {
        match self {
            Event::MovedThere(_, more)
            | Event::MovedHere(_, more)
            | Event::Conflict(_, more)
            | Event::LeftOut(_, more)
            | Event::Failed(_, more) => Some(more),
            _ => None,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Put(path) => write!(f, "put       {path}"),
            Event::Got(path) => write!(f, "got       {path}"),
            Event::MadeThere(path) => write!(f, "put       {path}/"),
            Event::MadeHere(path) => write!(f, "got       {path}/"),
            Event::MovedThere(path, to) => write!(f, "moved     {path} -> {to} (there)"),
            Event::MovedHere(path, to) => write!(f, "moved     {path} -> {to} (here)"),
            Event::DeletedThere(path) => write!(f, "deleted   {path} (there)"),
            Event::DeletedHere(path) => write!(f, "deleted   {path} (here)"),
            Event::Conflict(path, to) => write!(f, "conflict  {path} was changed on both sides; what was here is {to}"),
            Event::Restored(path) => write!(f, "restored  {path} (there; it was written while its folder was deleted)"),
            Event::LeftOut(path, why) => write!(f, "left out  {path}: {why}"),
            Event::Failed(path, why) => write!(f, "failed    {path}: {why}"),
        }
    }
}

/// Whoever listens. Called from several threads.
pub trait Tell: Sync {
    /// Something happened.
    fn event(&self, event: Event);

    /// Files of so many bytes in all are about to be put or got.
    fn begin(&self, files: usize, bytes: u64);

    /// So many of those bytes are done.
    fn advance(&self, bytes: u64);

    /// All of them are, or not.
    fn end(&self);
}
