//! The checkers: each a file that states one claim in its first line and is fed by [`crate::observe::Event`]s alone.
