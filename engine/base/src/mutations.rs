//! Seeded bugs: `mutate!(MUT_16A, right, wrong)` is `right`, unless the build has `--cfg mutations` and that mutation
//! was switched on. They prove that the simulator's checkers see (docs/TESTING.md, "Mutations").
//!
//! Never a Cargo feature: feature unification could put a bug into the binary that ships.

/// `right`, or under `--cfg mutations` and with the mutation switched on, `wrong`.
#[macro_export]
macro_rules! mutate {
    ($id:ident, $right:expr, $wrong:expr) => {{
        #[cfg(not(mutations))]
        let value = $right;
        #[cfg(mutations)]
        let value = if $crate::mutations::is_on($crate::mutations::$id) { $wrong } else { $right };
        value
    }};
}

#[cfg(mutations)]
pub use switched::*;

#[cfg(mutations)]
mod switched {
    use std::sync::atomic::{AtomicU16, Ordering};

    /// A seeded bug.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Mutation {
        /// As in `16a`: the number and letter of docs/TESTING.md.
        pub id: &'static str,
        /// What is wrong with it on.
        pub what: &'static str,
        /// Checkers of which one is expected to see it.
        pub checkers: &'static [&'static str],
        number: u16,
    }

    /// 0: none.
    static ACTIVE: AtomicU16 = AtomicU16::new(0);

    /// Is this the mutation switched on in this process?
    #[inline]
    #[must_use]
    pub fn is_on(mutation: Mutation) -> bool {
        ACTIVE.load(Ordering::Relaxed) == mutation.number
    }

    /// Switches one mutation on, or all off.
    pub fn switch(mutation: Option<Mutation>) {
        ACTIVE.store(mutation.map_or(0, |mutation| mutation.number), Ordering::Relaxed);
    }

    macro_rules! mutations {
        ($($name:ident $id:literal $what:literal [$($checker:literal)*])*) => {
            mutations!(@number 1u16; $($name $id $what [$($checker)*])*);
            /// Every mutation, in the order of docs/TESTING.md.
            pub const ALL: &[Mutation] = &[$($name),*];
        };
        (@number $number:expr; ) => {};
        (@number $number:expr; $name:ident $id:literal $what:literal [$($checker:literal)*] $($rest:tt)*) => {
            #[doc = $what]
            pub const $name: Mutation =
                Mutation { id: $id, what: $what, checkers: &[$($checker),*], number: $number };
            mutations!(@number $number + 1; $($rest)*);
        };
    }

    mutations! {
        MUT_1A "1a" "a vote is answered before term and vote are persisted" ["election" "hard_state"]
    }
}
