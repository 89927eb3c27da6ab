//! One path of a namespace as a register, on values alone: what was there, as far as clients were told.
//!
//! A belief that says less covers all that it leaves open, so that an order that exists is never missed; a bug may be.

use client::linear::Sequential;

/// What is at a path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Belief {
    /// Nobody can tell: e.g. a folder was moved here, with all that is in it.
    Anything,
    /// Nothing.
    Absent,
    /// A folder, or a mount.
    Folder,
    /// A file.
    File {
        /// The row of its revision; 0 nobody knows.
        rev: u64,
        /// A digest of its content; 0 nobody knows.
        content: u64,
    },
}

/// What must have been at a path for an operation to end as it did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Was {
    /// It does not matter.
    Anything,
    /// This, as far as it says.
    This(Belief),
    /// Something.
    Present,
    /// Nothing, or a folder.
    NoFile,
    /// Nothing, or a file.
    NoFolder,
    /// Nothing, or a file of this revision.
    AbsentOrRev(u64),
}

/// What an operation did to a path, or saw there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Touch {
    /// Before it.
    pub was: Was,
    /// After it; `None` as before.
    pub now: Option<Belief>,
}

impl Belief {
    /// A file of which nothing is known.
    pub const FILE: Belief = Belief::File { rev: 0, content: 0 };

    /// What both say; `None` when they contradict each other.
    #[must_use]
    pub fn and(self, other: Belief) -> Option<Belief> {
        let both = |one: u64, other: u64| (one == 0 || other == 0 || one == other).then_some(one.max(other));
        match (self, other) {
            (Belief::Anything, known) | (known, Belief::Anything) => Some(known),
            (Belief::File { rev, content }, Belief::File { rev: other_rev, content: other_content }) => {
                Some(Belief::File { rev: both(rev, other_rev)?, content: both(content, other_content)? })
            }
            (one, other) => (one == other).then_some(one),
        }
    }
}

impl Was {
    /// What is known after it is known that this was so; `None` when it was not.
    fn refine(self, belief: Belief) -> Option<Belief> {
        match self {
            Was::Anything => Some(belief),
            Was::This(this) => belief.and(this),
            Was::Present => (belief != Belief::Absent).then_some(belief),
            Was::NoFile => (!matches!(belief, Belief::File { .. })).then_some(belief),
            Was::NoFolder => (belief != Belief::Folder).then_some(belief),
            Was::AbsentOrRev(rev) => match belief {
                Belief::Anything | Belief::Absent => Some(belief),
                Belief::Folder => None,
                Belief::File { .. } => belief.and(Belief::File { rev, content: 0 }),
            },
        }
    }
}

/// The register: nothing is there first.
#[derive(Clone, Copy, Default, Debug)]
pub struct Path;

impl Sequential for Path {
    type State = Belief;
    type Operation = Touch;

    fn first(&self) -> Belief {
        Belief::Absent
    }

    fn step(&self, state: &Belief, touch: &Touch) -> Option<Belief> {
        let refined = touch.was.refine(*state)?;
        Some(touch.now.unwrap_or(refined))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Belief = Belief::File { rev: 3, content: 7 };

    #[test]
    fn beliefs_add_up_or_contradict() {
        assert_eq!(Belief::FILE.and(ONE), Some(ONE));
        assert_eq!(Belief::File { rev: 3, content: 0 }.and(Belief::File { rev: 0, content: 7 }), Some(ONE));
        assert_eq!(ONE.and(Belief::File { rev: 4, content: 7 }), None);
        assert_eq!((Belief::Anything.and(ONE), Belief::Absent.and(ONE)), (Some(ONE), None));
    }

    #[test]
    fn each_condition_holds_for_some_and_not_for_others() {
        let all = [Belief::Absent, Belief::Folder, ONE];
        let holds = |was: Was| all.map(|belief| was.refine(belief).is_some());
        assert_eq!(holds(Was::Anything), [true; 3]);
        assert_eq!(holds(Was::This(Belief::FILE)), [false, false, true]);
        assert_eq!(holds(Was::Present), [false, true, true]);
        assert_eq!(holds(Was::NoFile), [true, true, false]);
        assert_eq!(holds(Was::NoFolder), [true, false, true]);
        assert_eq!(holds(Was::AbsentOrRev(3)), [true, false, true]);
        assert_eq!(holds(Was::AbsentOrRev(4)), [true, false, false]);
        assert!(
            [Was::Present, Was::NoFile, Was::AbsentOrRev(9)].iter().all(|was| was.refine(Belief::Anything).is_some())
        );
    }
}
