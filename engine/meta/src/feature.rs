//! Which release knows which command, so that nodes of two releases agree while a cluster is upgraded.
//!
//! Every group has a feature level, raised by `FeatureRaise` when all its nodes run the new release and never lowered. A
//! command above the group's level is answered `Unsupported` by the release that knows it, before its session or its
//! body is looked at, and by the one before, which does not know its kind: both change nothing, so a mixed group stays
//! one. A release that is older than the level of a group cannot tell what entries after it do, and stops
//! ([`Release::unknown_level`]).

use base::{Acct, GroupId};

use crate::command::Command;
use crate::command_codec::decode_command;
use crate::group0::Group0Command;
use crate::overlay::View;
use crate::payload::Commands;
use crate::store::{Cold, Store, Want};

/// The level of a group that was never raised.
pub const LEVEL_BORN: u32 = 1;
/// The highest level that this release knows.
pub const LEVEL_KNOWN: u32 = 1;

/// The kind of `FeatureRaise`.
const FEATURE_RAISE: u8 = 74;

/// The level from which on a kind of command is known; `None` for one that this release does not know.
///
/// A new kind, or a known one that comes to something else, gets the next level here.
#[must_use]
pub fn level_of(kind: u8) -> Option<u32> {
    match kind {
        1..=33 | 40..=42 | 64..=82 => Some(1),
        _ => None,
    }
}

/// Why a command is not for a group yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TooNew {
    /// The group's level is lower.
    #[error(
        "command kind {kind} needs feature level {needed} and the group has {level}: when all nodes run this release, \
         raise it (dropstone admin upgrade finalize)"
    )]
    Level {
        /// The command.
        kind: u8,
        /// Its level.
        needed: u32,
        /// The group's.
        level: u32,
    },
    /// This release does not know it.
    #[error("command kind {kind} is not known to this release (feature level {known}): upgrade this node")]
    Kind {
        /// The command.
        kind: u8,
        /// The highest level known here.
        known: u32,
    },
    /// A level that this release does not know: nodes that run it would have to stop.
    #[error("feature level {level} is not known to this release, which knows {known}: upgrade all nodes first")]
    Raise {
        /// The level asked for.
        level: u32,
        /// The highest level known here.
        known: u32,
    },
}

/// The level that an encoded `FeatureRaise` of the system asks for; `None` for other commands.
fn raised_to(command: &[u8]) -> Option<u32> {
    if command.get(1) != Some(&FEATURE_RAISE) {
        return None;
    }
    match decode_command(command) {
        // Anybody else's is refused at apply, by every release.
        Ok((header, Command::Group0(command))) if header.acct == Acct(0) => match *command {
            Group0Command::FeatureRaise { level } => Some(level),
            _ => None,
        },
        _ => None,
    }
}

/// What a release knows. There is one in each process but for tests of groups whose nodes run two.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    /// The highest level.
    pub level_known: u32,
    /// From which level on it knows a kind of command; `None`: not at all.
    pub level_of: fn(u8) -> Option<u32>,
}

impl Default for Release {
    fn default() -> Release {
        Release::THIS
    }
}

impl Release {
    /// This one.
    pub const THIS: Release = Release { level_known: LEVEL_KNOWN, level_of };

    /// May a leader propose this encoded command to a group of this level? What has no kind, or no level to raise to, is
    /// let through: it is refused elsewhere.
    ///
    /// Errors: [`TooNew`], which says what to do.
    pub fn admit(&self, command: &[u8], level: u32) -> Result<(), TooNew> {
        let Some(kind) = command.get(1).copied() else { return Ok(()) };
        let known = self.level_known;
        if let Some(level) = raised_to(command).filter(|level| *level > known) {
            return Err(TooNew::Raise { level, known });
        }
        match (self.level_of)(kind) {
            Some(needed) if needed <= level => Ok(()),
            Some(needed) => Err(TooNew::Level { kind, needed, level }),
            None => Err(TooNew::Kind { kind, known }),
        }
    }

    /// The feature level that a payload raises its group to, if this release does not know it: what entries after it do
    /// is not known here, so who holds it stops before it applies it.
    #[must_use]
    pub fn unknown_level(&self, payload: &[u8]) -> Option<u32> {
        raises_to(payload).filter(|level| *level > self.level_known)
    }
}

/// The highest level that the commands of a payload ask for; `None` when none of them is a `FeatureRaise` of the system.
#[must_use]
pub fn raises_to(payload: &[u8]) -> Option<u32> {
    Commands::parse(payload).flatten().filter_map(raised_to).max()
}

/// The level of a group as its rows are now.
///
/// Errors: [`Cold`]: prefetch `wants` and ask again.
pub fn feature_level<S: Store>(store: &S, group: GroupId, wants: &mut Vec<Want>) -> Result<u32, Cold> {
    crate::group0::level(&mut View { store, group, wants })
}
